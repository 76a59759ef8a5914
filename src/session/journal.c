/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arg.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

enum { JOURNAL_BYTES_MAX = 64 << 20 };

struct journal {
	char *path;
	int fd;			/* -1: not created yet */
	bool broken;		/* could not be written: given up */
};

static char *
journal_dir(void)
{
	char *state = io_state_dir(), *dir = NULL;

	if (state != NULL) {
		dir = io_join(state, "journal");
		if (io_make_dir(dir, NULL) != PARE_OK) {
			free(dir);
			dir = NULL;
		} else {
			chmod(dir, 0700);
		}
	}
	free(state);
	return dir;
}

struct journal *
journal_start(void)
{
	char *dir = journal_dir();
	static atomic_int count;
	struct journal *j;
	struct timespec ts;

	if (dir == NULL)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &ts);
	j = xcalloc(1, sizeof(*j));
	j->fd = -1;
	j->path = str_format("%s/%" PRId64 "-%ld-%d.ndjson", dir,
	    (int64_t)ts.tv_sec, (long)getpid(), atomic_fetch_add(&count, 1));
	free(dir);
	return j;
}

const char *
journal_path(const struct journal *j)
{
	return j->path;
}

static enum pare_rc
give_up(struct journal *j, struct pare_err *err)
{
	j->broken = true;
	err_set(err, PARE_EWRITE, "the journal '%s' cannot be written (%s): "
	    "this session cannot be resumed after a crash", j->path,
	    strerror(errno));
	return err_hint(err, "keep your work with: save DIR");
}

/* The file gets its name when it is locked already, so that a session that looks
 * for crashed ones never sees it unheld. */
static bool
create_file(struct journal *j)
{
	char *temp = str_format("%s.new", j->path);

	j->fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC,
	    0600);
	if (j->fd >= 0 && (flock(j->fd, LOCK_EX | LOCK_NB) != 0 ||
	    rename(temp, j->path) != 0)) {
		unlink(temp);
		close(j->fd);
		j->fd = -1;
	}
	free(temp);
	return j->fd >= 0;
}

static bool
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

enum pare_rc
journal_add(struct journal *j, const char *kind, const char *line, int state,
    uint64_t hash, bool sync, struct pare_err *err)
{
	char text[17], *out;
	json_t *o;
	size_t n;
	bool ok;

	if (j->broken)
		return PARE_OK;
	if (j->fd < 0 && !create_file(j))
		return give_up(j, err);
	o = json_object();
	json_object_set_new(o, "kind", json_string(kind));
	/* A line that is no UTF-8 cannot be a JSON string: its bytes go as
	 * numbers. */
	if (json_object_set_new(o, "line", json_string(line)) != 0) {
		json_t *bytes = json_array();

		for (const char *p = line; *p != '\0'; p++)
			json_array_append_new(bytes,
			    json_integer((unsigned char)*p));
		json_object_set_new(o, "bytes", bytes);
	}
	json_object_set_new(o, "state", json_integer(state));
	hash_text_of(hash, text);
	json_object_set_new(o, "hash", hash != 0 ? json_string(text) :
	    json_null());
	out = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (out == NULL)
		return give_up(j, err);
	n = strlen(out);
	out = xrealloc(out, n + 1);
	out[n] = '\n';
	ok = write_all(j->fd, out, n + 1) && (!sync || fdatasync(j->fd) == 0);
	free(out);
	return ok ? PARE_OK : give_up(j, err);
}

void
journal_end(struct journal *j, bool clean)
{
	if (j == NULL)
		return;
	if (j->fd >= 0) {
		if (clean)
			unlink(j->path);
		close(j->fd);
	}
	free(j->path);
	free(j);
}

/* ---- reading back ---- */

static char *
line_of(const json_t *o)
{
	const char *line = json_string_value(json_object_get(o, "line"));
	const json_t *bytes = json_object_get(o, "bytes");
	struct str s = STR_INIT;

	if (line != NULL)
		return xstrdup(line);
	if (!json_is_array(bytes))
		return NULL;
	for (size_t i = 0; i < json_array_size(bytes); i++) {
		json_int_t c = json_integer_value(json_array_get(bytes, i));

		if (c < 1 || c > 255) {
			str_free(&s);
			return NULL;
		}
		str_addc(&s, (char)(unsigned char)c);
	}
	return str_detach(&s);
}

