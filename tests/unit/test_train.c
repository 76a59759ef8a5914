/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The trainer: it learns, it repeats itself bit for bit, it keeps pruned weights
 * pruned and tied tensors tied, and it refuses what it cannot train.
 */
#include "tiny_model.h"

#include "engine/train.h"
#include "tensor/kernel.h"

enum { SAMPLES = 40 };

/* Sequences whose class says how often token 3 comes: 0, 1 or 2 times. */
struct set {
	struct train_data d;
	int32_t token[SAMPLES][12];
	const int32_t *ids[SAMPLES];
	int len[SAMPLES], label[SAMPLES];
	float score[SAMPLES];
};

static void
set_fill(struct set *s)
{
	struct rng r;

	rng_seed(&r, 7);
	for (int i = 0; i < SAMPLES; i++) {
		s->len[i] = 5 + (int)rng_below(&r, 7);
		s->label[i] = i % 3;
		s->score[i] = (float)(i % 3) - 1;
		for (int j = 0; j < s->len[i]; j++)
			s->token[i][j] = 4 + (int32_t)rng_below(&r, 30);
		for (int j = 0; j < s->label[i]; j++)
			s->token[i][1 + 2 * j] = 3;
		s->ids[i] = s->token[i];
	}
	s->d = (struct train_data){ SAMPLES, s->ids, NULL, s->len, s->label,
	    s->score };
}

static const struct train_options options = {
	.rate = 4e-3, .warmup = 0.1, .weight_decay = 0.01, .clip = 1,
	.dropout = 0.05, .batch = 8, .epochs = 25, .seed = 3
};

static struct tiny
learner(void)
{
	struct tiny t = tiny_odd;

	t.nlayers = 2;
	t.layer[0] = t.layer[1] = (struct tiny_layer){ 2, 2, 8, 24 };
	t.hidden = t.embed = 16;
	return t;
}

