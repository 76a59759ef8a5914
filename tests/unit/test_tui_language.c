/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The full screen on language models: what the top line and the views say of
 * perplexities and windows.
 */
#include "tiny_dir.h"

#include <math.h>

#include "session/session.h"
#include "ui/tui/states.h"
#include "ui/tui/top.h"
#include "ui/tui/view.h"

static char *root;
static struct session *session;
static struct app *app;

static void
do_line(const char *verb, const char *name)
{
	char *line = str_format("%s %s/%s", verb, root, name);
	struct result r;

	if (session_run(session, line, NULL, &r) != PARE_OK)
		fail_msg("%s does not work", line);
	result_free(&r);
	free(line);
}

static int
teardown(void **state)
{
	app_free(app);
	session_free(session);
	tiny_root_free(root);
	return 0;
}

static int
setup(void **state)
{
	struct str text = STR_INIT;
	char *dir;

	root = tiny_root();
	setenv("XDG_STATE_HOME", root, 1);
	dir = tiny_model_dir(root, "llama", "ForCausalLM", "F32");
	for (int i = 0; i < 200; i++)
		str_addf(&text, "%c ", 'a' + (i * i + i / 7) % 25);
	tiny_put(root, "story.txt", text.s, text.n);
	str_free(&text);
	free(dir);
	session = session_new();
	do_line("open", "llama");
	do_line("data", "story.txt");
	app = app_new(session, false);
	app_refresh(app, 0);
	return 0;
}

static void
type_line(const char *line)
{
	assert_true(app_command(app, line));
}

typedef void draw_fn(const struct app *app, struct cells *c, struct rect r);

static void
expect_drawn(draw_fn *draw, int rows, const char *text, bool there)
{
	struct cells c = { 0 };
	char *s;

	cells_init(&c, rows, 110, true);
	draw(app, &c, cells_all(&c));
	s = cells_dump(&c, false);
	if ((strstr(s, text) != NULL) != there)
		fail_msg("'%s' is %sin\n%s", text, there ? "not " : "", s);
	free(s);
	cells_free(&c);
}

static void
test_top(void **state)
{
	char want[64];

	assert_true(app->snap.can_eval);
	assert_int_equal(app->snap.metric, METRIC_PERPLEXITY);
	expect_drawn(top_draw, 2, "perplexity ?", true);
	type_line("eval");
	assert_non_null(app_now(app)->eval);
	snprintf(want, sizeof(want), "perplexity %.3f (%.3f-%.3f)",
	    app_now(app)->eval->value, app_now(app)->eval->low,
	    app_now(app)->eval->high);
	expect_drawn(top_draw, 2, want, true);
	type_line("prune heads target=L1.h0");
	type_line("eval");
	assert_true(app->snap.compared);
	assert_true(app->snap.comparison.ratio > 0);
	snprintf(want, sizeof(want), "x %.3f: %lld fixed %lld broke",
	    app->snap.comparison.ratio,
	    (long long)app->snap.comparison.fixed,
	    (long long)app->snap.comparison.broke);
	expect_drawn(top_draw, 2, want, true);
	app->snap.partial = (struct snap_partial){ .on = true, .state = 1,
		.n = 7, .total = 90, .value = 12.5, .low = 11, .high = 14 };
	evaluation_free(app->snap.state[1].eval);
	free(app->snap.state[1].eval);
	app->snap.state[1].eval = NULL;
	expect_drawn(top_draw, 2, "~12.500 (11.000-14.000, partial 7/90)",
	    true);
}

static double
window_perplexity(const struct evaluation *v, int64_t w)
{
	double sum = 0;

	for (int64_t t = v->window[w]; t < v->window[w + 1]; t++)
		sum -= (double)v->logits[t];
	return exp(sum / (double)(v->window[w + 1] - v->window[w]));
}

static void
test_samples(void **state)
{
	char want[64];

	type_line("eval");
	type_line("prune heads target=L1.h0");
	type_line("eval");
	app_push(app, VIEW_SAMPLES);
	expect_drawn(view_samples.draw, 24, "scored", true);
	expect_drawn(view_samples.draw, 24, "Window 0, ", true);
	for (int64_t w = 0; w < 3; w++)
		for (int s = 0; s < 2; s++) {
			snprintf(want, sizeof(want), "%.3f",
			    window_perplexity(app->snap.state[s].eval, w));
			expect_drawn(view_samples.draw, 24, want, true);
		}
	for (int i = 0; i < 8; i++) {
		assert_true(view_samples.act(app, ACT_FILTER));
		assert_true(view_samples.act(app, ACT_SORT));
		expect_drawn(view_samples.draw, 24, "better, ", true);
		expect_drawn(view_samples.draw, 5, "fixed", false);
	}
	/* Another cut makes other windows. */
	type_line("eval custom=stride context=8");
	assert_int_equal(app->snap.data->cut.custom, CUT_STRIDE);
	expect_drawn(view_samples.draw, 24, "Window ", true);
	assert_true(view_samples.act(app, ACT_ENTER));
}

static void
test_compare(void **state)
{
	type_line("eval");
	type_line("quantize all bits=2 group=row");
	type_line("eval");
	compare_choose(app, 0, 1);
	app_push(app, VIEW_COMPARE);
	expect_drawn(view_compare.draw, 40, "perplexity x ", true);
	expect_drawn(view_compare.draw, 40, "changed in each window", true);
}

/* The budget goes by the perplexity, from the first line on. */
static void
test_budget(void **state)
{
	const struct snap_plan *p;
	char want[96];

	do_line("data role=calib", "story.txt");
	app_push(app, VIEW_PLAN);
	expect_drawn(view_plan.draw, 24, "plan drop<=2% apply=off", true);
	type_line("plan drop<=2% apply=off using=quantize samples=2");
	app_push(app, VIEW_PLAN);
	p = app->snap.plan;
	assert_non_null(p);
	assert_true(p->book->tokens);
	assert_true(view_plan.act(app, ACT_LAST));
	snprintf(want, sizeof(want), "%% more perplexity, %.4f bits a byte "
	    "more)", plan_bits(p->book, 1 + plan_fit_at(&p->drop,
	    p->curve[PLAN_BYTES].loss[p->curve[PLAN_BYTES].n - 1])));
	expect_drawn(view_plan.draw, 24, want, true);
	expect_drawn(view_plan.draw, 24, "points lost", false);
	assert_true(view_plan.act(app, ACT_FIRST));
	expect_drawn(view_plan.draw, 24, "bits=", true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_top, setup, teardown),
		cmocka_unit_test_setup_teardown(test_samples, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_compare, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
	};

	return cmocka_run_group_tests_name("tui language", tests, NULL, NULL);
}
