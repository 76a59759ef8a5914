/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * app: the workbench: a session, a snapshot of it that the views draw, and the
 * loop around them.
 *
 * Everything a view wants done goes through app_command() as a line that could
 * have been typed: it is shown in the message line and lands in the history and
 * in readline's history. Views read app->snap and never the session, for that
 * may be lent to the worker.
 */
#ifndef PARE_UI_TUI_APP_H
#define PARE_UI_TUI_APP_H

#include "measure/evaluate.h"
#include "measure/latency.h"
#include "model/account.h"
#include "session/calibration.h"
#include "session/plan_book.h"
#include "session/session.h"
#include "ui/look.h"
#include "ui/tui/cell.h"
#include "ui/tui/keys.h"
#include "ui/tui/layout.h"
#include "ui/tui/worker.h"

/* Views that lie on each other: each one at most once. */
enum { APP_STACK = VIEW_COUNT, APP_DETAILS = 8, COLUMNS_TEXT = 96 };

/* ---- the snapshot ---- */

/* A state of the history, by id. */
struct snap_state {
	int id, parent;
	char *command;		/* NULL: the original */
	char *mark;		/* or NULL */
	double seconds;
	struct model *model;	/* a reference */
	struct totals totals;	/* at snap.seq; nonzero as params when not
				 * counted yet */
	struct evaluation *eval;	/* owned copy; NULL: not known */
	struct latency latency;	/* the one measured last */
	bool has_latency;
};

/* The evaluation that runs: honest for all samples, for they are taken in a
 * stratified random order. Always shown as partial. */
struct snap_partial {
	bool on;
	int state;		/* the id evaluated; -1: gone meanwhile */
	int64_t n, total;	/* labelled samples so far, of so many */
	double value, low, high;	/* of snap.metric */
	bool compared;		/* against the original, on the same samples */
	int64_t fixed, broke, changed;
	double started;		/* task_now() */
};

/* The options of a plan, with what whole plans said so far. */
struct snap_plan {
	struct plan_book *book;	/* a reference; its anchors are not read */
	int anchors;		/* as many as that are in the fit */
	struct plan_anchor anchor[PLAN_ANCHORS];
	struct plan_fit drop;
	struct plan_offer offer[PLAN_USES];	/* by what the budget is of */
	struct plan_curve curve[PLAN_USES];
};

struct snapshot {
	bool open;		/* a model is open */
	bool ghost;		/* of a config alone: no weights */
	int n, current;		/* states */
	struct snap_state *state;
	int64_t seq;		/* MACs are for a sequence of so many tokens */
	enum metric metric;	/* the model's own */
	bool can_eval;		/* a head, weights, samples with labels or
				 * scored tokens */
	/* The eval samples, encoded; NULL: none, or a line that may replace
	 * them runs in the worker. Valid until the next CHANGE_DATA. */
	const struct dataset *data;
	/* The same as the original reads them, which may have other tokens;
	 * NULL: not encoded so. */
	const struct dataset *first_data;
	char *data_path;	/* or NULL */
	struct snap_partial partial;
	/* Settings that views read. */
	char columns[COLUMNS_TEXT];
	uint64_t seed;
	/* What the parts of the current state took in the latency measured
	 * last, owned; NULL: none was. */
	struct latency_parts *parts;
	/* What `plan` knows of the current state, owned; NULL: nothing. */
	struct snap_plan *plan;
	/* The importance of its heads shown last, owned; v NULL: none was. */
	struct head_scores heads;
	/* Current against original, where both were evaluated. */
	bool compared;
	struct comparison comparison;
};

/* ---- what is selected: tree, head map and detail agree ---- */

enum target_kind {
	TARGET_MODEL, TARGET_LAYER, TARGET_ATTENTION, TARGET_FFN, TARGET_NORM,
	TARGET_EMBEDDING, TARGET_POOLER, TARGET_OUTPUT,	/* the model's head */
	TARGET_HEAD,		/* an attention head */
	TARGET_TENSOR
};

struct target {
	enum target_kind kind;
	int layer;		/* -1 */
	int head;		/* by original number; -1 */
	struct slot_ref slot;	/* TARGET_TENSOR */
	char path[96];		/* as a command takes it: "L3.h4", "all" */
};

struct target target_model(void);
struct target target_layer(int layer);
struct target target_part(int layer, enum target_kind kind);
struct target target_head(int layer, int head);
struct target target_tensor(struct slot_ref slot);
bool target_equal(const struct target *a, const struct target *b);
/* Whether m has it. */
bool target_exists(const struct model *m, const struct target *t);

/* ---- the app ---- */

enum app_mode { MODE_KEYS, MODE_PROMPT, MODE_FIND, MODE_CONFIRM };

struct app {
	/* For views, to read. */
	struct snapshot snap;
	struct target target;	/* change by app_select() */
	bool focus_detail;	/* moving keys go to the detail pane */
	struct layout layout;	/* of what was drawn last */
	struct look look;	/* for the renderers of ui/: no colour */
	void *state[VIEW_COUNT];
	void *detail_state[APP_DETAILS];
	enum view_id stack[APP_STACK];
	int depth;		/* stack[depth - 1] is in front */
	char find[128];		/* what `/` looks for */

	/* The rest belongs to app*.c. */
	struct app_private *p;
};

/* The current model, borrowed from the snapshot; NULL: none is open. */
const struct model *app_model(const struct app *app);
const struct snap_state *app_now(const struct app *app);	/* or NULL */
const struct snap_state *app_original(const struct app *app);

/*
 * Runs a line of the session: one that may take long goes to the worker, others
 * run at once. A line may be refused with a message while another one runs
 * (false). When it is done the snapshot is new, update() was called, and what
 * the line said is in the message line (long output: in the output view).
 */
bool app_command(struct app *app, const char *line);
bool app_commandf(struct app *app, const char *fmt, ...) PARE_PRINTF(2, 3);
/* Whether the session is lent to the worker now. */
bool app_busy(const struct app *app);

/* The message line, until the next key that says something else. */
void app_message(struct app *app, enum style style, const char *fmt, ...)
    PARE_PRINTF(3, 4);
/* The output view with text (copied). */
void app_show_text(struct app *app, const char *title, const char *text);

void app_push(struct app *app, enum view_id view);	/* to the front */
void app_pop(struct app *app);
void app_select(struct app *app, const struct target *t);
/* Opens the prompt with text in it. */
void app_prompt(struct app *app, const char *text);
/* Asks a question (y, n, Esc); yes() runs on y. */
void app_confirm(struct app *app, const char *question,
    void (*yes)(struct app *app));

/* Evaluates the current state (and the original, to compare with) in the
 * background. Happens by itself after a change unless `set live off`. */
void app_evaluate(struct app *app);
void app_latency(struct app *app);
/* A job of a view; consumed. */
void app_job(struct app *app, struct job *job);
void app_cancel_job(struct app *app, struct job *job);
/* Something changed that should be drawn. */
void app_dirty(struct app *app);

/* ---- for main and for tests ---- */


/* A workbench without a terminal: draws into cells. The session stays the
 * caller's. No worker: jobs run inside app_job(). */
struct app *app_new(struct session *s, bool worker);
void app_free(struct app *app);
void app_refresh(struct app *app, unsigned change);	/* a new snapshot */
void app_draw(struct app *app, struct cells *c);
void app_key(struct app *app, int key);
/* Waits until all jobs are done and dispatched, for tests. */
void app_settle(struct app *app);

#endif
