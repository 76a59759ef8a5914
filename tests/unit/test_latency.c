/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * latency: its arithmetic on times that are made up, and what holds of a real
 * measurement whatever the clock says.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "samples.h"

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>

#include "measure/latency.h"
#include "measure/latency_decode.h"
#include "measure/crew.h"
#include "tensor/kernel.h"

/* ---- arithmetic ---- */

enum { LAYERS = 2, ROW = 2 + LAYERS * ENGINE_PARTS };

/* Pass i takes ms: a tenth of it embeds, a fifth is the head, and the six parts
 * of the layers have a tenth each. One tenth lies between. */
static void
fill_row(float *row, double ms)
{
	row[0] = (float)(0.1 * ms);
	row[1] = (float)(0.2 * ms);
	for (int k = 2; k < ROW; k++)
		row[k] = (float)(0.1 * ms);
}

static struct latency_parts *
parts_of(const double *ms, int n)
{
	float *row = xmalloc((size_t)n * ROW * sizeof(*row));
	struct latency_parts *p;

	for (int i = 0; i < n; i++)
		fill_row(row + i * ROW, ms[i]);
	p = latency_parts_of(ms, row, n, LAYERS);
	free(row);
	return p;
}

static void
close_to(double a, double b)
{
	if (!(fabs(a - b) < 1e-5 * fabs(b) + 1e-9))
		fail_msg("%g is not %g", a, b);
}

/* Quartiles of 1 to 9 are 3 and 7; hiccups outside them leave no trace. */
static void
test_parts(void **state)
{
	static const double ms[] = { 9, 3, 5, 1000, 1, 7, 2, 6, 0.01 };
	struct latency_parts *p = parts_of(ms, 9), *c;

	/* 2, 3, 5, 6, 7 lie between the quartiles 2 and 7. */
	assert_int_equal(p->passes, 5);
	assert_int_equal(p->layers, LAYERS);
	close_to(p->whole_ms, 4.6);
	close_to(p->embed_ms, 0.46);
	close_to(p->head_ms, 0.92);
	close_to(latency_part_ms(p, LATENCY_EMBED), 0.46);
	close_to(latency_part_ms(p, LATENCY_HEAD), 0.92);
	for (int k = 0; k < ENGINE_PARTS; k++)
		close_to(latency_part_ms(p, k), LAYERS * 0.46);
	close_to(latency_layer_ms(p, 1), ENGINE_PARTS * 0.46);
	close_to(latency_sum_ms(p), 0.9 * 4.6);
	c = latency_parts_copy(p);
	assert_memory_equal(c, p, sizeof(*p) + LAYERS *
	    sizeof(p->layer_ms[0]));
	assert_null(latency_parts_copy(NULL));
	free(c);
	free(p);
}

static void
test_parts_of_few(void **state)
{
	static const double ms[] = { 4, 2 };
	struct latency_parts *p = parts_of(ms, 1);

	assert_int_equal(p->passes, 1);
	close_to(p->whole_ms, 4);
	free(p);
	p = parts_of(ms, 2);
	assert_int_equal(p->passes, 2);
	close_to(p->whole_ms, 3);
	free(p);
}

static void
test_spread(void **state)
{
	struct latency l = { .p25_ms = 9, .p50_ms = 10, .p75_ms = 10.5,
		.original_p25_ms = 10, .original_p50_ms = 20,
		.original_p75_ms = 30 };

	close_to(latency_spread(&l), 0.15);
	l.has_ratio = true;
	close_to(latency_spread(&l), 1);
}

/* ---- measurements ---- */

static void
check_parts(const struct latency_parts *p, const struct model *m)
{
	assert_non_null(p);
	assert_int_equal(p->layers, m->nlayers);
	assert_true(p->passes > 0);
	assert_true(p->embed_ms >= 0 && p->head_ms >= 0);
	for (int l = 0; l < p->layers; l++) {
		assert_true(latency_layer_ms(p, l) > 0);
		for (int k = 0; k < ENGINE_PARTS; k++)
			assert_true(p->layer_ms[l][k] >= 0);
	}
	/* Parts are kept with seven digits. */
	assert_true(latency_sum_ms(p) <= p->whole_ms * (1 + 1e-5));
}

