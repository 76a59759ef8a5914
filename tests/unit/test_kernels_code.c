/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Products of codes with int8 activations: every scheme, number of bits and kind
 * of group at odd sizes. Against a plain product with x as it was rounded, whose
 * integers are exact, on every level of instructions this machine has; the
 * levels against each other bit by bit; and against exact x within the tolerance
 * of the table.
 */
#include "tensor/kernel_code.h"
#include "kernel_fix.h"

/* Of the largest |y|: sums of floats in another order. */
static const double tight = 2e-5;

struct shape {
	int64_t rows, cols, group;	/* group -1: one a row */
};

static const struct shape shapes[] = {
	{ 1, 1, -1 }, { 3, 5, 0 }, { 7, 33, 11 }, { 33, 64, 1 },
	{ 31, 66, 2 }, { 40, 63, 3 }, { 5, 96, 32 }, { 70, 192, 64 },
	{ 17, 100, 20 }, { 129, 65, -1 }, { 2, 300, 100 }, { 64, 256, 128 },
	{ 35, 768, 64 }, { 65, 127, 0 }, { 9, 4100, -1 }, { 3, 9000, 4500 },
	{ 4, 8256, 16 }, { 3, 8235, 5 }, { 2, 5002, 2501 }, { 2, 4104, 2052 },
	{ 3, 520, 4 }, { 33, 1024, 512 }, { 35, 768, 32 }, { 21, 384, -1 },
	{ 3, 4224, 32 }, { 26, 176, 16 }, { 13, 4320, 48 }
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static const int64_t counts[] = { 1, 2, 3, 4, 5, 6, 7, 13, 16, 33, 47 };
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static struct tensor *
make(struct shape s, enum quant_scheme scheme, int bits, int act)
{
	struct tensor *f = fix_random(2, s.rows, s.cols, (uint64_t)bits + 11);
	struct quant_spec spec = { scheme, bits, s.group, act };
	struct tensor *t = tensor_quantize(f, &spec, &fix_real, NULL);

	assert_non_null(t);
	assert_int_equal(t->code.act, act);
	tensor_unref(f);
	return t;
}

static float *
random_x(int64_t n, uint64_t seed)
{
	float *p = malloc((size_t)n * sizeof(*p));
	struct rng rng;

	assert_non_null(p);
	rng_seed(&rng, seed);
	for (int64_t i = 0; i < n; i++)
		p[i] = rng_normal(&rng);
	return p;
}

/* ---- the naive twin ---- */

/* Rounded as the header says, by the C library. */
static float *
naive_round(const float *x, int64_t n, int64_t cols)
{
	float *out = malloc((size_t)(n * cols) * sizeof(*out));

	assert_non_null(out);
	for (int64_t i = 0; i < n; i++) {
		float most = 0;

		for (int64_t c = 0; c < cols; c++)
			most = fmaxf(most, fabsf(x[i * cols + c]));
		for (int64_t c = 0; c < cols; c++)
			out[i * cols + c] = most / 127.0f *
			    nearbyintf(x[i * cols + c] * (127.0f / most));
	}
	return out;
}

/* Values as the product sees them: those of tables as int8 of the group's
 * largest. */
static void
round_tables(const struct tensor *t, float *w)
{
	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = 0; c < t->cols; c++) {
			const float *table = (const float *)
			    t->part[PART_TABLE].p +
			    (naive_group(t, r, c) << t->code.bits);
			float most = 0, *at = w + r * t->cols + c;

			for (int i = 0; i < 1 << t->code.bits; i++)
				most = fmaxf(most, fabsf(table[i]));
			*at = most / 127.0f *
			    nearbyintf(*at * (127.0f / most));
		}
}

/* Value i of group g, as it decodes. */
static float
value_of(const struct tensor *t, int64_t g, int i)
{
	float step, low;

	if (t->values == FORM_TABLE)
		return ((const float *)t->part[PART_TABLE].p)[
		    (g << t->code.bits) + i];
	value_scale(t, g, &step, &low);
	if (t->code.scheme == CODE_AFFINE)
		return low + step * (float)i;
	return step * (float)(i * (t->code.bits == 1 ? 2 : 1) -
	    (1 << (t->code.bits - 1)));
}

/* The largest that columns [c, end) of row r can have. */
static float
naive_most(const struct tensor *t, int64_t r, int64_t c, int64_t end)
{
	float most = 0;

	for (; c < end; c++)
		for (int i = 0; i < 1 << t->code.bits; i++)
			most = fmaxf(most, fabsf(value_of(t,
			    naive_group(t, r, c), i)));
	return most;
}

