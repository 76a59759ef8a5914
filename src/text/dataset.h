/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dataset: labelled sample sets from TSV, CSV and JSONL files, and their tokens.
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
};

struct dataset_options {
	const char *text, *pair, *label;	/* column names or 1-based numbers;
						 * NULL: found by header */
	int64_t limit;		/* 0: all; else a stratified draw of so many */
	uint64_t seed;
	bool regression;	/* labels are scores */
	const char *const *label_name;	/* id2label, nlabels of them; or NULL */
	int nlabels;		/* 0: labels are kept as text only */
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

/* Tokenizes every sample once, at most max ids each. */
enum pare_rc dataset_encode(struct dataset *d, const struct tokenizer *t,
    int max, struct task *task, struct pare_err *err);
/* The same, with the tokens of samples that one of n known sets (entries may be
 * NULL) has already, from the same tokenizer and cut to the same length. */
enum pare_rc dataset_encode_known(struct dataset *d,
    const struct tokenizer *t, int max, const struct dataset *const *known,
    int n, struct task *task, struct pare_err *err);

/* How many samples of a occur in b as well (same text and pair). */
int64_t dataset_overlap(const struct dataset *a, const struct dataset *b);

#endif
