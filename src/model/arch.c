/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "model/arch.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/edit.h"

const struct arch *
arch_find(const char *model_type)
{
	for (const struct arch *a = arch_table; a->model_type != NULL; a++)
		if (strcmp(a->model_type, model_type) == 0)
			return a;
	return NULL;
}

const char *
arch_titles(void)
{
	static char text[512];
	size_t n = 0;

	for (const struct arch *a = arch_table; a->model_type != NULL; a++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
		    a != arch_table ? ", " : "", a->title);
	return text;
}

/* ---- config.json ----------------------------------------------------- */

struct reader {
	const json_t *config;
	const char *where;
	struct pare_err *err;
	enum pare_rc rc;	/* the first error stays */
};

/* An integer; key NULL gives dflt; dflt < 0 means it must be there. */
static int64_t
get_int(struct reader *r, const char *key, int64_t min, int64_t max,
    int64_t dflt)
{
	int64_t v = dflt;

	if (r->rc != PARE_OK || key == NULL)
		return dflt;
	r->rc = json_int(r->config, key, min, max, dflt, &v, r->where, r->err);
	if (r->rc == PARE_OK && v < 0 && min >= 0)
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: %s is %s", r->where,
		    key, json_object_get(r->config, key) == NULL ? "missing" :
		    "null; expected an integer");
	return v;
}

static double
get_real(struct reader *r, const char *key, double min, double max,
    double dflt)
{
	double v = dflt;

	if (r->rc == PARE_OK && key != NULL)
		r->rc = json_real_of(r->config, key, min, max, dflt, &v,
		    r->where, r->err);
	return v;
}

static const char *
get_text(struct reader *r, const char *key, const char *dflt)
{
	const char *v = dflt;

	if (r->rc == PARE_OK && key != NULL)
		r->rc = json_text(r->config, key, dflt, &v, r->where, r->err);
	return v;
}

static void
read_arch(struct reader *r, struct arch_layout *out)
{
	const char *type = get_text(r, "model_type", NULL);

	if (r->rc != PARE_OK)
		return;
	if (type == NULL) {
		r->rc = err_set(r->err, PARE_EFORMAT,
		    "%s: model_type is missing", r->where);
		err_hint(r->err, "pare opens %s", arch_titles());
		return;
	}
	out->arch = arch_find(type);
	if (out->arch == NULL) {
		r->rc = err_set(r->err, PARE_EFORMAT,
		    "%s: model_type '%s' is not supported", r->where, type);
		err_hint(r->err, "pare opens %s", arch_titles());
	}
}

/* What a silent config means: GPT-2 has four times its width. */
static int64_t
ffn_default(const struct arch_layout *out)
{
	return (out->arch->flags & ARCH_TRANSPOSED) != 0 ?
	    4 * out->hp.hidden : -1;
}

/* Hidden need not be heads times their size where the size is said. */
static void
read_head_dim(struct reader *r, struct arch_layout *out)
{
	const struct arch_keys *k = &out->arch->keys;
	int64_t d = 0;

	d = get_int(r, k->head_dim, 1, 1 << 16, out->arch->head_dim);
	if (r->rc != PARE_OK)
		return;
	if (d == 0 && out->hp.hidden % out->heads != 0)
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: %s %d does not "
		    "divide %s %lld", r->where, k->heads, out->heads,
		    k->hidden, (long long)out->hp.hidden);
	else if (out->heads % out->kv_heads != 0)
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: %s %d does not "
		    "divide %s %d", r->where, k->kv_heads, out->kv_heads,
		    k->heads, out->heads);
	else
		out->head_dim = d > 0 ? (int)d : (int)(out->hp.hidden /
		    out->heads);
	if (r->rc == PARE_OK && (out->arch->flags & ARCH_ROTARY) != 0 &&
	    out->head_dim % 2 != 0)
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: heads of %d values "
		    "cannot be rotated in pairs", r->where, out->head_dim);
}

