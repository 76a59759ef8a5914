/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bench_session: the commands of a session on a model of BERT-base size (110 M
 * random weights): undo and redo, a global magnitude prune, int8 and 4 bits of
 * everything.
 * Times are those of session_run(), as a front end would see them.
 */
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"
#include "bench.h"
#include "session/session.h"

static const char config[] = "{\"model_type\": \"bert\","
    " \"architectures\": [\"BertForSequenceClassification\"],"
    " \"hidden_size\": 768, \"num_hidden_layers\": 12,"
    " \"num_attention_heads\": 12, \"intermediate_size\": 3072,"
    " \"hidden_act\": \"gelu\", \"max_position_embeddings\": 512,"
    " \"type_vocab_size\": 2, \"vocab_size\": 30522,"
    " \"layer_norm_eps\": 1e-12, \"initializer_range\": 0.02}\n";

/* Seconds a line takes; negative when it failed. */
static double
run(struct session *s, const char *line)
{
	struct result r;
	double began = bench_now(), took;

	session_run(s, line, NULL, &r);
	took = bench_now() - began;
	if (r.rc != PARE_OK) {
		const char *message = NULL;

		json_unpack(r.doc, "{s:{s:s}}", "error", "message", &message);
		fprintf(stderr, "bench_session: %s: %s\n", line,
		    message ? message : "failed");
		took = -1;
	}
	result_free(&r);
	return took;
}

/* The median of undo and redo in turn. */
static bool
bench_travel(struct session *s)
{
	enum { RUNS = 101 };
	double undo[RUNS], redo[RUNS];
	int i;

	for (i = 0; i < RUNS; i++) {
		undo[i] = run(s, "undo");
		redo[i] = run(s, "redo");
		if (undo[i] < 0 || redo[i] < 0)
			return false;
	}
	bench_figure("undo", 1e6 * bench_median(undo, RUNS), "us",
	    BENCH_AT_MOST, 1000);
	bench_figure("redo", 1e6 * bench_median(redo, RUNS), "us",
	    BENCH_AT_MOST, 1000);
	return true;
}

/* An op, so often from the same state. */
static bool
bench_op(struct session *s, const char *name, const char *line, double limit)
{
	enum { RUNS = 5 };
	double took[RUNS];
	int i;

	for (i = 0; i < RUNS; i++) {
		took[i] = run(s, line);
		if (took[i] < 0 || (i < RUNS - 1 && run(s, "undo") < 0))
			return false;
	}
	bench_timed(name, took, RUNS, 1, "s", BENCH_AT_MOST, limit);
	return bench_travel(s) && run(s, "undo") >= 0;
}

int
main(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = io_join(tmp ? tmp : "/tmp", "pare-bench-XXXXXX");
	char *path, *line;
	struct session *s;
	struct pare_err err;
	bool ok;

	io_state_disable();
	if (mkdtemp(dir) == NULL) {
		free(dir);
		return 2;
	}
	path = io_join(dir, "bert.json");
	ok = io_write(path, config, strlen(config), &err) == PARE_OK;
	line = str_format("open %s weights=random seed=1", path);
	s = session_new();
	ok = ok && run(s, line) >= 0;
	ok = ok && bench_op(s, "global magnitude prune, 110 M weights",
	    "prune weights 50% all scope=global by=magnitude", 0.5);
	ok = ok && bench_op(s, "int8 of the whole model, 110 M weights",
	    "quantize all bits=8", 0.2);
	ok = ok && bench_op(s, "4 bits in groups of 64 of the whole model, "
	    "110 M weights", "quantize all bits=4 group=64", 0.4);
	session_free(s);
	unlink(path);
	rmdir(dir);
	free(path);
	free(dir);
	free(line);
	return !ok;
}
