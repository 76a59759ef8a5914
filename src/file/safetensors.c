/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The reader of safetensors: eight bytes of header length, a JSON header, data.
 *
 * Everything is checked before it is used, in the order of the format's
 * reference reader. The one rule that forbids holes, overlaps and hidden bytes:
 * sorted by offset, the tensors cover the data section exactly.
 */
#include "file/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/dtype.h"
#include "file/map.h"

enum {
	DEPTH_MAX = 8,
	VALUES_MAX = 1 << 21	/* bounds the memory the parsed header takes */
};

/* What people save under the name of a safetensors file. */
static const struct magic {
	const char *bytes;
	size_t n;
	const char *text, *hint;
} magics[] = {
	{ "version https://git-lfs", 23,
	    "is a Git LFS pointer, not the weights themselves",
	    "fetch the real file: git lfs pull" },
	{ "<!DOCTYPE", 9, "is an HTML page (a failed download?)",
	    "download the file again" },
	{ "<!doctype", 9, "is an HTML page (a failed download?)",
	    "download the file again" },
	{ "<html", 5, "is an HTML page (a failed download?)",
	    "download the file again" },
	{ "<HTML", 5, "is an HTML page (a failed download?)",
	    "download the file again" },
	{ "\x1f\x8b", 2, "is a gzip archive", "unpack it first: gunzip" },
	{ "PK\x03\x04", 4,
	    "is a zip archive (PyTorch's .bin files are such)",
	    "unpack it, or convert the model to safetensors" },
	{ "GGUF", 4, "is a GGUF file", "name it with the ending .gguf" },
	{ "\x80\x02", 2, "is a Python pickle (an old PyTorch file)",
	    "convert the model to safetensors" },
	{ "\x89HDF", 4, "is an HDF5 file",
	    "convert the model to safetensors" },
	{ NULL, 0, NULL, NULL }
};

/* A header that makes no sense: says what the file looks like instead. */
static bool
sniff(const unsigned char *p, size_t n, const char *where,
    struct pare_err *err)
{
	for (const struct magic *m = magics; m->bytes != NULL; m++) {
		if (n < m->n || memcmp(p, m->bytes, m->n) != 0)
			continue;
		err_set(err, PARE_EFORMAT, "'%s' %s", where, m->text);
		err_hint(err, "%s", m->hint);
		return true;
	}
	return false;
}

static bool
is_space(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * Bounds nesting and the number of values before the text goes to the parser,
 * which is recursive and takes a few hundred bytes a value.
 */
static enum pare_rc
scan_header(const unsigned char *s, size_t n, const char *where,
    struct pare_err *err)
{
	int depth = 0;
	long values = 0;
	bool quoted = false;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = s[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
			continue;
		}
		if (c == '"')
			quoted = true;
		if (c == ',' || c == ':')
			values++;
		if (c == '{' || c == '[') {
			values++;
			depth++;
		}
		if (c == '}' || c == ']')
			depth--;
		if (depth > DEPTH_MAX)
			return err_set(err, PARE_EFORMAT, "'%s': header nests "
			    "deeper than %d at byte %zu", where, DEPTH_MAX,
			    8 + i);
		if (values > VALUES_MAX)
			return err_set(err, PARE_EFORMAT, "'%s': header holds "
			    "more than %d values", where, VALUES_MAX);
	}
	return PARE_OK;
}

