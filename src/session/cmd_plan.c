/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plan: the ops that a budget asks for, chosen, foretold, applied and measured. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "measure/calibrate.h"
#include "session/calibration.h"
#include "session/plan_book.h"
#include "session/plan_order.h"
#include "session/work.h"

/* Sums of divergences, in nats, at which whole plans are measured to read what
 * the sum means. */
static const double anchor_at[] = { 0.003, 0.01, 0.03, 0.1, 0.3, 1 };

/* The share of a budget that is tried beside all of it. */
#define TIGHTER 0.85

enum { LOOKS = 10, CURVE_POINTS = 40, SAMPLES = 256 };

/* What may be lost: points of a metric of classes or scores; of a model that
 * goes on with a text a rise of the perplexity, as a share or in bits per byte,
 * or points of the tokens that it foretells. */
enum drop_unit { DROP_POINTS, DROP_SHARE, DROP_BITS, DROP_TOKENS };

static const struct {
	const char *key;	/* in documents */
	const char *suffix;	/* behind a number in a line */
	const char *name;
	double scale;		/* of that number */
	int digits;
} drop_units[] = {
	[DROP_POINTS] = { "points", "pt", " points", 100, 2 },
	[DROP_SHARE] = { "perplexity", "%", " % of the perplexity", 100, 2 },
	[DROP_BITS] = { "bits_per_byte", "bpb", " bits per byte", 1, 4 },
	[DROP_TOKENS] = { "next_token", "pt", " points of the next token",
	    100, 2 },
};

struct ask {
	struct session *s;
	const struct model *m;
	const struct arg_list *args;
	struct plan_book *b;	/* the session's */
	double limit[PLAN_USES];	/* absolute; INFINITY: none */
	double drop;		/* in the unit; INFINITY: none */
	enum drop_unit unit;
	unsigned uses;		/* that have a limit */
	enum plan_use by;
	struct plan_offer offer;
	struct plan_curve curve;
	struct plan_fit kl, fit, wrong;
	short *choice;
	struct plan_pick pick;	/* of choice */
	double use[PLAN_USES], loss;	/* of choice; uses of the whole model */
	int anchor;		/* of choice */
	int mine[PLAN_ANCHORS];	/* anchors of this line */
	int nmine;
	char **line;
	int n;
	struct notes *notes;
};

/* ---- what is asked ---- */

static void
read_limit(struct ask *a, enum plan_use u, double whole, double scale)
{
	const struct arg_value *v = arg_get(a->args, plan_use_names[u]);

	a->limit[u] = INFINITY;
	if (!v->has)
		return;
	a->limit[u] = v->is_share ? v->d * whole : v->d * scale;
	a->uses |= 1u << u;
}

static enum pare_rc
check_budgets(const struct arg_list *args, struct pare_err *err)
{
	for (int u = 0; u < PLAN_USES; u++)
		if (arg_get(args, plan_use_names[u])->has)
			return PARE_OK;
	if (arg_get(args, "drop")->has)
		return PARE_OK;
	err_set(err, PARE_EUSER, "a budget is missing: bytes<=, macs<=, "
	    "latency<= or drop<=");
	return err_hint(err, "plan bytes<=25%%, or plan drop<=1pt");
}

static bool
of_tokens(const struct ask *a)
{
	return metric_table[work_metric(a->m)].tokens;
}

static enum pare_rc
read_drop(struct ask *a, struct pare_err *err)
{
	const struct arg_value *v = arg_get(a->args, "drop");
	const char *text = v->has ? v->s : "";
	bool bits = strcasecmp(text + strspn(text, "0123456789."), "bpb") == 0;

	a->unit = !of_tokens(a) ? DROP_POINTS : bits ? DROP_BITS :
	    str_has_suffix(text, "pt") ? DROP_TOKENS : DROP_SHARE;
	a->drop = v->has ? v->d / drop_units[a->unit].scale : INFINITY;
	if (!bits || a->unit == DROP_BITS)
		return PARE_OK;
	err_set(err, PARE_EUSER, "drop: bits per byte are of models that go "
	    "on with a text");
	return err_hint(err, "plan drop<=1pt");
}

/* What a rise of the perplexity, or what is foretold less, is in the unit. */
static double
in_unit(const struct ask *a, double drop, double wrong)
{
	if (a->unit == DROP_TOKENS)
		return wrong;
	return a->unit == DROP_BITS ? plan_bits(a->b, 1 + drop) : drop;
}

static double
lost_by(const struct ask *a, const struct plan_anchor *x)
{
	return in_unit(a, x->drop, x->wrong);
}

static double
foretold(const struct ask *a, double loss)
{
	return in_unit(a, plan_fit_at(&a->fit, loss), plan_fit_at(&a->wrong,
	    loss));
}

