/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opening: what must open opens with the right weights in the right slots, and
 * each malformed input gives its code and a line that names file and tensor or
 * key.
 */
#include "tiny_dir.h"

#include <sys/wait.h>

#include "file/file.h"
#include "model/account.h"
#include "model/edit.h"

static char *root;

static int
make_root(void **state)
{
	root = tiny_root();
	return 0;
}

static int
drop_root(void **state)
{
	tiny_root_free(root);
	return 0;
}

static struct model *
open_ok(const char *path, struct notes *notes)
{
	struct model *m = NULL;
	struct pare_err err;

	if (file_open_model(path, NULL, &m, notes, &err) != PARE_OK)
		fail_msg("%s: %s", path, err.msg);
	assert_non_null(m);
	return m;
}

static void
open_bad(const char *path, enum pare_rc rc, const char *a, const char *b)
{
	struct model *m = NULL;
	struct pare_err err = { 0 };
	enum pare_rc got = file_open_model(path, NULL, &m, NULL, &err);

	if (got != rc || err.rc != rc)
		fail_msg("'%s': rc %d, expected %d: %s", path, got, rc,
		    err.msg);
	assert_null(m);
	if (strstr(err.msg, a) == NULL ||
	    (b != NULL && strstr(err.msg, b) == NULL))
		fail_msg("'%s' lacks '%s' or '%s'", err.msg, a,
		    b != NULL ? b : "");
	assert_null(strchr(err.msg, '\n'));
}

static bool
noted(const struct notes *n, const char *words)
{
	for (int i = 0; i < n->n; i++)
		if (strstr(n->text[i], words) != NULL)
			return true;
	return false;
}

/* The values of slot r are those of weight name. */
static void
check_slot(const struct model *m, struct slot_ref r, struct tiny_dir *t,
    const char *name)
{
	const struct tiny_weight *w = tiny_find(t, name);
	const struct tensor *x = model_slot(m, r);
	int64_t n;

	if (w == NULL)
		fail_msg("no weight '%s'", name);
	assert_non_null(x);
	n = x->rows * x->cols;
	assert_int_equal(n * tiny_dtype_size(w->dtype), w->bytes);
	if (strcmp(w->dtype, "F64") != 0) {
		assert_int_equal(x->part[PART_DATA].n, w->bytes);
		assert_memory_equal(x->part[PART_DATA].p, w->data, w->bytes);
	}
}

/* ---- what opens ------------------------------------------------------ */

/* Names as the authors' files have them, not as the table says. */
static const struct {
	const char *type, *suffix;
	enum head_kind head;
	int layer;
	enum slot slot;
	const char *name;
} names[] = {
	{ "bert", NULL, HEAD_NONE, 2, SLOT_Q_W,
	    "bert.encoder.layer.2.attention.self.query.weight" },
	{ "bert", NULL, HEAD_NONE, -1, SLOT_POOL_B, "bert.pooler.dense.bias" },
	{ "bert", "ForSequenceClassification", HEAD_CLASSIFY, 0, SLOT_DOWN_W,
	    "bert.encoder.layer.0.output.dense.weight" },
	{ "bert", "ForSequenceClassification", HEAD_CLASSIFY, -1, SLOT_HOUT_W,
	    "classifier.weight" },
	{ "bert", "ForMaskedLM", HEAD_MLM, -1, SLOT_HDENSE_W,
	    "cls.predictions.transform.dense.weight" },
	{ "bert", "ForMaskedLM", HEAD_MLM, -1, SLOT_HOUT_W,
	    "bert.embeddings.word_embeddings.weight" },
	{ "distilbert", NULL, HEAD_NONE, 1, SLOT_V_B,
	    "distilbert.transformer.layer.1.attention.v_lin.bias" },
	{ "distilbert", "ForSequenceClassification", HEAD_CLASSIFY, -1,
	    SLOT_HDENSE_W, "pre_classifier.weight" },
	{ "distilbert", "ForSequenceClassification", HEAD_CLASSIFY, 2,
	    SLOT_ANORM_W,
	    "distilbert.transformer.layer.2.sa_layer_norm.weight" },
	{ "distilbert", "ForMaskedLM", HEAD_MLM, -1, SLOT_HNORM_B,
	    "vocab_layer_norm.bias" },
	{ "albert", NULL, HEAD_NONE, 2, SLOT_UP_W,
	    "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight" },
	{ "albert", "ForSequenceClassification", HEAD_CLASSIFY, -1,
	    SLOT_PROJ_W, "albert.encoder.embedding_hidden_mapping_in.weight" },
	{ "albert", "ForSequenceClassification", HEAD_CLASSIFY, -1,
	    SLOT_POOL_W, "albert.pooler.weight" },
	{ "albert", "ForMaskedLM", HEAD_MLM, -1, SLOT_HOUT_B,
	    "predictions.bias" },
	{ "electra", NULL, HEAD_NONE, 0, SLOT_FNORM_B,
	    "electra.encoder.layer.0.output.LayerNorm.bias" },
	{ "electra", "ForSequenceClassification", HEAD_CLASSIFY, -1,
	    SLOT_HOUT_W, "classifier.out_proj.weight" },
	{ "electra", "ForSequenceClassification", HEAD_CLASSIFY, -1,
	    SLOT_PROJ_B, "electra.embeddings_project.bias" },
	{ "electra", "ForMaskedLM", HEAD_MLM, -1, SLOT_HDENSE_B,
	    "generator_predictions.dense.bias" },
};

