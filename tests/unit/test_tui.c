/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The workbench without a terminal: cells, the layout at every size, the table
 * of keys, the worker, and the frame with the module tree, the help and the output
 * drawn at several sizes and compared with tests/unit/screens/tui.txt.
 */
#include "tui_screens.h"

#include <math.h>
#include <time.h>

#include "measure/evaluate.h"
#include "session/memory.h"
#include "session/settings.h"
#include "ui/tui/app_private.h"
#include "ui/tui/column.h"
#include "ui/tui/top.h"

/* ---- cells --------------------------------------------------------------- */

static void
expect_dump(const struct cells *c, const char *want)
{
	char *got = cells_dump(c, false);

	assert_string_equal(got, want);
	free(got);
}

static void
test_cells(void **state)
{
	struct cells c = { 0 };

	cells_init(&c, 2, 8, false);
	assert_int_equal(cells_put(&c, 0, 0, 8, STYLE_NORMAL, "abc"), 3);
	assert_int_equal(cells_put(&c, 1, 2, 4, STYLE_NORMAL, "abcdef"), 4);
	expect_dump(&c, "abc\n  abc…\n");
	/* Outside is fine, wholly or in part. */
	cells_put(&c, -1, 0, 8, STYLE_NORMAL, "x");
	cells_put(&c, 5, 0, 8, STYLE_NORMAL, "x");
	cells_put(&c, 0, -2, 8, STYLE_NORMAL, "xyz");
	cells_put(&c, 0, 6, 8, STYLE_NORMAL, "pqr");
	expect_dump(&c, "zbc   pq\n  abc…\n");
	cells_fill(&c, (struct rect){ -3, -3, 100, 6 }, STYLE_NORMAL);
	expect_dump(&c, "      pq\n   bc…\n");
	assert_int_equal(cells_put_right(&c, 0, 0, 5, STYLE_NORMAL, "ab"), 2);
	expect_dump(&c, "   ab pq\n   bc…\n");
	cells_free(&c);
}

static void
test_cells_text(void **state)
{
	struct cells c = { 0 };

	/* Wide characters take two cells; half of one leaves a blank. */
	cells_init(&c, 1, 6, false);
	assert_int_equal(cells_put(&c, 0, 0, 6, STYLE_NORMAL, "漢字"), 4);
	assert_int_equal(cells_at(&c, 0, 0)->width, 2);
	assert_int_equal(cells_at(&c, 0, 1)->width, 0);
	cells_put(&c, 0, 1, 1, STYLE_NORMAL, "x");
	expect_dump(&c, " x字\n");
	cells_put(&c, 0, 5, 4, STYLE_NORMAL, "漢");
	expect_dump(&c, " x字\n");
	/* Marks join the character before; escapes never arrive. */
	cells_clear(&c);
	assert_int_equal(cells_put(&c, 0, 0, 6, STYLE_NORMAL,
	    "e\xcc\x81" "f"), 2);
	expect_dump(&c, "e\xcc\x81" "f\n");
	cells_clear(&c);
	cells_put(&c, 0, 0, 6, STYLE_NORMAL, "a\033[2J\xff");
	expect_dump(&c, "a?[2J?\n");
	cells_init(&c, 1, 6, true);
	cells_put(&c, 0, 0, 6, STYLE_NORMAL, "é漢x");
	for (int i = 0; i < 6; i++)
		assert_true((unsigned char)cells_at(&c, 0, i)->s[0] < 128);
	cells_free(&c);
}

static void
test_cells_style(void **state)
{
	struct cells c = { 0 };
	char *got;

	cells_init(&c, 1, 4, true);
	cells_put(&c, 0, 0, 4, STYLE_TITLE, "ab");
	cells_select(&c, (struct rect){ 0, 1, 1, 2 });
	got = cells_dump(&c, true);
	assert_string_equal(got, "ab\n|tT#\n");
	free(got);
	for (int g = 0; g < GLYPH_COUNT; g++) {
		assert_non_null(glyph(&c, (enum glyph)g));
		for (const char *s = glyph(&c, (enum glyph)g); *s; s++)
			assert_true((unsigned char)*s < 128);
	}
	assert_int_equal(heat_level(NAN), 0);
	assert_int_equal(heat_level(0.55), 5);
	assert_int_equal(heat_level(7), 9);
	cells_free(&c);
}

