/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the machine allows, and how much of it a pass uses: arithmetic in
 * registers, reading from each level of memory, sgemm at the shapes of
 * BERT-base, and the parts of a pass (as `latency` measures them in place)
 * against the time that their arithmetic alone or the reading of their weights
 * alone would take.
 */
#include <cblas.h>
#include <math.h>
#include <omp.h>

#include "bert.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_X86 1
#include <immintrin.h>
#endif
#if defined(HAS_X86) && defined(__gnu_linux__) && !defined(__clang__) && \
    !defined(PARE_SANITIZED)
#define READ_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define READ_CLONES
#endif

enum { TIMES = 16, SUMS = 12 };

/* Rates of all threads, in 1e9 a second; 0: not there. */
struct limits {
	double fma, int8, bf16, memory;
};

static int rounds;

/* Seconds the calling thread had a processor: limits are those of the machine,
 * whoever else uses it. */
static double
thread_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- arithmetic in registers ---- */

#ifdef HAS_X86
/*
 * Twelve independent sums, so that neither the latency nor the count of units
 * decides. The asm keeps them in registers and unknown to the compiler; in an
 * array they would live in memory.
 */
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define SPIN(target_, type, zero, step) \
__attribute__((target(target_))) static void \
spin_##step(int64_t n) \
{ \
	type x = zero, y = zero, EACH(SPIN_NAME) end = zero; \
\
	for (int64_t k = 0; k < n; k++) { \
		EACH(SPIN_##step) \
	} \
	__asm__ volatile("" : : "v"(end)); \
}
#define SPIN_NAME(i) a##i = x,
#define SPIN_STEP(a, step) \
	a = step(a, x, y); \
	__asm__ volatile("" : "+v"(a));
#define SPIN_fma_256(i) SPIN_STEP(a##i, fma_256)
#define SPIN_fma_512(i) SPIN_STEP(a##i, fma_512)
#define SPIN_vnni_512(i) SPIN_STEP(a##i, vnni_512)
#define SPIN_bf16_512(i) SPIN_STEP(a##i, bf16_512)

#define fma_256(a, x, y) _mm256_fmadd_ps(x, y, a)
#define fma_512(a, x, y) _mm512_fmadd_ps(x, y, a)
#define vnni_512(a, x, y) _mm512_dpbusd_epi32(a, x, y)
#define bf16_512(a, x, y) _mm512_dpbf16_ps(a, (__m512bh)x, (__m512bh)y)
SPIN("avx2,fma", __m256, _mm256_setzero_ps(), fma_256)
SPIN("avx512f", __m512, _mm512_setzero_ps(), fma_512)
SPIN("avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), vnni_512)
SPIN("avx512f,avx512bf16", __m512, _mm512_setzero_ps(), bf16_512)

/* 1e9 operations a second of all threads; prints the figure. */
static double
measure_spin(const char *name, void (*spin)(int64_t), double operations)
{
	const int64_t n = 2000000;
	double rate[TIMES];

	for (int r = 0; r <= rounds; r++) {
		double sum = 0;

#pragma omp parallel num_threads(kernel_threads()) reduction(+ : sum)
		{
			double began = thread_time();

			spin(n);
			sum += (double)n * SUMS * operations * 1e-9 /
			    (thread_time() - began);
		}
		if (r > 0)
			rate[r - 1] = sum;
	}
	bench_timed(name, rate, rounds, 1, "GOP/s", BENCH_NONE, 0);
	return rate[rounds - 1];
}
#endif

static void
measure_arithmetic(struct limits *l)
{
#ifdef HAS_X86
	if (__builtin_cpu_supports("fma"))
		l->fma = measure_spin("float32 FMA in registers, 256 bits",
		    spin_fma_256, 16);
	if (__builtin_cpu_supports("avx512f"))
		l->fma = fmax(l->fma, measure_spin("float32 FMA in registers, "
		    "512 bits", spin_fma_512, 32));
	if (__builtin_cpu_supports("avx512vnni"))
		l->int8 = measure_spin("int8 VNNI in registers, 512 bits",
		    spin_vnni_512, 128);
	if (__builtin_cpu_supports("avx512bf16"))
		l->bf16 = measure_spin("bfloat16 products in registers, "
		    "512 bits", spin_bf16_512, 64);
#endif
}

/* ---- memory ---- */

/* Reads n words, n a multiple of 32, four wide sums at a time so that loads
 * alone decide. */
READ_CLONES static uint64_t
read_words(const uint64_t *p, int64_t n)
{
	typedef uint64_t wide __attribute__((vector_size(64)));
	const wide *q = (const wide *)(const void *)p;
	wide a = { 0 }, b = a, c = a, d = a;
	uint64_t sum = 0;

	for (int64_t i = 0; i < n / 8; i += 4) {
		a |= q[i];
		b |= q[i + 1];
		c |= q[i + 2];
		d |= q[i + 3];
	}
	a |= b | c | d;
	for (int k = 0; k < 8; k++)
		sum |= a[k];
	return sum;
}

/* Each thread its own part, so often; GB/s. */
static double
read_rate(const uint64_t *p, int64_t n, int repeat)
{
	uint64_t any = 0;
	double rate = 0;

#pragma omp parallel num_threads(kernel_threads()) \
    reduction(| : any) reduction(+ : rate)
	{
		int64_t part = n / omp_get_num_threads() / 32 * 32;
		const uint64_t *q = p + part * omp_get_thread_num();
		double began = thread_time();

		for (int k = 0; k < repeat; k++) {
			any |= read_words(q, part);
			__asm__ volatile("" : : : "memory");
		}
		rate += (double)part * 8 * repeat * 1e-9 /
		    (thread_time() - began);
	}
	if (any != 1)
		printf("not what was written\n");
	return rate;
}

static void
measure_memory(struct limits *l)
{
	static const struct {
		const char *name;
		int64_t kib;	/* of all threads */
	} level[] = { { "read from L2, 256 KiB a thread", 256 },
		{ "read from L3, 6 MiB a thread", 6144 },
		{ "read from memory, 256 MiB a thread", 262144 } };
	int64_t most = level[2].kib * 128 * kernel_threads();
	uint64_t *p = aligned_alloc(64, (size_t)most * sizeof *p);
	double rate[TIMES];

	if (p == NULL)
		return;
#pragma omp parallel for num_threads(kernel_threads())
	for (int64_t i = 0; i < most; i++)
		p[i] = 1;
	for (int i = 0; i < 3; i++) {
		int64_t n = level[i].kib * 128 * kernel_threads();
		int repeat = (int)(most / n);

		for (int r = 0; r < rounds; r++)
			rate[r] = read_rate(p, n, repeat);
		bench_timed(level[i].name, rate, rounds, 1, "GB/s",
		    BENCH_NONE, 0);
		l->memory = rate[rounds / 2];
	}
	free(p);
}

/* ---- sgemm ---- */

/* GFLOP of the products of a pass over n tokens, attention's not counted. */
static double
product_flop(double n)
{
	return 2e-9 * n * BERT_LAYERS * (4.0 * BERT_HIDDEN * BERT_HIDDEN +
	    2.0 * BERT_HIDDEN * BERT_FFN);
}

static void
sgemm(int n, int rows, int cols, const float *x, const float *w, float *y)
{
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, rows, cols, 1,
	    x, cols, w, cols, 0, y, rows);
}

static void
measure_sgemm(int n)
{
	size_t x_size = (size_t)n * BERT_FFN;
	size_t w_size = (size_t)BERT_FFN * BERT_HIDDEN;
	float *x = xcalloc(2 * x_size + w_size, sizeof *x);
	float *w = x + x_size, *y = w + w_size;
	double rate[TIMES];
	char name[64];

	for (size_t i = 0; i < x_size + w_size; i++)
		x[i] = 0.01f * (float)(i % 19);
	for (int r = 0; r <= rounds; r++) {
		double began = bench_now();

		for (int i = 0; i < 4; i++)
			sgemm(n, BERT_HIDDEN, BERT_HIDDEN, x, w, y);
		sgemm(n, BERT_FFN, BERT_HIDDEN, x, w, y);
		sgemm(n, BERT_HIDDEN, BERT_FFN, x, w, y);
		if (r > 0)
			rate[r - 1] = product_flop(n) / BERT_LAYERS /
			    (bench_now() - began);
	}
	snprintf(name, sizeof name, "sgemm at a layer's shapes, %d tokens", n);
	bench_timed(name, rate, rounds, 1, "GFLOP/s", BENCH_NONE, 0);
	free(x);
}

/* ---- the parts of a pass ---- */

static const char *const part_name[] = { "embed_ms", "attention_ms", "ffn_ms",
	"norm_ms", "head_ms" };
static const char *const part_title[] = { "embedding", "attention", "FFN",
	"norms", "head" };
enum { PARTS = 5 };

/* GFLOP and weights that the products of a part take. */
static double
part_flop(int part, double n)
{
	double h = BERT_HIDDEN;

	if (part == 1)
		return 2e-9 * n * BERT_LAYERS * 4 * h * h;
	return part == 2 ? 2e-9 * n * BERT_LAYERS * 2 * h * BERT_FFN : 0;
}

struct profile {
	const char *name, *line;
	double bytes;		/* of a weight */
	int kind;		/* of arithmetic: 0 float32, 1 int8, 2 bfloat16 */
};

static double
rate_of(const struct limits *l, int kind)
{
	return kind == 1 ? l->int8 : kind == 2 ? l->bf16 : l->fma;
}

static void
print_parts(const struct profile *s, const struct limits *l, json_t *doc,
    int batch, int seq)
{
	json_t *parts = json_object_get(doc, "breakdown");
	char name[128];
	int stem = snprintf(name, sizeof name, "profile, %s, %d x %d: ",
	    s->name, batch, seq);
	size_t left = sizeof name - (size_t)stem;
	double whole = json_number_value(json_object_get(parts, "whole_ms"));

	if (parts == NULL) {
		printf("no parts of a pass: `latency` does not tell them\n");
		return;
	}
	for (int i = 0; i < PARTS; i++) {
		double ms = json_number_value(json_object_get(parts,
		    part_name[i]));
		double flop = part_flop(i, batch * seq);
		double arithmetic = 1e3 * flop / rate_of(l, s->kind);
		double memory = 1e3 * flop / (2.0 * batch * seq) * s->bytes /
		    l->memory;

		snprintf(name + stem, left, "%s", part_title[i]);
		bench_figure(name, ms, "ms", BENCH_NONE, 0);
		snprintf(name + stem, left, "%s of the whole", part_title[i]);
		bench_figure(name, ms / whole, "share", BENCH_NONE, 0);
		if (flop <= 0 || !(rate_of(l, s->kind) > 0))
			continue;
		snprintf(name + stem, left, "%s, limit of %s / its time",
		    part_title[i], arithmetic > memory ? "arithmetic" :
		    "memory");
		bench_figure(name, fmax(arithmetic, memory) / ms, "share",
		    BENCH_NONE, 0);
	}
}

static void
measure_parts(struct bert *b, const struct profile *s, const struct limits *l)
{
	static const int shape[][2] = { { 1, 128 }, { 32, 128 }, { 1, 1 } };

	if (s->line != NULL && bert_run_doc(b, true, NULL, s->line) < 0) {
		printf("left out: profile of %s, for \"%s\" is refused\n",
		    s->name, s->line);
		return;
	}
	for (int i = 0; i < 3; i++) {
		char line[96];
		json_t *doc = NULL;

		snprintf(line, sizeof line, "latency batch=%d seq=%d runs=%d "
		    "fresh=on", shape[i][0], shape[i][1],
		    shape[i][0] > 1 ? 3 : 20);
		if (bert_run_doc(b, false, &doc, line) >= 0)
			print_parts(s, l, doc, shape[i][0], shape[i][1]);
		json_decref(doc);
	}
	bert_run_doc(b, true, NULL, "goto 0");
}

int
main(void)
{
	static const struct profile state[] = {
		{ "float32", NULL, 4, 0 },
		{ "bfloat16", "quantize all bits=16 float=bf16", 2, 0 },
		{ "int8", "quantize all bits=8 activations=int8", 1, 1 },
		{ "4 bits", "quantize all bits=4 group=32 activations=int8",
		    0.5625, 1 },
	};
	struct limits l = { 0 };
	struct bert b;
	bool ok;

	rounds = bench_rounds(7);
	rounds = rounds > TIMES ? TIMES : rounds;
	measure_arithmetic(&l);
	measure_memory(&l);
	measure_sgemm(128);
	measure_sgemm(4096);
	ok = bert_open(&b);
	for (int i = 0; i < 4 && ok; i++)
		measure_parts(&b, &state[i], &l);
	bert_close(&b);
	return !ok;
}
