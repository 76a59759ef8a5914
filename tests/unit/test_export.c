/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Exports: what is written in the files of other programs comes back with the
 * same tensors and the same outputs, for every architecture and for models that
 * lack heads, neurons or layers; what a format cannot say is refused by layer;
 * and what fails leaves nothing behind.
 */
#include "samples.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/engine.h"
#include "file/dtype.h"
#include "file/export.h"
#include "file/gguf.h"
#include "file/gptq.h"
#include "tensor/block.h"
#include "tensor/transform.h"
#include "text/tokenizer_write.h"
#include "tiny_dir.h"

#define FAMILY(type, class, more) { type, "{\"model_type\":\"" type "\"," \
	"\"architectures\":[\"" class "\"],\"hidden_size\":32," \
	"\"num_hidden_layers\":4,\"num_attention_heads\":4," \
	"\"num_key_value_heads\":2,\"head_dim\":8," \
	"\"intermediate_size\":48,\"vocab_size\":70," \
	"\"max_position_embeddings\":64,\"rms_norm_eps\":1e-6," \
	"\"rope_theta\":10000.0,\"initializer_range\":0.2" more "}" }

static const struct sample_model families[] = {
	FAMILY("llama", "LlamaForCausalLM", ",\"tie_word_embeddings\":false"),
	FAMILY("llama", "LlamaForCausalLM", ",\"attention_bias\":true,"
	    "\"mlp_bias\":true,\"rope_scaling\":{\"rope_type\":\"llama3\","
	    "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
	    "\"original_max_position_embeddings\":8192}"),
	FAMILY("llama", "LlamaForCausalLM", ",\"rope_scaling\":{"
	    "\"rope_type\":\"linear\",\"factor\":2.0}"),
	FAMILY("mistral", "MistralForCausalLM", ",\"sliding_window\":null"),
	FAMILY("qwen2", "Qwen2ForCausalLM", ",\"tie_word_embeddings\":true"),
	FAMILY("qwen3", "Qwen3ForCausalLM", ""),
	FAMILY("gemma", "GemmaForCausalLM", ",\"tie_word_embeddings\":true"),
	FAMILY("gemma2", "Gemma2ForCausalLM", ",\"tie_word_embeddings\":true,"
	    "\"sliding_window\":8,\"attn_logit_softcapping\":50.0,"
	    "\"final_logit_softcapping\":30.0,\"query_pre_attn_scalar\":8"),
};
enum { FAMILIES = sizeof families / sizeof *families };

static char *root;

static int
make_root(void **state)
{
	root = tiny_root();
	return 0;
}

static int
drop_root(void **state)
{
	tiny_root_free(root);
	return 0;
}

/* ---- outputs ---- */

enum { LENGTH = 12 };

static float *
outputs(const struct model *m, int64_t len, int64_t *n)
{
	static const int32_t id[LENGTH] = { 5, 3, 60, 3, 17, 41, 2, 8, 9, 33, 20, 1 };
	int64_t start[2] = { 0, len };
	struct batch b = { .nseq = 1, .start = start, .ids = id };
	struct engine *e = engine_new();
	struct forward f = { .logits = NULL };
	struct pare_err err = { 0 };
	float *out;

	*n = m->hp.head == HEAD_NONE ? len * m->hp.hidden :
	    head_gives_tokens(m->hp.head) ? len * m->hp.vocab : m->hp.labels;
	out = xcalloc((size_t)*n, sizeof(*out));
	*(m->hp.head == HEAD_NONE ? &f.hidden : &f.logits) = out;
	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
	return out;
}

static void
same_outputs(const char *what, const struct model *a, const struct model *b,
    float tolerance)
{
	/* A format without windows holds as many positions as the window has. */
	int64_t len = b->hp.positions < LENGTH ? b->hp.positions : LENGTH, n, k;
	float *x = outputs(a, len, &n), *y = outputs(b, len, &k);
	float largest = 0.0f;

	assert_int_equal(n, k);
	for (int64_t i = 0; i < n; i++)
		largest = fmaxf(largest, fabsf(x[i]));
	for (int64_t i = 0; i < n; i++)
		if (!(fabsf(x[i] - y[i]) <= tolerance * (1.0f + largest)))
			fail_msg("%s: output %d is %g, not %g", what, (int)i,
			    (double)y[i], (double)x[i]);
	free(x);
	free(y);
}

/* Exports, opens, compares with x->model and, within tolerance, with m; the
 * model that was opened. */
static struct model *
round_trip(const char *what, const struct model *m,
    const struct export_ask *ask, float tolerance)
{
	struct pare_err err = { 0 };
	struct export *x = export_begin(m, ask, NULL, &err);
	struct model *back = NULL;

	if (x == NULL)
		fail_msg("%s: %s (%s)", what, err.msg, err.hint);
	if (file_open_model(x->path, NULL, &back, NULL, &err) != PARE_OK ||
	    export_compare(x, back, &err) != PARE_OK)
		fail_msg("%s: %s", what, err.msg);
	model_unref(back);
	if (export_commit(x, &err) != PARE_OK ||
	    file_open_model(ask->path, NULL, &back, NULL, &err) != PARE_OK)
		fail_msg("%s: %s", what, err.msg);
	same_outputs(what, m, back, tolerance);
	return back;
}

