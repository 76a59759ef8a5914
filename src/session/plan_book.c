/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/plan_book.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "measure/calibrate.h"
#include "measure/probe.h"
#include "ops/common.h"
#include "session/calibration.h"
#include "session/work.h"
#include "tensor/kernel.h"

const char *const plan_family_names[PLAN_FAMILIES + 1] = { "prune", "layers",
	"quantize", "factorize", "sparse", NULL };

/* Shares of heads and neurons that may stay. */
static const double cuts[] = { 0.75, 0.5, 0.25, 0.125, 0.0625 };
static const double ranks[] = { 0.5, 0.25, 0.125 };
/* Of the matrices of a layer's part: percent of the parameters that low ranks
 * keep, percent of the weights that become zero. */
static const int64_t ratios[] = { 50, 25 };
static const int64_t zeros[] = { 50, 75 };

/* How matrices may be coded, in layers and outside them: there no products are
 * made up for, so no method=gptq. */
static const char *const layer_forms[] = { "bits=8",
	"bits=5 method=gptq", "bits=4 method=gptq", "bits=3 group=64 method=gptq",
	"bits=3 method=gptq", "bits=2 scheme=affine group=32 method=gptq",
	"bits=2 scheme=affine group=64 method=gptq",
	"bits=1 scheme=binary group=row", NULL };
static const char *const outer_forms[] = { "bits=8", "bits=5", "bits=4",
	"bits=4 scheme=kmeans", "bits=3", "bits=3 scheme=kmeans",
	"bits=2 scheme=kmeans group=row", "bits=2 scheme=kmeans",
	"bits=1 scheme=binary group=row", NULL };

/* ---- progress ---- */

static void
pass_on(struct task *task, double done, double total, const char *what)
{
	struct plan_progress *p = task->ctx;
	double share = total > 0 ? done / total : 0;

	if (!task_tick(p->outer, p->done + fmin(fmax(share, 0), 1), p->total,
	    p->what))
		atomic_store(&task->cancel, true);
}

void
plan_progress_init(struct plan_progress *p, struct task *outer, double total,
    const char *what)
{
	memset(p, 0, sizeof(*p));
	atomic_init(&p->task.cancel, false);
	p->task.tick = pass_on;
	p->task.ctx = p;
	p->outer = outer;
	p->total = total;
	p->what = what;
}

/* ---- what was measured before ---- */

/* A line, or several, applied to the model. */
struct kept_one {
	uint64_t line;
	double kl, loss, value;
	int32_t few;
	float right;		/* of tokens */
};

struct plan_kept {
	uint64_t key;
	int n, cap;
	struct kept_one *one;
	bool dirty;
};

enum { KEPT_VERSION = 1 };

/* More than any divergence, or loss, that can be measured. */
#define WORST 1e6

static void
kept_open(struct session *s, struct plan_book *b)
{
	uint64_t v[] = { KEPT_VERSION, model_hash(b->model), b->data,
		(uint64_t)b->samples, (uint64_t)cpu_level(), 0x706c616e };
	struct plan_kept *k = xcalloc(1, sizeof(*k));
	size_t n = 0;
	void *data;

	k->key = hash_bytes(v, sizeof(v), hash_text(kernel_blas_name(), 11));
	data = settings_bool(s->settings, SET_CACHE) ?
	    memory_load(s->memory, k->key, &n) : NULL;
	if (data != NULL && n % sizeof(*k->one) == 0) {
		k->n = k->cap = (int)(n / sizeof(*k->one));
		k->one = data;
	} else {
		free(data);
	}
	b->kept = k;
}

static void
kept_save(struct session *s, struct plan_book *b)
{
	struct plan_kept *k = b->kept;

	if (k->dirty)
		memory_save(s->memory, k->key, k->one, (size_t)k->n *
		    sizeof(*k->one));
	k->dirty = false;
}

static bool
kept_find(const struct plan_book *b, uint64_t line, bool few,
    struct kept_one *out)
{
	const struct plan_kept *k = b->kept;

	for (int i = 0; i < k->n; i++)
		if (k->one[i].line == line && k->one[i].few == few &&
		    isfinite(k->one[i].kl) && isfinite(k->one[i].value)) {
			*out = k->one[i];
			return true;
		}
	return false;
}

static void
kept_add(struct plan_book *b, const struct kept_one *x)
{
	struct plan_kept *k = b->kept;

	if (k->n == k->cap) {
		k->cap = 2 * k->cap + 64;
		k->one = xrealloc(k->one, (size_t)k->cap * sizeof(*k->one));
	}
	k->one[k->n++] = *x;
	k->dirty = true;
}

/* ---- parts ---- */