static void
read_budgets(struct ask *a)
{
	for (int u = 0; u < PLAN_USES; u++)
		read_limit(a, (enum plan_use)u, a->b->base[u],
		    u == PLAN_MACS ? (double)a->b->seq : 1);
	a->by = PLAN_BYTES;
	while (a->uses != 0 && (a->uses & 1u << a->by) == 0)
		a->by = (enum plan_use)(a->by + 1);
	if (a->uses == 0)
		a->uses = 1u << PLAN_BYTES;
}

static unsigned
read_families(const struct arg_list *args)
{
	const char *text = arg_text(args, "using");
	unsigned out = 0;

	for (int f = 0; f < PLAN_FAMILIES; f++) {
		size_t n = strlen(plan_family_names[f]);

		for (const char *p = text; p != NULL;
		    p = strchr(p, ',') != NULL ? strchr(p, ',') + 1 : NULL)
			if (strncmp(p, plan_family_names[f], n) == 0 &&
			    (p[n] == ',' || p[n] == '\0'))
				out |= 1u << f;
	}
	return out;
}

/* The session's book, made anew where it is of something else. */
static enum pare_rc
get_book(struct ask *a, struct task *task, struct pare_err *err)
{
	struct session *s = a->s;
	int64_t samples = !arg_get(a->args, "samples")->has ? SAMPLES :
	    arg_int(a->args, "samples");
	unsigned families = read_families(a->args);
	struct plan_book *b = s->plan;
	enum pare_rc rc;

	if ((rc = calibration_check(s, "plan", err)) != PARE_OK)
		return rc;
	if (of_tokens(a) && !arg_get(a->args, "samples")->has)
		samples = calibrate_samples(s->data[ROLE_CALIB],
		    CALIBRATE_FEW);
	if (b == NULL || b->model != a->m ||
	    b->data != s->data[ROLE_CALIB]->hash || b->samples != samples ||
	    b->families != families ||
	    b->seq != settings_int(s->settings, SET_SEQ)) {
		rc = plan_book_make(s, samples, families, &b, a->notes, task,
		    err);
		if (rc != PARE_OK)
			return rc;
		plan_book_free(s->plan);
		s->plan = b;
	}
	a->b = b;
	return PARE_OK;
}

/* ---- choosing ---- */

static void
take(struct ask *a, const short *choice)
{
	double use[PLAN_USES];

	memmove(a->choice, choice, (size_t)a->offer.n * sizeof(*choice));
	plan_sum(a->offer.unit, a->offer.n, a->choice, use, &a->loss);
	for (int u = 0; u < PLAN_USES; u++)
		a->use[u] = a->b->base[u] + use[u];
	plan_pick_free(&a->pick);
	plan_pick_of(&a->pick, a->b, &a->offer, a->choice);
}

/* Applies and measures the choice, unless an anchor is of the same sum. */
static enum pare_rc
measure_choice(struct ask *a, struct task *task, struct pare_err *err)
{
	struct plan_book *b = a->b;
	enum pare_rc rc = PARE_OK;
	int i = 0;

	while (i < b->nanchors && (b->anchor[i].loss != a->loss ||
	    b->anchor[i].use[PLAN_BYTES] != a->use[PLAN_BYTES]))
		i++;
	if (i == b->nanchors) {
		rc = plan_measure(a->s, b, &a->pick, a->loss, &i, task, err);
		if (rc == PARE_OK)
			memcpy(b->anchor[i].use, a->use, sizeof(a->use));
	}
	a->anchor = i;
	if (rc == PARE_OK && a->nmine < PLAN_ANCHORS)
		a->mine[a->nmine++] = i;
	return rc;
}

static void
fit(struct ask *a)
{
	plan_fit_free(&a->kl);
	plan_fit_free(&a->fit);
	plan_fit_free(&a->wrong);
	plan_fits(a->b, &a->kl, &a->fit, &a->wrong);
}

/* Plans along the curve, from nearly nothing lost to nearly all. */
static enum pare_rc
measure_anchors(struct ask *a, struct task *task, struct pare_err *err)
{
	size_t n = sizeof(anchor_at) / sizeof(*anchor_at);
	struct plan_progress step;
	enum pare_rc rc = PARE_OK;
	int last = -1;

	plan_progress_init(&step, task, (double)n, "plans");
	for (size_t i = 0; i < n && rc == PARE_OK; i++, step.done++) {
		int k = 0;

		while (k < a->curve.n - 1 && a->curve.loss[k] > anchor_at[i])
			k++;
		if (k == last)
			continue;
		last = k;
		take(a, a->curve.choice + k * a->offer.n);
		rc = measure_choice(a, &step.task, err);
		/* A plan that cannot be applied as a whole tells nothing. */
		if (rc == PARE_EUSER)
			rc = PARE_OK;
	}
	fit(a);
	return rc;
}

