/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

/* The value of an argument that not every op has. */
static const struct arg_value *
find_arg(const struct arg_list *a, const char *name)
{
	for (int i = 0; i < a->n; i++)
		if (strcmp(a->spec[i].name, name) == 0)
			return &a->v[i];
	return NULL;
}

enum pare_rc
ops_what_read(const struct op_input *in, struct ops_what *w,
    struct pare_err *err)
{
	const struct arg_value *amount = find_arg(in->args, "amount");
	const struct arg_value *target = find_arg(in->args, "target");
	enum pare_rc rc = PARE_OK;

	memset(w, 0, sizeof *w);
	if (amount != NULL && amount->has) {
		w->amount = *amount;
		w->amount.s = NULL;
		w->has_amount = true;
	}
	if (target != NULL && target->has)
		w->target = xstrdup(target->s);
	if (w->target != NULL)
		rc = select_parse(in->model, w->target, &w->sel, err);
	else
		select_all(in->model, &w->sel);
	if (rc != PARE_OK) {
		free(w->target);
		memset(w, 0, sizeof *w);
	}
	return rc;
}

void
ops_what_free(struct ops_what *w)
{
	free(w->target);
	select_free(&w->sel);
	memset(w, 0, sizeof *w);
}

int64_t
ops_amount_now(const struct op_input *in, const struct arg_value *v,
    int64_t total, int64_t left)
{
	int64_t want = arg_amount(v, total), gone = total - left;

	if (in->rounds == NULL)
		return want;
	want = want * in->rounds->round / in->rounds->of - gone;
	return want > 0 ? want : 0;
}

void
ops_amount_text(const struct arg_value *v, int64_t total, const char *things,
    char *out, size_t n)
{
	if (v->is_share)
		snprintf(out, n, "%.6g %% of %lld %s", 100 * v->d,
		    (long long)total, things);
	else
		snprintf(out, n, "%lld of %lld %s", (long long)v->i,
		    (long long)total, things);
}

bool
ops_layer_picked(const struct selection *s, int layer, uint32_t slots)
{
	const struct select_layer *l = &s->layer[layer];

	return s->all || l->whole || (l->slots & slots) != 0;
}

bool
ops_is_embedding(enum slot slot)
{
	return slot == SLOT_WORD || slot == SLOT_POSITION ||
	    slot == SLOT_TYPE;
}

/* The other end of a tied decoder; false when ref has none. */
static bool
tied_partner(const struct model *m, struct slot_ref ref, struct slot_ref *out)
{
	if (ref.slot != SLOT_WORD && ref.slot != SLOT_HOUT_W)
		return false;
	*out = (struct slot_ref){ -1,
	    ref.slot == SLOT_WORD ? SLOT_HOUT_W : SLOT_WORD };
	return model_slot(m, ref) == model_slot(m, *out);
}

static bool
wanted(const struct model *m, const struct selection *s, struct slot_ref ref,
    enum ops_want want)
{
	struct slot_ref other;

	if (slot_table[ref.slot].matrix != (want == OPS_MATRICES))
		return false;
	return select_has(s, ref) ||
	    (tied_partner(m, ref, &other) && select_has(s, other));
}

void
ops_slots_of(const struct model *m, const struct selection *s,
    enum ops_want want, struct ops_slots *out)
{
	struct slot_ref ref = SLOT_REF_START;
	int cap = 0;

	memset(out, 0, sizeof *out);
	while (model_next_slot(m, &ref)) {
		if (!wanted(m, s, ref, want))
			continue;
		if (out->n == cap) {
			cap = cap == 0 ? 64 : 2 * cap;
			out->ref = xrealloc(out->ref,
			    (size_t)cap * sizeof *out->ref);
		}
		out->ref[out->n++] = ref;
	}
	out->first = xcalloc((size_t)out->n + 1, sizeof *out->first);
	for (int i = 0; i < out->n; i++) {
		const struct tensor *t = model_slot(m, out->ref[i]);

		while (model_slot(m, out->ref[out->first[i]]) != t)
			out->first[i]++;
	}
}

void
ops_slots_free(struct ops_slots *s)
{
	free(s->ref);
	free(s->first);
	memset(s, 0, sizeof *s);
}

bool
ops_on_base(const struct model *m, const struct tensor *t)
{
	const struct tensor *base = tensor_base(t);
	struct slot_ref ref = SLOT_REF_START;

	if (base != t && base->values <= FORM_BF16)
		return true;
	while (model_next_slot(m, &ref))
		if (model_slot(m, ref) != t &&
		    tensor_base(model_slot(m, ref)) == base)
			return true;
	return false;
}

bool
ops_has_weights(const struct model *m)
{
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(m, &ref))
		if (model_slot(m, ref)->ghost)
			return false;
	return true;
}

/* Two matrices that stand on one base, each with a low rank of its own. */
static bool
is_based(const struct tensor *a, const struct tensor *b)
{
	return a != NULL && b != NULL && a != b &&
	    tensor_base(a) == tensor_base(b);
}

/* Where matrices have one base, biases are each layer's own. */
static bool
layers_tied(const struct layer *a, const struct layer *b, uint32_t slots,
    bool heads)
{
	bool based = false;

	if (heads && memcmp(&a->head, &b->head, sizeof a->head) != 0)
		return false;
	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		based = based || ((slots & OPS_BIT(s)) != 0 &&
		    is_based(a->t[s], b->t[s]));
	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		if ((slots & OPS_BIT(s)) != 0 && a->t[s] != b->t[s] &&
		    !is_based(a->t[s], b->t[s]) &&
		    (!based || slot_table[s].matrix))
			return false;
	return true;
}

