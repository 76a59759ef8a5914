/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The maps of heads and parts and the details, drawn into cells at several
 * sizes and compared with tests/unit/screens/views.txt; and what their keys do.
 */
#include "tui_screens.h"

#include <math.h>

#include "ops/common.h"
#include "tensor/transform.h"
#include "ui/tui/map.h"
#include "ui/tui/score.h"
#include "ui/tui/toggle.h"

/* ---- a workbench on a small model ---------------------------------------- */

/* A line in the workbench: the snapshot is new afterwards. */
static void
type_line(const char *line)
{
	int n = app->snap.n;

	assert_true(app_command(app, line));
	if (str_has_prefix(line, "prune") && app->snap.n != n + 1)
		fail_msg("%s did not work", line);
}

static int
setup(void **state)
{
	return open_app("bert", "text\tlabel\n"
	    "a timeless masterpiece of quiet wit .\tgood\n"
	    "the movie was not awful but it was never quite wonderful .\t"
	    "fair\n"
	    "no one laughs\tbad\n", false);
}

static struct slot_ref
slot_at(int layer, enum slot slot)
{
	return (struct slot_ref){ layer, slot };
}

static void
select_target(struct target t)
{
	app_select(app, &t);
}

/* ---- expected screens ---------------------------------------------------- */

typedef void draw_fn(const struct app *app, struct cells *c, struct rect r);

static void
check_sizes(const char *name, draw_fn *draw)
{
	struct cells c = { 0 };

	for (int i = 0; i < 4; i++)
		for (int ascii = 0; ascii < 2; ascii++) {
			cells_init(&c, screen_sizes[i][1], screen_sizes[i][0],
			    ascii);
			draw(app, &c, cells_all(&c));
			check_screen("views.txt", name, &c);
		}
	cells_free(&c);
}

/* At every small size, inside a larger buffer: nothing is drawn outside. */
static void
check_inside(draw_fn *draw)
{
	struct cells c = { 0 };

	for (int rows = 0; rows <= 24; rows++)
		for (int cols = 0; cols <= 60; cols += 3) {
			struct rect r = { 2, 3, rows, cols };

			cells_init(&c, rows + 4, cols + 6, false);
			draw(app, &c, r);
			for (int i = 0; i < c.rows; i++)
				for (int k = 0; k < c.cols; k++)
					if (i < 2 || i >= 2 + rows || k < 3 ||
					    k >= 3 + cols)
						assert_string_equal(
						    cells_at(&c, i, k)->s,
						    " ");
		}
	cells_free(&c);
}

/* What a view or detail draws, as text; malloc'ed. */
static char *
drawn(draw_fn *draw, int cols, int rows)
{
	struct cells c = { 0 };
	char *s;

	cells_init(&c, rows, cols, true);
	draw(app, &c, cells_all(&c));
	s = cells_dump(&c, false);
	cells_free(&c);
	return s;
}

static void
expect_drawn(draw_fn *draw, const char *text)
{
	char *s = drawn(draw, 80, 40);

	if (strstr(s, text) == NULL)
		fail_msg("'%s' is not in\n%s", text, s);
	free(s);
}

static void
check_detail(const char *name, const struct detail *d, struct target t)
{
	select_target(t);
	assert_ptr_equal(detail_for(app), d);
	check_sizes(name, d->draw);
	check_inside(d->draw);
}

/* ---- screens ------------------------------------------------------------- */

static void
test_heads_screens(void **state)
{
	app_push(app, VIEW_HEADS);
	check_sizes("heads", view_heads.draw);
	check_inside(view_heads.draw);
	type_line("prune heads L1.h1");
	type_line("prune attention L0");
	check_sizes("heads pruned", view_heads.draw);
	type_line("prune layers L1");
	check_sizes("heads layer removed", view_heads.draw);
	check_inside(view_heads.draw);
}

