/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The forward pass at BERT-base shapes against the sgemm calls it is made of,
 * measured in turn in the same run.
 */
#include <cblas.h>
#include <string.h>

#include "bench.h"

#include "base/json.h"
#include "engine/engine.h"
#include "file/file.h"
#include "model/arch.h"
#include "tensor/kernel.h"

enum { HIDDEN = 768, FFN = 3072, LAYERS = 12, SEQ = 128, RUNS = 3 };

static const char config[] = "{\"architectures\": "
    "[\"BertForSequenceClassification\"], \"model_type\": \"bert\", "
    "\"vocab_size\": 30522, \"hidden_size\": 768, "
    "\"num_hidden_layers\": 12, \"num_attention_heads\": 12, "
    "\"intermediate_size\": 3072, \"hidden_act\": \"gelu\", "
    "\"max_position_embeddings\": 512, \"type_vocab_size\": 2}";

static void
give_up(const struct pare_err *err)
{
	fprintf(stderr, "bench_forward: %s\n", err->msg);
	exit(1);
}

static struct model *
random_bert(void)
{
	struct pare_err err;
	struct arch_layout layout;
	struct model *ghost = NULL, *m = NULL;
	json_t *c = json_parse(config, strlen(config), 0, "config", &err);

	if (!c || arch_read_config(c, "config", &layout, &err) != PARE_OK ||
	    arch_ghost_model(&layout, origin_new(), &ghost, &err) != PARE_OK ||
	    file_random_model(ghost, 1, &m, &err) != PARE_OK)
		give_up(&err);
	model_unref(ghost);
	arch_layout_free(&layout);
	json_decref(c);
	return m;
}

/* Seconds of all products of one pass over n tokens, attention's not counted:
 * four of hidden x hidden and two of hidden x ffn a layer. */
static double
products(int n, const float *x, const float *w, float *y)
{
	double begin = bench_now();

	for (int l = 0; l < LAYERS; l++) {
		for (int i = 0; i < 4; i++)
			cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n,
			    HIDDEN, HIDDEN, 1, x, HIDDEN, w, HIDDEN, 0, y,
			    HIDDEN);
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, FFN,
		    HIDDEN, 1, x, HIDDEN, w, HIDDEN, 0, y, FFN);
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, HIDDEN,
		    FFN, 1, x, FFN, w, FFN, 0, y, HIDDEN);
	}
	return bench_now() - begin;
}

struct bench {
	struct model *m;
	struct engine *e;
	float *x, *w, *y;	/* for the bare products */
	int32_t *ids;
	float *hidden;
};

static double
forward(struct bench *k, int nseq, bool hidden)
{
	int64_t start[33];
	float logits[64];
	struct batch b = { nseq, start, k->ids, NULL };
	struct forward f = { .logits = logits };
	struct pare_err err;
	double begin = bench_now();

	for (int s = 0; s <= nseq; s++)
		start[s] = (int64_t)s * SEQ;
	f.hidden = hidden ? k->hidden : NULL;
	if (engine_forward(k->e, k->m, &b, &f, &err) != PARE_OK)
		give_up(&err);
	return bench_now() - begin;
}

static void
measure(struct bench *k, int nseq, double wanted)
{
	const int n = nseq * SEQ;
	double full[RUNS], ratio[RUNS], logits[RUNS], gemm[RUNS];
	const double flop = 2.0 * n * LAYERS *
	    (4.0 * HIDDEN * HIDDEN + 2.0 * HIDDEN * FFN);
	char name[96];

	forward(k, nseq, true);
	products(n, k->x, k->w, k->y);
	for (int i = 0; i < RUNS; i++) {
		gemm[i] = products(n, k->x, k->w, k->y);
		full[i] = forward(k, nseq, true);
		logits[i] = forward(k, nseq, false);
		ratio[i] = gemm[i] / full[i];
	}
	snprintf(name, sizeof(name), "sgemm at the shapes of %d x %d", nseq,
	    SEQ);
	bench_figure(name, flop / bench_median(gemm, RUNS) / 1e9, "GFLOP/s",
	    BENCH_NONE, 0);
	snprintf(name, sizeof(name), "forward %d x %d, hidden states", nseq,
	    SEQ);
	bench_figure(name, n / bench_median(full, RUNS), "token/s", BENCH_NONE,
	    0);
	snprintf(name, sizeof(name), "forward %d x %d, logits", nseq, SEQ);
	bench_figure(name, n / bench_median(logits, RUNS), "token/s",
	    BENCH_NONE, 0);
	snprintf(name, sizeof(name), "forward %d x %d of the sgemm rate", nseq,
	    SEQ);
	bench_figure(name, bench_median(ratio, RUNS), "share",
	    BENCH_AT_LEAST, wanted);
}

int
main(void)
{
	const size_t n = 32 * SEQ;
	struct bench k = {
		.m = random_bert(), .e = engine_new(),
		.x = calloc(n * FFN, sizeof(float)),
		.w = calloc((size_t)HIDDEN * FFN, sizeof(float)),
		.y = calloc(n * FFN, sizeof(float)),
		.ids = calloc(n, sizeof(int32_t)),
		.hidden = calloc(n * HIDDEN, sizeof(float))
	};

	for (size_t i = 0; i < n; i++)
		k.ids[i] = (int32_t)(1000 + i * 7919 % 20000);
	for (size_t i = 0; i < n * FFN; i++)
		k.x[i] = (float)(i % 13) * 0.1f - 0.6f;
	for (size_t i = 0; i < (size_t)HIDDEN * FFN; i++)
		k.w[i] = (float)(i % 11) * 0.01f - 0.05f;
	measure(&k, 32, 0.7);
	measure(&k, 1, 0.7);
	bench_figure("scratch after 32 x 128",
	    (double)engine_scratch(k.e) / 1048576, "MiB", BENCH_NONE, 0);
	engine_free(k.e);
	model_unref(k.m);
	free(k.x);
	free(k.w);
	free(k.y);
	free(k.ids);
	free(k.hidden);
	return 0;
}
