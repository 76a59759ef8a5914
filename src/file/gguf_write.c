/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/map.h"

enum { GGUF_VERSION = 3, ALIGNMENT = 32, CHUNK = 4 << 20, PAGE = 4096,
	NAME_MAX_BYTES = 63 };

struct item {
	char *name;
	int type, ndim;
	int64_t dim[4];
	const unsigned char *data;
	int64_t bytes;
};

struct gguf_writer {
	struct str keys;	/* as they stand in the file */
	uint64_t nkeys;
	char **key;
	size_t *at;		/* where each begins in keys */
	int n, cap;
	struct item *item;
};

struct gguf_writer *
gguf_writer_new(void)
{
	struct gguf_writer *w = xcalloc(1, sizeof(*w));

	w->keys = (struct str)STR_INIT;
	return w;
}

void
gguf_writer_free(struct gguf_writer *w)
{
	if (w == NULL)
		return;
	for (uint64_t i = 0; i < w->nkeys; i++)
		free(w->key[i]);
	for (int i = 0; i < w->n; i++)
		free(w->item[i].name);
	free(w->key);
	free(w->at);
	free(w->item);
	str_free(&w->keys);
	free(w);
}

/* ---- values ---------------------------------------------------------- */

static void
add_little(struct str *b, uint64_t v, int bytes)
{
	char p[8];

	for (int i = 0; i < bytes; i++)
		p[i] = (char)(v >> (8 * i));
	str_addn(b, p, (size_t)bytes);
}

static void
add_text(struct str *b, const char *s, size_t n)
{
	add_little(b, n, 8);
	str_addn(b, s, n);
}

static void
add_float(struct str *b, float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof(u));
	add_little(b, u, 4);
}

static bool
has_key(const struct gguf_writer *w, const char *key)
{
	for (uint64_t i = 0; i < w->nkeys; i++)
		if (strcmp(w->key[i], key) == 0)
			return true;
	return false;
}

/* Key and type of a value that follows; false when the key is there. */
static bool
begin(struct gguf_writer *w, const char *key, enum gguf_type type)
{
	if (has_key(w, key))
		return false;
	w->key = xrealloc(w->key, (size_t)(w->nkeys + 1) * sizeof(*w->key));
	w->at = xrealloc(w->at, (size_t)(w->nkeys + 1) * sizeof(*w->at));
	w->at[w->nkeys] = w->keys.n;
	w->key[w->nkeys++] = xstrdup(key);
	add_text(&w->keys, key, strlen(key));
	add_little(&w->keys, type, 4);
	return true;
}

static bool
begin_array(struct gguf_writer *w, const char *key, enum gguf_type type,
    int64_t n)
{
	if (!begin(w, key, GGUF_ARRAY))
		return false;
	add_little(&w->keys, type, 4);
	add_little(&w->keys, (uint64_t)n, 8);
	return true;
}

void
gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
	if (begin(w, key, GGUF_U32))
		add_little(&w->keys, v, 4);
}

void
gguf_put_f32(struct gguf_writer *w, const char *key, float v)
{
	if (begin(w, key, GGUF_F32))
		add_float(&w->keys, v);
}

void
gguf_put_bool(struct gguf_writer *w, const char *key, bool v)
{
	if (begin(w, key, GGUF_BOOL))
		add_little(&w->keys, v, 1);
}

void
gguf_put_text(struct gguf_writer *w, const char *key, const char *s,
    size_t n)
{
	if (begin(w, key, GGUF_STRING))
		add_text(&w->keys, s, n);
}

void
gguf_put_texts(struct gguf_writer *w, const char *key,
    const struct gguf_text *v, int64_t n)
{
	if (!begin_array(w, key, GGUF_STRING, n))
		return;
	for (int64_t i = 0; i < n; i++)
		add_text(&w->keys, v[i].s, v[i].n);
}

void
gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v,
    int64_t n)
{
	if (!begin_array(w, key, GGUF_F32, n))
		return;
	for (int64_t i = 0; i < n; i++)
		add_float(&w->keys, v[i]);
}

void
gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v,
    int64_t n)
{
	if (!begin_array(w, key, GGUF_I32, n))
		return;
	for (int64_t i = 0; i < n; i++)
		add_little(&w->keys, (uint32_t)v[i], 4);
}

void
gguf_put_value(struct gguf_writer *w, const struct gguf_value *v)
{
	bool fine = v->array ? begin_array(w, v->key, v->type, v->count) :
	    begin(w, v->key, v->type);

	if (fine)
		str_addn(&w->keys, (const char *)v->p, v->n);
}

void
gguf_put_values(struct gguf_writer *w, const struct gguf *from,
    const char *prefix)
{
	for (int i = 0; i < from->nvalues; i++)
		if (str_has_prefix(from->value[i].key, prefix))
			gguf_put_value(w, &from->value[i]);
}

void
gguf_put_all(struct gguf_writer *w, const struct gguf_writer *from)
{
	for (uint64_t i = 0; i < from->nkeys; i++) {
		const size_t end = i + 1 < from->nkeys ? from->at[i + 1] :
		    from->keys.n;
		const size_t head = from->at[i] + 8 + strlen(from->key[i]) +
		    4;
		const char *type = from->keys.s + head - 4;

		/* The type again, then what stands behind it. */
		if (begin(w, from->key[i], (enum gguf_type)*type))
			str_addn(&w->keys, from->keys.s + head, end - head);
	}
}

