/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A Llama-shaped model of 0.13 G random parameters (12 layers of 768, FFN 2048,
 * 32,000 words) that writes: prompt and decode tokens a second, resident memory,
 * and what share of the memory's speed decoding reaches. One process a form, so
 * that each holds its own model alone. Where PARE_RIVAL has llama.cpp it decodes
 * in turn, after the same prompt.
 *
 * BENCH_FORMS, a list with commas, chooses forms.
 */
#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "bench.h"
#include "file/file.h"
#include "measure/latency_decode.h"
#include "model/arch.h"
#include "model/edit.h"
#include "rival.h"
#include "tensor/block.h"
#include "tensor/kernel.h"
#include "tensor/transform.h"

enum { PROMPT = 128, TOKENS = 32 };

static const char config[] = "{\"model_type\":\"llama\",\"architectures\":"
    "[\"LlamaForCausalLM\"],\"hidden_size\":768,\"num_hidden_layers\":12,"
    "\"num_attention_heads\":12,\"num_key_value_heads\":12,"
    "\"intermediate_size\":2048,\"vocab_size\":32000,"
    "\"max_position_embeddings\":1024,\"rms_norm_eps\":1e-5,"
    "\"rope_theta\":10000.0,\"initializer_range\":0.02}";

enum kind { PLAIN, CAST, CODES, BLOCKS };

static const struct form {
	const char *name;
	enum kind kind;
	enum form_kind cast;
	int bits, group, act;
	enum block_kind block;
	double rival;		/* decode tokens/s of llama.cpp elsewhere: the
				 * limit where there is no rival to ask; 0: the
				 * rival has no such form */
} forms[] = {
	{ .name = "F32", .kind = PLAIN, .rival = 55 },
	{ .name = "F16", .kind = CAST, .cast = FORM_F16, .rival = 83 },
	{ .name = "BF16", .kind = CAST, .cast = FORM_BF16, .rival = 94 },
	{ .name = "int8", .kind = CODES, .bits = 8, .act = 8 },
	{ .name = "int4 g32", .kind = CODES, .bits = 4, .group = 32,
	    .act = 8 },
	{ .name = "Q8_0", .kind = BLOCKS, .block = BLOCK_Q8_0, .rival = 305 },
	{ .name = "Q4_0", .kind = BLOCKS, .block = BLOCK_Q4_0, .rival = 439 },
	{ .name = "Q4_K", .kind = BLOCKS, .block = BLOCK_Q4_K, .rival = 329 },
};

static void
give_up(const char *what)
{
	fprintf(stderr, "bench_decode: %s\n", what);
	exit(1);
}

/* ---- the model ---- */

static struct tensor *
random_floats(const struct tensor *ghost, uint64_t seed)
{
	const int64_t n = ghost->rows * ghost->cols;
	struct rng r;
	float *v;
	struct tensor *t = tensor_new_f32(ghost->ndim, ghost->rows,
	    ghost->cols, &v, NULL);

	if (t == NULL)
		give_up("out of memory");
	rng_seed(&r, seed);
	for (int64_t i = 0; i < n; i++)
		v[i] = 0.07f * ((float)rng_uniform(&r) - 0.5f);
	return t;
}

/* Blocks of random codes; scales, which stand first, are small halves. */
static struct tensor *
random_blocks(const struct tensor *ghost, enum block_kind kind, uint64_t seed)
{
	const struct block_facts *f = &block_table[kind];
	const int64_t n = ghost->rows * ghost->cols / f->values;
	const size_t bytes = (size_t)(n * f->bytes);
	uint8_t *p = mem_big(bytes, 1, NULL);
	struct tensor facts = { .form = FORM_BLOCK, .values = FORM_BLOCK,
		.ndim = 2, .rows = ghost->rows, .cols = ghost->cols,
		.code.block = (uint8_t)kind, .code.act = 8,
		.stored = ghost->rows * ghost->cols, .nonzero = -1 };
	struct part parts[PART_COUNT] = { 0 };
	struct pare_err err = { 0 };
	struct tensor *t;
	struct rng r;

	if (p == NULL)
		give_up("out of memory");
	rng_seed(&r, seed);
	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t x = rng_next(&r);

		memcpy(p + i, &x, 8);
	}
	for (int64_t i = 0; i < n; i++)
		for (int k = 0; k < (kind == BLOCK_Q4_K ? 2 : 1); k++) {
			p[i * f->bytes + 2 * k] = 0;
			p[i * f->bytes + 2 * k + 1] = 0x10;
		}
	parts[PART_DATA] = (struct part){ blob_heap(p, bytes), p, bytes };
	t = tensor_new(&facts, parts, NULL, &err);
	if (t == NULL)
		give_up(err.msg);
	return t;
}