static void
test_architectures(void **state)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct tiny_dir *t = tiny_dir_new(names[i].type,
		    names[i].suffix, "F32");
		char *dir = io_join(root, "m");
		struct notes notes = { 0 };
		struct model *m;

		tiny_dir_write(t, dir);
		m = open_ok(dir, &notes);
		assert_int_equal(m->nlayers, 3);
		assert_int_equal(m->hp.head, names[i].head);
		assert_int_equal(notes.n, 0);
		check_slot(m, (struct slot_ref){ names[i].layer,
		    names[i].slot }, t, names[i].name);
		model_unref(m);
		notes_free(&notes);
		free(dir);
		tiny_dir_free(t);
	}
}

static void
test_dtypes(void **state)
{
	static const char *const dtypes[] = { "F32", "F16", "BF16", "F64" };
	static const enum form_kind forms[] = { FORM_F32, FORM_F16, FORM_BF16,
		FORM_F32 };
	struct slot_ref r = { 1, SLOT_UP_W };

	for (int i = 0; i < 4; i++) {
		struct tiny_dir *t = tiny_dir_new("bert",
		    "ForSequenceClassification", dtypes[i]);
		char *dir = io_join(root, "m");
		struct notes notes = { 0 };
		struct model *m;
		double d;

		tiny_dir_write(t, dir);
		m = open_ok(dir, &notes);
		assert_int_equal(model_slot(m, r)->form, forms[i]);
		check_slot(m, r, t,
		    "bert.encoder.layer.1.intermediate.dense.weight");
		if (i == 3) {
			memcpy(&d, tiny_find(t, "classifier.bias")->data, 8);
			assert_true(tensor_f32(model_slot(m, (struct slot_ref){
			    -1, SLOT_HOUT_B }))[0] == (float)d);
		}
		assert_int_equal(noted(&notes, "were F64"), i == 3);
		model_unref(m);
		notes_free(&notes);
		free(dir);
		tiny_dir_free(t);
	}
}

/* ALBERT's layers are one set of tensors; a decoder is its embedding. */
static void
test_ties(void **state)
{
	char *dir = tiny_model_dir(root, "albert", "ForMaskedLM", "F32");
	struct model *m = open_ok(dir, NULL);

	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		assert_ptr_equal(m->layer[0].t[s], m->layer[2].t[s]);
	assert_ptr_equal(m->t[SLOT_WORD - SLOT_LAYER_COUNT],
	    m->t[SLOT_HOUT_W - SLOT_LAYER_COUNT]);
	model_unref(m);
	free(dir);
}

static void
test_other_paths(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", "ForSequenceClassification",
	    "F32");
	char *dir = io_join(root, "m"), *path;
	struct notes notes = { 0 };
	struct model *m;
	json_t *wrapped;
	char *text;

	tiny_dir_write(t, dir);
	path = io_join(dir, "model.safetensors");
	m = open_ok(path, NULL);
	assert_false(m->ghost);
	assert_string_equal(m->origin->name, "m");
	assert_string_equal(m->origin->dir, dir);
	assert_int_equal(m->origin->nlabels, 3);
	assert_string_equal(m->origin->label[2], "good");
	model_unref(m);
	free(path);
	path = io_join(dir, "config.json");
	m = open_ok(path, NULL);
	assert_true(m->ghost);
	model_unref(m);
	free(path);
	wrapped = json_pack("{s:s,s:O}", "name", "x", "config", t->config);
	text = json_dumps(wrapped, 0);
	tiny_put_text(dir, "sizes.json", text);
	path = io_join(dir, "sizes.json");
	m = open_ok(path, NULL);
	assert_true(m->ghost);
	assert_string_equal(m->origin->name, "sizes");
	model_unref(m);
	free(path);
	path = io_join(dir, "model.safetensors");
	unlink(path);
	free(path);
	m = open_ok(dir, &notes);
	assert_true(m->ghost);
	assert_true(noted(&notes, "holds no weights"));
	model_unref(m);
	notes_free(&notes);
	free(text);
	json_decref(wrapped);
	free(dir);
	tiny_dir_free(t);
}

static void
test_random(void **state)
{
	struct tiny_dir *t = tiny_dir_new("albert", "ForMaskedLM", "F32");
	struct open_options o = { .random = true, .seed = 3 };
	char *path = io_join(root, "config.json");
	struct slot_ref q = { 1, SLOT_Q_W }, n = { 0, SLOT_ANORM_W };
	struct model *m[3];
	struct pare_err err;
	double sum = 0;

	json_object_set_new(t->config, "vocab_size", json_integer(5000));
	tiny_write_config(t, root);
	for (int i = 0; i < 3; i++) {
		o.seed = i < 2 ? 3 : 4;
		assert_int_equal(file_open_model(path, &o, &m[i], NULL, &err),
		    PARE_OK);
		assert_false(m[i]->ghost);
	}
	assert_true(model_hash(m[0]) == model_hash(m[1]));
	assert_true(model_hash(m[0]) != model_hash(m[2]));
	assert_ptr_equal(model_slot(m[0], q), m[0]->layer[2].t[SLOT_Q_W]);
	assert_ptr_equal(m[0]->t[SLOT_WORD - SLOT_LAYER_COUNT],
	    m[0]->t[SLOT_HOUT_W - SLOT_LAYER_COUNT]);
	assert_true(tensor_f32(model_slot(m[0], n))[5] == 1.0f);
	for (int i = 0; i < 40000; i++) {
		float v = tensor_f32(m[0]->t[0])[i];

		sum += (double)v * (double)v;
	}
	/* initializer_range 0.02: the deviation of 40,000 draws. */
	assert_true(sum / 40000 > 0.000385 && sum / 40000 < 0.000415);
	for (int i = 0; i < 3; i++)
		model_unref(m[i]);
	free(path);
	tiny_dir_free(t);
}

