/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The views of forms and of states (apply, history, chart, compare, samples) on
 * a small session: what they draw, at four sizes and in two alphabets, against
 * screens looked at by a person (tui_forms_screens.h), and what their keys do.
 *
 * Evaluations are made up by a formula and put into the session's memory, times
 * are written into the snapshot, so that no screen depends on the machine. With
 * PARE_PRINT_SCREENS set, the screens are printed in place of being compared.
 */
#include "tiny_dir.h"

#include "model/model.h"
#include "session/memory.h"
#include "session/session.h"
#include "ui/tui/states.h"
#include "ui/tui/view.h"

#include "tui_forms_screens.h"

enum { SAMPLES = 24, LABELS = 3 };

static char *root;
static struct session *session;
static struct app *app;

/* ---- a session ---- */

static void
run(const char *fmt, ...)
{
	struct result r;
	char line[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (session_run(session, line, NULL, &r) != PARE_OK)
		fail_msg("%s: %s", line, json_dumps(r.doc, 0));
	result_free(&r);
}

static void
write_samples(void)
{
	static const char *const gold[] = { "bad", "fair", "good" };
	struct str b = STR_INIT;
	char *path = io_join(root, "eval.tsv");

	str_add(&b, "text\tlabel\n");
	for (int i = 0; i < SAMPLES; i++)
		str_addf(&b, "a %c b %c the sentence number %d that goes on "
		    "for a while, so that it is cut where the screen "
		    "ends\t%s\n", 'c' + i % 20, 'd' + i % 7, i, gold[i % 3]);
	if (io_write(path, b.s, b.n, NULL) != PARE_OK)
		fail_msg("%s", path);
	str_free(&b);
	free(path);
}

/* Sample i of state k: right but where i divides by `worse` of the state. */
static int
guess(int i, int k)
{
	static const int worse[] = { 5, 4, 6, 3, 7 };

	return i % worse[k % 5] == 0 ? (i + 1) % LABELS : i % LABELS;
}

static void
invent_evaluation(int k)
{
	const struct model *m = session->history.state[k].model;
	struct evaluation v = { .metric = METRIC_ACCURACY, .n = SAMPLES,
		.total = SAMPLES, .labels = LABELS, .seconds = 1 };
	int right = 0;

	v.predicted = xcalloc(SAMPLES, sizeof(*v.predicted));
	v.gold = xcalloc(SAMPLES, sizeof(*v.gold));
	v.logits = xcalloc(SAMPLES * LABELS, sizeof(*v.logits));
	for (int i = 0; i < SAMPLES; i++) {
		v.gold[i] = i % LABELS;
		v.predicted[i] = guess(i, k);
		v.logits[i * LABELS + v.predicted[i]] =
		    1.0f + 0.125f * (float)((i + k) % 8);
		right += v.predicted[i] == v.gold[i];
	}
	v.value = (double)right / SAMPLES;
	v.low = v.value - 0.125;
	v.high = v.value + 0.125;
	for (int i = 0; i < METRIC_COUNT; i++)
		v.all[i] = v.value;
	v.model_hash = model_hash(m);
	v.data_hash = session->data[ROLE_EVAL]->hash;
	memory_keep_evaluation(session->memory, &v);
}

/* What was measured by a clock. */
static void
fix_times(void)
{
	for (int i = 0; i < app->snap.n; i++) {
		struct snap_state *s = &app->snap.state[i];

		s->seconds = 0.25 * i;
		s->has_latency = i < 3;
		s->latency = (struct latency){ .p50_ms = 12.5 - 2 * i,
			.ratio = (12.5 - 2 * i) / 12.5, .ratio_low = 0.5,
			.ratio_high = 1, .has_ratio = i > 0, .batch = 1,
			.seq = 128, .runs = 10, .threads = 1 };
	}
}

/* Six states: a chain of three, and two branches. State 5 is not evaluated. */
static int
setup(void **state)
{
	char *dir;

	root = tiny_root();
	setenv("XDG_STATE_HOME", root, 1);
	dir = tiny_model_dir(root, "bert", "ForSequenceClassification", "F32");
	write_samples();
	session = session_new();
	run("set threads 1");
	run("open %s", dir);
	run("data %s/eval.tsv", root);
	run("prune heads L0.h0");
	run("mark cut");
	run("prune neurons 25%% L1");
	run("quantize all bits=4");
	run("goto 1");
	run("prune layers last 1");
	run("goto 0");
	run("prune weights 50%%");
	run("goto 2");
	for (int k = 0; k < 5; k++)
		invent_evaluation(k);
	model_hash(session->history.state[5].model);
	app = app_new(session, false);
	app_refresh(app, CHANGE_OPENED | CHANGE_MODEL | CHANGE_HISTORY |
	    CHANGE_DATA);
	fix_times();
	free(dir);
	return 0;
}

static int
teardown(void **state)
{
	app_free(app);
	session_free(session);
	tiny_root_free(root);
	return 0;
}

/* ---- screens ---- */

/* The view in front, alone on a screen. Malloc'ed. */
static char *
dump(int rows, int cols, bool ascii)
{
	struct cells c = { 0 };
	char *text;

	cells_init(&c, rows, cols, ascii);
	view_table[app->stack[app->depth - 1]]->draw(app, &c, cells_all(&c));
	text = cells_dump(&c, false);
	cells_free(&c);
	return text;
}

static void
print_screen(const char *name, const char *text)
{
	printf("\t{ \"%s\",\n\t    \"", name);
	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '\n' && p[1] != '\0')
			fputs("\\n\"\n\t    \"", stdout);
		else if (*p == '\n')
			fputs("\\n", stdout);
		else if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else
			putchar(*p);
	}
	puts("\" },");
}

