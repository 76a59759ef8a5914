/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What reaches the workbench and what it says: the help of every view against
 * the table of keys, the mouse, pasted text, the output at other widths, and
 * Ctrl-C for work that does not stop.
 */
#include "tiny_dir.h"

#include <math.h>

#include "measure/evaluate.h"
#include "session/memory.h"
#include "session/session.h"
#include "ui/tui/app_private.h"
#include "ui/tui/mouse.h"
#include "ui/tui/states.h"

static char *root;
static struct session *session;
static struct app *app;
static struct cells screen;

static void
do_line(const char *fmt, ...)
{
	struct result r;
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (session_run(session, line, NULL, &r) != PARE_OK)
		fail_msg("%s: %s", line, json_string_value(json_object_get(
		    json_object_get(r.doc, "error"), "message")));
	result_free(&r);
}

static int
setup_app(bool worker)
{
	static const char *const vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
	    "the\nmovie\nwas\nnot\nawful\n";
	struct tiny_dir *t = tiny_dir_new("bert", "ForSequenceClassification",
	    "F32");
	char *dir;

	root = tiny_root();
	setenv("XDG_STATE_HOME", root, 1);
	dir = io_join(root, "small");
	t->no_vocab = true;
	tiny_dir_write(t, dir);
	tiny_put_text(dir, "vocab.txt", vocab);
	tiny_dir_free(t);
	tiny_put_text(root, "eval.tsv", "text\tlabel\n"
	    "the movie was awful\tbad\nthe movie was not awful\tgood\n"
	    "not the movie\tfair\nawful awful awful\tbad\n");
	session = session_new();
	do_line("set threads 1");
	do_line("open %s", dir);
	do_line("data %s/eval.tsv", root);
	free(dir);
	app = app_new(session, worker);
	app_refresh(app, 0);
	return 0;
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

static int
teardown(void **state)
{
	app_free(app);
	session_free(session);
	tiny_root_free(root);
	cells_free(&screen);
	return 0;
}

/* Draws into `screen`. */
static void
draw(int rows, int cols)
{
	cells_init(&screen, rows, cols, true);
	app_draw(app, &screen);
}

static bool
screen_has(const char *text)
{
	char *s = cells_dump(&screen, false);
	bool has = strstr(s, text) != NULL;

	free(s);
	return has;
}

static void
expect(const char *text)
{
	char *s;

	draw(30, 100);
	if (screen_has(text))
		return;
	s = cells_dump(&screen, false);
	fail_msg("'%s' is not in\n%s", text, s);
}

static void
press(const char *keys)
{
	for (; *keys != '\0'; keys++)
		app_key(app, *keys == '\n' ? K_ENTER : *keys);
}

static enum view_id
front(void)
{
	return app->stack[app->depth - 1];
}

/* ---- help ---------------------------------------------------------------- */

/* The row of the table that says in words what the action of row k does. */
static const struct key_row *
words_of(const struct key_row *k)
{
	while (k->help == NULL)
		k--;
	return k;
}

/* Each key that does something in the view: in the line of its words, which is
 * found by the words; so this counts nothing the way the help does. */
static void
check_help(enum view_id v)
{
	const char *words = NULL;
	int actions = 0, lines = 0;

	app_push(app, v);
	app_key(app, '?');
	draw(80, 160);
	if (v == VIEW_HELP) {
		assert_int_not_equal(front(), VIEW_HELP);
		return;
	}
	assert_int_equal(front(), VIEW_HELP);
	for (const struct key_row *k = key_table; k->key != K_NONE; k++) {
		char name[16], row[400] = "";
		bool found = false;

		if ((k->views & 1u << v) == 0 ||
		    keys_find(v, k->key) != k->action)
			continue;
		keys_name(k->key, name);
		actions += words == NULL || strcmp(words, words_of(k)->help);
		words = words_of(k)->help;
		for (int i = 0; i < screen.rows && !found; i++) {
			char left[32], *at;

			row[0] = '\0';
			for (int c = 0; c < screen.cols; c++)
				strcat(row, cells_at(&screen, i, c)->s);
			snprintf(left, sizeof(left), " %.21s", row);
			at = strstr(left + 1, name);
			found = at != NULL && at[-1] == ' ' &&
			    at[strlen(name)] == ' ' &&
			    strncmp(row + 21, words_of(k)->help,
			    strlen(words_of(k)->help)) == 0;
		}
		if (!found)
			fail_msg("the help of %s lacks %s, %s",
			    view_table[v]->name, name, words_of(k)->help);
	}
	/* And nothing else. */
	for (int i = 0; i < screen.rows; i++)
		lines += cells_at(&screen, i, 1)->style == STYLE_KEY &&
		    cells_at(&screen, i, 1)->s[0] != ' ' &&
		    i < screen.rows - 1;
	assert_int_equal(lines, actions);
	app_pop(app);
}

static void
test_help(void **state)
{
	app_command(app, "prune heads L1.h1");
	for (int v = 0; v < VIEW_COUNT; v++)
		check_help((enum view_id)v);
}

/* Whatever the table says a key does, something takes it. */
static void
test_every_key(void **state)
{
	app_command(app, "prune heads L1.h1");
	app_command(app, "eval");
	for (int v = 0; v < VIEW_COUNT; v++)
		for (const struct key_row *k = key_table; k->key != K_NONE;
		    k++) {
			if ((k->views & 1u << v) == 0)
				continue;
			app_push(app, VIEW_TREE);
			app_push(app, (enum view_id)v);
			draw(30, 120);
			app_key(app, k->key);
			if (app->p->message.n > 0 && strstr(
			    app->p->message.s, "does nothing here") != NULL)
				fail_msg("%s: %s", view_table[v]->name,
				    app->p->message.s);
			if (app->p->mode == MODE_PROMPT)
				prompt_cancel(app);
			app->p->mode = MODE_KEYS;
			app->p->quit = false;
			draw(30, 120);
		}
	prompt_close();
}

/* What does not fit says so, and all of it can be reached. */
static void
check_scrolling(enum view_id v, int rows, int cols)
{
	struct str seen = STR_INIT;
	bool more = true;

	app_push(app, v);
	app_key(app, '?');
	draw(rows, cols);
	assert_true(screen_has(" v "));
	for (int i = 0; i < 200 && more; i++) {
		char *s = cells_dump(&screen, false);

		more = screen_has("v ");
		str_add(&seen, s);
		free(s);
		app_key(app, 'j');
		draw(rows, cols);
	}
	assert_true(screen_has(" ^ "));
	for (const struct key_row *k = key_table; k->key != K_NONE; k++) {
		char word[64];

		if ((k->views & 1u << v) == 0 || k->help == NULL ||
		    keys_find(v, k->key) != k->action)
			continue;
		/* The first word: the rest may be on another line. */
		snprintf(word, sizeof(word), "%.*s",
		    (int)strcspn(k->help, " "), k->help);
		if (strstr(seen.s, word) == NULL)
			fail_msg("%s at %dx%d: '%s' is never seen",
			    view_table[v]->name, cols, rows, k->help);
	}
	str_free(&seen);
	app_pop(app);
	app_pop(app);
}

static void
test_help_scrolls(void **state)
{
	for (int v = 0; v < VIEW_HELP; v++) {
		check_scrolling((enum view_id)v, 10, 40);
		check_scrolling((enum view_id)v, 6, 20);
	}
}

/* ---- output -------------------------------------------------------------- */

/* Columns of the widest line but those of the frame. */
static int
widest(void)
{
	int most = 0;

	for (int i = 2; i < screen.rows - 2; i++)
		for (int c = 0; c < screen.cols; c++)
			if (strcmp(cells_at(&screen, i, c)->s, " ") != 0 &&
			    c + 1 > most)
				most = c + 1;
	return most;
}

static void
test_output_width(void **state)
{
	draw(30, 120);
	app_command(app, "show by=tensor");
	assert_int_equal(front(), VIEW_OUTPUT);
	draw(30, 120);
	assert_true(screen_has("MACs/token"));
	assert_true(widest() > 60);
	/* Narrow: made again, with fewer columns; and back. */
	draw(30, 50);
	assert_false(screen_has("~"));
	draw(30, 120);
	assert_true(screen_has("MACs/token"));
	/* About the same part stays in view. */
	draw(12, 120);
	app_key(app, 'G');
	draw(12, 120);
	assert_true(screen_has("total"));
	draw(12, 60);
	draw(12, 120);
	assert_true(screen_has("total"));
	/* Text is broken between words. */
	app_show_text(app, "text", "one two three four five six seven eight "
	    "nine ten eleven twelve thirteen\n  a few more\n");
	draw(20, 30);
	assert_true(screen_has("one two three four five six\nseven"));
	assert_true(screen_has("\n  a few more"));
	draw(20, 60);
	assert_true(screen_has("four five six seven eight nine"));
}

static void
test_output_sideways(void **state)
{
	app_show_text(app, "text", "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb"
	    "ccccccccccccccccccccdddddddddddddddddddd\nshort\n");
	draw(12, 40);
	assert_true(screen_has("\naaaaaaaaaaaaaaaaaaaab"));
	assert_false(screen_has("dd"));
	app_key(app, K_LEFT);
	draw(12, 40);
	assert_true(screen_has("\naaaaaaaaaaaaaaaaaaaab"));
	for (int i = 0; i < 20; i++)
		app_key(app, K_RIGHT);
	draw(12, 40);
	/* To the end and no further; what is hidden is marked. */
	assert_true(screen_has("cdddddddddddddddddddd\n"));
	assert_true(screen_has("\n<ccc"));
	assert_false(screen_has("aa"));
	press("hhhhhhhhhhhhhh");
	draw(12, 40);
	assert_true(screen_has("\naaaaaaaaaaaaaaaaaaaab"));
	/* Where it fits there is nothing to move. */
	press("l");
	draw(12, 100);
	assert_true(screen_has("\naaaaaaaaaaaaaaaaaaaab"));
	press("/dddd\n");
	draw(12, 100);
	assert_true(screen_has("/dddd"));
}

/* ---- comparing ----------------------------------------------------------- */

/* Nothing flipped: t says so, for it may have nowhere to go. */
static void
test_no_flips(void **state)
{
	app_command(app, "prune heads L1.h1");
	app_push(app, VIEW_COMPARE);
	press("t");
	press("t");
	expect("not both states were evaluated");
	for (int i = 0; i < 2; i++) {
		struct evaluation v = { .metric = METRIC_ACCURACY, .n = 4,
			.total = 4, .labels = 3, .value = 0.5, .low = 0.4,
			.high = 0.6 };

		v.predicted = xcalloc(4, sizeof(*v.predicted));
		v.gold = xcalloc(4, sizeof(*v.gold));
		v.logits = xcalloc(12, sizeof(*v.logits));
		v.model_hash = model_hash(session->history.state[i].model);
		v.data_hash = session->data[ROLE_EVAL]->hash;
		memory_keep_evaluation(session->memory, &v);
	}
	app_refresh(app, CHANGE_EVAL);
	press("g");
	press("tt");
	draw(30, 100);
	/* In the list, and in the message line. */
	{
		char *s = cells_dump(&screen, false), *at;

		at = strstr(s, "no prediction changed");
		assert_non_null(at);
		assert_non_null(strstr(at + 1, "no prediction changed"));
		free(s);
	}
	press("t");
	draw(30, 100);
	assert_false(screen_has("t does nothing"));
}

/* ---- the mouse ----------------------------------------------------------- */

static void
mouse(enum mouse_what what, int row, int col)
{
	struct mouse m = { what, row, col };

	app_mouse(app, &screen, &m);
}

/* Where text begins in a row of the screen; the row through *row. */
static int
find_text(const char *text, int *row)
{
	for (int i = 0; i < screen.rows; i++) {
		char line[512] = "", *at;

		for (int c = 0; c < screen.cols; c++)
			strcat(line, cells_at(&screen, i, c)->s);
		at = strstr(line, text);
		if (at != NULL) {
			*row = i;
			return (int)(at - line);
		}
	}
	fail_msg("'%s' is not on the screen", text);
	return -1;
}

static void
click(const char *text)
{
	int row, col = find_text(text, &row);

	mouse(MOUSE_CLICK, row, col);
}

/* In the last row. */
static void
click_hint(const char *text)
{
	char line[512] = "", *at;

	for (int c = 0; c < screen.cols; c++)
		strcat(line, cells_at(&screen, screen.rows - 1, c)->s);
	at = strstr(line, text);
	if (at == NULL)
		fail_msg("no '%s' in %s", text, line);
	mouse(MOUSE_CLICK, screen.rows - 1, (int)(at - line));
}

static void
test_mouse_decode(void **state)
{
	struct mouse m = mouse_decode(0, 5, 9, true);

	assert_int_equal(m.what, MOUSE_CLICK);
	assert_int_equal(m.row, 8);
	assert_int_equal(m.col, 4);
	assert_int_equal(mouse_decode(4, 5, 9, true).what, MOUSE_CLICK);
	assert_int_equal(mouse_decode(0, 5, 9, false).what, MOUSE_NOTHING);
	assert_int_equal(mouse_decode(2, 5, 9, true).what, MOUSE_NOTHING);
	assert_int_equal(mouse_decode(32, 5, 9, true).what, MOUSE_NOTHING);
	assert_int_equal(mouse_decode(64, 5, 9, true).what, MOUSE_WHEEL_UP);
	assert_int_equal(mouse_decode(65, 5, 9, true).what,
	    MOUSE_WHEEL_DOWN);
	assert_int_equal(mouse_decode(0, 0, 9, true).what, MOUSE_NOTHING);
	assert_int_equal(mouse_decode(-1, 5, 9, true).what, MOUSE_NOTHING);
}

static void
test_mouse_rows(void **state)
{
	draw(30, 100);
	click("L2 ");
	assert_string_equal(app->target.path, "L2");
	draw(30, 100);
	click("emb ");
	assert_string_equal(app->target.path, "emb");
	mouse(MOUSE_WHEEL_DOWN, 4, 4);
	assert_string_equal(app->target.path, "L2");
	mouse(MOUSE_WHEEL_UP, 4, 4);
	assert_string_equal(app->target.path, "emb");
	/* The title and the empty part below the list select nothing. */
	draw(30, 100);
	click("module");
	assert_string_equal(app->target.path, "emb");
	mouse(MOUSE_CLICK, 20, 4);
	assert_string_equal(app->target.path, "emb");
	/* Far outside. */
	mouse(MOUSE_CLICK, 400, 400);
	/* The other pane, and back. */
	draw(30, 100);
	mouse(MOUSE_CLICK, 5, 90);
	assert_true(app->focus_detail);
	draw(30, 100);
	click("L1 ");
	assert_false(app->focus_detail);
	assert_string_equal(app->target.path, "L1");
}

static void
test_mouse_views(void **state)
{
	int row, col;

	app_command(app, "prune heads L1.h1");
	app_command(app, "prune ffn L2");
	app_push(app, VIEW_HEADS);
	draw(30, 100);
	col = find_text("L2 ", &row);
	/* The name and two blanks, then cells of three columns: the last. */
	mouse(MOUSE_CLICK, row, col + 4 + 2 * 3);
	assert_string_equal(app->target.path, "L2.h2");
	app_push(app, VIEW_PARTS);
	draw(30, 100);
	col = find_text("FFN", &row);
	mouse(MOUSE_CLICK, row + 1, col);
	assert_string_equal(app->target.path, "L0.ffn");
	app_push(app, VIEW_HISTORY);
	draw(30, 100);
	click("1 prune heads");
	assert_int_equal(states_of(app)->id, 1);
	mouse(MOUSE_WHEEL_UP, 4, 4);
	assert_int_equal(states_of(app)->id, 0);
	app_push(app, VIEW_COMPARE);
	draw(30, 100);
	click("L2.ffn.up.weight");
	draw(30, 100);
	col = find_text("L2.ffn.up.weight", &row);
	assert_true((cells_at(&screen, row, col)->style & STYLE_SELECT) != 0);
	app_push(app, VIEW_SAMPLES);
	draw(30, 100);
	click("not the movie");
	press("\n");
	expect("Sample 2");
	app_push(app, VIEW_APPLY);
	draw(30, 100);
	mouse(MOUSE_WHEEL_DOWN, 4, 4);
	press("\n");
	draw(30, 100);
	/* A field, also where rows are few. */
	app_push(app, VIEW_HEADS);
	draw(30, 100);
	click("L1 ");
	app_push(app, VIEW_APPLY);
	press("\n");
	app_key(app, K_DOWN);
	app_key(app, K_DOWN);
	draw(10, 40);
	click("target");
	draw(10, 40);
	col = find_text("target", &row);
	assert_true((cells_at(&screen, row, col + 11)->style &
	    STYLE_SELECT) != 0);
	app_push(app, VIEW_COLUMNS);
	draw(30, 100);
	click("bits");
	press(" ");
	expect("set columns params,bytes,form,share,bar,bits");
	/* All views take a click anywhere. */
	for (int v = 0; v < VIEW_COUNT; v++) {
		app_push(app, (enum view_id)v);
		for (int size = 0; size < 3; size++) {
			static const int rows[] = { 3, 9, 40 };

			draw(rows[size], 20 + 40 * size);
			for (int i = 0; i < rows[size] - 1; i++)
				for (int c = 0; c < 20 + 40 * size; c += 3)
					mouse(MOUSE_CLICK, i, c);
			draw(rows[size], 20 + 40 * size);
		}
	}
}

/* The chart: the point nearest to the click. */
static void
test_mouse_chart(void **state)
{
	int row, col;

	app_command(app, "eval");
	app_command(app, "prune heads L1.h1");
	app_command(app, "eval");
	app_command(app, "prune ffn L2");
	app_command(app, "eval");
	app_push(app, VIEW_CHART);
	for (int i = 0; i < 3; i++) {
		states_of(app)->id = i;
		draw(30, 100);
		for (row = 0; row < 30; row++)
			for (col = 0; col < 100; col++)
				if ((cells_at(&screen, row, col)->style &
				    STYLE_SELECT) != 0)
					goto found;
		fail_msg("no point is selected");
found:
		states_of(app)->id = (i + 1) % 3;
		mouse(MOUSE_CLICK, row, col + 1);
		assert_int_equal(states_of(app)->id, i);
	}
	/* Nothing near: nothing happens. */
	mouse(MOUSE_CLICK, 26, 1);
	assert_int_equal(states_of(app)->id, 2);
}

/* Every key of the hint bar can be clicked, and does what the key does. */
static void
test_mouse_hints(void **state)
{
	int row, col, last;

	draw(30, 200);
	last = screen.rows - 1;
	click_hint("help");
	assert_int_equal(front(), VIEW_HELP);
	draw(30, 200);
	click_hint("back");
	assert_int_equal(front(), VIEW_TREE);
	draw(30, 200);
	click_hint("history");
	assert_int_equal(front(), VIEW_HISTORY);
	draw(30, 200);
	click_hint("back");
	/* Between two of them there is nothing. */
	draw(30, 200);
	col = find_text("? help", &row);
	assert_int_equal(row, last);
	mouse(MOUSE_CLICK, last, col + 6);
	mouse(MOUSE_CLICK, last, col + 7);
	assert_int_equal(front(), VIEW_TREE);
	mouse(MOUSE_CLICK, last, 199);
	/* But for the blank that belongs to one. */
	mouse(MOUSE_CLICK, last, col + 1);
	assert_int_equal(front(), VIEW_HELP);
	app_pop(app);
	/* Keys of questions too. */
	app_command(app, "prune heads L0.h0");
	app_key(app, 'q');
	draw(30, 200);
	click_hint("no");
	assert_false(app->p->quit);
	assert_int_equal(app->p->mode, MODE_KEYS);
	app_key(app, 'q');
	draw(30, 200);
	/* Panes are out of reach meanwhile. */
	click("L2 ");
	assert_int_equal(app->p->mode, MODE_CONFIRM);
	click_hint("yes");
	assert_true(app->p->quit);
	/* Names and keys are one to one. */
	for (const struct key_row *k = key_table; k->key != K_NONE; k++) {
		char name[16];

		keys_name(k->key, name);
		assert_int_equal(keys_named(name), k->key);
	}
}

/* ---- pasted text --------------------------------------------------------- */

static void
test_paste(void **state)
{
	/* Where keys act, a paste does not: it is a line to look at. */
	app_paste(app, "undo\nquit\n");
	assert_int_equal(app->p->mode, MODE_PROMPT);
	assert_false(app->p->quit);
	expect(":undo quit");
	prompt_cancel(app);
	assert_int_equal(app->p->mode, MODE_KEYS);
	/* Enter runs its lines one by one. */
	app_paste(app, "prune heads L0.h1\r\nprune heads L1.h1\r\n");
	prompt_byte(app, '\r');
	assert_int_equal(app->p->mode, MODE_KEYS);
	assert_int_equal(app->snap.n, 3);
	/* A search takes the first line. */
	press("/");
	app_paste(app, "L1\nqq");
	assert_int_equal(app->p->mode, MODE_FIND);
	press("\n");
	assert_string_equal(app->find, "L1");
	/* A question takes nothing. */
	press("q");
	app_paste(app, "y\n");
	assert_int_equal(app->p->mode, MODE_CONFIRM);
	assert_false(app->p->quit);
	press("n");
	prompt_close();
}

static void
test_long_line(void **state)
{
	struct str b = STR_INIT;

	str_add(&b, "");
	while (b.n < 5000)
		str_add(&b, "L0,");
	assert_true(app_commandf(app, "prune layers %sL0 nonsense", b.s));
	assert_string_equal(app->p->line + strlen(app->p->line) - 12,
	    ",L0 nonsense");
	assert_true(strlen(app->p->line) > 5000);
	str_free(&b);
	app_message(app, STYLE_NORMAL, "%s%2000s", "a", "b");
	expect("a ");
}

/* ---- work that does not stop --------------------------------------------- */

struct stubborn {
	struct job job;
	atomic_bool *release, *runs;
};

static enum pare_rc
stubborn_run(struct job *job, struct task *task, struct pare_err *err)
{
	struct stubborn *s = (struct stubborn *)job;

	atomic_store(s->runs, true);
	while (!atomic_load(s->release))
		usleep(1000);
	return PARE_OK;
}

static void
stubborn_done(struct app *a, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
}

static void
stubborn_drop(struct job *job)
{
	free(job);
}

static void
add_stubborn(atomic_bool *release, atomic_bool *runs)
{
	struct stubborn *s = xcalloc(1, sizeof(*s));

	s->job.title = "standing still";
	s->job.run = stubborn_run;
	s->job.done = stubborn_done;
	s->job.drop = stubborn_drop;
	s->release = release;
	s->runs = runs;
	app_job(app, &s->job);
	while (!atomic_load(runs))
		usleep(100);
}

static void
test_no_stop(void **state)
{
	atomic_bool release = false, runs = false;

	assert_true(app_check_stop(app) < 0);
	add_stubborn(&release, &runs);
	assert_true(app_check_stop(app) < 0);
	/* However often: still there, and no offer before its time. */
	app->p->patience = 1e6;
	for (int i = 0; i < 3; i++) {
		app_interrupt(app);
		expect("stopping");
		assert_false(app->p->offered);
		assert_false(app->p->quit);
		assert_true(app_check_stop(app) > 1e5);
	}
	app->p->patience = 0;
	assert_true(app_check_stop(app) < 0);
	assert_true(app->p->offered);
	expect("standing still does not stop yet; Q leaves");
	press("Q");
	assert_true(app->p->quit);
	assert_false(worker_stop(app->p->worker, 0.01));
	atomic_store(&release, true);
	assert_true(worker_stop(app->p->worker, 60));
	assert_true(app_check_stop(app) < 0);
	assert_false(app->p->offered);
}

/* Ctrl-C that comes when all is over does not stand there as "stopping". */
static void
test_late_stop(void **state)
{
	jobs_start_evaluation(app);
	app_interrupt(app);
	app_settle(app);
	app_check_stop(app);
	assert_int_equal(app->snap.n, 1);
	draw(30, 100);
	assert_false(screen_has("\nstopping"));
	/* Whatever came of it, e finds the result. */
	app_evaluate(app);
	app_settle(app);
	assert_non_null(app_now(app)->eval);
}

int
main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define WORKER(f) cmocka_unit_test_setup_teardown(f, setup_worker, teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(test_help),
		PLAIN(test_every_key),
		PLAIN(test_help_scrolls),
		PLAIN(test_output_width),
		PLAIN(test_output_sideways),
		PLAIN(test_no_flips),
		cmocka_unit_test(test_mouse_decode),
		PLAIN(test_mouse_rows),
		PLAIN(test_mouse_views),
		PLAIN(test_mouse_chart),
		PLAIN(test_mouse_hints),
		PLAIN(test_paste),
		PLAIN(test_long_line),
		WORKER(test_no_stop),
		WORKER(test_late_stop),
	};

	setenv("LC_ALL", "C.UTF-8", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
