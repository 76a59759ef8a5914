/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tensors: references, views, counts, hashes, half floats, moments. */
#include "tensor_fix.h"

static int released;

static void
count_release(struct blob *b)
{
	released++;
}

static void
blobs_are_released_once(void **state)
{
	static float v[6] = { 1, 2, 3, 0, 5, 6 };
	struct pare_err err;
	struct blob *b = blob_new(v, sizeof(v), count_release, NULL);
	struct tensor *t = tensor_new_view(FORM_F32, 2, 2, 3, b, v, &err);
	struct tensor *u;

	assert_non_null(t);
	released = 0;
	blob_unref(b);
	u = tensor_ref(t);
	assert_ptr_equal(u, t);
	tensor_unref(t);
	assert_int_equal(released, 0);
	assert_ptr_equal(tensor_f32(u), v);
	assert_int_equal(tensor_nonzero(u), 5);
	assert_int_equal(tensor_bytes(u), 24);
	assert_int_equal(tensor_params(u), 6);
	tensor_unref(u);
	assert_int_equal(released, 1);
	tensor_unref(NULL);
	blob_unref(NULL);
}

static void
views_are_checked(void **state)
{
	_Alignas(16) char room[80] = { 0 }, *mem = room + 16;
	struct pare_err err;
	struct blob *b = blob_new(mem, 64, NULL, NULL);
	float one = 1.5f;
	struct tensor *t;

	/* At an odd address it is copied. */
	memcpy(mem + 1, &one, sizeof(one));
	t = tensor_new_view(FORM_F32, 1, 1, 1, b, mem + 1, &err);
	assert_non_null(t);
	assert_true(tensor_f32(t)[0] == 1.5f);
	tensor_unref(t);
	/* Past the end of the blob, before it, and impossible shapes. */
	assert_null(tensor_new_view(FORM_F32, 1, 1, 17, b, mem, &err));
	assert_int_equal(err.rc, PARE_EFORMAT);
	assert_null(tensor_new_view(FORM_F32, 1, 1, 16, b, mem + 4, &err));
	assert_null(tensor_new_view(FORM_F32, 1, 1, 1, b, mem - 4, &err));
	assert_null(tensor_new_view(FORM_F32, 2, 0, 4, b, mem, &err));
	assert_null(tensor_new_view(FORM_F32, 2, -1, 4, b, mem, &err));
	assert_null(tensor_new_view(FORM_F32, 3, 1, 4, b, mem, &err));
	assert_null(tensor_new_view(FORM_F32, 2, INT64_MAX, INT64_MAX, b, mem,
	    &err));
	assert_null(tensor_new_view(FORM_INT, 2, 1, 4, b, mem, &err));
	assert_int_equal(atomic_load(&b->refs), 1);
	blob_unref(b);
}

static void
hashes_tell_contents_apart(void **state)
{
	struct tensor *a = fix_random(2, 9, 11, 1), *b = fix_random(2, 9, 11, 1);
	struct tensor *c = fix_random(2, 9, 11, 2), *d = fix_random(2, 11, 9, 1);
	struct tensor *v = fix_random(1, 1, 99, 1), *w = fix_random(2, 1, 99, 1);
	struct tensor *g = tensor_ghost(FORM_F32, 2, 9, 11);

	assert_true(tensor_hash(a) != 0);
	assert_true(tensor_hash(a) == tensor_hash(b));
	assert_true(tensor_hash(a) != tensor_hash(c));
	assert_true(tensor_hash(a) != tensor_hash(d));
	assert_true(tensor_hash(v) != tensor_hash(w));
	assert_true(tensor_hash(g) != tensor_hash(a));
	tensor_unref(a);
	tensor_unref(b);
	tensor_unref(c);
	tensor_unref(d);
	tensor_unref(v);
	tensor_unref(w);
	tensor_unref(g);
}