static struct plan_part *
add_part(struct plan_book *b, enum plan_kind kind, int layer)
{
	struct plan_part *p;

	b->part = xrealloc(b->part, (size_t)(b->nparts + 1) *
	    sizeof(*b->part));
	p = &b->part[b->nparts++];
	memset(p, 0, sizeof(*p));
	p->kind = kind;
	p->layer = layer;
	p->of = xcalloc((size_t)b->model->nlayers + 1, sizeof(*p->of));
	p->nshapes = p->nforms = 1;
	return p;
}

/* The attentions, or the FFNs; layers that share one are one part. */
static void
add_sublayers(struct plan_book *b, enum plan_kind kind)
{
	const struct model *m = b->model;
	size_t n = (size_t)m->nlayers;
	bool *pick = xcalloc(n, sizeof(*pick));
	int *group = xcalloc(n, sizeof(*group));

	for (int l = 0; l < m->nlayers; l++)
		pick[l] = kind == PLAN_ATTENTION ? m->layer[l].heads > 0 :
		    m->layer[l].ffn > 0;
	ops_groups(m, kind == PLAN_ATTENTION ? OPS_ATTENTION_SLOTS :
	    OPS_FFN_SLOTS, kind == PLAN_ATTENTION, pick, group);
	for (int l = 0; l < m->nlayers; l++) {
		struct str layers = STR_INIT;
		struct plan_part *p;

		if (!pick[l] || group[l] != l)
			continue;
		p = add_part(b, kind, l);
		for (int k = 0; k < m->nlayers; k++)
			p->of[k] = pick[k] && group[k] == l;
		ops_layers_text(p->of, m->nlayers, &layers);
		snprintf(p->target, sizeof(p->target), "%s.%s", layers.s,
		    kind == PLAN_ATTENTION ? "attn" : "ffn");
		p->size = kind == PLAN_ATTENTION ? m->layer[l].kv_heads :
		    m->layer[l].ffn;
		str_free(&layers);
	}
	free(group);
	free(pick);
}

static void
add_matrices(struct plan_book *b)
{
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(b->model, &ref)) {
		struct slot_ref owner = model_owner(b->model, ref);
		const char *name = slot_table[ref.slot].part;
		struct plan_part *p = b->nparts > 0 ?
		    &b->part[b->nparts - 1] : NULL;

		if (ref.layer >= 0 || !slot_table[ref.slot].matrix ||
		    owner.layer != ref.layer || owner.slot != ref.slot)
			continue;
		/* A head of two matrices is one target. */
		if (p != NULL && strcmp(p->target, name) == 0)
			continue;
		p = add_part(b, PLAN_MATRIX, -1);
		snprintf(p->target, sizeof(p->target), "%s", name);
		if (ref.slot == SLOT_WORD)
			p->size = model_dim(b->model, -1, DIM_EMBED);
	}
}

static void
add_shape(struct plan_part *p, enum plan_shape_kind kind, int64_t keep)
{
	if (p->nshapes < PLAN_SHAPES)
		p->shape[p->nshapes++] = (struct plan_shape){ kind, keep, 0 };
}

/* Neurons stay in multiples of 64 (of 16 where there are few), so that groups
 * divide what is left and products stay fast. */
static int64_t
round_cut(const struct plan_part *p, double share)
{
	int64_t step = p->kind == PLAN_ATTENTION ? 1 : p->size >= 512 ? 64 :
	    p->size >= 128 ? 16 : 1;
	int64_t keep = llround(share * (double)p->size / (double)step) * step;

	return keep < step ? step : keep;
}

static void
add_shapes(const struct plan_book *b, struct plan_part *p)
{
	bool prune = (b->families & 1u << PLAN_PRUNE) != 0;
	int64_t last = p->size;

	for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts) && prune &&
	    p->kind != PLAN_MATRIX; i++) {
		int64_t keep = round_cut(p, cuts[i]);

		if (keep < last)
			add_shape(p, SHAPE_CUT, keep);
		last = keep < last ? keep : last;
	}
	if (prune && p->kind != PLAN_MATRIX)
		add_shape(p, SHAPE_GONE, 0);
	for (size_t i = 0; i < sizeof(ratios) / sizeof(*ratios) &&
	    p->kind != PLAN_MATRIX &&
	    (b->families & 1u << PLAN_FACTORIZE) != 0; i++)
		add_shape(p, SHAPE_RATIO, ratios[i]);
	for (size_t i = 0; i < sizeof(zeros) / sizeof(*zeros) &&
	    p->kind != PLAN_MATRIX &&
	    (b->families & 1u << PLAN_SPARSE) != 0; i++)
		add_shape(p, SHAPE_SPARSE, zeros[i]);
	for (size_t i = 0; i < sizeof(ranks) / sizeof(*ranks) && p->size > 1 &&
	    p->kind == PLAN_MATRIX &&
	    (b->families & 1u << PLAN_FACTORIZE) != 0; i++)
		add_shape(p, SHAPE_RANK, llround(ranks[i] *
		    (double)p->size));
}

