/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Evaluation of language models: windows and hidden tokens of sample sets,
 * results against one forward pass a sample in double precision, divergence, and
 * the perplexities that llama.cpp publishes for real models.
 */
#include "made_data.h"
#include "tiny_dir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "measure/evaluate.h"
#include "measure/reference.h"
#include "measure/stats.h"
#include "session/session.h"
#include "tensor/kernel.h"
#include "text/dataset.h"
#include "text/tokenizer.h"

enum { SAMPLES = 60, MASK = 1 };

static const struct sample_model *
model_named(const char *name)
{
	for (size_t i = 0; i < sizeof(sample_models) / sizeof(*sample_models);
	    i++)
		if (strcmp(sample_models[i].name, name) == 0)
			return &sample_models[i];
	fail_msg("no sample is named %s", name);
	return NULL;
}

/* ---- hand-made sets ---- */

/* Asks for every token but the first of each sample, or hides every third. */
static struct dataset *
asked_data(bool masked)
{
	struct dataset *d = made_data(SAMPLES);

	d->is_text = !masked;
	d->cut.custom = masked ? CUT_MASKED : CUT_STRIDE;
	d->mask = MASK;
	for (int64_t i = 0; i < d->n; i++) {
		struct sample *s = &d->sample[i];

		s->label = -1;
		s->scored = xcalloc((size_t)s->tokens.n, sizeof(*s->scored));
		for (int k = masked ? 0 : 1; k < s->tokens.n;
		    k += masked ? 3 : 1)
			s->scored[s->nscored++] = k;
		s->scored_at = d->nscored;
		s->scored_bytes = 3 * s->nscored;
		d->nscored += s->nscored;
	}
	return d;
}

static void
asked_free(struct dataset *d)
{
	for (int64_t i = 0; i < d->n; i++)
		free(d->sample[i].scored);
	made_data_free(d);
}

static void
run(struct evaluator *e, const struct model *m, const struct dataset *d,
    const struct model *original, enum metric metric, struct evaluation *v)
{
	struct evaluate_options o = { .metric = metric, .original = original };
	struct pare_err err = { 0 };

	if (evaluate_run(e, m, d, &o, v, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
}

/* Logits of all tokens of a sample as it is asked; owned by the caller. */
static float *
forward_one(const struct model *m, const struct dataset *d,
    const struct sample *s)
{
	size_t n = (size_t)s->tokens.n;
	int64_t start[] = { 0, s->tokens.n };
	int32_t *ids = xmalloc(n * sizeof(*ids));
	struct batch b = { .nseq = 1, .start = start, .ids = ids };
	struct forward f = { 0 };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	memcpy(ids, s->tokens.id, n * sizeof(*ids));
	for (int k = 0; d->cut.custom == CUT_MASKED && k < s->nscored; k++)
		ids[s->scored[k]] = d->mask;
	if (m->hp.types > 0)
		b.types = s->tokens.type;
	f.logits = xmalloc(n * (size_t)m->hp.vocab * sizeof(float));
	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
	free(ids);
	return f.logits;
}

/* The logits that tell scored token k of a sample. */
static const float *
row_of(const float *all, const struct model *m, const struct sample *s, int k)
{
	return all + (s->scored[k] - (m->hp.head == HEAD_LM)) * m->hp.vocab;
}

static double
log_sum(const float *x, int64_t n)
{
	double top = x[0], sum = 0;

	for (int64_t i = 1; i < n; i++)
		top = fmax(top, x[i]);
	for (int64_t i = 0; i < n; i++)
		sum += exp(x[i] - top);
	return top + log(sum);
}

static double
divergence(const float *p, const float *q, int64_t n)
{
	double lp = log_sum(p, n), lq = log_sum(q, n), sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += exp(p[i] - lp) * (p[i] - lp - q[i] + lq);
	return sum;
}

/* Every number of a result from passes of single samples. */
static void
check_tokens(const struct model *m, const struct dataset *d,
    const struct evaluation *v)
{
	double lost = 0;
	int64_t right = 0;

	assert_int_equal(v->total, d->nscored);
	assert_int_equal(v->n, d->nscored);
	assert_int_equal(v->windows, d->n);
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];
		float *all = forward_one(m, d, s);

		for (int k = 0; k < s->nscored; k++) {
			const float *x = row_of(all, m, s, k);
			int32_t gold = s->tokens.id[s->scored[k]];
			int64_t t = s->scored_at + k;
			double want = x[gold] - log_sum(x, m->hp.vocab);

			assert_int_equal(v->gold[t], gold);
			if (fabs(v->logits[t] - want) > 1e-4)
				fail_msg("token %d: %g, not %g", (int)t,
				    (double)v->logits[t], want);
			right += v->predicted[t] == gold;
			lost -= want;
		}
		free(all);
	}
	lost /= (double)d->nscored;
	assert_true(fabs(v->loss - lost) < 1e-5);
	assert_true(fabs(v->all[METRIC_PERPLEXITY] / exp(lost) - 1) < 1e-4);
	assert_true(fabs(v->all[METRIC_BITS] - lost / M_LN2 / 3) < 1e-5);
	assert_true(v->all[METRIC_ACCURACY] == (double)right /
	    (double)d->nscored);
	assert_true(isnan(v->all[METRIC_F1]) &&
	    isnan(v->all[METRIC_PEARSON]));
}

