/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The float32 pass at BERT-base shapes against sgemm, measured in turn in the
 * same run: our products with the model's own weights against sgemm with them,
 * and the whole pass against the sgemm calls it is made of.
 */
#include <cblas.h>

#include "bert.h"
#include "engine/engine.h"

enum { SEQ = 128, MOST = 32, TIMES = 64, GROUPS = 4, MAPS = 6 };

struct bench {
	struct bert bert;
	const struct model *m;
	struct engine *e;
	float *x, *y;		/* for the bare products */
	void *scratch;
	int32_t *ids;
	float *hidden;
};

/* The maps of a layer that share their input. */
static const enum slot group[GROUPS][4] = {
	{ SLOT_Q_W, SLOT_K_W, SLOT_V_W, SLOT_COUNT },
	{ SLOT_O_W, SLOT_COUNT }, { SLOT_UP_W, SLOT_COUNT },
	{ SLOT_DOWN_W, SLOT_COUNT }
};

static void *
need(void *p)
{
	if (p == NULL) {
		fprintf(stderr, "bench_forward: out of memory\n");
		exit(1);
	}
	return p;
}

/* The maps of a group of layer l, and room for their outputs side by side. */
static int
list_maps(const struct bench *b, int l, int g, int64_t n,
    struct product p[MAPS])
{
	int count = 0;

	for (const enum slot *s = group[g]; *s != SLOT_COUNT; s++) {
		struct slot_ref ref = { .layer = l, .slot = *s };

		p[count] = (struct product){ .t = model_slot(b->m, ref),
			.y = b->y + count * n * BERT_HIDDEN };
		count++;
	}
	return count;
}

/* Seconds of all products of a pass over n tokens, attention's own left out. */
static double
time_products(struct bench *b, int n, bool ours)
{
	double began = bench_now();
	struct product p[MAPS];

	for (int l = 0; l < BERT_LAYERS; l++)
		for (int g = 0; g < GROUPS; g++) {
			int count = list_maps(b, l, g, n, p);

			if (ours)
				kernel_products(p, count, b->x, n, b->scratch);
			for (int i = 0; i < count && !ours; i++)
				cblas_sgemm(CblasRowMajor, CblasNoTrans,
				    CblasTrans, n, (int)p[i].t->rows,
				    (int)p[i].t->cols, 1, b->x,
				    (int)p[i].t->cols, tensor_f32(p[i].t),
				    (int)p[i].t->cols, 0, p[i].y,
				    (int)p[i].t->rows);
		}
	return bench_now() - began;
}

static size_t
most_scratch(struct bench *b, int64_t n)
{
	size_t most = 0;

	for (int g = 0; g < GROUPS; g++) {
		struct product p[MAPS];
		const struct tensor *t[MAPS];
		int count = list_maps(b, 0, g, n, p);
		size_t size;

		for (int i = 0; i < count; i++)
			t[i] = p[i].t;
		size = kernel_products_scratch(t, count, n);
		most = size > most ? size : most;
	}
	return most;
}

static double
forward(struct bench *b, int nseq, bool hidden)
{
	int64_t start[MOST + 1];
	float logits[2 * MOST];
	struct batch batch = { nseq, start, b->ids, NULL };
	struct forward f = { .logits = logits };
	struct pare_err err;
	double began = bench_now();

	for (int s = 0; s <= nseq; s++)
		start[s] = (int64_t)s * SEQ;
	f.hidden = hidden ? b->hidden : NULL;
	if (engine_forward(b->e, b->m, &batch, &f, &err) != PARE_OK) {
		fprintf(stderr, "bench_forward: %s\n", err.msg);
		exit(1);
	}
	return bench_now() - began;
}

struct times {
	double full[TIMES], logits[TIMES], gemm[TIMES], ours[TIMES];
	double pass_ratio[TIMES], ratio[TIMES];
};

