/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sums are in double precision, X'X in float: a block of rows is one product
 * added to what is there. Around a sub-layer the stream is kept for as long as
 * the sub-layer takes; for whole layers the rows before the attention wait in a
 * second buffer until they come by again after the FFN, in the same order.
 */
#include "engine/moments.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BEFORE_PART, BEFORE_LAYER };

static void
add_sums(struct moments *m, const float *x, int64_t rows)
{
	for (int64_t r = 0; r < rows; r++, x += m->cols)
		for (int64_t c = 0; c < m->cols; c++) {
			m->sum[c] += x[c];
			m->square[c] += (double)x[c] * x[c];
		}
	m->rows += rows;
}

static void
add_gram(struct moments *m, const float *x, int64_t rows)
{
	cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (blasint)m->cols,
	    (blasint)rows, 1.0f, x, (blasint)m->cols, 1.0f, m->gram,
	    (blasint)m->cols);
}

/* Room for n floats behind what is there; false without memory. */
static bool
make_room(struct statistics *s, int which, int64_t n)
{
	float *p;

	if (n <= s->room[which])
		return true;
	p = mem_big((size_t)n * 2, sizeof(*p), NULL);
	if (p == NULL) {
		s->failed = true;
		return false;
	}
	if (which == BEFORE_LAYER && s->have > 0)
		memcpy(p, s->before[which], (size_t)s->have * sizeof(*p));
	free(s->before[which]);
	s->before[which] = p;
	s->room[which] = 2 * n;
	return true;
}

static void
add_turns(struct statistics *s, int layer, enum turn t, const float *a,
    const float *b, int64_t rows, int64_t cols)
{
	for (int64_t r = 0; r < rows; r++, a += cols, b += cols) {
		double ab = 0, aa = 0, bb = 0;

		for (int64_t c = 0; c < cols; c++) {
			ab += (double)a[c] * b[c];
			aa += (double)a[c] * a[c];
			bb += (double)b[c] * b[c];
		}
		if (aa > 0 && bb > 0) {
			s->turn[layer][t] += 1 - ab / sqrt(aa * bb);
			s->turned[layer][t]++;
		}
	}
}

static void
see_stream(struct statistics *s, int layer, enum engine_place place,
    const float *x, int64_t rows, int64_t cols)
{
	int64_t n = rows * cols;

	if (place == ENGINE_BEFORE_ATTENTION || place == ENGINE_BEFORE_FFN) {
		if (make_room(s, BEFORE_PART, n))
			memcpy(s->before[BEFORE_PART], x,
			    (size_t)n * sizeof(*x));
	}
	if (place == ENGINE_BEFORE_ATTENTION) {
		/* All that was kept of the layer before came by again. */
		if (s->used == s->have)
			s->used = s->have = 0;
		if (make_room(s, BEFORE_LAYER, s->have + n)) {
			memcpy(s->before[BEFORE_LAYER] + s->have, x,
			    (size_t)n * sizeof(*x));
			s->have += n;
		}
	}
	if (s->failed || place == ENGINE_BEFORE_ATTENTION ||
	    place == ENGINE_BEFORE_FFN)
		return;
	add_turns(s, layer, place == ENGINE_AFTER_FFN ? TURN_FFN :
	    TURN_ATTENTION, s->before[BEFORE_PART], x, rows, cols);
	if (place != ENGINE_AFTER_FFN)
		return;
	if (s->used + n <= s->have)
		add_turns(s, layer, TURN_LAYER, s->before[BEFORE_LAYER] +
		    s->used, x, rows, cols);
	s->used += n;
}

static void
see(void *ctx, int layer, enum engine_place place, const float *x,
    int64_t rows, int64_t cols)
{
	struct statistics *s = ctx;
	struct moments *m;

	if (s->failed)
		return;
	if ((int)place >= MOMENTS_PLACES) {
		see_stream(s, layer, place, x, rows, cols);
		return;
	}
	m = &s->at[layer][place];
	if (m->cols != cols)
		return;
	add_sums(m, x, rows);
	if (m->gram != NULL)
		add_gram(m, x, rows);
}

static int64_t
place_cols(const struct model *m, int l, int place)
{
	const struct layer *y = &m->layer[l];

	switch (place) {
	case ENGINE_SEES_QKV:
		return y->heads > 0 ? m->hp.hidden : 0;
	case ENGINE_SEES_OUTPUT:
		return (int64_t)y->heads * y->head_dim;
	case ENGINE_SEES_FFN:
		return y->ffn > 0 ? m->hp.hidden : 0;
	default:
		return y->ffn;
	}
}