/* One record from a line of text; false when it is none. */
static bool
read_record(const char *text, size_t n, struct journal_replay *r)
{
	json_t *o = json_loadb(text, n, 0, NULL);
	const char *kind = json_string_value(json_object_get(o, "kind"));
	const char *hash = json_string_value(json_object_get(o, "hash"));
	json_int_t state = json_integer_value(json_object_get(o, "state"));
	char *line = kind != NULL ? line_of(o) : NULL;
	bool ok = line != NULL && state >= -1 && state < INT32_MAX;

	if (ok && strcmp(kind, "end") == 0) {
		r->ended = true;
		free(line);
	} else if (ok) {
		struct journal_record *p;

		r->record = xrealloc(r->record,
		    (size_t)(r->n + 1) * sizeof(*r->record));
		p = &r->record[r->n++];
		p->kind = xstrdup(kind);
		p->line = line;
		p->state = (int)state;
		p->hash = hash != NULL ? strtoull(hash, NULL, 16) : 0;
		if (strcmp(kind, "open") == 0)
			r->changes = 0;
		else if (strcmp(kind, "data") != 0 && strcmp(kind, "set") != 0)
			r->changes++;
	} else {
		free(line);
	}
	json_decref(o);
	return ok;
}

/* Complete lines only: what a crash tore at the end is no record. Whatever
 * follows a broken line cannot be trusted and is left out too. */
static void
read_records(const char *text, size_t n, struct journal_replay *r)
{
	const char *p = text, *end = text + n;

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		if (nl == NULL || !read_record(p, (size_t)(nl - p), r))
			return;
		p = nl + 1;
	}
}

enum pare_rc
journal_read(const char *path, struct journal_replay *out,
    struct pare_err *err)
{
	char *text;
	size_t n;
	int64_t size;
	enum pare_rc rc;

	memset(out, 0, sizeof(*out));
	out->fd = io_open(path, &size, err);
	if (out->fd < 0)
		return PARE_EIO;
	if (flock(out->fd, LOCK_EX | LOCK_NB) != 0) {
		close(out->fd);
		out->fd = -1;
		err_set(err, PARE_EUSER,
		    "'%s' belongs to a session that is running", path);
		return PARE_EUSER;
	}
	rc = io_read(path, JOURNAL_BYTES_MAX, &text, &n, err);
	if (rc != PARE_OK) {
		close(out->fd);
		out->fd = -1;
		return rc;
	}
	out->path = xstrdup(path);
	read_records(text, n, out);
	free(text);
	if (out->n == 0) {
		journal_replay_free(out);
		return err_set(err, PARE_EFORMAT,
		    "'%s' holds no journal record", path);
	}
	return PARE_OK;
}

void
journal_replay_free(struct journal_replay *r)
{
	for (int i = 0; i < r->n; i++) {
		free(r->record[i].kind);
		free(r->record[i].line);
	}
	free(r->record);
	free(r->path);
	if (r->fd >= 0)
		close(r->fd);
	memset(r, 0, sizeof(*r));
	r->fd = -1;
}

void
journal_remove(const char *path)
{
	unlink(path);
}

/* ---- what a crash left ---- */

static char *
model_of(const struct journal_replay *r)
{
	for (int i = r->n - 1; i >= 0; i--) {
		struct arg_words w;
		char *path = NULL;

		if (strcmp(r->record[i].kind, "open") != 0 ||
		    arg_split(r->record[i].line, &w, NULL) != PARE_OK)
			continue;
		if (w.n >= 2)
			path = xstrdup(w.word[1]);
		arg_words_free(&w);
		if (path != NULL)
			return path;
	}
	return NULL;
}

/* Takes path as the offer when it is newer than the one there is. */
static void
consider(const char *path, struct journal_info *best)
{
	struct journal_replay r;
	struct pare_err err;
	struct stat st;
	char *model;

	if (stat(path, &st) != 0)
		return;
	if (journal_read(path, &r, &err) != PARE_OK) {
		/* Torn before its first record was whole. */
		if (err.rc == PARE_EFORMAT)
			unlink(path);
		return;
	}
	model = model_of(&r);
	if (r.changes == 0 || r.ended || model == NULL) {
		unlink(path);
	} else if (best->path == NULL || (int64_t)st.st_mtime > best->time ||
	    ((int64_t)st.st_mtime == best->time &&
	    strcmp(path, best->path) > 0)) {
		journal_info_free(best);
		best->path = xstrdup(path);
		best->model = model;
		best->changes = r.changes;
		best->time = (int64_t)st.st_mtime;
		model = NULL;
	}
	free(model);
	journal_replay_free(&r);
}

bool
journal_find_crashed(struct journal_info *out)
{
	char *dir = journal_dir();
	struct dirent *e;
	DIR *d;

	memset(out, 0, sizeof(*out));
	d = dir != NULL ? opendir(dir) : NULL;
	while (d != NULL && (e = readdir(d)) != NULL) {
		char *path;

		if (!str_has_suffix(e->d_name, ".ndjson"))
			continue;
		path = io_join(dir, e->d_name);
		consider(path, out);
		free(path);
	}
	if (d != NULL)
		closedir(d);
	free(dir);
	return out->path != NULL;
}

void
journal_info_free(struct journal_info *i)
{
	free(i->path);
	free(i->model);
	memset(i, 0, sizeof(*i));
}