static void
read_sizes(struct reader *r, struct arch_layout *out)
{
	const struct arch_keys *k = &out->arch->keys;
	struct hparams *p = &out->hp;

	p->hidden = get_int(r, k->hidden, 1, 1 << 20, -1);
	out->nlayers = (int)get_int(r, k->layers, 1, MODEL_LAYERS_MAX, -1);
	out->heads = (int)get_int(r, k->heads, 1, MODEL_HEADS_MAX, -1);
	out->kv_heads = (int)get_int(r, k->kv_heads, 1, MODEL_HEADS_MAX,
	    out->heads);
	out->ffn = get_int(r, k->ffn, 1, 1 << 24, ffn_default(out));
	p->vocab = get_int(r, k->vocab, 1, 1 << 28, -1);
	p->positions = get_int(r, k->positions, 1, 1 << 24,
	    k->positions != NULL ? 512 : 0);
	p->types = get_int(r, k->types, 0, 1 << 16, k->types != NULL ? 2 : 0);
	p->embed = get_int(r, k->embed, 1, 1 << 20,
	    k->embed != NULL ? 128 : p->hidden);
	if (r->rc == PARE_OK)
		read_head_dim(r, out);
}

static void
read_numerics(struct reader *r, struct arch_layout *out)
{
	const struct arch_keys *k = &out->arch->keys;
	struct hparams *p = &out->hp;
	double drop = (out->arch->flags & ARCH_GROUPS) != 0 ? 0.0 : 0.1;
	const char *act = get_text(r, k->act, out->arch->act != NULL ?
	    out->arch->act : "gelu");
	const char *positions = get_text(r, "position_embedding_type",
	    "absolute");

	p->norm_eps = get_real(r, k->eps, 0.0, 1.0, out->arch->norm_eps);
	p->dropout = get_real(r, k->dropout, 0.0, 0.99, drop);
	p->attention_dropout = get_real(r, k->attention_dropout, 0.0, 0.99,
	    drop);
	p->init_range = get_real(r, "initializer_range", 0.0, 10.0, 0.02);
	if (r->rc != PARE_OK)
		return;
	if (!act_find(act, &p->act))
		r->rc = err_set(r->err, PARE_EFORMAT,
		    "%s: %s '%s' is not supported", r->where, k->act, act);
	else if (strcmp(positions, "absolute") != 0)
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: "
		    "position_embedding_type '%s' is not supported; expected "
		    "absolute", r->where, positions);
}

/* ---- decoders -------------------------------------------------------- */

static const struct {
	const char *name;
	enum rope_kind kind;
} rope_kinds[] = {
	{ "default", ROPE_PLAIN }, { "linear", ROPE_LINEAR },
	{ "dynamic", ROPE_DYNAMIC }, { "llama3", ROPE_LLAMA3 },
	{ "yarn", ROPE_YARN },
};

static bool
find_rope_kind(const char *name, enum rope_kind *out)
{
	for (size_t i = 0; i < sizeof(rope_kinds) / sizeof(*rope_kinds); i++)
		if (strcmp(name, rope_kinds[i].name) == 0) {
			*out = rope_kinds[i].kind;
			return true;
		}
	return false;
}

/* The numbers of one scaling, from the object that describes it. */
static void
read_scaling(struct reader *r, const json_t *o, struct hparams *p)
{
	struct reader in = { o, "config.json: rope_scaling", r->err, r->rc };
	bool yarn = p->rope.kind == ROPE_YARN;

	p->rope.factor = get_real(&in, "factor", 1.0, 1e6, 0.0);
	if (in.rc == PARE_OK && p->rope.factor < 1.0)
		in.rc = err_set(r->err, PARE_EFORMAT, "%s: factor is missing",
		    in.where);
	p->rope.original = get_int(&in, "original_max_position_embeddings", 1,
	    1 << 24, p->positions);
	p->rope.low = get_real(&in, yarn ? "beta_slow" : "low_freq_factor",
	    1e-6, 1e6, 1.0);
	p->rope.high = get_real(&in, yarn ? "beta_fast" : "high_freq_factor",
	    1e-6, 1e6, yarn ? 32.0 : 4.0);
	p->rope.attention = get_real(&in, "attention_factor", 0.0, 1e3, 0.0);
	if (in.rc == PARE_OK && p->rope.high <= p->rope.low)
		in.rc = err_set(r->err, PARE_EFORMAT, "%s: the high factor "
		    "%g is not above the low one %g", in.where, p->rope.high,
		    p->rope.low);
	r->rc = in.rc;
}

