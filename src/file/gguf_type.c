/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/gguf_type.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/block.h"
#include "tensor/block_encode.h"
#include "tensor/form.h"
#include "tensor/transform.h"

enum { SMALL = 32 };

const char *const gguf_wants[] = {
	[GGUF_KEEP] = "keep", [GGUF_AS_F32] = "F32", [GGUF_AS_F16] = "F16",
	[GGUF_AS_BF16] = "BF16", [GGUF_AS_Q8_0] = "Q8_0",
	[GGUF_AS_Q4_0] = "Q4_0", [GGUF_AS_Q4_1] = "Q4_1",
	[GGUF_AS_Q5_0] = "Q5_0", [GGUF_AS_Q5_1] = "Q5_1",
	[GGUF_AS_Q4_K] = "Q4_K", [GGUF_AS_Q5_K] = "Q5_K",
	[GGUF_AS_Q6_K] = "Q6_K", [GGUF_MIXED] = "mixed", [GGUF_WANTS] = NULL
};

/* Of the block types: what they are made of, and what rows that are too short
 * for them take. */
static const struct {
	enum block_kind kind;
	enum gguf_want shorter;
} blocks[GGUF_WANTS] = {
	[GGUF_AS_Q8_0] = { BLOCK_Q8_0, GGUF_AS_F16 },
	[GGUF_AS_Q4_0] = { BLOCK_Q4_0, GGUF_AS_F16 },
	[GGUF_AS_Q4_1] = { BLOCK_Q4_1, GGUF_AS_F16 },
	[GGUF_AS_Q5_0] = { BLOCK_Q5_0, GGUF_AS_F16 },
	[GGUF_AS_Q5_1] = { BLOCK_Q5_1, GGUF_AS_F16 },
	[GGUF_AS_Q4_K] = { BLOCK_Q4_K, GGUF_AS_Q5_0 },
	[GGUF_AS_Q5_K] = { BLOCK_Q5_K, GGUF_AS_Q5_1 },
	[GGUF_AS_Q6_K] = { BLOCK_Q6_K, GGUF_AS_Q8_0 },
};

int
gguf_type_of(const struct tensor *t)
{
	static const int floats[] = { [FORM_F32] = 0, [FORM_F16] = 1,
		[FORM_BF16] = 30 };

	return t->form == FORM_BLOCK ? block_table[t->code.block].type :
	    floats[t->form];
}

/* A tensor of blocks; takes over data. */
static struct tensor *
new_blocks(enum block_kind kind, int64_t rows, int64_t cols, uint8_t *data,
    struct pare_err *err)
{
	const struct block_facts *f = &block_table[kind];
	const size_t n = (size_t)(rows * (cols / f->values) * f->bytes);
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, facts = { .form = FORM_BLOCK,
		.values = FORM_BLOCK, .ndim = 2, .rows = rows, .cols = cols };

	facts.code.block = (uint8_t)kind;
	facts.code.act = 8;	/* as blocks of files are */
	atomic_init(&facts.nonzero, -1);
	parts[PART_DATA].blob = blob_heap(data, n);
	parts[PART_DATA].p = data;
	parts[PART_DATA].n = n;
	return tensor_new(&facts, parts, kid, err);
}

/* ---- packed integers, exactly ---------------------------------------- */

/* The block type that holds the values of these codes; false: none does. */
static bool
kind_of_codes(const struct tensor *t, enum block_kind *out)
{
	const struct tensor_code *c = &t->code;

	if (t->form != FORM_INT || t->cols % SMALL != 0 ||
	    c->group % SMALL != 0)
		return false;
	if (c->scheme == CODE_SYMMETRIC)
		*out = c->bits <= 4 ? BLOCK_Q4_0 : c->bits == 5 ? BLOCK_Q5_0 :
		    BLOCK_Q8_0;
	else if (c->bits <= 5)
		*out = c->bits <= 4 ? BLOCK_Q4_1 : BLOCK_Q5_1;
	else
		return false;
	return true;
}

static void
put_half(uint8_t *p, uint16_t h)
{
	p[0] = (uint8_t)h;
	p[1] = (uint8_t)(h >> 8);
}

