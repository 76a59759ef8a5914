/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The forward pass against an independent one in double precision on tiny models
 * of odd shapes, masks against real removals, and the outputs of real models
 * (folder PARE_SHARED) against what their frameworks gave.
 */
#include "tiny_model.h"

#include "base/json.h"
#include "base/str.h"
#include "engine/engine.h"
#include "file/file.h"
#include "tensor/kernel.h"

/* ==== the naive twin ==== */

static double *
full(const struct tensor *t)
{
	const int64_t n = t->rows * t->cols;
	float *f = malloc((size_t)n * sizeof(*f));
	double *d = malloc((size_t)n * sizeof(*d));

	tensor_decode(t, 0, t->rows, f);
	for (int64_t i = 0; i < n; i++)
		d[i] = f[i];
	free(f);
	return d;
}

static const struct tensor *
slot(const struct model *m, int l, enum slot s)
{
	return model_slot(m, (struct slot_ref){ s < SLOT_LAYER_COUNT ? l : -1,
	    s });
}

static double
act(enum act_kind a, double x)
{
	switch (a) {
	case ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
	case ACT_GELU_TANH:
		return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) *
		    (x + 0.044715 * x * x * x)));
	case ACT_GELU_QUICK: return x / (1 + exp(-1.702 * x));
	case ACT_SILU: return x / (1 + exp(-x));
	case ACT_RELU: return x > 0 ? x : 0;
	case ACT_TANH: return tanh(x);
	default: return x;
	}
}

/* y (n, rows) of x (n, cols); malloc'ed. */
static double *
map(const struct model *m, int l, enum slot w, enum slot b, const double *x,
    int64_t n)
{
	const struct tensor *t = slot(m, l, w), *bias = slot(m, l, b);
	double *v = full(t), *c = bias ? full(bias) : NULL;
	double *y = calloc((size_t)(n * t->rows), sizeof(*y));

	for (int64_t i = 0; i < n; i++)
		for (int64_t r = 0; r < t->rows; r++) {
			double s = c ? c[r] : 0;

			for (int64_t k = 0; k < t->cols; k++)
				s += x[i * t->cols + k] * v[r * t->cols + k];
			y[i * t->rows + r] = s;
		}
	free(v);
	free(c);
	return y;
}

static void
normalise(const struct model *m, int l, enum slot ws, enum slot bs, double *x,
    int64_t n)
{
	const struct tensor *t = slot(m, l, ws);
	const bool rms = (m->arch->flags & ARCH_RMS_NORM) != 0;
	double *w, *b;

	if (!t)
		return;
	w = full(t);
	b = full(slot(m, l, bs));
	for (int64_t i = 0; i < n; i++) {
		double *v = x + i * t->cols, mean = 0, var = 0;

		for (int64_t c = 0; !rms && c < t->cols; c++)
			mean += v[c] / (double)t->cols;
		for (int64_t c = 0; c < t->cols; c++)
			var += (v[c] - mean) * (v[c] - mean) / (double)t->cols;
		for (int64_t c = 0; c < t->cols; c++)
			v[c] = (v[c] - mean) / sqrt(var + m->hp.norm_eps) *
			    w[c] + b[c];
	}
	free(w);
	free(b);
}

static double *
copy(const double *x, int64_t n)
{
	double *y = malloc((size_t)n * sizeof(*y));

	memcpy(y, x, (size_t)n * sizeof(*y));
	return y;
}

static double *
twin_attention(const struct model *m, int l, const double *x, int64_t n)
{
	const struct layer *y = &m->layer[l];
	const int d = y->head_dim, group = y->heads / y->kv_heads;
	const bool causal = (m->arch->flags & ARCH_CAUSAL) != 0;
	double *q = map(m, l, SLOT_Q_W, SLOT_Q_B, x, n);
	double *k = map(m, l, SLOT_K_W, SLOT_K_B, x, n);
	double *v = map(m, l, SLOT_V_W, SLOT_V_B, x, n);
	double *c = calloc((size_t)(n * y->heads * d), sizeof(*c)), *out;
	double *p = malloc((size_t)n * sizeof(*p));

	for (int h = 0; h < y->heads; h++)
		for (int64_t i = 0; i < n; i++) {
			int64_t seen = causal ? i + 1 : n;
			double sum = 0;

			for (int64_t j = 0; j < seen; j++) {
				double s = 0;

				for (int e = 0; e < d; e++)
					s += q[(i * y->heads + h) * d + e] *
					    k[(j * y->kv_heads + h / group) *
					    d + e];
				sum += p[j] = exp(s / sqrt(d));
			}
			for (int64_t j = 0; j < seen; j++)
				for (int e = 0; e < d; e++)
					c[(i * y->heads + h) * d + e] += p[j] /
					    sum * v[(j * y->kv_heads +
					    h / group) * d + e];
		}
	out = map(m, l, SLOT_O_W, SLOT_O_B, c, n);
	free(q);
	free(k);
	free(v);
	free(c);
	free(p);
	return out;
}

