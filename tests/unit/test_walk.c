/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune units by=kprune and by a budget of time.
 *
 * The walk: behind every sub-layer of what it makes the stream has the mean of
 * the original's, which holds only where each was fitted to it with the inputs
 * that the cut layers beneath give; and the budget is kept. Times: what is left
 * takes no more than the limit by the table, and of each part the best stay.
 */
#include "made_data.h"

#include <math.h>

#include "measure/reconstruct.h"
#include "measure/calibrate.h"

enum { SAMPLES = 120, LAYERS = 3, WIDTH = 32, PLACES = 2 * LAYERS };

static enum pare_rc
try(const struct model *m, const char *line, const struct op_calib *c,
    struct model **out, char **note, struct pare_err *err)
{
	struct sample_line l;
	struct op_input in = { .model = m, .calib = c };
	struct op_result r;
	enum pare_rc rc;

	assert_int_equal(sample_parse(line, &l, err), PARE_OK);
	in.args = &l.args;
	rc = op_apply(l.op, &in, 16, &r, err);
	sample_line_free(&l);
	if (rc != PARE_OK)
		return rc;
	*out = model_ref(r.model);
	*note = xstrdup(r.note != NULL ? r.note : "");
	op_result_free(&r);
	return PARE_OK;
}

static struct model *
apply(const struct model *m, const char *line, const struct op_calib *c,
    char **note)
{
	struct pare_err err = { 0 };
	struct model *out = NULL;

	if (try(m, line, c, &out, note, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	return out;
}

static void
refuse(const struct model *m, const char *line, const struct op_calib *c,
    const char *why)
{
	struct pare_err err = { 0 };
	struct model *out;
	char *note;

	assert_int_equal(try(m, line, c, &out, &note, &err), PARE_EUSER);
	if (strstr(err.msg, why) == NULL)
		fail_msg("%s: %s", line, err.msg);
}

/* ---- streams ---- */

/* Behind each sub-layer, of all tokens end to end. */
struct streams {
	float *x[PLACES];
	int64_t rows[PLACES];
};

static void
see(void *ctx, int layer, enum engine_place place, const float *x,
    int64_t rows, int64_t cols)
{
	struct streams *s = ctx;
	int k = 2 * layer + (place == ENGINE_AFTER_FFN);

	if (place != ENGINE_AFTER_ATTENTION && place != ENGINE_AFTER_FFN)
		return;
	memcpy(s->x[k] + s->rows[k] * cols, x, (size_t)(rows * cols) *
	    sizeof *x);
	s->rows[k] += rows;
}

static void
run(const struct model *m, const struct dataset *d, struct streams *s)
{
	struct engine_watch watch = { see, s };
	struct engine *e = engine_new();
	float out[MADE_LONGEST * WIDTH];
	struct pare_err err = { 0 };

	memset(s, 0, sizeof *s);
	for (int k = 0; k < PLACES; k++)
		s->x[k] = xcalloc(SAMPLES * MADE_LONGEST * WIDTH,
		    sizeof(float));
	for (int64_t i = 0; i < d->n; i++) {
		int64_t start[] = { 0, d->sample[i].tokens.n };
		struct batch b = { 1, start, d->sample[i].tokens.id, NULL };
		struct forward f = { .hidden = out, .watch = &watch };

		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	}
	engine_free(e);
}

static void
streams_free(struct streams *s)
{
	for (int k = 0; k < PLACES; k++)
		free(s->x[k]);
}

/* The largest mean of a difference over the root of its mean square, and that
 * root. */
static double
mean_share(const struct streams *a, const struct streams *b, int k,
    double *square)
{
	double most = 0;

	*square = 0;
	assert_int_equal(a->rows[k], b->rows[k]);
	for (int c = 0; c < WIDTH; c++) {
		double sum = 0;

		for (int64_t r = 0; r < a->rows[k]; r++) {
			double v = (double)a->x[k][r * WIDTH + c] -
			    b->x[k][r * WIDTH + c];

			sum += v;
			*square += v * v;
		}
		most = fmax(most, fabs(sum) / (double)a->rows[k]);
	}
	*square = sqrt(*square / (double)a->rows[k] / WIDTH);
	return *square > 0 ? most / *square : 0;
}

static double
cost_of(const struct model *m)
{
	double sum = 0;

	for (int l = 0; l < m->nlayers; l++)
		sum += m->layer[l].heads * (4.0 * WIDTH * 8 + 2 * 16 * 8) +
		    (double)m->layer[l].ffn * 2 * WIDTH;
	return sum;
}

static void
test_walk(void **state)
{
	struct model *m = sample_real(sample_named("gpt2"));
	struct dataset *d = made_data(SAMPLES);
	struct pare_err err = { 0 };
	struct op_calib c = { 0 };
	struct streams was, is;
	struct reconstruct *b;
	int moved = 0;

	assert_int_equal(reconstruct_new(m, d, 0, &b, &err), PARE_OK);
	c.reconstruct = reconstruct_op(b);
	run(m, d, &was);
	for (int percent = 30; percent <= 70; percent += 40) {
		char *line = str_format("prune units %d%% by=kprune seq=16",
		    percent), *note;
		struct model *less = apply(m, line, &c, &note);

		if (cost_of(less) > cost_of(m) * (100 - percent) / 100 + 0.5)
			fail_msg("%s: %g of %g", line, cost_of(less),
			    cost_of(m));
		assert_true(cost_of(less) > cost_of(m) * (100 - percent) /
		    100 - 4 * WIDTH * 8 - 2 * 16 * 8);
		assert_non_null(strstr(note, "with it"));
		run(less, d, &is);
		for (int k = 0; k < PLACES; k++) {
			double square, share = mean_share(&was, &is, k,
			    &square);

			moved += square > 1e-3;
			if (square > 1e-3 && share > 1e-3)
				fail_msg("%s: place %d: %g of %g", line, k,
				    share, square);
		}
		streams_free(&is);
		model_unref(less);
		free(line);
		free(note);
	}
	assert_true(moved > PLACES);
	streams_free(&was);
	reconstruct_free(b);
	made_data_free(d);
	model_unref(m);
}

static void
test_refused(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *shared = sample_real(sample_named("albert"));
	struct model *post = sample_real(sample_named("gemma2"));
	struct op_calib none = { 0 };

	refuse(m, "prune units", &none, "a budget is missing");
	refuse(m, "prune units 30% latency<=50%", &none, "one budget");
	refuse(m, "prune units 30% by=kprune", &none, "by=kprune");
	refuse(m, "prune units 30% by=kprune rounds=2", &none, "no rounds");
	refuse(m, "prune units latency<=50%", &none, "timed");
	refuse(m, "prune units latency<=50% rounds=2", &none, "rounds");
	refuse(shared, "prune units 30% by=kprune", &none, "share");
	refuse(post, "prune units 30% by=kprune", &none, "a norm stands");
	model_unref(shared);
	model_unref(post);
	model_unref(m);
}

/* ---- times ---- */

static struct op_times *
made_times(const struct model *m)
{
	struct op_times *t = times_new(m->nlayers);

	t->ms = 1;
	t->seq = 16;
	for (int l = 0; l < m->nlayers; l++) {
		t->layer_ms[l][0] = 0.1 + 0.05 * l;
		t->layer_ms[l][1] = 0.15;
		t->ms += t->layer_ms[l][0] + t->layer_ms[l][1];
	}
	/* Half the heads cost a third less, half the neurons half. */
	for (int w = 0; w < TIMES_WIDTHS; w++) {
		double x = (w + 1.0) / TIMES_WIDTHS;

		t->share[0][w] = t->share[1][w] = x;
		t->ratio[0][w] = (1 + 2 * x) / 3;
		t->ratio[1][w] = x;
	}
	return t;
}

static void
near(double a, double b)
{
	if (!(fabs(a - b) < 1e-12))
		fail_msg("%.15g, not %.15g", a, b);
}

static void
test_table(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct op_times *t = made_times(m);

	near(times_ratio(t, false, 1), 1);
	near(times_ratio(t, false, 0.4), 0.6);
	near(times_ratio(t, true, 0.55), 0.55);
	near(times_ratio(t, true, 0.01), 1.0 / TIMES_WIDTHS);
	near(times_of(t, m, m), t->ms);
	free(t);
	model_unref(m);
}

/* Whether those that stay are the best of the layer. */
static void
check_best(const struct model *m, const struct gates_means *g)
{
	for (int l = 0; l < m->nlayers; l++) {
		const struct layer *y = &m->layer[l];
		double stay = INFINITY, gone = 0;

		for (int h = 0; h < y->heads_original; h++) {
			double v = g->square[g->at.heads[l] + h];

			if (head_set_has(&y->head, h))
				stay = fmin(stay, v);
			else
				gone = fmax(gone, v);
		}
		assert_true(stay >= gone);
	}
}

/* The counts alone give the same. */
static void
check_same(const struct model *m, const struct model *less,
    const struct op_calib *c)
{
	struct op_calib blind = *c;
	char *line = str_format("prune units keep=%d:%d,%d:%d,%d:%d "
	    "rearrange=off repair=none", less->layer[0].heads,
	    (int)less->layer[0].ffn, less->layer[1].heads,
	    (int)less->layer[1].ffn, less->layer[2].heads,
	    (int)less->layer[2].ffn), *note;
	struct model *again;

	blind.times = NULL;
	again = apply(m, line, &blind, &note);
	assert_int_equal(model_hash(again), model_hash(less));
	model_unref(again);
	free(line);
	free(note);
}

static void
test_times(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(90);
	struct op_times *t = made_times(m);
	struct pare_err err = { 0 };
	struct gates_means g;
	struct op_calib c = { .gates = &g, .times = t };
	double last = INFINITY;

	assert_int_equal(calibrate_gates(m, d, 0, CALIBRATE_EACH, &g, NULL,
	    &err), PARE_OK);
	for (int percent = 90; percent >= 75; percent -= 5) {
		char *line = str_format("prune units latency<=%d%% seq=16 "
		    "rearrange=off repair=none", percent), *note;
		struct model *less = apply(m, line, &c, &note);
		double ms = times_of(t, m, less);

		/* Within the limit, and near it. */
		assert_true(ms <= t->ms * percent / 100 + 1e-5);
		assert_true(ms >= t->ms * (percent - 4) / 100);
		assert_true(ms < last);
		last = ms;
		check_best(less, &g);
		check_same(m, less, &c);
		model_unref(less);
		free(line);
		free(note);
	}
	refuse(m, "prune units keep=4:48,4:48", &c, "HEADS:NEURONS");
	refuse(m, "prune units keep=4:48,4:48,0:1", &c, "HEADS:NEURONS");
	refuse(m, "prune units keep=4:48,4:48,4:49", &c, "HEADS:NEURONS");
	refuse(m, "prune units keep=4:48,4:48,4:48,4:48", &c, "HEADS:NEURONS");
	refuse(m, "prune units keep=99999999999999999999:1", &c,
	    "HEADS:NEURONS");
	refuse(m, "prune units 10% keep=4:48,4:48,4:9", &c, "one budget");
	refuse(m, "prune units latency<=10% repair=none", &c,
	    "cannot be met");
	refuse(m, "prune units latency<=100% repair=none", &c,
	    "that fast as it is");
	gates_means_free(&g);
	free(t);
	made_data_free(d);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
