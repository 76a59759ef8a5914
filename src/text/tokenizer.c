/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which files of a folder make its tokenizer, and what is the same for every
 * kind: added tokens are cut out of the text first, then the model cuts the
 * rest; truncation; the template around the texts.
 *
 * Longest-first truncation of a pair as the fast reference has it: of lengths
 * s <= l and a budget b, s stays whole when l can give enough, else both get
 * half and the longer one (the second, when equal) the odd one.
 */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "file/gguf.h"
#include "text/vocabulary.h"

enum { MAX_VOCABULARY = 256 << 20 };

/* ---- loading ---- */

static uint64_t
hash_template(uint64_t h, const struct template *m)
{
	for (int i = 0; i < m->n; i++) {
		h = hash_mix(h, (uint64_t)(m->part[i].sequence + 1));
		h = hash_mix(h, (uint64_t)m->part[i].id);
		h = hash_mix(h, (uint64_t)m->part[i].type);
	}
	return h;
}

static uint64_t
hash_all(const struct tokenizer *t)
{
	uint64_t h = (uint64_t)(t->clean | t->ideographs << 1 | t->lower << 2 |
	    t->strip << 3);

	if (t->model != TOKENS_WORDPIECE)
		h = hash_mix(hash_mix(h, t->source), (uint64_t)t->model);
	h = hash_mix(h, (uint64_t)t->max_chars);
	h = hash_mix(h, (uint64_t)t->unknown);
	for (int64_t i = 0; i < t->npieces; i++)
		if (t->piece[i] != NULL)
			h = hash_text(t->piece[i], hash_mix(h, (uint64_t)i));
	for (int i = 0; i < t->added.n; i++) {
		const struct added_token *a = &t->added.token[i];

		h = hash_text(a->text, hash_mix(h, (uint64_t)a->id));
		h = hash_mix(h, (uint64_t)(a->single_word | a->lstrip << 1 |
		    a->rstrip << 2 | a->normalized << 3));
	}
	return hash_template(hash_template(h, &t->single), &t->pair);
}

/* Ids that go into a text of themselves must stand for something: files may
 * name a token that has no text. */
static enum pare_rc
check_specials(const struct tokenizer *t, const char *where,
    struct pare_err *err)
{
	const struct template *all[] = { &t->single, &t->pair };
	int32_t id = t->unknown;
	bool fine = id < 0 || tokenizer_piece(t, id) != NULL;

	for (int k = 0; k < 2 && fine; k++)
		for (int i = 0; i < all[k]->n && fine; i++) {
			if (all[k]->part[i].sequence >= 0)
				continue;
			id = all[k]->part[i].id;
			fine = tokenizer_piece(t, id) != NULL;
		}
	return fine ? PARE_OK : err_set(err, PARE_EFORMAT, "%s: the special "
	    "token %d has no text", where, (int)id);
}

enum pare_rc
tokenizer_finish(struct tokenizer *t, const char *where, struct pare_err *err)
{
	enum pare_rc rc = check_specials(t, where, err);

	if (rc == PARE_OK)
		rc = trie_check(&t->trie, err);
	if (rc != PARE_OK)
		return rc;
	t->strip = t->strip_said < 0 ? t->lower : t->strip_said > 0;
	rc = added_finish(t, err);
	if (rc == PARE_OK)
		t->hash = hash_all(t);
	return rc;
}

static enum pare_rc
check_rows(const struct tokenizer *t, int64_t rows, const char *where,
    struct pare_err *err)
{
	const char *text = NULL;
	int64_t id = INT64_MAX;

	if (rows <= 0)
		return PARE_OK;
	for (int64_t i = rows; i < t->npieces && text == NULL; i++) {
		text = t->piece[i];
		id = i;
	}
	for (int i = 0; i < t->added.n; i++)
		if (t->added.token[i].id >= rows && t->added.token[i].id < id) {
			text = t->added.token[i].text;
			id = t->added.token[i].id;
		}
	if (text == NULL)
		return PARE_OK;
	return err_set(err, PARE_EFORMAT, "%s: the piece '%.60s' has id %lld, "
	    "but the embedding has %lld rows", where, text, (long long)id,
	    (long long)rows);
}

/* ---- files of a folder ---- */

static struct tokenizer *
read_vocab_txt(const char *dir, const char *path, const char *data, size_t n,
    struct pare_err *err)
{
	return vocab_txt_parse(data, n, path, err);
}

static struct tokenizer *
read_json(const char *dir, const char *path, const char *data, size_t n,
    struct pare_err *err)
{
	return tokenizer_json_parse(data, n, path, err);
}

