/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two lists under one lock: jobs that wait, and jobs that have something to say
 * to the loop. A byte in the pipe wakes the loop; the pipe never fills, for a
 * byte is written only when the flag `rung` was down.
 */
#include "ui/tui/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

static const double progress_every = 0.1;

struct worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;	/* there is a job, or it is time to leave */
	pthread_cond_t end;	/* the thread has left */
	int pipe[2];
	bool rung, leaving, left, moved;	/* moved: the status changed */
	struct job *waiting;	/* in order */
	struct job *running, *quick;	/* quick: inside a tick of running */
	struct job *told;	/* finished, in order */
	struct worker_status status;
	double last_ring;
};

static void
push_last(struct job **list, struct job *job)
{
	while (*list != NULL)
		list = &(*list)->next;
	job->next = NULL;
	*list = job;
}

/* Locked. */
static void
ring(struct worker *w)
{
	if (!w->rung)
		w->rung = write(w->pipe[1], "", 1) == 1;
}

/* Takes the first job (only a quick one if asked) off the list. Locked. */
static struct job *
take_job(struct worker *w, bool quick)
{
	for (struct job **at = &w->waiting; *at != NULL; at = &(*at)->next) {
		struct job *job = *at;

		if (quick && !job->quick)
			continue;
		*at = job->next;
		job->next = NULL;
		return job;
	}
	return NULL;
}

/* A finished job goes to the loop. Locked. */
static void
finish_job(struct worker *w, struct job *job, enum pare_rc rc)
{
	job->rc = rc;
	job->finished = true;
	push_last(&w->told, job);
	ring(w);
}

/* Runs job; locked before and after, not meanwhile. */
static void
run_job(struct worker *w, struct job *job)
{
	enum pare_rc rc;

	if (atomic_load(&job->task.cancel)) {
		finish_job(w, job, task_error(&job->err));
		return;
	}
	pthread_mutex_unlock(&w->lock);
	rc = job->run(job, &job->task, &job->err);
	pthread_mutex_lock(&w->lock);
	finish_job(w, job, rc);
}

/* Between the batches of a long job: quick ones in the same thread. Locked. */
static void
run_quick(struct worker *w)
{
	struct job *job;

	if (w->quick != NULL)
		return;
	while ((job = take_job(w, true)) != NULL) {
		w->quick = job;
		run_job(w, job);
		w->quick = NULL;
	}
}

static void
note_progress(struct worker *w, double done, double total, const char *what)
{
	struct worker_status *s = &w->status;
	double now = task_now();

	if (s->what != what || done < s->done) {
		s->what_started = now;
		s->start_done = done;
	}
	s->what = what;
	s->done = done;
	s->total = total;
	w->moved = true;
	if (now - w->last_ring < progress_every)
		return;
	w->last_ring = now;
	ring(w);
}

static void
on_tick(struct task *task, double done, double total, const char *what)
{
	struct job *job = task->ctx;
	struct worker *w = job->worker;

	pthread_mutex_lock(&w->lock);
	if (job == w->running) {
		note_progress(w, done, total, what);
		run_quick(w);
	}
	pthread_mutex_unlock(&w->lock);
}

/* Locked. */
static void
run_next(struct worker *w, struct job *job)
{
	double now = task_now();

	w->running = job;
	w->status = (struct worker_status){ .busy = true,
	    .title = job->title, .started = now, .what_started = now };
	w->last_ring = now;
	run_job(w, job);
	w->running = NULL;
	w->status = (struct worker_status){ 0 };
	w->moved = true;
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct job *job;

	pthread_mutex_lock(&w->lock);
	while (!w->leaving) {
		job = take_job(w, false);
		if (job != NULL)
			run_next(w, job);
		else
			pthread_cond_wait(&w->wake, &w->lock);
	}
	w->left = true;
	pthread_cond_signal(&w->end);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Signals are for the loop: the thread starts with all of them blocked. */
static bool
start_thread(struct worker *w)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&w->thread, NULL, work, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc == 0;
}

/* Waiting for the end is by a clock that nobody sets. */
static void
init_end(struct worker *w)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->end, &attr);
	pthread_condattr_destroy(&attr);
}

