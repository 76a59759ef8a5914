/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a pass can be asked beside its outputs: to begin in a later layer, to keep
 * the inputs of layers, and to tell where its time went.
 */
#include "tiny_model.h"

#include "base/task.h"
#include "engine/engine.h"
#include "tensor/kernel.h"

enum { SEQS = 24, LONGEST = 90, TOKENS = SEQS * LONGEST };

struct sample {
	struct batch b;
	int64_t start[SEQS + 1];
	int32_t ids[TOKENS];
};

/* More tokens than one block of the pass holds. */
static void
sample_fill(struct sample *s, const struct model *m, int nseq)
{
	struct rng r;

	rng_seed(&r, 31);
	s->start[0] = 0;
	for (int i = 0; i < nseq; i++)
		s->start[i + 1] = s->start[i] + 1 + (i * 61 + 7) % LONGEST;
	for (int64_t i = 0; i < s->start[nseq]; i++)
		s->ids[i] = (int32_t)rng_below(&r, (uint64_t)m->hp.vocab);
	s->b = (struct batch){ nseq, s->start, s->ids, NULL };
}

static float *
floats(int64_t n)
{
	float *f = malloc((size_t)n * sizeof(*f));

	assert_non_null(f);
	for (int64_t i = 0; i < n; i++)
		f[i] = NAN;
	return f;
}

static struct tiny
shapes(void)
{
	struct tiny t = tiny_odd;

	t.positions = LONGEST + 3;
	return t;
}

static void
run(struct engine *e, const struct model *m, const struct batch *b,
    struct forward *f)
{
	struct pare_err err;

