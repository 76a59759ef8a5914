/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ranks: the processes of an MPI run (`mpirun -n N pare ...`), which all run the
 * same lines on the same input. What can be cut in items is spread over them
 * and put together again, so that all of them hold the same results; number 0
 * is the one that speaks and writes.
 *
 * A build without MPI (./configure --with-mpi), and one that was not started by
 * mpirun, is one process: number 0 of 1. In the main thread only.
 */
#ifndef PARE_BASE_RANKS_H
#define PARE_BASE_RANKS_H

#include <stddef.h>

#include "base/err.h"

/* Once, before anything else; ranks but the first fall silent on stdout and
 * stderr. */
void ranks_begin(void);
void ranks_end(void);

int ranks_count(void);
int ranks_number(void);

/* n bytes that rank `from` has come to all; all call it alike. */
void ranks_share(int from, void *data, size_t n);

/* After what each did by itself: PARE_OK where all were fine. Else an error in
 * all of them: a rank's own, or that another one stopped. */
enum pare_rc ranks_agree(enum pare_rc rc, struct pare_err *err);

#endif
