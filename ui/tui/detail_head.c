/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A head: what each token of a sentence attends to, as a heat map with the
 * tokens along both sides.
 *
 * The map is computed by a job that runs the model over one sample with an
 * engine and a tokenizer (for the pieces) of its own; both are lent to the job
 * while it runs, so there is never more than one. Results are kept by state,
 * head and sample, the oldest is forgotten first.
 */
#include "ui/tui/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "text/tokenizer.h"
#include "ui/number.h"
#include "ui/tui/facts.h"
#include "ui/tui/score.h"
#include "ui/tui/toggle.h"

enum {
	KEPT = 24,
	LABEL_COLS = 12,	/* most columns of a token at the left */
	TOP_ROWS = 7,		/* most letters of a token at the top */
	LOW_ROWS = 12,		/* below, only the map matters */
	CELL_COLS = 2
};

/* Which map. */
struct map_key {
	int state, layer, head;
	int64_t sample;
	uint64_t data;		/* hash of the samples */
};

struct map {
	struct map_key key;
	int n;			/* tokens */
	float *p;		/* (n, n): row attends to column; NULL: failed */
	char **token;		/* n of them, owned */
	float most;
	char why[200];
};

/* What a job needs beside the model; moves between state and job. */
struct tools {
	struct engine *engine;
	struct tokenizer *tokenizer;
	bool tried;		/* to load the tokenizer */
};

struct head_state {
	struct origin *origin;
	struct tools tools;
	struct map *kept[KEPT];	/* latest first; owned */
	struct job *job;
	struct map_key job_key;
	int64_t sample;
	int row, col;		/* first token shown */
};

struct map_job {
	struct job job;
	struct head_state *to;
	struct model *m;
	struct tools tools;
	struct map *map;
	int32_t *id, *type;
};

static bool
fits(const struct app *app, const struct target *t)
{
	const struct model *m = app_model(app);

	return m != NULL && t->kind == TARGET_HEAD && t->layer >= 0 &&
	    t->layer < m->nlayers && t->head >= 0 &&
	    t->head < m->layer[t->layer].heads_original;
}

/* ---- what is kept ---- */

static void
map_free(struct map *m)
{
	if (m == NULL)
		return;
	for (int i = 0; i < m->n && m->token != NULL; i++)
		free(m->token[i]);
	free(m->token);
	free(m->p);
	free(m);
}

static void
forget_maps(struct head_state *s)
{
	for (int i = 0; i < KEPT; i++) {
		map_free(s->kept[i]);
		s->kept[i] = NULL;
	}
}

static void
forget(struct head_state *s)
{
	forget_maps(s);
	tokenizer_free(s->tools.tokenizer);
	s->tools.tokenizer = NULL;
	s->tools.tried = false;
	origin_unref(s->origin);
	s->origin = NULL;
}

static void *
make(void)
{
	return xcalloc(1, sizeof(struct head_state));
}

static void
drop(void *state)
{
	struct head_state *s = state;

	forget(s);
	engine_free(s->tools.engine);
	free(s);
}

static bool
same_key(const struct map_key *a, const struct map_key *b)
{
	return a->state == b->state && a->layer == b->layer &&
	    a->head == b->head && a->sample == b->sample &&
	    a->data == b->data;
}

static const struct map *
find_map(const struct head_state *s, const struct map_key *k)
{
	for (int i = 0; i < KEPT && s->kept[i] != NULL; i++)
		if (same_key(&s->kept[i]->key, k))
			return s->kept[i];
	return NULL;
}

static void
keep_map(struct head_state *s, struct map *m)
{
	map_free(s->kept[KEPT - 1]);
	memmove(s->kept + 1, s->kept, (KEPT - 1) * sizeof(*s->kept));
	s->kept[0] = m;
}

