/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The evaluated sentences: what they should be, what the original said and what
 * the current model says. The list is an array of sample numbers after filter
 * and order; texts and results stay where they are, so a hundred thousand rows
 * cost four bytes each.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ui/render.h"
#include "ui/tui/states.h"

enum filter { SHOW_ALL, SHOW_FLIPPED, SHOW_FIXED, SHOW_BROKE, SHOW_WRONG,
	FILTERS };
enum order { ORDER_FILE, ORDER_CHANGE, ORDER_SURE, ORDERS };

static const char *const filter_names[FILTERS] = { "all", "flipped", "fixed",
	"broke", "wrong" };
/* Of windows of tokens. */
static const char *const window_names[FILTERS] = { "all", "changed", "better",
	"worse", "with errors" };
static const char *const order_names[ORDERS] = { "in order of the file",
	"largest change of probability first", "least sure first" };

/* What the list was made of, to leave it alone when that is the same. */
struct made_of {
	uint64_t model[2], data;
	int64_t n;
	enum filter filter;
	enum order order;
};

struct samples_view {
	enum filter filter;
	enum order order;
	struct made_of made;
	int n, cursor;
	int32_t *index;		/* owned */
	int64_t count[FILTERS];
};

/* ---- what is known of a sample ---- */

/* The evaluations of the original and of the current state that belong to the
 * samples; NULL: not known. */
static const struct evaluation *
result_of(const struct app *app, bool original)
{
	const struct snap_state *s = original ? app_original(app) :
	    app_now(app);
	const struct dataset *d = app->snap.data;

	if (s == NULL || s->eval == NULL || d == NULL ||
	    (s->eval->per_token ? s->eval->windows : s->eval->total) != d->n ||
	    s->eval->predicted == NULL)
		return NULL;
	return s->eval;
}

/* ---- windows of a language model ---- */

/* A window whose mean loss changed by less is as it was. */
static const double same_loss = 0.005;

static bool
is_tokens(const struct evaluation *v)
{
	return v != NULL && v->per_token;
}

/* Mean loss of the scored tokens of a window, or the share that was predicted;
 * NAN: none is scored. */
static double
window_mean(const struct evaluation *v, int64_t w, bool hits)
{
	int64_t n = v->window[w + 1] - v->window[w];
	double sum = 0;

	for (int64_t t = v->window[w]; t < v->window[w + 1]; t++)
		sum += hits ? v->predicted[t] == v->gold[t] :
		    -(double)v->logits[t];
	return n > 0 ? sum / (double)n : NAN;
}

static const char *
filter_name(const struct app *app)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];

	return is_tokens(result_of(app, false)) ? window_names[v->filter] :
	    filter_names[v->filter];
}

static char
window_sign(const struct evaluation *a, const struct evaluation *b, int64_t w)
{
	double by = a == NULL || a == b ? 0 : window_mean(b, w, false) -
	    window_mean(a, w, false);

	return by > same_loss ? '-' : by < -same_loss ? '+' : ' ';
}

static bool
is_score(const struct evaluation *v)
{
	return v != NULL && v->labels == 1;
}

/* Probability of class k: softmax of the sample's logits. */
static double
chance(const struct evaluation *v, int64_t i, int k)
{
	const float *z = v->logits + i * v->labels;
	double most = -INFINITY, sum = 0;

	if (k < 0 || k >= v->labels)
		return NAN;
	for (int j = 0; j < v->labels; j++)
		most = fmax(most, (double)z[j]);
	for (int j = 0; j < v->labels; j++)
		sum += exp(z[j] - most);
	return exp(z[k] - most) / sum;
}

/* '+' fixed, '-' broke, '~' changed otherwise, '!' wrong in both alike, ' '. */
static char
sign_of(const struct evaluation *a, const struct evaluation *b, int64_t i)
{
	bool was, is;

	if (is_tokens(b))
		return window_sign(a, b, i);
	if (b == NULL || is_score(b))
		return ' ';
	is = b->gold[i] < 0 || b->predicted[i] == b->gold[i];
	if (a == NULL || a->predicted[i] == b->predicted[i])
		return is ? ' ' : '!';
	if (b->gold[i] < 0)
		return '~';
	was = a->predicted[i] == a->gold[i];
	return is ? '+' : was ? '-' : '~';
}

