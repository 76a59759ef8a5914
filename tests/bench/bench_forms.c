/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A pass of BERT-base in every storage form and after every kind of removal,
 * against our own float32 and against the rival, all in turn in every round.
 * Models come from the commands a user would type.
 */
#include "base/rng.h"
#include "bert.h"
#include "engine/engine.h"
#include "rival.h"
#if __has_include("tensor/cpu.h")
#include "tensor/kernel.h"
#define HAS_LEVELS 1
#endif

enum { LINES = 3, RIVALS = 2, MODELS = 20, PASSES = 3, TIMES = 64 };

/* What to make, and what is wanted of it; 0: nothing. */
struct row {
	const char *name;
	const char *line[LINES];
	const char *rival[RIVALS];	/* its names of the same */
	double rival_times;	/* wanted: the rival's time over ours, at 128
				 * tokens, batch 1 and 32 */
	double amx_times;	/* wanted instead where there is AMX */
	double own_times;	/* wanted: float32's time over this one's there */
	double one_rival, one_own;	/* the same at one token */
	bool levels;		/* also with lesser instructions */
	bool exact;		/* and with products of float32 alone */
};

static const struct row table[] = {
	{ .name = "float32", .rival = { "float32" }, .rival_times = 1.15,
	    .amx_times = 1.8, .levels = true, .exact = true },
	{ .name = "float16", .line = { "quantize all bits=16 float=f16" },
	    .rival = { "float16" }, .one_own = 1 },
	{ .name = "bfloat16", .line = { "quantize all bits=16 float=bf16" },
	    .rival = { "bfloat16" }, .amx_times = 2, .levels = true,
	    .exact = true },
	{ .name = "int8 and int8 activations",
	    .line = { "quantize all bits=8 activations=int8" },
	    .rival = { "int8", "int8-blocks" }, .rival_times = 1.3,
	    .amx_times = 2.5,
	    .levels = true },
	{ .name = "int8 and float activations",
	    .line = { "quantize all bits=8 activations=float" } },
	{ .name = "4 bits and int8 activations",
	    .line = { "quantize all bits=4 group=32 activations=int8" },
	    .rival = { "int4" }, .rival_times = 2, .amx_times = 4,
	    .one_rival = 1,
	    .levels = true },
	{ .name = "4 bits and float activations",
	    .line = { "quantize all bits=4 group=32 activations=float" } },
	{ .name = "3 bits and int8 activations",
	    .line = { "quantize all bits=3 group=64 activations=int8" },
	    .own_times = 2 },
	{ .name = "3 bits and float activations",
	    .line = { "quantize all bits=3 group=64 activations=float" } },
	{ .name = "2 bits and int8 activations",
	    .line = { "quantize all bits=2 group=32 activations=int8" },
	    .rival = { "int2" }, .own_times = 2 },
	{ .name = "2 bits and float activations",
	    .line = { "quantize all bits=2 group=32 activations=float" } },
	{ .name = "1 bit and int8 activations",
	    .line = { "quantize all bits=1 scheme=binary activations=int8" },
	    .own_times = 2 },
	{ .name = "1 bit and float activations",
	    .line = { "quantize all bits=1 scheme=binary activations=float" } },
	{ .name = "16 means and int8 activations",
	    .line = { "quantize all bits=4 scheme=kmeans activations=int8" },
	    .own_times = 2 },
	{ .name = "16 means and float activations",
	    .line = { "quantize all bits=4 scheme=kmeans activations=float" } },
	{ .name = "half the heads and neurons",
	    .line = { "prune heads 50%", "prune neurons 50%" },
	    .own_times = 1.8 },
	{ .name = "50 % free sparsity", .line = { "prune weights 50%" } },
	{ .name = "2:4 sparsity", .line = { "prune weights pattern=2:4" },
	    .own_times = 1 },
	{ .name = "90 % free sparsity", .line = { "prune weights 90%" },
	    .own_times = 1 },
	{ .name = "rank 128", .line = { "factorize L* rank=128" } },
};
_Static_assert(sizeof table / sizeof table[0] == MODELS, "rows");