static void
check_model(const char *name, bool masked)
{
	struct model *m = sample_real(model_named(name));
	struct dataset *d = asked_data(masked);
	struct evaluator *e = evaluator_new();
	struct evaluation v, again;

	assert_true(evaluate_can(m, d));
	run(e, m, d, NULL, METRIC_COUNT, &v);
	assert_int_equal(v.metric, masked ? METRIC_ACCURACY :
	    METRIC_PERPLEXITY);
	assert_true(v.low < v.value && v.value < v.high);
	check_tokens(m, d, &v);
	/* The same bits on other threads. */
	kernel_set_threads(3);
	run(e, m, d, NULL, METRIC_COUNT, &again);
	kernel_set_threads(0);
	assert_memory_equal(v.logits, again.logits, (size_t)v.total *
	    sizeof(*v.logits));
	assert_true(v.value == again.value && v.low == again.low);
	evaluation_free(&again);
	evaluation_free(&v);
	evaluator_free(e);
	asked_free(d);
	model_unref(m);
}

static void
test_causal(void **state)
{
	check_model("llama", false);
	check_model("gpt2", false);
}

static void
test_masked(void **state)
{
	check_model("bert masked-LM", true);
}

static void
test_divergence(void **state)
{
	struct model *m = sample_real(model_named("llama"));
	struct model *q = sample_do(m, "quantize all bits=4 group=row");
	struct dataset *d = asked_data(false);
	struct evaluator *e = evaluator_new();
	struct evaluation v, self;
	double mean = 0, same = 0;

	/* The original runs by itself, and is kept. */
	assert_false(evaluator_keeps(e, m, d));
	run(e, q, d, m, METRIC_COUNT, &v);
	assert_true(evaluator_keeps(e, m, d));
	assert_true(v.divergence.reference == model_hash(m));
	assert_int_equal(v.divergence.kept, m->hp.vocab);
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];
		float *a = forward_one(m, d, s), *b = forward_one(q, d, s);

		for (int k = 0; k < s->nscored; k++) {
			int64_t t = s->scored_at + k;
			double want = divergence(row_of(a, m, s, k),
			    row_of(b, q, s, k), m->hp.vocab);

			if (fabs(v.kl[t] - want) > 1e-4 + 1e-3 * want)
				fail_msg("token %d: %g, not %g", (int)t,
				    (double)v.kl[t], want);
			mean += want;
			same += v.same[t];
		}
		free(a);
		free(b);
	}
	assert_true(mean > 0);
	assert_true(fabs(v.divergence.mean * (double)d->nscored / mean - 1) <
	    1e-3);
	assert_true(v.divergence.same == same / (double)d->nscored);
	assert_true(v.divergence.median <= v.divergence.p99 &&
	    v.divergence.p99 <= v.divergence.max);
	assert_true(v.divergence.low <= v.divergence.mean &&
	    v.divergence.mean <= v.divergence.high);
	/* Of an equal model there is next to none; the original has none. */
	run(e, m, d, m, METRIC_COUNT, &self);
	assert_true(self.divergence.reference == 0 && self.kl == NULL);
	evaluation_free(&self);
	evaluation_free(&v);
	evaluator_free(e);
	asked_free(d);
	model_unref(q);
	model_unref(m);
}

/* What is kept of a distribution, all of it and in part. */
static void
test_reference(void **state)
{
	enum { VOCAB = 300 };
	float p[VOCAB], q[VOCAB], work[2 * VOCAB];
	struct reference *all = reference_new(2, VOCAB);
	struct reference *part = reference_make(2, VOCAB, 40);
	double lp, lq, want, some;
	struct rng r;

	rng_seed(&r, 3);
	assert_int_equal(all->keep, VOCAB);
	assert_null(all->id);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < VOCAB; i++) {
			p[i] = 3 * rng_normal(&r);
			q[i] = p[i] + 0.3f * rng_normal(&r);
		}
		lp = log_sum(p, VOCAB);
		lq = log_sum(q, VOCAB);
		want = divergence(p, q, VOCAB);
		reference_put(all, 1, p, lp);
		reference_put(part, 1, p, lp);
		some = reference_divergence(all, 1, q, lq, work);
		assert_true(fabs(some - want) < 1e-4);
		assert_true(reference_divergence(all, 1, p, lp, work) < 1e-6);
		assert_true(reference_divergence(part, 1, p, lp, work) < 1e-6);
		/* Less is known, so less is told, but most of it. */
		some = reference_divergence(part, 1, q, lq, work);
		assert_true(some < want + 1e-4 && some > 0.5 * want);
	}
	reference_free(all);
	reference_free(part);
	/* Logits that leave all but one out. */
	all = reference_new(1, VOCAB);
	for (int i = 0; i < VOCAB; i++)
		p[i] = i == 7 ? 0 : -1e30f;
	reference_put(all, 0, p, 0);
	assert_true(reference_divergence(all, 0, p, 0, work) < 1e-6 ||
	    isfinite(reference_divergence(all, 0, p, 0, work)));
	assert_int_equal(all->best[0], 7);
	reference_free(all);
}