static struct export_ask
ask_for(enum export_format f, char **path)
{
	struct export_ask ask = { .format = f, .force = true };

	*path = io_join(root, f == EXPORT_GGUF ? "m.gguf" : "folder");
	tiny_remove(*path);
	ask.path = *path;
	return ask;
}

static void
refuse(const struct model *m, const struct export_ask *ask, const char *word)
{
	struct pare_err err = { 0 };
	struct export *x = export_begin(m, ask, NULL, &err);

	assert_null(x);
	assert_int_equal(err.rc, PARE_EUSER);
	if (strstr(err.msg, word) == NULL && strstr(err.hint, word) == NULL)
		fail_msg("'%s' (%s) does not say '%s'", err.msg, err.hint,
		    word);
	assert_int_not_equal(access(ask->path, F_OK), 0);
}

/* ---- plain folders ---- */

static void
test_hf(void **state)
{
	char *path;
	struct export_ask ask = ask_for(EXPORT_HF, &path);

	for (int i = 0; i < SAMPLE_MODELS + FAMILIES; i++) {
		const struct sample_model *s = i < SAMPLE_MODELS ?
		    &sample_models[i] : &families[i - SAMPLE_MODELS];
		struct model *m = sample_real(s), *back;

		back = round_trip(s->name, m, &ask, 0.0f);
		assert_string_equal(back->arch->model_type,
		    m->arch->model_type);
		model_unref(back);
		ask.want = GGUF_AS_F16;
		model_unref(round_trip(s->name, m, &ask, 0.03f));
		ask.want = GGUF_KEEP;
		model_unref(m);
	}
	free(path);
}

/* Transformers 5 wants an integer there, and a scale kept in float32 must not
 * make it 8.0 or 7.9999998. */
static void
test_whole_numbers(void **state)
{
	char *path, *file;
	struct export_ask ask = ask_for(EXPORT_HF, &path);
	struct pare_err err = { 0 };
	const json_t *v;
	json_t *config;

	for (int i = 0; i < FAMILIES; i++) {
		struct model *m;

		if (strcmp(families[i].name, "gemma2") != 0)
			continue;
		m = sample_real(&families[i]);
		model_unref(round_trip("gemma2", m, &ask, 0.0f));
		file = io_join(path, "config.json");
		config = json_read(file, 1 << 20, 0, &err);
		assert_non_null(config);
		v = json_object_get(config, "query_pre_attn_scalar");
		assert_true(json_is_integer(v));
		assert_int_equal(json_integer_value(v), 8);
		json_decref(config);
		free(file);
		model_unref(m);
	}
	free(path);
}

/* Each line is an op; the model must be refused without zeros, naming the word,
 * and equal with them. word NULL: it can be said as it is. */
static const struct {
	int sample;		/* from families[] when negative: -1 is 0 */
	const char *ops, *word;
} shapes[] = {
	{ 0, "prune heads L1.h0,2", NULL },
	{ 0, "prune neurons 30% L1", "L1 has" },
	{ 0, "prune attention L1", "L1 has no attention" },
	{ 0, "prune ffn L0", "L0 has no FFN" },
	{ 0, "prune layers L1", NULL },
	{ 0, "prune neurons 25%", NULL },
	{ 0, "factorize L*.ffn rank=4", NULL },
	{ 0, "prune weights 50%", NULL },
	{ 0, "share L0-1 method=layers", NULL },
	{ 4, "prune neurons 25%", NULL },
	{ 5, "prune heads L1.h0,2", NULL },
	{ 5, "prune attention L2", "L2 has no attention" },
	{ 5, "prune layers last 1", NULL },
	{ 5, "quantize L* bits=4 group=16 scheme=affine "
	    "activations=float", NULL },
	{ 6, "prune heads L0.h1", "heads" },
	{ 6, "prune heads L0.h1; prune heads L1.h1; prune heads L2.h0", NULL },
	{ -1, "prune heads L1.h0,1", "L1 has 2 heads" },
	{ -1, "prune neurons 25% L2; prune attention L0", "pad=on" },
	{ -6, "prune attention L3; prune ffn L3", "L3" },
	{ -8, "prune layers L0", NULL },
};

static struct model *
reshaped(int i)
{
	const int k = shapes[i].sample;
	struct model *m = sample_real(k >= 0 ? &sample_models[k] :
	    &families[-k - 1]);
	char *ops = xstrdup(shapes[i].ops), *save = NULL;

	for (char *op = strtok_r(ops, ";", &save); op != NULL;
	    op = strtok_r(NULL, ";", &save)) {
		struct model *next = sample_do(m, op);

		model_unref(m);
		m = next;
	}
	free(ops);
	return m;
}

