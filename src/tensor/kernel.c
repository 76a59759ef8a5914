/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of kernels, and how products are cut into pieces and handed out.
 *
 * A set of products is planned first: which kernel, what x is turned into, where
 * everything lies in scratch. A low-rank matrix is two products, the first into
 * scratch; a sum adds one to what another made. So a set has up to three stages
 * of independent products; all of it runs with one team of threads, for waking
 * them costs more than a small product.
 */
#include "tensor/kernel_rows.h"

#include <stdatomic.h>
#include <string.h>

#include "tensor/team.h"

static const struct kernel lowrank_kernel = {
	.name = "two products", .tolerance = 1e-4f
};

static const struct kernel sum_kernel = {
	.name = "sum of two products", .tolerance = 1e-4f
};

static const struct kernel scaled_kernel = {
	.name = "product of scaled inputs", .tolerance = 1e-4f
};

static int64_t
scale_panel(const struct tensor *t, int64_t n)
{
	return 1;
}

/* All columns of x times the vector. */
static void
scale_run(const struct tensor *t, const struct kernel_x *x, int64_t r0,
    int64_t r1, float *y, int64_t ldy, bool accumulate, void *scratch)
{
	const float *by = t->part[PART_DATA].p;

	for (int64_t i = 0; i < x->n; i++)
		for (int64_t c = 0; c < t->cols; c++)
			y[i * ldy + c] = x->f[i * t->cols + c] * by[c];
}

/* What a SCALED matrix does first, with its vector. */
static const struct kernel scale_kernel = {
	.name = "scaling", .panel = scale_panel, .run = scale_run
};

const struct kernel *const kernel_table[FORM_COUNT][KERNEL_ROWS + 1] = {
	[FORM_F32] = { FLOAT_DOT_KERNEL SPLIT_KERNEL &panel_kernel,
	    &f32_dot_kernel, &f32_blas_kernel },
	[FORM_F16] = { FLOAT_DOT_KERNEL &panel_kernel, &tile_dot_kernel,
	    &tile_blas_kernel },
	[FORM_BF16] = { FLOAT_DOT_KERNEL BF16_KERNELS &panel_kernel,
	    &tile_dot_kernel, &tile_blas_kernel },
	[FORM_INT] = { CODE_KERNELS &tile_dot_kernel, &panel_kernel,
	    &tile_blas_kernel },
	[FORM_TABLE] = { CODE_KERNELS &tile_dot_kernel, &panel_kernel,
	    &tile_blas_kernel },
	[FORM_BITMAP] = { &bitmap_dot_kernel, &sparse_skip_kernel,
	    &bitmap_rows_kernel, &bitmap_panel_kernel, &sparse_dot_kernel,
	    &sparse_run_kernel, &tile_blas_kernel },
	[FORM_INDEX] = { &sparse_dot_kernel, &sparse_skip_kernel,
	    &sparse_run_kernel, &tile_blas_kernel },
	[FORM_BLOCK] = { BLOCK_KERNELS &tile_dot_kernel, &tile_blas_kernel },
	[FORM_LOWRANK] = { &lowrank_kernel },
	[FORM_SUM] = { &sum_kernel },
	[FORM_SCALED] = { &scaled_kernel },
};

static atomic_int precision = KERNEL_FAST;

enum kernel_precision
kernel_precision(void)
{
	return (enum kernel_precision)atomic_load_explicit(&precision,
	    memory_order_relaxed);
}

enum kernel_precision
kernel_set_precision(enum kernel_precision p)
{
	return (enum kernel_precision)atomic_exchange(&precision, (int)p);
}

uint64_t
kernel_ways(void)
{
	uint64_t ways = (uint64_t)cpu_level();

	if (kernel_precision() == KERNEL_FAST &&
	    (cpu_has(CPU_BF16_FAST) || cpu_level() == CPU_AMX))
		ways |= 1 << 8;
	return ways;
}

const struct kernel *
kernel_of(const struct tensor *t, int64_t n)
{
	const struct kernel *const *row = kernel_table[t->form];
	enum cpu_level level = cpu_level();

	while (row[1] != NULL && (row[0]->level > level ||
	    (row[0]->fits != NULL && !row[0]->fits(t, n))))
		row++;
	return row[0];
}

/* ---- the plan ---- */

enum {
	PLAN_PRODUCTS = 8,	/* of one region; longer sets take several */
	PLAN_STEPS = 4 * PLAN_PRODUCTS,	/* scaled codes plus low rank: 4 */
	PREP_ROWS = 32,		/* of x that one thread turns at a time */
	SPLIT_ROWS = 64		/* least rows of x of a piece, a multiple of
				 * what any kernel takes at once */
};

/* Work worth a second thread, in multiply-adds, of some ten microseconds. To
 * read a weight takes as long as LOAD of them. */
