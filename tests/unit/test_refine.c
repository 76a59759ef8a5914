/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Levels of codes found by more than the range: against searches by hand, and
 * through the op: what is better, in as many bytes, and what is refused.
 */
#include "plain_obs.h"

#include <math.h>

#include "ops/fisher.h"
#include "ops/levels.h"

enum { ROWS = 4, COLS = 24, GROUP = 12, BITS = 3, GROUPS = ROWS * COLS / GROUP };

static void
fill(uint64_t seed, float *w, double *weight)
{
	struct rng r;

	rng_seed(&r, seed);
	for (int i = 0; i < ROWS * COLS; i++)
		w[i] = rng_normal(&r) * (i % 11 == 5 ? 4 : 1);
	for (int c = 0; c < COLS; c++)
		weight[c] = c % 11 == 5 ? 0.01 : 1 + rng_uniform(&r);
}

/* The weighted squared error of group g by trying all codes. */
static double
range_error(const float *w, const double *weight, int g, bool affine,
    double low, double high)
{
	int n = affine ? (1 << BITS) - 1 : (1 << (BITS - 1)) - 1;
	double step = affine ? (high - low) / n : high / n, sum = 0;

	for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
		double best = INFINITY;

		for (int k = affine ? 0 : -n; k <= n; k++) {
			double e = w[i] - (affine ? low : 0) - step * k;

			best = fmin(best, e * e);
		}
		sum += (weight == NULL ? 1 : weight[i % COLS]) * best;
	}
	return sum;
}

static void
test_clip(void **state)
{
	float w[ROWS * COLS];
	double weight[COLS], plain[2 * GROUPS], cut[2 * GROUPS];

	for (int affine = 0; affine < 2; affine++) {
		struct levels v = { w, ROWS, COLS, GROUP, affine ?
		    QUANT_AFFINE : QUANT_SYMMETRIC, BITS };
		double gain = 0;

		fill(3 + (uint64_t)affine, w, weight);
		assert_int_equal(levels_groups(&v), GROUPS);
		levels_range(&v, plain);
		levels_clip(&v, weight, cut);
		for (int g = 0; g < GROUPS; g++) {
			double low = plain[2 * g], high = plain[2 * g + 1];
			double was = range_error(w, weight, g, affine, low,
			    high);
			double is = range_error(w, weight, g, affine,
			    cut[2 * g], cut[2 * g + 1]);

			assert_true(is <= was * (1 + 1e-9));
			gain += is / was / GROUPS;
			/* Both ends cut alike is one of the candidates. */
			for (int k = 0; k < 20; k++) {
				double by = (high - low) * k / 80;

				assert_true(is <= range_error(w, weight, g,
				    affine, low + by, high - by) *
				    (1 + 1e-9));
			}
		}
		assert_true(gain < 0.9);
	}
}

/* One symmetric bit: no other step is better. */
static void
test_one_bit(void **state)
{
	float w[ROWS * COLS];
	double weight[COLS], range[2 * ROWS];
	struct levels v = { w, ROWS, COLS, COLS, QUANT_SYMMETRIC, 1 };

	fill(7, w, weight);
	levels_clip(&v, weight, range);
	for (int r = 0; r < ROWS; r++) {
		double e[3] = { 0 };

		for (int c = 0; c < COLS; c++)
			for (int k = 0; k < 3; k++)
				e[k] += weight[c] * pow(fabs(w[r * COLS + c]) -
				    range[2 * r + 1] * (1 + 0.01 * (k - 1)),
				    2);
		assert_true(e[1] <= e[0] && e[1] <= e[2]);
	}
}

/* sum |(w - q) / step|^0.7, q by trying all codes. */
static double
norm_of(const float *w, int g, double low, double high)
{
	double step = (high - low) / ((1 << BITS) - 1), sum = 0;

	for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
		double best = INFINITY;

		for (int k = 0; k < 1 << BITS; k++)
			best = fmin(best, fabs(w[i] - low - step * k));
		sum += pow(best / step, 0.7);
	}
	return sum;
}

