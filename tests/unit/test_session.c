/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The session as front ends see it: lines in, documents out. Every test works in
 * a folder of its own, which is also the home of the journal.
 */
#include "tiny_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "session/command.h"
#include "session/journal.h"
#include "session/session.h"
#include "session/settings.h"
#include "tensor/kernel.h"

static char *root;	/* of the test that runs */
static char *model_dir;	/* root/bert */

/* ---- a session to type into ---- */

static int
setup(void **state)
{
	static const char *const gold[] = { "bad", "fair", "good" };
	struct str eval = STR_INIT, calib = STR_INIT;

	root = tiny_root();
	setenv("XDG_STATE_HOME", root, 1);
	model_dir = tiny_model_dir(root, "bert", "ForSequenceClassification",
	    "F32");
	str_add(&eval, "text\tlabel\n");
	str_add(&calib, "text\tlabel\n");
	for (int i = 0; i < 24; i++) {
		str_addf(&eval, "a %c b %c\t%s\n", 'c' + i % 20, 'd' + i % 7,
		    gold[i % 3]);
		str_addf(&calib, "%c e %c f\t%d\n", 'c' + i % 20, 'd' + i % 7,
		    i % 3);
	}
	tiny_put(root, "eval.tsv", eval.s, eval.n);
	tiny_put(root, "calib.tsv", calib.s, calib.n);
	str_free(&eval);
	str_free(&calib);
	return 0;
}

static int
teardown(void **state)
{
	free(model_dir);
	tiny_root_free(root);
	return 0;
}

/* Runs a line in printf's manner; result_free() when done. */
static struct result run_line(struct session *s, struct task *task,
    const char *fmt, ...) PARE_PRINTF(3, 4);

static struct result
run_line(struct session *s, struct task *task, const char *fmt, ...)
{
	struct result r;
	char line[4096];
	enum pare_rc rc;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	rc = session_run(s, line, task, &r);
	assert_int_equal(rc, r.rc);
	return r;
}

/* A line that must work. */
#define DO(s, ...) do { \
	struct result do_r = run_line(s, NULL, __VA_ARGS__); \
	if (do_r.rc != PARE_OK) \
		fail_msg("%s", json_dumps(do_r.doc, 0)); \
	assert_true(json_is_true(json_object_get(do_r.doc, "ok"))); \
	result_free(&do_r); \
} while (0)

static struct session *
open_session(void)
{
	struct session *s = session_new();

	DO(s, "set threads 1");
	DO(s, "open %s", model_dir);
	return s;
}

static struct session *
data_session(void)
{
	struct session *s = open_session();

	DO(s, "data %s/eval.tsv", root);
	DO(s, "data %s/calib.tsv role=calib", root);
	return s;
}

/* A value of a line's document, as text; malloc'ed. */
static char *
ask(struct session *s, const char *line, const char *key)
{
	struct result r = run_line(s, NULL, "%s", line);
	char *text;

	if (r.rc != PARE_OK)
		fail_msg("%s: %s", line, json_dumps(r.doc, 0));
	text = json_dumps(json_object_get(r.doc, key), JSON_ENCODE_ANY);
	result_free(&r);
	assert_non_null(text);
	return text;
}

static void
expect_answer(struct session *s, const char *line, const char *key,
    const char *value)
{
	char *got = ask(s, line, key);

	if (strcmp(got, value) != 0)
		fail_msg("%s: %s is %s, not %s", line, key, got, value);
	free(got);
}

/* A line that must fail with rc, its message or hint saying `word`. */
static void
expect_error(struct session *s, const char *line, enum pare_rc rc,
    const char *word)
{
	struct result r = run_line(s, NULL, "%s", line);
	const json_t *e = json_object_get(r.doc, "error");
	const char *msg, *hint;

	msg = json_string_value(json_object_get(e, "message"));
	hint = json_string_value(json_object_get(e, "hint"));
	if (r.rc != rc || msg == NULL)
		fail_msg("%s: rc %d, %s", line, r.rc, json_dumps(r.doc, 0));
	if (strstr(msg, word) == NULL &&
	    (hint == NULL || strstr(hint, word) == NULL))
		fail_msg("%s: '%s' (%s) does not say '%s'", line, msg, hint,
		    word);
	assert_true(json_is_false(json_object_get(r.doc, "ok")));
	assert_string_equal(json_string_value(json_object_get(e, "code")),
	    err_code_name(rc));
	result_free(&r);
}

static uint64_t
hash_of(const struct session *s)
{
	return model_hash(session_model(s));
}

static const char logits_line[] = "predict ids=2,5,9,3";

/* ---- tables ---- */

static void
check_args(const char *name, const struct arg_spec *args)
{
	int n = 0;

	for (const struct arg_spec *a = args; a->name != NULL; a++, n++) {
		struct arg_value v;
		struct pare_err err;

		if (a->type >= ARG_TYPE_COUNT || a->text == NULL ||
		    str_has_suffix(a->text, "."))
			fail_msg("%s %s: type or text", name, a->name);
		if ((a->type == ARG_CHOICE) != (a->choices != NULL))
			fail_msg("%s %s: choices", name, a->name);
		if ((a->flags & ARG_REQUIRED) != 0 && a->dflt != NULL)
			fail_msg("%s %s: required and a default", name,
			    a->name);
		if (a->dflt == NULL)
			continue;
		if (arg_parse_value(a, a->dflt, &v, &err) != PARE_OK)
			fail_msg("%s %s: default: %s", name, a->name, err.msg);
		arg_value_free(&v);
	}
	assert_true(n <= ARG_MAX);
}

