/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of a sweep against evaluations of models that really lack the part,
 * or have the other weights, and of greedy removal against the search done by
 * hand; and against itself: on other threads, with little memory, and stopped
 * half way.
 */
#include "made_data.h"

#include <math.h>

#include "measure/evaluate.h"
#include "measure/sweep.h"
#include "tensor/kernel.h"

enum { SAMPLES = 150 };

static const int widths[] = { 2, 5, 0 }, shares[] = { 50, 0 },
    ranks[] = { 3, -40, 0 };

static const int *
levels(enum sweep_what what)
{
	return what == SWEEP_BITS ? widths : what == SWEEP_SPARSITY ? shares :
	    ranks;
}

static struct sweep_options
asked(enum sweep_what what)
{
	return (struct sweep_options){ .what = what, .block = 20,
		.level = levels(what), .memory = INT64_C(1) << 30 };
}

/* All samples with labels. */
static struct dataset *
labelled(void)
{
	struct dataset *d = made_data(SAMPLES);

	for (int64_t i = 0; i < d->n; i++)
		d->sample[i].label = d->sample[i].tokens.id[0] % 2;
	return d;
}

/* Asks for every token but the first of each sample. */
static struct dataset *
texts(void)
{
	struct dataset *d = made_data(SAMPLES);

	made_data_single(d);
	d->is_text = true;
	d->cut.custom = CUT_STRIDE;
	for (int64_t i = 0; i < d->n; i++) {
		struct sample *s = &d->sample[i];

		s->label = -1;
		s->scored = xcalloc((size_t)s->tokens.n, sizeof *s->scored);
		for (int k = 1; k < s->tokens.n; k++)
			s->scored[s->nscored++] = k;
		s->scored_at = d->nscored;
		s->scored_bytes = 3 * s->nscored;
		d->nscored += s->nscored;
	}
	return d;
}

static void
texts_free(struct dataset *d)
{
	for (int64_t i = 0; i < d->n; i++)
		free(d->sample[i].scored);
	made_data_free(d);
}