/* ---- layout -------------------------------------------------------------- */

static bool
overlap(struct rect a, struct rect b)
{
	return a.row < b.row + b.rows && b.row < a.row + a.rows &&
	    a.col < b.col + b.cols && b.col < a.col + a.cols;
}

/* Inside, apart from each other, and nothing is left over. */
static void
check_layout(int rows, int cols, const struct layout_want *want)
{
	struct rect list[PANE_COUNT + 1];
	struct layout l;
	int n = 0, area = 0;

	layout_make(rows, cols, want, &l);
	for (int i = 0; i <= PANE_COUNT; i++) {
		struct rect r = i < PANE_COUNT ? l.pane[i] : l.split;

		if (r.rows == 0)
			continue;
		assert_true(r.row >= 0 && r.col >= 0 && r.rows > 0 &&
		    r.cols > 0 && r.row + r.rows <= rows &&
		    r.col + r.cols <= cols);
		for (int k = 0; k < n; k++)
			assert_false(overlap(r, list[k]));
		list[n++] = r;
		area += r.rows * r.cols;
	}
	assert_int_equal(area, rows * cols);
	assert_int_equal(l.pane[PANE_HINTS].row, rows - 1);
	assert_int_equal(l.pane[PANE_HINTS].rows, 1);
	if (rows >= 2)
		assert_true(l.pane[PANE_MAIN].rows >= 1);
}

static void
test_layout(void **state)
{
	for (int k = 0; k < 8; k++) {
		struct layout_want want = { k & 1, (k & 2) != 0,
			(k & 4) != 0 ? 60 : 0 };

		for (int rows = 1; rows <= 60; rows++)
			for (int cols = 1; cols <= 200; cols++)
				check_layout(rows, cols, &want);
	}
}

/* ---- keys and helpers ---------------------------------------------------- */

/* A letter or other key of one byte that does the same in the view. */
static bool
has_letter(enum view_id v, enum action a)
{
	for (int key = 1; key < 127; key++)
		if (keys_find(v, key) == a)
			return true;
	return false;
}

static void
test_keys(void **state)
{
	for (const struct key_row *k = key_table; k->key != K_NONE; k++) {
		char name[16];

		assert_true(k->action > ACT_NONE && k->action < ACTION_COUNT);
		assert_true(k->views != 0 && (k->views & ~IN_ALL) == 0);
		assert_true(k != key_table || k->help != NULL);
		/* A key without words goes with the row above. */
		if (k->help == NULL)
			assert_int_equal(k->action, k[-1].action);
		keys_name(k->key, name);
		assert_true(name[0] != '\0');
		assert_true(name[0] != '?' || k->key == '?');
		for (int v = 0; v < VIEW_COUNT; v++)
			if ((k->views & 1u << v) != 0 && k->key >= K_F1 &&
			    k->key <= K_F10 &&
			    keys_find((enum view_id)v, k->key) == k->action)
				assert_true(v == VIEW_APPLY || has_letter(
				    (enum view_id)v, k->action));
	}
	/* Every view has its help, its way out and its redrawing. */
	for (int v = 0; v < VIEW_COUNT; v++) {
		assert_int_equal(view_table[v]->id, v);
		/* Esc never leaves the program: in the first view it is idle. */
		assert_int_equal(keys_find((enum view_id)v, K_ESC),
		    v == VIEW_TREE ? ACT_NONE : ACT_BACK);
		assert_int_equal(keys_find((enum view_id)v, K_CTRL('L')),
		    ACT_REDRAW);
		assert_int_equal(keys_find((enum view_id)v, K_F1),
		    v == VIEW_HELP ? ACT_BACK : ACT_HELP);
	}
}

