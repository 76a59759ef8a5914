/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tensors: references, construction with every check a hostile file calls for,
 * and the facts that all forms share. What differs by form is in form_table[].
 */
#include "tensor/block.h"
#include "tensor/value.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tensor/kernel.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
    "files and packed codes are little-endian");
_Static_assert(sizeof(float) == 4, "float is IEEE 754 binary32");

static const char *const part_name[PART_COUNT] = {
	[PART_DATA] = "data",
	[PART_SCALE] = "scale",
	[PART_MIN] = "min",
	[PART_TABLE] = "table",
	[PART_MASK] = "mask",
	[PART_ROWS] = "rows",
	[PART_COLS] = "cols",
};

/* ---- blobs ---- */

struct blob *
blob_new(void *base, size_t size, void (*release)(struct blob *), void *owner)
{
	struct blob *b = xcalloc(1, sizeof(*b));

	atomic_init(&b->refs, 1);
	b->base = base;
	b->size = size;
	b->release = release;
	b->owner = owner;
	return b;
}

static void
heap_release(struct blob *b)
{
	free(b->base);
}

struct blob *
blob_heap(void *base, size_t size)
{
	return blob_new(base, size, heap_release, NULL);
}

struct blob *
blob_ref(struct blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void
blob_unref(struct blob *b)
{
	if (b == NULL)
		return;
	if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) > 1)
		return;
	if (b->release != NULL)
		b->release(b);
	free(b);
}

/* ---- parts ---- */

void
parts_free(struct part parts[PART_COUNT])
{
	for (int k = 0; k < PART_COUNT; k++) {
		blob_unref(parts[k].blob);
		parts[k] = (struct part) { 0 };
	}
}

struct part
part_ref(const struct part *p)
{
	if (p->blob != NULL)
		blob_ref(p->blob);
	return *p;
}

void *
part_data(struct part *p)
{
	return p->blob != NULL ? p->blob->base : NULL;
}

bool
parts_new(const struct tensor *t, unsigned which,
    struct part parts[PART_COUNT], struct pare_err *err)
{
	const struct form *f = &form_table[t->form];

	for (int k = 0; k < PART_COUNT; k++) {
		int64_t n = f->part_bytes(t, (enum part_kind)k);
		void *p;

		if ((which & 1u << k) == 0 || n == 0)
			continue;
		p = mem_big((size_t)n, 1, err);
		if (p == NULL) {
			parts_free(parts);
			return false;
		}
		parts[k].blob = blob_heap(p, (size_t)n);
		parts[k].p = p;
		parts[k].n = (size_t)n;
	}
	return true;
}

static size_t
part_align(const struct tensor *t, enum part_kind k)
{
	switch (k) {
	case PART_DATA:
		return value_is_float(t->values) ?
		    value_float_size(t->values) : 1;
	case PART_SCALE:
	case PART_MIN:
		return sizeof(uint16_t);
	case PART_TABLE:
	case PART_ROWS:
		return sizeof(uint32_t);
	case PART_COLS:
		return t->cols <= 65536 ? sizeof(uint16_t) : sizeof(uint32_t);
	default:
		return 1;
	}
}

/* Moves a part that a file put at an odd address to memory of our own. */
static enum pare_rc
part_realign(struct part *p, struct pare_err *err)
{
	void *copy = mem_big(p->n, 1, err);

	if (copy == NULL)
		return PARE_ENOMEM;
	memcpy(copy, p->p, p->n);
	blob_unref(p->blob);
	p->blob = blob_heap(copy, p->n);
	p->p = copy;
	return PARE_OK;
}

static bool
part_inside(const struct part *p)
{
	uintptr_t b = (uintptr_t)p->blob->base, q = (uintptr_t)p->p;

	return q >= b && q - b <= p->blob->size &&
	    p->n <= p->blob->size - (q - b);
}

/* One part against the facts: present when needed, of the right size, inside
 * its blob, aligned. Drops empty and unused ones. */
