/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The JSON contract of the program itself: each line of standard output is one
 * document, with the keys scripts rely on. Skipped where PARE does not name the
 * program.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/str.h"

enum { DOCS_MAX = 32 };

struct run {
	int status, n;
	json_t *doc[DOCS_MAX];
};

static char dir[] = "/tmp/pare-cli-XXXXXX";

static void
write_config(const char *path)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs("{\"architectures\":[\"BertForSequenceClassification\"],"
	    "\"model_type\":\"bert\",\"hidden_size\":16,"
	    "\"num_hidden_layers\":3,\"num_attention_heads\":4,"
	    "\"intermediate_size\":32,\"hidden_act\":\"gelu\","
	    "\"max_position_embeddings\":32,\"type_vocab_size\":2,"
	    "\"vocab_size\":50}", f);
	assert_int_equal(fclose(f), 0);
}

static int
setup(void **state)
{
	char *path;

	if (mkdtemp(dir) == NULL)
		return -1;
	path = str_format("%s/config.json", dir);
	write_config(path);
	free(path);
	setenv("HOME", dir, 1);
	setenv("XDG_STATE_HOME", dir, 1);
	return 0;
}

static int
teardown(void **state)
{
	char *line = str_format("rm -rf %s", dir);
	int status = system(line);

	free(line);
	return status;
}

/* Runs pare --json with these words (a shell's) in the folder of the test. */
static void
run(struct run *r, const char *words)
{
	const char *pare = getenv("PARE");
	char *command, *line = NULL;
	size_t room = 0;
	FILE *p;
	int status;

	memset(r, 0, sizeof(*r));
	if (pare == NULL)
		skip();
	command = str_format("cd %s && \"%s\" --json %s </dev/null 2>/dev/null",
	    dir, pare, words);
	p = popen(command, "r");
	assert_non_null(p);
	while (getline(&line, &room, p) > 0) {
		json_error_t e;

		assert_true(r->n < DOCS_MAX);
		r->doc[r->n] = json_loads(line, JSON_REJECT_DUPLICATES, &e);
		if (r->doc[r->n] == NULL)
			fail_msg("%s: not JSON: %s", words, line);
		r->n++;
	}
	status = pclose(p);
	assert_true(WIFEXITED(status));
	r->status = WEXITSTATUS(status);
	free(line);
	free(command);
}

static void
run_free(struct run *r)
{
	for (int i = 0; i < r->n; i++)
		json_decref(r->doc[i]);
}

/* A value by a path as "before.bytes" or "rows.0.path"; fails without one. */
static const json_t *
at(const json_t *doc, const char *path)
{
	char *copy = strdup(path), *save = NULL, *word;
	const json_t *v = doc;

	for (word = strtok_r(copy, ".", &save); word != NULL && v != NULL;
	    word = strtok_r(NULL, ".", &save))
		v = json_is_array(v) ? json_array_get(v,
		    (size_t)atoi(word)) : json_object_get(v, word);
	free(copy);
	if (v == NULL)
		fail_msg("no key %s", path);
	return v;
}

static void
has_numbers(const json_t *doc, const char *const *path)
{
	for (; *path != NULL; path++)
		if (!json_is_number(at(doc, *path)))
			fail_msg("%s is no number", *path);
}

/* What every document has. */
static void
has_head(const struct run *r)
{
	for (int i = 0; i < r->n; i++) {
		assert_true(json_is_string(at(r->doc[i], "command")));
		assert_true(json_is_boolean(at(r->doc[i], "ok")));
		at(r->doc[i], "state");
		at(r->doc[i], "hash");
	}
}

static void
test_see(void **state)
{
	static const char *const info[] = { "layers", "params", "bytes",
		"macs_per_token", "tensors", NULL };
	static const char *const show[] = { "rows.0.params", "rows.0.bytes",
		"rows.0.nonzero", "rows.0.bits_per_param",
		"rows.0.macs_per_token", "total.params", "total.bytes", NULL };
	struct run r;

	run(&r, "config.json -c info -c show");
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 2);
	has_head(&r);
	assert_true(json_is_string(at(r.doc[0], "architecture")));
	has_numbers(r.doc[0], info);
	has_numbers(r.doc[1], show);
	assert_true(json_is_string(at(r.doc[1], "rows.0.path")));
	assert_true(json_is_string(at(r.doc[1], "rows.0.form")));
	assert_int_equal(json_integer_value(at(r.doc[0], "params")),
	    json_integer_value(at(r.doc[1], "total.params")));
	assert_int_equal(strlen(json_string_value(at(r.doc[0], "hash"))), 16);
	run_free(&r);
}

