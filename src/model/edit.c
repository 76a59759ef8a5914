/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The gate keeps a private copy of the model struct (pointers, not data) and a
 * memo of transforms done in this edit: (tensor, key) -> result. The memo is
 * what keeps tied slots tied when they are cut alike.
 */
#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/arch.h"

struct memo {
	struct tensor *from, *to;	/* both referenced */
	uint64_t key;
	struct memo *next;
};

static struct model *
model_blank(int nlayers)
{
	struct model *m = xcalloc(1, sizeof(*m) +
	    (size_t)nlayers * sizeof(m->layer[0]));

	atomic_init(&m->refs, 1);
	m->nlayers = nlayers;
	return m;
}

struct edit *
edit_begin(const struct model *source, enum edit_mode mode, uint64_t seed,
    struct task *task)
{
	struct edit *e = xcalloc(1, sizeof(*e));
	struct model *m = model_blank(source->nlayers);

	m->arch = source->arch;
	m->origin = source->origin != NULL ? origin_ref(source->origin) : NULL;
	m->tokens = token_map_ref(source->tokens);
	m->hp = source->hp;
	memcpy(m->layer, source->layer,
	    (size_t)m->nlayers * sizeof(m->layer[0]));
	memcpy(m->t, source->t, sizeof(m->t));
	for (int l = 0; l < m->nlayers; l++)
		for (int s = 0; s < SLOT_LAYER_COUNT; s++)
			if (m->layer[l].t[s] != NULL)
				tensor_ref(m->layer[l].t[s]);
	for (int s = 0; s < SLOT_COUNT - SLOT_LAYER_COUNT; s++)
		if (m->t[s] != NULL)
			tensor_ref(m->t[s]);
	e->m = m;
	e->source = model_ref(source);
	e->ctx.estimate = mode == EDIT_ESTIMATE;
	e->ctx.seed = seed;
	e->ctx.task = task;
	return e;
}

struct edit *
edit_begin_new(const struct arch *arch, const struct hparams *hp, int nlayers,
    struct origin *origin)
{
	struct edit *e = xcalloc(1, sizeof(*e));

	e->m = model_blank(nlayers);
	e->m->arch = arch;
	e->m->hp = *hp;
	e->m->origin = origin;
	return e;
}

void
edit_abort(struct edit *e)
{
	struct memo *n, *next;

	if (e == NULL)
		return;
	for (n = e->memo; n != NULL; n = next) {
		next = n->next;
		tensor_unref(n->from);
		tensor_unref(n->to);
		free(n);
	}
	model_unref(e->m);
	model_unref((struct model *)e->source);
	free(e);
}

static struct tensor **
slot_of(struct model *m, struct slot_ref ref)
{
	if (ref.slot >= SLOT_LAYER_COUNT)
		return &m->t[ref.slot - SLOT_LAYER_COUNT];
	return &m->layer[ref.layer].t[ref.slot];
}

void
edit_set(struct edit *e, struct slot_ref ref, struct tensor *t)
{
	struct tensor **p = slot_of(e->m, ref);

	tensor_unref(*p);
	*p = t;
}

struct tensor *
edit_get(const struct edit *e, struct slot_ref ref)
{
	return model_slot(e->m, ref);
}

static struct tensor *
memo_find(const struct edit *e, const struct tensor *from, uint64_t key)
{
	for (const struct memo *n = e->memo; n != NULL; n = n->next)
		if (n->from == from && n->key == key)
			return n->to;
	return NULL;
}

static void
memo_put(struct edit *e, const struct tensor *from, uint64_t key,
    const struct tensor *to)
{
	struct memo *n = xcalloc(1, sizeof(*n));

	n->from = tensor_ref(from);
	n->to = tensor_ref(to);
	n->key = key;
	n->next = e->memo;
	e->memo = n;
}

/* Key of what became of the base of a tensor, apart from what became of it. */
#define BASE_KEY UINT64_C(0x9ba5e0b05ba5e11d)

/* Tensors that stood on one base (or are it), and whose bases became alike, stand
 * on one again. *to is replaced where that takes another base. */
