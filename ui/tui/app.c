/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/app.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/mem.h"
#include "session/settings.h"
#include "ui/lineedit.h"
#include "ui/tui/app_private.h"

/* ---- targets ------------------------------------------------------------- */

struct target
target_model(void)
{
	return (struct target){ .kind = TARGET_MODEL, .layer = -1, .head = -1,
		.path = "all" };
}

struct target
target_layer(int layer)
{
	struct target t = { .kind = TARGET_LAYER, .layer = layer, .head = -1 };

	snprintf(t.path, sizeof(t.path), "L%d", layer);
	return t;
}

struct target
target_part(int layer, enum target_kind kind)
{
	static const char *const names[] = { [TARGET_ATTENTION] = "attn",
		[TARGET_FFN] = "ffn", [TARGET_NORM] = "norm",
		[TARGET_EMBEDDING] = "emb", [TARGET_POOLER] = "pooler",
		[TARGET_OUTPUT] = "head" };
	struct target t = { .kind = kind, .layer = layer, .head = -1 };

	if (kind < TARGET_ATTENTION || kind > TARGET_OUTPUT)
		return layer < 0 ? target_model() : target_layer(layer);
	if (layer >= 0)
		snprintf(t.path, sizeof(t.path), "L%d.%s", layer, names[kind]);
	else
		snprintf(t.path, sizeof(t.path), "%s", names[kind]);
	return t;
}

struct target
target_head(int layer, int head)
{
	struct target t = { .kind = TARGET_HEAD, .layer = layer,
		.head = head };

	snprintf(t.path, sizeof(t.path), "L%d.h%d", layer, head);
	return t;
}

struct target
target_tensor(struct slot_ref slot)
{
	struct target t = { .kind = TARGET_TENSOR, .layer = slot.layer,
		.head = -1, .slot = slot };

	/* As a selector: the part, without ".weight". */
	if (slot.layer >= 0)
		snprintf(t.path, sizeof(t.path), "L%d.%s", slot.layer,
		    slot_table[slot.slot].part);
	else
		snprintf(t.path, sizeof(t.path), "%s",
		    slot_table[slot.slot].part);
	return t;
}

bool
target_equal(const struct target *a, const struct target *b)
{
	if (a->kind != b->kind || a->layer != b->layer || a->head != b->head)
		return false;
	return a->kind != TARGET_TENSOR || a->slot.slot == b->slot.slot;
}

bool
target_exists(const struct model *m, const struct target *t)
{
	const struct layer *y;

	if (m == NULL)
		return false;
	if (t->kind == TARGET_TENSOR)
		return t->slot.layer < m->nlayers &&
		    model_slot(m, t->slot) != NULL;
	if (t->layer < 0)
		return true;
	if (t->layer >= m->nlayers)
		return false;
	y = &m->layer[t->layer];
	switch (t->kind) {
	case TARGET_ATTENTION: return y->heads > 0;
	case TARGET_FFN: return y->ffn > 0;
	case TARGET_HEAD: return y->heads > 0 && t->head >= 0 &&
	    head_set_has(&y->head, t->head);
	default: return true;
	}
}

/* ---- the snapshot -------------------------------------------------------- */

const struct snap_state *
app_now(const struct app *app)
{
	return app->snap.open ? &app->snap.state[app->snap.current] : NULL;
}

const struct snap_state *
app_original(const struct app *app)
{
	return app->snap.open ? &app->snap.state[0] : NULL;
}

const struct model *
app_model(const struct app *app)
{
	return app->snap.open ? app_now(app)->model : NULL;
}

/* Every view hears of every change, also those behind. */
void
app_changed(struct app *app, unsigned change)
{
	const struct detail *d;

	for (int i = 0; i < VIEW_COUNT; i++)
		if (view_table[i]->update != NULL)
			view_table[i]->update(app, change);
	d = detail_for(app);
	if (d != NULL && d->update != NULL && app_view(app)->detail)
		d->update(app, change);
	app_dirty(app);
}

