/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The model room: reading configs, selectors, and the gate that makes models.
 * All of it works on a config alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/str.h"
#include "model/account.h"
#include "model/arch.h"
#include "model/edit.h"
#include "model/select.h"

static const char *const small = "{\"model_type\":\"bert\",\"hidden_size\":24,"
    "\"num_hidden_layers\":4,\"num_attention_heads\":6,"
    "\"intermediate_size\":40,\"vocab_size\":50,"
    "\"architectures\":[\"BertForSequenceClassification\"]}";

static enum pare_rc
read_text(const char *text, struct model **out, struct pare_err *err)
{
	struct arch_layout l;
	struct origin *o = origin_new();
	enum pare_rc rc;

	memset(err, 0, sizeof(*err));
	o->config = json_parse(text, strlen(text), 0, "config.json", err);
	if (o->config == NULL) {
		origin_unref(o);
		return err->rc;
	}
	rc = arch_read_config(o->config, "config.json", &l, err);
	if (rc != PARE_OK) {
		origin_unref(o);
		return rc;
	}
	rc = arch_ghost_model(&l, o, out, err);
	arch_layout_free(&l);
	return rc;
}

static struct model *
open_text(const char *text)
{
	struct pare_err err;
	struct model *m = NULL;

	if (read_text(text, &m, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return m;
}

/* ---- configs --------------------------------------------------------- */

#define BASE "\"model_type\":\"bert\",\"num_hidden_layers\":2," \
	"\"intermediate_size\":16,\"vocab_size\":10"

static void
bad_configs(void **state)
{
	static const struct {
		const char *text, *says;
	} row[] = {
		{ "[]", "expected a JSON object" },
		{ "{}", "model_type is missing" },
		{ "{\"model_type\":\"foo\"}", "'foo' is not supported" },
		{ "{\"model_type\":7}", "model_type is an integer" },
		{ "{" BASE ",\"num_attention_heads\":2}",
		    "hidden_size is missing" },
		{ "{" BASE ",\"hidden_size\":0,\"num_attention_heads\":2}",
		    "hidden_size is 0" },
		{ "{" BASE ",\"hidden_size\":-768,\"num_attention_heads\":2}",
		    "hidden_size is -768" },
		{ "{" BASE ",\"hidden_size\":1e18,\"num_attention_heads\":2}",
		    "hidden_size is 1e+18" },
		{ "{" BASE ",\"hidden_size\":8.5,\"num_attention_heads\":2}",
		    "hidden_size is 8.5" },
		{ "{" BASE ",\"hidden_size\":\"8\","
		    "\"num_attention_heads\":2}", "hidden_size is a string" },
		{ "{" BASE ",\"hidden_size\":null,\"num_attention_heads\":2}",
		    "hidden_size is null" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":0}",
		    "num_attention_heads is 0" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":3}",
		    "num_attention_heads 3 does not divide hidden_size 8" },
		{ "{\"model_type\":\"bert\",\"num_hidden_layers\":1000000000,"
		    "\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"intermediate_size\":16,\"vocab_size\":10}",
		    "num_hidden_layers is 1000000000" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"layer_norm_eps\":-1}", "layer_norm_eps is -1" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"layer_norm_eps\":1e30}", "layer_norm_eps is 1e+30" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"layer_norm_eps\":\"1e-12\"}",
		    "layer_norm_eps is a string" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"hidden_act\":\"swiglu_oai\"}",
		    "hidden_act 'swiglu_oai'" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"hidden_act\":[\"gelu\"]}", "hidden_act is an array" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"pruned_heads\":{\"99\":[0]}}", "names layer 99" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"pruned_heads\":{\"0\":[-1]}}", "names head -1" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"pruned_heads\":{\"0\":[0,1]}}", "removes every head" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"pruned_heads\":{\"0\":[1,1]}}", "names head 1 twice" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"architectures\":[\"BertForSequenceClassification\"],"
		    "\"id2label\":{\"0\":\"a\",\"2\":\"b\"}}",
		    "none for class 1" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"architectures\":[\"GPT2LMHeadModel\"]}",
		    "architectures says GPT2LMHeadModel" },
		{ "{" BASE ",\"hidden_size\":8,\"num_attention_heads\":2,"
		    "\"position_embedding_type\":\"relative_key\"}",
		    "'relative_key' is not supported" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pare_err err;
		struct model *m = NULL;

		if (read_text(row[i].text, &m, &err) != PARE_EFORMAT)
			fail_msg("accepted: %s", row[i].text);
		if (strstr(err.msg, row[i].says) == NULL)
			fail_msg("'%s' does not say '%s'", err.msg,
			    row[i].says);
		if (strstr(err.msg, "config.json") == NULL)
			fail_msg("'%s' names no file", err.msg);
	}
}

static void
good_configs(void **state)
{
	struct model *m = open_text("{" BASE ",\"hidden_size\":8.0,"
	    "\"num_attention_heads\":2,\"pruned_heads\":{\"1\":[0]}}");

	(void)state;
	assert_int_equal(m->layer[0].heads, 2);
	assert_int_equal(m->layer[1].heads, 1);
	assert_false(head_set_has(&m->layer[1].head, 0));
	assert_int_equal(m->layer[1].t[SLOT_Q_W]->rows, 4);
	assert_int_equal(m->layer[1].t[SLOT_O_W]->cols, 4);
	assert_true(m->ghost);
	model_unref(m);
}

/* ---- selectors ------------------------------------------------------- */

static int
count(const struct model *m, const struct selection *s)
{
	struct slot_ref r = SLOT_REF_START;
	int n = 0;

	while (model_next_slot(m, &r))
		n += select_has(s, r);
	return n;
}

static void
selectors_name_slots(void **state)
{
	static const struct {
		const char *text;
		int slots;
	} row[] = {
		{ "L3", 16 }, { "L0-2", 48 }, { "L0,2", 32 }, { "L*", 64 },
		{ "L*.attn", 32 }, { "L1.ffn", 4 }, { "L1.q", 2 },
		{ "L0-1.norm", 8 }, { "L0.q L0.k", 4 }, { "emb", 5 },
		{ "emb.word", 1 }, { "emb.norm", 2 }, { "pooler", 2 },
		{ "head", 2 }, { "all", 73 }, { "L0 all", 73 },
		{ "bert.encoder.*.query.*", 8 },
		{ "bert.encoder.layer.2.*", 16 }, { "L*.attn.?.weight", 16 },
		{ "*.bias", 4 * 8 + 3 },
	};
	struct model *m = open_text(small);

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pare_err err = { 0 };
		struct selection s;

		if (select_parse(m, row[i].text, &s, &err) != PARE_OK)
			fail_msg("%s: %s", row[i].text, err.msg);
		if (count(m, &s) != row[i].slots)
			fail_msg("%s: %d slots", row[i].text, count(m, &s));
		select_free(&s);
	}
	model_unref(m);
}

static void
selectors_name_heads(void **state)
{
	struct model *m = open_text(small);
	struct pare_err err = { 0 };
	struct selection s;

	(void)state;
	assert_int_equal(select_parse(m, "L2.h0,3-5", &s, &err), PARE_OK);
	assert_int_equal(head_set_count(&s.layer[2].heads), 4);
	assert_false(head_set_has(&s.layer[2].heads, 1));
	assert_int_equal(head_set_count(&s.layer[1].heads), 0);
	assert_int_equal(count(m, &s), 0);
	select_free(&s);
	assert_int_equal(select_parse(m, "L*.h1", &s, &err), PARE_OK);
	assert_int_equal(head_set_count(&s.layer[3].heads), 1);
	select_free(&s);
	model_unref(m);
}

static void
bad_selectors(void **state)
{
	static const struct {
		const char *text, *says;
	} row[] = {
		{ "", "no target" }, { "L4", "layers 0 to 3" },
		{ "L2-1", "no list" }, { "L0-9", "layers 0 to 3" },
		{ "L0.h6", "heads 0 to 5" }, { "L0.gate", "names nothing" },
		{ "L0.foo", "no part 'foo'" }, { "L0x", "is no target" },
		{ "foo", "'foo' names nothing" }, { "emb.proj", "no emb.proj" },
		{ "L99999999999999999999", "no list" }, { "L0.h", "no part" },
		{ "L0.h1x", "no list of heads" },
	};
	struct model *m = open_text(small);

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pare_err err = { 0 };
		struct selection s;

		if (select_parse(m, row[i].text, &s, &err) != PARE_EUSER)
			fail_msg("accepted '%s'", row[i].text);
		if (strstr(err.msg, row[i].says) == NULL)
			fail_msg("'%s': '%s'", row[i].text, err.msg);
	}
	model_unref(m);
}

/* ---- the gate -------------------------------------------------------- */

static void
heads_go_from_every_matrix(void **state)
{
	struct model *m = open_text(small), *out = NULL;
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct head_set drop = { { 0 } };
	struct pare_err err = { 0 };
	struct selection s;

	(void)state;
	head_set_put(&drop, 1, true);
	head_set_put(&drop, 5, true);
	assert_int_equal(edit_drop_heads(e, 2, &drop, &err), PARE_OK);
	assert_int_equal(edit_commit(e, &out, &err), PARE_OK);
	assert_int_equal(out->layer[2].heads, 4);
	assert_int_equal(out->layer[2].t[SLOT_Q_W]->rows, 16);
	assert_int_equal(out->layer[2].t[SLOT_K_B]->cols, 16);
	assert_int_equal(out->layer[2].t[SLOT_V_W]->rows, 16);
	assert_int_equal(out->layer[2].t[SLOT_O_W]->cols, 16);
	assert_int_equal(out->layer[2].t[SLOT_O_B]->cols, 24);
	assert_ptr_equal(out->layer[1].t[SLOT_Q_W], m->layer[1].t[SLOT_Q_W]);
	assert_int_equal(m->layer[2].heads, 6);
	assert_int_not_equal(model_hash(m), model_hash(out));
	/* Names stay: head 1 is gone, head 2 is still head 2. */
	assert_int_equal(select_parse(out, "L2.h1", &s, &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "already removed"));
	assert_int_equal(select_parse(out, "L2.h2", &s, &err), PARE_OK);
	select_free(&s);
	model_unref(out);
	model_unref(m);
}

static void
nothing_may_remain_empty(void **state)
{
	struct model *m = open_text(small), *out = NULL;
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct head_set drop = m->layer[0].head;
	struct pare_err err = { 0 };
	int64_t none = 0;

	(void)state;
	assert_int_equal(edit_drop_heads(e, 0, &drop, &err), PARE_EUSER);
	assert_non_null(strstr(err.hint, "prune attention L0"));
	assert_int_equal(edit_keep_neurons(e, 0, &none, 0, &err), PARE_EUSER);
	for (int i = 0; i < 3; i++)
		assert_int_equal(edit_drop_layer(e, 0, &err), PARE_OK);
	assert_int_equal(edit_drop_layer(e, 0, &err), PARE_EUSER);
	assert_int_equal(edit_drop_attention(e, 0, &err), PARE_OK);
	assert_int_equal(edit_drop_attention(e, 0, &err), PARE_EUSER);
	assert_int_equal(edit_drop_ffn(e, 0, &err), PARE_OK);
	assert_int_equal(edit_commit(e, &out, &err), PARE_OK);
	assert_int_equal(out->nlayers, 1);
	assert_null(out->layer[0].t[SLOT_O_B]);
	assert_non_null(out->layer[0].t[SLOT_ANORM_W]);
	model_unref(out);
	model_unref(m);
}

static void
a_half_applied_cut_is_no_model(void **state)
{
	struct model *m = open_text(small), *out = NULL;
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct pare_err err = { 0 };

	(void)state;
	edit_set(e, (struct slot_ref){ 1, SLOT_Q_W },
	    tensor_ghost(FORM_F32, 2, 20, 24));
	assert_int_equal(edit_commit(e, &out, &err), PARE_EFORMAT);
	assert_non_null(strstr(err.msg, "L1.attn.q.weight is 20 x 24"));
	assert_null(out);
	e = edit_begin(m, EDIT_REAL, 0, NULL);
	edit_set(e, (struct slot_ref){ 0, SLOT_DOWN_W }, NULL);
	assert_int_equal(edit_commit(e, &out, &err), PARE_EFORMAT);
	assert_non_null(strstr(err.msg, "L0.ffn.down.weight is missing"));
	model_unref(m);
}

/* Layers that share weights and are cut alike share them afterwards. */
static void
equal_cuts_stay_tied(void **state)
{
	struct model *m = open_text("{\"model_type\":\"albert\","
	    "\"hidden_size\":24,\"num_hidden_layers\":3,"
	    "\"num_attention_heads\":4,\"intermediate_size\":40,"
	    "\"vocab_size\":50,\"embedding_size\":8}"), *out = NULL;
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct head_set drop = { { 1 } };
	struct pare_err err = { 0 };
	int64_t keep[] = { 0, 7, 9 };
	struct totals before, after;

	(void)state;
	for (int l = 0; l < 3; l++) {
		assert_int_equal(edit_drop_heads(e, l, &drop, &err), PARE_OK);
		assert_int_equal(edit_keep_neurons(e, l, keep, 3, &err),
		    PARE_OK);
	}
	assert_int_equal(edit_commit(e, &out, &err), PARE_OK);
	assert_ptr_equal(out->layer[0].t[SLOT_Q_W], out->layer[2].t[SLOT_Q_W]);
	assert_ptr_equal(out->layer[0].t[SLOT_DOWN_W],
	    out->layer[1].t[SLOT_DOWN_W]);
	account_totals(m, 128, true, &before);
	account_totals(out, 128, true, &after);
	/* One head of 6: q, k, v rows with bias, o columns; 37 neurons. */
	assert_int_equal(before.params - after.params,
	    6 * (4 * 24 + 3) + 37 * (2 * 24 + 1));
	model_unref(out);
	model_unref(m);
}

static void
file_names_follow_the_architecture(void **state)
{
	struct model *m = open_text(small);
	char name[160];

	(void)state;
	assert_true(model_file_name(m, (struct slot_ref){ 3, SLOT_DOWN_B },
	    name, sizeof(name)));
	assert_string_equal(name, "bert.encoder.layer.3.output.dense.bias");
	assert_true(model_file_name(m, (struct slot_ref){ -1, SLOT_HOUT_W },
	    name, sizeof(name)));
	assert_string_equal(name, "classifier.weight");
	model_unref(m);
}

/* Every row of both tables is complete enough to be used. */
static void
tables_are_whole(void **state)
{
	(void)state;
	for (int s = 0; s < SLOT_COUNT; s++) {
		assert_non_null(slot_table[s].name);
		assert_non_null(slot_table[s].part);
		assert_true(slot_table[s].cols != DIM_NONE);
	}
	for (const struct arch *a = arch_table; a->model_type != NULL; a++) {
		const struct arch_head *h = a->heads;

		assert_non_null(a->title);
		assert_non_null(a->keys.hidden);
		while (h->suffix != NULL)
			h++;
		assert_int_equal(h->kind, HEAD_NONE);
		for (const struct arch_name *n = a->names; n->name; n++)
			assert_true(str_has_prefix(n->name, a->prefix));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_configs),
		cmocka_unit_test(good_configs),
		cmocka_unit_test(selectors_name_slots),
		cmocka_unit_test(selectors_name_heads),
		cmocka_unit_test(bad_selectors),
		cmocka_unit_test(heads_go_from_every_matrix),
		cmocka_unit_test(nothing_may_remain_empty),
		cmocka_unit_test(a_half_applied_cut_is_no_model),
		cmocka_unit_test(equal_cuts_stay_tied),
		cmocka_unit_test(file_names_follow_the_architecture),
		cmocka_unit_test(tables_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