static void
test_view_helpers(void **state)
{
	for (int n = 0; n < 12; n++)
		for (int rows = 1; rows < 14; rows++)
			for (int at = 0; at < n; at++) {
				int top = view_top(at, n, rows);

				assert_true(top >= 0 && top <= at &&
				    at < top + rows);
				assert_true(top == 0 || top + rows <= n);
			}
	assert_int_equal(view_move(ACT_UP, 0, 5, 3), 0);
	assert_int_equal(view_move(ACT_DOWN, 4, 5, 3), 4);
	assert_int_equal(view_move(ACT_PAGE_DOWN, 0, 9, 4), 3);
	assert_int_equal(view_move(ACT_LAST, 0, 0, 4), 0);
	assert_int_equal(view_move(ACT_SORT, 3, 9, 4), 3);
	assert_true(view_has_text("Straße ÄB", "äb"));
	assert_false(view_has_text("abc", "abd"));
}

/* ---- the worker ---------------------------------------------------------- */

struct probe {
	struct job job;
	struct str *log;	/* of the loop thread */
	const char *name;
	int ticks;		/* to make */
	struct probe *inner;	/* added at the first tick */
	atomic_bool *until;	/* ticks until this is set */
};

static enum pare_rc
probe_run(struct job *job, struct task *task, struct pare_err *err)
{
	struct probe *p = (struct probe *)job;

	for (int i = 0; i < p->ticks || p->until != NULL; i++) {
		worker_post(job);
		if (!task_tick(task, i, p->ticks, "ticks"))
			return task_error(err);
		if (p->until != NULL && atomic_load(p->until))
			break;
	}
	return PARE_OK;
}

static void
probe_done(struct app *a, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct probe *p = (struct probe *)job;

	str_addf(p->log, "%s%s ", p->name, rc == PARE_OK ? "" : "!");
	if (p->until == NULL && p->job.quick && p->inner != NULL)
		atomic_store(p->inner->until, true);
}

static void
probe_progress(struct app *a, struct job *job)
{
	struct probe *p = (struct probe *)job;

	if (p->inner == NULL)
		return;
	worker_add(job->worker, &p->inner->job);
	p->inner = NULL;
}

static void
probe_drop(struct job *job)
{
	free(job);
}

static struct probe *
probe_new(struct str *log, const char *name, int ticks)
{
	struct probe *p = xcalloc(1, sizeof(*p));

	p->job.title = "probing";
	p->job.run = probe_run;
	p->job.progress = probe_progress;
	p->job.done = probe_done;
	p->job.drop = probe_drop;
	p->log = log;
	p->name = name;
	p->ticks = ticks;
	return p;
}

static void
settle(struct worker *w)
{
	while (!worker_idle(w)) {
		worker_dispatch(w, NULL);
		if (!worker_idle(w))
			worker_wait(w);
	}
}

static void
test_worker(void **state)
{
	struct worker *w = worker_new();
	struct str log = STR_INIT;
	struct probe *p;

	assert_non_null(w);
	for (int i = 0; i < 3; i++)
		worker_add(w, &probe_new(&log, i == 0 ? "a" : i == 1 ? "b" :
		    "c", 3)->job);
	p = probe_new(&log, "d", 3);
	worker_add(w, &p->job);
	worker_cancel(w, &p->job);
	settle(w);
	/* In order; a job that was canceled is told so, unless it was over. */
	assert_true(strcmp(log.s, "a b c d! ") == 0 ||
	    strcmp(log.s, "a b c d ") == 0);
	worker_free(w);
	str_free(&log);
}

/* A quick job runs inside a long one, which goes on until that is done. */
static void
test_worker_quick(void **state)
{
	struct worker *w = worker_new();
	struct str log = STR_INIT;
	atomic_bool end = false;
	struct probe *p = probe_new(&log, "long", 0), *q;

	p->until = &end;
	q = probe_new(&log, "quick", 0);
	q->job.quick = true;
	q->inner = p;
	worker_add(w, &p->job);
	worker_add(w, &q->job);
	settle(w);
	assert_string_equal(log.s, "quick long ");
	worker_free(w);
	str_free(&log);
}