struct seen {
	int64_t calls, n;
	double value;
};

static void
watch(const struct evaluation_partial *p, void *ctx)
{
	struct seen *s = ctx;
	int64_t n = 0, right = 0;

	for (int64_t t = 0; t < p->total; t++) {
		n += p->ran[t];
		right += p->ran[t] && p->predicted[t] == p->gold[t];
	}
	assert_int_equal(n, p->n);
	assert_true(p->n > s->n);
	assert_true(p->value == (double)right / (double)n);
	s->n = p->n;
	s->value = p->value;
	s->calls++;
}

static void
test_progress(void **state)
{
	struct model *m = sample_real(model_named("llama"));
	struct dataset *d = asked_data(false);
	struct evaluator *e = evaluator_new();
	struct seen seen = { 0 };
	struct evaluate_options o = { .metric = METRIC_ACCURACY,
		.watch = watch, .ctx = &seen, .fresh = true };
	struct evaluation v, part, other;
	struct comparison c;
	struct pare_err err = { 0 };

	assert_int_equal(evaluate_run(e, m, d, &o, &v, NULL, &err), PARE_OK);
	assert_true(seen.calls > 2 && seen.n == d->nscored &&
	    seen.value == v.value);
	/* Another metric of the same result. */
	assert_int_equal(evaluation_rescore(&v, m, d, METRIC_BITS, &other,
	    &err), PARE_OK);
	assert_true(other.value == v.all[METRIC_BITS]);
	evaluation_free(&other);
	/* A wide interval is enough: not all windows run. */
	o = (struct evaluate_options){ .metric = METRIC_PERPLEXITY,
		.stop = STOP_CI, .half_width = 0.9, .fresh = true };
	assert_int_equal(evaluate_run(e, m, d, &o, &part, NULL, &err),
	    PARE_OK);
	assert_true(part.partial && part.n < v.n);
	assert_true(part.high - part.low <= 1.8 * part.value);
	for (int64_t t = 0; t < v.total; t++)
		assert_true(part.logits[t] == (part.ran[t] ? v.logits[t] : 0));
	/* Over the windows that ran the two are the same. */
	evaluation_compare(&v, &part, &c);
	assert_true(c.ratio == 1 && c.delta == 0 && c.changed == 0);
	evaluation_free(&part);
	o.stop = STOP_DECIDED;
	o.against = &v;
	assert_int_equal(evaluate_run(e, m, d, &o, &part, NULL, &err),
	    PARE_EUSER);
	evaluation_free(&v);
	evaluator_free(e);
	asked_free(d);
	model_unref(m);
}

static void
test_compare(void **state)
{
	struct model *m = sample_real(model_named("llama"));
	struct model *q = sample_do(m, "quantize all bits=2 group=row");
	struct dataset *d = asked_data(false);
	struct evaluator *e = evaluator_new();
	struct evaluation a, b;
	struct comparison c;

	for (int k = 0; k < METRIC_COUNT; k++) {
		if (!metric_fits((enum metric)k, HEAD_LM))
			continue;
		run(e, m, d, m, (enum metric)k, &a);
		run(e, q, d, m, (enum metric)k, &b);
		evaluation_compare(&a, &b, &c);
		assert_true(fabs(c.delta - (b.value - a.value)) < 1e-9 *
		    (1 + fabs(a.value)));
		assert_true(fabs(c.ratio - b.all[METRIC_PERPLEXITY] /
		    a.all[METRIC_PERPLEXITY]) < 1e-9 * c.ratio);
		assert_true(c.ratio_low < c.ratio && c.ratio < c.ratio_high);
		assert_true((c.ratio_p < 0.05) == (c.ratio_low > 1 ||
		    c.ratio_high < 1));
		assert_int_equal(strncmp(c.verdict, c.ratio_p >= 0.05 ?
		    "within" : c.ratio > 1 ? "worse" : "better", 5), 0);
		assert_true(c.changed > 0 && c.fixed + c.broke <= c.changed);
		evaluation_free(&a);
		evaluation_free(&b);
	}
	evaluator_free(e);
	asked_free(d);
	model_unref(q);
	model_unref(m);
}

