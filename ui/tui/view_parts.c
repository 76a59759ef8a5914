/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The map of parts: layers by attention and FFN. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ui/number.h"
#include "ui/tui/map_view.h"
#include "ui/tui/score.h"

enum { COLUMNS = 2 };

enum shade { SHADE_SPREAD, SHADE_NORM };
static const char *const shades[] = {
	"root mean square of the weights of a part",
	"L2 norm of the matrices of a part",
	NULL
};

static const enum target_kind kinds[COLUMNS] = { TARGET_ATTENTION,
	TARGET_FFN };

/* Weights of the matrices of a part. */
static double
part_weights(const struct layer *y, enum target_kind kind)
{
	static const enum slot slots[COLUMNS][4] = {
		{ SLOT_Q_W, SLOT_K_W, SLOT_V_W, SLOT_O_W },
		{ SLOT_UP_W, SLOT_GATE_W, SLOT_DOWN_W, SLOT_UP_B }
	};
	int k = kind == TARGET_FFN, used = k ? 3 : 4;
	double n = 0;

	for (int i = 0; i < used; i++) {
		const struct tensor *t = y->t[slots[k][i]];

		n += t != NULL ? (double)t->rows * (double)t->cols : 0;
	}
	return n;
}

/* ---- the face of the map ---- */

static int
columns(const struct app *app, int layer)
{
	return COLUMNS;
}

static void
title(int column, char out[MAP_WORD])
{
	snprintf(out, MAP_WORD, "%s", column == 0 ? "attention" : "FFN");
}

static struct target
target(int layer, int column)
{
	return target_part(layer, kinds[column]);
}

static struct target
toggled(const struct app *app, int layer, int column)
{
	return target(layer, column);
}

static int
column_of(const struct target *t)
{
	return t->kind == TARGET_FFN ? 1 : t->kind == TARGET_ATTENTION ||
	    t->kind == TARGET_HEAD ? 0 : -1;
}

static double
value(const struct app *app, int shade, int layer, int column)
{
	const struct model *m = app_model(app);
	double norm = scores_part(scores_of(app), m, layer, kinds[column]);

	return shade == SHADE_NORM ? norm :
	    norm / sqrt(part_weights(&m->layer[layer], kinds[column]));
}

/* What is left of a part: "3/4 heads", "3072 wide". */
static const char *
word(const struct app *app, int layer, int column, char out[MAP_WORD],
    bool *changed)
{
	const struct layer *y = &app_model(app)->layer[layer];

	*changed = column == 1 ? y->ffn != y->ffn_original :
	    y->heads != y->heads_original;
	if (column == 1 ? y->ffn == 0 : y->heads == 0)
		return "removed";
	if (column == 0)
		snprintf(out, MAP_WORD, "%d/%d heads", y->heads,
		    y->heads_original);
	else if (*changed)
		snprintf(out, MAP_WORD, "%lld/%lld", (long long)y->ffn,
		    (long long)y->ffn_original);
	else
		snprintf(out, MAP_WORD, "%lld wide", (long long)y->ffn);
	return out;
}

static void
say(const struct app *app, const struct target *t, struct str *out)
{
	double norm = scores_part(scores_of(app), app_model(app), t->layer,
	    t->kind);
	char a[NUMBER_MAX], b[NUMBER_MAX];

	number_plain(a, norm);
	number_count(b, part_weights(&app_model(app)->layer[t->layer],
	    t->kind));
	if (isfinite(norm))
		str_addf(out, "%s norm %s, %s weights", t->path, a, b);
	else
		str_addf(out, "%s %s weights%s", t->path, b, app->snap.ghost ?
		    ": sizes only" : "");
}

static const struct map_face face = {
	.view = VIEW_PARTS,
	.other = VIEW_HEADS,
	.shades = shades,
	.cell_lead = 1,
	.columns = columns,
	.title = title,
	.target = target,
	.toggled = toggled,
	.column_of = column_of,
	.value = value,
	.word = word,
	.say = say,
};

/* ---- the view ---- */

static void *
make(void)
{
	struct map_view *v = xcalloc(1, sizeof(*v));

	v->face = &face;
	return v;
}

static void
drop(void *state)
{
	map_view_free(state);
}

static void
enter(struct app *app)
{
	map_view_enter(app, app->state[VIEW_PARTS]);
}

static void
update(struct app *app, unsigned change)
{
	map_view_update(app, app->state[VIEW_PARTS], change);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	map_view_draw(app, app->state[VIEW_PARTS], c, r);
}

static bool
act(struct app *app, enum action a)
{
	return map_view_act(app, app->state[VIEW_PARTS], a);
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	map_view_click(app, app->state[VIEW_PARTS], r, row, col);
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	return map_view_find(app, app->state[VIEW_PARTS], text, dir,
	    from_top);
}

static const char *
hint(const struct app *app, const struct key_row *k)
{
	return map_view_hint(app, app->state[VIEW_PARTS], k);
}

const struct view view_parts = {
	.id = VIEW_PARTS,
	.name = "parts",
	.title = "Attention and FFN",
	.detail = true,
	.history = true,
	.main_cols = 46,
	.make = make,
	.drop = drop,
	.enter = enter,
	.update = update,
	.draw = draw,
	.act = act,
	.click = click,
	.find = find,
	.hint = hint,
};
