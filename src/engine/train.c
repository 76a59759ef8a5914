/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * train: the trainer: float32 copies of all tensors, AdamW, and the way back to
 * a model.
 *
 * All copies lie in one long vector, their gradients and both moments in three
 * more of the same layout, so that clearing and the global norm are one sweep.
 * Each distinct tensor has one copy: two slots that hold the same tensor add up
 * their gradients in one place.
 *
 * AdamW (Loshchilov, Hutter 2019), step k of gradient g:
 *   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
 *   w = w - rate (m / (1 - b1^k) / (sqrt(v / (1 - b2^k)) + eps) + decay w)
 * with g scaled down first when the norm of all gradients exceeds clip.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/backward.h"
#include "engine/elementwise.h"
#include "engine/train.h"
#include "model/arch.h"
#include "model/edit.h"

enum { ALIGN = 16 };	/* copies begin at multiples of this many floats */

struct trainer {
	struct model *m;	/* a reference */
	struct train_options o;
	struct learner learner;
	struct link *link;	/* one a slot; see learner_link() */
	struct param *param;	/* capacity: two a slot */
	int nparams;
	int64_t n;		/* floats in each of these */
	float *w, *g, *m1, *m2;
	int64_t step;		/* steps of AdamW so far */
};

static int
slot_places(const struct model *m)
{
	return m->nlayers * SLOT_LAYER_COUNT + SLOT_COUNT - SLOT_LAYER_COUNT;
}

static struct link *
link_of(const struct trainer *t, struct slot_ref ref)
{
	return (struct link *)learner_link(&t->learner, ref.layer, ref.slot);
}

/* ==== what can be trained ==== */

enum pare_rc
learner_supports(const struct model *m, struct pare_err *err)
{
	enum pare_rc rc;

	if ((rc = engine_check_model(m, err)) != PARE_OK)
		return rc;
	if (m->hp.head == HEAD_NONE || m->hp.head == HEAD_MLM) {
		err_set(err, PARE_EUSER, "training needs a model with "
		    "a classifier, a score or the next token as its head");
		return err_hint(err, "open a ...ForSequenceClassification "
		    "or ...ForCausalLM model");
	}
	if (m->hp.head == HEAD_LM && !(m->arch->flags & ARCH_CAUSAL))
		return err_set(err, PARE_EUSER, "%s sees the tokens it "
		    "would have to foretell", m->arch->title);
	if (m->hp.head != HEAD_LM && (m->arch->flags & ARCH_PRE_NORM))
		return err_set(err, PARE_EUSER, "training a classifier on "
		    "%s: not supported yet", m->arch->title);
	if (!m->t[SLOT_HOUT_W - SLOT_LAYER_COUNT])
		return err_set(err, PARE_EUSER,
		    "the model has no output layer");
	if (!(m->hp.dropout < 1) || !(m->hp.attention_dropout < 1))
		return err_set(err, PARE_EUSER,
		    "the model's own dropout drops everything");
	if (m->hp.head == HEAD_REGRESS && m->hp.labels != 1)
		return err_set(err, PARE_EUSER, "a score needs one output, "
		    "the model has %lld", (long long)m->hp.labels);
	return PARE_OK;
}

static bool
is_float(enum form_kind f)
{
	return f == FORM_F32 || f == FORM_F16 || f == FORM_BF16;
}

static bool
is_sparse(enum form_kind f)
{
	return f == FORM_BITMAP || f == FORM_INDEX;
}

static enum pare_rc
check_tensor(const struct tensor *t, struct slot_ref ref,
    struct pare_err *err)
{
	char path[96], form[64];

	if (is_float(t->form) || (is_sparse(t->form) && is_float(t->values)))
		return PARE_OK;
	model_slot_path(ref, path, sizeof(path));
	tensor_describe(t, form, sizeof(form));
	err_set(err, PARE_EUSER, "%s is packed (%s) and cannot be trained",
	    path, form);
	return err_hint(err, tensor_base(t) != t && is_float(t->kid[0]->form) ?
	    "undo the difference, train, then share" :
	    "undo the quantization, train, then quantize");
}