void
app_refresh(struct app *app, unsigned change)
{
	if (app->p->lent > 0) {
		app_changed(app, change);
		return;
	}
	change |= snapshot_change(app);
	snapshot_take(app);
	/* What the user said of evaluating was about the state before. */
	if ((change & (CHANGE_MODEL | CHANGE_DATA)) != 0)
		app->p->held = app->p->asked = false;
	if ((change & CHANGE_OPENED) != 0) {
		app->p->saved = -1;
		app->target = target_model();
	}
	app_changed(app, change | CHANGE_EVAL | CHANGE_LATENCY);
}

/* ---- views --------------------------------------------------------------- */

const struct view *
app_view(const struct app *app)
{
	return view_table[app->stack[app->depth - 1]];
}

/* A view that is in the stack already comes to the front, and what lay on it
 * goes. */
void
app_push(struct app *app, enum view_id view)
{
	int at = 0;

	if (app_view(app)->id == view)
		return;
	if (app_view(app)->leave != NULL)
		app_view(app)->leave(app);
	while (at < app->depth && app->stack[at] != view)
		at++;
	app->stack[at] = view;
	app->depth = at + 1;
	app->focus_detail = false;
	if (view_table[view]->enter != NULL)
		view_table[view]->enter(app);
	app_changed(app, CHANGE_SIZE | CHANGE_TARGET);
}

void
app_pop(struct app *app)
{
	if (app->depth <= 1)
		return;
	if (app_view(app)->leave != NULL)
		app_view(app)->leave(app);
	app->depth--;
	app->focus_detail = false;
	if (app_view(app)->enter != NULL)
		app_view(app)->enter(app);
	app_changed(app, CHANGE_SIZE | CHANGE_TARGET);
}

void
app_select(struct app *app, const struct target *t)
{
	if (target_equal(&app->target, t))
		return;
	app->target = *t;
	app_changed(app, CHANGE_TARGET);
}

void
app_show_text(struct app *app, const char *title, const char *text)
{
	output_begin(app, title);
	output_add_text(app, text);
	output_show(app);
}

void
app_dirty(struct app *app)
{
	app->p->dirty = true;
}

/* Malloc'ed, of any length. */
static char *
format(const char *fmt, va_list ap)
{
	va_list again;
	char *text;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	n = n > 0 ? n : 0;
	text = xcalloc((size_t)n + 1, 1);
	vsnprintf(text, (size_t)n + 1, fmt, ap);
	return text;
}

void
app_message(struct app *app, enum style style, const char *fmt, ...)
{
	struct str *m = &app->p->message;
	char *text;
	va_list ap;

	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	str_clear(m);
	str_add(m, text);
	free(text);
	app->p->message_style = style;
	app_dirty(app);
}

/* ---- commands and jobs --------------------------------------------------- */

bool
app_command(struct app *app, const char *line)
{
	lineedit_keep(line);
	return jobs_run_line(app, line);
}

bool
app_commandf(struct app *app, const char *fmt, ...)
{
	char *line;
	va_list ap;
	bool taken;

	va_start(ap, fmt);
	line = format(fmt, ap);
	va_end(ap);
	taken = app_command(app, line);
	free(line);
	return taken;
}

bool
app_busy(const struct app *app)
{
	return app->p->lent > 0;
}

void
app_job(struct app *app, struct job *job)
{
	if (app->p->worker != NULL) {
		worker_add(app->p->worker, job);
		return;
	}
	job->rc = job->run(job, &job->task, &job->err);
	job->done(app, job, job->rc, &job->err);
	job->drop(job);
}

void
app_cancel_job(struct app *app, struct job *job)
{
	if (app->p->worker != NULL)
		worker_cancel(app->p->worker, job);
}

static const char *
why_no_eval(const struct app *app)
{
	if (!app->snap.open)
		return "no model is open: :open DIR";
	if (app->snap.ghost)
		return "a config alone has no weights to evaluate";
	if (app->snap.data == NULL)
		return "no samples are loaded: :data FILE";
	return "the model or the samples have no labels to judge by";
}