/* The map that should be shown; false: there can be none. */
static bool
wanted(const struct app *app, const struct head_state *s, struct map_key *k)
{
	const struct dataset *d = app->snap.data;

	if (!fits(app, &app->target) || app->snap.ghost || d == NULL ||
	    s->sample < 0 || s->sample >= d->n ||
	    d->sample[s->sample].tokens.n < 1 ||
	    !toggle_present(app_model(app), &app->target))
		return false;
	*k = (struct map_key){ app->snap.current, app->target.layer,
		app->target.head, s->sample, d->hash };
	return true;
}

/* ---- the job ---- */

static char *
piece(const struct tokenizer *t, int32_t id)
{
	const char *s = t != NULL ? tokenizer_piece(t, id) : NULL;

	return s != NULL ? xstrdup(s) : str_format("%d", (int)id);
}

static void
load_tools(struct map_job *j)
{
	const struct origin *o = j->m->origin;

	if (j->tools.engine == NULL)
		j->tools.engine = engine_new();
	if (!j->tools.tried && o != NULL && o->dir != NULL)
		j->tools.tokenizer = tokenizer_load(o->dir,
		    j->m->tokens != NULL ? j->m->tokens->of :
		    j->m->hp.vocab, NULL);
	j->tools.tried = true;
}

static enum pare_rc
run(struct job *job, struct task *task, struct pare_err *err)
{
	struct map_job *j = (struct map_job *)job;
	struct map *m = j->map;
	const int64_t start[2] = { 0, m->n };
	struct batch b = { .nseq = 1, .start = start, .ids = j->id,
		.types = j->type };
	struct forward f = { .attention_layer = m->key.layer,
		.attention_head = m->key.head, .task = task };
	enum pare_rc rc;

	load_tools(j);
	m->token = xcalloc((size_t)m->n, sizeof(*m->token));
	for (int i = 0; i < m->n; i++)
		m->token[i] = piece(j->tools.tokenizer, j->m->tokens != NULL ?
		    j->m->tokens->id[j->id[i]] : j->id[i]);
	m->p = mem_big((size_t)m->n * (size_t)m->n, sizeof(*m->p), err);
	if (m->p == NULL)
		return PARE_ENOMEM;
	f.attention = m->p;
	rc = engine_forward(j->tools.engine, j->m, &b, &f, err);
	for (int64_t i = 0; i < (int64_t)m->n * m->n && rc == PARE_OK; i++)
		m->most = m->p[i] > m->most ? m->p[i] : m->most;
	return rc;
}

static void want(struct app *app, struct head_state *s);

static void
done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct map_job *j = (struct map_job *)job;
	struct head_state *s = j->to;
	struct map_key k;

	s->job = NULL;
	if (s->origin == j->m->origin) {
		s->tools = j->tools;
		memset(&j->tools, 0, sizeof(j->tools));
	}
	if (rc != PARE_OK) {
		snprintf(j->map->why, sizeof(j->map->why), "%.190s", err->msg);
		free(j->map->p);
		j->map->p = NULL;
	}
	if (rc != PARE_ECANCELED && s->origin == j->m->origin) {
		keep_map(s, j->map);
		j->map = NULL;
	}
	app_dirty(app);
	if (rc != PARE_ECANCELED || !wanted(app, s, &k) ||
	    !same_key(&k, &s->job_key))
		want(app, s);
}

static void
drop_job(struct job *job)
{
	struct map_job *j = (struct map_job *)job;

	engine_free(j->tools.engine);
	tokenizer_free(j->tools.tokenizer);
	map_free(j->map);
	model_unref(j->m);
	free(j->id);
	free(j->type);
	free(j);
}

static int32_t *
copy_ids(const int32_t *id, int n)
{
	size_t size = (size_t)n * sizeof(*id);

	return id == NULL ? NULL : memcpy(xmalloc(size), id, size);
}

static void
start(struct app *app, struct head_state *s, const struct map_key *k)
{
	const struct tokens *t = &app->snap.data->sample[k->sample].tokens;
	struct map_job *j = xcalloc(1, sizeof(*j));

	j->job.title = "attention";
	j->job.quick = true;
	j->job.run = run;
	j->job.done = done;
	j->job.drop = drop_job;
	j->to = s;
	j->m = model_ref(app_model(app));
	j->tools = s->tools;
	memset(&s->tools, 0, sizeof(s->tools));
	j->map = xcalloc(1, sizeof(*j->map));
	j->map->key = *k;
	j->map->n = t->n;
	j->id = copy_ids(t->id, t->n);
	j->type = app_model(app)->hp.types > 0 ? copy_ids(t->type, t->n) :
	    NULL;
	s->job = &j->job;
	s->job_key = *k;
	app_job(app, &j->job);
}