static bool
passes(const struct evaluation *a, const struct evaluation *b, int64_t i,
    enum filter f)
{
	char sign = sign_of(a, b, i);

	switch (f) {
	case SHOW_FLIPPED:
		return sign == '+' || sign == '-' || sign == '~';
	case SHOW_FIXED:
		return sign == '+';
	case SHOW_BROKE:
		return sign == '-';
	case SHOW_WRONG:
		if (is_tokens(b))
			return window_mean(b, i, true) < 1;
		return b != NULL && !is_score(b) && b->gold[i] >= 0 &&
		    b->predicted[i] != b->gold[i];
	default:
		return true;
	}
}

/* ---- the list ---- */

struct keyed {
	float key;
	int32_t i;
};

static int
by_key(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->i < y->i ? -1 : x->i > y->i;
}

static float
order_key(const struct evaluation *a, const struct evaluation *b, int64_t i,
    enum order order)
{
	double key = 0;

	if (b == NULL)
		return 0;
	if (is_tokens(b))
		key = order == ORDER_SURE ? -window_mean(b, i, false) :
		    a != NULL ? window_mean(a, i, false) -
		    window_mean(b, i, false) : 0;
	else if (is_score(b))
		key = order == ORDER_CHANGE && a != NULL ?
		    -fabs((double)b->logits[i] - (double)a->logits[i]) : 0;
	else if (order == ORDER_SURE)
		key = chance(b, i, b->predicted[i]);
	else if (a != NULL)
		key = -fabs(chance(b, i, b->predicted[i]) -
		    chance(a, i, b->predicted[i]));
	return isfinite(key) ? (float)key : 0;
}

static void
sort_list(struct samples_view *v, const struct evaluation *a,
    const struct evaluation *b)
{
	struct keyed *k;

	if (v->order == ORDER_FILE || b == NULL || v->n < 2)
		return;
	k = xcalloc((size_t)v->n, sizeof(*k));
	for (int i = 0; i < v->n; i++)
		k[i] = (struct keyed){ order_key(a, b, v->index[i], v->order),
		    v->index[i] };
	qsort(k, (size_t)v->n, sizeof(*k), by_key);
	for (int i = 0; i < v->n; i++)
		v->index[i] = k[i].i;
	free(k);
}

static struct made_of
ingredients(const struct app *app)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct evaluation *a = result_of(app, true);
	const struct evaluation *b = result_of(app, false);
	struct made_of m;

	memset(&m, 0, sizeof(m));
	m.model[0] = a != NULL ? a->model_hash : 0;
	m.model[1] = b != NULL ? b->model_hash : 0;
	if (app->snap.data != NULL) {
		m.data = app->snap.data->hash;
		m.n = app->snap.data->n;
	}
	m.filter = v->filter;
	m.order = v->order;
	return m;
}

static bool
same(const struct made_of *x, const struct made_of *y)
{
	return x->model[0] == y->model[0] && x->model[1] == y->model[1] &&
	    x->data == y->data && x->n == y->n && x->filter == y->filter &&
	    x->order == y->order;
}

static void
fill_list(struct samples_view *v, int64_t n, const struct evaluation *a,
    const struct evaluation *b)
{
	if (n > INT32_MAX)
		n = INT32_MAX;
	v->n = 0;
	v->index = xrealloc(v->index, ((size_t)n + 1) * sizeof(*v->index));
	memset(v->count, 0, sizeof(v->count));
	for (int64_t i = 0; i < n; i++) {
		for (int f = 0; f < FILTERS; f++)
			v->count[f] += passes(a, b, i, (enum filter)f);
		if (passes(a, b, i, v->filter))
			v->index[v->n++] = (int32_t)i;
	}
	sort_list(v, a, b);
}

/* Makes the list again if what it is made of changed; the cursor stays on its
 * sample, or near it. */
static void
rebuild(struct app *app)
{
	struct samples_view *v = app->state[VIEW_SAMPLES];
	struct made_of m = ingredients(app);
	int at = v->cursor < v->n ? v->index[v->cursor] : -1;

	if (v->index != NULL && same(&m, &v->made))
		return;
	fill_list(v, m.n, result_of(app, true), result_of(app, false));
	v->made = m;
	for (int i = 0; i < v->n && at >= 0; i++)
		if (v->index[i] == at) {
			v->cursor = i;
			return;
		}
	if (v->cursor >= v->n)
		v->cursor = v->n > 0 ? v->n - 1 : 0;
}