static void
test_run(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *p = sample_do(m, "prune layers last 2");
	struct latency_options o = { .batch = 2, .seq = 16, .runs = 12 };
	struct latency_parts *parts[2];
	struct pare_err err = { 0 };
	struct latency l;

	assert_int_equal(latency_run(p, m, &o, &l, parts, NULL, &err),
	    PARE_OK);
	assert_int_equal(l.runs, 12);
	assert_true(l.has_ratio && l.p50_ms > 0 && l.p95_ms >= l.p75_ms);
	assert_true(l.p25_ms <= l.p50_ms && l.p50_ms <= l.p75_ms);
	assert_true(l.ratio_low <= l.ratio && l.ratio <= l.ratio_high);
	assert_true(l.original_p50_ms > 0);
	assert_true(l.original_p25_ms <= l.original_p50_ms &&
	    l.original_p50_ms <= l.original_p75_ms);
	assert_true(!(l.waited < 0));
	assert_int_equal(l.threads, kernel_threads());
	check_parts(parts[0], p);
	check_parts(parts[1], m);
	free(parts[0]);
	free(parts[1]);
	assert_int_equal(latency_run(m, m, &o, &l, parts, NULL, &err),
	    PARE_OK);
	assert_false(l.has_ratio);
	assert_non_null(parts[0]);
	assert_null(parts[1]);
	free(parts[0]);
	model_unref(p);
	model_unref(m);
}

/* How a decoder writes, by itself and against what it was. */
static void
test_decode(void **state)
{
	struct model *m = sample_real(sample_named("llama"));
	struct model *p = sample_do(m, "prune heads L1.h0,2");
	struct model *bert = sample_real(&sample_models[0]);
	struct decode_options o = { .prompt = 8, .tokens = 5, .runs = 4,
		.seed = 1 };
	const int threads = kernel_threads();
	struct pare_err err = { 0 };
	struct decode_latency l;

	assert_true(decode_fits(m) && !decode_fits(bert));
	assert_int_equal(decode_latency_run(p, m, &o, &l, NULL, &err), PARE_OK);
	assert_int_equal(l.runs, 4);
	assert_int_equal(l.prompt, 8);
	assert_int_equal(l.tokens, 5);
	assert_int_equal(l.threads, threads);
	assert_true(l.first_p50_ms > 0 && l.first_p95_ms >= l.first_p50_ms);
	assert_true(l.p50_ms > 0 && l.p95_ms >= l.p50_ms);
	assert_true(l.has_ratio && l.ratio > 0);
	assert_true(l.ratio_low <= l.ratio && l.ratio <= l.ratio_high);
	assert_true(l.original_p50_ms > 0 && l.original_first_p50_ms > 0);
	assert_true(!(l.waited < 0));
	/* 13 tokens of 3 layers of 4 heads of 8 values, twice; two heads less. */
	assert_int_equal(l.original_kv_bytes, 13 * 3 * 4 * 8 * 2 * 4);
	assert_int_equal(l.kv_bytes, 13 * (3 * 4 - 2) * 8 * 2 * 4);
	o.threads = 1;
	assert_int_equal(decode_latency_run(m, m, &o, &l, NULL, &err), PARE_OK);
	assert_false(l.has_ratio);
	assert_int_equal(l.threads, 1);
	assert_int_equal(kernel_threads(), threads);
	assert_int_equal(decode_latency_run(bert, NULL, &o, &l, NULL, &err),
	    PARE_EUSER);
	o.prompt = 20;
	assert_int_equal(decode_latency_run(m, NULL, &o, &l, NULL, &err),
	    PARE_EUSER);
	assert_non_null(strstr(err.msg, "positions for 24"));
	model_unref(bert);
	model_unref(p);
	model_unref(m);
}

