/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Quantization to codes of 1 to 8 bits. Two passes over the rows: what each
 * group spans (or its table of means), then the codes. Scales are float16 times
 * a power of two per tensor, chosen so that the largest of them lies near 2^14;
 * codes are made from the rounded scale, so its rounding costs no accuracy, and
 * for affine codes the minimum is rounded down, so that it stays a minimum.
 */
#include "tensor/value.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/kernel.h"
#include "tensor/kmeans.h"

/* What one group spans: symmetric: b = max|w|, or at one bit a = sum|w| of
 * n values; affine: from a to b. */
struct span {
	double a, b;
	int64_t n;
};

struct job {
	const struct tensor *t;		/* source */
	struct tensor facts;		/* of the result */
	enum quant_scheme scheme;
	const double *range;		/* the caller's levels, or NULL */
	const float *table;
	struct task *task;
	struct part part[PART_COUNT];	/* of the result */
	struct span *span;		/* one a group, or a row if one in all */
	float *all;			/* values collected for one table */
	uint8_t *code;			/* sparse: one byte a code, in the end */
	char *mem;			/* row buffers of all threads */
	size_t wide;			/* of one thread */
	atomic_bool infinite;
};

/* Buffers of one thread. */
struct buf {
	float *f, *tmp;
	int32_t *col;
	uint8_t *code;
	double *sums;
	float *sorted;
};

static size_t
buf_size(const struct tensor *t)
{
	size_t c = (size_t)t->cols;

	return (c * (4 + 4 + 4 + 4 + 1) + kmeans_sums(t->cols) * 8 + 127) &
	    ~(size_t)63;
}

static struct buf
buf_of(const struct job *j)
{
	char *p = j->mem + j->wide * (size_t)kernel_thread();
	size_t c = (size_t)j->t->cols;
	struct buf b;

	b.sums = (double *)p;
	p += kmeans_sums(j->t->cols) * 8;
	b.f = (float *)p;
	b.tmp = b.f + c;
	b.sorted = b.tmp + c;
	b.col = (int32_t *)(b.sorted + c);
	b.code = (uint8_t *)(b.col + c);
	return b;
}

/* Runs fn on all rows, in parallel, with looks at cancel in between. */
static enum pare_rc
for_rows(struct job *j, void (*fn)(struct job *, int64_t), struct pare_err *err)
{
	int64_t rows = j->t->rows, step = 1 + VALUE_BLOCK / j->t->cols;

	for (int64_t r0 = 0; r0 < rows; r0 += step) {
		int64_t end = rows - r0 < step ? rows : r0 + step;

		if (task_canceled(j->task))
			return task_error(err);
#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if ((end - r0) * j->t->cols > VALUE_PARALLEL / 4)
		for (int64_t r = r0; r < end; r++)
			fn(j, r);
	}
	return PARE_OK;
}

static struct value_row
job_row(const struct job *j, int64_t r, struct buf b)
{
	return value_row_get(j->t, r, b.f, b.col);
}

/* ---- spans ---- */

static struct span
span_of(const struct job *j, const float *v, int64_t n)
{
	struct span s = { 0, 0, n };
	float lo, hi;

	if (n == 0)
		return s;
	if (j->scheme == QUANT_AFFINE) {
		value_range(v, n, &lo, &hi);
		s.a = lo;
		s.b = hi;
	} else if (j->facts.code.bits == 1) {
		for (int64_t i = 0; i < n; i++)
			s.a += fabsf(v[i]);
	} else {
		uint32_t bits = value_max_bits(v, n);

		memcpy(&hi, &bits, sizeof(hi));
		s.b = hi;
	}
	return s;
}

static struct span
span_join(const struct job *j, struct span x, struct span y)
{
	if (x.n == 0 || y.n == 0)
		return x.n == 0 ? y : x;
	x.n += y.n;
	if (j->scheme == QUANT_AFFINE)
		x.a = x.a < y.a ? x.a : y.a;
	else
		x.a += y.a;
	x.b = x.b > y.b ? x.b : y.b;
	return x;
}

static void
span_row(struct job *j, int64_t r)
{
	struct buf b = buf_of(j);
	struct value_row row = job_row(j, r, b);
	const struct tensor *f = &j->facts;
	int64_t per = value_group_cols(f), groups = f->cols / per;
	struct span *out = j->span + r * groups;

	if (!value_bits_finite(value_max_bits(row.v, row.n)))
		atomic_store(&j->infinite, true);
	for (int64_t g = 0; g < groups; g++)
		out[g] = (struct span) { 0 };
	for (int64_t i = 0, e; i < row.n; i = e) {
		e = value_run_end(f, &row, i);
		out[value_col(&row, i) / per] = span_of(j, row.v + i, e - i);
	}
}