static void
test_parts_screens(void **state)
{
	app_push(app, VIEW_PARTS);
	check_sizes("parts", view_parts.draw);
	check_inside(view_parts.draw);
	type_line("prune heads L1.h1");
	type_line("prune attention L0");
	type_line("prune ffn L2");
	type_line("prune neurons 50% L1");
	check_sizes("parts pruned", view_parts.draw);
	type_line("prune layers L1");
	check_sizes("parts layer removed", view_parts.draw);
}

static void
test_head_screens(void **state)
{
	check_detail("head", &detail_head, target_head(1, 2));
	assert_true(detail_head.act(app, ACT_DETAIL_NEXT));
	check_sizes("head long sentence", detail_head.draw);
	check_inside(detail_head.draw);
	type_line("prune heads L1.h2");
	check_sizes("head pruned", detail_head.draw);
}

static void
test_attention_screens(void **state)
{
	check_detail("attention", &detail_attention,
	    target_part(1, TARGET_ATTENTION));
	type_line("prune heads L1.h0");
	check_sizes("attention pruned", detail_attention.draw);
	type_line("prune attention L1");
	check_sizes("attention removed", detail_attention.draw);
}

static void
test_matrix_screens(void **state)
{
	check_detail("matrix", &detail_matrix,
	    target_tensor(slot_at(1, SLOT_UP_W)));
	check_detail("vector", &detail_matrix,
	    target_tensor(slot_at(1, SLOT_FNORM_W)));
	type_line("quantize L1.up bits=4");
	check_detail("matrix coded", &detail_matrix,
	    target_tensor(slot_at(1, SLOT_UP_W)));
}

static void
test_layer_screens(void **state)
{
	check_detail("layer", &detail_layer, target_layer(2));
	check_detail("ffn", &detail_layer, target_part(2, TARGET_FFN));
	check_detail("norm", &detail_layer, target_part(2, TARGET_NORM));
	type_line("prune ffn L2");
	check_detail("ffn removed", &detail_layer, target_part(2, TARGET_FFN));
}

static void
test_plain_screens(void **state)
{
	check_detail("model", &detail_plain, target_model());
	check_detail("embedding", &detail_plain,
	    target_part(-1, TARGET_EMBEDDING));
	check_detail("pooler", &detail_plain, target_part(-1, TARGET_POOLER));
	check_detail("output", &detail_plain, target_part(-1, TARGET_OUTPUT));
}

/* ---- numbers ------------------------------------------------------------- */

/* Norms from the values themselves. */
static double
head_norm(const struct layer *y, int h)
{
	double sum = 0;
	int d = y->head_dim;

	for (int k = SLOT_Q_W; k <= SLOT_O_W; k += 2) {
		const float *v = tensor_f32(y->t[k]);

		for (int64_t r = 0; r < y->t[k]->rows; r++)
			for (int64_t c = 0; c < y->t[k]->cols; c++) {
				int64_t at = k == SLOT_O_W ? c : r;
				double w = v[r * y->t[k]->cols + c];

				if (at / d == h)
					sum += w * w;
			}
	}
	return sqrt(sum);
}

static void
test_scores(void **state)
{
	const struct model *m = app_model(app);
	double v[MODEL_HEADS_MAX], mean, sum = 0, square = 0;

	mean = scores_heads(scores_of(app), m, 1, v);
	for (int h = 0; h < 3; h++) {
		assert_true(fabs(v[h] - head_norm(&m->layer[1], h)) < 1e-6);
		sum += v[h];
		square += v[h] * v[h];
	}
	assert_true(fabs(mean - sum / 3) < 1e-9);
	assert_true(isnan(v[3]));
	assert_true(fabs(scores_part(scores_of(app), m, 1, TARGET_ATTENTION) -
	    sqrt(square)) < 1e-9);
	/* A pruned head leaves the norms of the others, by original number. */
	type_line("prune heads L1.h0");
	sum = v[2];
	scores_heads(scores_of(app), app_model(app), 1, v);
	assert_true(isnan(v[0]));
	assert_true(fabs(v[2] - sum) < 1e-6);
}