static void
stop_at_once(struct task *task, double done, double total, const char *what)
{
	task->cancel = true;
}

static void
test_decode_stopped(void **state)
{
	struct model *m = sample_real(sample_named("llama"));
	struct decode_options o = { .prompt = 8, .tokens = 5 };
	struct task task = { .tick = stop_at_once };
	struct decode_latency l;
	struct pare_err err;

	assert_int_equal(decode_latency_run(m, NULL, &o, &l, &task, &err),
	    PARE_ECANCELED);
	model_unref(m);
}

static void
test_ratio(void **state)
{
	static const double a[] = { 2, 4, 6, 9, 10 }, b[] = { 1, 2, 3, 3, 5 };
	double median, low, high;

	latency_ratio(a, b, 5, 1, &median, &low, &high);
	close_to(median, 2);
	assert_true(low >= 2 && low <= high && high <= 3);
}

static void
test_every_head(void **state)
{
	for (int i = 0; i < SAMPLE_MODELS; i++) {
		struct model *m = sample_real(&sample_models[i]);
		struct latency_options o = { .batch = 3, .seq = 5, .runs = 3 };
		struct latency_parts *parts[2];
		struct pare_err err = { 0 };
		struct latency l;

		if (latency_run(m, NULL, &o, &l, parts, NULL, &err) != PARE_OK)
			fail_msg("%s: %s", sample_models[i].name, err.msg);
		check_parts(parts[0], m);
		free(parts[0]);
		model_unref(m);
	}
}

static void
expect_refused(const struct model *m, int64_t batch, int64_t seq,
    enum pare_rc rc, const char *word)
{
	struct latency_options o = { .batch = batch, .seq = seq, .runs = 1 };
	struct latency_parts *parts[2] = { (void *)1, (void *)1 };
	struct pare_err err = { 0 };
	struct latency l;

	assert_int_equal(latency_run(m, NULL, &o, &l, parts, NULL, &err), rc);
	if (strstr(err.msg, word) == NULL)
		fail_msg("'%s' does not say %s", err.msg, word);
	assert_null(strchr(err.msg, '\n'));
	assert_null(parts[0]);
	assert_null(parts[1]);
}

static void
test_bad_sizes(void **state)
{
	/* Two to the 24 tokens with a row of a million logits each. */
	static const struct sample_model wide = { "wide",
		"{\"model_type\":\"bert\",\"architectures\":"
		"[\"BertForMaskedLM\"],\"hidden_size\":4,"
		"\"num_hidden_layers\":1,\"num_attention_heads\":1,"
		"\"intermediate_size\":4,\"vocab_size\":1000000,"
		"\"max_position_embeddings\":4096,\"type_vocab_size\":2,"
		"\"hidden_act\":\"gelu\"}" };
	struct model *m = sample_real(&sample_models[0]);

	expect_refused(m, 1, 25, PARE_EUSER, "24");
	expect_refused(m, 1, 0, PARE_EUSER, "seq=0");
	expect_refused(m, 0, 1, PARE_EUSER, "batch=0");
	expect_refused(m, -1, -1, PARE_EUSER, "batch=-1");
	expect_refused(m, INT64_MAX, 2, PARE_EUSER, "tokens");
	expect_refused(m, LATENCY_TOKENS_MAX / 16 + 1, 16, PARE_EUSER,
	    "tokens");
	expect_refused(m, LATENCY_BATCH_MAX + 1, 1, PARE_EUSER, "tokens");
	model_unref(m);
	m = sample_real(&wide);
	expect_refused(m, 4096, 4096, PARE_ENOMEM, "GiB");
	model_unref(m);
}