static enum pare_rc
part_check(struct tensor *t, enum part_kind k, struct pare_err *err)
{
	const struct form *f = &form_table[t->form];
	struct part *p = &t->part[k];
	int64_t want = (f->parts & 1u << k) ? f->part_bytes(t, k) : 0;
	size_t have = p->blob != NULL ? p->n : 0;

	if ((int64_t)have != want)
		return err_set(err, PARE_EFORMAT, "part %s of a %s tensor of "
		    "%lld x %lld has %zu bytes, expected %lld", part_name[k],
		    f->name, (long long)t->rows, (long long)t->cols, have,
		    (long long)want);
	if (want == 0) {
		blob_unref(p->blob);
		*p = (struct part) { 0 };
		return PARE_OK;
	}
	if (!part_inside(p))
		return err_set(err, PARE_EFORMAT,
		    "part %s of a %s tensor lies outside its memory",
		    part_name[k], f->name);
	if ((uintptr_t)p->p % part_align(t, k) != 0)
		return part_realign(p, err);
	return PARE_OK;
}

/* ---- facts ---- */

static enum pare_rc
check_shape(const struct tensor *t, struct pare_err *err)
{
	if (t->ndim < 1 || t->ndim > 2)
		return err_set(err, PARE_EFORMAT,
		    "a tensor has %d dimensions, expected 1 or 2", t->ndim);
	if (t->rows < 1 || t->cols < 1 || t->rows > VALUE_DIM_MAX ||
	    t->cols > VALUE_DIM_MAX || (t->ndim == 1 && t->rows != 1) ||
	    value_count(t) > VALUE_COUNT_MAX)
		return err_set(err, PARE_EFORMAT,
		    "a tensor cannot have %lld x %lld values",
		    (long long)t->rows, (long long)t->cols);
	return PARE_OK;
}

static bool
power_of_two(float f)
{
	int e;

	return isfinite(f) && f > 0 && frexpf(f, &e) == 0.5f;
}

static enum pare_rc
check_block(struct tensor *t, struct pare_err *err)
{
	const uint8_t kind = t->code.block;

	if (kind >= BLOCK_KINDS)
		return err_set(err, PARE_EFORMAT, "block type %u is unknown",
		    kind);
	if (t->cols % block_table[kind].values != 0)
		return err_set(err, PARE_EFORMAT, "rows of %lld values are no "
		    "whole blocks of %s, which are %d", (long long)t->cols,
		    block_table[kind].name, block_table[kind].values);
	if (t->code.act != 0 && t->code.act != 8)
		return err_set(err, PARE_EFORMAT, "activations of %u bits: 8, "
		    "or 0 for float, are possible", t->code.act);
	t->code = (struct tensor_code){ .block = kind, .act = t->code.act };
	return PARE_OK;
}

static enum pare_rc
check_code(struct tensor *t, struct pare_err *err)
{
	struct tensor_code *c = &t->code;

	if (t->form == FORM_BLOCK)
		return check_block(t, err);
	if (!value_is_code(t->values)) {
		*c = (struct tensor_code) { 0 };
		return PARE_OK;
	}
	if (c->bits < 1 || c->bits > 8)
		return err_set(err, PARE_EFORMAT,
		    "codes of %u bits: 1 to 8 are possible", c->bits);
	if (c->act != 0 && c->act != 8)
		return err_set(err, PARE_EFORMAT, "activations of %u bits: 8, "
		    "or 0 for float, are possible", c->act);
	if (c->act != 0 && form_table[t->form].is_sparse)
		return err_set(err, PARE_EFORMAT, "a %s tensor is multiplied "
		    "with float activations, not with %u bits",
		    form_table[t->form].name, c->act);
	if (c->group < 0 || c->group > t->cols ||
	    (c->group > 0 && t->cols % c->group != 0))
		return err_set(err, PARE_EFORMAT, "groups of %lld columns do "
		    "not divide %lld columns", (long long)c->group,
		    (long long)t->cols);
	if (t->values == FORM_TABLE) {
		c->scheme = 0;
		c->mult = 1;
		return PARE_OK;
	}
	if (c->scheme > CODE_AFFINE)
		return err_set(err, PARE_EFORMAT, "code scheme %u is unknown",
		    c->scheme);
	if (!power_of_two(c->mult))
		return err_set(err, PARE_EFORMAT,
		    "the scale multiplier %g is not a power of two",
		    (double)c->mult);
	return PARE_OK;
}

