/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Zeros go where something was removed: a head whose values are zero adds
 * nothing to the context, a neuron whose column of the down matrix is zero adds
 * nothing to the sum, whatever the softmax or the activation make of it.
 */
#include "file/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/arch.h"
#include "model/edit.h"
#include "tensor/form.h"

bool
fit_counts_heads(const struct arch *a)
{
	return a->keys.kv_heads != NULL;
}

/* ---- can it be told? ------------------------------------------------- */

static const char *
key_or(const char *key, const char *other)
{
	return key != NULL ? key : other;
}

static enum pare_rc
check_ffn(const struct model *m, int l, struct pare_err *err)
{
	const struct layer *y = &m->layer[l], *first = &m->layer[0];
	const char *key = key_or(m->arch->keys.ffn, "intermediate_size");

	if (y->ffn == 0)
		return err_set(err, PARE_EUSER, "L%d has no FFN, which no "
		    "%s of other programs can lack", l, m->arch->title);
	if (y->ffn != first->ffn && first->ffn != 0)
		return err_set(err, PARE_EUSER, "L%d has %lld FFN neurons and "
		    "L0 has %lld: %s has one %s for all layers", l,
		    (long long)y->ffn, (long long)first->ffn, m->arch->title,
		    key);
	return PARE_OK;
}

static enum pare_rc
check_heads(const struct model *m, int l, bool pruned, struct pare_err *err)
{
	const struct layer *y = &m->layer[l], *first = &m->layer[0];
	const char *title = m->arch->title;

	if (y->heads == 0)
		return err_set(err, PARE_EUSER, "L%d has no attention, which "
		    "no %s of other programs can lack", l, title);
	if (fit_counts_heads(m->arch)) {
		if (first->heads == 0 || (y->heads == first->heads &&
		    y->kv_heads == first->kv_heads &&
		    y->head_dim == first->head_dim))
			return PARE_OK;
		return err_set(err, PARE_EUSER, "L%d has %d heads (%d of keys "
		    "and values) and L0 has %d (%d): %s has one number for "
		    "all layers", l, y->heads, y->kv_heads, first->heads,
		    first->kv_heads, title);
	}
	if (y->heads_original != first->heads_original ||
	    y->head_dim != first->head_dim)
		return err_set(err, PARE_EUSER, "L%d had %d heads of %d and "
		    "L0 %d of %d: %s has one number for all layers", l,
		    y->heads_original, y->head_dim, first->heads_original,
		    first->head_dim, title);
	if (y->heads == y->heads_original || (pruned &&
	    (m->arch->flags & ARCH_GROUPS) == 0))
		return PARE_OK;
	return err_set(err, PARE_EUSER, "L%d has %d of %d heads: %s", l,
	    y->heads, y->heads_original, pruned ? "layers that share weights "
	    "cannot lack heads of their own" :
	    "the format has one number for all layers");
}

enum pare_rc
fit_check(const struct model *m, bool pruned, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int l = 0; rc == PARE_OK && l < m->nlayers; l++) {
		rc = check_heads(m, l, pruned, err);
		if (rc == PARE_OK)
			rc = check_ffn(m, l, err);
	}
	return rc;
}

/* ---- zeros ----------------------------------------------------------- */

/* Where the rows and columns of a matrix go; NULL: where they are. A vector has
 * the outputs of its matrix, rows. */
struct place {
	int64_t rows, cols;
	const int64_t *row, *col;
};

static struct tensor *
place_tensor(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	const struct place *p = arg;
	const bool vector = t->ndim == 1;
	const int64_t rows = vector ? 1 : p->rows;
	const int64_t cols = vector ? p->rows : p->cols;
	const int64_t *row = vector ? NULL : p->row;
	const int64_t *col = vector ? p->row : p->col;
	struct tensor *f, *cast;
	float *line, *out;

	f = tensor_new_f32(t->ndim, rows, cols, &out, err);
	line = f != NULL ? mem_big((size_t)t->cols, sizeof(*line), err) : NULL;
	if (line == NULL) {
		tensor_unref(f);
		return NULL;
	}
	memset(out, 0, (size_t)(rows * cols) * sizeof(*out));
	for (int64_t r = 0; r < t->rows; r++) {
		float *to = out + (row != NULL ? row[r] : r) * cols;

		tensor_decode(t, r, 1, line);
		for (int64_t c = 0; c < t->cols; c++)
			to[col != NULL ? col[c] : c] = line[c];
	}
	free(line);
	if (!form_table[t->form].is_float || t->form == FORM_F32)
		return f;
	cast = tensor_cast(f, t->form, ctx, err);
	tensor_unref(f);
	return cast;
}

