/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The writer of safetensors: the same bytes as the reference makes. Tensors are
 * sorted by dtype (widest first, so each is naturally aligned) and name; the
 * header is padded with blanks to a multiple of eight. Data goes straight from
 * where it lies to the file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/dtype.h"
#include "file/map.h"
#include "file/safetensors.h"

enum { CHUNK = 4 << 20, PAGE = 4096 };

struct item {
	char *name;
	int dtype;
	int ndim;
	int64_t dim[ST_RANK_MAX];
	const unsigned char *data;
	int64_t bytes;
	bool fits;	/* what was added is consistent */
};

struct st_writer {
	int n, cap;
	struct item *item;
	json_t *meta;
	char *bundle;	/* name of the one tensor; NULL: each has its own */
};

struct st_writer *
st_writer_new(void)
{
	struct st_writer *w = xcalloc(1, sizeof(*w));

	w->meta = json_object();
	st_writer_meta(w, "format", "pt");
	return w;
}

void
st_writer_free(struct st_writer *w)
{
	if (w == NULL)
		return;
	for (int i = 0; i < w->n; i++)
		free(w->item[i].name);
	free(w->item);
	json_decref(w->meta);
	free(w->bundle);
	free(w);
}

void
st_writer_meta(struct st_writer *w, const char *key, const char *value)
{
	json_object_set_new(w->meta, key, json_string(value));
}

void
st_writer_add(struct st_writer *w, const char *name, const char *dtype,
    int ndim, const int64_t *dim, const void *data, int64_t bytes)
{
	struct item *it;
	int64_t expected;

	if (w->n == w->cap) {
		w->cap = w->cap == 0 ? 64 : 2 * w->cap;
		w->item = xrealloc(w->item,
		    (size_t)w->cap * sizeof(*w->item));
	}
	it = &w->item[w->n++];
	memset(it, 0, sizeof(*it));
	it->name = xstrdup(name);
	it->dtype = dtype_find(dtype);
	it->data = data;
	it->bytes = bytes;
	if (it->dtype < 0 || ndim < 0 || ndim > ST_RANK_MAX)
		return;
	it->ndim = ndim;
	if (ndim > 0)
		memcpy(it->dim, dim, (size_t)ndim * sizeof(*dim));
	it->fits = dtype_bytes(it->dtype, ndim, dim, &expected) &&
	    expected == bytes;
}

int
st_writer_count(const struct st_writer *w)
{
	return w->n;
}

int64_t
st_writer_item(const struct st_writer *w, int i, const char **dtype)
{
	*dtype = w->item[i].dtype < 0 ? "?" :
	    dtype_table[w->item[i].dtype].name;
	return w->item[i].bytes;
}

