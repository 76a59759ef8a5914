/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/spm.h"
#include "text/vocabulary.h"

#define KEY(name) "tokenizer.ggml." name
#define MARK "\xe2\x96\x81"

enum { MODEL_MAX = 64 << 20 };

/* ---- pieces ---------------------------------------------------------- */

static const struct added_token *
added_of(const struct tokenizer *t, int64_t id)
{
	for (int i = 0; i < t->added.n; i++)
		if (t->added.token[i].id == id)
			return &t->added.token[i];
	return NULL;
}

/* The added token of each id; malloc'ed, entries NULL where there is none. */
static const struct added_token **
added_by_id(const struct tokenizer *t, int64_t rows)
{
	const struct added_token **out = xcalloc((size_t)rows + 1,
	    sizeof(*out));

	for (int i = 0; i < t->added.n; i++)
		if (t->added.token[i].id < rows)
			out[t->added.token[i].id] = &t->added.token[i];
	return out;
}

/* "<s>", "[CLS]", "<|endoftext|>": what no text is meant to give. */
static bool
looks_special(const char *s, size_t n)
{
	return n > 2 && ((s[0] == '<' && s[n - 1] == '>') || (s[0] == '[' &&
	    s[n - 1] == ']'));
}

static bool
is_byte(const struct tokenizer *t, int64_t id)
{
	const char *s = id < t->npieces ? t->piece[id] : NULL;

	return t->byte_fallback && s != NULL && strlen(s) == 6 &&
	    strncmp(s, "<0x", 3) == 0 && s[5] == '>';
}

static int
type_of(const struct tokenizer *t, const struct added_token *a, int64_t id)
{
	const char *s = id < t->npieces ? t->piece[id] : NULL;

	if (a == NULL && s == NULL)
		return SPM_UNUSED;
	if (id == t->unknown)
		return SPM_UNKNOWN;
	if (is_byte(t, id))
		return SPM_BYTE;
	if (a != NULL)
		return looks_special(a->text, a->n) ? SPM_CONTROL : SPM_USER;
	return SPM_NORMAL;
}

/* ---- keys of GGUF ---------------------------------------------------- */

struct putting {
	const struct tokenizer *t;
	struct gguf_writer *w;
	int64_t rows;
	const struct added_token **added;
	char *text;		/* of pieces that are spelled otherwise */
	size_t text_n;
};

/* WordPiece's pieces as the file has them: words behind a mark, continuations
 * bare. */
static struct gguf_text
bert_text(struct putting *p, struct gguf_text s, int type)
{
	char *at = p->text + p->text_n;

	if (type == SPM_CONTROL || type == SPM_UNUSED ||
	    type == SPM_UNKNOWN || looks_special(s.s, s.n))
		return s;
	if (s.n > 2 && memcmp(s.s, "##", 2) == 0)
		return (struct gguf_text){ s.s + 2, s.n - 2 };
	memcpy(at, MARK, 3);
	memcpy(at + 3, s.s, s.n);
	p->text_n += s.n + 3;
	return (struct gguf_text){ at, s.n + 3 };
}

static void
put_tokens(struct putting *p)
{
	const struct tokenizer *t = p->t;
	struct gguf_text *v = xcalloc((size_t)p->rows + 1, sizeof(*v));
	int32_t *type = xcalloc((size_t)p->rows + 1, sizeof(*type));
	char (*hole)[32] = xcalloc((size_t)p->rows + 1, sizeof(*hole));

	p->text = xmalloc(t->text_n + 4 * (size_t)p->rows + 1);
	for (int64_t i = 0; i < p->rows; i++) {
		const char *s = i < t->npieces ? t->piece[i] : NULL;

		type[i] = type_of(t, p->added[i], i);
		if (s == NULL && p->added[i] != NULL)
			s = p->added[i]->text;
		if (s == NULL)
			snprintf(hole[i], sizeof(hole[i]), "[PAD%lld]",
			    (long long)i);
		s = s == NULL ? hole[i] : s;
		v[i] = (struct gguf_text){ s, strlen(s) };
		if (t->model == TOKENS_WORDPIECE)
			v[i] = bert_text(p, v[i], type[i]);
	}
	gguf_put_texts(p->w, KEY("tokens"), v, p->rows);
	gguf_put_i32s(p->w, KEY("token_type"), type, p->rows);
	free(p->text);
	free(hole);
	free(type);
	free(v);
}