static uint64_t
hash_map(const int64_t *map, int64_t n, uint64_t seed)
{
	return map == NULL ? hash_mix(seed, 1) : hash_bytes(map, (size_t)n *
	    sizeof(*map), seed);
}

static enum pare_rc
place_slot(struct edit *e, int layer, enum slot s, struct place p,
    struct pare_err *err)
{
	const struct tensor *t = edit_get(e, (struct slot_ref){ layer, s });
	uint64_t key;

	if (t == NULL)
		return PARE_OK;
	key = hash_mix(hash_mix(0x9ad, (uint64_t)p.rows), (uint64_t)p.cols);
	key = hash_map(p.row, t->ndim == 1 ? t->cols : t->rows, key);
	key = hash_map(p.col, t->cols, key);
	return edit_map(e, (struct slot_ref){ layer, s }, key, place_tensor,
	    &p, err);
}

/* What a padded layer looks like. */
struct shape {
	int heads, kv_heads, head_dim;
	int64_t ffn;
	int with_attention, with_ffn;	/* layers that have them; -1: none */
};

static enum pare_rc
find_shape(const struct model *m, struct shape *out, struct pare_err *err)
{
	const bool counts = fit_counts_heads(m->arch);

	*out = (struct shape){ .with_attention = -1, .with_ffn = -1 };
	for (int l = 0; l < m->nlayers; l++) {
		const struct layer *y = &m->layer[l];
		int heads = counts ? y->heads : y->heads_original;
		int kv = counts ? y->kv_heads : y->heads_original;

		out->ffn = y->ffn > out->ffn ? y->ffn : out->ffn;
		out->with_ffn = y->ffn > 0 ? l : out->with_ffn;
		if (y->heads == 0)
			continue;
		if (out->with_attention >= 0 && (y->head_dim !=
		    out->head_dim || heads * out->kv_heads != kv *
		    out->heads || (!counts && heads != out->heads)))
			return err_set(err, PARE_EUSER, "L%d has heads of "
			    "another kind than L%d, which zeros cannot even "
			    "out", l, out->with_attention);
		out->with_attention = l;
		out->head_dim = y->head_dim;
		if (heads > out->heads) {
			out->heads = heads;
			out->kv_heads = kv;
		}
	}
	if (out->with_attention < 0) {
		out->heads = out->kv_heads = m->layer[0].heads_original;
		out->head_dim = m->layer[0].head_dim;
	}
	if (out->ffn == 0)
		out->ffn = m->layer[0].ffn_original;
	return PARE_OK;
}

/* Where the n head positions of a layer go, value by value; malloc'ed. */
static int64_t *
head_map(const struct model *m, const struct layer *y, int n, int dim)
{
	int64_t *map = xmalloc((size_t)(n * dim + 1) * sizeof(*map));
	const bool counts = fit_counts_heads(m->arch);
	int at = 0;

	for (int h = 0; at < n; h++) {
		if (!counts && !head_set_has(&y->head, h))
			continue;
		for (int i = 0; i < dim; i++)
			map[at * dim + i] = (int64_t)(counts ? at : h) * dim +
			    i;
		at++;
	}
	return map;
}

static enum pare_rc
pad_heads(struct edit *e, int l, const struct shape *s, struct pare_err *err)
{
	static const enum slot out[] = { SLOT_Q_W, SLOT_Q_B, SLOT_K_W,
		SLOT_K_B, SLOT_V_W, SLOT_V_B };
	const struct layer *y = &e->m->layer[l];
	const int64_t hidden = e->m->hp.hidden;
	int64_t *q = head_map(e->m, y, y->heads, s->head_dim);
	int64_t *kv = head_map(e->m, y, y->kv_heads, s->head_dim);
	const int64_t nq = (int64_t)s->heads * s->head_dim;
	const int64_t nkv = (int64_t)s->kv_heads * s->head_dim;
	enum pare_rc rc = PARE_OK;

	for (int i = 0; rc == PARE_OK && i < 6; i++)
		rc = place_slot(e, l, out[i], (struct place){ i < 2 ? nq : nkv,
		    hidden, i < 2 ? q : kv, NULL }, err);
	if (rc == PARE_OK)
		rc = place_slot(e, l, SLOT_O_W, (struct place){ hidden, nq,
		    NULL, q }, err);
	free(q);
	free(kv);
	return rc;
}

