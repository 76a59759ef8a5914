/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Truncated SVD: orthogonal factors, the loss equal to the tail of the spectrum,
 * exact ranks recovered, whatever the shape and the spectrum. */
#include "tensor_fix.h"

/* rows x cols with singular values sigma(i), from random orthogonal vectors. */
static struct tensor *
with_spectrum(int64_t rows, int64_t cols, double (*sigma)(int64_t),
    uint64_t seed)
{
	int64_t s = rows < cols ? rows : cols;
	double *u = calloc((size_t)(rows * s), sizeof(*u));
	double *v = calloc((size_t)(cols * s), sizeof(*v));
	struct rng rng;
	float *p = NULL;
	struct tensor *t = tensor_new_f32(2, rows, cols, &p, NULL);

	rng_seed(&rng, seed);
	for (int side = 0; side < 2; side++) {
		double *q = side ? v : u;
		int64_t n = side ? cols : rows;

		for (int64_t i = 0; i < s; i++) {
			double *x = q + i * n, norm = 0;

			for (int64_t k = 0; k < n; k++)
				x[k] = rng_normal(&rng);
			for (int pass = 0; pass < 2; pass++)
				for (int64_t j = 0; j < i; j++) {
					double d = 0;

					for (int64_t k = 0; k < n; k++)
						d += x[k] * q[j * n + k];
					for (int64_t k = 0; k < n; k++)
						x[k] -= d * q[j * n + k];
				}
			for (int64_t k = 0; k < n; k++)
				norm += x[k] * x[k];
			for (int64_t k = 0; k < n; k++)
				x[k] /= sqrt(norm);
		}
	}
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++) {
			double x = 0;

			for (int64_t i = 0; i < s; i++)
				x += sigma(i) * u[i * rows + r] *
				    v[i * cols + c];
			p[r * cols + c] = (float)x;
		}
	free(u);
	free(v);
	return t;
}

static double
flat(int64_t i)
{
	return 1;
}

static double
slow(int64_t i)
{
	return 2 - (double)i * 0.01;
}

static double
power(int64_t i)
{
	return 10 / sqrt((double)(i + 1));
}

static double
steep(int64_t i)
{
	return exp(-0.2 * (double)i);
}

static double
rank_three(int64_t i)
{
	return i < 3 ? 5 - (double)i : 0;
}

static double
one_giant(int64_t i)
{
	return i == 0 ? 1e4 : 1;
}

static double
two_levels(int64_t i)
{
	return i < 20 ? 3 : 1;
}

static double
tail(double (*sigma)(int64_t), int64_t from, int64_t to)
{
	double s = 0;

	for (int64_t i = from; i < to; i++)
		s += sigma(i) * sigma(i);
	return s;
}

static double
loss_of(const struct tensor *t, const struct tensor *l)
{
	float *a = fix_decode(t), *b = fix_decode(l);
	double e = 0;

	for (int64_t i = 0; i < t->rows * t->cols; i++)
		e += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
	free(a);
	free(b);
	return e;
}

/* Columns of A and rows of B are orthogonal, and of equal length in pairs. */
static void
check_factors(const struct tensor *l)
{
	const float *a = tensor_f32(l->kid[0]), *b = tensor_f32(l->kid[1]);
	int64_t k = tensor_rank(l);

	for (int64_t i = 0; i < k; i++)
		for (int64_t j = i; j < k; j++) {
			double x = 0, y = 0, ni = 0, nj = 0;

			for (int64_t r = 0; r < l->rows; r++) {
				x += (double)a[r * k + i] * a[r * k + j];
				ni += (double)a[r * k + i] * a[r * k + i];
				nj += (double)a[r * k + j] * a[r * k + j];
			}
			for (int64_t c = 0; c < l->cols; c++)
				y += (double)b[i * l->cols + c] *
				    b[j * l->cols + c];
			if (i == j)
				assert_true(fabs(x - y) <= 1e-4 * x + 1e-12);
			else
				assert_true(fabs(x) <= 2e-3 * sqrt(ni * nj) +
				    1e-12);
		}
}

static const struct {
	int64_t rows, cols, rank;
	double (*sigma)(int64_t);
} shapes[] = {
	{ 1, 1, 1, flat }, { 3, 5, 2, power }, { 33, 7, 4, slow },
	{ 40, 60, 40, power }, { 60, 40, 39, power }, { 30, 50, 3, rank_three },
	{ 30, 50, 7, rank_three }, { 40, 40, 5, flat },
	/* Large enough for the fast way. */
	{ 120, 150, 20, flat }, { 120, 150, 20, slow },
	{ 150, 120, 20, power }, { 150, 120, 30, steep },
	{ 120, 150, 3, rank_three }, { 120, 150, 10, rank_three },
	{ 110, 300, 12, one_giant }, { 300, 110, 20, two_levels },
	{ 110, 300, 19, two_levels }, { 110, 300, 21, two_levels },
	{ 200, 200, 1, power }, { 200, 200, 66, slow },
};