/* Leaving cancels and drops what runs and what waits. */
static void
test_worker_leave(void **state)
{
	struct worker *w = worker_new();
	struct str log = STR_INIT;
	atomic_bool never = false;
	struct probe *p = probe_new(&log, "p", 0);

	p->until = &never;
	worker_add(w, &p->job);
	worker_add(w, &probe_new(&log, "q", 1)->job);
	worker_free(w);
	assert_string_equal(log.s, "");
	str_free(&log);
}

/* ---- a workbench on a small model ---------------------------------------- */

/* Samples, malloc'ed. */
static char *
make_data(void)
{
	static const char *const words[] = { "the", "movie", "was", "not",
		"awful", "quite", "timeless", "plot", "wit" };
	static const char *const labels[] = { "good", "fair", "bad" };
	struct str b = STR_INIT;

	str_add(&b, "text\tlabel\n");
	for (int i = 0; i < 60; i++)
		str_addf(&b, "%s %s %s .\t%s\n", words[i % 9],
		    words[i * 5 % 7], words[i * 3 % 8], labels[i * i % 3]);
	return str_detach(&b);
}

static int
setup_app(bool worker)
{
	char *data = make_data();
	int rc = open_app("small", data, worker);

	free(data);
	return rc;
}

static int
setup(void **state)
{
	return setup_app(false);
}

static int
setup_worker(void **state)
{
	return setup_app(true);
}

/* ---- expected screens ---------------------------------------------------- */

static void
check_sizes(const char *name)
{
	struct cells c = { 0 };

	for (int i = 0; i < 4; i++)
		for (int ascii = 0; ascii < 2; ascii++) {
			cells_init(&c, screen_sizes[i][1], screen_sizes[i][0],
			    ascii);
			app_draw(app, &c);
			check_screen("tui.txt", name, &c);
		}
	cells_free(&c);
}

/* What the whole screen says at 100x30; malloc'ed. */
static char *
drawn(void)
{
	struct cells c = { 0 };
	char *s;

	cells_init(&c, 30, 100, true);
	app_draw(app, &c);
	s = cells_dump(&c, false);
	cells_free(&c);
	return s;
}

static void
expect_drawn(const char *text, bool there)
{
	char *s = drawn();

	if ((strstr(s, text) != NULL) != there)
		fail_msg("%s%s\n%s", text, there ? " is missing" : " is there",
		    s);
	free(s);
}

static void
press(const char *keys)
{
	for (; *keys != '\0'; keys++)
		app_key(app, *keys == '\n' ? K_ENTER : *keys);
}

static void
test_screens(void **state)
{
	check_sizes("tree");
	press("jj\nj\nj");
	check_sizes("tree open");
	assert_string_equal(app->target.path, "L1.h0");
	app_command(app, "prune heads L1.h1,2");
	app_command(app, "eval");
	app_pop(app);
	check_sizes("pruned");
	press("?");
	check_sizes("help");
	press("?");
	app_command(app, "show by=kind");
	check_sizes("output");
}

/* ---- the top lines ------------------------------------------------------- */

/* The rows above the panes at a size, as one text; malloc'ed. */
static char *
top_text(int rows, int cols)
{
	struct cells c = { 0 };
	struct rect r;
	char *s;

	cells_init(&c, rows, cols, true);
	app_draw(app, &c);
	r = app->layout.pane[PANE_TOP];
	for (int i = r.rows * cols; i < rows * cols; i++)
		c.cell[i] = (struct cell){ .s = " ", .width = 1 };
	s = cells_dump(&c, false);
	cells_free(&c);
	return s;
}

static void
expect_top(int rows, int cols, const char *const *want, int n)
{
	char *s = top_text(rows, cols);

	for (int i = 0; i < n; i++)
		if (strstr(s, want[i]) == NULL)
			fail_msg("%dx%d: '%s' is not in\n%s", cols, rows,
			    want[i], s);
	free(s);
}