void
ops_groups(const struct model *m, uint32_t slots, bool heads,
    const bool *pick, int *group)
{
	for (int l = 0; l < m->nlayers; l++) {
		group[l] = pick[l] ? l : -1;
		for (int k = 0; k < l && pick[l]; k++)
			if (group[k] == k && layers_tied(&m->layer[k],
			    &m->layer[l], slots, heads)) {
				group[l] = k;
				break;
			}
	}
}

enum pare_rc
ops_squares(const struct tensor *t, double *row, double *col,
    struct pare_err *err)
{
	float *buf = mem_big((size_t)t->cols, sizeof *buf, err);

	if (buf == NULL)
		return PARE_ENOMEM;
	for (int64_t r = 0; r < t->rows; r++) {
		double sum = 0;

		tensor_decode(t, r, 1, buf);
		for (int64_t c = 0; c < t->cols; c++) {
			double sq = (double)buf[c] * buf[c];

			sum += sq;
			if (col != NULL)
				col[c] += sq;
		}
		if (row != NULL)
			row[r] += sum;
	}
	free(buf);
	return PARE_OK;
}

static int
unit_compare(const void *pa, const void *pb)
{
	const struct ops_unit *a = pa, *b = pb;

	if (a->score != b->score)
		return a->score < b->score ? -1 : 1;
	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	return (a->layer > b->layer) - (a->layer < b->layer);
}

void
ops_units_rank(struct ops_unit *u, int64_t n)
{
	qsort(u, (size_t)n, sizeof *u, unit_compare);
}

void
ops_units_shuffle(struct ops_unit *u, int64_t n, uint64_t seed)
{
	struct rng r;

	rng_seed(&r, seed);
	for (int64_t i = 0; i < n; i++)
		u[i].score = rng_uniform(&r);
	ops_units_rank(u, n);
}

void
ops_note(struct str *note, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (note->n > 0)
		str_add(note, ". ");
	str_add(note, text);
}

void
ops_layers_text(const bool *mark, int n, struct str *out)
{
	bool any = false;

	for (int l = 0; l < n; l++) {
		int end = l;

		if (!mark[l])
			continue;
		while (end + 1 < n && mark[end + 1])
			end++;
		str_addf(out, "%s%d", any ? "," : "L", l);
		if (end > l)
			str_addf(out, "-%d", end);
		any = true;
		l = end;
	}
}

/* Whether layers a and b have one tensor in slot s, or stand on one base. */
static bool
on_one(const struct model *m, int a, int b, int s)
{
	const struct tensor *x = m->layer[a].t[s], *y = m->layer[b].t[s];

	return x == y || (x != NULL && y != NULL &&
	    tensor_base(x) == tensor_base(y));
}

/* The first slot whose tensor was shared by layers that the edit has split. */
static bool
find_split(const struct edit *e, int *layer, int *slot)
{
	const struct model *was = e->source, *is = e->m;

	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		for (int a = 0; a < was->nlayers; a++)
			for (int b = a + 1; b < was->nlayers; b++)
				if (was->layer[a].t[s] != NULL &&
				    on_one(was, a, b, s) &&
				    !on_one(is, a, b, s)) {
					*layer = a;
					*slot = s;
					return true;
				}
	return false;
}

void
ops_note_unshared(const struct edit *e, struct str *note)
{
	const struct model *was = e->source, *is = e->m;
	struct str left = STR_INIT, right = STR_INIT;
	struct totals before, after;
	char count[32];
	bool *mark;
	int a, s;

	if (was->nlayers != is->nlayers || !find_split(e, &a, &s))
		return;
	account_totals(was, 1, false, &before);
	account_totals(is, 1, false, &after);
	if (after.params <= before.params)
		return;
	mark = xcalloc((size_t)was->nlayers, sizeof *mark);
	for (int l = 0; l < was->nlayers; l++)
		mark[l] = on_one(was, l, a, s) && on_one(is, l, a, s);
	ops_layers_text(mark, was->nlayers, &left);
	for (int l = 0; l < was->nlayers; l++)
		mark[l] = on_one(was, l, a, s) && !on_one(is, l, a, s);
	ops_layers_text(mark, was->nlayers, &right);
	str_count(count, sizeof count, (double)(after.params - before.params));
	ops_note(note, "%s and %s no longer share %s: +%s parameters", left.s,
	    right.s, module_kind_names[slot_table[s].kind], count);
	str_free(&left);
	str_free(&right);
	free(mark);
}

int64_t
ops_least(const struct arg_list *args)
{
	const char *text = arg_text(args, "target");
	int64_t n;

	if (text == NULL || strncmp(text, "least ", 6) != 0 ||
	    !str_to_int(text + 6, &n) || n < 1)
		return 0;
	return n;
}

void
ops_take_layers(struct edit *e, const struct model *m)
{
	for (int l = 0; l < m->nlayers; l++)
		for (int s = 0; s < SLOT_LAYER_COUNT; s++) {
			struct slot_ref ref = { l, (enum slot)s };
			struct tensor *t = model_slot(m, ref);

			if (t != NULL && t != edit_get(e, ref))
				edit_set(e, ref, tensor_ref(t));
		}
}