/* ==== copies ==== */

/* The copy of t, made on first use. */
static struct param *
param_of(struct trainer *t, struct tensor *tensor)
{
	struct param *p;

	for (int i = 0; i < t->nparams; i++)
		if (t->param[i].t == tensor)
			return &t->param[i];
	p = &t->param[t->nparams++];
	p->t = tensor_ref(tensor);
	p->rows = tensor->rows;
	p->cols = tensor->cols;
	p->at = t->n;
	t->n += (p->rows * p->cols + ALIGN - 1) / ALIGN * ALIGN;
	return p;
}

/* Calls fn with the place (row * cols + col) of every stored value of a sparse
 * tensor, in the order of the stream. */
static void
each_stored(const struct tensor *t, void (*fn)(int64_t, void *), void *arg)
{
	const uint8_t *mask = t->part[PART_MASK].p;
	const uint32_t *rows = t->part[PART_ROWS].p;
	const void *cols = t->part[PART_COLS].p;
	const bool narrow = t->cols <= 65536;

	for (int64_t r = 0; r < t->rows; r++) {
		const uint8_t *bits = mask ? mask + r * ((t->cols + 7) / 8) :
		    NULL;

		if (t->form == FORM_BITMAP) {
			for (int64_t c = 0; c < t->cols; c++)
				if (bits[c / 8] >> (c % 8) & 1)
					fn(r * t->cols + c, arg);
			continue;
		}
		for (uint32_t i = rows[r]; i < rows[r + 1]; i++)
			fn(r * t->cols + (int64_t)(narrow ?
			    ((const uint16_t *)cols)[i] :
			    ((const uint32_t *)cols)[i]), arg);
	}
}

static void
mark_kept(int64_t at, void *keep)
{
	((uint8_t *)keep)[at] = 1;
}

/* Which weights may move: those stored in a sparse form, those that are not zero
 * in a full matrix. Zeros of vectors are ordinary values. */
static enum pare_rc
fill_keep(struct param *p, struct pare_err *err)
{
	const int64_t n = p->rows * p->cols;
	const bool sparse = is_sparse(p->t->form);

	if (!sparse && (p->t->ndim != 2 || tensor_nonzero(p->t) >= n))
		return PARE_OK;
	p->keep = mem_big_zero((size_t)n, 1, err);
	if (!p->keep)
		return PARE_ENOMEM;
	if (sparse)
		each_stored(p->t, mark_kept, p->keep);
	else
		for (int64_t i = 0; i < n; i++)
			p->keep[i] = p->w[i] != 0.0f;
	return PARE_OK;
}

/* One slot: checks its tensor and links it to its copy or copies. */
static enum pare_rc
link_slot(struct trainer *t, struct slot_ref ref, struct pare_err *err)
{
	struct tensor *s = model_slot(t->m, ref);
	struct link *k = link_of(t, ref);
	enum pare_rc rc;

	if (s->form != FORM_LOWRANK) {
		if ((rc = check_tensor(s, ref, err)) == PARE_OK)
			k->a = param_of(t, s);
		return rc;
	}
	for (int i = 0; i < 2; i++)
		if ((rc = check_tensor(s->kid[i], ref, err)) != PARE_OK)
			return rc;
	k->a = param_of(t, s->kid[0]);
	k->b = param_of(t, s->kid[1]);
	return PARE_OK;
}

static enum pare_rc
make_copies(struct trainer *t, struct pare_err *err)
{
	struct slot_ref ref = SLOT_REF_START;
	enum pare_rc rc;

	while (model_next_slot(t->m, &ref))
		if ((rc = link_slot(t, ref, err)) != PARE_OK)
			return rc;
	t->w = mem_big_zero((size_t)t->n, sizeof(*t->w), err);
	t->g = t->w ? mem_big_zero((size_t)t->n, sizeof(*t->g), err) : NULL;
	t->m1 = t->g ? mem_big_zero((size_t)t->n, sizeof(*t->g), err) : NULL;
	t->m2 = t->m1 ? mem_big_zero((size_t)t->n, sizeof(*t->g), err) : NULL;
	if (!t->m2)
		return PARE_ENOMEM;
	for (int i = 0; i < t->nparams; i++) {
		struct param *p = &t->param[i];

		p->w = t->w + p->at;
		p->g = t->g + p->at;
		tensor_decode(p->t, 0, p->rows, p->w);
		if ((rc = fill_keep(p, err)) != PARE_OK)
			return rc;
	}
	return PARE_OK;
}

