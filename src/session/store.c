/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file: a head of four numbers (what it is, its key, how many bytes follow,
 * and the hash of the key and those bytes), then the bytes. The names that were
 * there when the folder was first read are an index in memory, so that asking
 * for what is not there costs nothing.
 */
#include "session/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

/* "pareres1" as a number: a machine of the other byte order finds another. */
#define MAGIC UINT64_C(0x3173657265726170)

/* A file that is older and not finished will never be. */
enum { TORN_SECONDS = 3600 };

struct head {
	uint64_t magic, key, n, hash;
};

struct entry {
	uint64_t key;
	int64_t bytes, used;	/* used: nanoseconds since 1970 */
};

struct store {
	bool ready;		/* the folder was looked into */
	char *dir;		/* NULL: there is none */
	int n, cap;
	struct entry *entry;	/* by key */
	int64_t bytes;
};

struct store *
store_new(void)
{
	return xcalloc(1, sizeof(struct store));
}

void
store_free(struct store *s)
{
	if (s == NULL)
		return;
	free(s->dir);
	free(s->entry);
	free(s);
}

static char *
path_of(const struct store *s, uint64_t key)
{
	char name[17];

	hash_text_of(key, name);
	return io_join(s->dir, name);
}

/* ---- the index ---- */

/* Where a key is, or belongs. */
static int
find_place(const struct store *s, uint64_t key)
{
	int low = 0, high = s->n;

	while (low < high) {
		int mid = low + (high - low) / 2;

		if (s->entry[mid].key < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct entry *
find_entry(struct store *s, uint64_t key)
{
	int at = find_place(s, key);

	return at < s->n && s->entry[at].key == key ? &s->entry[at] : NULL;
}

static void
forget(struct store *s, uint64_t key)
{
	struct entry *e = find_entry(s, key);

	if (e == NULL)
		return;
	s->bytes -= e->bytes;
	s->n--;
	memmove(e, e + 1, (size_t)(&s->entry[s->n] - e) * sizeof(*e));
}

static void
note_entry(struct store *s, uint64_t key, int64_t bytes, int64_t used)
{
	int at;

	forget(s, key);
	at = find_place(s, key);
	if (s->n == s->cap) {
		s->cap = 2 * s->cap + 64;
		s->entry = xrealloc(s->entry, (size_t)s->cap *
		    sizeof(*s->entry));
	}
	memmove(&s->entry[at + 1], &s->entry[at], (size_t)(s->n - at) *
	    sizeof(*s->entry));
	s->entry[at] = (struct entry){ key, bytes, used };
	s->n++;
	s->bytes += bytes;
}

static int64_t
nanoseconds(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return nanoseconds(&t);
}

/* Names are 16 digits, or those and six letters more while a file is written.
 * Others in the folder are left alone. */
static void
read_name(struct store *s, int dir, const char *name)
{
	size_t digits = strspn(name, "0123456789abcdef");
	bool whole = digits == 16 && name[16] == '\0';
	bool torn = digits == 16 && name[16] == '.' && strlen(name) == 23;
	struct stat st;

	if ((!whole && !torn) ||
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(st.st_mode))
		return;
	if (whole)
		note_entry(s, strtoull(name, NULL, 16), (int64_t)st.st_size,
		    nanoseconds(&st.st_mtim));
	else if (time(NULL) - st.st_mtime > TORN_SECONDS)
		unlinkat(dir, name, 0);
}

static void
read_folder(struct store *s)
{
	struct dirent *e;
	DIR *d = opendir(s->dir);

	while (d != NULL && (e = readdir(d)) != NULL)
		read_name(s, dirfd(d), e->d_name);
	if (d != NULL)
		closedir(d);
}

static bool
is_ready(struct store *s)
{
	char *state;

	if (s->ready)
		return s->dir != NULL;
	s->ready = true;
	state = io_state_dir();
	if (state == NULL)
		return false;
	s->dir = io_join(state, "results");
	free(state);
	if (io_make_dir(s->dir, NULL) != PARE_OK) {
		free(s->dir);
		s->dir = NULL;
		return false;
	}
	chmod(s->dir, 0700);
	read_folder(s);
	return true;
}

static int
by_use(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;

	return (a->used > b->used) - (a->used < b->used);
}

/* When there is too much, the least recently used quarter goes. */
static void
make_room(struct store *s)
{
	struct entry *old;
	int n = s->n;

	if (s->n <= STORE_FILES && s->bytes <= STORE_BYTES)
		return;
	old = xmalloc((size_t)n * sizeof(*old));
	memcpy(old, s->entry, (size_t)n * sizeof(*old));
	qsort(old, (size_t)n, sizeof(*old), by_use);
	for (int i = 0; i < n && (s->n > STORE_FILES / 4 * 3 ||
	    s->bytes > STORE_BYTES / 4 * 3); i++) {
		char *path = path_of(s, old[i].key);

		unlink(path);
		free(path);
		forget(s, old[i].key);
	}
	free(old);
}

/* ---- one file ---- */

static uint64_t
hash_of(uint64_t key, const void *data, size_t n)
{
	return hash_bytes(data, n, hash_mix(key, MAGIC));
}

void *
store_get(struct store *s, uint64_t key, size_t *n)
{
	struct head h;
	struct entry *e;
	char *path, *data;
	size_t size;
	bool fine;

	if (!is_ready(s) || (e = find_entry(s, key)) == NULL)
		return NULL;
	path = path_of(s, key);
	if (io_read(path, STORE_ONE + (int64_t)sizeof(h), &data, &size,
	    NULL) != PARE_OK) {
		free(path);
		forget(s, key);
		return NULL;
	}
	fine = size >= sizeof(h);
	if (fine) {
		memcpy(&h, data, sizeof(h));
		*n = size - sizeof(h);
		fine = h.magic == MAGIC && h.key == key && h.n == *n &&
		    h.hash == hash_of(key, data + sizeof(h), *n);
	}
	if (fine) {
		/* It was of use: it stays longer. */
		utimensat(AT_FDCWD, path, NULL, 0);
		e->used = now();
		memmove(data, data + sizeof(h), *n);
	} else {
		forget(s, key);
		free(data);
		data = NULL;
	}
	free(path);
	return data;
}

static bool
write_file(int fd, const struct head *h, const void *data, size_t n)
{
	const char *p[] = { (const char *)h, data };
	size_t left[] = { sizeof(*h), n };

	for (int i = 0; i < 2; i++)
		while (left[i] > 0) {
			ssize_t k = write(fd, p[i], left[i]);

			if (k <= 0)
				return false;
			p[i] += k;
			left[i] -= (size_t)k;
		}
	return true;
}

void
store_put(struct store *s, uint64_t key, const void *data, size_t n)
{
	struct head h = { MAGIC, key, n, hash_of(key, data, n) };
	char *path, *temp;
	bool ok;
	int fd;

	if (n > STORE_ONE || !is_ready(s))
		return;
	path = path_of(s, key);
	temp = str_format("%s.XXXXXX", path);
	/* Readable for its owner alone. */
	fd = mkstemp(temp);
	ok = fd >= 0 && write_file(fd, &h, data, n);
	ok = fd >= 0 && close(fd) == 0 && ok;
	ok = ok && rename(temp, path) == 0;
	if (fd >= 0 && !ok)
		unlink(temp);
	if (ok) {
		note_entry(s, key, (int64_t)(sizeof(h) + n), now());
		make_room(s);
	}
	free(path);
	free(temp);
}