/* rope_theta and rope_scaling, or both in rope_parameters. */
static void
read_rope(struct reader *r, struct arch_layout *out)
{
	const json_t *all = json_object_get(r->config, "rope_parameters");
	const json_t *o = json_is_object(all) ? all :
	    json_object_get(r->config, "rope_scaling");
	struct hparams *p = &out->hp;
	const char *type = "default";
	struct reader in = *r;

	if ((out->arch->flags & ARCH_ROTARY) == 0)
		return;
	if (json_is_object(all))
		in.config = all;
	p->rope.theta = get_real(&in, "rope_theta", 1.0, 1e12, 10000.0);
	r->rc = in.rc;
	if (r->rc != PARE_OK || o == NULL || json_is_null(o))
		return;
	if (!json_is_object(o)) {
		r->rc = err_set(r->err, PARE_EFORMAT,
		    "%s: rope_scaling is not an object", r->where);
		return;
	}
	in.config = o;
	type = get_text(&in, "type", type);
	type = get_text(&in, "rope_type", type);
	r->rc = in.rc;
	if (r->rc != PARE_OK)
		return;
	if (type == NULL || !find_rope_kind(type, &p->rope.kind)) {
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: rope_scaling of "
		    "type '%.40s' is not supported", r->where,
		    type != NULL ? type : "null");
		err_hint(r->err, "pare knows default, linear, dynamic, llama3 "
		    "and yarn");
	} else if (p->rope.kind != ROPE_PLAIN) {
		read_scaling(r, o, p);
	}
}

/*
 * Which layers see a window of the past only: the list layer_types says it
 * layer by layer; without it Gemma 2 takes every other one from the first, Qwen
 * those from max_window_layers on when use_sliding_window, and others all.
 */
static void
read_windows(struct reader *r, struct arch_layout *out)
{
	const json_t *types = json_object_get(r->config, "layer_types");
	const json_t *use = json_object_get(r->config, "use_sliding_window");
	const char *key = out->arch->keys.window;
	int64_t w = get_int(r, key, 1, 1 << 24, 0);
	int64_t first = get_int(r, "max_window_layers", 0, MODEL_LAYERS_MAX,
	    0);
	bool qwen = str_has_prefix(out->arch->model_type, "qwen");
	bool every_other = strcmp(out->arch->model_type, "gemma2") == 0;

	if (r->rc != PARE_OK || w == 0 || (qwen && !json_is_true(use)))
		return;
	out->window = xcalloc((size_t)out->nlayers, sizeof(*out->window));
	for (int l = 0; l < out->nlayers; l++) {
		const char *t = json_string_value(json_array_get(types,
		    (size_t)l));
		bool slides = every_other ? l % 2 == 0 : !qwen || l >= first;

		if (t != NULL)
			slides = strcmp(t, "sliding_attention") == 0;
		out->window[l] = slides ? w : 0;
	}
}

