/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A sample set; the first byte says the format and the options. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/dataset.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(const struct dataset *d, const struct dataset_options *o)
{
	if (d->n < 1 || (o->limit > 0 && d->n > o->limit))
		abort();
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];

		if (s->text == NULL || s->line < 1 ||
		    !uni_valid(s->text, strlen(s->text)) ||
		    s->label < -1 || s->label >= 2 || isinf(s->score))
			abort();
	}
	if (dataset_overlap(d, d) != d->n)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const names[] = { "a.tsv", "a.csv", "a.jsonl",
		"a.json", "a.txt", "a", "a.tsv", "a.csv" };
	static const char *const labels[] = { "no", "yes" };
	struct dataset_options o = { .seed = 1 };
	struct pare_err err = { 0 };
	struct dataset *d;

	if (n == 0)
		return 0;
	o.limit = (data[0] & 8) != 0 ? 3 : 0;
	o.regression = (data[0] & 16) != 0;
	if ((data[0] & 32) != 0) {
		o.text = "1";
		o.label = "2";
	}
	if ((data[0] & 64) != 0) {
		o.label_name = labels;
		o.nlabels = 2;
	}
	d = dataset_parse(names[data[0] & 7], (const char *)data + 1, n - 1,
	    &o, NULL, &err);
	if (d != NULL)
		check(d, &o);
	else if (err.msg[0] == '\0')
		abort();
	dataset_free(d);
	return 0;
}