static enum pare_rc
check_values(struct tensor *t, struct pare_err *err)
{
	if ((int)t->form < 0 || t->form >= FORM_COUNT)
		return err_set(err, PARE_EFORMAT, "form %d is unknown",
		    (int)t->form);
	if (!form_table[t->form].is_sparse) {
		t->values = t->form;
		t->stored = form_table[t->form].is_pair ? 0 :
		    value_count(t);
		return PARE_OK;
	}
	if ((int)t->values < 0 || t->values > FORM_TABLE)
		return err_set(err, PARE_EFORMAT, "a %s tensor cannot hold "
		    "values of form %d", form_table[t->form].name,
		    (int)t->values);
	if (t->stored < 0 || t->stored > value_count(t) ||
	    t->stored > UINT32_MAX)
		return err_set(err, PARE_EFORMAT, "a %s tensor of %lld x %lld "
		    "cannot hold %lld values", form_table[t->form].name,
		    (long long)t->rows, (long long)t->cols,
		    (long long)t->stored);
	t->nonzero = t->stored;
	return PARE_OK;
}

static enum pare_rc
check_factors(const struct tensor *t, struct pare_err *err)
{
	const struct tensor *a = t->kid[0], *b = t->kid[1];

	if (a->rows == t->rows && b->cols == t->cols && a->cols == b->rows)
		return PARE_OK;
	return err_set(err, PARE_EFORMAT, "factors of %lld x %lld and "
	    "%lld x %lld do not make %lld x %lld", (long long)a->rows,
	    (long long)a->cols, (long long)b->rows, (long long)b->cols,
	    (long long)t->rows, (long long)t->cols);
}

/* SUM and SCALED. */
static enum pare_rc
check_pair(const struct tensor *t, struct pare_err *err)
{
	const struct tensor *a = t->kid[0], *b = t->kid[1];
	bool ok = t->ndim == 2 && value_is_code(a->form) && a->ndim == 2 &&
	    a->rows == t->rows && a->cols == t->cols && b->cols == t->cols;

	if (t->form == FORM_SUM)
		ok = ok && value_is_float(b->values) && b->ndim == 2 &&
		    b->rows == t->rows;
	else
		ok = ok && b->form == FORM_F32 && b->ndim == 1;
	return ok ? PARE_OK : err_set(err, PARE_EFORMAT, "the two tensors of "
	    "a %s tensor of %lld x %lld do not fit",
	    form_table[t->form].name, (long long)t->rows, (long long)t->cols);
}

static enum pare_rc
check_kids(const struct tensor *t, struct pare_err *err)
{
	const struct tensor *a = t->kid[0], *b = t->kid[1];
	const char *name = t->form == FORM_LOWRANK ? "low rank" :
	    form_table[t->form].name;

	if (!form_table[t->form].is_pair) {
		if (a != NULL || b != NULL)
			return err_set(err, PARE_EFORMAT, "a %s tensor has no "
			    "factors", form_table[t->form].name);
		return PARE_OK;
	}
	if (a == NULL || b == NULL)
		return err_set(err, PARE_EFORMAT,
		    "a %s tensor misses a factor", name);
	if (form_table[a->form].is_pair || form_table[b->form].is_pair)
		return err_set(err, PARE_EFORMAT, "a factor of a %s tensor is "
		    "itself %s", name, a->form == FORM_LOWRANK ||
		    b->form == FORM_LOWRANK ? "low rank" : "made of two");
	if (a->ghost != t->ghost || b->ghost != t->ghost)
		return err_set(err, PARE_EFORMAT,
		    "a %s tensor has only one real factor", name);
	return t->form == FORM_LOWRANK ? check_factors(t, err) :
	    check_pair(t, err);
}

/* Codes carry over what their source had; all others can be counted. */
static void
settle_nonzero(struct tensor *t)
{
	int64_t all = value_count(t);

	if (form_table[t->form].is_pair)
		t->nonzero = -1;
	else if (t->nonzero > all || t->nonzero < 0)
		t->nonzero = value_is_code(t->form) || t->form == FORM_BLOCK ||
		    t->ghost ? all : -1;
}

static enum pare_rc
check_all(struct tensor *t, struct pare_err *err)
{
	const struct form *f;
	enum pare_rc rc;

	if ((rc = check_shape(t, err)) != PARE_OK ||
	    (rc = check_values(t, err)) != PARE_OK ||
	    (rc = check_code(t, err)) != PARE_OK ||
	    (rc = check_kids(t, err)) != PARE_OK)
		return rc;
	settle_nonzero(t);
	if (t->ghost)
		return PARE_OK;
	for (int k = 0; k < PART_COUNT; k++) {
		rc = part_check(t, (enum part_kind)k, err);
		if (rc != PARE_OK)
			return rc;
	}
	f = &form_table[t->form];
	return f->check != NULL ? f->check(t, err) : PARE_OK;
}

