/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Saving: whatever a model is made of comes back with the same hash; what fails
 * leaves the folder as it was; and a pare.json that was tampered with is
 * refused in words that name the place.
 */
#include "tiny_dir.h"

#include <signal.h>
#include <sys/resource.h>

#include "file/file.h"
#include "model/account.h"
#include "model/edit.h"
#include "tensor/transform.h"

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
open_ok(const char *path)
{
	struct model *m = NULL;
	struct pare_err err;

	if (file_open_model(path, NULL, &m, NULL, &err) != PARE_OK)
		fail_msg("%s: %s", path, err.msg);
	return m;
}

static struct model *
open_tiny(const char *type, const char *suffix, const char *dtype)
{
	char *dir = tiny_model_dir(root, type, suffix, dtype);
	struct model *m = open_ok(dir);

	free(dir);
	return m;
}

static bool
save_ok(const struct model *m, const char *dir, const char *recipe)
{
	struct pare_err err;
	struct totals totals;
	int64_t bytes = -1;
	bool plain = false;

	if (file_save_model(m, dir, recipe, false, &bytes, &plain, NULL,
	    &err) != PARE_OK)
		fail_msg("%s", err.msg);
	account_totals(m, 128, false, &totals);
	assert_int_equal(bytes, totals.bytes);
	return plain;
}

/* The names in dir, sorted, each followed by a blank; malloc'ed. */
static char *
list_dir(const char *dir)
{
	struct dirent **e;
	struct str b = STR_INIT;
	int n = scandir(dir, &e, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		if (e[i]->d_name[0] != '.' || strlen(e[i]->d_name) > 2)
			str_addf(&b, "%s ", e[i]->d_name);
		free(e[i]);
	}
	if (n >= 0)
		free(e);
	return str_detach(&b);
}

static json_t *
read_json(const char *dir, const char *name)
{
	char *path = io_join(dir, name);
	json_t *v = json_read(path, 1 << 20, JSON_UNIQUE, NULL);

	assert_non_null(v);
	free(path);
	return v;
}

/* Saves, reopens, compares; *again may take the reopened model. */
static bool
round_trip(const struct model *m, struct model **again)
{
	char *dir = io_join(root, "saved"), *twice = io_join(root, "twice");
	struct model *k, *k2;
	bool plain;

	tiny_remove(dir);
	tiny_remove(twice);
	plain = save_ok(m, dir, NULL);
	k = open_ok(dir);
	assert_true(model_hash(k) == model_hash(m));
	for (int l = 0; l < m->nlayers; l++) {
		assert_int_equal(k->layer[l].heads_original,
		    m->layer[l].heads_original);
		assert_int_equal(k->layer[l].ffn_original,
		    m->layer[l].ffn_original);
		assert_memory_equal(&k->layer[l].head, &m->layer[l].head,
		    sizeof(k->layer[l].head));
	}
	/* And once more, from what was saved. */
	assert_int_equal(save_ok(k, twice, NULL), plain);
	k2 = open_ok(twice);
	assert_true(model_hash(k2) == model_hash(m));
	model_unref(k2);
	/* A plain folder means the same without pare.json; others do not. */
	{
		char *path = io_join(dir, "pare.json");
		struct pare_err err = { 0 };

		unlink(path);
		free(path);
		if (plain) {
			k2 = open_ok(dir);
			assert_true(model_hash(k2) == model_hash(m));
			model_unref(k2);
		} else {
			assert_int_equal(file_open_model(dir, NULL, &k2, NULL,
			    &err), PARE_EFORMAT);
			assert_non_null(strstr(err.msg, "pare.json"));
		}
	}
	if (again != NULL)
		*again = k;
	else
		model_unref(k);
	free(dir);
	free(twice);
	return plain;
}

/* ---- forms ----------------------------------------------------------- */

