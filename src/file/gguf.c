/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One cursor walks the file from its first byte; each step asks whether the
 * bytes are there and says where they are not. Counts are bounded by what so
 * many entries take at least, so a lie about them costs nothing. Tensors must
 * follow each other without holes, which also forbids overlaps.
 */
#include "file/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/map.h"

enum {
	KEY_MAX = 65535,
	NAME_MAX_BYTES = 63,
	VALUE_LEAST = 13,	/* bytes of the smallest key with its value */
	TENSOR_LEAST = 24,
	ENTRIES_MAX = 1 << 22
};

const struct gguf_type_facts gguf_type_table[GGUF_TENSOR_TYPES] = {
	[0] = { "F32", 1, 4 }, [1] = { "F16", 1, 2 },
	[2] = { "Q4_0", 32, 18 }, [3] = { "Q4_1", 32, 20 },
	[6] = { "Q5_0", 32, 22 }, [7] = { "Q5_1", 32, 24 },
	[8] = { "Q8_0", 32, 34 }, [9] = { "Q8_1", 32, 36 },
	[10] = { "Q2_K", 256, 84 }, [11] = { "Q3_K", 256, 110 },
	[12] = { "Q4_K", 256, 144 }, [13] = { "Q5_K", 256, 176 },
	[14] = { "Q6_K", 256, 210 }, [15] = { "Q8_K", 256, 292 },
	[16] = { "IQ2_XXS", 256, 66 }, [17] = { "IQ2_XS", 256, 74 },
	[18] = { "IQ3_XXS", 256, 98 }, [19] = { "IQ1_S", 256, 50 },
	[20] = { "IQ4_NL", 32, 18 }, [21] = { "IQ3_S", 256, 110 },
	[22] = { "IQ2_S", 256, 82 }, [23] = { "IQ4_XS", 256, 136 },
	[24] = { "I8", 1, 1 }, [25] = { "I16", 1, 2 }, [26] = { "I32", 1, 4 },
	[27] = { "I64", 1, 8 }, [28] = { "F64", 1, 8 },
	[29] = { "IQ1_M", 256, 56 }, [30] = { "BF16", 1, 2 },
	[34] = { "TQ1_0", 256, 54 }, [35] = { "TQ2_0", 256, 66 },
	[39] = { "MXFP4", 32, 17 }, [40] = { "NVFP4", 64, 36 },
	[41] = { "Q1_0", 128, 18 }, [42] = { "Q2_0", 64, 18 },
};