static int
shade_of(double v, double low, double high)
{
	struct map_range r = { 0 };
	struct cells c = { 0 };
	int style;

	map_range_add(&r, low);
	map_range_add(&r, high);
	cells_init(&c, 1, 2, true);
	map_put_shade(&c, 0, 0, v, &r);
	style = cells_at(&c, 0, 0)->style;
	cells_free(&c);
	return style - STYLE_HEAT0;
}

/* Values that differ little look alike, and a wide range has all shades. */
static void
test_shades(void **state)
{
	bool seen[10] = { false };
	int last = 0;

	for (int i = 0; i <= 8; i++)
		assert_int_equal(shade_of(0.996 + 0.001 * i, 0.996, 1.004), 5);
	/* A shade is at least 2 % of the largest value. */
	assert_int_equal(shade_of(0.98, 0.98, 1.02), 4);
	assert_int_equal(shade_of(1.02, 0.98, 1.02), 6);
	assert_int_equal(shade_of(7, 7, 7), 5);
	assert_int_equal(shade_of(0, 0, 0), 5);
	assert_true(shade_of(1, 0.9, 1) - shade_of(0.9, 0.9, 1) <= 6);
	assert_int_equal(shade_of(0.8, 0.8, 1), 1);
	assert_int_equal(shade_of(1, 0.8, 1), 9);
	for (int i = 0; i <= 90; i++) {
		int n = shade_of(i, 0, 90);

		assert_in_range(n, 1, 9);
		assert_true(n >= last);
		seen[n] = true;
		last = n;
	}
	for (int i = 1; i < 10; i++)
		assert_true(seen[i]);
	/* Below 0 as well: importance may be. */
	assert_int_equal(shade_of(-1, -1, 1), 1);
	assert_int_equal(shade_of(1, -1, 1), 9);
	assert_int_equal(shade_of(0, -1, 1), 5);
}

/* The least head of the map is the one `prune heads 1` takes. */
static void
test_scores_agree(void **state)
{
	double least = INFINITY, v[MODEL_HEADS_MAX];
	struct target t = target_head(0, 0);

	for (int l = 0; l < 3; l++) {
		double mean = scores_heads(scores_of(app), app_model(app), l,
		    v);

		for (int h = 0; h < 3; h++)
			if (v[h] / mean < least) {
				least = v[h] / mean;
				t = target_head(l, h);
			}
	}
	type_line("prune heads 1");
	assert_false(toggle_present(app_model(app), &t));
}

static void
test_spectrum_words(void **state)
{
	const struct tensor *t = model_slot(app_model(app),
	    slot_at(1, SLOT_UP_W));
	struct pare_err err;
	double all = 0, sum = 0;
	int64_t n, rank = 0;
	char text[64];
	float *v;

	assert_int_equal(tensor_spectrum(t, &v, &n, NULL, &err), PARE_OK);
	for (int64_t i = 0; i < n; i++)
		all += (double)v[i] * v[i];
	while (sum < 0.9 * all) {
		sum += (double)v[rank] * v[rank];
		rank++;
	}
	free(v);
	select_target(target_tensor(slot_at(1, SLOT_UP_W)));
	snprintf(text, sizeof(text), "90 %% in %d", (int)rank);
	expect_drawn(detail_matrix.draw, text);
	snprintf(text, sizeof(text), "break-even rank %d",
	    (int)tensor_break_even_rank(t));
	expect_drawn(detail_matrix.draw, text);
}

/* ---- keys ---------------------------------------------------------------- */

static int
heads_left(int layer)
{
	return app_model(app)->layer[layer].heads;
}

static void
test_toggle_once(void **state)
{
	struct target t = target_head(1, 1);

	toggle_target(app, &t);
	assert_int_equal(heads_left(1), 2);
	assert_int_equal(app->snap.current, 1);
	assert_string_equal(app_now(app)->command, "prune heads L1.h1");
	/* Back by going to the state before: nothing new is made. */
	toggle_target(app, &t);
	assert_int_equal(heads_left(1), 3);
	assert_int_equal(app->snap.current, 0);
	assert_int_equal(app->snap.n, 2);
}

