/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gaps are closed from the bottom up, each with the layers beneath as they are by
 * then, so that what is left of an error below is made up for above.
 */
#include "ops/bridge.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/arch.h"
#include "ops/common.h"

/* What is fitted to what: at most two a gap. */
struct plank {
	struct match_ask ask;
	bool norm;		/* it gets the norm of that layer */
};

struct bridge {
	const struct op_input *in;
	struct plank *plank;
	int n;
	double before, after, energy;	/* of all gaps, behind them */
	int left;		/* planks that did nothing */
};

static void
add_plank(struct bridge *b, int now, enum slot slot, int then, bool norm)
{
	b->plank[b->n++] = (struct plank){ { { now, slot }, { then, slot } },
		norm };
}

/* The gap [first, last] of the old numbering, with `at` layers left before it. */
static enum pare_rc
span(struct bridge *b, int first, int last, int at, struct pare_err *err)
{
	const struct model *m = b->in->model;
	bool post = (m->arch->flags & ARCH_PRE_NORM) == 0;
	const struct layer *behind = last + 1 < m->nlayers ?
	    &m->layer[last + 1] : NULL;

	if (first > 0 && m->layer[first - 1].ffn > 0) {
		add_plank(b, at - 1, SLOT_DOWN_W, last, post);
		return PARE_OK;
	}
	if (behind != NULL && behind->heads > 0)
		add_plank(b, at, SLOT_O_W, last + 1, false);
	if (behind != NULL && behind->ffn > 0)
		add_plank(b, at, SLOT_DOWN_W, last + 1, false);
	if (behind != NULL && (behind->heads > 0 || behind->ffn > 0))
		return PARE_OK;
	err_set(err, PARE_EUSER, "repair: no FFN stands before L%d, and "
	    "nothing behind", first);
	return err_hint(err, "repair=none");
}

static enum pare_rc
find_planks(struct bridge *b, const bool *drop, struct pare_err *err)
{
	int at = 0, n = b->in->model->nlayers;
	enum pare_rc rc = PARE_OK;

	for (int l = 0; l < n && rc == PARE_OK; l++) {
		int last = l;

		if (!drop[l]) {
			at++;
			continue;
		}
		while (last + 1 < n && drop[last + 1])
			last++;
		rc = span(b, l, last, at, err);
		l = last;
	}
	return rc;
}

static void
take_norm(struct edit *e, int now, const struct layer *from)
{
	static const enum slot norm[] = { SLOT_FNORM_W, SLOT_FNORM_B };

	for (int i = 0; i < 2; i++)
		if (from->t[norm[i]] != NULL)
			edit_set(e, (struct slot_ref){ now, norm[i] },
			    tensor_ref(from->t[norm[i]]));
}

static enum pare_rc
fit(struct bridge *b, const struct plank *p, const struct model *now,
    struct model **out, struct pare_err *err)
{
	const struct op_reconstruct *by = b->in->calib->reconstruct;
	struct match_report quiet = { 0 };
	struct match k;
	struct edit *e;
	enum pare_rc rc = by->match(by, now, &p->ask, &k, b->in->task,
	    err);

	if (rc != PARE_OK)
		return rc;
	e = edit_begin(now, EDIT_REAL, 0, b->in->task);
	rc = match_fit(e, p->ask.now, &k, &quiet, err);
	match_free(&k);
	if (rc == PARE_OK && p->norm)
		take_norm(e, p->ask.now.layer,
		    &b->in->model->layer[p->ask.then.layer]);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

/* One plank: *now becomes the model with it, unless the stream is no nearer
 * then. */
static enum pare_rc
lay(struct bridge *b, const struct plank *p, struct model **now,
    struct pare_err *err)
{
	const struct op_reconstruct *by = b->in->calib->reconstruct;
	struct model *next = NULL;
	double before = 0, after = 0, energy = 0;
	enum pare_rc rc = by->off(by, *now, &p->ask, &before, &energy,
	    b->in->task, err);

	if (rc == PARE_OK)
		rc = fit(b, p, *now, &next, err);
	if (rc == PARE_OK)
		rc = by->off(by, next, &p->ask, &after, &energy,
		    b->in->task, err);
	if (rc != PARE_OK) {
		model_unref(next);
		return rc;
	}
	b->before += before;
	b->after += after < before ? after : before;
	b->energy += energy;
	b->left += !(after < before);
	if (after < before) {
		model_unref(*now);
		*now = next;
	} else {
		model_unref(next);
	}
	return PARE_OK;
}

static enum pare_rc
without(const struct model *m, const bool *drop, struct model **out,
    struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	enum pare_rc rc = PARE_OK;

	for (int l = m->nlayers - 1; l >= 0 && rc == PARE_OK; l--)
		if (drop[l])
			rc = edit_drop_layer(e, l, err);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

static enum pare_rc
build(struct bridge *b, struct edit *e, const bool *drop, struct pare_err *err)
{
	struct model *now = NULL;
	enum pare_rc rc = without(b->in->model, drop, &now, err);

	for (int i = 0; i < b->n && rc == PARE_OK; i++)
		rc = lay(b, &b->plank[i], &now, err);
	if (rc == PARE_OK)
		ops_take_layers(e, now);
	model_unref(now);
	return rc;
}

static void
tell(const struct bridge *b, struct str *note)
{
	if (!(b->energy > 0))
		return;
	ops_note(note, "what flows on where they were is %.3g %% off without "
	    "the refit, %.3g %% with it", 100 * b->before / b->energy,
	    100 * b->after / b->energy);
	if (b->left > 0)
		ops_note(note, "it did nothing for %d of %d matrices", b->left,
		    b->n);
}

enum pare_rc
bridge_layers(const struct op_input *in, struct edit *e, const bool *drop,
    struct str *note, struct pare_err *err)
{
	struct bridge b = { .in = in, .plank = xcalloc(2 *
	    (size_t)in->model->nlayers, sizeof *b.plank) };
	enum pare_rc rc = find_planks(&b, drop, err);

	for (int i = 0; i < b.n && rc == PARE_OK; i++)
		rc = match_check(e->m, b.plank[i].ask.now, "repair", err);
	if (rc == PARE_OK && !e->ctx.estimate) {
		rc = in->calib == NULL || in->calib->reconstruct == NULL ?
		    score_missing("repair", err) : build(&b, e, drop, err);
		if (rc == PARE_OK)
			tell(&b, note);
	}
	free(b.plank);
	return rc;
}