static enum pare_rc
open_moments(struct moments *p, int64_t cols, bool gram, struct pare_err *err)
{
	p->cols = cols;
	p->sum = mem_big_zero((size_t)cols, sizeof(*p->sum), err);
	p->square = p->sum == NULL ? NULL : mem_big_zero((size_t)cols,
	    sizeof(*p->square), err);
	if (p->square != NULL && gram && cols > 0)
		p->gram = mem_big_zero((size_t)cols * (size_t)cols,
		    sizeof(*p->gram), err);
	return p->square == NULL || (gram && cols > 0 && p->gram == NULL) ?
	    PARE_ENOMEM : PARE_OK;
}

struct statistics *
statistics_new(const struct model *m, const bool *gram, struct pare_err *err)
{
	struct statistics *s = xcalloc(1, sizeof(*s));
	size_t n = (size_t)m->nlayers + 1;

	s->nlayers = m->nlayers;
	s->at = xcalloc(n, sizeof(*s->at));
	s->turn = xcalloc(n, sizeof(*s->turn));
	s->turned = xcalloc(n, sizeof(*s->turned));
	s->watch = (struct engine_watch){ see, s };
	for (int i = 0; i < m->nlayers * MOMENTS_PLACES; i++) {
		int l = i / MOMENTS_PLACES, k = i % MOMENTS_PLACES;

		if (open_moments(&s->at[l][k], place_cols(m, l, k),
		    gram != NULL && gram[i], err) == PARE_OK)
			continue;
		statistics_free(s);
		return NULL;
	}
	return s;
}

void
statistics_free(struct statistics *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < s->nlayers * MOMENTS_PLACES; i++) {
		struct moments *p = &s->at[0][0] + i;

		free(p->sum);
		free(p->square);
		free(p->gram);
	}
	free(s->at);
	free(s->turn);
	free(s->turned);
	free(s->before[0]);
	free(s->before[1]);
	free(s);
}

static enum pare_rc
finish_moments(struct moments *p, int layer, struct pare_err *err)
{
	int64_t n = p->cols;

	for (int64_t c = 0; c < n; c++)
		if (!isfinite(p->square[c]) || (p->gram != NULL &&
		    !isfinite(p->gram[c * n + c])))
			return err_set(err, PARE_EUSER, "L%d: the inputs that "
			    "were seen have moments that are not finite",
			    layer);
	for (int64_t r = 0; r < n && p->gram != NULL; r++)
		for (int64_t c = 0; c < r; c++)
			p->gram[c * n + r] = p->gram[r * n + c];
	return PARE_OK;
}

enum pare_rc
statistics_finish(struct statistics *s, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	if (s->failed)
		return err_set(err, PARE_ENOMEM,
		    "no memory for what the samples' activations look like");
	for (int l = 0; l < s->nlayers; l++)
		for (int k = 0; k < MOMENTS_PLACES && rc == PARE_OK; k++)
			rc = finish_moments(&s->at[l][k], l, err);
	for (int i = 0; i < 2; i++) {
		free(s->before[i]);
		s->before[i] = NULL;
		s->room[i] = 0;
	}
	return rc;
}

bool
statistics_place(enum slot slot, enum engine_place *out)
{
	switch (slot) {
	case SLOT_Q_W:
	case SLOT_K_W:
	case SLOT_V_W:
		*out = ENGINE_SEES_QKV;
		return true;
	case SLOT_O_W:
		*out = ENGINE_SEES_OUTPUT;
		return true;
	case SLOT_UP_W:
	case SLOT_GATE_W:
		*out = ENGINE_SEES_FFN;
		return true;
	case SLOT_DOWN_W:
		*out = ENGINE_SEES_DOWN;
		return true;
	default:
		return false;
	}
}

const struct moments *
statistics_of(const struct statistics *s, struct slot_ref ref)
{
	enum engine_place place;

	if (ref.layer < 0 || ref.layer >= s->nlayers ||
	    !statistics_place(ref.slot, &place) ||
	    s->at[ref.layer][place].rows == 0)
		return NULL;
	return &s->at[ref.layer][place];
}

double
statistics_turn(const struct statistics *s, int layer, enum turn t)
{
	return s->turned[layer][t] > 0 ? s->turn[layer][t] /
	    (double)s->turned[layer][t] : NAN;
}