/* ---- scales ---- */

static double
span_step(const struct job *j, const struct span *s)
{
	int bits = j->facts.code.bits;

	if (s->n == 0)
		return 0.0;
	if (j->scheme == QUANT_AFFINE)
		return (s->b - s->a) / ((1 << bits) - 1);
	if (bits == 1)
		return s->a / (double)s->n;
	return s->b / ((1 << (bits - 1)) - 1);
}

/* The power of two that brings `largest` into [2^14, 2^15). */
static float
choose_mult(double largest)
{
	int e;

	if (!(largest > 0.0))
		return 1.0f;
	frexp(largest, &e);
	e -= 15;
	return ldexpf(1.0f, e < -126 ? -126 : e > 127 ? 127 : e);
}

/* The largest float16 that is at most `low` once multiplied; at the very end of
 * float32 the smallest finite one. */
static uint16_t
half_below(double low, float mult)
{
	float f = (float)(low / mult);
	uint16_t h = half_from_float(f);

	if (half_to_float(h) > f)
		h = (h & 0x7fff) == 0 ? 0x8001 :
		    (uint16_t)(h & 0x8000 ? h + 1 : h - 1);
	while (!isfinite(half_to_float(h) * mult))
		h--;
	return h;
}

/* Rounding up must not carry the largest code past the largest float. */
static uint16_t
half_scale(double step, float mult, float min, int levels)
{
	uint16_t h = half_from_float((float)(step / mult));

	while (h > 0 && !isfinite(min +
	    half_to_float(h) * mult * (float)levels))
		h--;
	return h;
}

static void
put_scale(struct job *j, int64_t g, const struct span *s)
{
	uint16_t *scale = part_data(&j->part[PART_SCALE]);
	uint16_t *low = part_data(&j->part[PART_MIN]);
	const struct tensor_code *c = &j->facts.code;
	int levels = (1 << c->bits) - 1;
	struct span down = *s;
	float min;

	if (j->scheme != QUANT_AFFINE) {
		levels = c->bits == 1 ? 1 : levels / 2;
		scale[g] = half_scale(span_step(j, s), c->mult, 0, levels);
		return;
	}
	low[g] = half_below(s->a, c->mult);
	min = half_to_float(low[g]) * c->mult;
	down.a = min;
	scale[g] = half_scale(span_step(j, &down), c->mult, min, levels);
}

static void
put_scales(struct job *j)
{
	int64_t groups = value_groups(&j->facts);
	double largest = 0.0;

	if (j->facts.code.group == 0)
		for (int64_t r = 1; r < j->t->rows; r++)
			j->span[0] = span_join(j, j->span[0], j->span[r]);
	for (int64_t g = 0; g < groups; g++) {
		double step = span_step(j, &j->span[g]), low = 0.0;

		if (j->scheme == QUANT_AFFINE)
			low = fabs(j->span[g].a);
		largest = fmax(largest, fmax(step, low));
	}
	j->facts.code.mult = choose_mult(largest);
	for (int64_t g = 0; g < groups; g++)
		put_scale(j, g, &j->span[g]);
}

/* ---- codes ---- */

/* Adding 1.5 * 2^23 rounds to the nearest even integer and leaves it in the low
 * bits. */
#define ROUND_MAGIC 12582912.0f
#define ROUND_BITS 0x4b400000

VALUE_SIMD static void
encode_linear(const float *v, int64_t n, float min, float step, float lowest,
    float highest, int plus, uint8_t *code)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++) {
		float q = (v[i] - min) / step;
		int32_t b;

		q = q < lowest ? lowest : q;
		q = q > highest ? highest : q;
		q += ROUND_MAGIC;
		memcpy(&b, &q, sizeof(b));
		code[i] = (uint8_t)(b - ROUND_BITS + plus);
	}
}

VALUE_SIMD static void
encode_sign(const float *v, int64_t n, uint8_t *code)
{
#pragma omp simd
	for (int64_t i = 0; i < n; i++)
		code[i] = v[i] >= 0.0f;
}