void
app_evaluate(struct app *app)
{
	const struct snap_state *now = app_now(app);

	if (app_busy(app)) {
		app_message(app, STYLE_WARN, "a command runs: wait, or stop "
		    "it with Ctrl-C");
		return;
	}
	if (now == NULL || !app->snap.can_eval) {
		app_message(app, STYLE_WARN, "%s", why_no_eval(app));
		return;
	}
	if (now->eval != NULL && app_original(app)->eval != NULL) {
		app->p->brief = true;
		app_command(app, "eval");
		return;
	}
	app->p->asked = true;
	app->p->held = false;
	jobs_start_evaluation(app);
	app_message(app, STYLE_NORMAL, "eval");
}

void
app_latency(struct app *app)
{
	const struct snap_state *now = app_now(app);

	app->p->brief = true;
	app_command(app, now != NULL && now->has_latency ?
	    "latency fresh=on" : "latency");
}

/* ---- questions ----------------------------------------------------------- */

void
app_confirm(struct app *app, const char *question, void (*yes)(struct app *app))
{
	struct app_private *p = app->p;

	snprintf(p->question, sizeof(p->question), "%s", question);
	p->yes = yes;
	p->mode = MODE_CONFIRM;
	app_dirty(app);
}

static void
key_confirm(struct app *app, int key)
{
	struct app_private *p = app->p;

	if (key == 'y' || key == 'Y') {
		p->mode = MODE_KEYS;
		p->yes(app);
	} else if (key == 'n' || key == 'N' || key == K_ESC || key == 'q' ||
	    key == K_CTRL('G')) {
		p->mode = MODE_KEYS;
		app_message(app, STYLE_NORMAL, "no");
	}
	app_dirty(app);
}

static void
quit_now(struct app *app)
{
	app->p->quit = true;
}

/* Asks when something would be lost. */
void
app_try_quit(struct app *app)
{
	const struct snapshot *s = &app->snap;

	if (s->open && s->current != 0 && s->current != app->p->saved)
		app_confirm(app, "The current state is not saved (:save DIR). "
		    "Quit? y/n", quit_now);
	else
		quit_now(app);
}

void
app_interrupt(struct app *app)
{
	struct app_private *p = app->p;
	struct worker_status s = { 0 };

	if (p->mode != MODE_KEYS) {
		if (p->mode == MODE_PROMPT)
			prompt_cancel(app);
		p->mode = MODE_KEYS;
		app_message(app, STYLE_NORMAL, "canceled");
		return;
	}
	if (p->worker != NULL)
		worker_status(p->worker, &s);
	if (!s.busy && p->lent == 0) {
		app_message(app, STYLE_NORMAL, "press q to quit");
		return;
	}
	if (p->eval != NULL)
		p->held = true;
	worker_cancel_all(p->worker);
	if (p->stopping == 0)
		p->stopping = task_now();
	app_message(app, STYLE_WARN, "stopping");
	app_check_stop(app);
}

double
app_check_stop(struct app *app)
{
	struct app_private *p = app->p;
	struct worker_status s = { 0 };
	double left;

	if (p->stopping == 0)
		return -1;
	worker_status(p->worker, &s);
	if (!s.canceling) {
		p->stopping = 0;
		p->offered = false;
		return -1;
	}
	left = p->stopping + p->patience - task_now();
	if (left > 0)
		return left;
	app_message(app, STYLE_WARN, "%s does not stop yet; Q leaves without "
	    "waiting for it", p->lent > 0 && p->line != NULL ? p->line :
	    s.title);
	p->offered = true;
	return -1;
}

/* ---- finding ------------------------------------------------------------- */

bool
app_find(struct app *app, int dir)
{
	const struct view *v = app_view(app);

	if (v->find == NULL || app->find[0] == '\0') {
		app_message(app, STYLE_NORMAL, v->find == NULL ?
		    "there is nothing to search in this view" :
		    "search for what? type / first");
		return false;
	}
	if (v->find(app, app->find, dir, false)) {
		app_message(app, STYLE_NORMAL, "/%s", app->find);
		return true;
	}
	if (v->find(app, app->find, dir, true)) {
		app_message(app, STYLE_NORMAL, "/%s: from the %s again",
		    app->find, dir > 0 ? "top" : "bottom");
		return true;
	}
	app_message(app, STYLE_WARN, "/%s: not found", app->find);
	return false;
}

