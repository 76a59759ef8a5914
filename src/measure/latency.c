/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bench has one or two sides, the models, and one or more cells, the batches
 * they run. In a turn of a cell each side makes one counted pass, and which goes
 * first changes from turn to turn, so a machine that warms up or slows down
 * meets both alike. With several cells, all that are not done have a turn in
 * each round. The ratio is the median of the turns' ratios, its interval a
 * bootstrap over the turns.
 *
 * A model that fits into the processor's cache would be found there by the next
 * pass of a program that serves it; here the other side has filled the cache
 * meanwhile. So a short pass is made twice, and the second one counts.
 *
 * On a quiet machine a thread that keeps its processor is steadier. Where other
 * programs compete for that very processor it is slower, for the system cannot
 * move it out of their way; so the threads are let go when the warm-up finds
 * itself waiting for processors.
 */
#include "measure/latency.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "measure/stats.h"
#include "measure/crew.h"
#include "tensor/kernel.h"

enum { WARM_UP = 2, WARM_UP_MAX = 50, ROUNDS = 1000, KEPT_PASSES = 1000 };

/* When a cell is done. */
struct patience {
	int least, most;	/* turns */
	double seconds;
};
static const struct patience one_cell = { 10, 200, 2 };
static const struct patience each_cell = { 5, 100, 1 };
/* Of passes of seconds, fewer will do. */
static const struct patience slow_cell = { 5, 0, 10 };
static const double warm_seconds = 0.1, short_pass = 0.02;

struct side {
	const struct model *m;
	struct engine *e;
	float *out;
	struct forward f;
	struct engine_times times;
};

struct cell {
	struct batch batch;
	int64_t seq;
	int64_t *start;
	int32_t *ids;
	int runs, warm;		/* turns that count; those before, that do not */
	double spent;		/* seconds of its turns */
	double waited;		/* of those, by all threads; see crew_waited() */
	double *ms[2];		/* per side and turn */
	float *row[2];		/* likewise: rows for latency_parts_of(), of the
				 * first KEPT_PASSES turns; or NULL */
	bool twice[2];		/* the pass is a short one */
};

struct bench {
	int sides, cells, runs, threads;
	struct side side[2];
	struct cell *cell;
	struct patience patience;
	struct crew *crew;
	struct task *task;
};

/* ---- sizes --------------------------------------------------------------- */

static enum pare_rc
check_size(const struct model *m, int64_t batch, int64_t seq,
    struct pare_err *err)
{
	int64_t longest = m->hp.positions - m->hp.position_offset, tokens;

	if (batch < 1 || seq < 1 || !mem_mul(batch, seq, &tokens) ||
	    tokens > LATENCY_TOKENS_MAX || batch > LATENCY_BATCH_MAX)
		return err_set(err, PARE_EUSER, "batch=%lld seq=%lld: a run "
		    "takes 1 to %d tokens", (long long)batch, (long long)seq,
		    LATENCY_TOKENS_MAX);
	if (m->hp.positions == 0 || seq <= longest)
		return PARE_OK;
	err_set(err, PARE_EUSER, "seq: %lld tokens, but the model has "
	    "positions for %lld", (long long)seq, (long long)longest);
	return err_hint(err, "seq=%lld", (long long)longest);
}

/* Values of what a pass gives. */
static int64_t
output_values(const struct model *m, int64_t batch, int64_t seq)
{
	if (m->hp.head == HEAD_NONE)
		return batch * seq * m->hp.hidden;
	return head_gives_tokens(m->hp.head) ? batch * seq * m->hp.vocab :
	    batch * m->hp.labels;
}

/* Bytes that programs can still have; -1: unknown. */
static int64_t
free_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	long long kib = -1;
	char line[128];

	while (f != NULL && kib < 0 && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "MemAvailable: %lld", &kib) != 1)
			kib = -1;
	if (f != NULL)
		fclose(f);
	return kib < 0 ? -1 : kib * 1024;
}

/* The system may promise more memory than it has, and would end the process
 * that takes it at its word. At least the activations of all tokens and the
 * outputs are written. */
static enum pare_rc
check_memory(const struct bench *b, int64_t batch, int64_t seq,
    struct pare_err *err)
{
	int64_t have = free_memory();
	double need = 0;