/* Codes of one run with the scale of group g as it will be decoded. */
static void
encode_run(const struct job *j, int64_t g, const float *v, int64_t n,
    uint8_t *code)
{
	const uint16_t *scale = j->part[PART_SCALE].p;
	const uint16_t *low = j->part[PART_MIN].p;
	const struct tensor_code *c = &j->facts.code;
	float step = half_to_float(scale[g]) * c->mult;
	int half = 1 << (c->bits - 1), top = half - 1;

	if (j->scheme != QUANT_AFFINE && c->bits == 1)
		encode_sign(v, n, code);
	else if (step == 0.0f)
		memset(code, j->scheme == QUANT_AFFINE ? 0 : half, (size_t)n);
	else if (j->scheme == QUANT_AFFINE)
		encode_linear(v, n, half_to_float(low[g]) * c->mult, step, 0,
		    (float)(2 * half - 1), 0, code);
	else
		encode_linear(v, n, 0, step, (float)-top, (float)top, half,
		    code);
}

static void
table_run(const struct job *j, int64_t g, const float *v, int64_t n,
    uint8_t *code)
{
	const float *table = j->part[PART_TABLE].p;
	int bits = j->facts.code.bits;

	kmeans_encode(table + (g << bits), bits, v, n, code);
}

/* Full rows are packed in place; codes of sparse rows wait for the end. */
static void
encode_row(struct job *j, int64_t r)
{
	struct buf b = buf_of(j);
	struct value_row row = job_row(j, r, b);
	const struct tensor *f = &j->facts;
	uint8_t *code = row.col != NULL ? j->code + sparse_start(j->t, r) :
	    b.code;

	for (int64_t i = 0, e; i < row.n; i = e) {
		int64_t g = value_group_of(f, r, value_col(&row, i));

		e = value_run_end(f, &row, i);
		if (f->values == FORM_TABLE)
			table_run(j, g, row.v + i, e - i, code + i);
		else
			encode_run(j, g, row.v + i, e - i, code + i);
	}
	if (row.col == NULL)
		code_pack(code, row.n, f->code.bits,
		    (uint8_t *)part_data(&j->part[PART_DATA]) +
		    r * value_row_bytes(f));
}

/* ---- tables ---- */

static void
make_table(const struct job *j, const float *sorted, int64_t n, double *sums,
    int64_t g)
{
	int bits = j->facts.code.bits;
	float *table = (float *)part_data((struct part *)&j->part[PART_TABLE]) +
	    (g << bits);

	if (j->scheme == QUANT_BINARY)
		kmeans_binary(sorted, n, table);
	else
		kmeans_table(sorted, n, bits, sums, table);
}

static void
table_row(struct job *j, int64_t r)
{
	struct buf b = buf_of(j);
	struct value_row row = job_row(j, r, b);
	const struct tensor *f = &j->facts;
	int64_t per = f->cols / f->code.group;
	float *table = part_data(&j->part[PART_TABLE]);

	if (!value_bits_finite(value_max_bits(row.v, row.n))) {
		atomic_store(&j->infinite, true);
		return;
	}
	memset(table + (r * per << f->code.bits), 0,
	    (size_t)(per << f->code.bits) * sizeof(*table));
	for (int64_t i = 0, e; i < row.n; i = e) {
		e = value_run_end(f, &row, i);
		memcpy(b.sorted, row.v + i, (size_t)(e - i) * sizeof(float));
		sort_floats(b.sorted, b.tmp, e - i);
		make_table(j, b.sorted, e - i, b.sums,
		    value_group_of(f, r, value_col(&row, i)));
	}
}

/* Where the values of row r go when all share one table. */
static void
collect_row(struct job *j, int64_t r)
{
	struct buf b = buf_of(j);
	struct value_row row = job_row(j, r, b);
	int64_t at = row.col != NULL ? sparse_start(j->t, r) :
	    r * j->t->cols;

	if (row.n > 0)
		memcpy(j->all + at, row.v, (size_t)row.n * sizeof(float));
}

/* One table for the whole matrix. Values that are floats lie together already. */
static enum pare_rc
table_all(struct job *j, struct pare_err *err)
{
	float *table = part_data(&j->part[PART_TABLE]);
	enum pare_rc rc = PARE_OK;
	bool finite = true;

	if (j->t->values != FORM_F32) {
		j->all = mem_big((size_t)j->t->stored, sizeof(*j->all), err);
		rc = j->all == NULL ? PARE_ENOMEM :
		    for_rows(j, collect_row, err);
	}
	if (rc == PARE_OK)
		rc = kmeans_matrix(j->all != NULL ? j->all :
		    j->t->part[PART_DATA].p, j->t->stored,
		    j->facts.code.bits, j->scheme == QUANT_BINARY, j->task,
		    &finite, table, err);
	if (!finite)
		atomic_store(&j->infinite, true);
	free(j->all);
	j->all = NULL;
	return rc;
}

/* ---- levels of the caller's ---- */

static void
look_row(struct job *j, int64_t r)
{
	struct value_row row = job_row(j, r, buf_of(j));

	if (!value_bits_finite(value_max_bits(row.v, row.n)))
		atomic_store(&j->infinite, true);
}