static void
put_id(struct putting *p, const char *name, int64_t id)
{
	char key[64];

	snprintf(key, sizeof(key), KEY("%s_token_id"), name);
	if (id >= 0)
		gguf_put_u32(p->w, key, (uint32_t)id);
}

static void
put_named(struct putting *p, const char *name, const char *a, const char *b)
{
	int32_t id = vocabulary_id(p->t, a);

	put_id(p, name, id >= 0 || b == NULL ? id : vocabulary_id(p->t, b));
}

/* The ids that stand around a text; -1: none. */
static void
ends_of(const struct tokenizer *t, int32_t *first, int32_t *last)
{
	const struct template *m = &t->single;

	*first = m->n > 0 && m->part[0].sequence < 0 ? m->part[0].id : -1;
	*last = m->n > 1 && m->part[m->n - 1].sequence < 0 ?
	    m->part[m->n - 1].id : -1;
}

static void
put_ends(struct putting *p)
{
	int32_t first, last;

	ends_of(p->t, &first, &last);
	put_id(p, "bos", p->t->bos >= 0 ? p->t->bos : first);
	put_id(p, "eos", p->t->eos >= 0 ? p->t->eos : last);
	put_id(p, "unknown", p->t->unknown);
	put_named(p, "padding", "<pad>", "[PAD]");
	gguf_put_bool(p->w, KEY("add_bos_token"), first >= 0);
	gguf_put_bool(p->w, KEY("add_eos_token"), last >= 0);
}

static bool
has_step(const struct tokenizer *t, enum norm_kind kind)
{
	for (int i = 0; i < t->pipeline.nnorm; i++)
		if (t->pipeline.norm[i].kind == kind)
			return true;
	return false;
}

static bool
has_prefix(const struct tokenizer *t)
{
	if (has_step(t, NORM_PREPEND))
		return true;
	for (int i = 0; i < t->pipeline.npre; i++)
		if (t->pipeline.pre[i].kind == PRE_METASPACE)
			return t->pipeline.pre[i].prepend != PREPEND_NEVER;
	return false;
}

static void
put_scores(struct putting *p, const float *score)
{
	float *v = xcalloc((size_t)p->rows + 1, sizeof(*v));

	for (int64_t i = 0; i < p->rows; i++)
		v[i] = i < p->t->npieces ? score[i] : -1e4f;
	gguf_put_f32s(p->w, KEY("scores"), v, p->rows);
	free(v);
}

/* Scores that join pairs in the order of their ranks: a piece that is made
 * earlier scores higher. */
static float *
scores_of_merges(const struct tokenizer *t)
{
	float *score = xcalloc((size_t)t->npieces + 1, sizeof(*score));
	const int32_t n = merges_count(t->merges);
	struct merge_pair *pair = xmalloc((size_t)(n + 1) * sizeof(*pair));

	merges_list(t->merges, pair);
	for (int32_t i = n - 1; i >= 0; i--)
		if (pair[i].made >= 0 && pair[i].made < t->npieces)
			score[pair[i].made] = -(float)(i + 1);
	free(pair);
	return score;
}

static void
put_spm(struct putting *p)
{
	const struct tokenizer *t = p->t;
	const bool unigram = t->model == TOKENS_UNIGRAM;
	float *made = t->score == NULL ? scores_of_merges(t) : NULL;
	const char *model = unigram ? "t5" : "llama";

	gguf_put_text(p->w, KEY("model"), model, strlen(model));
	gguf_put_text(p->w, KEY("pre"), "default", 7);
	put_tokens(p);
	put_scores(p, made != NULL ? made : t->score);
	put_ends(p);
	gguf_put_bool(p->w, KEY("add_space_prefix"), has_prefix(t));
	gguf_put_bool(p->w, KEY("remove_extra_whitespaces"), has_step(t,
	    NORM_SPACES));
	free(made);
}

static void
put_merges(struct putting *p)
{
	const struct tokenizer *t = p->t;
	const int32_t n = merges_count(t->merges);
	struct merge_pair *pair = xmalloc((size_t)(n + 1) * sizeof(*pair));
	struct gguf_text *v = xcalloc((size_t)n + 1, sizeof(*v));
	int64_t k = 0;

	merges_list(t->merges, pair);
	for (int32_t i = 0; i < n; i++) {
		char *s;

		if (pair[i].left < 0)
			continue;
		s = str_format("%s %s", t->piece[pair[i].left],
		    t->piece[pair[i].right]);
		v[k++] = (struct gguf_text){ s, strlen(s) };
	}
	gguf_put_texts(p->w, KEY("merges"), v, k);
	for (int64_t i = 0; i < k; i++)
		free((char *)(uintptr_t)v[i].s);
	free(v);
	free(pair);
}

