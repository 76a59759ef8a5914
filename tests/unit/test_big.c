/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Seventy billion parameters in thirty shards: opening, info and show read
 * headers, and nothing else comes into memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/io.h"
#include "base/str.h"
#include "file/file.h"
#include "model/account.h"
#include "session/session.h"
#include "tests/big_llama.h"

/* Bytes of files and of the heap that are in memory now. */
static int64_t
resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long long size, pages = 0;

	if (f == NULL || fscanf(f, "%lld %lld", &size, &pages) != 2)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

static char *
make_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = str_format("%s/pare-big-XXXXXX", tmp != NULL ? tmp :
	    "/tmp");

	assert_non_null(mkdtemp(dir));
	if (big_llama_make(dir))
		return dir;
	big_llama_remove(dir);
	free(dir);
	skip();
	return NULL;
}

static void
test_open(void **state)
{
	char *dir = make_dir();
	struct pare_err err = { 0 };
	struct notes notes = { 0 };
	struct model *m = NULL;
	struct totals t;
	int64_t before = resident();

	if (file_open_model(dir, NULL, &m, &notes, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(notes.n, 0);
	assert_int_equal(m->nlayers, BIG_LAYERS);
	account_totals(m, 128, false, &t);
	assert_int_equal(t.params, BIG_PARAMS);
	assert_int_equal(t.bytes, 2 * BIG_PARAMS);
	assert_int_equal(t.tensors, 723);
	/* The weights are 141 GB. */
	assert_true(resident() - before < 64 << 20);
	model_unref(m);
	big_llama_remove(dir);
	free(dir);
}

static json_t *
run(struct session *s, const char *line)
{
	struct result r;
	json_t *doc;

	session_run(s, line, NULL, &r);
	if (r.rc != PARE_OK)
		fail_msg("%s: failed", line);
	doc = json_incref(r.doc);
	result_free(&r);
	return doc;
}

static void
test_commands(void **state)
{
	char *dir = make_dir(), *line = str_format("open '%s'", dir);
	struct session *s = session_new();
	int64_t before = resident();
	json_t *doc, *total;

	io_state_disable();
	json_decref(run(s, line));
	doc = run(s, "info");
	assert_int_equal(json_integer_value(json_object_get(doc, "params")),
	    BIG_PARAMS);
	assert_true(json_is_null(json_object_get(doc, "nonzero")));
	json_decref(doc);
	doc = run(s, "show");
	total = json_object_get(doc, "total");
	assert_int_equal(json_integer_value(json_object_get(total, "params")),
	    BIG_PARAMS);
	assert_true(json_is_null(json_object_get(total, "nonzero")));
	assert_int_equal(json_array_size(json_object_get(doc, "rows")),
	    BIG_LAYERS + 3);
	json_decref(doc);
	json_decref(run(s, "show L79 by=tensor"));
	assert_true(resident() - before < 64 << 20);
	session_free(s);
	big_llama_remove(dir);
	free(line);
	free(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