/* With a change of everything, and figures as long as they get. */
static void
test_top(void **state)
{
	static const char *const all[] = { "small", "of 2", "66.7 % (54.1-77.3)",
		"+0.0", "-56.3", "-53.5", "-99.7", "12.34 x",
		"98.7 ms", "params 189 M", "1013.1 MiB", "MACs 12.3 M" };
	struct snap_state *s;

	app_command(app, "prune heads L1.h1,2");
	app_command(app, "eval");
	app_pop(app);
	s = app->snap.state;
	s[0].totals.params = 432109876;
	s[1].totals.params = 188999999;
	s[0].totals.bytes = 2284553216;
	s[1].totals.bytes = 1062317000;
	s[0].totals.macs = (int64_t)(4.1e9 * (double)app->snap.seq);
	s[1].totals.macs = (int64_t)(12.3e6 * (double)app->snap.seq);
	s[1].has_latency = true;
	s[1].latency = (struct latency){ .p50_ms = 98.7, .ratio = 12.34,
		.has_ratio = true };
	expect_top(24, 80, all, 12);
	for (int cols = 80; cols <= 200; cols += 3)
		for (int rows = 24; rows <= 60; rows += 12)
			expect_top(rows, cols, all, 12);
	/* Below that size what matters most stays longest. */
	expect_top(10, 40, (const char *const[]){ "66.7 %", "+0.0",
	    "MiB", "1/2" }, 4);
	expect_top(10, 20, (const char *const[]){ "66.7 %" }, 1);
	expect_top(24, 60, (const char *const[]){ "small", "state 1 of 2",
	    "accuracy 66.7 % (54.1-77.3)", "MiB", "x" }, 5);
}

/* At every width the figures fit or the last one alone is left, and a cheaper
 * figure is never shown at the price of a dearer one. */
static void
test_top_fit(void **state)
{
	const struct top_figure made[] = {
		{ { "aaaaaaaaaaaa", "aaaa" }, { 2, 9 }, 0, STYLE_TOP },
		{ { "bbbbbbbb" }, { 1 }, 0, STYLE_TOP },
		{ { "cccccccc", "cccc", "c" }, { 2, 3, 100 }, 0, STYLE_TOP },
	};
	const int n = 3;

	for (int cols = 0; cols < 40; cols++) {
		struct top_figure f[3];
		int width = -TOP_GAP, shown = 0;

		memcpy(f, made, sizeof(f));
		top_fit(f, n, cols);
		for (int i = 0; i < n; i++) {
			const char *s = f[i].at < TOP_SPELLINGS ?
			    f[i].text[f[i].at] : "";

			if (s[0] == '\0')
				continue;
			shown++;
			width += (int)strlen(s) + TOP_GAP;
		}
		assert_true(width <= cols || shown <= 2);
		/* One price, one step. */
		assert_int_equal(f[0].at > 0, f[2].at > 0);
		if (f[2].at > 0)
			assert_int_equal(f[1].at, 1);
	}
}

/* ---- the columns of the tree --------------------------------------------- */

static void
expect_columns(const char *want)
{
	char text[COLUMNS_TEXT];

	column_list_spell(tree_columns(app), text);
	assert_string_equal(text, want);
	assert_string_equal(settings_text(session->settings, SET_COLUMNS),
	    want);
}

static void
test_column_table(void **state)
{
	struct column_list all, list;
	char text[COLUMNS_TEXT];
	int n = 0;

	while (setting_table[SET_COLUMNS].choices[n] != NULL)
		n++;
	assert_int_equal(n, COL_COUNT);
	for (int i = 0; i < COL_COUNT; i++)
		assert_true(column_table[i].width > 0 &&
		    column_table[i].text[0] != '\0');
	/* All of them fit into the text, and come back. */
	all = column_presets[COLUMN_PRESETS - 1];
	assert_int_equal(all.n, COL_COUNT);
	column_list_spell(&all, text);
	column_list_parse(text, &list);
	assert_true(column_list_equal(&all, &list));
	column_list_parse(setting_table[SET_COLUMNS].dflt, &list);
	assert_true(column_list_equal(&column_presets[0], &list));
	column_list_parse("bits,,nothing,bits,ms", &list);
	column_list_spell(&list, text);
	assert_string_equal(text, "bits,ms");
}

