/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * engine: the front door of the forward pass. Nothing that is wrong with a
 * model, a batch or a request gets past the checks here, so forward.c need not
 * ask again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "engine/forward.h"
#include "model/arch.h"
#include "tensor/kernel.h"

/* Multiply-adds below which a pass runs on one thread: a millisecond of work. To
 * read a weight takes as long as LOAD of them, which is the most of it where
 * there is one token. */
#define SMALL_PASS 5e7
enum { LOAD = 8 };

struct engine {
	struct arena memory;
};

struct engine *
engine_new(void)
{
	return xcalloc(1, sizeof(struct engine));
}

void
engine_free(struct engine *e)
{
	if (e)
		free(e->memory.base);
	free(e);
}

size_t
engine_scratch(const struct engine *e)
{
	return e->memory.size;
}

void *
arena_take(struct arena *a, int64_t rows, int64_t cols, size_t size)
{
	int64_t n, bytes;
	unsigned char *p;

	if (a->used == SIZE_MAX || !mem_mul(rows, cols, &n) ||
	    !mem_mul(n, (int64_t)size, &bytes) ||
	    !mem_add(bytes, 63, &bytes) ||
	    (uint64_t)bytes > SIZE_MAX / 2 - a->used) {
		a->used = SIZE_MAX;
		return NULL;
	}
	p = a->base ? a->base + a->used : NULL;
	a->used += (size_t)bytes / 64 * 64;
	return p;
}

enum pare_rc
arena_grow(struct arena *a, struct pare_err *err)
{
	unsigned char *p;

	if (a->used == SIZE_MAX)
		return err_set(err, PARE_ENOMEM,
		    "the batch is too large to compute");
	if (!a->base || a->used > a->size) {
		if ((p = mem_big(a->used, 1, err)) == NULL)
			return PARE_ENOMEM;
		free(a->base);
		a->base = p;
		a->size = a->used;
	}
	a->used = 0;
	return PARE_OK;
}

static enum pare_rc
need(const struct model *m, int layer, enum slot s, struct pare_err *err)
{
	const struct slot_ref ref = { layer, s };
	char path[96];

	if (model_slot(m, ref))
		return PARE_OK;
	model_slot_path(ref, path, sizeof(path));
	return err_set(err, PARE_EUSER, "the model has no %s", path);
}

/* The gate checks the shapes of what is there; this, that all of it is there. */
static enum pare_rc
check_layer(const struct model *m, int l, struct pare_err *err)
{
	static const enum slot attention[] = { SLOT_Q_W, SLOT_K_W, SLOT_V_W,
	    SLOT_O_W };
	const struct layer *y = &m->layer[l];
	const bool gated = (m->arch->flags & ARCH_GATED) != 0;
	enum pare_rc rc = PARE_OK;

	if (y->heads > 0 && (y->kv_heads < 1 || y->heads % y->kv_heads != 0))
		return err_set(err, PARE_EUSER, "L%d: %d heads cannot share "
		    "%d key heads", l, y->heads, y->kv_heads);
	for (int i = 0; y->heads > 0 && i < 4 && rc == PARE_OK; i++)
		rc = need(m, l, attention[i], err);
	if (rc == PARE_OK && y->ffn > 0)
		rc = need(m, l, SLOT_UP_W, err);
	if (rc == PARE_OK && y->ffn > 0)
		rc = need(m, l, SLOT_DOWN_W, err);
	if (rc == PARE_OK && y->ffn > 0 && gated)
		rc = need(m, l, SLOT_GATE_W, err);
	if (rc == PARE_OK)
		rc = need(m, l, SLOT_ANORM_W, err);
	return rc == PARE_OK ? need(m, l, SLOT_FNORM_W, err) : rc;
}

enum pare_rc
engine_check_model(const struct model *m, struct pare_err *err)
{
	const char *missing = forward_missing(m);
	enum pare_rc rc;

	if (m->ghost) {
		err_set(err, PARE_EUSER, "the model has no weights: "
		    "it was opened from a config alone");
		return err_hint(err, "open a directory with model.safetensors");
	}
	if (missing)
		return err_set(err, PARE_EUSER,
		    "%s: %s: not supported yet", m->arch->title, missing);
	if ((rc = need(m, -1, SLOT_WORD, err)) != PARE_OK)
		return rc;
	if (m->hp.embed != m->hp.hidden &&
	    (rc = need(m, -1, SLOT_PROJ_W, err)) != PARE_OK)
		return rc;
	for (int l = 0; l < m->nlayers && rc == PARE_OK; l++)
		rc = check_layer(m, l, err);
	return rc;
}