static void
limit_text(enum plan_use u, double v, int64_t seq, char out[64])
{
	if (u == PLAN_BYTES)
		snprintf(out, 64, "bytes<=%.0f", ceil(v));
	else if (u == PLAN_MACS)
		snprintf(out, 64, "macs<=%.0f", ceil(v / (double)seq));
	else
		snprintf(out, 64, "latency<=%.3gms", v * 1.005);
}

static enum pare_rc
cannot(const struct ask *a, const double least[PLAN_USES],
    struct pare_err *err)
{
	struct str why = STR_INIT, hint = STR_INIT;

	for (int u = 0; u < PLAN_USES; u++) {
		double nearest = a->b->base[u] + least[u];
		char asked[64], could[64];

		if (!isfinite(a->limit[u]) || nearest <= a->limit[u])
			continue;
		limit_text((enum plan_use)u, a->limit[u], a->b->seq, asked);
		limit_text((enum plan_use)u, nearest, a->b->seq, could);
		str_addf(&why, "%s%s", why.n > 0 ? ", " : "", asked);
		str_addf(&hint, " %s", could);
	}
	if (why.n > 0) {
		err_set(err, PARE_EUSER, "%s cannot be met, whatever is done",
		    why.s);
		err_hint(err, "the nearest is%s", hint.s);
	} else {
		err_set(err, PARE_EUSER, "each budget can be met, but not all "
		    "at once");
		err_hint(err, "allow more of one of them");
	}
	str_free(&why);
	str_free(&hint);
	return PARE_EUSER;
}

static enum pare_rc
loses_more(const struct ask *a, double lost, struct pare_err *err)
{
	double scale = drop_units[a->unit].scale;
	int digits = drop_units[a->unit].digits;
	double step = pow(10, digits);

	err_set(err, PARE_EUSER, "drop: the best plan within the budget loses "
	    "%.*f%s on the calib samples, more than %.*f", digits, scale *
	    lost, drop_units[a->unit].name, digits, scale * a->drop);
	return err_hint(err, "drop<=%.*f%s, or plan drop<=%s for the smallest "
	    "that keeps within", digits, ceil(step * scale * lost) / step,
	    drop_units[a->unit].suffix, arg_text(a->args, "drop"));
}

/*
 * What options cost together is not what they cost alone, and zeros or low ranks
 * that are then coded may cost a good deal more: a plan of fewer kinds of options
 * is sometimes better than the best sum of all kinds. So plans without some of
 * them are measured too, and the best of those that were measured counts.
 */
static const unsigned left_out[] = { 1u << PLAN_SPARSE, 1u << PLAN_FACTORIZE,
	1u << PLAN_SPARSE | 1u << PLAN_FACTORIZE,
	1u << PLAN_SPARSE | 1u << PLAN_FACTORIZE | 1u << PLAN_LAYERS,
	1u << PLAN_SPARSE | 1u << PLAN_FACTORIZE | 1u << PLAN_PRUNE,
	1u << PLAN_SPARSE | 1u << PLAN_FACTORIZE | 1u << PLAN_PRUNE |
	1u << PLAN_LAYERS };

typedef enum pare_rc choose_fn(struct ask *a, struct task *task,
    struct pare_err *err);

/* Lets `choose` look at the options of some families alone. */
static enum pare_rc
with_families(struct ask *a, unsigned families, choose_fn *choose,
    struct task *task, struct pare_err *err)
{
	struct plan_offer offer = a->offer;
	struct plan_curve curve = a->curve;
	short *choice = a->choice;
	enum pare_rc rc;

	plan_offer_make(&a->offer, a->b, a->uses, families);
	a->choice = xcalloc((size_t)a->offer.n + 1, sizeof(*a->choice));
	plan_curve_make(&a->curve, a->offer.unit, a->offer.n, a->by, NULL);
	rc = choose(a, task, err);
	plan_curve_free(&a->curve);
	plan_offer_free(&a->offer);
	free(a->choice);
	a->offer = offer;
	a->curve = curve;
	a->choice = choice;
	return rc;
}

/* The same for all that is left when some kinds are left out, each once. */
static enum pare_rc
with_fewer(struct ask *a, choose_fn *choose, struct task *task,
    struct pare_err *err)
{
	size_t n = sizeof(left_out) / sizeof(*left_out);
	unsigned seen[sizeof(left_out) / sizeof(*left_out)];
	struct plan_progress step;
	enum pare_rc rc = PARE_OK;
	size_t k;

