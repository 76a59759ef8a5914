/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dataset: sample sets, and their tokens: labelled rows of TSV, CSV and JSONL
 * files, or running text.
 *
 * A causal language model reads text. A file whose name ends in .tsv, .csv,
 * .jsonl or .json holds a document in each row, and so does one that is given a
 * column; every other file is one document as it stands, line ends included.
 * Documents are tokenized whole and cut into windows, which are the samples:
 * what is asked in a window (`scored`) is told by the custom. For a masked
 * language model rows are samples as for any model, and some tokens of each are
 * hidden.
 */
#ifndef PARE_TEXT_DATASET_H
#define PARE_TEXT_DATASET_H

#include "base/task.h"
#include "text/tokenizer.h"

struct sample {
	char *text, *pair;	/* owned; pair NULL for single texts */
	char *gold;		/* label as the file has it; NULL: unlabelled */
	int label;		/* class index; -1: none */
	double score;		/* regression; NAN: none */
	int64_t line;		/* 1-based line of the file */
	struct tokens tokens;	/* filled by dataset_encode() */
	uint64_t hash;		/* of text and pair: finds shared rows */
	/* For models of tokens, filled by dataset_cut(): the positions whose
	 * token is to be predicted, ascending, owned; how many of those the
	 * samples before have; bytes of text behind them. */
	int nscored;
	int32_t *scored;
	int64_t scored_at, scored_bytes;
};

/* What is asked of a model of tokens. */
enum cut_custom {
	CUT_NONE,
	CUT_CHUNKS,	/* windows side by side, the rest of the text left out;
			 * the second half of each is scored, from position
			 * context / 2 + 1 on, as llama.cpp does. Where texts begin
			 * with a mark, each window's first token gives way to
			 * it. */
	CUT_STRIDE,	/* windows that begin every `stride` tokens; each token
			 * of the text but the first is scored once, in the first
			 * window that has it, as Transformers' guide does. With
			 * stride == context the first of each window is not. */
	CUT_MASKED	/* 15 % of the tokens of each sample, at least one, are
			 * hidden behind the mask token and scored */
};

struct dataset_cut {
	enum cut_custom custom;
	int context;	/* tokens of a window; 0: the largest power of two up to
			 * 512 and `most` that makes 8 windows */
	int stride;	/* CUT_STRIDE; 0: half the context */
	int most;	/* longest input of the model */
	uint64_t seed;	/* CUT_MASKED */
};

/* A document of running text. */
struct document {
	char *text;	/* owned, n bytes and a NUL */
	size_t n;
	int64_t line;	/* where it begins */
	struct tokens tokens;
};

struct dataset {
	char *path;
	int64_t n;
	struct sample *sample;
	bool has_pairs, has_labels, encoded;
	/* What was odd, for one notice each. */
	int64_t skipped_rows, unlabelled, bad_bytes, truncated;
	char *columns;		/* "text=sentence label=label": what was chosen */
	uint64_t content;	/* hash of texts and labels */
	uint64_t hash;		/* of everything evaluation depends on: content,
				 * and tokens once there are some */
	uint64_t encoder;	/* what made the tokens; 0: there are none */
	/* Running text: samples are windows of documents. */
	bool is_text;
	int64_t ndocs;
	struct document *doc;
	struct dataset_cut cut;	/* as it was made: context and stride filled in */
	int64_t nscored;	/* of all samples */
	int32_t mask;		/* the id that hides a token; CUT_MASKED */
	int64_t limit;		/* windows to draw; 0: all */
	uint64_t seed;		/* of that draw */
};

struct dataset_options {
	const char *text, *pair, *label;	/* column names or 1-based numbers;
						 * NULL: found by header */
	int64_t limit;		/* 0: all; else a stratified draw of so many */
	uint64_t seed;
	bool regression;	/* labels are scores */
	const char *const *label_name;	/* id2label, nlabels of them; or NULL */
	int nlabels;		/* 0: labels are kept as text only */
	bool is_text;		/* for a model that reads running text; text,
				 * pair and limit as said above */
};

/*
 * Reads a file; the format follows its name (.tsv .csv .jsonl .json .txt) and,
 * failing that, its first line. Labels are matched as names of label_name
 * (exactly, then without case), else as class numbers; -1 and "-" are
 * unlabelled rows. PARE_EFORMAT names file and line. Progress and cancel by
 * task.
 */
struct dataset *dataset_read(const char *path,
    const struct dataset_options *o, struct task *task, struct pare_err *err);
/* The same from bytes; `name` decides the format. */
struct dataset *dataset_parse(const char *name, const char *data, size_t n,
    const struct dataset_options *o, struct task *task, struct pare_err *err);
void dataset_free(struct dataset *d);

/* Tokenizes every sample once, at most max ids each; documents whole, and cuts
 * them into windows of up to max side by side. */
enum pare_rc dataset_encode(struct dataset *d, const struct tokenizer *t,
    int max, struct task *task, struct pare_err *err);
/* The same, with the tokens of samples that one of n known sets (entries may be
 * NULL) has already, from the same tokenizer and cut to the same length. */
enum pare_rc dataset_encode_known(struct dataset *d,
    const struct tokenizer *t, int max, const struct dataset *const *known,
    int n, struct task *task, struct pare_err *err);

/*
 * Cuts documents again, or hides tokens of samples again, and sets what is
 * scored; d is encoded. The set is as it was on error: PARE_EUSER where the text
 * is too short for such windows, no tokenizer has a mask, or the custom is not
 * for such a set.
 */
enum pare_rc dataset_cut(struct dataset *d, const struct tokenizer *t,
    const struct dataset_cut *how, struct pare_err *err);

/* How many samples of a occur in b as well (same text and pair). */
int64_t dataset_overlap(const struct dataset *a, const struct dataset *b);

#endif