static void
add_forms(const struct plan_book *b, struct plan_part *p)
{
	const char *const *f = p->kind == PLAN_MATRIX ? outer_forms :
	    layer_forms;

	if ((b->families & 1u << PLAN_QUANTIZE) == 0)
		return;
	for (; *f != NULL && p->nforms < PLAN_FORMS; f++)
		p->form[p->nforms++] = *f;
}

/* Which heads go first: by the Fisher information of their gates. */
static enum pare_rc
order_heads(struct plan_book *b, struct plan_part *p,
    const struct op_calib *c, struct pare_err *err)
{
	const struct layer *y = &b->model->layer[p->layer];
	int share = y->heads / y->kv_heads;
	double score[MODEL_HEADS_MAX], sum[MODEL_HEADS_MAX] = { 0 };
	enum pare_rc rc = PARE_OK;

	for (int l = 0; l < b->model->nlayers && rc == PARE_OK; l++) {
		if (!p->of[l])
			continue;
		rc = score_layer(SCORE_FISHER, SCORE_HEADS, b->model, c, 0, l,
		    score, err);
		for (int i = 0; i < y->heads && rc == PARE_OK; i++)
			sum[i / share] += score[i];
	}
	p->order = xcalloc((size_t)p->size + 1, sizeof(*p->order));
	for (int i = 0; i < p->size; i++) {
		int k = i;

		for (; k > 0 && sum[p->order[k - 1]] > sum[i]; k--)
			p->order[k] = p->order[k - 1];
		p->order[k] = i;
	}
	return rc;
}

static enum pare_rc
list_parts(struct plan_book *b, const struct op_calib *c, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	add_sublayers(b, PLAN_ATTENTION);
	add_sublayers(b, PLAN_FFN);
	add_matrices(b);
	for (int i = 0; i < b->nparts && rc == PARE_OK; i++) {
		add_shapes(b, &b->part[i]);
		add_forms(b, &b->part[i]);
		if (b->part[i].kind == PLAN_ATTENTION)
			rc = order_heads(b, &b->part[i], c, err);
	}
	return rc;
}

/* ---- picks and lines ---- */

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
	for (size_t k = 0; k < sizeof(zeros) / sizeof(*zeros); k++) {
		struct str s = STR_INIT;

		add_shaped(w, SHAPE_SPARSE, zeros[k], &s);
		if (s.n > 0)
			add_line(w, str_format("prune weights %lld%%%s "
			    "scope=module", (long long)zeros[k], s.s));
		str_free(&s);
	}
}

