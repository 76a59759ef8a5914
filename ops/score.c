/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * With X the inputs of the output (down) matrix W, j running over the columns of
 * a head (the column of a neuron):
 *
 *	activation	sqrt(mean_j E x_j^2)
 *	wanda		sqrt(sum_j E x_j^2 * ||W_:j||^2)  (Sun et al., 2023, summed
 *			over the part)
 *	gradient	E |dL/dg|, for heads divided by the norm over the layer
 *			(Michel, Levy, Neubig, 2019)
 *	fisher		E (dL/dg)^2  (Kwon et al., 2022, but sample by sample)
 *	lrp		E |relevance|
 *	similarity	1 - mean cos of the stream before and after (Men et al.,
 *			2024)
 */
#include "ops/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ops/common.h"

#define UNIT(u) (1u << (u))
#define GATED (UNIT(SCORE_HEADS) | UNIT(SCORE_NEURONS) | \
	UNIT(SCORE_SUBLAYERS) | UNIT(SCORE_LAYERS))

const char *const score_unit_names[SCORE_UNITS + 1] = { "heads", "neurons",
	"sublayers", "layers", "weights", NULL };

const struct score_facts score_table[SCORE_KINDS + 1] = {
	[SCORE_MAGNITUDE] = { "magnitude", "norms of the weights",
	    GATED | UNIT(SCORE_WEIGHTS), 0 },
	[SCORE_ACTIVATION] = { "activation",
	    "root mean square of the activations",
	    UNIT(SCORE_HEADS) | UNIT(SCORE_NEURONS), OP_NEED_STATISTICS },
	[SCORE_GRADIENT] = { "gradient",
	    "mean size of the loss gradient by a gate on the part", GATED,
	    OP_NEED_GATES },
	[SCORE_FISHER] = { "fisher",
	    "mean square of that gradient", GATED, OP_NEED_GATES },
	[SCORE_LRP] = { "lrp",
	    "mean size of the share in the predicted logit, by layer-wise "
	    "relevance propagation", GATED, OP_NEED_RELEVANCE },
	[SCORE_WANDA] = { "wanda",
	    "weights times the root mean square of what they see",
	    UNIT(SCORE_HEADS) | UNIT(SCORE_NEURONS) | UNIT(SCORE_WEIGHTS),
	    OP_NEED_STATISTICS },
	[SCORE_SIMILARITY] = { "similarity",
	    "how far the stream is turned: 1 - mean cosine of before and after",
	    UNIT(SCORE_SUBLAYERS) | UNIT(SCORE_LAYERS), OP_NEED_STATISTICS },
	[SCORE_RANDOM] = { "random", "drawn from the seed: the control",
	    GATED | UNIT(SCORE_WEIGHTS), 0 },
	{ NULL, NULL, 0, 0 }
};

bool
score_find(const char *name, enum score_kind *out)
{
	for (int k = 0; k < SCORE_KINDS; k++)
		if (strcmp(score_table[k].name, name) == 0) {
			*out = (enum score_kind)k;
			return true;
		}
	return false;
}

char *
score_names(enum score_unit u)
{
	struct str b = STR_INIT;

	for (int k = 0; k < SCORE_KINDS; k++)
		if ((score_table[k].units & UNIT(u)) != 0)
			str_addf(&b, "%s%s", b.n > 0 ? ", " : "",
			    score_table[k].name);
	return str_detach(&b);
}

int64_t
score_count(const struct model *m, int layer, enum score_unit u)
{
	const struct layer *y = &m->layer[layer];

	return u == SCORE_HEADS ? y->heads : u == SCORE_NEURONS ? y->ffn :
	    u == SCORE_SUBLAYERS ? 2 : 1;
}

enum pare_rc
score_missing(const char *what, struct pare_err *err)
{
	err_set(err, PARE_EUSER, "%s: looks at the calib samples, and none "
	    "are loaded", what);
	return err_hint(err, "data FILE role=calib");
}

/* ---- norms of weights ---- */