static enum pare_rc
check_tokens(const struct model *m, const struct batch *b, int seq,
    struct pare_err *err)
{
	for (int64_t i = b->start[seq]; i < b->start[seq + 1]; i++) {
		if (b->ids[i] < 0 || b->ids[i] >= m->hp.vocab)
			return err_set(err, PARE_EUSER,
			    "token id %d is outside the vocabulary of %lld",
			    (int)b->ids[i], (long long)m->hp.vocab);
		if (b->types && (b->types[i] < 0 || (b->types[i] > 0 &&
		    b->types[i] >= m->hp.types)))
			return err_set(err, PARE_EUSER, "segment %d: "
			    "the model has %lld segment types",
			    (int)b->types[i], (long long)m->hp.types);
	}
	return PARE_OK;
}

enum pare_rc
engine_check_batch(const struct model *m, const struct batch *b,
    struct pare_err *err)
{
	const int64_t room = m->hp.positions - m->hp.position_offset;
	enum pare_rc rc;

	if (b->nseq < 1 || b->start[0] != 0)
		return err_set(err, PARE_EUSER, "the batch is empty");
	for (int s = 0; s < b->nseq; s++) {
		int64_t n = b->start[s + 1] - b->start[s];

		if (n < 1)
			return err_set(err, PARE_EUSER,
			    "sequence %d of the batch has no tokens", s);
		if (n > room)
			return err_set(err, PARE_EUSER,
			    "sequence %d has %lld tokens, the model's "
			    "limit is %lld", s, (long long)n, (long long)room);
		if ((rc = check_tokens(m, b, s, err)) != PARE_OK)
			return rc;
	}
	return PARE_OK;
}

static enum pare_rc
check_attention(const struct model *m, const struct batch *b,
    const struct forward *f, struct pare_err *err)
{
	const int l = f->attention_layer, h = f->attention_head;

	if (l < 0 || l >= m->nlayers)
		return err_set(err, PARE_EUSER, "L%d: the model has layers "
		    "0 to %d", l, m->nlayers - 1);
	if (m->layer[l].heads == 0)
		return err_set(err, PARE_EUSER, "L%d has no attention", l);
	if (h < 0 || h >= m->layer[l].heads_original ||
	    !head_set_has(&m->layer[l].head, h))
		return err_set(err, PARE_EUSER, "L%d has no head %d", l, h);
	if (f->attention_seq < 0 || f->attention_seq >= b->nseq)
		return err_set(err, PARE_EUSER, "the batch has no sequence %d",
		    f->attention_seq);
	return PARE_OK;
}

static enum pare_rc
check_rows(const struct model *m, const struct batch *b,
    const struct forward *f, struct pare_err *err)
{
	if (!head_gives_tokens(m->hp.head))
		return err_set(err, PARE_EUSER,
		    "the model gives no logits of tokens");
	for (int64_t i = 0; i < f->nrows; i++)
		if (f->rows[i] < 0 || f->rows[i] >= b->start[b->nseq])
			return err_set(err, PARE_EUSER,
			    "the batch has no token %lld",
			    (long long)f->rows[i]);
	return PARE_OK;
}

static enum pare_rc
check_from(const struct model *m, const struct forward *f,
    struct pare_err *err)
{
	const int last = f->input ? engine_last_whole(m) : 0;

	if (f->from < 0 || f->from > last)
		return err_set(err, PARE_EUSER, f->input ?
		    "L%d: a pass can begin in layers 0 to %d" :
		    "L%d: a pass without input begins in layer %d", f->from,
		    last);
	if (f->attention && f->attention_layer < f->from)
		return err_set(err, PARE_EUSER, "L%d: the pass begins in L%d",
		    f->attention_layer, f->from);
	return PARE_OK;
}

/* Multiply-adds of the linear maps of all layers for so many tokens; forms that
 * do less count in full. */