	plan_progress_init(&step, task, (double)n, "plans");
	for (size_t i = 0; i < n && rc == PARE_OK; i++, step.done++) {
		seen[i] = a->b->families & ~left_out[i];
		for (k = 0; k < i && seen[k] != seen[i]; k++)
			;
		if (k < i || seen[i] == a->b->families || seen[i] == 0)
			continue;
		rc = with_families(a, seen[i], choose, &step.task, err);
		/* What cannot be met with fewer kinds, or applied. */
		if (rc == PARE_EUSER)
			rc = PARE_OK;
	}
	return rc;
}

static bool
is_within(const struct ask *a, const struct plan_anchor *x)
{
	for (int u = 0; u < PLAN_USES; u++)
		if (x->use[u] > a->limit[u] * (1 + 1e-12))
			return false;
	return true;
}

/* Of two plans within the budgets: what keeps the drop comes first; then, where
 * the drop alone is asked for, what uses least, else what changes the answers
 * least. */
static bool
is_better(const struct ask *a, const struct plan_anchor *x,
    const struct plan_anchor *y, bool least)
{
	bool fine = lost_by(a, x) <= a->drop, other = lost_by(a, y) <= a->drop;

	if (fine != other)
		return fine;
	if (least && fine && x->use[a->by] != y->use[a->by])
		return x->use[a->by] < y->use[a->by];
	return x->kl < y->kl;
}

/* The best of the plans that this line measured. */
static void
take_best(struct ask *a, bool least)
{
	struct plan_book *b = a->b;
	int best = a->anchor;

	for (int i = 0; i < a->nmine; i++) {
		const struct plan_anchor *x = &b->anchor[a->mine[i]];

		if (is_within(a, x) && is_better(a, x, &b->anchor[best],
		    least))
			best = a->mine[i];
	}
	a->anchor = best;
	a->loss = b->anchor[best].loss;
	memcpy(a->use, b->anchor[best].use, sizeof(a->use));
	plan_pick_free(&a->pick);
	plan_pick_copy(&a->pick, b, &b->tried[best]);
}

static enum pare_rc
solve_within(struct ask *a, struct task *task, struct pare_err *err)
{
	double limit[PLAN_USES], least[PLAN_USES];

	for (int u = 0; u < PLAN_USES; u++)
		limit[u] = a->limit[u] - a->b->base[u];
	if (!plan_solve(a->offer.unit, a->offer.n, limit, a->choice, least))
		return cannot(a, least, err);
	take(a, a->choice);
	return measure_choice(a, task, err);
}

/* A smaller budget may do better where sums mislead; that counts too. */
static enum pare_rc
solve_tighter(struct ask *a, struct task *task, struct pare_err *err)
{
	double limit[PLAN_USES];
	enum pare_rc rc;

	memcpy(limit, a->limit, sizeof(limit));
	for (int u = 0; u < PLAN_USES; u++)
		a->limit[u] *= TIGHTER;
	rc = solve_within(a, task, err);
	memcpy(a->limit, limit, sizeof(limit));
	return rc == PARE_EUSER ? PARE_OK : rc;
}

static enum pare_rc
choose_within(struct ask *a, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = solve_within(a, task, err);
	int first = a->anchor;
	double drop;

	if (rc == PARE_OK)
		rc = solve_tighter(a, task, err);
	if (rc == PARE_OK)
		rc = with_fewer(a, solve_within, task, err);
	if (rc != PARE_OK)
		return rc;
	a->anchor = first;
	take_best(a, false);
	fit(a);
	drop = lost_by(a, &a->b->anchor[a->anchor]);
	return drop <= a->drop ? PARE_OK : loses_more(a, drop, err);
}

/* The point between two whose foretold drop is nearest below the limit, or the
 * middle where that is one of the two. */
static int
next_point(const struct ask *a, int bad, int good)
{
	int k = bad < 0 ? 0 : bad;

	while (k < good && foretold(a, a->curve.loss[k]) > a->drop)
		k++;
	return k > bad && k < good ? k : (bad + good) / 2;
}

/*
 * The least that keeps within the drop, as measured: points of the curve are
 * tried between one that does not and one that does. Every measured plan makes
 * the fit better that says where to look next.
 */
static enum pare_rc
search_drop(struct ask *a, int bad, int good, struct task *task,
    struct pare_err *err)
{
	const struct plan_curve *c = &a->curve;
	double base = a->b->base[a->by];
	struct plan_progress step;
	enum pare_rc rc = PARE_OK;