static const char *
expected(const char *name)
{
	for (int i = 0; screens[i].name != NULL; i++)
		if (strcmp(screens[i].name, name) == 0)
			return screens[i].text;
	return "";
}

static const struct {
	int cols, rows;
} sizes[] = { { 40, 10 }, { 60, 16 }, { 80, 24 }, { 200, 60 } };

static void
check_screens(const char *what)
{
	for (int k = 0; k < 8; k++) {
		bool ascii = k % 2 == 1;
		char *text = dump(sizes[k / 2].rows, sizes[k / 2].cols, ascii);
		char *name = str_format("%s %dx%d%s", what, sizes[k / 2].cols,
		    sizes[k / 2].rows, ascii ? " ascii" : "");

		for (const char *p = text; ascii && *p != '\0'; p++)
			assert_true((unsigned char)*p < 0x80);
		if (getenv("PARE_PRINT_SCREENS") != NULL)
			print_screen(name, text);
		else if (strcmp(text, expected(name)) != 0)
			fail_msg("%s\n%s\nexpected:\n%s", name, text,
			    expected(name));
		free(text);
		free(name);
	}
}

/* Whether the view in front shows a text at 80x24. */
static bool
shows(const char *what)
{
	char *text = dump(24, 80, true);
	bool has = strstr(text, what) != NULL;

	free(text);
	return has;
}

static void
assert_shows(const char *what)
{
	char *text = dump(24, 80, true);

	if (strstr(text, what) == NULL)
		fail_msg("'%s' is not in\n%s", what, text);
	free(text);
}

/* The same for the message line and the hint bar. */
static bool
says(const char *what)
{
	struct cells c = { 0 };
	char *text, *line;
	bool has;

	cells_init(&c, 24, 80, true);
	app_draw(app, &c);
	text = cells_dump(&c, false);
	cells_free(&c);
	line = text;
	for (int i = 0; i < 22; i++)
		line = strchr(line, '\n') + 1;
	has = strstr(line, what) != NULL;
	free(text);
	return has;
}

static void
assert_says(const char *what)
{
	if (!says(what))
		fail_msg("'%s' is not said", what);
}

static void
keys(const char *text)
{
	for (; *text != '\0'; text++)
		app_key(app, *text);
}

static void
times(int n, int key)
{
	while (n-- > 0)
		app_key(app, key);
}

static enum view_id
front(void)
{
	return app->stack[app->depth - 1];
}

/* The form of the op with that title, for a selection. */
static void
open_form(struct target target, const char *title)
{
	app_select(app, &target);
	app_push(app, VIEW_APPLY);
	for (int i = 0; i < 20; i++) {
		app_key(app, K_ENTER);
		if (shows(title))
			return;
		app_key(app, K_ESC);
		app_key(app, K_DOWN);
	}
	fail_msg("no form is titled %s", title);
}