/* Starts what is needed for the map that should be shown. */
static void
want(struct app *app, struct head_state *s)
{
	const struct model *m = app_model(app);
	struct map_key k;
	bool any;

	if (m == NULL || s->origin != m->origin) {
		forget(s);
		if (m != NULL)
			s->origin = origin_ref(m->origin);
	}
	any = wanted(app, s, &k);
	if (s->job != NULL && !(any && same_key(&k, &s->job_key)))
		app_cancel_job(app, s->job);
	if (any && s->job == NULL && find_map(s, &k) == NULL)
		start(app, s, &k);
}

static void
update(struct app *app, unsigned change)
{
	struct head_state *s = detail_state(app, &detail_head);
	const struct dataset *d = app->snap.data;

	if ((change & (CHANGE_DATA | CHANGE_OPENED)) != 0) {
		forget_maps(s);
		if (s->job != NULL)
			app_cancel_job(app, s->job);
		s->row = s->col = 0;
	}
	if (d != NULL && s->sample >= d->n)
		s->sample = 0;
	if (scores_of(app) != NULL)
		scores_want(app, scores_of(app));
	want(app, s);
}

/* ---- drawing the map ---- */

struct window {
	struct rect r;		/* of the cells */
	int label, top;		/* columns and rows of the tokens */
	int rows, cols;		/* cells shown */
	int row, col;		/* the first */
};

static int
longest_token(const struct map *m)
{
	int most = 1;

	for (int i = 0; i < m->n; i++) {
		int n = look_columns(m->token[i]);

		most = n > most ? n : most;
	}
	return most;
}

/* Where things go: as many cells as fit, tokens where there is room. */
static struct window
window_of(const struct map *m, const struct head_state *s, struct rect r)
{
	struct window w = { .r = r };
	int longest = longest_token(m);

	w.label = longest < LABEL_COLS ? longest : LABEL_COLS;
	if (w.label > r.cols / 3)
		w.label = r.cols / 3;
	w.top = longest < TOP_ROWS ? longest : TOP_ROWS;
	if (w.top > r.rows - m->n)
		w.top = r.rows - m->n;
	if (w.top < r.rows / 4)
		w.top = r.rows / 4 < longest ? r.rows / 4 : longest;
	if (w.top > TOP_ROWS)
		w.top = TOP_ROWS;
	w.r.row += w.top;
	w.r.rows -= w.top;
	w.r.col += w.label + 1;
	w.r.cols -= w.label + 1;
	w.rows = w.r.rows < m->n ? w.r.rows : m->n;
	w.cols = w.r.cols / CELL_COLS < m->n ? w.r.cols / CELL_COLS : m->n;
	w.rows = w.rows < 0 ? 0 : w.rows;
	w.cols = w.cols < 0 ? 0 : w.cols;
	w.row = s->row + w.rows > m->n ? m->n - w.rows : s->row;
	w.col = s->col + w.cols > m->n ? m->n - w.cols : s->col;
	return w;
}

/* Token k downwards, its last letter next to the map; a token that is longer
 * than the rows keeps its beginning. */
static void
draw_top_token(struct cells *c, const struct window *w, const struct map *m,
    int k, int col)
{
	struct look l = { .ascii = c->ascii };
	char *text = look_clean(&l, m->token[k]);
	int n = look_columns(text), row = w->top > n ? w->top - n : 0;

	for (const char *s = text; *s != '\0' && row < w->top; row++) {
		char letter[8] = "";
		size_t len = 1;

		while (len < 6 && (s[len] & 0xc0) == 0x80)
			len++;
		memcpy(letter, s, len);
		cells_put(c, w->r.row - w->top + row, col, CELL_COLS,
		    STYLE_DIM, letter);
		s += len;
	}
	free(text);
}