struct tensor
tensor_facts(const struct tensor *t)
{
	struct tensor f = { 0 };

	f.form = t->form;
	f.values = t->values;
	f.ndim = t->ndim;
	f.rows = t->rows;
	f.cols = t->cols;
	f.code = t->code;
	f.stored = t->stored;
	f.ghost = t->ghost;
	f.nonzero = atomic_load(&t->nonzero);
	return f;
}

static struct tensor *
tensor_alloc(const struct tensor *facts)
{
	struct tensor *t = xcalloc(1, sizeof(*t));

	*t = tensor_facts(facts);
	atomic_init(&t->refs, 1);
	return t;
}

struct tensor *
tensor_make(const struct tensor *facts, struct part parts[PART_COUNT])
{
	struct tensor *t = tensor_alloc(facts);

	if (!form_table[t->form].is_sparse) {
		t->values = t->form;
		t->stored = form_table[t->form].is_pair ? 0 :
		    value_count(t);
	}
	if (parts != NULL)
		memcpy(t->part, parts, sizeof(t->part));
	return t;
}

struct tensor *
tensor_new(const struct tensor *template, struct part parts[PART_COUNT],
    struct tensor *kid[2], struct pare_err *err)
{
	struct tensor *t = tensor_alloc(template);

	if (parts != NULL)
		memcpy(t->part, parts, sizeof(t->part));
	if (kid != NULL)
		memcpy(t->kid, kid, sizeof(t->kid));
	if (check_all(t, err) != PARE_OK) {
		tensor_unref(t);
		return NULL;
	}
	if (t->ghost)
		parts_free(t->part);
	return t;
}