/* One weight, merged with others of at most `most`. */
static float
naive_merged(const struct tensor *t, int64_t g, int code, float most)
{
	float by = 127.0f / most, low = value_of(t, g, 0), step, none;
	int k;

	if (t->values == FORM_TABLE)
		return most / 127.0f * nearbyintf(value_of(t, g, code) * by);
	value_scale(t, g, &step, &none);
	step *= t->code.bits == 1 && t->code.scheme != CODE_AFFINE ? 2 : 1;
	by *= 256.0f;
	k = code * (int)nearbyintf(step * by) + (int)nearbyintf(low * by);
	return most / 127.0f * (float)((k + 128 + (128 << 8)) / 256 - 128);
}

/* Values as products with many rows of x see them; false: as others do. */
static bool
merge(const struct tensor *t, float *w)
{
	int64_t group = value_group_cols(t);

	if (t->code.bits > 4 || group < 16 || group >= t->cols)
		return false;
	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c0 = 0; c0 < t->cols; c0 += CODE_CHUNK) {
			int64_t end = c0 + CODE_CHUNK < t->cols ?
			    c0 + CODE_CHUNK : t->cols;
			float most = naive_most(t, r, c0, end);

			for (int64_t c = c0; c < end; c++) {
				float *at = w + r * t->cols + c, v;
				uint8_t code;

				value_codes(t, r, c, 1, &code);
				v = naive_merged(t, naive_group(t, r, c), code,
				    most);
				assert_true(fabsf(v - *at) <=
				    CODE_MERGE_ERROR * most);
				*at = v;
			}
		}
	return true;
}

/* ---- all kinds ---- */

struct kind {
	enum quant_scheme scheme;
	int bits;
};

