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
const int64_t plan_ratios[PLAN_SHARES] = { 50, 25 };
const int64_t plan_zeros[PLAN_SHARES] = { 50, 75 };

/* How matrices may be coded, in layers and outside them: there no products are
 * made up for, so no method=gptq. */
const char *const plan_layer_forms[] = { "bits=8",
	"bits=5 method=gptq", "bits=4 method=gptq", "bits=3 group=64 method=gptq",
	"bits=3 method=gptq", "bits=2 scheme=affine group=32 method=gptq",
	"bits=2 scheme=affine group=64 method=gptq",
	"bits=1 scheme=binary group=row", NULL };
const char *const plan_outer_forms[] = { "bits=8", "bits=5", "bits=4",
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
	for (size_t i = 0; i < PLAN_SHARES &&
	    p->kind != PLAN_MATRIX &&
	    (b->families & 1u << PLAN_FACTORIZE) != 0; i++)
		add_shape(p, SHAPE_RATIO, plan_ratios[i]);
	for (size_t i = 0; i < PLAN_SHARES &&
	    p->kind != PLAN_MATRIX &&
	    (b->families & 1u << PLAN_SPARSE) != 0; i++)
		add_shape(p, SHAPE_SPARSE, plan_zeros[i]);
	for (size_t i = 0; i < sizeof(ranks) / sizeof(*ranks) && p->size > 1 &&
	    p->kind == PLAN_MATRIX &&
	    (b->families & 1u << PLAN_FACTORIZE) != 0; i++)
		add_shape(p, SHAPE_RANK, llround(ranks[i] *
		    (double)p->size));
}

static void
add_forms(const struct plan_book *b, struct plan_part *p)
{
	const char *const *f = p->kind == PLAN_MATRIX ? plan_outer_forms :
	    plan_layer_forms;

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
