/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every form: decoding against the naive decoder, selecting, hashing, bytes,
 * estimates, and parts as a hostile file would bring them. */
#include "tensor_fix.h"

static void
each(void (*check)(const struct fix_variant *, struct tensor *,
    struct tensor *))
{
	for (int v = 0; v < FIX_VARIANTS; v++)
		for (int i = 0; i < FIX_SIZES; i++) {
			struct tensor *g = NULL, *t;

			t = fix_make(&fix_variants[v], fix_sizes[i].rows,
			    fix_sizes[i].cols, (uint64_t)(v * 10 + i), &g);
			check(&fix_variants[v], t, g);
			tensor_unref(t);
			tensor_unref(g);
		}
}

static bool
same_floats(const struct tensor *t, const float *a, const float *b, int64_t n)
{
	bool product = t->form == FORM_LOWRANK || tensor_base(t) != t;

	for (int64_t i = 0; i < n; i++) {
		double d = fabs((double)a[i] - b[i]);

		if (product ? d > 1e-6 : a[i] != b[i])
			return false;
	}
	return true;
}

static void
check_decode(const struct fix_variant *v, struct tensor *t, struct tensor *g)
{
	float *want = naive_decode(t), *have = fix_decode(t);
	int64_t n = t->rows * t->cols;

	assert_true(same_floats(t, have, want, n));
	for (int64_t r = 0; r < t->rows; r += 1 + t->rows / 4) {
		tensor_decode(t, r, 1, have);
		assert_true(same_floats(t, have, want + r * t->cols, t->cols));
	}
	free(want);
	free(have);
}

static void
decode_equals_naive(void **state)
{
	each(check_decode);
}

/* The table names every form that a variant is meant to be. */
static void
variants_cover_all_forms(void **state)
{
	bool seen[FORM_COUNT] = { false };
	bool bits[9] = { false };

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 129, 65, 1, NULL);
		char text[64], *space;

		seen[t->form] = true;
		bits[t->code.bits] = true;
		snprintf(text, sizeof(text), "%s", fix_variants[v].name);
		if ((space = strchr(text, ' ')) != NULL)
			*space = '\0';
		text[strcspn(text, "12345678")] = '\0';
		if (text[0] != 'f' && text[0] != 'b')
			assert_string_equal(form_table[t->form].name, text);
		tensor_unref(t);
	}
	/* Blocks come from files only; test_block.c has them. */
	for (int i = 0; i < FORM_COUNT; i++)
		assert_true(seen[i] || i == FORM_BLOCK);
	for (int i = 1; i <= 8; i++)
		assert_true(bits[i]);
}

static void
check_bytes(const struct fix_variant *v, struct tensor *t, struct tensor *g)
{
	int64_t bytes = 0;

	for (int k = 0; k < PART_COUNT; k++) {
		int64_t want = form_table[t->form].part_bytes(t,
		    (enum part_kind)k);

		assert_int_equal(t->part[k].n, want);
		assert_int_equal(t->part[k].blob != NULL, want > 0);
		bytes += want;
		if (want > 0)
			assert_true(form_table[t->form].parts & 1u << k);
	}
	for (int i = 0; i < 2; i++)
		if (t->kid[i] != NULL)
			bytes += tensor_bytes(t->kid[i]);
	assert_int_equal(tensor_bytes(t), bytes);
	fix_same_facts(g, t);
}

static void
bytes_are_real_and_estimates_exact(void **state)
{
	each(check_bytes);
}

/* The parts of t as fresh copies. */
static void
copy_parts(const struct tensor *t, struct part parts[PART_COUNT])
{
	memset(parts, 0, sizeof(parts[0]) * PART_COUNT);
	for (int k = 0; k < PART_COUNT; k++) {
		void *p;

		if (t->part[k].blob == NULL)
			continue;
		p = malloc(t->part[k].n);
		assert_non_null(p);
		memcpy(p, t->part[k].p, t->part[k].n);
		parts[k] = (struct part) { blob_heap(p, t->part[k].n), p,
			t->part[k].n };
	}
}