static void
read_decoder(struct reader *r, struct arch_layout *out)
{
	struct hparams *p = &out->hp;
	const bool gemma2 = strcmp(out->arch->model_type, "gemma2") == 0;
	double scalar;

	if (r->rc != PARE_OK)
		return;
	if ((out->arch->flags & ARCH_PAD_POSITIONS) != 0)
		p->position_offset = get_int(r, "pad_token_id", 0,
		    p->positions - 1, 1) + 1;
	if (r->rc == PARE_OK && p->position_offset >= p->positions &&
	    p->positions > 0)
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: %s %lld leaves no "
		    "position behind the padding's", r->where,
		    out->arch->keys.positions, (long long)p->positions);
	if (r->rc != PARE_OK || (out->arch->flags & ARCH_CAUSAL) == 0)
		return;
	if (json_is_true(json_object_get(r->config,
	    "scale_attn_by_inverse_layer_idx"))) {
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: "
		    "scale_attn_by_inverse_layer_idx is not supported",
		    r->where);
		return;
	}
	out->attention_bias = json_is_true(json_object_get(r->config,
	    "attention_bias"));
	out->mlp_bias = json_is_true(json_object_get(r->config, "mlp_bias"));
	read_rope(r, out);
	read_windows(r, out);
	if ((out->arch->flags & ARCH_EMBED_SCALE) != 0)
		p->embed_scale = sqrt((double)p->hidden);
	if (!gemma2)
		return;
	scalar = get_real(r, "query_pre_attn_scalar", 1e-3, 1e9, 0.0);
	if (scalar > 0.0)
		p->attn_scale = 1.0 / sqrt(scalar);
	p->attn_cap = get_real(r, "attn_logit_softcapping", 0.0, 1e9, 0.0);
	p->logit_cap = get_real(r, "final_logit_softcapping", 0.0, 1e9, 0.0);
}

static void
read_groups(struct reader *r, struct arch_layout *out)
{
	out->groups = out->inner = 1;
	if ((out->arch->flags & ARCH_GROUPS) == 0)
		return;
	out->groups = (int)get_int(r, "num_hidden_groups", 1,
	    out->nlayers > 0 ? out->nlayers : 1, 1);
	out->inner = (int)get_int(r, "inner_group_num", 1, 64, 1);
	if (r->rc == PARE_OK &&
	    (int64_t)out->nlayers * out->inner > MODEL_LAYERS_MAX)
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: %d layers of %d "
		    "are more than %d", r->where, out->nlayers, out->inner,
		    MODEL_LAYERS_MAX);
	else if (r->rc == PARE_OK)
		out->nlayers *= out->inner;
}

/* The head row that "architectures" names. Where the config is silent, an encoder
 * is its body and a decoder a language model, its first row. */
static void
read_head(struct reader *r, struct arch_layout *out)
{
	const json_t *list = json_object_get(r->config, "architectures");
	const char *class = json_string_value(json_array_get(list, 0));
	const char *stem = out->arch->class_stem;
	const struct arch_head *h = out->arch->heads;

	if (r->rc != PARE_OK)
		return;
	if (class != NULL && !str_has_prefix(class, stem)) {
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: architectures says "
		    "%s but model_type is %s", r->where, class,
		    out->arch->model_type);
		return;
	}
	if (class != NULL)
		while (h->suffix != NULL &&
		    strcmp(class + strlen(stem), h->suffix) != 0)
			h++;
	else if ((out->arch->flags & ARCH_CAUSAL) == 0)
		while (h->suffix != NULL)
			h++;
	out->head = h;
	out->hp.head = h->kind;
	out->hp.head_act = h->act;
}

static void
read_labels(struct reader *r, struct arch_layout *out)
{
	const json_t *names = json_object_get(r->config, "id2label");
	const char *problem = get_text(r, "problem_type", NULL);
	int64_t n = get_int(r, "num_labels", 1, 1 << 20, 2);
	char key[24];

	if (r->rc != PARE_OK || out->hp.head != HEAD_CLASSIFY)
		return;
	if (json_is_object(names) && json_object_size(names) > 0)
		n = (int64_t)json_object_size(names);
	for (int64_t i = 0; json_is_object(names) && i < n; i++) {
		snprintf(key, sizeof(key), "%lld", (long long)i);
		if (json_is_string(json_object_get(names, key)))
			continue;
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: id2label has %lld "
		    "entries but none for class %s", r->where, (long long)n,
		    key);
		return;
	}
	out->hp.labels = n;
	/* Some files say -1 for none. */
	if ((out->arch->flags & ARCH_LAST_TOKEN) != 0)
		out->hp.pad = get_int(r, "pad_token_id", -1, INT32_MAX - 1,
		    -1) + 1;
	if (problem != NULL && strcmp(problem, "regression") == 0 && n != 1) {
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: regression with "
		    "%lld outputs is not supported", r->where, (long long)n);
	} else if (problem != NULL && strcmp(problem,
	    "multi_label_classification") == 0) {
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: problem_type '%s' "
		    "is not supported", r->where, problem);
	} else if (n == 1) {
		out->hp.head = HEAD_REGRESS;
	}
}