/* vocab.json wants merges.txt beside it. */
static struct tokenizer *
read_vocab_json(const char *dir, const char *path, const char *data, size_t n,
    struct pare_err *err)
{
	char *other = io_join(dir, "merges.txt"), *merges = NULL;
	struct tokenizer *t = NULL;
	size_t k;

	if (io_read(other, MAX_VOCABULARY, &merges, &k, err) == PARE_OK)
		t = merges_txt_parse(data, n, path, merges, k, other, err);
	free(merges);
	free(other);
	return t;
}

static struct tokenizer *
read_model(const char *dir, const char *path, const char *data, size_t n,
    struct pare_err *err)
{
	return sentencepiece_parse(data, n, path, err);
}

/* In the order in which they are looked for. */
static const struct kind {
	const char *file;
	bool text;	/* settings of WordPiece come from the small files */
	struct tokenizer *(*read)(const char *dir, const char *path,
	    const char *data, size_t n, struct pare_err *err);
} kinds[] = {
	{ "tokenizer.json", false, read_json },
	{ "vocab.txt", true, read_vocab_txt },
	{ "vocab.json", false, read_vocab_json },
	{ "tokenizer.model", false, read_model },
	{ "spiece.model", false, read_model },
	{ "sentencepiece.bpe.model", false, read_model },
	{ NULL, false, NULL }
};

/* What the small files say of it. */
static enum pare_rc
apply_config(struct tokenizer *t, const struct kind *k,
    const struct tokenizer_config *c, const char *path, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	if (t->model == TOKENS_WORDPIECE) {
		if (k->text)
			rc = tokenizer_config_specials(c, t, path, err);
		return rc == PARE_OK ? tokenizer_config_settings(c, t, err) :
		    rc;
	}
	if (k->read == read_model)
		rc = tokenizer_config_ends(c, t, err);
	return rc == PARE_OK ? tokenizer_config_length(c, t, err) : rc;
}

static struct tokenizer *
load_file(const char *dir, const struct kind *k, int64_t rows,
    struct pare_err *err)
{
	struct tokenizer_config c = { 0 };
	struct tokenizer *t = NULL;
	char *path = io_join(dir, k->file), *data = NULL;
	enum pare_rc rc;
	size_t n;

	rc = io_read(path, MAX_VOCABULARY, &data, &n, err);
	if (rc == PARE_OK)
		rc = tokenizer_config_read(dir, &c, err);
	if (rc == PARE_OK) {
		t = k->read(dir, path, data, n, err);
		rc = t == NULL ? PARE_EFORMAT : PARE_OK;
	}
	if (rc == PARE_OK) {
		t->source = hash_bytes(data, n, 0);
		rc = apply_config(t, k, &c, path, err);
	}
	free(data);
	if (rc == PARE_OK)
		rc = check_rows(t, rows, path, err);
	if (rc == PARE_OK)
		rc = tokenizer_finish(t, path, err);
	tokenizer_config_free(&c);
	free(path);
	if (rc == PARE_OK)
		return t;
	tokenizer_free(t);
	return NULL;
}

/* The keys of a GGUF file. */
static struct tokenizer *
load_gguf(const char *path, int64_t rows, struct pare_err *err)
{
	struct gguf *g = gguf_open(path, err);
	struct tokenizer *t = NULL;
	enum pare_rc rc;

	if (g == NULL)
		return NULL;
	t = gguf_tokens(g, err);
	gguf_close(g);
	if (t == NULL)
		return NULL;
	rc = check_rows(t, rows, path, err);
	if (rc == PARE_OK)
		rc = tokenizer_finish(t, path, err);
	if (rc == PARE_OK)
		return t;
	tokenizer_free(t);
	return NULL;
}

struct tokenizer *
tokenizer_load(const char *dir, int64_t rows, struct pare_err *err)
{
	struct tokenizer *t = NULL;
	bool any = false;

	if (io_is_file(dir))
		return load_gguf(dir, rows, err);
	for (const struct kind *k = kinds; k->file != NULL && t == NULL; k++) {
		char *path = io_join(dir, k->file);
		bool there = io_is_file(path);

		free(path);
		if (!there)
			continue;
		any = true;
		t = load_file(dir, k, rows, err);
	}
	if (!any)
		err_set(err, PARE_EUSER, "'%s' has no tokenizer: no "
		    "tokenizer.json, vocab.txt, vocab.json or tokenizer.model",
		    dir);
	return t;
}

struct tokenizer *
tokenizer_parse(const char *name, const char *data, size_t n, bool lower_case,
    struct pare_err *err)
{
	struct tokenizer_config none = { 0 };
	enum pare_rc rc = PARE_OK;
	struct tokenizer *t;