static enum pare_rc
pad_neurons(struct edit *e, int l, const struct shape *s,
    struct pare_err *err)
{
	static const enum slot out[] = { SLOT_UP_W, SLOT_UP_B, SLOT_GATE_W,
		SLOT_GATE_B };
	const int64_t hidden = e->m->hp.hidden;
	enum pare_rc rc = PARE_OK;

	for (int i = 0; rc == PARE_OK && i < 4; i++)
		rc = place_slot(e, l, out[i], (struct place){ s->ffn, hidden,
		    NULL, NULL }, err);
	return rc == PARE_OK ? place_slot(e, l, SLOT_DOWN_W,
	    (struct place){ hidden, s->ffn, NULL, NULL }, err) : rc;
}

/* Whether layers of this model have the slot: as the layer like does, or, where
 * no layer has the sub-layer any more, as the names say. */
static bool
has_slot(const struct model *m, int like, enum slot s)
{
	if (like >= 0)
		return m->layer[like].t[s] != NULL;
	for (const struct arch_name *n = m->arch->names; n->name != NULL; n++)
		if (n->slot == s)
			return slot_table[s].matrix ||
			    slot_table[s].kind == KIND_NORM ||
			    (m->arch->flags & ARCH_BIAS_SAID) == 0;
	return false;
}

/* Zeros (ones for a norm) in the slots first to last of a layer that has none.
 * The layer's numbers are those of the result already. */
static enum pare_rc
fill_slots(struct edit *e, int l, int like, enum slot first, enum slot last,
    struct pare_err *err)
{
	for (int k = first; k <= (int)last; k++) {
		const struct slot_facts *f = &slot_table[k];
		int64_t rows, cols;
		struct tensor *t;
		float *v;

		if (!has_slot(e->m, like, (enum slot)k))
			continue;
		rows = model_dim(e->m, l, f->rows);
		cols = model_dim(e->m, l, f->cols);
		t = tensor_new_f32(f->rows == DIM_NONE ? 1 : 2, rows, cols, &v,
		    err);
		if (t == NULL)
			return PARE_ENOMEM;
		for (int64_t i = 0; i < t->rows * t->cols; i++)
			v[i] = f->kind == KIND_NORM ? 1.0f : 0.0f;
		edit_set(e, (struct slot_ref){ l, (enum slot)k }, t);
	}
	return PARE_OK;
}

static void
set_heads(struct layer *y, const struct shape *s)
{
	y->heads = y->heads_original = s->heads;
	y->kv_heads = s->kv_heads;
	y->head_dim = s->head_dim;
	memset(&y->head, 0, sizeof(y->head));
	for (int h = 0; h < s->heads; h++)
		head_set_put(&y->head, h, true);
}

static enum pare_rc
pad_layer(struct edit *e, int l, const struct shape *s, struct pare_err *err)
{
	struct layer *y = &e->m->layer[l];
	const bool attention = y->heads > 0, ffn = y->ffn > 0;
	enum pare_rc rc = PARE_OK;

	if (attention && y->heads < s->heads)
		rc = pad_heads(e, l, s, err);
	set_heads(y, s);
	if (rc == PARE_OK && !attention)
		rc = fill_slots(e, l, s->with_attention, SLOT_Q_W,
		    SLOT_KNORM_W, err);
	if (rc == PARE_OK && ffn && y->ffn < s->ffn)
		rc = pad_neurons(e, l, s, err);
	y->ffn = y->ffn_original = s->ffn;
	if (rc == PARE_OK && !ffn)
		rc = fill_slots(e, l, s->with_ffn, SLOT_UP_W, SLOT_DOWN_B,
		    err);
	return rc;
}

enum pare_rc
fit_pad(const struct model *m, struct task *task, struct model **out,
    struct pare_err *err)
{
	struct edit *e;
	struct shape s;
	enum pare_rc rc = find_shape(m, &s, err);