/* The setting and the keys are two ways to one thing. */
static void
test_columns(void **state)
{
	expect_columns("params,bytes,form,share,bar");
	app_command(app, "set columns bits,sparsity");
	expect_columns("bits,sparsity");
	expect_drawn("bits", true);
	expect_drawn("zeros", true);
	expect_drawn("params  ", false);
	/* The own choice is one of those that c goes through. */
	press("ccccc");
	expect_columns("bits,sparsity");
	press("c");
	expect_columns("params,bytes,form,share,bar");
	app_command(app, "set columns bits,sparsity");
	/* One by one: hide, move, show, sort. */
	press("C");
	assert_int_equal(app->stack[app->depth - 1], VIEW_COLUMNS);
	press(" ");
	expect_columns("sparsity");
	press(" ");
	expect_columns("sparsity,bits");
	app_key(app, K_LEFT);
	expect_columns("bits,sparsity");
	app_key(app, K_LEFT);
	expect_columns("bits,sparsity");
	press("j");
	app_key(app, K_LEFT);
	expect_columns("sparsity,bits");
	press("/magnitude\n ");
	expect_columns("sparsity,bits,importance");
	check_sizes("columns");
	press("s");
	expect_drawn("sorted by importance", true);
	press("gx");
	press("gx");
	press("gx");
	expect_drawn("one column stays", true);
	press("d");
	expect_columns("params,bytes,form,share,bar");
	press("C");
	assert_int_equal(app->stack[app->depth - 1], VIEW_TREE);
}

/* Sorting by forms and by what has to be measured first. */
static void
test_column_order(void **state)
{
	app_command(app, "quantize L2 bits=4");
	app_command(app, "set columns form,importance");
	press("gs");
	expect_drawn("sorted by form", true);
	press("g");
	assert_string_equal(app->target.path, "emb");
	press("S");
	press("g");
	assert_string_not_equal(app->target.path, "emb");
	press("s");
	expect_drawn("sorted by importance", true);
	expect_drawn("L2 norm", true);
	press("g");
	assert_int_equal(app->target.kind, TARGET_LAYER);
	press("s");
	expect_drawn("in the order of the model", true);
	press("g");
	assert_string_equal(app->target.path, "emb");
}

/* Every view at every size: nothing breaks, and the last row is there. */
static void
test_sizes(void **state)
{
	struct cells c = { 0 };

	app_command(app, "prune heads L1.h1");
	app_command(app, "eval");
	for (int v = 0; v < VIEW_COUNT; v++) {
		app_push(app, (enum view_id)v);
		for (int rows = 1; rows <= 60; rows += rows < 12 ? 1 : 7)
			for (int cols = 1; cols <= 200; cols +=
			    cols < 24 ? 1 : 11) {
				cells_init(&c, rows, cols, rows % 2 == 0);
				app_draw(app, &c);
			}
		app_pop(app);
	}
	cells_free(&c);
}

/* ---- what keys do -------------------------------------------------------- */

static void
test_tree_keys(void **state)
{
	press("gG");
	assert_string_equal(app->target.path, "head");
	press("g");
	assert_string_equal(app->target.path, "emb");
	/* Search goes into what is folded, wraps, and says so. */
	press("/L1.ffn.up\n");
	assert_string_equal(app->target.path, "L1.up");
	press("nn");
	expect_drawn("from the top again", true);
	press("/no such thing\n");
	expect_drawn("not found", true);
	/* The selection survives sorting, flattening, pruning and undo. */
	press("g/L2.h2\n");
	assert_string_equal(app->target.path, "L2.h2");
	press("sSstt");
	assert_string_equal(app->target.path, "L2.h2");
	press("x");
	assert_int_equal(app->snap.n, 2);
	assert_string_equal(app->target.path, "L2.h2");
	assert_false(target_exists(app_model(app), &app->target));
	expect_drawn("pruned", true);
	press("u");
	assert_int_equal(app->snap.current, 0);
	assert_true(target_exists(app_model(app), &app->target));
	press("R");
	assert_int_equal(app->snap.current, 1);
	press("h");
	assert_string_equal(app->target.path, "L2.attn");
	press("z");
	assert_string_equal(app->target.path, "L2");
	press("cc");
	expect_drawn("MACs", true);
}

