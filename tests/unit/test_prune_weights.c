/* SPDX-License-Identifier: GPL-3.0-or-later */
/* prune weights: exact counts, scopes, patterns and ties, against a sort. */
#include "samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tensor/kernel.h"

/* m with the values of a slot set by a function of their index. */
typedef float fill(int64_t i);

static struct model *
with_values(const struct model *m, struct slot_ref ref, fill *f)
{
	const struct tensor *t = model_slot(m, ref);
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct pare_err err = { 0 };
	struct model *out = NULL;
	float *v;
	struct tensor *n = tensor_new_f32(t->ndim, t->rows, t->cols, &v, &err);

	assert_non_null(n);
	for (int64_t i = 0; i < t->rows * t->cols; i++)
		v[i] = f(i);
	edit_set(e, ref, n);
	assert_int_equal(edit_commit(e, &out, &err), PARE_OK);
	return out;
}

static float *
values_of(const struct model *m, struct slot_ref ref, int64_t *n)
{
	const struct tensor *t = model_slot(m, ref);
	float *v = xmalloc((size_t)(t->rows * t->cols) * sizeof *v);

	tensor_decode(t, 0, t->rows, v);
	*n = t->rows * t->cols;
	return v;
}

static int64_t
zeros_of(const struct model *m, struct slot_ref ref)
{
	int64_t n, zeros = 0;
	float *v = values_of(m, ref, &n);

	for (int64_t i = 0; i < n; i++)
		zeros += v[i] == 0;
	free(v);
	return zeros;
}

static const struct slot_ref q0 = { 0, SLOT_Q_W }, k0 = { 0, SLOT_K_W },
    v0 = { 0, SLOT_V_W }, up0 = { 0, SLOT_UP_W };

static float
small(int64_t i)
{
	return 0.001f * (float)(i + 1);
}

static float
large(int64_t i)
{
	return (i % 2 == 0 ? -1.0f : 1.0f) * (10.0f + (float)i);
}

static float
equal(int64_t i)
{
	return i % 3 == 0 ? 0.5f : -0.5f;
}

static float
third_zero(int64_t i)
{
	return i % 3 == 0 ? 0.0f : (float)(i + 1);
}

/* Global empties the matrix of small weights; module takes half of each. */
static void
test_scope(void **state)
{
	struct model *a = sample_real(&sample_models[0]);
	struct model *b = with_values(a, q0, small);
	struct model *m = with_values(b, k0, large), *g, *p;
	int64_t n = 32 * 32;

	g = sample_do(m, "prune weights 50% L0.q L0.k");
	assert_int_equal(zeros_of(g, q0), n);
	assert_int_equal(zeros_of(g, k0), 0);
	p = sample_do(m, "prune weights 50% L0.q L0.k scope=module");
	assert_int_equal(zeros_of(p, q0), n / 2);
	assert_int_equal(zeros_of(p, k0), n / 2);
	model_unref(p);
	model_unref(g);
	model_unref(m);
	model_unref(b);
	model_unref(a);
}

static int
compare_floats(const void *pa, const void *pb)
{
	float a = fabsf(*(const float *)pa), b = fabsf(*(const float *)pb);

	return (a > b) - (a < b);
}

/* Exactly the k smallest of all go, the rest stays bit for bit. */
static void
test_exact(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *p;
	int64_t n, n2, k;
	float *was = values_of(m, up0, &n), *sorted = values_of(m, up0, &n2);
	float *is;

	qsort(sorted, (size_t)n, sizeof *sorted, compare_floats);
	for (k = 1; k < n; k = k * 3 + 1) {
		char line[64];

		snprintf(line, sizeof line, "prune weights %lld L0.up",
		    (long long)k);
		p = sample_do(m, line);
		is = values_of(p, up0, &n2);
		for (int64_t i = 0; i < n; i++) {
			float want = fabsf(was[i]) > fabsf(sorted[k - 1]) ?
			    was[i] : 0;

			if (is[i] != want)
				fail_msg("%s: weight %lld is %g, not %g", line,
				    (long long)i, (double)is[i], (double)want);
		}
		free(is);
		model_unref(p);
	}
	free(was);
	free(sorted);
	model_unref(m);
}

/* Of equal weights the first go, and exactly as many as were asked for. */
static void
test_ties(void **state)
{
	struct model *a = sample_real(&sample_models[0]);
	struct model *b = with_values(a, q0, equal);
	struct model *m = with_values(b, k0, equal);
	struct model *p = sample_do(m, "prune weights 1500 L0.q L0.k");
	int64_t n;
	float *v = values_of(p, k0, &n);

	assert_int_equal(zeros_of(p, q0), 1024);
	assert_int_equal(zeros_of(p, k0), 1500 - 1024);
	for (int64_t i = 0; i < n; i++)
		assert_true((v[i] == 0) == (i < 1500 - 1024));
	free(v);
	model_unref(p);
	model_unref(m);
	model_unref(b);
	model_unref(a);
}

