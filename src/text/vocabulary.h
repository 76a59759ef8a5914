/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * vocabulary: the inside of a tokenizer, for the files of this room that build
 * one (vocab_txt.c, tokenizer_json.c) and that use it (wordpiece.c,
 * added.c, tokenizer.c).
 */
#ifndef PARE_TEXT_VOCABULARY_H
#define PARE_TEXT_VOCABULARY_H

#include <stdatomic.h>

#include "base/json.h"
#include "text/pipeline.h"
#include "text/tokenizer.h"
#include "text/trie.h"
#include "text/unicode.h"

/* A token that is found in the text before (or, normalized, after) the text is
 * normalised, and never cut. */
struct added_token {
	char *text;	/* owned, n bytes */
	size_t n;
	char *find;	/* what is looked for; owned, find_n bytes */
	size_t find_n;
	int32_t id;
	bool single_word;	/* not beside a letter or digit */
	bool lstrip, rstrip;	/* swallows the white space beside it */
	bool normalized;
};

struct added_set {
	struct added_token *token;
	int n;
	/* From text to index in token; [1] holds the normalized ones. */
	struct trie trie[2];
	bool first[2][256];	/* bytes that begin one */
};

/* What stands around the texts: ids, and the texts themselves. */
struct template_part {
	int sequence;		/* 0: first text, 1: second; -1: an id */
	int32_t id, type;
};

enum { TEMPLATE_MAX = 64 };
struct template {
	struct template_part part[TEMPLATE_MAX];
	int n;
	int specials;		/* how many parts are ids */
};

enum token_model {
	TOKENS_WORDPIECE,
	TOKENS_RANKS,	/* BPE: the pair of the lowest rank is joined first */
	TOKENS_SCORES,	/* BPE of SentencePiece: the best scored join first */
	TOKENS_UNIGRAM	/* the likeliest way to cut */
};

struct merges;
struct id_list;

struct tokenizer {
	atomic_int refs;	/* its owner, and smaller ones made of it */
	/* What a smaller one was made of, which owns its pipeline, and the id
	 * that each of its pieces has there, owned; NULL. */
	struct tokenizer *base;
	int32_t *base_id;
	enum token_model model;
	/* Pieces by id; NULL where there is none. */
	const char **piece;
	int64_t npieces, max_pieces;
	char *text;		/* of all pieces */
	size_t text_n, text_cap;
	/* WordPiece. */
	struct trie trie;
	char mark[16];		/* the prefix "##" of continuations */
	uint32_t continued;	/* the node after it */
	int32_t unknown;
	int max_chars;		/* longer words are unknown */
	bool clean, ideographs, lower;
	int strip_said;		/* -1: not said, strips when it lower-cases */
	bool strip;
	/* The other models. */
	struct pipeline pipeline;
	struct merges *merges;		/* TOKENS_RANKS */
	float *score;			/* per id: TOKENS_SCORES, _UNIGRAM */
	float lowest;			/* of the scores */
	bool byte_level;		/* pieces are spelled by byte_level.c */
	bool byte_fallback;		/* what is no piece becomes <0x41> */
	bool fuse_unknown, ignore_merges;
	int32_t byte_id[256];		/* of those; -1 */
	int32_t bos, eos;		/* -1: none */
	uint64_t source;		/* hash of the file it was read from */

	struct added_set added;
	struct template single, pair;
	int max_length;
	uint64_t hash;
};

/* ---- vocabulary.c: building ---- */

/* An empty tokenizer with room for ids below max_pieces and so many bytes of
 * text; NULL with PARE_ENOMEM. */
struct tokenizer *vocabulary_new(int64_t max_pieces, size_t bytes,
    struct pare_err *err);
/* The same from an object of pieces and ids. PARE_EFORMAT naming where. */
enum pare_rc vocabulary_from_json(const json_t *vocab, const char *where,
    struct tokenizer **out, struct pare_err *err);