static void
test_screens(void **state)
{
	static const char *const names[] = { "history", "chart", "compare",
		"samples" };
	static const enum view_id views[] = { VIEW_HISTORY, VIEW_CHART,
		VIEW_COMPARE, VIEW_SAMPLES };
	struct target layer = target_layer(1);

	for (int i = 0; i < 4; i++) {
		app_push(app, views[i]);
		check_screens(names[i]);
	}
	app_push(app, VIEW_COMPARE);
	app_key(app, K_END);
	check_screens("compare flips");
	app_push(app, VIEW_SAMPLES);
	times(3, 'f');
	check_screens("samples broke");
	app_select(app, &layer);
	app_push(app, VIEW_APPLY);
	check_screens("apply list");
	app_key(app, K_ENTER);
	check_screens("apply form");
	app_key(app, K_DOWN);
	keys("L9");
	check_screens("apply error");
}

/* Nothing is read or written out of place, whatever the size. */
static void
test_sizes(void **state)
{
	for (int v = VIEW_APPLY; v <= VIEW_SAMPLES; v++) {
		app_push(app, (enum view_id)v);
		for (int form = 0; form < 2; form++) {
			for (int rows = 0; rows < 30; rows += 1 + rows / 6)
				for (int cols = 0; cols < 130;
				    cols += 1 + cols / 6)
					free(dump(rows, cols, form == 0));
			app_key(app, K_ENTER);
			if (front() != (enum view_id)v)
				break;
		}
	}
}

/* ---- the form ---- */

static void
test_ops_of_a_selection(void **state)
{
	struct target t = target_head(1, 0);

	app_select(app, &t);
	app_push(app, VIEW_APPLY);
	assert_shows("Apply to L1.h0");
	assert_shows("prune heads L1.h0");
	assert_false(shows("prune layers"));
	assert_false(shows("quantize"));
	app_pop(app);
	t = target_part(2, TARGET_FFN);
	app_select(app, &t);
	app_push(app, VIEW_APPLY);
	assert_shows("Apply to L2.ffn");
	assert_shows("prune ffn L2.ffn");
	assert_shows("quantize L2.ffn");
	assert_shows("factorize L2.ffn ratio=50%");
	assert_false(shows("prune heads"));
	app_pop(app);
	t = target_part(0, TARGET_NORM);
	app_select(app, &t);
	app_push(app, VIEW_APPLY);
	assert_shows("quantize L0.norm bits=16");
	assert_false(shows("factorize"));
	assert_false(shows("vocabulary"));
	app_pop(app);
	/* Tokens are the embedding's. */
	t = target_tensor((struct slot_ref){ -1, SLOT_WORD });
	app_select(app, &t);
	app_push(app, VIEW_APPLY);
	assert_shows("prune vocabulary");
	assert_false(shows("prune heads"));
	app_pop(app);
	/* Layers that differ cannot share, those of the original can. */
	app_command(app, "goto 0");
	t = target_model();
	app_select(app, &t);
	app_push(app, VIEW_APPLY);
	assert_shows("the whole model");
	for (int i = 0; op_table[i] != NULL; i++)
		assert_shows(op_table[i]->title);
}

/* Every form starts from a line that its op accepts. */
static void
test_forms_start_valid(void **state)
{
	struct target targets[] = { target_model(), target_layer(0),
		target_head(0, 1), target_part(1, TARGET_ATTENTION),
		target_part(1, TARGET_FFN), target_part(-1, TARGET_EMBEDDING) };

	for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
		app_select(app, &targets[i]);
		app_push(app, VIEW_APPLY);
		for (int k = 0; k < 12; k++) {
			app_key(app, K_ENTER);
			assert_shows("stored bytes");
			assert_false(shows("! "));
			app_key(app, K_ESC);
			app_key(app, K_DOWN);
		}
		app_pop(app);
	}
}