/* Every byte of a part of several chunks counts, at any number of threads. */
static void
hashes_see_every_chunk(void **state)
{
	int64_t n = (1 << 20) + 1000;
	struct tensor *a = fix_random(2, 2, n, 1), *b;
	int threads = kernel_threads();
	float *p;

	b = tensor_new_f32(2, 2, n, &p, NULL);
	assert_non_null(b);
	memcpy(p, tensor_f32(a), (size_t)n * 8);
	kernel_set_threads(1);
	assert_true(tensor_hash(a) != 0);
	kernel_set_threads(3);
	assert_true(tensor_hash(b) == tensor_hash(a));
	kernel_set_threads(threads);
	for (int i = 0; i < 4; i++) {
		float old;
		int64_t at = i * (2 * n - 1) / 3;

		old = p[at];
		p[at] = old + 1;
		atomic_store(&b->hash, 0);
		assert_true(tensor_hash(b) != tensor_hash(a));
		p[at] = old;
	}
	tensor_unref(a);
	tensor_unref(b);
}

static void
ghosts_have_facts(void **state)
{
	struct tensor *g = tensor_ghost(FORM_F16, 2, 1000, 2000), *h;
	struct tensor *t = fix_random(2, 4, 4, 3);
	float *row = (float *)tensor_f32(t);

	assert_int_equal(tensor_params(g), 2000000);
	assert_int_equal(tensor_bytes(g), 4000000);
	assert_int_equal(tensor_nonzero(g), 2000000);
	assert_null(tensor_f32(g));
	row[0] = row[5] = 0.0f;
	row[6] = -0.0f;
	h = tensor_ghost_of(t);
	fix_same_facts(h, t);
	assert_int_equal(tensor_nonzero(h), 13);
	tensor_unref(g);
	tensor_unref(h);
	tensor_unref(t);
	/* Sizes nobody can hold do not overflow. */
	g = tensor_ghost(FORM_F32, 2, INT64_MAX / 2, INT64_MAX / 2);
	assert_true(tensor_bytes(g) > 0);
	tensor_unref(g);
}

static void
half_floats_round_to_even(void **state)
{
	for (unsigned h = 0; h < 65536; h++) {
		double want = naive_half((uint16_t)h);
		float f = half_to_float((uint16_t)h);

		if (isnan(want)) {
			assert_true(isnan(f));
			assert_true((half_from_float(f) & 0x7fff) > 0x7c00);
			continue;
		}
		assert_true(f == want);
		assert_int_equal(signbit(f) != 0, h >> 15);
		assert_int_equal(half_from_float(f), h);
	}
	/* Halfway between neighbours goes to the even one, past it up. */
	for (unsigned h = 0; h < 0x7bff; h++) {
		double lo = naive_half((uint16_t)h);
		double mid = 0.5 * (lo + naive_half((uint16_t)(h + 1)));
		unsigned even = h % 2 == 0 ? h : h + 1;

		assert_int_equal(half_from_float((float)mid), even);
		assert_int_equal(half_from_float(nextafterf((float)mid, 1e9f)),
		    h + 1);
		assert_int_equal(half_from_float(-nextafterf((float)mid, 0)),
		    h | 0x8000);
	}
	assert_int_equal(half_from_float(65519.996f), 0x7bff);
	assert_int_equal(half_from_float(65520.0f), 0x7c00);
	assert_int_equal(half_from_float(-INFINITY), 0xfc00);
}

static void
bfloats_round_to_even(void **state)
{
	for (unsigned h = 0; h < 65536; h++) {
		float f = bfloat_to_float((uint16_t)h);

		if (isnan(f))
			assert_true(isnan(bfloat_to_float(
			    bfloat_from_float(f))));
		else
			assert_int_equal(bfloat_from_float(f), h);
	}
	assert_int_equal(bfloat_from_float(1.00390625f), 0x3f80);
	assert_int_equal(bfloat_from_float(1.01171875f), 0x3f82);
	assert_int_equal(bfloat_from_float(1.00390637f), 0x3f81);
	assert_int_equal(bfloat_from_float(3.4e38f), 0x7f80);
}