static void
test_no_memory(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *p = sample_do(m, "prune heads L0.h1");
	struct latency_options o = { .batch = 2, .seq = 8, .runs = 3 };
	struct pare_err err = { 0 };
	enum pare_rc rc = PARE_ENOMEM;
	int at;

	for (at = 1; at < 100 && rc != PARE_OK; at++) {
		struct latency_parts *parts[2];
		struct latency l;

		mem_fail_at(at);
		rc = latency_run(p, m, &o, &l, parts, NULL, &err);
		mem_fail_at(0);
		assert_true(rc == PARE_OK || rc == PARE_ENOMEM);
		assert_true((rc == PARE_OK) == (parts[0] != NULL));
		free(parts[0]);
		free(parts[1]);
	}
	assert_true(at > 8 && at < 100);
	model_unref(p);
	model_unref(m);
}

struct countdown {
	int left, ticks;
};

static void
tick(struct task *task, double done, double total, const char *what)
{
	struct countdown *c = task->ctx;

	assert_true(done >= 0 && done <= total);
	c->ticks++;
	if (--c->left == 0)
		atomic_store(&task->cancel, true);
}

static void
test_cancel(void **state)
{
	struct model *m = sample_real(&sample_models[1]);
	struct latency_options o = { .batch = 1, .seq = 8, .threads = 1 };
	struct countdown c = { .left = 3 };
	struct task task = { .tick = tick, .ctx = &c };
	struct pare_err err = { 0 };
	int threads = kernel_threads();
	struct latency l;

	assert_int_equal(latency_run(m, NULL, &o, &l, NULL, &task, &err),
	    PARE_ECANCELED);
	assert_int_equal(c.ticks, 3);
	assert_int_equal(kernel_threads(), threads);
	model_unref(m);
}

/* ---- grids ---- */

static enum pare_rc
run_grid(const struct model *m, const struct model *original,
    struct latency_grid *g, int cancel_at, struct pare_err *err)
{
	static int64_t batch[] = { 1, 3 }, seq[] = { 4, 2, 7 };
	struct countdown c = { .left = cancel_at };
	struct task task = { .tick = tick, .ctx = &c };

	memset(g, 0, sizeof(*g));
	g->batch = batch;
	g->seq = seq;
	g->nbatch = 2;
	g->nseq = 3;
	g->runs = 4;
	return latency_grid_run(m, original, g, &task, err);
}

static void
test_grid(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct model *p = sample_do(m, "prune layers last 1");
	struct pare_err err = { 0 };
	struct latency_grid g;

	assert_int_equal(run_grid(p, m, &g, 0, &err), PARE_OK);
	assert_false(g.partial);
	for (int i = 0; i < 6; i++) {
		const struct latency *l = &g.cell[i];

		assert_int_equal(l->batch, g.batch[i / 3]);
		assert_int_equal(l->seq, g.seq[i % 3]);
		assert_int_equal(l->runs, 4);
		assert_int_equal(l->threads, kernel_threads());
		assert_true(l->has_ratio && l->p50_ms > 0);
		assert_true(l->ratio_low <= l->ratio &&
		    l->ratio <= l->ratio_high);
	}
	assert_int_equal(run_grid(m, NULL, &g, 0, &err), PARE_OK);
	assert_false(g.cell[0].has_ratio);
	model_unref(p);
	model_unref(m);
}

/* One tick a turn; cells take turns, so they are within one of each other. */
static void
test_grid_stopped(void **state)
{
	struct model *m = sample_real(&sample_models[2]);
	struct pare_err err = { 0 };
	struct latency_grid g;

	assert_int_equal(run_grid(m, NULL, &g, 1, &err), PARE_ECANCELED);
	assert_int_equal(run_grid(m, NULL, &g, 10, &err), PARE_OK);
	assert_true(g.partial);
	for (int i = 0; i < 6; i++)
		assert_int_equal(g.cell[i].runs, i < 3 ? 2 : 1);
	assert_int_equal(run_grid(m, NULL, &g, 4, &err), PARE_OK);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(g.cell[i].runs, i < 3 ? 1 : 0);
		assert_int_equal(g.cell[i].batch, g.batch[i / 3]);
		assert_int_equal(g.cell[i].seq, g.seq[i % 3]);
	}
	model_unref(m);
}

