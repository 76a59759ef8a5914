/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/map.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/number.h"

enum { SHADES = 9 };

/* ---- rows ---- */

static bool
same_layer(const struct layer *a, const struct layer *b)
{
	return memcmp(a->t, b->t, sizeof(a->t)) == 0;
}

/* Where the layers of child were in parent. Removing layers leaves the others
 * as they are, so each is found by its tensors; false where that is ambiguous
 * (layers that share weights) or not so. */
static bool
follow(const struct model *parent, const struct model *child, int *was)
{
	if (parent->nlayers == child->nlayers) {
		for (int l = 0; l < child->nlayers; l++)
			was[l] = l;
		return true;
	}
	for (int l = 0; l < child->nlayers; l++) {
		was[l] = -1;
		for (int k = 0; k < parent->nlayers; k++) {
			if (!same_layer(&child->layer[l], &parent->layer[k]))
				continue;
			if (was[l] >= 0)
				return false;
			was[l] = k;
		}
		if (was[l] < 0)
			return false;
	}
	return true;
}

/* origin[l]: the original layer of layer l of the current model. */
static bool
trace(const struct app *app, int *origin, int *was)
{
	const struct snapshot *s = &app->snap;
	int n = app_model(app)->nlayers;

	for (int l = 0; l < n; l++)
		origin[l] = l;
	for (int id = s->current; s->state[id].parent >= 0;
	    id = s->state[id].parent) {
		if (!follow(s->state[s->state[id].parent].model,
		    s->state[id].model, was))
			return false;
		for (int l = 0; l < n; l++)
			origin[l] = was[origin[l]];
	}
	return true;
}

void
map_rows_make(struct map_rows *rows, const struct app *app)
{
	const struct model *m = app_model(app);
	int *origin, *was, all;

	map_rows_free(rows);
	if (m == NULL)
		return;
	all = app_original(app)->model->nlayers;
	origin = xcalloc((size_t)m->nlayers, sizeof(*origin));
	was = xcalloc((size_t)(all > m->nlayers ? all : m->nlayers),
	    sizeof(*was));
	rows->known = trace(app, origin, was);
	rows->removed = all - m->nlayers;
	rows->n = rows->known ? all : m->nlayers;
	rows->layer = xcalloc((size_t)rows->n, sizeof(*rows->layer));
	for (int i = 0; i < rows->n; i++)
		rows->layer[i] = rows->known ? -1 : i;
	for (int l = 0; l < m->nlayers && rows->known; l++)
		rows->layer[origin[l]] = l;
	free(origin);
	free(was);
}

void
map_rows_free(struct map_rows *rows)
{
	free(rows->layer);
	memset(rows, 0, sizeof(*rows));
}

int
map_row_of(const struct map_rows *rows, int layer)
{
	for (int i = 0; i < rows->n && layer >= 0; i++)
		if (rows->layer[i] == layer)
			return i;
	return -1;
}

int
map_row_next(const struct map_rows *rows, int row, int dir)
{
	for (; row >= 0 && row < rows->n; row += dir)
		if (rows->layer[row] >= 0)
			return row;
	return -1;
}

int
map_row_move(const struct map_rows *rows, enum action a, int row, int page)
{
	int to = row, found;

	page = page > 1 ? page - 1 : 1;
	switch (a) {
	case ACT_UP: to--; break;
	case ACT_DOWN: to++; break;
	case ACT_PAGE_UP: to -= page; break;
	case ACT_PAGE_DOWN: to += page; break;
	case ACT_FIRST: to = 0; break;
	case ACT_LAST: to = rows->n - 1; break;
	default: return row;
	}
	to = to > rows->n - 1 ? rows->n - 1 : to < 0 ? 0 : to;
	found = map_row_next(rows, to, to >= row && a != ACT_FIRST ? 1 : -1);
	if (found < 0)
		found = map_row_next(rows, to, to > row && a != ACT_FIRST ?
		    -1 : 1);
	return found < 0 ? row : found;
}

