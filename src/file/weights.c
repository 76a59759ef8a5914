/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "file/dtype.h"
#include "tensor/block.h"
#include "tensor/transform.h"

static int
by_name(const void *pa, const void *pb)
{
	const struct weight *a = pa, *b = pb;

	return strcmp(a->e->name, b->e->name);
}

enum pare_rc
weights_index(struct weights *w, struct pare_err *err)
{
	int n = 0;

	for (int i = 0; i < w->nfiles; i++)
		n += w->file[i]->n;
	w->w = xcalloc((size_t)n, sizeof(*w->w));
	for (int i = 0; i < w->nfiles; i++)
		for (int k = 0; k < w->file[i]->n; k++) {
			w->w[w->n].e = &w->file[i]->entry[k];
			w->w[w->n++].file = w->file[i];
		}
	if (w->n > 0)
		qsort(w->w, (size_t)w->n, sizeof(*w->w), by_name);
	for (int i = 1; i < w->n; i++)
		if (strcmp(w->w[i].e->name, w->w[i - 1].e->name) == 0)
			return err_set(err, PARE_EFORMAT, "tensor '%.120s' is "
			    "in two files, '%s' and '%s'", w->w[i].e->name,
			    w->w[i - 1].file->path, w->w[i].file->path);
	return PARE_OK;
}

struct weights *
weights_open(const char *path, struct pare_err *err)
{
	struct weights *w = xcalloc(1, sizeof(*w));

	w->where = xstrdup(path);
	w->file = xcalloc(1, sizeof(*w->file));
	w->file[0] = st_open(path, err);
	if (w->file[0] != NULL) {
		w->nfiles = 1;
		if (weights_index(w, err) == PARE_OK)
			return w;
	}
	weights_free(w);
	return NULL;
}

enum pare_rc
weights_unbundle(struct weights *w, const char *name, const json_t *index,
    struct pare_err *err)
{
	enum pare_rc rc;

	free(w->w);
	w->w = NULL;
	w->n = 0;
	rc = st_unbundle(w->file[0], name, index, err);
	return rc == PARE_OK ? weights_index(w, err) : rc;
}

void
weights_free(struct weights *w)
{
	if (w == NULL)
		return;
	for (int i = 0; i < w->n; i++)
		tensor_unref(w->w[i].t);
	for (int i = 0; i < w->nfiles; i++)
		st_close(w->file[i]);
	free(w->file);
	free(w->w);
	free(w->where);
	free(w);
}

struct weight *
weights_find(const struct weights *w, const char *name)
{
	int low = 0, high = w->n;

	while (low < high) {
		int mid = low + (high - low) / 2;
		int order = strcmp(name, w->w[mid].e->name);

		if (order == 0)
			return &w->w[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

void
weights_shape(const struct st_entry *e, char *out, size_t n)
{
	struct str b = STR_INIT;

	for (int i = 0; i < e->ndim; i++)
		str_addf(&b, "%s%" PRId64, i == 0 ? "" : ", ", e->dim[i]);
	snprintf(out, n, "[%s]", b.s);
	str_free(&b);
}

/* Doubles, at any alignment, as a float32 tensor of its own. */
static struct tensor *
convert_f64(int ndim, int64_t rows, int64_t cols, const unsigned char *p,
    struct pare_err *err)
{
	struct tensor *t;
	float *out;

	t = tensor_new_f32(ndim, rows, cols, &out, err);
	for (int64_t i = 0; t != NULL && i < rows * cols; i++) {
		double d;

		memcpy(&d, p + 8 * i, sizeof(d));
		out[i] = (float)d;
	}
	return t;
}

/* Blocks of a GGUF file, as they are. */
static struct tensor *
make_blocks(const struct weight *x, int64_t rows, int64_t cols,
    struct pare_err *err)
{
	const struct st_entry *e = x->e;
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, *t;
	struct tensor facts = { .form = FORM_BLOCK, .values = FORM_BLOCK,
	    .ndim = e->ndim, .rows = rows, .cols = cols };
	enum block_kind kind;

	if (!block_find(e->type - 1, &kind)) {
		err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s' has type "
		    "%s, which pare cannot read", x->file->path, e->name,
		    e->dtype);
		err_hint(err, "convert the model to another type, such as "
		    "Q4_K or Q8_0");
		return NULL;
	}
	facts.code.block = (uint8_t)kind;
	facts.code.act = 8;
	atomic_init(&facts.nonzero, -1);
	parts[PART_DATA].blob = blob_ref(x->file->blob);
	parts[PART_DATA].p = x->file->data + e->begin;
	parts[PART_DATA].n = (size_t)(e->end - e->begin);
	t = tensor_new(&facts, parts, kid, err);
	if (t == NULL)
		err_prefix(err, "'%s': tensor '%.120s'", x->file->path,
		    e->name);
	return t;
}

/* Norms of Gemma, which files of GGUF hold with the 1 added. */
static struct tensor *
minus_one(const struct weight *x, enum form_kind form, int64_t rows,
    int64_t cols, struct pare_err *err)
{
	struct tensor *t, *view;
	float *out;

	view = tensor_new_view(form, x->e->ndim, rows, cols, x->file->blob,
	    x->file->data + x->e->begin, err);
	if (view == NULL)
		return NULL;
	t = tensor_new_f32(x->e->ndim, rows, cols, &out, err);
	if (t != NULL)
		tensor_decode(view, 0, rows, out);
	for (int64_t i = 0; t != NULL && i < rows * cols; i++)
		out[i] -= 1.0f;
	tensor_unref(view);
	return t;
}

static struct tensor *
make_tensor(struct weights *w, const struct weight *x, struct pare_err *err)
{
	const struct st_entry *e = x->e;
	const unsigned char *p = x->file->data + e->begin;
	int64_t rows, cols;
	enum form_kind form;

	if (e->ndim < 1 || e->ndim > 2) {
		err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s' has %d "
		    "dimensions; expected 1 or 2", x->file->path, e->name,
		    e->ndim);
		return NULL;
	}
	rows = e->ndim == 1 ? 1 : e->dim[0];
	cols = e->dim[e->ndim - 1];
	if (dtype_to_form(e->dtype, &form))
		return e->minus_one ? minus_one(x, form, rows, cols, err) :
		    tensor_new_view(form, e->ndim, rows, cols, x->file->blob,
		    p, err);
	if (e->type > 0)
		return make_blocks(x, rows, cols, err);
	if (strcmp(e->dtype, "F64") == 0) {
		w->converted++;
		return convert_f64(e->ndim, rows, cols, p, err);
	}
	err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s' has dtype %s; "
	    "expected a float type (F32, F16, BF16 or F64)", x->file->path,
	    e->name, e->dtype);
	return NULL;
}