static enum pare_rc
check_options(const struct train_options *o, struct pare_err *err)
{
	if (!(o->rate >= 0 && o->rate <= 10) || o->batch < 1 || o->epochs < 1)
		return err_set(err, PARE_EUSER, "training needs a rate of 0 "
		    "to 10 and at least one sample a step and one epoch");
	if (!(o->warmup >= 0 && o->warmup <= 1) || !(o->dropout < 1) ||
	    !(o->label_smoothing >= 0 && o->label_smoothing < 1) ||
	    !(o->weight_decay >= 0) || !(o->clip >= 0))
		return err_set(err, PARE_EUSER, "warm-up, dropout and label "
		    "smoothing are shares, decay and clip not negative");
	if (o->teacher && !(o->share >= 0 && o->share <= 1 &&
	    o->temperature > 0))
		return err_set(err, PARE_EUSER, "the teacher's part is a "
		    "share, its temperature more than 0");
	return PARE_OK;
}

/* A teacher answers the same questions in the same terms. */
static enum pare_rc
check_teacher(const struct model *m, const struct train_options *o,
    struct pare_err *err)
{
	const struct model *t = o->teacher;

	if (!t || o->share <= 0)
		return PARE_OK;
	if (m->hp.head == HEAD_REGRESS)
		return err_set(err, PARE_EUSER, "a score is learnt without "
		    "a teacher: it is not one of several answers");
	if (t->hp.head != m->hp.head || t->hp.vocab != m->hp.vocab ||
	    t->hp.labels != m->hp.labels)
		return err_set(err, PARE_EUSER, "the teacher has %lld tokens "
		    "and %lld classes, the model %lld and %lld",
		    (long long)t->hp.vocab, (long long)t->hp.labels,
		    (long long)m->hp.vocab, (long long)m->hp.labels);
	return engine_check_model(t, err);
}

struct trainer *
trainer_new(const struct model *m, const struct train_options *o,
    struct pare_err *err)
{
	struct trainer *t;

	if (check_options(o, err) != PARE_OK ||
	    learner_supports(m, err) != PARE_OK ||
	    check_teacher(m, o, err) != PARE_OK)
		return NULL;
	t = xcalloc(1, sizeof(*t));
	t->m = model_ref(m);
	t->o = *o;
	t->link = xcalloc((size_t)slot_places(m), sizeof(*t->link));
	t->param = xcalloc((size_t)slot_places(m) * 2, sizeof(*t->param));
	if (o->teacher && o->share > 0) {
		t->learner.teacher = model_ref(o->teacher);
		t->learner.engine = engine_new();
	}
	t->learner = (struct learner){
		.teacher = t->learner.teacher, .engine = t->learner.engine,
		.share = (float)o->share, .temperature = (float)o->temperature,
		.m = t->m, .link = t->link, .seed = o->seed,
		.dropout_step = -1,
		.dropout = (float)(o->dropout < 0 ? m->hp.dropout : o->dropout),
		.attention_dropout = (float)(o->dropout < 0 ?
		    m->hp.attention_dropout : o->dropout),
		.smoothing = (float)o->label_smoothing
	};
	if (make_copies(t, err) == PARE_OK)
		return t;
	trainer_free(t);
	return NULL;
}

void
trainer_free(struct trainer *t)
{
	if (!t)
		return;
	for (int i = 0; i < t->nparams; i++) {
		tensor_unref(t->param[i].t);
		free(t->param[i].keep);
	}
	free(t->param);
	free(t->link);
	free(t->w);
	free(t->g);
	free(t->m1);
	free(t->m2);
	free(t->learner.memory.base);
	model_unref(t->learner.teacher);
	engine_free(t->learner.engine);
	model_unref(t->m);
	free(t);
}