static const struct form_case {
	const char *name;
	enum quant_scheme scheme;
	int bits;		/* 0: not quantized */
	int64_t group;
	bool sparse;		/* first, keeping every second weight or, */
	bool very;		/* when very, one of sixteen */
	enum form_kind cast;	/* F32: none */
} forms[] = {
	{ "float16", 0, 0, 0, false, false, FORM_F16 },
	{ "bfloat16", 0, 0, 0, false, false, FORM_BF16 },
	{ "int8", QUANT_SYMMETRIC, 8, 0, false, false, FORM_F32 },
	{ "int4 g4", QUANT_SYMMETRIC, 4, 4, false, false, FORM_F32 },
	{ "int3 affine", QUANT_AFFINE, 3, 4, false, false, FORM_F32 },
	{ "int1", QUANT_SYMMETRIC, 1, 4, false, false, FORM_F32 },
	{ "kmeans3", QUANT_KMEANS, 3, 0, false, false, FORM_F32 },
	{ "binary", QUANT_BINARY, 1, 4, false, false, FORM_F32 },
	{ "sparse", 0, 0, 0, true, false, FORM_F32 },
	{ "very sparse", 0, 0, 0, true, true, FORM_F32 },
	{ "sparse f16", 0, 0, 0, true, true, FORM_F16 },
	{ "sparse int5", QUANT_AFFINE, 5, 4, true, false, FORM_F32 },
	{ "very sparse int5", QUANT_SYMMETRIC, 5, 0, true, true, FORM_F32 },
	{ "sparse kmeans", QUANT_KMEANS, 2, 0, true, false, FORM_F32 },
};

static struct tensor *
sparsify(const struct tensor *t, bool very, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	int64_t n = t->rows * t->cols, kept = 0;
	uint8_t *mask = xcalloc((size_t)n, 1);
	struct tensor *out;

	for (int64_t i = 0; i < n; i++)
		if ((i * 7 + i / 5) % (very ? 16 : 2) == 0) {
			mask[i] = 1;
			kept++;
		}
	out = tensor_sparsify(t, mask, kept, ctx, err);
	free(mask);
	return out;
}

static struct tensor *
apply_form(const struct tensor *t, void *arg, const struct transform_ctx *ctx,
    struct pare_err *err)
{
	const struct form_case *c = arg;
	struct quant_spec spec = { c->scheme, c->bits, c->group,
		c->bits % 2 == 0 ? 8 : 0 };
	struct tensor *out = tensor_ref(t), *next;

	if (c->sparse) {
		next = sparsify(out, c->very, ctx, err);
		tensor_unref(out);
		out = next;
	}
	if (out != NULL && c->cast != FORM_F32) {
		next = tensor_cast(out, c->cast, ctx, err);
		tensor_unref(out);
		out = next;
	}
	if (out != NULL && c->bits > 0) {
		next = tensor_quantize(out, &spec, ctx, err);
		tensor_unref(out);
		out = next;
	}
	return out;
}