/* Turns columns [first, first + n) of (rows, width) into (n, rows), in tiles
 * that fit the first cache. */
static void
turn(const unsigned char *from, int64_t rows, int64_t width, int64_t first,
    int64_t n, size_t size, unsigned char *to)
{
	enum { TILE = 32 };

#pragma omp parallel for schedule(static)
	for (int64_t c = 0; c < n; c += TILE)
		for (int64_t r = 0; r < rows; r += TILE)
			for (int64_t i = c; i < c + TILE && i < n; i++)
				for (int64_t k = r; k < r + TILE && k < rows;
				    k++)
					memcpy(to + (size_t)(i * rows + k) *
					    size, from + (size_t)(k * width +
					    first + i) * size, size);
}

static struct tensor *
cut_turned(const struct weight *x, enum form_kind form, int64_t first,
    int64_t n, struct pare_err *err)
{
	const unsigned char *p = x->file->data + x->e->begin;
	const int64_t rows = x->e->dim[0], width = x->e->dim[1];
	const size_t size = form == FORM_F32 ? 4 : 2;
	struct tensor *t = NULL;
	struct blob *blob;
	void *data;

	data = mem_big((size_t)(rows * n), size, err);
	if (data == NULL)
		return NULL;
	turn(p, rows, width, first, n, size, data);
	blob = blob_heap(data, (size_t)(rows * n) * size);
	t = tensor_new_view(form, 2, n, rows, blob, data, err);
	blob_unref(blob);
	return t;
}

static struct tensor *
cut_blocks(struct weights *w, struct weight *x, int64_t first, int64_t n,
    struct pare_err *err)
{
	const struct transform_ctx ctx = { .estimate = false };
	const struct tensor *all = weights_tensor(w, x, err);
	int64_t *keep = xmalloc((size_t)(n + 1) * sizeof(*keep));
	struct tensor *t = NULL;

	for (int64_t i = 0; i < n; i++)
		keep[i] = first + i;
	if (all != NULL)
		t = tensor_select(all, 0, keep, n, &ctx, err);
	free(keep);
	return t;
}

struct tensor *
weights_cut(struct weights *w, struct weight *x, bool turned, int64_t first,
    int64_t n, struct pare_err *err)
{
	const struct st_entry *e = x->e;
	const int64_t cols = e->ndim == 2 ? e->dim[1] : 1;
	const unsigned char *p = x->file->data + e->begin;
	enum form_kind form;

	x->used = true;
	if (e->type > 0 && !dtype_to_form(e->dtype, &form))
		return cut_blocks(w, x, first, n, err);
	if (!dtype_to_form(e->dtype, &form)) {
		err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s' has dtype "
		    "%s; expected F32, F16 or BF16", x->file->path, e->name,
		    e->dtype);
		return NULL;
	}
	if (turned && e->ndim == 2)
		return cut_turned(x, form, first, n, err);
	return tensor_new_view(form, e->ndim, e->ndim == 2 ? n : 1,
	    e->ndim == 2 ? cols : n, x->file->blob,
	    p + (size_t)(first * cols) * (form == FORM_F32 ? 4 : 2), err);
}

struct tensor *
weights_tensor(struct weights *w, struct weight *x, struct pare_err *err)
{
	x->used = true;
	if (x->t == NULL)
		x->t = make_tensor(w, x, err);
	return x->t;
}
