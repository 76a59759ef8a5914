/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

struct io_out {
	int fd;
	char *path;	/* the final name */
	char *temp;
};

static bool state_disabled;

static const char *
kind_of(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISFIFO(mode))
		return "a FIFO";
	if (S_ISSOCK(mode))
		return "a socket";
	return "a device";
}

int
io_open(const char *path, int64_t *size, struct pare_err *err)
{
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		err_set(err, PARE_EIO, "cannot open '%s': %s", path,
		    strerror(errno));
		return -1;
	}
	if (fstat(fd, &st) != 0) {
		err_set(err, PARE_EIO, "cannot read '%s': %s", path,
		    strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		err_set(err, PARE_EIO, "'%s' is %s, not a regular file", path,
		    kind_of(st.st_mode));
	} else {
		*size = (int64_t)st.st_size;
		return fd;
	}
	close(fd);
	return -1;
}

static enum pare_rc
read_all(int fd, const char *path, char *data, int64_t size,
    struct pare_err *err)
{
	int64_t done = 0;

	while (done < size) {
		ssize_t k = read(fd, data + done, (size_t)(size - done));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return err_set(err, PARE_EIO, "cannot read '%s': %s",
			    path, strerror(errno));
		if (k == 0)
			return err_set(err, PARE_EIO,
			    "'%s' became shorter while it was read", path);
		done += k;
	}
	return PARE_OK;
}

enum pare_rc
io_read(const char *path, int64_t max, char **data, size_t *n,
    struct pare_err *err)
{
	enum pare_rc rc;
	int64_t size;
	char *p;
	int fd;

	fd = io_open(path, &size, err);
	if (fd < 0)
		return PARE_EIO;
	if (size > max) {
		close(fd);
		return err_set(err, PARE_EFORMAT,
		    "'%s' is %lld bytes; at most %lld are read", path,
		    (long long)size, (long long)max);
	}
	p = mem_big((size_t)size + 1, 1, err);
	if (p == NULL) {
		close(fd);
		return PARE_ENOMEM;
	}
	rc = read_all(fd, path, p, size, err);
	close(fd);
	if (rc != PARE_OK) {
		free(p);
		return rc;
	}
	p[size] = '\0';
	*data = p;
	*n = (size_t)size;
	return PARE_OK;
}

/* A rename would put a file where a device or a folder is. */
static bool
replaceable(const char *path, struct pare_err *err)
{
	struct stat st;

	if (stat(path, &st) != 0 || S_ISREG(st.st_mode))
		return true;
	err_set(err, PARE_EWRITE, "cannot write '%s': it is %s, not a regular "
	    "file", path, kind_of(st.st_mode));
	err_hint(err, "name a file");
	return false;
}

struct io_out *
io_out_open(const char *path, struct pare_err *err)
{
	struct io_out *o;

	if (!replaceable(path, err))
		return NULL;
	o = xcalloc(1, sizeof(*o));
	/* What a link names is replaced, not the link: /dev/stdout is one. */
	o->path = realpath(path, NULL);
	if (o->path == NULL)
		o->path = xstrdup(path);
	o->temp = str_format("%s.tmp-%ld-XXXXXX", o->path, (long)getpid());
	o->fd = mkstemp(o->temp);
	if (o->fd >= 0) {
		mode_t mask = umask(0);

		umask(mask);
		(void)fchmod(o->fd, 0666 & ~mask);
		return o;
	}
	err_set(err, PARE_EWRITE, "cannot write '%s': %s", path,
	    strerror(errno));
	free(o->path);
	free(o->temp);
	free(o);
	return NULL;
}

enum pare_rc
io_out_write(struct io_out *o, const void *data, size_t n,
    struct pare_err *err)
{
	const char *p = data;

	while (n > 0) {
		ssize_t k = write(o->fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return err_set(err, PARE_EWRITE,
			    "cannot write '%s': %s", o->path, strerror(errno));
		p += k;
		n -= (size_t)k;
	}
	return PARE_OK;
}

void
io_out_abort(struct io_out *o)
{
	if (o == NULL)
		return;
	if (o->fd >= 0)
		close(o->fd);
	if (o->temp != NULL)
		unlink(o->temp);
	free(o->path);
	free(o->temp);
	free(o);
}

enum pare_rc
io_out_commit(struct io_out *o, struct pare_err *err)
{
	bool ok = fsync(o->fd) == 0;

	ok = close(o->fd) == 0 && ok;
	o->fd = -1;
	ok = ok && rename(o->temp, o->path) == 0;
	if (!ok) {
		err_set(err, PARE_EWRITE, "cannot write '%s': %s", o->path,
		    strerror(errno));
		io_out_abort(o);
		return PARE_EWRITE;
	}
	free(o->temp);
	o->temp = NULL;
	io_out_abort(o);
	return PARE_OK;
}

enum pare_rc
io_write(const char *path, const void *data, size_t n, struct pare_err *err)
{
	struct io_out *o = io_out_open(path, err);
	enum pare_rc rc;

	if (o == NULL)
		return PARE_EWRITE;
	rc = io_out_write(o, data, n, err);
	if (rc != PARE_OK) {
		io_out_abort(o);
		return rc;
	}
	return io_out_commit(o, err);
}

bool
io_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool
io_is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

enum pare_rc
io_make_dir(const char *path, struct pare_err *err)
{
	char *p = xstrdup(path);
	bool ok = true;

	for (char *s = p + 1; ok && *s != '\0'; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		ok = mkdir(p, 0777) == 0 || errno == EEXIST;
		*s = '/';
	}
	ok = ok && (mkdir(p, 0777) == 0 || errno == EEXIST);
	free(p);
	if (ok && !io_is_dir(path)) {
		errno = ENOTDIR;
		ok = false;
	}
	if (ok)
		return PARE_OK;
	return err_set(err, PARE_EWRITE, "cannot make folder '%s': %s", path,
	    strerror(errno));
}

char *
io_join(const char *dir, const char *name)
{
	return str_format("%s%s%s", dir, str_has_suffix(dir, "/") ? "" : "/",
	    name);
}

char *
io_base(const char *path)
{
	size_t n = strlen(path), start;

	while (n > 1 && path[n - 1] == '/')
		n--;
	for (start = n; start > 0 && path[start - 1] != '/'; start--)
		;
	return xstrndup(path + start, n - start);
}

void
io_state_disable(void)
{
	state_disabled = true;
}

char *
io_state_dir(void)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *dir;

	if (state_disabled)
		return NULL;
	if (xdg != NULL && xdg[0] == '/')
		dir = io_join(xdg, "pare");
	else if (home != NULL && home[0] == '/')
		dir = str_format("%s/.local/state/pare", home);
	else
		return NULL;
	if (io_make_dir(dir, NULL) != PARE_OK) {
		free(dir);
		return NULL;
	}
	return dir;
}
