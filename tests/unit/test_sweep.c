/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of a sweep against evaluations of models that really lack the part,
 * and against itself: on other threads, with little memory, and stopped half
 * way.
 */
#include "made_data.h"

#include <math.h>

#include "measure/evaluate.h"
#include "measure/sweep.h"
#include "tensor/kernel.h"

enum { SAMPLES = 150 };

static const int widths[] = { 2, 5, 0 };

static struct sweep_options
asked(enum sweep_what what)
{
	return (struct sweep_options){ .what = what, .block = 20,
		.bits = widths, .memory = INT64_C(1) << 30 };
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

static void
run(struct sweep *s, const struct model *m, const struct dataset *d,
    const struct sweep_options *o)
{
	struct pare_err err = { 0 };

	if (sweep_open(s, m, o, &err) != PARE_OK ||
	    sweep_run(s, m, d, o, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(sweep_done(s), s->n);
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
		drop = (struct head_set){ { 0 } };
		head_set_put(&drop, (int)x->index, true);
		rc = edit_drop_heads(e, x->layer, &drop, &err);
		break;
	case SWEEP_KEPT:
		head_set_put(&drop, (int)x->index, false);
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

static void
assert_evaluation(const struct model *m, const struct dataset *d,
    const struct sweep *s, int64_t i)
{
	const struct sweep_result *r = i < 0 ? &s->base : &s->item[i].r;
	struct evaluate_options o = { .metric = METRIC_COUNT, .fresh = true };
	struct evaluator *e = evaluator_new();
	struct pare_err err = { 0 };
	struct evaluation v;
	char path[96] = "whole";

	if (i >= 0)
		sweep_path(s, i, path, sizeof path);
	assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err), PARE_OK);
	if (!(fabs(v.loss - r->loss) < 1e-5) ||
	    !(fabs(v.value - r->value) < 1e-9))
		fail_msg("%s: loss %g, %g right; expected %g, %g", path,
		    r->loss, r->value, v.loss, v.value);
	evaluation_free(&v);
	evaluator_free(e);
}

/* Masks are removals, for every kind of part. */
static void
test_exact(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = labelled();

	for (int w = 0; w < SWEEP_BITS; w++) {
		struct sweep_options o = asked((enum sweep_what)w);
		double most = 0;
		struct sweep s;

		run(&s, m, d, &o);
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
	made_data_free(d);
	model_unref(m);
}

static void
assert_same(const struct sweep *a, const struct sweep *b)
{
	assert_int_equal(a->n, b->n);
	for (int64_t i = 0; i < a->n; i++)
		assert_memory_equal(&a->item[i].r, &b->item[i].r,
		    sizeof a->item[i].r);
}

/* Little memory means other windows, threads another order. */
static void
test_same(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);

	for (int w = 0; w < SWEEP_WHAT_COUNT; w++) {
		struct sweep_options o = asked((enum sweep_what)w);
		struct sweep a, b;

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
test_resume(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct sweep_options o = asked(SWEEP_HEADS);
	struct pare_err err = { 0 };
	struct sweep whole, s;
	int stops = 0;

	kernel_set_threads(1);
	run(&whole, m, d, &o);
	for (int at = 2; at < 60; at += 9) {
		struct task task = { .tick = stop_later, .ctx = &(int){ at } };

		assert_int_equal(sweep_open(&s, m, &o, &err), PARE_OK);
		assert_int_equal(sweep_run(&s, m, d, &o, &task, &err),
		    PARE_ECANCELED);
		assert_true(sweep_done(&s) < s.n);
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
test_refused(void **state)
{
	struct model *m = sample_real(&sample_models[1]);
	struct sweep_options o = asked(SWEEP_HEADS);
	struct pare_err err = { 0 };
	struct sweep s;

	assert_int_equal(sweep_open(&s, m, &o, &err), PARE_EUSER);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