/* ==== steps ==== */

/* Linear warm-up to the peak, then linear to 0 after the last step. */
static double
rate_at(const struct train_options *o, int64_t step, int64_t steps)
{
	const double warm = floor(o->warmup * (double)steps);

	if ((double)step < warm)
		return o->rate * (double)(step + 1) / warm;
	return o->rate * (double)(steps - step) / ((double)steps - warm);
}

static void
clear_gradients(struct trainer *t)
{
	memset(t->g, 0, (size_t)t->n * sizeof(*t->g));
}

/* Pruned weights count in no norm and get no step. */
static void
mask_gradients(struct trainer *t)
{
	for (int i = 0; i < t->nparams; i++) {
		const struct param *p = &t->param[i];

		for (int64_t j = 0; p->keep && j < p->rows * p->cols; j++)
			if (!p->keep[j])
				p->g[j] = 0.0f;
	}
}

static void
update(struct trainer *t, double rate, double scale)
{
	const double b1 = 0.9, b2 = 0.999, k = (double)++t->step;
	struct elem_adam a = {
		.rate = (float)rate, .beta1 = (float)b1, .beta2 = (float)b2,
		.eps = 1e-8f, .fix1 = (float)(1 / (1 - pow(b1, k))),
		.fix2 = (float)(1 / (1 - pow(b2, k))), .scale = (float)scale
	};

	for (int i = 0; i < t->nparams; i++) {
		const struct param *p = &t->param[i];

		a.decay = p->t->ndim == 2 ? (float)t->o.weight_decay : 0.0f;
		elem_adam_step(p->w, p->g, t->m1 + p->at, t->m2 + p->at,
		    p->keep, p->rows * p->cols, &a);
	}
}

/* One step on n samples. */
static enum pare_rc
train_step(struct trainer *t, const struct train_data *d,
    const int64_t *sample, int n, double rate, double *loss,
    struct pare_err *err)
{
	double norm, scale = 1;
	enum pare_rc rc;

	clear_gradients(t);
	if ((rc = learner_run(&t->learner, d, sample, n, loss, err)) != PARE_OK)
		return rc;
	mask_gradients(t);
	norm = sqrt(elem_sum_squares(t->g, t->n));
	if (!isfinite(*loss) || !isfinite(norm)) {
		err_set(err, PARE_EUSER, "training diverged at step %lld: "
		    "the loss is no finite number", (long long)t->step + 1);
		return err_hint(err, "try a smaller rate than %g", t->o.rate);
	}
	if (t->o.clip > 0 && norm > t->o.clip)
		scale = t->o.clip / norm;
	update(t, rate, scale);
	return PARE_OK;
}

/* What n samples (NULL: the first ones) are asked about: a label each, or every
 * token but the first. */
static double
count_targets(const struct trainer *t, const struct train_data *d,
    const int64_t *sample, int64_t n)
{
	double count = 0;

	if (t->m->hp.head != HEAD_LM)
		return (double)n;
	for (int64_t i = 0; i < n; i++)
		count += d->len[sample ? sample[i] : i] - 1;
	return count;
}

static enum pare_rc
check_data(const struct trainer *t, const struct train_data *d,
    struct pare_err *err)
{
	if (d->n < 1)
		return err_set(err, PARE_EUSER, "no samples to train on");
	if (t->m->hp.head == HEAD_REGRESS && !d->score)
		return err_set(err, PARE_EUSER, "the samples have no scores");
	if (t->m->hp.head == HEAD_CLASSIFY && !d->label)
		return err_set(err, PARE_EUSER, "the samples have no labels");
	if (count_targets(t, d, NULL, d->n) < 1)
		return err_set(err, PARE_EUSER, "no sample has two tokens, "
		    "so there is none to foretell");
	return learner_check(t->m, d, err);
}

