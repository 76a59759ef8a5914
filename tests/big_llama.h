/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * big_llama: a folder with the config, the index and the shards of a Llama of
 * 70 billion parameters, for opening it. The shards have their headers; their
 * data is a hole of the full size, which takes no room where the file system
 * knows holes.
 */
#ifndef PARE_TESTS_BIG_LLAMA_H
#define PARE_TESTS_BIG_LLAMA_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"

enum { BIG_LAYERS = 80, BIG_SHARDS = 30, BIG_HIDDEN = 8192,
	BIG_KV = 1024, BIG_FFN = 28672, BIG_VOCAB = 128256 };
/* Of Llama 3 70B. */
static const int64_t BIG_PARAMS = INT64_C(70553706496);

static const char big_config[] = "{\"architectures\":[\"LlamaForCausalLM\"],"
    "\"model_type\":\"llama\",\"hidden_size\":8192,\"num_hidden_layers\":80,"
    "\"num_attention_heads\":64,\"num_key_value_heads\":8,"
    "\"intermediate_size\":28672,\"vocab_size\":128256,"
    "\"max_position_embeddings\":8192,\"rms_norm_eps\":1e-5,"
    "\"rope_theta\":500000.0,\"hidden_act\":\"silu\","
    "\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\"}\n";

struct big_shard {
	struct str header;	/* entries, without the braces */
	int64_t bytes;
};

static inline void
big_put(struct big_shard *s, struct str *map, int shard, const char *name,
    int64_t rows, int64_t cols)
{
	int64_t bytes = 2 * rows * (cols > 0 ? cols : 1);
	char shape[64];

	snprintf(shape, sizeof(shape), cols > 0 ? "%lld,%lld" : "%lld",
	    (long long)rows, (long long)cols);
	str_addf(&s->header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],"
	    "\"data_offsets\":[%lld,%lld]}", s->header.n > 0 ? "," : "", name,
	    shape, (long long)s->bytes, (long long)(s->bytes + bytes));
	str_addf(map, "%s\"%s\":\"model-%05d-of-%05d.safetensors\"",
	    map->n > 0 ? "," : "", name, shard + 1, BIG_SHARDS);
	s->bytes += bytes;
}

static inline void
big_layer(struct big_shard *s, struct str *map, int shard, int layer)
{
	static const struct {
		const char *name;
		int64_t rows, cols;
	} slots[] = {
		{ "input_layernorm", BIG_HIDDEN, 0 },
		{ "mlp.down_proj", BIG_HIDDEN, BIG_FFN },
		{ "mlp.gate_proj", BIG_FFN, BIG_HIDDEN },
		{ "mlp.up_proj", BIG_FFN, BIG_HIDDEN },
		{ "post_attention_layernorm", BIG_HIDDEN, 0 },
		{ "self_attn.k_proj", BIG_KV, BIG_HIDDEN },
		{ "self_attn.o_proj", BIG_HIDDEN, BIG_HIDDEN },
		{ "self_attn.q_proj", BIG_HIDDEN, BIG_HIDDEN },
		{ "self_attn.v_proj", BIG_KV, BIG_HIDDEN },
	};
	char name[128];

	for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
		snprintf(name, sizeof(name), "model.layers.%d.%s.weight",
		    layer, slots[i].name);
		big_put(s, map, shard, name, slots[i].rows, slots[i].cols);
	}
}

/* The header, and a hole of the data's size. */
static inline bool
big_write_shard(const char *dir, int shard, const struct big_shard *s)
{
	char *path = str_format("%s/model-%05d-of-%05d.safetensors", dir,
	    shard + 1, BIG_SHARDS);
	FILE *f = fopen(path, "wb");
	/* Writers pad it, so that values lie where their size divides. */
	uint64_t n = (s->header.n + 2 + 7) / 8 * 8;
	unsigned char size[8];
	struct stat st;
	bool fine = f != NULL;

	for (int i = 0; i < 8; i++)
		size[i] = (unsigned char)(n >> (8 * i));
	if (fine) {
		fine = fwrite(size, 1, 8, f) == 8 &&
		    fprintf(f, "{%s}%*s", s->header.s, (int)(n -
		    s->header.n - 2), "") == (int)n &&
		    fflush(f) == 0 && ftruncate(fileno(f),
		    (off_t)(8 + n) + (off_t)s->bytes) == 0 &&
		    fstat(fileno(f), &st) == 0 && st.st_blocks < 1 << 12;
		fine = fclose(f) == 0 && fine;
	}
	free(path);
	return fine;
}

static inline bool
big_write_text(const char *dir, const char *name, const char *text)
{
	char *path = io_join(dir, name);
	bool fine = io_write(path, text, strlen(text), NULL) == PARE_OK;

	free(path);
	return fine;
}

/* False where holes of that size cannot be made. */
static inline bool
big_llama_make(const char *dir)
{
	struct big_shard shard[BIG_SHARDS] = { 0 };
	struct str map = STR_INIT;
	int64_t total = 0;
	bool fine = true;
	char *index;

	big_put(&shard[0], &map, 0, "model.embed_tokens.weight", BIG_VOCAB,
	    BIG_HIDDEN);
	for (int l = 0; l < BIG_LAYERS; l++) {
		int k = l * BIG_SHARDS / BIG_LAYERS;

		big_layer(&shard[k], &map, k, l);
	}
	big_put(&shard[BIG_SHARDS - 1], &map, BIG_SHARDS - 1,
	    "model.norm.weight", BIG_HIDDEN, 0);
	big_put(&shard[BIG_SHARDS - 1], &map, BIG_SHARDS - 1,
	    "lm_head.weight", BIG_VOCAB, BIG_HIDDEN);
	for (int k = 0; k < BIG_SHARDS; k++) {
		fine = fine && big_write_shard(dir, k, &shard[k]);
		total += shard[k].bytes;
		str_free(&shard[k].header);
	}
	index = str_format("{\"metadata\":{\"total_size\":%lld},"
	    "\"weight_map\":{%s}}\n", (long long)total, map.s);
	fine = fine && big_write_text(dir, "config.json", big_config) &&
	    big_write_text(dir, "model.safetensors.index.json", index);
	free(index);
	str_free(&map);
	return fine;
}

static inline void
big_llama_remove(const char *dir)
{
	static const char *const names[] = { "config.json",
	    "model.safetensors.index.json" };

	for (int i = 0; i < 2; i++) {
		char *path = io_join(dir, names[i]);

		(void)unlink(path);
		free(path);
	}
	for (int k = 0; k < BIG_SHARDS; k++) {
		char *path = str_format("%s/model-%05d-of-%05d.safetensors",
		    dir, k + 1, BIG_SHARDS);

		(void)unlink(path);
		free(path);
	}
	(void)rmdir(dir);
}

#endif
