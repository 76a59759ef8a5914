/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/fold.h"

#include "model/arch.h"

/* ---- where ---- */

static bool
is_float(const struct tensor *t)
{
	return t->form == FORM_F32 || t->form == FORM_F16 ||
	    t->form == FORM_BF16;
}

/* A tensor of floats that no other slot holds. */
static bool
is_own(const struct model *m, struct slot_ref ref)
{
	const struct tensor *t = model_slot(m, ref);
	struct slot_ref at = SLOT_REF_START;
	int n = 0;

	if (t == NULL || !is_float(t))
		return false;
	while (model_next_slot(m, &at))
		n += model_slot(m, at) == t;
	return n == 1;
}

static void
add_user(struct fold *f, const struct model *m, int layer, enum slot s)
{
	struct slot_ref ref = { layer, s };

	if (model_slot(m, ref) != NULL)
		f->user[f->n++] = ref;
}

/* The source of a place, and what reads it; false: none. */
static bool
look_up(const struct model *m, int layer, enum engine_place place,
    struct fold *f)
{
	const struct layer *y = &m->layer[layer];
	bool pre = (m->arch->flags & ARCH_PRE_NORM) != 0;
	bool linear = (m->arch->flags & ARCH_GATED) != 0 ||
	    m->hp.act == ACT_RELU || m->hp.act == ACT_LINEAR;
	enum slot s;

	*f = (struct fold){ .width = 1, .repeat = 1 };
	switch (place) {
	case ENGINE_SEES_QKV:
		for (s = SLOT_Q_W; s <= SLOT_V_W; s += 2)
			add_user(f, m, layer, s);
		s = SLOT_ANORM_W;
		break;
	case ENGINE_SEES_FFN:
		add_user(f, m, layer, SLOT_UP_W);
		add_user(f, m, layer, SLOT_GATE_W);
		s = SLOT_FNORM_W;
		break;
	case ENGINE_SEES_OUTPUT:
		add_user(f, m, layer, SLOT_O_W);
		f->width = y->head_dim;
		f->repeat = y->heads > 0 ? y->heads / y->kv_heads : 1;
		s = SLOT_V_W;
		break;
	case ENGINE_SEES_DOWN:
		add_user(f, m, layer, SLOT_DOWN_W);
		s = SLOT_UP_W;
		break;
	default:
		return false;
	}
	f->source = (struct slot_ref){ layer, s };
	f->bias = (struct slot_ref){ layer, s + 1 };
	return f->n > 0 && (!slot_table[s].matrix ? pre :
	    place == ENGINE_SEES_OUTPUT || linear);
}

bool
fold_find(const struct model *m, int layer, enum engine_place place,
    struct fold *out)
{
	if (!look_up(m, layer, place, out) || !is_own(m, out->source) ||
	    (model_slot(m, out->bias) != NULL && !is_own(m, out->bias)))
		return false;
	for (int i = 0; i < out->n; i++)
		if (!is_own(m, out->user[i]))
			return false;
	return true;
}

int64_t
fold_input(const struct fold *f, int64_t i)
{
	return i / f->width * f->width * f->repeat + i % f->width;
}

void
fold_pool(const struct fold *f, double *x, int64_t cols)
{
	for (int64_t i = 0; i < cols / f->repeat; i++) {
		double *at = x + fold_input(f, i), sum = 0;

		for (int64_t k = 0; k < f->repeat; k++)
			sum += at[k * f->width];
		for (int64_t k = 0; k < f->repeat; k++)
			at[k * f->width] = sum / (double)f->repeat;
	}
}

/* ---- the source ---- */

struct scaling {
	const struct fold *f;
	const float *by;
	float added;		/* to what is stored: 1 of Gemma's norms */
};

/* Row i of a matrix, or value i of a vector, times by[]. */
static struct tensor *
scale_rows(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct scaling *s = arg;
	int64_t each = t->ndim == 1 ? 1 : t->cols;
	struct tensor *out;
	float *v;

	if (t->ghost || ctx->estimate)
		return tensor_ghost(FORM_F32, t->ndim, t->rows, t->cols);
	out = tensor_new_f32(t->ndim, t->rows, t->cols, &v, err);
	if (out == NULL)
		return NULL;
	tensor_decode(t, 0, t->rows, v);
	for (int64_t i = 0; s->by != NULL && i < t->rows * t->cols; i++)
		v[i] = (v[i] + s->added) * s->by[fold_input(s->f, i / each)] -
		    s->added;
	return out;
}

enum pare_rc
fold_source(const struct fold *f, struct edit *e, const float *by,
    struct pare_err *err)
{
	bool matrix = slot_table[f->source.slot].matrix;
	struct scaling s = { f, by, !matrix &&
	    (e->m->arch->flags & ARCH_NORM_ONE) != 0 };
	struct slot_ref ref[] = { f->source, f->bias };

	for (int i = 0; i < 2; i++) {
		const struct tensor *t = edit_get(e, ref[i]);
		struct tensor *made;

		if (t == NULL)
			continue;
		s.added = i == 1 ? 0 : s.added;
		made = scale_rows(t, &s, &e->ctx, err);
		if (made == NULL)
			return PARE_ENOMEM;
		edit_set(e, ref[i], made);
	}
	return PARE_OK;
}