static enum pare_rc
run_epoch(struct trainer *t, const struct train_data *d, const int64_t *order,
    int epoch, double *loss, struct task *task, struct pare_err *err)
{
	const int64_t each = (d->n + t->o.batch - 1) / t->o.batch;
	const int64_t all = each * t->o.epochs;
	double sum = 0, count = 0, one, recent = 0, of;
	char what[64] = "step";
	enum pare_rc rc;

	for (int64_t i = 0; i < each; i++) {
		const int64_t at = i * t->o.batch, step = epoch * each + i;
		const int n = (int)(d->n - at < t->o.batch ? d->n - at :
		    t->o.batch);

		if (!task_tick(task, (double)step, (double)all, what))
			return task_error(err);
		t->learner.dropout_step = (int)step;
		rc = train_step(t, d, order + at, n,
		    step < all ? rate_at(&t->o, step, all) : 0, &one, err);
		if (rc != PARE_OK)
			return rc;
		of = count_targets(t, d, order + at, n);
		sum += one * of;
		count += of;
		recent = i == 0 ? one : 0.95 * recent + 0.05 * one;
		snprintf(what, sizeof(what), "step, loss %.3f", recent);
	}
	*loss = sum / count;
	return PARE_OK;
}

enum pare_rc
trainer_epoch(struct trainer *t, const struct train_data *d, int epoch,
    double *loss, struct task *task, struct pare_err *err)
{
	struct rng r;
	int64_t *order;
	enum pare_rc rc;

	if ((rc = check_data(t, d, err)) != PARE_OK)
		return rc;
	order = mem_big((size_t)d->n, sizeof(*order), err);
	if (!order)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < d->n; i++)
		order[i] = i;
	rng_seed(&r, rng_derive(t->o.seed, 0x6570 + (uint64_t)epoch));
	rng_shuffle(&r, order, d->n);
	t->learner.task = task;
	rc = run_epoch(t, d, order, epoch, loss, task, err);
	t->learner.task = NULL;
	t->learner.dropout_step = -1;
	free(order);
	return rc;
}

enum pare_rc
trainer_gradient(struct trainer *t, const struct train_data *d,
    const int64_t *sample, int n, double *loss, struct pare_err *err)
{
	enum pare_rc rc;

	if ((rc = check_data(t, d, err)) != PARE_OK)
		return rc;
	clear_gradients(t);
	t->learner.dropout_step = -1;
	return learner_run(&t->learner, d, sample, n, loss, err);
}

/* The copy and place that (row, col) of a slot means. */
static const struct param *
locate(const struct trainer *t, struct slot_ref ref, int64_t row, int64_t col,
    int64_t *at)
{
	const struct link *k = link_of(t, ref);
	const struct param *p = k->a;

	if (p && k->b && row >= p->rows) {
		row -= p->rows;
		p = k->b;
	}
	if (!p || row < 0 || row >= p->rows || col < 0 || col >= p->cols)
		return NULL;
	*at = row * p->cols + col;
	return p;
}

double
trainer_gradient_at(const struct trainer *t, struct slot_ref ref, int64_t row,
    int64_t col)
{
	int64_t at = 0;
	const struct param *p = locate(t, ref, row, col, &at);

	return p ? p->g[at] : 0;
}

void
trainer_nudge(struct trainer *t, struct slot_ref ref, int64_t row,
    int64_t col, float delta)
{
	int64_t at = 0;
	const struct param *p = locate(t, ref, row, col, &at);

	if (p)
		p->w[at] += delta;
}

/* ==== back to a model ==== */

static size_t
float_bytes(enum form_kind f)
{
	return f == FORM_F32 ? 4 : 2;
}

static void
store_float(enum form_kind f, float v, void *out, int64_t i)
{
	if (f == FORM_F32)
		((float *)out)[i] = v;
	else
		((uint16_t *)out)[i] = f == FORM_F16 ? half_from_float(v) :
		    bfloat_from_float(v);
}

struct stream {
	enum form_kind form;
	const float *w;
	void *out;
	int64_t n;
};