static void
check_help(const char *name, const char *help)
{
	size_t n = strcspn(help, "\n");

	if (n < 2 || help[n - 1] != '.' || n > 76 ||
	    str_has_suffix(help, "\n"))
		fail_msg("%s: first line of help", name);
}

static void
check_example(const struct command *c, const char *line)
{
	struct arg_words w;
	struct arg_list args;
	struct pare_err err;

	assert_int_equal(arg_split(line, &w, &err), PARE_OK);
	assert_string_equal(w.word[0], c->name);
	if (arg_parse(c->args, &w, 1, &args, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	arg_list_free(&args);
	arg_words_free(&w);
}

static void
test_command_table(void **state)
{
	for (int i = 0; command_table[i] != NULL; i++) {
		const struct command *c = command_table[i];
		char *usage = command_usage(c->name, c->args);

		assert_ptr_equal(command_find(c->name), c);
		assert_true(c->group < GROUP_COUNT);
		assert_non_null(command_group_titles[c->group]);
		assert_non_null(c->run);
		assert_true(str_has_prefix(usage, c->name));
		check_help(c->name, c->help);
		check_args(c->name, c->args);
		assert_non_null(c->examples[0]);
		for (int k = 0; c->examples[k] != NULL; k++)
			check_example(c, c->examples[k]);
		for (int k = 0; op_table[k] != NULL; k++)
			assert_string_not_equal(op_table[k]->verb, c->name);
		free(usage);
	}
	assert_null(command_find("nothing"));
}

static void
test_metric_choices(void **state)
{
	const struct arg_spec *a = command_find("eval")->args;

	assert_string_equal(a->name, "metric");
	for (int k = 0; k < METRIC_COUNT; k++)
		assert_string_equal(a->choices[k + 1], metric_table[k].name);
	assert_null(a->choices[METRIC_COUNT + 1]);
	a = command_find("expect")->args;
	for (int k = 0; k < METRIC_COUNT; k++)
		assert_string_equal(a->choices[k], metric_table[k].name);
}

static void
test_settings(void **state)
{
	struct session *s = session_new();
	int before = kernel_threads();

	check_args("set", setting_table);
	DO(s, "set seq 64");
	assert_int_equal(settings_int(s->settings, SET_SEQ), 64);
	DO(s, "set threads 1");
	assert_int_equal(kernel_threads(), 1);
	DO(s, "set threads 0");
	assert_int_equal(kernel_threads(), before);
	DO(s, "set live off");
	assert_false(settings_bool(s->settings, SET_LIVE));
	expect_error(s, "set thread 2", PARE_EUSER, "threads");
	expect_error(s, "set threads 257", PARE_EUSER, "threads");
	expect_error(s, "set threads x", PARE_EUSER, "threads");
	expect_error(s, "set color blue", PARE_EUSER, "color");
	assert_int_equal(settings_int(s->settings, SET_THREADS), 0);
	session_free(s);
}

static void
test_help(void **state)
{
	static const char *const more[] = { "targets", "forms", "metrics",
		"threads", "prune", NULL };
	struct session *s = session_new();

	DO(s, "help");
	for (int i = 0; command_table[i] != NULL; i++)
		DO(s, "help %s", command_table[i]->name);
	for (int i = 0; op_table[i] != NULL; i++)
		DO(s, "help %s %s", op_table[i]->verb,
		    op_table[i]->method != NULL ? op_table[i]->method : "");
	for (int i = 0; more[i] != NULL; i++)
		DO(s, "help %s", more[i]);
	expect_error(s, "help shwo", PARE_EUSER, "help show");
	session_free(s);
}

/* ---- lines that go wrong ---- */

static void
test_needs(void **state)
{
	struct session *s = session_new();
	struct result r;

	expect_error(s, "shwo", PARE_EUSER, "'show'");
	expect_error(s, "xyzzyxyzzy", PARE_EUSER, "help");
	expect_error(s, "info", PARE_EUSER, "open DIR");
	expect_error(s, "prune heads L0", PARE_EUSER, "open DIR");
	expect_error(s, "undo", PARE_EUSER, "open DIR");
	expect_error(s, "open", PARE_EUSER, "path");
	expect_error(s, "open 'x", PARE_EUSER, "quote");
	expect_error(s, "open /nonexistent/model", PARE_EIO, "nonexistent");
	r = run_line(s, NULL, "   # a comment");
	assert_null(r.doc);
	assert_string_equal(r.kind, "");
	result_free(&r);
	DO(s, "open %s", model_dir);
	expect_error(s, "eval", PARE_EUSER, "data FILE");
	expect_error(s, "predict", PARE_EUSER, "data FILE");
	expect_error(s, "recover", PARE_EUSER, "role=calib");
	expect_error(s, "eval metric=accurracy", PARE_EUSER, "accuracy");
	expect_error(s, "undo", PARE_EUSER, "original");
	expect_error(s, "goto 4", PARE_EUSER, "states 0 to 0");
	session_free(s);
}

static void
test_errors_change_nothing(void **state)
{
	static const char *const bad[] = { "prune heads L9", "prune heads",
		"prune nothing L0", "quantize L0 bits=77", "undo 9", "redo",
		"goto nowhere", "mark 3", "open /nonexistent", "data /nonexistent",
		"data /dev/zero", "save /dev/null/x", "recipe /nonexistent/x",
		"source /nonexistent", "eval metric=pearson", "predict ids=99",
		"predict ids=", "predict ids=1 types=7",
		"predict ids=1 text=a", "predict ids=1,x", "latency seq=999",
		"latency seq=0", "latency batch=-1", "latency batch=4097",
		"latency batch=1x", "latency batch=", "latency batch=1,2",
		"latency seq=99999999999999999999", "latency threads=0",
		"latency threads=257", "latency grid seq=8,999",
		"latency grid batch=1,,2", "latency grid batch=2,4,2",
		"latency grid batch=1,2,3,4,5,6,7,8,9 seq=1,2,3,4,5,6,7,8",
		"latency grid seq=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
		"latency table", "latency grid 3",
		"compare 0 7", "diff 0 7", "inspect L9", "show L9",
		"expect speed > 3", "expect params", "recover lr=-1",
		"recover epochs=2 stop=3", "help nowhere", "\\", "'", "=", "=a",
		"resume", "\x01\xff\xfe", NULL };
	struct session *s = data_session();
	uint64_t hash;
	int n;

	DO(s, "prune heads L1.h0");
	hash = hash_of(s);
	n = s->history.n;
	for (int i = 0; bad[i] != NULL; i++) {
		struct result r = run_line(s, NULL, "%s", bad[i]);

		if (r.rc == PARE_OK)
			fail_msg("'%s' worked", bad[i]);
		assert_true(json_is_object(json_object_get(r.doc, "error")));
		result_free(&r);
		assert_int_equal(s->history.n, n);
		assert_int_equal(s->history.current, n - 1);
		assert_true(hash_of(s) == hash);
		assert_non_null(s->data[ROLE_EVAL]);
	}
	session_free(s);
}

static void
test_truncated_while_open(void **state)
{
	struct session *s = data_session();
	char *path = io_join(model_dir, "model.safetensors");
	struct result r;

	assert_int_equal(truncate(path, 100), 0);
	r = run_line(s, NULL, "eval");
	assert_int_equal(r.rc, PARE_EIO);
	result_free(&r);
	r = run_line(s, NULL, "quantize all bits=8");
	assert_true(r.rc != PARE_OK || s->history.n == 2);
	result_free(&r);
	free(path);
	session_free(s);
}

/* ---- states ---- */

static void
test_undo_is_exact(void **state)
{
	struct session *s = open_session();
	char *logits[3], *got;
	uint64_t hash[3];

	s->want_hash = true;
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			DO(s, "prune heads L0.h1");
		if (i == 2)
			DO(s, "quantize L*.ffn bits=4");
		hash[i] = hash_of(s);
		logits[i] = ask(s, logits_line, "rows");
		for (int k = 0; k < i; k++) {
			assert_true(hash[k] != hash[i]);
			assert_string_not_equal(logits[k], logits[i]);
		}
	}
	for (int i = 1; i >= -1; i--) {
		DO(s, i >= 0 ? "undo" : "redo 2");
		assert_int_equal(s->history.current, i >= 0 ? i : 2);
		assert_true(hash_of(s) == hash[s->history.current]);
		got = ask(s, logits_line, "rows");
		assert_string_equal(got, logits[s->history.current]);
		free(got);
	}
	for (int i = 0; i < 3; i++)
		free(logits[i]);
	session_free(s);
}

static void
test_branches_and_marks(void **state)
{
	struct session *s = open_session();
	uint64_t one;

	DO(s, "prune heads L0.h1");
	one = hash_of(s);
	DO(s, "mark first");
	expect_answer(s, "mark start 0", "marked", "0");
	DO(s, "undo");
	DO(s, "prune ffn L2");
	assert_int_equal(s->history.state[2].parent, 0);
	DO(s, "goto first");
	assert_true(hash_of(s) == one);
	DO(s, "goto start");
	assert_int_equal(s->history.current, 0);
	DO(s, "goto 2");
	expect_answer(s, "undo", "state", "0");
	expect_answer(s, "redo", "state", "2");
	expect_answer(s, "history", "current", "2");
	expect_answer(s, "diff first first", "rows", "[]");
	expect_answer(s, "diff 0 2", "layers", "[{\"layer\": 2, \"a\": {\"heads\""
	    ": 3, \"ffn\": 20}, \"b\": {\"heads\": 3, \"ffn\": 0}}]");
	session_free(s);
}

static void
test_dry_run(void **state)
{
	struct session *s = open_session();
	char *estimate, *real;
	uint64_t hash = hash_of(s);

	s->dry_run = true;
	estimate = ask(s, "quantize L*.ffn bits=4", "after");
	expect_answer(s, "quantize L*.ffn bits=4", "dry_run", "true");
	DO(s, "save %s/not-written", root);
	expect_error(s, "prune heads L9", PARE_EUSER, "L9");
	assert_int_equal(s->history.n, 1);
	assert_true(hash_of(s) == hash);
	s->dry_run = false;
	real = ask(s, "quantize L*.ffn bits=4", "after");
	assert_string_equal(estimate, real);
	expect_error(s, "open '' ", PARE_EUSER, "path");
	free(estimate);
	free(real);
	session_free(s);
}

static void
test_config_alone(void **state)
{
	struct session *s = session_new();

	DO(s, "open %s/config.json", model_dir);
	expect_answer(s, "info", "weights", "false");
	expect_answer(s, "info", "held_bytes", "0");
	DO(s, "show");
	DO(s, "prune heads L0.h1");
	expect_error(s, "eval", PARE_EUSER, "weights=random");
	expect_error(s, "inspect L0", PARE_EUSER, "weights=random");
	DO(s, "open %s/config.json weights=random seed=4", model_dir);
	assert_int_equal(s->history.n, 1);
	DO(s, "%s", logits_line);
	session_free(s);
}

/* ---- measuring ---- */

static void
test_results_are_recalled(void **state)
{
	struct session *s = data_session();
	char *first;

	first = ask(s, "eval", "value");
	expect_answer(s, "eval", "cached", "true");
	expect_answer(s, "eval fresh=on", "cached", "false");
	DO(s, "prune ffn L1");
	expect_answer(s, "eval", "cached", "false");
	expect_answer(s, "eval", "cached", "true");
	expect_answer(s, "undo", "cached", "true");
	expect_answer(s, "eval", "cached", "true");
	expect_answer(s, "eval", "value", first);
	free(first);
	session_free(s);
}

static void
test_recall_again(void **state)
{
	struct session *s = data_session();
	char *first;

	first = ask(s, "eval", "value");
	DO(s, "prune ffn L1");
	expect_answer(s, "undo", "metric_value", first);
	DO(s, "set cache off");
	expect_answer(s, "eval", "cached", "false");
	DO(s, "set cache on");
	/* Another draw of samples is another question. */
	DO(s, "data %s/eval.tsv limit=9", root);
	expect_answer(s, "eval", "cached", "false");
	/* And opening the same files again is the same one. */
	DO(s, "open %s", model_dir);
	expect_answer(s, "eval", "cached", "true");
	expect_answer(s, "latency batch=1 seq=4 runs=10", "cached", "false");
	expect_answer(s, "latency batch=1 seq=4 runs=10", "cached", "true");
	expect_answer(s, "latency batch=2 seq=4 runs=10", "cached", "false");
	expect_answer(s, "latency batch=2 seq=4 runs=9 threads=3", "cached",
	    "false");
	expect_answer(s, "latency batch=2 seq=4 runs=9 threads=3 layers=on",
	    "cached", "true");
	free(first);
	session_free(s);
}

/* Another sitting finds what this one measured. */
static void
test_earlier_sittings(void **state)
{
	static const char latency[] = "latency batch=1 seq=4 runs=10";
	struct session *s = data_session();
	char *value, *seconds, *ms;

	value = ask(s, "eval", "value");
	seconds = ask(s, "eval", "seconds");
	DO(s, "prune ffn L1");
	DO(s, "eval");
	ms = ask(s, latency, "p50_ms");
	session_free(s);
	s = data_session();
	expect_answer(s, "eval", "cached", "true");
	expect_answer(s, "eval", "value", value);
	expect_answer(s, "eval", "seconds", seconds);
	expect_answer(s, latency, "cached", "false");
	DO(s, "prune ffn L1");
	expect_answer(s, "eval", "cached", "true");
	expect_answer(s, latency, "cached", "true");
	expect_answer(s, latency, "p50_ms", ms);
	expect_answer(s, "eval fresh=on", "cached", "false");
	expect_answer(s, "eval fresh=on", "value", value);
	DO(s, "undo");
	DO(s, "prune ffn L0");
	expect_answer(s, "eval", "cached", "false");
	session_free(s);
	/* Not when nothing is to be recalled. */
	s = open_session();
	DO(s, "set cache off");
	DO(s, "data %s/eval.tsv", root);
	expect_answer(s, "eval", "cached", "false");
	expect_answer(s, "eval", "cached", "false");
	DO(s, "set cache 1M");
	expect_answer(s, "eval", "cached", "true");
	session_free(s);
	free(value);
	free(seconds);
	free(ms);
}

/* What a rule stopped is told and forgotten. */
static void
test_eval_stop(void **state)
{
	struct session *s = data_session();

	expect_answer(s, "eval stop=ci:40", "partial", "true");
	expect_answer(s, "eval stop=ci:40", "total", "24");
	expect_answer(s, "eval stop=ci:40", "cached", "false");
	expect_answer(s, "eval stop=ci:0.01", "partial", "false");
	expect_answer(s, "eval stop=ci:0.01", "cached", "true");
	expect_answer(s, "eval stop=ci:40", "partial", "false");
	expect_answer(s, "eval stop=ci:40 fresh=on", "partial", "true");
	expect_answer(s, "eval", "n", "24");
	DO(s, "prune ffn L1");
	expect_answer(s, "eval stop=ci:40", "against", "0");
	expect_answer(s, "eval stop=decided", "partial", "true");
	expect_answer(s, "eval", "cached", "false");
	expect_error(s, "eval stop=soon", PARE_EUSER, "ci:1.0");
	expect_error(s, "eval stop=ci:", PARE_EUSER, "not none");
	expect_error(s, "eval stop=ci:-1", PARE_EUSER, "not none");
	expect_error(s, "eval stop=ci:nan", PARE_EUSER, "not none");
	expect_error(s, "eval stop=decided against=current fresh=on",
	    PARE_EUSER, "itself");
	session_free(s);
}

/* After a change only what follows it is computed. */
static void
test_eval_cache(void **state)
{
	struct session *s = data_session();
	char *full, *again;

	expect_answer(s, "eval", "from_layer", "0");
	expect_answer(s, "eval fresh=on", "from_layer", "0");
	DO(s, "prune heads L1.h0");
	expect_answer(s, "eval", "from_layer", "1");
	full = ask(s, "eval fresh=on", "loss");
	expect_answer(s, "info", "cache_bytes", "20736");
	DO(s, "set cache off");
	expect_answer(s, "info", "cache_bytes", "0");
	expect_answer(s, "eval", "from_layer", "0");
	again = ask(s, "eval", "loss");
	assert_string_equal(full, again);
	free(again);
	/* A limit that is too small for anything. */
	DO(s, "set cache 0.5K");
	expect_answer(s, "eval fresh=on", "from_layer", "0");
	DO(s, "prune heads L1.h1");
	expect_answer(s, "eval", "from_layer", "0");
	for (int i = 0; i < 6; i++) {
		static const char *const sizes[] = { "2G", "1.5GiB", "300mb",
			"7t", "on", "0K" };

		DO(s, "set cache %s", sizes[i]);
		assert_string_equal(settings_text(s->settings, SET_CACHE),
		    sizes[i]);
	}
	assert_int_equal(settings_cache(s->settings), 0);
	DO(s, "set cache 1.5k");
	assert_int_equal(settings_cache(s->settings), 1536);
	DO(s, "set cache on");
	assert_true(settings_cache(s->settings) > 1 << 20 &&
	    settings_cache(s->settings) <= 1 << 30);
	expect_error(s, "set cache 12", PARE_EUSER, "2G");
	expect_error(s, "set cache 5XB", PARE_EUSER, "on or off");
	expect_error(s, "set cache 1e9G", PARE_EUSER, "on or off");
	expect_error(s, "set cache 99999999T", PARE_EUSER, "on or off");
	expect_error(s, "set cache 1.2.3G", PARE_EUSER, "on or off");
	free(full);
	session_free(s);
}

/* Opening a model again, or loading a set again, tokenizes nothing again: marks
 * in the tokens stay. */
static void
test_tokens_once(void **state)
{
	struct session *s = data_session();
	int32_t *id = s->data[ROLE_EVAL]->sample[3].tokens.id;
	uint64_t hash = s->data[ROLE_EVAL]->hash;

	id[1] ^= 1;
	DO(s, "open %s", model_dir);
	assert_ptr_not_equal(s->data[ROLE_EVAL]->sample[3].tokens.id, id);
	assert_true(s->data[ROLE_EVAL]->hash != hash);
	DO(s, "data %s/eval.tsv", root);
	assert_true(s->data[ROLE_EVAL]->hash != hash);
	s->data[ROLE_EVAL]->sample[3].tokens.id[1] ^= 1;
	DO(s, "open %s", model_dir);
	assert_true(s->data[ROLE_EVAL]->hash == hash);
	session_free(s);
}

static void
test_compare_and_expect(void **state)
{
	struct session *s = data_session();
	struct result r;
	int64_t flips;

	DO(s, "prune ffn L*");
	r = run_line(s, NULL, "compare flips=1000");
	assert_int_equal(r.rc, PARE_OK);
	flips = json_integer_value(json_object_get(r.doc, "changed"));
	assert_int_equal(json_array_size(json_object_get(r.doc, "flips")),
	    flips);
	result_free(&r);
	DO(s, "expect changed == %lld", (long long)flips);
	DO(s, "expect layers == 3");
	DO(s, "expect state >= 1");
	DO(s, "expect accuracy <= 100%%");
	DO(s, "expect loss > 0");
	DO(s, "expect params < 1e6");
	DO(s, "expect latency_ms > 0");
	expect_error(s, "expect layers != 3", PARE_EEXPECT, "it is 3");
	expect_error(s, "expect accuracy > 1", PARE_EEXPECT, "accuracy > 1");
	expect_error(s, "expect pearson >= -1", PARE_EUSER, "pearson");
	session_free(s);
}

static void
test_predict_file(void **state)
{
	struct session *s = data_session();
	char *path = io_join(root, "out.ndjson"), *text;
	struct result r;
	const json_t *rows;
	char *p;
	size_t n;

	r = run_line(s, NULL, "predict");
	rows = json_object_get(r.doc, "rows");
	assert_int_equal(json_array_size(rows), 24);
	DO(s, "predict out=%s", path);
	assert_int_equal(io_read(path, 1 << 20, &text, &n, NULL), PARE_OK);
	p = text;
	for (size_t i = 0; i < 24; i++, p = strchr(p, '\n') + 1) {
		json_t *o = json_loads(p, JSON_DISABLE_EOF_CHECK, NULL);
		const json_t *row = json_array_get(rows, i);
		const json_t *a = json_object_get(o, "logits");
		const json_t *b = json_object_get(row, "logits");

		assert_int_equal(json_integer_value(json_object_get(o,
		    "index")), i);
		assert_true(json_equal(json_object_get(o, "ids"),
		    json_object_get(row, "ids")));
		assert_true(json_equal(json_object_get(o, "gold"),
		    json_object_get(row, "gold")));
		for (size_t k = 0; k < 3; k++)
			assert_true((float)json_real_value(json_array_get(a,
			    k)) == (float)json_real_value(json_array_get(b,
			    k)));
		json_decref(o);
	}
	assert_int_equal(*p, '\0');
	free(text);
	free(path);
	result_free(&r);
	r = run_line(s, NULL, "predict ids=1,2,3 what=hidden");
	rows = json_object_get(json_array_get(json_object_get(r.doc, "rows"),
	    0), "hidden");
	assert_int_equal(json_array_size(rows), 3);
	assert_int_equal(json_array_size(json_array_get(rows, 0)), 12);
	result_free(&r);
	session_free(s);
}

/* The text, tokenized here, gives what its ids give. */
static void
test_predict_text(void **state)
{
	struct session *s = open_session();
	struct result a = run_line(s, NULL, "predict text='a b'");
	struct result b = run_line(s, NULL, "predict ids=2,5,6,3");
	const json_t *ra = json_array_get(json_object_get(a.doc, "rows"), 0);
	const json_t *rb = json_array_get(json_object_get(b.doc, "rows"), 0);

	assert_true(json_equal(json_object_get(ra, "ids"),
	    json_object_get(rb, "ids")));
	assert_true(json_equal(json_object_get(ra, "logits"),
	    json_object_get(rb, "logits")));
	result_free(&a);
	result_free(&b);
	session_free(s);
}

static void
test_data_overlap(void **state)
{
	struct session *s = open_session();
	struct result r;

	DO(s, "data %s/eval.tsv", root);
	r = run_line(s, NULL, "data %s/eval.tsv role=calib", root);
	assert_int_equal(r.rc, PARE_OK);
	assert_true(json_integer_value(json_object_get(r.doc, "overlap")) >=
	    24);
	assert_true(json_array_size(json_object_get(r.doc, "warnings")) > 0);
	result_free(&r);
	expect_answer(s, "info", "state", "0");
	session_free(s);
}

/* ---- training ---- */

static void
test_recover(void **state)
{
	struct session *s = data_session();
	uint64_t hash;

	DO(s, "prune heads L0.h0");
	DO(s, "set seed 3");
	DO(s, "recover epochs=2 lr=1e-3 batch=8");
	assert_int_equal(s->history.current, 2);
	hash = hash_of(s);
	/* The seed of the setting is in the recorded line. */
	assert_string_equal(s->history.state[2].command,
	    "recover epochs=2 lr=1e-3 batch=8 seed=3");
	DO(s, "set seed 9");
	DO(s, "undo");
	DO(s, "recover epochs=2 lr=1e-3 batch=8 seed=3");
	assert_true(hash_of(s) == hash);
	session_free(s);
}

/* A recorded line alone gives the same weights, whatever seed is set. */
static void
test_seed_of_ops(void **state)
{
	static const char *const lines[] = { "prune heads 2 by=random",
		"prune heads 2", "factorize L0.up rank=2 force=on", NULL };
	struct session *s = data_session();

	for (int i = 0; lines[i] != NULL; i++) {
		uint64_t hash;
		int id;

		DO(s, "set seed 3");
		DO(s, "%s", lines[i]);
		hash = hash_of(s);
		id = s->history.current;
		DO(s, "set seed 9");
		DO(s, "undo");
		DO(s, "%s", s->history.state[id].command);
		assert_true(hash_of(s) == hash);
		DO(s, "goto 0");
	}
	assert_string_equal(s->history.state[1].command,
	    "prune heads 2 by=random seed=3");
	assert_string_equal(s->history.state[3].command, "prune heads 2");
	session_free(s);
}

/* A model without segments takes pairs as well. */
static void
test_pairs_without_segments(void **state)
{
	static const char pairs[] = "text\tpair\tlabel\na b\tc d\t0\n"
	    "b\tf e\t1\n";
	char *dir = tiny_model_dir(root, "distilbert",
	    "ForSequenceClassification", "F32");
	struct session *s = session_new();

	tiny_put(root, "pairs.tsv", pairs, sizeof(pairs) - 1);
	DO(s, "open %s", dir);
	DO(s, "data %s/pairs.tsv", root);
	DO(s, "data %s/pairs.tsv role=calib", root);
	DO(s, "eval");
	DO(s, "predict");
	DO(s, "predict text='a b' pair=c");
	DO(s, "recover lr=1e-3");
	session_free(s);
	free(dir);
}

/* A target that has no row of its own is refused, and each refusal hints. */
static void
test_show_heads(void **state)
{
	struct session *s = open_session();

	expect_error(s, "show L0.h0", PARE_EUSER, "heads");
	expect_error(s, "show L99", PARE_EUSER, "help show");
	session_free(s);
}

/* Cancels once `ctx` epochs are behind it. */
struct canceler {
	int64_t ticks, at;
};

static void
cancel_tick(struct task *task, double done, double total, const char *what)
{
	struct canceler *c = task->ctx;

	if (++c->ticks == c->at)
		atomic_store(&task->cancel, true);
}

static void
test_recover_canceled(void **state)
{
	struct session *s = data_session();
	struct canceler c = { 0, 2 };
	struct task task = { .tick = cancel_tick, .ctx = &c };
	struct result r;
	uint64_t hash = hash_of(s);

	r = run_line(s, &task, "recover epochs=40 lr=1e-3 batch=4");
	assert_int_equal(r.rc, PARE_ECANCELED);
	result_free(&r);
	assert_int_equal(s->history.n, 1);
	assert_true(hash_of(s) == hash);
	atomic_store(&task.cancel, false);
	c = (struct canceler){ 0, 30 };
	r = run_line(s, &task, "recover epochs=40 lr=1e-3 batch=4 keep=last");
	assert_int_equal(r.rc, PARE_OK);
	result_free(&r);
	assert_int_equal(s->history.n, 2);
	assert_non_null(strstr(s->history.state[1].command, " stop="));
	/* Its line gives the same weights. */
	hash = hash_of(s);
	DO(s, "undo");
	DO(s, "%s", s->history.state[1].command);
	assert_int_equal(s->history.n, 3);
	assert_true(hash_of(s) == hash);
	session_free(s);
}

static void
test_cancel_eval(void **state)
{
	struct session *s = data_session();
	struct task task = { .cancel = true };
	struct result r = run_line(s, &task, "eval");

	assert_int_equal(r.rc, PARE_ECANCELED);
	result_free(&r);
	expect_answer(s, "eval", "cached", "false");
	session_free(s);
}

/* ---- keeping ---- */

static void
test_recipe(void **state)
{
	struct session *s = open_session(), *t;
	uint64_t hash;

	DO(s, "prune heads L0.h1  # why not");
	DO(s, "prune ffn L1");
	DO(s, "undo");
	DO(s, "quantize L*.attn bits=5");
	hash = hash_of(s);
	expect_answer(s, "history", "current", "3");
	DO(s, "recipe %s/r.pare", root);
	t = open_session();
	DO(t, "source %s/r.pare", root);
	assert_true(hash_of(t) == hash);
	assert_int_equal(t->history.n, 3);
	tiny_put_text(root, "bad.pare", "undo\n\nundo 77\n");
	expect_error(t, "source /dev/null", PARE_EIO, "/dev/null");
	{
		char *line = str_format("source %s/bad.pare", root);

		expect_error(t, line, PARE_EUSER, "bad.pare:3");
		free(line);
	}
	session_free(t);
	session_free(s);
}

static void
test_source_of_itself(void **state)
{
	struct session *s = open_session();
	char *line = str_format("source %s/loop.pare", root);

	tiny_put_text(root, "loop.pare", line);
	expect_error(s, line, PARE_EUSER, "deep");
	free(line);
	session_free(s);
}

static void
test_save(void **state)
{
	struct session *s = data_session();
	uint64_t hash;

	DO(s, "prune heads L0.h1");
	DO(s, "quantize L*.ffn bits=3");
	hash = hash_of(s);
	DO(s, "save %s/saved", root);
	DO(s, "open %s/saved", root);
	assert_true(hash_of(s) == hash);
	assert_int_equal(s->history.n, 1);
	/* Samples came along. */
	DO(s, "eval");
	session_free(s);
}

/* ---- the journal ---- */

/* Works in a child and dies by SIGKILL, without any goodbye. */
static void
crash_after(const char *const *lines)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct session *s = session_new();

		session_keep_journal(s);
		for (int i = 0; lines[i] != NULL; i++) {
			struct result r;

			if (session_run(s, lines[i], NULL, &r) != PARE_OK)
				_exit(3);
		}
		raise(SIGKILL);
		_exit(4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static char *crash_lines[16];

static const char *const *
crash_script(void)
{
	int n = 0;

	crash_lines[n++] = xstrdup("set threads 1");
	crash_lines[n++] = str_format("data %s/calib.tsv role=calib", root);
	crash_lines[n++] = str_format("open %s", model_dir);
	crash_lines[n++] = xstrdup("prune heads L0.h1");
	crash_lines[n++] = xstrdup("prune ffn L1");
	crash_lines[n++] = xstrdup("undo");
	crash_lines[n++] = xstrdup("recover epochs=1 lr=1e-3 seed=5");
	crash_lines[n++] = xstrdup("mark here");
	crash_lines[n++] = xstrdup("quantize L*.attn bits=5");
	crash_lines[n] = NULL;
	return (const char *const *)crash_lines;
}

static void
crash_script_free(void)
{
	for (int i = 0; crash_lines[i] != NULL; i++)
		free(crash_lines[i]);
}

static uint64_t
hash_after(const char *const *lines)
{
	struct session *s = session_new();
	uint64_t hash;

	for (int i = 0; lines[i] != NULL; i++)
		DO(s, "%s", lines[i]);
	hash = hash_of(s);
	session_free(s);
	return hash;
}

static void
test_resume(void **state)
{
	const char *const *lines = crash_script();
	struct journal_info info;
	struct session *s;
	uint64_t hash;
	FILE *f;

	assert_false(journal_find_crashed(&info));
	crash_after(lines);
	assert_true(journal_find_crashed(&info));
	assert_int_equal(info.changes, 6);
	assert_string_equal(info.model, model_dir);
	/* Torn in the middle of a record. */
	f = fopen(info.path, "a");
	fputs("{\"kind\":\"prune\",\"line\":\"prune ff", f);
	fclose(f);
	hash = hash_after(lines);
	s = session_new();
	s->interactive = true;
	expect_answer(s, "resume", "state", "4");
	assert_true(hash_of(s) == hash);
	assert_int_equal(s->history.n, 5);
	assert_string_equal(s->history.state[3].mark, "here");
	assert_string_equal(s->history.state[4].command, lines[8]);
	assert_int_not_equal(access(info.path, F_OK), 0);
	DO(s, "data %s/eval.tsv", root);
	DO(s, "eval");
	DO(s, "undo");
	session_free(s);
	journal_info_free(&info);
	/* Ended cleanly: nothing is left. */
	assert_false(journal_find_crashed(&info));
	crash_script_free();
}

/* A session that resumed and crashes again can be resumed again. */
static void
test_resume_twice(void **state)
{
	static const char *const again[] = { "set threads 1", "resume",
		"prune layers last 1", NULL };
	const char *const *lines = crash_script();
	struct session *s = session_new();

	crash_after(lines);
	crash_after(again);
	DO(s, "resume");
	assert_int_equal(s->history.n, 6);
	assert_int_equal(session_model(s)->nlayers, 2);
	session_free(s);
	crash_script_free();
}

static void
test_resume_refuses_other_weights(void **state)
{
	const char *const *lines = crash_script();
	struct session *s = session_new();
	struct tiny_dir *t = tiny_dir_new("bert", "ForSequenceClassification",
	    "F32");
	struct tiny_weight *w =
	    tiny_find(t, "bert.encoder.layer.2.output.dense.weight");

	crash_after(lines);
	assert_non_null(w);
	w->data[2] ^= 1;
	tiny_dir_write(t, model_dir);
	tiny_dir_free(t);
	expect_error(s, "resume", PARE_EFORMAT, "have changed");
	assert_null(session_model(s));
	DO(s, "resume discard=on");
	expect_error(s, "resume", PARE_EUSER, "nothing");
	session_free(s);
	crash_script_free();
}

static void
test_live_journal_is_not_offered(void **state)
{
	struct session *s = session_new();
	struct journal_info info;

	session_keep_journal(s);
	DO(s, "open %s", model_dir);
	DO(s, "prune ffn L0");
	assert_int_equal(access(journal_path(s->journal), F_OK), 0);
	assert_false(journal_find_crashed(&info));
	s->keep_journal = true;
	session_free(s);
	assert_true(journal_find_crashed(&info));
	journal_info_free(&info);
}

static void
test_journal_needs_a_home(void **state)
{
	struct session *s = session_new();
	char *home = getenv("HOME") != NULL ? xstrdup(getenv("HOME")) : NULL;

	unsetenv("XDG_STATE_HOME");
	unsetenv("HOME");
	session_keep_journal(s);
	assert_null(s->journal);
	DO(s, "open %s", model_dir);
	DO(s, "prune ffn L0");
	session_free(s);
	if (home != NULL)
		setenv("HOME", home, 1);
	free(home);
}

/* ---- live ---- */

static void
test_live(void **state)
{
	struct session *s = data_session();
	struct result r;

	s->interactive = true;
	r = run_line(s, NULL, "prune ffn L0");
	assert_int_equal(r.rc, PARE_OK);
	assert_true(json_is_object(json_object_get(r.doc, "eval")));
	assert_true(json_is_object(json_object_get(r.doc, "latency")));
	result_free(&r);
	expect_answer(s, "eval", "cached", "true");
	DO(s, "set live off");
	r = run_line(s, NULL, "prune ffn L1");
	assert_null(json_object_get(r.doc, "eval"));
	result_free(&r);
	session_free(s);
}

/* ---- completion ---- */

static bool
offers(struct session *s, const char *line, const char *word)
{
	char **list = session_complete(s, line, (int)strlen(line));
	bool found = false;

	assert_non_null(list);
	for (int i = 0; list[i] != NULL; i++) {
		found |= strcmp(list[i], word) == 0;
		if (i > 0)
			assert_true(strcmp(list[i - 1], list[i]) < 0);
	}
	for (int i = 0; list[i] != NULL; i++)
		free(list[i]);
	free(list);
	return found;
}

static void
test_completion(void **state)
{
	static const char *const hits[][2] = {
		{ "", "open" }, { "pr", "prune" }, { "pr", "predict" },
		{ "prune ", "heads" }, { "prune he", "heads" },
		{ "eval m", "metric=" }, { "eval metric=a", "metric=accuracy" },
		{ "eval fresh=", "fresh=on" }, { "goto fi", "first" },
		{ "goto ", "0" }, { "goto o", "original" },
		{ "show b", "by=" }, { "show by=t", "by=tensor" },
		{ "show L", "L0" }, { "prune heads L", "L2" },
		{ "help pru", "prune" }, { "help prune h", "heads" },
		{ "help tar", "targets" }, { "set th", "threads" },
		{ "set color al", "always" },
		{ "set columns by", "bytes" }, { "set columns ms,sh",
		"ms,share" }, { "expect acc", "accuracy" },
		{ "expect accuracy >", ">=" },
	};
	static const char *const misses[][2] = {
		{ "pr", "open" }, { "prune he", "ffn" },
		{ "eval metric=f1 ", "metric=" }, { "nothing ", "open" },
		{ "goto x", "0" }, { "set threads ", "threads" },
	};
	struct session *s = open_session();
	char *line, *word;

	DO(s, "mark first");
	for (size_t i = 0; i < sizeof(hits) / sizeof(*hits); i++)
		if (!offers(s, hits[i][0], hits[i][1]))
			fail_msg("'%s' does not offer %s", hits[i][0],
			    hits[i][1]);
	for (size_t i = 0; i < sizeof(misses) / sizeof(*misses); i++)
		if (offers(s, misses[i][0], misses[i][1]))
			fail_msg("'%s' offers %s", misses[i][0],
			    misses[i][1]);
	line = str_format("open %s/be", root);
	word = str_format("%s/bert/", root);
	assert_true(offers(s, line, word));
	free(line);
	free(word);
	line = str_format("predict out=%s/ev", root);
	word = str_format("out=%s/eval.tsv", root);
	assert_true(offers(s, line, word));
	free(line);
	free(word);
	session_free(s);
}

static void
test_completion_anywhere(void **state)
{
	static const char line[] =
	    "prune heads L0.h1 'a b\" \\ by=mag scope=# x= = '";
	struct session *s = open_session(), *empty = session_new();

	for (int i = -1; i <= (int)sizeof(line) + 3; i++) {
		char **a = session_complete(s, line, i);
		char **b = session_complete(empty, line, i);

		for (int k = 0; a[k] != NULL; k++)
			free(a[k]);
		for (int k = 0; b[k] != NULL; k++)
			free(b[k]);
		free(a);
		free(b);
	}
	assert_true(offers(empty, "", "open"));
	session_free(s);
	session_free(empty);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_command_table), TEST(test_metric_choices),
		TEST(test_settings), TEST(test_help), TEST(test_needs),
		TEST(test_errors_change_nothing),
		TEST(test_truncated_while_open), TEST(test_undo_is_exact),
		TEST(test_branches_and_marks), TEST(test_dry_run),
		TEST(test_config_alone), TEST(test_results_are_recalled),
		TEST(test_recall_again), TEST(test_earlier_sittings),
		TEST(test_eval_stop), TEST(test_eval_cache),
		TEST(test_tokens_once), TEST(test_compare_and_expect),
		TEST(test_predict_file), TEST(test_predict_text),
		TEST(test_data_overlap), TEST(test_recover),
		TEST(test_seed_of_ops), TEST(test_pairs_without_segments),
		TEST(test_show_heads),
		TEST(test_recover_canceled), TEST(test_cancel_eval),
		TEST(test_recipe), TEST(test_source_of_itself),
		TEST(test_save), TEST(test_resume), TEST(test_resume_twice),
		TEST(test_resume_refuses_other_weights),
		TEST(test_live_journal_is_not_offered),
		TEST(test_journal_needs_a_home), TEST(test_live),
		TEST(test_completion), TEST(test_completion_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