static void
test_change(void **state)
{
	static const char *const op[] = { "before.params", "before.nonzero",
		"before.bytes", "before.macs_per_token", "after.params",
		"after.nonzero", "after.bytes", "after.macs_per_token",
		"seconds", "state", NULL };
	struct run r;

	run(&r, "config.json -c 'prune heads L0.h1' -c undo -c redo "
	    "-c history");
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 4);
	has_head(&r);
	has_numbers(r.doc[0], op);
	assert_int_equal(json_integer_value(at(r.doc[1], "state")), 0);
	assert_string_equal(json_string_value(at(r.doc[0], "hash")),
	    json_string_value(at(r.doc[2], "hash")));
	assert_int_equal(json_array_size(at(r.doc[3], "states")), 2);
	assert_string_equal(json_string_value(at(r.doc[3],
	    "states.1.command")), "prune heads L0.h1");
	assert_int_equal(json_integer_value(at(r.doc[3], "states.1.parent")),
	    0);
	run_free(&r);
}

/* An estimate says what the change then does, and changes nothing. */
static void
test_dry_run(void **state)
{
	struct run dry, real;

	run(&dry, "-n config.json -c 'prune neurons 50%'");
	run(&real, "config.json -c 'prune neurons 50%'");
	assert_int_equal(dry.status, 0);
	assert_int_equal(json_integer_value(at(dry.doc[0], "state")), 0);
	assert_true(json_equal((json_t *)at(dry.doc[0], "after"),
	    (json_t *)at(real.doc[0], "after")));
	run_free(&dry);
	run_free(&real);
}

static void
test_failure(void **state)
{
	static const struct {
		const char *words, *code;
		int status;
	} cases[] = {
		{ "config.json -c 'prune heads L9.h0'", "user", 1 },
		{ "config.json -c nonsense", "user", 1 },
		{ "config.json -c eval", "user", 1 },
		{ "nowhere -c info", "io", 3 },
		{ "config.json -c 'source nowhere'", "io", 3 },
		{ "config.json -c 'expect params < 1'", "expect", 4 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run r;

		run(&r, cases[i].words);
		assert_int_equal(r.status, cases[i].status);
		assert_int_equal(r.n, 1);
		has_head(&r);
		assert_true(json_is_false(at(r.doc[0], "ok")));
		assert_string_equal(json_string_value(at(r.doc[0],
		    "error.code")), cases[i].code);
		assert_true(json_is_string(at(r.doc[0], "error.message")));
		at(r.doc[0], "error.hint");
		run_free(&r);
	}
}

/* Usage errors come before there is anything to document. */
static void
test_usage(void **state)
{
	struct run r;

	run(&r, "--nope");
	assert_int_equal(r.status, 2);
	assert_int_equal(r.n, 0);
	run_free(&r);
}

static void
test_measure(void **state)
{
	static const char *const latency[] = { "batch", "seq", "p50_ms",
		"p95_ms", "runs", "threads", "ratio_to_original.median",
		"ratio_to_original.low", "ratio_to_original.high", NULL };
	static const char *const predict[] = { "n", "rows.0.index",
		"rows.0.ids.2", "rows.0.logits.1", NULL };
	struct run r;

	run(&r, "-c 'open config.json weights=random seed=1' "
	    "-c 'prune heads L0.h1' -c 'latency runs=10' "
	    "-c 'predict ids=1,2,3' -c 'predict ids=1,2,3 what=hidden'");
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 5);
	has_head(&r);
	has_numbers(r.doc[2], latency);
	has_numbers(r.doc[3], predict);
	assert_int_equal(json_array_size(at(r.doc[4], "rows.0.hidden")), 3);
	assert_int_equal(json_array_size(at(r.doc[4], "rows.0.hidden.0")), 16);
	run_free(&r);
}