static void
test_shapes(void **state)
{
	char *path;
	struct export_ask ask = ask_for(EXPORT_HF, &path);

	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		struct model *m = reshaped((int)i);

		tiny_remove(path);
		if (shapes[i].word != NULL)
			refuse(m, &ask, shapes[i].word);
		else
			model_unref(round_trip(shapes[i].ops, m, &ask, 1e-4f));
		ask.pad = true;
		model_unref(round_trip(shapes[i].ops, m, &ask, 1e-4f));
		ask.pad = false;
		model_unref(m);
	}
	free(path);
}

/* ---- GGUF ---- */

static void
test_gguf(void **state)
{
	char *path;
	struct export_ask ask = ask_for(EXPORT_GGUF, &path);

	for (int i = 0; i < SAMPLE_MODELS + FAMILIES; i++) {
		const struct sample_model *s = i < SAMPLE_MODELS ?
		    &sample_models[i] : &families[i - SAMPLE_MODELS];
		struct model *m = sample_real(s);

		tiny_remove(path);
		if ((i >= 2 && i <= 4) || strstr(s->name, "classifier") ||
		    strcmp(s->name, "roberta") == 0) {
			refuse(m, &ask, "GGUF");
		} else if (m->hp.head == HEAD_MLM) {
			refuse(m, &ask, "body=on");
		} else {
			model_unref(round_trip(s->name, m, &ask, 1e-4f));
			ask.want = GGUF_AS_F16;
			model_unref(round_trip("F16", m, &ask, 0.03f));
			ask.want = GGUF_AS_Q8_0;
			model_unref(round_trip("Q8_0", m, &ask, 0.3f));
			ask.want = GGUF_KEEP;
		}
		model_unref(m);
	}
	free(path);
}

/* From a checkpoint to GGUF, from there to a folder: where it began. */
static void
test_there_and_back(void **state)
{
	char *file, *folder;
	struct export_ask there = ask_for(EXPORT_GGUF, &file);
	struct export_ask back = ask_for(EXPORT_HF, &folder);

	for (int i = 0; i < FAMILIES; i++) {
		struct model *m = sample_real(&families[i]), *g, *h;
		struct slot_ref r = { 1, SLOT_Q_W };

		g = round_trip(families[i].name, m, &there, 1e-4f);
		assert_true(g->hp.rope.interleaved ==
		    (strcmp(g->arch->model_type, "llama") == 0));
		h = round_trip(families[i].name, g, &back, 1e-5f);
		assert_true(tensor_hash(model_slot(h, r)) ==
		    tensor_hash(model_slot(m, r)));
		model_unref(m);
		model_unref(g);
		model_unref(h);
	}
	free(file);
	free(folder);
}

static void
test_body(void **state)
{
	char *path;
	struct export_ask ask = ask_for(EXPORT_GGUF, &path);
	struct model *m = sample_real(&sample_models[1]), *body = NULL, *back;
	struct pare_err err;

	ask.body = true;
	assert_int_equal(export_body(m, &body, &err), PARE_OK);
	back = round_trip("body", body, &ask, 1e-5f);
	assert_int_equal(back->hp.head, HEAD_NONE);
	model_unref(back);
	model_unref(body);
	model_unref(m);
	free(path);
}

static const struct tensor *
slot_of(const struct model *m, int layer, enum slot s)
{
	return model_slot(m, (struct slot_ref){ layer, s });
}

/* Rows of 256 get the types by their names, shorter ones the next. */
static void
test_types(void **state)
{
	static const struct {
		enum gguf_want want;
		enum block_kind k256, k32;
	} rows[] = {
		{ GGUF_AS_Q4_0, BLOCK_Q4_0, BLOCK_Q4_0 },
		{ GGUF_AS_Q4_1, BLOCK_Q4_1, BLOCK_Q4_1 },
		{ GGUF_AS_Q5_0, BLOCK_Q5_0, BLOCK_Q5_0 },
		{ GGUF_AS_Q5_1, BLOCK_Q5_1, BLOCK_Q5_1 },
		{ GGUF_AS_Q8_0, BLOCK_Q8_0, BLOCK_Q8_0 },
		{ GGUF_AS_Q4_K, BLOCK_Q4_K, BLOCK_Q5_0 },
		{ GGUF_AS_Q5_K, BLOCK_Q5_K, BLOCK_Q5_1 },
		{ GGUF_AS_Q6_K, BLOCK_Q6_K, BLOCK_Q8_0 },
	};
	static const struct sample_model wide = { "wide",
	    "{\"model_type\":\"llama\",\"architectures\":"
	    "[\"LlamaForCausalLM\"],\"hidden_size\":256,"
	    "\"num_hidden_layers\":3,\"num_attention_heads\":4,"
	    "\"intermediate_size\":160,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"tie_word_embeddings\":true,"
	    "\"initializer_range\":0.06}" };
	struct model *m = sample_real(&wide), *back;
	char *path;
	struct export_ask ask = ask_for(EXPORT_GGUF, &path);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		ask.want = rows[i].want;
		back = round_trip(gguf_wants[ask.want], m, &ask, 0.5f);
		assert_int_equal(slot_of(back, 1, SLOT_Q_W)->code.block,
		    rows[i].k256);
		assert_int_equal(slot_of(back, -1, SLOT_WORD)->code.block,
		    rows[i].k256);
		assert_int_equal(slot_of(back, 1, SLOT_DOWN_W)->code.block,
		    rows[i].k32);
		assert_int_equal(slot_of(back, 1, SLOT_ANORM_W)->form,
		    FORM_F32);
		model_unref(back);
	}
	/* The embedding serves as output; v of every third layer. */
	ask.want = GGUF_MIXED;
	back = round_trip("mixed", m, &ask, 0.5f);
	assert_int_equal(slot_of(back, -1, SLOT_WORD)->code.block,
	    BLOCK_Q6_K);
	assert_int_equal(slot_of(back, 1, SLOT_V_W)->code.block, BLOCK_Q4_K);
	assert_int_equal(slot_of(back, 2, SLOT_V_W)->code.block, BLOCK_Q6_K);
	assert_int_equal(slot_of(back, 1, SLOT_UP_W)->code.block, BLOCK_Q4_K);
	model_unref(m);

	/* What is in blocks stays so, byte by byte. */
	ask.want = GGUF_KEEP;
	m = round_trip("kept", back, &ask, 0.0f);
	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		if (slot_of(m, 2, (enum slot)s) != NULL)
			assert_true(tensor_hash(slot_of(m, 2, (enum slot)s)) ==
			    tensor_hash(slot_of(back, 2, (enum slot)s)));
	model_unref(m);
	model_unref(back);
	free(path);
}