void
map_row_name(const struct map_rows *rows, int row, char out[24])
{
	if (rows->layer[row] >= 0)
		snprintf(out, 24, "L%d", rows->layer[row]);
	else
		snprintf(out, 24, "(%d)", row);
}

int
map_name_cols(const struct map_rows *rows)
{
	char name[24];
	int most = 2;

	for (int i = 0; i < rows->n; i++) {
		map_row_name(rows, i, name);
		most = (int)strlen(name) > most ? (int)strlen(name) : most;
	}
	return most;
}

/* ---- shades ---- */

void
map_range_add(struct map_range *r, double v)
{
	if (!isfinite(v))
		return;
	if (r->n == 0 || v < r->low)
		r->low = v;
	if (r->n == 0 || v > r->high)
		r->high = v;
	r->n++;
}

double
map_range_step(const struct map_range *r)
{
	double most = fmax(fabs(r->low), fabs(r->high));

	return fmax((r->high - r->low) / SHADES, MAP_LEAST_STEP * most);
}

/* 1 to 9, the middle of the range at 5: what is there is never blank. */
static int
level(double v, const struct map_range *r)
{
	double step = map_range_step(r), middle = (r->low + r->high) / 2;
	int n = step > 0 ? 5 + (int)floor((v - middle) / step + 0.5) : 5;

	return n > SHADES ? SHADES : n < 1 ? 1 : n;
}

void
map_put_shade(struct cells *c, int row, int col, double v,
    const struct map_range *r)
{
	if (isfinite(v))
		cells_put(c, row, col, 2,
		    (unsigned)(STYLE_HEAT0 + level(v, r)),
		    glyph(c, (enum glyph)(GLYPH_HEAT0 + level(v, r))));
	else
		cells_put(c, row, col, 2, STYLE_DIM, "??");
}

void
map_put_pruned(struct cells *c, int row, int col, int width, const char *text)
{
	int n = cells_putf(c, row, col, width < 2 ? width : 2, STYLE_CHANGED,
	    "%s%s", glyph(c, GLYPH_PRUNED), glyph(c, GLYPH_PRUNED)) + 1;

	cells_put(c, row, col + n, width - n, STYLE_DIM, text);
}

void
map_put_cursor(struct cells *c, int row, int col)
{
	cells_put(c, row, col - 1, 1, STYLE_KEY, "[");
	cells_put(c, row, col + 2, 1, STYLE_KEY, "]");
	cells_select(c, (struct rect){ row, col, 1, 2 });
}

/* A shade and what it stands for; returns the column after it. */
static int
put_key(struct cells *c, int row, int at, int end, double v,
    const struct map_range *range, const char *more)
{
	if (end - at < 4)
		return end;
	map_put_shade(c, row, at, v, range);
	return at + 3 + cells_putf(c, row, at + 3, end - at - 3, STYLE_DIM,
	    "%.3g%s", v, more);
}

/* ", step 4 %", of the largest value; nothing where all are 0. */
static void
step_text(const struct map_range *r, char out[NUMBER_MAX])
{
	double share = map_range_step(r) / fmax(fabs(r->low), fabs(r->high));

	out[0] = '\0';
	if (isfinite(share))
		snprintf(out, NUMBER_MAX, ", step %.0f %%", 100 * share);
}

void
map_put_legend(struct cells *c, int row, struct rect r,
    const struct map_range *range)
{
	enum { REST = 32 };	/* columns of all but the step, at most */
	int at = r.col, end = r.col + r.cols;
	char step[NUMBER_MAX];

	if (range->n > 0) {
		step_text(range, step);
		if (REST + look_columns(step) > r.cols)
			step[0] = '\0';
		at = put_key(c, row, at, end, range->low, range, " to ");
		/* One shade for all of them is shown once. */
		if (level(range->low, range) == level(range->high, range))
			at += cells_putf(c, row, at, end - at, STYLE_DIM,
			    "%.3g%s", range->high, step);
		else
			at = put_key(c, row, at, end, range->high, range,
			    step);
		at += 3;
	}
	map_put_pruned(c, row, at, end - at, "pruned");
}