static double *
twin_ffn(const struct model *m, int l, const double *x, int64_t n)
{
	const int64_t w = m->layer[l].ffn;
	double *h = map(m, l, SLOT_UP_W, SLOT_UP_B, x, n), *g, *out;

	if (m->arch->flags & ARCH_GATED) {
		g = map(m, l, SLOT_GATE_W, SLOT_GATE_B, x, n);
		for (int64_t i = 0; i < n * w; i++)
			h[i] *= act(m->hp.act, g[i]);
		free(g);
	} else {
		for (int64_t i = 0; i < n * w; i++)
			h[i] = act(m->hp.act, h[i]);
	}
	out = map(m, l, SLOT_DOWN_W, SLOT_DOWN_B, h, n);
	free(h);
	return out;
}

/* One sub-layer with its residual and norm, in place. */
static void
twin_sublayer(const struct model *m, int l, bool ffn, double *x, int64_t n)
{
	const bool pre = (m->arch->flags & ARCH_PRE_NORM) != 0;
	const enum slot w = ffn ? SLOT_FNORM_W : SLOT_ANORM_W;
	const enum slot b = ffn ? SLOT_FNORM_B : SLOT_ANORM_B;
	const bool there = ffn ? m->layer[l].ffn > 0 : m->layer[l].heads > 0;
	const int64_t h = m->hp.hidden;
	double *in = copy(x, n * h), *y = NULL;

	if (pre)
		normalise(m, l, w, b, in, n);
	if (there)
		y = ffn ? twin_ffn(m, l, in, n) : twin_attention(m, l, in, n);
	for (int64_t i = 0; y && i < n * h; i++)
		x[i] += y[i];
	if (!pre)
		normalise(m, l, w, b, x, n);
	free(in);
	free(y);
}

static double *
twin_embed(const struct model *m, const int32_t *ids, const int32_t *types,
    int64_t n)
{
	const int64_t w = m->hp.embed;
	double *word = full(slot(m, 0, SLOT_WORD));
	double *pos = full(slot(m, 0, SLOT_POSITION));
	double *type = slot(m, 0, SLOT_TYPE) ? full(slot(m, 0, SLOT_TYPE)) :
	    NULL;
	double *x = malloc((size_t)(n * w) * sizeof(*x)), *y;

	for (int64_t i = 0; i < n; i++)
		for (int64_t c = 0; c < w; c++)
			x[i * w + c] = word[ids[i] * w + c] +
			    pos[(i + m->hp.position_offset) * w + c] +
			    (type ? type[(types ? types[i] : 0) * w + c] : 0);
	normalise(m, 0, SLOT_ENORM_W, SLOT_ENORM_B, x, n);
	free(word);
	free(pos);
	free(type);
	if (!slot(m, 0, SLOT_PROJ_W))
		return x;
	y = map(m, 0, SLOT_PROJ_W, SLOT_PROJ_B, x, n);
	free(x);
	return y;
}

static double *
twin_dense(const struct model *m, enum slot w, enum slot b, enum act_kind a,
    double *x, int64_t n)
{
	double *y = map(m, 0, w, b, x, n);

	for (int64_t i = 0; i < n * slot(m, 0, w)->rows; i++)
		y[i] = act(a, y[i]);
	free(x);
	return y;
}

