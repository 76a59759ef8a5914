/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/latency_decode.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "measure/crew.h"
#include "measure/latency.h"
#include "measure/stats.h"
#include "model/arch.h"
#include "tensor/kernel.h"

enum { MOST_TURNS = 50, LEAST_TURNS = 5, LEAST_SLOW = 3 };
static const double enough_seconds = 2, slow_seconds = 10;

struct side {
	const struct model *m;
	struct engine *e;
	struct kv *kv;
	float *logits;
	double *first;		/* ms, a turn each */
	double *token;		/* ms, `tokens` a turn */
	double *median;		/* of them, a turn each */
};

struct bench {
	const struct decode_options *o;
	int sides, turns, most;
	struct side side[2];
	int32_t *id;		/* the prompt, then what follows */
	double *sorted;		/* of a turn */
	struct crew *crew;
	struct task *task;
	double spent, waited;
};

bool
decode_fits(const struct model *m)
{
	return (m->arch->flags & ARCH_CAUSAL) != 0 && m->hp.head == HEAD_LM &&
	    kv_longest(m) >= 2;
}

/* ---- setting up ---- */

static enum pare_rc
check(const struct model *m, const struct decode_options *o,
    struct pare_err *err)
{
	if (!decode_fits(m))
		return err_set(err, PARE_EUSER, "the model writes no text: it "
		    "is no decoder with a language model's head");
	if (o->prompt < 1 || o->tokens < 1 || o->tokens > DECODE_TOKENS_MAX ||
	    o->prompt > kv_longest(m) - o->tokens)
		return err_set(err, PARE_EUSER, "%lld tokens after a prompt of "
		    "%lld: the model has positions for %lld",
		    (long long)o->tokens, (long long)o->prompt,
		    (long long)kv_longest(m));
	return PARE_OK;
}

static enum pare_rc
open_side(const struct bench *b, struct side *s, struct pare_err *err)
{
	const size_t turns = (size_t)b->most, n = (size_t)b->o->tokens;
	enum pare_rc rc = check(s->m, b->o, err);

	if (rc != PARE_OK)
		return rc;
	s->e = engine_new();
	s->kv = kv_new(s->m, b->o->prompt + b->o->tokens, err);
	if (s->kv == NULL)
		return err != NULL ? err->rc : PARE_ENOMEM;
	s->logits = mem_big((size_t)s->m->hp.vocab, sizeof(*s->logits), err);
	s->first = mem_big(turns, sizeof(*s->first), err);
	s->median = mem_big(turns, sizeof(*s->median), err);
	s->token = mem_big(turns * n, sizeof(*s->token), err);
	return s->logits && s->first && s->median && s->token ? PARE_OK :
	    PARE_ENOMEM;
}

static enum pare_rc
bench_open(struct bench *b, struct pare_err *err)
{
	const int64_t n = b->o->prompt + b->o->tokens;
	const int64_t vocab = b->side[0].m->hp.vocab;
	enum pare_rc rc = PARE_OK;
	struct rng r;

	for (int i = 0; i < b->sides && rc == PARE_OK; i++)
		rc = open_side(b, &b->side[i], err);
	if (rc != PARE_OK)
		return rc;
	b->id = mem_big((size_t)n, sizeof(*b->id), err);
	b->sorted = mem_big((size_t)b->o->tokens, sizeof(*b->sorted), err);
	if (b->id == NULL || b->sorted == NULL)
		return PARE_ENOMEM;
	rng_seed(&r, b->o->seed);
	for (int64_t i = 0; i < n; i++)
		b->id[i] = (int32_t)rng_below(&r, (uint64_t)vocab);
	return PARE_OK;
}

static void
bench_close(struct bench *b)
{
	for (int i = 0; i < 2; i++) {
		struct side *s = &b->side[i];

		engine_free(s->e);
		kv_free(s->kv);
		free(s->logits);
		free(s->first);
		free(s->median);
		free(s->token);
	}
	free(b->id);
	free(b->sorted);
}

/* ---- turns ---- */

static enum pare_rc
run_ids(struct bench *b, struct side *s, int64_t at, int64_t n, double *ms,
    struct pare_err *err)
{
	const int64_t start[2] = { 0, n };
	const struct batch batch = { .nseq = 1, .start = start,
		.ids = b->id + at };
	struct forward f = { .logits = s->logits, .last = true, .kv = s->kv,
		.task = b->task };
	const double began = task_now();
	enum pare_rc rc = engine_forward(s->e, s->m, &batch, &f, err);

	*ms = 1e3 * (task_now() - began);
	return rc;
}