static void
take_range(struct job *j)
{
	int64_t groups = value_groups(&j->facts);

	for (int64_t g = 0; g < groups; g++)
		j->span[g] = (struct span) { .a = j->range[2 * g],
			.b = j->range[2 * g + 1], .n = 1 };
	for (int64_t g = 0; g < groups && j->facts.code.bits == 1 &&
	    j->scheme == QUANT_SYMMETRIC; g++)
		j->span[g].a = j->span[g].b;
	/* Not to be joined with those of rows. */
	for (int64_t r = groups; r < j->t->rows && j->facts.code.group == 0;
	    r++)
		j->span[r] = (struct span) { 0 };
}

/* ---- the whole ---- */

static enum pare_rc
find_levels(struct job *j, struct pare_err *err)
{
	int64_t spans;
	enum pare_rc rc;

	if (j->table != NULL) {
		memcpy(part_data(&j->part[PART_TABLE]), j->table,
		    j->part[PART_TABLE].n);
		return for_rows(j, look_row, err);
	}
	if (j->facts.values == FORM_TABLE)
		return j->facts.code.group == 0 ? table_all(j, err) :
		    for_rows(j, table_row, err);
	spans = j->facts.code.group == 0 ? j->t->rows :
	    value_groups(&j->facts);
	j->span = mem_big((size_t)spans, sizeof(*j->span), err);
	if (j->span == NULL)
		return PARE_ENOMEM;
	rc = for_rows(j, span_row, err);
	if (j->range != NULL)
		take_range(j);
	if (rc == PARE_OK && !atomic_load(&j->infinite))
		put_scales(j);
	free(j->span);
	j->span = NULL;
	return rc;
}

static enum pare_rc
run_job(struct job *j, struct pare_err *err)
{
	enum pare_rc rc = find_levels(j, err);

	if (rc != PARE_OK)
		return rc;
	if (atomic_load(&j->infinite)) {
		err_set(err, PARE_EUSER, "a matrix of %lld x %lld has values "
		    "that are not finite", (long long)j->t->rows,
		    (long long)j->t->cols);
		err_hint(err, "inspect it to see how many");
		return PARE_EUSER;
	}
	rc = for_rows(j, encode_row, err);
	if (rc == PARE_OK && j->code != NULL)
		code_pack_parallel(j->code, j->facts.stored,
		    j->facts.code.bits, part_data(&j->part[PART_DATA]));
	return rc;
}

static struct tensor *
quantize_real(struct job *j, struct pare_err *err)
{
	const unsigned which = 1u << PART_DATA | 1u << PART_SCALE |
	    1u << PART_MIN | 1u << PART_TABLE;
	static const enum part_kind shape[] = { PART_MASK, PART_ROWS,
		PART_COLS };
	bool sparse = form_table[j->t->form].is_sparse;
	enum pare_rc rc = PARE_ENOMEM;

	j->wide = buf_size(j->t);
	j->mem = mem_big((size_t)kernel_threads(), j->wide, err);
	if (sparse)
		j->code = mem_big((size_t)j->t->stored, 1, err);
	if (j->mem != NULL && (!sparse || j->code != NULL) &&
	    parts_new(&j->facts, which, j->part, err))
		rc = run_job(j, err);
	free(j->mem);
	free(j->code);
	if (rc != PARE_OK) {
		parts_free(j->part);
		return NULL;
	}
	for (int i = 0; i < 3; i++)
		j->part[shape[i]] = part_ref(&j->t->part[shape[i]]);
	return tensor_make(&j->facts, j->part);
}

static enum pare_rc
check_spec(const struct tensor *t, const struct quant_spec *spec,
    struct pare_err *err)
{
	if (spec->bits < 1 || spec->bits > 8)
		return err_set(err, PARE_EUSER,
		    "bits=%d is outside 1 to 8", spec->bits);
	if (spec->act != 0 && spec->act != 8)
		return err_set(err, PARE_EUSER,
		    "activations of %d bits: 8, or 0 for float, are possible",
		    spec->act);
	if (spec->scheme == QUANT_BINARY && spec->bits != 1)
		return err_set(err, PARE_EUSER,
		    "bits=%d: binary codes have one bit", spec->bits);
	if (spec->group >= -1 && (spec->group <= 0 ||
	    (spec->group <= t->cols && t->cols % spec->group == 0)))
		return PARE_OK;
	err_set(err, PARE_EUSER, "groups of %lld columns do not divide a "
	    "matrix of %lld x %lld", (long long)spec->group,
	    (long long)t->rows, (long long)t->cols);
	err_hint(err, "choose a group that divides %lld, or one scale a row",
	    (long long)t->cols);
	return PARE_EUSER;
}