	for (int i = 0; i < b->sides; i++) {
		const struct model *m = b->side[i].m;

		need += 4.0 * (double)(batch * seq) * (double)m->hp.hidden +
		    4.0 * (double)output_values(m, batch, seq);
	}
	if (have < 0 || need < 0.9 * (double)have)
		return PARE_OK;
	return err_set(err, PARE_ENOMEM, "batch=%lld seq=%lld: a run takes "
	    "over %.1f GiB, %.1f GiB are free", (long long)batch,
	    (long long)seq, need / (1 << 30), (double)have / (1 << 30));
}

static enum pare_rc
check_cell(const struct bench *b, int64_t batch, int64_t seq,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < b->sides && rc == PARE_OK; i++)
		rc = check_size(b->side[i].m, batch, seq, err);
	return rc == PARE_OK ? check_memory(b, batch, seq, err) : rc;
}

/* ---- setting up ---------------------------------------------------------- */

static void
bench_init(struct bench *b, const struct model *m,
    const struct model *original, int cells, int runs,
    const struct patience *patience, struct task *task)
{
	memset(b, 0, sizeof(*b));
	b->sides = original == NULL || original == m ? 1 : 2;
	b->side[0].m = m;
	b->side[1].m = original;
	b->cell = xcalloc((size_t)cells, sizeof(*b->cell));
	b->runs = runs;
	b->patience = *patience;
	b->task = task;
}

static void
bench_close(struct bench *b)
{
	for (int i = 0; i < b->sides; i++) {
		engine_free(b->side[i].e);
		free(b->side[i].out);
		free(b->side[i].times.layer);
	}
	for (int c = 0; c < b->cells; c++) {
		free(b->cell[c].start);
		free(b->cell[c].ids);
		for (int i = 0; i < 2; i++) {
			free(b->cell[c].ms[i]);
			free(b->cell[c].row[i]);
		}
	}
	free(b->cell);
}

static void
fill_ids(struct cell *c, const struct model *m, uint64_t seed)
{
	struct rng r;

	rng_seed(&r, seed);
	for (int64_t i = 0; i <= c->batch.nseq; i++)
		c->start[i] = i * c->seq;
	for (int64_t i = 0; i < c->batch.nseq * c->seq; i++)
		c->ids[i] = (int32_t)rng_below(&r, (uint64_t)m->hp.vocab);
}

static size_t
row_values(const struct model *m)
{
	return 2 + (size_t)m->nlayers * ENGINE_PARTS;
}

/* Room for so many turns. */
static enum pare_rc
cell_room(struct bench *b, struct cell *c, bool parts, struct pare_err *err)
{
	size_t turns = (size_t)(b->runs > 0 ? b->runs : b->patience.most);
	size_t kept = turns < KEPT_PASSES ? turns : KEPT_PASSES;

	for (int i = 0; i < b->sides; i++) {
		c->ms[i] = mem_big(turns, sizeof(*c->ms[i]), err);
		if (c->ms[i] == NULL)
			return PARE_ENOMEM;
		if (!parts)
			continue;
		c->row[i] = mem_big(kept * row_values(b->side[i].m),
		    sizeof(*c->row[i]), err);
		if (c->row[i] == NULL)
			return PARE_ENOMEM;
	}
	return PARE_OK;
}

static enum pare_rc
add_cell(struct bench *b, int64_t batch, int64_t seq, uint64_t seed,
    bool parts, struct pare_err *err)
{
	enum pare_rc rc = check_cell(b, batch, seq, err);
	struct cell *c = &b->cell[b->cells];

	if (rc != PARE_OK)
		return rc;
	b->cells++;
	c->seq = seq;
	c->start = mem_big((size_t)batch + 1, sizeof(*c->start), err);
	c->ids = c->start == NULL ? NULL : mem_big((size_t)(batch * seq),
	    sizeof(*c->ids), err);
	if (c->ids == NULL)
		return PARE_ENOMEM;
	c->batch = (struct batch){ .nseq = (int)batch, .start = c->start,
	    .ids = c->ids };
	fill_ids(c, b->side[0].m, seed);
	return cell_room(b, c, parts, err);
}