static void
test_latency(void **state)
{
	static const char *const pass[] = { "batch", "seq", "runs", "threads",
		"p50_ms", "p95_ms", "p25_ms", "p75_ms", "spread",
		"original_p50_ms", "ratio_to_original.median",
		"breakdown.passes", "breakdown.whole_ms", "breakdown.sum_ms",
		"breakdown.embed_ms", "breakdown.attention_ms",
		"breakdown.ffn_ms", "breakdown.norm_ms", "breakdown.head_ms",
		"breakdown.layers.1.layer", "breakdown.layers.1.ms",
		"breakdown.layers.1.attention_ms",
		"breakdown.layers.1.ffn_ms", "breakdown.layers.1.norm_ms",
		"original_breakdown.whole_ms",
		"original_breakdown.layers.2.ms", NULL };
	static const char *const grid[] = { "batches.1", "lengths.2",
		"threads", "cells.0.p50_ms", "cells.5.batch", "cells.5.seq",
		"cells.5.runs", "cells.5.p50_ms", "cells.5.spread",
		"cells.5.ratio_to_original.low",
		"cells.5.tokens_per_second", NULL };
	struct run r;

	run(&r, "-c 'open config.json weights=random seed=1' "
	    "-c 'prune layers last 1' -c 'latency runs=3 seq=8 layers=off' "
	    "-c 'latency grid batch=1,2 seq=8,4,6 runs=2'");
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 4);
	has_head(&r);
	has_numbers(r.doc[2], pass);
	assert_true(json_is_boolean(at(r.doc[2], "pinned")));
	assert_true(json_is_false(at(r.doc[2], "list_layers")));
	at(r.doc[2], "noise");
	at(r.doc[2], "waited");
	has_numbers(r.doc[3], grid);
	assert_true(json_is_false(at(r.doc[3], "partial")));
	assert_int_equal(json_array_size(at(r.doc[3], "cells")), 6);
	assert_int_equal(json_integer_value(at(r.doc[3], "cells.3.batch")), 2);
	assert_int_equal(json_integer_value(at(r.doc[3], "cells.4.seq")), 4);
	run_free(&r);
}

/* show has the milliseconds of the latency measured last, and of whole parts
 * alone. */
static void
test_show_latency(void **state)
{
	struct run r;

	run(&r, "-c 'open config.json weights=random seed=1' -c show "
	    "-c 'latency runs=3 seq=8 batch=2' -c show "
	    "-c 'show by=module' -c 'show L1.ffn by=module' "
	    "-c 'show L1.ffn by=layer' -c 'show by=kind' "
	    "-c 'prune heads L0.h1' -c show");
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 10);
	assert_true(json_is_null(at(r.doc[1], "rows.1.ms")));
	assert_true(json_is_null(at(r.doc[1], "latency")));
	/* emb, three layers, pooler, head */
	assert_true(json_equal(at(r.doc[3], "rows.2.ms"), at(r.doc[2],
	    "breakdown.layers.1.ms")));
	assert_true(json_equal(at(r.doc[3], "rows.0.ms"), at(r.doc[2],
	    "breakdown.embed_ms")));
	assert_true(json_equal(at(r.doc[3], "rows.5.ms"), at(r.doc[2],
	    "breakdown.head_ms")));
	assert_true(json_is_null(at(r.doc[3], "rows.4.ms")));
	assert_true(json_equal(at(r.doc[3], "total.ms"), at(r.doc[2],
	    "breakdown.whole_ms")));
	assert_int_equal(json_integer_value(at(r.doc[3], "latency.batch")), 2);
	/* emb.word, .pos, .type, .norm, L0.attn, .norm, .ffn, L1.attn, ... */
	assert_true(json_is_null(at(r.doc[4], "rows.0.ms")));
	assert_true(json_equal(at(r.doc[4], "rows.7.ms"), at(r.doc[2],
	    "breakdown.layers.1.attention_ms")));
	assert_true(json_equal(at(r.doc[5], "rows.0.ms"), at(r.doc[2],
	    "breakdown.layers.1.ffn_ms")));
	assert_true(json_is_null(at(r.doc[5], "total.ms")));
	assert_true(json_is_null(at(r.doc[6], "rows.0.ms")));
	assert_true(json_is_null(at(r.doc[6], "latency")));
	/* embedding, norm, attention, ffn, pooler, head */
	assert_true(json_equal(at(r.doc[7], "rows.2.ms"), at(r.doc[2],
	    "breakdown.attention_ms")));
	assert_true(json_is_null(at(r.doc[9], "rows.1.ms")));
	run_free(&r);
}

/* Standard output has nothing but documents, whatever the commands. */
static void
test_every_command(void **state)
{
	static const char *const lines[] = { "help", "help prune heads", "set",
		"info", "show by=tensor", "history", "recipe r.pare",
		"undo", "mark a", "diff 0 1" };
	struct run r;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *words = str_format("config.json -c 'prune heads L0.h2' "
		    "-c '%s'", lines[i]);

		run(&r, words);
		assert_int_equal(r.status, 0);
		assert_true(r.n >= 2);
		has_head(&r);
		run_free(&r);
		free(words);
	}
	run(&r, "config.json -c 'source r.pare'");
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 2);
	has_head(&r);
	assert_int_equal(json_integer_value(at(r.doc[1], "state")), 1);
	run_free(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_see),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_measure),
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_show_latency),
		cmocka_unit_test(test_every_command),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
