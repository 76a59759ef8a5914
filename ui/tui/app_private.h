/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * app_private: what the files of the frame (app.c, snapshot.c, jobs.c, prompt.c,
 * frame.c, tui.c) share and views do not see.
 */
#ifndef PARE_UI_TUI_APP_PRIVATE_H
#define PARE_UI_TUI_APP_PRIVATE_H

#include "base/str.h"
#include "ui/tui/view.h"

enum { PENDING_MAX = 8, REPLAY_MAX = 64 };

struct eval_job;

struct app_private {
	struct session *session;
	struct worker *worker;	/* NULL: jobs run at once */
	enum app_mode mode;
	struct str message;
	enum style message_style;
	int lent;		/* lines that run or wait in the worker */
	char *line;		/* the one added last */
	struct eval_job *eval;	/* the one whose news count; NULL */
	bool asked, held;	/* evaluate although live is off; not although
				 * it is on (the user stopped it) */
	/* Results that came while the session was lent. */
	struct evaluation pending[PENDING_MAX];
	int npending;
	/* The question of MODE_CONFIRM. */
	char question[256];
	void (*yes)(struct app *app);
	struct str find;	/* being typed */
	int saved;		/* state written last by `save`; -1 */
	uint64_t data_hash;	/* of the samples in the snapshot; 0: none */
	const struct model *opened;	/* state 0's, to see another come */
	/* The terminal, for readline: take: the next byte, or -1; else whether
	 * there is one. NULL: bytes come through prompt_byte() alone. */
	int (*more)(bool take);
	bool brief;		/* the next line's answer is for the message
				 * line, however long */
	/* Ctrl-C that the work has not answered yet: since when (task_now();
	 * 0: none), and whether leaving without it was offered after
	 * `patience` seconds. */
	double stopping, patience;
	bool offered;
	bool quit, dirty, redraw;
};

/* snapshot.c */
void snapshot_take(struct app *app);
void snapshot_free(struct snapshot *s);
/* What differs between what was and the session: enum change. */
unsigned snapshot_change(const struct app *app);

/* jobs.c */
void jobs_start_evaluation(struct app *app);
void jobs_stop_evaluation(struct app *app);
void jobs_keep_pending(struct app *app);
bool jobs_run_line(struct app *app, const char *line);
/* Before a line that may free the samples. */
void jobs_free(struct app *app);

/* app.c */
void app_changed(struct app *app, unsigned change);
/* Ctrl-C: cancels what there is; never leaves. */
void app_interrupt(struct app *app);
/* Offers to leave when work does not stop. Seconds after which to call it again
 * if nothing happens before; -1: there is nothing to wait for. */
double app_check_stop(struct app *app);
/* Text that was pasted where keys are expected: nothing of it acts as one. */
void app_paste(struct app *app, const char *text);
void app_try_quit(struct app *app);
bool app_find(struct app *app, int dir);
bool app_act(struct app *app, enum action a);
const struct view *app_view(const struct app *app);

/* prompt.c: readline in the message line */
void prompt_open(struct app *app, const char *text);
/* true: the line has ended, and was run. */
bool prompt_byte(struct app *app, int c);
void prompt_cancel(struct app *app);
/* Nothing was typed, or everything was erased. */
bool prompt_empty(void);
void prompt_draw(const struct app *app, struct cells *c, struct rect r);
bool prompt_wants_byte(const struct app *app);
/* Ends readline for good. */
void prompt_close(void);

/*
 * view_output.c: a page is made of parts, which are drawn again when the width
 * changes: texts, whose long lines are broken, and documents.
 */
void output_begin(struct app *app, const char *title);
void output_add_text(struct app *app, const char *text);
/* kind: of ui/render.h, static. doc is shared. */
void output_add_document(struct app *app, const char *kind, json_t *doc);
/* Brings the page to the front. */
void output_show(struct app *app);
/* The same page with other parts, which follow; and what is seen of it. */
void output_again(struct app *app);
void output_refresh(struct app *app);

#endif