/* Outputs for the largest cell; all run in the same scratch. */
static enum pare_rc
open_side(struct bench *b, struct side *s, struct pare_err *err)
{
	int64_t most = 1;

	for (int c = 0; c < b->cells; c++) {
		int64_t n = output_values(s->m, b->cell[c].batch.nseq,
		    b->cell[c].seq);

		most = n > most ? n : most;
	}
	s->out = mem_big((size_t)most, sizeof(*s->out), err);
	if (s->out == NULL)
		return PARE_ENOMEM;
	s->e = engine_new();
	s->times.layer = xcalloc((size_t)s->m->nlayers + 1,
	    sizeof(*s->times.layer));
	s->f.task = b->task;
	s->f.times = &s->times;
	if (s->m->hp.head == HEAD_NONE)
		s->f.hidden = s->out;
	else
		s->f.logits = s->out;
	return PARE_OK;
}

/* ---- passes -------------------------------------------------------------- */

static void
clear_times(struct side *s)
{
	s->times.embed = s->times.head = 0;
	memset(s->times.layer, 0, (size_t)s->m->nlayers *
	    sizeof(*s->times.layer));
}

static void
keep_times(const struct side *s, float *row)
{
	*row++ = (float)(1e3 * s->times.embed);
	*row++ = (float)(1e3 * s->times.head);
	for (int l = 0; l < s->m->nlayers; l++)
		for (int k = 0; k < ENGINE_PARTS; k++)
			*row++ = (float)(1e3 * s->times.layer[l][k]);
}

static enum pare_rc
run_pass(struct side *s, const struct cell *c, double *seconds,
    struct pare_err *err)
{
	enum pare_rc rc;
	double begin;

	clear_times(s);
	begin = task_now();
	rc = engine_forward(s->e, s->m, &c->batch, &s->f, err);
	*seconds = task_now() - begin;
	return rc;
}

static enum pare_rc
count_pass(struct bench *b, struct cell *c, int side, struct pare_err *err)
{
	struct side *s = &b->side[side];
	enum pare_rc rc = PARE_OK;
	double seconds;

	if (c->twice[side])
		rc = run_pass(s, c, &seconds, err);
	if (rc == PARE_OK)
		rc = run_pass(s, c, &seconds, err);
	if (rc != PARE_OK)
		return rc;
	c->ms[side][c->runs] = 1e3 * seconds;
	if (c->row[side] != NULL && c->runs < KEPT_PASSES)
		keep_times(s, c->row[side] + (size_t)c->runs *
		    row_values(s->m));
	return PARE_OK;
}

static enum pare_rc
run_turn(struct bench *b, struct cell *c, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	double waited = crew_waited(b->crew), begin = task_now();

	for (int i = 0; i < b->sides && rc == PARE_OK; i++)
		rc = count_pass(b, c, c->runs % 2 == 0 ? i : b->sides - 1 - i,
		    err);
	if (rc != PARE_OK)
		return rc;
	c->spent += task_now() - begin;
	c->waited += crew_waited(b->crew) - waited;
	c->runs++;
	return PARE_OK;
}

static enum pare_rc
warm_cell(struct bench *b, struct cell *c, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	double begin = task_now(), seconds;

	for (int i = 0; rc == PARE_OK && i < WARM_UP_MAX && (i < WARM_UP ||
	    (b->cells == 1 && task_now() - begin < warm_seconds)); i++) {
		for (int k = 0; k < b->sides && rc == PARE_OK; k++) {
			rc = run_pass(&b->side[k], c, &seconds, err);
			c->twice[k] = b->sides * b->cells > 1 &&
			    seconds < short_pass;
		}
		c->warm += rc == PARE_OK;
	}
	return rc;
}

static enum pare_rc
warm_up(struct bench *b, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	double waited = crew_waited(b->crew), begin = task_now();

	for (int c = 0; c < b->cells && rc == PARE_OK; c++)
		rc = warm_cell(b, &b->cell[c], err);
	waited = crew_waited(b->crew) - waited;
	if (waited > LATENCY_WAITED_MAX * b->threads * (task_now() - begin))
		crew_release(b->crew);
	return rc;
}