	if (str_has_suffix(name, ".json")) {
		t = tokenizer_json_parse(data, n, name, err);
	} else if (str_has_suffix(name, ".model")) {
		t = sentencepiece_parse(data, n, name, err);
	} else {
		t = vocab_txt_parse(data, n, name, err);
		if (t != NULL) {
			t->lower = lower_case;
			rc = tokenizer_config_specials(&none, t, name, err);
		}
	}
	if (t == NULL)
		return NULL;
	t->source = hash_bytes(data, n, 0);
	if (rc == PARE_OK)
		rc = tokenizer_finish(t, name, err);
	if (rc == PARE_OK)
		return t;
	tokenizer_free(t);
	return NULL;
}

struct tokenizer *
tokenizer_parse_merges(const char *vocab, size_t nvocab, const char *merges,
    size_t n, struct pare_err *err)
{
	struct tokenizer *t = merges_txt_parse(vocab, nvocab, "vocab.json",
	    merges, n, "merges.txt", err);

	if (t == NULL)
		return NULL;
	t->source = hash_bytes(merges, n, hash_bytes(vocab, nvocab, 0));
	if (tokenizer_finish(t, "vocab.json", err) == PARE_OK)
		return t;
	tokenizer_free(t);
	return NULL;
}

void
tokenizer_free(struct tokenizer *t)
{
	if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1,
	    memory_order_acq_rel) != 1)
		return;
	added_free(&t->added);
	trie_free(&t->trie);
	if (t->base == NULL)
		pipeline_free(&t->pipeline);
	tokenizer_free(t->base);
	free(t->base_id);
	merges_free(t->merges);
	free(t->score);
	free(t->piece);
	free(t->text);
	free(t);
}

/* ---- encoding ---- */

/* One word of the other models. */
struct word_sink {
	const struct tokenizer *t;
	struct id_list *out;
};

static enum pare_rc
take_word(void *ctx, const char *s, size_t n, struct pare_err *err)
{
	const struct word_sink *w = ctx;

	return w->t->model == TOKENS_UNIGRAM ?
	    unigram_cut(w->t, s, n, w->out, err) :
	    bpe_cut(w->t, s, n, w->out, err);
}

/* Normalised text without added tokens. */
static enum pare_rc
cut_text(const struct tokenizer *t, const char *s, size_t n, bool first,
    struct id_list *out, struct pare_err *err)
{
	struct word_sink sink = { t, out };

	if (n == 0)
		return PARE_OK;
	if (t->model == TOKENS_WORDPIECE)
		return wordpiece_cut(t, s, n, out, err);
	return pipeline_cut(&t->pipeline, s, n, first, take_word, &sink, err);
}

/* Text without tokens that are looked for before normalising: normalises it and
 * cuts out those that are looked for after. */
static enum pare_rc
encode_plain(const struct tokenizer *t, const char *s, size_t n, bool first,
    struct uni_bytes *scratch, struct id_list *out, struct pare_err *err)
{
	struct added_match m;
	enum pare_rc rc;
	size_t at = 0;

	scratch->n = 0;
	rc = vocabulary_normalize(t, s, n, scratch, &out->invalid, err);
	while (rc == PARE_OK && at < scratch->n && added_find(&t->added, true,
	    scratch->p, scratch->n, at, &m)) {
		rc = cut_text(t, scratch->p + at, m.begin - at,
		    first && at == 0, out, err);
		if (rc == PARE_OK)
			rc = id_list_add(out, m.id, err);
		at = m.end;
	}
	if (rc == PARE_OK && at < scratch->n)
		rc = cut_text(t, scratch->p + at, scratch->n - at,
		    first && at == 0, out, err);
	return rc;
}

static enum pare_rc
encode_text(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err)
{
	struct uni_bytes scratch = { 0 };
	enum pare_rc rc = PARE_OK;
	struct added_match m;
	size_t at = 0;

	while (rc == PARE_OK && at < n &&
	    added_find(&t->added, false, s, n, at, &m)) {
		rc = encode_plain(t, s + at, m.begin - at, at == 0, &scratch,
		    out, err);
		if (rc == PARE_OK)
			rc = id_list_add(out, m.id, err);
		at = m.end;
	}
	if (rc == PARE_OK && at < n)
		rc = encode_plain(t, s + at, n - at, at == 0, &scratch, out,
		    err);
	free(scratch.p);
	return rc;
}

/* Shortens lengths to a budget; n[1] is 0 for a single text. */
static void
truncate_lengths(size_t n[2], size_t budget)
{
	bool swap = n[0] > n[1];
	size_t s = swap ? n[1] : n[0], l = swap ? n[0] : n[1];

	if (s + l <= budget)
		return;
	if (s > budget)
		l = s;
	else
		l = s > budget - s ? s : budget - s;
	if (s + l > budget) {
		s = budget / 2;
		l = s + budget % 2;
	}
	n[0] = swap ? l : s;
	n[1] = swap ? s : l;
}