static void
test_student(void **state)
{
	/* Tables of Student's t. */
	static const double t95[][2] = { { 1, 12.7062 }, { 2, 4.3027 },
		{ 5, 2.5706 }, { 10, 2.2281 }, { 30, 2.0423 },
		{ 1000, 1.9623 } };
	const double y[] = { 1, 3, 5, 6 }, x[] = { 1, 2, 3, 4 };
	struct stats_ratio r;
	double e2 = 0, half;

	for (size_t i = 0; i < sizeof(t95) / sizeof(*t95); i++) {
		assert_true(fabs(stats_student95(t95[i][0]) - t95[i][1]) <
		    1e-4);
		assert_true(fabs(stats_student(t95[i][1], t95[i][0]) - 0.05) <
		    1e-5);
	}
	assert_true(fabs(stats_student(1, 1) - 0.5) < 1e-12);
	r = stats_ratio(y, x, 4);
	assert_true(r.value == 1.5);
	for (int i = 0; i < 4; i++)
		e2 += (y[i] - 1.5 * x[i]) * (y[i] - 1.5 * x[i]);
	half = stats_student95(3) * sqrt(e2 * 4 / 3) / 10;
	assert_true(fabs(r.high - 1.5 - half) < 1e-12 &&
	    fabs(1.5 - r.low - half) < 1e-12);
	r = stats_ratio(y, x, 1);
	assert_true(r.value == 1 && isnan(r.low) && isnan(r.p));
	assert_true(isnan(stats_ratio(y, x, 0).value));
}

/* ---- cutting ---- */

static const char words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n"
    "e\nf\ng\nh\n";

static struct tokenizer *
make_tokenizer(void)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_parse("vocab.txt", words,
	    sizeof(words) - 1, true, &err);

	if (t == NULL)
		fail_msg("%s", err.msg);
	return t;
}

static struct dataset *
read_text(const char *name, const char *text, size_t n,
    const struct tokenizer *t, int max, bool is_text)
{
	struct dataset_options o = { .is_text = is_text };
	struct pare_err err = { 0 };
	struct dataset *d = dataset_parse(name, text, n, &o, NULL, &err);

	if (d == NULL || dataset_encode(d, t, max, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return d;
}

/* How often each token of the first document is scored. */
static void
count_scored(const struct dataset *d, int *count)
{
	int64_t at = 0, numbered = 0;

	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];

		assert_int_equal(s->scored_at, numbered);
		numbered += s->nscored;
		for (int k = 0; k < s->nscored; k++) {
			assert_true(s->scored[k] >= 1 &&
			    s->scored[k] < s->tokens.n);
			count[at + s->scored[k]]++;
		}
		at += d->cut.stride;
	}
	assert_int_equal(numbered, d->nscored);
}

static void
test_stride(void **state)
{
	struct tokenizer *t = make_tokenizer();
	struct str text = STR_INIT;
	struct dataset *d;
	struct pare_err err = { 0 };

	for (int i = 0; i < 101; i++)
		str_addf(&text, "%c ", 'a' + i % 8);
	d = read_text("text", text.s, text.n, t, 64, true);
	assert_true(d->is_text && d->ndocs == 1);
	for (int context = 2; context <= 40; context += 3)
		for (int stride = 1; stride < context; stride += 2) {
			struct dataset_cut how = { CUT_STRIDE, context,
				stride, 64, 0 };
			int count[256] = { 0 }, n = d->doc->tokens.n;

			assert_int_equal(dataset_cut(d, t, &how, &err),
			    PARE_OK);
			count_scored(d, count);
			assert_int_equal(d->nscored, n - 1);
			for (int i = 0; i < n; i++)
				assert_int_equal(count[i], i > 0);
		}
	dataset_free(d);
	tokenizer_free(t);
	str_free(&text);
}

static void
test_chunks(void **state)
{
	struct tokenizer *t = make_tokenizer();
	struct dataset_cut how = { CUT_CHUNKS, 8, 0, 64, 0 };
	struct str text = STR_INIT;
	struct dataset *d;
	struct pare_err err = { 0 };
	uint64_t hash;

	for (int i = 0; i < 100; i++)
		str_addf(&text, "%c ", 'a' + i % 8);
	d = read_text("story.txt", text.s, text.n, t, 64, true);
	assert_int_equal(dataset_cut(d, t, &how, &err), PARE_OK);
	assert_int_equal(d->n, d->doc->tokens.n / 8);
	hash = d->hash;
	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];

		assert_int_equal(s->tokens.n, 8);
		assert_int_equal(s->nscored, 3);
		assert_int_equal(s->scored[0], 5);
		assert_memory_equal(s->tokens.id, d->doc->tokens.id + 8 * i,
		    8 * sizeof(*s->tokens.id));
	}
	/* By itself: 100 tokens and two marks make 8 windows of 8, but at
	 * least 16 tokens are a window. */
	how.context = 0;
	assert_int_equal(dataset_cut(d, t, &how, &err), PARE_OK);
	assert_int_equal(d->cut.context, 16);
	assert_true(d->hash != hash);
	/* What cannot be leaves the set as it is. */
	how.context = 128;
	hash = d->hash;
	assert_int_equal(dataset_cut(d, t, &how, &err), PARE_EUSER);
	how = (struct dataset_cut){ CUT_STRIDE, 8, 9, 64, 0 };
	assert_int_equal(dataset_cut(d, t, &how, &err), PARE_EUSER);
	how = (struct dataset_cut){ CUT_CHUNKS, 512, 0, 1024, 0 };
	assert_int_equal(dataset_cut(d, t, &how, &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "at least 512"));
	how = (struct dataset_cut){ CUT_MASKED, 0, 0, 64, 0 };
	assert_int_equal(dataset_cut(d, t, &how, &err), PARE_EUSER);
	assert_true(d->hash == hash && d->cut.context == 16);
	dataset_free(d);
	tokenizer_free(t);
	str_free(&text);
}