static void
read_dtype(struct reader *r, struct arch_layout *out)
{
	const char *t = get_text(r, "torch_dtype", NULL);

	if (t == NULL)
		t = get_text(r, "dtype", "float32");
	out->float_form = FORM_F32;
	if (r->rc == PARE_OK && strcmp(t, "float16") == 0)
		out->float_form = FORM_F16;
	if (r->rc == PARE_OK && strcmp(t, "bfloat16") == 0)
		out->float_form = FORM_BF16;
}

/* One entry of pruned_heads: the heads of a layer that are gone. */
static enum pare_rc
read_pruned_layer(struct arch_layout *out, const char *key,
    const json_t *heads, const char *where, struct pare_err *err)
{
	struct head_set *set;
	int64_t layer;

	if (!str_to_int(key, &layer) || layer < 0 || layer >= out->nlayers)
		return err_set(err, PARE_EFORMAT, "%s: pruned_heads names "
		    "layer %s; the model has 0 to %d", where, key,
		    out->nlayers - 1);
	if (!json_is_array(heads))
		return err_set(err, PARE_EFORMAT, "%s: pruned_heads of layer "
		    "%s is not a list", where, key);
	set = &out->remaining[layer];
	for (size_t i = 0; i < json_array_size(heads); i++) {
		const json_t *v = json_array_get(heads, i);
		json_int_t h = json_integer_value(v);

		if (!json_is_integer(v) || h < 0 || h >= out->heads)
			return err_set(err, PARE_EFORMAT, "%s: pruned_heads "
			    "of layer %s names head %lld; a layer has 0 to %d",
			    where, key, (long long)h, out->heads - 1);
		if (!head_set_has(set, (int)h))
			return err_set(err, PARE_EFORMAT, "%s: pruned_heads "
			    "of layer %s names head %lld twice", where, key,
			    (long long)h);
		head_set_put(set, (int)h, false);
	}
	if (head_set_count(set) == 0)
		return err_set(err, PARE_EFORMAT, "%s: pruned_heads removes "
		    "every head of layer %s", where, key);
	return PARE_OK;
}

static void
read_pruned(struct reader *r, struct arch_layout *out)
{
	json_t *pruned = json_object_get(r->config, "pruned_heads"), *heads;
	const char *key;

	if (r->rc != PARE_OK || pruned == NULL || json_is_null(pruned))
		return;
	if (!json_is_object(pruned)) {
		r->rc = err_set(r->err, PARE_EFORMAT,
		    "%s: pruned_heads is not an object", r->where);
		return;
	}
	if (json_object_size(pruned) == 0)
		return;
	if (out->kv_heads != out->heads) {
		r->rc = err_set(r->err, PARE_EFORMAT, "%s: pruned_heads does "
		    "not say which KV heads remain, of which there are %d for "
		    "%d heads", r->where, out->kv_heads, out->heads);
		return;
	}
	out->remaining = xcalloc((size_t)out->nlayers,
	    sizeof(*out->remaining));
	for (int l = 0; l < out->nlayers; l++)
		for (int h = 0; h < out->heads; h++)
			head_set_put(&out->remaining[l], h, true);
	json_object_foreach(pruned, key, heads) {
		r->rc = read_pruned_layer(out, key, heads, r->where, r->err);
		if (r->rc != PARE_OK)
			return;
	}
}

enum pare_rc
arch_read_config(const json_t *config, const char *where,
    struct arch_layout *out, struct pare_err *err)
{
	struct reader r = { config, where, err, PARE_OK };

