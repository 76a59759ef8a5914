/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

char str_empty[1] = "";

static void
reserve(struct str *b, size_t extra)
{
	size_t want = b->n + extra + 1;

	if (want <= b->cap)
		return;
	if (want < 2 * b->cap)
		want = 2 * b->cap;
	if (want < 32)
		want = 32;
	b->s = xrealloc(b->cap != 0 ? b->s : NULL, want);
	b->cap = want;
}

void
str_addn(struct str *b, const char *s, size_t n)
{
	reserve(b, n);
	memcpy(b->s + b->n, s, n);
	b->n += n;
	b->s[b->n] = '\0';
}

void
str_add(struct str *b, const char *s)
{
	str_addn(b, s, strlen(s));
}

void
str_addc(struct str *b, char c)
{
	str_addn(b, &c, 1);
}

static void
add_vf(struct str *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return;
	reserve(b, (size_t)n);
	vsnprintf(b->s + b->n, (size_t)n + 1, fmt, ap);
	b->n += (size_t)n;
}

void
str_addf(struct str *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_vf(b, fmt, ap);
	va_end(ap);
}

void
str_clear(struct str *b)
{
	b->n = 0;
	if (b->cap != 0)
		b->s[0] = '\0';
}

void
str_free(struct str *b)
{
	if (b->cap != 0)
		free(b->s);
	*b = (struct str)STR_INIT;
}

char *
str_detach(struct str *b)
{
	char *s = b->cap != 0 ? b->s : xstrdup("");

	*b = (struct str)STR_INIT;
	return s;
}

char *
str_format(const char *fmt, ...)
{
	struct str b = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	add_vf(&b, fmt, ap);
	va_end(ap);
	return str_detach(&b);
}

bool
str_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
str_has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && strcmp(s + n - k, suffix) == 0;
}

bool
str_to_int(const char *s, int64_t *out)
{
	char *end;
	long long v;

	if (*s == '\0' || *s == ' ' || *s == '+')
		return false;
	errno = 0;
	v = strtoll(s, &end, 10);
	if (errno != 0 || *end != '\0' || end == s)
		return false;
	*out = v;
	return true;
}

bool
str_to_double(const char *s, double *out)
{
	char *end;
	double v;

	if (strchr("-.0123456789", *s) == NULL || *s == '\0')
		return false;
	errno = 0;
	v = strtod(s, &end);
	if (*end != '\0' || end == s || !isfinite(v))
		return false;
	*out = v;
	return true;
}

static void
scaled(char *out, size_t n, double v, double step, const char *const *units)
{
	int u = 0;

	while (fabs(v) >= 0.9995 * step && units[u + 1] != NULL) {
		v /= step;
		u++;
	}
	if (u == 0)
		snprintf(out, n, "%.0f%s", v, units[0]);
	else if (fabs(v) < 9.995)
		snprintf(out, n, "%.2f%s", v, units[u]);
	else if (fabs(v) < 99.95)
		snprintf(out, n, "%.1f%s", v, units[u]);
	else
		snprintf(out, n, "%.0f%s", v, units[u]);
}

void
str_count(char *out, size_t n, double value)
{
	static const char *const units[] = { "", " k", " M", " G", " T", NULL };

	scaled(out, n, value, 1000.0, units);
}

void
str_bytes(char *out, size_t n, double bytes)
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB",
		" TiB", NULL };

	scaled(out, n, bytes, 1024.0, units);
}

static int
edit_distance(const char *a, const char *b)
{
	int row[64];
	size_t n = strlen(b);

	if (n >= 63 || strlen(a) >= 63)
		return 99;
	for (size_t j = 0; j <= n; j++)
		row[j] = (int)j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		int diagonal = row[0];

		row[0] = (int)i;
		for (size_t j = 1; j <= n; j++) {
			int best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *
str_nearest(const char *word, const char *const *list)
{
	const char *best = NULL;
	int best_d = strlen(word) <= 3 ? 1 : strlen(word) <= 6 ? 2 : 3;

	best_d++;
	for (; *list != NULL; list++) {
		int d = edit_distance(word, *list);

		if (d < best_d) {
			best_d = d;
			best = *list;
		}
	}
	return best;
}