static void
test_documents(void **state)
{
	static const char rows[] = "text\tlabel\na b c d\t1\ne f\t0\n";
	static const char odd[] = "a \xff\xfe b\0c\td e\n";
	struct tokenizer *t = make_tokenizer();
	struct dataset_options o = { .is_text = true };
	struct pare_err err = { 0 };
	struct dataset *d = read_text("x.tsv", rows, sizeof(rows) - 1, t, 64,
	    true);

	/* Rows are documents; no window crosses them. */
	assert_int_equal(d->ndocs, 2);
	assert_int_equal(d->n, 2);
	assert_int_equal(d->sample[0].tokens.n, 6);
	assert_int_equal(d->sample[1].line, 3);
	dataset_free(d);
	/* The same bytes under another name are one text. */
	d = read_text("x.text", rows, sizeof(rows) - 1, t, 64, true);
	assert_int_equal(d->ndocs, 1);
	dataset_free(d);
	/* Bytes that are no text are counted, and nothing breaks. */
	d = read_text("x", odd, sizeof(odd) - 1, t, 64, true);
	assert_true(d->bad_bytes >= 2);
	assert_int_equal(d->ndocs, 1);
	assert_int_equal(d->n, 1);
	dataset_free(d);
	assert_null(dataset_parse("x", "", 0, &o, NULL, &err));
	assert_int_equal(err.rc, PARE_EFORMAT);
	/* Drawn windows. */
	o.limit = 3;
	o.seed = 1;
	d = dataset_parse("x", "a b c d e f g h a b c d e f g h a b c d e f g",
	    45, &o, NULL, &err);
	assert_int_equal(dataset_encode(d, t, 4, NULL, &err), PARE_OK);
	assert_int_equal(d->n, 3);
	dataset_free(d);
	tokenizer_free(t);
}

static void
test_hidden(void **state)
{
	struct tokenizer *t = make_tokenizer();
	struct dataset_cut how = { CUT_MASKED, 0, 0, 64, 5 };
	struct str text = STR_INIT;
	struct dataset *d, *e;
	struct pare_err err = { 0 };
	int64_t other = 0;

	for (int i = 0; i < 50; i++) {
		for (int k = 0; k <= i; k++)
			str_addf(&text, "%c ", 'a' + (i * k) % 8);
		str_add(&text, "\n");
	}
	d = read_text("x.txt", text.s, text.n, t, 64, false);
	e = read_text("x.txt", text.s, text.n, t, 64, false);
	assert_int_equal(d->n, 50);
	assert_int_equal(dataset_cut(d, t, &how, &err), PARE_OK);
	how.seed = 6;
	assert_int_equal(dataset_cut(e, t, &how, &err), PARE_OK);
	assert_int_equal(d->mask, 4);
	assert_true(d->hash != e->hash);
	for (int i = 0; i < 50; i++) {
		const struct sample *s = &d->sample[i];
		int want = ((i + 1) * 15 + 50) / 100;

		assert_int_equal(s->nscored, want > 0 ? want : 1);
		for (int k = 0; k < s->nscored; k++) {
			/* Marks are never hidden. */
			assert_true(s->scored[k] >= 1 &&
			    s->scored[k] <= i + 1);
			assert_true(k == 0 || s->scored[k] > s->scored[k - 1]);
			other += s->scored[k] != e->sample[i].scored[k];
		}
	}
	assert_true(other > 0);
	how.seed = 5;
	assert_int_equal(dataset_cut(e, t, &how, &err), PARE_OK);
	assert_true(d->hash == e->hash);
	dataset_free(d);
	dataset_free(e);
	tokenizer_free(t);
	str_free(&text);
}

/* ---- commands ---- */

static char *home;

/* A text of the letters that tiny models know, and a session with one. */
static struct session *
open_tiny(const char *type, const char *suffix)
{
	struct str text = STR_INIT, line = STR_INIT;
	struct session *s;
	struct result r;
	char *dir;

	home = tiny_root();
	setenv("XDG_STATE_HOME", home, 1);
	dir = tiny_model_dir(home, type, suffix, "F32");
	for (int i = 0; i < 300; i++)
		str_addf(&text, "%c%s", 'a' + (i * i + i / 7) % 25,
		    i % 12 == 11 ? "\n" : " ");
	tiny_put(home, "story.txt", text.s, text.n);
	s = session_new();
	str_addf(&line, "open %s", dir);
	if (session_run(s, line.s, NULL, &r) != PARE_OK)
		fail_msg("%s", json_dumps(r.doc, 0));
	result_free(&r);
	str_clear(&line);
	str_addf(&line, "data %s/story.txt", home);
	if (session_run(s, line.s, NULL, &r) != PARE_OK)
		fail_msg("%s", json_dumps(r.doc, 0));
	result_free(&r);
	str_free(&line);
	str_free(&text);
	free(dir);
	return s;
}