static enum pare_rc
share_base(struct edit *e, const struct tensor *from, uint64_t key,
    struct tensor **to, struct pare_err *err)
{
	const struct tensor *was = tensor_base(from), *is = tensor_base(*to);
	const bool alone = was == from;
	struct tensor *base, *made;

	if (alone != (is == *to) || is == was)
		return PARE_OK;
	base = memo_find(e, was, key ^ BASE_KEY);
	if (base == NULL)
		memo_put(e, was, key ^ BASE_KEY, is);
	if (base == NULL || base == is || base->ghost != is->ghost ||
	    tensor_hash(base) != tensor_hash(is))
		return PARE_OK;
	made = alone ? tensor_ref(base) : tensor_rebase(*to, base, err);
	if (made == NULL)
		return PARE_ENOMEM;
	tensor_unref(*to);
	*to = made;
	return PARE_OK;
}

enum pare_rc
edit_map(struct edit *e, struct slot_ref ref, uint64_t key,
    edit_transform *fn, void *arg, struct pare_err *err)
{
	struct tensor *from = edit_get(e, ref), *to;

	if (from == NULL)
		return PARE_OK;
	to = memo_find(e, from, key);
	if (to != NULL) {
		edit_set(e, ref, tensor_ref(to));
		return PARE_OK;
	}
	if (task_canceled(e->ctx.task))
		return task_error(err);
	to = fn(from, arg, &e->ctx, err);
	if (to == NULL)
		return err != NULL ? err->rc : PARE_ENOMEM;
	if (share_base(e, from, key, &to, err) != PARE_OK) {
		tensor_unref(to);
		return PARE_ENOMEM;
	}
	memo_put(e, from, key, to);
	edit_set(e, ref, to);
	return PARE_OK;
}

/* One side of a structural cut: which rows or columns stay. */
struct cut {
	int axis;
	const int64_t *keep;
	int64_t n;
};

static struct tensor *
cut_tensor(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct cut *c = arg;

	return tensor_select(t, c->axis, c->keep, c->n, ctx, err);
}

/* Cuts a matrix slot on the given axis; a vector has only axis 1. */
static enum pare_rc
cut_slot(struct edit *e, int layer, enum slot slot, int axis,
    const int64_t *keep, int64_t n, struct pare_err *err)
{
	struct slot_ref ref = { layer, slot };
	struct tensor *t = edit_get(e, ref);
	struct cut c = { axis, keep, n };
	char path[64];

	if (t == NULL)
		return PARE_OK;
	if (t->ndim == 1)
		c.axis = 1;
	if (edit_map(e, ref, hash_bytes(keep, (size_t)n * sizeof(*keep),
	    0x5e1ec7u + (uint64_t)c.axis), cut_tensor, &c, err) == PARE_OK)
		return PARE_OK;
	model_slot_path(ref, path, sizeof(path));
	return err_prefix(err, "%s", path);
}

static int64_t *
head_rows(const int *position, int n, int head_dim)
{
	int64_t *keep = xmalloc((size_t)n * (size_t)head_dim * sizeof(*keep));

	for (int i = 0; i < n; i++)
		for (int j = 0; j < head_dim; j++)
			keep[(int64_t)i * head_dim + j] =
			    (int64_t)position[i] * head_dim + j;
	return keep;
}

/*
 * Positions (among the present heads) of the query heads and KV heads that
 * stay. A KV head goes when all the query heads it serves go; serving some is
 * refused, for the group would be lopsided.
 */
static enum pare_rc
kept_positions(const struct layer *y, int layer, const struct head_set *drop,
    int *q, int *nq, int *kv, int *nkv, struct pare_err *err)
{
	int served = y->heads / y->kv_heads, position = 0, kept_here = 0;

	*nq = *nkv = 0;
	for (int h = 0; h < y->heads_original; h++) {
		if (!head_set_has(&y->head, h))
			continue;
		if (!head_set_has(drop, h)) {
			q[(*nq)++] = position;
			kept_here++;
		}
		position++;
		if (position % served != 0)
			continue;
		if (kept_here != 0 && kept_here != served) {
			err_set(err, PARE_EUSER, "L%d: heads share KV heads in "
			    "groups of %d and only whole groups can go",
			    layer, served);
			return err_hint(err, "name all %d heads of the group "
			    "of head %d", served, h);
		}
		if (kept_here != 0)
			kv[(*nkv)++] = position / served - 1;
		kept_here = 0;
	}
	return PARE_OK;
}

