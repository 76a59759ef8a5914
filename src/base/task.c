/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/task.h"

#include <stddef.h>
#include <time.h>

bool
task_canceled(struct task *task)
{
	return task != NULL &&
	    atomic_load_explicit(&task->cancel, memory_order_relaxed);
}

bool
task_tick(struct task *task, double done, double total, const char *what)
{
	if (task == NULL)
		return true;
	if (task->tick != NULL)
		task->tick(task, done, total, what);
	return !task_canceled(task);
}

enum pare_rc
task_error(struct pare_err *err)
{
	return err_set(err, PARE_ECANCELED, "canceled; nothing was changed");
}

double
task_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}
