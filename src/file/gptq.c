/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file/gptq.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/config.h"
#include "tensor/form.h"

enum { WORD = 32 };

bool
gptq_is(const json_t *config)
{
	const char *m = json_string_value(json_object_get(json_object_get(
	    config, "quantization_config"), "quant_method"));

	return m != NULL && strcmp(m, CONFIG_GPTQ) == 0;
}

/* ---- tensors of codes ------------------------------------------------ */

/* A symmetric INT tensor; takes over codes (packed) and scales. */
static struct tensor *
new_int(int64_t rows, int64_t cols, int bits, int64_t group, uint8_t *codes,
    uint16_t *scales, struct pare_err *err)
{
	const size_t row = (size_t)(cols * bits / 8);
	const size_t nscales = (size_t)(rows * (cols / group));
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2] = { NULL, NULL }, facts = { .form = FORM_INT,
		.values = FORM_INT, .ndim = 2, .rows = rows, .cols = cols,
		.stored = rows * cols };

	facts.code = (struct tensor_code){ .bits = (uint8_t)bits,
		.scheme = CODE_SYMMETRIC, .group = group, .mult = 1.0f };
	atomic_init(&facts.nonzero, -1);
	parts[PART_DATA].blob = blob_heap(codes, (size_t)rows * row);
	parts[PART_DATA].p = codes;
	parts[PART_DATA].n = (size_t)rows * row;
	parts[PART_SCALE].blob = blob_heap(scales, nscales * 2);
	parts[PART_SCALE].p = scales;
	parts[PART_SCALE].n = nscales * 2;
	return tensor_new(&facts, parts, kid, err);
}

static void
put_code(uint8_t *row, int64_t c, int bits, int code)
{
	const int64_t at = c * bits;

	row[at / 8] = (uint8_t)(row[at / 8] | code << (at % 8));
}

static int
get_code(const uint8_t *row, int64_t c, int bits)
{
	const int64_t at = c * bits;

	return row[at / 8] >> (at % 8) & ((1 << bits) - 1);
}

/* ---- writing --------------------------------------------------------- */

enum pare_rc
gptq_check(const struct tensor *t, struct pare_err *err)
{
	const int bits = t->code.bits;
	char text[96];

	tensor_describe(t, text, sizeof(text));
	if (t->form != FORM_INT || (bits != 4 && bits != 8) ||
	    t->code.scheme != CODE_SYMMETRIC)
		return err_set(err, PARE_EUSER, "is held as %s; GPTQ holds "
		    "symmetric codes of 4 or 8 bits", text);
	if (t->cols % (WORD / bits) != 0 || t->rows % (WORD / bits) != 0)
		return err_set(err, PARE_EUSER, "is %" PRId64 " x %" PRId64
		    ": GPTQ packs %d codes to a word on both sides", t->rows,
		    t->cols, WORD / bits);
	return PARE_OK;
}

static float
step_at(const struct tensor *t, int64_t r, int64_t c)
{
	const uint16_t *scale = t->part[PART_SCALE].p;
	const int64_t g = t->code.group;

	return half_to_float(scale[g == 0 ? 0 : r * (t->cols / g) + c / g]) *
	    t->code.mult;
}

/* One row of codes and scales; false where float16 cannot hold a scale. */
static bool
recode_row(const struct tensor *t, int64_t r, int64_t group,
    const float *value, uint8_t *codes, uint16_t *scales)
{
	const int bits = t->code.bits, zero = 1 << (bits - 1);

	for (int64_t c = 0; c < t->cols; c++) {
		const float step = step_at(t, r, c);
		const uint16_t h = half_from_float(step);

		if (half_to_float(h) != step)
			return false;
		scales[c / group] = h;
		/* Each value is a whole number of steps. */
		put_code(codes, c, bits, step == 0.0f ? zero :
		    zero + (int)lrintf(value[c] / step));
	}
	return true;
}

struct tensor *
gptq_tensor(const struct tensor *t, int64_t group, struct pare_err *err)
{
	const int64_t row = t->cols * t->code.bits / 8;
	const int64_t per_row = t->cols / group;
	uint8_t *codes = mem_big_zero((size_t)t->rows, (size_t)row, err);
	uint16_t *scales = mem_big((size_t)(t->rows * per_row),
	    sizeof(*scales), err);
	float *value = mem_big((size_t)t->cols, sizeof(*value), err);
	bool fine = codes != NULL && scales != NULL && value != NULL;
	const bool room = fine;

	for (int64_t r = 0; fine && r < t->rows; r++) {
		tensor_decode(t, r, 1, value);
		fine = recode_row(t, r, group, value, codes + r * row,
		    scales + r * per_row);
	}
	free(value);
	if (fine)
		return new_int(t->rows, t->cols, t->code.bits, group, codes,
		    scales, err);
	free(codes);
	free(scales);
	if (room)
		err_set(err, PARE_EUSER, "has a scale that float16 cannot "
		    "hold");
	return NULL;
}