static enum pare_rc
cut_heads(struct edit *e, int layer, const int *q, int nq, const int *kv,
    int nkv, struct pare_err *err)
{
	static const enum slot q_slots[] = { SLOT_Q_W, SLOT_Q_B };
	static const enum slot kv_slots[] = { SLOT_K_W, SLOT_K_B, SLOT_V_W,
		SLOT_V_B };
	int d = e->m->layer[layer].head_dim;
	int64_t *qk = head_rows(q, nq, d), *kk = head_rows(kv, nkv, d);
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < 2 && rc == PARE_OK; i++)
		rc = cut_slot(e, layer, q_slots[i], 0, qk, (int64_t)nq * d,
		    err);
	for (int i = 0; i < 4 && rc == PARE_OK; i++)
		rc = cut_slot(e, layer, kv_slots[i], 0, kk, (int64_t)nkv * d,
		    err);
	if (rc == PARE_OK)
		rc = cut_slot(e, layer, SLOT_O_W, 1, qk, (int64_t)nq * d, err);
	free(qk);
	free(kk);
	return rc;
}

enum pare_rc
edit_drop_heads(struct edit *e, int layer, const struct head_set *drop,
    struct pare_err *err)
{
	struct layer *y = &e->m->layer[layer];
	int q[MODEL_HEADS_MAX], kv[MODEL_HEADS_MAX], nq, nkv;
	enum pare_rc rc;

	for (int h = 0; h < MODEL_HEADS_MAX; h++)
		if (head_set_has(drop, h) && !head_set_has(&y->head, h))
			return err_set(err, PARE_EUSER,
			    h < y->heads_original ?
			    "head %d of L%d is already removed" :
			    "there is no head %d in L%d", h, layer);
	if (head_set_count(drop) == 0)
		return PARE_OK;
	if (head_set_count(drop) >= y->heads) {
		err_set(err, PARE_EUSER,
		    "this would remove every head of L%d", layer);
		return err_hint(err, "keep one, or remove the whole sub-layer: "
		    "prune attention L%d", layer);
	}
	rc = kept_positions(y, layer, drop, q, &nq, kv, &nkv, err);
	if (rc == PARE_OK)
		rc = cut_heads(e, layer, q, nq, kv, nkv, err);
	if (rc != PARE_OK)
		return rc;
	for (int i = 0; i < MODEL_HEADS_MAX / 64; i++)
		y->head.w[i] &= ~drop->w[i];
	y->heads = nq;
	y->kv_heads = nkv;
	return PARE_OK;
}

enum pare_rc
edit_keep_neurons(struct edit *e, int layer, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	static const enum slot row_slots[] = { SLOT_UP_W, SLOT_UP_B,
		SLOT_GATE_W, SLOT_GATE_B };
	struct layer *y = &e->m->layer[layer];
	enum pare_rc rc = PARE_OK;

	if (y->ffn == 0)
		return err_set(err, PARE_EUSER, "L%d has no FFN", layer);
	if (n < 1) {
		err_set(err, PARE_EUSER, "this would remove every neuron of "
		    "L%d", layer);
		return err_hint(err, "keep one, or remove the whole sub-layer: "
		    "prune ffn L%d", layer);
	}
	if (n == y->ffn)
		return PARE_OK;
	for (int i = 0; i < 4 && rc == PARE_OK; i++)
		rc = cut_slot(e, layer, row_slots[i], 0, keep, n, err);
	if (rc == PARE_OK)
		rc = cut_slot(e, layer, SLOT_DOWN_W, 1, keep, n, err);
	if (rc == PARE_OK)
		y->ffn = n;
	return rc;
}