/* Restoring the head pruned first makes the state without the others, as one
 * more prune of the original; the next time that state is found again. */
static void
test_toggle_middle(void **state)
{
	struct target a = target_head(0, 0), b = target_head(1, 1),
	    c = target_head(2, 2);
	int made;

	toggle_target(app, &a);
	toggle_target(app, &b);
	toggle_target(app, &c);
	assert_int_equal(app->snap.n, 4);
	toggle_target(app, &a);
	assert_true(toggle_present(app_model(app), &a));
	assert_false(toggle_present(app_model(app), &b));
	assert_false(toggle_present(app_model(app), &c));
	assert_string_equal(app_now(app)->command,
	    "prune heads L1.h1 L2.h2");
	assert_int_equal(app_now(app)->parent, 0);
	made = app->snap.current;
	app_command(app, "goto 3");
	toggle_target(app, &a);
	assert_int_equal(app->snap.current, made);
	assert_int_equal(app->snap.n, 5);
}

static void
test_toggle_parts(void **state)
{
	struct target ffn = target_part(2, TARGET_FFN),
	    attention = target_part(0, TARGET_ATTENTION);

	toggle_target(app, &ffn);
	assert_int_equal(app_model(app)->layer[2].ffn, 0);
	toggle_target(app, &attention);
	assert_int_equal(heads_left(0), 0);
	/* The FFN comes back, the attention stays away. */
	toggle_target(app, &ffn);
	assert_int_equal(app_model(app)->layer[2].ffn, 20);
	assert_int_equal(heads_left(0), 0);
	toggle_target(app, &attention);
	assert_int_equal(heads_left(0), 3);
	assert_int_equal(app->snap.current, 0);
}

/* With other changes since, nothing is lost: the message says where to go. */
static void
test_toggle_refuses(void **state)
{
	struct target t = target_head(1, 1);
	struct cells c = { 0 };
	char *s;
	int n;

	toggle_target(app, &t);
	type_line("quantize L0.ffn bits=8");
	n = app->snap.n;
	toggle_target(app, &t);
	assert_int_equal(app->snap.n, n);
	assert_int_equal(app->snap.current, n - 1);
	cells_init(&c, 24, 160, true);
	app_draw(app, &c);
	s = cells_dump(&c, false);
	if (strstr(s, "L1.h1 is in state 0: `goto 0`") == NULL)
		fail_msg("no message in\n%s", s);
	free(s);
	cells_free(&c);
}

/* Cursor, selection and toggle through the keys of the view. */
/* Shaded by the importance that was shown last, of this model alone. */
static void
test_heads_importance(void **state)
{
	app_push(app, VIEW_HEADS);
	type_line("importance heads by=random seed=3");
	app_push(app, VIEW_HEADS);
	expect_drawn(view_heads.draw, ", random 0.");
	app_key(app, 's');
	app_key(app, 's');
	expect_drawn(view_heads.draw, "importance, as `importance heads`");
	type_line("prune heads L1.h1");
	type_line("importance heads by=random seed=3");
	type_line("undo");
	assert_null(app->snap.heads.v);
}

static void
test_heads_keys(void **state)
{
	app_push(app, VIEW_HEADS);
	assert_int_equal(app->target.kind, TARGET_HEAD);
	app_key(app, 'j');
	app_key(app, 'l');
	assert_string_equal(app->target.path, "L1.h1");
	app_key(app, 'x');
	assert_int_equal(heads_left(1), 2);
	assert_string_equal(app->target.path, "L1.h1");
	expect_drawn(view_heads.draw, "[xx]");
	expect_drawn(view_heads.draw, "L1.h1 is pruned");
	app_key(app, 'x');
	assert_int_equal(heads_left(1), 3);
	app_key(app, K_RIGHT);
	app_key(app, K_RIGHT);
	assert_string_equal(app->target.path, "L1.h2");
	app_key(app, 'G');
	assert_string_equal(app->target.path, "L2.h2");
	app_key(app, K_DOWN);
	assert_string_equal(app->target.path, "L2.h2");
	app_key(app, 'g');
	assert_string_equal(app->target.path, "L0.h2");
	app_key(app, 't');
	assert_int_equal(app->stack[app->depth - 1], VIEW_PARTS);
	assert_string_equal(app->target.path, "L0.attn");
	app_key(app, 'l');
	assert_string_equal(app->target.path, "L0.ffn");
	app_key(app, 'x');
	assert_int_equal(app_model(app)->layer[0].ffn, 0);
}