/* Piece id is s; the text's id is now id. */
void vocabulary_add(struct tokenizer *t, int32_t id, const char *s, size_t n);
/* The id of a piece or an added token, or -1. */
int32_t vocabulary_id(const struct tokenizer *t, const char *s);
/* The same, PARE_EFORMAT naming the piece when there is none. */
enum pare_rc vocabulary_need(const struct tokenizer *t, const char *s,
    const char *where, int32_t *id, struct pare_err *err);

/* PARE_EFORMAT when the template is full. */
enum pare_rc template_add(struct template *m, int sequence, int32_t id,
    int32_t type, const char *where, struct pare_err *err);
/* The texts alone. */
void template_bare(struct tokenizer *t);
/* [CLS] A [SEP] and [CLS] A [SEP] B [SEP]. */
void template_bert(struct tokenizer *t, int32_t cls, int32_t sep);
/* <s> A </s> and <s> A </s> </s> B </s>, of one segment. */
void template_roberta(struct tokenizer *t, int32_t cls, int32_t sep);
/* ids around a text as Llama has them; -1: none. */
void template_ends(struct tokenizer *t, int32_t bos, int32_t eos);

/* ---- added.c ---- */

/* A copy of one token; PARE_EFORMAT when it is empty, too long, or its id or
 * text is already that of another. */
enum pare_rc added_add(struct tokenizer *t, const struct added_token *a,
    const char *where, struct pare_err *err);
/* After the last one: builds the tries. */
enum pare_rc added_finish(struct tokenizer *t, struct pare_err *err);
void added_free(struct added_set *s);

struct added_match {
	size_t begin, end;	/* with the white space it swallows */
	int32_t id;
};
/* The first token in s at or after `from`; false when there is none. */
bool added_find(const struct added_set *s, bool normalized, const char *text,
    size_t n, size_t from, struct added_match *out);

/* ---- wordpiece.c ---- */

/* Ids of one text, growing. */
struct id_list {
	int32_t *v;
	size_t n, cap;
	int invalid;
	bool last_unknown;	/* within one word: for fusing */
};
enum pare_rc id_list_add(struct id_list *l, int32_t id, struct pare_err *err);

/* Text of a file or a user to normalised text, appended to out. */
enum pare_rc wordpiece_normalize(const struct tokenizer *t, const char *s,
    size_t n, struct uni_bytes *out, int *invalid, struct pare_err *err);
/* Normalised text to ids. */
enum pare_rc wordpiece_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err);

/* ---- normalize.c ---- */

/* Text of a file or a user as the model's words are cut from it, appended to
 * out; bytes that are no UTF-8 are counted and become U+FFFD. */
enum pare_rc vocabulary_normalize(const struct tokenizer *t, const char *s,
    size_t n, struct uni_bytes *out, int *invalid, struct pare_err *err);

/* ---- tokenizer.c ---- */

/* The last step of building one: checks the ids that templates put in, readies
 * the added tokens, takes the hash. */
enum pare_rc tokenizer_finish(struct tokenizer *t, const char *where,
    struct pare_err *err);

/* ---- bpe.c, unigram.c ---- */

/* Pairs of pieces and what they become. merges_add() gives them rank 0, 1, ...;
 * a pair given again keeps its last rank. */
struct merges *merges_new(size_t pairs, struct pare_err *err);
void merges_free(struct merges *m);	/* NULL is fine */
void merges_add(struct merges *m, int32_t left, int32_t right, int32_t made);

/* Ranks that were given; NULL has none. */
int32_t merges_count(const struct merges *m);
struct merge_pair {
	int32_t left, right, made;
};
/* The pairs by rank, into out[merges_count()]; left is -1 where a pair got a
 * later rank. */
void merges_list(const struct merges *m, struct merge_pair *out);

/* Ids of one word, by the tokenizer's model; word is valid UTF-8. */
enum pare_rc bpe_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err);
enum pare_rc unigram_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err);
/* The two pieces that the last join of a word, s, puts together; false where it
 * is not joined to one piece, or one of the two is none. */
bool bpe_parents(const struct tokenizer *t, const char *s, size_t n,
    int32_t out[2]);