/* A prompt and what follows; the times go to turn `turn`. */
static enum pare_rc
run_side(struct bench *b, struct side *s, int turn, struct pare_err *err)
{
	const int64_t n = b->o->tokens;
	double *ms = s->token + turn * n;
	enum pare_rc rc;

	kv_cut(s->kv, 0);
	rc = run_ids(b, s, 0, b->o->prompt, &s->first[turn], err);
	for (int64_t i = 0; i < n && rc == PARE_OK; i++) {
		rc = run_ids(b, s, b->o->prompt + i, 1, &ms[i], err);
		b->sorted[i] = ms[i];
	}
	if (rc == PARE_OK)
		s->median[turn] = stats_quantile(b->sorted, n, 0.5);
	return rc;
}

static enum pare_rc
run_turn(struct bench *b, int turn, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < b->sides && rc == PARE_OK; i++)
		rc = run_side(b, &b->side[turn % 2 == 0 ? i :
		    b->sides - 1 - i], turn, err);
	return rc;
}

static bool
is_done(const struct bench *b)
{
	if (b->turns == b->most)
		return true;
	return b->o->runs == 0 && ((b->turns >= LEAST_TURNS &&
	    b->spent >= enough_seconds) || (b->turns >= LEAST_SLOW &&
	    b->spent >= slow_seconds));
}

static enum pare_rc
run_turns(struct bench *b, struct pare_err *err)
{
	double waited = crew_waited(b->crew), began = task_now();
	enum pare_rc rc = run_turn(b, 0, err);	/* warms up */

	waited = crew_waited(b->crew) - waited;
	if (waited > LATENCY_WAITED_MAX * kernel_threads() *
	    (task_now() - began))
		crew_release(b->crew);
	waited = crew_waited(b->crew);
	began = task_now();
	while (rc == PARE_OK && !is_done(b)) {
		if (!task_tick(b->task, b->turns, b->most, "texts"))
			return task_error(err);
		rc = run_turn(b, b->turns, err);
		b->turns += rc == PARE_OK;
		b->spent = task_now() - began;
	}
	b->waited = crew_waited(b->crew) - waited;
	return rc;
}

/* ---- what it comes to ---- */

static void
summarise(struct bench *b, struct decode_latency *l)
{
	const int64_t n = b->turns * b->o->tokens;
	struct side *s = b->side;

	l->prompt = b->o->prompt;
	l->tokens = b->o->tokens;
	l->runs = b->turns;
	l->waited = b->waited / (b->spent * l->threads);
	if (b->sides == 2) {
		l->has_ratio = true;
		latency_ratio(s[0].median, s[1].median, b->turns, b->o->seed,
		    &l->ratio, &l->ratio_low, &l->ratio_high);
		l->original_first_p50_ms = stats_quantile(s[1].first,
		    b->turns, 0.5);
		l->original_p50_ms = stats_quantile(s[1].token, n, 0.5);
		l->original_kv_bytes = kv_bytes(s[1].m, s[1].kv->context);
	}
	l->first_p50_ms = stats_quantile(s[0].first, b->turns, 0.5);
	l->first_p95_ms = stats_quantile(s[0].first, b->turns, 0.95);
	l->p50_ms = stats_quantile(s[0].token, n, 0.5);
	l->p95_ms = stats_quantile(s[0].token, n, 0.95);
	l->kv_bytes = kv_bytes(s[0].m, s[0].kv->context);
}

enum pare_rc
decode_latency_run(const struct model *m, const struct model *original,
    const struct decode_options *o, struct decode_latency *out,
    struct task *task, struct pare_err *err)
{
	struct bench b = { .o = o, .task = task, .most = o->runs > 0 ?
	    o->runs : MOST_TURNS };
	struct decode_latency l = { 0 };
	int before = kernel_threads();
	enum pare_rc rc;

	b.sides = original == NULL || original == m ? 1 : 2;
	b.side[0].m = m;
	b.side[1].m = original;
	rc = bench_open(&b, err);
	if (rc == PARE_OK) {
		if (o->threads > 0)
			kernel_set_threads(o->threads);
		l.threads = kernel_threads();
		b.crew = crew_new(l.threads);
		crew_bind(b.crew);
		rc = run_turns(&b, err);
		l.pinned = crew_bound(b.crew);
		crew_free(b.crew);
		if (o->threads > 0)
			kernel_set_threads(before);
	}
	if (rc == PARE_OK) {
		summarise(&b, &l);
		*out = l;
	}
	bench_close(&b);
	return rc;
}