static void
check_rebuild(const struct fix_variant *v, struct tensor *t, struct tensor *g)
{
	struct part parts[PART_COUNT];
	struct tensor *kid[2] = { NULL, NULL }, *u, *w;
	struct pare_err err;

	for (int i = 0; i < 2; i++)
		if (t->kid[i] != NULL)
			kid[i] = tensor_ref(t->kid[i]);
	copy_parts(t, parts);
	u = tensor_new(t, parts, kid, &err);
	assert_non_null(u);
	assert_true(tensor_hash(u) == tensor_hash(t));
	assert_int_equal(tensor_nonzero(u), tensor_nonzero(t));
	for (int k = 0; k < PART_COUNT; k++) {
		if (t->part[k].blob == NULL || k == PART_MASK ||
		    k == PART_ROWS || k == PART_COLS)
			continue;
		copy_parts(t, parts);
		((uint8_t *)parts[k].blob->base)[parts[k].n - 1] ^= 1;
		w = tensor_new(t, parts, NULL, &err);
		assert_non_null(w);
		assert_true(tensor_hash(w) != tensor_hash(t));
		tensor_unref(w);
	}
	tensor_unref(u);
}

static void
parts_make_the_same_tensor(void **state)
{
	each(check_rebuild);
}

static int64_t
pick(int64_t *keep, int64_t n, int64_t block)
{
	int64_t k = 0;

	for (int64_t b = 0; b < n; b += block)
		if ((b / block) % 3 != 1 || n == block)
			for (int64_t i = 0; i < block; i++)
				keep[k++] = b + i;
	return k;
}

/* Columns that must stay together. */
static int64_t
column_block(const struct tensor *t)
{
	const struct tensor *s = t->form == FORM_LOWRANK ? t->kid[1] : t;

	while (s->kid[0] != NULL)
		s = s->kid[0];
	if (s->code.bits == 0 || s->code.group == 0 ||
	    s->code.group == s->cols)
		return 1;
	return s->code.group;
}

static void
check_select(const struct fix_variant *v, struct tensor *t, struct tensor *g)
{
	int64_t *keep = malloc((size_t)(t->rows + t->cols) * sizeof(*keep));
	float *all = fix_decode(t);

	for (int axis = 0; axis < 2; axis++) {
		int64_t n = pick(keep, axis == 0 ? t->rows : t->cols,
		    axis == 0 ? 1 : column_block(t));
		struct tensor *u, *guess;
		float *have, *want;
		int64_t k = 0;

		u = tensor_select(t, axis, keep, n, &fix_real, NULL);
		guess = tensor_select(t, axis, keep, n, &fix_guess, NULL);
		assert_non_null(u);
		assert_non_null(guess);
		assert_int_equal(axis == 0 ? u->rows : u->cols, n);
		fix_same_facts(guess, u);
		have = fix_decode(u);
		want = malloc((size_t)(u->rows * u->cols) * sizeof(*want));
		for (int64_t r = 0; r < u->rows; r++)
			for (int64_t c = 0; c < u->cols; c++)
				want[k++] = all[(axis == 0 ? keep[r] : r) *
				    t->cols + (axis == 1 ? keep[c] : c)];
		assert_true(same_floats(u, have, want, k));
		free(have);
		have = naive_decode(u);
		assert_true(same_floats(u, have, want, k));
		free(have);
		free(want);
		tensor_unref(u);
		tensor_unref(guess);
	}
	free(keep);
	free(all);
}

static void
selected_values_are_the_same(void **state)
{
	each(check_select);
}

static void
select_refuses(void **state)
{
	struct tensor *t = fix_random(2, 6, 8, 1), *q;
	struct quant_spec spec = { QUANT_SYMMETRIC, 4, 4, 0 };
	struct pare_err err;

	assert_null(tensor_select(t, 0, (int64_t[]) { 2, 1 }, 2, &fix_real,
	    &err));
	assert_null(tensor_select(t, 0, (int64_t[]) { 1, 1 }, 2, &fix_real,
	    &err));
	assert_null(tensor_select(t, 0, (int64_t[]) { 0, 6 }, 2, &fix_real,
	    &err));
	assert_null(tensor_select(t, 1, (int64_t[]) { -1, 3 }, 2, &fix_real,
	    &err));
	assert_null(tensor_select(t, 1, NULL, 0, &fix_real, &err));
	assert_null(tensor_select(t, 2, (int64_t[]) { 1 }, 1, &fix_real,
	    &err));
	assert_int_equal(err.rc, PARE_EUSER);
	q = tensor_quantize(t, &spec, &fix_real, &err);
	assert_non_null(q);
	/* Half a group, and a group shifted. */
	assert_null(tensor_select(q, 1, (int64_t[]) { 0, 1 }, 2, &fix_real,
	    &err));
	assert_int_equal(err.rc, PARE_EUSER);
	assert_true(strstr(err.hint, "prune") != NULL);
	assert_null(tensor_select(q, 1, (int64_t[]) { 2, 3, 4, 5 }, 4,
	    &fix_guess, &err));
	tensor_unref(q);
	tensor_unref(t);
}