/* ---- spellings of names ---------------------------------------------- */

static void
rename_all(struct tiny_dir *t, const char *from, const char *to)
{
	for (int i = 0; i < t->n; i++) {
		char *at = strstr(t->w[i].name, from), *name;

		if (at == NULL)
			continue;
		name = str_format("%.*s%s%s", (int)(at - t->w[i].name),
		    t->w[i].name, to, at + strlen(from));
		free(t->w[i].name);
		t->w[i].name = name;
	}
}

static void
test_spellings(void **state)
{
	static const char *const edits[][2] = { { "bert.", "" },
		{ "LayerNorm.weight", "LayerNorm.gamma" },
		{ "LayerNorm.bias", "LayerNorm.beta" },
		{ "classifier.", "bert.classifier." } };
	char *dir = tiny_model_dir(root, "bert", "ForSequenceClassification",
	    "F32");
	struct model *m = open_ok(dir, NULL);
	uint64_t hash = model_hash(m);

	model_unref(m);
	for (int i = 0; i < 4; i++) {
		struct tiny_dir *t = tiny_dir_new("bert",
		    "ForSequenceClassification", "F32");
		struct notes notes = { 0 };

		rename_all(t, edits[i][0], edits[i][1]);
		tiny_dir_write(t, dir);
		m = open_ok(dir, &notes);
		assert_true(model_hash(m) == hash);
		assert_int_equal(notes.n, 0);
		model_unref(m);
		notes_free(&notes);
		tiny_dir_free(t);
	}
	free(dir);
}

static void
test_unused(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", "ForMaskedLM", "F32");
	char *dir = io_join(root, "m");
	struct notes notes = { 0 };

	tiny_add(t, "bert.embeddings.position_ids", "I64", 2, 1, 16);
	tiny_dir_write(t, dir);
	model_unref(open_ok(dir, &notes));
	assert_int_equal(notes.n, 0);
	for (int i = 0; i < 6; i++) {
		char name[32];

		snprintf(name, sizeof(name), "extra.%d", i);
		tiny_add(t, name, "I64", 1, 1, 0);
	}
	tiny_dir_write(t, dir);
	model_unref(open_ok(dir, &notes));
	assert_true(noted(&notes, "6 tensors"));
	assert_true(noted(&notes, "extra.0, extra.1"));
	notes_free(&notes);
	free(dir);
	tiny_dir_free(t);
}

static void
test_stored_decoder(void **state)
{
	static const char decoder[] = "cls.predictions.decoder.weight";
	char *dir = io_join(root, "m");

	/* 0: equal, 1: different, 2: different and said so */
	for (int i = 0; i < 3; i++) {
		struct tiny_dir *t = tiny_dir_new("bert", "ForMaskedLM",
		    "F32");
		struct tiny_weight *w = tiny_add(t, decoder, "F32", 2, 30, 12);
		struct tiny_weight *word = tiny_find(t,
		    "bert.embeddings.word_embeddings.weight");
		struct notes notes = { 0 };
		struct model *m;

		if (i == 0)
			memcpy(w->data, word->data, (size_t)w->bytes);
		if (i == 2)
			json_object_set_new(t->config, "tie_word_embeddings",
			    json_false());
		tiny_dir_write(t, dir);
		m = open_ok(dir, &notes);
		if (i > 0)
			check_slot(m, (struct slot_ref){ -1, SLOT_HOUT_W }, t,
			    decoder);
		assert_int_equal(m->t[0] == m->t[SLOT_HOUT_W -
		    SLOT_LAYER_COUNT], i == 0);
		assert_int_equal(noted(&notes, decoder), i == 1);
		model_unref(m);
		notes_free(&notes);
		tiny_dir_free(t);
	}
	free(dir);
}

static void
test_two_biases(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", "ForMaskedLM", "F32");
	char *dir = io_join(root, "m");
	struct notes notes = { 0 };
	struct model *m;

	tiny_add(t, "cls.predictions.decoder.bias", "F32", 1, 1, 30);
	tiny_dir_write(t, dir);
	m = open_ok(dir, &notes);
	assert_true(noted(&notes, "cls.predictions.decoder.bias"));
	check_slot(m, (struct slot_ref){ -1, SLOT_HOUT_B }, t,
	    "cls.predictions.bias");
	model_unref(m);
	tiny_drop(t, "cls.predictions.bias");
	tiny_dir_write(t, dir);
	m = open_ok(dir, NULL);
	check_slot(m, (struct slot_ref){ -1, SLOT_HOUT_B }, t,
	    "cls.predictions.decoder.bias");
	model_unref(m);
	notes_free(&notes);
	free(dir);
	tiny_dir_free(t);
}

static void
test_body_without_pooler(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", NULL, "F32");
	char *dir = io_join(root, "m");
	struct model *m;

	json_object_del(t->config, "architectures");
	tiny_drop(t, "bert.pooler.dense.weight");
	tiny_drop(t, "bert.pooler.dense.bias");
	tiny_dir_write(t, dir);
	m = open_ok(dir, NULL);
	assert_int_equal(m->hp.head, HEAD_NONE);
	assert_null(m->t[SLOT_POOL_W - SLOT_LAYER_COUNT]);
	model_unref(m);
	free(dir);
	tiny_dir_free(t);
}

