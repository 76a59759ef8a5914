/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two states side by side, as `diff` and `compare` tell it: totals, the layers
 * and tensors that differ (layers by their present numbers), and the samples
 * whose prediction changed. One scrolling list; update() makes the rows as
 * numbers, draw() spells out those in view.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/render.h"
#include "ui/tui/states.h"

enum row_kind { ROW_TITLE, ROW_TOTAL, ROW_LAYER, ROW_TENSOR, ROW_NOTE,
	ROW_FLIP };

struct row {
	enum row_kind kind;
	struct slot_ref ref;	/* ROW_LAYER: the layer */
	int64_t at;		/* the total, the sample, or the note */
};

enum note { NOTE_SAME, NOTE_NO_DATA, NOTE_NO_EVAL, NOTE_OTHER, NOTE_TOKENS, NOTE_SCORES,
	NOTE_NO_FLIPS };
enum total { TOTAL_PARAMS, TOTAL_BYTES, TOTAL_MACS, TOTAL_VALUE,
	TOTAL_LATENCY, TOTALS };
enum title { TITLE_TENSORS, TITLE_FLIPS };
enum { SIDE_MAX = 192 };

struct compare_view {
	int a, b;		/* states */
	bool chosen;
	int n, cap, cursor;
	int tensors, flips;	/* rows of the titles */
	struct row *row;	/* owned */
	bool compared;
	struct comparison comparison;
};

static const char *const total_names[TOTALS] = { "parameters",
	"stored bytes", "MACs a token", "", "latency" };

static void
add(struct compare_view *v, enum row_kind kind, struct slot_ref ref,
    int64_t at)
{
	if (v->n == v->cap) {
		v->cap = v->cap == 0 ? 64 : 2 * v->cap;
		v->row = xrealloc(v->row, (size_t)v->cap * sizeof(*v->row));
	}
	v->row[v->n++] = (struct row){ kind, ref, at };
}

static void
add_plain(struct compare_view *v, enum row_kind kind, int64_t at)
{
	add(v, kind, (struct slot_ref){ -1, 0 }, at);
}

/* ---- what differs ---- */

static const struct tensor *
slot_of(const struct model *m, struct slot_ref ref)
{
	return ref.layer < m->nlayers ? model_slot(m, ref) : NULL;
}

static const struct layer *
layer_of(const struct model *m, int l)
{
	return l >= 0 && l < m->nlayers ? &m->layer[l] : NULL;
}

static bool
layers_differ(const struct layer *x, const struct layer *y)
{
	return x == NULL || y == NULL || x->heads != y->heads ||
	    x->ffn != y->ffn || memcmp(&x->head, &y->head, sizeof(x->head));
}

static void
add_tensors(struct compare_view *v, const struct model *a,
    const struct model *b)
{
	int n = a->nlayers > b->nlayers ? a->nlayers : b->nlayers;
	struct slot_ref ref = SLOT_REF_START;
	int before = v->n;

	for (int l = 0; l < n; l++)
		if (layers_differ(layer_of(a, l), layer_of(b, l)))
			add(v, ROW_LAYER, (struct slot_ref){ l, 0 }, 0);
	while (model_next_slot(a, &ref))
		if (slot_of(a, ref) != slot_of(b, ref))
			add(v, ROW_TENSOR, ref, 0);
	ref = SLOT_REF_START;
	while (model_next_slot(b, &ref))
		if (slot_of(a, ref) == NULL)
			add(v, ROW_TENSOR, ref, 0);
	if (v->n == before)
		add_plain(v, ROW_NOTE, NOTE_SAME);
}

