/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arg.h"
#include "base/mem.h"

static const char *const pair_names[][2] = {
	{ "sentence1", "sentence2" }, { "premise", "hypothesis" },
	{ "question1", "question2" }, { "question", "sentence" },
	{ "#1 String", "#2 String" }, { "text1", "text2" },
	{ "text_a", "text_b" }, { "question", "passage" },
	{ "query", "passage" },
};

static const char *const text_names[] = {
	"sentence", "text", "content", "review", "question", "sentence1",
	"tweet", "comment", "utterance", "query", "message", "body",
	"document", NULL
};

/* In order of preference: MNLI has label1 to label5 beside gold_label. */
static const char *const label_names[] = {
	"gold_label", "label", "labels", "quality", "is_duplicate", "target",
	"class", "score", "similarity", "stars", "intent", "category",
	"sentiment", "gold", NULL
};

/* ---- labels ---- */

static bool
find_name(const struct dataset_options *o, const char *text, int *out)
{
	for (int i = 0; i < o->nlabels; i++)
		if (strcmp(o->label_name[i], text) == 0) {
			*out = i;
			return true;
		}
	for (int i = 0; i < o->nlabels; i++)
		if (strcasecmp(o->label_name[i], text) == 0) {
			*out = i;
			return true;
		}
	return false;
}

/* JSON's own words for the two classes of a yes-or-no question. */
static bool
find_truth(const struct dataset_options *o, const char *text, int *out)
{
	*out = strcmp(text, "true") == 0;
	return o->nlabels == 2 && (*out || strcmp(text, "false") == 0);
}

enum pare_rc
label_read(const struct dataset_options *o, const char *text,
    struct sample *s)
{
	int64_t id;
	int label;

	s->label = -1;
	s->score = (double)NAN;
	if (*text == '\0' || strcmp(text, "-") == 0 || strcmp(text, "-1") == 0)
		return PARE_OK;
	if (o->regression)
		return str_to_double(text, &s->score) ? PARE_OK : PARE_EFORMAT;
	if (o->nlabels == 0 || o->label_name == NULL)
		return PARE_OK;
	if (find_name(o, text, &label) || find_truth(o, text, &label)) {
		s->label = label;
		return PARE_OK;
	}
	if (!str_to_int(text, &id) || id < 0 || id >= o->nlabels)
		return PARE_EFORMAT;
	s->label = (int)id;
	return PARE_OK;
}

/* ---- columns ---- */

/* The names of the columns, or the cells of the first row. */
struct header {
	char **name;	/* owned */
	int n;
};

static void
header_free(struct header *h)
{
	for (int i = 0; i < h->n; i++)
		free(h->name[i]);
	free(h->name);
}

static int
find_column(const struct header *h, const char *name)
{
	for (int i = 0; i < h->n; i++)
		if (strcasecmp(h->name[i], name) == 0)
			return i;
	return -1;
}

static int
find_any(const struct header *h, const char *const *names)
{
	for (; *names != NULL; names++) {
		int i = find_column(h, *names);

		if (i >= 0)
			return i;
	}
	return -1;
}

static void
find_texts(const struct header *h, struct columns *c)
{
	for (size_t i = 0; i < sizeof(pair_names) / sizeof(*pair_names); i++) {
		int a = find_column(h, pair_names[i][0]);
		int b = find_column(h, pair_names[i][1]);

		if (a >= 0 && b >= 0) {
			c->text = a;
			c->pair = b;
			return;
		}
	}
	c->text = find_any(h, text_names);
}

/* A cell of a row as a string without white space around it. */
static char *
cell_text(const struct table_row *row, int i)
{
	const char *s = i < row->n ? row->cell[i].s : NULL;
	size_t n = s != NULL ? row->cell[i].n : 0;

	while (n > 0 && strchr(" \t\r\n", s[0]) != NULL) {
		s++;
		n--;
	}
	while (n > 0 && strchr(" \t\r\n", s[n - 1]) != NULL)
		n--;
	/* No name or label is longer; a hostile cell may be. */
	return n > 0 ? xstrndup(s, n < 4096 ? n : 4096) : xstrdup("");
}

static void
header_of(const struct table *t, const struct table_row *row,
    struct header *h)
{
	bool json = t->kind == TABLE_JSONL || t->kind == TABLE_JSON;

	h->n = json ? t->keys : row->n;
	h->name = xcalloc((size_t)h->n + 1, sizeof(*h->name));
	for (int i = 0; i < h->n; i++)
		h->name[i] = json ? xstrdup(t->key[i]) : cell_text(row, i);
}

/* The columns there are, for messages. */
static char *
list_columns(const struct header *h)
{
	struct str b = STR_INIT;

	for (int i = 0; i < h->n && b.n < 240; i++)
		str_addf(&b, "%s%d=%.40s", i == 0 ? "" : ", ", i + 1,
		    h->name[i]);
	return str_detach(&b);
}

static bool
is_number(const char *s)
{
	int64_t v;

	return s != NULL && str_to_int(s, &v);
}

static enum pare_rc
resolve(const struct header *h, const struct table *t, const char *role,
    const char *option, int *out, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	char *list;
	int64_t v;

	if (option == NULL)
		return PARE_OK;
	list = list_columns(h);
	if (str_to_int(option, &v)) {
		if (v < 1 || v > h->n || v > TABLE_COLUMNS)
			rc = err_set(err, PARE_EFORMAT, "%s: %s=%.40s, but the"
			    " file has %d column%s (%s)", t->name, role,
			    option, h->n, h->n == 1 ? "" : "s", list);
		*out = (int)v - 1;
	} else {
		*out = find_column(h, option);
		if (*out < 0)
			rc = err_set(err, PARE_EFORMAT, "%s: there is no "
			    "column '%.40s' for %s; the columns are %s",
			    t->name, option, role, list);
	}
	free(list);
	return rc;
}