struct shape {
	int nseq, length, rounds;
	bool one;		/* the wishes of one token are meant */
};

/* One row that could be made, with the times of the present shape. */
struct entry {
	const struct row *row;
	struct model *m;
	double ms[TIMES], rival[TIMES];	/* rival: its best; negative: none */
};

struct bench {
	struct bert bert;
	struct rival rival;
	struct engine *e;
	struct entry entry[MODELS];
	int n;			/* entry[0] is float32 */
	int32_t *ids;
};

static double
pass(struct bench *b, const struct model *m, const struct shape *s)
{
	int64_t start[65];
	float logits[128];
	struct batch batch = { s->nseq, start, b->ids, NULL };
	struct forward f = { .logits = logits };
	struct pare_err err;
	double began = bench_now();

	for (int i = 0; i <= s->nseq; i++)
		start[i] = (int64_t)i * s->length;
	if (engine_forward(b->e, m, &batch, &f, &err) != PARE_OK) {
		fprintf(stderr, "bench_forms: %s\n", err.msg);
		exit(1);
	}
	return 1e3 * (bench_now() - began);
}

/* ---- models ---- */

static bool
chosen(const char *name, int argc, char **argv)
{
	bool any = argc < 2;

	for (int i = 1; i < argc; i++)
		any |= strstr(name, argv[i]) != NULL;
	return any || name == table[0].name;
}

/* Runs the lines of a row, keeps the model, and goes back. A line that this
 * program does not know yet leaves the row out, with a word. */
static void
make_entry(struct bench *b, const struct row *row)
{
	struct entry *e = &b->entry[b->n];
	bool ok = true;

	for (int i = 0; i < LINES && row->line[i] != NULL && ok; i++)
		ok = bert_run_doc(&b->bert, true, NULL, row->line[i]) >= 0;
	if (ok) {
		e->row = row;
		e->m = model_ref((struct model *)session_model(b->bert.s));
		b->n++;
	} else {
		printf("left out: %s, for \"%s\" is refused\n", row->name,
		    row->line[0]);
	}
	if (row->line[0] != NULL)
		bert_run_doc(&b->bert, true, NULL, "goto 0");
}

/* ---- a shape ---- */

/* The best of what the rival has for a row. */
static double
ask_rival(struct bench *b, const struct row *row, const struct shape *s)
{
	double best = -1;

	for (int i = 0; i < RIVALS && row->rival[i] != NULL; i++) {
		double ms = rival_ask(&b->rival, "run %s %dx%d", row->rival[i],
		    s->nseq, s->length);

		if (ms >= 0 && (best < 0 || ms < best))
			best = ms;
	}
	return best;
}

static void
round_of(struct bench *b, const struct shape *s, int round)
{
	for (int i = 0; i < b->n; i++) {
		struct entry *e = &b->entry[i];

		e->rival[round] = ask_rival(b, e->row, s);
		e->ms[round] = pass(b, e->m, s);
	}
}

/* The ratios of n rounds as a figure. */
static void
print_ratio(const char *name, const double *above, const double *below, int n,
    double wanted)
{
	double ratio[TIMES];
	int used = 0;

	for (int i = 0; i < n; i++)
		if (above[i] >= 0)
			ratio[used++] = above[i] / below[i];
	bench_timed(name, ratio, used, 1, "x",
	    wanted > 0 ? BENCH_AT_LEAST : BENCH_NONE, wanted);
}

/* At 128 tokens. */
static double
wanted_of_rival(const struct row *row)
{
#ifdef HAS_LEVELS
	if (cpu_detected() >= CPU_AMX && row->amx_times > 0)
		return row->amx_times;
#endif
	return row->rival_times;
}