void
gptq_arrays_free(struct gptq_arrays *a)
{
	free(a->qweight);
	free(a->qzeros);
	free(a->g_idx);
	free(a->scales);
	memset(a, 0, sizeof(*a));
}

enum pare_rc
gptq_pack(const struct tensor *t, struct gptq_arrays *a, struct pare_err *err)
{
	const int bits = t->code.bits, per = WORD / bits;
	const int64_t group = t->code.group, row = t->cols * bits / 8;
	const uint8_t *codes = t->part[PART_DATA].p;
	const uint16_t *scale = t->part[PART_SCALE].p;

	a->words = t->cols / per;
	a->groups = t->cols / group;
	a->zero_words = t->rows / per;
	a->qweight = mem_big_zero((size_t)(a->words * t->rows), 4, err);
	a->qzeros = mem_big_zero((size_t)(a->groups * a->zero_words), 4, err);
	a->g_idx = mem_big_zero((size_t)t->cols, 4, err);
	a->scales = mem_big_zero((size_t)(a->groups * t->rows), 2, err);
	if (a->qweight == NULL || a->qzeros == NULL || a->g_idx == NULL ||
	    a->scales == NULL)
		return PARE_ENOMEM;
	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = 0; c < t->cols; c++) {
			int32_t *w = &a->qweight[c / per * t->rows + r];

			*w = (int32_t)((uint32_t)*w | (uint32_t)get_code(codes
			    + r * row, c, bits) << (c % per * bits));
		}
	for (int64_t g = 0; g < a->groups; g++)
		for (int64_t r = 0; r < t->rows; r++) {
			int32_t *w = &a->qzeros[g * a->zero_words + r / per];

			a->scales[g * t->rows + r] = scale[r * a->groups + g];
			*w = (int32_t)((uint32_t)*w | (uint32_t)((1 << (bits -
			    1)) - 1) << (r % per * bits));
		}
	for (int64_t c = 0; c < t->cols; c++)
		a->g_idx[c] = (int32_t)(c / group);
	return PARE_OK;
}

/* ---- reading --------------------------------------------------------- */

struct source {
	const struct weight *qweight, *qzeros, *scales, *g_idx;
	const char *name;	/* of qweight */
	int bits;
	int64_t rows, cols, groups;
	bool v2;		/* zeros are stored as they are */
};

static uint32_t
word_at(const struct weight *x, int64_t i)
{
	uint32_t v;

	memcpy(&v, x->file->data + x->e->begin + 4 * i, sizeof(v));
	return v;
}

static float
scale_at(const struct source *s, int64_t i)
{
	const unsigned char *p = s->scales->file->data + s->scales->e->begin;
	uint16_t h;
	float f;

	if (strcmp(s->scales->e->dtype, "F32") == 0) {
		memcpy(&f, p + 4 * i, sizeof(f));
		return f;
	}
	memcpy(&h, p + 2 * i, sizeof(h));
	return strcmp(s->scales->e->dtype, "F16") == 0 ? half_to_float(h) :
	    bfloat_to_float(h);
}

static int
code_at(const struct source *s, int64_t r, int64_t c)
{
	const int per = WORD / s->bits;

	return (int)(word_at(s->qweight, c / per * s->rows + r) >>
	    (c % per * s->bits) & ((1u << s->bits) - 1));
}

static int
zero_at(const struct source *s, int64_t r, int64_t g)
{
	const int per = WORD / s->bits;
	const uint32_t mask = (1u << s->bits) - 1;
	uint32_t z = word_at(s->qzeros, g * (s->rows / per) + r / per) >>
	    (r % per * s->bits) & mask;

	return (int)(s->v2 ? z : (z + 1) & mask);
}

static int64_t
group_at(const struct source *s, int64_t c)
{
	return s->g_idx != NULL ? (int64_t)(int32_t)word_at(s->g_idx, c) :
	    c / (s->cols / s->groups);
}

static bool
shape_is(const struct weight *x, const char *dtype, int ndim, int64_t a,
    int64_t b)
{
	return strcmp(x->e->dtype, dtype) == 0 && x->e->ndim == ndim &&
	    x->e->dim[0] == a && (ndim == 1 || x->e->dim[1] == b);
}