static int
by_dtype(const void *pa, const void *pb)
{
	const struct item *a = pa, *b = pb;

	if (a->dtype != b->dtype)
		return a->dtype < b->dtype ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* One JSON string, quoted and escaped; false when it is not UTF-8. */
static bool
add_quoted(struct str *b, const char *s)
{
	json_t *v = json_string(s);
	char *text = v == NULL ? NULL : json_dumps(v, JSON_ENCODE_ANY);

	if (text != NULL)
		str_add(b, text);
	free(text);
	json_decref(v);
	return text != NULL;
}

static enum pare_rc
add_item(struct str *b, const struct item *it, int64_t begin,
    struct pare_err *err)
{
	if (!it->fits || !add_quoted(b, it->name))
		return err_set(err, PARE_EWRITE, "tensor '%.120s' cannot be "
		    "written: name, shape and size do not fit together",
		    it->name);
	str_addf(b, ":{\"dtype\":\"%s\",\"shape\":[",
	    dtype_table[it->dtype].name);
	for (int i = 0; i < it->ndim; i++)
		str_addf(b, "%s%" PRId64, i == 0 ? "" : ",", it->dim[i]);
	str_addf(b, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", begin,
	    begin + it->bytes);
	return PARE_OK;
}

/* The entries of all items, each behind a comma but the first. */
static enum pare_rc
add_items(struct st_writer *w, struct str *b, int64_t *total,
    struct pare_err *err)
{
	enum pare_rc rc;

	*total = 0;
	if (w->n > 0)
		qsort(w->item, (size_t)w->n, sizeof(*w->item), by_dtype);
	for (int i = 0; i < w->n; i++) {
		if (i > 0 && strcmp(w->item[i].name, w->item[i - 1].name) == 0)
			return err_set(err, PARE_EWRITE, "tensor '%.120s' "
			    "would be written twice", w->item[i].name);
		if (i > 0)
			str_addc(b, ',');
		rc = add_item(b, &w->item[i], *total, err);
		if (rc != PARE_OK)
			return rc;
		*total += w->item[i].bytes;
	}
	return PARE_OK;
}

static enum pare_rc
add_bundle(struct st_writer *w, struct str *b, int64_t *total,
    struct pare_err *err)
{
	struct str unused = STR_INIT;
	enum pare_rc rc = add_items(w, &unused, total, err);
	struct item all = { .name = w->bundle, .dtype = dtype_find("U8"),
		.ndim = 1, .dim = { *total }, .bytes = *total, .fits = true };

	str_free(&unused);
	return rc == PARE_OK ? add_item(b, &all, 0, err) : rc;
}

static enum pare_rc
make_header(struct st_writer *w, struct str *b, int64_t *total,
    struct pare_err *err)
{
	char *meta = json_text_of(w->meta);
	enum pare_rc rc;

	str_addf(b, "{\"__metadata__\":%s", meta != NULL ? meta : "{}");
	free(meta);
	if (w->n > 0)
		str_addc(b, ',');
	rc = w->bundle != NULL ? add_bundle(w, b, total, err) :
	    add_items(w, b, total, err);
	if (rc != PARE_OK)
		return rc;
	str_addc(b, '}');
	while (b->n % 8 != 0)
		str_addc(b, ' ');
	if (b->n > ST_HEADER_MAX)
		return err_set(err, PARE_EWRITE,
		    "%d tensors are too many for one file", w->n);
	return PARE_OK;
}

void
st_writer_bundle(struct st_writer *w, const char *name)
{
	free(w->bundle);
	w->bundle = xstrdup(name);
}

int64_t
st_writer_header(struct st_writer *w)
{
	struct str b = STR_INIT;
	int64_t total, n;

	n = make_header(w, &b, &total, NULL) == PARE_OK ? (int64_t)b.n : 0;
	str_free(&b);
	return n;
}

json_t *
st_writer_index(struct st_writer *w)
{
	struct str b = STR_INIT;
	json_t *v = NULL;
	int64_t total;

	str_addc(&b, '{');
	if (add_items(w, &b, &total, NULL) == PARE_OK) {
		str_addc(&b, '}');
		v = json_parse(b.s, b.n, JSON_UNIQUE, "index", NULL);
	}
	str_free(&b);
	return v;
}

/* Reads a byte of every page, so that a page that is gone meets the guard of
 * map.c and not the kernel's copy, which would only say "bad address". */
static void
touch(const volatile unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i += PAGE)
		(void)p[i];
	if (n > 0)
		(void)p[n - 1];
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
	enum pare_rc rc = PARE_OK;

	for (int64_t at = 0; rc == PARE_OK && at < it->bytes; at += CHUNK) {
		size_t n = (size_t)(it->bytes - at < CHUNK ? it->bytes - at :
		    CHUNK);

		if (!task_tick(wr->task, (double)wr->done, (double)wr->total,
		    "bytes"))
			return task_error(err);
		touch(it->data + at, n);
		if (map_damage_count() != wr->damage)
			return err_set(err, PARE_EIO, "the file the weights "
			    "come from became shorter; nothing was saved");
		rc = io_out_write(wr->out, it->data + at, n, err);
		wr->done += (int64_t)n;
	}
	return rc;
}

static enum pare_rc
write_all(struct st_writer *w, struct writing *wr, const struct str *header,
    struct pare_err *err)
{
	unsigned char length[8];
	enum pare_rc rc;

	for (int i = 0; i < 8; i++)
		length[i] = (unsigned char)((uint64_t)header->n >> (8 * i));
	rc = io_out_write(wr->out, length, sizeof(length), err);
	if (rc == PARE_OK)
		rc = io_out_write(wr->out, header->s, header->n, err);
	for (int i = 0; rc == PARE_OK && i < w->n; i++)
		rc = write_item(wr, &w->item[i], err);
	return rc;
}

enum pare_rc
st_writer_write(struct st_writer *w, const char *path, int64_t *bytes,
    struct task *task, struct pare_err *err)
{
	struct writing wr = { .task = task, .damage = map_damage_count() };
	struct str header = STR_INIT;
	enum pare_rc rc;

	rc = make_header(w, &header, &wr.total, err);
	if (rc == PARE_OK) {
		wr.out = io_out_open(path, err);
		rc = wr.out != NULL ? write_all(w, &wr, &header, err) :
		    PARE_EWRITE;
	}
	if (rc == PARE_OK)
		rc = io_out_commit(wr.out, err);
	else
		io_out_abort(wr.out);
	if (rc == PARE_OK && bytes != NULL)
		*bytes = 8 + (int64_t)header.n + wr.total;
	str_free(&header);
	return rc;
}