/* m with fn on every matrix. */
static struct model *
transform_all(const struct model *m, edit_transform *fn, void *arg)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);
	struct slot_ref r = SLOT_REF_START;
	struct model *out = NULL;
	struct pare_err err;

	while (model_next_slot(m, &r))
		if (slot_table[r.slot].matrix &&
		    edit_map(e, r, 1, fn, arg, &err) != PARE_OK)
			fail_msg("%s", err.msg);
	if (edit_commit(e, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return out;
}

static void
test_forms(void **state)
{
	static const char *const types[] = { "bert", "distilbert", "albert",
		"electra" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct model *m = open_tiny(types[i % 4], i % 3 == 0 ?
		    "ForMaskedLM" : "ForSequenceClassification", "F32");
		struct model *k = transform_all(m, apply_form,
		    (void *)&forms[i]), *again;
		struct slot_ref r = SLOT_REF_START;
		bool plain;

		assert_true(model_hash(k) != model_hash(m));
		plain = round_trip(k, &again);
		if (plain != (forms[i].bits == 0 && !forms[i].sparse))
			fail_msg("%s: plain %d", forms[i].name, plain);
		while (model_next_slot(k, &r)) {
			char a[96], b[96];

			tensor_describe(model_slot(k, r), a, sizeof(a));
			tensor_describe(model_slot(again, r), b, sizeof(b));
			assert_string_equal(a, b);
			assert_true(tensor_nonzero(model_slot(k, r)) ==
			    tensor_nonzero(model_slot(again, r)));
		}
		model_unref(again);
		model_unref(k);
		model_unref(m);
	}
}

/* A factorization made by hand: the first rows and columns, packed or not. */
static struct tensor *
make_lowrank(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor facts = { .form = FORM_LOWRANK, .values = FORM_LOWRANK,
		.ndim = 2, .rows = t->rows, .cols = t->cols, .nonzero = -1 };
	struct quant_spec spec = { QUANT_SYMMETRIC, 6, 0, 0 };
	struct part parts[PART_COUNT] = { 0 };
	struct tensor *kid[2], *packed;
	float *v[2];

	kid[0] = tensor_new_f32(2, t->rows, 2, &v[0], err);
	kid[1] = tensor_new_f32(2, 2, t->cols, &v[1], err);
	for (int64_t i = 0; i < 2 * t->rows; i++)
		v[0][i] = (float)(i % 7) - 3.0f;
	for (int64_t i = 0; i < 2 * t->cols; i++)
		v[1][i] = (float)(i % 5) - 2.0f;
	if (arg != NULL) {
		packed = tensor_quantize(kid[1], &spec, ctx, err);
		assert_non_null(packed);
		tensor_unref(kid[1]);
		kid[1] = packed;
	}
	return tensor_new(&facts, parts, kid, err);
}

static void
test_lowrank(void **state)
{
	struct model *m = open_tiny("bert", NULL, "F32"), *k, *again;
	struct slot_ref r = { 1, SLOT_UP_W };
	int packed = 1;

	for (int i = 0; i < 2; i++) {
		k = transform_all(m, make_lowrank, i == 0 ? NULL : &packed);
		assert_false(round_trip(k, &again));
		assert_int_equal(model_slot(again, r)->kid[1]->form, i == 0 ?
		    FORM_F32 : FORM_INT);
		model_unref(again);
		model_unref(k);
	}
	model_unref(m);
}

/* ---- shapes ---------------------------------------------------------- */

static struct model *
commit(struct edit *e)
{
	struct model *out = NULL;
	struct pare_err err;

	if (edit_commit(e, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return out;
}

static void
test_dense(void **state)
{
	static const char *const types[] = { "bert", "distilbert", "albert",
		"electra" };
	static const char *const heads[] = { NULL, "ForSequenceClassification",
		"ForMaskedLM" };
	static const char *const dtypes[] = { "F32", "F16", "BF16" };

	for (int i = 0; i < 12; i++) {
		struct model *m = open_tiny(types[i % 4], heads[i % 3],
		    dtypes[i / 4]);

		assert_true(round_trip(m, NULL));
		model_unref(m);
	}
}

enum cut { CUT_HEADS, CUT_LAYER, CUT_NEURONS, CUT_ONE_FFN, CUT_ATTENTION,
	CUT_FFN, CUT_TIE, CUT_UNTIE, CUT_COUNT };

static void
make_cut(struct edit *e, enum cut cut)
{
	static const int64_t keep[] = { 0, 3, 4, 9, 19 };
	struct slot_ref r = { 2, SLOT_UP_W }, from = { 0, SLOT_UP_W };
	struct head_set drop = { { 0 } };
	struct tensor *t;
	float *v;
	enum pare_rc rc = PARE_OK;

	switch (cut) {
	case CUT_HEADS:
		head_set_put(&drop, 1, true);
		for (int l = 1; l < 3 && rc == PARE_OK; l++)
			rc = edit_drop_heads(e, l, &drop, NULL);
		break;
	case CUT_LAYER:
		rc = edit_drop_layer(e, 1, NULL);
		break;
	case CUT_NEURONS:
		for (int l = 0; l < 3 && rc == PARE_OK; l++)
			rc = edit_keep_neurons(e, l, keep, 5, NULL);
		break;
	case CUT_ONE_FFN:
		rc = edit_keep_neurons(e, 1, keep, 5, NULL);
		break;
	case CUT_ATTENTION:
		rc = edit_drop_attention(e, 0, NULL);
		break;
	case CUT_FFN:
		rc = edit_drop_ffn(e, 2, NULL);
		break;
	case CUT_TIE:
		edit_set(e, r, tensor_ref(edit_get(e, from)));
		break;
	default:
		t = tensor_new_f32(2, 20, 12, &v, NULL);
		for (int i = 0; i < 240; i++)
			v[i] = (float)i;
		edit_set(e, r, t);
		break;
	}
	assert_int_equal(rc, PARE_OK);
}

static void
test_structures(void **state)
{
	static const char *const types[] = { "bert", "distilbert", "albert" };
	static const bool plain[3][CUT_COUNT] = {
		{ true, true, true, false, false, false, false, true },
		{ true, true, true, false, false, false, false, true },
		{ false, true, true, false, false, false, true, false },
	};

	for (int a = 0; a < 3; a++)
		for (int c = 0; c < CUT_COUNT; c++) {
			struct model *m = open_tiny(types[a],
			    "ForSequenceClassification", "F32"), *k;
			struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);

			make_cut(e, (enum cut)c);
			k = commit(e);
			if (round_trip(k, NULL) != plain[a][c])
				fail_msg("%s, cut %d: plain %d", types[a], c,
				    !plain[a][c]);
			model_unref(k);
			model_unref(m);
		}
}

/* What a config says after heads, layers and neurons went. */
static void
test_config(void **state)
{
	struct model *m = open_tiny("bert", "ForSequenceClassification",
	    "F16"), *k;
	struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);
	char *dir = io_join(root, "saved"), *names;
	json_t *c, *gone;

	make_cut(e, CUT_HEADS);
	make_cut(e, CUT_NEURONS);
	make_cut(e, CUT_LAYER);
	k = commit(e);
	assert_true(save_ok(k, dir, "prune heads L1.h1\n"));
	names = list_dir(dir);
	assert_string_equal(names, "config.json model.safetensors pare.json "
	    "recipe.pare vocab.txt ");
	free(names);
	c = read_json(dir, "config.json");
	assert_int_equal(json_integer_value(json_object_get(c,
	    "num_hidden_layers")), 2);
	assert_int_equal(json_integer_value(json_object_get(c,
	    "intermediate_size")), 5);
	assert_int_equal(json_integer_value(json_object_get(c,
	    "num_attention_heads")), 3);
	gone = json_object_get(c, "pruned_heads");
	assert_int_equal(json_object_size(gone), 1);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(
	    gone, "1"), 0)), 1);
	assert_string_equal(json_string_value(json_object_get(c,
	    "torch_dtype")), "float16");
	assert_string_equal(json_string_value(json_object_get(json_object_get(
	    c, "id2label"), "2")), "good");
	assert_null(json_object_get(c, "quantization_config"));
	json_decref(c);
	model_unref(k);
	k = open_ok(dir);
	assert_string_equal(k->origin->label[1], "fair");
	model_unref(k);
	model_unref(m);
	free(dir);
}

