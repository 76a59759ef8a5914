/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * worker: the one thread that does what takes time.
 *
 * A job is a struct that begins with struct job and owns everything it works on
 * (references to immutable models, copies of arguments). run() is called in the
 * worker; progress(), done() and drop() in the loop thread, woken by a pipe.
 * Jobs run in order; a quick one also runs between the batches of a long one
 * (inside task_tick()), so that looking at a matrix need not wait for an
 * evaluation.
 *
 *   loop thread                       worker thread
 *   worker_add(job) ----------------> job->run(job, task, err)
 *   job->progress(app, job) <-------- worker_post(w, job), now and then
 *   job->done(app, job, rc, err) <--- returned
 *   job->drop(job)
 *
 * The session is lent to a job by app.c and by nobody else; all other jobs work
 * on models they hold a reference to. All signals are blocked in the worker.
 */
#ifndef PARE_UI_TUI_WORKER_H
#define PARE_UI_TUI_WORKER_H

#include <stdbool.h>

#include "base/task.h"

struct app;
struct worker;

struct job {
	const char *title;	/* for the status: "evaluating"; static */
	bool quick;		/* under 100 ms or so, and never ticks long */
	enum pare_rc (*run)(struct job *job, struct task *task,
	    struct pare_err *err);
	/* May be NULL. */
	void (*progress)(struct app *app, struct job *job);
	/* Called once in any case, canceled (PARE_ECANCELED) or not. */
	void (*done)(struct app *app, struct job *job, enum pare_rc rc,
	    const struct pare_err *err);
	void (*drop)(struct job *job);	/* frees job */
	/* Private to the worker. */
	struct task task;
	struct worker *worker;
	struct job *next;
	enum pare_rc rc;
	struct pare_err err;
	bool posted, finished;
};

struct worker_status {
	bool busy;
	const char *title, *what;	/* static; what: "samples" */
	double done, total, started;	/* started: task_now() */
	double start_done, what_started;
	bool canceling;
};

struct worker *worker_new(void);	/* NULL: no thread could be started */
/* Cancels everything, waits, drops. */
void worker_free(struct worker *w);
/* Cancels everything and begins no more; whether the thread has ended within so
 * many seconds. Where it has not, w cannot be freed. */
bool worker_stop(struct worker *w, double seconds);
int worker_fd(const struct worker *w);	/* readable: call worker_dispatch() */
/* Consumes job. */
void worker_add(struct worker *w, struct job *job);
/* Cancels a job that was added and is not done; done() follows with
 * PARE_ECANCELED (unless it finished just before). */
void worker_cancel(struct worker *w, struct job *job);
void worker_cancel_all(struct worker *w);
/* Calls progress(), done() and drop(); true if anything happened. */
bool worker_dispatch(struct worker *w, struct app *app);
void worker_status(struct worker *w, struct worker_status *out);
/* No job is running, waiting or not yet dispatched. */
bool worker_idle(struct worker *w);
/* Until worker_dispatch() has something to do. */
void worker_wait(struct worker *w);

/* In run(): asks for progress() in the loop thread. */
void worker_post(struct job *job);
/* Guards what run() and progress() share. */
void worker_lock(struct worker *w);
void worker_unlock(struct worker *w);

#endif