static struct model *
train(const struct model *m, const struct train_options *o,
    const struct train_data *d, double *first, double *last)
{
	struct pare_err err;
	struct trainer *t = trainer_new(m, o, &err);
	struct model *out = NULL;
	double loss = 0;

	if (!t)
		fail_msg("%s", err.msg);
	for (int i = 0; i < o->epochs; i++) {
		if (trainer_epoch(t, d, i, &loss, NULL, &err) != PARE_OK)
			fail_msg("%s", err.msg);
		if (i == 0 && first)
			*first = loss;
	}
	if (last)
		*last = loss;
	if (trainer_model(t, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	trainer_free(t);
	return out;
}

static int
count_right(const struct model *m, const struct train_data *d)
{
	struct engine *e = engine_new();
	struct pare_err err;
	float z[3];
	struct forward f = { .logits = z };
	int right = 0;

	for (int64_t i = 0; i < d->n; i++) {
		int64_t start[2] = { 0, d->len[i] };
		struct batch b = { 1, start, d->ids[i], NULL };
		int best = 0;

		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
		for (int c = 1; c < 3; c++)
			best = z[c] > z[best] ? c : best;
		right += best == d->label[i];
	}
	engine_free(e);
	return right;
}

static void
test_learns(void **state)
{
	struct tiny t = learner();
	struct model *m = tiny_model(&t), *out;
	const uint64_t before = model_hash(m);
	struct set s;
	double first, last;

	set_fill(&s);
	out = train(m, &options, &s.d, &first, &last);
	if (!(last < 0.1 && last < first / 4))
		fail_msg("loss %g to %g", first, last);
	assert_true(count_right(out, &s.d) >= SAMPLES - 1);
	assert_true(model_hash(m) == before);
	assert_true(model_hash(out) != before);
	model_unref(out);
	model_unref(m);
}

static void
test_learns_scores(void **state)
{
	struct tiny t = learner();
	struct model *m, *out;
	struct set s;
	double first, last;

	t.head = HEAD_REGRESS;
	t.labels = 1;
	m = tiny_model(&t);
	set_fill(&s);
	out = train(m, &options, &s.d, &first, &last);
	if (!(last < 0.15 && last < first / 4))
		fail_msg("loss %g to %g", first, last);
	model_unref(out);
	model_unref(m);
}

/* AdamW for one weight, by the formulas, in double precision. */
static void
test_adamw(void **state)
{
	const struct train_options o = { .rate = 1e-2, .warmup = 0.5,
	    .weight_decay = 0.1, .clip = 0, .batch = SAMPLES, .epochs = 4 };
	static const double rate[] = { 0.5e-2, 1e-2, 1e-2, 0.5e-2 };
	const struct slot_ref ref = { 0, SLOT_UP_W };
	struct tiny t = learner();
	struct model *m = tiny_model(&t), *out = NULL;
	struct pare_err err;
	struct trainer *r = trainer_new(m, &o, &err);
	struct set s;
	int64_t all[SAMPLES];
	double w = tensor_f32(model_slot(m, ref))[5], m1 = 0, m2 = 0, loss;

	assert_non_null(r);
	set_fill(&s);
	for (int i = 0; i < SAMPLES; i++)
		all[i] = i;
	for (int k = 1; k <= 4; k++) {
		double g;

		assert_int_equal(trainer_gradient(r, &s.d, all, SAMPLES, &loss,
		    &err), PARE_OK);
		g = trainer_gradient_at(r, ref, 0, 5);
		m1 = 0.9 * m1 + 0.1 * g;
		m2 = 0.999 * m2 + 0.001 * g * g;
		w -= rate[k - 1] * (m1 / (1 - pow(0.9, k)) /
		    (sqrt(m2 / (1 - pow(0.999, k))) + 1e-8) + 0.1 * w);
		assert_int_equal(trainer_epoch(r, &s.d, k - 1, &loss, NULL,
		    &err), PARE_OK);
	}
	assert_int_equal(trainer_model(r, &out, &err), PARE_OK);
	if (!(fabs(tensor_f32(model_slot(out, ref))[5] - w) < 1e-5))
		fail_msg("%g, not %g", tensor_f32(model_slot(out, ref))[5], w);
	trainer_free(r);
	model_unref(out);
	model_unref(m);
}

/* Without decay a clipped gradient keeps its direction; AdamW does not see the
 * scale, so the first step is the same, and a tiny clip changes later ones. */
static void
test_clip(void **state)
{
	struct train_options o = options;
	struct tiny t = learner();
	struct model *m = tiny_model(&t), *a, *b;
	struct set s;

	set_fill(&s);
	o.epochs = 1;
	o.clip = 1e9;
	a = train(m, &o, &s.d, NULL, NULL);
	o.clip = 0;
	b = train(m, &o, &s.d, NULL, NULL);
	assert_true(model_hash(a) == model_hash(b));
	model_unref(b);
	o.clip = 1e-3;
	b = train(m, &o, &s.d, NULL, NULL);
	assert_true(model_hash(a) != model_hash(b));
	model_unref(a);
	model_unref(b);
	model_unref(m);
}

static void
test_repeats(void **state)
{
	struct train_options o = options;
	struct tiny t = learner();
	struct model *m = tiny_model(&t), *a, *b, *c;
	struct set s;

	set_fill(&s);
	o.epochs = 3;
	a = train(m, &o, &s.d, NULL, NULL);
	b = train(m, &o, &s.d, NULL, NULL);
	o.seed++;
	c = train(m, &o, &s.d, NULL, NULL);
	assert_true(model_hash(a) == model_hash(b));
	assert_true(model_hash(a) != model_hash(c));
	model_unref(a);
	model_unref(b);
	model_unref(c);
	model_unref(m);
}

/* Dropout changes the run, and only there: gradients for checks have none. */
static void
test_dropout(void **state)
{
	struct train_options o = options;
	struct tiny t = learner();
	struct model *m = tiny_model(&t);
	struct pare_err err;
	struct set s;
	const int64_t sample = 1;
	double a = 0, b = 0, c = 0, d = 0;

	set_fill(&s);
	o.dropout = 0.5;
	o.rate = 0;
	for (int i = 0; i < 2; i++) {
		struct trainer *r = trainer_new(m, &o, &err);

		assert_non_null(r);
		assert_int_equal(trainer_epoch(r, &s.d, i, &a, NULL, &err), 0);
		assert_int_equal(trainer_gradient(r, &s.d, &sample, 1, &b,
		    &err), 0);
		if (i == 0) {
			c = a;
			d = b;
		}
		trainer_free(r);
	}
	assert_true(a != c);
	assert_true(b == d);
	model_unref(m);
}

/* ==== forms ==== */

static struct tensor *
sparsify(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const int64_t n = t->rows * t->cols, step = *(const int *)arg;
	uint8_t *mask = calloc((size_t)n, 1);
	struct tensor *out;
	int64_t kept = 0;

	for (int64_t i = 0; i < n; i++)
		kept += mask[i] = i % step == 1;
	out = tensor_sparsify(t, mask, kept, ctx, err);
	free(mask);
	return out;
}

static struct tensor *
zero_some(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	float *v;
	struct tensor *out = tensor_new_f32(t->ndim, t->rows, t->cols, &v, err);

	tensor_decode(t, 0, t->rows, v);
	for (int64_t i = 0; i < t->rows * t->cols; i += 7)
		v[i] = 0;
	return out;
}

static struct tensor *
to_half(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	return tensor_cast(t, *(enum form_kind *)arg, ctx, err);
}

static void
map_slot(struct edit *e, struct slot_ref ref, edit_transform *fn, void *arg)
{
	struct pare_err err;

	if (edit_map(e, ref, 1, fn, arg, &err) != PARE_OK)
		fail_msg("%s", err.msg);
}

/* Same form, same zeros, other values. */
static void
check_kept(const struct model *a, const struct model *b, struct slot_ref ref)
{
	const struct tensor *x = model_slot(a, ref), *y = model_slot(b, ref);
	const int64_t n = x->rows * x->cols;
	float *v = malloc((size_t)n * sizeof(*v));
	float *w = malloc((size_t)n * sizeof(*w));
	int64_t moved = 0;

	assert_int_equal(x->form, y->form);
	assert_int_equal(x->values, y->values);
	assert_int_equal(tensor_bytes(x), tensor_bytes(y));
	tensor_decode(x, 0, x->rows, v);
	tensor_decode(y, 0, y->rows, w);
	for (int64_t i = 0; i < n; i++) {
		if (v[i] == 0)
			assert_true(w[i] == 0);
		moved += v[i] != w[i];
	}
	assert_true(moved > 0);
	free(v);
	free(w);
}

static void
test_pruned_stay_pruned(void **state)
{
	static enum form_kind half = FORM_F16, brain = FORM_BF16;
	static int two = 2, twenty = 20;
	const struct slot_ref bitmap = { 0, SLOT_UP_W }, index = { 0, SLOT_Q_W };
	const struct slot_ref zeros = { 1, SLOT_UP_W }, f16 = { 1, SLOT_Q_W };
	const struct slot_ref sparse16 = { 1, SLOT_O_W };
	const struct slot_ref bf16 = { -1, SLOT_WORD };
	struct train_options o = options;
	struct tiny t = learner();
	struct model *m = tiny_model(&t), *cut = NULL, *out;
	struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);
	struct pare_err err;
	struct set s;

	map_slot(e, bitmap, sparsify, &two);
	map_slot(e, index, sparsify, &twenty);
	map_slot(e, zeros, zero_some, NULL);
	map_slot(e, f16, to_half, &half);
	map_slot(e, sparse16, to_half, &half);
	assert_int_equal(edit_commit(e, &cut, &err), PARE_OK);
	e = edit_begin(cut, EDIT_REAL, 1, NULL);
	map_slot(e, sparse16, sparsify, &two);
	map_slot(e, bf16, to_half, &brain);
	model_unref(cut);
	assert_int_equal(edit_commit(e, &cut, &err), PARE_OK);
	assert_int_equal(model_slot(cut, bitmap)->form, FORM_BITMAP);
	assert_int_equal(model_slot(cut, index)->form, FORM_INDEX);
	assert_int_equal(model_slot(cut, sparse16)->values, FORM_F16);
	set_fill(&s);
	o.epochs = 2;
	out = train(cut, &o, &s.d, NULL, NULL);
	check_kept(cut, out, bitmap);
	check_kept(cut, out, index);
	check_kept(cut, out, zeros);
	check_kept(cut, out, f16);
	check_kept(cut, out, sparse16);
	check_kept(cut, out, bf16);
	assert_int_equal(tensor_nonzero(model_slot(cut, zeros)),
	    tensor_nonzero(model_slot(out, zeros)));
	model_unref(out);
	model_unref(cut);
	model_unref(m);
}

static void
test_low_rank_and_ties(void **state)
{
	const struct slot_ref first = { 0, SLOT_UP_W }, last = { 1, SLOT_UP_W };
	const struct slot_ref q0 = { 0, SLOT_Q_W }, q1 = { 1, SLOT_Q_W };
	struct train_options o = options;
	struct tiny t = learner();
	struct model *m, *low = NULL, *out;
	struct tensor *low_rank;
	struct edit *e;
	struct pare_err err;
	struct set s;

	t.tied = true;
	m = tiny_model(&t);
	e = edit_begin(m, EDIT_REAL, 1, NULL);
	low_rank = tiny_low_rank(model_slot(m, first), 4, 8);
	edit_set(e, first, low_rank);
	edit_set(e, last, tensor_ref(low_rank));
	assert_int_equal(edit_commit(e, &low, &err), PARE_OK);
	set_fill(&s);
	o.epochs = 2;
	out = train(low, &o, &s.d, NULL, NULL);
	assert_ptr_equal(model_slot(out, q0), model_slot(out, q1));
	assert_ptr_equal(model_slot(out, first), model_slot(out, last));
	assert_int_equal(model_slot(out, first)->form, FORM_LOWRANK);
	assert_int_equal(tensor_rank(model_slot(out, first)), 4);
	for (int i = 0; i < 2; i++)
		assert_true(tensor_hash(model_slot(out, first)->kid[i]) !=
		    tensor_hash(low_rank->kid[i]));
	model_unref(out);
	model_unref(low);
	model_unref(m);
}

/* ==== refusals ==== */

static void
check_refused(const struct model *m, const struct train_options *o,
    const char *words)
{
	struct pare_err err = { 0 };

	assert_null(trainer_new(m, o, &err));
	assert_int_equal(err.rc, PARE_EUSER);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" lacks \"%s\"", err.msg, words);
}

