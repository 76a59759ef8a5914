/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a plan picks, and the lines of ops that do it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "ops/common.h"
#include "session/plan_book.h"

void
plan_pick_init(struct plan_pick *p, const struct plan_book *b)
{
	p->shape = xcalloc((size_t)b->nparts + 1, sizeof(*p->shape));
	p->form = xcalloc((size_t)b->nparts + 1, sizeof(*p->form));
	p->gone = xcalloc((size_t)b->model->nlayers + 1, sizeof(*p->gone));
}

void
plan_pick_free(struct plan_pick *p)
{
	free(p->shape);
	free(p->form);
	free(p->gone);
	memset(p, 0, sizeof(*p));
}

void
plan_pick_copy(struct plan_pick *to, const struct plan_book *b,
    const struct plan_pick *from)
{
	size_t n = (size_t)b->nparts;

	plan_pick_init(to, b);
	memcpy(to->shape, from->shape, n * sizeof(*to->shape));
	memcpy(to->form, from->form, n * sizeof(*to->form));
	memcpy(to->gone, from->gone, (size_t)b->model->nlayers *
	    sizeof(*to->gone));
}

void
plan_pick_of(struct plan_pick *p, const struct plan_book *b,
    const struct plan_offer *o, const short *choice)
{
	plan_pick_init(p, b);
	for (int u = 0; u < o->n; u++) {
		const struct plan_set *x = &o->set[o->unit[u].
		    option[choice[u]].id];

		if (x->gone >= 0)
			p->gone[x->gone] = true;
		for (int k = 0; k < 2 && x->gone < 0; k++)
			if (x->part[k] >= 0) {
				p->shape[x->part[k]] = x->shape[k];
				p->form[x->part[k]] = x->form[k];
			}
	}
}

struct writer {
	const struct plan_book *b;
	const struct plan_pick *p;
	bool *mark;		/* of layers, as they are numbered by then */
	int *now;		/* a layer's number after others went; -1: gone */
	int left;
	char **line;
	int n;
};

static void
add_line(struct writer *w, char *line)
{
	w->line = xrealloc(w->line, (size_t)(w->n + 2) * sizeof(*w->line));
	w->line[w->n++] = line;
	w->line[w->n] = NULL;
}

static void
clear_marks(struct writer *w)
{
	memset(w->mark, 0, (size_t)w->b->model->nlayers * sizeof(*w->mark));
}

/* Marks the layers of a part that are still there; whether there are any. */
static bool
mark_part(struct writer *w, const struct plan_part *x)
{
	bool any = false;

	for (int l = 0; l < w->b->model->nlayers && x->of != NULL; l++)
		if (x->of[l] && w->now[l] >= 0)
			w->mark[w->now[l]] = any = true;
	return any;
}

static const struct plan_shape *
shape_of(const struct writer *w, int part)
{
	return &w->b->part[part].shape[w->p->shape[part]];
}

static bool
part_there(const struct writer *w, int part)
{
	const struct plan_part *x = &w->b->part[part];

	return x->layer < 0 || w->now[x->layer] >= 0;
}

static void
write_layers(struct writer *w)
{
	struct str s = STR_INIT;
	int n = w->b->model->nlayers;

	for (int l = 0; l < n; l++)
		w->now[l] = w->p->gone[l] ? -1 : w->left++;
	if (w->left == n)
		return;
	ops_layers_text(w->p->gone, n, &s);
	add_line(w, str_format("prune layers %s", s.s));
	str_free(&s);
}

/* Sub-layers that go. */
static void
write_gone(struct writer *w, enum plan_kind kind)
{
	struct str s = STR_INIT;

	clear_marks(w);
	for (int i = 0; i < w->b->nparts; i++)
		if (w->b->part[i].kind == kind &&
		    shape_of(w, i)->kind == SHAPE_GONE)
			mark_part(w, &w->b->part[i]);
	ops_layers_text(w->mark, w->left, &s);
	if (s.n > 0)
		add_line(w, str_format("prune %s %s", kind == PLAN_ATTENTION ?
		    "attention" : "ffn", s.s));
	str_free(&s);
}

/* "0,2-3": the heads of a part's groups that go. */
static void
heads_text(const struct plan_book *b, const struct plan_part *x, int64_t keep,
    struct str *out)
{
	const struct layer *y = &b->model->layer[x->layer];
	int share = y->heads / y->kv_heads, at = 0, run = -1;
	bool goes[MODEL_HEADS_MAX + 1] = { false };