static struct tensor *
random_tensor(const struct tensor *ghost, enum slot s, const struct form *f,
    uint64_t seed)
{
	const struct transform_ctx ctx = { .seed = seed };
	const struct quant_spec spec = { .scheme = QUANT_SYMMETRIC,
		.bits = f->bits, .act = f->act,
		.group = f->group > 0 ? f->group : ghost->cols };
	struct pare_err err = { 0 };
	struct tensor *t, *out;

	if (slot_table[s].matrix && f->kind == BLOCKS)
		return random_blocks(ghost, f->block, seed);
	t = random_floats(ghost, seed);
	if (f->kind == PLAIN || !slot_table[s].matrix)
		return t;
	out = f->kind == CAST ? tensor_cast(t, f->cast, &ctx, &err) :
	    tensor_quantize(t, &spec, &ctx, &err);
	if (out == NULL)
		give_up(err.msg);
	tensor_unref(t);
	return out;
}

static struct model *
random_model(const struct form *f)
{
	struct slot_ref ref = SLOT_REF_START;
	struct arch_layout layout;
	struct pare_err err = { 0 };
	struct model *ghost, *m = NULL;
	json_t *c = json_parse(config, strlen(config), 0, "config", &err);
	struct edit *e;
	uint64_t seed = 1;

	if (c == NULL || arch_read_config(c, "config", &layout, &err) !=
	    PARE_OK || arch_ghost_model(&layout, origin_new(), &ghost, &err) !=
	    PARE_OK)
		give_up(err.msg);
	e = edit_begin(ghost, EDIT_REAL, 1, NULL);
	while (model_next_slot(ghost, &ref))
		edit_set(e, ref, random_tensor(model_slot(ghost, ref),
		    ref.slot, f, seed++));
	if (edit_commit(e, &m, &err) != PARE_OK)
		give_up(err.msg);
	model_unref(ghost);
	arch_layout_free(&layout);
	json_decref(c);
	return m;
}

/* ---- the memory's own speed ---- */

/* What a token reads: all matrices but the embedding, of which it takes a row. */
static double
token_bytes(const struct model *m)
{
	struct slot_ref ref = SLOT_REF_START;
	double sum = 0;

	while (model_next_slot(m, &ref))
		if (ref.slot != SLOT_WORD)
			sum += (double)tensor_bytes(model_slot(m, ref));
	return sum;
}

static uint64_t
read_part(const struct part *p)
{
	const uint64_t *w = p->p;
	const size_t n = p->n / 8;
	uint64_t sum = 0;

#pragma omp parallel for simd reduction(+ : sum) schedule(static) \
    num_threads(kernel_threads())
	for (size_t i = 0; i < n; i++)
		sum += w[i];
	return sum;
}

/* Seconds in which all threads read what a token needs, and no more. */
static double
read_all(const struct model *m)
{
	static volatile uint64_t sink;
	struct slot_ref ref = SLOT_REF_START;
	double began = bench_now();

	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);

		for (int k = 0; k < PART_COUNT && ref.slot != SLOT_WORD; k++)
			if (t->part[k].p != NULL && t->part[k].n > 1 << 12)
				sink = sink + read_part(&t->part[k]);
	}
	return bench_now() - began;
}

/* ---- measuring ---- */

static double
resident_mib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, resident = 0;

	if (f == NULL || fscanf(f, "%ld %ld", &size, &resident) != 2)
		resident = 0;
	if (f != NULL)
		fclose(f);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void
figure(const struct form *f, const char *what, double *v, int n,
    const char *unit, double limit)
{
	char name[96];

	snprintf(name, sizeof name, "0.13 G decoder in %s: %s", f->name, what);
	bench_timed(name, v, n, 1, unit, limit > 0 ? BENCH_AT_LEAST :
	    BENCH_NONE, limit);
}