/* The ids of the origin that are left. */
static struct token_map *
map_tokens(const struct model *m, const int64_t *keep, int64_t n)
{
	int64_t *id = xmalloc((size_t)n * sizeof(*id));
	struct token_map *t;

	for (int64_t i = 0; i < n; i++)
		id[i] = m->tokens != NULL ? m->tokens->id[keep[i]] : keep[i];
	t = token_map_new(id, n, m->tokens != NULL ? m->tokens->of :
	    m->hp.vocab);
	free(id);
	return t;
}

enum pare_rc
edit_keep_tokens(struct edit *e, const int64_t *keep, int64_t n,
    struct pare_err *err)
{
	struct model *m = e->m;
	struct token_map *map;
	enum pare_rc rc;
	int64_t pad;

	if (n < 1)
		return err_set(err, PARE_EUSER,
		    "this would remove every token");
	if (n == m->hp.vocab)
		return PARE_OK;
	map = map_tokens(m, keep, n);
	pad = m->hp.pad == 0 ? 0 : 1 + token_map_id(map, m->tokens != NULL ?
	    m->tokens->id[m->hp.pad - 1] : m->hp.pad - 1);
	if (m->hp.pad != 0 && pad == 0) {
		token_map_unref(map);
		return err_set(err, PARE_EUSER,
		    "this would remove the padding token");
	}
	rc = cut_slot(e, -1, SLOT_WORD, 0, keep, n, err);
	if (rc == PARE_OK && head_gives_tokens(m->hp.head))
		rc = cut_slot(e, -1, SLOT_HOUT_W, 0, keep, n, err);
	if (rc == PARE_OK && head_gives_tokens(m->hp.head))
		rc = cut_slot(e, -1, SLOT_HOUT_B, 0, keep, n, err);
	if (rc != PARE_OK) {
		token_map_unref(map);
		return rc;
	}
	token_map_unref(m->tokens);
	m->tokens = map;
	m->hp.vocab = n;
	m->hp.pad = pad;
	return PARE_OK;
}

static void
clear_slots(struct edit *e, int layer, enum slot first, enum slot last)
{
	for (int s = first; s <= (int)last; s++)
		edit_set(e, (struct slot_ref){ layer, (enum slot)s }, NULL);
}

enum pare_rc
edit_drop_attention(struct edit *e, int layer, struct pare_err *err)
{
	struct layer *y = &e->m->layer[layer];

	if (y->heads == 0)
		return err_set(err, PARE_EUSER,
		    "the attention of L%d is already removed", layer);
	clear_slots(e, layer, SLOT_Q_W, SLOT_KNORM_W);
	y->heads = y->kv_heads = 0;
	memset(&y->head, 0, sizeof(y->head));
	return PARE_OK;
}

enum pare_rc
edit_drop_ffn(struct edit *e, int layer, struct pare_err *err)
{
	struct layer *y = &e->m->layer[layer];

	if (y->ffn == 0)
		return err_set(err, PARE_EUSER,
		    "the FFN of L%d is already removed", layer);
	clear_slots(e, layer, SLOT_UP_W, SLOT_DOWN_B);
	y->ffn = 0;
	return PARE_OK;
}

enum pare_rc
edit_drop_layer(struct edit *e, int layer, struct pare_err *err)
{
	struct model *m = e->m;

	if (m->nlayers == 1) {
		err_set(err, PARE_EUSER, "L%d is the only layer left", layer);
		return err_hint(err, "remove its parts instead: "
		    "prune attention L0, prune ffn L0");
	}
	clear_slots(e, layer, (enum slot)0, (enum slot)(SLOT_LAYER_COUNT - 1));
	memmove(&m->layer[layer], &m->layer[layer + 1],
	    (size_t)(m->nlayers - layer - 1) * sizeof(m->layer[0]));
	m->nlayers--;
	memset(&m->layer[m->nlayers], 0, sizeof(m->layer[0]));
	return PARE_OK;
}

/* ---- commit ---------------------------------------------------------- */