/* Columns that count more are rounded better. */
static const float *
weigh(void *ctx, struct slot_ref r, int64_t cols)
{
	static float w[256];

	for (int i = 0; i < 256; i++)
		w[i] = i % 32 < 4 ? 100.0f : 0.01f;
	return r.slot == SLOT_UP_W && cols == 256 ? w : NULL;
}

static double
column_error(const struct model *a, const struct model *b)
{
	const struct tensor *x = slot_of(a, 0, SLOT_UP_W);
	const struct tensor *y = slot_of(b, 0, SLOT_UP_W);
	double sum = 0.0;
	float u[256], v[256];

	for (int64_t r = 0; r < x->rows; r++) {
		tensor_decode(x, r, 1, u);
		tensor_decode(y, r, 1, v);
		for (int i = 0; i < 256; i++)
			if (i % 32 < 4)
				sum += (double)(u[i] - v[i]) *
				    (double)(u[i] - v[i]);
	}
	return sum;
}

static void
test_weights(void **state)
{
	static const struct sample_model wide = { "wide",
	    "{\"model_type\":\"llama\",\"architectures\":"
	    "[\"LlamaForCausalLM\"],\"hidden_size\":256,"
	    "\"num_hidden_layers\":1,\"num_attention_heads\":4,"
	    "\"intermediate_size\":64,\"vocab_size\":70,"
	    "\"max_position_embeddings\":24,\"initializer_range\":0.06}" };
	struct model *m = sample_real(&wide), *plain, *weighed;
	char *path;
	struct export_ask ask = ask_for(EXPORT_GGUF, &path);

	ask.want = GGUF_AS_Q4_K;
	plain = round_trip("plain", m, &ask, 0.5f);
	ask.weigh = weigh;
	weighed = round_trip("weighed", m, &ask, 0.5f);
	assert_true(column_error(m, weighed) < 0.8 * column_error(m, plain));
	assert_true(tensor_hash(slot_of(plain, 0, SLOT_DOWN_W)) ==
	    tensor_hash(slot_of(weighed, 0, SLOT_DOWN_W)));
	model_unref(plain);
	model_unref(weighed);
	model_unref(m);
	free(path);
}

/* Packed integers in the blocks that hold the same values. */
static void
test_exact_blocks(void **state)
{
	static const struct {
		enum quant_scheme scheme;
		int bits;
		int64_t group;
		int kind;	/* -1: none */
	} rows[] = {
		{ QUANT_SYMMETRIC, 1, 32, BLOCK_Q4_0 },
		{ QUANT_SYMMETRIC, 3, 64, BLOCK_Q4_0 },
		{ QUANT_SYMMETRIC, 4, 32, BLOCK_Q4_0 },
		{ QUANT_SYMMETRIC, 4, 0, BLOCK_Q4_0 },
		{ QUANT_SYMMETRIC, 5, 96, BLOCK_Q5_0 },
		{ QUANT_SYMMETRIC, 6, 32, BLOCK_Q8_0 },
		{ QUANT_SYMMETRIC, 8, 192, BLOCK_Q8_0 },
		{ QUANT_AFFINE, 2, 32, BLOCK_Q4_1 },
		{ QUANT_AFFINE, 4, 64, BLOCK_Q4_1 },
		{ QUANT_AFFINE, 5, 32, BLOCK_Q5_1 },
		{ QUANT_AFFINE, 8, 32, -1 },
		{ QUANT_SYMMETRIC, 4, 16, -1 },
		{ QUANT_KMEANS, 4, 32, -1 },
	};
	const struct transform_ctx ctx = { .seed = 3 };
	struct pare_err err = { 0 };
	struct tensor *f;
	struct rng rng;
	float *v;

	rng_seed(&rng, 4);
	f = tensor_new_f32(2, 7, 192, &v, &err);
	for (int i = 0; i < 7 * 192; i++)
		v[i] = 0.04f * rng_normal(&rng);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct quant_spec q = { rows[i].scheme, rows[i].bits,
			rows[i].group, 0 };
		struct tensor *t = tensor_quantize(f, &q, &ctx, &err), *b;
		float x[7 * 192], y[7 * 192];

		if (t == NULL)
			fail_msg("%s", err.msg);
		b = gguf_block_of(t, NULL);
		if (rows[i].kind < 0) {
			assert_null(b);
			tensor_unref(t);
			continue;
		}
		assert_non_null(b);
		assert_int_equal(b->code.block, rows[i].kind);
		tensor_decode(t, 0, 7, x);
		tensor_decode(b, 0, 7, y);
		for (int k = 0; k < 7 * 192; k++)
			if (x[k] != y[k])
				fail_msg("row %d: value %d is %.9g, not %.9g",
				    (int)i, k, (double)y[k], (double)x[k]);
		tensor_unref(t);
		tensor_unref(b);
	}
	tensor_unref(f);
}