/* An untied decoder has to be stored and the config has to say so. */
static void
test_untied(void **state)
{
	struct model *m = open_tiny("albert", "ForMaskedLM", "F32"), *k;
	struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);
	struct slot_ref out = { -1, SLOT_HOUT_W };
	float *v;
	struct tensor *t = tensor_new_f32(2, 30, 8, &v, NULL);

	for (int i = 0; i < 240; i++)
		v[i] = (float)i;
	edit_set(e, out, t);
	k = commit(e);
	assert_true(round_trip(k, NULL));
	model_unref(k);
	model_unref(m);
}

/* ---- what is refused ------------------------------------------------- */

static void
save_bad(const struct model *m, const char *dir, bool force, enum pare_rc rc,
    const char *words)
{
	struct pare_err err = { 0 };
	enum pare_rc got = file_save_model(m, dir, NULL, force, NULL, NULL,
	    NULL, &err);

	if (got != rc || strstr(err.msg, words) == NULL)
		fail_msg("rc %d, expected %d: '%s' lacks '%s'", got, rc,
		    err.msg, words);
}

static void
test_targets(void **state)
{
	struct model *m = open_tiny("bert", NULL, "F32"), *ghost;
	char *source = io_join(root, "bert"), *dir = io_join(root, "d");
	char *file = io_join(root, "file"), *config = io_join(source,
	    "config.json"), *names;
	uint64_t hash = model_hash(m);
	struct pare_err err;

	ghost = open_ok(config);
	save_bad(ghost, dir, true, PARE_EUSER, "no weights");
	model_unref(ghost);
	save_bad(m, source, false, PARE_EUSER, "own weights");
	tiny_put_text(root, "file", "x");
	save_bad(m, file, true, PARE_EWRITE, "not a folder");
	assert_int_equal(mkdir(dir, 0700), 0);
	tiny_put_text(dir, "letter.txt", "x");
	save_bad(m, dir, false, PARE_EUSER, "letter.txt");
	names = list_dir(dir);
	assert_string_equal(names, "letter.txt ");
	free(names);
	assert_int_equal(file_save_model(m, dir, NULL, true, NULL, NULL, NULL,
	    &err), PARE_OK);
	names = list_dir(dir);
	assert_string_equal(names, "config.json letter.txt model.safetensors "
	    "pare.json vocab.txt ");
	free(names);
	/* Over its own source: the mapped pages stay what they were. */
	assert_int_equal(file_save_model(m, source, NULL, true, NULL, NULL,
	    NULL, &err), PARE_OK);
	model_unref(m);
	m = open_ok(source);
	assert_true(model_hash(m) == hash);
	/* A folder that pare saved may be saved into again, another may not. */
	model_unref(m);
	m = open_tiny("electra", NULL, "F32");
	tiny_remove(dir);
	save_ok(m, dir, "one\n");
	save_ok(m, dir, NULL);
	names = list_dir(dir);
	assert_null(strstr(names, "recipe.pare"));
	free(names);
	free(tiny_model_dir(dir, "albert", NULL, "F32"));
	names = io_join(dir, "albert");
	save_bad(m, names, false, PARE_EUSER, "did not save");
	free(names);
	model_unref(m);
	free(config);
	free(file);
	free(dir);
	free(source);
}