static const int64_t worth_threads = 1 << 19;
enum { LOAD = 8 };

/* One product of two dense sides: the kernel and its pieces. */
struct step {
	const struct tensor *t;
	const struct kernel *k;
	const struct product_end *end;
	struct kernel_x x;
	float *y;
	int64_t ldy;
	bool accumulate;
	int prep;		/* which of the plan's; -1: none */
	int stage;
	int64_t panel, panels;	/* rows of t */
	int64_t split, splits;	/* rows of x */
};

struct prep {
	enum prep_kind kind;
	const float *f;
	void *memory;
	int stage;
};

struct plan {
	int64_t n;
	int threads;
	struct step step[PLAN_STEPS];
	struct prep prep[PLAN_STEPS];
	int nsteps, npreps, stages;
	int64_t work;
	const struct tensor *then;	/* what comes after all of this, or NULL */
	int64_t then_panel;
	char *base;		/* NULL: only sizes are asked for */
	size_t used;		/* of scratch */
	size_t thread_bytes;	/* of each thread, behind that */
};

/* Whole lines, so that threads do not share one. */
static size_t
round_up(size_t n)
{
	return (n + 63) & ~(size_t)63;
}

static void *
take(struct plan *p, size_t bytes)
{
	size_t at = p->used;

	p->used += round_up(bytes);
	return p->base != NULL ? p->base + at : NULL;
}

/* The prep that this x needs; an earlier step's where it is the same one: the
 * first stage has one x, later ones as many as low-rank matrices. */
static int
plan_prep(struct plan *p, enum prep_kind kind, const struct kernel_x *x,
    int stage)
{
	struct prep *r;

	if (kind == PREP_NONE)
		return -1;
	for (int i = 0; stage == 0 && i < p->npreps; i++)
		if (p->prep[i].kind == kind && p->prep[i].stage == 0)
			return i;
	r = &p->prep[p->npreps];
	*r = (struct prep) { kind, x->f, NULL, stage };
	r->memory = take(p, prep_bytes(kind, x->n, x->cols));
	return p->npreps++;
}

/* Few rows of t and many of x: the pieces are cut across x too. */
static void
cut_pieces(const struct plan *p, struct step *s)
{
	int64_t want = p->threads;

	s->panel = s->k->panel(s->t, p->n);
	s->panels = (s->t->rows + s->panel - 1) / s->panel;
	s->split = p->n;
	s->splits = 1;
	if (s->panels >= want || p->n < 2 * SPLIT_ROWS)
		return;
	want = (want + s->panels - 1) / s->panels;
	s->split = (p->n + want - 1) / want;
	s->split = (s->split + SPLIT_ROWS - 1) / SPLIT_ROWS * SPLIT_ROWS;
	s->splits = (p->n + s->split - 1) / s->split;
}

static void
plan_step(struct plan *p, const struct product *q, const float *x, int stage,
    bool accumulate)
{
	struct step *s = &p->step[p->nsteps++];
	size_t bytes;

	*s = (struct step) {
		.t = q->t, .k = q->t->ndim == 1 ? &scale_kernel :
		    kernel_of(q->t, p->n), .end = q->end,
		.x = { .f = x, .n = p->n, .cols = q->t->cols }, .y = q->y,
		.ldy = q->t->ndim == 1 ? q->t->cols : q->t->rows,
		.accumulate = accumulate, .stage = stage
	};
	s->prep = plan_prep(p, s->k->prep, &s->x, stage);
	if (s->prep >= 0 && p->base != NULL)
		prep_point(s->k->prep, p->prep[s->prep].memory, &s->x);
	cut_pieces(p, s);
	bytes = s->k->scratch != NULL ? s->k->scratch(q->t, p->n) : 0;
	p->thread_bytes = bytes > p->thread_bytes ? bytes : p->thread_bytes;
	p->work = value_add(p->work, value_mul(value_count(q->t),
	    p->n + LOAD));
	p->stages = stage + 1 > p->stages ? stage + 1 : p->stages;
}

static int plan_tensor(struct plan *p, const struct product *q, const float *x,
    int stage, bool accumulate);

/* A product and then another of what it made: low rank, scaled inputs. The first
 * is ready before `least`. */
static int
plan_chain(struct plan *p, const struct product *q, const float *x, int stage,
    int least, bool accumulate)
{
	const struct tensor *t = q->t;
	struct product inner = { t->kid[1], NULL, NULL }, outer = *q;

	inner.y = take(p, (size_t)(p->n * (t->form == FORM_SCALED ? t->cols :
	    tensor_rank(t))) * sizeof(float));
	plan_step(p, &inner, x, stage, false);
	outer.t = t->kid[0];
	stage = stage + 1 > least ? stage + 1 : least;
	plan_step(p, &outer, inner.y, stage, accumulate);
	return stage + 1;
}