/* The sample of a row; NULL when the data changed under the list. */
static const struct sample *
sample_at(const struct app *app, int row)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct dataset *d = app->snap.data;

	if (d == NULL || row < 0 || row >= v->n || v->index[row] >= d->n)
		return NULL;
	return &d->sample[v->index[row]];
}

/* ---- words ---- */

static void
label_text(const struct app *app, int k, char *out, size_t n)
{
	const struct model *m = app_model(app);

	if (m != NULL && k >= 0 && k < m->hp.labels)
		model_label_name(m, k, out, n);
	else
		snprintf(out, n, "-");
}

static void
gold_text(const struct app *app, const struct sample *s, char *out, size_t n)
{
	if (s->nscored > 0)
		snprintf(out, n, "%d", s->nscored);
	else if (s->label >= 0)
		label_text(app, s->label, out, n);
	else if (isfinite(s->score))
		snprintf(out, n, "%.2f", s->score);
	else
		snprintf(out, n, "%s", s->gold != NULL ? s->gold : "-");
}

/* Prediction, and its probability (or nothing for a score). */
static void
result_text(const struct app *app, const struct evaluation *v, int64_t i,
    char *out, size_t n, char p[NUMBER_MAX])
{
	p[0] = '\0';
	if (v == NULL) {
		snprintf(out, n, "-");
	} else if (is_tokens(v)) {
		snprintf(out, n, "%.3f", exp(window_mean(v, i, false)));
		snprintf(p, NUMBER_MAX, "%.2f", window_mean(v, i, true));
	} else if (is_score(v)) {
		snprintf(out, n, "%.3f", (double)v->logits[i]);
	} else {
		label_text(app, v->predicted[i], out, n);
		snprintf(p, NUMBER_MAX, "%.2f",
		    chance(v, i, v->predicted[i]));
	}
}

/* Probabilities of all classes, original and now. */
static void
add_chances(const struct app *app, int64_t i, const char *arrow,
    struct str *b)
{
	const struct evaluation *x = result_of(app, true);
	const struct evaluation *y = result_of(app, false);
	char name[96], p[NUMBER_MAX];

	if (is_tokens(y)) {
		str_addf(b, "perplexity ");
		if (x != NULL && x != y)
			str_addf(b, "%.3f %s ", exp(window_mean(x, i, false)),
			    arrow);
		str_addf(b, "%.3f, predicted ", exp(window_mean(y, i, false)));
		if (x != NULL && x != y)
			str_addf(b, "%.1f %s ", 100 * window_mean(x, i, true),
			    arrow);
		str_addf(b, "%.1f %%", 100 * window_mean(y, i, true));
		return;
	}
	if (y == NULL || is_score(y)) {
		result_text(app, x, i, name, sizeof(name), p);
		str_addf(b, "original %s", name);
		result_text(app, y, i, name, sizeof(name), p);
		str_addf(b, ", now %s", name);
		return;
	}
	for (int k = 0; k < y->labels; k++) {
		label_text(app, k, name, sizeof(name));
		str_addf(b, "%s%s ", k > 0 ? ", " : "", name);
		if (x != NULL && x != y && x->labels == y->labels)
			str_addf(b, "%.3f %s ", chance(x, i, k), arrow);
		str_addf(b, "%.3f", chance(y, i, k));
	}
}

static const char *
sign_words(char sign, bool tokens)
{
	if (tokens)
		return sign == '+' ? "better: " : sign == '-' ? "worse: " : "";
	switch (sign) {
	case '+':
		return "fixed: ";
	case '-':
		return "broke: ";
	case '~':
		return "changed: ";
	case '!':
		return "wrong: ";
	default:
		return "";
	}
}

static void
sample_words(const struct app *app, int row, const char *arrow,
    struct str *b)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct sample *s = sample_at(app, row);
	const char *sign;
	char gold[96];

	if (s == NULL)
		return;
	sign = sign_words(sign_of(result_of(app, true),
	    result_of(app, false), v->index[row]), s->nscored > 0);
	gold_text(app, s, gold, sizeof(gold));
	if (s->nscored > 0)
		str_addf(b, "Window %d, %s%s of %d tokens scored; ",
		    (int)v->index[row], sign, gold, s->tokens.n);
	else
		str_addf(b, "Sample %d (line %lld), %sgold %s; ",
		    (int)v->index[row], (long long)s->line, sign, gold);
	add_chances(app, v->index[row], arrow, b);
	str_addc(b, '.');
}

