/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The map of heads: layers by heads, one cell a head. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ui/number.h"
#include "ui/tui/map_view.h"
#include "ui/tui/score.h"

enum shade { SHADE_RELATIVE, SHADE_NORM, SHADE_IMPORTANCE };
static const char *const shades[] = {
	"L2 norm of a head, against its layer's mean",
	"L2 norm of a head",
	"importance, as `importance heads` showed it last",
	NULL
};

struct heads {
	struct map_view map;
	struct scores *scores;
};

struct scores *
scores_of(const struct app *app)
{
	const struct heads *s = app->state[VIEW_HEADS];

	return s != NULL ? s->scores : NULL;
}

/* ---- the face of the map ---- */

static int
columns(const struct app *app, int layer)
{
	const struct model *m = app_model(app);
	int most = 0;

	if (layer >= 0)
		return m->layer[layer].heads_original;
	for (int l = 0; m != NULL && l < m->nlayers; l++)
		if (m->layer[l].heads_original > most)
			most = m->layer[l].heads_original;
	return most;
}

static void
title(int column, char out[MAP_WORD])
{
	snprintf(out, MAP_WORD, "%2d", column % 100);
}

/* In a layer without attention no head can come back alone. */
static struct target
toggled(const struct app *app, int layer, int column)
{
	if (app_model(app)->layer[layer].heads == 0)
		return target_part(layer, TARGET_ATTENTION);
	return target_head(layer, column);
}

static int
column_of(const struct target *t)
{
	return t->kind == TARGET_HEAD ? t->head : -1;
}

/* NAN: not shown of this model yet, or no such head. */
static double
importance(const struct app *app, int layer, int head)
{
	const struct head_scores *h = &app->snap.heads;

	return h->v != NULL && layer < h->layers && head < h->width ?
	    h->v[layer * h->width + head] : NAN;
}

static double
value(const struct app *app, int shade, int layer, int column)
{
	double v[MODEL_HEADS_MAX], mean;

	if (shade == SHADE_IMPORTANCE)
		return importance(app, layer, column);
	mean = scores_heads(scores_of(app), app_model(app), layer, v);

	if (shade == SHADE_NORM)
		return v[column];
	return mean > 0 ? v[column] / mean : NAN;
}

static const char *
instead(const struct layer *y)
{
	return y->heads == 0 ? "no attention" : NULL;
}

static const char *
summary(const struct layer *y, char out[MAP_WORD], bool *changed)
{
	*changed = y->heads < y->heads_original;
	snprintf(out, MAP_WORD, "%d/%d", y->heads, y->heads_original);
	return out;
}

static void
say(const struct app *app, const struct target *t, struct str *out)
{
	double norm = value(app, SHADE_NORM, t->layer, t->head);
	double relative = value(app, SHADE_RELATIVE, t->layer, t->head);
	char text[NUMBER_MAX];

	number_plain(text, norm);
	str_add(out, t->path);
	if (isfinite(relative))
		str_addf(out, " norm %s, %.2f x its layer's mean", text,
		    relative);
	else if (app->snap.ghost)
		str_add(out, ": sizes only, no weights");
	if (isfinite(importance(app, t->layer, t->head))) {
		number_plain(text, importance(app, t->layer, t->head));
		str_addf(out, ", %s %s",
		    score_table[app->snap.heads.kind].name, text);
	}
}

static const struct map_face face = {
	.view = VIEW_HEADS,
	.other = VIEW_PARTS,
	.shades = shades,
	.cell_cols = 3,
	.columns = columns,
	.title = title,
	.target = target_head,
	.toggled = toggled,
	.column_of = column_of,
	.value = value,
	.instead = instead,
	.summary = summary,
	.say = say,
};

/* ---- the view ---- */

static void *
make(void)
{
	struct heads *s = xcalloc(1, sizeof(*s));

	s->map.face = &face;
	s->scores = scores_new();
	return s;
}

static void
drop(void *state)
{
	scores_free(((struct heads *)state)->scores);
	map_view_free(state);
}

static void
enter(struct app *app)
{
	map_view_enter(app, app->state[VIEW_HEADS]);
}

static void
update(struct app *app, unsigned change)
{
	map_view_update(app, app->state[VIEW_HEADS], change);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	map_view_draw(app, app->state[VIEW_HEADS], c, r);
}

static bool
act(struct app *app, enum action a)
{
	return map_view_act(app, app->state[VIEW_HEADS], a);
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	map_view_click(app, app->state[VIEW_HEADS], r, row, col);
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	return map_view_find(app, app->state[VIEW_HEADS], text, dir,
	    from_top);
}

static const char *
hint(const struct app *app, const struct key_row *k)
{
	return map_view_hint(app, app->state[VIEW_HEADS], k);
}

const struct view view_heads = {
	.id = VIEW_HEADS,
	.name = "heads",
	.title = "Heads",
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