static struct tensor *
to_codes(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct quant_spec q = { QUANT_SYMMETRIC, 8, 0, 0 };

	return tensor_quantize(t, &q, ctx, err);
}

static void
test_refuses_packed(void **state)
{
	static int two = 2;
	struct tiny t = learner();
	struct model *m = tiny_model(&t), *packed = NULL;
	struct pare_err err = { 0 };

	for (int i = 0; i < 2; i++) {
		struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);

		map_slot(e, (struct slot_ref){ 1, SLOT_K_W }, to_codes, NULL);
		if (i == 1)
			assert_int_equal(edit_map(e, (struct slot_ref){ 1,
			    SLOT_K_W }, 2, sparsify, &two, &err), PARE_OK);
		assert_int_equal(edit_commit(e, &packed, &err), PARE_OK);
		check_refused(packed, &options, "L1.attn.k.weight is packed");
		assert_null(trainer_new(packed, &options, &err));
		assert_true(strlen(err.hint) > 0);
		model_unref(packed);
	}
	model_unref(m);
}

static void
test_refuses(void **state)
{
	struct train_options o = options;
	struct tiny t = learner();
	struct model *m = tiny_model(&t), *other;
	struct pare_err err = { 0 };
	struct trainer *r;
	struct set s;
	double loss;

	o.batch = 0;
	check_refused(m, &o, "at least one sample");
	o = options;
	o.dropout = 1;
	check_refused(m, &o, "dropout");
	t.head = HEAD_MLM;
	t.dense = true;
	other = tiny_model(&t);
	check_refused(other, &options, "classifier");
	model_unref(other);
	set_fill(&s);
	r = trainer_new(m, &options, &err);
	assert_non_null(r);
	s.label[4] = 3;
	assert_int_equal(trainer_epoch(r, &s.d, 0, &loss, NULL, &err),
	    PARE_EUSER);
	assert_non_null(strstr(err.msg, "sample 4 has label 3"));
	s.label[4] = 1;
	s.token[6][0] = 37;
	assert_int_equal(trainer_epoch(r, &s.d, 0, &loss, NULL, &err),
	    PARE_EUSER);
	assert_non_null(strstr(err.msg, "sample 6"));
	trainer_free(r);
	model_unref(m);
}