static void
measure_rounds(struct bench *b, int nseq, int rounds, struct times *t)
{
	const int n = nseq * SEQ;

	forward(b, nseq, true);
	time_products(b, n, true);
	time_products(b, n, false);
	for (int i = 0; i < rounds; i++) {
		t->gemm[i] = time_products(b, n, false);
		t->full[i] = forward(b, nseq, true);
		t->ours[i] = time_products(b, n, true);
		t->logits[i] = forward(b, nseq, false);
		t->ratio[i] = t->gemm[i] / t->ours[i];
		t->pass_ratio[i] = t->gemm[i] / t->full[i];
	}
}

/* n seconds become rates of `each`. */
static void
as_rates(double *v, int n, double each)
{
	for (int i = 0; i < n; i++)
		v[i] = each / v[i];
}

static void
measure(struct bench *b, int nseq, int usual)
{
	struct times *t = need(malloc(sizeof *t));
	const double flop = 2e-9 * nseq * SEQ * BERT_LAYERS *
	    (4.0 * BERT_HIDDEN * BERT_HIDDEN + 2.0 * BERT_HIDDEN * BERT_FFN);
	int rounds = bench_rounds(usual);
	char name[96];

	rounds = rounds > TIMES ? TIMES : rounds;
	measure_rounds(b, nseq, rounds, t);
	snprintf(name, sizeof(name), "sgemm at the shapes of %d x %d", nseq,
	    SEQ);
	as_rates(t->gemm, rounds, flop);
	bench_timed(name, t->gemm, rounds, 1, "GFLOP/s", BENCH_NONE, 0);
	snprintf(name, sizeof(name), "products at the shapes of %d x %d", nseq,
	    SEQ);
	as_rates(t->ours, rounds, flop);
	bench_timed(name, t->ours, rounds, 1, "GFLOP/s", BENCH_NONE, 0);
	snprintf(name, sizeof(name), "products %d x %d of the sgemm rate",
	    nseq, SEQ);
	bench_timed(name, t->ratio, rounds, 1, "share", BENCH_AT_LEAST, 0.92);
	snprintf(name, sizeof(name), "forward %d x %d, hidden states", nseq,
	    SEQ);
	as_rates(t->full, rounds, nseq * SEQ);
	bench_timed(name, t->full, rounds, 1, "token/s", BENCH_NONE, 0);
	snprintf(name, sizeof(name), "forward %d x %d, logits", nseq, SEQ);
	as_rates(t->logits, rounds, nseq * SEQ);
	bench_timed(name, t->logits, rounds, 1, "token/s", BENCH_NONE, 0);
	snprintf(name, sizeof(name), "forward %d x %d of the sgemm rate", nseq,
	    SEQ);
	bench_timed(name, t->pass_ratio, rounds, 1, "share", BENCH_AT_LEAST,
	    0.7);
	free(t);
}

int
main(void)
{
	const size_t n = MOST * SEQ;
	struct bench b = { .e = engine_new() };
	bool ok = bert_open(&b.bert);

	if (ok) {
		b.m = session_model(b.bert.s);
		b.x = need(calloc(n * BERT_FFN, sizeof(float)));
		b.y = need(calloc(n * BERT_FFN, sizeof(float)));
		b.ids = need(calloc(n, sizeof(int32_t)));
		b.hidden = need(calloc(n * BERT_HIDDEN, sizeof(float)));
		b.scratch = need(aligned_alloc(64, (most_scratch(&b,
		    (int64_t)n) + 127) / 64 * 64));
		for (size_t i = 0; i < n; i++)
			b.ids[i] = (int32_t)(1000 + i * 7919 % 20000);
		for (size_t i = 0; i < n * BERT_FFN; i++)
			b.x[i] = (float)(i % 13) * 0.1f - 0.6f;
		measure(&b, MOST, 3);
		measure(&b, 1, 9);
		bench_figure("scratch after 32 x 128",
		    (double)engine_scratch(b.e) / 1048576, "MiB", BENCH_NONE,
		    0);
	}
	engine_free(b.e);
	bert_close(&b.bert);
	free(b.x);
	free(b.y);
	free(b.ids);
	free(b.hidden);
	free(b.scratch);
	return !ok;
}