static void
test_new_folders(void **state)
{
	struct model *m = open_tiny("bert", NULL, "F32");
	char *deep = io_join(root, "x/y/z/"), *top = io_join(root, "x");
	struct task task = { 0 };
	struct pare_err err;

	atomic_store(&task.cancel, true);
	assert_int_equal(file_save_model(m, deep, NULL, false, NULL, NULL,
	    &task, &err), PARE_ECANCELED);
	assert_false(io_is_dir(top));
	save_ok(m, deep, NULL);
	model_unref(open_ok(deep));
	model_unref(m);
	free(deep);
	free(top);
}

/* A disk that is full, played by a limit on the size of files. */
static void
test_disk_full(void **state)
{
	struct model *m = open_tiny("bert", NULL, "F32"), *other;
	char *dir = io_join(root, "d"), *before, *after;
	struct rlimit old, small;
	uint64_t hash;

	other = open_tiny("electra", NULL, "F32");
	save_ok(other, dir, "first\n");
	hash = model_hash(other);
	model_unref(other);
	before = list_dir(dir);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	/* In the middle of the weights; then in a small file behind them. */
	for (int i = 0; i < 2; i++) {
		small.rlim_cur = i == 0 ? 4000 : 100;
		setrlimit(RLIMIT_FSIZE, &small);
		save_bad(m, dir, false, PARE_EWRITE, "cannot write");
		setrlimit(RLIMIT_FSIZE, &old);
		after = list_dir(dir);
		assert_string_equal(before, after);
		free(after);
		other = open_ok(dir);
		assert_true(model_hash(other) == hash);
		model_unref(other);
	}
	free(before);
	free(dir);
	model_unref(m);
}

/* Something in the way of one file puts all the others back. */
static void
test_put_back(void **state)
{
	struct model *m = open_tiny("bert", NULL, "F32"), *other;
	char *dir = io_join(root, "d"), *way, *before, *after;
	uint64_t hash;

	other = open_tiny("electra", NULL, "F32");
	save_ok(other, dir, "first\n");
	hash = model_hash(other);
	model_unref(other);
	way = io_join(dir, "vocab.txt");
	unlink(way);
	assert_int_equal(mkdir(way, 0700), 0);
	before = list_dir(dir);
	save_bad(m, dir, false, PARE_EWRITE, "vocab.txt");
	after = list_dir(dir);
	assert_string_equal(before, after);
	other = open_ok(dir);
	assert_true(model_hash(other) == hash);
	model_unref(other);
	free(before);
	free(after);
	free(way);
	free(dir);
	model_unref(m);
}

