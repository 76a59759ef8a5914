/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sparse forms: which is chosen, what it weighs, and that values move as they
 * are. */
#include "tensor_fix.h"

/* Bytes by the description of the forms. */
static int64_t
bitmap_bytes(int64_t rows, int64_t cols, int64_t kept, int64_t bits)
{
	return rows * ((cols + 7) / 8) + 4 * (rows + 1) + (kept * bits + 7) / 8;
}

static int64_t
index_bytes(int64_t rows, int64_t cols, int64_t kept, int64_t bits)
{
	return (cols <= 65536 ? 2 : 4) * kept + 4 * (rows + 1) +
	    (kept * bits + 7) / 8;
}

static struct tensor *
cut(const struct tensor *t, const uint8_t *mask)
{
	struct tensor *s = tensor_sparsify(t, mask, 0, &fix_real, NULL);

	assert_non_null(s);
	return s;
}

/* Forms that cannot leave weights out: full, float. */
static void
the_smallest_form_is_chosen(void **state)
{
	static const double share[] = { 0, 0.001, 0.02, 0.06, 0.065, 0.3, 0.9,
		0.96, 0.98, 1 };
	static const enum form_kind forms[] = { FORM_F32, FORM_F16 };
	bool seen[FORM_COUNT] = { false };

	for (size_t i = 0; i < 2 * sizeof(share) / sizeof(share[0]); i++) {
		struct tensor *f = fix_random(2, 70, 100, i), *t, *s;
		int64_t bits = i % 2 ? 16 : 32, kept = 0, b, x, full, bytes;
		uint8_t *mask = fix_mask(7000, share[i / 2], i + 1);
		float *a, *c;

		t = tensor_cast(f, forms[i % 2], &fix_real, NULL);
		for (int j = 0; j < 7000; j++)
			kept += mask[j];
		s = cut(t, mask);
		b = bitmap_bytes(70, 100, kept, bits);
		x = index_bytes(70, 100, kept, bits);
		full = 7000 * bits / 8;
		assert_int_equal(sparse_choose(t, kept, &bytes), s->form);
		assert_int_equal(bytes, tensor_bytes(s));
		assert_int_equal(bytes, b < x && b < full ? b : x < full ? x :
		    full);
		assert_int_equal(s->values, t->values);
		assert_int_equal(tensor_nonzero(s), kept);
		seen[s->form] = true;
		a = fix_decode(s);
		c = fix_decode(t);
		for (int j = 0; j < 7000; j++)
			assert_true(a[j] == (mask[j] ? c[j] : 0));
		free(a);
		free(c);
		free(mask);
		tensor_unref(s);
		tensor_unref(t);
		tensor_unref(f);
	}
	assert_true(seen[FORM_F32] && seen[FORM_F16]);
	assert_true(seen[FORM_BITMAP] && seen[FORM_INDEX]);
}

static void
zeros_are_never_stored(void **state)
{
	struct tensor *t = fix_random(2, 40, 50, 1), *s;
	float *w = (float *)tensor_f32(t);
	uint8_t *mask = fix_mask(2000, 0.5, 2);
	int64_t kept = 0;

	for (int i = 0; i < 2000; i += 3)
		w[i] = i % 2 ? 0.0f : -0.0f;
	for (int i = 0; i < 2000; i++)
		kept += mask[i] && w[i] != 0;
	s = cut(t, mask);
	assert_int_equal(s->form, FORM_BITMAP);
	assert_int_equal(s->stored, kept);
	tensor_unref(s);
	/* Keeping all of it finds the zeros that are there. */
	memset(mask, 1, 2000);
	s = cut(t, mask);
	assert_int_equal(s->form, FORM_BITMAP);
	assert_int_equal(s->stored, tensor_nonzero(t));
	tensor_unref(s);
	free(mask);
	tensor_unref(t);
}

/* N of each M inputs, the pattern of hardware. */
static void
patterns_of_n_in_m(void **state)
{
	struct tensor *t = fix_random(2, 64, 64, 3), *s;
	uint8_t mask[64 * 64];
	float *a;

	for (int i = 0; i < 64 * 64; i++)
		mask[i] = i % 4 == (i / 4) % 3 || i % 4 == 3;
	s = cut(t, mask);
	assert_int_equal(s->form, FORM_BITMAP);
	assert_int_equal(s->stored, 64 * 32);
	assert_int_equal(tensor_bytes(s), 64 * 8 + 65 * 4 + 64 * 32 * 4);
	a = fix_decode(s);
	for (int i = 0; i < 64 * 64; i += 4) {
		int n = 0;

		for (int j = 0; j < 4; j++)
			n += a[i + j] != 0;
		assert_int_equal(n, 2);
	}
	free(a);
	tensor_unref(s);
	tensor_unref(t);
}

