/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/number.h"
#include "ui/tui/view.h"

void
sheet_free(struct sheet *s)
{
	if (s->filled) {
		account_free(&s->layers);
		account_free(&s->modules);
		account_free(&s->kinds);
		account_free(&s->tensors);
	}
	memset(s, 0, sizeof(*s));
}

void
sheet_update(struct sheet *s, const struct app *app, unsigned change)
{
	const struct model *m = app_model(app);
	const unsigned other = CHANGE_EVAL | CHANGE_LATENCY | CHANGE_SIZE |
	    CHANGE_DATA;

	if (s->filled && (change & ~other) == 0)
		return;
	sheet_free(s);
	if (m == NULL)
		return;
	s->seq = app->snap.seq > 0 ? app->snap.seq : ACCOUNT_SEQ_DEFAULT;
	account_rows(m, NULL, BY_LAYER, s->seq, false, &s->layers);
	account_rows(m, NULL, BY_MODULE, s->seq, false, &s->modules);
	account_rows(m, NULL, BY_KIND, s->seq, false, &s->kinds);
	account_rows(m, NULL, BY_TENSOR, s->seq, false, &s->tensors);
	s->filled = true;
}

const struct account_row *
sheet_find(const struct sheet *s, const char *path)
{
	const struct account *const all[] = { &s->layers, &s->modules,
		&s->tensors };

	for (int k = 2; k >= 0 && s->filled; k--)
		for (int i = 0; i < all[k]->n; i++)
			if (strcmp(all[k]->row[i].path, path) == 0)
				return &all[k]->row[i];
	return NULL;
}

const struct account_row *
sheet_total(const struct sheet *s)
{
	return s->filled ? &s->layers.total : NULL;
}

static bool
begins(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(path, prefix, n) == 0 &&
	    (n == 0 || path[n] == '.' || path[n] == '\0');
}

static void
fill_row(struct facts_row *out, const struct account_row *r, int cut,
    const struct account_row *whole, int64_t seq)
{
	char a[NUMBER_MAX];

	out->name = r->path + ((int)strlen(r->path) > cut ? cut : 0);
	number_count(a, (double)r->params);
	snprintf(out->cell[0], sizeof(out->cell[0]), "%.20s", a);
	number_percent(a, (double)r->params / (double)whole->params);
	snprintf(out->cell[1], sizeof(out->cell[1]), "%.20s",
	    whole->params > 0 ? a : "-");
	number_bytes(a, (double)r->bytes);
	snprintf(out->cell[2], sizeof(out->cell[2]), "%.20s", a);
	snprintf(out->cell[3], sizeof(out->cell[3]), "%.20s", r->form);
	number_count(a, (double)r->macs / (double)seq);
	snprintf(out->cell[4], sizeof(out->cell[4]), "%.20s", a);
}

void
sheet_table(struct facts *f, const struct account *a, const char *prefix,
    int cut, const struct account_row *whole)
{
	static const char *const titles[] = { "params", "share", "bytes",
		"form", "MACs/token" };
	struct facts_row *row = xcalloc((size_t)a->n + 1, sizeof(*row));
	int n = 0;

	for (int i = 0; i < a->n; i++)
		if (begins(a->row[i].path, prefix))
			fill_row(&row[n++], &a->row[i], cut, whole, a->seq);
	facts_table(f, titles, 5, row, n);
	free(row);
}

void
sheet_tensors(struct facts *f, const struct sheet *s, const char *path)
{
	static const char *const titles[] = { "shape", "form", "bytes" };
	const struct account *a = &s->tensors;
	struct facts_row *row = xcalloc((size_t)a->n + 1, sizeof(*row));
	int n = 0, cut = (int)strlen(path) + 1;

	for (int i = 0; i < a->n; i++) {
		const struct account_row *r = &a->row[i];
		struct facts_row *to = &row[n];
		char bytes[NUMBER_MAX];

		if (!begins(r->path, path) || r->cols == 0)
			continue;
		n++;
		to->name = (int)strlen(r->path) > cut ? r->path + cut :
		    r->path;
		if (r->matrix)
			snprintf(to->cell[0], sizeof(to->cell[0]),
			    "%lld x %lld", (long long)r->rows,
			    (long long)r->cols);
		else
			snprintf(to->cell[0], sizeof(to->cell[0]), "%lld",
			    (long long)r->cols);
		snprintf(to->cell[1], sizeof(to->cell[1]), "%.20s", r->form);
		number_bytes(bytes, (double)r->bytes);
		snprintf(to->cell[2], sizeof(to->cell[2]), "%.20s",
		    r->tied_to[0] != '\0' ? "tied" : bytes);
	}
	if (n > 0) {
		facts_rule(f, "Tensors");
		facts_table(f, titles, 3, row, n);
	}
	free(row);
}
