/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parameters and multiply-adds from configs alone, against published totals
 * and formulas written out here.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/json.h"
#include "base/str.h"
#include "model/account.h"
#include "model/arch.h"

static struct model *
open_config(const char *text)
{
	struct pare_err err = { 0 };
	struct origin *o = origin_new();
	struct arch_layout l;
	struct model *m = NULL;

	o->config = json_parse(text, strlen(text), 0, "config", &err);
	assert_non_null(o->config);
	if (arch_read_config(o->config, "config", &l, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	if (arch_ghost_model(&l, o, &m, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	arch_layout_free(&l);
	return m;
}

static struct totals
totals_of(const char *config, int64_t seq)
{
	struct model *m = open_config(config);
	struct totals t;

	account_totals(m, seq, true, &t);
	model_unref(m);
	return t;
}

#define BERT(layers, hidden, heads, ffn) \
	"{\"model_type\":\"bert\",\"hidden_size\":" #hidden \
	",\"num_hidden_layers\":" #layers ",\"num_attention_heads\":" #heads \
	",\"intermediate_size\":" #ffn ",\"vocab_size\":30522}"

/* Totals that the models' authors and the libraries that load them publish. */
static void
published_totals(void **state)
{
	struct totals t = totals_of(BERT(12, 768, 12, 3072), 128);

	(void)state;
	assert_int_equal(t.params, 109482240);
	assert_int_equal(t.nonzero, 109482240);
	assert_int_equal(t.bytes, 4 * INT64_C(109482240));
	assert_int_equal(t.tensors, 199);
	/* Twice the multiply-adds: 22.5 G for BERT-base, 1.2 G for TinyBERT-4,
	 * 3.4 G for BERT-small, 7.6 G for four 768-wide layers. */
	assert_true(t.macs * 2 > 22.2e9 && t.macs * 2 < 22.6e9);
	t = totals_of(BERT(4, 312, 12, 1200), 128);
	assert_int_equal(t.params, 14350248);
	assert_true(t.macs * 2 > 1.15e9 && t.macs * 2 < 1.25e9);
	t = totals_of(BERT(4, 512, 8, 2048), 128);
	assert_int_equal(t.params, 28763648);
	assert_true(t.macs * 2 > 3.35e9 && t.macs * 2 < 3.5e9);
	t = totals_of(BERT(4, 768, 12, 3072), 128);
	assert_true(t.params > 52.1e6 && t.params < 52.9e6);
	assert_true(t.macs * 2 > 7.4e9 && t.macs * 2 < 7.65e9);
	t = totals_of("{\"model_type\":\"distilbert\",\"dim\":768,"
	    "\"n_layers\":6,\"n_heads\":12,\"hidden_dim\":3072,"
	    "\"vocab_size\":30522}", 128);
	assert_int_equal(t.params, 66362880);
}

/* The formula of the header, written out for one small model. */
static void
macs_formula(void **state)
{
	int64_t H = 8, F = 20, L = 3, C = 2, n;
	const char *config = "{\"model_type\":\"bert\",\"hidden_size\":8,"
	    "\"num_hidden_layers\":3,\"num_attention_heads\":2,"
	    "\"intermediate_size\":20,\"vocab_size\":50,"
	    "\"architectures\":[\"BertForSequenceClassification\"]}";

	(void)state;
	for (n = 1; n <= 512; n *= 4) {
		struct totals t = totals_of(config, n);

		assert_int_equal(t.macs, L * (n * (4 * H * H + 2 * H * F) +
		    2 * n * n * H) + H * H + C * H);
	}
}

/* Rows of any grouping add up to the total, and to the same total. */
static void
rows_add_up(void **state)
{
	struct model *m = open_config(BERT(3, 64, 4, 128));
	struct totals want;

	(void)state;
	account_totals(m, 77, true, &want);
	for (int by = BY_LAYER; by <= BY_TENSOR; by++) {
		int64_t params = 0, bytes = 0, macs = 0;
		struct account a;

		account_rows(m, NULL, (enum account_by)by, 77, true, &a);
		for (int i = 0; i < a.n; i++) {
			params += a.row[i].params;
			bytes += a.row[i].bytes;
			macs += a.row[i].macs;
		}
		assert_int_equal(params, want.params);
		assert_int_equal(bytes, want.bytes);
		assert_int_equal(macs, want.macs);
		assert_int_equal(a.total.params, want.params);
		account_free(&a);
	}
	model_unref(m);
}

/* ALBERT's layers are one set of weights, used twelve times. */
static void
shared_layers_count_once(void **state)
{
	struct model *m = open_config("{\"model_type\":\"albert\","
	    "\"hidden_size\":768,\"num_hidden_layers\":12,"
	    "\"num_attention_heads\":12,\"intermediate_size\":3072,"
	    "\"vocab_size\":30000,\"embedding_size\":128}");
	struct account a;
	struct totals t;

	(void)state;
	account_totals(m, 128, true, &t);
	assert_int_equal(t.params, 11683584);
	account_rows(m, NULL, BY_LAYER, 128, true, &a);
	assert_string_equal(a.row[1].path, "L0");
	assert_string_equal(a.row[1].tied_to, "");
	assert_string_equal(a.row[2].path, "L1");
	assert_string_equal(a.row[2].tied_to, "L0");
	assert_int_equal(a.row[2].params, 0);
	assert_int_equal(a.row[2].macs, a.row[1].macs);
	assert_int_equal(a.tied, 11 * 16);
	account_free(&a);
	model_unref(m);
}

/* Every encoder among the published configurations, where they are present. */
static void
published_configs(void **state)
{
	const char *shared = getenv("PARE_SHARED");
	char *dir = shared != NULL ? io_join(shared, "configs") : NULL;
	DIR *d = dir != NULL ? opendir(dir) : NULL;
	struct dirent *e;
	int seen = 0;

	(void)state;
	if (d == NULL) {
		free(dir);
		skip();
		return;
	}
	while ((e = readdir(d)) != NULL) {
		char *path = io_join(dir, e->d_name), *text;
		json_t *j = str_has_suffix(path, ".json") ?
		    json_read(path, 1 << 20, 0, NULL) : NULL;
		json_t *config = json_object_get(j, "config");
		const char *type = json_string_value(
		    json_object_get(config, "model_type"));

		if (type != NULL && arch_find(type) != NULL) {
			text = json_text_of(config);
			if (totals_of(text, 128).params != json_integer_value(
			    json_object_get(j, "params_computed")))
				fail_msg("%s: %lld", e->d_name,
				    (long long)totals_of(text, 128).params);
			free(text);
			seen++;
		}
		json_decref(j);
		free(path);
	}
	closedir(d);
	free(dir);
	assert_true(seen >= 20);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_totals),
		cmocka_unit_test(macs_formula),
		cmocka_unit_test(rows_add_up),
		cmocka_unit_test(shared_layers_count_once),
		cmocka_unit_test(published_configs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