	if (rc != PARE_OK)
		return rc;
	e = edit_begin(m, EDIT_REAL, 0, task);
	for (int l = 0; rc == PARE_OK && l < m->nlayers; l++)
		rc = pad_layer(e, l, &s, err);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

enum pare_rc
fit_renumber(const struct model *m, struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);

	for (int l = 0; l < m->nlayers; l++) {
		struct layer *y = &e->m->layer[l];
		struct shape s = { y->heads, y->kv_heads, y->head_dim, 0, 0,
			0 };

		if (fit_counts_heads(m->arch))
			set_heads(y, &s);
		y->ffn_original = y->ffn;
	}
	return edit_commit(e, out, err);
}

/* ---- floats ---------------------------------------------------------- */

struct floats {
	enum form_kind form, packed;
};

static struct tensor *
float_tensor(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	const struct floats *w = arg;
	enum form_kind to = w->form;
	struct tensor *f, *cast;

	if (form_table[t->form].is_float)
		return to == FORM_COUNT ? tensor_ref(t) : tensor_cast(t, to,
		    ctx, err);
	to = to == FORM_COUNT ? w->packed : to;
	f = tensor_to_f32(t, err);
	if (f == NULL || to == FORM_F32)
		return f;
	cast = tensor_cast(f, to, ctx, err);
	tensor_unref(f);
	return cast;
}

enum pare_rc
fit_floats(const struct model *m, enum form_kind form, enum form_kind packed,
    struct task *task, struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, task);
	struct floats w = { form, packed };
	struct slot_ref r = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && model_next_slot(m, &r))
		rc = edit_map(e, r, 1, float_tensor, &w, err);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

/* ---- rotated pairs --------------------------------------------------- */

struct rotation {
	int dim;
	bool interleaved;	/* of the result */
};

/* Which row of a head of dim rows stands at row j of the result. */
static int
row_from(const struct rotation *w, int j)
{
	const int half = w->dim / 2;

	if (w->interleaved)
		return j / 2 + (j % 2) * half;
	return j < half ? 2 * j : 2 * (j - half) + 1;
}

static struct tensor *
rotate_tensor(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	const struct rotation *w = arg;
	const int64_t n = t->ndim == 1 ? t->cols : t->rows;
	const size_t bytes = t->part[PART_DATA].n / (size_t)n;
	const unsigned char *from = t->part[PART_DATA].p;
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, facts = { .form = t->form,
		.values = t->values, .ndim = t->ndim, .rows = t->rows,
		.cols = t->cols, .code = t->code, .stored = t->stored };
	unsigned char *to;

	if (t->form != FORM_BLOCK && !form_table[t->form].is_float) {
		err_set(err, PARE_EUSER, "rows of %s cannot be moved",
		    form_table[t->form].name);
		return NULL;
	}
	to = mem_big((size_t)n, bytes, err);
	if (to == NULL)
		return NULL;
	for (int64_t h = 0; h < n; h += w->dim)
		for (int j = 0; j < w->dim; j++)
			memcpy(to + (size_t)(h + j) * bytes, from +
			    (size_t)(h + row_from(w, j)) * bytes, bytes);
	atomic_init(&facts.nonzero, -1);
	parts[PART_DATA].blob = blob_heap(to, (size_t)n * bytes);
	parts[PART_DATA].p = to;
	parts[PART_DATA].n = (size_t)n * bytes;
	return tensor_new(&facts, parts, kid, err);
}

enum pare_rc
fit_rotation(const struct model *m, bool interleaved, struct model **out,
    struct pare_err *err)
{
	static const enum slot slots[] = { SLOT_Q_W, SLOT_Q_B, SLOT_K_W,
		SLOT_K_B };
	enum pare_rc rc = PARE_OK;
	struct edit *e;