static void
test_messages(void **state)
{
	/* An error names what was wrong and changes nothing. */
	app_command(app, "prune heads L9.h0");
	expect_drawn("error: ", true);
	assert_int_equal(app->snap.n, 1);
	/* Long answers open a pane, short ones do not. */
	app_command(app, "info");
	assert_int_equal(app->stack[app->depth - 1], VIEW_OUTPUT);
	press("/hidden size never said\n");
	expect_drawn("not found", true);
	press("q");
	assert_int_equal(app->depth, 1);
	app_command(app, "mark here");
	assert_int_equal(app->depth, 1);
	/* Leaving asks once something would be lost. */
	app_command(app, "prune heads L0.h0");
	press("q");
	expect_drawn("not saved", true);
	press("n");
	assert_false(app->p->quit);
	press("Q");
	assert_false(app->p->quit);
	press("y");
	assert_true(app->p->quit);
}

static void
test_interrupt(void **state)
{
	app_interrupt(app);
	expect_drawn("press q to quit", true);
	assert_false(app->p->quit);
	press("/ab");
	app_interrupt(app);
	assert_int_equal(app->p->mode, MODE_KEYS);
	press("q");
	assert_true(app->p->quit);
}

/* ---- with a worker ------------------------------------------------------- */

/* What the workbench evaluated in the background is what `eval` finds. */
static void
test_live(void **state)
{
	const struct evaluation *v;
	struct result r;

	jobs_start_evaluation(app);
	assert_true(app->snap.partial.on);
	app_settle(app);
	v = app_now(app)->eval;
	assert_non_null(v);
	assert_int_equal(v->n, 60);
	assert_false(app->snap.partial.on);
	assert_int_equal(session_run(session, "eval", NULL, &r), PARE_OK);
	assert_true(json_is_true(json_object_get(r.doc, "cached")));
	assert_true(json_real_value(json_object_get(r.doc, "value")) ==
	    v->value);
	result_free(&r);
	/* After a change by itself, compared with the original. */
	app_command(app, "prune heads L0.h1");
	app_settle(app);
	assert_int_equal(app->snap.current, 1);
	assert_non_null(app_now(app)->eval);
	assert_true(app->snap.compared);
	/* Coming back shows what is known, at once. */
	app_command(app, "undo");
	assert_int_equal(app->snap.current, 0);
	assert_non_null(app_now(app)->eval);
	assert_null(app->p->eval);
}

/* What an earlier sitting measured is there without being measured again. */
static void
test_earlier_sitting(void **state)
{
	double seconds;

	jobs_start_evaluation(app);
	app_settle(app);
	assert_non_null(app_now(app)->eval);
	seconds = app_now(app)->eval->seconds;
	app_free(app);
	session_free(session);
	reopen_app("small", true);
	assert_null(app_now(app)->eval);
	jobs_start_evaluation(app);
	app_settle(app);
	assert_non_null(app_now(app)->eval);
	assert_true(app_now(app)->eval->seconds == seconds);
}

static void
test_live_off(void **state)
{
	app_command(app, "set live off");
	app_settle(app);
	app_command(app, "prune heads L0.h1");
	app_settle(app);
	assert_null(app_now(app)->eval);
	assert_int_equal(app->depth, 1);
	press("e");
	assert_non_null(app->p->eval);
	app_settle(app);
	assert_non_null(app_now(app)->eval);
}

/* How things look is no reason to evaluate again. */
static void
test_columns_let_it_run(void **state)
{
	const struct eval_job *job;

	jobs_start_evaluation(app);
	job = app->p->eval;
	assert_non_null(job);
	press("c");
	assert_ptr_equal(app->p->eval, job);
	assert_false(app_busy(app));
	expect_drawn("set columns bytes,bits,form,sparsity", true);
	app_command(app, "set threads 1");
	assert_true(app_busy(app));
	/* While a command runs the choice is the view's alone. */
	press("c");
	assert_int_equal(tree_columns(app)->id[0], COL_MACS);
	app_settle(app);
	assert_int_equal(tree_columns(app)->id[0], COL_MACS);
	assert_non_null(app_now(app)->eval);
}