struct worker *
worker_new(void)
{
	struct worker *w = xcalloc(1, sizeof(*w));

	if (pipe(w->pipe) != 0) {
		free(w);
		return NULL;
	}
	for (int i = 0; i < 2; i++) {
		fcntl(w->pipe[i], F_SETFL, O_NONBLOCK);
		fcntl(w->pipe[i], F_SETFD, FD_CLOEXEC);
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	init_end(w);
	if (start_thread(w))
		return w;
	close(w->pipe[0]);
	close(w->pipe[1]);
	free(w);
	return NULL;
}

static void
drop_all(struct job *list)
{
	while (list != NULL) {
		struct job *job = list;

		list = job->next;
		job->drop(job);
	}
}

static void
leave(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->leaving = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	worker_cancel_all(w);
}

bool
worker_stop(struct worker *w, double seconds)
{
	struct timespec until;
	bool left;
	int rc = 0;

	leave(w);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)seconds;
	until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&w->lock);
	while (!w->left && rc == 0)
		rc = pthread_cond_timedwait(&w->end, &w->lock, &until);
	left = w->left;
	pthread_mutex_unlock(&w->lock);
	return left;
}

void
worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	leave(w);
	pthread_join(w->thread, NULL);
	drop_all(w->waiting);
	drop_all(w->told);
	close(w->pipe[0]);
	close(w->pipe[1]);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->end);
	free(w);
}

int
worker_fd(const struct worker *w)
{
	return w->pipe[0];
}

void
worker_add(struct worker *w, struct job *job)
{
	job->worker = w;
	job->task.tick = on_tick;
	job->task.ctx = job;
	pthread_mutex_lock(&w->lock);
	push_last(&w->waiting, job);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

void
worker_cancel(struct worker *w, struct job *job)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&job->task.cancel, true);
	if (job == w->running)
		w->status.canceling = true;
	pthread_mutex_unlock(&w->lock);
}

void
worker_cancel_all(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	for (struct job *j = w->waiting; j != NULL; j = j->next)
		atomic_store(&j->task.cancel, true);
	if (w->running != NULL) {
		atomic_store(&w->running->task.cancel, true);
		w->status.canceling = true;
	}
	if (w->quick != NULL)
		atomic_store(&w->quick->task.cancel, true);
	pthread_mutex_unlock(&w->lock);
}

/* Locked. */
static bool
take_posted(struct job *job)
{
	bool posted = job != NULL && job->posted && job->progress != NULL;

	if (posted)
		job->posted = false;
	return posted;
}

/* What running and quick jobs posted. They may end while progress() runs, but
 * are dropped by this thread alone. Progress of finished ones is void. */
static bool
dispatch_posts(struct worker *w, struct app *app)
{
	struct job *posted[2];

	pthread_mutex_lock(&w->lock);
	posted[0] = take_posted(w->running) ? w->running : NULL;
	posted[1] = take_posted(w->quick) ? w->quick : NULL;
	pthread_mutex_unlock(&w->lock);
	for (int i = 0; i < 2; i++)
		if (posted[i] != NULL)
			posted[i]->progress(app, posted[i]);
	return posted[0] != NULL || posted[1] != NULL;
}

static struct job *
take_told(struct worker *w)
{
	struct job *job;

	pthread_mutex_lock(&w->lock);
	job = w->told;
	if (job != NULL)
		w->told = job->next;
	pthread_mutex_unlock(&w->lock);
	return job;
}

bool
worker_dispatch(struct worker *w, struct app *app)
{
	char buf[16];
	struct job *job;
	bool any;

	pthread_mutex_lock(&w->lock);
	while (read(w->pipe[0], buf, sizeof(buf)) > 0)
		;
	w->rung = false;
	any = w->moved;
	w->moved = false;
	pthread_mutex_unlock(&w->lock);
	any |= dispatch_posts(w, app);
	while ((job = take_told(w)) != NULL) {
		job->done(app, job, job->rc, &job->err);
		job->drop(job);
		any = true;
	}
	return any;
}

void
worker_status(struct worker *w, struct worker_status *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->status;
	pthread_mutex_unlock(&w->lock);
}

bool
worker_idle(struct worker *w)
{
	bool idle;

	pthread_mutex_lock(&w->lock);
	idle = w->running == NULL && w->waiting == NULL && w->told == NULL;
	pthread_mutex_unlock(&w->lock);
	return idle;
}

void
worker_wait(struct worker *w)
{
	struct pollfd p = { w->pipe[0], POLLIN, 0 };

	poll(&p, 1, -1);
}

void
worker_post(struct job *job)
{
	struct worker *w = job->worker;

	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	job->posted = true;
	ring(w);
	pthread_mutex_unlock(&w->lock);
}

void
worker_lock(struct worker *w)
{
	if (w != NULL)
		pthread_mutex_lock(&w->lock);
}

void
worker_unlock(struct worker *w)
{
	if (w != NULL)
		pthread_mutex_unlock(&w->lock);
}