/* ---- part A: files and paths ----------------------------------------- */

static void
test_paths(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", "ForSequenceClassification",
	    "F32");
	char *dir = io_join(root, "m"), *empty = io_join(root, "empty");
	char *weights = io_join(dir, "model.safetensors");
	char *aside = io_join(root, "weights"), *path;

	path = io_join(root, "nothing");
	open_bad(path, PARE_EIO, "nothing", "No such file");
	free(path);
	assert_int_equal(mkdir(empty, 0700), 0);
	open_bad(empty, PARE_EIO, "empty", "has no config.json");
	tiny_put_text(empty, "x.gguf", "GGUF");
	open_bad(empty, PARE_EIO, "has no config.json", "x.gguf");
	tiny_dir_write(t, dir);
	/* a link is fine, a dangling one is told */
	assert_int_equal(rename(weights, aside), 0);
	assert_int_equal(symlink(aside, weights), 0);
	model_unref(open_ok(dir, NULL));
	assert_int_equal(unlink(aside), 0);
	open_bad(dir, PARE_EIO, "model.safetensors", "No such file");
	unlink(weights);
	assert_int_equal(mkfifo(weights, 0600), 0);
	open_bad(dir, PARE_EIO, "model.safetensors", "FIFO");
	unlink(weights);
	tiny_put(dir, "model.safetensors", "", 0);
	open_bad(dir, PARE_EFORMAT, "model.safetensors", "0 bytes");
	tiny_put_text(dir, "model.safetensors",
	    "version https://git-lfs.github.com/spec/v1\n");
	open_bad(dir, PARE_EFORMAT, "model.safetensors", "Git LFS");
	unlink(weights);
	tiny_put_text(dir, "pytorch_model.bin", "PK\003\004");
	open_bad(dir, PARE_EFORMAT, "pytorch_model.bin", "pickle");
	path = io_join(dir, "pytorch_model.bin");
	open_bad(path, PARE_EFORMAT, "pytorch_model.bin", "pickle");
	free(path);
	tiny_write_weights(t, dir, "other.safetensors", 0, 1);
	open_bad(dir, PARE_EIO, "no model.safetensors", "other.safetensors");
	path = io_join(dir, "other.safetensors");
	model_unref(open_ok(path, NULL));
	free(path);
	tiny_write_weights(t, empty, "model.safetensors", 0, 1);
	path = io_join(empty, "model.safetensors");
	open_bad(path, PARE_EIO, "model.safetensors", "no config.json");
	free(path);
	tiny_put_text(empty, "x.txt", "hello");
	path = io_join(empty, "x.txt");
	open_bad(path, PARE_EFORMAT, "x.txt", "no model");
	free(path);
	open_bad("/dev/null", PARE_EIO, "/dev/null", "not a regular file");
	free(aside);
	free(weights);
	free(empty);
	free(dir);
	tiny_dir_free(t);
}

/* Who may read everything cannot see this one. */
static void
test_no_permission(void **state)
{
	char *dir = tiny_model_dir(root, "bert", NULL, "F32");
	char *path = io_join(dir, "config.json");

	if (geteuid() == 0) {
		free(path);
		free(dir);
		skip();
	}
	chmod(path, 0);
	open_bad(dir, PARE_EIO, "config.json", "Permission denied");
	free(path);
	free(dir);
}

/* Two shards and an index; change is put into the index before it is
 * written. */