/* The row of a removed layer stays, and the cursor passes over it. */
static void
test_removed_layer(void **state)
{
	app_push(app, VIEW_HEADS);
	type_line("prune layers L1");
	expect_drawn(view_heads.draw, "(1)");
	app_key(app, 'g');
	assert_string_equal(app->target.path, "L0.h0");
	app_key(app, 'j');
	assert_string_equal(app->target.path, "L1.h0");
	app_key(app, 'k');
	assert_string_equal(app->target.path, "L0.h0");
}

/* The cursor stays on its layer when that gets another number. */
static void
test_renumbered_layer(void **state)
{
	app_push(app, VIEW_HEADS);
	app_key(app, 'G');
	assert_string_equal(app->target.path, "L2.h0");
	type_line("prune layers L0");
	assert_string_equal(app->target.path, "L1.h0");
	expect_drawn(view_heads.draw, "L1  [");
	app_key(app, 'u');
	assert_string_equal(app->target.path, "L2.h0");
	app_push(app, VIEW_PARTS);
	app_key(app, 'l');
	type_line("prune layers L1");
	assert_string_equal(app->target.path, "L1.ffn");
}

/* Other sentences, read while another view was in front. */
static void
test_other_data(void **state)
{
	char *line = str_format("data %s/other.tsv", root);

	tiny_put_text(root, "other.tsv", "text\tlabel\nthe plot is thin\tbad\n"
	    "no wit\tbad\n");
	select_target(target_head(1, 1));
	expect_drawn(detail_head.draw, "timeless");
	app_push(app, VIEW_OUTPUT);
	type_line(line);
	app_pop(app);
	expect_drawn(detail_head.draw, "1/2 the plot is thin");
	expect_drawn(detail_head.draw, " plot ");
	free(line);
}

static void
test_find(void **state)
{
	app_push(app, VIEW_HEADS);
	assert_true(view_heads.find(app, "l2.H1", 1, true));
	assert_string_equal(app->target.path, "L2.h1");
	assert_false(view_heads.find(app, "L2.h1", 1, false));
	assert_true(view_heads.find(app, "h1", -1, false));
	assert_string_equal(app->target.path, "L1.h1");
	app_push(app, VIEW_PARTS);
	assert_true(view_parts.find(app, "ffn", 1, true));
	assert_string_equal(app->target.path, "L0.ffn");
	assert_false(view_parts.find(app, "no such thing", 1, true));
}

static void
test_head_keys(void **state)
{
	select_target(target_head(1, 1));
	expect_drawn(detail_head.draw, "1/3 a timeless");
	assert_true(detail_head.act(app, ACT_DETAIL_NEXT));
	expect_drawn(detail_head.draw, "2/3 the movie");
	assert_true(detail_head.act(app, ACT_DETAIL_NEXT));
	assert_false(detail_head.act(app, ACT_DETAIL_NEXT));
	expect_drawn(detail_head.draw, "3/3 no one");
	assert_true(detail_head.act(app, ACT_DETAIL_HEAD_NEXT));
	assert_string_equal(app->target.path, "L1.h2");
	assert_false(detail_head.act(app, ACT_DETAIL_HEAD_NEXT));
	assert_true(detail_head.act(app, ACT_DETAIL_LAYER_NEXT));
	assert_string_equal(app->target.path, "L2.h2");
	assert_false(detail_head.act(app, ACT_DETAIL_LAYER_NEXT));
	expect_drawn(detail_head.draw, "L2.h2");
}

