/* SPDX-License-Identifier: GPL-3.0-or-later */
/* generate: the original's text and the current one's side by side. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ui/doc.h"
#include "ui/number.h"
#include "ui/render.h"
#include "ui/table.h"

enum { NARROW = 60 };	/* columns below which texts stand one over the other */

/* ---- a text in lines ---- */

/* The lines of a text at a width, "" where the text has an empty one. */
struct lines {
	struct str text;	/* of all, each ended by '\0' */
	int n;
	int parts;		/* the first line with what differs; n: none */
};

static const char *
next_line(const char *s)
{
	return s + strlen(s) + 1;
}

/* One line of the text, wrapped. */
static void
add_paragraph(struct lines *to, const struct look *l, const char *s)
{
	struct str b = STR_INIT;

	look_wrap(&b, l, 0, 0, s);
	for (char *p = b.n > 0 ? b.s : NULL; p != NULL && *p != '\0';) {
		char *end = strchr(p, '\n');

		if (end != NULL)
			*end = '\0';
		str_addn(&to->text, p, strlen(p) + 1);
		to->n++;
		p = end != NULL ? end + 1 : NULL;
	}
	str_free(&b);
}

static void
add_lines(struct lines *to, const struct look *l, const char *s, size_t n)
{
	struct str one = STR_INIT;

	for (size_t i = 0; i <= n; i++) {
		if (i < n && s[i] != '\n') {
			str_addc(&one, s[i]);
			continue;
		}
		add_paragraph(to, l, one.n > 0 ? one.s : "");
		str_clear(&one);
	}
	str_free(&one);
}

/* The text with a mark at byte `differ`; past its end: none. */
static void
make_lines(struct lines *to, const struct look *l, const char *s,
    size_t differ, int width)
{
	struct look narrow = *l;
	struct str marked = STR_INIT;

	narrow.width = width < 20 ? 20 : width;
	memset(to, 0, sizeof(*to));
	if (differ >= strlen(s)) {
		add_lines(to, &narrow, s, strlen(s));
		to->parts = to->n;
		return;
	}
	add_lines(to, &narrow, s, differ);
	to->parts = to->n > 0 ? to->n - 1 : 0;
	str_free(&to->text);
	to->n = 0;
	str_addn(&marked, s, differ);
	str_add(&marked, l->ascii ? ">>" : "\xc2\xbb");
	str_add(&marked, s + differ);
	add_lines(to, &narrow, marked.s, marked.n);
	str_free(&marked);
}

/* Where two texts first differ, at the beginning of a word. */
static size_t
first_difference(const char *a, const char *b)
{
	size_t i = 0;

	while (a[i] != '\0' && a[i] == b[i])
		i++;
	if (a[i] == '\0' && b[i] == '\0')
		return i;
	while (i > 0 && (unsigned char)a[i - 1] > ' ')
		i--;
	return i;
}

/* ---- what it draws ---- */

static void
title(struct str *b, const struct look *l, const json_t *doc)
{
	struct str line = STR_INIT;
	size_t n = json_array_size(doc_get(doc, "prompt_ids"));
	double t = doc_real(doc, "temperature");

	if (*doc_text(doc, "prompt") != '\0')
		str_addf(&line, "\"%s\" ", doc_text(doc, "prompt"));
	str_addf(&line, "(%zu token%s) and up to %lld more",
	    n, n == 1 ? "" : "s",
	    (long long)doc_int(doc, "n"));
	if (t > 0)
		str_addf(&line, ", temperature %g", t);
	if (t > 0 && doc_int(doc, "top_k") > 0)
		str_addf(&line, ", of the %lld likeliest",
		    (long long)doc_int(doc, "top_k"));
	if (t > 0 && doc_real(doc, "top_p") < 1)
		str_addf(&line, ", of %g of the probability",
		    doc_real(doc, "top_p"));
	if (t > 0)
		str_addf(&line, ", seed %lld", (long long)doc_int(doc,
		    "seed"));
	str_add(&line, doc_true(doc, "partial") ? "; stopped" : "");
	look_paint(b, l, PAINT_TITLE, "generate");
	str_addc(b, ' ');
	look_wrap(b, l, 9, 2, line.s);
	str_free(&line);
}