/* Weights that went away while they were open are not saved as zeros. */
static void
test_truncated_source(void **state)
{
	struct tiny_dir *t = tiny_dir_new("bert", NULL, "F32");
	char *dir = io_join(root, "m"), *path, *out = io_join(root, "out");
	struct model *m;
	const char *damaged;

	json_object_set_new(t->config, "vocab_size", json_integer(3000));
	tiny_drop(t, "bert.embeddings.word_embeddings.weight");
	tiny_add(t, "bert.embeddings.word_embeddings.weight", "F32", 2, 3000,
	    12);
	tiny_dir_write(t, dir);
	m = open_ok(dir);
	path = io_join(dir, "model.safetensors");
	assert_int_equal(truncate(path, 9000), 0);
	save_bad(m, out, false, PARE_EIO, "became shorter");
	assert_false(io_is_dir(out));
	assert_true(file_damaged(&damaged));
	assert_string_equal(damaged, path);
	model_unref(m);
	free(path);
	free(dir);
	free(out);
	tiny_dir_free(t);
}

/* ---- pare.json that somebody changed --------------------------------- */

#define WORD "bert.embeddings.word_embeddings.weight"
#define Q0 "bert.encoder.layer.0.attention.self.query.weight"

static const struct {
	const char *path;	/* keys and positions, '/' between; names of
				 * tensors stand as they are */
	const char *value;	/* NULL: removed */
	const char *words;
} edits[] = {
	{ "version", "2", "version 2" },
	{ "index", "[]", "is no object of tensors" },
	{ "index", "{}", "unexpected bytes" },
	{ "index", NULL, "is not in" },
	{ "index/__metadata__", "{}", "is no object of tensors" },
	{ "index/" WORD, NULL, "unused" },
	{ "index/" WORD "/dtype", "\"F64\"", "its shape takes" },
	{ "index/" WORD "/shape", "[1,2]", "its shape takes" },
	{ "index/" WORD "/data_offsets", "[0,1]", "overlaps" },
	{ "index/" WORD "/data_offsets", "[0,999999999]", "tensor " },
	{ "version", "\"1\"", "version is a string" },
	{ "version", NULL, "version" },
	{ "architecture", "\"evil\"", "unknown architecture 'evil'" },
	{ "hparams", "[]", "hparams is missing" },
	{ "hparams/hidden", "13", "13" },
	{ "hparams/hidden", "-1", "hidden is -1" },
	{ "hparams/vocab", "1e300", "vocab" },
	{ "hparams/norm_eps", "\"x\"", "norm_eps is a string" },
	{ "hparams/act", "\"evil\"", "unknown activation" },
	{ "hparams/head", "\"evil\"", "unknown head" },
	{ "hparams/head", "\"classify\"", "labels" },
	{ "layers", "[]", "layers must be" },
	{ "layers", "{}", "layers must be" },
	{ "layers/0", "7", "layer 0 is not an object" },
	{ "layers/1/heads", "2", "layer 1: remaining" },
	{ "layers/1/heads", "1000000", "heads is 1" },
	{ "layers/1/kv_heads", "0", "L1" },
	{ "layers/1/head_dim", "5", "L1.attn.q" },
	{ "layers/1/ffn", "21", "L1.ffn.up" },
	{ "layers/1/ffn", "0", "no neurons" },
	{ "layers/1/remaining", "[0,1,3]", "layer 1: remaining" },
	{ "layers/1/remaining", "[0,1,1]", "layer 1: remaining" },
	{ "layers/1/remaining", "[0,1,-1]", "layer 1: remaining" },
	{ "layers/1/remaining", "\"all\"", "layer 1: remaining" },
	{ "slots", NULL, "slots is missing" },
	{ "slots/L0.attn.q.weight", NULL, "L0.attn.q.weight is missing" },
	{ "slots/L0.norm.attn.weight", NULL, "L0.norm.attn.weight is missing" },
	{ "slots/L0.attn.q.bias", NULL, "L0.attn.q.bias is missing" },
	{ "slots/emb.word.weight", NULL, "emb.word.weight is missing" },
	{ "slots/L9.attn.q.weight", "\"" WORD "\"", "name no part" },
	{ "slots/evil", "\"" WORD "\"", "name no part" },
	{ "slots/emb.word.weight", "7", "emb.word.weight is not a string" },
	{ "slots/emb.word.weight", "\"nothing\"", "'nothing': is not desc" },
	{ "slots/L0.attn.q.weight", "\"" WORD "\"", "L0.attn.q.weight" },
	{ "tensors", "7", "tensors is missing" },
	{ "tensors/" WORD, NULL, "is not described" },
	{ "tensors/" WORD, "7", "is not described by an object" },
	{ "tensors/" WORD "/form", "\"evil\"", "unknown form" },
	{ "tensors/" WORD "/form", "\"f16\"", "holds F32" },
	{ "tensors/" WORD "/form", "\"lowrank\"", ".pare.a'" },
	{ "tensors/" WORD "/shape", "[30]", "'" WORD "'" },
	{ "tensors/" WORD "/shape", "[30,13]", "'" WORD "'" },
	{ "tensors/" WORD "/shape", "[30,12,1]", "shape must be" },
	{ "tensors/" WORD "/shape", "[30,-12]", "out of range" },
	{ "tensors/" WORD "/shape", "[30,1e1]", "out of range" },
	{ "tensors/" Q0 "/bits", "9", "bits is 9" },
	{ "tensors/" Q0 "/bits", "3", Q0 },
	{ "tensors/" Q0 "/bits", NULL, Q0 },
	{ "tensors/" Q0 "/group", "5", Q0 },
	{ "tensors/" Q0 "/group", "-4", "group is -4" },
	{ "tensors/" Q0 "/activations", "9", "activations is 9" },
	{ "tensors/" Q0 "/activations", "4", "activations of 4 bits" },
	{ "tensors/" Q0 "/activations", "\"int8\"", "activations is a s" },
	{ "tensors/" Q0 "/scheme", "\"evil\"", "unknown scheme" },
	{ "tensors/" Q0 "/mult", "0", "mult is 0" },
	{ "tensors/" Q0 "/nonzero", "1000000", "nonzero is 1" },
	{ "tensors/" Q0 "/shape", "[12,16]", Q0 },
	{ "tensors/" Q0 "/form", "\"bitmap\"", Q0 },
	{ "tensors/" Q0 "/form", "\"table\"", Q0 },
};