static void
close_tiny(struct session *s)
{
	session_free(s);
	tiny_root_free(home);
	home = NULL;
}

/* The document of a line that must work; the caller's. */
static json_t *
doc_of(struct session *s, const char *line)
{
	struct result r;
	json_t *doc;

	if (session_run(s, line, NULL, &r) != PARE_OK)
		fail_msg("%s: %s", line, json_dumps(r.doc, 0));
	doc = json_incref(r.doc);
	result_free(&r);
	return doc;
}

static void
refuse_line(struct session *s, const char *line, const char *word)
{
	struct result r;
	const char *message;

	if (session_run(s, line, NULL, &r) == PARE_OK)
		fail_msg("%s works", line);
	message = json_string_value(json_object_get(json_object_get(r.doc,
	    "error"), "message"));
	if (message == NULL || strstr(message, word) == NULL)
		fail_msg("%s: %s", line, message);
	result_free(&r);
}

static double
real_of(const json_t *doc, const char *key)
{
	const json_t *v = json_object_get(doc, key);

	if (!json_is_number(v))
		fail_msg("no number %s in %s", key, json_dumps(doc, 0));
	return json_number_value(v);
}

static const char *
text_of(const json_t *doc, const char *key)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s != NULL ? s : "";
}

static void
test_commands(void **state)
{
	struct session *s = open_tiny("llama", "ForCausalLM");
	json_t *a, *b, *c;
	double chunks, stride;

	assert_true(s->data[ROLE_EVAL]->is_text);
	assert_int_equal(s->data[ROLE_EVAL]->cut.custom, CUT_CHUNKS);
	a = doc_of(s, "eval");
	assert_string_equal(text_of(a, "metric"), "perplexity");
	assert_string_equal(text_of(a, "custom"), "chunks");
	assert_true(real_of(a, "context") == 16);
	assert_null(json_object_get(a, "divergence"));
	chunks = real_of(a, "value");
	json_decref(a);
	a = doc_of(s, "eval custom=stride context=8");
	assert_true(real_of(a, "stride") == 4);
	assert_true(real_of(a, "n") == s->data[ROLE_EVAL]->doc->tokens.n - 1);
	stride = real_of(a, "value");
	assert_true(stride != chunks);
	json_decref(a);
	/* It stays, and is recalled. */
	a = doc_of(s, "eval");
	assert_true(real_of(a, "value") == stride);
	assert_true(json_is_true(json_object_get(a, "cached")));
	json_decref(a);
	refuse_line(s, "eval context=17", "at most 16");
	refuse_line(s, "eval context=8 stride=9", "leave out");
	refuse_line(s, "eval custom=chunks stride=4", "no stride");
	refuse_line(s, "eval metric=f1", "f1");
	refuse_line(s, "eval stop=decided fresh=on", "compared with itself");
	a = doc_of(s, "eval");
	assert_true(real_of(a, "value") == stride);
	json_decref(a);
	/* A change, against the original. */
	json_decref(doc_of(s, "prune heads target=L1.h0"));
	refuse_line(s, "eval stop=decided fresh=on", "decide");
	a = doc_of(s, "eval");
	b = json_object_get(a, "divergence");
	c = json_object_get(a, "ratio");
	assert_true(real_of(b, "mean") > 0 && real_of(b, "same_top") <= 1);
	assert_true(real_of(b, "kept") == 30 && real_of(b, "vocab") == 30);
	assert_true(fabs(real_of(c, "value") - real_of(a, "value") / stride) <
	    1e-9);
	assert_true(real_of(a, "changed") >= real_of(a, "fixed") +
	    real_of(a, "broke"));
	b = doc_of(s, "eval metric=bits_per_byte");
	assert_true(json_is_true(json_object_get(b, "cached")));
	assert_true(fabs(real_of(b, "value") - real_of(json_object_get(a,
	    "metrics"), "bits_per_byte")) < 1e-12);
	assert_true(real_of(json_object_get(b, "divergence"), "mean") ==
	    real_of(json_object_get(a, "divergence"), "mean"));
	json_decref(b);
	json_decref(doc_of(s, "expect perplexity > 1"));
	json_decref(doc_of(s, "expect divergence > 0"));
	json_decref(doc_of(s, "expect same_top <= 1"));
	json_decref(doc_of(s, "expect ratio > 0"));
	b = doc_of(s, "compare flips=100000");
	assert_true((double)json_array_size(json_object_get(b, "flips")) ==
	    real_of(a, "changed"));
	json_decref(b);
	json_decref(a);
	close_tiny(s);
}

