/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * When a mapped file becomes shorter, touching a page behind its new end raises
 * SIGBUS. The handler here looks the address up among the mapped ranges, puts
 * an anonymous page of zeros there, and lets the thread go on; whoever ran the
 * command asks file_damaged() at its end and drops the result. A SIGBUS
 * anywhere else goes to whoever handled it before.
 *
 * The list of ranges only grows at its head, and its nodes are reused but never
 * freed, so the handler can walk it without a lock.
 */
#include "file/map.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "file/file.h"

enum { PATH_KEPT = 512 };
enum { DAMAGE_NONE, DAMAGE_WRITING, DAMAGE_SEEN };

struct range {
	atomic_uintptr_t base;
	atomic_size_t size;		/* 0: the node is free */
	struct range *next;
	char path[PATH_KEPT];
	dev_t dev, dir_dev;
	ino_t ino, dir_ino;
};

static _Atomic(struct range *) ranges;
static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before_guard;
static uintptr_t page_size;

static atomic_ulong damage_count;
static atomic_int damage_state;
static char damage_path[PATH_KEPT];

/* Async-signal-safe: remembers the first damaged file until it is asked for. */
static void
remember_damage(const struct range *r)
{
	int none = DAMAGE_NONE;

	atomic_fetch_add(&damage_count, 1);
	if (!atomic_compare_exchange_strong(&damage_state, &none,
	    DAMAGE_WRITING))
		return;
	for (int i = 0; i < PATH_KEPT - 1; i++) {
		damage_path[i] = r->path[i];
		if (r->path[i] == '\0')
			break;
	}
	atomic_store(&damage_state, DAMAGE_SEEN);
}

static bool
repair(uintptr_t where)
{
	void *page = (void *)(where & ~(page_size - 1));

	for (struct range *r = atomic_load(&ranges); r != NULL; r = r->next) {
		size_t size = atomic_load(&r->size);
		uintptr_t base = atomic_load(&r->base);

		/* The last page is mapped as a whole. */
		size = (size + page_size - 1) & ~(page_size - 1);
		if (where < base || where - base >= size)
			continue;
		if (mmap(page, page_size, PROT_READ,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		    MAP_FAILED)
			return false;
		remember_damage(r);
		return true;
	}
	return false;
}

static void
on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	if (info->si_code <= 0 || !repair((uintptr_t)info->si_addr)) {
		/* Not ours: the instruction runs again under the old action;
		 * a signal that somebody sent has to be sent again. */
		sigaction(SIGBUS, &before_guard, NULL);
		if (info->si_code <= 0)
			raise(SIGBUS);
	}
	errno = saved;
}

/* Called with the lock held; again and again, for others (a test framework) may
 * have put their own handler in place meanwhile. */
static void
install_guard(void)
{
	struct sigaction sa, now;

	if (page_size == 0)
		page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	if (sigaction(SIGBUS, NULL, &now) != 0 ||
	    ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_sigbus))
		return;
	before_guard = now;
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_sigbus;
	sa.sa_flags = SA_SIGINFO;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, NULL);
}

static struct range *
free_range(void)
{
	struct range *r;

	for (r = atomic_load(&ranges); r != NULL; r = r->next)
		if (atomic_load(&r->base) == 0)
			return r;
	r = xcalloc(1, sizeof(*r));
	r->next = atomic_load(&ranges);
	atomic_store(&ranges, r);
	return r;
}

/* Device and inode of the folder that path is in. */
static void
identify_dir(const char *path, struct range *r)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash == NULL ? xstrdup(".") :
	    xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
	struct stat st;

	r->dir_dev = 0;
	r->dir_ino = 0;
	if (stat(dir, &st) == 0) {
		r->dir_dev = st.st_dev;
		r->dir_ino = st.st_ino;
	}
	free(dir);
}

static struct range *
register_range(void *base, size_t size, const char *path, int fd)
{
	struct range *r;
	struct stat st;

	pthread_mutex_lock(&ranges_lock);
	install_guard();
	r = free_range();
	memset(r->path, 0, sizeof(r->path));
	strncpy(r->path, path, sizeof(r->path) - 1);
	identify_dir(path, r);
	if (fstat(fd, &st) == 0) {
		r->dev = st.st_dev;
		r->ino = st.st_ino;
	}
	atomic_store(&r->base, (uintptr_t)base);
	atomic_store(&r->size, size);
	pthread_mutex_unlock(&ranges_lock);
	return r;
}

static void
map_release(struct blob *b)
{
	struct range *r = b->owner;

	pthread_mutex_lock(&ranges_lock);
	atomic_store(&r->size, 0);
	munmap(b->base, b->size);
	atomic_store(&r->base, 0);
	pthread_mutex_unlock(&ranges_lock);
}

struct blob *
map_file(const char *path, int64_t least, const char *what,
    struct pare_err *err)
{
	struct blob *b;
	struct range *r;
	int64_t size;
	void *base;
	int fd;

	fd = io_open(path, &size, err);
	if (fd < 0)
		return NULL;
	if (size < least) {
		close(fd);
		err_set(err, PARE_EFORMAT, "'%s' is %lld bytes; %s needs "
		    "at least %lld", path, (long long)size, what,
		    (long long)least);
		return NULL;
	}
	base = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (base == MAP_FAILED) {
		err_set(err, PARE_EIO, "cannot map '%s': %s", path,
		    strerror(errno));
		close(fd);
		return NULL;
	}
	r = register_range(base, (size_t)size, path, fd);
	close(fd);
	b = blob_new(base, (size_t)size, map_release, r);
	b->forget = map_forget_rows;
	return b;
}

bool
map_is_from(const struct blob *b, dev_t dev, ino_t ino)
{
	const struct range *r;

	if (b == NULL || b->release != map_release)
		return false;
	r = b->owner;
	return (r->dev == dev && r->ino == ino) ||
	    (r->dir_dev == dev && r->dir_ino == ino);
}

unsigned long
map_damage_count(void)
{
	return atomic_load(&damage_count);
}

static void
advise(const void *p, size_t n, int advice)
{
	uintptr_t a = (uintptr_t)p, end = a + n;

	if (page_size == 0)
		return;
	a = (a + page_size - 1) & ~(page_size - 1);
	end &= ~(page_size - 1);
	if (a < end)
		(void)madvise((void *)a, end - a, advice);
}

void
map_forget(const void *p, size_t n)
{
	advise(p, n, MADV_DONTNEED);
}

void
map_forget_rows(const void *p, size_t n)
{
#ifdef MADV_NOHUGEPAGE
	advise(p, n, MADV_NOHUGEPAGE);
#endif
	map_forget(p, n);
}

bool
file_damaged(const char **path)
{
	static char told[PATH_KEPT];

	if (atomic_load(&damage_state) != DAMAGE_SEEN)
		return false;
	memcpy(told, damage_path, sizeof(told));
	atomic_store(&damage_state, DAMAGE_NONE);
	if (path != NULL)
		*path = told;
	return true;
}
