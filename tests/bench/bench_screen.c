/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bench_screen: how soon the full screen answers, on a terminal of 80 x 24. The
 * first paint ends with the hints of the last row; a key is Ctrl-L, which paints
 * every cell anew and so costs more than any other; a head that is pruned is
 * waited for until the top line has flips, from a part of the samples at first.
 * Runs on the sample and, where PARE_SHARED names the folder of real models, on
 * sst2-bert.
 */
#include <dirent.h>
#include <stdio.h>

#include "base/io.h"
#include "pty.h"

static const char hint[] = "quit";

static bool
open_screen(struct pty *p, const char *pare, const char *model,
    const char *data, double *paint)
{
	char *argv[] = { (char *)pare, (char *)"--tui", (char *)"--no-state",
		(char *)model, (char *)"--data", (char *)data, NULL };

	if (!pty_start(p, argv))
		return false;
	*paint = pty_time(p, NULL, hint);
	if (*paint < 0)
		pty_stop(p);
	return *paint >= 0;
}

/* The figure at a share of the sorted times. */
static void
put_p99(const char *name, const char *what, double *v, int n, double limit)
{
	char text[128];

	if (n < 1)
		return;
	snprintf(text, sizeof(text), "screen, %s: %s, p99", name, what);
	bench_median(v, n);
	bench_print(text, 1e3 * bench_quantile(v, n, 0.99), "ms",
	    BENCH_AT_MOST, limit, 1e3 * v[0], 1e3 * v[n - 1], n);
}

static int
time_keys(struct pty *p, double *v, int n)
{
	int i, m = 0;

	for (i = 0; i < n; i++) {
		v[m] = pty_time(p, "\f", hint);
		m += v[m] >= 0;
	}
	return m;
}

/* Times that threads of the process went to sleep or were put to, so far. */
static long
switches(pid_t pid)
{
	char path[64], line[128];
	struct dirent *e;
	long n, sum = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL) {
		char file[384];
		FILE *f;

		snprintf(file, sizeof(file), "%s/%s/status", path, e->d_name);
		f = fopen(file, "re");
		while (f != NULL && fgets(line, sizeof(line), f) != NULL)
			if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
				sum += n;
		if (f != NULL)
			fclose(f);
	}
	if (d != NULL)
		closedir(d);
	return sum;
}

static void
measure_idle(struct pty *p, const char *name)
{
	long bytes = p->bytes, woken = switches(p->pid);
	char text[128];

	pty_settle(p, 5000);
	snprintf(text, sizeof(text), "screen, %s: output in 5 s idle", name);
	bench_figure(text, (double)(p->bytes - bytes), "bytes", BENCH_AT_MOST,
	    0);
	snprintf(text, sizeof(text), "screen, %s: wake-ups in 5 s idle", name);
	bench_figure(text, (double)(switches(p->pid) - woken), "", BENCH_AT_MOST,
	    0);
}

/* Prunes one head after another, from the state as opened; keys are timed
 * while it is evaluated. */
static void
measure_heads(struct pty *p, const char *name)
{
	double toggled[8], busy[80];
	char text[128];
	int i, j, n = 0, m = 0;

	pty_time(p, "H", "norm");
	for (i = 0; i < 8; i++) {
		pty_settle(p, 1500);
		toggled[n] = pty_time(p, "x", "broke");
		if (toggled[n] < 0)
			continue;
		n++;
		for (j = 0; j < 10; j++) {
			busy[m] = pty_time(p, "\f", "back");
			m += busy[m] >= 0;
		}
		pty_time(p, i % 2 == 0 ? "u\033[C" : "u\033[B", "\033");
	}
	snprintf(text, sizeof(text),
	    "screen, %s: head pruned to first partial accuracy", name);
	bench_timed(text, toggled, n, 1e3, "ms", BENCH_AT_MOST, 150);
	put_p99(name, "key to repaint while evaluating", busy, m, 50);
}

static int
measure(const char *pare, const char *name, const char *model,
    const char *data, double limit)
{
	double paint[9], key[BENCH_MOST];
	char text[128];
	struct pty p;
	int i;

	for (i = 0; i < 9; i++) {
		if (!open_screen(&p, pare, model, data, &paint[i])) {
			fprintf(stderr, "bench_screen: no screen of %s\n", model);
			return 1;
		}
		if (i < 8)
			pty_stop(&p);
	}
	snprintf(text, sizeof(text), "screen, %s: first paint", name);
	bench_timed(text, paint, 9, 1e3, "ms", BENCH_AT_MOST, limit);
	pty_settle(&p, 4000);
	put_p99(name, "key to repaint", key, time_keys(&p, key, 200), 20);
	pty_settle(&p, 500);
	measure_idle(&p, name);
	measure_heads(&p, name);
	pty_stop(&p);
	return 0;
}

int
main(void)
{
	const char *pare = getenv("PARE"), *source = getenv("PARE_SOURCE");
	const char *shared = getenv("PARE_SHARED");
	char *model, *data;
	int status;

	if (pare == NULL || source == NULL) {
		fprintf(stderr,
		    "bench_screen: set PARE and PARE_SOURCE\n");
		return 2;
	}
	model = io_join(source, "samples/reviews");
	data = io_join(source, "samples/reviews.test.tsv");
	status = measure(pare, "sample", model, data, 100);
	free(model);
	free(data);
	if (shared == NULL)
		return status;
	model = io_join(shared, "real/models/sst2-bert");
	data = io_join(shared, "real/data/sst2.dev.tsv");
	if (access(model, R_OK) == 0)
		status |= measure(pare, "sst2-bert", model, data, 100);
	free(model);
	free(data);
	return status;
}
