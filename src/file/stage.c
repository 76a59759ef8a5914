/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

enum { FILES_MAX = 32 };

struct file {
	const char *name;
	bool remove;
	bool backed;	/* the old file has a link in the stage */
	bool placed;
};

struct stage {
	char *dir, *temp;
	char *made;	/* the first folder that stage_begin() made; NULL */
	int n;
	struct file file[FILES_MAX];
};

/* The topmost part of path that does not exist; malloc'ed, NULL: all do. */
static char *
first_missing(const char *path)
{
	char *p = xstrdup(path);
	struct stat st;

	for (char *s = p + 1; *s != '\0'; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		if (lstat(p, &st) != 0)
			return p;
		*s = '/';
	}
	if (lstat(p, &st) != 0)
		return p;
	free(p);
	return NULL;
}

/* Removes the folders that were made, innermost first, while they are empty. */
static void
remove_made(const char *dir, const char *made)
{
	char *p = xstrdup(dir);
	size_t least = strlen(made);

	while (strlen(p) >= least && rmdir(p) == 0) {
		char *slash = strrchr(p, '/');

		if (slash == NULL)
			break;
		*slash = '\0';
	}
	free(p);
}

static void
stage_free(struct stage *s)
{
	free(s->dir);
	free(s->temp);
	free(s->made);
	free(s);
}

struct stage *
stage_begin(const char *dir, struct pare_err *err)
{
	struct stage *s = xcalloc(1, sizeof(*s));
	size_t n = strlen(dir);

	while (n > 1 && dir[n - 1] == '/')
		n--;
	s->dir = xstrndup(dir, n);
	s->made = first_missing(s->dir);
	s->temp = io_join(s->dir, ".pare-save-XXXXXX");
	if (io_make_dir(s->dir, err) == PARE_OK) {
		if (mkdtemp(s->temp) != NULL)
			return s;
		err_set(err, PARE_EWRITE, "cannot write into '%s': %s", s->dir,
		    strerror(errno));
	}
	if (s->made != NULL)
		remove_made(s->dir, s->made);
	stage_free(s);
	return NULL;
}

static struct file *
add_file(struct stage *s, const char *name)
{
	struct file *f = &s->file[s->n];

	/* The names come from a table shorter than this. */
	if (s->n < FILES_MAX - 1)
		s->n++;
	memset(f, 0, sizeof(*f));
	f->name = name;
	return f;
}

char *
stage_path(struct stage *s, const char *name)
{
	add_file(s, name);
	return io_join(s->temp, name);
}

enum pare_rc
stage_write(struct stage *s, const char *name, const void *data, size_t n,
    struct pare_err *err)
{
	char *path = stage_path(s, name);
	enum pare_rc rc = io_write(path, data, n, err);

	free(path);
	return rc;
}

const char *
stage_folder(const struct stage *s)
{
	return s->temp;
}

void
stage_remove(struct stage *s, const char *name)
{
	add_file(s, name)->remove = true;
}

/* Old content of a file, by its link in the stage; malloc'ed. */
static char *
backup_path(const struct stage *s, const struct file *f)
{
	return str_format("%s/%s.old", s->temp, f->name);
}

static bool
place(struct stage *s, struct file *f)
{
	char *from = io_join(s->temp, f->name), *to = io_join(s->dir, f->name);
	char *old = backup_path(s, f);
	struct stat st;

	f->backed = link(to, old) == 0;
	if (f->remove)
		f->placed = unlink(to) == 0 || errno == ENOENT;
	else if (lstat(to, &st) == 0 && S_ISDIR(st.st_mode))
		errno = EISDIR;
	else
		f->placed = rename(from, to) == 0;
	free(from);
	free(to);
	free(old);
	return f->placed;
}

static void
put_back(struct stage *s, struct file *f)
{
	char *to = io_join(s->dir, f->name), *old = backup_path(s, f);

	if (f->placed && f->backed)
		(void)rename(old, to);
	else if (f->placed && !f->remove)
		unlink(to);
	free(to);
	free(old);
}

static void
remove_temp(struct stage *s)
{
	for (int i = 0; i < s->n; i++) {
		char *path = io_join(s->temp, s->file[i].name);
		char *old = backup_path(s, &s->file[i]);

		unlink(path);
		unlink(old);
		free(path);
		free(old);
	}
	rmdir(s->temp);
}

void
stage_abort(struct stage *s)
{
	if (s == NULL)
		return;
	remove_temp(s);
	if (s->made != NULL)
		remove_made(s->dir, s->made);
	stage_free(s);
}

static void
sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

enum pare_rc
stage_commit(struct stage *s, struct pare_err *err)
{
	for (int i = 0; i < s->n; i++) {
		if (place(s, &s->file[i]))
			continue;
		err_set(err, PARE_EWRITE, "cannot put '%s' into '%s': %s",
		    s->file[i].name, s->dir, strerror(errno));
		while (i-- > 0)
			put_back(s, &s->file[i]);
		stage_abort(s);
		return PARE_EWRITE;
	}
	sync_dir(s->dir);
	remove_temp(s);
	stage_free(s);
	return PARE_OK;
}