static uint64_t
read_u64(const unsigned char *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

/* Finds the header's text; *text points into p. */
static enum pare_rc
find_header(const unsigned char *p, size_t n, const char *where,
    const unsigned char **text, size_t *length, struct pare_err *err)
{
	uint64_t claimed;
	size_t i = 0;

	if (n < 8)
		return err_set(err, PARE_EFORMAT, "'%s' is %zu bytes; a "
		    "safetensors header needs at least 8", where, n);
	claimed = read_u64(p);
	if (claimed > n - 8 || claimed > ST_HEADER_MAX) {
		if (sniff(p, n, where, err))
			return PARE_EFORMAT;
		if (claimed > ST_HEADER_MAX)
			return err_set(err, PARE_EFORMAT, "'%s': header length "
			    "%" PRIu64 " is over the limit of %d bytes", where,
			    claimed, ST_HEADER_MAX);
		return err_set(err, PARE_EFORMAT, "'%s' is truncated: its "
		    "header takes %" PRIu64 " bytes but only %zu follow",
		    where, claimed, n - 8);
	}
	*text = p + 8;
	*length = (size_t)claimed;
	while (i < *length && is_space((*text)[i]))
		i++;
	if (i < *length && (*text)[i] == '{')
		return PARE_OK;
	if (sniff(p, n, where, err))
		return PARE_EFORMAT;
	return err_set(err, PARE_EFORMAT, "'%s': header of %" PRIu64 " bytes "
	    "at byte 8 is not a JSON object", where, claimed);
}

static json_t *
parse_header(const unsigned char *text, size_t n, const char *where,
    struct pare_err *err)
{
	json_error_t e;
	json_t *root = json_loadb((const char *)text, n,
	    JSON_REJECT_DUPLICATES, &e);

	if (root != NULL && json_is_object(root))
		return root;
	if (root == NULL)
		err_set(err, PARE_EFORMAT, "'%s': header is not valid JSON at "
		    "byte %d: %s", where, 8 + e.position, e.text);
	else
		err_set(err, PARE_EFORMAT, "'%s': header is not a JSON object",
		    where);
	json_decref(root);
	return NULL;
}

static enum pare_rc
bad_entry(const char *where, const char *name, const char *what,
    struct pare_err *err)
{
	return err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s': %s", where,
	    name, what);
}

static enum pare_rc
check_name(const char *name, const char *where, struct pare_err *err)
{
	if (*name == '\0')
		return err_set(err, PARE_EFORMAT,
		    "'%s': a tensor has an empty name", where);
	for (const char *s = name; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return bad_entry(where, name,
			    "the name holds a control character", err);
	return PARE_OK;
}

/* A list of at most max integers from 0 on; *n is how many. */
static enum pare_rc
read_integers(const json_t *list, const char *key, int max, int64_t *out,
    int *n, const char *where, const char *name, struct pare_err *err)
{
	size_t count = json_array_size(list);

	if (!json_is_array(list))
		return err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s': %s "
		    "is missing or not a list", where, name, key);
	if (count > (size_t)max)
		return err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s': %s "
		    "has %zu numbers; at most %d are allowed", where, name,
		    key, count, max);
	for (size_t i = 0; i < count; i++) {
		const json_t *v = json_array_get(list, i);

		if (!json_is_integer(v) || json_integer_value(v) < 0)
			return err_set(err, PARE_EFORMAT, "'%s': tensor "
			    "'%.120s': number %zu of %s is not an integer from "
			    "0 on", where, name, i + 1, key);
		out[i] = json_integer_value(v);
	}
	*n = (int)count;
	return PARE_OK;
}

static enum pare_rc
read_entry(struct st_entry *e, const char *name, const json_t *v,
    const char *where, struct pare_err *err)
{
	const char *dtype = json_string_value(json_object_get(v, "dtype"));
	int64_t range[2];
	enum pare_rc rc;
	int d, n;

	rc = check_name(name, where, err);
	if (rc != PARE_OK)
		return rc;
	if (!json_is_object(v))
		return bad_entry(where, name, "is not described by an object",
		    err);
	if (dtype == NULL)
		return bad_entry(where, name, "dtype is missing or no string",
		    err);
	d = dtype_find(dtype);
	if (d < 0)
		return err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s': "
		    "unknown dtype '%.40s'", where, name, dtype);
	rc = read_integers(json_object_get(v, "shape"), "shape", ST_RANK_MAX,
	    e->dim, &e->ndim, where, name, err);
	if (rc == PARE_OK)
		rc = read_integers(json_object_get(v, "data_offsets"),
		    "data_offsets", 2, range, &n, where, name, err);
	if (rc != PARE_OK)
		return rc;
	if (n != 2)
		return bad_entry(where, name,
		    "data_offsets must have two numbers", err);
	e->name = xstrdup(name);
	e->dtype = dtype_table[d].name;
	e->begin = range[0];
	e->end = range[1];
	return PARE_OK;
}