/* ---- hostile parts ---- */

typedef void harm(struct tensor *facts, struct part *part);

static void
harm_nothing(struct tensor *f, struct part *p)
{
}

static void
harm_form(struct tensor *f, struct part *p)
{
	f->form = FORM_COUNT;
}

static void
harm_form_low(struct tensor *f, struct part *p)
{
	f->form = (enum form_kind)-1;
}

static void
harm_values(struct tensor *f, struct part *p)
{
	f->values = FORM_LOWRANK;
}

static void
harm_ndim(struct tensor *f, struct part *p)
{
	f->ndim = 0;
}

static void
harm_rows(struct tensor *f, struct part *p)
{
	f->rows = INT64_MAX;
}

static void
harm_cols(struct tensor *f, struct part *p)
{
	f->cols = INT64_C(0x7fffffff);
	f->rows = INT64_C(0x7fffffff);
}

static void
harm_cols_more(struct tensor *f, struct part *p)
{
	f->cols += 8;
}

static void
harm_bits0(struct tensor *f, struct part *p)
{
	f->code.bits = 0;
}

static void
harm_bits9(struct tensor *f, struct part *p)
{
	f->code.bits = 9;
}

static void
harm_group(struct tensor *f, struct part *p)
{
	f->code.group = f->cols - 1;
}

static void
harm_group_low(struct tensor *f, struct part *p)
{
	f->code.group = -f->cols;
}

static void
harm_group_high(struct tensor *f, struct part *p)
{
	f->code.group = 2 * f->cols;
}

static void
harm_mult(struct tensor *f, struct part *p)
{
	f->code.mult = 3;
}

static void
harm_mult_nan(struct tensor *f, struct part *p)
{
	f->code.mult = NAN;
}

static void
harm_mult_zero(struct tensor *f, struct part *p)
{
	f->code.mult = 0;
}

static void
harm_mult_minus(struct tensor *f, struct part *p)
{
	f->code.mult = -1;
}

static void
harm_scheme(struct tensor *f, struct part *p)
{
	f->code.scheme = 2;
}

static void
harm_short_data(struct tensor *f, struct part *p)
{
	p[PART_DATA].n--;
}

static void
harm_long_data(struct tensor *f, struct part *p)
{
	p[PART_DATA].n++;
}

static void
harm_outside(struct tensor *f, struct part *p)
{
	p[PART_DATA].p = (const char *)p[PART_DATA].p + 1;
}

static void
harm_before(struct tensor *f, struct part *p)
{
	p[PART_DATA].p = (const char *)p[PART_DATA].p - 1;
}

static void
harm_no_data(struct tensor *f, struct part *p)
{
	blob_unref(p[PART_DATA].blob);
	p[PART_DATA] = (struct part) { 0 };
}

static void
harm_no_scale(struct tensor *f, struct part *p)
{
	blob_unref(p[PART_SCALE].blob);
	p[PART_SCALE] = (struct part) { 0 };
}

static void
harm_extra(struct tensor *f, struct part *p)
{
	static char byte[8];
	enum part_kind k = p[PART_TABLE].blob == NULL ? PART_TABLE : PART_MIN;

	p[k] = (struct part) { blob_new(byte, 8, NULL, NULL), byte, 8 };
}

static uint32_t *
row_starts(struct part *p)
{
	return p[PART_ROWS].blob->base;
}

static void
harm_first(struct tensor *f, struct part *p)
{
	row_starts(p)[0] = 1;
}

static void
harm_last(struct tensor *f, struct part *p)
{
	row_starts(p)[f->rows]++;
}

static void
harm_order(struct tensor *f, struct part *p)
{
	row_starts(p)[2] = row_starts(p)[3] + 1;
}

static void
harm_far(struct tensor *f, struct part *p)
{
	row_starts(p)[1] = UINT32_MAX;
}

static void
harm_stored(struct tensor *f, struct part *p)
{
	f->stored--;
}