static void
add_flips(struct compare_view *v, const struct app *app,
    const struct evaluation *a, const struct evaluation *b)
{
	const struct dataset *d = app->snap.data;
	int before = v->n;

	if (d == NULL || a == NULL || b == NULL) {
		add_plain(v, ROW_NOTE, d == NULL ? NOTE_NO_DATA :
		    NOTE_NO_EVAL);
		return;
	}
	evaluation_compare(a, b, &v->comparison);
	v->compared = true;
	if (a->per_token && (a->total == b->total ||
	    v->comparison.other_tokens)) {
		add_plain(v, ROW_NOTE, NOTE_TOKENS);
		return;
	}
	if (a->total != b->total || a->labels != b->labels ||
	    a->total != d->n) {
		add_plain(v, ROW_NOTE, NOTE_OTHER);
		return;
	}
	if (a->labels == 1) {
		add_plain(v, ROW_NOTE, NOTE_SCORES);
		return;
	}
	for (int64_t i = 0; i < a->total; i++)
		if (a->predicted[i] != b->predicted[i])
			add_plain(v, ROW_FLIP, i);
	if (v->n == before)
		add_plain(v, ROW_NOTE, NOTE_NO_FLIPS);
}

static void
rebuild(struct app *app)
{
	struct compare_view *v = app->state[VIEW_COMPARE];
	const struct snap_state *a, *b;

	if (!v->chosen) {
		v->a = 0;
		v->b = app->snap.current;
	}
	a = states_get(app, v->a);
	b = states_get(app, v->b);
	v->n = 0;
	v->compared = false;
	if (a == NULL || b == NULL)
		return;
	for (int i = 0; i < TOTALS; i++)
		if (i != TOTAL_LATENCY || (a->has_latency && b->has_latency))
			add_plain(v, ROW_TOTAL, i);
	v->tensors = v->n;
	add_plain(v, ROW_TITLE, TITLE_TENSORS);
	add_tensors(v, a->model, b->model);
	v->flips = v->n;
	add_plain(v, ROW_TITLE, TITLE_FLIPS);
	add_flips(v, app, a->eval, b->eval);
	if (v->cursor >= v->n)
		v->cursor = v->n - 1;
}

void
compare_choose(struct app *app, int a, int b)
{
	struct compare_view *v = app->state[VIEW_COMPARE];

	v->a = a;
	v->b = b;
	v->chosen = true;
	v->cursor = 0;
	rebuild(app);
}

/* ---- words ---- */

/* What a row says: its name, both sides, and the change. */
struct words {
	char name[96], a[SIDE_MAX], b[SIDE_MAX], change[NUMBER_MAX];
	unsigned style;
};

static void
say_total(const struct app *app, const struct snap_state *s, int64_t which,
    char out[SIDE_MAX], double *v)
{
	char text[NUMBER_MAX] = "";

	switch ((enum total)which) {
	case TOTAL_PARAMS:
		*v = (double)s->totals.params;
		number_count(text, *v);
		break;
	case TOTAL_BYTES:
		*v = (double)s->totals.bytes;
		number_bytes(text, *v);
		break;
	case TOTAL_MACS:
		*v = (double)s->totals.macs / (double)(app->snap.seq > 0 ?
		    app->snap.seq : 1);
		number_count(text, *v);
		break;
	case TOTAL_LATENCY:
		*v = s->latency.p50_ms;
		states_latency(s, text);
		break;
	default:
		*v = s->eval != NULL ? s->eval->value : NAN;
		states_value(app, s, text);
		break;
	}
	snprintf(out, SIDE_MAX, "%s", text[0] != '\0' ? text : "-");
}

static void
total_words(const struct app *app, const struct row *r,
    const struct snap_state *a, const struct snap_state *b, struct words *w)
{
	double x, y;

	say_total(app, a, r->at, w->a, &x);
	say_total(app, b, r->at, w->b, &y);
	if (r->at != TOTAL_VALUE) {
		snprintf(w->name, sizeof(w->name), "%s", total_names[r->at]);
		if (x != y)
			number_change(w->change, x, y);
		return;
	}
	snprintf(w->name, sizeof(w->name), "%s",
	    metric_table[app->snap.metric].name);
	/* A difference of shares is in points, not in percent of it. */
	if (isfinite(x - y) && metric_table[app->snap.metric].share)
		snprintf(w->change, sizeof(w->change), "%+.1f pt",
		    100 * (y - x));
	else if (isfinite(x - y))
		snprintf(w->change, sizeof(w->change), "%+.3f", y - x);
}