static void
draw_cells(struct cells *c, const struct window *w, const struct map *m)
{
	for (int i = 0; i < w->rows; i++) {
		int row = w->r.row + i, q = w->row + i;

		cells_put_right(c, row, w->r.col - w->label - 1, w->label,
		    STYLE_DIM, m->token[q]);
		for (int k = 0; k < w->cols; k++) {
			float p = m->p[(int64_t)q * m->n + w->col + k];
			int level = heat_level(m->most > 0 ?
			    (double)(p / m->most) : 0);

			cells_put(c, row, w->r.col + CELL_COLS * k, CELL_COLS,
			    (unsigned)(STYLE_HEAT0 + level), glyph(c,
			    (enum glyph)(GLYPH_HEAT0 + level)));
		}
	}
	for (int k = 0; k < w->cols; k++)
		draw_top_token(c, w, m, w->col + k,
		    w->r.col + CELL_COLS * k);
}

/* The strongest pair, in words: the map for who does not see it. */
static void
draw_words(struct cells *c, int row, struct rect r, const struct map *m,
    const struct window *w)
{
	int64_t at = 0, n = (int64_t)m->n * m->n;
	int used = 0;

	for (int64_t i = 0; i < n; i++)
		if (m->p[i] > m->p[at])
			at = i;
	if (w->rows < m->n)
		used += cells_putf(c, row, r.col, r.cols, STYLE_DIM,
		    "rows %d-%d of %d  ", w->row + 1, w->row + w->rows, m->n);
	if (w->cols < m->n)
		used += cells_putf(c, row, r.col + used, r.cols - used,
		    STYLE_DIM, "columns %d-%d of %d  ", w->col + 1,
		    w->col + w->cols, m->n);
	cells_putf(c, row, r.col + used, r.cols - used, STYLE_DIM,
	    "%s %.2f: %s %s %s", glyph(c, GLYPH_HEAT9), (double)m->p[at],
	    m->token[at / m->n], glyph(c, GLYPH_ARROW),
	    m->token[at % m->n]);
}

static void
draw_map(struct cells *c, struct rect r, const struct head_state *s,
    const struct map *m)
{
	struct window w;

	if (r.rows < 2) {
		return;
	} else if (m->p == NULL) {
		cells_putf(c, r.row, r.col, r.cols, STYLE_ERROR, "! %s",
		    m->why);
		return;
	}
	r.rows--;
	w = window_of(m, s, r);
	draw_cells(c, &w, m);
	draw_words(c, w.r.row + w.rows, r, m, &w);
}

/* ---- drawing the rest ---- */

static void
draw_facts(struct facts *f, const struct app *app)
{
	const struct layer *y = &app_model(app)->layer[app->target.layer];
	double v[MODEL_HEADS_MAX], mean;
	char a[NUMBER_MAX];

	facts_title(f, app->target.path, "attention head, %d wide",
	    y->head_dim);
	if (!toggle_present(app_model(app), &app->target)) {
		facts_text(f, STYLE_CHANGED, "%s pruned; x brings it back",
		    glyph(f->c, GLYPH_PRUNED));
		return;
	}
	mean = scores_heads(scores_of(app), app_model(app), app->target.layer,
	    v);
	number_plain(a, v[app->target.head]);
	if (mean > 0 && f->r.rows >= LOW_ROWS)
		facts_put(f, "norm", "%s, %.2f x %smean", a,
		    v[app->target.head] / mean, f->r.cols >= 46 ?
		    "its layer's " : "");
}

static void
draw_sentence(struct facts *f, const struct app *app,
    const struct head_state *s)
{
	const struct sample *p = &app->snap.data->sample[s->sample];
	char name[48];
	int used, row = facts_row(f);

	snprintf(name, sizeof(name), "%lld/%lld", (long long)s->sample + 1,
	    (long long)app->snap.data->n);
	if (row < 0)
		return;
	used = cells_put(f->c, row, f->r.col, f->r.cols, STYLE_KEY, name) + 1;
	cells_putf(f->c, row, f->r.col + used, f->r.cols - used, STYLE_NORMAL,
	    "%s%s%s", p->text, p->pair != NULL ? " / " : "",
	    p->pair != NULL ? p->pair : "");
}