/* Lines wait for each other; what they leave is what they leave one by one. */
static void
test_queue(void **state)
{
	app_command(app, "prune heads L0.h0");
	assert_true(app_busy(app));
	app_command(app, "prune heads L1.h0");
	app_command(app, "undo");
	app_command(app, "prune ffn L2");
	app_interrupt(app);
	app_settle(app);
	assert_false(app_busy(app));
	/* Stopped anywhere, the history is whole. */
	assert_int_equal(app->snap.n, session->history.n);
	assert_int_equal(app->snap.current, session->history.current);
	app_command(app, "goto 0");
	app_command(app, "prune heads L0.h0");
	app_command(app, "undo");
	app_command(app, "prune ffn L2");
	app_settle(app);
	assert_int_equal(app_now(app)->parent, 0);
	assert_string_equal(app_now(app)->command, "prune ffn L2");
}

/* A table that fills in comes up once, and ends as the answer. */
static void
test_part(void **state)
{
	char line[1024], *page, *at;

	snprintf(line, sizeof(line), "data %s/eval.tsv role=calib limit=40",
	    root);
	app_command(app, line);
	app_command(app, "sweep heads greedy");
	app_settle(app);
	assert_int_equal(app_view(app)->id, VIEW_OUTPUT);
	page = drawn();
	at = strstr(page, "sweep heads greedy: ");
	assert_non_null(at);
	assert_null(strstr(at + 1, "sweep heads greedy: "));
	assert_non_null(strstr(at, "round  removed"));
	free(page);
	app_key(app, 'q');
	assert_int_not_equal(app_view(app)->id, VIEW_OUTPUT);
}

/* Changes faster than evaluations, and samples that are replaced under them. */
static void
test_races(void **state)
{
	char line[1024];

	do_line("set threads 2");
	snprintf(line, sizeof(line), "data %s/eval.tsv limit=30", root);
	for (int i = 0; i < 6; i++) {
		app_command(app, i % 2 == 0 ? "prune heads L0.h1" : "undo");
		if (i == 3)
			app_command(app, line);
		if (i == 4)
			app_interrupt(app);
		worker_dispatch(app->p->worker, app);
		free(drawn());
	}
	app_settle(app);
	app_evaluate(app);
	app_settle(app);
	assert_non_null(app_now(app)->eval);
	assert_int_equal(app_now(app)->eval->total, app->snap.data->n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cells),
		cmocka_unit_test(test_cells_text),
		cmocka_unit_test(test_cells_style),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_view_helpers),
		cmocka_unit_test(test_worker),
		cmocka_unit_test(test_worker_quick),
		cmocka_unit_test(test_worker_leave),
		cmocka_unit_test_setup_teardown(test_screens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_top, setup, teardown),
		cmocka_unit_test(test_top_fit),
		cmocka_unit_test(test_column_table),
		cmocka_unit_test_setup_teardown(test_columns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_column_order, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_tree_keys, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_messages, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_interrupt, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_live, setup_worker,
		    teardown),
		cmocka_unit_test_setup_teardown(test_earlier_sitting,
		    setup_worker, teardown),
		cmocka_unit_test_setup_teardown(test_live_off, setup_worker,
		    teardown),
		cmocka_unit_test_setup_teardown(test_columns_let_it_run,
		    setup_worker, teardown),
		cmocka_unit_test_setup_teardown(test_queue, setup_worker,
		    teardown),
		cmocka_unit_test_setup_teardown(test_races, setup_worker,
		    teardown),
		cmocka_unit_test_setup_teardown(test_part, setup_worker,
		    teardown),
	};
	int failed;

	setenv("LC_ALL", "C.UTF-8", 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	screens_close();
	return failed;
}