/* Blocks take other instructions than single values do. */
static void
half_blocks_equal_single_values(void **state)
{
	enum { N = 65536 };
	float *p = NULL, *back;
	struct tensor *t = tensor_new_f32(2, 256, 256, &p, NULL), *h;

	for (int form = FORM_F16; form <= FORM_BF16; form++) {
		const uint16_t *v;

		for (unsigned i = 0; i < N; i++) {
			uint32_t b = i * UINT32_C(65539) + i * i * 7u;

			memcpy(&p[i], &b, sizeof(b));
		}
		h = tensor_cast(t, (enum form_kind)form, &fix_real, NULL);
		assert_non_null(h);
		v = h->part[PART_DATA].p;
		back = fix_decode(h);
		for (unsigned i = 0; i < N; i++) {
			uint16_t one = form == FORM_F16 ?
			    half_from_float(p[i]) : bfloat_from_float(p[i]);
			float f = form == FORM_F16 ? half_to_float(one) :
			    bfloat_to_float(one);

			assert_int_equal(v[i], one);
			assert_memory_equal(&back[i], &f, sizeof(f));
		}
		free(back);
		tensor_unref(h);
	}
	tensor_unref(t);
}

static void
moments_equal_the_formulas(void **state)
{
	struct tensor *t = fix_random(2, 301, 501, 9);
	float *p = (float *)tensor_f32(t);
	int64_t n = tensor_params(t), bins[10], total = 0;
	double mean = 0, m2 = 0, m3 = 0, m4 = 0, l2 = 0, a = 0;
	struct tensor_stats s;

	p[7] = 0.0f;
	p[8] = 1e-40f;
	for (int64_t i = 0; i < n; i++) {
		mean += p[i] / (double)n;
		a += fabs(p[i]) / (double)n;
		l2 += (double)p[i] * p[i];
	}
	for (int64_t i = 0; i < n; i++) {
		double d = p[i] - mean;

		m2 += d * d / (double)n;
		m3 += d * d * d / (double)n;
		m4 += d * d * d * d / (double)n;
	}
	assert_int_equal(tensor_measure(t, &s, bins, 10, NULL, NULL), 0);
	assert_int_equal(s.n, n);
	assert_int_equal(s.zeros, 1);
	assert_int_equal(s.subnormals, 1);
	assert_int_equal(s.nans + s.infs, 0);
	assert_true(fabs(s.mean - mean) < 1e-12);
	assert_true(fabs(s.abs_mean - a) < 1e-12);
	assert_true(fabs(s.l2 - sqrt(l2)) < 1e-9);
	assert_true(fabs(s.deviation - sqrt(m2)) < 1e-12);
	assert_true(fabs(s.skewness - m3 / pow(m2, 1.5)) < 1e-9);
	assert_true(fabs(s.kurtosis - m4 / (m2 * m2)) < 1e-9);
	for (int i = 0; i < 10; i++)
		total += bins[i];
	assert_int_equal(total, n);
	assert_true(bins[4] + bins[5] > bins[0] + bins[9]);
	tensor_unref(t);
}

static void
moments_skip_what_is_not_finite(void **state)
{
	float *p = NULL;
	struct tensor *t = tensor_new_f32(1, 1, 6, &p, NULL), *g;
	struct tensor_stats s;
	int64_t bins[2];
	struct pare_err err;

	memcpy(p, (float[6]) { NAN, INFINITY, -INFINITY, 1, 2, 3 }, 24);
	assert_int_equal(tensor_measure(t, &s, bins, 2, NULL, NULL), 0);
	assert_int_equal(s.nans, 1);
	assert_int_equal(s.infs, 2);
	assert_true(s.min == 1 && s.max == 3 && s.mean == 2);
	assert_int_equal(bins[0], 1);
	assert_int_equal(bins[1], 2);
	for (int i = 0; i < 6; i++)
		p[i] = NAN;
	assert_int_equal(tensor_measure(t, &s, bins, 2, NULL, NULL), 0);
	assert_int_equal(s.nans, 6);
	assert_true(s.min == 0 && s.max == 0 && s.deviation == 0);
	for (int i = 0; i < 6; i++)
		p[i] = 4;
	assert_int_equal(tensor_measure(t, &s, bins, 2, NULL, NULL), 0);
	assert_true(s.deviation == 0 && s.kurtosis == 0);
	assert_int_equal(bins[0] + bins[1], 6);
	g = tensor_ghost_of(t);
	assert_int_equal(tensor_measure(g, &s, bins, 2, NULL, &err),
	    PARE_EUSER);
	tensor_unref(g);
	tensor_unref(t);
}