struct tensor *
tensor_ref(const struct tensor *t)
{
	struct tensor *m = (struct tensor *)t;

	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void
tensor_unref(struct tensor *t)
{
	if (t == NULL)
		return;
	if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
		return;
	parts_free(t->part);
	tensor_unref(t->kid[0]);
	tensor_unref(t->kid[1]);
	free(t);
}

struct tensor *
tensor_new_f32(int ndim, int64_t rows, int64_t cols, float **data,
    struct pare_err *err)
{
	struct tensor facts = { .form = FORM_F32, .ndim = ndim,
		.rows = ndim == 1 ? 1 : rows, .cols = cols, .nonzero = -1 };
	struct part parts[PART_COUNT] = { 0 };

	if (check_shape(&facts, err) != PARE_OK) {
		err_set(err, PARE_ENOMEM, "a tensor cannot have %lld x %lld "
		    "values", (long long)rows, (long long)cols);
		return NULL;
	}
	if (!parts_new(&facts, 1u << PART_DATA, parts, err))
		return NULL;
	*data = part_data(&parts[PART_DATA]);
	return tensor_make(&facts, parts);
}

struct tensor *
tensor_new_view(enum form_kind form, int ndim, int64_t rows, int64_t cols,
    struct blob *blob, const void *p, struct pare_err *err)
{
	struct tensor facts = { .form = form, .ndim = ndim,
		.rows = ndim == 1 ? 1 : rows, .cols = cols, .nonzero = -1 };
	struct part parts[PART_COUNT] = { 0 };

	if (!value_is_float(form)) {
		err_set(err, PARE_EFORMAT, "form %d is not a float form",
		    (int)form);
		return NULL;
	}
	if (check_shape(&facts, err) != PARE_OK)
		return NULL;
	facts.values = form;
	parts[PART_DATA].blob = blob_ref(blob);
	parts[PART_DATA].p = p;
	parts[PART_DATA].n =
	    (size_t)form_table[form].part_bytes(&facts, PART_DATA);
	return tensor_new(&facts, parts, NULL, err);
}

struct tensor *
tensor_ghost(enum form_kind form, int ndim, int64_t rows, int64_t cols)
{
	struct tensor facts = { .form = form, .values = form, .ndim = ndim,
		.rows = ndim == 1 ? 1 : rows, .cols = cols, .ghost = true };

	facts.nonzero = value_count(&facts);
	return tensor_make(&facts, NULL);
}

struct tensor *
tensor_ghost_of(const struct tensor *t)
{
	struct tensor *g = tensor_alloc(t);

	g->ghost = true;
	for (int i = 0; i < 2; i++)
		if (t->kid[i] != NULL)
			g->kid[i] = tensor_ghost_of(t->kid[i]);
	if (!form_table[t->form].is_pair)
		g->nonzero = tensor_nonzero(t);
	return g;
}

/* ---- counts ---- */

int64_t
tensor_params(const struct tensor *t)
{
	if (t->form == FORM_LOWRANK)
		return value_add(tensor_params(t->kid[0]),
		    tensor_params(t->kid[1]));
	return value_count(t);
}

int64_t
tensor_rank(const struct tensor *t)
{
	return t->form == FORM_LOWRANK ? t->kid[0]->cols : 0;
}

static int64_t
count_nonzero(const struct tensor *t)
{
	const int64_t n = value_count(t), step = 1 << 18;
	const char *p = t->part[PART_DATA].p;
	int64_t total = 0;

#pragma omp parallel for reduction(+ : total) schedule(static) \
    num_threads(kernel_threads()) if (n > VALUE_PARALLEL)
	for (int64_t i = 0; i < n; i += step) {
		int64_t m = n - i < step ? n - i : step;

		if (t->form == FORM_F32)
			total += value_count_nonzero((const float *)p + i, m);
		else
			total += value_count_nonzero16(
			    (const uint16_t *)p + i, m);
	}
	return total;
}

int64_t
tensor_nonzero(const struct tensor *t)
{
	struct tensor *m = (struct tensor *)t;	/* a lazily computed fact */
	int64_t k = atomic_load_explicit(&m->nonzero, memory_order_relaxed);

	if (k >= 0)
		return k;
	if (t->form == FORM_LOWRANK)
		k = value_add(tensor_nonzero(t->kid[0]),
		    tensor_nonzero(t->kid[1]));
	else if (form_table[t->form].is_pair)
		k = tensor_nonzero(t->kid[0]);
	else if (form_table[t->form].is_sparse)
		k = t->stored;
	else if (t->ghost || !value_is_float(t->form))
		k = value_count(t);
	else
		k = count_nonzero(t);
	atomic_store_explicit(&m->nonzero, k, memory_order_relaxed);
	return k;
}

int64_t
tensor_bytes(const struct tensor *t)
{
	const struct form *f = &form_table[t->form];
	int64_t total = 0;

	for (int k = 0; k < PART_COUNT; k++)
		if (f->parts & 1u << k)
			total = value_add(total,
			    f->part_bytes(t, (enum part_kind)k));
	for (int i = 0; i < 2; i++)
		if (t->kid[i] != NULL)
			total = value_add(total, tensor_bytes(t->kid[i]));
	return total;
}

/* ---- content hash ---- */

enum { HASH_CHUNK = 1 << 20 };

/* Chunks are hashed on all threads, then their hashes in order. */
static uint64_t
hash_part(const struct part *p, uint64_t seed)
{
	int64_t n = (int64_t)((p->n + HASH_CHUNK - 1) / HASH_CHUNK);
	const char *base = p->p;
	uint64_t h = seed;

	for (int64_t i = 0; i < n; i += 64) {
		int64_t m = n - i < 64 ? n - i : 64;
		uint64_t part[64];

#pragma omp parallel for schedule(static) num_threads(kernel_threads()) \
    if (m > 1)
		for (int64_t j = 0; j < m; j++) {
			size_t at = (size_t)(i + j) * HASH_CHUNK;
			size_t k = p->n - at < HASH_CHUNK ? p->n - at :
			    HASH_CHUNK;

			part[j] = hash_bytes(base + at, k, seed);
		}
		h = hash_bytes(part, (size_t)m * sizeof(part[0]), h);
	}
	return h;
}

static uint64_t
hash_facts(const struct tensor *t)
{
	uint32_t mult;
	int64_t v[12];

	memcpy(&mult, &t->code.mult, sizeof(mult));
	v[0] = t->form;
	v[1] = t->values;
	v[2] = t->ndim;
	v[3] = t->rows;
	v[4] = t->cols;
	v[5] = t->code.bits;
	v[6] = t->code.scheme | t->code.act << 8 | t->code.block << 16;
	v[7] = t->code.group;
	v[8] = t->ghost ? 0 : mult;
	v[9] = t->stored;
	v[10] = t->ghost;
	v[11] = t->ghost && !form_table[t->form].is_pair ? tensor_nonzero(t) : 0;
	return hash_bytes(v, sizeof(v), 0);
}

uint64_t
tensor_hash(const struct tensor *t)
{
	struct tensor *m = (struct tensor *)t;	/* a lazily computed fact */
	uint64_t h = atomic_load_explicit(&m->hash, memory_order_relaxed);

	if (h != 0)
		return h;
	h = hash_facts(t);
	for (int k = 0; k < PART_COUNT; k++)
		if (t->part[k].blob != NULL)
			h = hash_mix(h, hash_part(&t->part[k], (uint64_t)k));
	for (int i = 0; i < 2; i++)
		if (t->kid[i] != NULL)
			h = hash_mix(h, tensor_hash(t->kid[i]));
	if (h == 0)
		h = 1;
	atomic_store_explicit(&m->hash, h, memory_order_relaxed);
	return h;
}

void
tensor_forget(const struct tensor *t)
{
	for (int k = 0; k < PART_COUNT; k++) {
		const struct part *p = &t->part[k];

		if (p->blob != NULL && p->blob->forget != NULL)
			p->blob->forget(p->p, p->n);
	}
	for (int i = 0; i < 2; i++)
		if (t->kid[i] != NULL)
			tensor_forget(t->kid[i]);
}

/* ---- values ---- */

bool
tensor_has_values(const struct tensor *t, struct pare_err *err)
{
	if (!t->ghost)
		return true;
	err_set(err, PARE_EUSER, "this model has no weights, only sizes");
	err_hint(err, "open a model with weights, or use --dry-run");
	return false;
}

void
tensor_decode(const struct tensor *t, int64_t row, int64_t n, float *out)
{
	const struct form *f = &form_table[t->form];
	const int64_t step = 1 + VALUE_PARALLEL / t->cols;

	/* The product of factors has threads of its own. */
	if (t->form == FORM_LOWRANK || omp_in_parallel() || n <= step) {
		f->decode(t, row, n, out);
		return;
	}
#pragma omp parallel for schedule(static) num_threads(kernel_threads())
	for (int64_t r = 0; r < n; r += step) {
		int64_t m = n - r < step ? n - r : step;

		f->decode(t, row + r, m, out + r * t->cols);
	}
}

struct tensor *
tensor_to_f32(const struct tensor *t, struct pare_err *err)
{
	struct tensor *out;
	float *data;

	if (t->form == FORM_F32)
		return tensor_ref(t);
	if (t->ghost)
		return tensor_ghost(FORM_F32, t->ndim, t->rows, t->cols);
	out = tensor_new_f32(t->ndim, t->rows, t->cols, &data, err);
	if (out != NULL)
		tensor_decode(t, 0, t->rows, data);
	return out;
}

const float *
tensor_f32(const struct tensor *t)
{
	return t->form == FORM_F32 && !t->ghost ? t->part[PART_DATA].p : NULL;
}

/* ---- words ---- */

static void
describe_values(const struct tensor *t, char *out, size_t n)
{
	char group[32] = "";

	if (t->form == FORM_BLOCK) {
		snprintf(out, n, "%s%s", block_table[t->code.block].name,
		    t->code.act == 8 ? " a8" : "");
		return;
	}
	if (!value_is_code(t->values)) {
		snprintf(out, n, "%s", form_table[t->values].name);
		return;
	}
	if (t->code.group == 0)
		snprintf(group, sizeof(group), " matrix");
	else if (t->code.group != t->cols)
		snprintf(group, sizeof(group), " g%lld",
		    (long long)t->code.group);
	snprintf(out, n, "%s%d%s%s", form_table[t->values].name, t->code.bits,
	    group, t->code.act == 8 ? " a8" : "");
}

void
tensor_describe(const struct tensor *t, char *out, size_t n)
{
	char a[64], b[64];

	if (t->form == FORM_LOWRANK) {
		tensor_describe(t->kid[0], a, sizeof(a));
		tensor_describe(t->kid[1], b, sizeof(b));
		if (strcmp(a, b) == 0)
			snprintf(out, n, "low rank %lld (%s)",
			    (long long)tensor_rank(t), a);
		else
			snprintf(out, n, "low rank %lld (%s, %s)",
			    (long long)tensor_rank(t), a, b);
		return;
	}
	if (form_table[t->form].is_pair) {
		tensor_describe(t->kid[0], a, sizeof(a));
		tensor_describe(t->kid[1], b, sizeof(b));
		if (t->form == FORM_SUM)
			snprintf(out, n, "%s + %s", a, b);
		else
			snprintf(out, n, "%s scaled", a);
		return;
	}
	describe_values(t, a, sizeof(a));
	if (form_table[t->form].is_sparse)
		snprintf(out, n, "%s %s", form_table[t->form].name, a);
	else
		snprintf(out, n, "%s", a);
}