static enum pare_rc
put_bpe(struct putting *p, struct pare_err *err)
{
	const char *pre = gguf_pre_name(p->t);

	if (pre == NULL)
		return err_set(err, PARE_EUSER, "llama.cpp has no name for "
		    "the pattern by which the tokenizer cuts words");
	gguf_put_text(p->w, KEY("model"), "gpt2", 4);
	gguf_put_text(p->w, KEY("pre"), pre, strlen(pre));
	put_tokens(p);
	put_merges(p);
	put_ends(p);
	return PARE_OK;
}

static void
put_bert(struct putting *p)
{
	int32_t cls, sep;

	ends_of(p->t, &cls, &sep);
	gguf_put_text(p->w, KEY("model"), "bert", 4);
	gguf_put_text(p->w, KEY("pre"), "default", 7);
	put_tokens(p);
	put_id(p, "cls", cls);
	put_id(p, "bos", cls);
	put_id(p, "seperator", sep);
	put_id(p, "eos", sep);
	put_id(p, "unknown", p->t->unknown);
	put_named(p, "padding", "[PAD]", "<pad>");
	put_named(p, "mask", "[MASK]", "<mask>");
}

/* The SentencePiece model beside a tokenizer.json; NULL: there is none. */
static struct tokenizer *
read_scores(const char *dir)
{
	char *path = dir != NULL ? io_join(dir, "tokenizer.model") : NULL;
	struct tokenizer *t = NULL;
	char *data;
	size_t n;

	if (path != NULL && io_is_file(path) && io_read(path, MODEL_MAX,
	    &data, &n, NULL) == PARE_OK) {
		t = sentencepiece_parse(data, n, path, NULL);
		free(data);
	}
	free(path);
	return t;
}

/* The scores of t's pieces in scored, which has those of t or of the larger one
 * that t was made of; malloc'ed, NULL: they are not there. */
static float *
scores_of(const struct tokenizer *t, const struct tokenizer *scored)
{
	const struct tokenizer *whole = t->base != NULL ? t->base : t;
	float *out;

	if (scored == NULL || scored->model != TOKENS_SCORES ||
	    scored->npieces != whole->npieces)
		return NULL;
	out = xcalloc((size_t)t->npieces + 1, sizeof(*out));
	for (int64_t i = 0; i < t->npieces; i++) {
		int64_t k = t->base != NULL ? t->base_id[i] : i;

		out[i] = k < scored->npieces ? scored->score[k] : 0.0f;
	}
	return out;
}

/* Byte-pair merges of a Llama tokenizer: no byte-level alphabet, but bytes for
 * what is no piece. */
static enum pare_rc
put_ranks(struct putting *p, const char *dir, struct pare_err *err)
{
	struct tokenizer *scored;
	struct tokenizer joined;

	if (p->t->byte_level)
		return put_bpe(p, err);
	scored = read_scores(dir);
	joined = *p->t;
	joined.score = scores_of(p->t, scored);
	tokenizer_free(scored);
	p->t = &joined;
	put_spm(p);
	free(joined.score);
	return PARE_OK;
}

enum pare_rc
tokenizer_put_gguf(const struct tokenizer *t, int64_t rows, const char *dir,
    struct gguf_writer *w, struct pare_err *err)
{
	struct putting p = { .t = t, .w = w, .rows = rows };
	enum pare_rc rc = PARE_OK;

	if (has_step(t, NORM_CHARSMAP))
		return err_set(err, PARE_EUSER, "the map of characters that "
		    "the tokenizer begins with is not kept for GGUF");
	p.added = added_by_id(t, rows);
	switch (t->model) {
	case TOKENS_WORDPIECE:
		put_bert(&p);
		break;
	case TOKENS_RANKS:
		rc = put_ranks(&p, dir, err);
		break;
	default:
		put_spm(&p);
		break;
	}
	free(p.added);
	return rc;
}

/* ---- files of a folder ----------------------------------------------- */

static void
add_file(struct tokenizer_file *out, int *n, const char *name,
    struct str *text)
{
	out[*n].name = name;
	out[*n].n = text->n;
	out[(*n)++].data = str_detach(text);
}

static void
add_json(struct tokenizer_file *out, int *n, const char *name, json_t *v)
{
	struct str text = STR_INIT;
	char *s = json_dumps(v, JSON_INDENT(1));

	str_add(&text, s != NULL ? s : "{}");
	free(s);
	json_decref(v);
	add_file(out, n, name, &text);
}