	plan_progress_init(&step, task, LOOKS, "plans");
	for (int i = 0; i < LOOKS && good - bad > 1; i++, step.done++) {
		int k = next_point(a, bad, good);

		if (bad >= 0 && (base + c->use[good]) < 1.01 *
		    (base + c->use[bad]))
			break;
		take(a, c->choice + k * a->offer.n);
		rc = measure_choice(a, &step.task, err);
		if (rc == PARE_EUSER) {	/* it cannot be applied */
			bad = k;
			continue;
		}
		if (rc != PARE_OK)
			return rc;
		fit(a);
		if (lost_by(a, &a->b->anchor[a->anchor]) <= a->drop)
			good = k;
		else
			bad = k;
	}
	take(a, c->choice + good * a->offer.n);
	return measure_choice(a, task, err);
}

/* With fewer kinds of options: only where that keeps within the drop at less than
 * the best so far uses, it is searched for how much less. */
static enum pare_rc
fewer_drop(struct ask *a, struct task *task, struct pare_err *err)
{
	const struct plan_curve *c = &a->curve;
	int k;
	enum pare_rc rc;

	take_best(a, true);
	k = plan_curve_find(c, 0.99 * a->use[a->by] - a->b->base[a->by]);
	if (k < 0)
		return PARE_OK;
	take(a, c->choice + k * a->offer.n);
	rc = measure_choice(a, task, err);
	if (rc != PARE_OK || lost_by(a, &a->b->anchor[a->anchor]) > a->drop)
		return rc;
	return search_drop(a, -1, k, task, err);
}

static enum pare_rc
choose_drop(struct ask *a, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = search_drop(a, -1, a->curve.n - 1, task, err);
	int first = a->anchor;

	if (rc == PARE_OK)
		rc = with_fewer(a, fewer_drop, task, err);
	if (rc != PARE_OK)
		return rc;
	a->anchor = first;
	take_best(a, true);
	fit(a);
	return PARE_OK;
}

/* ---- the document ---- */

static void
put_budget(const struct ask *a, json_t *doc)
{
	json_t *o = json_object();

	result_put_real(o, "bytes", a->limit[PLAN_BYTES]);
	result_put_real(o, "macs_per_token", a->limit[PLAN_MACS] /
	    (double)a->b->seq);
	result_put_real(o, "latency_ms", a->limit[PLAN_MS]);
	result_put_real(o, "drop", a->drop);
	result_put_text(o, "drop_of", drop_units[a->unit].key);
	json_object_set_new(doc, "budget", o);
}

/* What a perplexity is in bits per byte, and the share of tokens foretold. */
static void
put_tokens(const struct ask *a, double perplexity, double right, json_t *o)
{
	if (!a->b->tokens)
		return;
	result_put_real(o, "bits_per_byte", plan_bits(a->b, perplexity));
	result_put_real(o, "next_token", right);
}

static void
put_uses(const struct ask *a, const double use[PLAN_USES], json_t *o)
{
	result_put_int(o, "bytes", llround(use[PLAN_BYTES]));
	result_put_real(o, "macs_per_token", use[PLAN_MACS] /
	    (double)a->b->seq);
	result_put_real(o, "latency_ms", use[PLAN_MS]);
}

static void
put_book(const struct ask *a, json_t *doc)
{
	const struct plan_book *b = a->b;
	json_t *list = json_array(), *o = json_object();

	result_put_text(doc, "metric", b->metric);
	result_put_int(doc, "samples", b->samples == 0 || b->samples > b->n ?
	    b->n : b->samples);
	result_put_int(doc, "calib_samples", b->n);
	result_put_int(doc, "options", b->measured);
	result_put_int(doc, "recalled", b->recalled);
	result_put_real(doc, "seconds_of_options", b->seconds);
	put_uses(a, b->base, o);
	result_put_real(o, "value", b->value);
	put_tokens(a, b->value, b->right, o);
	json_object_set_new(doc, "start", o);
	for (int i = 0; i < b->nanchors; i++) {
		const struct plan_anchor *x = &b->anchor[i];

		o = json_object();
		put_uses(a, x->use, o);
		result_put_real(o, "sum", x->loss);
		result_put_real(o, "kl", x->kl);
		result_put_real(o, "value", x->value);
		result_put_real(o, "drop", x->drop);
		put_tokens(a, x->value, x->right, o);
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "anchors", list);
}

/* The foretold drop along the curve. */
static void
put_curve(const struct ask *a, json_t *doc)
{
	const struct plan_curve *c = &a->curve;
	json_t *list = json_array();

	for (int i = 0; i < CURVE_POINTS && c->n > 0; i++) {
		int k = CURVE_POINTS < c->n ? (int)((int64_t)i * (c->n - 1) /
		    (CURVE_POINTS - 1)) : i;
		json_t *o;

		if (k >= c->n)
			break;
		o = json_object();
		result_put_real(o, "use", a->b->base[c->by] + c->use[k]);
		result_put_real(o, "sum", c->loss[k]);
		result_put_real(o, "drop", plan_fit_at(&a->fit, c->loss[k]));
		json_array_append_new(list, o);
	}
	result_put_text(doc, "curve_of", plan_use_names[c->by]);
	json_object_set_new(doc, "curve", list);
}