/* Sums of squares of heads (q, k, v rows, o columns) or of one unit. */
static enum pare_rc
add_squares(const struct tensor *t, bool columns, int64_t units, double *sum,
    struct pare_err *err)
{
	int64_t n = columns ? t->cols : t->rows;
	double *sq = mem_big_zero((size_t)n, sizeof *sq, err);
	enum pare_rc rc;

	if (sq == NULL)
		return PARE_ENOMEM;
	rc = ops_squares(t, columns ? NULL : sq, columns ? sq : NULL, err);
	for (int64_t i = 0; i < n && rc == PARE_OK; i++)
		sum[i / (n / units)] += sq[i];
	free(sq);
	return rc;
}

enum pare_rc
score_head_norms(const struct layer *y, double *out, struct pare_err *err)
{
	static const enum slot slots[] = { SLOT_Q_W, SLOT_K_W, SLOT_V_W,
	    SLOT_O_W };
	double mean = 0;
	enum pare_rc rc = PARE_OK;

	memset(out, 0, (size_t)y->kv_heads * sizeof *out);
	for (int i = 0; i < 4 && rc == PARE_OK; i++)
		rc = add_squares(y->t[slots[i]], slots[i] == SLOT_O_W,
		    y->kv_heads, out, err);
	for (int u = 0; u < y->kv_heads; u++)
		mean += sqrt(out[u]) / y->kv_heads;
	for (int u = 0; u < y->kv_heads; u++)
		out[u] = mean > 0 ? sqrt(out[u]) / mean : 0;
	return rc;
}

enum pare_rc
score_neuron_norms(const struct layer *y, double *out, struct pare_err *err)
{
	double *in = mem_big_zero((size_t)y->ffn + 1, sizeof *in, err);
	enum pare_rc rc;

	if (in == NULL)
		return PARE_ENOMEM;
	memset(out, 0, (size_t)y->ffn * sizeof *out);
	rc = ops_squares(y->t[SLOT_UP_W], in, NULL, err);
	if (rc == PARE_OK && y->t[SLOT_GATE_W] != NULL)
		rc = ops_squares(y->t[SLOT_GATE_W], in, NULL, err);
	if (rc == PARE_OK)
		rc = ops_squares(y->t[SLOT_DOWN_W], NULL, out, err);
	for (int64_t i = 0; i < y->ffn; i++)
		out[i] = sqrt(in[i]) * sqrt(out[i]);
	free(in);
	return rc;
}

/* The norm of the matrices of the slots from `first` to `last`. */
static enum pare_rc
part_norm(const struct layer *y, enum slot first, enum slot last, double *out,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	double sum = 0;

	for (int s = first; s <= (int)last && rc == PARE_OK; s++)
		if (y->t[s] != NULL && slot_table[s].matrix)
			rc = add_squares(y->t[s], false, 1, &sum, err);
	*out = sqrt(sum);
	return rc;
}

static enum pare_rc
norms(enum score_unit u, const struct layer *y, double *out,
    struct pare_err *err)
{
	double part[2] = { NAN, NAN }, kv[MODEL_HEADS_MAX];
	enum pare_rc rc = PARE_OK;

	if (u == SCORE_HEADS && y->heads > 0) {
		rc = score_head_norms(y, kv, err);
		for (int i = 0; i < y->heads; i++)
			out[i] = kv[i / (y->heads / y->kv_heads)];
		return rc;
	}
	if (u == SCORE_NEURONS)
		return y->ffn > 0 ? score_neuron_norms(y, out, err) : PARE_OK;
	if (u == SCORE_HEADS)
		return PARE_OK;
	if (y->heads > 0)
		rc = part_norm(y, SLOT_Q_W, SLOT_O_W, &part[0], err);
	if (rc == PARE_OK && y->ffn > 0)
		rc = part_norm(y, SLOT_UP_W, SLOT_DOWN_W, &part[1], err);
	if (u == SCORE_SUBLAYERS)
		memcpy(out, part, sizeof part);
	else
		out[0] = hypot(y->heads > 0 ? part[0] : 0,
		    y->ffn > 0 ? part[1] : 0);
	return rc;
}