/* ---- drawing ---- */

struct places {
	/* Widths with the blank after; p 0: none. */
	int number, label, p;
};

/* As wide as the longest label, within reason. */
static struct places
make_places(const struct app *app, int cols)
{
	const struct model *m = app_model(app);
	const struct dataset *d = app->snap.data;
	struct places p = { .label = 9, .p = cols >= 56 ? 5 : 0 };
	int most = cols >= 100 ? 17 : cols >= 70 ? 12 : cols >= 56 ? 9 : 7;
	int64_t n = m != NULL ? m->hp.labels : 0;

	if (n > 1 && n <= 64) {
		p.label = cols >= 70 ? 9 : 5;
		for (int k = 0; k < n; k++) {
			char name[96];
			int w;

			label_text(app, k, name, sizeof(name));
			w = look_columns(name) + 1;
			p.label = w > p.label ? w : p.label;
		}
	}
	if (p.label > most)
		p.label = most;
	p.number = 3;
	for (int64_t k = d != NULL ? d->n : 0; k >= 100; k /= 10)
		p.number++;
	return p;
}

static void
draw_result(const struct app *app, struct cells *c, int row, int col,
    const struct places *p, const struct evaluation *v, int64_t i,
    unsigned style)
{
	char text[96], chance_text[NUMBER_MAX];

	result_text(app, v, i, text, sizeof(text), chance_text);
	cells_put(c, row, col, p->label - 1, style, text);
	cells_put(c, row, col + p->label, p->p - 1, STYLE_DIM, chance_text);
}

static void
draw_sample(const struct app *app, struct cells *c, struct rect r,
    const struct places *p, int row)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct evaluation *a = result_of(app, true);
	const struct evaluation *b = result_of(app, false);
	const struct sample *s = sample_at(app, row);
	int64_t i = s != NULL ? v->index[row] : 0;
	char sign[2] = { ' ', '\0' }, text[96];
	int col = r.col + 2;
	unsigned style;

	if (s == NULL)
		return;
	sign[0] = sign_of(a, b, i);
	style = sign[0] == '+' ? STYLE_GOOD : sign[0] == '-' ? STYLE_ERROR :
	    sign[0] == ' ' ? STYLE_NORMAL : STYLE_WARN;
	cells_put(c, r.row, r.col, 1, style, sign);
	snprintf(text, sizeof(text), "%lld", (long long)i);
	cells_put_right(c, r.row, col, p->number - 1, STYLE_DIM, text);
	col += p->number;
	gold_text(app, s, text, sizeof(text));
	cells_put(c, r.row, col, p->label - 1, STYLE_NORMAL, text);
	col += p->label;
	draw_result(app, c, r.row, col, p, a, i, STYLE_NORMAL);
	col += p->label + p->p;
	draw_result(app, c, r.row, col, p, b, i, style);
	col += p->label + p->p;
	cells_putf(c, r.row, col, r.col + r.cols - col, STYLE_NORMAL,
	    "%.600s%s%.300s", s->text, s->pair != NULL ? " | " : "",
	    s->pair != NULL ? s->pair : "");
	if (row == v->cursor)
		cells_select(c, r);
}

static void
draw_titles(struct cells *c, struct rect r, const struct places *p,
    bool tokens)
{
	int col = r.col + 2;

	cells_put_right(c, r.row, col, p->number - 1, STYLE_DIM, "n");
	col += p->number;
	cells_put(c, r.row, col, p->label - 1, STYLE_DIM, tokens ? "scored" :
	    "gold");
	col += p->label;
	cells_put(c, r.row, col, p->label - 1, STYLE_DIM, p->label >= 9 ?
	    "original" : "was");
	cells_put(c, r.row, col + p->label, p->p - 1, STYLE_DIM, "p");
	col += p->label + p->p;
	cells_put(c, r.row, col, p->label - 1, STYLE_DIM, "now");
	cells_put(c, r.row, col + p->label, p->p - 1, STYLE_DIM, "p");
	col += p->label + p->p;
	cells_put(c, r.row, col, r.col + r.cols - col, STYLE_DIM, "text");
}