static bool
is_done(const struct bench *b, const struct cell *c)
{
	const struct patience *p = &b->patience;

	if (b->runs > 0)
		return c->runs >= b->runs;
	return c->runs >= p->most ||
	    (c->runs >= p->least && c->spent >= p->seconds) ||
	    (c->runs >= slow_cell.least && c->spent >= slow_cell.seconds);
}

/* How many turns it will have, as far as one can tell. */
static double
turns_of(const struct bench *b, const struct cell *c)
{
	const struct patience *p = &b->patience;
	double turns;

	if (b->runs > 0)
		return b->runs;
	if (c->runs == 0)
		return p->least;
	turns = p->seconds * c->runs / c->spent + 1;
	return turns < p->least ? p->least : turns > p->most ? p->most :
	    turns;
}

static bool
tick(const struct bench *b)
{
	double done = 0, total = 0;

	for (int c = 0; c < b->cells; c++) {
		double turns = turns_of(b, &b->cell[c]);

		done += b->cell[c].runs;
		total += turns > b->cell[c].runs ? turns : b->cell[c].runs;
	}
	return task_tick(b->task, done, total, "runs");
}

/* A turn for every cell that is not done. */
static enum pare_rc
run_round(struct bench *b, bool *any, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	*any = false;
	for (int c = 0; c < b->cells && rc == PARE_OK; c++) {
		if (is_done(b, &b->cell[c]))
			continue;
		*any = true;
		rc = tick(b) ? run_turn(b, &b->cell[c], err) :
		    task_error(err);
	}
	return rc;
}

static enum pare_rc
run_rounds(struct bench *b, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	bool any = true;

	while (any && rc == PARE_OK)
		rc = run_round(b, &any, err);
	return rc;
}

/* The whole of it, with so many threads; 0: as they are. */
static enum pare_rc
run_bench(struct bench *b, int threads, bool *pinned, struct pare_err *err)
{
	int before = kernel_threads();
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < b->sides && rc == PARE_OK; i++)
		rc = open_side(b, &b->side[i], err);
	if (rc != PARE_OK)
		return rc;
	if (threads > 0)
		kernel_set_threads(threads);
	b->threads = kernel_threads();
	b->crew = crew_new(b->threads);
	crew_bind(b->crew);
	rc = warm_up(b, err);
	if (rc == PARE_OK)
		rc = run_rounds(b, err);
	*pinned = crew_bound(b->crew);
	crew_free(b->crew);
	if (threads > 0)
		kernel_set_threads(before);
	return rc;
}

/* ---- what it comes to ---------------------------------------------------- */

double
latency_spread(const struct latency *l)
{
	double a = (l->p75_ms - l->p25_ms) / l->p50_ms, b;

	if (!l->has_ratio)
		return a;
	b = (l->original_p75_ms - l->original_p25_ms) / l->original_p50_ms;
	return a > b ? a : b;
}

struct ratios {
	const double *v;
	double *tmp;
};

/* stats_statistic: the median of a draw. */
static double
drawn_median(void *ctx, const int64_t *index, int64_t n)
{
	struct ratios *r = ctx;

	for (int64_t i = 0; i < n; i++)
		r->tmp[i] = r->v[index[i]];
	return stats_quantile(r->tmp, n, 0.5);
}

void
latency_ratio(const double *a, const double *b, int n, uint64_t seed,
    double *median, double *low, double *high)
{
	double *v = mem_big((size_t)n, 2 * sizeof(*v), NULL);
	struct ratios r = { v, NULL };

	*median = *low = *high = NAN;
	if (v == NULL)
		return;
	r.tmp = v + n;
	for (int i = 0; i < n; i++)
		v[i] = a[i] / b[i];
	stats_bootstrap(drawn_median, &r, n, ROUNDS, seed, low, high);
	*median = stats_quantile(v, n, 0.5);
	free(v);
}