/* The value at path without its last key; *last is that key. */
static json_t *
walk(json_t *v, char *path, const char **last)
{
	char *slash;

	/* Names of tensors hold no '/'. */
	while ((slash = strchr(path, '/')) != NULL) {
		*slash = '\0';
		v = json_is_array(v) ? json_array_get(v,
		    (size_t)atoi(path)) : json_object_get(v, path);
		path = slash + 1;
	}
	*last = path;
	assert_non_null(v);
	return v;
}

static void
change(json_t *v, const char *path, const char *value)
{
	char *copy = xstrdup(path);
	const char *last;
	json_t *in = walk(v, copy, &last);
	json_t *new = value == NULL ? NULL : json_loads(value,
	    JSON_DECODE_ANY, NULL);

	if (value == NULL)
		json_object_del(in, last);
	else if (json_is_array(in))
		json_array_set_new(in, (size_t)atoi(last), new);
	else
		json_object_set_new(in, last, new);
	free(copy);
}

static void
test_tampered(void **state)
{
	struct form_case c = { "int4", QUANT_SYMMETRIC, 4, 4, false, false,
		FORM_F32 };
	struct model *m = open_tiny("bert", NULL, "F32"), *k;
	struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);
	char *dir = io_join(root, "saved"), *text;
	struct pare_err err;
	json_t *good, *v;

	assert_int_equal(edit_map(e, (struct slot_ref){ 0, SLOT_Q_W }, 1,
	    apply_form, &c, &err), PARE_OK);
	k = commit(e);
	save_ok(k, dir, NULL);
	model_unref(k);
	good = read_json(dir, "pare.json");
	for (size_t i = 0; i < sizeof(edits) / sizeof(*edits); i++) {
		struct model *out = NULL;

		v = json_deep_copy(good);
		change(v, edits[i].path, edits[i].value);
		text = json_dumps(v, 0);
		tiny_put_text(dir, "pare.json", text);
		memset(&err, 0, sizeof(err));
		if (file_open_model(dir, NULL, &out, NULL, &err) !=
		    PARE_EFORMAT || strstr(err.msg, edits[i].words) == NULL)
			fail_msg("%s = %s: rc %d, '%s' lacks '%s'",
			    edits[i].path, edits[i].value != NULL ?
			    edits[i].value : "(removed)", err.rc, err.msg,
			    edits[i].words);
		assert_null(out);
		free(text);
		json_decref(v);
	}
	tiny_put_text(dir, "pare.json", "[]");
	assert_int_equal(file_open_model(dir, NULL, &k, NULL, &err),
	    PARE_EFORMAT);
	tiny_put_text(dir, "pare.json", "{\"version\":1,\"version\":1}");
	assert_int_equal(file_open_model(dir, NULL, &k, NULL, &err),
	    PARE_EFORMAT);
	json_decref(good);
	model_unref(m);
	free(dir);
}