static void
store_next(int64_t at, void *arg)
{
	struct stream *s = arg;

	store_float(s->form, s->w[at], s->out, s->n++);
}

/* The values of p in the form they came in, in stream order; a blob of them. */
static struct blob *
store_values(const struct param *p, int64_t n, struct pare_err *err)
{
	const size_t bytes = (size_t)n * float_bytes(p->t->values);
	struct stream s = { p->t->values, p->w, NULL, 0 };

	if ((s.out = mem_big(bytes, 1, err)) == NULL)
		return NULL;
	if (is_sparse(p->t->form))
		each_stored(p->t, store_next, &s);
	else
		for (int64_t i = 0; i < n; i++)
			store_next(i, &s);
	return blob_heap(s.out, bytes);
}

/* A tensor like the one p came from, with p's values. */
static struct tensor *
rebuild(const struct param *p, struct pare_err *err)
{
	const struct tensor *t = p->t;
	struct part parts[PART_COUNT] = { 0 };
	struct tensor like = {
		.form = t->form, .values = t->values, .ndim = t->ndim,
		.rows = t->rows, .cols = t->cols, .code = t->code,
		.stored = t->stored
	}, *kid[2] = { NULL, NULL }, *out;
	struct blob *b = store_values(p, t->stored, err);

	if (!b)
		return NULL;
	if (!is_sparse(t->form)) {
		out = tensor_new_view(t->form, t->ndim, t->rows, t->cols, b,
		    b->base, err);
		blob_unref(b);
		return out;
	}
	atomic_init(&like.nonzero, -1);
	for (int i = 0; i < PART_COUNT; i++)
		if (i != PART_DATA && t->part[i].blob) {
			parts[i] = t->part[i];
			blob_ref(parts[i].blob);
		}
	parts[PART_DATA] = (struct part){ b, b->base, b->size };
	return tensor_new(&like, parts, kid, err);
}

/* The new tensor of a low-rank slot from those of its factors. */
static struct tensor *
rebuild_low_rank(const struct tensor *t, struct tensor *a, struct tensor *b,
    struct pare_err *err)
{
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { tensor_ref(a), tensor_ref(b) };
	struct tensor like = {
		.form = t->form, .values = t->values, .ndim = t->ndim,
		.rows = t->rows, .cols = t->cols, .code = t->code,
		.stored = t->stored
	};

	atomic_init(&like.nonzero, -1);
	return tensor_new(&like, parts, kid, err);
}

static enum pare_rc
put_slot(const struct trainer *t, struct edit *e, struct slot_ref ref,
    struct tensor *const *built, struct pare_err *err)
{
	const struct slot_ref owner = model_owner(t->m, ref);
	const struct link *k = link_of(t, ref);
	struct tensor *out;

	if (owner.layer != ref.layer || owner.slot != ref.slot)
		out = tensor_ref(edit_get(e, owner));
	else if (!k->b)
		out = tensor_ref(built[k->a - t->param]);
	else
		out = rebuild_low_rank(model_slot(t->m, ref),
		    built[k->a - t->param], built[k->b - t->param], err);
	if (!out)
		return err ? err->rc : PARE_ENOMEM;
	edit_set(e, ref, out);
	return PARE_OK;
}

enum pare_rc
trainer_model(const struct trainer *t, struct model **out,
    struct pare_err *err)
{
	struct tensor **built = xcalloc((size_t)t->nparams, sizeof(*built));
	struct edit *e = edit_begin(t->m, EDIT_REAL, t->o.seed, NULL);
	struct slot_ref ref = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < t->nparams && rc == PARE_OK; i++)
		if ((built[i] = rebuild(&t->param[i], err)) == NULL)
			rc = PARE_ENOMEM;
	while (rc == PARE_OK && model_next_slot(t->m, &ref))
		rc = put_slot(t, e, ref, built, err);
	if (rc == PARE_OK)
		rc = edit_commit(e, out, err);
	else
		edit_abort(e);
	for (int i = 0; i < t->nparams; i++)
		tensor_unref(built[i]);
	free(built);
	return rc;
}
