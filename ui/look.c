/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/look.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <utf8proc.h>

/* Foreground on the terminal's own background, so that light and dark themes
 * both work; blue and yellow rather than red and green tell good from bad. */
static const char *const sgr[PAINT_COUNT] = {
	[PAINT_NONE] = "",
	[PAINT_TITLE] = "1",
	[PAINT_DIM] = "2",
	[PAINT_BAR] = "36",
	[PAINT_GOOD] = "34",
	[PAINT_WARN] = "33",
	[PAINT_ERROR] = "1;31",
};

/* A terminal that does colour and a user who did not object. */
static bool
wants_color(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fd) && (no == NULL || *no == '\0') && term != NULL &&
	    *term != '\0' && strcmp(term, "dumb") != 0;
}

void
look_init(struct look *l, int fd, enum look_color color, bool ascii)
{
	l->fd = fd;
	l->tty = isatty(fd);
	l->ascii = ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	look_choose(l, color);
	look_measure(l);
}

enum look_color
look_color_named(const char *name)
{
	return strcmp(name, "always") == 0 ? LOOK_ALWAYS :
	    strcmp(name, "never") == 0 ? LOOK_NEVER : LOOK_AUTO;
}

void
look_choose(struct look *l, enum look_color color)
{
	l->color = color == LOOK_ALWAYS ||
	    (color == LOOK_AUTO && wants_color(l->fd));
}

void
look_measure(struct look *l)
{
	const char *columns = getenv("COLUMNS");
	struct winsize ws = { 0 };
	int64_t n;

	l->width = 100;
	l->height = 0;
	if (l->tty && ioctl(l->fd, TIOCGWINSZ, &ws) == 0) {
		l->width = ws.ws_col > 0 ? ws.ws_col : 80;
		l->height = ws.ws_row > 0 ? ws.ws_row : 24;
	}
	if (columns != NULL && str_to_int(columns, &n) && n > 0 && n < 10000)
		l->width = (int)n;
	if (l->width < 20)
		l->width = 20;
}

void
look_paint(struct str *b, const struct look *l, enum paint p, const char *text)
{
	if (l->color && p != PAINT_NONE && *text != '\0')
		str_addf(b, "\033[%sm%s\033[0m", sgr[p], text);
	else
		str_add(b, text);
}

void
look_spaces(struct str *b, int n)
{
	while (n-- > 0)
		str_addc(b, ' ');
}

/* One character: its bytes (at least 1), code point (-1: invalid), columns. */
static int
next_char(const char *s, int32_t *c, int *columns)
{
	utf8proc_int32_t v;
	utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1,
	    &v);

	if (n <= 0) {
		*c = -1;
		*columns = 1;
		return 1;
	}
	*c = v;
	*columns = utf8proc_charwidth(v);
	return (int)n;
}

int
look_columns(const char *s)
{
	int total = 0, columns;
	int32_t c;

	while (*s != '\0') {
		s += next_char(s, &c, &columns);
		total += columns;
	}
	return total;
}

const char *
look_skip(const char *s, int n)
{
	int columns;
	int32_t c;

	while (*s != '\0' && n > 0) {
		s += next_char(s, &c, &columns);
		n -= columns;
	}
	return s;
}

/* Characters that could move the cursor, reorder the line or vanish. */
static bool
is_unsafe(int32_t c)
{
	if (c < 0)
		return true;
	switch (utf8proc_category(c)) {
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CS:
	case UTF8PROC_CATEGORY_ZL:
	case UTF8PROC_CATEGORY_ZP:
		return true;
	default:
		return false;
	}
}

char *
look_clean(const struct look *l, const char *s)
{
	struct str b = STR_INIT;
	int columns;
	int32_t c;

	while (*s != '\0') {
		int n = next_char(s, &c, &columns);

		if (*s == '\t')
			str_addc(&b, ' ');
		else if (is_unsafe(c) || (l->ascii && c > 0x7e))
			str_addc(&b, '?');
		else
			str_addn(&b, s, (size_t)n);
		s += n;
	}
	return str_detach(&b);
}

void
look_cut(struct str *b, const struct look *l, const char *s, int width)
{
	const char *mark = l->ascii ? "~" : "\xe2\x80\xa6";
	int used = 0, columns;
	int32_t c;

	if (look_columns(s) <= width) {
		str_add(b, s);
		return;
	}
	while (*s != '\0') {
		int n = next_char(s, &c, &columns);

		if (used + columns > width - 1)
			break;
		str_addn(b, s, (size_t)n);
		used += columns;
		s += n;
	}
	if (width > 0)
		str_add(b, mark);
}

/* Whether word, but for punctuation after it, is a unit that no line may begin
 * with: "4.7 MiB," stays together. */
static bool
is_unit(const char *word)
{
	static const char *const units[] = { "%", "x", "k", "M", "G", "T", "B",
		"KiB", "MiB", "GiB", "TiB", "ms", "s", "min", NULL };
	size_t n = strlen(word);

	while (n > 0 && strchr(".,;:)", word[n - 1]) != NULL)
		n--;
	for (int i = 0; units[i] != NULL; i++)
		if (strlen(units[i]) == n && strncmp(units[i], word, n) == 0)
			return true;
	return false;
}

/* The next word of *s and the units that stick to it, ended by a NUL. */
static char *
next_words(char **s)
{
	char *word = *s + strspn(*s, " "), *end = word + strcspn(word, " ");

	if (*word == '\0')
		return NULL;
	while (*end == ' ') {
		char *next = end + 1, kept;
		size_t n = strcspn(next, " ");
		bool unit;

		kept = next[n];
		next[n] = '\0';
		unit = is_unit(next);
		next[n] = kept;
		if (!unit)
			break;
		end = next + n;
	}
	*s = *end == '\0' ? end : end + 1;
	*end = '\0';
	return word;
}

void
look_wrap(struct str *b, const struct look *l, int at, int indent,
    const char *s)
{
	char *clean = look_clean(l, s), *rest = clean, *word;
	int start = at;

	while ((word = next_words(&rest)) != NULL) {
		int n = look_columns(word);

		if (at > start && at + 1 + n > l->width) {
			str_addc(b, '\n');
			look_spaces(b, indent);
			at = start = indent;
		} else if (at > start) {
			str_addc(b, ' ');
			at++;
		}
		str_add(b, word);
		at += n;
	}
	str_addc(b, '\n');
	free(clean);
}