static enum pare_rc
check_source(struct source *s, struct pare_err *err)
{
	const struct st_entry *q = s->qweight->e;
	const int per = WORD / s->bits;
	const char *what = NULL;

	if (s->scales == NULL || s->qzeros == NULL)
		return err_set(err, PARE_EFORMAT, "'%s': '%.120s' has no "
		    "%s beside it", s->qweight->file->path, s->name,
		    s->scales == NULL ? "scales" : "qzeros");
	if (strcmp(q->dtype, "I32") != 0 || q->ndim != 2 ||
	    !mem_mul(q->dim[0], per, &s->cols) || q->dim[1] % per != 0 ||
	    q->dim[0] < 1 || q->dim[1] < 1)
		what = "qweight";
	else if (s->scales->e->ndim != 2 || s->scales->e->dim[0] < 1 ||
	    s->cols % s->scales->e->dim[0] != 0 ||
	    s->scales->e->dim[1] != q->dim[1] ||
	    (strcmp(s->scales->e->dtype, "F16") != 0 &&
	    strcmp(s->scales->e->dtype, "BF16") != 0 &&
	    strcmp(s->scales->e->dtype, "F32") != 0))
		what = "scales";
	if (what == NULL) {
		s->rows = q->dim[1];
		s->groups = s->scales->e->dim[0];
		if (!shape_is(s->qzeros, "I32", 2, s->groups, s->rows / per))
			what = "qzeros";
		else if (s->g_idx != NULL && !shape_is(s->g_idx, "I32", 1,
		    s->cols, 0))
			what = "g_idx";
	}
	if (what != NULL)
		return err_set(err, PARE_EFORMAT, "'%s': the %s of '%.120s' "
		    "does not fit codes of %d bits", s->qweight->file->path,
		    what, s->name, s->bits);
	for (int64_t c = 0; s->g_idx != NULL && c < s->cols; c++)
		if (group_at(s, c) < 0 || group_at(s, c) >= s->groups)
			return err_set(err, PARE_EFORMAT, "'%s': the g_idx of "
			    "'%.120s' names group %" PRId64 " of %" PRId64,
			    s->qweight->file->path, s->name, group_at(s, c),
			    s->groups);
	return PARE_OK;
}

/* Zeros in the middle, groups in runs, scales in float16. */
static bool
is_plain(const struct source *s)
{
	const int64_t g = s->cols / s->groups;

	if (strcmp(s->scales->e->dtype, "F16") != 0)
		return false;
	for (int64_t c = 0; c < s->cols; c++)
		if (group_at(s, c) != c / g)
			return false;
	for (int64_t i = 0; i < s->groups; i++)
		for (int64_t r = 0; r < s->rows; r++)
			if (zero_at(s, r, i) != 1 << (s->bits - 1))
				return false;
	return true;
}

static struct tensor *
read_codes(const struct source *s, struct pare_err *err)
{
	const int64_t row = s->cols * s->bits / 8;
	uint8_t *codes = mem_big_zero((size_t)s->rows, (size_t)row, err);
	uint16_t *scales = codes == NULL ? NULL : mem_big((size_t)(s->rows *
	    s->groups), sizeof(*scales), err);

	if (scales == NULL) {
		free(codes);
		return NULL;
	}
	for (int64_t r = 0; r < s->rows; r++) {
		for (int64_t c = 0; c < s->cols; c++)
			put_code(codes + r * row, c, s->bits, code_at(s, r,
			    c));
		for (int64_t g = 0; g < s->groups; g++)
			scales[r * s->groups + g] = half_from_float(
			    scale_at(s, g * s->rows + r));
	}
	return new_int(s->rows, s->cols, s->bits, s->cols / s->groups, codes,
	    scales, err);
}

static struct tensor *
read_floats(const struct source *s, struct pare_err *err)
{
	struct tensor *t;
	float *v;

	t = tensor_new_f32(2, s->rows, s->cols, &v, err);
	for (int64_t r = 0; t != NULL && r < s->rows; r++)
		for (int64_t c = 0; c < s->cols; c++) {
			const int64_t g = group_at(s, c);

			v[r * s->cols + c] = (float)(code_at(s, r, c) -
			    zero_at(s, r, g)) * scale_at(s, g * s->rows + r);
		}
	return t;
}

/* The tensor beside X.qweight that ends in other; NULL: none. */
static struct weight *
beside(const struct weights *w, const char *name, const char *other)
{
	char *full = str_format("%.*s%s", (int)(strlen(name) -
	    strlen("qweight")), name, other);
	struct weight *x = weights_find(w, full);

	free(full);
	return x;
}