static enum pare_rc
check_shape(const struct model *m, struct slot_ref ref, struct pare_err *err)
{
	const struct slot_facts *f = &slot_table[ref.slot];
	const struct tensor *t = model_slot(m, ref);
	int64_t rows = model_dim(m, ref.layer, f->rows);
	int64_t cols = model_dim(m, ref.layer, f->cols);
	int ndim = f->rows == DIM_NONE ? 1 : 2;
	char path[64];

	if (t->rows == rows && t->cols == cols && t->ndim == ndim)
		return PARE_OK;
	model_slot_path(ref, path, sizeof(path));
	return err_set(err, PARE_EFORMAT,
	    "%s is %lld x %lld; the model needs %lld x %lld", path,
	    (long long)t->rows, (long long)t->cols, (long long)rows,
	    (long long)cols);
}

static enum pare_rc
check_layer(const struct model *m, int l, struct pare_err *err)
{
	static const enum slot attention[] = { SLOT_Q_W, SLOT_K_W, SLOT_V_W,
		SLOT_O_W };
	static const enum slot ffn[] = { SLOT_UP_W, SLOT_DOWN_W };
	const struct layer *y = &m->layer[l];

	if (y->heads < 0 || y->heads > MODEL_HEADS_MAX || y->head_dim < 0 ||
	    y->ffn < 0 || head_set_count(&y->head) != y->heads ||
	    y->kv_heads < (y->heads > 0) || y->kv_heads > y->heads ||
	    (y->heads > 0 && (y->heads % y->kv_heads != 0 ||
	    y->head_dim < 1)))
		return err_set(err, PARE_EFORMAT, "L%d: %d heads of %d with "
		    "%d KV heads make no attention", l, y->heads, y->head_dim,
		    y->kv_heads);
	for (int i = 0; i < 4; i++)
		if ((y->t[attention[i]] != NULL) != (y->heads > 0))
			return err_set(err, PARE_EFORMAT, "L%d.attn.%s %s", l,
			    slot_table[attention[i]].name, y->heads > 0 ?
			    "is missing" : "has no heads to serve");
	for (int i = 0; i < 2; i++)
		if ((y->t[ffn[i]] != NULL) != (y->ffn > 0))
			return err_set(err, PARE_EFORMAT, "L%d.ffn.%s %s", l,
			    slot_table[ffn[i]].name, y->ffn > 0 ?
			    "is missing" : "has no neurons to serve");
	return PARE_OK;
}

static enum pare_rc
check_model(const struct model *m, struct pare_err *err)
{
	struct slot_ref r = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	if (m->nlayers < 1)
		return err_set(err, PARE_EFORMAT, "the model has no layers");
	if (m->t[SLOT_WORD - SLOT_LAYER_COUNT] == NULL)
		return err_set(err, PARE_EFORMAT, "emb.word is missing");
	if (m->t[SLOT_PROJ_W - SLOT_LAYER_COUNT] == NULL &&
	    m->hp.embed != m->hp.hidden)
		return err_set(err, PARE_EFORMAT, "emb.proj is missing: the "
		    "embedding is %lld wide and the layers are %lld",
		    (long long)m->hp.embed, (long long)m->hp.hidden);
	if (m->hp.head != HEAD_NONE &&
	    m->t[SLOT_HOUT_W - SLOT_LAYER_COUNT] == NULL)
		return err_set(err, PARE_EFORMAT, "head.out is missing");
	for (int l = 0; l < m->nlayers && rc == PARE_OK; l++)
		rc = check_layer(m, l, err);
	while (rc == PARE_OK && model_next_slot(m, &r))
		rc = check_shape(m, r, err);
	return rc;
}

static bool
any_ghost(const struct model *m)
{
	struct slot_ref r = SLOT_REF_START;

	while (model_next_slot(m, &r))
		if (model_slot(m, r)->ghost)
			return true;
	return false;
}

enum pare_rc
edit_commit(struct edit *e, struct model **out, struct pare_err *err)
{
	enum pare_rc rc = check_model(e->m, err);

	if (rc == PARE_OK) {
		e->m->ghost = any_ghost(e->m);
		*out = e->m;
		e->m = NULL;
	}
	edit_abort(e);
	return rc;
}