/* ---- activations ---- */

/* Mean squares of what the matrix behind the units sees, each times the squared
 * norm of its column (wanda) or not; gathered over the columns of a unit. */
static enum pare_rc
activations(enum score_kind k, enum score_unit u, const struct model *m,
    const struct statistics *s, int layer, double *out, struct pare_err *err)
{
	enum slot slot = u == SCORE_HEADS ? SLOT_O_W : SLOT_DOWN_W;
	const struct tensor *t = m->layer[layer].t[slot];
	const struct moments *x = statistics_of(s, (struct slot_ref){ layer,
	    slot });
	int64_t n = score_count(m, layer, u), each;
	double *w;
	enum pare_rc rc = PARE_OK;

	if (n == 0)
		return PARE_OK;
	if (x == NULL || x->cols != t->cols)
		return err_set(err, PARE_EUSER, "L%d: no sample got there",
		    layer);
	w = mem_big_zero((size_t)t->cols, sizeof *w, err);
	if (w == NULL)
		return PARE_ENOMEM;
	if (k == SCORE_WANDA)
		rc = ops_squares(t, NULL, w, err);
	each = t->cols / n;
	for (int64_t i = 0; i < n && rc == PARE_OK; i++) {
		double sum = 0;

		for (int64_t j = i * each; j < (i + 1) * each; j++)
			sum += x->square[j] / (double)x->rows *
			    (k == SCORE_WANDA ? w[j] : 1.0 / (double)each);
		out[i] = sqrt(sum);
	}
	free(w);
	return rc;
}

/* ---- gates ---- */

static void
gates(enum score_kind k, enum score_unit u, const struct model *m,
    const struct gates_means *g, int layer, double *out)
{
	const double *v = k == SCORE_FISHER ? g->square : g->size;
	const struct layer *y = &m->layer[layer];
	double norm = 0;

	if (u == SCORE_LAYERS) {
		out[0] = v[g->at.layer[layer]];
		return;
	}
	if (u == SCORE_SUBLAYERS) {
		out[0] = y->heads > 0 ? v[g->at.attention[layer]] : NAN;
		out[1] = y->ffn > 0 ? v[g->at.ffn[layer]] : NAN;
		return;
	}
	if (u == SCORE_NEURONS) {
		memcpy(out, v + g->at.neurons[layer], (size_t)y->ffn *
		    sizeof *out);
		return;
	}
	memcpy(out, v + g->at.heads[layer], (size_t)y->heads * sizeof *out);
	for (int i = 0; i < y->heads; i++)
		norm += out[i] * out[i];
	for (int i = 0; i < y->heads && k == SCORE_GRADIENT && norm > 0; i++)
		out[i] /= sqrt(norm);
}

/* ---- all of them ---- */

static void
draw(uint64_t seed, int layer, int64_t n, double *out)
{
	struct rng r;

	rng_seed(&r, rng_derive(seed, (uint64_t)layer));
	for (int64_t i = 0; i < n; i++)
		out[i] = rng_uniform(&r);
}

unsigned
score_needs(const struct arg_list *args)
{
	enum score_kind k;

	return arg_get(args, "by")->has && score_find(arg_choice(args, "by"),
	    &k) ? score_table[k].needs : 0;
}

static enum pare_rc
check_kind(enum score_kind k, enum score_unit u, const struct op_calib *c,
    struct pare_err *err)
{
	const struct score_facts *f = &score_table[k];
	char *names, what[64];

	if ((f->units & UNIT(u)) == 0) {
		names = score_names(u);
		err_set(err, PARE_EUSER, "by: %s cannot rank %s", f->name,
		    score_unit_names[u]);
		err_hint(err, "by=KIND, one of %s", names);
		free(names);
		return PARE_EUSER;
	}
	if (f->needs == 0 || (c != NULL &&
	    ((f->needs & OP_NEED_STATISTICS) == 0 || c->statistics != NULL) &&
	    ((f->needs & OP_NEED_GATES) == 0 || c->gates != NULL) &&
	    ((f->needs & OP_NEED_RELEVANCE) == 0 || c->relevance != NULL)))
		return PARE_OK;
	snprintf(what, sizeof what, "by=%s", f->name);
	return score_missing(what, err);
}