static void
harm_stored_low(struct tensor *f, struct part *p)
{
	f->stored = -1;
}

static void
harm_stored_high(struct tensor *f, struct part *p)
{
	f->stored = f->rows * f->cols + 1;
}

/* Moves a bit between two rows: the total stays right. */
static void
harm_mask(struct tensor *f, struct part *p)
{
	uint8_t *m = p[PART_MASK].blob->base;

	for (int64_t i = 0; i < f->cols / 8; i++)
		if (m[i] != 0) {
			m[i] &= (uint8_t)(m[i] - 1);
			break;
		}
}

static void
harm_mask_tail(struct tensor *f, struct part *p)
{
	uint8_t *m = p[PART_MASK].blob->base;
	int64_t last = (f->cols + 7) / 8 - 1;

	harm_mask(f, p);
	m[last] |= 0x80;
}

static void
harm_column(struct tensor *f, struct part *p)
{
	uint16_t *c = p[PART_COLS].blob->base;

	c[f->stored - 1] = (uint16_t)f->cols;
}

/* Two columns of one row are swapped. */
static void
harm_column_order(struct tensor *f, struct part *p)
{
	const uint32_t *rows = p[PART_ROWS].blob->base;
	uint16_t *c = p[PART_COLS].blob->base;

	for (int64_t r = 0; r < f->rows; r++)
		if (rows[r + 1] - rows[r] >= 2) {
			uint16_t swap = c[rows[r]];

			c[rows[r]] = c[rows[r] + 1];
			c[rows[r] + 1] = swap;
			return;
		}
	fail_msg("no row has two values");
}

static void
harm_column_twice(struct tensor *f, struct part *p)
{
	const uint32_t *rows = p[PART_ROWS].blob->base;
	uint16_t *c = p[PART_COLS].blob->base;

	for (int64_t r = 0; r < f->rows; r++)
		if (rows[r + 1] - rows[r] >= 2) {
			c[rows[r] + 1] = c[rows[r]];
			return;
		}
	fail_msg("no row has two values");
}

static const struct {
	const char *variant, *what;
	harm *harm;
} hostile[] = {
	{ "f32", "form", harm_form },
	{ "f32", "form below", harm_form_low },
	{ "f32", "ndim", harm_ndim },
	{ "f32", "rows", harm_rows },
	{ "f32", "cols", harm_cols },
	{ "f32", "more cols", harm_cols_more },
	{ "f32", "short data", harm_short_data },
	{ "f32", "long data", harm_long_data },
	{ "f32", "outside", harm_outside },
	{ "f32", "before", harm_before },
	{ "f32", "no data", harm_no_data },
	{ "f32", "extra part", harm_extra },
	{ "int4 g", "0 bits", harm_bits0 },
	{ "int4 g", "9 bits", harm_bits9 },
	{ "int4 g", "group", harm_group },
	{ "int4 g", "group below", harm_group_low },
	{ "int4 g", "group above", harm_group_high },
	{ "int4 g", "mult 3", harm_mult },
	{ "int4 g", "mult nan", harm_mult_nan },
	{ "int4 g", "mult 0", harm_mult_zero },
	{ "int4 g", "mult -1", harm_mult_minus },
	{ "int4 g", "scheme", harm_scheme },
	{ "int4 g", "no scale", harm_no_scale },
	{ "int4 g", "extra part", harm_extra },
	{ "int4 g", "rows", harm_rows },
	{ "table3 g", "0 bits", harm_bits0 },
	{ "table3 g", "group", harm_group },
	{ "bitmap f32", "values", harm_values },
	{ "bitmap f32", "first", harm_first },
	{ "bitmap f32", "last", harm_last },
	{ "bitmap f32", "order", harm_order },
	{ "bitmap f32", "far", harm_far },
	{ "bitmap f32", "stored", harm_stored },
	{ "bitmap f32", "stored below", harm_stored_low },
	{ "bitmap f32", "stored above", harm_stored_high },
	{ "bitmap f32", "mask", harm_mask },
	{ "bitmap f32", "mask tail", harm_mask_tail },
	{ "bitmap int4 g", "short data", harm_short_data },
	{ "bitmap int4 g", "no scale", harm_no_scale },
	{ "index f32", "first", harm_first },
	{ "index f32", "last", harm_last },
	{ "index f32", "order", harm_order },
	{ "index f32", "far", harm_far },
	{ "index f32", "column", harm_column },
	{ "index f32", "column order", harm_column_order },
	{ "index f32", "column twice", harm_column_twice },
	{ "index f32", "stored", harm_stored },
	{ "index int5 g", "long data", harm_long_data },
};