static void
test_windows(void **state)
{
	static const struct sample_model windowed =
	    FAMILY("mistral", "MistralForCausalLM", ",\"sliding_window\":16");
	struct model *m = sample_real(&windowed), *back;
	char *path;
	struct export_ask ask = ask_for(EXPORT_GGUF, &path);

	back = round_trip("windows", m, &ask, 1e-4f);
	assert_int_equal(back->hp.positions, 16);
	model_unref(back);
	model_unref(m);
	free(path);
	ask = ask_for(EXPORT_HF, &path);
	m = sample_real(&windowed);
	back = round_trip("windows", m, &ask, 0.0f);
	assert_int_equal(back->layer[2].window, 16);
	model_unref(back);
	model_unref(m);
	free(path);
}

/* ---- GPTQ ---- */

static void
test_gptq(void **state)
{
	static const char *const ops[] = {
		"quantize L* bits=4 group=16 activations=float",
		"quantize L* bits=8 group=row activations=float",
		"quantize L*.ffn bits=4 group=8 activations=float",
		"quantize L*.attn bits=4 group=32 activations=float",
	};
	char *path;
	struct export_ask ask = ask_for(EXPORT_GPTQ, &path);

	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 4; i++) {
			struct model *m = sample_real(k == 0 ?
			    &sample_models[0] : &families[k == 1 ? 0 : 4]);
			struct model *q = sample_do(m, ops[i]), *back;
			enum slot s = i == 2 ? SLOT_UP_W : SLOT_V_W;

			back = round_trip(ops[i], q, &ask, 1e-5f);
			assert_int_equal(slot_of(back, 1, s)->form, FORM_INT);
			assert_int_equal(slot_of(back, 1, s)->code.bits,
			    i == 1 ? 8 : 4);
			model_unref(back);
			model_unref(q);
			model_unref(m);
		}
	free(path);
}

static void
test_gptq_refused(void **state)
{
	static const struct {
		int sample;
		const char *op, *word;
	} rows[] = {
		{ 0, NULL, "quantize L*" },
		{ 0, "quantize L* bits=4 group=16 scheme=affine", "symmetric" },
		{ 0, "quantize L1 bits=4 group=16", "all layers or none" },
		{ 0, "quantize L* bits=3 group=16", "4 or 8 bits" },
		{ 0, "quantize L*.v bits=8 group=16; quantize L*.k bits=4",
		    "one width" },
		{ 4, "quantize L* bits=4 group=8", "ALBERT" },
		{ 5, "quantize L* bits=4 group=16", "GPT-2" },
	};
	char *path;
	struct export_ask ask = ask_for(EXPORT_GPTQ, &path);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct model *m = sample_real(&sample_models[rows[i].sample]);
		char *ops = xstrdup(rows[i].op != NULL ? rows[i].op : "");
		char *save = NULL;

		for (char *op = strtok_r(ops, ";", &save); op != NULL;
		    op = strtok_r(NULL, ";", &save)) {
			struct model *next = sample_do(m, op);

			model_unref(m);
			m = next;
		}
		refuse(m, &ask, rows[i].word);
		free(ops);
		model_unref(m);
	}
	free(path);
}