/* One packed matrix as a weight of f. */
static enum pare_rc
unpack_one(const struct weights *w, struct source *s, struct st_file *f,
    struct tensor **out, int *floats, struct pare_err *err)
{
	struct st_entry *e;
	enum pare_rc rc = check_source(s, err);

	if (rc != PARE_OK)
		return rc;
	*floats += !is_plain(s);
	*out = is_plain(s) ? read_codes(s, err) : read_floats(s, err);
	if (*out == NULL)
		return err != NULL ? err->rc : PARE_ENOMEM;
	e = &f->entry[f->n++];
	e->name = str_format("%.*sweight", (int)(strlen(s->name) -
	    strlen("qweight")), s->name);
	e->dtype = "GPTQ";
	e->ndim = 2;
	e->dim[0] = s->rows;
	e->dim[1] = s->cols;
	return PARE_OK;
}

/* Puts file f, whose tensors are made, into w; the parts count as used. */
static enum pare_rc
attach(struct weights *w, struct st_file *f, struct tensor **made,
    struct pare_err *err)
{
	static const char *const parts[] = { ".qweight", ".qzeros", ".scales",
		".g_idx" };
	enum pare_rc rc;

	w->file = xrealloc(w->file, (size_t)(w->nfiles + 1) *
	    sizeof(*w->file));
	w->file[w->nfiles++] = f;
	free(w->w);
	w->w = NULL;
	w->n = 0;
	rc = weights_index(w, err);
	for (int i = 0; i < w->n; i++)
		for (int k = 0; k < 4; k++)
			w->w[i].used = w->w[i].used || str_has_suffix(
			    w->w[i].e->name, parts[k]);
	for (int i = 0; i < f->n; i++) {
		struct weight *x = weights_find(w, f->entry[i].name);

		if (x != NULL && x->e == &f->entry[i])
			x->t = tensor_ref(made[i]);
	}
	return rc;
}

static enum pare_rc
read_settings(const json_t *config, const char *where, int *bits, bool *v2,
    struct pare_err *err)
{
	const json_t *q = json_object_get(config, "quantization_config");
	const char *format = json_string_value(json_object_get(q,
	    "checkpoint_format"));
	int64_t n;
	enum pare_rc rc = json_int(q, "bits", 1, 16, 4, &n, where, err);

	if (rc != PARE_OK)
		return rc;
	if (n != 2 && n != 4 && n != 8)
		return err_set(err, PARE_EFORMAT, "'%s': GPTQ codes of %" PRId64
		    " bits are not supported; 2, 4 and 8 are", where, n);
	if (format != NULL && strcmp(format, "gptq") != 0 &&
	    strcmp(format, "gptq_v2") != 0)
		return err_set(err, PARE_EFORMAT, "'%s': checkpoint_format "
		    "'%.40s' of GPTQ is not supported", where, format);
	*bits = (int)n;
	*v2 = format != NULL && strcmp(format, "gptq_v2") == 0;
	return PARE_OK;
}

enum pare_rc
gptq_unpack(struct weights *w, const json_t *config, const char *where,
    struct notes *notes, struct pare_err *err)
{
	struct st_file *f = xcalloc(1, sizeof(*f));
	struct tensor **made = xcalloc((size_t)w->n + 1, sizeof(*made));
	struct source s = { 0 };
	int floats = 0, n = 0;
	enum pare_rc rc = read_settings(config, where, &s.bits, &s.v2, err);

	f->path = xstrdup(w->where);
	f->entry = xcalloc((size_t)w->n + 1, sizeof(*f->entry));
	for (int i = 0; rc == PARE_OK && i < w->n; i++) {
		const char *name = w->w[i].e->name;

		if (!str_has_suffix(name, ".qweight"))
			continue;
		s.name = name;
		s.qweight = &w->w[i];
		s.qzeros = beside(w, name, "qzeros");
		s.scales = beside(w, name, "scales");
		s.g_idx = beside(w, name, "g_idx");
		rc = unpack_one(w, &s, f, &made[n], &floats, err);
		n += rc == PARE_OK;
	}
	if (rc == PARE_OK && n == 0)
		rc = err_set(err, PARE_EFORMAT, "'%s': quantization_config "
		    "says gptq, but no tensor is packed so", where);
	if (rc == PARE_OK)
		rc = attach(w, f, made, err);
	else
		st_close(f);
	for (int i = 0; i < n; i++)
		tensor_unref(made[i]);
	free(made);
	if (rc == PARE_OK && floats > 0)
		notes_add(notes, "%d matrices of the GPTQ checkpoint have "
		    "zeros or an order that pare has no packed form for; they "
		    "are held as floats", floats);
	return rc;
}
