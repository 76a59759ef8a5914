/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The items of a sweep: which there are, what they are called. */
#include "measure/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/sweep_private.h"
#include "model/arch.h"

const char *const sweep_names[SWEEP_WHAT_COUNT + 1] = { "heads", "kept",
	"neurons", "sublayers", "layers", "bits", "sparsity", "rank", NULL };

bool
sweep_is_coded(enum sweep_what what)
{
	return what == SWEEP_BITS || what == SWEEP_SPARSITY ||
	    what == SWEEP_RANK;
}

int64_t
sweep_block(const struct model *m)
{
	int64_t most = 0;

	for (int l = 0; l < m->nlayers; l++)
		most = m->layer[l].ffn > most ? m->layer[l].ffn : most;
	return (most + 15) / 16 > 64 ? (most + 15) / 16 : 64;
}

static void
add_item(struct sweep *s, struct sweep_item x)
{
	if (s->n % 64 == 0)
		s->item = xrealloc(s->item, (size_t)(s->n + 64) *
		    sizeof(*s->item));
	s->item[s->n++] = x;
}

/* Heads that share a KV head are one. */
static void
add_heads(struct sweep *s, const struct layer *y, int l)
{
	int share = y->heads > 0 ? y->heads / y->kv_heads : 1, seen = 0;
	struct sweep_item x = { .layer = l };

	for (int h = 0; h < y->heads_original && y->heads > 0; h++) {
		if (!head_set_has(&y->head, h))
			continue;
		if (seen++ % share == 0)
			x = (struct sweep_item){ .layer = l, .index = h };
		head_set_put(&x.heads, h, true);
		if (seen % share == 0)
			add_item(s, x);
	}
}

static void
add_layer(struct sweep *s, const struct model *m, int l,
    const struct sweep_options *o)
{
	const struct layer *y = &m->layer[l];

	switch (s->what) {
	case SWEEP_HEADS:
	case SWEEP_KEPT:
		add_heads(s, y, l);
		return;
	case SWEEP_NEURONS:
		for (int64_t i = 0; i < y->ffn; i += o->block)
			add_item(s, (struct sweep_item){ .layer = l,
			    .index = i, .end = i + o->block < y->ffn ?
			    i + o->block : y->ffn });
		return;
	case SWEEP_SUBLAYERS:
		if (y->heads > 0)
			add_item(s, (struct sweep_item){ .layer = l });
		if (y->ffn > 0)
			add_item(s, (struct sweep_item){ .layer = l,
			    .index = 1 });
		return;
	default:
		add_item(s, (struct sweep_item){ .layer = l });
	}
}

static bool
is_float(const struct tensor *t)
{
	return t->form == FORM_F32 || t->form == FORM_F16 ||
	    t->form == FORM_BF16;
}

/* Only floats can be thinned or factorized, and no rank is more than a matrix
 * has. */
static bool
can_code(enum sweep_what what, const struct tensor *t, int level)
{
	if (what == SWEEP_BITS)
		return t->form != FORM_LOWRANK;
	return is_float(t) && (what == SWEEP_SPARSITY || level < 0 ||
	    (level <= t->rows && level <= t->cols));
}

/* Matrices, each once, those of the embedding first; level: one, or 0 for all. */
static void
add_matrices(struct sweep *s, const struct model *m,
    const struct sweep_options *o, int level)
{
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);
		struct slot_ref owner = model_owner(m, ref);

		if (!slot_table[ref.slot].matrix ||
		    owner.layer != ref.layer || owner.slot != ref.slot)
			continue;
		for (const int *b = o->level; *b != 0; b++)
			if ((level == 0 || level == *b) &&
			    can_code(s->what, t, *b))
				add_item(s, (struct sweep_item){
				    .layer = ref.layer, .slot = ref.slot,
				    .level = *b });
	}
}

/* Without one of them each there is nothing to remove from. */
static int64_t
count_steps(const struct sweep *s, int64_t most)
{
	int64_t n = s->n - 1;

	for (int64_t i = 1; i < s->n && s->what == SWEEP_HEADS; i++)
		n -= s->item[i].layer != s->item[i - 1].layer;
	return most > 0 && most < n ? most : n;
}