static enum pare_rc
fill_template(const struct template *m, const struct id_list text[2],
    const size_t n[2], struct tokens *out, struct pare_err *err)
{
	size_t total = n[0] + n[1] + (size_t)m->specials;
	int k = 0;

	if (total > INT32_MAX)
		return err_set(err, PARE_EUSER,
		    "the text has more than 2^31 pieces");
	out->id = mem_big(total, sizeof(*out->id), err);
	out->type = mem_big(total, sizeof(*out->type), err);
	if (out->id == NULL || out->type == NULL) {
		tokens_free(out);
		return PARE_ENOMEM;
	}
	for (int i = 0; i < m->n; i++) {
		const struct template_part *p = &m->part[i];
		size_t count = p->sequence < 0 ? 1 : n[p->sequence];

		for (size_t j = 0; j < count; j++) {
			out->id[k] = p->sequence < 0 ? p->id
			    : text[p->sequence].v[j];
			out->type[k++] = p->type;
		}
	}
	out->n = k;
	return PARE_OK;
}

static const struct template bare_single = { .n = 1, .part = { { 0, 0, 0 } } };
static const struct template bare_pair = { .n = 2,
	.part = { { 0, 0, 0 }, { 1, 0, 1 } } };

/* Cuts both texts to what the template leaves and puts them into it. */
static enum pare_rc
assemble(const struct template *m, const struct id_list text[2], int max,
    struct tokens *out, struct pare_err *err)
{
	size_t n[2] = { text[0].n, text[1].n };

	if (max > 0 && max < m->specials)
		return err_set(err, PARE_EUSER, "a length of %d has no room "
		    "for the %d special tokens", max, m->specials);
	if (max > 0)
		truncate_lengths(n, (size_t)(max - m->specials));
	out->truncated = n[0] < text[0].n || n[1] < text[1].n;
	out->invalid = text[0].invalid + text[1].invalid;
	return fill_template(m, text, n, out, err);
}

enum pare_rc
tokenizer_encode(const struct tokenizer *t, const char *a, size_t na,
    const char *b, size_t nb, int max, bool special, struct tokens *out,
    struct pare_err *err)
{
	struct id_list text[2] = { { 0 } };
	const struct template *m;
	enum pare_rc rc;

	memset(out, 0, sizeof(*out));
	if (special)
		m = b != NULL ? &t->pair : &t->single;
	else
		m = b != NULL ? &bare_pair : &bare_single;
	rc = encode_text(t, a, na, &text[0], err);
	if (rc == PARE_OK && b != NULL)
		rc = encode_text(t, b, nb, &text[1], err);
	if (rc == PARE_OK)
		rc = assemble(m, text, max, out, err);
	free(text[0].v);
	free(text[1].v);
	if (rc != PARE_OK)
		memset(out, 0, sizeof(*out));
	return rc;
}

void
tokens_free(struct tokens *t)
{
	free(t->id);
	free(t->type);
	memset(t, 0, sizeof(*t));
}

/* ---- asking ---- */

const char *
tokenizer_piece(const struct tokenizer *t, int32_t id)
{
	if (id >= 0 && id < t->npieces && t->piece[id] != NULL)
		return t->piece[id];
	for (int i = 0; i < t->added.n; i++)
		if (t->added.token[i].id == id)
			return t->added.token[i].text;
	return NULL;
}

int64_t
tokenizer_size(const struct tokenizer *t)
{
	int64_t n = t->npieces;

	for (int i = 0; i < t->added.n; i++)
		if (t->added.token[i].id >= n)
			n = (int64_t)t->added.token[i].id + 1;
	return n;
}

const char *
tokenizer_kind(const struct tokenizer *t)
{
	static const char *const names[] = {
		[TOKENS_WORDPIECE] = "WordPiece",
		[TOKENS_RANKS] = "BPE",
		[TOKENS_SCORES] = "SentencePiece BPE",
		[TOKENS_UNIGRAM] = "Unigram"
	};

	return t->model == TOKENS_RANKS && t->byte_level ? "byte-level BPE" :
	    names[t->model];
}

bool
tokenizer_lowers(const struct tokenizer *t)
{
	return t->model != TOKENS_WORDPIECE || t->lower;
}

int
tokenizer_max_length(const struct tokenizer *t)
{
	return t->max_length;
}

uint64_t
tokenizer_hash(const struct tokenizer *t)
{
	return t->hash;
}

int32_t
tokenizer_bos(const struct tokenizer *t)
{
	return t->bos;
}

int32_t
tokenizer_eos(const struct tokenizer *t)
{
	return t->eos;
}