/* Hidden states and logits of one sequence. */
static void
twin(const struct model *m, const int32_t *ids, const int32_t *types,
    int64_t n, double **hidden, double **logits)
{
	const bool token0 = m->hp.head != HEAD_MLM;
	double *x = twin_embed(m, ids, types, n), *h;

	for (int l = 0; l < m->nlayers; l++) {
		twin_sublayer(m, l, false, x, n);
		twin_sublayer(m, l, true, x, n);
	}
	normalise(m, 0, SLOT_FINAL_W, SLOT_FINAL_B, x, n);
	*hidden = x;
	n = token0 ? 1 : n;
	h = copy(x, n * m->hp.hidden);
	if (token0 && slot(m, 0, SLOT_POOL_W))
		h = twin_dense(m, SLOT_POOL_W, SLOT_POOL_B, ACT_TANH, h, n);
	if (slot(m, 0, SLOT_HDENSE_W))
		h = twin_dense(m, SLOT_HDENSE_W, SLOT_HDENSE_B,
		    token0 ? m->hp.head_act : m->hp.act, h, n);
	normalise(m, 0, SLOT_HNORM_W, SLOT_HNORM_B, h, n);
	*logits = slot(m, 0, SLOT_HOUT_W) ?
	    map(m, 0, SLOT_HOUT_W, SLOT_HOUT_B, h, n) : NULL;
	free(h);
}

/* ==== comparing ==== */

struct sample {
	struct batch b;
	int64_t start[8];
	int32_t ids[64], types[64];
};

static void
sample_fill(struct sample *s, const struct model *m, uint64_t seed)
{
	static const int len[] = { 5, 1, 13, 2, 9 };
	struct rng r;
	int64_t n = 0;

	rng_seed(&r, seed);
	s->start[0] = 0;
	for (int i = 0; i < 5; i++)
		s->start[i + 1] = n += len[i];
	for (int64_t i = 0; i < n; i++) {
		s->ids[i] = (int32_t)rng_below(&r, (uint64_t)m->hp.vocab);
		s->types[i] = m->hp.types > 1 ? (int32_t)rng_below(&r, 2) : 0;
	}
	s->b = (struct batch){ 5, s->start, s->ids, s->types };
}

static void
run(const struct model *m, const struct batch *b, struct forward *f)
{
	struct engine *e = engine_new();
	struct pare_err err;

	if (engine_forward(e, m, b, f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
}

static double
distance(const float *a, const double *b, int64_t n)
{
	double most = 0;

	for (int64_t i = 0; i < n; i++) {
		double d = fabs((double)a[i] - b[i]);

		most = d > most || d != d ? d : most;
	}
	return most;
}

static void
assert_near(double most, double limit, const char *what)
{
	if (!(most <= limit))
		fail_msg("%s: off by %g", what, most);
}

/* Both outputs, and logits alone (which takes the short way). */
static void
check_twin(const struct tiny *t)
{
	struct model *m = tiny_model(t);
	const bool token0 = m->hp.head != HEAD_MLM;
	const int64_t h = m->hp.hidden;
	const int64_t out = token0 ? m->hp.labels : m->hp.vocab;
	struct sample s;
	float logits[64 * 64], alone[64 * 64], hidden[64 * 64];
	struct forward f = { .logits = logits, .hidden = hidden };
	struct forward g = { .logits = alone };

	sample_fill(&s, m, 5);
	run(m, &s.b, &f);
	run(m, &s.b, &g);
	for (int i = 0; i < s.b.nseq; i++) {
		const int64_t at = s.start[i], n = s.start[i + 1] - at;
		const int64_t rows = token0 ? 1 : n, row = token0 ? i : at;
		double *x, *z;

		twin(m, s.ids + at, s.types + at, n, &x, &z);
		assert_near(distance(hidden + at * h, x, n * h), 2e-5,
		    "hidden");
		assert_near(distance(logits + row * out, z, rows * out), 2e-5,
		    "logits");
		assert_near(distance(alone + row * out, z, rows * out), 2e-5,
		    "logits alone");
		free(x);
		free(z);
	}
	model_unref(m);
}

static void
test_odd_shapes(void **state)
{
	struct tiny t = tiny_odd;

	check_twin(&t);
	t.layer[3] = (struct tiny_layer){ 0, 0, 7, 4 };
	check_twin(&t);
	t.layer[0] = t.layer[2] = t.layer[3];
	check_twin(&t);
}

static void
test_architectures(void **state)
{
	struct tiny t = tiny_odd;

	t.type = "distilbert";
	t.types = 0;
	t.pooler = false;
	t.dense = true;
	t.head_act = ACT_RELU;
	check_twin(&t);
	t.type = "electra";
	t.types = 2;
	t.embed = 12;
	t.head_act = ACT_GELU;
	check_twin(&t);
	t.type = "albert";
	t.tied = true;
	t.pooler = true;
	t.dense = false;
	t.act = ACT_GELU_TANH;
	check_twin(&t);
	t.head = HEAD_REGRESS;
	t.labels = 1;
	check_twin(&t);
}

static void
test_masked_lm(void **state)
{
	struct tiny t = tiny_odd;

	t.head = HEAD_MLM;
	t.dense = true;
	t.pooler = false;
	check_twin(&t);
	t.type = "albert";
	t.embed = 8;
	t.act = ACT_RELU;
	check_twin(&t);
}

/* Flags that no architecture of the table uses yet. */
static void
test_flags(void **state)
{
	static const unsigned flags[] = { ARCH_PRE_NORM, ARCH_RMS_NORM,
	    ARCH_CAUSAL, ARCH_GATED, ARCH_PRE_NORM | ARCH_RMS_NORM |
	    ARCH_CAUSAL | ARCH_GATED };
	struct tiny t = tiny_odd;

	t.layer[0] = (struct tiny_layer){ 6, 2, 3, 9 };
	t.layer[3] = (struct tiny_layer){ 4, 1, 5, 11 };
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		t.flags = flags[i];
		t.act = ACT_SILU;
		t.head = HEAD_CLASSIFY;
		t.dense = false;
		check_twin(&t);
		t.head = HEAD_MLM;
		t.dense = true;
		check_twin(&t);
	}
}

static void
test_activations(void **state)
{
	static const enum act_kind kinds[] = { ACT_GELU, ACT_GELU_TANH,
	    ACT_GELU_QUICK, ACT_SILU, ACT_RELU, ACT_TANH, ACT_LINEAR };
	struct tiny t = tiny_odd;

	t.dense = true;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		t.act = t.head_act = kinds[i];
		check_twin(&t);
	}
}