/* Zeros that are there count; asking for fewer is refused. */
static void
test_zeros_count(void **state)
{
	struct model *a = sample_real(&sample_models[0]);
	struct model *m = with_values(a, q0, third_zero);
	int64_t zeros = zeros_of(m, q0);
	struct model *p = sample_do(m, "prune weights 50% L0.q by=random"), *r;

	assert_int_equal(zeros, 342);
	assert_int_equal(zeros_of(p, q0), 512);
	sample_refuse(m, "prune weights 30% L0.q", "already");
	sample_refuse(p, "prune weights 50% L0.q", "already");
	r = sample_do(p, "prune weights 75% L0.q");
	assert_int_equal(zeros_of(r, q0), 768);
	assert_int_equal(tensor_nonzero(model_slot(r, q0)), 256);
	model_unref(r);
	model_unref(p);
	model_unref(m);
	model_unref(a);
}

/* The N largest of each M neighbours stay; the tail keeps its share. */
static void
test_pattern(void **state)
{
	static const int patterns[][2] = { { 2, 4 }, { 1, 4 }, { 3, 5 },
	    { 1, 3 }, { 4, 8 }, { 7, 31 } };
	struct model *m = sample_real(&sample_models[0]);
	int64_t n, n2;
	float *was = values_of(m, v0, &n);

	for (size_t t = 0; t < sizeof patterns / sizeof *patterns; t++) {
		int keep = patterns[t][0], group = patterns[t][1];
		char line[64];
		struct model *p;
		float *is;

		snprintf(line, sizeof line, "prune weights L0.v pattern=%d:%d",
		    keep, group);
		p = sample_do(m, line);
		is = values_of(p, v0, &n2);
		for (int64_t i = 0; i < n; i++) {
			int64_t row = i / 32, c = i % 32 / group * group;
			int64_t end = c + group < 32 ? c + group : 32;
			int64_t stay = ((end - c) * keep + group - 1) / group;
			int better = 0;

			for (int64_t k = c; k < end; k++)
				better += fabsf(was[row * 32 + k]) >
				    fabsf(was[i]);
			assert_true(is[i] == (better < stay ? was[i] : 0));
		}
		free(is);
		model_unref(p);
	}
	free(was);
	model_unref(m);
}

/* by=random spreads over the matrix and follows the seed. */
static void
test_random(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *p = sample_do(m, "prune weights 50% by=random L0.up");
	int64_t n, half = 0;
	float *v = values_of(p, up0, &n);

	assert_int_equal(zeros_of(p, up0), n / 2);
	for (int64_t i = 0; i < n / 2; i++)
		half += v[i] == 0;
	/* Binomial of 768 draws: five deviations around the mean. */
	assert_true(half > n / 4 - 70 && half < n / 4 + 70);
	free(v);
	model_unref(p);
	model_unref(m);
}

static void
test_targets(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *p = sample_do(m, "prune weights 50%");
	static const struct slot_ref word = { -1, SLOT_WORD },
	    bias = { 0, SLOT_Q_B }, out = { -1, SLOT_HOUT_W };

	assert_ptr_equal(model_slot(p, word), model_slot(m, word));
	assert_ptr_equal(model_slot(p, bias), model_slot(m, bias));
	assert_ptr_not_equal(model_slot(p, out), model_slot(m, out));
	model_unref(p);
	p = sample_do(m, "prune weights 50% all");
	assert_ptr_not_equal(model_slot(p, word), model_slot(m, word));
	assert_ptr_equal(model_slot(p, bias), model_slot(m, bias));
	model_unref(p);
	p = sample_do(m, "prune weights 100% L0.q");
	assert_int_equal(zeros_of(p, q0), 1024);
	assert_int_equal(tensor_nonzero(model_slot(p, q0)), 0);
	model_unref(p);
	sample_refuse(m, "prune weights 50% L0.norm", "target");
	sample_refuse(m, "prune weights", "amount");
	sample_refuse(m, "prune weights 0%", "amount");
	sample_refuse(m, "prune weights 120%", "amount");
	sample_refuse(m, "prune weights 50% pattern=4:2", "pattern");
	sample_refuse(m, "prune weights 30% pattern=2:4", "pattern");
	sample_refuse(m, "prune weights 50% L9", "L9");
	model_unref(m);
}

/* The same weights go for any number of threads. */
static void
test_threads(void **state)
{
	static const struct sample_model wide = { "wide",
	    "{\"model_type\":\"bert\",\"architectures\":"
	    "[\"BertForSequenceClassification\"],\"hidden_size\":192,"
	    "\"num_hidden_layers\":1,\"num_attention_heads\":4,"
	    "\"intermediate_size\":768,\"vocab_size\":90,"
	    "\"max_position_embeddings\":24,\"type_vocab_size\":2,"
	    "\"hidden_act\":\"gelu\",\"initializer_range\":0.2}" };
	static const char *const lines[] = { "prune weights 37%",
	    "prune weights 37% by=random", "prune weights 70% scope=module",
	    "prune weights pattern=3:7" };
	struct model *m = sample_real(&wide);

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		uint64_t hash = 0;

		for (int threads = 1; threads <= 4; threads += 3) {
			struct model *p;

			kernel_set_threads(threads);
			p = sample_do(m, lines[i]);
			if (threads > 1)
				assert_true(model_hash(p) == hash);
			hash = model_hash(p);
			model_unref(p);
		}
	}
	kernel_set_threads(1);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_zeros_count),
		cmocka_unit_test(test_pattern),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_threads),
	};

	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
