/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/arch.h"

bool
head_set_has(const struct head_set *s, int h)
{
	return (s->w[h / 64] >> (h % 64) & 1) != 0;
}

void
head_set_put(struct head_set *s, int h, bool on)
{
	uint64_t bit = UINT64_C(1) << (h % 64);

	if (on)
		s->w[h / 64] |= bit;
	else
		s->w[h / 64] &= ~bit;
}

int
head_set_count(const struct head_set *s)
{
	int n = 0;

	for (int i = 0; i < MODEL_HEADS_MAX / 64; i++)
		n += __builtin_popcountll(s->w[i]);
	return n;
}

struct model *
model_ref(const struct model *m)
{
	struct model *p = (struct model *)m;

	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void
model_unref(struct model *m)
{
	if (m == NULL ||
	    atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (int l = 0; l < m->nlayers; l++)
		for (int s = 0; s < SLOT_LAYER_COUNT; s++)
			tensor_unref(m->layer[l].t[s]);
	for (int s = 0; s < SLOT_COUNT - SLOT_LAYER_COUNT; s++)
		tensor_unref(m->t[s]);
	origin_unref(m->origin);
	token_map_unref(m->tokens);
	free(m);
}

struct token_map *
token_map_new(const int64_t *keep, int64_t n, int64_t of)
{
	struct token_map *t = xmalloc(sizeof(*t) + (size_t)n *
	    sizeof(t->id[0]));

	atomic_init(&t->refs, 1);
	t->n = n;
	t->of = of;
	for (int64_t i = 0; i < n; i++)
		t->id[i] = (int32_t)keep[i];
	t->hash = hash_bytes(t->id, (size_t)n * sizeof(t->id[0]),
	    (uint64_t)of);
	return t;
}

struct token_map *
token_map_ref(struct token_map *t)
{
	if (t != NULL)
		atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void
token_map_unref(struct token_map *t)
{
	if (t != NULL && atomic_fetch_sub_explicit(&t->refs, 1,
	    memory_order_acq_rel) == 1)
		free(t);
}

bool
token_map_same(const struct token_map *a, const struct token_map *b)
{
	return a == b || (a != NULL && b != NULL && a->n == b->n &&
	    a->of == b->of && a->hash == b->hash);
}

int64_t
token_map_id(const struct token_map *t, int64_t origin_id)
{
	int64_t low = 0, high;

	if (t == NULL)
		return origin_id;
	high = t->n;
	while (low < high) {
		int64_t mid = low + (high - low) / 2;

		if (t->id[mid] < origin_id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->n && t->id[low] == origin_id ? low : -1;
}

struct origin *
origin_new(void)
{
	struct origin *o = xcalloc(1, sizeof(*o));

	atomic_init(&o->refs, 1);
	return o;
}

struct origin *
origin_ref(struct origin *o)
{
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}

void
origin_unref(struct origin *o)
{
	if (o == NULL ||
	    atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(o->path);
	free(o->name);
	free(o->dir);
	json_decref(o->config);
	for (int i = 0; i < o->nlabels; i++)
		free(o->label[i]);
	free(o->label);
	free(o->problem);
	free(o);
}

struct tensor *
model_slot(const struct model *m, struct slot_ref ref)
{
	if (ref.slot >= SLOT_LAYER_COUNT)
		return m->t[ref.slot - SLOT_LAYER_COUNT];
	return m->layer[ref.layer].t[ref.slot];
}

/*
 * Slots in the order of files as one line of numbers: the embedding slots, the
 * layers, then the slots behind the layers.
 */
static int
slot_line(struct slot_ref ref)
{
	int front = SLOT_FINAL_W - SLOT_LAYER_COUNT;

	if (ref.layer >= 0)
		return front + ref.layer * SLOT_LAYER_COUNT + (int)ref.slot;
	return (int)ref.slot < SLOT_FINAL_W ? (int)ref.slot - SLOT_LAYER_COUNT :
	    -1;
}

static struct slot_ref
slot_of_line(const struct model *m, int i)
{
	int front = SLOT_FINAL_W - SLOT_LAYER_COUNT;

	if (i < front)
		return (struct slot_ref){ -1, (enum slot)(SLOT_LAYER_COUNT + i) };
	i -= front;
	if (i < m->nlayers * SLOT_LAYER_COUNT)
		return (struct slot_ref){ i / SLOT_LAYER_COUNT,
			(enum slot)(i % SLOT_LAYER_COUNT) };
	i -= m->nlayers * SLOT_LAYER_COUNT;
	return (struct slot_ref){ -1, (enum slot)(SLOT_FINAL_W + i) };
}

bool
model_next_slot(const struct model *m, struct slot_ref *ref)
{
	int end = SLOT_COUNT - SLOT_LAYER_COUNT + m->nlayers * SLOT_LAYER_COUNT;
	int i;

	if (ref->layer == -2)
		i = 0;
	else if (ref->layer == -1 && ref->slot >= SLOT_FINAL_W)
		i = end - (SLOT_COUNT - (int)ref->slot) + 1;
	else
		i = slot_line(*ref) + 1;
	for (; i < end; i++) {
		*ref = slot_of_line(m, i);
		if (model_slot(m, *ref) != NULL)
			return true;
	}
	return false;
}

struct slot_ref
model_owner(const struct model *m, struct slot_ref ref)
{
	const struct tensor *t = model_slot(m, ref);
	struct slot_ref r = SLOT_REF_START;

	/* A tensor that nothing but this slot holds needs no search. */
	if (t == NULL)
		return ref;
	while (model_next_slot(m, &r))
		if (model_slot(m, r) == t)
			return r;
	return ref;
}

int64_t
model_dim(const struct model *m, int l, enum dim_kind d)
{
	const struct layer *y = l >= 0 ? &m->layer[l] : NULL;
	bool mlm = m->hp.head == HEAD_MLM;
	bool tokens = head_gives_tokens(m->hp.head);

	switch (d) {
	case DIM_NONE:
		return 1;
	case DIM_HIDDEN:
		return m->hp.hidden;
	case DIM_QUERY:
		return (int64_t)y->heads * y->head_dim;
	case DIM_KV:
		return (int64_t)y->kv_heads * y->head_dim;
	case DIM_FFN:
		return y->ffn;
	case DIM_VOCAB:
		return m->hp.vocab;
	case DIM_POSITIONS:
		return m->hp.positions;
	case DIM_TYPES:
		return m->hp.types;
	case DIM_EMBED:
		return m->hp.embed;
	case DIM_LABELS:
		return m->hp.labels;
	case DIM_HEAD_IN:
		return mlm ? m->hp.embed : m->hp.hidden;
	case DIM_HEAD_OUT:
		return tokens ? m->hp.vocab : m->hp.labels;
	case DIM_HEAD_DIM:
		return y->head_dim;
	case DIM_PAIRS:
		return m->layer[0].head_dim / 2;
	}
	return 0;
}

void
model_slot_path(struct slot_ref ref, char *out, size_t n)
{
	const struct slot_facts *f = &slot_table[ref.slot];

	if (ref.layer >= 0)
		snprintf(out, n, "L%d.%s.%s", ref.layer, f->module, f->name);
	else
		snprintf(out, n, "%s", f->name);
}

/* Architecture and hyper-parameters, with a number of layers. */
static uint64_t
hash_decoder(const struct hparams *p, uint64_t h)
{
	double v[] = { p->rope.kind, p->rope.theta, p->rope.factor,
		p->rope.low, p->rope.high, p->rope.attention,
		(double)p->rope.original, p->rope.interleaved,
		p->embed_scale, p->attn_scale, p->attn_cap, p->logit_cap };

	return hash_bytes(v, sizeof(v), h);
}

static uint64_t
hash_numbers(const struct model *m, int nlayers)
{
	const struct hparams *p = &m->hp;
	int64_t v[] = { p->hidden, p->embed, p->vocab, p->positions, p->types,
		p->labels, p->position_offset, p->act, p->head_act, p->head,
		nlayers, m->ghost };
	uint64_t h = hash_text(m->arch->model_type, 1);

	h = hash_bytes(v, sizeof(v), h);
	h = hash_bytes(&p->norm_eps, sizeof(p->norm_eps), h);
	if (p->pad != 0)
		h = hash_mix(h, (uint64_t)p->pad);
	return (m->arch->flags & ARCH_CAUSAL) != 0 ? hash_decoder(p, h) : h;
}

static uint64_t
hash_layer_shape(const struct layer *y, uint64_t h)
{
	int64_t w[] = { y->heads, y->kv_heads, y->head_dim, y->ffn };

	h = hash_bytes(w, sizeof(w), h);
	return y->window != 0 ? hash_mix(h, (uint64_t)y->window) : h;
}

static uint64_t
hash_shape(const struct model *m)
{
	uint64_t h = hash_numbers(m, m->nlayers);

	for (int l = 0; l < m->nlayers; l++)
		h = hash_layer_shape(&m->layer[l], h);
	return h;
}

/* Whether the head multiplies with t as well. */
static bool
is_of_head(const struct model *m, const struct tensor *t)
{
	for (int s = SLOT_FINAL_W; s < SLOT_COUNT; s++)
		if (m->t[s - SLOT_LAYER_COUNT] == t)
			return true;
	return false;
}

void
model_forget_tables(const struct model *m)
{
	for (int s = SLOT_WORD; s <= SLOT_TYPE; s++) {
		const struct tensor *t = m->t[s - SLOT_LAYER_COUNT];

		if (t != NULL && !is_of_head(m, t))
			tensor_forget(t);
	}
}

/* Ties enter by the slot that owns the tensor, so an untied copy of equal
 * content is another model: it weighs more. */
uint64_t
model_hash(const struct model *m)
{
	struct model *w = (struct model *)m;
	uint64_t h = atomic_load_explicit(&w->hash, memory_order_relaxed);
	struct slot_ref r = SLOT_REF_START;

	if (h != 0)
		return h;
	h = hash_shape(m);
	while (model_next_slot(m, &r)) {
		struct slot_ref owner = model_owner(m, r);
		int64_t v[] = { r.layer, r.slot, owner.layer, owner.slot };

		h = hash_bytes(v, sizeof(v), h);
		if (owner.layer == r.layer && owner.slot == r.slot)
			h = hash_mix(h, tensor_hash(model_slot(m, r)));
	}
	if (h == 0)
		h = 1;
	model_forget_tables(m);
	atomic_store_explicit(&w->hash, h, memory_order_relaxed);
	return h;
}

static uint64_t
hash_slot(const struct tensor *t, enum slot s, uint64_t h)
{
	return hash_mix(h, t != NULL ? hash_mix((uint64_t)s, tensor_hash(t)) :
	    0);
}

/* What comes before the layers; how many follow does not matter. */
static uint64_t
hash_embedding(const struct model *m)
{
	uint64_t h = hash_numbers(m, 0);

	for (int s = SLOT_LAYER_COUNT; s < SLOT_FINAL_W; s++)
		h = hash_slot(m->t[s - SLOT_LAYER_COUNT], (enum slot)s, h);
	return h;
}

static uint64_t
hash_layer(const struct layer *y, uint64_t h)
{
	h = hash_layer_shape(y, h);
	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		h = hash_slot(y->t[s], (enum slot)s, h);
	return h;
}

uint64_t
model_prefix_hash(const struct model *m, int l)
{
	uint64_t h = hash_embedding(m);

	for (int i = 0; i < l; i++)
		h = hash_layer(&m->layer[i], h);
	return h;
}

void
model_prefix_hashes(const struct model *m, uint64_t *out)
{
	out[0] = hash_embedding(m);
	for (int l = 0; l < m->nlayers; l++)
		out[l + 1] = hash_layer(&m->layer[l], out[l]);
}

void
model_label_name(const struct model *m, int k, char *out, size_t n)
{
	if (m->origin != NULL && k >= 0 && k < m->origin->nlabels)
		snprintf(out, n, "%s", m->origin->label[k]);
	else
		snprintf(out, n, "LABEL_%d", k);
}

static const struct {
	const char *name;
	const char *alias[4];
} act_table[ACT_COUNT] = {
	[ACT_GELU] = { "gelu", { "gelu_python" } },
	[ACT_GELU_TANH] = { "gelu_new",
	    { "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate" } },
	[ACT_GELU_QUICK] = { "quick_gelu", { NULL } },
	[ACT_SILU] = { "silu", { "swish" } },
	[ACT_RELU] = { "relu", { NULL } },
	[ACT_TANH] = { "tanh", { NULL } },
	[ACT_LINEAR] = { "linear", { NULL } },
};

const char *
act_name(enum act_kind a)
{
	return act_table[a].name;
}

bool
act_find(const char *hf_name, enum act_kind *out)
{
	for (int a = 0; a < ACT_COUNT; a++) {
		bool hit = strcmp(hf_name, act_table[a].name) == 0;

		for (int i = 0; i < 4 && act_table[a].alias[i] != NULL; i++)
			hit = hit || strcmp(hf_name, act_table[a].alias[i]) == 0;
		if (hit) {
			*out = (enum act_kind)a;
			return true;
		}
	}
	return false;
}

float
act_apply(enum act_kind a, float x)
{
	switch (a) {
	case ACT_GELU:
		return 0.5f * x * (1.0f + erff(x * 0.70710678f));
	case ACT_GELU_TANH:
		return 0.5f * x * (1.0f + tanhf(0.79788456f *
		    (x + 0.044715f * x * x * x)));
	case ACT_GELU_QUICK:
		return x / (1.0f + expf(-1.702f * x));
	case ACT_SILU:
		return x / (1.0f + expf(-x));
	case ACT_RELU:
		return x > 0.0f ? x : 0.0f;
	case ACT_TANH:
		return tanhf(x);
	case ACT_LINEAR:
	case ACT_COUNT:
		break;
	}
	return x;
}
