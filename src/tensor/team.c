/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One word holds the state of a team: the number of the loop, whether it is open,
 * and how many of the others are in it. A thread enters by adding itself to the
 * word of an open loop, so nobody is in a loop that was closed and left by all,
 * and the description of the loop may change then.
 *
 * Who has nothing to do looks at the word again and again for SPIN seconds, giving
 * way to whatever else wants the processor, and then sleeps. A sleeper says so
 * before it looks a last time; who changes the word looks for sleepers after: one
 * of the two sees the other.
 */
#include "tensor/team.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/task.h"
#include "tensor/kernel.h"

#define SPIN 50e-6

/* state: number << 32 | OVER | OPEN | others inside */
#define OPEN (UINT64_C(1) << 31)
#define OVER (UINT64_C(1) << 30)
#define INSIDE (OVER - 1)

struct team {
	_Atomic uint64_t state;
	_Atomic int64_t next;	/* piece of the open loop */
	int64_t n;
	void (*run)(void *arg, int64_t i, int thread);
	void *arg;
	int threads;
	pthread_mutex_t lock;
	pthread_cond_t posted, left;
	atomic_int sleepers;	/* others that wait for a loop */
	atomic_bool driver_sleeps;
};

static _Thread_local struct team *held;	/* of the driver, between pieces */

static void
pause_briefly(int turn)
{
	if (turn % 64 == 63)
		sched_yield();
#if CPU_X86
	else
		__builtin_ia32_pause();
#endif
}

static void
run_pieces(struct team *t, int thread)
{
	int64_t i;

	while ((i = atomic_fetch_add(&t->next, 1)) < t->n)
		t->run(t->arg, i, thread);
}

/* ---- the others ---- */

/* Whether there is something other than to wait for a loop after `seen`. */
static bool
is_news(uint64_t state, uint64_t seen)
{
	return (state & OVER) != 0 ||
	    ((state & OPEN) != 0 && state >> 32 != seen);
}

static void
await_news(struct team *t, uint64_t seen)
{
	double begin = task_now();

	for (int i = 0; i % 64 != 0 || task_now() - begin < SPIN; i++) {
		if (is_news(atomic_load(&t->state), seen))
			return;
		pause_briefly(i);
	}
	pthread_mutex_lock(&t->lock);
	atomic_fetch_add(&t->sleepers, 1);
	while (!is_news(atomic_load(&t->state), seen))
		pthread_cond_wait(&t->posted, &t->lock);
	atomic_fetch_sub(&t->sleepers, 1);
	pthread_mutex_unlock(&t->lock);
}

static void
leave(struct team *t)
{
	uint64_t before = atomic_fetch_sub(&t->state, 1);

	if ((before & INSIDE) != 1 || (before & OPEN) != 0 ||
	    !atomic_load(&t->driver_sleeps))
		return;
	pthread_mutex_lock(&t->lock);
	pthread_cond_signal(&t->left);
	pthread_mutex_unlock(&t->lock);
}

static void
stand_by(struct team *t, int thread)
{
	uint64_t seen = 0, state;

	for (;;) {
		await_news(t, seen);
		state = atomic_load(&t->state);
		if ((state & OVER) != 0)
			return;
		if (!is_news(state, seen) ||
		    !atomic_compare_exchange_strong(&t->state, &state,
		    state + 1))
			continue;
		seen = state >> 32;
		run_pieces(t, thread);
		leave(t);
	}
}

/* ---- the driver ---- */

static void
wake_sleepers(struct team *t)
{
	if (atomic_load(&t->sleepers) == 0)
		return;
	pthread_mutex_lock(&t->lock);
	pthread_cond_broadcast(&t->posted);
	pthread_mutex_unlock(&t->lock);
}

static bool
all_left(struct team *t)
{
	return (atomic_load(&t->state) & INSIDE) == 0;
}

static void
await_others(struct team *t)
{
	double begin = task_now();

	for (int i = 0; i % 64 != 0 || task_now() - begin < SPIN; i++) {
		if (all_left(t))
			return;
		pause_briefly(i);
	}
	pthread_mutex_lock(&t->lock);
	atomic_store(&t->driver_sleeps, true);
	while (!all_left(t))
		pthread_cond_wait(&t->left, &t->lock);
	atomic_store(&t->driver_sleeps, false);
	pthread_mutex_unlock(&t->lock);
}

static void
run_loop(struct team *t)
{
	uint64_t number = (atomic_load(&t->state) >> 32) + 1;

	atomic_store(&t->next, 0);
	atomic_store(&t->state, number << 32 | OPEN);
	wake_sleepers(t);
	held = NULL;
	run_pieces(t, 0);
	held = t;
	atomic_fetch_and(&t->state, ~OPEN);
	await_others(t);
}

static void
lead(struct team *t, void (*drive)(void *arg), void *arg)
{
	held = t;
	drive(arg);
	held = NULL;
	atomic_fetch_or(&t->state, OVER);
	wake_sleepers(t);
}

void
team_hold(void (*drive)(void *arg), void *arg)
{
	struct team t = { .threads = team_threads() };

	if (held != NULL) {
		drive(arg);
		return;
	}
	if (t.threads == 1) {
		held = &t;
		drive(arg);
		held = NULL;
		return;
	}
	pthread_mutex_init(&t.lock, NULL);
	pthread_cond_init(&t.posted, NULL);
	pthread_cond_init(&t.left, NULL);
#pragma omp parallel num_threads(t.threads)
	{
		if (omp_get_thread_num() == 0)
			lead(&t, drive, arg);
		else
			stand_by(&t, omp_get_thread_num());
	}
	pthread_mutex_destroy(&t.lock);
	pthread_cond_destroy(&t.posted);
	pthread_cond_destroy(&t.left);
}

void
team_for(int64_t n, void (*run)(void *arg, int64_t i, int thread), void *arg)
{
	const int threads = n > 1 ? team_threads() : 1;

	if (threads > 1 && held != NULL) {
		held->n = n;
		held->run = run;
		held->arg = arg;
		run_loop(held);
	} else if (threads > 1) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
		for (int64_t i = 0; i < n; i++)
			run(arg, i, omp_get_thread_num());
	} else {
		for (int64_t i = 0; i < n; i++)
			run(arg, i, 0);
	}
}

int
team_threads(void)
{
	if (held != NULL)
		return held->threads;
	return omp_in_parallel() ? 1 : kernel_threads();
}