static void
put_piece(json_t *o, const char *key, const struct tokenizer *t, int32_t id)
{
	const char *s = id < 0 ? NULL : tokenizer_piece(t, id);

	if (s != NULL)
		json_object_set_new(o, key, json_string(s));
}

static json_t *
config_of(const struct tokenizer *t, const char *class)
{
	json_t *o = json_object();
	int32_t first, last;

	ends_of(t, &first, &last);
	json_object_set_new(o, "tokenizer_class", json_string(class));
	if (t->model == TOKENS_WORDPIECE) {
		json_object_set_new(o, "do_lower_case", json_boolean(
		    t->lower));
		return o;
	}
	put_piece(o, "bos_token", t, t->bos);
	put_piece(o, "eos_token", t, t->eos);
	put_piece(o, "unk_token", t, t->unknown);
	json_object_set_new(o, "add_bos_token", json_boolean(first >= 0));
	json_object_set_new(o, "add_eos_token", json_boolean(last >= 0));
	return o;
}

/* vocab.txt: a line an id. */
static void
add_vocab_txt(const struct tokenizer *t, struct tokenizer_file *out, int *n)
{
	struct str text = STR_INIT;

	for (int64_t i = 0; i < t->npieces; i++) {
		const char *s = t->piece[i];

		if (s != NULL)
			str_addf(&text, "%s\n", s);
		else
			str_addf(&text, "[unused%lld]\n", (long long)i);
	}
	add_file(out, n, "vocab.txt", &text);
}

/* ---- tokenizer.model ---- */

static void
add_varint(struct str *b, uint64_t v)
{
	for (; v > 127; v >>= 7)
		str_addc(b, (char)(v | 128));
	str_addc(b, (char)v);
}

static void
add_field(struct str *b, int number, int wire)
{
	add_varint(b, (uint64_t)number << 3 | (uint64_t)wire);
}

static void
add_bytes(struct str *b, int number, const char *s, size_t n)
{
	add_field(b, number, 2);
	add_varint(b, n);
	str_addn(b, s, n);
}

static void
add_number(struct str *b, int number, uint64_t v)
{
	add_field(b, number, 0);
	add_varint(b, v);
}

static void
add_piece(struct str *b, const char *s, float score, int type)
{
	struct str p = STR_INIT;
	char bytes[4];
	uint32_t u;

	memcpy(&u, &score, sizeof(u));
	for (int i = 0; i < 4; i++)
		bytes[i] = (char)(u >> (8 * i));
	add_bytes(&p, 1, s, strlen(s));
	add_field(&p, 2, 5);
	str_addn(&p, bytes, 4);
	if (type != SPM_NORMAL)
		add_number(&p, 3, (uint64_t)type);
	add_bytes(b, 1, p.s, p.n);
	str_free(&p);
}

static void
add_model(const struct tokenizer *t, struct tokenizer_file *out, int *n)
{
	struct str b = STR_INIT, part = STR_INIT;

	for (int64_t i = 0; i < t->npieces; i++) {
		char hole[32];

		snprintf(hole, sizeof(hole), "[PAD%lld]", (long long)i);
		add_piece(&b, t->piece[i] != NULL ? t->piece[i] : hole,
		    t->score[i], type_of(t, added_of(t, i), i));
	}
	add_number(&part, 3, t->model == TOKENS_UNIGRAM ? 1 : 2);
	add_number(&part, 35, t->byte_fallback);
	add_bytes(&b, 2, part.s, part.n);
	str_clear(&part);
	add_number(&part, 3, has_prefix(t));
	add_number(&part, 4, has_step(t, NORM_SPACES));
	add_bytes(&b, 3, part.s, part.n);
	str_free(&part);
	add_file(out, n, "tokenizer.model", &b);
}

/* ---- tokenizer.json of byte-level BPE ---- */

static json_t *
json_merges(const struct tokenizer *t)
{
	const int32_t n = merges_count(t->merges);
	struct merge_pair *pair = xmalloc((size_t)(n + 1) * sizeof(*pair));
	json_t *list = json_array();

	merges_list(t->merges, pair);
	for (int32_t i = 0; i < n; i++) {
		char *s;

		if (pair[i].left < 0)
			continue;
		s = str_format("%s %s", t->piece[pair[i].left],
		    t->piece[pair[i].right]);
		json_array_append_new(list, json_string(s));
		free(s);
	}
	free(pair);
	return list;
}