static const struct fix_variant *
variant(const char *name)
{
	for (int v = 0; v < FIX_VARIANTS; v++)
		if (strcmp(fix_variants[v].name, name) == 0)
			return &fix_variants[v];
	fail_msg("no variant %s", name);
	return NULL;
}

static struct tensor *
rebuild(const char *name, harm *harm_it, struct pare_err *err)
{
	struct tensor *t = fix_make(variant(name), 129, 65, 4, NULL), *u;
	struct tensor facts;
	struct part parts[PART_COUNT];

	memset(&facts, 0, sizeof(facts));
	facts.form = t->form;
	facts.values = t->values;
	facts.ndim = t->ndim;
	facts.rows = t->rows;
	facts.cols = t->cols;
	facts.code = t->code;
	facts.stored = t->stored;
	facts.nonzero = -1;
	copy_parts(t, parts);
	harm_it(&facts, parts);
	u = tensor_new(&facts, parts, NULL, err);
	tensor_unref(t);
	return u;
}

static void
hostile_parts_are_refused(void **state)
{
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct pare_err err = { 0 };
		struct tensor *t = rebuild(hostile[i].variant, harm_nothing,
		    &err);

		assert_non_null(t);
		tensor_unref(t);
		t = rebuild(hostile[i].variant, hostile[i].harm, &err);
		if (t != NULL)
			fail_msg("%s with wrong %s was accepted",
			    hostile[i].variant, hostile[i].what);
		assert_int_equal(err.rc, PARE_EFORMAT);
		assert_true(err.msg[0] != '\0');
	}
}

static void
hostile_factors_are_refused(void **state)
{
	struct tensor *a = fix_random(2, 5, 2, 1), *b = fix_random(2, 2, 7, 1);
	struct tensor *l = fix_make(variant("lowrank f32"), 5, 2, 1, NULL);
	struct tensor *g = tensor_ghost(FORM_F32, 2, 2, 7);
	struct tensor facts = { .form = FORM_LOWRANK, .ndim = 2, .rows = 5,
		.cols = 7 };
	struct tensor *const bad[][2] = { { b, a }, { a, NULL }, { NULL, b },
		{ a, a }, { l, b }, { a, g }, { NULL, NULL } };
	struct tensor *kid[2] = { tensor_ref(a), tensor_ref(b) }, *t;
	struct pare_err err;

	t = tensor_new(&facts, NULL, kid, &err);
	assert_non_null(t);
	assert_int_equal(tensor_params(t), 24);
	assert_int_equal(tensor_rank(t), 2);
	tensor_unref(t);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (int k = 0; k < 2; k++)
			kid[k] = bad[i][k] != NULL ? tensor_ref(bad[i][k]) :
			    NULL;
		assert_null(tensor_new(&facts, NULL, kid, &err));
		assert_int_equal(err.rc, PARE_EFORMAT);
	}
	kid[0] = tensor_ref(a);
	kid[1] = NULL;
	facts.form = FORM_F32;
	facts.ghost = true;
	assert_null(tensor_new(&facts, NULL, kid, &err));
	tensor_unref(a);
	tensor_unref(b);
	tensor_unref(l);
	tensor_unref(g);
}

/* All codes that a file may hold decode to something finite. */
static void
any_code_decodes(void **state)
{
	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 7, 33, 4, NULL);
		struct part parts[PART_COUNT];
		struct tensor *u;
		float *p;

		copy_parts(t, parts);
		if (t->code.bits > 0) {
			memset(parts[PART_DATA].blob->base, 0,
			    parts[PART_DATA].n);
			u = tensor_new(t, parts, NULL, NULL);
			assert_non_null(u);
			p = fix_decode(u);
			for (int i = 0; i < 7 * 33; i++)
				assert_true(isfinite(p[i]));
			free(p);
			tensor_unref(u);
		} else {
			for (int k = 0; k < PART_COUNT; k++)
				blob_unref(parts[k].blob);
		}
		tensor_unref(t);
	}
}