static void
means_are_means(void **state)
{
	struct tensor *t[3], *m, *g;
	struct pare_err err;

	for (int i = 0; i < 3; i++)
		t[i] = fix_random(2, 7, 33, (uint64_t)i);
	t[2] = tensor_cast(m = t[2], FORM_F16, &fix_real, NULL);
	tensor_unref(m);
	m = tensor_mean((const struct tensor *const *)t, 3, &fix_real, NULL);
	g = tensor_mean((const struct tensor *const *)t, 3, &fix_guess, NULL);
	assert_non_null(m);
	assert_non_null(g);
	fix_same_facts(g, m);
	for (int64_t i = 0; i < 7 * 33; i++) {
		double want = ((double)tensor_f32(t[0])[i] +
		    tensor_f32(t[1])[i] + naive_half(((const uint16_t *)
		    t[2]->part[PART_DATA].p)[i])) / 3;

		assert_true(tensor_f32(m)[i] == (float)want);
	}
	tensor_unref(m);
	tensor_unref(g);
	m = t[1];
	t[1] = fix_random(2, 33, 7, 1);
	assert_null(tensor_mean((const struct tensor *const *)t, 3, &fix_real,
	    &err));
	assert_int_equal(err.rc, PARE_EUSER);
	tensor_unref(m);
	for (int i = 0; i < 3; i++)
		tensor_unref(t[i]);
}

static void
allocation_failures_are_errors(void **state)
{
	float *p;
	struct pare_err err;
	struct tensor *t = fix_random(2, 5, 5, 1), *u;

	mem_fail_at(1);
	assert_null(tensor_new_f32(2, 4, 4, &p, &err));
	assert_int_equal(err.rc, PARE_ENOMEM);
	assert_null(tensor_new_f32(2, INT64_C(1) << 40, 1 << 20, &p, &err));
	assert_int_equal(err.rc, PARE_ENOMEM);
	for (long n = 1; n < 20; n++) {
		struct tensor_stats s;
		int64_t bins[4];
		enum pare_rc rc;

		mem_fail_at(n);
		rc = tensor_measure(t, &s, bins, 4, NULL, &err);
		mem_fail_at(0);
		if (rc == PARE_OK)
			break;
		assert_int_equal(rc, PARE_ENOMEM);
		assert_true(n < 10);
	}
	for (long n = 1; n < 20; n++) {
		mem_fail_at(n);
		u = tensor_mean((const struct tensor *const *)&t, 1,
		    &fix_real, &err);
		mem_fail_at(0);
		if (u != NULL)
			break;
		assert_int_equal(err.rc, PARE_ENOMEM);
		assert_true(n < 10);
	}
	tensor_unref(u);
	tensor_unref(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blobs_are_released_once),
		cmocka_unit_test(views_are_checked),
		cmocka_unit_test(hashes_tell_contents_apart),
		cmocka_unit_test(hashes_see_every_chunk),
		cmocka_unit_test(ghosts_have_facts),
		cmocka_unit_test(half_floats_round_to_even),
		cmocka_unit_test(bfloats_round_to_even),
		cmocka_unit_test(half_blocks_equal_single_values),
		cmocka_unit_test(moments_equal_the_formulas),
		cmocka_unit_test(moments_skip_what_is_not_finite),
		cmocka_unit_test(means_are_means),
		cmocka_unit_test(allocation_failures_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