static void
draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct head_state *s = detail_state(app, &detail_head);
	struct facts f = facts_begin(c, r, 0);
	const struct map *m;
	struct map_key k;

	if (!fits(app, &app->target))
		return;
	draw_facts(&f, app);
	if (!toggle_present(app_model(app), &app->target))
		return;
	if (app->snap.ghost)
		facts_text(&f, STYLE_DIM, "sizes only: there are no weights");
	else if (app->snap.data == NULL)
		facts_text(&f, STYLE_DIM, "`data FILE` loads sentences; then "
		    "this shows what the head attends to");
	if (!wanted(app, s, &k))
		return;
	draw_sentence(&f, app, s);
	m = s->origin == app_model(app)->origin ? find_map(s, &k) : NULL;
	if (m == NULL) {
		facts_text(&f, STYLE_DIM, "computing");
		return;
	}
	r.row += f.line;
	r.rows -= f.line;
	draw_map(c, r, s, m);
}

/* ---- keys ---- */

static bool
step_sample(struct app *app, struct head_state *s, int64_t step)
{
	int64_t n = app->snap.data != NULL ? app->snap.data->n : 0;
	int64_t to = s->sample + step;

	if (to < 0 || to >= n)
		return false;
	s->sample = to;
	s->row = s->col = 0;
	want(app, s);
	app_dirty(app);
	return true;
}

static bool
step_head(struct app *app, int layers, int heads)
{
	struct target t = target_head(app->target.layer + layers,
	    app->target.head + heads);

	if (!fits(app, &t))
		return false;
	app_select(app, &t);
	return true;
}

/* The next window of a map that is larger than the pane: to the right, then
 * down; after the last the first. */
static bool
scroll_map(struct app *app, struct head_state *s)
{
	struct rect r = app->layout.pane[PANE_DETAIL];
	const struct map *m;
	struct map_key k;
	struct window w;

	if (!wanted(app, s, &k) || (m = find_map(s, &k)) == NULL ||
	    m->p == NULL)
		return false;
	r.rows -= r.rows >= LOW_ROWS ? 4 : 3;	/* what is around it */
	w = window_of(m, s, r);
	if (w.rows < 1 || w.cols < 1)
		return false;
	if (w.col + w.cols < m->n) {
		s->col = w.col + w.cols;
	} else {
		s->col = 0;
		s->row = w.row + w.rows < m->n ? w.row + w.rows : 0;
	}
	app_dirty(app);
	return true;
}

static bool
act(struct app *app, enum action a)
{
	struct head_state *s = detail_state(app, &detail_head);

	switch (a) {
	case ACT_DETAIL_NEXT:
	case ACT_PAGE_DOWN:
		return step_sample(app, s, 1);
	case ACT_DETAIL_PREV:
	case ACT_PAGE_UP:
		return step_sample(app, s, -1);
	case ACT_DETAIL_HEAD_NEXT:
	case ACT_RIGHT:
		return step_head(app, 0, 1);
	case ACT_DETAIL_HEAD_PREV:
	case ACT_LEFT:
		return step_head(app, 0, -1);
	case ACT_DETAIL_LAYER_NEXT:
	case ACT_DOWN:
		return step_head(app, 1, 0);
	case ACT_DETAIL_LAYER_PREV:
	case ACT_UP:
		return step_head(app, -1, 0);
	case ACT_ENTER:
	case ACT_LAST:
		return scroll_map(app, s);
	case ACT_FIRST:
		s->row = s->col = 0;
		app_dirty(app);
		return true;
	default:
		return false;
	}
}

const struct detail detail_head = {
	.name = "head",
	.fits = fits,
	.make = make,
	.drop = drop,
	.update = update,
	.draw = draw,
	.act = act,
};