static json_t *
json_model(const struct tokenizer *t)
{
	json_t *vocab = json_object();

	for (int64_t i = 0; i < t->npieces; i++)
		if (t->piece[i] != NULL)
			json_object_set_new(vocab, t->piece[i],
			    json_integer(i));
	return json_pack("{s:s, s:b, s:b, s:o, s:o}", "type", "BPE",
	    "byte_fallback", 0, "ignore_merges", (int)t->ignore_merges,
	    "vocab", vocab, "merges", json_merges(t));
}

static json_t *
json_added(const struct tokenizer *t)
{
	json_t *list = json_array();

	for (int i = 0; i < t->added.n; i++) {
		const struct added_token *a = &t->added.token[i];

		json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:b, "
		    "s:b, s:b, s:b}", "id", (int)a->id, "content", a->text,
		    "single_word", (int)a->single_word, "lstrip",
		    (int)a->lstrip, "rstrip", (int)a->rstrip, "normalized",
		    (int)a->normalized, "special",
		    (int)looks_special(a->text, a->n)));
	}
	return list;
}

static json_t *
json_pre(const struct tokenizer *t)
{
	const struct pipeline *p = &t->pipeline;
	const bool split = p->npre > 1 && p->pre[0].kind == PRE_SPLIT;
	json_t *bytes = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
	    "add_prefix_space", 0, "trim_offsets", 1, "use_regex", !split);

	if (!split)
		return bytes;
	return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type",
	    "Sequence", "pretokenizers", "type", "Split", "pattern", "Regex",
	    p->pre[0].text, "behavior", "Isolated", "invert", 0, bytes);
}

static json_t *
json_post(const struct tokenizer *t)
{
	int32_t first, last;
	const char *s;

	ends_of(t, &first, &last);
	s = first >= 0 && last < 0 ? tokenizer_piece(t, first) : NULL;
	if (s == NULL)
		return json_pack("{s:s, s:b, s:b}", "type", "ByteLevel",
		    "add_prefix_space", 1, "trim_offsets", 0);
	return json_pack("{s:s, s:[{s:{s:s,s:i}}, {s:{s:s,s:i}}], "
	    "s:[{s:{s:s,s:i}}, {s:{s:s,s:i}}, {s:{s:s,s:i}}], "
	    "s:{s:{s:s, s:[i], s:[s]}}}", "type", "TemplateProcessing",
	    "single", "SpecialToken", "id", s, "type_id", 0, "Sequence", "id",
	    "A", "type_id", 0, "pair", "SpecialToken", "id", s, "type_id", 0,
	    "Sequence", "id", "A", "type_id", 0, "Sequence", "id", "B",
	    "type_id", 1, "special_tokens", s, "id", s, "ids", (int)first,
	    "tokens", s);
}

static void
add_tokenizer_json(const struct tokenizer *t, struct tokenizer_file *out,
    int *n)
{
	add_json(out, n, "tokenizer.json", json_pack("{s:s, s:n, s:n, s:o, "
	    "s:n, s:o, s:o, s:{s:s, s:b, s:b, s:b}, s:o}", "version", "1.0",
	    "truncation", "padding", "added_tokens", json_added(t),
	    "normalizer", "pre_tokenizer", json_pre(t), "post_processor",
	    json_post(t), "decoder", "type", "ByteLevel", "add_prefix_space",
	    1, "trim_offsets", 1, "use_regex", 1, "model", json_model(t)));
}

int
tokenizer_make_files(const struct tokenizer *t,
    struct tokenizer_file out[TOKENIZER_FILES])
{
	const char *class = "PreTrainedTokenizerFast";
	int n = 0;

	if (t->model == TOKENS_WORDPIECE) {
		add_vocab_txt(t, out, &n);
		class = "BertTokenizer";
	} else if (t->model == TOKENS_RANKS && t->byte_level) {
		add_tokenizer_json(t, out, &n);
	} else if (t->score != NULL && !has_step(t, NORM_CHARSMAP)) {
		add_model(t, out, &n);
		class = t->model == TOKENS_UNIGRAM ? "T5Tokenizer" :
		    "LlamaTokenizer";
	} else {
		return 0;
	}
	add_json(out, &n, "tokenizer_config.json", config_of(t, class));
	return n;
}

void
tokenizer_files_free(struct tokenizer_file *f, int n)
{
	for (int i = 0; i < n; i++)
		free(f[i].data);
}