static const struct kind kinds[] = {
	{ QUANT_SYMMETRIC, 1 }, { QUANT_SYMMETRIC, 2 }, { QUANT_SYMMETRIC, 3 },
	{ QUANT_SYMMETRIC, 4 }, { QUANT_SYMMETRIC, 5 }, { QUANT_SYMMETRIC, 6 },
	{ QUANT_SYMMETRIC, 7 }, { QUANT_SYMMETRIC, 8 }, { QUANT_AFFINE, 1 },
	{ QUANT_AFFINE, 2 }, { QUANT_AFFINE, 3 }, { QUANT_AFFINE, 4 },
	{ QUANT_AFFINE, 5 }, { QUANT_AFFINE, 6 }, { QUANT_AFFINE, 7 },
	{ QUANT_AFFINE, 8 }, { QUANT_BINARY, 1 }, { QUANT_KMEANS, 1 },
	{ QUANT_KMEANS, 2 }, { QUANT_KMEANS, 3 }, { QUANT_KMEANS, 4 },
	{ QUANT_KMEANS, 5 }, { QUANT_KMEANS, 6 }, { QUANT_KMEANS, 7 },
	{ QUANT_KMEANS, 8 }
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* A version of the kernel by itself, whatever would be chosen. */
static void
run_one(const struct kernel *k, const struct code_level *v,
    const struct tensor *t, const float *x, int64_t n, float *y, bool add)
{
	struct kernel_x kx = { .f = x, .n = n, .cols = t->cols };
	enum prep_kind kind = v != NULL ? PREP_INT8 : k->prep;
	void *scratch, *prep;

	assert_int_equal(posix_memalign(&scratch, 64, k->scratch(t, n)), 0);
	assert_int_equal(posix_memalign(&prep, 64,
	    prep_bytes(kind, n, t->cols)), 0);
	prep_point(kind, prep, &kx);
	prep_make(kind, &kx, 0, n);
	if (v != NULL)
		code_run(v, t, &kx, 0, t->rows, y, t->rows, add, scratch);
	else
		k->run(t, &kx, 0, t->rows, y, t->rows, add, scratch);
	free(scratch);
	free(prep);
}

/* Versions that the levels above did not choose. */
static void
check_versions(const struct tensor *t, const float *x, int64_t n,
    const float *want, const float *old, const float *want_added)
{
	size_t bytes = (size_t)(n * t->rows) * sizeof(*want);
	float *y = malloc(bytes);

#if CPU_X86
	static const struct kernel *const of[] = { &code_few_kernel,
		&code_turned_kernel, &code_vnni_kernel };
	bool vnni = cpu_detected() >= CPU_VNNI;
	bool fits[] = { vnni && n <= 4 && code_few_kernel.fits(t, 1),
		vnni && n >= CODE_MERGE && code_turned_kernel.fits(t, 64),
		vnni };

	for (int i = 0; i < 6; i++) {
		const struct kernel *k = of[i / 2];
		const struct code_level *v = i < 4 ? NULL : &code_level_vnni;
		bool add = i % 2 == 1;

		if (!fits[i / 2])
			continue;
		memcpy(y, old, bytes);
		run_one(k, v, t, x, n, y, add);
		assert_memory_equal(y, add ? want_added : want, bytes);
	}
#endif
	free(y);
}

/* One tensor with n rows of x on every level. */
static void
check(const struct tensor *t, const float *w, const float *exact, int64_t n)
{
	int64_t m = n * t->rows;
	float *x = random_x(n * t->cols, 3), *old = random_x(m, 4);
	float *q = naive_round(x, n, t->cols);
	double *want = naive_matmul(t, w, q, n);
	double *whole = naive_matmul(t, exact, x, n);
	float *y = malloc((size_t)m * sizeof(*y));
	float *first = malloc((size_t)m * 2 * sizeof(*y));

	for (int level = 0; level <= (int)cpu_detected(); level++) {
		cpu_limit((enum cpu_level)level);
		multiply(t, x, n, y, false);
		close_to(t, want, NULL, y, n, tight, cpu_level_name(level));
		if (m >= 16)	/* so that the largest |y| is a large one */
			close_to(t, whole, NULL, y, n,
			    kernel_of(t, n)->tolerance, "exact x");
		if (level == 0)
			memcpy(first, y, (size_t)m * sizeof(*y));
		assert_memory_equal(first, y, (size_t)m * sizeof(*y));
		memcpy(y, old, (size_t)m * sizeof(*y));
		multiply(t, x, n, y, true);
		close_to(t, want, old, y, n, tight, "added");
		if (level == 0)
			memcpy(first + m, y, (size_t)m * sizeof(*y));
		assert_memory_equal(first + m, y, (size_t)m * sizeof(*y));
	}
	cpu_limit(CPU_LEVELS - 1);
	check_versions(t, x, n, first, old, first + m);
	free(x);
	free(old);
	free(q);
	free(want);
	free(whole);
	free(y);
	free(first);
}

static void
every_kind_multiplies(void **state)
{
	for (int k = 0; k < KINDS; k++)
		for (int s = 0; s < SHAPES; s++) {
			struct tensor *t = make(shapes[s], kinds[k].scheme,
			    kinds[k].bits, 8);
			float *w = naive_decode(t), *exact = naive_decode(t);
			bool few = shapes[s].cols > 2000;

			float *merged = naive_decode(t);
			bool merges = merge(t, merged);

			if (t->values == FORM_TABLE)
				round_tables(t, w);
			for (int c = 0; c < (few ? 3 : COUNTS); c++) {
				int64_t n = counts[few ? 4 * c : c];

				check(t, merges && n >= CODE_MERGE ? merged : w,
				    exact, n);
			}
			free(merged);
			free(w);
			free(exact);
			tensor_unref(t);
		}
}

/* Several panels and pieces, by one thread and by three. */
static void
threads_give_the_same_bits(void **state)
{
	static const struct shape sizes[] = { { 700, 600, 60 },
		{ 333, 3072, 64 }, { 300, 1111, -1 } };
	static const int64_t rows[] = { 1, 2, 29, 150 };
	int threads = kernel_threads();

	for (int i = 0; i < 3; i++)
		for (int k = 0; k < 4; k++) {
			struct tensor *t = make(sizes[i], QUANT_AFFINE, 4, 8);
			int64_t n = rows[k], m = n * t->rows;
			float *x = random_x(n * t->cols, 8);
			float *a = malloc((size_t)m * 4);
			float *b = malloc((size_t)m * 4);

			kernel_set_threads(1);
			multiply(t, x, n, a, false);
			kernel_set_threads(3);
			multiply(t, x, n, b, false);
			assert_memory_equal(a, b, (size_t)m * 4);
			/* A row of x alone, too, but for what is merged. */
			multiply(t, x + (n - 1) * t->cols, 1, b, false);
			if (n < CODE_MERGE || value_group_cols(t) == t->cols)
				assert_memory_equal(a + (n - 1) *
				    t->rows, b, (size_t)t->rows * 4);
			free(x);
			free(a);
			free(b);
			tensor_unref(t);
		}
	kernel_set_threads(threads);
}

/* Float activations: every kernel that takes codes so, on few rows and more. */
static void
floats_meet_codes(void **state)
{
	static const struct kind some[] = { { QUANT_SYMMETRIC, 1 },
		{ QUANT_SYMMETRIC, 4 }, { QUANT_SYMMETRIC, 8 },
		{ QUANT_AFFINE, 3 }, { QUANT_AFFINE, 8 }, { QUANT_KMEANS, 3 },
		{ QUANT_KMEANS, 6 } };

	for (int i = 0; i < 7 * SHAPES; i++) {
		struct tensor *t = make(shapes[i / 7], some[i % 7].scheme,
		    some[i % 7].bits, 0);
		float *w = naive_decode(t), *x = random_x(6 * t->cols, 3);
		float *y = malloc((size_t)(6 * t->rows) * sizeof(*y));
		float *old = random_x(6 * t->rows, 4);
		double *want = naive_matmul(t, w, x, 6);

		for (int level = 0; level <= (int)cpu_detected(); level++)
			for (int64_t n = 1; n <= 6; n++) {
				size_t bytes = (size_t)(n * t->rows) *
				    sizeof(*y);

				cpu_limit((enum cpu_level)level);
				multiply(t, x, n, y, false);
				close_to(t, want, NULL, y, n, tight,
				    kernel_of(t, n)->name);
				memcpy(y, old, bytes);
				multiply(t, x, n, y, true);
				close_to(t, want, old, y, n, tight,
				    kernel_of(t, n)->name);
			}
		cpu_limit(CPU_LEVELS - 1);
		free(w);
		free(x);
		free(y);
		free(old);
		free(want);
		tensor_unref(t);
	}
}

/* ---- sets of products ---- */

/* Adds 1 + the column to each value, and counts how often it saw each. */
struct marks {
	struct product_end end;
	int64_t rows;
	uint8_t *seen;
};

static void
mark(const struct product_end *e, float *y, int64_t ldy, int64_t row,
    int64_t rows, int64_t col, int64_t cols)
{
	const struct marks *m = (const struct marks *)(const void *)e;

	for (int64_t i = 0; i < rows; i++)
		for (int64_t c = 0; c < cols; c++) {
			y[i * ldy + c] += (float)(1 + col + c);
			m->seen[(row + i) * m->rows + col + c]++;
		}
}

static void
sets_share_x(void **state)
{
	static const int64_t n[] = { 1, 3, 130 };
	struct shape s = { 70, 192, 64 }, row = { 50, 192, -1 },
	    all = { 33, 192, 0 };
	struct tensor *t[4] = { make(s, QUANT_SYMMETRIC, 4, 8),
		make(row, QUANT_AFFINE, 8, 8), make(all, QUANT_KMEANS, 3, 8),
		make(row, QUANT_SYMMETRIC, 5, 0) };

	for (int k = 0; k < 3; k++) {
		float *x = random_x(n[k] * 192, 2), *alone;
		struct product p[4];
		struct marks m[4];
		void *scratch;

		for (int i = 0; i < 4; i++) {
			int64_t size = n[k] * t[i]->rows;

			m[i] = (struct marks) { { mark }, t[i]->rows,
				calloc((size_t)size, 1) };
			p[i] = (struct product) { t[i], malloc((size_t)size *
			    sizeof(float)), &m[i].end };
		}
		assert_int_equal(posix_memalign(&scratch, 64,
		    kernel_products_scratch((const struct tensor *const *)t, 4,
		    n[k])), 0);
		kernel_products(p, 4, x, n[k], scratch);
		for (int i = 0; i < 4; i++) {
			int64_t size = n[k] * t[i]->rows;

			alone = malloc((size_t)size * sizeof(float));
			multiply(t[i], x, n[k], alone, false);
			for (int64_t j = 0; j < size; j++) {
				assert_int_equal(m[i].seen[j], 1);
				assert_float_equal(p[i].y[j] - alone[j],
				    1 + j % t[i]->rows, 1e-4);
			}
			free(alone);
			free(p[i].y);
			free(m[i].seen);
		}
		free(scratch);
		free(x);
	}
	for (int i = 0; i < 4; i++)
		tensor_unref(t[i]);
}

/* ---- rounding of x ---- */

static void
check_round(const float *v, int64_t n, const int8_t *want, float scale)
{
	int8_t *q = malloc((size_t)n);
	int16_t *sum = malloc((size_t)(n + 63) / 64 * 4 * sizeof(*sum));

	for (int level = 0; level <= (int)cpu_detected(); level++) {
		float got;

		cpu_limit((enum cpu_level)level);
		memset(q, 99, (size_t)n);
		got = code_round(v, n, q, sum);
		assert_memory_equal(q, want, (size_t)n);
		assert_true(isnan(scale) ? isnan(got) : got == scale);
		for (int64_t i = 0; i < n; i += CODE_SUM) {
			int s = 0;

			for (int64_t k = i; k < n && k < i + CODE_SUM; k++)
				s += want[k];
			assert_int_equal(sum[i / CODE_SUM], s);
		}
	}
	cpu_limit(CPU_LEVELS - 1);
	free(q);
	free(sum);
}

static void
x_is_rounded(void **state)
{
	static const float scales[] = { 1, 1e-30f, 1e30f, 0x1p-100f,
		0x1p-101f, 0x1p-149f, 0, 3e38f };
	static const float odd[] = { NAN, INFINITY, -INFINITY };
	int8_t want[200];

	for (int64_t n = 1; n <= 200; n += n < 70 ? 1 : 13)
		for (int s = 0; s < 8; s++) {
			float *v = random_x(n, (uint64_t)n), most = 0;

			for (int64_t i = 0; i < n; i++) {
				v[i] = fmaxf(-1, fminf(1, v[i])) * scales[s];
				most = fmaxf(most, fabsf(v[i]));
			}
			for (int64_t i = 0; i < n; i++)
				want[i] = most < 0x1p-100f ? 0 : (int8_t)
				    nearbyintf(v[i] * (127.0f / most));
			check_round(v, n, want, most < 0x1p-100f ? 0 :
			    most / 127.0f);
			memset(want, 0, sizeof(want));
			for (int i = 0; i < 3; i++) {
				v[n * i / 3] = odd[i];
				check_round(v, n, want, NAN);
			}
			free(v);
		}
}

/* Halves go to the even side, and the ends are used. */
static void
halves_are_even(void **state)
{
	static const float v[] = { 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f,
		126.5f, -127 };
	static const int8_t want[] = { 127, 0, 2, 2, 0, -2, -126, 126, -127 };

	check_round(v, 9, want, 1);
}

/* A row of x that is not finite spoils its row of y and no other. */
static void
what_is_not_finite_shows(void **state)
{
	static const float odd[] = { NAN, INFINITY, -INFINITY };
	struct shape s = { 40, 130, 65 }, row = { 40, 130, -1 };
	struct tensor *t[3] = { make(s, QUANT_SYMMETRIC, 4, 8),
		make(row, QUANT_AFFINE, 8, 8), make(row, QUANT_KMEANS, 4, 8) };

	for (int k = 0; k < 9; k++) {
		const struct tensor *u = t[k % 3];
		float *x = random_x(35 * 130, 5), y[35 * 40], z[40];

		for (int i = 0; i < 130; i++)
			x[260 + i] = 0;
		multiply(u, x, 1, z, false);
		x[130 + 17] = odd[k / 3];
		multiply(u, x, 3, y, false);
		assert_memory_equal(y, z, sizeof(z));
		for (int many = 0; many < 2; many++) {
			for (int i = 0; i < 40; i++) {
				assert_false(isfinite(y[40 + i]));
				assert_true(y[80 + i] == 0);
				assert_true(isfinite(y[i]));
			}
			multiply(u, x, 35, y, false);
		}
		free(x);
	}
	for (int i = 0; i < 3; i++)
		tensor_unref(t[i]);
}

/* ---- facts ---- */

static struct tensor *
with_part(const struct tensor *t, enum part_kind k, void *data, int act,
    struct pare_err *err)
{
	struct tensor facts = tensor_facts(t);
	struct part parts[PART_COUNT];

	for (int i = 0; i < PART_COUNT; i++)
		parts[i] = part_ref(&t->part[i]);
	if (data != NULL) {
		blob_unref(parts[k].blob);
		parts[k].blob = blob_heap(data, parts[k].n);
		parts[k].p = data;
	}
	facts.code.act = (uint8_t)act;
	return tensor_new(&facts, parts, NULL, err);
}

/* Scales and tables of a hostile file: any bits run, and nonsense shows. */
static void
hostile_scales_run(void **state)
{
	static const uint16_t halves[] = { 0x7c00, 0xfc00, 0x7e01, 0x7bff,
		0x0001, 0x8000 };
	struct shape s = { 33, 128, 32 };

	for (int k = 0; k < 18; k++) {
		struct tensor *t = make(s, k < 12 ? QUANT_AFFINE :
		    QUANT_KMEANS, 4, 8), *u;
		enum part_kind part = k < 6 ? PART_SCALE : k < 12 ? PART_MIN :
		    PART_TABLE;
		float *x = random_x(35 * 128, 5), y[35 * 33];
		void *data = malloc(t->part[part].n);
		float wild = half_to_float(halves[k % 6]);

		memcpy(data, t->part[part].p, t->part[part].n);
		if (k < 12)
			((uint16_t *)data)[5] = halves[k % 6];
		else
			((float *)data)[5] = k % 6 == 3 ? 1e30f : wild;
		u = with_part(t, part, data, 8, NULL);
		assert_non_null(u);
		for (int level = 0; level <= (int)cpu_detected(); level++) {
			cpu_limit((enum cpu_level)level);
			multiply(u, x, 7, y, false);
			multiply(u, x, 1, y, true);
			for (int r = 0; r < 33; r++)
				if (isfinite(wild) || r != (k < 12 ? 1 : 0))
					assert_true(isfinite(y[33 + r]));
			if (!isfinite(wild))
				assert_false(isfinite(y[33 + (k < 12)]));
			multiply(u, x, 35, y, false);
			for (int r = 0; r < 33; r++)
				if (isfinite(wild) || r != (k < 12 ? 1 : 0))
					assert_true(isfinite(y[33 + r]));
				else
					assert_false(isfinite(y[33 + r]));
		}
		cpu_limit(CPU_LEVELS - 1);
		free(x);
		tensor_unref(t);
		tensor_unref(u);
	}
}

static void
activations_are_a_fact(void **state)
{
	struct shape s = { 8, 64, 16 };
	struct tensor *t = make(s, QUANT_SYMMETRIC, 4, 8), *u, *v;
	struct quant_spec bad = { QUANT_SYMMETRIC, 4, 16, 4 };
	int64_t keep[] = { 1, 2, 5 };
	struct pare_err err;
	uint8_t mask[8 * 64];
	char text[64];

	tensor_describe(t, text, sizeof(text));
	assert_string_equal(text, "int4 g16 a8");
	u = tensor_activations(t, 0, &err);
	tensor_describe(u, text, sizeof(text));
	assert_string_equal(text, "int4 g16");
	assert_ptr_equal(u->part[PART_DATA].p, t->part[PART_DATA].p);
	assert_true(tensor_hash(u) != tensor_hash(t));
	v = tensor_activations(u, 8, &err);
	assert_true(tensor_hash(v) == tensor_hash(t));
	tensor_unref(v);
	v = tensor_activations(t, 8, &err);
	assert_ptr_equal(v, t);
	tensor_unref(v);
	tensor_unref(u);
	for (int act = 1; act < 20; act++) {
		u = with_part(t, PART_DATA, NULL, act, &err);
		assert_int_equal(u != NULL, act == 8);
		if (u == NULL)
			assert_int_equal(err.rc, PARE_EFORMAT);
		tensor_unref(u);
	}
	u = tensor_select(t, 0, keep, 3, &fix_real, &err);
	assert_int_equal(u->code.act, 8);
	tensor_unref(u);
	u = tensor_ghost_of(t);
	assert_int_equal(u->code.act, 8);
	tensor_unref(u);
	for (int i = 0; i < 8 * 64; i++)
		mask[i] = i % 3 == 0;
	u = tensor_sparsify(t, mask, 171, &fix_real, &err);
	assert_int_equal(u->code.act, 0);
	v = tensor_quantize(u, &(struct quant_spec) { QUANT_SYMMETRIC, 3, 16,
	    8 }, &fix_real, &err);
	assert_int_equal(v->code.act, 0);
	tensor_unref(u);
	tensor_unref(v);
	assert_null(tensor_quantize(t, &bad, &fix_real, &err));
	assert_int_equal(err.rc, PARE_EUSER);
	tensor_unref(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_multiplies),
		cmocka_unit_test(threads_give_the_same_bits),
		cmocka_unit_test(floats_meet_codes),
		cmocka_unit_test(sets_share_x),
		cmocka_unit_test(x_is_rounded),
		cmocka_unit_test(halves_are_even),
		cmocka_unit_test(what_is_not_finite_shows),
		cmocka_unit_test(hostile_scales_run),
		cmocka_unit_test(activations_are_a_fact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