static void
test_grid_refused(void **state)
{
	int64_t batch[LATENCY_CELLS_MAX + 1] = { 1 }, seq[] = { 4, 25 };
	struct model *m = sample_real(&sample_models[0]);
	struct pare_err err = { 0 };
	struct latency_grid g = { .nbatch = 1, .batch = batch, .nseq = 2,
		.seq = seq, .runs = 1 };

	assert_int_equal(latency_grid_run(m, NULL, &g, NULL, &err),
	    PARE_EUSER);
	assert_non_null(strstr(err.msg, "25"));
	g.nseq = 1;
	g.nbatch = LATENCY_CELLS_MAX + 1;
	assert_int_equal(latency_grid_run(m, NULL, &g, NULL, &err),
	    PARE_EUSER);
	g.nbatch = 0;
	assert_int_equal(latency_grid_run(m, NULL, &g, NULL, &err),
	    PARE_EUSER);
	model_unref(m);
}

/* ---- threads ---- */

/* The processors that each thread of a team may use. */
static void
masks_of(int threads, cpu_set_t *out)
{
#pragma omp parallel num_threads(threads)
	{
		cpu_set_t *mine = &out[omp_get_thread_num()];

		if (sched_getaffinity(0, sizeof(*mine), mine) != 0)
			CPU_ZERO(mine);
	}
}

static void
test_crew(void **state)
{
	int before = kernel_threads();
	cpu_set_t was[2] = { 0 }, now[2] = { 0 };
	struct crew *t;

	kernel_set_threads(2);
	masks_of(2, was);
	t = crew_new(2);
	assert_false(crew_bound(t));
	if (crew_bind(t)) {
		assert_true(crew_bound(t));
		masks_of(2, now);
		assert_int_equal(CPU_COUNT(&now[0]), 1);
		assert_int_equal(CPU_COUNT(&now[1]), 1);
		assert_false(CPU_EQUAL(&now[0], &now[1]));
		crew_release(t);
	}
	assert_false(crew_bound(t));
	assert_true(!(crew_waited(t) < 0));
	crew_free(t);
	masks_of(2, now);
	for (int i = 0; i < 2; i++)
		assert_true(CPU_EQUAL(&was[i], &now[i]));
	crew_free(NULL);
	kernel_set_threads(before);
}

/* More threads than there can be processors. */
static void
test_crew_too_large(void **state)
{
	cpu_set_t was, now;
	struct crew *t;
	int n;

	assert_int_equal(sched_getaffinity(0, sizeof(was), &was), 0);
	n = CPU_COUNT(&was) + 1;
	t = crew_new(n);
	assert_false(crew_bind(t));
	assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
	assert_true(CPU_EQUAL(&was, &now));
	crew_free(t);
}

static void
test_threads(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct latency_options o = { .batch = 1, .seq = 8, .runs = 2 };
	struct pare_err err = { 0 };
	int before = kernel_threads();
	struct latency l;

	for (o.threads = 1; o.threads < 4; o.threads++) {
		assert_int_equal(latency_run(m, NULL, &o, &l, NULL, NULL,
		    &err), PARE_OK);
		assert_int_equal(l.threads, o.threads);
		assert_int_equal(kernel_threads(), before);
	}
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_parts_of_few),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_decode_stopped),
		cmocka_unit_test(test_ratio),
		cmocka_unit_test(test_every_head),
		cmocka_unit_test(test_bad_sizes),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_grid),
		cmocka_unit_test(test_grid_stopped),
		cmocka_unit_test(test_grid_refused),
		cmocka_unit_test(test_crew),
		cmocka_unit_test(test_crew_too_large),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