/* What is no piece: its bytes, or the unknown piece; nothing where neither is
 * there. */
enum pare_rc unknown_cut(const struct tokenizer *t, const char *s, size_t n,
    struct id_list *out, struct pare_err *err);
/* Fills byte_id[] from the vocabulary. */
void vocabulary_find_bytes(struct tokenizer *t);

/* ---- vocab_txt.c, tokenizer_json.c, tokenizer_config.c ---- */

/* The next three leave the tokenizer to be finished by tokenizer.c. */
struct tokenizer *vocab_txt_parse(const char *data, size_t n,
    const char *where, struct pare_err *err);
struct tokenizer *tokenizer_json_parse(const char *data, size_t n,
    const char *where, struct pare_err *err);
/* vocab.json, and merges.txt beside it. */
struct tokenizer *merges_txt_parse(const char *vocab, size_t nvocab,
    const char *vocab_where, const char *data, size_t n, const char *where,
    struct pare_err *err);
/* tokenizer.model, a protocol buffer of SentencePiece. */
struct tokenizer *sentencepiece_parse(const char *data, size_t n,
    const char *where, struct pare_err *err);
/* The same file with the pieces whose number is of id[0..n), ascending, alone;
 * appended to out. */
struct str;
enum pare_rc sentencepiece_reduce(const char *data, size_t n, const char *where,
    const int32_t *id, int64_t nids, struct str *out, struct pare_err *err);
/* The tokenizer.ggml keys of a GGUF file. */
struct gguf;
struct tokenizer *gguf_tokens(const struct gguf *g, struct pare_err *err);
/* What tokenizer.ggml.pre says of a byte-level tokenizer, static; NULL: it cuts
 * words in a way that has no name there. */
const char *gguf_pre_name(const struct tokenizer *t);

/* ---- pipeline_json.c: normalizer and pre_tokenizer of tokenizer.json ---- */
enum pare_rc pipeline_read(struct tokenizer *t, const json_t *root,
    const char *where, struct pare_err *err);

/* Steps that several files make. PARE_EFORMAT when there is no room for more. */
struct norm_step *pipeline_add_norm(struct pipeline *p, enum norm_kind kind,
    const char *text, const char *with, const char *where,
    struct pare_err *err);
struct pre_step *pipeline_add_pre(struct pipeline *p, enum pre_kind kind,
    const char *pattern, const char *where, struct pare_err *err);
/* The pattern that GPT-2 cuts words with. */
extern const char byte_level_pattern[];

/* The config files of a model folder, any of which may be missing. */
struct tokenizer_config {
	json_t *config;		/* tokenizer_config.json */
	json_t *map;		/* special_tokens_map.json */
	json_t *added;		/* added_tokens.json */
};
enum pare_rc tokenizer_config_read(const char *dir,
    struct tokenizer_config *out, struct pare_err *err);
void tokenizer_config_free(struct tokenizer_config *c);
/* What it says of the normaliser, and the longest input. */
enum pare_rc tokenizer_config_settings(const struct tokenizer_config *c,
    struct tokenizer *t, struct pare_err *err);
/* Which of bos and eos go around a text, as SentencePiece's files need it told:
 * add_bos_token (true) and add_eos_token (false). */
enum pare_rc tokenizer_config_ends(const struct tokenizer_config *c,
    struct tokenizer *t, struct pare_err *err);
enum pare_rc tokenizer_config_length(const struct tokenizer_config *c,
    struct tokenizer *t, struct pare_err *err);
/* The special and added tokens of a vocab.txt; where names that file.
 * PARE_EUSER when the class that the config names is not WordPiece. */
enum pare_rc tokenizer_config_specials(const struct tokenizer_config *c,
    struct tokenizer *t, const char *where, struct pare_err *err);

/* One token as the JSON files describe it: {"content": ..., "lstrip": ...}. */
enum pare_rc added_from_json(const json_t *o, int32_t id, bool normalized,
    const char *where, struct added_token *out, struct pare_err *err);

#endif
