/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/fisher.h"

#include <stdlib.h>

#include "base/mem.h"

/* The parts of a matrix: n of them side by side along its rows or columns. */
struct parts {
	bool columns;
	int64_t n;
	const double *f;	/* per unit of the gates */
	int64_t each;		/* units of a part */
};

static bool
parts_of(const struct op_input *in, struct slot_ref ref, struct parts *out)
{
	const struct gates_means *g = in->calib->gates;
	const struct layer *y;

	if (ref.layer < 0)
		return false;
	y = &in->model->layer[ref.layer];
	*out = (struct parts){ .each = 1 };
	switch (ref.slot) {
	case SLOT_O_W:
		out->columns = true;
		/* fallthrough */
	case SLOT_Q_W:
		out->n = y->heads;
		break;
	case SLOT_K_W:
	case SLOT_V_W:
		out->n = y->kv_heads;
		out->each = y->kv_heads > 0 ? y->heads / y->kv_heads : 1;
		break;
	case SLOT_DOWN_W:
		out->columns = true;
		/* fallthrough */
	case SLOT_UP_W:
	case SLOT_GATE_W:
		out->n = y->ffn;
		out->f = g->square + g->at.neurons[ref.layer];
		return out->n > 0;
	default:
		return false;
	}
	out->f = g->square + g->at.heads[ref.layer];
	return out->n > 0;
}

/* Adds the F_u of a slot of t, divided by its part's energy, to f[rows or cols]. */
static void
add_slot(const struct parts *p, const struct tensor *t, const float *w,
    const double *square, double *f)
{
	int64_t n = p->columns ? t->cols : t->rows, each = n / p->n;
	double *energy = xcalloc((size_t)p->n, sizeof *energy);

	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = 0; c < t->cols; c++) {
			double x = w[r * t->cols + c];

			energy[(p->columns ? c : r) / each] += x * x *
			    square[c];
		}
	for (int64_t i = 0; i < n; i++) {
		int64_t u = i / each;
		double sum = 0;

		for (int64_t k = 0; k < p->each; k++)
			sum += p->f[u * p->each + k];
		f[i] += energy[u] > 0 ? sum / energy[u] : 0;
	}
	free(energy);
}

enum pare_rc
fisher_weights(const struct op_input *in, const struct tensor *t,
    const float *w, const double *square, double **row, double **col,
    struct pare_err *err)
{
	struct slot_ref ref = SLOT_REF_START;
	bool any = false;
	struct parts p;
	double *f = NULL;

	if (in->calib == NULL || in->calib->gates == NULL)
		return score_missing("weigh=fisher", err);
	*row = NULL;
	*col = xcalloc((size_t)t->cols, sizeof **col);
	for (int64_t c = 0; c < t->cols; c++)
		(*col)[c] = square[c];
	while (model_next_slot(in->model, &ref)) {
		if (model_slot(in->model, ref) != t || !parts_of(in, ref, &p))
			continue;
		if (!any)
			f = xcalloc((size_t)(p.columns ? t->cols : t->rows),
			    sizeof *f);
		any = true;
		add_slot(&p, t, w, square, f);
		if (!p.columns)
			*row = f;
	}
	if (any && *row == NULL) {
		for (int64_t c = 0; c < t->cols; c++)
			(*col)[c] *= f[c];
		free(f);
	}
	if (any)
		return PARE_OK;
	err_set(err, PARE_EUSER, "weigh: fisher knows heads and neurons only");
	return err_hint(err, "name matrices of layers, as L*.ffn");
}