/* What others may have written, or broken. */
static void
test_gptq_files(void **state)
{
	static const struct {
		const char *change, *word;	/* word NULL: it opens */
	} rows[] = {
		{ "none", NULL }, { "zeros", NULL }, { "order", NULL },
		{ "index", "g_idx" }, { "noscales", "scales" },
		{ "nozeros", "qzeros" }, { "shape", "qweight" },
		{ "bits", "3 bits" }, { "format", "checkpoint_format" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *c = rows[i].change;
		struct tiny_dir *t = tiny_dir_new("bert",
		    "ForSequenceClassification", "F32");
		const char *name = "bert.encoder.layer.0.intermediate.dense.";
		static int32_t words[2 * 24], zeros[2 * 3], index[16];
		static uint16_t scales[2 * 24];
		struct pare_err err = { 0 };
		struct model *m = NULL;
		char *full, *dir = io_join(root, "gptq");
		const struct {
			const char *name, *dtype;
			int ndim;
			int64_t dim[2];
			void *data;
			int64_t bytes;
		} part[4] = {
			{ "qweight", "I32", 2, { strcmp(c, "shape") == 0 ? 3 :
			    2, 24 }, words, sizeof(words) },
			{ "qzeros", "I32", 2, { 2, 3 }, zeros, sizeof(zeros) },
			{ "scales", "F16", 2, { 2, 24 }, scales,
			    sizeof(scales) },
			{ "g_idx", "I32", 1, { 16, 0 }, index, sizeof(index) },
		};

		json_object_set_new(t->config, "hidden_size",
		    json_integer(16));
		json_object_set_new(t->config, "num_attention_heads",
		    json_integer(4));
		json_object_set_new(t->config, "intermediate_size",
		    json_integer(24));
		tiny_dir_free(t);
		t = xcalloc(1, sizeof(*t));
		t->config = json_pack("{s:s,s:[s],s:i,s:i,s:i,s:i,s:i,s:i,"
		    "s:i}", "model_type", "bert", "architectures",
		    "BertForSequenceClassification", "hidden_size", 16,
		    "num_hidden_layers", 1, "num_attention_heads", 4,
		    "intermediate_size", 24, "vocab_size", 30,
		    "max_position_embeddings", 16, "type_vocab_size", 2);
		json_object_set_new(t->config, "quantization_config",
		    json_pack("{s:s,s:i,s:s}", "quant_method", "gptq", "bits",
		    strcmp(c, "bits") == 0 ? 3 : 4, "checkpoint_format",
		    strcmp(c, "format") == 0 ? "marlin" : "gptq"));
		{
			struct slot_ref r = SLOT_REF_START;
			struct arch_layout l;
			struct model *ghost;

			assert_int_equal(arch_read_config(t->config, "config",
			    &l, &err), PARE_OK);
			assert_int_equal(arch_ghost_model(&l, NULL, &ghost,
			    &err), PARE_OK);
			while (model_next_slot(ghost, &r)) {
				const struct tensor *g = model_slot(ghost, r);
				char slot[256];

				if (r.slot == SLOT_UP_W)
					continue;
				assert_true(arch_slot_name(&l, r, slot,
				    sizeof(slot)));
				tiny_add(t, slot, "F32", g->ndim, g->rows,
				    g->cols);
			}
			model_unref(ghost);
			arch_layout_free(&l);
		}
		for (int k = 0; k < 48; k++) {
			words[k] = (int32_t)(UINT32_C(0x9e3779b9) *
			    (uint32_t)(k + 1));
			scales[k] = half_from_float(0.01f * (float)(k + 1));
		}
		for (int k = 0; k < 6; k++)
			zeros[k] = strcmp(c, "zeros") == 0 ? 0x12345678 :
			    0x77777777;
		for (int k = 0; k < 16; k++)
			index[k] = strcmp(c, "order") == 0 ? k % 2 :
			    strcmp(c, "index") == 0 ? k : k / 8;
		for (int k = 0; k < 4; k++) {
			struct tiny_weight *w;

			if ((k == 2 && strcmp(c, "noscales") == 0) ||
			    (k == 1 && strcmp(c, "nozeros") == 0))
				continue;
			full = str_format("%s%s", name, part[k].name);
			w = tiny_add(t, full, part[k].dtype, part[k].ndim,
			    part[k].dim[0], part[k].ndim == 2 ?
			    part[k].dim[1] : part[k].dim[0]);
			memcpy(w->data, part[k].data, (size_t)(w->bytes <
			    part[k].bytes ? w->bytes : part[k].bytes));
			free(full);
		}
		tiny_remove(dir);
		tiny_dir_write(t, dir);
		if (rows[i].word != NULL) {
			assert_int_equal(file_open_model(dir, NULL, &m, NULL,
			    &err), PARE_EFORMAT);
			if (strstr(err.msg, rows[i].word) == NULL)
				fail_msg("%s: %s", c, err.msg);
		} else {
			const struct tensor *u;
			float v[24 * 16];

			if (file_open_model(dir, NULL, &m, NULL, &err) !=
			    PARE_OK)
				fail_msg("%s: %s", c, err.msg);
			u = slot_of(m, 0, SLOT_UP_W);
			assert_int_equal(u->form, i == 0 ? FORM_INT :
			    FORM_F32);
			tensor_decode(u, 0, 24, v);
			/* By the formula, for all of them. */
			for (int o = 0; o < 24; o++)
				for (int n = 0; n < 16; n++) {
					int q = (int)((uint32_t)words[n / 8 *
					    24 + o] >> (4 * (n % 8)) & 15);
					int g = index[n];
					int z = (int)((uint32_t)zeros[g * 3 +
					    o / 8] >> (4 * (o % 8)) & 15);
					float s = half_to_float(scales[g * 24 +
					    o]);

					assert_true(v[o * 16 + n] ==
					    (float)(q - ((z + 1) & 15)) * s);
				}
			model_unref(m);
		}
		tiny_dir_free(t);
		free(dir);
	}
}

/* ---- save ---- */

/* What pare saves of GPT-2 is plain as well: joined and turned. */
static void
test_save_parts(void **state)
{
	static const struct {
		const char *op;
		bool plain;
	} rows[] = { { NULL, true }, { "prune heads L1.h2", true },
		{ "prune layers L0", true }, { "quantize L1 bits=8", false },
		{ "share L0-1 method=layers", false },
		{ "prune attention L1", false } };
	char *dir = io_join(root, "saved"), *described, *text, *at;
	struct model *m = sample_real(&sample_models[5]), *k = NULL;
	struct pare_err err = { 0 };
	bool plain;
	size_t n;

	described = io_join(dir, "pare.json");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct model *p = rows[i].op != NULL ? sample_do(m,
		    rows[i].op) : model_ref(m);

		tiny_remove(dir);
		if (file_save_model(p, dir, NULL, false, NULL, &plain, NULL,
		    &err) != PARE_OK || file_open_model(dir, NULL, &k, NULL,
		    &err) != PARE_OK)
			fail_msg("%s", err.msg);
		assert_int_equal(plain, rows[i].plain);
		assert_true(model_hash(k) == model_hash(p));
		model_unref(k);
		unlink(described);
		if (plain) {
			if (file_open_model(dir, NULL, &k, NULL, &err) !=
			    PARE_OK)
				fail_msg("%s", err.msg);
			same_outputs("without pare.json", p, k, 0.0f);
			model_unref(k);
		}
		model_unref(p);
	}
	/* Parts that lie nowhere. */
	tiny_remove(dir);
	assert_int_equal(file_save_model(m, dir, NULL, false, NULL, &plain,
	    NULL, &err), PARE_OK);
	assert_int_equal(io_read(described, 1 << 20, &text, &n, &err),
	    PARE_OK);
	at = strstr(text, "\"first\":32");
	assert_non_null(at);
	memcpy(at, "\"first\":99", 10);
	tiny_put(dir, "pare.json", text, n);
	assert_int_equal(file_open_model(dir, NULL, &k, NULL, &err),
	    PARE_EFORMAT);
	assert_non_null(strstr(err.msg, "is no part of"));
	memcpy(at, "\"first\":32", 10);
	at = strstr(text, "attn.c_attn");
	memcpy(at, "attn.c_none", 11);
	tiny_put(dir, "pare.json", text, n);
	assert_int_equal(file_open_model(dir, NULL, &k, NULL, &err),
	    PARE_EFORMAT);
	free(text);
	free(described);
	free(dir);
	model_unref(m);
}