static void
say_layer(const struct layer *l, char out[SIDE_MAX])
{
	if (l == NULL)
		snprintf(out, SIDE_MAX, "gone");
	else
		snprintf(out, SIDE_MAX, "%d head%s, FFN %lld", l->heads,
		    l->heads == 1 ? "" : "s", (long long)l->ffn);
}

/* At most room columns: what is the same on both sides goes first. */
static void
say_tensor(const struct tensor *t, const struct tensor *other, int room,
    char out[SIDE_MAX])
{
	bool same_shape = t != NULL && other != NULL &&
	    t->rows == other->rows && t->cols == other->cols;
	char form[64], bytes[NUMBER_MAX];

	if (t == NULL) {
		snprintf(out, SIDE_MAX, "gone");
		return;
	}
	tensor_describe(t, form, sizeof(form));
	number_bytes(bytes, (double)tensor_bytes(t));
	snprintf(out, SIDE_MAX, "%s %lldx%lld %s", form, (long long)t->rows,
	    (long long)t->cols, bytes);
	if ((int)strlen(out) <= room)
		return;
	if (same_shape)
		snprintf(out, SIDE_MAX, "%s %s", form, bytes);
	else
		snprintf(out, SIDE_MAX, "%lldx%lld %s", (long long)t->rows,
		    (long long)t->cols, bytes);
	if ((int)strlen(out) > room)
		snprintf(out, SIDE_MAX, "%s", bytes);
}

static void
tensor_words(const struct row *r, const struct model *a,
    const struct model *b, int room, struct words *w)
{
	const struct tensor *x = slot_of(a, r->ref), *y = slot_of(b, r->ref);

	snprintf(w->name, sizeof(w->name), "  ");
	model_slot_path(r->ref, w->name + 2, sizeof(w->name) - 2);
	say_tensor(x, y, room, w->a);
	say_tensor(y, x, room, w->b);
	if (x != NULL && y != NULL && tensor_bytes(x) != tensor_bytes(y))
		number_change(w->change, (double)tensor_bytes(x),
		    (double)tensor_bytes(y));
}

/* room: columns of a side. */
static void
row_words(const struct app *app, const struct row *r, int room,
    struct words *w)
{
	const struct compare_view *v = app->state[VIEW_COMPARE];
	const struct snap_state *a = states_get(app, v->a);
	const struct snap_state *b = states_get(app, v->b);

	memset(w, 0, sizeof(*w));
	if (a == NULL || b == NULL)
		return;
	if (r->kind == ROW_TOTAL) {
		total_words(app, r, a, b, w);
	} else if (r->kind == ROW_LAYER) {
		snprintf(w->name, sizeof(w->name), "L%d", r->ref.layer);
		say_layer(layer_of(a->model, r->ref.layer), w->a);
		say_layer(layer_of(b->model, r->ref.layer), w->b);
		w->style = STYLE_TITLE;
	} else if (r->kind == ROW_TENSOR) {
		tensor_words(r, a->model, b->model, room, w);
	}
}

static const char *
note_text(const struct app *app, int64_t at)
{
	switch ((enum note)at) {
	case NOTE_SAME:
		return "every tensor is the same";
	case NOTE_NO_DATA:
		return "no samples are loaded: :data FILE";
	case NOTE_NO_EVAL:
		return "not both states were evaluated: the command compare "
		    "does it";
	case NOTE_OTHER:
		return "not comparable: evaluated on other samples";
	case NOTE_TOKENS:
		return "the samples view shows what changed in each window";
	case NOTE_SCORES:
		return "scores have no classes that could flip";
	default:
		return "no prediction changed";
	}
}