/* What is on disk weighs what the table says, within one percent, however small
 * the tensors are against their names. */
static void
test_weight(void **state)
{
	static const char *const config = "{\"model_type\":\"bert\","
	    "\"hidden_size\":64,\"num_hidden_layers\":3,"
	    "\"num_attention_heads\":4,\"intermediate_size\":256,"
	    "\"vocab_size\":300,\"max_position_embeddings\":32}";
	struct form_case c = { "binary", QUANT_BINARY, 1, 0, false, false,
		FORM_F32 };
	struct open_options o = { .random = true, .seed = 1 };
	char *dir = io_join(root, "config"), *out = io_join(root, "saved");
	char *path, *weights;
	struct model *m = NULL, *k, *again;
	struct pare_err err;
	struct totals totals;
	struct stat st;

	mkdir(dir, 0777);
	tiny_put_text(dir, "config.json", config);
	path = io_join(dir, "config.json");
	if (file_open_model(path, &o, &m, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	k = transform_all(m, apply_form, &c);
	account_totals(k, 128, false, &totals);
	assert_false(save_ok(k, out, NULL));
	weights = io_join(out, "model.safetensors");
	assert_int_equal(stat(weights, &st), 0);
	assert_true(st.st_size >= totals.bytes);
	assert_true((double)st.st_size <= 1.01 * (double)totals.bytes);
	again = open_ok(out);
	assert_true(model_hash(again) == model_hash(k));
	model_unref(again);
	model_unref(k);
	model_unref(m);
	free(weights);
	free(path);
	free(out);
	free(dir);
}

/* pare.json is for people too: one line for each thing. */
static void
test_readable(void **state)
{
	struct model *m = open_tiny("bert", NULL, "F32");
	char *dir = io_join(root, "saved"), *path, *text;
	struct pare_err err;
	size_t n;

	save_ok(m, dir, NULL);
	path = io_join(dir, "pare.json");
	assert_int_equal(io_read(path, 1 << 20, &text, &n, &err), PARE_OK);
	assert_non_null(strstr(text, "\n  \"L0.attn.q.weight\": \"" Q0
	    "\",\n"));
	assert_non_null(strstr(text, "\n  \"" Q0 "\": {\"form\":\"f32\","
	    "\"shape\":[12,12]}"));
	free(text);
	free(path);
	free(dir);
	model_unref(m);
}

/* PARE_SHARED is the folder of real models and references. */
static void
test_real(void **state)
{
	static const char *const names[] = { "trec-bert", "rxnmapper-albert" };
	const char *shared = getenv("PARE_SHARED");
	struct form_case c = { "int4", QUANT_AFFINE, 4, 32, false, false,
		FORM_F32 };
	int seen = 0;

	for (int i = 0; i < 2; i++) {
		char *dir = str_format("%s/real/models/%s",
		    shared != NULL ? shared : "../shared", names[i]);
		struct model *m, *k;

		if (io_is_dir(dir)) {
			seen++;
			m = open_ok(dir);
			assert_true(round_trip(m, NULL));
			k = transform_all(m, apply_form, &c);
			assert_false(round_trip(k, NULL));
			model_unref(k);
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
		WITH_ROOT(test_forms),
		WITH_ROOT(test_lowrank),
		WITH_ROOT(test_dense),
		WITH_ROOT(test_structures),
		WITH_ROOT(test_config),
		WITH_ROOT(test_untied),
		WITH_ROOT(test_targets),
		WITH_ROOT(test_new_folders),
		WITH_ROOT(test_disk_full),
		WITH_ROOT(test_put_back),
		WITH_ROOT(test_truncated_source),
		WITH_ROOT(test_tampered),
		WITH_ROOT(test_weight),
		WITH_ROOT(test_readable),
		WITH_ROOT(test_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