static bool
is_known_in(const struct header *h, int column, const char *const *names)
{
	if (column < 0 || column >= h->n)
		return false;
	for (; *names != NULL; names++)
		if (strcasecmp(h->name[column], *names) == 0)
			return true;
	return false;
}

static bool
is_label(const struct dataset_options *o, const char *text)
{
	struct sample s;
	double d;

	if (label_read(o, text, &s) != PARE_OK)
		return false;
	/* Without names any text is a label; a number among them tells. */
	return o->regression || o->nlabels > 0 || str_to_double(text, &d);
}

/* Of options that are all numbers: is the first row a header? */
static bool
looks_like_header(const struct table *t, const struct header *h,
    const struct dataset_options *o, const struct columns *c)
{
	struct table ahead = *t;
	struct table_row *row = xcalloc(1, sizeof(*row));
	bool known = false, more = false, first, second = false;

	for (size_t i = 0; i < sizeof(pair_names) / sizeof(*pair_names); i++)
		for (int k = 0; k < 2; k++) {
			const char *const one[] = { pair_names[i][k], NULL };

			known = known || is_known_in(h, c->text, one) ||
			    is_known_in(h, c->pair, one);
		}
	known = known || is_known_in(h, c->text, text_names) ||
	    is_known_in(h, c->label, label_names);
	if (!known && c->label >= 0 && c->label < h->n) {
		first = is_label(o, h->name[c->label]);
		if (table_next(&ahead, row, &more, NULL) == PARE_OK && more &&
		    table_next(&ahead, row, &more, NULL) == PARE_OK && more) {
			char *text = cell_text(row, c->label);

			second = is_label(o, text);
			free(text);
		}
		known = !first && second;
	}
	table_row_free(row);
	free(row);
	return known;
}

static enum pare_rc
no_text(const struct table *t, const struct header *h, struct pare_err *err)
{
	char *list = list_columns(h);

	err_set(err, PARE_EFORMAT, "%s: no column is known to hold the text; "
	    "the first row has %s", t->name, list);
	err_hint(err, "say which by number or name, as text=1 label=2");
	free(list);
	return PARE_EFORMAT;
}

static enum pare_rc
choose(const struct table *t, const struct header *h,
    const struct dataset_options *o, struct columns *c, struct pare_err *err)
{
	const char *const option[] = { o->text, o->pair, o->label };
	bool json = t->kind == TABLE_JSONL || t->kind == TABLE_JSON;
	bool given = false, named = json;

	for (int i = 0; i < 3; i++) {
		given = given || option[i] != NULL;
		named = named || (option[i] != NULL && !is_number(option[i]));
	}
	if (resolve(h, t, "text", o->text, &c->text, err) != PARE_OK ||
	    resolve(h, t, "pair", o->pair, &c->pair, err) != PARE_OK ||
	    resolve(h, t, "label", o->label, &c->label, err) != PARE_OK)
		return PARE_EFORMAT;
	c->has_header = named || (given && looks_like_header(t, h, o, c));
	if (o->text == NULL && (named || !given || c->has_header)) {
		struct columns found = { -1, -1, -1, false };

		find_texts(h, &found);
		c->text = found.text;
		if (o->pair == NULL)
			c->pair = found.pair;
		c->has_header = c->has_header || found.text >= 0;
	}
	if (c->text < 0)
		return no_text(t, h, err);
	if (o->label == NULL && c->has_header)
		c->label = find_any(h, label_names);
	return PARE_OK;
}

static void
say_columns(const struct header *h, const struct columns *c, struct str *said)
{
	const int column[] = { c->text, c->pair, c->label };
	static const char *const role[] = { "text", "pair", "label" };

	for (int i = 0; i < 3; i++) {
		char *name;

		if (column[i] < 0)
			continue;
		name = c->has_header ? arg_quote(h->name[column[i]])
		    : str_format("%d", column[i] + 1);
		str_addf(said, "%s%s=%s", said->n == 0 ? "" : " ", role[i],
		    name);
		free(name);
	}
}

enum pare_rc
columns_find(const struct table *t, const struct dataset_options *o,
    struct columns *out, struct str *said, struct pare_err *err)
{
	struct table ahead = *t;
	struct table_row *row = xcalloc(1, sizeof(*row));
	struct header h = { 0 };
	bool more = false;
	enum pare_rc rc;

	*out = (struct columns){ -1, -1, -1, false };
	rc = table_next(&ahead, row, &more, err);
	if (rc == PARE_OK && !more)
		rc = err_set(err, PARE_EFORMAT, "%s: no examples: the file is "
		    "empty", t->name);
	if (rc == PARE_OK && t->kind == TABLE_TEXT) {
		out->text = 0;
	} else if (rc == PARE_OK) {
		header_of(t, row, &h);
		rc = choose(t, &h, o, out, err);
		if (rc == PARE_OK)
			say_columns(&h, out, said);
		/* The keys of JSON are no row of their own. */
		if (t->kind == TABLE_JSONL || t->kind == TABLE_JSON)
			out->has_header = false;
	}
	header_free(&h);
	table_row_free(row);
	free(row);
	return rc;
}