static void
test_values_and_ranges(void **state)
{
	open_form(target_part(1, TARGET_FFN), "Quantize");
	assert_shows(": quantize L1.ffn");
	app_key(app, K_DOWN);
	app_key(app, K_LEFT);
	assert_shows(": quantize L1.ffn bits=7");
	times(20, K_LEFT);
	assert_shows(": quantize L1.ffn bits=1");
	times(30, K_RIGHT);
	assert_shows(": quantize L1.ffn bits=16");
	/* The default goes without saying. */
	app_key(app, K_DELETE);
	assert_false(shows("bits="));
	keys("4");
	assert_shows(": quantize L1.ffn bits=4");
	/* What leads out of the range is not taken. */
	keys("0x-");
	assert_shows(": quantize L1.ffn bits=4");
	assert_says("bits: 1 to 16");
	/* Where it cannot be seen yet, the nearest value is taken later. */
	app_key(app, K_BACKSPACE);
	keys("0");
	assert_shows("! bits: '0' is out of range");
	app_key(app, K_ENTER);
	assert_int_equal(front(), VIEW_APPLY);
	assert_shows(": quantize L1.ffn bits=1");
	assert_says("bits is 1 now");
	app_key(app, K_BACKSPACE);
	keys("0");
	app_key(app, K_DOWN);
	assert_shows(": quantize L1.ffn bits=1");
	app_key(app, K_UP);
	/* The op takes 1 to 8 and 16, and so do the arrows. */
	times(7, K_RIGHT);
	assert_false(shows("bits="));
	app_key(app, K_RIGHT);
	assert_shows("bits=16");
	app_key(app, K_LEFT);
	assert_false(shows("bits="));
	/* Choices go around. */
	times(2, K_DOWN);
	app_key(app, K_RIGHT);
	assert_false(shows("scheme=symmetric"));
	assert_shows("scheme=");
	app_key(app, K_LEFT);
	assert_false(shows("scheme="));
	app_key(app, K_LEFT);
	assert_shows("scheme=");
	keys("k");
	assert_shows("scheme=kmeans");
}

static void
test_shares(void **state)
{
	open_form(target_layer(2), "Prune FFN neurons");
	assert_shows(": prune neurons 25% L2");
	app_key(app, K_RIGHT);
	assert_shows(": prune neurons 30% L2");
	keys("33%");
	assert_shows(": prune neurons 33% L2");
	app_key(app, K_RIGHT);
	assert_shows(": prune neurons 35% L2");
	times(9, K_PAGE_UP);
	assert_shows(": prune neurons 100% L2");
	keys("3");
	assert_shows(": prune neurons 3 L2");
	app_key(app, K_RIGHT);
	assert_shows(": prune neurons 4 L2");
	app_key(app, K_DOWN);
	app_key(app, K_RIGHT);
	assert_shows(": prune neurons 4 L*");
}

/* What one head is named for goes without an amount, and with one at first all
 * of it; less than one head is not offered. */
static void
test_amounts_of_a_head(void **state)
{
	open_form(target_head(1, 1), "Prune attention heads");
	assert_shows(": prune heads L1.h1");
	app_key(app, K_RIGHT);
	assert_shows(": prune heads 100% L1.h1");
	times(30, K_LEFT);
	assert_shows(": prune heads L1.h1");
	assert_false(shows("! "));
	app_key(app, K_RIGHT);
	times(3, K_LEFT);
	assert_shows(": prune heads 85% L1.h1");
	/* Shares end at 100 %. */
	keys("101");
	assert_shows("101");
	keys("%");
	assert_false(shows("101%"));
	times(3, K_BACKSPACE);
	keys("60%");
	assert_shows(": prune heads 60% L1.h1");
	/* Targets that the op refuses are stepped over. */
	app_key(app, K_DOWN);
	times(5, K_RIGHT);
	assert_false(shows("! "));
}

/* Random choices are drawn with the seed that the command would use. Where two
 * layers share their weights, what is drawn shows in the size. */
static void
test_preview_has_the_seed(void **state)
{
	char macs[8][NUMBER_MAX];
	int differ = 0;

	app_command(app, "goto 0");
	app_command(app, "share L0-1");
	for (int i = 0; i < 8; i++) {
		run("set seed %d", i);
		run("prune heads 1 by=random");
		app_refresh(app, 0);
		number_count(macs[i], (double)app_now(app)->totals.macs /
		    (double)app->snap.seq);
		differ += strcmp(macs[i], macs[0]) != 0;
		run("undo");
		app_refresh(app, 0);
		open_form(target_model(), "Prune attention heads");
		keys("1");
		times(2, K_DOWN);
		app_key(app, K_RIGHT);
		assert_shows(": prune heads 1 by=random");
		assert_shows(macs[i]);
		app_key(app, K_ESC);
		app_pop(app);
	}
	assert_in_range(differ, 1, 7);
}

/* Nothing applies to what was pruned; it says what brings it back, and that
 * does. */
static void
test_pruned_selection(void **state)
{
	struct target t = target_head(1, 1);

	app_command(app, "goto 0");
	app_command(app, "prune heads L1.h1");
	app_select(app, &t);
	app_push(app, VIEW_APPLY);
	assert_shows("L1.h1 is pruned: x brings it back");
	assert_says("x restore");
	assert_false(says("Enter"));
	app_key(app, 'x');
	assert_int_equal(app->snap.current, 0);
	assert_shows("Prune attention heads");
	assert_says("Enter choose");
	assert_false(says("x restore"));
}