/* The base first; what is added to it when it is there. Of a low rank only the
 * second product has to wait for it. */
static int
plan_sum(struct plan *p, const struct product *q, const float *x, int stage,
    bool accumulate)
{
	struct product base = { q->t->kid[0], q->y, NULL };
	struct product more = { q->t->kid[1], q->y, q->end };
	int ready = plan_tensor(p, &base, x, stage, accumulate);

	if (more.t->form == FORM_LOWRANK)
		return plan_chain(p, &more, x, stage, ready, true);
	plan_step(p, &more, x, ready, true);
	return ready + 1;
}

/* Returns the first stage in which all of it is there. */
static int
plan_tensor(struct plan *p, const struct product *q, const float *x, int stage,
    bool accumulate)
{
	if (q->t->form == FORM_SUM)
		return plan_sum(p, q, x, stage, accumulate);
	if (form_table[q->t->form].is_pair)
		return plan_chain(p, q, x, stage, 0, accumulate);
	plan_step(p, q, x, stage, accumulate);
	return stage + 1;
}

static void
plan_products(struct plan *p, const struct product *q, int count,
    const float *x, int64_t n, bool accumulate, char *scratch)
{
	p->n = n;
	p->threads = team_threads();
	p->nsteps = p->npreps = p->stages = 0;
	p->work = 0;
	p->base = scratch;
	p->used = p->thread_bytes = 0;
	for (int i = 0; i < count; i++)
		plan_tensor(p, &q[i], x, 0, accumulate);
	p->thread_bytes = round_up(p->thread_bytes);
}

static size_t
plan_bytes(const struct plan *p)
{
	return p->used + p->thread_bytes * (size_t)p->threads;
}

/* ---- running it ---- */

/* Rows of weights of a piece, where they lie in one part, one after another. */
static void
tell_next(const struct step *s, int64_t piece, struct kernel_x *x)
{
	int64_t r0 = piece % s->panels * s->panel;
	int64_t rows = s->t->rows - r0 < s->panel ? s->t->rows - r0 : s->panel;
	int64_t bytes;

	if (form_table[s->t->form].is_sparse || s->t->form == FORM_BLOCK)
		return;
	bytes = value_row_bytes(s->t);
	x->next = (const char *)s->t->part[PART_DATA].p + r0 * bytes;
	x->next_bytes = rows * bytes;
}

/* The same of what comes after all of the plan. */
static void
tell_then(const struct plan *p, int64_t piece, struct kernel_x *x)
{
	struct step s = { .t = p->then, .panel = p->then_panel };

	s.panels = (s.t->rows + s.panel - 1) / s.panel;
	if (piece < s.panels)
		tell_next(&s, piece, x);
}

/* Pieces are taken in order, so this thread gets about the one that many threads
 * on; next is NULL where that is of another stage. */
static void
run_piece(const struct plan *p, const struct step *s, int64_t piece,
    const struct step *next, int64_t next_piece, void *scratch)
{
	int64_t r0 = piece % s->panels * s->panel;
	int64_t r1 = r0 + s->panel < s->t->rows ? r0 + s->panel : s->t->rows;
	int64_t i0 = piece / s->panels * s->split;
	int64_t n = s->x.n - i0 < s->split ? s->x.n - i0 : s->split;
	float *y = s->y + i0 * s->ldy + r0;
	struct kernel_x x = s->x;

	if (next != NULL)
		tell_next(next, next_piece, &x);
	else if (p->then != NULL && s->stage == p->stages - 1)
		tell_then(p, next_piece, &x);
	if (s->splits > 1)
		prep_rows(s->k->prep, &x, i0, n);
	s->k->run(s->t, &x, r0, r1, y, s->ldy, s->accumulate, scratch);
	if (s->end != NULL)
		s->end->run(s->end, y, s->ldy, i0, n, r0, r1 - r0);
}

static int64_t
stage_pieces(const struct plan *p, int stage)
{
	int64_t n = 0;

	for (int i = 0; i < p->nsteps; i++)
		if (p->step[i].stage == stage)
			n += p->step[i].panels * p->step[i].splits;
	return n;
}

/* Piece i of all pieces of a stage: its step, whose piece number *i is then;
 * NULL behind the last. */
static const struct step *
find_piece(const struct plan *p, int stage, int64_t *i)
{
	for (int k = 0; k < p->nsteps; k++) {
		const struct step *s = &p->step[k];
		int64_t n = s->panels * s->splits;

		if (s->stage != stage)
			continue;
		if (*i < n)
			return s;
		*i -= n;
	}
	return NULL;
}

/* Where memory decides, each thread gets pieces that follow each other, as long
 * as the threads keep step: the i-th of n to be taken. */