	for (int64_t i = 0; i < x->size - keep; i++)
		goes[x->order[i]] = true;
	for (int h = 0; h <= y->heads_original; h++) {
		bool there = h < y->heads_original &&
		    head_set_has(&y->head, h);
		bool takes = there && goes[at / share];

		at += there;
		if (takes && run < 0)
			run = h;
		if (takes || run < 0)
			continue;
		str_addf(out, "%s%d", out->n > 0 ? "," : "", run);
		if (h - 1 > run)
			str_addf(out, "-%d", h - 1);
		run = -1;
	}
}

static void
write_heads(struct writer *w)
{
	struct str line = STR_INIT;

	for (int i = 0; i < w->b->nparts; i++) {
		const struct plan_part *x = &w->b->part[i];
		struct str layers = STR_INIT, heads = STR_INIT;

		if (x->kind != PLAN_ATTENTION || !part_there(w, i) ||
		    shape_of(w, i)->kind != SHAPE_CUT)
			continue;
		clear_marks(w);
		mark_part(w, x);
		ops_layers_text(w->mark, w->left, &layers);
		heads_text(w->b, x, shape_of(w, i)->keep, &heads);
		str_addf(&line, " %s.h%s", layers.s, heads.s);
		str_free(&layers);
		str_free(&heads);
	}
	if (line.n > 0)
		add_line(w, str_format("prune heads%s repair=refit", line.s));
	str_free(&line);
}

/* FFNs that lose equally many neurons share a line. */
static void
write_neurons(struct writer *w)
{
	bool *done = xcalloc((size_t)w->b->nparts + 1, sizeof(*done));

	for (int i = 0; i < w->b->nparts; i++) {
		int64_t goes = w->b->part[i].size - shape_of(w, i)->keep;
		struct str s = STR_INIT;

		if (done[i] || w->b->part[i].kind != PLAN_FFN)
			continue;
		clear_marks(w);
		for (int k = i; k < w->b->nparts; k++) {
			const struct plan_part *x = &w->b->part[k];

			if (x->kind != PLAN_FFN || shape_of(w, k)->kind !=
			    SHAPE_CUT || x->size - shape_of(w, k)->keep !=
			    goes)
				continue;
			done[k] = true;
			mark_part(w, x);
		}
		ops_layers_text(w->mark, w->left, &s);
		if (s.n > 0)
			add_line(w, str_format("prune neurons %lld %s "
			    "by=fisher repair=refit", (long long)goes, s.s));
		str_free(&s);
	}
	free(done);
}

/* The parts of layers that get such a shape: " L0,2.attn L1.ffn". */
static void
add_shaped(struct writer *w, enum plan_shape_kind shape, int64_t keep,
    struct str *line)
{
	for (int kind = PLAN_ATTENTION; kind <= PLAN_FFN; kind++) {
		struct str layers = STR_INIT;

		clear_marks(w);
		for (int i = 0; i < w->b->nparts; i++)
			if ((int)w->b->part[i].kind == kind &&
			    shape_of(w, i)->kind == shape &&
			    shape_of(w, i)->keep == keep)
				mark_part(w, &w->b->part[i]);
		ops_layers_text(w->mark, w->left, &layers);
		if (layers.n > 0)
			str_addf(line, " %s.%s", layers.s, kind ==
			    PLAN_ATTENTION ? "attn" : "ffn");
		str_free(&layers);
	}
}

static void
write_zeros(struct writer *w)
{
	for (size_t k = 0; k < PLAN_SHARES; k++) {
		struct str s = STR_INIT;

		add_shaped(w, SHAPE_SPARSE, plan_zeros[k], &s);
		if (s.n > 0)
			add_line(w, str_format("prune weights %lld%%%s "
			    "scope=module", (long long)plan_zeros[k], s.s));
		str_free(&s);
	}
}