static enum pare_rc
check(const struct model *m, const struct sweep_options *o,
    struct pare_err *err)
{
	if (m->hp.head != HEAD_CLASSIFY && m->hp.head != HEAD_REGRESS &&
	    (m->hp.head != HEAD_LM || (m->arch->flags & ARCH_CAUSAL) == 0))
		return err_set(err, PARE_EUSER, "a sweep needs a model that "
		    "gives classes or a score, or that goes on with a text");
	if (o->mode == SWEEP_ALONE || (o->what != SWEEP_KEPT &&
	    (o->mode != SWEEP_GREEDY || !sweep_is_coded(o->what))))
		return PARE_OK;
	return err_set(err, PARE_EUSER, "sweep %s has no mode=%s",
	    sweep_names[o->what], o->mode == SWEEP_OTHERS ? "others" :
	    "greedy");
}

enum pare_rc
sweep_open(struct sweep *s, const struct model *m,
    const struct sweep_options *o, struct pare_err *err)
{
	bool coded = sweep_is_coded(o->what);
	enum pare_rc rc = check(m, o, err);

	memset(s, 0, sizeof(*s));
	s->what = o->what;
	s->mode = o->mode;
	if (rc != PARE_OK)
		return rc;
	/* All of a level are compared with one and the same model. */
	for (const int *b = o->level; coded && o->mode == SWEEP_OTHERS &&
	    *b != 0; b++)
		add_matrices(s, m, o, *b);
	if (coded && o->mode == SWEEP_ALONE)
		add_matrices(s, m, o, 0);
	for (int l = 0; l < m->nlayers && !coded; l++)
		add_layer(s, m, l, o);
	if (s->n == 0)
		return err_set(err, PARE_EUSER, "the model has no %s to sweep "
		    "over", coded ? "matrices" : sweep_names[o->what]);
	if (o->mode != SWEEP_GREEDY)
		return PARE_OK;
	s->wanted = count_steps(s, o->steps);
	s->step = xcalloc((size_t)s->n, sizeof(*s->step));
	if (s->wanted > 0)
		return PARE_OK;
	sweep_free(s);
	return err_set(err, PARE_EUSER, "the model has no more %s than have "
	    "to stay", sweep_names[o->what]);
}

void
sweep_free(struct sweep *s)
{
	free(s->item);
	free(s->step);
	memset(s, 0, sizeof(*s));
}

int64_t
sweep_done(const struct sweep *s)
{
	int64_t n = 0;

	if (s->mode == SWEEP_GREEDY)
		return s->nsteps;
	for (int64_t i = 0; i < s->n; i++)
		n += s->item[i].done;
	return n;
}

int64_t
sweep_total(const struct sweep *s)
{
	return s->mode == SWEEP_GREEDY ? s->wanted : s->n;
}

void
sweep_level_text(enum sweep_what what, int level, char *out, size_t n)
{
	if (what == SWEEP_BITS)
		snprintf(out, n, "%d bits", level);
	else if (what == SWEEP_SPARSITY)
		snprintf(out, n, "%d %% zeros", level);
	else if (level > 0)
		snprintf(out, n, "rank %d", level);
	else
		snprintf(out, n, "%d %% of the weights", -level);
}

/* "L3.h4", "L3.h4-7", "L3.h0,2". */
static void
heads_path(const struct sweep_item *x, char *out, size_t n)
{
	size_t at = (size_t)snprintf(out, n, "L%d.h", x->layer);
	int last = -1;

	for (int h = 0; h < MODEL_HEADS_MAX && at < n; h = last + 1) {
		last = h;
		if (!head_set_has(&x->heads, h))
			continue;
		while (last + 1 < MODEL_HEADS_MAX &&
		    head_set_has(&x->heads, last + 1))
			last++;
		at += (size_t)snprintf(out + at, n - at, last > h ?
		    "%s%d-%d" : "%s%d", h > x->index ? "," : "", h, last);
	}
}

void
sweep_path(const struct sweep *s, int64_t i, char *out, size_t n)
{
	const struct sweep_item *x = &s->item[i];
	char path[80], level[40];

	switch (s->what) {
	case SWEEP_HEADS:
	case SWEEP_KEPT:
		heads_path(x, out, n);
		return;
	case SWEEP_NEURONS:
		snprintf(out, n, "L%d.n%lld-%lld", x->layer,
		    (long long)x->index, (long long)x->end - 1);
		return;
	case SWEEP_SUBLAYERS:
		snprintf(out, n, "L%d.%s", x->layer, x->index == 0 ? "attn" :
		    "ffn");
		return;
	case SWEEP_LAYERS:
		snprintf(out, n, "L%d", x->layer);
		return;
	default:
		model_slot_path((struct slot_ref){ x->layer, x->slot }, path,
		    sizeof(path));
		sweep_level_text(s->what, x->level, level, sizeof(level));
		snprintf(out, n, "%s %s", path, level);
	}
}