static void
misaligned_parts_are_copied(void **state)
{
	struct tensor *t = fix_make(variant("index int5 g"), 129, 65, 4, NULL);
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *u;

	for (int k = 0; k < PART_COUNT; k++) {
		size_t n = t->part[k].n;
		char *p;

		if (t->part[k].blob == NULL)
			continue;
		p = malloc(n + 1);
		memcpy(p + 1, t->part[k].p, n);
		parts[k] = (struct part) { blob_heap(p, n + 1), p + 1, n };
	}
	u = tensor_new(t, parts, NULL, NULL);
	assert_non_null(u);
	assert_true(tensor_hash(u) == tensor_hash(t));
	tensor_unref(u);
	tensor_unref(t);
}

static void
wide_columns_take_four_bytes(void **state)
{
	struct tensor *t = fix_random(2, 3, 70000, 8), *s;
	uint8_t *mask = fix_mask(3 * 70000, 0.01, 2);
	float *have, *want;

	s = tensor_sparsify(t, mask, 0, &fix_real, NULL);
	assert_non_null(s);
	assert_int_equal(s->form, FORM_INDEX);
	assert_int_equal(s->part[PART_COLS].n, 4 * s->stored);
	have = fix_decode(s);
	want = naive_decode(s);
	assert_memory_equal(have, want, 3 * 70000 * 4);
	for (int i = 0; i < 3 * 70000; i++)
		assert_true(have[i] == (mask[i] ? tensor_f32(t)[i] : 0));
	free(have);
	free(want);
	free(mask);
	tensor_unref(s);
	tensor_unref(t);
}

static void
names_find_forms(void **state)
{
	enum form_kind k;
	char text[64];
	struct quant_spec spec = { QUANT_SYMMETRIC, 4, 13, 0 };
	struct tensor *t = fix_random(2, 129, 65, 1), *q;

	for (int i = 0; i < FORM_COUNT; i++) {
		assert_ptr_equal(form_find(form_table[i].name, &k),
		    &form_table[i]);
		assert_int_equal(k, i);
		assert_int_equal(form_table[i].text[
		    strlen(form_table[i].text) - 1], '.');
		for (int j = 0; j == 0 || kernel_table[i][j] != NULL; j++) {
			assert_non_null(kernel_table[i][j]->name);
			assert_true(kernel_table[i][j]->tolerance > 0);
		}
	}
	assert_null(form_find("nothing", &k));
	q = tensor_quantize(t, &spec, &fix_real, NULL);
	tensor_describe(q, text, sizeof(text));
	assert_string_equal(text, "int4 g13");
	tensor_unref(q);
	q = tensor_factorize(t, 32, &fix_real, NULL);
	tensor_describe(q, text, sizeof(text));
	assert_string_equal(text, "low rank 32 (f32)");
	tensor_describe(q, text, 5);
	assert_string_equal(text, "low ");
	tensor_unref(q);
	tensor_unref(t);
}

/* Every step of every variant with every allocation failing in turn. */
static void
allocation_failures_leave_nothing(void **state)
{
	const int64_t keep[2] = { 0, 5 };

	for (int v = 0; v < FIX_VARIANTS; v++) {
		struct tensor *t = fix_make(&fix_variants[v], 7, 33, 4, NULL);
		int64_t axis = column_block(t) == 1;

		for (long n = 1;; n++) {
			struct pare_err err = { 0 };
			struct tensor *u;

			mem_fail_at(n);
			u = tensor_select(t, (int)axis, keep, 2, &fix_real,
			    &err);
			mem_fail_at(0);
			if (u != NULL) {
				tensor_unref(u);
				break;
			}
			assert_int_equal(err.rc, PARE_ENOMEM);
			assert_true(n < 16);
		}
		tensor_unref(t);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variants_cover_all_forms),
		cmocka_unit_test(decode_equals_naive),
		cmocka_unit_test(bytes_are_real_and_estimates_exact),
		cmocka_unit_test(parts_make_the_same_tensor),
		cmocka_unit_test(selected_values_are_the_same),
		cmocka_unit_test(select_refuses),
		cmocka_unit_test(hostile_parts_are_refused),
		cmocka_unit_test(hostile_factors_are_refused),
		cmocka_unit_test(any_code_decodes),
		cmocka_unit_test(misaligned_parts_are_copied),
		cmocka_unit_test(wide_columns_take_four_bytes),
		cmocka_unit_test(names_find_forms),
		cmocka_unit_test(allocation_failures_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