	if ((m->arch->flags & ARCH_ROTARY) == 0 ||
	    m->hp.rope.interleaved == interleaved) {
		*out = model_ref(m);
		return PARE_OK;
	}
	e = edit_begin(m, EDIT_REAL, 0, NULL);
	e->m->hp.rope.interleaved = interleaved;
	for (int l = 0; l < m->nlayers; l++)
		for (int i = 0; rc == PARE_OK && i < 4; i++) {
			struct slot_ref r = { l, slots[i] };
			struct rotation w = { m->layer[l].head_dim,
				interleaved };

			if (edit_get(e, r) != NULL)
				rc = edit_map(e, r, (uint64_t)w.dim,
				    rotate_tensor, &w, err);
		}
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

/* ---- frequencies of Llama 3 ------------------------------------------ */

/* What the frequency of pair i is divided by, as rope_table() has it. */
static double
llama3_divisor(const struct rope *r, int dim, int i)
{
	const double n = (double)r->original;
	double lambda = 2.0 * acos(-1.0) / pow(r->theta, -2.0 * i / dim), t;

	if (lambda > n / r->low)
		return r->factor;
	if (lambda < n / r->high)
		return 1.0;
	t = (n / lambda - r->low) / (r->high - r->low);
	return 1.0 / ((1.0 - t) / r->factor + t);
}

static enum pare_rc
make_divisors(struct edit *e, struct pare_err *err)
{
	const int dim = e->m->layer[0].head_dim;
	struct tensor *t;
	float *v;

	t = tensor_new_f32(1, 1, dim / 2, &v, err);
	if (t == NULL)
		return PARE_ENOMEM;
	for (int i = 0; i < dim / 2; i++)
		v[i] = (float)llama3_divisor(&e->m->hp.rope, dim, i);
	edit_set(e, (struct slot_ref){ -1, SLOT_ROPE }, t);
	e->m->hp.rope = (struct rope){ .kind = ROPE_PLAIN,
		.theta = e->m->hp.rope.theta,
		.interleaved = e->m->hp.rope.interleaved };
	return PARE_OK;
}

/* The settings that published models have. */
static const struct rope llama3_ropes[] = {
	{ .factor = 8.0, .low = 1.0, .high = 4.0, .original = 8192 },
	{ .factor = 32.0, .low = 1.0, .high = 4.0, .original = 8192 },
};

static enum pare_rc
find_divisors(struct edit *e, struct pare_err *err)
{
	const struct slot_ref r = { -1, SLOT_ROPE };
	const struct tensor *t = edit_get(e, r);
	const int n = (int)t->cols;
	float *v = xmalloc((size_t)n * sizeof(*v));
	bool found = false;

	tensor_decode(t, 0, 1, v);
	for (size_t k = 0; !found && k < sizeof(llama3_ropes) /
	    sizeof(*llama3_ropes); k++) {
		struct rope rope = llama3_ropes[k];

		rope.kind = ROPE_LLAMA3;
		rope.theta = e->m->hp.rope.theta;
		rope.interleaved = e->m->hp.rope.interleaved;
		found = true;
		for (int i = 0; found && i < n; i++) {
			double d = llama3_divisor(&rope, 2 * n, i);

			found = fabs((double)v[i] - d) <= 1e-4 * d;
		}
		if (found)
			e->m->hp.rope = rope;
	}
	free(v);
	if (!found)
		return err_set(err, PARE_EUSER, "emb.rope holds divisors of "
		    "the rotation that no rope_scaling of configs gives");
	edit_set(e, r, NULL);
	return PARE_OK;
}

enum pare_rc
fit_rope(const struct model *m, bool divisors, struct model **out,
    struct pare_err *err)
{
	const bool there = model_slot(m, (struct slot_ref){ -1, SLOT_ROPE }) !=
	    NULL;
	struct edit *e;
	enum pare_rc rc;

	if (divisors ? m->hp.rope.kind != ROPE_LLAMA3 : !there) {
		*out = model_ref(m);
		return PARE_OK;
	}
	e = edit_begin(m, EDIT_REAL, 0, NULL);
	rc = divisors ? make_divisors(e, err) : find_divisors(e, err);
	if (rc == PARE_OK)
		return edit_commit(e, out, err);
	edit_abort(e);
	return rc;
}

/* ---- the body alone -------------------------------------------------- */

enum pare_rc
fit_body(const struct model *m, struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);

	for (int s = SLOT_HDENSE_W; s < SLOT_COUNT; s++)
		edit_set(e, (struct slot_ref){ -1, (enum slot)s }, NULL);
	e->m->hp.head = HEAD_NONE;
	e->m->hp.labels = 0;
	return edit_commit(e, out, err);
}