	if (engine_forward(e, m, b, f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
}

/* ==== beginning later ==== */

/* The outputs of one pass. */
struct outputs {
	int64_t nlogits, nhidden;	/* 0: not asked for */
	float *logits, *hidden;
};

static struct outputs
outputs_new(const struct model *m, const struct batch *b, bool logits,
    bool hidden)
{
	const int64_t n = b->start[b->nseq];
	struct outputs o = { 0 };

	if (hidden)
		o.nhidden = n * m->hp.hidden;
	if (logits)
		o.nlogits = m->hp.head == HEAD_MLM ? n * m->hp.vocab :
		    b->nseq * m->hp.labels;
	o.logits = o.nlogits > 0 ? floats(o.nlogits) : NULL;
	o.hidden = o.nhidden > 0 ? floats(o.nhidden) : NULL;
	return o;
}

static void
outputs_free(struct outputs *o)
{
	free(o->logits);
	free(o->hidden);
}

static void
assert_same(const struct outputs *a, const struct outputs *b)
{
	if (a->logits)
		assert_memory_equal(a->logits, b->logits,
		    (size_t)a->nlogits * sizeof(float));
	if (a->hidden)
		assert_memory_equal(a->hidden, b->hidden,
		    (size_t)a->nhidden * sizeof(float));
}

/* A pass from each layer gives the bits of the pass that kept its input, and
 * keeping changes none. */
static void
check_from(const struct model *m, const struct batch *b, bool logits,
    bool hidden)
{
	const int last = engine_last_whole(m);
	const int64_t n = b->start[b->nseq] * m->hp.hidden;
	struct outputs plain = outputs_new(m, b, logits, hidden);
	struct outputs o = outputs_new(m, b, logits, hidden);
	float *keep[4] = { NULL }, *again[4] = { NULL };
	struct forward f = { .logits = plain.logits, .hidden = plain.hidden };
	struct engine *e = engine_new();

	run(e, m, b, &f);
	for (int l = 0; l <= last; l++) {
		keep[l] = floats(n);
		again[l] = floats(n);
	}
	f = (struct forward){ .logits = o.logits, .hidden = o.hidden,
	    .keep = keep };
	run(e, m, b, &f);
	assert_same(&plain, &o);
	for (int l = 0; l <= last; l++) {
		outputs_free(&o);
		o = outputs_new(m, b, logits, hidden);
		f = (struct forward){ .logits = o.logits, .hidden = o.hidden,
		    .from = l, .input = keep[l], .keep = again };
		run(e, m, b, &f);
		assert_same(&plain, &o);
		for (int k = l; k <= last; k++)
			assert_memory_equal(keep[k], again[k],
			    (size_t)n * sizeof(float));
	}
	for (int l = 0; l <= last; l++) {
		free(keep[l]);
		free(again[l]);
	}
	outputs_free(&plain);
	outputs_free(&o);
	engine_free(e);
}

static void
check_model(const struct tiny *t)
{
	struct model *m = tiny_model(t);
	struct sample s;

	for (int nseq = 1; nseq <= SEQS; nseq += SEQS - 1) {
		sample_fill(&s, m, nseq);
		if (m->hp.head != HEAD_NONE) {
			check_from(m, &s.b, true, false);
			check_from(m, &s.b, true, true);
		}
		check_from(m, &s.b, false, true);
	}
	model_unref(m);
}

static void
test_from(void **state)
{
	static const enum head_kind heads[] = { HEAD_CLASSIFY, HEAD_MLM,
	    HEAD_NONE };
	struct tiny t = shapes();

	for (int i = 0; i < 3; i++) {
		t.head = heads[i];
		t.flags = 0;
		check_model(&t);
		t.flags = ARCH_PRE_NORM | ARCH_CAUSAL | ARCH_GATED;
		check_model(&t);
	}
	t = shapes();
	t.type = "albert";
	t.embed = 12;
	t.tied = true;
	check_model(&t);
}

static void
test_last_whole(void **state)
{
	struct tiny t = shapes();
	struct model *m = tiny_model(&t);

	assert_int_equal(engine_last_whole(m), 3);
	model_unref(m);
	t.layer[3].heads = t.layer[3].kv_heads = 0;
	m = tiny_model(&t);
	assert_int_equal(engine_last_whole(m), 2);
	model_unref(m);
	check_model(&t);
	t.head = HEAD_MLM;
	m = tiny_model(&t);
	assert_int_equal(engine_last_whole(m), 3);
	model_unref(m);
	t.head = HEAD_CLASSIFY;
	for (int l = 0; l < 4; l++)
		t.layer[l].heads = t.layer[l].kv_heads = 0;
	m = tiny_model(&t);
	assert_int_equal(engine_last_whole(m), 0);
	model_unref(m);
}

/* Only what the pass came by is kept, and only where it was asked for. */
static void
test_keep_some(void **state)
{
	struct tiny t = shapes();
	struct model *m = tiny_model(&t);
	struct engine *e = engine_new();
	float logits[3 * 2], *keep[4] = { NULL }, *x;
	struct forward f = { .logits = logits, .keep = keep };
	struct sample s;
	int64_t n;

	sample_fill(&s, m, 2);
	n = s.start[2] * m->hp.hidden;
	x = keep[2] = floats(n);
	run(e, m, &s.b, &f);
	for (int64_t i = 0; i < n; i++)
		assert_false(isnan(x[i]));
	keep[2] = floats(n);
	keep[1] = floats(n);
	f.from = 2;
	f.input = x;
	run(e, m, &s.b, &f);
	assert_memory_equal(x, keep[2], (size_t)n * sizeof(float));
	for (int64_t i = 0; i < n; i++)
		assert_true(isnan(keep[1][i]));
	free(x);
	free(keep[1]);
	free(keep[2]);
	engine_free(e);
	model_unref(m);
}

static void
check_refused(const struct model *m, const struct batch *b, struct forward *f,
    const char *words)
{
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	assert_int_equal(engine_forward(e, m, b, f, &err), PARE_EUSER);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" lacks \"%s\"", err.msg, words);
	engine_free(e);
}

static void
test_refused(void **state)
{
	struct tiny t = shapes();
	struct model *m;
	struct sample s;
	float logits[3], *x;
	struct forward f = { .logits = logits, .from = 1 };

	t.layer[3].heads = t.layer[3].kv_heads = 0;
	m = tiny_model(&t);
	sample_fill(&s, m, 1);
	x = floats(s.start[1] * m->hp.hidden);
	memset(x, 0, (size_t)(s.start[1] * m->hp.hidden) * sizeof(*x));
	check_refused(m, &s.b, &f, "L1");
	f.input = x;
	f.from = 3;
	check_refused(m, &s.b, &f, "0 to 2");
	f.from = -1;
	check_refused(m, &s.b, &f, "0 to 2");
	f.from = 2;
	f.attention = x;
	f.attention_layer = 0;
	check_refused(m, &s.b, &f, "begins in L2");
	free(x);
	model_unref(m);
}

/* ==== times ==== */

static double
sum_of(const struct engine_times *t, int from, int end)
{
	double sum = 0;

	for (int l = from; l < end; l++)
		for (int k = 0; k < ENGINE_PARTS; k++) {
			assert_true(t->layer[l][k] >= 0);
			sum += t->layer[l][k];
		}
	return sum;
}

/* No clock is asked to be fast or even; but parts are disjoint pieces of the
 * whole, what does not run takes nothing, and the second pass adds. */
static void
check_times(const struct tiny *shape)
{
	struct model *m = tiny_model(shape);
	struct engine *e = engine_new();
	double layer[4][ENGINE_PARTS] = { { 0 } }, begin, whole, once;
	struct engine_times t = { .layer = layer };
	float logits[SEQS * 3], *keep[4] = { NULL }, *x;
	struct forward f = { .logits = logits, .times = &t, .keep = keep };
	struct sample s;

	sample_fill(&s, m, SEQS);
	keep[2] = x = floats(s.start[SEQS] * m->hp.hidden);
	begin = task_now();
	run(e, m, &s.b, &f);
	whole = task_now() - begin;
	once = t.embed + t.head + sum_of(&t, 0, 4);
	assert_true(t.embed > 0 && t.head > 0);
	assert_true(layer[0][ENGINE_ATTENTION] > 0 &&
	    layer[0][ENGINE_FFN] > 0 && layer[0][ENGINE_NORM] > 0);
	assert_true(once <= whole * (1 + 1e-9) + 1e-9);

	memset(layer, 0, sizeof(layer));
	t.embed = t.head = 0;
	f = (struct forward){ .logits = logits, .times = &t, .from = 2,
	    .input = x };
	begin = task_now();
	run(e, m, &s.b, &f);
	whole = task_now() - begin;
	assert_true(sum_of(&t, 0, 2) == 0);
	once = t.embed + t.head + sum_of(&t, 2, 4);
	assert_true(once <= whole * (1 + 1e-9) + 1e-9);
	run(e, m, &s.b, &f);
	assert_true(t.embed + t.head + sum_of(&t, 2, 4) > once);
	free(x);
	engine_free(e);
	model_unref(m);
}

static void
test_times(void **state)
{
	struct tiny t = shapes();

	check_times(&t);
	t.flags = ARCH_PRE_NORM | ARCH_GATED;
	check_times(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from),
		cmocka_unit_test(test_last_whole),
		cmocka_unit_test(test_keep_some),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