/* What a later sitting reads back is what was measured. */
static void
test_remembered(void **state)
{
	struct session *s = open_tiny("llama", "ForCausalLM");
	json_t *a, *b;
	char line[4096];

	json_decref(doc_of(s, "prune heads target=L1.h0"));
	a = doc_of(s, "eval");
	session_free(s);
	s = session_new();
	snprintf(line, sizeof(line), "open %s/llama", home);
	json_decref(doc_of(s, line));
	snprintf(line, sizeof(line), "data %s/story.txt", home);
	json_decref(doc_of(s, line));
	json_decref(doc_of(s, "prune heads target=L1.h0"));
	b = doc_of(s, "eval");
	assert_true(json_is_true(json_object_get(b, "cached")));
	json_object_del(a, "cached");
	json_object_del(b, "cached");
	json_object_del(a, "warnings");
	json_object_del(b, "warnings");
	if (!json_equal(a, b))
		fail_msg("%s\n%s", json_dumps(a, 0), json_dumps(b, 0));
	json_decref(a);
	json_decref(b);
	close_tiny(s);
}

static void
check_masked(const char *type)
{
	struct session *s = open_tiny(type, "ForMaskedLM");
	json_t *a, *next;

	a = doc_of(s, "eval");
	assert_string_equal(text_of(a, "metric"), "accuracy");
	assert_string_equal(text_of(a, "custom"), "masked");
	assert_true(real_of(a, "n") == 25 * 2);
	assert_true(real_of(json_object_get(a, "metrics"), "perplexity") > 1);
	json_decref(a);
	refuse_line(s, "eval custom=stride", "causal");
	json_decref(doc_of(s, "prune heads target=L1.h0"));
	a = doc_of(s, "eval");
	assert_true(real_of(json_object_get(a, "divergence"), "mean") > 0);
	json_decref(a);
	a = doc_of(s, "predict text='a b [MASK] d [MASK]' top=3");
	next = json_object_get(json_array_get(json_object_get(a, "rows"), 0),
	    "next");
	assert_int_equal(json_array_size(next), 2);
	assert_true(real_of(json_array_get(next, 0), "position") == 3);
	assert_true(real_of(json_array_get(next, 1), "position") == 5);
	json_decref(a);
	refuse_line(s, "predict text='a b' what=next", "masked");
	close_tiny(s);
}

static void
test_masked_commands(void **state)
{
	check_masked("bert");
	check_masked("albert");
	check_masked("roberta");
	check_masked("distilbert");
}

/* The likeliest next tokens are those of the logits. */
static void
test_predict(void **state)
{
	struct session *s = open_tiny("llama", "ForCausalLM");
	json_t *a = doc_of(s, "predict ids=2,7,9,3 top=30");
	json_t *b = doc_of(s, "predict ids=2,7,9,3 what=logits"), *one;
	const json_t *place = json_array_get(json_object_get(json_array_get(
	    json_object_get(a, "rows"), 0), "next"), 0);
	const json_t *logits = json_array_get(json_object_get(json_array_get(
	    json_object_get(b, "rows"), 0), "logits"), 3);
	double sum = 0, last = 1, mass = 0;
	size_t i;

	assert_string_equal(text_of(a, "what"), "next");
	assert_true(real_of(place, "position") == 4);
	for (i = 0; i < 30; i++)
		sum += exp(json_number_value(json_array_get(logits, i)));
	json_array_foreach(json_object_get(place, "tokens"), i, one) {
		double p = real_of(one, "probability");

		assert_true(fabs(p - exp(json_number_value(json_array_get(
		    logits, (size_t)real_of(one, "id")))) / sum) < 1e-6);
		assert_true(p <= last);
		last = p;
		mass += p;
	}
	assert_int_equal(i, 30);
	assert_true(fabs(mass - 1) < 1e-6);
	json_decref(a);
	json_decref(b);
	a = doc_of(s, "predict top=1");
	assert_true(real_of(a, "n") == (double)s->data[ROLE_EVAL]->n);
	json_decref(a);
	close_tiny(s);
}

/* ---- real models ---- */

static char *
shared(const char *name)
{
	const char *root = getenv("PARE_SHARED");
	char *path = io_join(root != NULL ? root : "../shared", name);

	if (access(path, R_OK) != 0) {
		free(path);
		skip();
	}
	return path;
}