/* "flipped: 12 of 872 samples; accuracy 91.2 -> 90.1 %". */
static void
draw_head(const struct app *app, struct cells *c, struct rect r)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct evaluation *a = result_of(app, true);
	const struct evaluation *b = result_of(app, false);
	char x[NUMBER_MAX], y[NUMBER_MAX];
	struct str s = STR_INIT;
	int n = cells_putf(c, r.row, r.col, r.cols, STYLE_TITLE, "%s: %d of "
	    "%lld", filter_name(app), v->n,
	    (long long)app->snap.data->n);

	if (b == NULL)
		str_add(&s, app->snap.can_eval ? "not evaluated: press e" :
		    "this model or set cannot be evaluated");
	else
		str_addf(&s, is_tokens(b) ? "%lld better, %lld worse, %lld "
		    "with errors" : "%lld fixed, %lld broke, %lld wrong",
		    (long long)v->count[SHOW_FIXED],
		    (long long)v->count[SHOW_BROKE],
		    (long long)v->count[SHOW_WRONG]);
	if (a != NULL && b != NULL) {
		const char *name = metric_table[b->metric].name, *unit;

		render_metric_bare(x, sizeof(x), name, a->value, &unit);
		render_metric(y, sizeof(y), name, b->value);
		str_addf(&s, "; %s %s %s %s", name, x, glyph(c, GLYPH_ARROW),
		    y);
	}
	if (v->order != ORDER_FILE)
		str_addf(&s, "; %s", order_names[v->order]);
	cells_put(c, r.row, r.col + n + 2, r.cols - n - 2, STYLE_DIM, s.s);
	str_free(&s);
}

static void
draw_below(const struct app *app, struct cells *c, struct rect r)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct sample *s = sample_at(app, v->cursor);
	struct str b = STR_INIT;
	int n;

	if (s == NULL)
		return;
	sample_words(app, v->cursor, glyph(c, GLYPH_ARROW), &b);
	n = states_wrap(c, (struct rect){ r.row, r.col, r.rows > 3 ?
	    r.rows / 2 : 1, r.cols }, STYLE_DIM, b.s);
	str_clear(&b);
	str_addf(&b, "%.4000s%s%.4000s", s->text, s->pair != NULL ? " | " :
	    "", s->pair != NULL ? s->pair : "");
	states_wrap(c, (struct rect){ r.row + n, r.col, r.rows - n, r.cols },
	    STYLE_NORMAL, b.s);
	str_free(&b);
}

/* Rows of the heading, of the titles, and of what is told of the sample under
 * the cursor (without the line above it; 0: nothing). */
struct parts {
	int head, titles, below;
};

static struct parts
find_parts(struct rect r)
{
	struct parts p = { 0 };

	p.head = r.rows >= 3;
	r.rows -= p.head;
	p.below = r.rows < 8 ? 0 : r.rows >= 30 ? 8 : r.rows >= 14 ? 4 : 3;
	r.rows -= p.below > 0 ? p.below + 1 : 0;
	p.titles = r.rows >= 3;
	return p;
}

static struct rect
list_rect(struct rect r)
{
	struct parts p = find_parts(r);

	r.row += p.head + p.titles;
	r.rows -= p.head + p.titles + (p.below > 0 ? p.below + 1 : 0);
	return r;
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	struct places p = make_places(app, r.cols);
	struct parts parts = find_parts(r);
	struct rect list = list_rect(r);
	int top;

	if (app->snap.data == NULL || v->index == NULL) {
		states_wrap(c, r, STYLE_DIM, app_busy(app) ? "the samples "
		    "are in use by a command that runs" : "no samples are "
		    "loaded: type :data FILE");
		return;
	}
	if (parts.head > 0)
		draw_head(app, c, r);
	if (parts.below > 0) {
		cells_hline(c, list.row + list.rows, r.col, r.cols,
		    STYLE_DIM);
		draw_below(app, c, (struct rect){ list.row + list.rows + 1,
		    r.col, parts.below, r.cols });
	}
	r = list;
	if (parts.titles > 0)
		draw_titles(c, (struct rect){ r.row - 1, r.col, 1, r.cols },
		    &p, app->snap.data->nscored > 0);
	if (v->n == 0)
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM,
		    "no sample passes this filter");
	top = view_top(v->cursor, v->n, r.rows);
	for (int i = 0; i < r.rows && top + i < v->n; i++)
		draw_sample(app, c, (struct rect){ r.row + i, r.col, 1,
		    r.cols }, &p, top + i);
}