static enum pare_rc
read_metadata(struct st_file *f, json_t *v, const char *where,
    struct pare_err *err)
{
	const char *key;
	json_t *item;

	if (!json_is_object(v))
		return err_set(err, PARE_EFORMAT,
		    "'%s': __metadata__ is not an object", where);
	json_object_foreach(v, key, item)
		if (!json_is_string(item))
			return err_set(err, PARE_EFORMAT, "'%s': __metadata__: "
			    "the value of '%.80s' is not a string", where, key);
	f->metadata = json_incref(v);
	return PARE_OK;
}

static enum pare_rc
read_entries(struct st_file *f, json_t *root, const char *where,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	const char *name;
	json_t *v;

	f->entry = xcalloc(json_object_size(root), sizeof(*f->entry));
	json_object_foreach(root, name, v) {
		if (strcmp(name, "__metadata__") == 0) {
			rc = read_metadata(f, v, where, err);
		} else {
			rc = read_entry(&f->entry[f->n], name, v, where, err);
			if (rc == PARE_OK)
				f->n++;
		}
		if (rc != PARE_OK)
			break;
	}
	return rc;
}

static int
by_offset(const void *pa, const void *pb)
{
	const struct st_entry *a = pa, *b = pb;

	if (a->begin != b->begin)
		return a->begin < b->begin ? -1 : 1;
	if (a->end != b->end)
		return a->end < b->end ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* The range of e must begin where the one before it (NULL: none) ends. */
static enum pare_rc
check_place(const struct st_entry *before, const struct st_entry *e,
    const char *where, struct pare_err *err)
{
	int64_t expected = before == NULL ? 0 : before->end;

	if (e->begin > e->end)
		return err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s': "
		    "begins at %" PRId64 ", behind its end %" PRId64, where,
		    e->name, e->begin, e->end);
	if (e->begin < expected)
		return err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s' "
		    "overlaps '%.120s' (begins at %" PRId64 ", before %" PRId64
		    ")", where, e->name, before->name, e->begin, expected);
	if (e->begin > expected)
		return err_set(err, PARE_EFORMAT, "'%s': %" PRId64 " unused "
		    "bytes before tensor '%.120s', which begins at %" PRId64,
		    where, e->begin - expected, e->name, e->begin);
	return PARE_OK;
}

static enum pare_rc
check_size(const struct st_entry *e, const char *where, struct pare_err *err)
{
	int d = dtype_find(e->dtype);
	int64_t bytes, n = 1;
	bool fits = true;

	if (dtype_bytes(d, e->ndim, e->dim, &bytes)) {
		if (bytes == e->end - e->begin)
			return PARE_OK;
		return err_set(err, PARE_EFORMAT, "'%s': tensor '%.120s': its "
		    "shape takes %" PRId64 " bytes of %s, its data_offsets "
		    "%" PRId64, where, e->name, bytes, e->dtype,
		    e->end - e->begin);
	}
	for (int i = 0; fits && i < e->ndim; i++)
		fits = mem_mul(n, e->dim[i], &n);
	if (fits && mem_mul(n, dtype_table[d].bits, &n))
		return bad_entry(where, e->name,
		    "misaligned: its elements are no whole number of bytes",
		    err);
	return bad_entry(where, e->name,
	    "the size of its shape overflows 64 bits", err);
}