static void
put_lines(const struct ask *a, json_t *doc)
{
	json_t *list = json_array();

	for (int i = 0; i < a->n; i++)
		json_array_append_new(list, result_text(a->line[i]));
	json_object_set_new(doc, "lines", list);
}

static void
put_choice(const struct ask *a, json_t *doc)
{
	const struct plan_anchor *x = &a->b->anchor[a->anchor];
	json_t *o = json_object(), *list = json_array();
	struct plan_fit fit, wrong;
	double drop;

	plan_fits_measured(a->b, &fit, &wrong);
	drop = plan_fit_at(&fit, x->kl);
	put_uses(a, a->use, o);
	result_put_real(o, "latency_ratio", a->use[PLAN_MS] /
	    a->b->base[PLAN_MS]);
	result_put_real(o, "sum", a->loss);
	result_put_real(o, "kl", plan_fit_at(&a->kl, a->loss));
	result_put_real(o, "drop", drop);
	put_tokens(a, a->b->value * (1 + drop), a->b->right -
	    plan_fit_at(&wrong, x->kl), o);
	json_object_set_new(doc, "predicted", o);
	plan_fit_free(&fit);
	plan_fit_free(&wrong);
	o = json_object();
	result_put_real(o, "kl", x->kl);
	result_put_real(o, "value", x->value);
	result_put_real(o, "drop", x->drop);
	put_tokens(a, x->value, x->right, o);
	json_object_set_new(doc, "calib", o);
	put_lines(a, doc);
	for (int i = 0; i < a->b->nparts; i++) {
		const struct plan_part *p = &a->b->part[i];
		char *text = plan_part_text(a->b, &a->pick, i);
		bool gone = p->layer >= 0 && a->pick.gone[p->layer];

		o = json_object();
		result_put_text(o, "path", p->target);
		result_put_text(o, "choice", text);
		result_put_real(o, "kl", gone ? a->b->gone_kl[p->layer] :
		    p->shape[a->pick.shape[i]].kl +
		    p->form_kl[a->pick.form[i]]);
		json_array_append_new(list, o);
		free(text);
	}
	json_object_set_new(doc, "parts", list);
}

/* ---- applying and measuring ---- */

/* Of models that go on with a text; before: of the state it was made from. */
static void
put_measured_tokens(const struct evaluation *was, const struct evaluation *now,
    const struct comparison *c, json_t *o)
{
	json_t *ratio = json_object();

	result_put_real(o, "was_bits_per_byte", was->all[METRIC_BITS]);
	result_put_real(o, "bits_per_byte", now->all[METRIC_BITS]);
	result_put_real(o, "was_next_token", was->all[METRIC_ACCURACY]);
	result_put_real(o, "next_token", now->all[METRIC_ACCURACY]);
	result_put_real(ratio, "median", c->ratio);
	result_put_real(ratio, "low", c->ratio_low);
	result_put_real(ratio, "high", c->ratio_high);
	json_object_set_new(o, "perplexity_ratio", ratio);
}

static enum pare_rc
measure_value(const struct ask *a, const struct model *m, json_t *o,
    struct task *task, struct pare_err *err)
{
	const struct evaluation *was, *now;
	enum metric metric = work_metric(m);
	struct comparison c;
	json_t *ci;
	enum pare_rc rc;

	if (!evaluate_can(m, a->s->data[ROLE_EVAL]))
		return PARE_OK;
	rc = work_evaluate(a->s, a->m, metric, false, &was, NULL, task, err);
	if (rc == PARE_OK)
		rc = work_evaluate(a->s, m, metric, false, &now, NULL, task,
		    err);
	if (rc != PARE_OK)
		return rc;
	evaluation_compare(was, now, &c);
	result_put_real(o, "was", was->value);
	result_put_real(o, "value", now->value);
	ci = json_array();
	json_array_append_new(ci, json_real(isfinite(now->low) ? now->low :
	    0));
	json_array_append_new(ci, json_real(isfinite(now->high) ? now->high :
	    0));
	json_object_set_new(o, "ci95", ci);
	result_put_int(o, "n", now->n);
	result_put_real(o, "drop", a->b->tokens ? now->value / was->value - 1 :
	    a->b->rises ? now->value - was->value : was->value - now->value);
	if (a->b->tokens)
		put_measured_tokens(was, now, &c, o);
	result_put_int(o, "fixed", c.fixed);
	result_put_int(o, "broke", c.broke);
	result_put_real(o, "mcnemar_p", c.p);
	result_put_text(o, "verdict", c.verdict);
	return PARE_OK;
}