static void
test_hqq(void **state)
{
	float w[ROWS * COLS];
	double weight[COLS], plain[2 * GROUPS], moved[2 * GROUPS];
	struct levels v = { w, ROWS, COLS, GROUP, QUANT_AFFINE, BITS };
	double was = 0, is = 0, before = 0, after = 0;

	fill(5, w, weight);
	levels_range(&v, plain);
	levels_hqq(&v, moved, &before, &after);
	for (int g = 0; g < GROUPS; g++) {
		was += norm_of(w, g, plain[2 * g], plain[2 * g + 1]);
		is += norm_of(w, g, moved[2 * g], moved[2 * g + 1]);
		assert_float_equal(plain[2 * g + 1] - plain[2 * g],
		    moved[2 * g + 1] - moved[2 * g], 1e-6);
	}
	assert_true(is < 0.99 * was);
	assert_float_equal(is, after, 0.02 * is);
	assert_float_equal(was, before, 0.02 * was);
}

static double
table_error(const float *w, const double *row, const double *col, int g,
    const float *table)
{
	double sum = 0;

	for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
		double best = INFINITY;

		for (int k = 0; k < 1 << BITS; k++)
			best = fmin(best, pow((double)w[i] - table[k], 2));
		sum += best * col[i % COLS] * (row == NULL ? 1 : row[i /
		    COLS]);
	}
	return sum;
}

/* No mean of a table is better elsewhere, and the table given is not better. */
static void
test_kmeans(void **state)
{
	const double row[ROWS] = { 1, 5, 0.2, 0 };
	struct quant_spec spec = { .scheme = QUANT_KMEANS, .bits = BITS,
		.group = GROUP };
	struct transform_ctx ctx = { .seed = 1 };
	struct levels v = { NULL, ROWS, COLS, GROUP, QUANT_KMEANS, BITS };
	float *w, table[GROUPS << BITS], moved[1 << BITS];
	struct pare_err err = { 0 };
	double weight[COLS];
	struct tensor *t = tensor_new_f32(2, ROWS, COLS, &w, &err), *q;
	double was = 0, is = 0;

	fill(6, w, weight);
	v.w = w;
	q = tensor_quantize(t, &spec, &ctx, &err);
	memcpy(table, q->part[PART_TABLE].p, sizeof table);
	assert_int_equal(levels_kmeans(&v, row, weight, table, &err), PARE_OK);
	for (int g = 0; g < GROUPS; g++) {
		const float *at = table + (g << BITS);
		double e = table_error(w, row, weight, g, at);

		was += table_error(w, row, weight, g,
		    (const float *)q->part[PART_TABLE].p + (g << BITS));
		is += e;
		for (int k = 0; k < 2 << BITS; k++) {
			memcpy(moved, at, sizeof moved);
			moved[k / 2] += k % 2 == 0 ? 0.02f : -0.02f;
			assert_true(e <= table_error(w, row, weight, g,
			    moved) + 1e-9);
		}
		for (int k = 1; k < 1 << BITS; k++)
			assert_true(at[k] >= at[k - 1]);
	}
	assert_true(is < 0.95 * was);
	tensor_unref(q);
	tensor_unref(t);
}

/* Codes with the levels of the caller: values within half a step, and the ends. */
static void
test_given_range(void **state)
{
	struct transform_ctx ctx = { .seed = 1 };
	struct pare_err err = { 0 };
	float *w, q[ROWS * COLS];
	double weight[COLS], range[2 * GROUPS];
	struct tensor *t = tensor_new_f32(2, ROWS, COLS, &w, &err), *made;

	fill(8, w, weight);
	for (int affine = 0; affine < 2; affine++) {
		struct quant_spec spec = { .scheme = affine ? QUANT_AFFINE :
			QUANT_SYMMETRIC, .bits = BITS, .group = GROUP };
		struct quant_levels l = { range, NULL };
		double n = affine ? 7 : 3;

		for (int g = 0; g < GROUPS; g++) {
			range[2 * g] = affine ? -0.5 - 0.1 * g : -1;
			range[2 * g + 1] = 1 + 0.1 * g;
		}
		made = tensor_quantize_levels(t, &spec, &l, &ctx, &err);
		assert_non_null(made);
		tensor_decode(made, 0, ROWS, q);
		for (int i = 0; i < ROWS * COLS; i++) {
			double low = affine ? range[i / GROUP * 2] :
			    -range[i / GROUP * 2 + 1];
			double high = range[i / GROUP * 2 + 1];
			double step = affine ? (high - low) / n : high / n;
			double want = fmin(fmax(w[i], low), high);

			assert_true(fabs(q[i] - want) <= 0.505 * step);
		}
		tensor_unref(made);
	}
	tensor_unref(t);
}

