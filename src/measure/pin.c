/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Each thread of the team notes what it may run on and binds itself. A thread
 * inherits the mask of the one that starts it, so letting go asks every thread
 * of the team then: one that was bound gets its own mask back, a new one that
 * of the caller.
 */
#include "measure/pin.h"

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "tensor/kernel.h"

struct pinned {
	pid_t id;		/* 0: not bound */
	cpu_set_t was;
};

struct pin {
	cpu_set_t was;		/* of the caller */
	int n;
	struct pinned thread[];
};

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
	if (fscanf(f, "%d", &first) != 1)
		first = cpu;
	fclose(f);
	return first;
}

/* The processors of the set, those that open a core first; returns how many. */
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
		if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &cores))
			out[n++] = cpu;
		else
			CPU_SET(cpu, &later);
		if (core >= 0 && core < CPU_SETSIZE)
			CPU_SET(core, &cores);
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &later))
			out[n++] = cpu;
	return n;
}

/* In a thread of the team. */
static bool
bind_here(struct pinned *t, int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(t->was), &t->was) != 0 ||
	    sched_setaffinity(0, sizeof(one), &one) != 0)
		return false;
	t->id = gettid();
	return true;
}

static bool
bind_team(struct pin *p, const int *cpu)
{
	int bound = 0;

	kernel_bind();
#pragma omp parallel num_threads(p->n) reduction(+ : bound)
	{
		int i = omp_get_thread_num();

		bound += bind_here(&p->thread[i], cpu[i]);
	}
	return bound == p->n;
}

struct pin *
pin_threads(int threads)
{
	int cpu[CPU_SETSIZE];
	struct pin *p;
	cpu_set_t was;

	if (threads < 1 || omp_in_parallel() ||
	    sched_getaffinity(0, sizeof(was), &was) != 0 ||
	    order_processors(&was, cpu) < threads)
		return NULL;
	p = xcalloc(1, sizeof(*p) + (size_t)threads * sizeof(*p->thread));
	p->was = was;
	p->n = threads;
	if (bind_team(p, cpu))
		return p;
	pin_restore(p);
	return NULL;
}

/* In a thread of the team. */
static void
free_here(const struct pin *p)
{
	const cpu_set_t *was = &p->was;
	pid_t id = gettid();

	for (int i = 0; i < p->n; i++)
		if (p->thread[i].id == id)
			was = &p->thread[i].was;
	sched_setaffinity(0, sizeof(*was), was);
}

void
pin_restore(struct pin *p)
{
	if (p == NULL)
		return;
	kernel_bind();
#pragma omp parallel num_threads(p->n)
	free_here(p);
	free(p);
}

/* Of this thread. Linux, Documentation/scheduler/sched-stats: nanoseconds on a
 * processor, nanoseconds on a queue, time slices. */
static double
waited_here(void)
{
	FILE *f = fopen("/proc/thread-self/schedstat", "re");
	double ran, waited = NAN;

	if (f == NULL)
		return NAN;
	if (fscanf(f, "%lf %lf", &ran, &waited) != 2)
		waited = NAN;
	fclose(f);
	return 1e-9 * waited;
}

double
pin_waited(int threads)
{
	double sum = 0;

	kernel_bind();
#pragma omp parallel num_threads(threads) reduction(+ : sum)
	sum += waited_here();
	return sum;
}