/* Two maps on the same model differ, and a state's map is its own. */
static void
test_head_maps(void **state)
{
	char *a, *b, *c;

	select_target(target_head(1, 1));
	a = drawn(detail_head.draw, 80, 30);
	select_target(target_head(1, 2));
	b = drawn(detail_head.draw, 80, 30);
	assert_string_not_equal(a, b);
	select_target(target_head(1, 1));
	c = drawn(detail_head.draw, 80, 30);
	assert_string_equal(a, c);
	free(c);
	type_line("prune attention L0");
	c = drawn(detail_head.draw, 80, 30);
	assert_string_not_equal(a, c);
	free(a);
	free(b);
	free(c);
}

static void
test_no_data(void **state)
{
	struct session *other = session_new();
	struct app *first = app;
	char *dir = io_join(root, "bert");
	char *line = str_format("open %s", dir);
	struct result r;

	assert_int_equal(session_run(other, line, NULL, &r), PARE_OK);
	result_free(&r);
	app = app_new(other, false);
	for (int i = 0; i < VIEW_COUNT; i++)
		if (i == VIEW_HEADS || i == VIEW_PARTS) {
			char *s = drawn(view_table[i]->draw, 60, 12);

			assert_non_null(strstr(s, "no model is open"));
			free(s);
		}
	app_refresh(app, 0);
	select_target(target_head(0, 0));
	expect_drawn(detail_head.draw, "loads sentences");
	app_free(app);
	session_free(other);
	app = first;
	free(dir);
	free(line);
}

/* A config alone: everything draws, nothing is measured. */
static void
test_ghost(void **state)
{
	char *config = str_format("open %s/bert/config.json", root);

	type_line(config);
	assert_true(app->snap.ghost);
	app_push(app, VIEW_HEADS);
	expect_drawn(view_heads.draw, "??");
	expect_drawn(view_heads.draw, "sizes only");
	app_push(app, VIEW_PARTS);
	expect_drawn(view_parts.draw, "sizes only");
	select_target(target_head(0, 1));
	expect_drawn(detail_head.draw, "sizes only");
	select_target(target_tensor(slot_at(0, SLOT_Q_W)));
	expect_drawn(detail_matrix.draw, "sizes only");
	select_target(target_part(0, TARGET_ATTENTION));
	expect_drawn(detail_attention.draw, "h2");
	free(config);
}

/* Another model forgets what was measured of the one before. */
static void
test_reopened(void **state)
{
	char *line = str_format("open %s/bert", root);

	select_target(target_tensor(slot_at(1, SLOT_UP_W)));
	app_push(app, VIEW_HEADS);
	for (int i = 0; i < 3; i++) {
		type_line(line);
		select_target(target_head(2, 0));
		expect_drawn(detail_head.draw, "norm");
		select_target(target_tensor(slot_at(1, SLOT_UP_W)));
		expect_drawn(detail_matrix.draw, "break-even");
	}
	free(line);
}

/* The same through the worker: results come later and are the same. */
static void
test_worker(void **state)
{
	struct app *first = app;
	char *now, *later;

	select_target(target_head(1, 1));
	now = drawn(detail_head.draw, 80, 30);
	app = app_new(session, true);
	app_refresh(app, 0);
	app_settle(app);
	select_target(target_tensor(slot_at(1, SLOT_UP_W)));
	for (int h = 0; h < 3; h++)
		select_target(target_head(1, h));
	select_target(target_head(1, 1));
	app_settle(app);
	later = drawn(detail_head.draw, 80, 30);
	assert_string_equal(now, later);
	free(later);
	/* Left while jobs run. */
	select_target(target_tensor(slot_at(2, SLOT_UP_W)));
	select_target(target_head(2, 1));
	app_free(app);
	app = first;
	free(now);
}

/* Bytes of the model that the budget view says would be left, by moving it to
 * one end. */
static int64_t
bytes_of_end(int key)
{
	const struct snap_plan *p = app->snap.plan;
	const struct plan_curve *c = &p->curve[PLAN_BYTES];

	app_key(app, key);
	return (int64_t)(p->book->base[PLAN_BYTES] + c->use[key == K_HOME ?
	    0 : c->n - 1]);
}

