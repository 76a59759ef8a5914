/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bert: a session with a model of BERT-base size and random weights, and
 * sentences of real lengths for it. The words mean nothing: word i of the
 * vocabulary is "w<i>", one token each.
 */
#ifndef PARE_TESTS_BENCH_BERT_H
#define PARE_TESTS_BENCH_BERT_H

#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "bench.h"
#include "session/session.h"
#include "tensor/kernel.h"

enum { BERT_HIDDEN = 768, BERT_FFN = 3072, BERT_LAYERS = 12,
	BERT_VOCAB = 30522, BERT_LENGTHS = 1024 };

static const char bert_config[] = "{\"model_type\": \"bert\","
    " \"architectures\": [\"BertForSequenceClassification\"],"
    " \"hidden_size\": 768, \"num_hidden_layers\": 12,"
    " \"num_attention_heads\": 12, \"intermediate_size\": 3072,"
    " \"hidden_act\": \"gelu\", \"max_position_embeddings\": 512,"
    " \"type_vocab_size\": 2, \"vocab_size\": 30522,"
    " \"layer_norm_eps\": 1e-12, \"initializer_range\": 0.02}\n";

struct bert {
	struct session *s;
	char *dir;		/* config.json, vocab.txt, data.tsv */
	int lengths[BERT_LENGTHS], n;
	int64_t tokens;
};

/* Runs a line; seconds, or negative when it failed, with a message unless
 * quiet. *doc (may be NULL) gets the document. */
static inline double
bert_run_doc(struct bert *b, bool quiet, json_t **doc, const char *line)
{
	const char *message = NULL;
	struct result r;
	double began = bench_now(), took;

	session_run(b->s, line, NULL, &r);
	took = bench_now() - began;
	if (r.rc != PARE_OK) {
		json_unpack(r.doc, "{s:{s:s}}", "error", "message", &message);
		if (!quiet)
			fprintf(stderr, "bench: %s: %s\n", line,
			    message ? message : "failed");
		took = -1;
	}
	if (doc != NULL)
		*doc = json_incref(r.doc);
	result_free(&r);
	return took;
}

static inline double
bert_run(struct bert *b, const char *line)
{
	return bert_run_doc(b, false, NULL, line);
}

/* lengths.txt of the source tree: numbers, and lines of comment. */
static inline bool
bert_read_lengths(struct bert *b)
{
	const char *source = getenv("PARE_SOURCE");
	char *path = io_join(source != NULL ? source : ".",
	    "tests/bench/lengths.txt");
	FILE *f = fopen(path, "r");
	char line[256];

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		char *save, *word = line[0] == '#' ? NULL :
		    strtok_r(line, " \n", &save);

		for (; word != NULL && b->n < BERT_LENGTHS;
		     word = strtok_r(NULL, " \n", &save)) {
			b->lengths[b->n] = atoi(word);
			b->tokens += b->lengths[b->n++];
		}
	}
	if (f != NULL)
		fclose(f);
	if (b->n == 0)
		fprintf(stderr, "bench: no lengths in %s\n", path);
	free(path);
	return b->n > 0;
}

static inline bool
bert_write(const struct bert *b, const char *name, const char *data, size_t n)
{
	struct pare_err err;
	char *path = io_join(b->dir, name);
	bool ok = io_write(path, data, n, &err) == PARE_OK;

	if (!ok)
		fprintf(stderr, "bench: %s\n", err.msg);
	free(path);
	return ok;
}

static inline bool
bert_write_files(struct bert *b)
{
	struct str vocab = STR_INIT, data = STR_INIT;
	int word = 0;
	bool ok;

	str_add(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
	for (int i = 0; i + 5 < BERT_VOCAB; i++)
		str_addf(&vocab, "w%d\n", i);
	str_add(&data, "sentence\tlabel\n");
	for (int i = 0; i < b->n; i++) {
		for (int k = 2; k < b->lengths[i]; k++)
			str_addf(&data, "%sw%d", k > 2 ? " " : "",
			    word++ * 7919 % 20000);
		str_addf(&data, "\t%d\n", i % 2);
	}
	ok = bert_write(b, "config.json", bert_config, strlen(bert_config)) &&
	    bert_write(b, "vocab.txt", vocab.s, vocab.n) &&
	    bert_write(b, "data.tsv", data.s, data.n);
	str_free(&vocab);
	str_free(&data);
	return ok;
}

static inline void
bert_close(struct bert *b)
{
	static const char *const name[] = { "config.json", "vocab.txt",
		"data.tsv" };

	session_free(b->s);
	for (int i = 0; i < 3 && b->dir != NULL; i++) {
		char *path = io_join(b->dir, name[i]);

		unlink(path);
		free(path);
	}
	if (b->dir != NULL)
		rmdir(b->dir);
	free(b->dir);
}

/* Opens the model; the state folder of the user stays out of it. */
static inline bool
bert_open(struct bert *b)
{
	const char *tmp = getenv("TMPDIR");
	char *line;
	bool ok;

	memset(b, 0, sizeof *b);
	io_state_disable();
	b->dir = io_join(tmp != NULL ? tmp : "/tmp", "pare-bench-XXXXXX");
	if (mkdtemp(b->dir) == NULL) {
		fprintf(stderr, "bench: cannot make %s\n", b->dir);
		free(b->dir);
		b->dir = NULL;
		return false;
	}
	b->s = session_new();
	line = str_format("open %s/config.json weights=random seed=1", b->dir);
	ok = bert_read_lengths(b) && bert_write_files(b) &&
	    bert_run(b, line) >= 0;
	free(line);
	bench_fact("blas", kernel_blas_name());
	return ok;
}

/* The sentences of lengths.txt become the evaluation set. */
static inline bool
bert_load_data(struct bert *b)
{
	char *line = str_format("data %s/data.tsv", b->dir);
	bool ok = bert_run(b, line) >= 0;

	free(line);
	return ok;
}

#endif
