/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "measure/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "measure/order.h"

struct probe {
	struct model *model;	/* the base, a reference */
	struct dataset set;	/* its samples are borrowed, labels and the
				 * numbers of scored tokens its own */
	struct evaluator *evaluator;
	struct evaluation was;	/* of the base */
	struct probe_result base;
	int64_t unlabelled;
};

/* Scored tokens are numbered through the set. */
static void
number(struct dataset *d)
{
	d->nscored = 0;
	for (int64_t i = 0; i < d->n; i++) {
		d->sample[i].scored_at = d->nscored;
		d->nscored += d->sample[i].nscored;
	}
}

/* The first samples of the order that all passes go by. */
static enum pare_rc
draw(struct probe *p, const struct model *m, const struct dataset *d,
    int64_t samples, struct pare_err *err)
{
	struct order o;
	enum pare_rc rc = order_make(&o, m, d, err);
	int64_t n = samples > 0 && samples < d->n ? samples : d->n;
	uint64_t key[] = { d->hash, (uint64_t)n };

	if (rc == PARE_OK) {
		p->set = *d;
		p->set.n = n;
		p->set.sample = xcalloc((size_t)n + 1,
		    sizeof(*p->set.sample));
		p->set.hash = hash_bytes(key, sizeof(key), 31);
		for (int64_t i = 0; i < n; i++)
			p->set.sample[i] = d->sample[o.sample[i]];
		number(&p->set);
	}
	order_free(&o);
	return rc;
}

static int64_t
lacking(const struct probe *p, const struct model *m)
{
	int64_t n = 0;

	for (int64_t i = 0; i < p->set.n && m->hp.head != HEAD_LM; i++) {
		const struct sample *x = &p->set.sample[i];

		n += m->hp.head == HEAD_CLASSIFY ? x->label < 0 ||
		    x->label >= m->hp.labels : isnan(x->score);
	}
	return n;
}

/* What the base says, for the samples that have no label; any label serves to
 * find that out. */
static enum pare_rc
fill_labels(struct probe *p, const struct model *m, struct task *task,
    struct pare_err *err)
{
	struct evaluate_options o = { .metric = METRIC_COUNT, .fresh = true };
	bool class = m->hp.head == HEAD_CLASSIFY;
	bool *lacks = xcalloc((size_t)p->set.n + 1, sizeof(*lacks));
	struct evaluation v;
	enum pare_rc rc;

	for (int64_t i = 0; i < p->set.n; i++) {
		struct sample *x = &p->set.sample[i];

		lacks[i] = class ? x->label < 0 || x->label >= m->hp.labels :
		    isnan(x->score);
		if (!lacks[i])
			continue;
		x->label = class ? 0 : x->label;
		x->score = class ? x->score : 0;
	}
	rc = evaluate_run(p->evaluator, m, &p->set, &o, &v, task, err);
	for (int64_t i = 0; i < p->set.n && rc == PARE_OK; i++) {
		struct sample *x = &p->set.sample[i];

		if (lacks[i] && class)
			x->label = v.predicted[i];
		else if (lacks[i])
			x->score = v.logits[i];
	}
	if (rc == PARE_OK)
		evaluation_free(&v);
	p->set.hash = hash_bytes(&p->set.hash, sizeof(p->set.hash), 37);
	free(lacks);
	return rc;
}

/* What rounding took below 0 is 0; what is no number stays none. */
static double
positive(double v)
{
	return v < 0 ? 0 : v;
}

/* sum of exp(a) (log p_a - log p_b) over the classes of one sample. */
static double
divergence(const float *a, const float *b, int n)
{
	double top_a = a[0], top_b = b[0], za = 0, zb = 0, kl = 0;

	for (int c = 1; c < n; c++) {
		top_a = fmax(top_a, a[c]);
		top_b = fmax(top_b, b[c]);
	}
	for (int c = 0; c < n; c++) {
		za += exp(a[c] - top_a);
		zb += exp(b[c] - top_b);
	}
	za = top_a + log(za);
	zb = top_b + log(zb);
	for (int c = 0; c < n; c++)
		kl += exp(a[c] - za) * ((a[c] - za) - (b[c] - zb));
	return positive(kl);
}

static void
count_flip(const struct evaluation *was, const struct evaluation *now,
    int64_t i, struct probe_result *r)
{
	r->changed += was->predicted[i] != now->predicted[i];
	r->fixed += was->predicted[i] != was->gold[i] &&
	    now->predicted[i] == was->gold[i];
	r->broke += was->predicted[i] == was->gold[i] &&
	    now->predicted[i] != was->gold[i];
}