	memset(out, 0, sizeof(*out));
	if (!json_is_object(config))
		return err_set(err, PARE_EFORMAT,
		    "%s: expected a JSON object", where);
	read_arch(&r, out);
	if (r.rc == PARE_OK)
		read_sizes(&r, out);
	if (r.rc == PARE_OK)
		read_numerics(&r, out);
	if (r.rc == PARE_OK)
		read_groups(&r, out);
	if (r.rc == PARE_OK)
		read_decoder(&r, out);
	if (r.rc == PARE_OK)
		read_head(&r, out);
	if (r.rc == PARE_OK)
		read_labels(&r, out);
	if (r.rc == PARE_OK)
		read_dtype(&r, out);
	read_pruned(&r, out);
	if (r.rc != PARE_OK)
		arch_layout_free(out);
	return r.rc;
}

void
arch_layout_free(struct arch_layout *l)
{
	free(l->remaining);
	free(l->window);
	memset(l, 0, sizeof(*l));
}

/* ---- tensor names ---------------------------------------------------- */

static const struct arch_name *
row_of(const struct arch_name *names, enum slot slot)
{
	for (; names->name != NULL; names++)
		if (names->slot == slot)
			return names;
	return NULL;
}

const struct arch_name *
arch_slot_row(const struct arch_layout *l, enum slot slot)
{
	const struct arch_name *n = row_of(l->arch->names, slot);

	return n != NULL ? n : row_of(l->head->names, slot);
}

/* Replaces each "%d" by the next of numbers. */
static void
fill_template(const char *t, const int *number, char *out, size_t n)
{
	struct str b = STR_INIT;

	while (*t != '\0') {
		if (t[0] == '%' && t[1] == 'd') {
			str_addf(&b, "%d", *number++);
			t += 2;
		} else {
			str_addc(&b, *t++);
		}
	}
	snprintf(out, n, "%s", b.s);
	str_free(&b);
}

bool
arch_slot_name(const struct arch_layout *l, struct slot_ref ref, char *out,
    size_t n)
{
	const struct arch_name *row = arch_slot_row(l, ref.slot);
	int number[2] = { ref.layer, 0 };

	if (row == NULL)
		return false;
	if ((l->arch->flags & ARCH_GROUPS) != 0 && ref.layer >= 0) {
		int outer = ref.layer / l->inner, all = l->nlayers / l->inner;

		number[0] = all > 0 ? (int)((int64_t)outer * l->groups / all) :
		    0;
		number[1] = ref.layer % l->inner;
	}
	fill_template(row->name, number, out, n);
	return true;
}

bool
model_file_name(const struct model *m, struct slot_ref ref, char *out,
    size_t n)
{
	const json_t *config = m->origin != NULL ? m->origin->config : NULL;
	struct arch_layout l = { .arch = m->arch, .nlayers = m->nlayers,
		.groups = 1, .inner = 1 };
	enum head_kind kind = m->hp.head == HEAD_REGRESS ? HEAD_CLASSIFY :
	    m->hp.head;
	int64_t v;

	l.head = m->arch->heads;
	while (l.head->suffix != NULL && l.head->kind != kind)
		l.head++;
	if ((m->arch->flags & ARCH_GROUPS) != 0 && config != NULL) {
		v = json_integer_value(json_object_get(config,
		    "num_hidden_groups"));
		l.groups = v > 0 && v <= m->nlayers ? (int)v : 1;
		v = json_integer_value(json_object_get(config,
		    "inner_group_num"));
		l.inner = v > 0 && v <= m->nlayers ? (int)v : 1;
	}
	if (arch_turns(m->arch, ref) || (arch_slot_row(&l, ref.slot) != NULL &&
	    arch_slot_row(&l, ref.slot)->parts > 0))
		return false;
	return arch_slot_name(&l, ref, out, n);
}

/* ---- a model without weights ----------------------------------------- */

/* Whether the config has the biases that the names allow. */
static bool
has_bias(const struct arch_layout *l, enum slot s)
{
	if ((l->arch->flags & ARCH_BIAS_SAID) == 0)
		return true;
	return slot_table[s].kind == KIND_ATTENTION ? l->attention_bias :
	    l->mlp_bias;
}

