/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune units against the same search done plainly: all numbers of heads, the
 * sums over what is gone, the budget, and what rearranging may do to them.
 */
#include "made_data.h"

#include <math.h>

#include "measure/calibrate.h"
#include "ops/score.h"

enum { SAMPLES = 90, LAYERS = 3, HEADS = 4, FFN = 48, WIDTH = 32 };

/* Multiply-adds of a unit, at 16 tokens: those of its rows and columns, and of
 * scores and sums of a head of 8. */
static const double head_cost = 4.0 * WIDTH * 8 + 2 * 16 * 8,
    neuron_cost = 2.0 * WIDTH, whole = LAYERS * (HEADS * (4.0 * WIDTH * 8 +
    2 * 16 * 8) + FFN * 2.0 * WIDTH);

static struct model *
apply(const struct model *m, const char *line, const struct op_calib *c)
{
	struct sample_line l;
	struct pare_err err = { 0 };
	struct op_input in = { .model = m, .calib = c };
	struct op_result r;
	struct model *out;

	assert_int_equal(sample_parse(line, &l, &err), PARE_OK);
	in.args = &l.args;
	if (op_apply(l.op, &in, 16, &r, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	sample_line_free(&l);
	out = model_ref(r.model);
	op_result_free(&r);
	return out;
}

/* Heads, or neurons: the mean of squares, and the layer of each, best first. */
struct unit {
	double score;
	int layer, index;
};

static int
compare(const void *pa, const void *pb)
{
	const struct unit *a = pa, *b = pb;

	return a->score > b->score ? -1 : a->score < b->score;
}

static int
list(const struct gates_means *g, bool ffn, struct unit *u)
{
	int n = 0;

	for (int l = 0; l < LAYERS; l++)
		for (int i = 0; i < (ffn ? FFN : HEADS); i++)
			u[n++] = (struct unit){ g->square[(ffn ?
			    g->at.neurons[l] : g->at.heads[l]) + i], l, i };
	qsort(u, (size_t)n, sizeof *u, compare);
	return n;
}

/* Keeps the best of each layer and, best first, `most` more that fit; returns the
 * sum of what stays. */
static double
take(const struct unit *u, int n, double cost, double budget, int most,
    double *used, bool *stays)
{
	bool seen[LAYERS] = { false };
	double sum = 0;

	*used = LAYERS * cost;
	for (int i = 0; i < n; i++) {
		stays[i] = !seen[u[i].layer];
		seen[u[i].layer] = true;
		if (!stays[i] && most > 0 && *used + cost <= budget) {
			stays[i] = true;
			*used += cost;
			most--;
		}
		sum += stays[i] ? u[i].score : 0;
	}
	return sum;
}

static struct op_calib
gather(const struct model *m, const struct dataset *d, struct gates_means *g)
{
	struct pare_err err = { 0 };

	assert_int_equal(calibrate_gates(m, d, 0, CALIBRATE_EACH, g, NULL,
	    &err), PARE_OK);
	assert_non_null(g->each);
	return (struct op_calib){ .gates = g };
}

static void
test_search(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *less;
	struct dataset *d = made_data(SAMPLES);
	struct gates_means g;
	struct op_calib c = gather(m, d, &g);
	struct unit h[LAYERS * HEADS], u[LAYERS * FFN];
	bool hs[LAYERS * HEADS], us[LAYERS * FFN];
	int nh = list(&g, false, h), nu = list(&g, true, u), unlike = 0;

	for (int percent = 20; percent <= 80; percent += 20) {
		double budget = whole * (100 - percent) / 100, best = -1;
		double used, rest;
		char *line = str_format("prune units %d%% seq=16 "
		    "rearrange=off repair=none", percent);
		int keep = 0, ffn[LAYERS] = { 0 };

		for (int k = 0; k <= nh; k++) {
			double sum = take(h, nh, head_cost, budget, k, &used,
			    hs);

			sum += take(u, nu, neuron_cost, budget - used, nu,
			    &rest, us);
			if (used + rest <= budget && sum > best) {
				best = sum;
				keep = k;
			}
		}
		take(h, nh, head_cost, budget, keep, &used, hs);
		take(u, nu, neuron_cost, budget - used, nu, &rest, us);
		less = apply(m, line, &c);
		for (int i = 0; i < nh; i++)
			assert_int_equal(head_set_has(&less->layer[
			    h[i].layer].head, h[i].index), hs[i]);
		for (int i = 0; i < nu; i++)
			ffn[u[i].layer] += us[i];
		for (int l = 0; l < LAYERS; l++) {
			assert_int_equal(less->layer[l].ffn, ffn[l]);
			unlike += ffn[l] != ffn[0];
		}
		model_unref(less);
		free(line);
	}
	assert_true(unlike > 0);
	gates_means_free(&g);
	made_data_free(d);
	model_unref(m);
}

/* The sum of the Fisher information over the heads of a layer that are gone. */
static double
lost(const struct gates_means *g, const struct layer *y, int l)
{
	double sum = 0;

	for (int64_t s = 0; s < g->samples; s++) {
		double v = 0;

		for (int i = 0; i < HEADS; i++)
			if (!head_set_has(&y->head, i))
				v += g->each[s * g->at.n + g->at.heads[l] + i];
		sum += v * v / (double)g->samples;
	}
	return sum;
}

/* As many as before in every layer, at no higher a sum. */
static void
test_rearrange(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct gates_means g;
	struct op_calib c = gather(m, d, &g);
	int better = 0;

	for (int percent = 20; percent <= 80; percent += 10) {
		char *line = str_format("prune units %d%% seq=16 "
		    "repair=none",
		    percent), *plain = str_format("%s rearrange=off", line);
		struct model *a = apply(m, plain, &c), *b = apply(m, line, &c);

		for (int l = 0; l < LAYERS; l++) {
			const struct layer *x = &a->layer[l];
			const struct layer *y = &b->layer[l];
			double was = lost(&g, x, l), is = lost(&g, y, l);

			assert_int_equal(x->heads, y->heads);
			assert_int_equal(x->ffn, y->ffn);
			assert_true(is <= was * (1 + 1e-5) + 1e-12);
			better += is < was * (1 - 1e-5);
		}
		model_unref(a);
		model_unref(b);
		free(line);
		free(plain);
	}
	assert_true(better > 0);
	gates_means_free(&g);
	made_data_free(d);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_search),
		cmocka_unit_test(test_rearrange),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
