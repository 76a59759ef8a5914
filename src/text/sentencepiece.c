/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tokenizer.model: a protocol buffer. Of its fields these are read: pieces (1)
 * with piece (1), score (2) and type (3); of the trainer (2) model_type (3) and
 * byte_fallback (35); of the normaliser (3) precompiled_charsmap (2),
 * add_dummy_prefix (3), remove_extra_whitespaces (4), escape_whitespaces (5).
 * Numbers from sentencepiece_model.proto of google/sentencepiece.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "text/spm.h"
#include "text/vocabulary.h"

enum { PIECES_MAX = 1 << 22 };
enum wire { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

struct buffer {
	const unsigned char *p;
	size_t at, n;		/* inside p */
};

struct field {
	int number;
	enum wire wire;
	uint64_t value;		/* of numbers */
	struct buffer bytes;
	size_t where;		/* in the buffer it was read from */
};

static bool
take_varint(struct buffer *b, uint64_t *out)
{
	*out = 0;
	for (int shift = 0; shift < 70 && b->at < b->n; shift += 7) {
		unsigned char c = b->p[b->at++];

		if (shift == 63 && c > 1)
			return false;
		*out |= (uint64_t)(c & 0x7f) << shift;
		if ((c & 0x80) == 0)
			return true;
	}
	return false;
}

static bool
take_bytes(struct buffer *b, uint64_t n, struct buffer *out)
{
	if (n > b->n - b->at)
		return false;
	*out = (struct buffer){ b->p + b->at, 0, (size_t)n };
	b->at += (size_t)n;
	return true;
}

/* The next field; false at the end, or with *broken where there is none. */
static bool
next_field(struct buffer *b, struct field *f, bool *broken)
{
	uint64_t key, n;
	bool fine = false;

	if (b->at >= b->n)
		return false;
	f->where = b->at;
	*broken = true;
	if (!take_varint(b, &key) || key >> 3 == 0 || key >> 3 > 1 << 29)
		return false;
	f->number = (int)(key >> 3);
	f->wire = (enum wire)(key & 7);
	switch (f->wire) {
	case WIRE_VARINT:
		fine = take_varint(b, &f->value);
		break;
	case WIRE_BYTES:
		fine = take_varint(b, &n) && take_bytes(b, n, &f->bytes);
		break;
	case WIRE_64:
		fine = take_bytes(b, 8, &f->bytes);
		break;
	case WIRE_32:
		fine = take_bytes(b, 4, &f->bytes);
		break;
	}
	*broken = !fine;
	return fine;
}

static float
float_of(const struct buffer *b)
{
	float f = 0.0f;

	if (b->n == sizeof(f))
		memcpy(&f, b->p, sizeof(f));
	return f;
}

/* ---- messages -------------------------------------------------------- */

struct reader {
	const char *where;
	struct pare_err *err;
	struct spm spm;
	size_t cap;
};

static enum pare_rc
broken_at(const struct reader *r, size_t at)
{
	return err_set(r->err, PARE_EFORMAT, "%s: not a SentencePiece model: "
	    "no field at byte %zu", r->where, at);
}

static enum pare_rc
read_piece(struct reader *r, struct buffer b)
{
	struct spm *m = &r->spm;
	struct spm_piece p = { "", 0, 0.0f, SPM_NORMAL };
	bool broken = false;
	struct field f;

	while (next_field(&b, &f, &broken)) {
		if (f.number == 1 && f.wire == WIRE_BYTES) {
			p.s = (const char *)f.bytes.p;
			p.n = f.bytes.n;
		} else if (f.number == 2 && f.wire == WIRE_32) {
			p.score = float_of(&f.bytes);
		} else if (f.number == 3 && f.wire == WIRE_VARINT) {
			p.type = f.value <= SPM_BYTE ? (int)f.value : -1;
		}
	}
	if (broken)
		return broken_at(r, f.where);
	if (m->n == PIECES_MAX)
		return err_set(r->err, PARE_EFORMAT, "%s: more than %d pieces",
		    r->where, PIECES_MAX);
	if ((size_t)m->n == r->cap) {
		r->cap = r->cap == 0 ? 1024 : 2 * r->cap;
		m->piece = xrealloc(m->piece, r->cap * sizeof(*m->piece));
	}
	m->piece[m->n++] = p;
	return PARE_OK;
}

static enum pare_rc
read_trainer(struct reader *r, struct buffer b)
{
	bool broken = false;
	struct field f;

	while (next_field(&b, &f, &broken)) {
		if (f.wire != WIRE_VARINT)
			continue;
		if (f.number == 3 && f.value != 1 && f.value != 2)
			return err_set(r->err, PARE_EUSER, "%s: a "
			    "SentencePiece model of type %llu, which pare "
			    "does not know", r->where,
			    (unsigned long long)f.value);
		if (f.number == 3)
			r->spm.unigram = f.value == 1;
		if (f.number == 35)
			r->spm.byte_fallback = f.value != 0;
	}
	return broken ? broken_at(r, f.where) : PARE_OK;
}

static enum pare_rc
read_normalizer(struct reader *r, struct buffer b)
{
	bool broken = false;
	struct field f;

	while (next_field(&b, &f, &broken)) {
		if (f.number == 2 && f.wire == WIRE_BYTES) {
			r->spm.charsmap = f.bytes.p;
			r->spm.ncharsmap = f.bytes.n;
		}
		if (f.wire != WIRE_VARINT)
			continue;
		if (f.number == 3)
			r->spm.dummy_prefix = f.value != 0;
		if (f.number == 4)
			r->spm.remove_spaces = f.value != 0;
	}
	return broken ? broken_at(r, f.where) : PARE_OK;
}

static enum pare_rc
read_all(struct reader *r, struct buffer b)
{
	enum pare_rc rc = PARE_OK;
	bool broken = false;
	struct field f = { 0 };

	while (rc == PARE_OK && next_field(&b, &f, &broken)) {
		if (f.wire != WIRE_BYTES)
			continue;
		if (f.number == 1)
			rc = read_piece(r, f.bytes);
		else if (f.number == 2)
			rc = read_trainer(r, f.bytes);
		else if (f.number == 3)
			rc = read_normalizer(r, f.bytes);
	}
	return rc == PARE_OK && broken ? broken_at(r, f.where) : rc;
}

struct tokenizer *
sentencepiece_parse(const char *data, size_t n, const char *where,
    struct pare_err *err)
{
	struct reader r = { .where = where, .err = err,
		/* What the format's own defaults are. */
		.spm = { .unigram = true, .dummy_prefix = true,
		.remove_spaces = true } };
	struct buffer b = { (const unsigned char *)data, 0, n };
	struct tokenizer *t = NULL;

	if (read_all(&r, b) == PARE_OK)
		t = spm_tokenizer(&r.spm, where, err);
	free(r.spm.piece);
	return t;
}

enum pare_rc
sentencepiece_reduce(const char *data, size_t n, const char *where,
    const int32_t *id, int64_t nids, struct str *out, struct pare_err *err)
{
	struct reader r = { .where = where, .err = err };
	struct buffer b = { (const unsigned char *)data, 0, n };
	int64_t piece = 0, at = 0;
	bool broken = false;
	struct field f = { 0 };

	while (next_field(&b, &f, &broken)) {
		bool is_piece = f.number == 1 && f.wire == WIRE_BYTES;

		if (is_piece && (at == nids || id[at] != piece++))
			continue;
		at += is_piece;
		str_addn(out, data + f.where, b.at - f.where);
	}
	return broken ? broken_at(&r, f.where) : PARE_OK;
}
