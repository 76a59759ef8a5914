/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/gang.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tensor/kernel.h"

struct state {
	const struct gang *g;
	pthread_mutex_t lock;
	pthread_cond_t moved;	/* another piece was taken */
	int64_t next;		/* piece to hand out */
	int64_t taken;		/* pieces whose turn has passed */
	enum pare_rc rc;
	int64_t failed;		/* the piece that rc is of */
	struct pare_err err;
};

struct lane {
	struct state *s;
	pthread_t thread;
	int number;
};

int
gang_lanes(int64_t n)
{
	int threads = kernel_threads();

	return n < threads ? (n < 1 ? 1 : (int)n) : threads;
}

static void
fail(struct state *s, int64_t piece, enum pare_rc rc,
    const struct pare_err *err)
{
	if (s->rc != PARE_OK && s->failed <= piece)
		return;
	s->rc = rc;
	s->failed = piece;
	s->err = *err;
}

static int64_t
next_piece(struct state *s)
{
	int64_t piece = -1;

	pthread_mutex_lock(&s->lock);
	if (s->rc == PARE_OK && s->next < s->g->n)
		piece = s->next++;
	pthread_mutex_unlock(&s->lock);
	return piece;
}

/* Waits for the turn of a piece and takes it, unless something failed. */
static void
finish(struct state *s, int lane, int64_t piece, enum pare_rc rc,
    const struct pare_err *err)
{
	pthread_mutex_lock(&s->lock);
	if (rc != PARE_OK)
		fail(s, piece, rc, err);
	while (s->taken < piece)
		pthread_cond_wait(&s->moved, &s->lock);
	if (s->rc == PARE_OK && s->g->take != NULL)
		s->g->take(s->g->ctx, lane, piece);
	s->taken = piece + 1;
	pthread_cond_broadcast(&s->moved);
	pthread_mutex_unlock(&s->lock);
}

static void
do_piece(struct state *s, int lane, int64_t piece)
{
	struct pare_err err;
	enum pare_rc rc = s->g->run(s->g->ctx, lane, piece, &err);

	finish(s, lane, piece, rc, &err);
}

static void *
work(void *arg)
{
	struct lane *l = arg;
	int64_t piece;

	kernel_limit_threads(1);
	while ((piece = next_piece(l->s)) >= 0)
		do_piece(l->s, l->number, piece);
	return NULL;
}

static void
lead(struct state *s)
{
	const struct gang *g = s->g;
	double total = g->total > 0 ? g->total : (double)g->n;
	struct pare_err err;
	int64_t piece;

	for (;;) {
		pthread_mutex_lock(&s->lock);
		piece = s->next;
		pthread_mutex_unlock(&s->lock);
		if (!task_tick(g->task, g->done + (double)piece, total,
		    g->what)) {
			task_error(&err);
			pthread_mutex_lock(&s->lock);
			fail(s, -1, PARE_ECANCELED, &err);
			pthread_mutex_unlock(&s->lock);
		}
		if ((piece = next_piece(s)) < 0)
			return;
		do_piece(s, 0, piece);
	}
}

/* Signals are for the thread that asked. */
static int
start(struct lane *lane, int n)
{
	sigset_t all, old;
	int k = 1;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (k < n && pthread_create(&lane[k].thread, NULL, work,
	    &lane[k]) == 0)
		k++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return k;
}

enum pare_rc
gang_run(const struct gang *g, struct pare_err *err)
{
	int limit = kernel_limit_threads(0), n;
	struct state s = { .g = g, .rc = PARE_OK };
	struct lane *lane;

	n = gang_lanes(g->n);
	kernel_limit_threads(1);
	lane = xcalloc((size_t)n, sizeof(*lane));
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.moved, NULL);
	for (int i = 0; i < n; i++)
		lane[i] = (struct lane){ .s = &s, .number = i };
	n = start(lane, n);
	lead(&s);
	for (int i = 1; i < n; i++)
		pthread_join(lane[i].thread, NULL);
	kernel_limit_threads(limit);
	free(lane);
	pthread_cond_destroy(&s.moved);
	pthread_mutex_destroy(&s.lock);
	if (s.rc != PARE_OK && err != NULL)
		*err = s.err;
	return s.rc;
}
