/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ui/chart.h"
#include "ui/number.h"

static const double first_after = 0.3, every = 0.1;

void
progress_init(struct progress *p, const struct look *l, bool enabled)
{
	*p = (struct progress){ .look = *l, .enabled = enabled && l->tty };
}

/* Progress is a courtesy: a write that fails is not worth a word. */
static void
put(const char *s, size_t n)
{
	while (n > 0) {
		ssize_t k = write(STDERR_FILENO, s, n);

		if (k <= 0)
			return;
		s += k;
		n -= (size_t)k;
	}
}

static void
add_bar(struct str *b, const struct look *l, double share)
{
	enum { WIDTH = 20 };
	char *bar = chart_bar(l, share, WIDTH);
	int n = look_columns(bar);

	str_addc(b, '[');
	look_paint(b, l, PAINT_BAR, bar);
	look_spaces(b, WIDTH - n);
	str_add(b, "] ");
	free(bar);
}

void
progress_line(struct str *b, const struct look *l, double done, double total,
    const char *what, double seconds, double start_done, bool canceling)
{
	double share = total > 0 ? done / total : 0;
	double rate = seconds > 0 ? (done - start_done) / seconds : 0;
	char a[NUMBER_MAX], c[NUMBER_MAX];

	if (canceling) {
		str_add(b, "stopping...");
		return;
	}
	if (l->width >= 60 && total > 0)
		add_bar(b, l, share);
	number_plain(a, done);
	number_plain(c, total);
	if (total > 0)
		str_addf(b, "%s of %s %s  %.0f %%", a, c, what, 100 * share);
	else
		str_addf(b, "%s %s", a, what);
	if (rate > 0 && seconds > 1 && l->width >= 50) {
		number_count(a, rate);
		str_addf(b, "  %s/s", a);
	}
	if (rate > 0 && seconds > 1 && share > 0.03 && l->width >= 40) {
		number_seconds(a, (total - done) / rate);
		str_addf(b, "  %s left", a);
	}
}

/* A new kind of work starts its own clock; so does a count that restarts. */
static void
on_tick(struct task *task, double done, double total, const char *what)
{
	struct progress *p = task->ctx;
	struct str b = STR_INIT;
	double now = task_now();

	if (p->what == NULL || strcmp(p->what, what) != 0 ||
	    done < p->start_done) {
		p->what = what;
		p->start = now;
		p->start_done = done;
		if (!p->shown)
			p->last = now + first_after - every;
	}
	if (now - p->last < every)
		return;
	p->last = now;
	p->shown = true;
	look_measure(&p->look);
	str_add(&b, "\r\033[K");
	progress_line(&b, &p->look, done, total, what, now - p->start,
	    p->start_done, task_canceled(task));
	put(b.s, b.n);
	str_free(&b);
}

void
progress_attach(struct progress *p, struct task *task)
{
	p->what = NULL;
	p->shown = false;
	if (p->enabled) {
		task->tick = on_tick;
		task->ctx = p;
	}
}

bool
progress_end(struct progress *p)
{
	bool shown = p->shown;

	if (shown)
		put("\r\033[K", 4);
	p->shown = false;
	return shown;
}
