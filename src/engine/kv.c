/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine/kv.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/arch.h"

/* Values of a key or value matrix; INT64_MAX when that is too many. */
static int64_t
layer_values(const struct model *m, int layer, int64_t context)
{
	const struct layer *y = &m->layer[layer];
	int64_t n = 0;

	if (y->heads == 0 || (m->arch->flags & ARCH_CAUSAL) == 0)
		return 0;
	if (!mem_mul((int64_t)y->kv_heads * y->head_dim, context, &n) ||
	    !mem_add(n, 15, &n))
		return INT64_MAX;
	return n / 16 * 16;	/* whole cache lines */
}

int64_t
kv_layer_bytes(const struct model *m, int layer, int64_t context)
{
	const struct layer *y = &m->layer[layer];
	int64_t n;

	if (y->heads == 0 || (m->arch->flags & ARCH_CAUSAL) == 0)
		return 0;
	return mem_mul((int64_t)y->kv_heads * y->head_dim, context, &n) &&
	    mem_mul(n, 2 * sizeof(float), &n) ? n : INT64_MAX;
}

int64_t
kv_bytes(const struct model *m, int64_t context)
{
	int64_t sum = 0;

	for (int l = 0; l < m->nlayers; l++)
		if (!mem_add(sum, kv_layer_bytes(m, l, context), &sum))
			return INT64_MAX;
	return sum;
}

int64_t
kv_longest(const struct model *m)
{
	return m->hp.positions - m->hp.position_offset;
}

static enum pare_rc
check(const struct model *m, int64_t context, struct pare_err *err)
{
	if ((m->arch->flags & ARCH_CAUSAL) == 0)
		return err_set(err, PARE_EUSER, "%s is no decoder: its tokens "
		    "see those that follow", m->arch->title);
	if (context < 1)
		return err_set(err, PARE_EUSER, "a context of %lld tokens",
		    (long long)context);
	if (context <= kv_longest(m))
		return PARE_OK;
	return err_set(err, PARE_EUSER, "a context of %lld tokens: the model "
	    "has positions for %lld", (long long)context,
	    (long long)kv_longest(m));
}

/* Values of all layers; INT64_MAX when that is too many. */
static int64_t
all_values(const struct model *m, int64_t context)
{
	int64_t sum = 0;

	for (int l = 0; l < m->nlayers; l++) {
		const int64_t n = layer_values(m, l, context);

		if (!mem_add(sum, n, &sum) || !mem_add(sum, n, &sum))
			return INT64_MAX;
	}
	return sum;
}

struct kv *
kv_new(const struct model *m, int64_t context, struct pare_err *err)
{
	struct pare_err mine;
	struct kv *c;
	float *at;

	err = err != NULL ? err : &mine;
	if (check(m, context, err) != PARE_OK)
		return NULL;
	at = mem_big((size_t)all_values(m, context), sizeof(*at), err);
	if (at == NULL)
		return NULL;
	c = xcalloc(1, sizeof(*c));
	c->m = model_ref(m);
	c->context = context;
	c->memory = at;
	c->k = xcalloc((size_t)m->nlayers + 1, sizeof(*c->k));
	c->v = xcalloc((size_t)m->nlayers + 1, sizeof(*c->v));
	for (int l = 0; l < m->nlayers; l++) {
		const int64_t n = layer_values(m, l, context);

		if (n == 0)
			continue;
		c->k[l] = at;
		c->v[l] = at + n;
		at += 2 * n;
	}
	if ((m->arch->flags & ARCH_ROTARY) == 0 ||
	    m->hp.rope.kind != ROPE_DYNAMIC)
		return c;
	c->id = mem_big((size_t)context, sizeof(*c->id), err);
	if (c->id != NULL)
		return c;
	kv_free(c);
	return NULL;
}

void
kv_free(struct kv *c)
{
	if (c == NULL)
		return;
	model_unref(c->m);
	free(c->memory);
	free(c->k);
	free(c->v);
	free(c->id);
	free(c);
}

void
kv_cut(struct kv *c, int64_t n)
{
	if (n < c->length)
		c->length = n;
}