/* The preview says what the command then does. */
static void
test_preview_is_what_happens(void **state)
{
	int n = app->snap.n;
	char bytes[NUMBER_MAX];

	open_form(target_layer(2), "Prune FFN neurons");
	app_key(app, K_RIGHT);
	app_key(app, K_ENTER);
	assert_int_equal(app->snap.n, n + 1);
	assert_int_equal(app->snap.current, n);
	assert_string_equal(app->snap.state[n].command,
	    "prune neurons 30% L2");
	assert_int_not_equal(front(), VIEW_APPLY);
	number_bytes(bytes, (double)app_now(app)->totals.bytes);
	run("undo");
	app_refresh(app, 0);
	open_form(target_layer(2), "Prune FFN neurons");
	app_key(app, K_RIGHT);
	assert_shows(bytes);
}

/* What the op refuses stays in the form, and nothing is run. */
static void
test_refused(void **state)
{
	int n = app->snap.n;

	open_form(target_layer(1), "Prune attention sub-layers");
	keys("L9");
	assert_shows("! ");
	assert_shows("L9");
	app_key(app, K_ENTER);
	assert_int_equal(app->snap.n, n);
	assert_int_equal(front(), VIEW_APPLY);
	assert_shows("Prune attention sub-layers");
	/* Back to the list, then to where it came from. */
	app_key(app, K_ESC);
	assert_shows("Apply to L1");
	app_key(app, K_ESC);
	assert_int_not_equal(front(), VIEW_APPLY);
}

/* ---- the states ---- */

static int
selected(void)
{
	return states_of(app)->id;
}

static void
test_goto(void **state)
{
	app_push(app, VIEW_HISTORY);
	assert_int_equal(selected(), 2);
	app_key(app, K_HOME);
	assert_int_equal(selected(), 0);
	app_key(app, K_ENTER);
	assert_int_equal(app->snap.current, 0);
	app_key(app, K_END);
	assert_int_equal(selected(), 5);
	app_key(app, K_ENTER);
	assert_int_equal(app->snap.current, 5);
	/* The order of the tree, not that of the numbers. */
	app_key(app, K_UP);
	app_key(app, K_UP);
	assert_int_equal(selected(), 3);
}

static void
test_mark(void **state)
{
	app_push(app, VIEW_HISTORY);
	assert_shows("[cut] prune heads L0.h0");
	run("mark state=4 name=short");
	app_refresh(app, CHANGE_HISTORY);
	assert_shows("[short] prune layers last 1");
}

static void
test_sort(void **state)
{
	app_push(app, VIEW_HISTORY);
	app_key(app, 's');
	app_key(app, K_HOME);
	assert_int_equal(selected(), 3);	/* the smallest */
	app_key(app, 's');
	app_key(app, K_END);
	assert_int_equal(selected(), 5);	/* not evaluated */
	app_key(app, K_UP);
	assert_int_equal(selected(), 3);	/* the worst */
}

static void
test_find(void **state)
{
	app_push(app, VIEW_HISTORY);
	assert_true(view_history.find(app, "QUANTIZE", 1, true));
	assert_int_equal(selected(), 3);
	assert_false(view_history.find(app, "quantize", 1, false));
	assert_true(view_history.find(app, "prune", -1, false));
	assert_int_equal(selected(), 2);
	app_push(app, VIEW_SAMPLES);
	assert_true(view_samples.find(app, "number 17", 1, true));
	assert_shows("Sample 17 (line 19)");
	app_push(app, VIEW_COMPARE);
	assert_true(view_compare.find(app, "l1.ffn.down", 1, true));
	assert_shows("L1.ffn.down.weight: f32 12x20 960 B -> f32 12x15");
}

static void
test_pick_and_compare(void **state)
{
	app_push(app, VIEW_HISTORY);
	app_key(app, K_HOME);
	app_key(app, K_DOWN);
	app_key(app, ' ');
	assert_int_equal(states_of(app)->picked, 1);
	assert_shows("+|-1 [cut]");
	app_key(app, K_END);
	app_key(app, K_UP);
	assert_int_equal(selected(), 4);
	app_key(app, 'c');
	assert_int_equal(front(), VIEW_COMPARE);
	assert_shows("1 cut");
	assert_shows("prune layers last 1");
	/* State 1 is wrong at multiples of 4, state 4 at those of 7. */
	app_key(app, 't');
	app_key(app, 't');
	assert_shows("Verdict");
	assert_shows("8 predictions differ: 5 fixed, 3 broke");
	app_key(app, K_END);
	assert_shows("21");
	/* The third layer is gone. */
	app_key(app, K_HOME);
	assert_true(view_compare.find(app, "L2", 1, false));
	assert_shows("L2: 3 heads, FFN 20 -> gone");
}