static enum pare_rc
measure_result(const struct ask *a, const struct model *m, json_t *doc,
    struct task *task, struct pare_err *err)
{
	struct latency_options o = { .batch = 1, .seq = a->b->seq,
		.runs = 20 };
	int64_t most = work_max_tokens(m, NULL);
	json_t *out = json_object();
	struct latency l;
	struct totals t;
	enum pare_rc rc;

	o.seq = o.seq < most ? o.seq : most;
	account_totals(m, a->b->seq, false, &t);
	result_put_int(out, "bytes", t.bytes);
	result_put_real(out, "macs_per_token", (double)t.macs /
	    (double)a->b->seq);
	rc = latency_run(m, a->m, &o, &l, NULL, task, err);
	if (rc == PARE_OK) {
		result_put_real(out, "latency_ms", l.p50_ms);
		result_put_real(out, "start_latency_ms", l.original_p50_ms);
		result_put_real(out, "latency_ratio", l.ratio);
		rc = measure_value(a, m, out, task, err);
	}
	if (rc == PARE_OK)
		json_object_set(doc, "measured", out);
	json_decref(out);
	return rc;
}

/* The states of a plan that was applied: ordinary ones, each with its line. */
static enum pare_rc
add_states(struct ask *a, struct model **m, const double *seconds,
    struct pare_err *err)
{
	struct session *s = a->s;
	enum pare_rc rc = PARE_OK;

	if (s->interactive)
		session_keep_journal(s);
	for (int i = 0; i < a->n && rc == PARE_OK; i++) {
		const char *end = strchr(a->line[i], ' ');
		char *kind = xstrndup(a->line[i], (size_t)(end -
		    a->line[i]));

		rc = work_add_state(s, model_ref(m[i]), a->line[i],
		    seconds[i], err);
		if (rc == PARE_OK && i < a->n - 1 && s->journal != NULL)
			journal_add(s->journal, kind, a->line[i],
			    s->history.current, model_hash(m[i]), true, NULL);
		free(kind);
	}
	if (rc == PARE_OK)
		work_record(s, xstrdup(a->line[a->n - 1]));
	return rc;
}

static enum pare_rc
apply(struct ask *a, json_t *doc, struct task *task, struct pare_err *err)
{
	struct model **m = xcalloc((size_t)a->n + 1, sizeof(struct model *));
	double *seconds = xcalloc((size_t)a->n + 1, sizeof(*seconds));
	enum pare_rc rc = plan_apply_book(a->s, a->b, a->line, a->n, m,
	    seconds, a->notes, task, err);

	if (rc == PARE_OK) {
		rc = measure_result(a, a->n > 0 ? m[a->n - 1] : a->m, doc,
		    task, err);
		if (rc == PARE_OK && a->n > 0)
			rc = add_states(a, m, seconds, err);
		for (int i = 0; i < a->n; i++)
			model_unref(m[i]);
	}
	free(seconds);
	free(m);
	return rc;
}

/* What many applications of ops had to say, each once. */
static void
move_notes(struct notes *to, struct notes *from)
{
	for (int i = 0; i < from->n; i++) {
		int k = 0;

		while (k < i && strcmp(from->text[k], from->text[i]) != 0)
			k++;
		if (k == i)
			notes_add(to, "%s", from->text[i]);
	}
	notes_free(from);
}

/* ---- the command ---- */

static enum pare_rc
plan_budget(struct ask *a, json_t *doc, struct task *task,
    struct pare_err *err)
{
	bool only_drop;
	enum pare_rc rc;

	if ((rc = check_budgets(a->args, err)) != PARE_OK ||
	    (rc = read_drop(a, err)) != PARE_OK || (rc = get_book(a, task, err)) != PARE_OK)
		return rc;
	read_budgets(a);
	only_drop = true;
	for (int u = 0; u < PLAN_USES; u++)
		only_drop = only_drop && !isfinite(a->limit[u]);
	plan_forget(a->b);
	plan_offer_make(&a->offer, a->b, a->uses, a->b->families);
	a->choice = xcalloc((size_t)a->offer.n + 1, sizeof(*a->choice));
	plan_curve_make(&a->curve, a->offer.unit, a->offer.n, a->by, NULL);
	rc = measure_anchors(a, task, err);
	if (rc == PARE_OK)
		rc = only_drop ? choose_drop(a, task, err) :
		    choose_within(a, task, err);
	if (rc != PARE_OK)
		return rc;
	a->line = plan_lines(a->b, &a->pick, &a->n);
	put_budget(a, doc);
	put_book(a, doc);
	put_choice(a, doc);
	put_curve(a, doc);
	if (a->s->dry_run || arg_int(a->args, "apply") == 0) {
		result_put_bool(doc, "applied", false);
		return PARE_OK;
	}
	rc = apply(a, doc, task, err);
	put_lines(a, doc);	/* one may have lost its refit */
	result_put_bool(doc, "applied", rc == PARE_OK && a->n > 0);
	return rc;
}