static void
test_budget(void **state)
{
	char *all, *least;
	int64_t bytes;

	(void)state;
	app_push(app, VIEW_PLAN);
	expect_drawn(view_plan.draw, "is not known yet");
	check_inside(view_plan.draw);
	do_line("data %s/eval.tsv role=calib", root);
	type_line("plan drop<=1pt apply=off using=prune,quantize samples=3");
	app_push(app, VIEW_PLAN);
	assert_non_null(app->snap.plan);
	check_inside(view_plan.draw);

	/* Nothing is done to the model with all of its bytes. */
	bytes = bytes_of_end(K_END);
	assert_int_equal(bytes, app_now(app)->totals.bytes);
	expect_drawn(view_plan.draw, "1.0 x less), of bytes");
	expect_drawn(view_plan.draw, "(0.00 points lost)");
	all = drawn(view_plan.draw, 80, 40);
	assert_null(strstr(all, "bits="));
	app_key(app, K_LEFT);
	bytes = bytes_of_end(K_HOME);
	assert_true(bytes < app_now(app)->totals.bytes);
	least = drawn(view_plan.draw, 80, 40);
	assert_string_not_equal(all, least);
	app_key(app, 't');
	expect_drawn(view_plan.draw, "of MACs a token");
	app_key(app, 't');
	expect_drawn(view_plan.draw, "of milliseconds");
	app_key(app, 't');
	expect_drawn(view_plan.draw, least);
	free(all);
	free(least);

	/* What Enter makes is what was shown. */
	app_key(app, K_ENTER);
	app_settle(app);
	assert_true(app->snap.n > 1);
	assert_int_equal(app_now(app)->totals.bytes, bytes);
	assert_null(app->snap.plan);
	type_line("goto 0");
	assert_non_null(app->snap.plan);
}

static int ticks_left;

static void
stop_later(struct task *task, double done, double total, const char *what)
{
	(void)done;
	(void)total;
	(void)what;
	if (--ticks_left <= 0)
		atomic_store(&task->cancel, true);
}

/* Stopped anywhere, a plan leaves the history as it was; what it measured until
 * then it does not measure again. */
static void
test_budget_stopped(void **state)
{
	static const int after[] = { 1, 20, 150, 700, 1500 };
	int stopped = 0, n = session->history.n;

	(void)state;
	do_line("data %s/eval.tsv role=calib", root);
	for (size_t i = 0; i < sizeof(after) / sizeof(*after); i++) {
		struct task task = { .tick = stop_later };
		struct result r;
		enum pare_rc rc;

		ticks_left = after[i];
		rc = session_run(session, "plan bytes<=2x samples=3 "
		    "using=prune,quantize", &task, &r);
		result_free(&r);
		if (rc == PARE_OK)
			break;
		assert_int_equal(rc, PARE_ECANCELED);
		assert_int_equal(session->history.n, n);
		assert_int_equal(session->history.current, n - 1);
		stopped++;
	}
	assert_true(stopped >= 2);
	do_line("plan bytes<=2x samples=3 using=prune,quantize");
	assert_true(session->history.n > n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_heads_screens, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_parts_screens, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_head_screens, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_attention_screens, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_matrix_screens, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_layer_screens, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_plain_screens, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_scores, setup, teardown),
		cmocka_unit_test(test_shades),
		cmocka_unit_test_setup_teardown(test_scores_agree, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_spectrum_words, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_toggle_once, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_toggle_middle, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_toggle_parts, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_toggle_refuses, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_heads_importance, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_heads_keys, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_removed_layer, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_renumbered_layer, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_other_data, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
		cmocka_unit_test_setup_teardown(test_head_keys, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_head_maps, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_no_data, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ghost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reopened, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_worker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_budget_stopped, setup,
		    teardown),
	};
	int rc;

	setenv("LC_ALL", "C.UTF-8", 1);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	screens_close();
	return rc;
}