/* The sign of a flip: + fixed, - broke, ~ another wrong one. */
static const char *
flip_sign(const struct evaluation *a, const struct evaluation *b, int64_t i)
{
	if (a->gold[i] < 0)
		return "~";
	return b->predicted[i] == b->gold[i] ? "+" :
	    a->predicted[i] == a->gold[i] ? "-" : "~";
}

/* "12 gold good: bad -> good"; false: the snapshot has moved on. */
static bool
flip_words(const struct app *app, int64_t i, const char *arrow,
    struct str *out)
{
	const struct compare_view *v = app->state[VIEW_COMPARE];
	const struct snap_state *a = states_get(app, v->a);
	const struct snap_state *b = states_get(app, v->b);
	char gold[64] = "-", x[64], y[64];

	if (a == NULL || b == NULL || a->eval == NULL || b->eval == NULL ||
	    app->snap.data == NULL || i >= app->snap.data->n ||
	    i >= a->eval->total || i >= b->eval->total)
		return false;
	if (a->eval->gold[i] >= 0)
		model_label_name(b->model, a->eval->gold[i], gold,
		    sizeof(gold));
	model_label_name(b->model, a->eval->predicted[i], x, sizeof(x));
	model_label_name(b->model, b->eval->predicted[i], y, sizeof(y));
	str_addf(out, "%s %lld  gold %s: %s %s %s",
	    flip_sign(a->eval, b->eval, i), (long long)i, gold, x, arrow, y);
	return true;
}

/* ---- drawing ---- */

struct places {
	int name, side, change;	/* widths; change 0: none */
};

static struct places
make_places(int cols)
{
	struct places p;

	p.change = cols >= 56 ? 9 : 0;
	p.name = cols >= 100 ? 28 : cols >= 70 ? 22 : cols >= 56 ? 18 : 15;
	p.side = (cols - p.name - p.change) / 2;
	/* Far apart is hard to read. */
	if (p.side > 36)
		p.side = 36;
	return p;
}

static void
draw_rule(const struct app *app, struct cells *c, struct rect r, int64_t at)
{
	const struct compare_view *v = app->state[VIEW_COMPARE];
	char text[256] = "layers and tensors that differ";

	if (at == TITLE_FLIPS && !v->compared)
		snprintf(text, sizeof(text), "predictions that differ");
	else if (at == TITLE_FLIPS && v->comparison.other_tokens)
		snprintf(text, sizeof(text), "%s", v->comparison.verdict);
	else if (at == TITLE_FLIPS)
		snprintf(text, sizeof(text), "%lld predictions differ: %lld "
		    "fixed, %lld broke: %s", (long long)v->comparison.changed,
		    (long long)v->comparison.fixed,
		    (long long)v->comparison.broke, v->comparison.verdict);
	cells_rule(c, r.row, r.col, r.cols, text);
}

static void
draw_flip(const struct app *app, struct cells *c, struct rect r, int64_t i)
{
	struct str b = STR_INIT;

	if (flip_words(app, i, glyph(c, GLYPH_ARROW), &b)) {
		int n = cells_put(c, r.row, r.col, r.cols, b.s[0] == '+' ?
		    STYLE_GOOD : b.s[0] == '-' ? STYLE_ERROR : STYLE_NORMAL,
		    b.s);

		cells_put(c, r.row, r.col + n + 2, r.cols - n - 2,
		    STYLE_NORMAL, app->snap.data->sample[i].text);
	}
	str_free(&b);
}

static void
draw_sides(const struct app *app, struct cells *c, struct rect r,
    const struct row *row, const struct places *p)
{
	struct words w;
	int col = r.col + p->name;

	row_words(app, row, p->side - 1, &w);
	cells_put(c, r.row, r.col, p->name - 1, w.style, w.name);
	cells_put(c, r.row, col, p->side - 1, w.style, w.a);
	cells_put(c, r.row, col + p->side, p->side - 1, w.style, w.b);
	cells_put_right(c, r.row, col + 2 * p->side, p->change - 1,
	    STYLE_CHANGED, w.change);
}