static bool
slot_exists(const struct arch_layout *l, enum slot s)
{
	bool square = l->hp.embed == l->hp.hidden;

	if (s == SLOT_ROPE)
		return l->rope_freqs;
	if (arch_slot_row(l, s) == NULL)
		return false;
	if (s < SLOT_LAYER_COUNT && slot_table[s].kind != KIND_NORM &&
	    !slot_table[s].matrix)
		return has_bias(l, s);
	if (s == SLOT_TYPE)
		return l->hp.types > 0;
	if (s == SLOT_PROJ_W || s == SLOT_PROJ_B)
		return l->arch->projection_always || !square;
	if (s == SLOT_POOL_W || s == SLOT_POOL_B)
		return l->head->pooler;
	return true;
}

static void
init_layer(const struct arch_layout *l, struct layer *y, int index)
{
	y->heads_original = l->heads;
	y->window = l->window != NULL ? l->window[index] : 0;
	y->head_dim = l->head_dim;
	y->ffn = y->ffn_original = l->ffn;
	if (l->remaining != NULL)
		y->head = l->remaining[index];
	else
		for (int h = 0; h < l->heads; h++)
			head_set_put(&y->head, h, true);
	y->heads = head_set_count(&y->head);
	y->kv_heads = l->kv_heads == l->heads ? y->heads : l->kv_heads;
}

static struct tensor *
ghost_for(const struct edit *e, const struct arch_layout *l,
    struct slot_ref r)
{
	const struct slot_facts *f = &slot_table[r.slot];

	return tensor_ghost(l->float_form, f->rows == DIM_NONE ? 1 : 2,
	    model_dim(e->m, r.layer, f->rows),
	    model_dim(e->m, r.layer, f->cols));
}

/* Layers of one group hold one set of tensors. Groups are runs of layers, so
 * the one before tells; equal names mean the same group. */
static struct tensor *
group_tensor(const struct edit *e, const struct arch_layout *l,
    struct slot_ref r)
{
	struct slot_ref before = { r.layer - l->inner, r.slot };
	char mine[256], other[256];

	if (before.layer < 0)
		return NULL;
	arch_slot_name(l, r, mine, sizeof(mine));
	arch_slot_name(l, before, other, sizeof(other));
	return strcmp(mine, other) == 0 ? tensor_ref(edit_get(e, before)) :
	    NULL;
}

static bool
ties_output(const struct arch_layout *l, const struct origin *o)
{
	const json_t *v = o != NULL ?
	    json_object_get(o->config, "tie_word_embeddings") : NULL;

	return l->head->tied && (l->arch->untied ? json_is_true(v) :
	    !json_is_false(v));
}

enum pare_rc
arch_ghost_model(const struct arch_layout *l, struct origin *origin,
    struct model **out, struct pare_err *err)
{
	struct edit *e = edit_begin_new(l->arch, &l->hp, l->nlayers, origin);

	for (int i = 0; i < l->nlayers; i++) {
		init_layer(l, &e->m->layer[i], i);
		for (int s = 0; s < SLOT_LAYER_COUNT; s++) {
			struct slot_ref r = { i, (enum slot)s };
			struct tensor *t;

			if (!slot_exists(l, r.slot))
				continue;
			t = (l->arch->flags & ARCH_GROUPS) != 0 ?
			    group_tensor(e, l, r) : NULL;
			edit_set(e, r, t != NULL ? t : ghost_for(e, l, r));
		}
	}
	for (int s = SLOT_LAYER_COUNT; s < SLOT_COUNT; s++) {
		struct slot_ref r = { -1, (enum slot)s };
		struct slot_ref word = { -1, SLOT_WORD };

		if (!slot_exists(l, r.slot))
			continue;
		if (s == SLOT_HOUT_W && ties_output(l, origin))
			edit_set(e, r, tensor_ref(edit_get(e, word)));
		else
			edit_set(e, r, ghost_for(e, l, r));
	}
	return edit_commit(e, out, err);
}