static char *
make_shards(struct tiny_dir *t, json_t *index)
{
	char *dir = io_join(root, "s");
	json_t *map = json_object_get(index, "weight_map");
	char *text;

	tiny_remove(dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	tiny_write_config(t, dir);
	tiny_write_weights(t, dir, "a.safetensors", 0, 2);
	tiny_write_weights(t, dir, "b.safetensors", 1, 2);
	for (int i = 0; i < t->n; i++)
		if (json_object_get(map, t->w[i].name) == NULL)
			json_object_set_new(map, t->w[i].name,
			    json_string(i % 2 == 0 ? "a.safetensors" :
			    "b.safetensors"));
	text = json_dumps(index, 0);
	tiny_put_text(dir, "model.safetensors.index.json", text);
	free(text);
	return dir;
}

#define WORD "bert.embeddings.word_embeddings.weight"

static const struct {
	const char *shard;	/* what the index says of WORD */
	enum pare_rc rc;
	const char *a, *b;
} shards[] = {
	{ "\"a.safetensors\"", PARE_OK, NULL, NULL },
	{ "\"../../etc/passwd\"", PARE_EFORMAT, "not a plain file name", WORD },
	{ "\"/etc/passwd\"", PARE_EFORMAT, "not a plain file name", WORD },
	{ "\"..\"", PARE_EFORMAT, "not a plain file name", WORD },
	{ "\".\"", PARE_EFORMAT, "not a plain file name", WORD },
	{ "\"\"", PARE_EFORMAT, "not a plain file name", WORD },
	{ "\"a\\nb\"", PARE_EFORMAT, "not a plain file name", WORD },
	{ "\"a\\u0000b\"", PARE_EFORMAT, "index.json", "not valid JSON" },
	{ "\"a\\\\b\"", PARE_EFORMAT, "not a plain file name", WORD },
	{ "\"model.safetensors.index.json\"", PARE_EFORMAT,
	    "not a plain file name", WORD },
	{ "7", PARE_EFORMAT, "is not a string", WORD },
	{ "\"c.safetensors\"", PARE_EIO, "1 of 3 shards missing",
	    "c.safetensors (3 of 3)" },
	{ "\"b.safetensors\"", PARE_EFORMAT, "b.safetensors", WORD },
};

static void
test_shards(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", "ForSequenceClassification",
	    "F32");

	for (size_t i = 0; i < sizeof(shards) / sizeof(*shards); i++) {
		json_t *v = json_loads(shards[i].shard,
		    JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		json_t *index = json_object(), *map = json_object();
		struct notes notes = { 0 };
		char *dir;

		json_object_set_new(index, "weight_map", map);
		json_object_set_new(map, WORD, v);
		dir = make_shards(t, index);
		if (shards[i].rc == PARE_OK)
			model_unref(open_ok(dir, &notes));
		else
			open_bad(dir, shards[i].rc, shards[i].a, shards[i].b);
		assert_int_equal(notes.n, 0);
		free(dir);
		json_decref(index);
	}
	tiny_dir_free(t);
}

static void
test_shard_sets(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", "ForSequenceClassification",
	    "F32");
	json_t *index = json_pack("{s:{s:i},s:{}}", "metadata", "total_size",
	    77, "weight_map");
	char *dir = make_shards(t, index), *path;
	struct notes notes = { 0 };
	struct model *m = open_ok(dir, &notes);

	check_slot(m, (struct slot_ref){ -1, SLOT_WORD }, t, WORD);
	assert_true(noted(&notes, "total_size 77"));
	model_unref(m);
	notes_free(&notes);
	/* the index itself may be named */
	path = io_join(dir, "model.safetensors.index.json");
	model_unref(open_ok(path, NULL));
	free(path);
	/* a tensor the index does not know */
	tiny_add(t, "extra", "F32", 1, 1, 4);
	tiny_write_weights(t, dir, t->n % 2 == 1 ? "a.safetensors" :
	    "b.safetensors", (t->n - 1) % 2, 2);
	model_unref(open_ok(dir, &notes));
	assert_true(noted(&notes, "1 tensor is not in"));
	notes_free(&notes);
	/* a tensor in two shards */
	tiny_write_weights(t, dir, "a.safetensors", 0, 1);
	open_bad(dir, PARE_EFORMAT, "is in two files", "b.safetensors");
	/* the single file comes first */
	tiny_drop(t, "extra");
	tiny_write_weights(t, dir, "model.safetensors", 0, 1);
	model_unref(open_ok(dir, &notes));
	assert_true(noted(&notes, "has both"));
	notes_free(&notes);
	path = io_join(dir, "model.safetensors");
	unlink(path);
	free(path);
	tiny_put_text(dir, "model.safetensors.index.json", "{}");
	open_bad(dir, PARE_EFORMAT, "index.json", "weight_map");
	tiny_put_text(dir, "model.safetensors.index.json", "[");
	open_bad(dir, PARE_EFORMAT, "index.json", "not valid JSON");
	free(dir);
	json_decref(index);
	tiny_dir_free(t);
}

/* ---- part D: config.json --------------------------------------------- */

static const struct {
	const char *key, *value;	/* value NULL: removed */
	const char *a, *b;		/* NULL: opens */
} configs[] = {
	{ "hidden_size", "0", "hidden_size", "config.json" },
	{ "hidden_size", "-768", "hidden_size", "-768" },
	{ "hidden_size", "1000000000000000000", "hidden_size", "1e+18" },
	{ "hidden_size", "12.5", "hidden_size", "12.5" },
	{ "hidden_size", "\"12\"", "hidden_size", "a string" },
	{ "hidden_size", "null", "hidden_size", "null" },
	{ "hidden_size", NULL, "hidden_size", "missing" },
	{ "hidden_size", "12.0", NULL, NULL },
	{ "num_attention_heads", "0", "num_attention_heads", "0" },
	{ "num_attention_heads", "5", "num_attention_heads", "12" },
	{ "num_hidden_layers", "1000000000", "num_hidden_layers",
	    "1000000000" },
	{ "num_hidden_layers", "4000", "num_hidden_layers is 4000",
	    "3 layers" },
	{ "num_hidden_layers", "4", "num_hidden_layers is 4", "3 layers" },
	{ "intermediate_size", "21", "intermediate.dense", "[21, 12]" },
	{ "vocab_size", "31", "vocab_size is 31", "30 rows" },
	{ "max_position_embeddings", "512", "max_position_embeddings is 512",
	    "16 rows" },
	{ "type_vocab_size", "1", "type_vocab_size is 1", "2 rows" },
	{ "layer_norm_eps", "-1", "layer_norm_eps", "-1" },
	{ "layer_norm_eps", "1e30", "layer_norm_eps", "1e+30" },
	{ "layer_norm_eps", "\"1e-12\"", "layer_norm_eps", "a string" },
	{ "layer_norm_eps", "0", NULL, NULL },
	{ "model_type", "\"no_such\"", "model_type", "no_such" },
	{ "model_type", "7", "model_type", "an integer" },
	{ "model_type", NULL, "model_type", "missing" },
	{ "model_type", "\"distilbert\"", "dim is missing", "config.json" },
	{ "architectures", "[\"ElectraModel\"]", "architectures",
	    "ElectraModel" },
	{ "architectures", "[\"BertForMaskedLM\"]",
	    "base model without masked-LM head",
	    "cls.predictions.transform.dense.weight" },
	{ "hidden_act", "\"swiglu_oai\"", "hidden_act", "swiglu_oai" },
	{ "hidden_act", "[\"gelu\"]", "hidden_act", "an array" },
	{ "id2label", "{\"0\":\"a\",\"2\":\"b\",\"3\":\"c\"}", "id2label",
	    "1" },
	{ "id2label", "{\"0\":\"a\",\"1\":\"b\"}", "classifier.weight",
	    "3 rows" },
	{ "id2label", "{\"0\":\"a\",\"1\":\"a\",\"2\":\"c\"}", NULL,
	    "same name" },
	{ "num_labels", "7", NULL, "num_labels 7" },
	{ "id2label", NULL, NULL, "names no labels" },
	{ "pruned_heads", "{\"99\":[0]}", "pruned_heads", "99" },
	{ "pruned_heads", "{\"0\":[-1]}", "pruned_heads", "-1" },
	{ "pruned_heads", "{\"0\":[3]}", "pruned_heads", "3" },
	{ "pruned_heads", "{\"0\":[0,1,2]}", "pruned_heads", "every head" },
	{ "pruned_heads", "{\"0\":[1,1]}", "pruned_heads", "twice" },
	{ "pruned_heads", "{\"0\":[1]}", "layer.0.attention.self.query",
	    "[8, 12]" },
	{ "pruned_heads", "[0]", "pruned_heads", "not an object" },
	{ "pruned_heads", "{}", NULL, NULL },
	{ "quantization_config", "{\"quant_method\":\"gptq\",\"bits\":4}",
	    "quantization_config", "gptq" },
	{ "quantization_config", "{\"quant_method\":\"pare\"}", "config.json",
	    "pare.json is not beside it" },
	{ "quantization_config", "3", "quantization_config", "unnamed" },
	{ "quantization_config", "null", NULL, NULL },
	{ "auto_map", "{\"AutoModel\":\"evil.py\"}", NULL, "auto_map" },
	{ "position_embedding_type", "\"relative_key\"",
	    "position_embedding_type", "relative_key" },
	{ "hidden_dropout_prob", "1.5", "hidden_dropout_prob", "1.5" },
	{ "problem_type", "\"multi_label_classification\"", "problem_type",
	    "multi_label" },
	{ "unknown_key", "[1,{\"a\":null}]", NULL, NULL },
};

