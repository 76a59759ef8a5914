/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Each thread of the team notes what it may run on and binds itself. A thread
 * inherits the mask of the one that starts it, so letting go asks every thread
 * of the team then: one that was bound gets its own mask back, a new one that
 * of the caller.
 *
 * How long they waited is read by the caller alone: to wake a thread for the
 * question would make it wait.
 */
#include "measure/crew.h"

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "tensor/kernel.h"

struct member {
	pid_t id;
	cpu_set_t was;
};

struct crew {
	int n;
	bool bound;
	cpu_set_t was;		/* of the caller */
	struct member member[];
};

struct crew *
crew_new(int threads)
{
	struct crew *t = xcalloc(1, sizeof(*t) + (size_t)threads *
	    sizeof(*t->member));

	t->n = threads;
	kernel_bind();
#pragma omp parallel num_threads(threads)
	t->member[omp_get_thread_num()].id = gettid();
	return t;
}

void
crew_free(struct crew *t)
{
	if (t == NULL)
		return;
	crew_release(t);
	free(t);
}

/* ---- binding ------------------------------------------------------------- */

/* The first processor of the core that cpu belongs to; cpu if unknown. */
static int
core_of(int cpu)
{
	char path[96];
	int first = cpu;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/"
	    "thread_siblings_list", cpu);
	f = fopen(path, "re");
	if (f == NULL)
		return cpu;
	if (fscanf(f, "%d", &first) != 1 || first < 0 || first >= CPU_SETSIZE)
		first = cpu;
	fclose(f);
	return first;
}

/* The processors of the set, one of each core first; returns how many. */
static int
order_processors(const cpu_set_t *set, int *out)
{
	cpu_set_t cores, later;
	int n = 0;

	CPU_ZERO(&cores);
	CPU_ZERO(&later);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		int core;

		if (!CPU_ISSET(cpu, set))
			continue;
		core = core_of(cpu);
		if (CPU_ISSET(core, &cores))
			CPU_SET(cpu, &later);
		else
			out[n++] = cpu;
		CPU_SET(core, &cores);
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &later))
			out[n++] = cpu;
	return n;
}

/* In a thread of the team. */
static bool
bind_here(struct member *m, int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	m->id = gettid();
	return sched_getaffinity(0, sizeof(m->was), &m->was) == 0 &&
	    sched_setaffinity(0, sizeof(one), &one) == 0;
}

bool
crew_bind(struct crew *t)
{
	int cpu[CPU_SETSIZE], done = 0;

	if (t->bound || omp_in_parallel() ||
	    sched_getaffinity(0, sizeof(t->was), &t->was) != 0 ||
	    order_processors(&t->was, cpu) < t->n)
		return false;
	for (int i = 0; i < t->n; i++)
		t->member[i].was = t->was;
	kernel_bind();
#pragma omp parallel num_threads(t->n) reduction(+ : done)
	{
		int i = omp_get_thread_num();

		done += bind_here(&t->member[i], cpu[i]);
	}
	t->bound = true;
	if (done < t->n)
		crew_release(t);
	return t->bound;
}

/* In a thread of the team. */
static void
release_here(const struct crew *t)
{
	const cpu_set_t *was = &t->was;
	pid_t id = gettid();

	for (int i = 0; i < t->n; i++)
		if (t->member[i].id == id)
			was = &t->member[i].was;
	sched_setaffinity(0, sizeof(*was), was);
}

void
crew_release(struct crew *t)
{
	if (!t->bound)
		return;
	t->bound = false;
	kernel_bind();
#pragma omp parallel num_threads(t->n)
	release_here(t);
}

bool
crew_bound(const struct crew *t)
{
	return t->bound;
}

/* ---- waiting ------------------------------------------------------------- */

/* Linux, Documentation/scheduler/sched-stats: nanoseconds on a processor,
 * nanoseconds on a queue, slices of time. */
static double
waited_of(pid_t id)
{
	double ran, waited = NAN;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)id);
	f = fopen(path, "re");
	if (f == NULL)
		return NAN;
	if (fscanf(f, "%lf %lf", &ran, &waited) != 2)
		waited = NAN;
	fclose(f);
	return 1e-9 * waited;
}

double
crew_waited(const struct crew *t)
{
	double sum = 0;

	for (int i = 0; i < t->n; i++)
		sum += waited_of(t->member[i].id);
	return sum;
}