static void
test_diverges(void **state)
{
	struct train_options o = options;
	struct tiny t = learner();
	struct model *m = tiny_model(&t);
	struct pare_err err = { 0 };
	struct trainer *r;
	struct set s;
	double loss;

	set_fill(&s);
	r = trainer_new(m, &o, &err);
	trainer_nudge(r, (struct slot_ref){ 0, SLOT_Q_W }, 1, 1, INFINITY);
	assert_int_equal(trainer_epoch(r, &s.d, 0, &loss, NULL, &err),
	    PARE_EUSER);
	assert_non_null(strstr(err.msg, "diverged"));
	assert_non_null(strstr(err.hint, "rate"));
	trainer_free(r);
	model_unref(m);
}

struct stopper {
	int seen, stop_at;
	bool named;
};

static void
count_tick(struct task *task, double done, double total, const char *what)
{
	struct stopper *s = task->ctx;

	assert_true(done >= 0 && done <= total);
	s->named |= strncmp(what, "step, loss ", 11) == 0;
	if (++s->seen == s->stop_at)
		atomic_store(&task->cancel, true);
}

static void
test_cancel(void **state)
{
	struct stopper stop = { 0, 3, false };
	struct task task = { .tick = count_tick, .ctx = &stop };
	struct tiny t = learner();
	struct model *m = tiny_model(&t);
	const uint64_t before = model_hash(m);
	struct pare_err err = { 0 };
	struct trainer *r = trainer_new(m, &options, &err);
	struct set s;
	double loss;

	set_fill(&s);
	assert_int_equal(trainer_epoch(r, &s.d, 0, &loss, &task, &err),
	    PARE_ECANCELED);
	assert_int_equal(stop.seen, 3);
	assert_true(stop.named);
	assert_true(model_hash(m) == before);
	trainer_free(r);
	model_unref(m);
}

static void
test_no_memory(void **state)
{
	struct tiny t = learner();
	struct model *m = tiny_model(&t);
	struct pare_err err = { 0 };
	struct trainer *r;
	int failed = 0;

	for (long i = 1; i < 20; i++) {
		mem_fail_at(i);
		r = trainer_new(m, &options, &err);
		mem_fail_at(0);
		if (r) {
			trainer_free(r);
			break;
		}
		assert_int_equal(err.rc, PARE_ENOMEM);
		failed++;
	}
	assert_true(failed >= 4 && failed < 19);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_learns),
		cmocka_unit_test(test_learns_scores),
		cmocka_unit_test(test_adamw),
		cmocka_unit_test(test_clip),
		cmocka_unit_test(test_repeats),
		cmocka_unit_test(test_dropout),
		cmocka_unit_test(test_pruned_stay_pruned),
		cmocka_unit_test(test_low_rank_and_ties),
		cmocka_unit_test(test_refuses_packed),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_diverges),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