/* A character onto the end of b. */
static void
add_key(struct str *b, int key)
{
	utf8proc_uint8_t utf8[4];
	utf8proc_ssize_t n;

	if (key < ' ' || key >= 0x110000)
		return;
	n = utf8proc_encode_char(key, utf8);
	str_addn(b, (const char *)utf8, (size_t)n);
}

static void
drop_last(struct str *b)
{
	while (b->n > 0 && ((unsigned char)b->s[b->n - 1] & 0xc0) == 0x80)
		b->n--;
	if (b->n > 0)
		b->n--;
	if (b->cap > 0)
		b->s[b->n] = '\0';
}

static void
key_find_mode(struct app *app, int key)
{
	struct app_private *p = app->p;

	app_dirty(app);
	if (key == K_ENTER) {
		p->mode = MODE_KEYS;
		if (p->find.n > 0)
			snprintf(app->find, sizeof(app->find), "%s",
			    p->find.s);
		app_find(app, 1);
	} else if (key == K_ESC || (key == K_BACKSPACE && p->find.n == 0)) {
		p->mode = MODE_KEYS;
	} else if (key == K_BACKSPACE) {
		drop_last(&p->find);
	} else if (key == K_CTRL('U')) {
		str_clear(&p->find);
	} else {
		add_key(&p->find, key);
	}
}

/* ---- keys ---------------------------------------------------------------- */

static void
act_back(struct app *app)
{
	if (app->focus_detail)
		app->focus_detail = false;
	else if (app->depth > 1)
		app_pop(app);
	else
		app_try_quit(app);
	app_dirty(app);
}

static void
start_find(struct app *app)
{
	str_clear(&app->p->find);
	app->p->mode = MODE_FIND;
	app_dirty(app);
}

static void
open_view(struct app *app, enum view_id v)
{
	if (app_model(app) == NULL)
		app_message(app, STYLE_WARN, "no model is open: :open DIR");
	else
		app_push(app, v);
}

static void
switch_focus(struct app *app)
{
	if (app->layout.pane[PANE_DETAIL].rows == 0) {
		app->focus_detail = false;
		return;
	}
	app->focus_detail = !app->focus_detail;
	app_changed(app, 0);
}

/* The frame's own actions. */
static bool
act_frame(struct app *app, enum action a)
{
	switch (a) {
	case ACT_FOCUS: switch_focus(app); break;
	case ACT_APPLY: open_view(app, VIEW_APPLY); break;
	case ACT_HEADS: open_view(app, VIEW_HEADS); break;
	case ACT_PARTS: open_view(app, VIEW_PARTS); break;
	case ACT_PLAN: open_view(app, VIEW_PLAN); break;
	case ACT_HISTORY: open_view(app, VIEW_HISTORY); break;
	case ACT_SAMPLES: open_view(app, VIEW_SAMPLES); break;
	case ACT_UNDO: app_command(app, "undo"); break;
	case ACT_REDO: app_command(app, "redo"); break;
	case ACT_EVAL: app_evaluate(app); break;
	case ACT_LATENCY: app_latency(app); break;
	case ACT_PROMPT: app_prompt(app, ""); break;
	case ACT_FIND: start_find(app); break;
	case ACT_FIND_NEXT: app_find(app, 1); break;
	case ACT_FIND_PREV: app_find(app, -1); break;
	case ACT_HELP: app_push(app, VIEW_HELP); break;
	case ACT_REDRAW: app->p->redraw = true; app_dirty(app); break;
	case ACT_BACK: act_back(app); break;
	case ACT_QUIT: app_try_quit(app); break;
	default: return false;
	}
	return true;
}

/* Moves and ACT_DETAIL_* may be for the detail pane. */
static bool
act_detail(struct app *app, enum action a)
{
	const struct detail *d = detail_for(app);
	bool own = a >= ACT_DETAIL_NEXT && a <= ACT_DETAIL_LAYER_PREV;
	bool move = a >= ACT_UP && a <= ACT_ENTER;

	if (d == NULL || d->act == NULL || !app_view(app)->detail ||
	    !(own || (move && app->focus_detail)))
		return false;
	return d->act(app, a) || move;
}

