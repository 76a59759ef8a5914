/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Teams: every piece runs once, in a loop of its own team, whatever the number of
 * threads and however late they come.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "tensor/kernel.h"
#include "tensor/team.h"

enum { PIECES = 1000, THREADS = 8 };

struct count {
	atomic_int ran[PIECES];
	atomic_int busy[THREADS];	/* pieces that this thread is in */
	atomic_bool bad;
	int threads;
};

static void
count_piece(void *arg, int64_t i, int thread)
{
	struct count *c = arg;

	if (i < 0 || i >= PIECES || thread < 0 || thread >= c->threads) {
		atomic_store(&c->bad, true);
		return;
	}
	if (atomic_fetch_add(&c->busy[thread], 1) != 0)
		atomic_store(&c->bad, true);
	atomic_fetch_add(&c->ran[i], 1);
	atomic_fetch_sub(&c->busy[thread], 1);
}

static void
check_loop(int n)
{
	struct count c;

	memset(&c, 0, sizeof(c));
	c.threads = team_threads();
	team_for(n, count_piece, &c);
	assert_false(atomic_load(&c.bad));
	for (int i = 0; i < PIECES; i++)
		assert_int_equal(atomic_load(&c.ran[i]), i < n);
}

/* Gaps longer than anyone looks out for, so that threads sleep. */
static void
rest(long us)
{
	const struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

static void
drive_loops(void *arg)
{
	*(int *)arg = team_threads();
	for (int k = 0; k < 60; k++) {
		check_loop(k % 7);
		check_loop(k % 3 == 0 ? PIECES : k);
		if (k % 20 == 0)
			rest(2000);
	}
}

static void
test_loops(void **state)
{
	const int threads = kernel_threads();
	int seen;

	for (int n = 1; n <= THREADS; n++) {
		kernel_set_threads(n);
		check_loop(PIECES);
		seen = 0;
		team_hold(drive_loops, &seen);
		assert_int_equal(seen, n);
		check_loop(5);
	}
	kernel_set_threads(threads);
}

/* Who laid out memory for so many threads finds no more of them. */
static void
drive_change(void *arg)
{
	int before = team_threads();

	kernel_set_threads(before + 2);
	assert_int_equal(team_threads(), before);
	check_loop(PIECES);
	assert_int_equal(team_threads(), before);
}

static void
test_threads_stay(void **state)
{
	const int threads = kernel_threads();

	for (int n = 1; n < 4; n++) {
		kernel_set_threads(n);
		team_hold(drive_change, NULL);
		assert_int_equal(team_threads(), n + 2);
	}
	kernel_set_threads(threads);
}

static void
drive_nothing(void *arg)
{
	(*(int *)arg)++;
}

static void
test_empty(void **state)
{
	int calls = 0;

	for (int k = 0; k < 200; k++)
		team_hold(drive_nothing, &calls);
	assert_int_equal(calls, 200);
	team_for(0, count_piece, NULL);
}

/* ==== one inside the other ==== */

struct outer {
	struct count inner[4];
	atomic_bool bad;
};

/* A loop in a piece, and a team in a piece, run in that piece's thread. */
static void
drive_inner(void *arg)
{
	team_for(PIECES, count_piece, arg);
}

static void
outer_piece(void *arg, int64_t i, int thread)
{
	struct outer *o = arg;

	if (team_threads() != 1)
		atomic_store(&o->bad, true);
	if (i % 2 == 0)
		team_for(PIECES, count_piece, &o->inner[i]);
	else
		team_hold(drive_inner, &o->inner[i]);
}

static void
drive_outer(void *arg)
{
	team_for(4, outer_piece, arg);
	team_hold(drive_loops, &(int){ 0 });
}

static void
test_nested(void **state)
{
	static struct outer o;
	const int threads = kernel_threads();

	kernel_set_threads(3);
	memset(&o, 0, sizeof(o));
	for (int k = 0; k < 4; k++)
		o.inner[k].threads = 1;
	team_hold(drive_outer, &o);
	assert_false(atomic_load(&o.bad));
	for (int k = 0; k < 4; k++) {
		assert_false(atomic_load(&o.inner[k].bad));
		for (int i = 0; i < PIECES; i++)
			assert_int_equal(atomic_load(&o.inner[k].ran[i]), 1);
	}
	kernel_set_threads(threads);
}

/* Batches side by side in a parallel region: each thread is alone. */
static void
test_in_region(void **state)
{
	struct count c[3];

	memset(c, 0, sizeof(c));
#pragma omp parallel for num_threads(3)
	for (int k = 0; k < 3; k++) {
		c[k].threads = 1;
		team_hold(drive_inner, &c[k]);
	}
	for (int k = 0; k < 3; k++) {
		assert_false(atomic_load(&c[k].bad));
		for (int i = 0; i < PIECES; i++)
			assert_int_equal(atomic_load(&c[k].ran[i]), 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_threads_stay),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_in_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