/* Sorts the times of the cell. */
static void
summarise(struct bench *b, struct cell *c, uint64_t seed, struct latency *l)
{
	l->batch = c->batch.nseq;
	l->seq = c->seq;
	l->runs = c->runs;
	l->warm = c->warm;
	l->threads = b->threads;
	if (c->runs == 0)
		return;
	l->waited = c->waited / (c->spent * b->threads);
	if (b->sides == 2) {
		latency_ratio(c->ms[0], c->ms[1], c->runs, seed, &l->ratio,
		    &l->ratio_low, &l->ratio_high);
		l->has_ratio = true;
		l->original_p50_ms = stats_quantile(c->ms[1], c->runs, 0.5);
		l->original_p25_ms = stats_quantile(c->ms[1], c->runs, 0.25);
		l->original_p75_ms = stats_quantile(c->ms[1], c->runs, 0.75);
	}
	l->p50_ms = stats_quantile(c->ms[0], c->runs, 0.5);
	l->p25_ms = stats_quantile(c->ms[0], c->runs, 0.25);
	l->p75_ms = stats_quantile(c->ms[0], c->runs, 0.75);
	l->p95_ms = stats_quantile(c->ms[0], c->runs, 0.95);
}

static void
take_parts(const struct bench *b, struct latency_parts *parts[2])
{
	const struct cell *c = b->cell;
	int n = c->runs < KEPT_PASSES ? c->runs : KEPT_PASSES;

	for (int i = 0; i < b->sides; i++)
		parts[i] = latency_parts_of(c->ms[i], c->row[i], n,
		    b->side[i].m->nlayers);
}

static void
drop_parts(struct latency_parts *parts[2])
{
	for (int i = 0; i < 2; i++) {
		free(parts[i]);
		parts[i] = NULL;
	}
}

enum pare_rc
latency_run(const struct model *m, const struct model *original,
    const struct latency_options *o, struct latency *out,
    struct latency_parts *parts[2], struct task *task, struct pare_err *err)
{
	struct latency l = { 0 };
	struct bench b;
	enum pare_rc rc;

	if (parts != NULL)
		parts[0] = parts[1] = NULL;
	bench_init(&b, m, original, 1, o->runs, &one_cell, task);
	rc = add_cell(&b, o->batch, o->seq, o->seed, parts != NULL, err);
	if (rc == PARE_OK)
		rc = run_bench(&b, o->threads, &l.pinned, err);
	if (rc == PARE_OK && parts != NULL)
		take_parts(&b, parts);
	if (rc == PARE_OK)
		summarise(&b, b.cell, o->seed, &l);
	if (rc == PARE_OK)
		*out = l;
	else if (parts != NULL)
		drop_parts(parts);
	bench_close(&b);
	return rc;
}

static bool
has_turns(const struct bench *b)
{
	for (int c = 0; c < b->cells; c++)
		if (b->cell[c].runs > 0)
			return true;
	return false;
}

static enum pare_rc
add_cells(struct bench *b, const struct latency_grid *g, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < g->nbatch * g->nseq && rc == PARE_OK; i++)
		rc = add_cell(b, g->batch[i / g->nseq], g->seq[i % g->nseq],
		    g->seed, false, err);
	return rc;
}

enum pare_rc
latency_grid_run(const struct model *m, const struct model *original,
    struct latency_grid *g, struct task *task, struct pare_err *err)
{
	struct bench b;
	enum pare_rc rc;
	bool pinned;

	if (g->nbatch < 1 || g->nseq < 1 ||
	    g->nbatch * g->nseq > LATENCY_CELLS_MAX)
		return err_set(err, PARE_EUSER, "%d batches and %d lengths: a "
		    "grid has 1 to %d cells", g->nbatch, g->nseq,
		    LATENCY_CELLS_MAX);
	bench_init(&b, m, original, g->nbatch * g->nseq, g->runs, &each_cell,
	    task);
	rc = add_cells(&b, g, err);
	if (rc == PARE_OK)
		rc = run_bench(&b, g->threads, &pinned, err);
	g->partial = rc == PARE_ECANCELED && has_turns(&b);
	if (g->partial)
		rc = PARE_OK;
	for (int c = 0; c < b.cells && rc == PARE_OK; c++) {
		g->cell[c] = (struct latency){ .pinned = pinned };
		summarise(&b, &b.cell[c], g->seed, &g->cell[c]);
	}
	bench_close(&b);
	return rc;
}