static void
test_chart_moves(void **state)
{
	app_push(app, VIEW_HISTORY);
	app_key(app, 'p');
	assert_int_equal(front(), VIEW_CHART);
	/* By size: 3, 4, 2, 1, 0; by accuracy: 3, 1, 0, 2, 4 (2 and 4 are
	 * equal). State 5 was not evaluated and has no point. */
	app_key(app, K_HOME);
	assert_int_equal(selected(), 3);
	app_key(app, K_RIGHT);
	assert_int_equal(selected(), 4);
	app_key(app, K_END);
	assert_int_equal(selected(), 0);
	app_key(app, K_DOWN);
	assert_int_equal(selected(), 1);
	times(2, K_UP);
	assert_int_equal(selected(), 2);
	assert_shows("State 2, the current one, from 1 by prune neurons");
	app_key(app, 't');
	assert_shows("accuracy against parameters");
	app_key(app, K_END);
	app_key(app, K_ENTER);
	assert_int_equal(app->snap.current, 0);
}

static void
test_chart_without_points(void **state)
{
	for (int i = 0; i < app->snap.n; i++)
		if (app->snap.state[i].eval != NULL) {
			evaluation_free(app->snap.state[i].eval);
			free(app->snap.state[i].eval);
			app->snap.state[i].eval = NULL;
		}
	app_push(app, VIEW_CHART);
	assert_shows("no state was evaluated yet");
	app_push(app, VIEW_SAMPLES);
	assert_shows("not evaluated: press e");
	app_push(app, VIEW_COMPARE);
	app_key(app, K_END);
	assert_shows("not both states were evaluated");
}

/* ---- samples ---- */

/* How many of the samples fit a filter, by the formula. */
static int
count_guess(char sign)
{
	int n = 0;

	for (int i = 0; i < SAMPLES; i++) {
		int a = guess(i, 0), b = guess(i, 2), gold = i % LABELS;

		n += sign == '+' ? a != gold && b == gold : sign == '-' ?
		    a == gold && b != gold : sign == '!' ? b != gold : a != b;
	}
	return n;
}

static void
test_filter(void **state)
{
	static const struct {
		const char *name;
		char sign;
	} filters[] = { { "flipped", '~' }, { "fixed", '+' },
		{ "broke", '-' }, { "wrong", '!' } };

	app_push(app, VIEW_SAMPLES);
	assert_shows("all: 24 of 24");
	for (int i = 0; i < 4; i++) {
		char *want = str_format("%s: %d of 24", filters[i].name,
		    count_guess(filters[i].sign));

		app_key(app, 'f');
		assert_shows(want);
		free(want);
	}
	app_key(app, 'f');
	assert_shows("all: 24 of 24");
}

/* The cursor stays on its sample when the filter changes around it. */
static void
test_filter_keeps_the_sample(void **state)
{
	app_push(app, VIEW_SAMPLES);
	times(6, K_DOWN);
	assert_shows("Sample 6 (line 8), broke");
	app_key(app, 'f');
	assert_shows("Sample 6 (line 8), broke");
	app_key(app, 's');
	assert_shows("Sample 6 (line 8), broke");
	app_key(app, K_ENTER);
	assert_int_equal(front(), VIEW_OUTPUT);
	assert_shows("the sentence number 6 that goes on");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_screens),
		TEST(test_sizes),
		TEST(test_ops_of_a_selection),
		TEST(test_forms_start_valid),
		TEST(test_values_and_ranges),
		TEST(test_shares),
		TEST(test_amounts_of_a_head),
		TEST(test_preview_has_the_seed),
		TEST(test_pruned_selection),
		TEST(test_preview_is_what_happens),
		TEST(test_refused),
		TEST(test_goto),
		TEST(test_mark),
		TEST(test_sort),
		TEST(test_find),
		TEST(test_pick_and_compare),
		TEST(test_chart_moves),
		TEST(test_chart_without_points),
		TEST(test_filter),
		TEST(test_filter_keeps_the_sample),
	};

	if (getenv("PARE_PRINT_SCREENS") != NULL)
		cmocka_set_test_filter("test_screens");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