static void
the_loss_is_the_tail_of_the_spectrum(void **state)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		int64_t m = shapes[i].rows, n = shapes[i].cols;
		int64_t s = m < n ? m : n, k = shapes[i].rank;
		struct tensor *t = with_spectrum(m, n, shapes[i].sigma, i);
		double all = tail(shapes[i].sigma, 0, s);
		double least = tail(shapes[i].sigma, k, s), loss;
		struct tensor *l, *g;

		l = tensor_factorize(t, k, &fix_real, NULL);
		assert_non_null(l);
		g = tensor_factorize(t, k, &fix_guess, NULL);
		fix_same_facts(g, l);
		assert_int_equal(tensor_rank(l), k);
		assert_int_equal(tensor_params(l), k * (m + n));
		assert_int_equal(tensor_bytes(l), 4 * k * (m + n));
		loss = loss_of(t, l);
		if (loss > 1.001 * least + 1e-10 * all ||
		    loss < 0.999 * least - 1e-10 * all)
			fail_msg("%lld x %lld to %lld (case %zu): lost %g, "
			    "least %g of %g", (long long)m, (long long)n,
			    (long long)k, i, loss, least, all);
		check_factors(l);
		tensor_unref(t);
		tensor_unref(l);
		tensor_unref(g);
	}
}

static void
spectra_are_right(void **state)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct tensor *t = with_spectrum(shapes[i].rows,
		    shapes[i].cols, shapes[i].sigma, i);
		float *v = NULL;
		int64_t n = 0;

		assert_int_equal(tensor_spectrum(t, &v, &n, NULL, NULL), 0);
		assert_int_equal(n, t->rows < t->cols ? t->rows : t->cols);
		for (int64_t j = 0; j < n; j++) {
			double want = shapes[i].sigma(j);

			assert_true(fabs(v[j] - want) <= 1e-5 *
			    shapes[i].sigma(0));
			assert_true(j == 0 || v[j] <= v[j - 1]);
		}
		free(v);
		tensor_unref(t);
	}
}

/* Random matrices have no gap anywhere; the spectrum is the judge. */
static void
random_matrices_lose_the_least(void **state)
{
	static const int64_t size[][3] = { { 200, 700, 40 },
		{ 700, 200, 16 }, { 256, 256, 80 } };

	for (int i = 0; i < 3; i++) {
		struct tensor *t = fix_random(2, size[i][0], size[i][1], 3);
		struct tensor *l = tensor_factorize(t, size[i][2], &fix_real,
		    NULL);
		double least = 0, loss = loss_of(t, l);
		float *v;
		int64_t n;

		assert_int_equal(tensor_spectrum(t, &v, &n, NULL, NULL), 0);
		for (int64_t j = size[i][2]; j < n; j++)
			least += (double)v[j] * v[j];
		assert_true(loss <= 1.0011 * least);
		assert_true(loss >= 0.9999 * least);
		check_factors(l);
		free(v);
		tensor_unref(t);
		tensor_unref(l);
	}
}

static void
same_seed_same_factors(void **state)
{
	struct tensor *t = fix_random(2, 150, 200, 4), *a, *b;

	a = tensor_factorize(t, 20, &fix_real, NULL);
	b = tensor_factorize(t, 20, &fix_real, NULL);
	assert_true(tensor_hash(a) == tensor_hash(b));
	tensor_unref(a);
	tensor_unref(b);
	tensor_unref(t);
}

static void
half_floats_factorize(void **state)
{
	struct tensor *f = with_spectrum(40, 50, rank_three, 1), *t, *l;

	for (int form = FORM_F16; form <= FORM_BF16; form++) {
		t = tensor_cast(f, (enum form_kind)form, &fix_real, NULL);
		l = tensor_factorize(t, 3, &fix_real, NULL);
		assert_non_null(l);
		assert_int_equal(l->kid[0]->form, form);
		assert_int_equal(l->kid[1]->form, form);
		assert_true(loss_of(t, l) < 1e-4 * tail(rank_three, 0, 3));
		tensor_unref(t);
		tensor_unref(l);
	}
	tensor_unref(f);
}