static void
draw_row(const struct app *app, struct cells *c, struct rect r,
    const struct row *row, const struct places *p)
{
	switch (row->kind) {
	case ROW_TITLE:
		draw_rule(app, c, r, row->at);
		break;
	case ROW_NOTE:
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    note_text(app, row->at));
		break;
	case ROW_FLIP:
		draw_flip(app, c, r, row->at);
		break;
	default:
		draw_sides(app, c, r, row, p);
		break;
	}
}

static void
draw_head(const struct app *app, struct cells *c, struct rect r,
    const struct places *p)
{
	const struct compare_view *v = app->state[VIEW_COMPARE];
	int id[2] = { v->a, v->b };

	for (int i = 0; i < 2; i++) {
		const struct snap_state *s = states_get(app, id[i]);
		int col = r.col + p->name + i * p->side;
		char name[96];

		states_name(s, name, sizeof(name));
		cells_putf(c, r.row, col, p->side - 1, STYLE_TITLE, "%s%s%s",
		    s->id == app->snap.current ? glyph(c, GLYPH_MARK) : "",
		    s->id == app->snap.current ? " " : "", name);
		if (r.rows >= 8)
			cells_put(c, r.row + 1, col, p->side - 1, STYLE_DIM,
			    states_command(s));
	}
	cells_put_right(c, r.row, r.col + p->name + 2 * p->side,
	    p->change - 1, STYLE_DIM, "change");
}

/* The row under the cursor in full. */
static void
draw_below(const struct app *app, struct cells *c, struct rect r)
{
	const struct compare_view *v = app->state[VIEW_COMPARE];
	const struct row *row = &v->row[v->cursor];
	const char *arrow = glyph(c, GLYPH_ARROW);
	struct str b = STR_INIT;
	struct words w;

	if (row->kind == ROW_FLIP) {
		const struct sample *s;

		if (flip_words(app, row->at, arrow, &b)) {
			s = &app->snap.data->sample[row->at];
			str_addf(&b, "  %s%s%s", s->text, s->pair != NULL ?
			    " | " : "", s->pair != NULL ? s->pair : "");
		}
	} else if (row->kind == ROW_TITLE && row->at == TITLE_FLIPS &&
	    v->compared) {
		str_addf(&b, "Verdict: %s.", v->comparison.verdict);
	} else {
		row_words(app, row, 90, &w);
		if (w.name[0] != '\0')
			str_addf(&b, "%s: %s %s %s%s%s%s", w.name, w.a, arrow,
			    w.b, w.change[0] != '\0' ? " (" : "", w.change,
			    w.change[0] != '\0' ? ")" : "");
	}
	states_wrap(c, r, STYLE_NORMAL, b.s);
	str_free(&b);
}

/* Rows of the heading, and of what is told of the row under the cursor (without
 * the line above it; 0: nothing), in the rectangle of draw(). */
static void
find_parts(struct rect r, int *head, int *below)
{
	*head = r.rows < 3 ? 0 : r.rows >= 8 ? 2 : 1;
	r.rows -= *head;
	*below = r.rows < 8 ? 0 : r.rows >= 16 ? 3 : 2;
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct compare_view *v = app->state[VIEW_COMPARE];
	struct places p = make_places(r.cols);
	int head, below, top;

	if (v->n == 0 || states_get(app, v->a) == NULL ||
	    states_get(app, v->b) == NULL) {
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    "there is nothing to compare");
		return;
	}
	find_parts(r, &head, &below);
	if (head > 0)
		draw_head(app, c, r, &p);
	r.row += head;
	r.rows -= head;
	if (below > 0) {
		r.rows -= below + 1;
		cells_hline(c, r.row + r.rows, r.col, r.cols, STYLE_DIM);
		draw_below(app, c, (struct rect){ r.row + r.rows + 1, r.col,
		    below, r.cols });
	}
	top = view_top(v->cursor, v->n, r.rows);
	for (int i = 0; i < r.rows && top + i < v->n; i++) {
		struct rect at = { r.row + i, r.col, 1, r.cols };

		draw_row(app, c, at, &v->row[top + i], &p);
		if (top + i == v->cursor)
			cells_select(c, at);
	}
}

