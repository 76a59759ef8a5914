/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/material.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

void
material_of(const struct dataset *d, const struct model *m, bool labelled,
    struct material *out)
{
	bool score = m->hp.head == HEAD_REGRESS;
	size_t most = (size_t)d->n;
	int64_t n = 0;

	out->ids = xcalloc(most, sizeof(*out->ids));
	out->types = xcalloc(most, sizeof(*out->types));
	out->len = xcalloc(most, sizeof(*out->len));
	out->label = xcalloc(most, sizeof(*out->label));
	out->score = xcalloc(most, sizeof(*out->score));
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *x = &d->sample[i];
		bool known = score ? isfinite(x->score) : x->label >= 0 &&
		    x->label < m->hp.labels;

		if (labelled && !known)
			continue;
		out->ids[n] = x->tokens.id;
		out->types[n] = x->tokens.type;
		out->len[n] = x->tokens.n;
		out->label[n] = known && !score ? x->label : -1;
		out->score[n++] = known && score ? (float)x->score : NAN;
	}
	out->data = (struct train_data){ n, out->ids,
		m->hp.types > 0 ? out->types : NULL, out->len, out->label,
		out->score };
}

void
material_free(struct material *m)
{
	free(m->ids);
	free(m->types);
	free(m->len);
	free(m->label);
	free(m->score);
}