/* Zero matrices and tiny or huge values, where squares leave float32. */
static void
extremes_factorize(void **state)
{
	static const float size[] = { 0, 1e-30f, 1e30f };

	for (int i = 0; i < 3; i++) {
		struct tensor *t = fix_random(2, 120, 130, 5), *l;
		float *w = (float *)tensor_f32(t), *v;
		double all = 0;
		int64_t n;

		for (int j = 0; j < 120 * 130; j++) {
			w[j] *= size[i];
			all += (double)w[j] * w[j];
		}
		l = tensor_factorize(t, 10, &fix_real, NULL);
		assert_non_null(l);
		assert_true(loss_of(t, l) <= 0.9 * all);
		assert_int_equal(tensor_spectrum(t, &v, &n, NULL, NULL), 0);
		assert_true(isfinite(v[0]));
		free(v);
		tensor_unref(l);
		tensor_unref(t);
	}
}

static void
what_cannot_be_factorized_is_refused(void **state)
{
	struct tensor *t = fix_random(2, 120, 130, 5), *q;
	struct tensor *v = fix_random(1, 1, 16, 5);
	struct quant_spec spec = { QUANT_SYMMETRIC, 8, -1, 0 };
	struct pare_err err;
	float *out;
	int64_t n;

	assert_null(tensor_factorize(t, 0, &fix_real, &err));
	assert_null(tensor_factorize(t, 121, &fix_guess, &err));
	assert_int_equal(err.rc, PARE_EUSER);
	assert_null(tensor_factorize(v, 1, &fix_real, &err));
	q = tensor_quantize(t, &spec, &fix_real, NULL);
	assert_null(tensor_factorize(q, 3, &fix_real, &err));
	assert_int_equal(err.rc, PARE_EUSER);
	assert_true(err.hint[0] != '\0');
	for (int i = 0; i < 2; i++) {
		((float *)tensor_f32(t))[77] = i ? NAN : INFINITY;
		for (int64_t k = 5; k < 120; k += 100) {
			assert_null(tensor_factorize(t, k, &fix_real, &err));
			assert_int_equal(err.rc, PARE_EUSER);
			assert_non_null(strstr(err.msg, "not finite"));
		}
		assert_int_equal(tensor_spectrum(t, &out, &n, NULL, &err),
		    PARE_EUSER);
		assert_null(out);
	}
	tensor_unref(q);
	tensor_unref(t);
	tensor_unref(v);
}

static void
cancel_and_no_memory_leave_nothing(void **state)
{
	struct task task = { .cancel = true };
	struct transform_ctx ctx = { .task = &task };
	struct tensor *t = fix_random(2, 120, 130, 5);
	struct pare_err err;

	for (int64_t k = 5; k < 120; k += 100) {
		struct tensor *l = NULL;
		long n;

		assert_null(tensor_factorize(t, k, &ctx, &err));
		assert_int_equal(err.rc, PARE_ECANCELED);
		for (n = 1; l == NULL; n++) {
			mem_fail_at(n);
			l = tensor_factorize(t, k, &fix_real, &err);
			mem_fail_at(0);
			if (l == NULL)
				assert_int_equal(err.rc, PARE_ENOMEM);
			assert_true(n < 20);
		}
		assert_true(n > 4);
		tensor_unref(l);
	}
	for (long n = 1; n < 6; n++) {
		float *v = NULL;
		int64_t m;
		enum pare_rc rc;

		mem_fail_at(n);
		rc = tensor_spectrum(t, &v, &m, NULL, &err);
		mem_fail_at(0);
		assert_int_equal(rc, n < 6 && v == NULL ? PARE_ENOMEM :
		    PARE_OK);
		free(v);
	}
	tensor_unref(t);
}

static void
break_even_is_the_last_rank_that_pays(void **state)
{
	static const int64_t size[][2] = { { 768, 768 }, { 768, 3072 },
		{ 1, 1 }, { 2, 2 }, { 30522, 768 }, { 5, 1 } };

	for (int i = 0; i < 6; i++) {
		int64_t m = size[i][0], n = size[i][1], k;
		struct tensor *g = tensor_ghost(FORM_F32, 2, m, n);

		k = tensor_break_even_rank(g);
		assert_true(k * (m + n) < m * n);
		assert_true((k + 1) * (m + n) >= m * n);
		tensor_unref(g);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_loss_is_the_tail_of_the_spectrum),
		cmocka_unit_test(spectra_are_right),
		cmocka_unit_test(random_matrices_lose_the_least),
		cmocka_unit_test(same_seed_same_factors),
		cmocka_unit_test(half_floats_factorize),
		cmocka_unit_test(extremes_factorize),
		cmocka_unit_test(what_cannot_be_factorized_is_refused),
		cmocka_unit_test(cancel_and_no_memory_leave_nothing),
		cmocka_unit_test(break_even_is_the_last_rank_that_pays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
