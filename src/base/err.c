/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int exit_status;
} facts[PARE_RC_COUNT] = {
	[PARE_OK] = { "ok", 0 },
	[PARE_EUSER] = { "user", 1 },
	[PARE_EUSAGE] = { "usage", 2 },
	[PARE_EIO] = { "io", 3 },
	[PARE_EFORMAT] = { "format", 3 },
	[PARE_EWRITE] = { "write", 1 },
	[PARE_EEXPECT] = { "expect", 4 },
	[PARE_ENOMEM] = { "memory", 5 },
	[PARE_ECANCELED] = { "canceled", 130 },
};

static void
make_printable(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

enum pare_rc
err_set(struct pare_err *err, enum pare_rc rc, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return rc;
	err->rc = rc;
	err->hint[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	make_printable(err->msg);
	return rc;
}

enum pare_rc
err_hint(struct pare_err *err, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return PARE_EUSER;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	make_printable(err->hint);
	return err->rc;
}

enum pare_rc
err_prefix(struct pare_err *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	size_t n;

	if (err == NULL)
		return PARE_EUSER;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", old);
	make_printable(err->msg);
	return err->rc;
}

const char *
err_code_name(enum pare_rc rc)
{
	return facts[rc].name;
}

int
err_exit_status(enum pare_rc rc)
{
	return facts[rc].exit_status;
}