/* ==== masks ==== */

static void
check_mask(const struct model *m, const struct engine_mask *mask,
    struct edit *e)
{
	struct sample s;
	struct model *cut = NULL;
	struct pare_err err;
	float a[64], b[64], x[64 * 64], y[64 * 64];
	struct forward f = { .logits = a, .mask = mask };
	struct forward g = { .logits = b };

	if (edit_commit(e, &cut, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	sample_fill(&s, m, 9);
	for (int with_hidden = 0; with_hidden < 2; with_hidden++) {
		f.hidden = with_hidden ? x : NULL;
		g.hidden = with_hidden ? y : NULL;
		run(m, &s.b, &f);
		run(cut, &s.b, &g);
		for (int i = 0; i < 5 * m->hp.labels; i++)
			assert_near(fabsf(a[i] - b[i]), 1e-5, "masked");
	}
	model_unref(cut);
}

static void
test_masks(void **state)
{
	struct model *m = tiny_model(&tiny_odd);
	struct head_set heads[4] = { 0 };
	uint8_t neurons[17] = { 0 }, flag[4] = { 0 };
	const uint8_t *rows[4] = { NULL, NULL, NULL, neurons };
	struct engine_mask k = { 0 };
	const int64_t keep[] = { 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15 };
	struct pare_err err;
	struct edit *e;

	head_set_put(&heads[0], 1, true);
	head_set_put(&heads[3], 0, true);
	k.drop_heads = heads;
	e = edit_begin(m, EDIT_REAL, 1, NULL);
	assert_int_equal(edit_drop_heads(e, 0, &heads[0], &err), PARE_OK);
	assert_int_equal(edit_drop_heads(e, 3, &heads[3], &err), PARE_OK);
	check_mask(m, &k, e);

	k = (struct engine_mask){ .drop_neurons = rows };
	neurons[0] = neurons[3] = neurons[13] = neurons[16] = 1;
	e = edit_begin(m, EDIT_REAL, 1, NULL);
	assert_int_equal(edit_keep_neurons(e, 3, keep, 13, &err), PARE_OK);
	check_mask(m, &k, e);

	for (int l = 0; l < 4; l += 3) {
		flag[0] = flag[3] = 0;
		flag[l] = 1;
		k = (struct engine_mask){ .drop_attention = flag };
		e = edit_begin(m, EDIT_REAL, 1, NULL);
		assert_int_equal(edit_drop_attention(e, l, &err), PARE_OK);
		check_mask(m, &k, e);
		k = (struct engine_mask){ .drop_ffn = flag };
		e = edit_begin(m, EDIT_REAL, 1, NULL);
		assert_int_equal(edit_drop_ffn(e, l, &err), PARE_OK);
		check_mask(m, &k, e);
		k = (struct engine_mask){ .drop_layer = flag };
		e = edit_begin(m, EDIT_REAL, 1, NULL);
		assert_int_equal(edit_drop_layer(e, l, &err), PARE_OK);
		check_mask(m, &k, e);
	}
	model_unref(m);
}

/* A mask that drops nothing changes no bit, one that drops does change. */
static void
test_mask_matters(void **state)
{
	struct model *m = tiny_model(&tiny_odd);
	uint8_t none[4] = { 0 }, one[4] = { 0, 0, 1, 0 };
	struct engine_mask k = { .drop_layer = none }, d = { .drop_layer = one };
	struct sample s;
	float a[64], b[64], c[64];
	struct forward f = { .logits = a }, g = { .logits = b, .mask = &k };
	struct forward h = { .logits = c, .mask = &d };

	sample_fill(&s, m, 9);
	run(m, &s.b, &f);
	run(m, &s.b, &g);
	run(m, &s.b, &h);
	assert_memory_equal(a, b, 15 * sizeof(*a));
	assert_true(memcmp(a, c, 15 * sizeof(*a)) != 0);
	model_unref(m);
}

/* ==== forms, repetition, refusals ==== */

static struct tensor *
to_half(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	return tensor_cast(t, FORM_F16, ctx, err);
}

static struct tensor *
to_rank(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	return tiny_low_rank(t, 5, 77);
}

static struct tensor *
to_codes(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct quant_spec q = { QUANT_AFFINE, 5, 0, 0 };

	return tensor_quantize(t, &q, ctx, err);
}

static struct tensor *
to_table(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct quant_spec q = { QUANT_KMEANS, 4, 0, 0 };

	return tensor_quantize(t, &q, ctx, err);
}

static struct tensor *
thin_out(const struct tensor *t, const struct transform_ctx *ctx, int64_t step,
    struct pare_err *err)
{
	const int64_t n = t->rows * t->cols;
	uint8_t *mask = calloc((size_t)n, 1);
	struct tensor *out;
	int64_t kept = 0;

	for (int64_t i = 0; i < n; i += step)
		kept += mask[i] = 1;
	out = tensor_sparsify(t, mask, kept, ctx, err);
	free(mask);
	return out;
}

static struct tensor *
to_bitmap(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	return thin_out(t, ctx, 2, err);
}

static struct tensor *
to_index(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	return thin_out(t, ctx, 40, err);
}

/* The model with every matrix in another form. */
static struct model *
in_forms(const struct model *m)
{
	static edit_transform *const form[] = { to_rank, to_half, to_codes,
	    to_table, to_bitmap, to_index };
	struct edit *e = edit_begin(m, EDIT_REAL, 3, NULL);
	struct slot_ref r = SLOT_REF_START;
	struct model *out = NULL;
	struct pare_err err;
	int i = 0;

	while (model_next_slot(m, &r)) {
		const bool matrix = slot_table[r.slot].matrix;

		if (edit_map(e, r, 1, matrix ? form[i++ % 6] : to_half, NULL,
		    &err) != PARE_OK)
			fail_msg("%s", err.msg);
	}
	if (edit_commit(e, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return out;
}

/* Packed tensors run packed and agree with the twin, which decodes them. */
static void
test_forms(void **state)
{
	struct model *m = tiny_model(&tiny_odd), *packed = in_forms(m);
	struct sample s;
	float logits[64];
	struct forward f = { .logits = logits };

	sample_fill(&s, packed, 21);
	run(packed, &s.b, &f);
	for (int i = 0; i < s.b.nseq; i++) {
		const int64_t at = s.start[i];
		double *x, *z;

		twin(packed, s.ids + at, s.types + at, s.start[i + 1] - at,
		    &x, &z);
		assert_near(distance(logits + 3 * i, z, 3), 3e-5, "forms");
		free(x);
		free(z);
	}
	model_unref(m);
	model_unref(packed);
}

/* More tokens than one block holds, in sequences longer than one tile of
 * queries: each sequence as if it were alone. */
static void
check_blocks(const struct model *m)
{
	enum { SEQS = 40, TOKENS = SEQS * 150 };
	struct engine *e = engine_new();
	int64_t start[SEQS + 1] = { 0 };
	int32_t *ids = malloc(TOKENS * sizeof(*ids));
	const int64_t h = m->hp.hidden;
	float logits[SEQS * 3], alone[SEQS * 3], one[3];
	float *hidden = malloc((size_t)(TOKENS * h) * sizeof(*hidden));
	struct batch b = { SEQS, start, ids, NULL };
	struct forward f = { .logits = logits, .hidden = hidden };
	struct forward g = { .logits = alone }, k = { .logits = one };
	struct pare_err err;
	struct rng r;

	rng_seed(&r, 8);
	for (int i = 0; i < SEQS; i++)
		start[i + 1] = start[i] + 1 + (i * 61) % 150;
	for (int64_t i = 0; i < start[SEQS]; i++)
		ids[i] = (int32_t)rng_below(&r, (uint64_t)m->hp.vocab);
	assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	assert_int_equal(engine_forward(e, m, &b, &g, &err), PARE_OK);
	for (int i = 0; i < SEQS; i++) {
		const int64_t at = start[i], n = start[i + 1] - at;
		const int64_t first[2] = { 0, n };
		struct batch single = { 1, first, ids + at, NULL };
		double *x, *z;

		assert_int_equal(engine_forward(e, m, &single, &k, &err),
		    PARE_OK);
		for (int c = 0; c < 3; c++) {
			assert_near(fabsf(logits[3 * i + c] - one[c]), 2e-5,
			    "alone");
			assert_near(fabsf(alone[3 * i + c] - one[c]), 2e-5,
			    "alone, logits only");
		}
		if (i % 13 != 0)
			continue;
		twin(m, ids + at, NULL, n, &x, &z);
		assert_near(distance(hidden + at * h, x, n * h), 3e-5,
		    "hidden");
		free(x);
		free(z);
	}
	engine_free(e);
	free(ids);
	free(hidden);
}

static void
test_blocks(void **state)
{
	struct tiny t = tiny_odd;
	struct model *m, *packed;

	t.positions = 160;
	m = tiny_model(&t);
	packed = in_forms(m);
	check_blocks(m);
	check_blocks(packed);
	model_unref(packed);
	model_unref(m);
	t.flags = ARCH_CAUSAL | ARCH_PRE_NORM;
	m = tiny_model(&t);
	check_blocks(m);
	model_unref(m);
}

/* The same bits again, for each number of threads. */
static void
test_repeats(void **state)
{
	struct tiny t = tiny_odd;
	struct model *m = tiny_model(&t);
	const int threads = kernel_threads();
	struct sample s;
	float a[64], b[64];
	struct forward f = { .logits = a }, g = { .logits = b };

	sample_fill(&s, m, 2);
	for (int n = 1; n < 4; n++) {
		kernel_set_threads(n);
		run(m, &s.b, &f);
		run(m, &s.b, &g);
		assert_memory_equal(a, b, 15 * sizeof(*a));
	}
	kernel_set_threads(threads);
	model_unref(m);
}

/* An engine that was used for something larger gives the same bits. */
static void
test_reuse(void **state)
{
	struct model *m = tiny_model(&tiny_odd);
	struct engine *e = engine_new();
	struct sample s;
	struct batch one;
	float a[64], b[64];
	struct forward f = { .logits = a }, g = { .logits = b };
	struct pare_err err;
	size_t held;

	sample_fill(&s, m, 2);
	one = (struct batch){ 1, s.start, s.ids, s.types };
	assert_int_equal(engine_forward(e, m, &one, &f, &err), PARE_OK);
	assert_int_equal(engine_forward(e, m, &s.b, &g, &err), PARE_OK);
	held = engine_scratch(e);
	assert_true(held > 0);
	assert_int_equal(engine_forward(e, m, &one, &g, &err), PARE_OK);
	assert_memory_equal(a, b, 3 * sizeof(*a));
	assert_int_equal(engine_scratch(e), held);
	engine_free(e);
	model_unref(m);
}

static void
check_refused(const struct model *m, const struct batch *b, struct forward *f,
    enum pare_rc want, const char *words)
{
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	assert_int_equal(engine_forward(e, m, b, f, &err), want);
	assert_int_equal(err.rc, want);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" lacks \"%s\"", err.msg, words);
	engine_free(e);
}

static void
test_refusals(void **state)
{
	struct model *m = tiny_model(&tiny_odd), *body;
	struct tiny t = tiny_odd;
	float out[2048];
	struct forward f = { .logits = out };
	struct task stop = { 0 };
	int64_t start[2] = { 0, 3 }, longer[2] = { 0, 20 }, none[2] = { 0, 0 };
	int32_t ids[20] = { 1, 2, 3 }, types[3] = { 0, 1, 2 };
	struct batch b = { 1, start, ids, NULL };

	b.types = types;
	check_refused(m, &b, &f, PARE_EUSER, "segment 2");
	b.types = NULL;
	ids[1] = 37;
	check_refused(m, &b, &f, PARE_EUSER, "token id 37");
	ids[1] = -1;
	check_refused(m, &b, &f, PARE_EUSER, "token id -1");
	ids[1] = 2;
	b.start = longer;
	check_refused(m, &b, &f, PARE_EUSER, "limit is 19");
	b.start = none;
	check_refused(m, &b, &f, PARE_EUSER, "no tokens");
	b.start = start;
	f.attention = out;
	f.attention_layer = 1;
	check_refused(m, &b, &f, PARE_EUSER, "no attention");
	f.attention_layer = 4;
	check_refused(m, &b, &f, PARE_EUSER, "0 to 3");
	f.attention_layer = 2;
	f.attention_head = 1;
	check_refused(m, &b, &f, PARE_EUSER, "no head 1");
	f.attention = NULL;
	atomic_init(&stop.cancel, true);
	f.task = &stop;
	check_refused(m, &b, &f, PARE_ECANCELED, "");
	f.task = NULL;
	t.head = HEAD_NONE;
	body = tiny_model(&t);
	check_refused(body, &b, &f, PARE_EUSER, "no head");
	model_unref(body);
	model_unref(m);
}

static struct tensor *
poison(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	float *v;
	struct tensor *p = tensor_new_f32(t->ndim, t->rows, t->cols, &v, err);

	tensor_decode(t, 0, t->rows, v);
	v[t->cols / 2] = *(float *)arg;
	return p;
}

static void
test_non_finite(void **state)
{
	static const enum slot where[] = { SLOT_Q_W, SLOT_V_B, SLOT_ANORM_W,
	    SLOT_UP_W, SLOT_DOWN_B, SLOT_FNORM_B };
	struct model *m = tiny_model(&tiny_odd);
	float out[64], bad[] = { NAN, INFINITY };
	struct forward f = { .logits = out };
	struct sample s;
	struct pare_err err;

	sample_fill(&s, m, 5);
	for (int i = 0; i < 12; i++) {
		struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);
		struct model *p = NULL;

		assert_int_equal(edit_map(e, (struct slot_ref){ 0,
		    where[i % 6] }, 1, poison, &bad[i / 6], &err), PARE_OK);
		assert_int_equal(edit_commit(e, &p, &err), PARE_OK);
		check_refused(p, &s.b, &f, PARE_EFORMAT, "after layer 0");
		model_unref(p);
	}
	model_unref(m);
}

static void
test_no_memory(void **state)
{
	struct model *m = tiny_model(&tiny_odd);
	float out[64];
	struct forward f = { .logits = out };
	struct sample s;

	sample_fill(&s, m, 5);
	mem_fail_at(1);
	check_refused(m, &s.b, &f, PARE_ENOMEM, "");
	mem_fail_at(0);
	model_unref(m);
}

/* ==== real models ==== */

static char *
shared_path(const char *name)
{
	const char *dir = getenv("PARE_SHARED");

	return str_format("%s/real/models/%s", dir ? dir : "../shared", name);
}

/* Opens a real model, or skips the test. */
static struct model *
open_real(const char *name)
{
	const struct open_options o = { 0 };
	char *path = shared_path(name);
	struct model *m = NULL;
	struct pare_err err;
	FILE *f;
	char *config = str_format("%s/config.json", path);

	f = fopen(config, "r");
	free(config);
	if (!f) {
		free(path);
		skip();
	}
	fclose(f);
	if (file_open_model(path, &o, &m, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	free(path);
	return m;
}

enum { PACK = 16 };

/* Runs the rows packed so far and compares; returns the largest difference. */
static double
compare_rows(struct engine *e, const struct model *m, json_t *const *row,
    int n)
{
	int64_t start[PACK + 1] = { 0 };
	int32_t ids[PACK * 512];
	float logits[PACK * 16];
	struct batch b = { n, start, ids, NULL };
	struct forward f = { .logits = logits };
	struct pare_err err;
	double most = 0;

	for (int i = 0; i < n; i++) {
		json_t *list = json_object_get(row[i], "ids");

		start[i + 1] = start[i] + (int64_t)json_array_size(list);
		for (size_t j = 0; j < json_array_size(list); j++)
			ids[start[i] + (int64_t)j] = (int32_t)
			    json_integer_value(json_array_get(list, j));
	}
	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	for (int i = 0; i < n; i++) {
		json_t *want = json_object_get(row[i], "logits");

		assert_int_equal(json_array_size(want), m->hp.labels);
		for (int c = 0; c < m->hp.labels; c++) {
			double d = fabs(json_number_value(json_array_get(want,
			    (size_t)c)) - logits[i * m->hp.labels + c]);

			most = d > most || d != d ? d : most;
		}
	}
	return most;
}

static void
check_logits(const char *name)
{
	struct model *m = open_real(name);
	struct engine *e = engine_new();
	char *file = str_format("%s/reference_logits.ndjson", name);
	char *path = shared_path(file), line[16384];
	FILE *f = fopen(path, "r");
	json_t *row[PACK];
	double most = 0, d;
	int n = 0, total = 0;

	assert_non_null(f);
	for (;;) {
		bool more = fgets(line, sizeof(line), f) != NULL;

		if (more)
			row[n++] = json_loads(line, 0, NULL);
		if (n == PACK || (!more && n > 0)) {
			d = compare_rows(e, m, row, n);
			most = d > most || d != d ? d : most;
			for (total += n; n > 0; n--)
				json_decref(row[n - 1]);
		}
		if (!more)
			break;
	}
	print_message("%s: %d rows, off by at most %.2g\n", name, total, most);
	assert_true(total >= 500);
	assert_near(most, 1e-4, name);
	fclose(f);
	free(path);
	free(file);
	engine_free(e);
	model_unref(m);
}

static void
test_sst2(void **state)
{
	check_logits("sst2-bert");
}

static void
test_trec(void **state)
{
	check_logits("trec-bert");
}

static void
compare_raw(const char *name, int index, const char *what, const float *got,
    int64_t n)
{
	char *file = str_format("%s/reference/%d.%s.f32", name, index, what);
	char *path = shared_path(file);
	FILE *f = fopen(path, "rb");
	float *want = malloc((size_t)n * sizeof(*want));
	double most = 0;

	assert_non_null(f);
	assert_int_equal(fread(want, sizeof(*want), (size_t)n, f), n);
	for (int64_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - want[i]);

		most = d > most || d != d ? d : most;
	}
	print_message("%s: off by at most %.2g\n", file, most);
	assert_near(most, 1e-4, file);
	fclose(f);
	free(want);
	free(path);
	free(file);
}

static void
test_rxnmapper(void **state)
{
	const char *name = "rxnmapper-albert";
	struct model *m = open_real(name);
	char *path = shared_path("rxnmapper-albert/reference/reference.json");
	struct pare_err err;
	json_t *all = json_read(path, 1 << 24, 0, &err), *one;
	int64_t start[2] = { 0, 0 };
	size_t i;

	assert_non_null(all);
	assert_int_equal(json_array_size(all), 4);
	json_array_foreach(all, i, one) {
		json_t *list = json_object_get(one, "ids");
		const int64_t n = (int64_t)json_array_size(list);
		int32_t *ids = malloc((size_t)n * sizeof(*ids));
		float *z = malloc((size_t)(n * m->hp.vocab) * sizeof(*z));
		float *x = malloc((size_t)(n * m->hp.hidden) * sizeof(*x));
		float *p = malloc((size_t)(n * n) * sizeof(*p));
		struct batch b = { 1, start, ids, NULL };
		struct forward f = { .logits = z, .hidden = x, .attention = p,
		    .attention_layer = 10, .attention_head = 5 };

		start[1] = n;
		for (int64_t j = 0; j < n; j++)
			ids[j] = (int32_t)json_integer_value(
			    json_array_get(list, (size_t)j));
		run(m, &b, &f);
		compare_raw(name, (int)i, "mlm_logits", z, n * m->hp.vocab);
		compare_raw(name, (int)i, "last_hidden", x, n * m->hp.hidden);
		compare_raw(name, (int)i, "attention_layer10_head5", p, n * n);
		free(ids);
		free(z);
		free(x);
		free(p);
	}
	json_decref(all);
	free(path);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_odd_shapes),
		cmocka_unit_test(test_architectures),
		cmocka_unit_test(test_masked_lm),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_activations),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_mask_matters),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_repeats),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_non_finite),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_sst2),
		cmocka_unit_test(test_trec),
		cmocka_unit_test(test_rxnmapper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