/* F_u is what the weights of the part add up to. */
static void
test_fisher(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(30);
	struct statistics *s = obs_statistics(m, 30);
	struct gates_means g = { 0 };
	struct pare_err err = { 0 };
	struct op_calib c = { .statistics = s, .gates = &g };
	struct op_input in = { .model = m, .calib = &c };
	static const enum slot slots[] = { SLOT_V_W, SLOT_O_W, SLOT_UP_W,
		SLOT_DOWN_W };

	assert_int_equal(calibrate_gates(m, d, 0, false, &g, NULL, &err),
	    PARE_OK);
	for (int i = 0; i < 4; i++) {
		const struct tensor *t = m->layer[1].t[slots[i]];
		const struct moments *x = statistics_of(s,
		    (struct slot_ref){ 1, slots[i] });
		double *square = xcalloc((size_t)t->cols, sizeof *square);
		bool heads = i < 2, columns = i % 2 == 1;
		int64_t n = heads ? m->layer[1].heads : m->layer[1].ffn;
		int64_t each = (columns ? t->cols : t->rows) / n;
		double *row, *col, *sum = xcalloc((size_t)n, sizeof *sum);
		const float *w = tensor_f32(t);

		for (int64_t k = 0; k < t->cols; k++)
			square[k] = x->square[k] / (double)x->rows;
		assert_int_equal(fisher_weights(&in, t, w, square, &row, &col,
		    &err), PARE_OK);
		for (int64_t k = 0; k < t->rows * t->cols; k++)
			sum[(columns ? k % t->cols : k / t->cols) / each] +=
			    (double)w[k] * w[k] * col[k % t->cols] *
			    (row == NULL ? 1 : row[k / t->cols]);
		for (int64_t k = 0; k < n; k++) {
			double want = g.square[(heads ? g.at.heads[1] :
			    g.at.neurons[1]) + k];

			assert_true(fabs(sum[k] - want) <= 1e-5 * want);
		}
		free(square);
		free(sum);
		free(row);
		free(col);
	}
	gates_means_free(&g);
	statistics_free(s);
	made_data_free(d);
	model_unref(m);
}

static void
read_note(const char *note, double *was, double *is)
{
	int n;

	if (note == NULL || sscanf(note, "output error of %d matrices %lf %% "
	    "rounded to nearest, %lf %% now", &n, was, is) != 3)
		fail_msg("%s", note);
	assert_int_equal(n, 18);
}

/* Better than rounding, in as many bytes. */
static void
test_op(void **state)
{
	static const struct {
		const char *line;
		double most;	/* of the error of rounding */
	} list[] = {
		{ "quantize L* bits=3 clip=mse", 0.95 },
		{ "quantize L* bits=3 scheme=affine clip=mse", 0.95 },
		{ "quantize L* bits=3 bias=correct", 0.999 },
		{ "quantize L* bits=3 method=gptq clip=mse bias=correct", 0.7 },
		{ "quantize L* bits=2 scheme=kmeans weigh=inputs", 1 },
		{ "quantize L* bits=2 scheme=kmeans method=gptq", 0.8 },
		{ "quantize L* scheme=binary method=gptq", 0.8 },
		{ "quantize L* bits=3 method=hqq bias=correct", 0.999 },
	};
	static const char *const extra[] = { " clip=", " bias=", " weigh=",
		" method=" };
	struct model *m = sample_real(&sample_models[0]);
	struct statistics *s = obs_statistics(m, 80);

	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		struct op_result r, plain;
		double was, is;
		char *line = xstrdup(list[i].line), *p;
		bool hqq = strstr(line, "hqq") != NULL;

		obs_do(m, s, line, &r);
		read_note(r.note, &was, &is);
		if (is > list[i].most * was)
			fail_msg("%s: %s", line, r.note);
		/* The plain line: what stands before all of these. */
		for (int k = 0; k < 4; k++)
			if ((p = strstr(line, extra[k])) != NULL)
				*p = '\0';
		if (!hqq) {
			obs_do(m, s, line, &plain);
			assert_true(r.after.bytes == plain.after.bytes);
			op_result_free(&plain);
		}
		free(line);
		op_result_free(&r);
	}
	statistics_free(s);
	model_unref(m);
}