/* The text of a side, or its ids where nobody can spell them. */
static char *
side_text(const json_t *side)
{
	const json_t *ids = doc_get(side, "ids");
	struct str b = STR_INIT;

	if (doc_has(side, "text")) {
		str_add(&b, doc_text(side, "text"));
		return str_detach(&b);
	}
	for (size_t i = 0; i < json_array_size(ids); i++)
		str_addf(&b, "%s%lld", i > 0 ? " " : "",
		    (long long)json_integer_value(json_array_get(ids, i)));
	return str_detach(&b);
}

static void
side_title(char *out, size_t n, const json_t *side)
{
	const long long state = (long long)doc_int(side, "state");

	if (state == 0)
		snprintf(out, n, "original");
	else
		snprintf(out, n, "state %lld", state);
}

static void
draw_over(struct str *b, const struct look *l, const json_t *side,
    const char *text, size_t differ)
{
	struct lines lines;
	const char *s;
	char name[32];

	side_title(name, sizeof(name), side);
	look_spaces(b, 2);
	look_paint(b, l, PAINT_DIM, name);
	str_addc(b, '\n');
	make_lines(&lines, l, text, differ, l->width - 2);
	s = lines.text.s;
	for (int i = 0; i < lines.n; i++, s = next_line(s)) {
		look_spaces(b, 2);
		look_paint(b, l, i >= lines.parts ? PAINT_WARN : PAINT_NONE,
		    s);
		str_addc(b, '\n');
	}
	str_free(&lines.text);
}

static void
draw_beside(struct str *b, const struct look *l, const json_t *side[2],
    char *const text[2], size_t differ)
{
	struct table *t = table_new();
	struct lines lines[2];
	const char *s[2];
	char name[2][32];

	for (int k = 0; k < 2; k++) {
		side_title(name[k], sizeof(name[k]), side[k]);
		table_column(t, name[k], TABLE_LEFT, 0);
		make_lines(&lines[k], l, text[k], differ, (l->width - 6) / 2);
		s[k] = lines[k].text.s;
	}
	for (int i = 0; i < lines[0].n || i < lines[1].n; i++) {
		table_row(t);
		for (int k = 0; k < 2; k++) {
			table_cell(t, i >= lines[k].parts ? PAINT_WARN :
			    PAINT_NONE, i < lines[k].n ? s[k] : "");
			if (i < lines[k].n)
				s[k] = next_line(s[k]);
		}
	}
	table_draw(t, b, l, 2);
	table_free(t);
	str_free(&lines[0].text);
	str_free(&lines[1].text);
}

static void
draw_end(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *side[2] = { doc_get(doc, "original"),
		doc_get(doc, "current") };
	struct str line = STR_INIT;

	if (doc_has(doc, "differ") && doc_int(doc, "differ") == 0)
		str_add(&line, "the first tokens differ; ");
	else if (doc_has(doc, "differ"))
		str_addf(&line, "the first %lld token%s the same; ",
		    (long long)doc_int(doc, "differ"),
		    doc_int(doc, "differ") == 1 ? " is" : "s are");
	else if (json_is_object(side[0]))
		str_add(&line, "all tokens are the same; ");
	for (int k = 0; k < 2; k++) {
		char name[32];

		if (!json_is_object(side[k]))
			continue;
		side_title(name, sizeof(name), side[k]);
		str_addf(&line, "%s%s %s after %lld",
		    k > 0 && json_is_object(side[0]) ? ", " : "", name,
		    strcmp(doc_text(side[k], "end"), "stop") == 0 ?
		    "ends its text" : "was cut off",
		    (long long)doc_int(side[k], "n"));
	}
	look_spaces(b, 2);
	look_wrap(b, l, 2, 2, line.s);
	str_free(&line);
}

void
render_generate(struct str *b, const struct look *l, const json_t *doc)
{
	const json_t *side[2] = { doc_get(doc, "original"),
		doc_get(doc, "current") };
	char *text[2] = { side_text(side[0]), side_text(side[1]) };
	bool two = json_is_object(side[0]);
	size_t differ = !two || !doc_has(doc, "differ") ? SIZE_MAX :
	    first_difference(text[0], text[1]);

	title(b, l, doc);
	if (two && l->width >= NARROW && !l->linear) {
		draw_beside(b, l, side, text, differ);
	} else {
		if (two)
			draw_over(b, l, side[0], text[0], differ);
		draw_over(b, l, side[1], text[1], differ);
	}
	draw_end(b, l, doc);
	free(text[0]);
	free(text[1]);
}