static void
print_entry(struct bench *b, int i, const struct shape *s, int n)
{
	struct entry *e = &b->entry[i];
	const struct row *row = e->row;
	char name[128];
	int stem = snprintf(name, sizeof name, "%s, %d x %d", row->name,
	    s->nseq, s->length);
	size_t left = sizeof name - (size_t)stem;
	double ms[TIMES];

	snprintf(name + stem, left, ": rival's time / ours");
	print_ratio(name, e->rival, e->ms, n,
	    s->one ? row->one_rival : wanted_of_rival(row));
	snprintf(name + stem, left, ": float32's time / its");
	if (i > 0)
		print_ratio(name, b->entry[0].ms, e->ms, n,
		    s->one ? row->one_own : row->own_times);
	memcpy(ms, e->ms, sizeof ms);
	name[stem] = '\0';
	bench_timed(name, ms, n, 1, "ms", BENCH_NONE, 0);
}

static void
measure(struct bench *b, const struct shape *s)
{
	int n = bench_rounds(s->rounds);

	n = n > TIMES ? TIMES : n;
	for (int i = 0; i < b->n; i++) {	/* warms up */
		ask_rival(b, b->entry[i].row, s);
		pass(b, b->entry[i].m, s);
	}
	for (int r = 0; r < n; r++)
		round_of(b, s, r);
	for (int i = 0; i < b->n; i++)
		print_entry(b, i, s, n);
}

/* ---- lesser processors ---- */

#ifdef HAS_LEVELS
/* One row at one level and precision, in turn with the same at all that is
 * there. */
static void
measure_level(struct bench *b, struct entry *e, enum cpu_level level,
    enum kernel_precision precision)
{
	const struct shape s = { 1, 128, 5, false };
	int n = bench_rounds(s.rounds);
	char name[128];

	n = n > TIMES ? TIMES : n;
	for (int r = 0; r < n; r++) {
		enum cpu_level before = cpu_limit(level);
		enum kernel_precision was = kernel_set_precision(precision);

		if (r == 0)
			pass(b, e->m, &s);
		e->ms[r] = pass(b, e->m, &s);
		cpu_limit(before);
		kernel_set_precision(was);
		e->rival[r] = pass(b, e->m, &s);
	}
	snprintf(name, sizeof name, "%s, 1 x 128: all instructions' time / %s "
	    "alone", e->row->name, precision == KERNEL_EXACT ? "exact" :
	    cpu_level_name(level));
	print_ratio(name, e->rival, e->ms, n, 0);
}

static void
measure_levels(struct bench *b)
{
	bench_fact("instructions", cpu_level_name(cpu_detected()));
	for (int i = 0; i < b->n; i++) {
		struct entry *e = &b->entry[i];

		for (int l = CPU_SCALAR; l < (int)cpu_detected() &&
		     e->row->levels; l++)
			measure_level(b, e, (enum cpu_level)l, KERNEL_FAST);
		if (e->row->exact)
			measure_level(b, e, cpu_detected(), KERNEL_EXACT);
	}
}
#else
static void
measure_levels(struct bench *b)
{
	(void)b;
}
#endif

/* usage: bench_forms [PART OF A NAME...] */
int
main(int argc, char **argv)
{
	static const struct shape shape[] = {
		{ 1, 128, 9, false }, { 32, 128, 3, false }, { 1, 1, 25, true }
	};
	struct bench b = { .e = engine_new() };
	bool ok = bert_open(&b.bert);

	b.ids = xcalloc(32 * 128, sizeof *b.ids);
	for (int i = 0; i < 32 * 128; i++)
		b.ids[i] = 1000 + i * 7919 % 20000;
	for (int i = 0; i < MODELS && ok; i++)
		if (chosen(table[i].name, argc, argv))
			make_entry(&b, &table[i]);
	if (ok)
		rival_start(&b.rival, "onnx_runtime.py", kernel_threads());
	for (int i = 0; i < 3 && ok; i++)
		measure(&b, &shape[i]);
	if (ok)
		measure_levels(&b);
	for (int i = 0; i < b.n; i++)
		model_unref(b.entry[i].m);
	rival_stop(&b.rival);
	engine_free(b.e);
	bert_close(&b.bert);
	free(b.ids);
	return !ok;
}
