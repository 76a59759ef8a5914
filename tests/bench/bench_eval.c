/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Evaluation of BERT-base on sentences of real lengths, as the commands answer:
 * float32 against a rival that pads each batch to its longest; after one head of
 * a layer changed; and of a state that was there before.
 */
#include "bert.h"
#include "rival.h"

enum { TIMES = 4 };	/* a layer has twelve heads to take */

struct bench {
	struct bert bert;
	struct rival rival;
	int head;		/* the next one that no state has removed */
};

/* Seconds of an evaluation after head h of layer l is gone; the state is the
 * original again afterwards. Every (l, h) is a state never seen before. */
static double
after_cut(struct bench *b, int l, int h)
{
	char line[64];
	double took;

	snprintf(line, sizeof line, "prune heads L%d.h%d", l, h);
	if (bert_run(&b->bert, line) < 0)
		return -1;
	took = bert_run(&b->bert, "eval");
	return bert_run(&b->bert, "undo") < 0 ? -1 : took;
}

/* ---- against the rival ---- */

static void
measure_lengths(struct bench *b)
{
	const char *source = getenv("PARE_SOURCE");
	double ours[TIMES], ratio[TIMES], sorted[TIMES];
	int n = bench_rounds(3), pairs = 0;
	int64_t tokens = b->bert.tokens;

	n = n > TIMES ? TIMES : n;
	for (int i = 0; i < n; i++) {
		double pads = rival_ask(&b->rival,
		    "run float32 lengths %s/tests/bench/lengths.txt",
		    source != NULL ? source : ".");
		double sorts = rival_ask(&b->rival,
		    "run float32 sorted %s/tests/bench/lengths.txt",
		    source != NULL ? source : ".");

		/* A change in layer 0 leaves nothing to recall. */
		ours[i] = after_cut(b, 0, b->head++);
		if (ours[i] < 0)
			exit(1);
		if (pads >= 0 && sorts >= 0) {
			ratio[pairs] = 1e-3 * pads / ours[i];
			sorted[pairs++] = 1e-3 * sorts / ours[i];
		}
	}
	bench_timed("evaluation, SST-2's lengths: padding rival's time / ours",
	    ratio, pairs, 1, "x", BENCH_AT_LEAST, 1.5);
	bench_timed("evaluation, SST-2's lengths: rival's time in order of "
	    "length / ours", sorted, pairs, 1, "x", BENCH_NONE, 0);
	for (int i = 0; i < n; i++)
		ours[i] = (double)tokens / ours[i];
	bench_timed("evaluation, SST-2's lengths", ours, n, 1, "token/s",
	    BENCH_NONE, 0);
}

/* ---- after a change ---- */

static void
measure_layers(struct bench *b)
{
	static const int layer[] = { 3, 6, 9, 11 };
	enum { LAYERS = sizeof layer / sizeof layer[0] };
	double share[LAYERS][TIMES];
	int n = bench_rounds(3);

	n = n > TIMES ? TIMES : n;
	for (int i = 0; i < n; i++) {
		double full = after_cut(b, 0, b->head++);

		for (int k = 0; k < LAYERS; k++) {
			double part = after_cut(b, layer[k], i);

			if (full < 0 || part < 0)
				exit(1);
			share[k][i] = part / full;
		}
	}
	for (int k = 0; k < LAYERS; k++) {
		double left = (BERT_LAYERS - layer[k]) / (double)BERT_LAYERS;
		char name[96];

		snprintf(name, sizeof name, "evaluation after a change in "
		    "layer %d of 12 / all", layer[k]);
		bench_timed(name, share[k], n, 1, "share", BENCH_AT_MOST,
		    left + 0.05);
	}
}

/* ---- states that were there ---- */

static void
measure_visited(struct bench *b)
{
	double eval[101], go[101];
	int n = 101;

	if (bert_run(&b->bert, "eval") < 0 || after_cut(b, 1, 0) < 0 ||
	    bert_run(&b->bert, "redo") < 0)
		exit(1);
	for (int i = 0; i < n; i++) {
		go[i] = bert_run(&b->bert, i % 2 ? "redo" : "goto 0");
		eval[i] = bert_run(&b->bert, "eval");
		if (go[i] < 0 || eval[i] < 0)
			exit(1);
	}
	bench_timed("evaluation of a visited state", eval, n, 1e3, "ms",
	    BENCH_AT_MOST, 1);
	bench_timed("going to a visited state", go, n, 1e3, "ms",
	    BENCH_AT_MOST, 1);
}

int
main(void)
{
	struct bench b = { .head = 0 };

	if (!bert_open(&b.bert) || !bert_load_data(&b.bert)) {
		bert_close(&b.bert);
		return 1;
	}
	rival_start(&b.rival, "onnx_runtime.py", kernel_threads());
	if (after_cut(&b, 0, b.head++) < 0)	/* warms up */
		return 1;
	measure_lengths(&b);
	rival_stop(&b.rival);
	measure_layers(&b);
	measure_visited(&b);
	bert_close(&b.bert);
	return 0;
}