static void
run(struct sweep *s, const struct model *m, const struct dataset *d,
    const struct sweep_options *o)
{
	struct pare_err err = { 0 };

	if (sweep_open(s, m, o, &err) != PARE_OK ||
	    sweep_run(s, m, d, o, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(sweep_done(s), sweep_total(s));
}

static struct model *
cut(const struct model *m, const struct sweep *s, const struct sweep_item *x)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct head_set drop = m->layer[x->layer].head;
	struct model *out = NULL;
	struct pare_err err = { 0 };
	int64_t keep[256], n = 0;
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0; i < m->layer[x->layer].ffn; i++)
		if (i < x->index || i >= x->end)
			keep[n++] = i;
	switch (s->what) {
	case SWEEP_HEADS:
		drop = x->heads;
		rc = edit_drop_heads(e, x->layer, &drop, &err);
		break;
	case SWEEP_KEPT:
		for (int h = 0; h < m->layer[x->layer].heads_original; h++)
			if (head_set_has(&x->heads, h))
				head_set_put(&drop, h, false);
		rc = edit_drop_heads(e, x->layer, &drop, &err);
		break;
	case SWEEP_NEURONS:
		rc = edit_keep_neurons(e, x->layer, keep, n, &err);
		break;
	case SWEEP_SUBLAYERS:
		rc = x->index == 0 ? edit_drop_attention(e, x->layer, &err) :
		    edit_drop_ffn(e, x->layer, &err);
		break;
	default:
		rc = edit_drop_layer(e, x->layer, &err);
	}
	if (rc != PARE_OK || edit_commit(e, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return out;
}

static double
loss_of(const struct model *m, const struct dataset *d, double *value)
{
	struct evaluate_options o = { .metric = d->is_text ? METRIC_ACCURACY :
		METRIC_COUNT, .fresh = true };
	struct evaluator *e = evaluator_new();
	struct pare_err err = { 0 };
	struct evaluation v;
	double loss;

	if (evaluate_run(e, m, d, &o, &v, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	*value = v.value;
	loss = v.loss;
	evaluation_free(&v);
	evaluator_free(e);
	return loss;
}

static void
assert_result(const struct model *m, const struct dataset *d,
    const struct sweep_result *r, const char *what)
{
	double value, loss = loss_of(m, d, &value);

	if (!(fabs(loss - r->loss) < 1e-5) || !(fabs(value - r->value) < 1e-9))
		fail_msg("%s: loss %g, %g right; expected %g, %g", what,
		    r->loss, r->value, loss, value);
}

static void
assert_evaluation(const struct model *m, const struct dataset *d,
    const struct sweep *s, int64_t i)
{
	char path[112] = "whole";

	if (i >= 0)
		sweep_path(s, i, path, sizeof path);
	assert_result(m, d, i < 0 ? &s->base : &s->item[i].r, path);
}

/* Every part removed by itself. */
static void
check_alone(const struct model *m, const struct dataset *d,
    const struct sweep_options *o)
{
	double most = 0;
	struct sweep s;

	run(&s, m, d, o);
	assert_evaluation(m, d, &s, -1);
	assert_true(s.base.kl == 0 && s.base.changed == 0);
	for (int64_t i = 0; i < s.n; i++) {
		struct model *less = cut(m, &s, &s.item[i]);

		assert_evaluation(less, d, &s, i);
		most = s.item[i].r.kl > most ? s.item[i].r.kl : most;
		model_unref(less);
	}
	assert_true(most > 1e-6);
	sweep_free(&s);
}

/* Masks are removals, for every kind of part. */
static void
test_exact(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = labelled();

	for (int w = 0; w < SWEEP_BITS; w++) {
		struct sweep_options o = asked((enum sweep_what)w);

		check_alone(m, d, &o);
	}
	made_data_free(d);
	model_unref(m);
}

/* The same of models of text, whose heads may go in groups alone. */
static void
test_text(void **state)
{
	static const char *const names[] = { "gpt2", "llama",
		"llama of groups" };
	struct dataset *d = texts();

	for (int i = 0; i < 3; i++) {
		struct model *m = sample_real(sample_named(names[i]));

		for (int w = 0; w < SWEEP_BITS; w++) {
			struct sweep_options o = asked((enum sweep_what)w);

			check_alone(m, d, &o);
		}
		model_unref(m);
	}
	texts_free(d);
}

/* The weights that are at least as large as the n-th smallest. */
static struct tensor *
thinned(const struct tensor *t, int percent)
{
	int64_t n = t->rows * t->cols, drop = (n * percent + 50) / 100;
	struct tensor *out;
	float *v;

	out = tensor_new_f32(t->ndim, t->rows, t->cols, &v, NULL);
	tensor_decode(t, 0, t->rows, v);
	for (; drop > 0; drop--) {
		int64_t least = -1;

		for (int64_t i = 0; i < n; i++)
			if (v[i] != 0 && (least < 0 ||
			    fabsf(v[i]) < fabsf(v[least])))
				least = i;
		v[least] = 0;
	}
	return out;
}

static struct tensor *
coded(const struct tensor *t, enum sweep_what what, int level)
{
	struct transform_ctx ctx = { 0 };
	struct quant_spec q = { .scheme = QUANT_SYMMETRIC, .bits = level,
		.group = t->cols, .act = 8 };
	int64_t k = level > 0 ? level : -level * t->rows * t->cols /
	    (100 * (t->rows + t->cols));
	struct pare_err err = { 0 };

	return what == SWEEP_BITS ? tensor_quantize(t, &q, &ctx, &err) :
	    what == SWEEP_SPARSITY ? thinned(t, level) :
	    tensor_factorize(t, k > 0 ? k : 1, &ctx, &err);
}

/* The matrices of all items of a level coded, but for item `but`, or that of
 * item `only` alone. */
static struct model *
code_some(const struct model *m, const struct sweep *s, int level,
    int64_t but, int64_t only)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct pare_err err = { 0 };
	struct model *out;

	for (int64_t i = 0; i < s->n; i++) {
		const struct sweep_item *x = &s->item[i];
		struct slot_ref ref = { x->layer, x->slot };

		if (x->level == level && i != but && (only < 0 || i == only))
			edit_set(e, ref, coded(model_slot(m, ref), s->what,
			    level));
	}
	if (edit_commit(e, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return out;
}

static void
test_coded(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = labelled();

	for (int w = SWEEP_BITS; w < SWEEP_WHAT_COUNT; w++) {
		struct sweep_options o = asked((enum sweep_what)w);
		struct sweep s;

		for (int mode = SWEEP_ALONE; mode <= SWEEP_OTHERS; mode++) {
			bool others = mode == SWEEP_OTHERS;

			o.mode = (enum sweep_mode)mode;
			run(&s, m, d, &o);
			for (int64_t i = 0; i < s.n; i += 3) {
				struct model *x = code_some(m, &s,
				    s.item[i].level, others ? i : -1,
				    others ? -1 : i);

				assert_evaluation(x, d, &s, i);
				model_unref(x);
			}
			for (int k = 0; others && o.level[k] != 0; k++) {
				struct model *x = code_some(m, &s, o.level[k],
				    -1, -1);

				assert_true(s.alled[k]);
				assert_result(x, d, &s.all[k], "all");
				model_unref(x);
			}
			sweep_free(&s);
		}
	}
	made_data_free(d);
	model_unref(m);
}

/* One layer left of all. */
static void
test_others(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = labelled();
	struct sweep_options o = asked(SWEEP_LAYERS);
	struct pare_err err = { 0 };
	struct sweep s;

	o.mode = SWEEP_OTHERS;
	run(&s, m, d, &o);
	for (int64_t i = 0; i < s.n; i++) {
		struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
		struct model *x;

		for (int l = m->nlayers - 1; l >= 0; l--)
			if (l != s.item[i].layer)
				edit_drop_layer(e, l, &err);
		assert_int_equal(edit_commit(e, &x, &err), PARE_OK);
		assert_evaluation(x, d, &s, i);
		model_unref(x);
	}
	assert_true(s.alled[0] && s.all[0].kl > 0);
	sweep_free(&s);
	o.what = SWEEP_KEPT;
	assert_int_equal(sweep_open(&s, m, &o, &err), PARE_EUSER);
	made_data_free(d);
	model_unref(m);
}

/* ---- one after another ---- */

static struct model *
without(const struct model *m, const struct sweep *s, const bool *gone)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct pare_err err = { 0 };
	struct model *out;

	for (int l = m->nlayers - 1; l >= 0; l--) {
		struct head_set drop = { { 0 } };
		bool layer = false;

		for (int64_t i = 0; i < s->n; i++) {
			const struct sweep_item *x = &s->item[i];

			if (!gone[i] || x->layer != l)
				continue;
			layer = s->what == SWEEP_LAYERS;
			for (int h = 0; h < m->layer[l].heads; h++)
				if (head_set_has(&x->heads, h))
					head_set_put(&drop, h, true);
		}
		if (layer)
			edit_drop_layer(e, l, &err);
		else if (head_set_count(&drop) > 0)
			edit_drop_heads(e, l, &drop, &err);
	}
	if (edit_commit(e, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return out;
}

static bool
is_last(const struct sweep *s, const bool *gone, int64_t at)
{
	int64_t left = 0;

	for (int64_t i = 0; i < s->n; i++)
		left += !gone[i] && (s->what == SWEEP_LAYERS ||
		    s->item[i].layer == s->item[at].layer);
	return left == 1;
}

/* The loss without each that may go; the lowest decides. */
static int64_t
search(const struct model *m, const struct dataset *d, const struct sweep *s,
    bool *gone, double *loss)
{
	int64_t least = -1;

	for (int64_t i = 0; i < s->n; i++) {
		struct model *x;
		double v, value;

		if (gone[i] || is_last(s, gone, i))
			continue;
		gone[i] = true;
		x = without(m, s, gone);
		gone[i] = false;
		v = loss_of(x, d, &value);
		model_unref(x);
		if (least < 0 || v < *loss) {
			least = i;
			*loss = v;
		}
	}
	return least;
}

static void
check_greedy(const struct model *m, const struct dataset *d,
    enum sweep_what what)
{
	struct sweep_options o = asked(what);
	bool gone[64] = { false };
	struct sweep s;

	o.mode = SWEEP_GREEDY;
	o.steps = 6;
	run(&s, m, d, &o);
	for (int64_t i = 0; i < s.nsteps; i++) {
		double loss = 0;
		int64_t best = search(m, d, &s, gone, &loss);

		assert_int_equal(s.step[i].item, best);
		assert_true(fabs(s.step[i].r.loss - loss) < 1e-5);
		gone[best] = true;
	}
	assert_true(s.nsteps == 6 || what == SWEEP_LAYERS);
	assert_true(s.nsteps == 6 || s.nsteps == s.n - 1);
	sweep_free(&s);
}

static void
test_greedy(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = labelled(), *t = texts();

	check_greedy(m, d, SWEEP_HEADS);
	check_greedy(m, d, SWEEP_LAYERS);
	model_unref(m);
	m = sample_real(sample_named("llama"));
	check_greedy(m, t, SWEEP_HEADS);
	check_greedy(m, t, SWEEP_LAYERS);
	model_unref(m);
	made_data_free(d);
	texts_free(t);
}

/* Rounds of several: what is told of each is the model without all of them. */
static void
test_rounds(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *x;
	struct dataset *d = labelled();
	struct sweep_options o = asked(SWEEP_HEADS);
	bool gone[64] = { false };
	struct sweep s;

	o.mode = SWEEP_GREEDY;
	o.each = 4;
	run(&s, m, d, &o);
	assert_int_equal(s.nsteps, s.n - m->nlayers);
	for (int64_t i = 0; i < s.nsteps; i++) {
		gone[s.step[i].item] = true;
		assert_int_equal(s.step[i].round, i / 4 + 1);
		if (i + 1 < s.nsteps && i % 4 < 3)
			continue;
		x = without(m, &s, gone);
		assert_result(x, d, &s.step[i].r, "round");
		model_unref(x);
	}
	sweep_free(&s);
	made_data_free(d);
	model_unref(m);
}

/* ---- the same table ---- */

static void
assert_same(const struct sweep *a, const struct sweep *b)
{
	assert_int_equal(a->n, b->n);
	assert_int_equal(a->nsteps, b->nsteps);
	for (int64_t i = 0; i < a->n && a->mode != SWEEP_GREEDY; i++)
		assert_memory_equal(&a->item[i].r, &b->item[i].r,
		    sizeof a->item[i].r);
	for (int64_t i = 0; i < a->nsteps; i++) {
		assert_int_equal(a->step[i].item, b->step[i].item);
		assert_memory_equal(&a->step[i].r, &b->step[i].r,
		    sizeof a->step[i].r);
	}
	assert_memory_equal(a->all, b->all, sizeof a->all);
}

/* Little memory means other windows, threads another order. */
static void
test_same(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);

	for (int w = 0; w < SWEEP_WHAT_COUNT * 3; w++) {
		struct sweep_options o = asked((enum sweep_what)(w / 3));
		struct pare_err err;
		struct sweep a, b;

		o.mode = (enum sweep_mode)(w % 3);
		if (sweep_open(&a, m, &o, &err) != PARE_OK)
			continue;
		sweep_free(&a);
		kernel_set_threads(3);
		run(&a, m, d, &o);
		kernel_set_threads(1);
		o.memory = 1;
		run(&b, m, d, &o);
		assert_same(&a, &b);
		assert_true(a.labelled < a.samples);
		sweep_free(&a);
		sweep_free(&b);
	}
	made_data_free(d);
	model_unref(m);
}

static void
stop_later(struct task *task, double done, double total, const char *what)
{
	int *left = task->ctx;

	if (--*left == 0)
		task->cancel = true;
}

/* Wherever it is stopped, what follows makes the same table. */
static void
check_resume(enum sweep_what what, enum sweep_mode mode)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct sweep_options o = asked(what);
	struct pare_err err = { 0 };
	struct sweep whole, s;
	int stops = 0;

	kernel_set_threads(1);
	o.mode = mode;
	run(&whole, m, d, &o);
	for (int at = 2; at < 60; at += 9) {
		struct task task = { .tick = stop_later, .ctx = &(int){ at } };

		assert_int_equal(sweep_open(&s, m, &o, &err), PARE_OK);
		assert_int_equal(sweep_run(&s, m, d, &o, &task, &err),
		    PARE_ECANCELED);
		assert_true(sweep_done(&s) < sweep_total(&s));
		stops += sweep_done(&s) > 0;
		assert_int_equal(sweep_run(&s, m, d, &o, NULL, &err), PARE_OK);
		assert_same(&whole, &s);
		sweep_free(&s);
	}
	assert_true(stops > 0);
	sweep_free(&whole);
	made_data_free(d);
	model_unref(m);
}

static void
test_resume(void **state)
{
	check_resume(SWEEP_HEADS, SWEEP_ALONE);
	check_resume(SWEEP_LAYERS, SWEEP_GREEDY);
	check_resume(SWEEP_SUBLAYERS, SWEEP_OTHERS);
}

static void
test_refused(void **state)
{
	struct model *m = sample_real(&sample_models[1]);
	struct sweep_options o = asked(SWEEP_HEADS);
	struct pare_err err = { 0 };
	struct sweep s;

	assert_int_equal(sweep_open(&s, m, &o, &err), PARE_EUSER);
	model_unref(m);
}

/* Blocks grow with the model, so the items of a layer do not. */
static void
test_block(void **state)
{
	static const int64_t ffn[][3] = { { 5, 1, 64 }, { 1024, 512, 64 },
		{ 1025, 1, 65 }, { 512, 3072, 192 } };

	(void)state;
	for (size_t i = 0; i < sizeof ffn / sizeof *ffn; i++) {
		struct model *m = xcalloc(1, sizeof *m + 2 *
		    sizeof *m->layer);

		m->nlayers = 2;
		m->layer[0].ffn = ffn[i][0];
		m->layer[1].ffn = ffn[i][1];
		assert_int_equal(sweep_block(m), ffn[i][2]);
		free(m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_coded),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_greedy),
		cmocka_unit_test(test_rounds),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