/* ---- places ---- */

static int
count_files(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	return n - 2;
}

static void
test_places(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct export_ask ask = { .format = EXPORT_GGUF };
	char *dir = io_join(root, "places"), *file, *deep;
	struct pare_err err = { 0 };
	struct export *x;

	assert_int_equal(io_make_dir(dir, NULL), PARE_OK);
	file = io_join(dir, "a.gguf");
	ask.path = file;
	/* Given up: nothing is left. */
	x = export_begin(m, &ask, NULL, &err);
	assert_non_null(x);
	assert_int_not_equal(access(file, F_OK), 0);
	export_abort(x);
	assert_int_equal(count_files(dir), 0);
	/* Folders that were made go again. */
	deep = io_join(dir, "b/c/d.gguf");
	ask.path = deep;
	x = export_begin(m, &ask, NULL, &err);
	assert_non_null(x);
	export_abort(x);
	assert_int_equal(count_files(dir), 0);
	/* What is there stays, unless force. */
	tiny_put_text(dir, "a.gguf", "mine");
	ask.path = file;
	assert_null(export_begin(m, &ask, NULL, &err));
	assert_non_null(strstr(err.hint, "force=on"));
	ask.force = true;
	x = export_begin(m, &ask, NULL, &err);
	assert_non_null(x);
	assert_int_equal(export_commit(x, &err), PARE_OK);
	assert_int_equal(count_files(dir), 1);
	/* A folder of other things is no place for a model. */
	ask = (struct export_ask){ .format = EXPORT_HF, .path = dir };
	assert_null(export_begin(m, &ask, NULL, &err));
	assert_int_equal(err.rc, PARE_EUSER);
	assert_int_equal(count_files(dir), 1);
	/* Names. */
	ask = (struct export_ask){ .format = EXPORT_GGUF, .path = dir };
	assert_null(export_begin(m, &ask, NULL, &err));
	assert_non_null(strstr(err.hint, ".gguf"));
	free(deep);
	free(file);
	free(dir);
	model_unref(m);
}