/* One of n rounds; the rival's rates are negative without one. */
struct round {
	double prompt, decode, share, rival_prompt, rival_decode;
};

static void
run_round(const struct form *f, const struct model *m, struct rival *r,
    struct round *out)
{
	struct decode_options o = { .prompt = PROMPT, .tokens = TOKENS,
		.runs = 1, .seed = 1 };
	struct decode_latency l;
	struct pare_err err = { 0 };
	double took = read_all(m);

	if (decode_latency_run(m, NULL, &o, &l, NULL, &err) != PARE_OK)
		give_up(err.msg);
	took = fmin(took, read_all(m));
	out->prompt = 1e3 * PROMPT / l.first_p50_ms;
	out->decode = 1e3 / l.p50_ms;
	out->share = took / (1e-3 * l.p50_ms);
	out->rival_prompt = out->rival_decode = -1;
	if (f->rival > 0 && r->to != NULL) {
		out->rival_prompt = rival_ask(r, "prompt %s %d", f->name,
		    PROMPT);
		out->rival_decode = rival_ask(r, "decode %s %d %d", f->name,
		    PROMPT, TOKENS);
	}
}

/* A figure of what each round gives, where it gives something. */
static void
figure_of(const struct form *f, const char *what, const struct round *r, int n,
    double (*get)(const struct round *), const char *unit, double limit)
{
	double v[BENCH_MOST];

	for (int i = 0; i < n; i++)
		if (!((v[i] = get(&r[i])) > 0))
			return;
	figure(f, what, v, n, unit, limit);
}

static double get_prompt(const struct round *r) { return r->prompt; }
static double get_decode(const struct round *r) { return r->decode; }
static double get_share(const struct round *r) { return r->share; }
static double
get_rival_decode(const struct round *r)
{
	return r->rival_decode;
}
static double
get_prompt_ratio(const struct round *r)
{
	return r->prompt / r->rival_prompt;
}
static double
get_decode_ratio(const struct round *r)
{
	return r->decode / r->rival_decode;
}

static void
measure(const struct form *f, struct rival *rival)
{
	struct model *m = random_model(f);
	const double bytes = token_bytes(m);
	struct round r[BENCH_MOST];
	const int n = bench_rounds(7);
	double memory, theirs;

	for (int i = 0; i < n; i++) {
		run_round(f, m, rival, &r[i]);
		if (i == 0)
			memory = resident_mib();
	}
	figure_of(f, "prompt of 128", r, n, get_prompt, "token/s", 0);
	figure_of(f, "decode", r, n, get_decode, "token/s",
	    r[0].rival_decode > 0 ? 0 : f->rival);
	figure_of(f, "decode of the time that reading takes", r, n, get_share,
	    "share", 0);
	figure_of(f, "prompt, of the rival's rate", r, n, get_prompt_ratio,
	    "x", 1);
	figure_of(f, "decode of the rival", r, n, get_rival_decode, "token/s",
	    0);
	figure_of(f, "decode, of the rival's rate", r, n, get_decode_ratio,
	    "x", 1);
	figure(f, "bytes of a token", &(double){ bytes / (1 << 20) }, 1, "MiB",
	    0);
	figure(f, "resident", &memory, 1, "MiB", 0);
	if ((theirs = f->rival > 0 ? rival_ask(rival, "memory %s", f->name) :
	    -1) > 0)
		figure(f, "resident, the rival", &theirs, 1, "MiB", 0);
	model_unref(m);
}

static bool
is_chosen(const char *name)
{
	const char *list = getenv("BENCH_FORMS"), *at;
	const size_t n = strlen(name);

	for (; list != NULL && *list != '\0'; list = at + (*at == ',')) {
		at = list + strcspn(list, ",");
		if ((size_t)(at - list) == n && memcmp(list, name, n) == 0)
			return true;
	}
	return getenv("BENCH_FORMS") == NULL;
}

int
main(void)
{
	struct rival rival;

	rival_start(&rival, "llama_cpp.py", kernel_threads());
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		int status = 0;
		pid_t pid;

		if (!is_chosen(forms[i].name))
			continue;
		fflush(stdout);
		if ((pid = fork()) == 0) {
			measure(&forms[i], &rival);
			fflush(stdout);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			return 1;
	}
	rival_stop(&rival);
	return 0;
}
