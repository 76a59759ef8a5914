/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running text cut into windows, and hidden tokens; four bytes say how, the rest
 * is the file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/dataset.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nthe\n"
    "##s\n.\n,\n1\n2\n";

static void
check(const struct dataset *d, int most)
{
	int64_t scored = 0;

	if (d->n < 1)
		abort();
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];

		if (s->scored_at != scored || s->tokens.n > most ||
		    s->text == NULL || !uni_valid(s->text, strlen(s->text)))
			abort();
		scored += s->nscored;
		for (int k = 0; k < s->nscored; k++)
			if (s->scored[k] < d->is_text ||
			    s->scored[k] >= s->tokens.n || (k > 0 &&
			    s->scored[k] <= s->scored[k - 1]))
				abort();
	}
	if (scored != d->nscored)
		abort();
	if (d->cut.custom == CUT_STRIDE && d->ndocs == 1 && d->limit == 0 &&
	    d->cut.stride < d->cut.context && scored != d->doc->tokens.n - 1)
		abort();
}

static void
run(const struct tokenizer *t, const uint8_t *data, size_t n)
{
	static const char *const names[] = { "a.txt", "a", "a.tsv",
		"a.jsonl" };
	int most = 4 + data[1] % 64;
	struct dataset_options o = { .is_text = (data[0] & 4) == 0,
		.limit = (data[0] & 8) != 0 ? 2 : 0 };
	struct dataset_cut how = { .custom = !o.is_text ? CUT_MASKED :
		(data[0] & 16) != 0 ? CUT_STRIDE : CUT_CHUNKS,
		.context = data[2] % 80, .stride = data[3] % 80,
		.most = most, .seed = data[2] };
	struct pare_err err = { 0 };
	struct dataset *d = dataset_parse(names[data[0] & 3],
	    (const char *)data + 4, n - 4, &o, NULL, &err);

	if (d != NULL && dataset_encode(d, t, most, NULL, &err) == PARE_OK) {
		uint64_t before = d->hash;

		if (dataset_cut(d, t, &how, &err) == PARE_OK)
			check(d, most);
		else if (err.msg[0] == '\0' || d->hash != before)
			abort();
	} else if (err.msg[0] == '\0') {
		abort();
	}
	dataset_free(d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct tokenizer *t;
	struct pare_err err = { 0 };

	if (n < 5)
		return 0;
	if (t == NULL)
		t = tokenizer_parse("vocab.txt", words, sizeof(words) - 1,
		    true, &err);
	if (t == NULL)
		abort();
	run(t, data, n);
	return 0;
}