/* A stop before or between tensors leaves nothing. */
static void
test_cancel(void **state)
{
	struct model *m = sample_real(&sample_models[6]);
	char *dir = io_join(root, "stop");
	struct task task;

	atomic_init(&task.cancel, true);
	task.tick = NULL;
	task.ctx = NULL;
	for (int f = 0; f < EXPORT_FORMATS; f++) {
		char *path = io_join(dir, f == EXPORT_GGUF ? "m.gguf" : "m");
		struct export_ask ask = { .format = (enum export_format)f,
			.path = path };
		struct model *q = f == EXPORT_GPTQ ? sample_do(m,
		    "quantize L* bits=4 group=16") : model_ref(m);
		struct pare_err err = { 0 };

		assert_null(export_begin(q, &ask, &task, &err));
		assert_int_equal(err.rc, PARE_ECANCELED);
		assert_int_not_equal(access(dir, F_OK), 0);
		model_unref(q);
		free(path);
	}
	free(dir);
	model_unref(m);
}

/* ---- tokenizers ---- */

static const char *const texts[] = {
	"Once upon a time, there was a little girl named Lily.",
	"  spaces   and\ttabs\n\nlines ", "it's 12345 o'clock, I'd say!",
	"\xc3\xa9t\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 na\xc3\xafve",
	"", "x", "[MASK] <s> </s> <|endoftext|>",
};

static void
same_ids(const char *what, const struct tokenizer *a,
    const struct tokenizer *b)
{
	struct pare_err err = { 0 };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct tokens x, y;
		const size_t n = strlen(texts[i]);

		if (tokenizer_encode(a, texts[i], n, NULL, 0, 512, true, &x,
		    &err) != PARE_OK || tokenizer_encode(b, texts[i], n, NULL,
		    0, 512, true, &y, &err) != PARE_OK)
			fail_msg("%s: %s", what, err.msg);
		if (x.n != y.n || memcmp(x.id, y.id, (size_t)x.n *
		    sizeof(*x.id)) != 0)
			fail_msg("%s: other ids for '%s'", what, texts[i]);
		tokens_free(&x);
		tokens_free(&y);
	}
}

static void
check_tokenizer(const char *what, const struct tokenizer *t, const char *dir)
{
	struct tokenizer_file file[TOKENIZER_FILES];
	struct gguf_writer *w = gguf_writer_new();
	char *path = io_join(root, "words.gguf"), *folder;
	struct pare_err err = { 0 };
	struct tokenizer *back;
	int n;

	if (tokenizer_put_gguf(t, tokenizer_size(t) + 3, dir, w, &err) !=
	    PARE_OK || gguf_writer_write(w, path, NULL, NULL, &err) != PARE_OK)
		fail_msg("%s: %s", what, err.msg);
	gguf_writer_free(w);
	back = tokenizer_load(path, tokenizer_size(t) + 3, &err);
	if (back == NULL)
		fail_msg("%s: %s", what, err.msg);
	same_ids(what, t, back);
	/* And from there the files of a folder. */
	n = tokenizer_make_files(back, file);
	assert_true(n > 0);
	folder = io_join(root, "words");
	tiny_remove(folder);
	assert_int_equal(io_make_dir(folder, NULL), PARE_OK);
	for (int i = 0; i < n; i++)
		tiny_put(folder, file[i].name, file[i].data, file[i].n);
	tokenizer_files_free(file, n);
	tokenizer_free(back);
	back = tokenizer_load(folder, tokenizer_size(t) + 3, &err);
	if (back == NULL)
		fail_msg("%s: %s", what, err.msg);
	same_ids(what, t, back);
	tokenizer_free(back);
	free(folder);
	free(path);
}

static void
test_tokenizers(void **state)
{
	static const char *const names[] = { "real/models/stories260K",
		"real/tokenizers/gpt2", "real/tokenizers/bert-base-uncased" };
	const char *shared = getenv("PARE_SHARED");
	struct pare_err err = { 0 };

	for (int i = 0; i < 3; i++) {
		char *dir = io_join(shared != NULL ? shared : "../shared",
		    names[i]);
		struct tokenizer *t;

		if (access(dir, R_OK) != 0) {
			free(dir);
			skip();
		}
		t = tokenizer_load(dir, 0, &err);
		if (t == NULL)
			fail_msg("%s", err.msg);
		check_tokenizer(names[i], t, dir);
		/* Without the scores of tokenizer.model as well. */
		check_tokenizer(names[i], t, NULL);
		tokenizer_free(t);
		free(dir);
	}
}

static void
test_own_tokenizer(void **state)
{
	char *dir = tiny_model_dir(root, "bert", "ForSequenceClassification",
	    "F32");
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(dir, 30, &err);

	assert_non_null(t);
	check_tokenizer("vocab.txt", t, dir);
	tokenizer_free(t);
	free(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hf), cmocka_unit_test(test_whole_numbers),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_gguf),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_body), cmocka_unit_test(test_types),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_exact_blocks),
		cmocka_unit_test(test_windows), cmocka_unit_test(test_gptq),
		cmocka_unit_test(test_gptq_refused),
		cmocka_unit_test(test_gptq_files),
		cmocka_unit_test(test_save_parts),
		cmocka_unit_test(test_places), cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_tokenizers),
		cmocka_unit_test(test_own_tokenizer),
	};

	return cmocka_run_group_tests(tests, make_root, drop_root);
}