static int64_t
place_piece(const struct plan *p, int64_t i, int64_t n)
{
	int64_t thread = i % p->threads, over = n % p->threads;

	if (p->n > KERNEL_FEW_ROWS || i >= n)
		return i;
	return thread * (n / p->threads) + (thread < over ? thread : over) +
	    i / p->threads;
}

static void
run_numbered(const struct plan *p, int stage, int64_t taken, void *scratch)
{
	const int64_t n = stage_pieces(p, stage);
	int64_t after = place_piece(p, taken + p->threads, n);
	int64_t i = place_piece(p, taken, n);
	const struct step *s = find_piece(p, stage, &i);
	const struct step *next = find_piece(p, stage, &after);

	run_piece(p, s, i, next, after, scratch);
}

/* A stage that is run, or one of its preps. */
struct stage {
	const struct plan *p;
	const struct step *s;
	int number;
};

static void
run_prep(void *arg, int64_t i, int thread)
{
	const struct stage *g = arg;
	int64_t left = g->p->n - i * PREP_ROWS;

	prep_make(g->s->k->prep, &g->s->x, i * PREP_ROWS,
	    left < PREP_ROWS ? left : PREP_ROWS);
}

static void
run_stage_piece(void *arg, int64_t i, int thread)
{
	const struct stage *g = arg;
	const struct plan *p = g->p;

	run_numbered(p, g->number, i, p->base == NULL ? NULL : p->base +
	    p->used + p->thread_bytes * (size_t)thread);
}

static void
each(const struct plan *p, int64_t n,
    void (*run)(void *arg, int64_t i, int thread), struct stage *g)
{
	if (p->work >= worth_threads)
		team_for(n, run, g);
	else
		for (int64_t i = 0; i < n; i++)
			run(g, i, 0);
}

static void
run_preps(const struct plan *p, int stage)
{
	for (int k = 0; k < p->nsteps; k++) {
		const struct step *s = &p->step[k];
		struct stage g = { p, s, stage };
		bool first = s->prep >= 0 && s->stage == stage;

		for (int i = 0; first && i < k; i++)
			first = p->step[i].prep != s->prep;
		if (first)
			each(p, (p->n + PREP_ROWS - 1) / PREP_ROWS, run_prep,
			    &g);
	}
}

static void
run_plan(void *arg)
{
	const struct plan *p = arg;

	for (int stage = 0; stage < p->stages; stage++) {
		struct stage g = { p, NULL, stage };

		run_preps(p, stage);
		each(p, stage_pieces(p, stage), run_stage_piece, &g);
	}
}

static _Thread_local const struct tensor *then;

void
kernel_then(const struct tensor *t)
{
	then = t;
}

/* What was said to come, unless it lies in several parts or a few rows of x pass
 * too fast for it. */
static void
plan_then(struct plan *p)
{
	const struct kernel *k;

	p->then = then;
	then = NULL;
	if (p->then == NULL || p->n <= KERNEL_FEW_ROWS ||
	    (k = kernel_of(p->then, p->n))->panel == NULL)
		p->then = NULL;
	else
		p->then_panel = k->panel(p->then, p->n);
}

static void
products(const struct product *q, int count, const float *x, int64_t n,
    bool accumulate, void *scratch)
{
	struct plan p;

	plan_products(&p, q, count, x, n, accumulate, scratch);
	plan_then(&p);
	if (p.work < worth_threads)
		run_plan(&p);
	else
		team_hold(run_plan, &p);
}

void
kernel_products(const struct product *p, int count, const float *x, int64_t n,
    void *scratch)
{
	kernel_bind();
	for (int i = 0; i < count; i += PLAN_PRODUCTS)
		products(p + i, count - i < PLAN_PRODUCTS ? count - i :
		    PLAN_PRODUCTS, x, n, false, scratch);
}

size_t
kernel_products_scratch(const struct tensor *const *t, int count, int64_t n)
{
	size_t most = 0;

	for (int i = 0; i < count; i += PLAN_PRODUCTS) {
		int m = count - i < PLAN_PRODUCTS ? count - i : PLAN_PRODUCTS;
		struct product q[PLAN_PRODUCTS];
		struct plan p;

		for (int k = 0; k < m; k++)
			q[k] = (struct product) { t[i + k], NULL, NULL };
		plan_products(&p, q, m, NULL, n, false, NULL);
		most = plan_bytes(&p) > most ? plan_bytes(&p) : most;
	}
	return most;
}

void
kernel_matmul(const struct tensor *t, const float *x, int64_t n, float *y,
    bool accumulate, void *scratch)
{
	struct product q = { t, y, NULL };

	kernel_bind();
	products(&q, 1, x, n, accumulate, scratch);
}

size_t
kernel_scratch(const struct tensor *t, int64_t n)
{
	return kernel_products_scratch(&t, 1, n);
}