/* ---- behaviour ---- */

static void *
make(void)
{
	return xcalloc(1, sizeof(struct compare_view));
}

static void
drop(void *state)
{
	struct compare_view *v = state;

	if (v != NULL)
		free(v->row);
	free(v);
}

static void
update(struct app *app, unsigned change)
{
	struct compare_view *v = app->state[VIEW_COMPARE];

	if ((change & CHANGE_OPENED) != 0)
		v->chosen = false;
	/* enter() makes up for what was missed. */
	if ((change & ~(unsigned)(CHANGE_TARGET | CHANGE_SIZE)) != 0 &&
	    states_in_front(app, VIEW_COMPARE))
		rebuild(app);
}

static void
enter(struct app *app)
{
	rebuild(app);
}

/* From one part to the next. The place may already be in view, so a part that
 * has nothing to show says so in the message line too. */
static void
next_part(struct app *app)
{
	struct compare_view *v = app->state[VIEW_COMPARE];
	const struct row *first;

	v->cursor = v->cursor < v->tensors ? v->tensors :
	    v->cursor < v->flips ? v->flips : 0;
	first = v->cursor + 1 < v->n ? &v->row[v->cursor + 1] : NULL;
	if (first != NULL && first->kind == ROW_NOTE)
		app_message(app, STYLE_NORMAL, "%s", note_text(app,
		    first->at));
}

static bool
act(struct app *app, enum action a)
{
	struct compare_view *v = app->state[VIEW_COMPARE];

	if (v->n == 0)
		return false;
	if (a == ACT_MODE)
		next_part(app);
	else if (a >= ACT_UP && a <= ACT_LAST)
		v->cursor = view_move(a, v->cursor, v->n,
		    app->layout.pane[PANE_MAIN].rows);
	else
		return false;
	app_dirty(app);
	return true;
}

static void
click(struct app *app, struct rect r, int row, int col)
{
	struct compare_view *v = app->state[VIEW_COMPARE];
	int head, below, i;

	find_parts(r, &head, &below);
	r.row += head;
	r.rows -= head + (below > 0 ? below + 1 : 0);
	i = view_row_at(v->cursor, v->n, r, row);
	if (i >= 0)
		v->cursor = i;
}

static bool
row_has(const struct app *app, const struct row *r, const char *text)
{
	struct words w;

	if (r->kind == ROW_FLIP)
		return app->snap.data != NULL && r->at < app->snap.data->n &&
		    view_has_text(app->snap.data->sample[r->at].text, text);
	if (r->kind == ROW_TITLE || r->kind == ROW_NOTE)
		return false;
	row_words(app, r, 90, &w);
	return view_has_text(w.name, text) || view_has_text(w.a, text) ||
	    view_has_text(w.b, text);
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	struct compare_view *v = app->state[VIEW_COMPARE];
	int i = from_top ? dir > 0 ? 0 : v->n - 1 : v->cursor + dir;

	for (; i >= 0 && i < v->n; i += dir)
		if (row_has(app, &v->row[i], text)) {
			v->cursor = i;
			return true;
		}
	return false;
}

const struct view view_compare = {
	.id = VIEW_COMPARE,
	.name = "compare",
	.title = "Compare",
	.make = make,
	.drop = drop,
	.enter = enter,
	.update = update,
	.draw = draw,
	.act = act,
	.click = click,
	.find = find,
};
