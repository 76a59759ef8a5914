/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The model as a whole; and what is left when no other detail fits: embeddings,
 * pooler, the model's head. */
#include "ui/tui/view.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/arch.h"
#include "ui/number.h"
#include "ui/tui/sheet.h"

struct plain {
	struct sheet sheet;
	int skip;
};

static bool
fits(const struct app *app, const struct target *t)
{
	return true;
}

static void *
make(void)
{
	return xcalloc(1, sizeof(struct plain));
}

static void
drop(void *state)
{
	struct plain *s = state;

	sheet_free(&s->sheet);
	free(s);
}

static void
update(struct app *app, unsigned change)
{
	struct plain *s = detail_state(app, &detail_plain);

	sheet_update(&s->sheet, app, change);
	if ((change & (CHANGE_TARGET | CHANGE_OPENED)) != 0)
		s->skip = 0;
}

/* ---- drawing ---- */

/* "12", or "12 11 12" where layers differ. */
static void
list_sizes(const struct model *m, bool ffn, struct str *out)
{
	bool same = true;

	for (int l = 1; l < m->nlayers; l++)
		same = same && (ffn ? m->layer[l].ffn == m->layer[0].ffn :
		    m->layer[l].heads == m->layer[0].heads);
	for (int l = 0; l < (same ? 1 : m->nlayers); l++)
		str_addf(out, "%s%lld", l > 0 ? " " : "", ffn ?
		    (long long)m->layer[l].ffn :
		    (long long)m->layer[l].heads);
}

static void
draw_shape(struct facts *f, const struct model *m)
{
	struct str b = STR_INIT;

	facts_put(f, "layers", "%d, %lld wide", m->nlayers,
	    (long long)m->hp.hidden);
	list_sizes(m, false, &b);
	facts_put(f, "heads", "%s, %d to a head", b.s, m->layer[0].head_dim);
	str_clear(&b);
	list_sizes(m, true, &b);
	facts_put(f, "FFN", "%s", b.s);
	facts_put(f, "vocabulary", "%lld of %lld, %lld positions",
	    (long long)m->hp.vocab, (long long)m->hp.embed,
	    (long long)m->hp.positions);
	str_free(&b);
}

static void
draw_labels(struct facts *f, const struct model *m)
{
	static const char *const tasks[] = { "none", "classification",
		"regression", "masked words" };
	struct str b = STR_INIT;
	char name[128];

	facts_put(f, "task", "%s", tasks[m->hp.head]);
	if (m->hp.head != HEAD_CLASSIFY)
		return;
	for (int64_t k = 0; k < m->hp.labels && b.n < 200; k++) {
		model_label_name(m, (int)k, name, sizeof(name));
		str_addf(&b, "%s%s", k > 0 ? ", " : "", name);
	}
	facts_put(f, "classes", "%s", b.s);
	str_free(&b);
}

static void
draw_model(struct facts *f, const struct app *app, const struct plain *s)
{
	const struct model *m = app_model(app);
	const char *name = m->origin != NULL ? m->origin->name : NULL;

	facts_title(f, name != NULL ? name : "model", "%s", m->arch->title);
	draw_shape(f, m);
	draw_labels(f, m);
	if (app->snap.ghost)
		facts_put(f, "weights", "none: opened from a config alone");
	if (!s->sheet.filled)
		return;
	facts_sizes(f, sheet_total(&s->sheet), NULL, s->sheet.seq);
	facts_put(f, "tensors", "%d, %d of them tied", s->sheet.layers.tensors,
	    s->sheet.layers.tied);
	facts_rule(f, "Kinds");
	sheet_table(f, &s->sheet.kinds, "", 0, sheet_total(&s->sheet));
	facts_rule(f, "Layers");
	sheet_table(f, &s->sheet.layers, "", 0, sheet_total(&s->sheet));
}

static const char *
kind_text(enum target_kind kind)
{
	switch (kind) {
	case TARGET_EMBEDDING: return "words, positions and segments";
	case TARGET_POOLER: return "token 0 for the head";
	case TARGET_OUTPUT: return "what the model answers with";
	default: return "";
	}
}

static void
draw_part(struct facts *f, const struct app *app, const struct plain *s)
{
	const char *path = app->target.path;
	const struct account_row *row = sheet_find(&s->sheet, path);

	facts_title(f, path, "%s", kind_text(app->target.kind));
	if (row != NULL)
		facts_sizes(f, row, sheet_total(&s->sheet), s->sheet.seq);
	if (s->sheet.filled)
		sheet_tensors(f, &s->sheet, path);
}

static int
paint(const struct app *app, const struct plain *s, struct cells *c,
    struct rect r)
{
	struct facts f = facts_begin(c, r, s->skip);

	if (app_model(app) == NULL)
		return 0;
	if (app->target.kind == TARGET_MODEL)
		draw_model(&f, app, s);
	else
		draw_part(&f, app, s);
	return f.line;
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	paint(app, detail_state(app, &detail_plain), c, r);
}

static bool
act(struct app *app, enum action a)
{
	struct plain *s = detail_state(app, &detail_plain);
	struct rect r = app->layout.pane[PANE_DETAIL];
	struct cells none = { 0 };
	int skip = facts_scroll(a, s->skip, paint(app, s, &none, r), r.rows);

	if (skip == s->skip)
		return false;
	s->skip = skip;
	app_dirty(app);
	return true;
}

const struct detail detail_plain = {
	.name = "plain",
	.fits = fits,
	.make = make,
	.drop = drop,
	.update = update,
	.draw = draw,
	.act = act,
};