static void
write_ranks(struct writer *w)
{
	for (size_t k = 0; k < sizeof(ratios) / sizeof(*ratios); k++) {
		struct str s = STR_INIT;

		add_shaped(w, SHAPE_RATIO, ratios[k], &s);
		if (s.n > 0)
			add_line(w, str_format("factorize%s ratio=%lld%%",
			    s.s, (long long)ratios[k]));
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
	write_forms(&w, layer_forms, false);
	write_forms(&w, outer_forms, true);
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

/* ---- applying ---- */

/* Where a refit cannot be, for what is left says nothing any more, the line
 * becomes one without it; whether it did. */
static bool
without_refit(char **line)
{
	size_t n = strlen(*line), tail = strlen(" repair=refit");

	if (!str_has_suffix(*line, " repair=refit"))
		return false;
	(*line)[n - tail] = '\0';
	return true;
}

enum pare_rc
plan_apply(struct session *s, const struct model *m, char **line, int n,
    struct model **model, double *seconds, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	int i;

	for (i = 0; i < n; i++) {
		const struct model *from = i == 0 ? m : model[i - 1];
		struct op_result r;
		double start = task_now();

		if (task_canceled(task))
			rc = task_error(err);
		else
			rc = work_op_apply(s, from, line[i], false, &r, notes,
			    task, err);
		if (rc == PARE_EUSER && without_refit(&line[i]))
			rc = work_op_apply(s, from, line[i], false, &r, notes,
			    task, err);
		if (rc != PARE_OK)
			break;
		model[i] = model_ref(r.model);
		if (seconds != NULL)
			seconds[i] = task_now() - start;
		op_result_free(&r);
	}
	if (rc == PARE_OK)
		return rc;
	while (i-- > 0)
		model_unref(model[i]);
	return rc;
}

static uint64_t
hash_lines(char **line, int n)
{
	uint64_t h = 17;

	for (int i = 0; i < n; i++)
		h = hash_text(line[i], h);
	return h;
}

static enum pare_rc
need_probe(struct session *s, struct plan_book *b, bool few,
    struct task *task, struct pare_err *err)
{
	int64_t cache = settings_cache(s->settings) / 2;
	struct probe **p = few ? &b->few : &b->all;

	return *p != NULL ? PARE_OK : probe_new(b->model,
	    s->data[ROLE_CALIB], few ? b->samples : 0, cache, p, task, err);
}

/* Lines that were applied, with what came of them. */
struct plan_chain {
	uint64_t asked;		/* hash of the lines as they were asked for */
	int n;
	char **line;		/* as they were applied */
	struct model **model;
	double *seconds;
};

static void
chain_free(struct plan_chain *c)
{
	for (int i = 0; c != NULL && i < c->n; i++) {
		free(c->line[i]);
		model_unref(c->model[i]);
	}
	if (c != NULL) {
		free(c->line);
		free(c->model);
		free(c->seconds);
	}
	free(c);
}

static struct plan_chain *
chain_new(uint64_t asked, char **line, struct model **model,
    const double *seconds, int n)
{
	struct plan_chain *c = xcalloc(1, sizeof(*c));

	*c = (struct plan_chain){ .asked = asked, .n = n };
	c->line = xcalloc((size_t)n + 1, sizeof(*c->line));
	c->model = xcalloc((size_t)n + 1, sizeof(struct model *));
	c->seconds = xcalloc((size_t)n + 1, sizeof(*c->seconds));
	for (int i = 0; i < n; i++) {
		c->line[i] = xstrdup(line[i]);
		c->model[i] = model_ref(model[i]);
		c->seconds[i] = seconds[i];
	}
	return c;
}

enum pare_rc
plan_apply_book(struct session *s, struct plan_book *b, char **line, int n,
    struct model **model, double *seconds, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	const struct plan_chain *c = b->chain;

	if (c == NULL || c->n != n || c->asked != hash_lines(line, n))
		return plan_apply(s, b->model, line, n, model, seconds, notes,
		    task, err);
	for (int i = 0; i < n; i++) {
		free(line[i]);
		line[i] = xstrdup(c->line[i]);
		model[i] = model_ref(c->model[i]);
		seconds[i] = c->seconds[i];
	}
	return PARE_OK;
}

/* What lines do to the answers on few or on all calib samples. The lines'
 * warnings are those of the calib samples, told once for all. */
static enum pare_rc
measure_lines(struct session *s, struct plan_book *b, char **line, int n,
    bool few, struct kept_one *out, struct task *task, struct pare_err *err)
{
	uint64_t h = hash_lines(line, n);	/* as they are asked for */
	struct notes quiet = { 0 };
	struct probe_result r;
	struct model **m;
	double *seconds;
	enum pare_rc rc;

	b->measured++;
	if (kept_find(b, h, few, out)) {
		b->recalled++;
		return PARE_OK;
	}
	if ((rc = need_probe(s, b, few, task, err)) != PARE_OK)
		return rc;
	m = xcalloc((size_t)n + 1, sizeof(struct model *));
	seconds = xcalloc((size_t)n + 1, sizeof(*seconds));
	rc = plan_apply(s, b->model, line, n, m, seconds, &quiet, task, err);
	if (rc == PARE_OK && !few && n > 0) {
		chain_free(b->chain);
		b->chain = chain_new(h, line, m, seconds, n);
	}
	if (rc == PARE_OK) {
		rc = probe_run(few ? b->few : b->all, n > 0 ? m[n - 1] :
		    b->model, &r, task, err);
		for (int i = 0; i < n; i++)
			model_unref(m[i]);
	}
	notes_free(&quiet);
	free(seconds);
	free(m);
	if (rc != PARE_OK)
		return rc;
	*out = (struct kept_one){ h, r.kl, r.loss, r.value, few,
		(float)r.right };
	kept_add(b, out);
	return PARE_OK;
}

enum pare_rc
plan_measure(struct session *s, struct plan_book *b,
    const struct plan_pick *p, double loss, int *out, struct task *task,
    struct pare_err *err)
{
	struct plan_anchor *a = &b->anchor[b->nanchors];
	struct kept_one r;
	char **line;
	enum pare_rc rc;
	int n;

	if (b->nanchors == PLAN_ANCHORS)
		return err_set(err, PARE_EUSER,
		    "more than %d plans were measured", PLAN_ANCHORS);
	line = plan_lines(b, p, &n);
	rc = measure_lines(s, b, line, n, false, &r, task, err);
	plan_lines_free(line);
	if (rc != PARE_OK)
		return rc;
	kept_save(s, b);
	*a = (struct plan_anchor){ .loss = loss, .kl = r.kl,
		.value = r.value, .drop = b->rises ? r.value - b->value :
		b->value - r.value, .right = (double)r.right,
		.wrong = b->right - (double)r.right };
	if (b->tokens)
		a->drop /= b->value;
	/* A model whose answers are no numbers any more is the worst. */
	a->kl = a->kl < WORST ? a->kl : WORST;
	a->drop = a->drop < WORST ? a->drop : WORST;
	plan_pick_copy(&b->tried[b->nanchors], b, p);
	*out = b->nanchors++;
	return PARE_OK;
}

double
plan_bits(const struct plan_book *b, double perplexity)
{
	return b->bytes_per_token > 0 ? log2(perplexity) / b->bytes_per_token :
	    NAN;
}

void
plan_fits(const struct plan_book *b, struct plan_fit *kl,
    struct plan_fit *drop, struct plan_fit *wrong)
{
	double x[PLAN_ANCHORS + 1] = { 0 }, y[PLAN_ANCHORS + 1] = { 0 };
	double z[PLAN_ANCHORS + 1] = { 0 }, w[PLAN_ANCHORS + 1] = { 0 };

	for (int i = 0; i < b->nanchors; i++) {
		x[i + 1] = b->anchor[i].loss;
		y[i + 1] = b->anchor[i].kl;
		z[i + 1] = b->anchor[i].drop;
		w[i + 1] = b->anchor[i].wrong;
	}
	plan_fit_make(kl, x, y, b->nanchors + 1);
	plan_fit_make(drop, x, z, b->nanchors + 1);
	if (wrong != NULL)
		plan_fit_make(wrong, x, w, b->nanchors + 1);
}

void
plan_fits_measured(const struct plan_book *b, struct plan_fit *drop,
    struct plan_fit *wrong)
{
	double x[PLAN_ANCHORS + 1] = { 0 }, y[PLAN_ANCHORS + 1] = { 0 };
	double z[PLAN_ANCHORS + 1] = { 0 };

	for (int i = 0; i < b->nanchors; i++) {
		x[i + 1] = b->anchor[i].kl;
		y[i + 1] = b->anchor[i].drop;
		z[i + 1] = b->anchor[i].wrong;
	}
	plan_fit_make(drop, x, y, b->nanchors + 1);
	plan_fit_make(wrong, x, z, b->nanchors + 1);
}

/* ---- what options use ---- */

static enum pare_rc
estimate_lines(struct session *s, const struct plan_book *b,
    const struct plan_pick *p, struct totals *t, struct task *task,
    struct pare_err *err)
{
	struct model *now = model_ref(b->model);
	struct notes quiet = { 0 };
	enum pare_rc rc = PARE_OK;
	int n;
	char **line = plan_lines(b, p, &n);

	for (int i = 0; i < n && rc == PARE_OK; i++) {
		struct op_result r;

		rc = work_op_apply(s, now, line[i], true, &r, &quiet, task,
		    err);
		if (rc != PARE_OK)
			break;
		model_unref(now);
		now = model_ref(r.model);
		*t = r.after;
		op_result_free(&r);
	}
	plan_lines_free(line);
	notes_free(&quiet);
	model_unref(now);
	return rc;
}

static void
put_use(double use[PLAN_USES], const struct totals *t,
    const double base[PLAN_USES])
{
	use[PLAN_BYTES] = (double)t->bytes - base[PLAN_BYTES];
	use[PLAN_MACS] = (double)t->macs - base[PLAN_MACS];
	use[PLAN_MS] = 0;
}

/* A part's options; those that an op refuses cannot be. */
static enum pare_rc
estimate_part(struct session *s, struct plan_book *b, int i,
    struct plan_pick *p, struct task *task, struct pare_err *err)
{
	struct plan_part *x = &b->part[i];

	for (short f = 0; f < x->nforms; f++)
		for (short k = 0; k < x->nshapes; k++) {
			struct totals t = { .bytes =
			    (int64_t)b->base[PLAN_BYTES],
			    .macs = (int64_t)b->base[PLAN_MACS] };
			enum pare_rc rc = PARE_OK;

			p->shape[i] = k;
			p->form[i] = f;
			if (f > 0 && x->shape[k].kind == SHAPE_GONE)
				rc = PARE_EUSER;
			else
				rc = estimate_lines(s, b, p, &t, task, err);
			if (rc != PARE_OK && rc != PARE_EUSER)
				return rc;
			put_use(x->use[k][f], &t, b->base);
			if (rc == PARE_EUSER)
				x->use[k][f][PLAN_BYTES] = NAN;
		}
	p->shape[i] = p->form[i] = 0;
	return PARE_OK;
}

/* Whether two parts are alike, so that what options of one use is known. */
static bool
alike(const struct plan_book *b, const struct plan_part *x,
    const struct plan_part *y)
{
	static const uint32_t slots[] = { OPS_ATTENTION_SLOTS,
		OPS_FFN_SLOTS };
	int count[2] = { 0, 0 };

	if (x->kind != y->kind || x->kind == PLAN_MATRIX ||
	    x->size != y->size)
		return false;
	for (int l = 0; l < b->model->nlayers; l++) {
		count[0] += x->of[l];
		count[1] += y->of[l];
	}
	if (count[0] != 1 || count[1] != 1)
		return false;
	for (int k = 0; k < SLOT_LAYER_COUNT; k++) {
		const struct tensor *s = b->model->layer[x->layer].t[k];
		const struct tensor *t = b->model->layer[y->layer].t[k];

		if ((slots[x->kind] & OPS_BIT(k)) == 0 || (s == NULL && t ==
		    NULL))
			continue;
		if (s == NULL || t == NULL || s->form != FORM_F32 ||
		    t->form != FORM_F32 || s->rows != t->rows ||
		    s->cols != t->cols)
			return false;
	}
	return true;
}

static enum pare_rc
estimate_layers(struct session *s, struct plan_book *b, struct plan_pick *p,
    struct task *task, struct pare_err *err)
{
	int n = b->model->nlayers;

	b->gone_kl = xcalloc((size_t)n + 1, sizeof(*b->gone_kl));
	b->gone_use = xcalloc((size_t)n + 1, sizeof(*b->gone_use));
	for (int l = 0; l < n; l++) {
		struct totals t;
		enum pare_rc rc;

		b->gone_kl[l] = NAN;
		if (n < 2 || (b->families & 1u << PLAN_LAYERS) == 0)
			continue;
		p->gone[l] = true;
		rc = estimate_lines(s, b, p, &t, task, err);
		p->gone[l] = false;
		if (rc != PARE_OK)
			return rc;
		put_use(b->gone_use[l], &t, b->base);
		b->gone_kl[l] = 0;
	}
	return PARE_OK;
}

static enum pare_rc
estimate_all(struct session *s, struct plan_book *b, struct task *task,
    struct pare_err *err)
{
	struct plan_pick p;
	struct totals t;
	enum pare_rc rc = PARE_OK;

	account_totals(b->model, b->seq, false, &t);
	b->base[PLAN_BYTES] = (double)t.bytes;
	b->base[PLAN_MACS] = (double)t.macs;
	plan_pick_init(&p, b);
	for (int i = 0; i < b->nparts && rc == PARE_OK; i++) {
		int k = 0;

		if (!task_tick(task, i, b->nparts, "parts"))
			rc = task_error(err);
		while (k < i && !alike(b, &b->part[k], &b->part[i]))
			k++;
		if (rc == PARE_OK && k < i)
			memcpy(b->part[i].use, b->part[k].use,
			    sizeof(b->part[i].use));
		else if (rc == PARE_OK)
			rc = estimate_part(s, b, i, &p, task, err);
	}
	if (rc == PARE_OK)
		rc = estimate_layers(s, b, &p, task, err);
	plan_pick_free(&p);
	return rc;
}

/* ---- what they cost ---- */

static enum pare_rc
measure_pick(struct session *s, struct plan_book *b,
    const struct plan_pick *p, double *kl, struct plan_progress *step,
    struct pare_err *err)
{
	struct kept_one r = { .kl = NAN };
	int n;
	char **line = plan_lines(b, p, &n);
	enum pare_rc rc = measure_lines(s, b, line, n, true, &r, &step->task,
	    err);

	plan_lines_free(line);
	step->done++;
	/* What cannot be done to these weights is no option. */
	*kl = rc == PARE_OK ? r.kl : NAN;
	return rc == PARE_EUSER ? PARE_OK : rc;
}

static enum pare_rc
measure_part(struct session *s, struct plan_book *b, int i,
    struct plan_pick *p, struct plan_progress *step, struct pare_err *err)
{
	struct plan_part *x = &b->part[i];
	enum pare_rc rc = PARE_OK;

	for (short k = 1; k < x->nshapes && rc == PARE_OK; k++) {
		p->shape[i] = k;
		x->shape[k].kl = NAN;
		if (isfinite(x->use[k][0][PLAN_BYTES]))
			rc = measure_pick(s, b, p, &x->shape[k].kl, step,
			    err);
	}
	p->shape[i] = 0;
	for (short f = 1; f < x->nforms && rc == PARE_OK; f++) {
		p->form[i] = f;
		x->form_kl[f] = NAN;
		if (isfinite(x->use[0][f][PLAN_BYTES]))
			rc = measure_pick(s, b, p, &x->form_kl[f], step, err);
	}
	p->form[i] = 0;
	kept_save(s, b);
	return rc;
}

static enum pare_rc
measure_all(struct session *s, struct plan_book *b, struct task *task,
    struct pare_err *err)
{
	struct plan_progress step;
	struct plan_pick p;
	enum pare_rc rc = PARE_OK;
	double total = 0;

	for (int i = 0; i < b->nparts; i++)
		total += b->part[i].nshapes + b->part[i].nforms - 2;
	for (int l = 0; l < b->model->nlayers; l++)
		total += isfinite(b->gone_kl[l]);
	plan_progress_init(&step, task, total, "options");
	plan_pick_init(&p, b);
	for (int i = 0; i < b->nparts && rc == PARE_OK; i++)
		rc = measure_part(s, b, i, &p, &step, err);
	for (int l = 0; l < b->model->nlayers && rc == PARE_OK; l++) {
		if (!isfinite(b->gone_kl[l]))
			continue;
		p.gone[l] = true;
		rc = measure_pick(s, b, &p, &b->gone_kl[l], &step, err);
		p.gone[l] = false;
	}
	kept_save(s, b);
	plan_pick_free(&p);
	return rc;
}

/* ---- units ---- */

static void
add_set(struct plan_offer *o, struct plan_unit *u, const double *use,
    double loss, const struct plan_set *set)
{
	struct plan_option *x;

	u->option = xrealloc(u->option, (size_t)(u->n + 1) *
	    sizeof(*u->option));
	o->set = xrealloc(o->set, (size_t)(o->nsets + 1) * sizeof(*o->set));
	x = &u->option[u->n++];
	memcpy(x->use, use, sizeof(x->use));
	x->loss = loss;
	x->id = o->nsets;
	o->set[o->nsets++] = *set;
}

static bool
offers(unsigned families, enum plan_shape_kind shape, short form)
{
	static const enum plan_family of[] = { [SHAPE_CUT] = PLAN_PRUNE,
		[SHAPE_GONE] = PLAN_PRUNE, [SHAPE_RANK] = PLAN_FACTORIZE,
		[SHAPE_RATIO] = PLAN_FACTORIZE, [SHAPE_SPARSE] = PLAN_SPARSE };

	return (shape == SHAPE_WHOLE || (families & 1u << of[shape]) != 0) &&
	    (form == 0 || (families & 1u << PLAN_QUANTIZE) != 0);
}

static void
unit_of_part(struct plan_offer *o, struct plan_unit *u,
    const struct plan_book *b, int i, unsigned uses, unsigned families)
{
	const struct plan_part *x = &b->part[i];

	*u = (struct plan_unit){ 0 };
	for (short k = 0; k < x->nshapes; k++)
		for (short f = 0; f < x->nforms; f++) {
			double loss = x->shape[k].kl + x->form_kl[f];
			struct plan_set set = { { (short)i, -1 }, { k, 0 },
			    { f, 0 }, -1 };

			if (offers(families, x->shape[k].kind, f) &&
			    isfinite(loss) &&
			    isfinite(x->use[k][f][PLAN_BYTES]))
				add_set(o, u, x->use[k][f], loss, &set);
		}
	u->n = plan_pareto(u->option, u->n, uses);
}

/* The attention and the FFN of one layer, and the layer gone. */
static void
join(struct plan_offer *o, const struct plan_book *b, int layer,
    struct plan_unit part[2], unsigned uses, unsigned families)
{
	struct plan_unit *u = &o->unit[o->n++];
	struct plan_set gone = { { -1, -1 }, { 0, 0 }, { 0, 0 },
	    (short)layer };

	*u = (struct plan_unit){ 0 };
	for (int i = 0; i < part[0].n; i++)
		for (int k = 0; k < part[1].n; k++) {
			const struct plan_option *x = &part[0].option[i];
			const struct plan_option *y = &part[1].option[k];
			struct plan_set set = o->set[x->id];
			double use[PLAN_USES];

			set.part[1] = o->set[y->id].part[0];
			set.shape[1] = o->set[y->id].shape[0];
			set.form[1] = o->set[y->id].form[0];
			for (int c = 0; c < PLAN_USES; c++)
				use[c] = x->use[c] + y->use[c];
			add_set(o, u, use, x->loss + y->loss, &set);
		}
	if (isfinite(b->gone_kl[layer]) &&
	    (families & 1u << PLAN_LAYERS) != 0)
		add_set(o, u, b->gone_use[layer], b->gone_kl[layer], &gone);
	u->n = plan_pareto(u->option, u->n, uses);
	free(part[0].option);
	free(part[1].option);
}

/* The part of this kind that a layer has for itself; -1. */
static int
own_part(const struct plan_book *b, enum plan_kind kind, int layer)
{
	for (int i = 0; i < b->nparts; i++) {
		int n = 0;

		if (b->part[i].kind != kind || b->part[i].layer != layer)
			continue;
		for (int l = 0; l < b->model->nlayers; l++)
			n += b->part[i].of[l];
		return n == 1 ? i : -1;
	}
	return -1;
}

void
plan_offer_make(struct plan_offer *o, const struct plan_book *b,
    unsigned uses, unsigned families)
{
	bool *done = xcalloc((size_t)b->nparts + 1, sizeof(*done));

	memset(o, 0, sizeof(*o));
	o->unit = xcalloc((size_t)b->nparts + 1, sizeof(*o->unit));
	for (int l = 0; l < b->model->nlayers; l++) {
		int a = own_part(b, PLAN_ATTENTION, l);
		int f = own_part(b, PLAN_FFN, l);
		struct plan_unit part[2];

		if (a < 0 || f < 0)
			continue;
		unit_of_part(o, &part[0], b, a, uses, families);
		unit_of_part(o, &part[1], b, f, uses, families);
		join(o, b, l, part, uses, families);
		done[a] = done[f] = true;
	}
	for (int i = 0; i < b->nparts; i++)
		if (!done[i])
			unit_of_part(o, &o->unit[o->n++], b, i, uses,
			    families);
	free(done);
}

void
plan_offer_free(struct plan_offer *o)
{
	for (int i = 0; i < o->n; i++)
		free(o->unit[i].option);
	free(o->unit);
	free(o->set);
	memset(o, 0, sizeof(*o));
}

/* ---- all of it ---- */

enum { NEEDS = OP_NEED_GATES | OP_NEED_STATISTICS | OP_NEED_GRAM_ALL };

static enum pare_rc
fill(struct session *s, struct plan_book *b, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	struct kept_one whole = { .value = NAN };
	struct op_calib c;
	enum pare_rc rc;
	bool fresh;

	kept_open(s, b);
	/* All at once, unless most of it is known. */
	fresh = b->kept->n == 0;
	rc = measure_lines(s, b, NULL, 0, false, &whole, task, err);
	b->value = whole.value;
	b->right = (double)whole.right;
	if (rc == PARE_OK)
		rc = calibration_get(s, b->model, fresh ? NEEDS :
		    OP_NEED_GATES, calibrate_samples(s->data[ROLE_CALIB],
		    CALIBRATE_TOKENS), "plan", &c, notes, task, err);
	if (rc == PARE_OK)
		rc = list_parts(b, &c, err);
	if (rc == PARE_OK)
		rc = estimate_all(s, b, task, err);
	if (rc == PARE_OK)
		rc = plan_latency(s, b, task, err);
	if (rc == PARE_OK)
		rc = measure_all(s, b, task, err);
	return rc;
}

void
plan_forget(struct plan_book *b)
{
	int n = b->nanchors - PLAN_ANCHORS_KEPT;

	if (b->nanchors < PLAN_ANCHORS - PLAN_ANCHORS_KEPT)
		return;
	for (int i = 0; i < n; i++)
		plan_pick_free(&b->tried[i]);
	memmove(b->tried, b->tried + n, PLAN_ANCHORS_KEPT *
	    sizeof(*b->tried));
	memmove(b->anchor, b->anchor + n, PLAN_ANCHORS_KEPT *
	    sizeof(*b->anchor));
	memset(b->tried + PLAN_ANCHORS_KEPT, 0, (size_t)n *
	    sizeof(*b->tried));
	b->nanchors = PLAN_ANCHORS_KEPT;
}

static double
bytes_per_token(const struct dataset *d)
{
	double bytes = 0;

	for (int64_t i = 0; i < d->n; i++)
		bytes += (double)d->sample[i].scored_bytes;
	return d->nscored > 0 ? bytes / (double)d->nscored : 0;
}

enum pare_rc
plan_book_make(struct session *s, int64_t samples, unsigned families,
    struct plan_book **out, struct notes *notes, struct task *task,
    struct pare_err *err)
{
	const struct model *m = session_model(s);
	double start = task_now();
	struct plan_book *b;
	enum metric metric;
	enum pare_rc rc;

	*out = NULL;
	if ((rc = calibration_check(s, "plan", err)) != PARE_OK)
		return rc;
	b = xcalloc(1, sizeof(*b));
	atomic_init(&b->refs, 1);
	b->model = model_ref(m);
	b->data = s->data[ROLE_CALIB]->hash;
	b->n = s->data[ROLE_CALIB]->n;
	b->samples = samples;
	b->bytes_per_token = bytes_per_token(s->data[ROLE_CALIB]);
	b->families = families;
	b->seq = settings_int(s->settings, SET_SEQ);
	metric = work_metric(m);
	b->metric = metric_table[metric].name;
	b->rises = metric_falls(metric);
	b->tokens = metric_table[metric].tokens;
	rc = fill(s, b, notes, task, err);
	b->seconds = task_now() - start;
	if (rc != PARE_OK) {
		plan_book_free(b);
		return rc;
	}
	*out = b;
	return PARE_OK;
}

void
plan_book_rest(struct plan_book *b)
{
	probe_free(b->few);
	probe_free(b->all);
	b->few = b->all = NULL;
	chain_free(b->chain);
	b->chain = NULL;
}

struct plan_book *
plan_book_ref(struct plan_book *b)
{
	atomic_fetch_add(&b->refs, 1);
	return b;
}

void
plan_book_free(struct plan_book *b)
{
	struct plan_kept *k;

	if (b == NULL || atomic_fetch_sub(&b->refs, 1) > 1)
		return;
	for (int i = 0; i < b->nparts; i++) {
		free(b->part[i].of);
		free(b->part[i].order);
	}
	free(b->part);
	free(b->gone_kl);
	free(b->gone_use);
	for (int i = 0; i < b->nanchors; i++)
		plan_pick_free(&b->tried[i]);
	plan_book_rest(b);
	if ((k = b->kept) != NULL)
		free(k->one);
	free(k);
	model_unref(b->model);
	free(b);
}
