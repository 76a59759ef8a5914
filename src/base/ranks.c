/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/ranks.h"

#ifdef PARE_MPI

#include <fcntl.h>
#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <unistd.h>

static int count = 1, number;

/* Only mpirun sets these; a process of its own asks for no others. */
static int
was_launched(void)
{
	static const char *const names[] = { "OMPI_COMM_WORLD_SIZE",
		"PMI_RANK", "PMIX_RANK", NULL };

	for (int i = 0; names[i] != NULL; i++)
		if (getenv(names[i]) != NULL)
			return 1;
	return 0;
}

static void
fall_silent(void)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

void
ranks_begin(void)
{
	int got;

	if (!was_launched() || MPI_Init_thread(NULL, NULL,
	    MPI_THREAD_FUNNELED, &got) != MPI_SUCCESS)
		return;
	MPI_Comm_size(MPI_COMM_WORLD, &count);
	MPI_Comm_rank(MPI_COMM_WORLD, &number);
	if (number > 0)
		fall_silent();
}

void
ranks_end(void)
{
	int on = 0;

	if (MPI_Initialized(&on) == MPI_SUCCESS && on)
		MPI_Finalize();
	count = 1;
	number = 0;
}

int
ranks_count(void)
{
	return count;
}

int
ranks_number(void)
{
	return number;
}

void
ranks_share(int from, void *data, size_t n)
{
	char *p = data;

	for (size_t part; count > 1 && n > 0; n -= part, p += part) {
		part = n < INT_MAX ? n : INT_MAX;
		MPI_Bcast(p, (int)part, MPI_BYTE, from, MPI_COMM_WORLD);
	}
}

enum pare_rc
ranks_agree(enum pare_rc rc, struct pare_err *err)
{
	int mine = (int)rc, worst = mine;

	if (count > 1)
		MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX,
		    MPI_COMM_WORLD);
	if (rc == PARE_OK && worst != PARE_OK)
		return err_set(err, (enum pare_rc)worst,
		    "another process of the run stopped");
	return rc;
}

#else

void
ranks_begin(void)
{
}

void
ranks_end(void)
{
}

int
ranks_count(void)
{
	return 1;
}

int
ranks_number(void)
{
	return 0;
}

void
ranks_share(int from, void *data, size_t n)
{
}

enum pare_rc
ranks_agree(enum pare_rc rc, struct pare_err *err)
{
	return rc;
}

#endif