static void
write_ranks(struct writer *w)
{
	for (size_t k = 0; k < PLAN_SHARES; k++) {
		struct str s = STR_INIT;

		add_shaped(w, SHAPE_RATIO, plan_ratios[k], &s);
		if (s.n > 0)
			add_line(w, str_format("factorize%s ratio=%lld%%",
			    s.s, (long long)plan_ratios[k]));
		str_free(&s);
	}
	for (int i = 0; i < w->b->nparts; i++)
		if (shape_of(w, i)->kind == SHAPE_RANK)
			add_line(w, str_format("factorize %s rank=%lld",
			    w->b->part[i].target,
			    (long long)shape_of(w, i)->keep));
}

/* The parts of one kind that get a form: " L0,2.attn". */
static void
add_coded(struct writer *w, const char *form, enum plan_kind kind,
    struct str *line)
{
	struct str layers = STR_INIT;

	clear_marks(w);
	for (int i = 0; i < w->b->nparts; i++) {
		const struct plan_part *x = &w->b->part[i];
		const char *f = x->form[w->p->form[i]];

		if (x->kind != kind || f == NULL || strcmp(f, form) != 0 ||
		    shape_of(w, i)->kind == SHAPE_GONE)
			continue;
		if (kind == PLAN_MATRIX)
			str_addf(line, " %s", x->target);
		else
			mark_part(w, x);
	}
	ops_layers_text(w->mark, w->left, &layers);
	if (layers.n > 0)
		str_addf(line, " %s.%s", layers.s, kind == PLAN_ATTENTION ?
		    "attn" : "ffn");
	str_free(&layers);
}

static void
write_forms(struct writer *w, const char *const *form, bool outer)
{
	for (; *form != NULL; form++) {
		struct str s = STR_INIT;

		if (!outer) {
			add_coded(w, *form, PLAN_ATTENTION, &s);
			add_coded(w, *form, PLAN_FFN, &s);
		} else {
			add_coded(w, *form, PLAN_MATRIX, &s);
		}
		if (s.n > 0)
			add_line(w, str_format("quantize%s %s", s.s, *form));
		str_free(&s);
	}
}

char **
plan_lines(const struct plan_book *b, const struct plan_pick *p, int *n)
{
	size_t layers = (size_t)b->model->nlayers;
	struct writer w = { .b = b, .p = p };

	w.mark = xcalloc(layers + 1, sizeof(*w.mark));
	w.now = xcalloc(layers + 1, sizeof(*w.now));
	w.line = xcalloc(1, sizeof(*w.line));
	write_layers(&w);
	write_gone(&w, PLAN_ATTENTION);
	write_gone(&w, PLAN_FFN);
	write_heads(&w);
	write_neurons(&w);
	write_zeros(&w);
	write_ranks(&w);
	write_forms(&w, plan_layer_forms, false);
	write_forms(&w, plan_outer_forms, true);
	free(w.mark);
	free(w.now);
	*n = w.n;
	return w.line;
}

void
plan_lines_free(char **line)
{
	for (char **p = line; line != NULL && *p != NULL; p++)
		free(*p);
	free(line);
}

char *
plan_part_text(const struct plan_book *b, const struct plan_pick *p, int part)
{
	const struct plan_part *x = &b->part[part];
	const struct plan_shape *y = &x->shape[p->shape[part]];
	const char *form = x->form[p->form[part]];
	struct str s = STR_INIT;

	if ((x->layer >= 0 && p->gone[x->layer]) || y->kind == SHAPE_GONE)
		return xstrdup("gone");
	if (y->kind == SHAPE_RANK)
		str_addf(&s, "rank %lld", (long long)y->keep);
	else if (y->kind == SHAPE_RATIO)
		str_addf(&s, "low ranks of %lld%%", (long long)y->keep);
	else if (y->kind == SHAPE_SPARSE)
		str_addf(&s, "%lld%% zeros", (long long)y->keep);
	else if (y->kind == SHAPE_CUT)
		str_addf(&s, "%lld of %lld %s", (long long)y->keep,
		    (long long)x->size, x->kind == PLAN_FFN ? "neurons" :
		    b->model->layer[x->layer].kv_heads <
		    b->model->layer[x->layer].heads ? "groups of heads" :
		    "heads");
	if (form != NULL)
		str_addf(&s, "%s%.*s", s.n > 0 ? ", " : "",
		    (int)(strlen(form) - (str_has_suffix(form,
		    " method=gptq") ? strlen(" method=gptq") : 0)), form);
	return s.n > 0 ? str_detach(&s) : xstrdup("as it is");
}