static void
compare_tokens(const struct evaluation *was, const struct evaluation *now,
    struct probe_result *r)
{
	*r = (struct probe_result){ .loss = now->loss, .value = now->value,
		.right = now->all[METRIC_ACCURACY], .n = was->total,
		.kl = now->kl != NULL ? positive(now->divergence.mean) : 0 };
	for (int64_t i = 0; i < was->total; i++)
		count_flip(was, now, i, r);
}

static void
compare(const struct evaluation *was, const struct evaluation *now,
    bool class, struct probe_result *r)
{
	double sum = 0, square = 0;
	int k = was->labels;

	if (was->per_token) {
		compare_tokens(was, now, r);
		return;
	}
	*r = (struct probe_result){ .loss = now->loss, .value = now->value,
		.n = was->total };
	for (int64_t i = 0; i < was->total; i++) {
		const float *a = was->logits + i * k, *b = now->logits + i * k;

		if (!class) {
			sum += ((double)b[0] - a[0]) * ((double)b[0] - a[0]);
			square += (double)a[0] * a[0];
			continue;
		}
		sum += divergence(a, b, k);
		count_flip(was, now, i, r);
	}
	if (class)
		r->kl = sum / (double)was->total;
	else
		r->kl = square > 0 ? sum / square : sum;
}

static enum pare_rc
check(const struct model *m, const struct dataset *d, struct pare_err *err)
{
	if (m->hp.head != HEAD_CLASSIFY && m->hp.head != HEAD_REGRESS &&
	    m->hp.head != HEAD_LM) {
		err_set(err, PARE_EUSER, "%s neither classifies nor goes on "
		    "with a text: what options cost is measured by that",
		    m->origin->name);
		return err_hint(err, "open a model that classifies, scores or "
		    "goes on with a text");
	}
	if (d->n == 0 || !d->encoded) {
		err_set(err, PARE_EUSER, "there are no calib samples");
		return err_hint(err, "data FILE role=calib");
	}
	return PARE_OK;
}

enum pare_rc
probe_new(const struct model *base, const struct dataset *d, int64_t samples,
    int64_t cache, struct probe **out, struct task *task, struct pare_err *err)
{
	struct evaluate_options o = { .metric = METRIC_COUNT, .original =
	    head_gives_tokens(base->hp.head) ? base : NULL };
	struct probe *p;
	enum pare_rc rc;

	*out = NULL;
	if ((rc = check(base, d, err)) != PARE_OK)
		return rc;
	p = xcalloc(1, sizeof(*p));
	p->model = model_ref(base);
	p->evaluator = evaluator_new();
	evaluator_limit(p->evaluator, cache);
	rc = draw(p, base, d, samples, err);
	if (rc == PARE_OK && (p->unlabelled = lacking(p, base)) > 0)
		rc = fill_labels(p, base, task, err);
	if (rc == PARE_OK)
		rc = evaluate_run(p->evaluator, base, &p->set, &o, &p->was,
		    task, err);
	if (rc != PARE_OK) {
		probe_free(p);
		return rc;
	}
	compare(&p->was, &p->was, base->hp.head == HEAD_CLASSIFY, &p->base);
	*out = p;
	return PARE_OK;
}

void
probe_free(struct probe *p)
{
	if (p == NULL)
		return;
	evaluation_free(&p->was);
	evaluator_free(p->evaluator);
	free(p->set.sample);
	model_unref(p->model);
	free(p);
}

const struct probe_result *
probe_base(const struct probe *p)
{
	return &p->base;
}

int64_t
probe_unlabelled(const struct probe *p)
{
	return p->unlabelled;
}

enum pare_rc
probe_run(struct probe *p, const struct model *m, struct probe_result *out,
    struct task *task, struct pare_err *err)
{
	struct evaluate_options o = { .metric = METRIC_COUNT, .original =
	    p->was.per_token ? p->model : NULL };
	struct evaluation now;
	enum pare_rc rc = evaluate_run(p->evaluator, m, &p->set, &o, &now,
	    task, err);

	if (rc == PARE_OK && p->was.per_token && now.kl == NULL &&
	    model_hash(m) != model_hash(p->model)) {
		evaluation_free(&now);
		return err_set(err, PARE_ENOMEM, "no memory for the "
		    "distributions of the model to compare with");
	}
	if (rc != PARE_OK)
		return rc;
	compare(&p->was, &now, m->hp.head == HEAD_CLASSIFY, out);
	evaluation_free(&now);
	return PARE_OK;
}