static void
test_configs(void **state)
{
	char *dir = io_join(root, "m");

	for (size_t i = 0; i < sizeof(configs) / sizeof(*configs); i++) {
		struct tiny_dir *t = tiny_dir_new("bert",
		    "ForSequenceClassification", "F32");
		struct notes notes = { 0 };

		if (configs[i].value == NULL)
			json_object_del(t->config, configs[i].key);
		else
			json_object_set_new(t->config, configs[i].key,
			    json_loads(configs[i].value, JSON_DECODE_ANY,
			    NULL));
		tiny_dir_write(t, dir);
		if (configs[i].a != NULL) {
			open_bad(dir, PARE_EFORMAT, configs[i].a,
			    configs[i].b);
		} else {
			model_unref(open_ok(dir, &notes));
			if (configs[i].b != NULL &&
			    !noted(&notes, configs[i].b))
				fail_msg("%s: no note of '%s'",
				    configs[i].key, configs[i].b);
			if (configs[i].b == NULL)
				assert_int_equal(notes.n, 0);
		}
		notes_free(&notes);
		tiny_dir_free(t);
	}
	free(dir);
}

#define SMALL "\"model_type\":\"bert\",\"hidden_size\":8," \
	"\"num_hidden_layers\":1,\"num_attention_heads\":2," \
	"\"intermediate_size\":8,\"vocab_size\":9"

static const struct {
	const char *text, *a, *b;	/* a NULL: opens, with note b */
} texts[] = {
	{ "{" SMALL "}", NULL, NULL },
	{ "\xef\xbb\xbf{" SMALL "}", NULL, NULL },
	{ "", "is empty", "config.json" },
	{ "{" SMALL ",}", "config.json", "not valid JSON" },
	{ "{\n// words\n" SMALL "}", "config.json: 2:", "not valid JSON" },
	{ "{" SMALL, "config.json", "not valid JSON" },
	{ "[1]", "expected a JSON object", "config.json" },
	{ "{" SMALL ",\"x\":NaN,\"y\":[-Infinity,Infinity],"
	    "\"z\":\"NaN \\\" NaN\"}", NULL, "NaN" },
	{ "{" SMALL ",\"layer_norm_eps\":NaN}", "layer_norm_eps", "a string" },
	{ "{" SMALL ",\"hidden_size\":16}", NULL, "a key twice" },
	{ "{\"config\":{" SMALL "},\"name\":\"x\"}", NULL, NULL },
	{ "{\"config\":{}}", "model_type", "missing" },
	{ "{\"a\":\"\xff\"}", "config.json", "not valid JSON" },
};

static void
test_config_texts(void **state)
{
	char *path = io_join(root, "config.json");
	struct str deep = STR_INIT;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct notes notes = { 0 };

		tiny_put_text(root, "config.json", texts[i].text);
		if (texts[i].a != NULL) {
			open_bad(path, PARE_EFORMAT, texts[i].a, texts[i].b);
			continue;
		}
		model_unref(open_ok(path, &notes));
		assert_int_equal(notes.n, texts[i].b != NULL);
		assert_true(texts[i].b == NULL || noted(&notes, texts[i].b));
		notes_free(&notes);
	}
	for (int i = 0; i < 100000; i++)
		str_addc(&deep, '[');
	tiny_put(root, "config.json", deep.s, deep.n);
	open_bad(path, PARE_EFORMAT, "config.json", "depth");
	str_free(&deep);
	free(path);
}