bool
app_act(struct app *app, enum action a)
{
	const struct view *v = app_view(app);

	if (act_detail(app, a) || (v->act != NULL && v->act(app, a)))
		app_dirty(app);
	else if (!act_frame(app, a))
		return false;
	return true;
}

static void
say_unknown(struct app *app, int key)
{
	char name[16];

	keys_name(key, name);
	app_message(app, STYLE_DIM, "%s does nothing here; ? shows the keys",
	    name);
}

static void
key_view(struct app *app, int key)
{
	const struct view *v = app_view(app);
	enum action a;

	str_clear(&app->p->message);
	app_dirty(app);
	if (v->key != NULL && v->key(app, key))
		return;
	a = keys_find(v->id, key);
	if (a == ACT_NONE && key != K_UNKNOWN)
		say_unknown(app, key);
	else if (a != ACT_NONE)
		app_act(app, a);
}

void
app_key(struct app *app, int key)
{
	if (key == K_CTRL('C')) {
		app_interrupt(app);
		return;
	}
	switch (app->p->mode) {
	case MODE_FIND: key_find_mode(app, key); break;
	case MODE_CONFIRM: key_confirm(app, key); break;
	default: key_view(app, key); break;
	}
}

/* A field takes it as typed; anywhere else it is a line to be looked at before
 * it is run. */
void
app_paste(struct app *app, const char *text)
{
	size_t n = strcspn(text, "\r\n");
	char *line = xstrndup(text, n);
	const char *s = line;
	utf8proc_int32_t v;
	utf8proc_ssize_t k;

	if (app->p->mode == MODE_KEYS && app_view(app)->key == NULL) {
		app_prompt(app, text);
		s = "";
	}
	while (app->p->mode != MODE_CONFIRM && *s != '\0' &&
	    (k = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &v)) > 0) {
		if (v >= ' ' && app->p->mode == MODE_FIND)
			key_find_mode(app, v);
		else if (v >= ' ')
			app_view(app)->key(app, v);
		s += k;
	}
	free(line);
	app_dirty(app);
}

void
app_prompt(struct app *app, const char *text)
{
	prompt_open(app, text);
}

/* ---- beginning and end --------------------------------------------------- */

static void
make_states(struct app *app)
{
	for (int i = 0; i < VIEW_COUNT; i++)
		if (view_table[i]->make != NULL)
			app->state[i] = view_table[i]->make();
	for (int i = 0; detail_table[i] != NULL && i < APP_DETAILS; i++)
		if (detail_table[i]->make != NULL)
			app->detail_state[i] = detail_table[i]->make();
}

struct app *
app_new(struct session *s, bool worker)
{
	struct app *app = xcalloc(1, sizeof(*app));
	struct app_private *p = xcalloc(1, sizeof(*p));

	app->p = p;
	p->session = s;
	p->message = (struct str)STR_INIT;
	p->find = (struct str)STR_INIT;
	p->saved = -1;
	p->patience = 2;
	p->worker = worker ? worker_new() : NULL;
	app->snap.partial.state = -1;
	app->look = (struct look){ .fd = -1, .width = 80 };
	app->target = target_model();
	app->stack[0] = VIEW_TREE;
	app->depth = 1;
	make_states(app);
	return app;
}

void
app_free(struct app *app)
{
	if (app == NULL)
		return;
	jobs_free(app);
	for (int i = 0; i < VIEW_COUNT; i++)
		if (view_table[i]->drop != NULL)
			view_table[i]->drop(app->state[i]);
	for (int i = 0; detail_table[i] != NULL && i < APP_DETAILS; i++)
		if (detail_table[i]->drop != NULL)
			detail_table[i]->drop(app->detail_state[i]);
	snapshot_free(&app->snap);
	str_free(&app->p->message);
	str_free(&app->p->find);
	free(app->p->line);
	free(app->p);
	free(app);
}

void
app_settle(struct app *app)
{
	struct worker *w = app->p->worker;

	while (w != NULL && !worker_idle(w)) {
		worker_dispatch(w, app);
		if (worker_idle(w))
			break;
		worker_wait(w);
	}
}