/* 32 codes as the block lays them out behind its scales. */
static void
put_codes(enum block_kind kind, const int *q, uint8_t *block)
{
	const bool five = kind == BLOCK_Q5_0 || kind == BLOCK_Q5_1;
	const bool low = kind == BLOCK_Q4_1 || kind == BLOCK_Q5_1;
	uint8_t *p = block + (low ? 4 : 2);
	uint32_t high = 0;

	if (kind == BLOCK_Q8_0) {
		for (int i = 0; i < SMALL; i++)
			p[i] = (uint8_t)q[i];
		return;
	}
	for (int i = 0; i < SMALL; i++)
		high |= (uint32_t)(q[i] >> 4 & 1) << i;
	for (int i = 0; five && i < 4; i++)
		*p++ = (uint8_t)(high >> (8 * i));
	for (int i = 0; i < SMALL / 2; i++)
		p[i] = (uint8_t)((q[i] & 15) | (q[i + SMALL / 2] & 15) << 4);
}

/* 32 values of one group. Each is a whole number of steps, so that dividing
 * gives it back. */
static void
put_block(enum block_kind kind, const float *x, float step, float min,
    uint8_t *block)
{
	const int zero = kind == BLOCK_Q4_0 ? 8 : kind == BLOCK_Q5_0 ? 16 : 0;
	const bool low = kind == BLOCK_Q4_1 || kind == BLOCK_Q5_1;
	int q[SMALL];

	for (int i = 0; i < SMALL; i++)
		q[i] = step == 0.0f ? zero :
		    zero + (int)lrintf((x[i] - min) / step);
	put_half(block, half_from_float(step));
	if (low)
		put_half(block + 2, half_from_float(min));
	put_codes(kind, q, block);
}

/* What value_scale() says, from the parts; false when float16 cannot hold it. */
static bool
scale_at(const struct tensor *t, int64_t g, float *step, float *min)
{
	const uint16_t *scale = t->part[PART_SCALE].p;
	const uint16_t *low = t->part[PART_MIN].p;

	*step = half_to_float(scale[g]) * t->code.mult;
	*min = low != NULL ? half_to_float(low[g]) * t->code.mult : 0.0f;
	return half_to_float(half_from_float(*step)) == *step &&
	    half_to_float(half_from_float(*min)) == *min;
}

struct tensor *
gguf_block_of(const struct tensor *t, struct pare_err *err)
{
	const int64_t per_row = t->cols / SMALL, group = t->code.group;
	enum block_kind kind;
	const struct block_facts *f;
	uint8_t *out;
	float *line;
	bool fine = true;

	if (!kind_of_codes(t, &kind))
		return NULL;
	f = &block_table[kind];
	out = mem_big((size_t)(t->rows * per_row), (size_t)f->bytes, err);
	line = out != NULL ? mem_big((size_t)t->cols, sizeof(*line), err) :
	    NULL;
	for (int64_t r = 0; line != NULL && fine && r < t->rows; r++) {
		tensor_decode(t, r, 1, line);
		for (int64_t b = 0; fine && b < per_row; b++) {
			float step, min;

			fine = scale_at(t, group == 0 ? 0 : r * (t->cols /
			    group) + b * SMALL / group, &step, &min);
			if (fine)
				put_block(kind, line + b * SMALL, step, min,
				    out + (r * per_row + b) * f->bytes);
		}
	}
	if (line != NULL && fine) {
		free(line);
		return new_blocks(kind, t->rows, t->cols, out, err);
	}
	free(line);
	free(out);
	return NULL;
}

/* ---- rounding -------------------------------------------------------- */

static struct tensor *
encode(const struct tensor *t, enum block_kind kind, const float *weight,
    struct task *task, struct pare_err *err)
{
	struct tensor *f = tensor_to_f32(t, err);
	uint8_t *out = NULL;

	if (f == NULL)
		return NULL;
	out = mem_big((size_t)block_bytes(kind, t->rows, t->cols), 1, err);
	if (out != NULL && block_encode(kind, tensor_f32(f), t->rows, t->cols,
	    weight, out, task, err) == PARE_OK) {
		tensor_unref(f);
		return new_blocks(kind, t->rows, t->cols, out, err);
	}
	free(out);
	tensor_unref(f);
	return NULL;
}