enum pare_rc
score_kind_of(const struct op_input *in, enum score_unit u, bool estimate,
    enum score_kind *out, struct pare_err *err)
{
	struct pare_err own;
	enum pare_rc rc;

	*out = SCORE_MAGNITUDE;
	score_find(arg_choice(in->args, "by"), out);
	rc = check_kind(*out, u, in->calib, &own);
	if (rc != PARE_OK && estimate &&
	    (score_table[*out].units & UNIT(u)) != 0) {
		*out = SCORE_MAGNITUDE;
		return PARE_OK;
	}
	if (rc != PARE_OK && err != NULL)
		*err = own;
	return rc;
}

enum pare_rc
score_layer(enum score_kind k, enum score_unit u, const struct model *m,
    const struct op_calib *c, uint64_t seed, int layer, double *out,
    struct pare_err *err)
{
	enum pare_rc rc = check_kind(k, u, c, err);

	if (rc != PARE_OK)
		return rc;
	switch (k) {
	case SCORE_MAGNITUDE:
		return norms(u, &m->layer[layer], out, err);
	case SCORE_ACTIVATION:
	case SCORE_WANDA:
		return activations(k, u, m, c->statistics, layer, out, err);
	case SCORE_GRADIENT:
	case SCORE_FISHER:
		gates(k, u, m, c->gates, layer, out);
		return PARE_OK;
	case SCORE_LRP:
		gates(k, u, m, c->relevance, layer, out);
		return PARE_OK;
	case SCORE_SIMILARITY:
		out[0] = statistics_turn(c->statistics, layer,
		    u == SCORE_LAYERS ? TURN_LAYER : TURN_ATTENTION);
		if (u == SCORE_SUBLAYERS)
			out[1] = statistics_turn(c->statistics, layer,
			    TURN_FFN);
		return PARE_OK;
	default:
		draw(seed, layer, score_count(m, layer, u), out);
		return PARE_OK;
	}
}

/* The sum over rows [r, r + n) of |w| times the size of what it sees. */
static double
sum_rows(const float *w, int64_t n, int64_t cols, const struct moments *x)
{
	double sum = 0;

	for (int64_t r = 0; r < n; r++)
		for (int64_t c = 0; c < cols; c++)
			sum += fabs(w[r * cols + c]) * (x == NULL ? 1.0 :
			    sqrt(x->square[c] / (double)x->rows));
	return sum;
}

enum pare_rc
score_matrix(enum score_kind k, const struct model *m,
    const struct op_calib *c, uint64_t seed, struct slot_ref ref, double *out,
    struct pare_err *err)
{
	const struct tensor *t = model_slot(m, ref);
	const struct moments *x = NULL;
	enum pare_rc rc = check_kind(k, SCORE_WEIGHTS, c, err);
	double sum = 0;
	float *buf;

	if (rc != PARE_OK)
		return rc;
	*out = NAN;
	if (k == SCORE_RANDOM) {
		draw(rng_derive(seed, (uint64_t)ref.slot), ref.layer + 1, 1,
		    out);
		return PARE_OK;
	}
	if (k == SCORE_WANDA) {
		x = statistics_of(c->statistics, ref);
		if (x == NULL || x->cols != t->cols)
			return PARE_OK;
	}
	buf = mem_big((size_t)t->cols, sizeof *buf, err);
	if (buf == NULL)
		return PARE_ENOMEM;
	for (int64_t r = 0; r < t->rows; r++) {
		tensor_decode(t, r, 1, buf);
		sum += sum_rows(buf, 1, t->cols, x);
	}
	*out = sum / ((double)t->rows * (double)t->cols);
	free(buf);
	return PARE_OK;
}