static void
test_untied_without_decoder(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", "ForMaskedLM", "F32");
	char *dir = io_join(root, "m");

	json_object_set_new(t->config, "tie_word_embeddings", json_false());
	tiny_dir_write(t, dir);
	open_bad(dir, PARE_EFORMAT, "cls.predictions.decoder.weight",
	    "masked-LM head");
	free(dir);
	tiny_dir_free(t);
}

/* ---- part E: weights against the model ------------------------------- */

static void
drop_bias(struct tiny_dir *t)
{
	tiny_drop(t, "bert.encoder.layer.1.output.dense.bias");
}

static void
drop_many(struct tiny_dir *t)
{
	for (int l = 0; l < 3; l++)
		for (int b = 0; b < 2; b++) {
			char name[128];

			snprintf(name, sizeof(name), "bert.encoder.layer.%d."
			    "attention.output.LayerNorm.%s", l,
			    b != 0 ? "bias" : "weight");
			tiny_drop(t, name);
		}
}

static void
drop_head(struct tiny_dir *t)
{
	tiny_drop(t, "classifier.weight");
	tiny_drop(t, "classifier.bias");
}

static void
drop_pooler(struct tiny_dir *t)
{
	tiny_drop(t, "bert.pooler.dense.weight");
	tiny_drop(t, "bert.pooler.dense.bias");
}

static void
foreign_names(struct tiny_dir *t)
{
	for (int i = 0; i < t->n; i++) {
		free(t->w[i].name);
		t->w[i].name = str_format("model.block.%d", i);
	}
}

static void
double_prefix(struct tiny_dir *t)
{
	rename_all(t, "bert.", "bert.bert.");
}

static void
make_integer(struct tiny_dir *t)
{
	tiny_drop(t, "classifier.weight");
	tiny_add(t, "classifier.weight", "I64", 2, 3, 12);
}

static void
make_bool(struct tiny_dir *t)
{
	tiny_drop(t, "classifier.weight");
	tiny_add(t, "classifier.weight", "BOOL", 2, 3, 12);
}

static void
make_empty(struct tiny_dir *t)
{
	tiny_drop(t, "classifier.weight");
	tiny_add(t, "classifier.weight", "F32", 2, 0, 12);
}

static void
make_rank3(struct tiny_dir *t)
{
	struct tiny_weight *w = tiny_find(t, "classifier.weight");

	w->ndim = 3;
	w->dim[2] = 1;
}

static void
make_transposed(struct tiny_dir *t)
{
	struct tiny_weight *w = tiny_find(t,
	    "bert.encoder.layer.0.intermediate.dense.weight");

	w->dim[0] = 12;
	w->dim[1] = 20;
}

static void
make_short_bias(struct tiny_dir *t)
{
	tiny_drop(t, "bert.pooler.dense.bias");
	tiny_add(t, "bert.pooler.dense.bias", "F32", 1, 1, 11);
}

static const struct {
	void (*change)(struct tiny_dir *);
	const char *a, *b;
} weights[] = {
	{ drop_bias, "1 tensor missing",
	    "bert.encoder.layer.1.output.dense.bias" },
	{ drop_many, "6 tensors missing",
	    "bert.encoder.layer.0.attention.output.LayerNorm.weight" },
	{ drop_head, "base model without classifier", "classifier.weight" },
	{ drop_pooler, "2 tensors missing", "bert.pooler.dense.weight" },
	{ foreign_names, "none of the tensors of a BERT model",
	    "model.block.0" },
	{ double_prefix, "prefix 'bert.' twice", "bert.bert." },
	{ make_integer, "'classifier.weight' has dtype I64",
	    "expected a float" },
	{ make_bool, "'classifier.weight' has dtype BOOL",
	    "expected a float" },
	{ make_empty, "classifier.weight", "has 0 rows" },
	{ make_rank3, "classifier.weight", "[3, 12, 1]" },
	{ make_transposed, "[12, 20]", "[20, 12]" },
	{ make_short_bias, "bert.pooler.dense.bias", "[12]" },
};

static void
test_weights(void **state)
{
	char *dir = io_join(root, "m");

	for (size_t i = 0; i < sizeof(weights) / sizeof(*weights); i++) {
		struct tiny_dir *t = tiny_dir_new("bert",
		    "ForSequenceClassification", "F32");

		weights[i].change(t);
		tiny_dir_write(t, dir);
		open_bad(dir, PARE_EFORMAT, weights[i].a, weights[i].b);
		open_bad(dir, PARE_EFORMAT, "m/model.safetensors", NULL);
		tiny_dir_free(t);
	}
	free(dir);
}

/* Heads that the config says are pruned have the small shapes in the file. */
static void
test_pruned_heads(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", NULL, "F32");
	static const char *const parts[] = { "query", "key", "value" };
	char *dir = io_join(root, "m"), name[128];
	struct model *m;

	for (int i = 0; i < 3; i++)
		for (int b = 0; b < 2; b++) {
			snprintf(name, sizeof(name), "bert.encoder.layer.1."
			    "attention.self.%s.%s", parts[i],
			    b == 0 ? "weight" : "bias");
			tiny_drop(t, name);
			tiny_add(t, name, "F32", b == 0 ? 2 : 1, 8,
			    b == 0 ? 12 : 8);
		}
	tiny_drop(t, "bert.encoder.layer.1.attention.output.dense.weight");
	tiny_add(t, "bert.encoder.layer.1.attention.output.dense.weight",
	    "F32", 2, 12, 8);
	json_object_set_new(t->config, "pruned_heads",
	    json_pack("{s:[i]}", "1", 1));
	tiny_dir_write(t, dir);
	m = open_ok(dir, NULL);
	assert_int_equal(m->layer[0].heads, 3);
	assert_int_equal(m->layer[1].heads, 2);
	assert_int_equal(m->layer[1].heads_original, 3);
	assert_false(head_set_has(&m->layer[1].head, 1));
	model_unref(m);
	free(dir);
	tiny_dir_free(t);
}