static struct tensor *
to_float(const struct tensor *t, enum form_kind form, struct gguf_count *count,
    struct task *task, struct pare_err *err)
{
	const struct transform_ctx ctx = { .task = task };
	struct tensor *f, *cast;

	if (form_table[t->form].is_float) {
		count->lossy = count->lossy || (t->form != form &&
		    form != FORM_F32);
		return tensor_cast(t, form, &ctx, err);
	}
	count->lossy = count->lossy || form != FORM_F32;
	f = tensor_to_f32(t, err);
	if (f == NULL || form == FORM_F32)
		return f;
	cast = tensor_cast(f, form, &ctx, err);
	tensor_unref(f);
	return cast;
}

/* ---- choosing -------------------------------------------------------- */

/* v and down of these layers are worth two bits more. */
static bool
is_delicate(const struct model *m, struct slot_ref r)
{
	const int eighth = m->nlayers / 8;

	if (r.slot != SLOT_V_W && r.slot != SLOT_DOWN_W)
		return false;
	return r.layer < eighth || r.layer >= m->nlayers - eighth ||
	    (r.layer - eighth) % 3 == 2;
}

static enum gguf_want
mixed_type(const struct model *m, struct slot_ref r)
{
	const struct tensor *out = model_slot(m,
	    (struct slot_ref){ -1, SLOT_HOUT_W });

	if (is_delicate(m, r) || (r.layer < 0 && out == model_slot(m, r)))
		return GGUF_AS_Q6_K;
	return GGUF_AS_Q4_K;
}

/* The tables and heads that stay as floats. */
static bool
stays_float(const struct model *m, struct slot_ref r)
{
	if (!slot_table[r.slot].matrix || r.slot == SLOT_POSITION ||
	    r.slot == SLOT_TYPE)
		return true;
	return r.slot >= SLOT_POOL_W && !(r.slot == SLOT_HOUT_W &&
	    head_gives_tokens(m->hp.head));
}

static struct tensor *
kept(const struct tensor *t, struct gguf_count *count, struct task *task,
    struct pare_err *err)
{
	struct pare_err local = { .rc = PARE_OK };
	struct tensor *b;

	if (t->form == FORM_BLOCK || form_table[t->form].is_float)
		return tensor_ref(t);
	b = gguf_block_of(t, &local);
	if (b != NULL)
		return b;
	if (local.rc != PARE_OK) {
		*err = local;
		return NULL;
	}
	return to_float(t, FORM_F32, count, task, err);
}

struct tensor *
gguf_type_tensor(const struct model *m, struct slot_ref r,
    enum gguf_want want, struct gguf_count *count, struct task *task,
    struct pare_err *err)
{
	const struct tensor *t = model_slot(m, r);
	const float *weight = NULL;
	enum gguf_want asked;
	struct tensor *exact;
	enum block_kind kind;

	if (stays_float(m, r))
		return to_float(t, FORM_F32, count, task, err);
	if (want == GGUF_KEEP)
		return kept(t, count, task, err);
	if (want == GGUF_MIXED)
		want = mixed_type(m, r);
	asked = want;
	while (want >= GGUF_AS_Q8_0 && t->cols %
	    block_table[blocks[want].kind].values != 0)
		want = blocks[want].shorter;
	count->fell_back += want != asked;
	if (want < GGUF_AS_Q8_0)
		return to_float(t, want == GGUF_AS_F32 ? FORM_F32 : want ==
		    GGUF_AS_F16 ? FORM_F16 : FORM_BF16, count, task, err);
	kind = blocks[want].kind;
	if (t->form == FORM_BLOCK && t->code.block == kind)
		return tensor_ref(t);
	exact = gguf_block_of(t, NULL);
	if (exact != NULL && exact->code.block == kind)
		return exact;
	tensor_unref(exact);
	count->lossy = true;
	if (count->weigh != NULL)
		weight = count->weigh(count->weigh_ctx, r, t->cols);
	count->weighed += weight != NULL;
	return encode(t, kind, weight, task, err);
}