static const int type_bytes[GGUF_TYPES] = {
	[GGUF_U8] = 1, [GGUF_I8] = 1, [GGUF_U16] = 2, [GGUF_I16] = 2,
	[GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
	[GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8
};

struct cursor {
	const unsigned char *base;
	size_t at, n;
	const char *where;
	struct pare_err *err;
};

static uint64_t
little(const unsigned char *p, int bytes)
{
	uint64_t v = 0;

	for (int i = bytes - 1; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static enum pare_rc
bad(const struct cursor *c, const char *what)
{
	return err_set(c->err, PARE_EFORMAT, "'%s': %s at byte %zu", c->where,
	    what, c->at);
}

static bool
take(struct cursor *c, uint64_t n, const unsigned char **out)
{
	if (n > c->n - c->at)
		return false;
	*out = c->base + c->at;
	c->at += (size_t)n;
	return true;
}

static enum pare_rc
take_number(struct cursor *c, int bytes, const char *what, uint64_t *out)
{
	const unsigned char *p;

	if (!take(c, (uint64_t)bytes, &p)) {
		err_set(c->err, PARE_EFORMAT, "'%s': the file ends inside %s, "
		    "at byte %zu of %zu", c->where, what, c->at, c->n);
		return PARE_EFORMAT;
	}
	*out = little(p, bytes);
	return PARE_OK;
}

static enum pare_rc
take_text(struct cursor *c, const char *what, uint64_t most,
    struct gguf_text *out)
{
	size_t began = c->at;
	const unsigned char *p;
	uint64_t n = 0;
	enum pare_rc rc = take_number(c, 8, what, &n);

	if (rc != PARE_OK)
		return rc;
	if (n > c->n - c->at)
		return err_set(c->err, PARE_EFORMAT, "'%s': %s at byte %zu is "
		    "%" PRIu64 " bytes long, but only %zu are left", c->where,
		    what, began, n, c->n - c->at);
	if (n > most)
		return err_set(c->err, PARE_EFORMAT, "'%s': %s at byte %zu is "
		    "%" PRIu64 " bytes long; at most %" PRIu64 " are allowed",
		    c->where, what, began, n, most);
	take(c, n, &p);
	*out = (struct gguf_text){ (const char *)p, (size_t)n };
	return PARE_OK;
}

/* ---- keys and values ------------------------------------------------- */

/* Steps over count values of a type, one after the other. */
static enum pare_rc
skip_values(struct cursor *c, const char *key, enum gguf_type type,
    uint64_t count)
{
	const unsigned char *p;
	struct gguf_text text;

	if (type == GGUF_STRING) {
		if (count > (c->n - c->at) / 8)
			return err_set(c->err, PARE_EFORMAT, "'%s': %s claims "
			    "%" PRIu64 " strings, more than the file can hold",
			    c->where, key, count);
		for (uint64_t i = 0; i < count; i++)
			if (take_text(c, "a string", INT32_MAX, &text) !=
			    PARE_OK)
				return err_prefix(c->err, "%s", key);
		return PARE_OK;
	}
	if (count > (c->n - c->at) / (uint64_t)type_bytes[type] ||
	    !take(c, count * (uint64_t)type_bytes[type], &p))
		return err_set(c->err, PARE_EFORMAT, "'%s': %s claims "
		    "%" PRIu64 " values, more than the file can hold",
		    c->where, key, count);
	for (uint64_t i = 0; type == GGUF_BOOL && i < count; i++)
		if (p[i] > 1)
			return err_set(c->err, PARE_EFORMAT, "'%s': %s is a "
			    "bool of value %u; expected 0 or 1", c->where,
			    key, p[i]);
	return PARE_OK;
}

static enum pare_rc
take_array(struct cursor *c, struct gguf_value *v)
{
	uint64_t type = 0, count = 0;
	enum pare_rc rc = take_number(c, 4, "an array", &type);

	if (rc == PARE_OK)
		rc = take_number(c, 8, "an array", &count);
	if (rc != PARE_OK)
		return err_prefix(c->err, "%s", v->key);
	if (type == GGUF_ARRAY)
		return err_set(c->err, PARE_EFORMAT, "'%s': %s is an array of "
		    "arrays, which is not supported", c->where, v->key);
	if (type >= GGUF_TYPES)
		return err_set(c->err, PARE_EFORMAT, "'%s': %s is an array of "
		    "type %" PRIu64 "; types are 0 to %d", c->where, v->key,
		    type, GGUF_TYPES - 1);
	v->type = (enum gguf_type)type;
	v->array = true;
	v->p = c->base + c->at;
	rc = skip_values(c, v->key, v->type, count);
	v->count = (int64_t)count;
	return rc;
}

static bool
is_printable(const struct gguf_text *t)
{
	for (size_t i = 0; i < t->n; i++)
		if ((unsigned char)t->s[i] < 0x20 || t->s[i] == 0x7f)
			return false;
	return true;
}

static enum pare_rc
take_value(struct cursor *c, struct gguf_value *v)
{
	struct gguf_text key;
	uint64_t type = 0;
	enum pare_rc rc = take_text(c, "a key", KEY_MAX, &key);

	if (rc != PARE_OK)
		return rc;
	if (key.n == 0 || !is_printable(&key))
		return bad(c, "an empty key, or one with control characters,");
	v->key = xstrndup(key.s, key.n);
	rc = take_number(c, 4, "a value", &type);
	if (rc != PARE_OK)
		return err_prefix(c->err, "%s", v->key);
	if (type >= GGUF_TYPES)
		return err_set(c->err, PARE_EFORMAT, "'%s': %s has type "
		    "%" PRIu64 "; types are 0 to %d", c->where, v->key, type,
		    GGUF_TYPES - 1);
	v->type = (enum gguf_type)type;
	v->p = c->base + c->at;
	v->count = 1;
	rc = v->type == GGUF_ARRAY ? take_array(c, v) :
	    skip_values(c, v->key, v->type, 1);
	v->n = (size_t)(c->base + c->at - v->p);
	return rc;
}

static int
by_key(const void *a, const void *b)
{
	return strcmp(((const struct gguf_value *)a)->key,
	    ((const struct gguf_value *)b)->key);
}

static enum pare_rc
take_values(struct cursor *c, struct gguf *g, uint64_t n)
{
	enum pare_rc rc = PARE_OK;

	if (n > (c->n - c->at) / VALUE_LEAST || n > ENTRIES_MAX)
		return err_set(c->err, PARE_EFORMAT, "'%s': claims %" PRIu64
		    " keys, more than the file can hold", c->where, n);
	g->value = xcalloc((size_t)n + 1, sizeof(*g->value));
	for (uint64_t i = 0; i < n && rc == PARE_OK; i++) {
		rc = take_value(c, &g->value[i]);
		g->nvalues += g->value[i].key != NULL;
	}
	if (rc != PARE_OK)
		return rc;
	if (g->nvalues > 0)
		qsort(g->value, (size_t)g->nvalues, sizeof(*g->value), by_key);
	for (int i = 1; i < g->nvalues; i++)
		if (strcmp(g->value[i].key, g->value[i - 1].key) == 0)
			return err_set(c->err, PARE_EFORMAT,
			    "'%s': the key %.200s is there twice", c->where,
			    g->value[i].key);
	return PARE_OK;
}

/* ---- tensors --------------------------------------------------------- */

/* Bytes from type and dimensions. */
static enum pare_rc
size_tensor(const struct cursor *c, struct gguf_tensor *t)
{
	const struct gguf_type_facts *f = &gguf_type_table[t->type];
	int64_t values = 1;

	if (t->dim[0] % f->block != 0)
		return err_set(c->err, PARE_EFORMAT, "'%s': tensor '%s' has "
		    "rows of %" PRId64 " values; %s needs a multiple of %d",
		    c->where, t->name, t->dim[0], f->name, f->block);
	for (int i = 0; i < 4; i++)
		if (!mem_mul(values, t->dim[i], &values))
			return err_set(c->err, PARE_EFORMAT, "'%s': the sizes "
			    "of tensor '%s' overflow", c->where, t->name);
	if (!mem_mul(values / f->block, f->bytes, &t->n))
		return err_set(c->err, PARE_EFORMAT,
		    "'%s': the bytes of tensor '%s' overflow", c->where,
		    t->name);
	return PARE_OK;
}

static enum pare_rc
take_dims(struct cursor *c, struct gguf_tensor *t)
{
	uint64_t n = 0, d = 0;
	enum pare_rc rc = take_number(c, 4, "a tensor's entry", &n);

	if (rc == PARE_OK && (n < 1 || n > 4))
		return err_set(c->err, PARE_EFORMAT, "'%s': tensor '%s' has "
		    "%" PRIu64 " dimensions; expected 1 to 4", c->where,
		    t->name, n);
	for (int i = 0; i < 4 && rc == PARE_OK; i++) {
		t->dim[i] = 1;
		if ((uint64_t)i >= n)
			continue;
		rc = take_number(c, 8, "a tensor's entry", &d);
		if (rc == PARE_OK && d > INT64_MAX)
			return err_set(c->err, PARE_EFORMAT, "'%s': tensor "
			    "'%s' has a negative dimension", c->where,
			    t->name);
		t->dim[i] = (int64_t)d;
	}
	t->ndim = (int)n;
	return rc;
}

/* One entry; t->n becomes its size and *offset where it says it lies. */
static enum pare_rc
take_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset)
{
	struct gguf_text name;
	uint64_t type = 0;
	enum pare_rc rc = take_text(c, "a tensor's name", NAME_MAX_BYTES,
	    &name);

	if (rc != PARE_OK)
		return rc;
	if (name.n == 0 || !is_printable(&name))
		return bad(c, "an empty tensor name, or one with control "
		    "characters,");
	t->name = xstrndup(name.s, name.n);
	rc = take_dims(c, t);
	if (rc == PARE_OK)
		rc = take_number(c, 4, "a tensor's entry", &type);
	if (rc == PARE_OK)
		rc = take_number(c, 8, "a tensor's entry", offset);
	if (rc != PARE_OK)
		return rc;
	if (type >= GGUF_TENSOR_TYPES || gguf_type_table[type].block == 0)
		return err_set(c->err, PARE_EFORMAT, "'%s': tensor '%s' has "
		    "type %" PRIu64 ", which pare does not know", c->where,
		    t->name, type);
	t->type = (int)type;
	return size_tensor(c, t);
}

/* Sorts list, numbers of tensors, by name, by merging. */
static void
sort_names(const struct gguf_tensor *t, int *list, int *spare, int n)
{
	int half = n / 2, i = 0, k = half, at = 0;

	if (n < 2)
		return;
	sort_names(t, list, spare, half);
	sort_names(t, list + half, spare, n - half);
	while (i < half || k < n)
		spare[at++] = k == n || (i < half && strcmp(t[list[i]].name,
		    t[list[k]].name) <= 0) ? list[i++] : list[k++];
	memcpy(list, spare, (size_t)n * sizeof(*list));
}

static enum pare_rc
index_names(struct gguf *g, const struct cursor *c)
{
	int *spare = xcalloc((size_t)g->ntensors + 1, sizeof(*spare));
	enum pare_rc rc = PARE_OK;

	g->by_name = xcalloc((size_t)g->ntensors + 1, sizeof(*g->by_name));
	for (int i = 0; i < g->ntensors; i++)
		g->by_name[i] = i;
	sort_names(g->tensor, g->by_name, spare, g->ntensors);
	free(spare);
	for (int i = 1; i < g->ntensors && rc == PARE_OK; i++) {
		const char *name = g->tensor[g->by_name[i]].name;

		if (strcmp(name, g->tensor[g->by_name[i - 1]].name) == 0)
			rc = err_set(c->err, PARE_EFORMAT, "'%s': tensor '%s' "
			    "is there twice", c->where, name);
	}
	return rc;
}

/* Where the data of each tensor lies: one behind the other, padded. */
static enum pare_rc
place_tensors(const struct cursor *c, struct gguf *g, const uint64_t *offset)
{
	const int64_t pad = g->alignment - 1;
	int64_t begin, at = 0, end;

	begin = ((int64_t)c->at + pad) / g->alignment * g->alignment;
	for (int i = 0; i < g->ntensors; i++) {
		struct gguf_tensor *t = &g->tensor[i];

		if (offset[i] != (uint64_t)at)
			return err_set(c->err, PARE_EFORMAT, "'%s': tensor "
			    "'%s' lies at offset %" PRIu64 "; expected %" PRId64
			    ", right behind the one before", c->where, t->name,
			    offset[i], at);
		if (!mem_add(begin, at, &end) || !mem_add(end, t->n, &end) ||
		    end > (int64_t)c->n)
			return err_set(c->err, PARE_EFORMAT, "'%s': the file "
			    "ends inside tensor '%s': it has %zu bytes",
			    c->where, t->name, c->n);
		t->p = c->base + begin + at;
		at = (at + t->n + pad) / g->alignment * g->alignment;
	}
	return PARE_OK;
}

static enum pare_rc
take_tensors(struct cursor *c, struct gguf *g, uint64_t n)
{
	enum pare_rc rc = PARE_OK;
	uint64_t *offset;

	if (n > (c->n - c->at) / TENSOR_LEAST || n > ENTRIES_MAX)
		return err_set(c->err, PARE_EFORMAT, "'%s': claims %" PRIu64
		    " tensors, more than the file can hold", c->where, n);
	g->tensor = xcalloc((size_t)n + 1, sizeof(*g->tensor));
	offset = xcalloc((size_t)n + 1, sizeof(*offset));
	for (uint64_t i = 0; i < n && rc == PARE_OK; i++) {
		rc = take_tensor(c, &g->tensor[i], &offset[i]);
		g->ntensors += g->tensor[i].name != NULL;
	}
	if (rc == PARE_OK)
		rc = index_names(g, c);
	if (rc == PARE_OK)
		rc = place_tensors(c, g, offset);
	free(offset);
	return rc;
}

/* ---- the whole ------------------------------------------------------- */

static enum pare_rc
check_version(const struct cursor *c, uint64_t version)
{
	if (version == 2 || version == 3)
		return PARE_OK;
	if ((version & 0xffff) == 0 && version != 0)
		return err_set(c->err, PARE_EFORMAT, "'%s' is a big-endian "
		    "GGUF file, which pare does not read", c->where);
	err_set(c->err, PARE_EFORMAT, "'%s' is GGUF version %" PRIu64
	    "; expected 2 or 3", c->where, version);
	return err_hint(c->err, "convert the model again with a current "
	    "llama.cpp");
}

static enum pare_rc
check_magic(const struct cursor *c, const unsigned char *p)
{
	if (memcmp(p, "GGUF", 4) == 0)
		return PARE_OK;
	if (memcmp(p, "lmgg", 4) == 0 || memcmp(p, "tjgg", 4) == 0 ||
	    memcmp(p, "fmgg", 4) == 0)
		return err_set(c->err, PARE_EFORMAT, "'%s' is of a format "
		    "before GGUF; convert it again with a current llama.cpp",
		    c->where);
	if (memcmp(p, "vers", 4) == 0)
		return err_set(c->err, PARE_EFORMAT, "'%s' is a Git LFS "
		    "pointer, not the weights themselves", c->where);
	return err_set(c->err, PARE_EFORMAT,
	    "'%s' does not begin with GGUF, so it is no such file", c->where);
}

static enum pare_rc
parse(struct gguf *g, struct cursor *c)
{
	const unsigned char *magic;
	uint64_t version = 0, tensors = 0, values = 0;
	enum pare_rc rc;

	if (!take(c, 4, &magic))
		return err_set(c->err, PARE_EFORMAT, "'%s' is %zu bytes long; "
		    "a GGUF header needs 24", c->where, c->n);
	rc = check_magic(c, magic);
	if (rc == PARE_OK)
		rc = take_number(c, 4, "the header", &version);
	if (rc == PARE_OK)
		rc = check_version(c, version);
	if (rc == PARE_OK)
		rc = take_number(c, 8, "the header", &tensors);
	if (rc == PARE_OK)
		rc = take_number(c, 8, "the header", &values);
	if (rc != PARE_OK)
		return rc;
	g->version = (int)version;
	rc = take_values(c, g, values);
	if (rc == PARE_OK && gguf_find(g, "general.alignment") != NULL &&
	    gguf_find(g, "general.alignment")->type != GGUF_U32)
		rc = err_set(c->err, PARE_EFORMAT,
		    "'%s': general.alignment is no u32", c->where);
	if (rc == PARE_OK)
		rc = gguf_int(g, "general.alignment", 8, 1 << 20, 32,
		    &g->alignment, c->err);
	if (rc == PARE_OK && (g->alignment & (g->alignment - 1)) != 0)
		rc = err_set(c->err, PARE_EFORMAT, "'%s': general.alignment "
		    "is %" PRId64 "; expected a power of two", c->where,
		    g->alignment);
	return rc == PARE_OK ? take_tensors(c, g, tensors) : rc;
}

struct gguf *
gguf_open(const char *path, struct pare_err *err)
{
	struct gguf *g = xcalloc(1, sizeof(*g));
	struct cursor c = { .where = path, .err = err };

	g->path = xstrdup(path);
	g->blob = map_file(path, 24, "a GGUF header", err);
	if (g->blob != NULL) {
		c.base = g->blob->base;
		c.n = g->blob->size;
		if (parse(g, &c) == PARE_OK)
			return g;
	}
	gguf_close(g);
	return NULL;
}

enum pare_rc
gguf_check(const void *data, size_t n, const char *where,
    struct pare_err *err)
{
	struct gguf *g = xcalloc(1, sizeof(*g));
	struct cursor c = { data, 0, n, where, err };
	enum pare_rc rc;

	g->path = xstrdup(where);
	rc = parse(g, &c);
	gguf_close(g);
	return rc;
}

void
gguf_close(struct gguf *g)
{
	if (g == NULL)
		return;
	for (int i = 0; i < g->nvalues; i++)
		free(g->value[i].key);
	for (int i = 0; i < g->ntensors; i++)
		free(g->tensor[i].name);
	free(g->value);
	free(g->tensor);
	free(g->by_name);
	blob_unref(g->blob);
	free(g->path);
	free(g);
}

/* ---- look-ups -------------------------------------------------------- */

const struct gguf_value *
gguf_find(const struct gguf *g, const char *key)
{
	struct gguf_value probe = { .key = (char *)(uintptr_t)key };

	return g->nvalues == 0 ? NULL : bsearch(&probe, g->value,
	    (size_t)g->nvalues, sizeof(*g->value), by_key);
}

const struct gguf_tensor *
gguf_tensor_find(const struct gguf *g, const char *name)
{
	int low = 0, high = g->ntensors;

	while (low < high) {
		int mid = low + (high - low) / 2;
		const struct gguf_tensor *t = &g->tensor[g->by_name[mid]];
		int order = strcmp(name, t->name);

		if (order == 0)
			return t;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static bool
is_integer(enum gguf_type t)
{
	return t != GGUF_F32 && t != GGUF_F64 && t != GGUF_BOOL &&
	    t != GGUF_STRING && t != GGUF_ARRAY;
}

static enum pare_rc
wrong(const struct gguf *g, const char *key, const char *want,
    struct pare_err *err)
{
	return err_set(err, PARE_EFORMAT, "'%s': %s is not %s", g->path, key,
	    want);
}

int64_t
gguf_int_at(const struct gguf_value *v, int64_t i)
{
	int bytes = type_bytes[v->type];
	uint64_t x = little(v->p + i * bytes, bytes);

	switch (v->type) {
	case GGUF_I8:
		return (int8_t)x;
	case GGUF_I16:
		return (int16_t)x;
	case GGUF_I32:
		return (int32_t)x;
	case GGUF_U64:
		return x > INT64_MAX ? INT64_MAX : (int64_t)x;
	default:
		return (int64_t)x;
	}
}

double
gguf_real_at(const struct gguf_value *v, int64_t i)
{
	float f;
	double d;

	if (v->type == GGUF_F32) {
		memcpy(&f, v->p + i * 4, sizeof(f));
		return (double)f;
	}
	if (v->type == GGUF_F64) {
		memcpy(&d, v->p + i * 8, sizeof(d));
		return d;
	}
	return (double)gguf_int_at(v, i);
}

struct gguf_text
gguf_text_next(const unsigned char **at)
{
	struct gguf_text t = { (const char *)*at + 8,
		(size_t)little(*at, 8) };

	*at += 8 + t.n;
	return t;
}

enum pare_rc
gguf_int(const struct gguf *g, const char *key, int64_t min, int64_t max,
    int64_t dflt, int64_t *out, struct pare_err *err)
{
	const struct gguf_value *v = gguf_find(g, key);
	int64_t x;

	*out = dflt;
	if (v == NULL)
		return PARE_OK;
	if (v->array || !is_integer(v->type))
		return wrong(g, key, "an integer", err);
	x = gguf_int_at(v, 0);
	if (x < min || x > max)
		return err_set(err, PARE_EFORMAT, "'%s': %s is %" PRId64
		    "; expected %" PRId64 " to %" PRId64, g->path, key, x, min,
		    max);
	*out = x;
	return PARE_OK;
}

enum pare_rc
gguf_real(const struct gguf *g, const char *key, double min, double max,
    double dflt, double *out, struct pare_err *err)
{
	const struct gguf_value *v = gguf_find(g, key);
	double x;

	*out = dflt;
	if (v == NULL)
		return PARE_OK;
	if (v->array || (v->type != GGUF_F32 && v->type != GGUF_F64))
		return wrong(g, key, "a real number", err);
	x = gguf_real_at(v, 0);
	if (!(x >= min && x <= max))
		return err_set(err, PARE_EFORMAT, "'%s': %s is %g; expected "
		    "%g to %g", g->path, key, x, min, max);
	*out = x;
	return PARE_OK;
}

enum pare_rc
gguf_bool(const struct gguf *g, const char *key, bool dflt, bool *out,
    struct pare_err *err)
{
	const struct gguf_value *v = gguf_find(g, key);

	*out = dflt;
	if (v == NULL)
		return PARE_OK;
	if (v->array || v->type != GGUF_BOOL)
		return wrong(g, key, "a bool", err);
	*out = v->p[0] != 0;
	return PARE_OK;
}

enum pare_rc
gguf_string(const struct gguf *g, const char *key, struct gguf_text *out,
    struct pare_err *err)
{
	const struct gguf_value *v = gguf_find(g, key);
	const unsigned char *at;

	*out = (struct gguf_text){ NULL, 0 };
	if (v == NULL)
		return PARE_OK;
	if (v->array || v->type != GGUF_STRING)
		return wrong(g, key, "a string", err);
	at = v->p;
	*out = gguf_text_next(&at);
	return PARE_OK;
}

enum pare_rc
gguf_array(const struct gguf *g, const char *key, enum gguf_type type,
    const struct gguf_value **out, struct pare_err *err)
{
	const struct gguf_value *v = gguf_find(g, key);

	*out = v;
	if (v == NULL)
		return PARE_OK;
	if (v->array && (v->type == type || (type == GGUF_I32 &&
	    is_integer(v->type))))
		return PARE_OK;
	*out = NULL;
	return wrong(g, key, type == GGUF_STRING ? "an array of strings" :
	    type == GGUF_F32 ? "an array of floats" : "an array of integers",
	    err);
}