static struct tensor *
quantize_factors(const struct tensor *t, const struct quant_spec *spec,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *kid[2];

	kid[0] = tensor_quantize(t->kid[0], spec, ctx, err);
	if (kid[0] == NULL)
		return NULL;
	kid[1] = tensor_quantize(t->kid[1], spec, ctx, err);
	if (kid[1] == NULL) {
		tensor_unref(kid[0]);
		return NULL;
	}
	facts.ghost = kid[0]->ghost;
	return tensor_new(&facts, NULL, kid, err);
}

struct tensor *
tensor_activations(const struct tensor *t, int act, struct pare_err *err)
{
	struct tensor facts = tensor_facts(t), *kid[2];
	struct part parts[PART_COUNT];

	if (t->form == FORM_LOWRANK) {
		kid[0] = tensor_activations(t->kid[0], act, err);
		kid[1] = tensor_activations(t->kid[1], act, err);
		if (kid[0] != t->kid[0] || kid[1] != t->kid[1])
			return tensor_new(&facts, NULL, kid, err);
		tensor_unref(kid[0]);
		tensor_unref(kid[1]);
		return tensor_ref(t);
	}
	if (form_table[t->form].is_pair) {
		kid[0] = tensor_activations(t->kid[0], act, err);
		kid[1] = tensor_ref(t->kid[1]);
		if (kid[0] != NULL && kid[0] != t->kid[0])
			return tensor_new(&facts, NULL, kid, err);
		tensor_unref(kid[0]);
		tensor_unref(kid[1]);
		return tensor_ref(t);
	}
	if ((!value_is_code(t->form) && t->form != FORM_BLOCK) ||
	    t->code.act == act)
		return tensor_ref(t);
	for (int k = 0; k < PART_COUNT; k++)
		parts[k] = part_ref(&t->part[k]);
	facts.code.act = (uint8_t)act;
	return tensor_make(&facts, parts);
}

/* Facts and all of the result, without parts. */
static struct job
plan_job(const struct tensor *t, const struct quant_spec *spec,
    const struct transform_ctx *ctx)
{
	struct job j = { .t = t, .scheme = spec->scheme, .task = ctx->task };
	bool table = spec->scheme == QUANT_KMEANS ||
	    spec->scheme == QUANT_BINARY;

	j.facts = tensor_facts(t);
	j.facts.values = table ? FORM_TABLE : FORM_INT;
	if (!form_table[t->form].is_sparse)
		j.facts.form = j.facts.values;
	j.facts.code = (struct tensor_code) { .bits = (uint8_t)spec->bits,
		.scheme = spec->scheme == QUANT_AFFINE ? CODE_AFFINE :
		    CODE_SYMMETRIC,
		.act = form_table[t->form].is_sparse ? 0 : (uint8_t)spec->act,
		.group = spec->group < 0 ? t->cols : spec->group, .mult = 1 };
	if (table)
		j.facts.code.scheme = 0;
	j.facts.nonzero = tensor_nonzero(t);
	return j;
}

struct tensor *
tensor_quantize(const struct tensor *t, const struct quant_spec *spec,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct job j;

	if (t->form == FORM_LOWRANK)
		return quantize_factors(t, spec, ctx, err);
	if (check_spec(t, spec, err) != PARE_OK)
		return NULL;
	if (tensor_base(t) != t && value_is_float(t->kid[0]->values)) {
		struct tensor *base = tensor_quantize(t->kid[0], spec, ctx,
		    err), *made;

		made = base == NULL ? NULL : tensor_rebase(t, base, err);
		tensor_unref(base);
		return made;
	}
	if (form_table[t->form].is_pair) {
		struct tensor *f = tensor_to_f32(t, err), *made;

		made = f == NULL ? NULL : tensor_quantize(f, spec, ctx, err);
		tensor_unref(f);
		return made;
	}
	j = plan_job(t, spec, ctx);
	if (ctx->estimate || t->ghost) {
		j.facts.ghost = true;
		return tensor_make(&j.facts, NULL);
	}
	return quantize_real(&j, err);
}

struct tensor *
tensor_quantize_levels(const struct tensor *t, const struct quant_spec *spec,
    const struct quant_levels *levels, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	struct job j;

	if (check_spec(t, spec, err) != PARE_OK)
		return NULL;
	j = plan_job(t, spec, ctx);
	j.range = levels->range;
	j.table = levels->table;
	return quantize_real(&j, err);
}