/* ---- laziness, and the real thing ------------------------------------ */

/* Resident kilobytes of this process. */
static long
resident(void)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		(void)sscanf(line, "VmRSS: %ld", &kb);
	if (f != NULL)
		fclose(f);
	return kb;
}

/* A file of 400 MB that is mostly a hole opens without touching the hole, and
 * does not stay in memory when all of it was read. */
static void
test_lazy(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", NULL, "F32");
	char *dir = io_join(root, "m"), *path;
	struct tiny_weight *w;
	const int64_t vocab = 8 << 20;
	long before, after;
	struct model *m;
	struct str header = STR_INIT;
	struct totals totals;
	int64_t at = 0;
	FILE *f;

	json_object_set_new(t->config, "vocab_size", json_integer(vocab));
	tiny_dir_write(t, dir);
	w = tiny_find(t, WORD);
	w->dim[0] = vocab;
	w->bytes = vocab * 48;
	str_add(&header, "{");
	for (int i = 0; i < t->n; i++) {
		w = &t->w[i];
		str_addf(&header, "%s\"%s\":{\"dtype\":\"F32\","
		    "\"shape\":[%ld%s",
		    i == 0 ? "" : ",", w->name, (long)w->dim[0],
		    w->ndim == 1 ? "]" : "");
		if (w->ndim == 2)
			str_addf(&header, ",%ld]", (long)w->dim[1]);
		str_addf(&header, ",\"data_offsets\":[%ld,%ld]}", (long)at,
		    (long)(at + w->bytes));
		at += w->bytes;
	}
	str_add(&header, "}");
	while (header.n % 8 != 0)
		str_addc(&header, ' ');
	path = io_join(dir, "model.safetensors");
	f = fopen(path, "wb");
	assert_non_null(f);
	for (int i = 0; i < 8; i++)
		fputc((int)(header.n >> (8 * i)) & 255, f);
	fwrite(header.s, 1, header.n, f);
	fclose(f);
	assert_int_equal(truncate(path, 8 + (off_t)header.n + at), 0);
	before = resident();
	m = open_ok(dir, NULL);
	after = resident();
	assert_true(tensor_bytes(m->t[0]) == vocab * 48);
	assert_true(before < 0 || after - before < 20 * 1024);
	assert_true(model_hash(m) != 0);
	after = resident();
	assert_true(before < 0 || after - before < 40 * 1024);
	account_totals(m, 128, true, &totals);
	after = resident();
	assert_true(before < 0 || after - before < 40 * 1024);
	assert_true(totals.nonzero < vocab);
	model_unref(m);
	str_free(&header);
	free(path);
	free(dir);
	tiny_dir_free(t);
}

static const struct {
	const char *name;
	int layers;
	enum head_kind head;
	enum form_kind form;
	int64_t params;
} real[] = {
	{ "sst2-bert", 6, HEAD_CLASSIFY, FORM_F32, 12750594 },
	{ "trec-bert", 4, HEAD_CLASSIFY, FORM_F16, 4783238 },
	{ "rxnmapper-albert", 12, HEAD_MLM, FORM_F32, 735567 },
};

/* PARE_SHARED is the folder of real models and references. */
static void
test_real(void **state)
{
	const char *shared = getenv("PARE_SHARED");
	int seen = 0;

	for (size_t i = 0; i < sizeof(real) / sizeof(*real); i++) {
		char *dir = str_format("%s/real/models/%s",
		    shared != NULL ? shared : "../shared", real[i].name);
		struct totals totals;
		struct model *m;

		if (io_is_dir(dir)) {
			seen++;
			m = open_ok(dir, NULL);
			account_totals(m, 128, false, &totals);
			assert_int_equal(m->nlayers, real[i].layers);
			assert_int_equal(m->hp.head, real[i].head);
			assert_int_equal(m->t[0]->form, real[i].form);
			assert_int_equal(totals.params, real[i].params);
			assert_true(m->t[0]->part[PART_DATA].blob->release !=
			    NULL);
			model_unref(m);
		}
		free(dir);
	}
	if (seen == 0)
		skip();
}

#define WITH_ROOT(f) cmocka_unit_test_setup_teardown(f, make_root, drop_root)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(test_architectures),
		WITH_ROOT(test_dtypes),
		WITH_ROOT(test_ties),
		WITH_ROOT(test_other_paths),
		WITH_ROOT(test_random),
		WITH_ROOT(test_spellings),
		WITH_ROOT(test_unused),
		WITH_ROOT(test_stored_decoder),
		WITH_ROOT(test_two_biases),
		WITH_ROOT(test_body_without_pooler),
		WITH_ROOT(test_paths),
		WITH_ROOT(test_no_permission),
		WITH_ROOT(test_shards),
		WITH_ROOT(test_shard_sets),
		WITH_ROOT(test_configs),
		WITH_ROOT(test_config_texts),
		WITH_ROOT(test_untied_without_decoder),
		WITH_ROOT(test_weights),
		WITH_ROOT(test_pruned_heads),
		WITH_ROOT(test_lazy),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