static enum pare_rc
run_plan(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct notes all = { 0 };
	struct ask a = { .s = s, .m = session_model(s), .args = args,
		.notes = &all };
	enum pare_rc rc;

	if (arg_text(args, "order") != NULL) {
		s->unrecorded = true;
		return plan_order(s, arg_text(args, "order"), doc, notes,
		    task, err);
	}
	rc = plan_budget(&a, doc, task, err);
	if (rc == PARE_OK)
		rc = work_damage(err);
	s->unrecorded = rc != PARE_OK || s->record == NULL;
	if (a.b != NULL)
		plan_book_rest(a.b);
	move_notes(notes, &all);
	plan_lines_free(a.line);
	plan_pick_free(&a.pick);
	plan_fit_free(&a.kl);
	plan_fit_free(&a.fit);
	plan_fit_free(&a.wrong);
	plan_curve_free(&a.curve);
	plan_offer_free(&a.offer);
	free(a.choice);
	return rc;
}

static const struct arg_spec plan_args[] = {
	{ "order", ARG_TEXT, ARG_WORD | ARG_REPEAT, 0, 0, NULL, NULL, NULL,
	    "the word order and two to five ops, each in quotes: every order "
	    "of them is tried and ranked" },
	{ "bytes", ARG_LIMIT, 0, 0, 0, NULL, NULL, "bytes",
	    "size of the model: 20MB, 25% of what it is, 4x smaller" },
	{ "macs", ARG_LIMIT, 0, 0, 0, NULL, NULL, "macs",
	    "multiply-adds a token: 800M, 50%, 2x fewer" },
	{ "latency", ARG_LIMIT, 0, 0, 0, NULL, NULL, "ms",
	    "time of one text of seq tokens: 3ms, 50%, 2x faster" },
	{ "drop", ARG_LIMIT, 0, 0, 0, NULL, NULL, "points",
	    "what may be lost on the calib samples: points of the metric, "
	    "1pt; of a model that goes on with a text 2% more perplexity, "
	    "0.02bpb (bits per byte), 1pt of the next token; alone: the "
	    "smallest model within it" },
	{ "using", ARG_CHOICE, ARG_LIST, 0, 0,
	    "prune,layers,quantize,factorize,sparse", plan_family_names, NULL,
	    "what may be done" },
	{ "samples", ARG_INT, 0, 0, 1e15, NULL, NULL, "samples",
	    "calib samples on which options are measured, 256 unless said, "
	    "of a text windows of 8192 tokens; 0 takes all" },
	{ "apply", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "off: only tell what would be done" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const plan_examples[] = { "plan bytes<=4x",
	"plan drop<=1pt", "plan drop<=2%", "plan latency<=50% bytes<=10MB apply=off",
	"plan bytes<=25% using=quantize",
	"plan order 'prune neurons 50%' 'quantize all bits=4'", NULL };

const struct command command_plan = {
	.name = "plan",
	.group = GROUP_CHANGE,
	.help = "Choose the ops for a budget, foretell the result and apply "
	    "them.\n"
	    "Heads, neurons, sub-layers, layers, zeros, low ranks and the "
	    "bits of every part, the embedding included, are weighed against "
	    "each other. Each "
	    "option is applied alone and measured on the calib samples (data "
	    "FILE role=calib), never on the eval samples: what it costs is "
	    "the Kullback-Leibler divergence of the answers, or of the next "
	    "token where the model goes on with a text. Bytes and "
	    "multiply-adds are exact; times are from a table of this machine. "
	    "Of all combinations the one within the budget with the smallest "
	    "sum is taken (a knapsack), and measured beside the best ones "
	    "without some of the kinds: the best as measured counts. What it "
	    "means in points, or in perplexity, is read from the plans that "
	    "were measured, on all calib samples. All that is measured is "
	    "remembered, so another budget comes at once.\n"
	    "With several budgets all of them hold. The plan becomes ordinary "
	    "steps of the history, one a line, and what was foretold is told "
	    "beside what is measured. In a dry run, and with apply=off, "
	    "nothing changes. On the full screen the budget can be moved with "
	    "keys (B).\n"
	    "plan order tries ops in every order on the eval samples and "
	    "leaves the history as it is.",
	.examples = plan_examples,
	.args = plan_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG |
	    CMD_CHANGES | CMD_DRY,
	.run = run_plan,
};