static double
layer_macs(const struct model *m, int64_t tokens)
{
	double sum = 0.0;

	for (int l = 0; l < m->nlayers; l++) {
		const struct layer *y = &m->layer[l];

		sum += 2.0 * y->head_dim * (y->heads + y->kv_heads) +
		    2.0 * (double)y->ffn;
	}
	return sum * (double)m->hp.hidden * (double)tokens;
}

/* The angles of the longer text are not those that the cache was made with. */
static bool
runs_again(const struct model *m, const struct kv *c, int64_t n)
{
	return c->id != NULL && c->length > 0 &&
	    c->length + n > m->hp.rope.original;
}

static enum pare_rc
check_cache(const struct model *m, const struct batch *b,
    const struct forward *f, struct pare_err *err)
{
	const struct kv *c = f->kv;
	const int64_t n = b->start[b->nseq];

	if (c->m != m)
		return err_set(err, PARE_EUSER,
		    "the cache of keys and values is another model's");
	if (b->nseq != 1 || f->input || f->keep || f->attention)
		return err_set(err, PARE_EUSER, "a pass with a cache of keys "
		    "and values has one sequence and begins with it");
	if (n > c->context - c->length)
		return err_set(err, PARE_EUSER, "%lld tokens and %lld more: "
		    "the context has room for %lld", (long long)c->length,
		    (long long)n, (long long)c->context);
	if (runs_again(m, c, n) && !(f->last && f->logits && !f->hidden))
		return err_set(err, PARE_EUSER, "beyond %lld tokens the model "
		    "runs all of them again, for the last one's logits",
		    (long long)m->hp.rope.original);
	return PARE_OK;
}

/* Whether a pass is worth more than one thread. */
static bool
is_large(const struct model *m, const struct batch *b,
    const struct forward *f)
{
	const int64_t n = b->start[b->nseq];
	double macs = layer_macs(m, n);

	if (f->kv != NULL)
		macs = layer_macs(m, n + LOAD) + (double)LOAD *
		    (double)m->hp.hidden * (double)m->hp.vocab;
	return macs > SMALL_PASS;
}

/* With a cache that knows its tokens. */
static enum pare_rc
run_dynamic(struct engine *e, const struct model *m, const struct batch *b,
    struct forward *f, struct pare_err *err)
{
	struct kv *c = f->kv;
	const int64_t n = b->start[1], before = c->length;
	const int64_t start[2] = { 0, before + n };
	const struct batch all = { .nseq = 1, .start = start, .ids = c->id };
	const bool again = runs_again(m, c, n);
	enum pare_rc rc;

	memcpy(c->id + before, b->ids, (size_t)n * sizeof(*c->id));
	if (again)
		c->length = 0;
	rc = forward_run(&e->memory, m, again ? &all : b, f, err);
	/* A cache half made anew is no cache of what was there. */
	if (rc != PARE_OK && again)
		c->length = 0;
	return rc;
}

enum pare_rc
engine_forward(struct engine *e, const struct model *m,
    const struct batch *b, struct forward *f, struct pare_err *err)
{
	enum pare_rc rc;
	int limit;

	if ((rc = engine_check_model(m, err)) != PARE_OK ||
	    (rc = engine_check_batch(m, b, err)) != PARE_OK)
		return rc;
	if ((f->logits || f->take) && (m->hp.head == HEAD_NONE ||
	    !m->t[SLOT_HOUT_W - SLOT_LAYER_COUNT])) {
		err_set(err, PARE_EUSER, "the model has no head: "
		    "it gives hidden states, no logits");
		return err_hint(err, "predict what=hidden");
	}
	if (f->attention && (rc = check_attention(m, b, f, err)) != PARE_OK)
		return rc;
	if (f->take && (rc = check_rows(m, b, f, err)) != PARE_OK)
		return rc;
	if ((rc = check_from(m, f, err)) != PARE_OK ||
	    (f->kv && (rc = check_cache(m, b, f, err)) != PARE_OK))
		return rc;
	/* Waking threads and handing out loops takes a tenth of that. */
	limit = kernel_limit_threads(1);
	if (is_large(m, b, f))
		kernel_limit_threads(limit);
	rc = f->kv && f->kv->id ? run_dynamic(e, m, b, f, err) :
	    forward_run(&e->memory, m, b, f, err);
	kernel_limit_threads(limit);
	return rc;
}