/* The bias takes up what the mean of the inputs loses, and nothing else of the
 * model changes. */
static void
test_bias(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *plain;
	struct statistics *s = obs_statistics(m, 80);
	const struct moments *x = statistics_of(s, (struct slot_ref){ 1,
	    SLOT_UP_W });
	const struct tensor *w = m->layer[1].t[SLOT_UP_W], *q;
	float *a = xcalloc((size_t)w->cols, sizeof *a), was, is;
	float *b = xcalloc((size_t)w->cols, sizeof *b);
	struct op_result r;

	plain = sample_do(m, "quantize L1.up bits=2 group=row");
	obs_do(m, s, "quantize L1.up bits=2 group=row bias=correct", &r);
	q = r.model->layer[1].t[SLOT_UP_W];
	assert_true(tensor_hash(q) == tensor_hash(
	    plain->layer[1].t[SLOT_UP_W]));
	for (int64_t i = 0; i < w->rows; i++) {
		double by = 0;

		tensor_decode(w, i, 1, a);
		tensor_decode(q, i, 1, b);
		for (int64_t c = 0; c < w->cols; c++)
			by += ((double)a[c] - b[c]) * x->sum[c] /
			    (double)x->rows;
		was = tensor_f32(m->layer[1].t[SLOT_UP_B])[i];
		is = tensor_f32(r.model->layer[1].t[SLOT_UP_B])[i];
		assert_float_equal(is, was + by, 1e-5);
	}
	for (int k = 0; k < SLOT_LAYER_COUNT; k++)
		assert_true(r.model->layer[0].t[k] == m->layer[0].t[k] ||
		    tensor_hash(r.model->layer[0].t[k]) ==
		    tensor_hash(m->layer[0].t[k]));
	op_result_free(&r);
	model_unref(plain);
	free(a);
	free(b);
	statistics_free(s);
	model_unref(m);
}

static void
test_refused(void **state)
{
	static const char *const calib[] = { "clip=mse", "bias=correct",
		"scheme=kmeans weigh=inputs", "scheme=kmeans weigh=fisher",
		"method=gptq" };
	struct model *m = sample_real(&sample_models[0]), *packed;
	struct statistics *s = obs_statistics(m, 80);
	struct op_result r;
	char line[100];

	for (size_t i = 0; i < sizeof calib / sizeof *calib; i++) {
		snprintf(line, sizeof line, "quantize L* bits=3 %s", calib[i]);
		sample_refuse(m, line, "role=calib");
	}
	sample_refuse(m, "quantize L* bits=16 clip=mse", "no codes");
	sample_refuse(m, "quantize L* method=hqq scheme=symmetric", "affine");
	sample_refuse(m, "quantize L* method=hqq clip=mse", "clip");
	sample_refuse(m, "quantize L* scheme=kmeans clip=mse", "clip");
	sample_refuse(m, "quantize L* weigh=inputs", "kmeans");
	obs_refuse(m, s, "quantize emb.word bits=3 clip=mse", "gathered");
	obs_refuse(m, s, "quantize L* bits=3 scheme=kmeans weigh=fisher",
	    "role=calib");
	packed = sample_do(m, "quantize L0 bits=8");
	obs_do(packed, s, "quantize L* bits=3 clip=mse", &r);
	assert_non_null(strstr(r.note, "were packed"));
	op_result_free(&r);
	model_unref(packed);
	obs_spoil(s, 0);
	obs_refuse(m, s, "quantize L* bits=3 clip=mse", "are 0");
	obs_refuse(m, s, "quantize L* bits=3 method=gptq", "are 0");
	obs_spoil(s, NAN);
	obs_refuse(m, s, "quantize L* bits=3 clip=mse", "finite");
	statistics_free(s);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clip),
		cmocka_unit_test(test_one_bit),
		cmocka_unit_test(test_hqq),
		cmocka_unit_test(test_kmeans),
		cmocka_unit_test(test_given_range),
		cmocka_unit_test(test_fisher),
		cmocka_unit_test(test_op),
		cmocka_unit_test(test_bias),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