/* ---- behaviour ---- */

static void *
make(void)
{
	return xcalloc(1, sizeof(struct samples_view));
}

static void
drop(void *state)
{
	struct samples_view *v = state;

	if (v != NULL)
		free(v->index);
	free(v);
}

static void
update(struct app *app, unsigned change)
{
	struct samples_view *v = app->state[VIEW_SAMPLES];

	if ((change & (CHANGE_OPENED | CHANGE_DATA)) != 0)
		memset(&v->made, 0xff, sizeof(v->made));
	if ((change & (CHANGE_OPENED | CHANGE_DATA | CHANGE_EVAL |
	    CHANGE_MODEL)) != 0 && states_in_front(app, VIEW_SAMPLES))
		rebuild(app);
}

static void
enter(struct app *app)
{
	rebuild(app);
}

static void
next_filter(struct app *app)
{
	struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct evaluation *b = result_of(app, false);

	if (b == NULL || (is_score(b) && !is_tokens(b))) {
		app_message(app, STYLE_WARN, b == NULL ? "nothing to filter "
		    "by: evaluate first (e)" : "scores have no classes that "
		    "could flip");
		v->filter = SHOW_ALL;
	} else {
		v->filter = (enum filter)((v->filter + 1) % FILTERS);
		app_message(app, STYLE_NORMAL, "%s: %lld of %lld samples",
		    filter_name(app),
		    (long long)v->count[v->filter],
		    (long long)app->snap.data->n);
	}
	rebuild(app);
}

static void
next_order(struct app *app)
{
	struct samples_view *v = app->state[VIEW_SAMPLES];

	v->order = (enum order)((v->order + 1) % ORDERS);
	app_message(app, STYLE_NORMAL, "%s", order_names[v->order]);
	rebuild(app);
}

static void
show_whole(struct app *app)
{
	const struct samples_view *v = app->state[VIEW_SAMPLES];
	const struct sample *s = sample_at(app, v->cursor);
	struct str b = STR_INIT;
	char title[48];

	if (s == NULL)
		return;
	sample_words(app, v->cursor, "->", &b);
	str_addf(&b, "\n\n%s\n", s->text);
	if (s->pair != NULL)
		str_addf(&b, "\n%s\n", s->pair);
	snprintf(title, sizeof(title), "Sample %d", (int)v->index[v->cursor]);
	app_show_text(app, title, b.s);
	str_free(&b);
}

static bool
act(struct app *app, enum action a)
{
	struct samples_view *v = app->state[VIEW_SAMPLES];

	if (app->snap.data == NULL)
		return false;
	if (a == ACT_FILTER)
		next_filter(app);
	else if (a == ACT_SORT)
		next_order(app);
	else if (a == ACT_ENTER)
		show_whole(app);
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
	struct samples_view *v = app->state[VIEW_SAMPLES];
	int i = app->snap.data == NULL ? -1 :
	    view_row_at(v->cursor, v->n, list_rect(r), row);

	if (i >= 0)
		v->cursor = i;
}

static bool
find(struct app *app, const char *text, int dir, bool from_top)
{
	struct samples_view *v = app->state[VIEW_SAMPLES];
	int i = from_top ? dir > 0 ? 0 : v->n - 1 : v->cursor + dir;

	for (; i >= 0 && i < v->n; i += dir) {
		const struct sample *s = sample_at(app, i);

		if (s != NULL && (view_has_text(s->text, text) ||
		    (s->pair != NULL && view_has_text(s->pair, text)))) {
			v->cursor = i;
			return true;
		}
	}
	return false;
}

const struct view view_samples = {
	.id = VIEW_SAMPLES,
	.name = "samples",
	.title = "Samples",
	.make = make,
	.drop = drop,
	.enter = enter,
	.update = update,
	.draw = draw,
	.act = act,
	.click = click,
	.find = find,
};