/* Codes are moved, never made again. */
static void
codes_survive_pruning(void **state)
{
	static const double share[] = { 0.5, 0.01, 1, 0 };

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 129, 65, 4, NULL);
		struct pare_err err;

		for (int i = 0; i < 4; i++) {
			uint8_t *mask = fix_mask(129 * 65, share[i], 9);
			struct tensor *s, *g;
			float *a, *b;

			s = tensor_sparsify(t, mask, 0, &fix_real, &err);
			if (t->form == FORM_LOWRANK) {
				assert_null(s);
				assert_int_equal(err.rc, PARE_EUSER);
				free(mask);
				continue;
			}
			assert_non_null(s);
			g = tensor_sparsify(t, mask, 0, &fix_guess, &err);
			fix_same_facts(g, s);
			tensor_unref(g);
			g = tensor_sparsify(t, NULL, tensor_nonzero(s),
			    &fix_guess, &err);
			fix_same_facts(g, s);
			tensor_unref(g);
			if (t->code.bits > 0)
				assert_true(s->form == FORM_BITMAP ||
				    s->form == FORM_INDEX);
			a = fix_decode(t);
			b = naive_decode(s);
			for (int j = 0; j < 129 * 65; j++)
				assert_true(b[j] == (mask[j] ? a[j] : 0));
			free(a);
			free(b);
			free(mask);
			tensor_unref(s);
		}
		tensor_unref(t);
	}
}

/* Pruning again what is sparse; in two steps as in one. */
static void
pruning_twice_is_pruning_once(void **state)
{
	struct tensor *t = fix_random(2, 50, 120, 5), *a, *b, *once;
	uint8_t *m1 = fix_mask(6000, 0.5, 1), *m2 = fix_mask(6000, 0.08, 2);
	uint8_t *both = malloc(6000);

	for (int i = 0; i < 6000; i++)
		both[i] = m1[i] & m2[i];
	a = cut(t, m1);
	b = cut(a, m2);
	once = cut(t, both);
	assert_int_equal(a->form, FORM_BITMAP);
	assert_int_equal(b->form, FORM_INDEX);
	assert_true(tensor_hash(b) == tensor_hash(once));
	tensor_unref(b);
	/* Nothing to do gives the same tensor. */
	b = cut(a, m1);
	assert_ptr_equal(a, b);
	tensor_unref(a);
	tensor_unref(b);
	tensor_unref(once);
	tensor_unref(t);
	free(m1);
	free(m2);
	free(both);
}

static void
masks_of_any_nonzero_byte_keep(void **state)
{
	struct tensor *t = fix_random(2, 9, 30, 6), *a, *b;
	uint8_t mask[270];

	for (int i = 0; i < 270; i++)
		mask[i] = i % 3 == 0;
	a = cut(t, mask);
	for (int i = 0; i < 270; i++)
		mask[i] = i % 3 == 0 ? (uint8_t)(i % 255 + 1) : 0;
	b = cut(t, mask);
	assert_true(tensor_hash(a) == tensor_hash(b));
	tensor_unref(a);
	tensor_unref(b);
	tensor_unref(t);
}

static void
threads_do_not_matter(void **state)
{
	struct tensor *t = fix_random(2, 800, 300, 7), *a, *b;
	uint8_t *mask = fix_mask(240000, 0.4, 1);
	int threads = kernel_threads();

	kernel_set_threads(1);
	a = cut(t, mask);
	kernel_set_threads(4);
	b = cut(t, mask);
	kernel_set_threads(threads);
	assert_true(tensor_hash(a) == tensor_hash(b));
	tensor_unref(a);
	tensor_unref(b);
	tensor_unref(t);
	free(mask);
}

static void
ghosts_and_bounds(void **state)
{
	struct tensor *g = tensor_ghost(FORM_F32, 2, 100, 1000), *s;

	s = tensor_sparsify(g, NULL, 30000, &fix_real, NULL);
	assert_int_equal(s->form, FORM_BITMAP);
	assert_int_equal(tensor_nonzero(s), 30000);
	assert_int_equal(tensor_bytes(s), bitmap_bytes(100, 1000, 30000, 32));
	tensor_unref(s);
	s = tensor_sparsify(g, NULL, INT64_MAX, &fix_guess, NULL);
	assert_int_equal(s->form, FORM_F32);
	assert_int_equal(tensor_nonzero(s), 100000);
	tensor_unref(s);
	s = tensor_sparsify(g, NULL, -5, &fix_guess, NULL);
	assert_int_equal(s->stored, 0);
	tensor_unref(s);
	tensor_unref(g);
}

static void
cancel_and_no_memory_leave_nothing(void **state)
{
	struct task task = { .cancel = true };
	struct transform_ctx ctx = { .task = &task };

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 7, 33, 4, NULL);
		uint8_t *mask = fix_mask(7 * 33, 0.3, 1);
		struct tensor *s = NULL;
		struct pare_err err;

		if (t->form != FORM_LOWRANK) {
			long n;

			assert_null(tensor_sparsify(t, mask, 0, &ctx, &err));
			assert_int_equal(err.rc, PARE_ECANCELED);
			for (n = 1; s == NULL; n++) {
				mem_fail_at(n);
				s = tensor_sparsify(t, mask, 0, &fix_real,
				    &err);
				mem_fail_at(0);
				if (s == NULL)
					assert_int_equal(err.rc, PARE_ENOMEM);
				assert_true(n < 20);
			}
			assert_true(n > 3);
		}
		tensor_unref(s);
		tensor_unref(t);
		free(mask);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_form_is_chosen),
		cmocka_unit_test(zeros_are_never_stored),
		cmocka_unit_test(patterns_of_n_in_m),
		cmocka_unit_test(codes_survive_pruning),
		cmocka_unit_test(pruning_twice_is_pruning_once),
		cmocka_unit_test(masks_of_any_nonzero_byte_keep),
		cmocka_unit_test(threads_do_not_matter),
		cmocka_unit_test(ghosts_and_bounds),
		cmocka_unit_test(cancel_and_no_memory_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