/* ---- tensors --------------------------------------------------------- */

void
gguf_add_tensor(struct gguf_writer *w, const char *name, int type, int ndim,
    const int64_t *dim, const void *data, int64_t bytes)
{
	struct item *it;

	if (w->n == w->cap) {
		w->cap = w->cap == 0 ? 64 : 2 * w->cap;
		w->item = xrealloc(w->item,
		    (size_t)w->cap * sizeof(*w->item));
	}
	it = &w->item[w->n++];
	memset(it, 0, sizeof(*it));
	it->name = xstrdup(name);
	it->type = type;
	it->ndim = ndim;
	memcpy(it->dim, dim, (size_t)ndim * sizeof(*dim));
	it->data = data;
	it->bytes = bytes;
}

static uint64_t
padded(uint64_t n)
{
	return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void
pad(struct str *b)
{
	while (b->n % ALIGNMENT != 0)
		str_addc(b, '\0');
}

/* What the type and the sizes make of a tensor. */
static bool
fits(const struct item *it)
{
	const struct gguf_type_facts *f = &gguf_type_table[it->type];
	int64_t n = 1;

	for (int i = 0; i < it->ndim; i++)
		if (!mem_mul(n, it->dim[i], &n))
			return false;
	return f->block > 0 && strlen(it->name) <= NAME_MAX_BYTES &&
	    it->dim[0] % f->block == 0 &&
	    n / f->block * f->bytes == it->bytes;
}

static enum pare_rc
make_header(const struct gguf_writer *w, struct str *b, struct pare_err *err)
{
	uint64_t offset = 0;

	str_add(b, "GGUF");
	add_little(b, GGUF_VERSION, 4);
	add_little(b, (uint64_t)w->n, 8);
	add_little(b, w->nkeys, 8);
	str_addn(b, w->keys.s, w->keys.n);
	for (int i = 0; i < w->n; i++) {
		const struct item *it = &w->item[i];

		if (!fits(it))
			return err_set(err, PARE_EWRITE, "tensor '%.120s' "
			    "cannot be written: name, shape and size do not "
			    "fit together", it->name);
		add_text(b, it->name, strlen(it->name));
		add_little(b, (uint64_t)it->ndim, 4);
		for (int k = 0; k < it->ndim; k++)
			add_little(b, (uint64_t)it->dim[k], 8);
		add_little(b, (uint64_t)it->type, 4);
		add_little(b, offset, 8);
		offset += padded((uint64_t)it->bytes);
	}
	pad(b);
	return PARE_OK;
}

struct writing {
	struct io_out *out;
	struct task *task;
	int64_t done, total;
	unsigned long damage;
};

static enum pare_rc
write_item(struct writing *wr, const struct item *it, struct pare_err *err)
{
	static const char zeros[ALIGNMENT];
	enum pare_rc rc = PARE_OK;

	for (int64_t at = 0; rc == PARE_OK && at < it->bytes; at += CHUNK) {
		size_t n = (size_t)(it->bytes - at < CHUNK ? it->bytes - at :
		    CHUNK);
		const volatile unsigned char *p = it->data + at;

		if (!task_tick(wr->task, (double)wr->done, (double)wr->total,
		    "bytes"))
			return task_error(err);
		/* A page that is gone meets the guard of map.c. */
		for (size_t i = 0; i < n; i += PAGE)
			(void)p[i];
		if (map_damage_count() != wr->damage)
			return err_set(err, PARE_EIO, "the file the weights "
			    "come from became shorter; nothing was written");
		rc = io_out_write(wr->out, it->data + at, n, err);
		wr->done += (int64_t)n;
	}
	return rc == PARE_OK ? io_out_write(wr->out, zeros,
	    (size_t)(padded((uint64_t)it->bytes) - (uint64_t)it->bytes),
	    err) : rc;
}

enum pare_rc
gguf_writer_write(struct gguf_writer *w, const char *path, int64_t *bytes,
    struct task *task, struct pare_err *err)
{
	struct writing wr = { .task = task, .damage = map_damage_count() };
	struct str header = STR_INIT;
	enum pare_rc rc = make_header(w, &header, err);
	int64_t total = (int64_t)header.n;

	for (int i = 0; i < w->n; i++) {
		wr.total += w->item[i].bytes;
		total += (int64_t)padded((uint64_t)w->item[i].bytes);
	}
	if (rc == PARE_OK) {
		wr.out = io_out_open(path, err);
		rc = wr.out == NULL ? PARE_EWRITE : io_out_write(wr.out,
		    header.s, header.n, err);
	}
	for (int i = 0; rc == PARE_OK && i < w->n; i++)
		rc = write_item(&wr, &w->item[i], err);
	if (rc == PARE_OK)
		rc = io_out_commit(wr.out, err);
	else
		io_out_abort(wr.out);
	if (rc == PARE_OK && bytes != NULL)
		*bytes = total;
	str_free(&header);
	return rc;
}