static double
perplexity(const char *model, const char *text, int context)
{
	struct dataset_cut how = { CUT_CHUNKS, context, 0, 512, 0 };
	struct dataset_options data = { .is_text = true };
	struct open_options open = { 0 };
	struct evaluator *e = evaluator_new();
	struct notes notes = { 0 };
	struct pare_err err = { 0 };
	char *path = io_join("real/gguf", model), *full = shared(path);
	char *text_path = io_join("real/data/text", text);
	char *text_full = shared(text_path);
	struct tokenizer *t;
	struct evaluation v;
	struct dataset *d;
	struct model *m;
	double value;

	if (file_open_model(full, &open, &m, &notes, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	t = tokenizer_load(m->origin->dir, m->hp.vocab, &err);
	d = t == NULL ? NULL : dataset_read(text_full, &data, NULL, &err);
	if (d == NULL || dataset_encode(d, t, 512, NULL, &err) != PARE_OK ||
	    dataset_cut(d, t, &how, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	run(e, m, d, NULL, METRIC_PERPLEXITY, &v);
	value = v.value;
	evaluation_free(&v);
	dataset_free(d);
	tokenizer_free(t);
	model_unref(m);
	notes_free(&notes);
	evaluator_free(e);
	free(path);
	free(full);
	free(text_path);
	free(text_full);
	return value;
}

static void
test_published(void **state)
{
	char *path = shared("real/gguf/perplexity.tsv"), *data, *save, *line;
	struct pare_err err = { 0 };
	size_t n;
	int rows = 0;

	assert_int_equal(io_read(path, 1 << 20, &data, &n, &err), PARE_OK);
	for (line = strtok_r(data, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save)) {
		char model[64], text[64];
		double want, got, most;
		int context;

		if (sscanf(line, "%63s %d %63s %lf", model, &context, text,
		    &want) != 4)
			continue;
		got = perplexity(model, text, context);
		most = strstr(model, "F32") != NULL ||
		    strstr(model, "F16") != NULL ? 0.0005 : 0.005;
		if (fabs(got / want - 1) > most)
			fail_msg("%s, %s: %.4f, not %.4f", model, text, got,
			    want);
		rows++;
	}
	assert_int_equal(rows, 12);
	free(data);
	free(path);
}

/* The bytes behind the tokens are those of the file, and the blank that the
 * tokenizer puts before it. */
static void
test_bytes(void **state)
{
	char *path = shared("real/data/text/tinystories_ascii.txt"), *data;
	char *dir = shared("real/models/stories260K");
	struct dataset_options o = { .is_text = true };
	struct dataset_cut how = { CUT_STRIDE, 64, 16, 512, 0 };
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(dir, 512, &err);
	struct dataset *d;
	int64_t bytes = 0;
	size_t n;

	assert_int_equal(io_read(path, 1 << 20, &data, &n, &err), PARE_OK);
	d = t == NULL ? NULL : dataset_parse(path, data, n, &o, NULL, &err);
	if (d == NULL || dataset_encode(d, t, 512, NULL, &err) != PARE_OK ||
	    dataset_cut(d, t, &how, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	for (int64_t i = 0; i < d->n; i++)
		bytes += d->sample[i].scored_bytes;
	assert_int_equal(bytes, n + 1);
	dataset_free(d);
	tokenizer_free(t);
	free(data);
	free(path);
	free(dir);
}

/* The masked model that is published has no tokenizer of ours: ids of its
 * reference reactions, some of them hidden. */
static void
test_published_masked(void **state)
{
	char *path = shared("real/models/rxnmapper-albert");
	char *json = io_join(path, "reference/reference.json");
	struct open_options open = { 0 };
	struct notes notes = { 0 };
	struct pare_err err = { 0 };
	struct evaluator *e = evaluator_new();
	struct dataset d = { .encoded = true, .hash = 9, .mask = 14,
		.cut.custom = CUT_MASKED };
	struct sample s[8] = { 0 };
	json_t *all = json_read(json, 1 << 26, 0, &err), *one, *id;
	struct evaluation v;
	struct model *m;
	size_t i, k;

	if (all == NULL ||
	    file_open_model(path, &open, &m, &notes, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	json_array_foreach(all, i, one) {
		const json_t *ids = json_object_get(one, "ids");
		struct sample *x = &s[d.n];

		if (!json_is_array(ids))
			continue;
		d.n++;
		x->label = -1;
		x->tokens.n = (int)json_array_size(ids);
		x->tokens.id = xcalloc(json_array_size(ids) + 1, 4);
		x->tokens.type = xcalloc(json_array_size(ids) + 1, 4);
		x->scored = xcalloc(json_array_size(ids) + 1, 4);
		json_array_foreach((json_t *)ids, k, id) {
			x->tokens.id[k] = (int32_t)json_integer_value(id);
			if (k % 7 == 3)
				x->scored[x->nscored++] = (int32_t)k;
		}
		x->scored_at = d.nscored;
		x->scored_bytes = 3 * x->nscored;
		d.nscored += x->nscored;
		assert_true(d.n <= 8);
	}
	d.sample = s;
	assert_true(d.n >= 4);
	run(e, m, &d, NULL, METRIC_COUNT, &v);
	check_tokens(m, &d, &v);
	/* It was trained to know them. */
	assert_true(v.value > 0.7);
	evaluation_free(&v);
	for (i = 0; i < (size_t)d.n; i++) {
		tokens_free(&s[i].tokens);
		free(s[i].scored);
	}
	json_decref(all);
	model_unref(m);
	notes_free(&notes);
	evaluator_free(e);
	free(json);
	free(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_student),
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_stride),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_causal),
		cmocka_unit_test(test_masked),
		cmocka_unit_test(test_divergence),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_remembered),
		cmocka_unit_test(test_masked_commands),
		cmocka_unit_test(test_predict),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_published_masked),
	};

	return cmocka_run_group_tests_name("language", tests, NULL, NULL);
}
