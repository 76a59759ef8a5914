/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The model as a whole; and what is left when no other detail fits: embeddings,
 * pooler, the model's head. */
#include "ui/tui/view.h"

#include "base/str.h"
#include "model/arch.h"
#include "ui/number.h"
#include "ui/tui/page.h"

static bool
fits(const struct app *app, const struct target *t)
{
	return true;
}

static void
update(struct app *app, unsigned change)
{
	page_update(app, detail_state(app, &detail_plain), change);
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
draw_model(struct facts *f, const struct app *app, const struct page *p)
{
	const struct model *m = app_model(app);
	const char *name = m->origin != NULL ? m->origin->name : NULL;

	facts_title(f, name != NULL ? name : "model", "%s", m->arch->title);
	draw_shape(f, m);
	draw_labels(f, m);
	if (app->snap.ghost)
		facts_put(f, "weights", "none: opened from a config alone");
	if (!p->sheet.filled)
		return;
	facts_sizes(f, sheet_total(&p->sheet), NULL, p->sheet.seq);
	facts_put(f, "tensors", "%d, %d of them tied", p->sheet.layers.tensors,
	    p->sheet.layers.tied);
	facts_rule(f, "Kinds");
	sheet_table(f, &p->sheet.kinds, "", 0, sheet_total(&p->sheet));
	facts_rule(f, "Layers");
	sheet_table(f, &p->sheet.layers, "", 0, sheet_total(&p->sheet));
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
draw_part(struct facts *f, const struct app *app, const struct page *p)
{
	const char *path = app->target.path;
	const struct account_row *row = sheet_find(&p->sheet, path);

	facts_title(f, path, "%s", kind_text(app->target.kind));
	if (row != NULL)
		facts_sizes(f, row, sheet_total(&p->sheet), p->sheet.seq);
	if (p->sheet.filled)
		sheet_tensors(f, &p->sheet, path);
}

static void
paint(struct facts *f, const struct app *app, const struct page *p)
{
	if (app_model(app) == NULL)
		return;
	if (app->target.kind == TARGET_MODEL)
		draw_model(f, app, p);
	else
		draw_part(f, app, p);
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	page_draw(app, detail_state(app, &detail_plain), paint, c, r);
}

static bool
act(struct app *app, enum action a)
{
	return page_scroll(app, detail_state(app, &detail_plain), paint, a);
}

const struct detail detail_plain = {
	.name = "plain",
	.fits = fits,
	.make = page_make,
	.drop = page_drop,
	.update = update,
	.draw = draw,
	.act = act,
};