static enum pare_rc
check_entries(struct st_file *f, const char *where, struct pare_err *err)
{
	int64_t end = 0;
	enum pare_rc rc;

	qsort(f->entry, (size_t)f->n, sizeof(*f->entry), by_offset);
	for (int i = 0; i < f->n; i++) {
		rc = check_place(i == 0 ? NULL : &f->entry[i - 1],
		    &f->entry[i], where, err);
		if (rc != PARE_OK)
			return rc;
		end = f->entry[i].end;
	}
	for (int i = 0; i < f->n; i++) {
		rc = check_size(&f->entry[i], where, err);
		if (rc != PARE_OK)
			return rc;
	}
	if (end > f->data_size) {
		err_set(err, PARE_EFORMAT, "'%s' is truncated: tensor '%.120s' "
		    "ends at %" PRId64 ", the data after %" PRId64
		    " bytes (%" PRId64 " are missing)", where,
		    f->entry[f->n - 1].name, end, f->data_size,
		    end - f->data_size);
		return err_hint(err, "download or copy the file again");
	}
	if (end < f->data_size)
		return err_set(err, PARE_EFORMAT, "'%s': %" PRId64
		    " unexpected bytes after the last tensor", where,
		    f->data_size - end);
	return PARE_OK;
}

static enum pare_rc
read_file(struct st_file *f, const unsigned char *p, size_t n,
    const char *where, struct pare_err *err)
{
	const unsigned char *text = NULL;
	size_t length = 0;
	json_t *root;
	enum pare_rc rc;

	rc = find_header(p, n, where, &text, &length, err);
	if (rc == PARE_OK)
		rc = scan_header(text, length, where, err);
	if (rc != PARE_OK)
		return rc;
	root = parse_header(text, length, where, err);
	if (root == NULL)
		return PARE_EFORMAT;
	f->data = text + length;
	f->data_size = (int64_t)(n - 8 - length);
	rc = read_entries(f, root, where, err);
	json_decref(root);
	if (rc == PARE_OK)
		rc = check_entries(f, where, err);
	return rc;
}

static void
clear_file(struct st_file *f)
{
	for (int i = 0; i < f->n; i++)
		free(f->entry[i].name);
	free(f->entry);
	json_decref(f->metadata);
	blob_unref(f->blob);
	free(f->path);
}

enum pare_rc
st_check(const void *data, size_t n, const char *where, struct pare_err *err)
{
	struct st_file f = { 0 };
	enum pare_rc rc = read_file(&f, data, n, where, err);

	clear_file(&f);
	return rc;
}

struct st_file *
st_open(const char *path, struct pare_err *err)
{
	struct st_file *f = xcalloc(1, sizeof(*f));

	f->path = xstrdup(path);
	f->blob = map_file(path, 8, "a safetensors header", err);
	if (f->blob != NULL && read_file(f, f->blob->base, f->blob->size, path,
	    err) == PARE_OK)
		return f;
	st_close(f);
	return NULL;
}

void
st_close(struct st_file *f)
{
	if (f == NULL)
		return;
	clear_file(f);
	free(f);
}

enum pare_rc
st_unbundle(struct st_file *f, const char *name, const json_t *index,
    struct pare_err *err)
{
	const struct st_entry *e = st_find(f, name);
	enum pare_rc rc;

	if (e == NULL || f->n != 1 || strcmp(e->dtype, "U8") != 0)
		return err_set(err, PARE_EFORMAT, "'%s': expected one tensor "
		    "'%s' of bytes", f->path, name);
	if (!json_is_object(index) ||
	    json_object_get(index, "__metadata__") != NULL)
		return err_set(err, PARE_EFORMAT, "'%s': the index of '%s' is "
		    "no object of tensors", f->path, name);
	f->data += e->begin;
	f->data_size = e->end - e->begin;
	free(f->entry[0].name);
	free(f->entry);
	f->entry = NULL;
	f->n = 0;
	rc = read_entries(f, (json_t *)index, f->path, err);
	return rc == PARE_OK ? check_entries(f, f->path, err) : rc;
}

const struct st_entry *
st_find(const struct st_file *f, const char *name)
{
	for (int i = 0; i < f->n; i++)
		if (strcmp(f->entry[i].name, name) == 0)
			return &f->entry[i];
	return NULL;
}
