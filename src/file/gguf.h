/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gguf: the container of llama.cpp, versions 2 and 3, little-endian: keys with
 * typed values, then a table of tensors, then their data. Every count, length
 * and offset is checked against the file before it is used; opening takes
 * memory in proportion to the number of entries and reads no tensor.
 */
#ifndef PARE_FILE_GGUF_H
#define PARE_FILE_GGUF_H

#include "tensor/tensor.h"

enum gguf_type { GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32,
	GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64,
	GGUF_F64, GGUF_TYPES };

/* Text inside the file: n bytes, no NUL behind them, any bytes. */
struct gguf_text {
	const char *s;
	size_t n;
};

struct gguf_value {
	char *key;		/* owned */
	enum gguf_type type;	/* of the value, or of the array's elements */
	bool array;
	int64_t count;		/* elements; 1 where it is no array */
	const unsigned char *p;	/* first element; strings as in the file */
	size_t n;		/* bytes of all of them */
};

/* A type of tensors by its number in files. block == 0: no such type. */
struct gguf_type_facts {
	const char *name;	/* "Q4_K" */
	int block;		/* values a block */
	int bytes;		/* of a block */
};
enum { GGUF_TENSOR_TYPES = 43 };
extern const struct gguf_type_facts gguf_type_table[GGUF_TENSOR_TYPES];

struct gguf_tensor {
	char *name;		/* owned */
	int type;		/* index in gguf_type_table[] */
	int ndim;
	int64_t dim[4];		/* dim[0] is the contiguous one; 1 where unused */
	const unsigned char *p;
	int64_t n;		/* bytes */
};

struct gguf {
	char *path;
	struct blob *blob;	/* the whole mapped file, read-only */
	int version;
	int64_t alignment;
	int nvalues, ntensors;
	struct gguf_value *value;
	struct gguf_tensor *tensor;	/* in the order of the file */
	int *by_name;			/* tensors sorted by name */
};

/* NULL with PARE_EIO or PARE_EFORMAT. Tensors made from it keep the map. */
struct gguf *gguf_open(const char *path, struct pare_err *err);
/* The same from memory, for tests and fuzzing: data is not kept. */
enum pare_rc gguf_check(const void *data, size_t n, const char *where,
    struct pare_err *err);
void gguf_close(struct gguf *g);	/* NULL is fine */

const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g,
    const char *name);

/*
 * Typed look-ups: a key that is not there gives dflt; another type or a value
 * outside [min, max] is PARE_EFORMAT naming file, key and what is allowed. Any
 * integer type will do for integers, both float types for reals.
 */
enum pare_rc gguf_int(const struct gguf *g, const char *key, int64_t min,
    int64_t max, int64_t dflt, int64_t *out, struct pare_err *err);
enum pare_rc gguf_real(const struct gguf *g, const char *key, double min,
    double max, double dflt, double *out, struct pare_err *err);
enum pare_rc gguf_bool(const struct gguf *g, const char *key, bool dflt,
    bool *out, struct pare_err *err);
/* out->s is NULL where the key is not there. */
enum pare_rc gguf_string(const struct gguf *g, const char *key,
    struct gguf_text *out, struct pare_err *err);
/* An array of that element type (any integer type for GGUF_I32); *out is NULL
 * where the key is not there. */
enum pare_rc gguf_array(const struct gguf *g, const char *key,
    enum gguf_type type, const struct gguf_value **out, struct pare_err *err);

/* Element i of an array of integers or floats; i < count. */
int64_t gguf_int_at(const struct gguf_value *v, int64_t i);
double gguf_real_at(const struct gguf_value *v, int64_t i);
/* The next string of an array: *at begins as v->p and moves on. */
struct gguf_text gguf_text_next(const unsigned char **at);

#endif
