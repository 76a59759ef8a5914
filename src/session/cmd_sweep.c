/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sweep: the measured table of what each part costs. What was measured is in the
 * state folder, so a sweep that was stopped goes on where it was. Of the processes
 * of an MPI run the first one reads and writes it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/ranks.h"
#include "base/str.h"
#include "measure/calibrate.h"
#include "measure/stats.h"
#include "measure/sweep.h"
#include "session/calibration.h"
#include "session/work.h"
#include "tensor/kernel.h"

enum { FILE_VERSION = 2 };

/* Between two looks at a table that fills in. */
static const double part_seconds = 0.25;

/* An item in a file; after those the steps, each with its item and round. */
struct kept {
	double loss, value, kl;
	int64_t fixed, broke, changed, done, item, round;
};

struct asked {
	struct session *s;
	const char *kind;
	struct sweep_options o;
	int level[SWEEP_LEVELS + 1];
	uint64_t key;
	int64_t recalled;
	double shown;		/* when a part of the table was */
};

/* ---- what was measured before ---- */

static uint64_t
key_of(const struct asked *a, const struct model *m, const struct dataset *d)
{
	uint64_t v[] = { FILE_VERSION, model_hash(m), d->hash,
		(uint64_t)a->o.samples, (uint64_t)a->o.what,
		(uint64_t)a->o.mode, (uint64_t)a->o.block,
		(uint64_t)a->o.steps, (uint64_t)a->o.each,
		kernel_ways() };

	return hash_bytes(a->level, sizeof(a->level), hash_bytes(v, sizeof(v),
	    hash_text(kernel_blas_name(), 21)));
}

static struct sweep_result
result_of(const struct kept *k)
{
	return (struct sweep_result){ k->loss, k->value, k->kl, k->fixed,
		k->broke, k->changed };
}

static struct kept
kept_of(const struct sweep_result *r)
{
	return (struct kept){ .loss = r->loss, .value = r->value,
		.kl = r->kl, .fixed = r->fixed, .broke = r->broke,
		.changed = r->changed, .done = 1 };
}

static bool
fits(const struct sweep *s, const struct kept *k, size_t n)
{
	size_t items = (size_t)s->n;

	if (k == NULL || n < items || n > items + (size_t)s->wanted)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isfinite(k[i].loss) || !isfinite(k[i].value) ||
		    !isfinite(k[i].kl) || (i >= items && (k[i].item < 0 ||
		    k[i].item >= s->n || k[i].round < 1 ||
		    k[i].round > s->n)))
			return false;
	return true;
}

static void
take_kept(struct sweep *s, const struct kept *k, size_t n)
{
	for (int64_t i = 0; i < s->n; i++) {
		s->item[i].done = k[i].done == 1;
		s->item[i].r = result_of(&k[i]);
	}
	for (size_t i = (size_t)s->n; i < n; i++) {
		if (s->item[k[i].item].gone)
			return;
		s->item[k[i].item].gone = true;
		s->step[s->nsteps++] = (struct sweep_step){ k[i].item,
			(int)k[i].round, result_of(&k[i]) };
	}
}

/* All processes of a run have to begin alike. */
static void
recall(const struct asked *a, struct sweep *s)
{
	size_t n = 0;
	struct kept *k = ranks_number() > 0 ? NULL :
	    memory_load(a->s->memory, a->key, &n);

	n = k == NULL || n % sizeof(*k) != 0 ? 0 : n / sizeof(*k);
	if (n > 0 && !fits(s, k, n))
		n = 0;
	ranks_share(0, &n, sizeof(n));
	if (n > 0 && ranks_number() > 0)
		k = xcalloc(n, sizeof(*k));
	ranks_share(0, k, n * sizeof(*k));
	if (n > 0)
		take_kept(s, k, n);
	free(k);
}

static void
keep(const struct asked *a, const struct sweep *s)
{
	size_t n = (size_t)(s->n + s->nsteps);
	struct kept *k = xcalloc(n + 1, sizeof(*k));

	for (int64_t i = 0; i < s->n; i++)
		if (s->item[i].done)
			k[i] = kept_of(&s->item[i].r);
	for (int64_t i = 0; i < s->nsteps; i++) {
		struct kept *to = &k[s->n + i];

		*to = kept_of(&s->step[i].r);
		to->item = s->step[i].item;
		to->round = s->step[i].round;
	}
	if (ranks_number() == 0)
		memory_save(a->s->memory, a->key, k, n * sizeof(*k));
	free(k);
}

/* ---- the document ---- */

static void
put_result(json_t *o, const struct sweep_result *r,
    const struct sweep_result *base)
{
	result_put_real(o, "loss", r->loss);
	result_put_real(o, "delta_loss", r->loss - base->loss);
	result_put_real(o, "value", r->value);
	result_put_real(o, "delta", r->value - base->value);
	result_put_real(o, "kl", r->kl);
	result_put_int(o, "fixed", r->fixed);
	result_put_int(o, "broke", r->broke);
	result_put_int(o, "changed", r->changed);
}

static void
put_item(json_t *o, const struct sweep *s, int64_t i)
{
	const struct sweep_item *x = &s->item[i];
	char path[112], level[40];

	sweep_path(s, i, path, sizeof(path));
	result_put_text(o, "path", path);
	result_put_int(o, "layer", x->layer);
	if (s->what == SWEEP_HEADS || s->what == SWEEP_KEPT) {
		result_put_int(o, "head", x->index);
		result_put_int(o, "heads", head_set_count(&x->heads));
	}
	if (!sweep_is_coded(s->what))
		return;
	sweep_level_text(s->what, x->level, level, sizeof(level));
	result_put_text(o, "level", level);
	if (s->what == SWEEP_BITS)
		result_put_int(o, "bits", x->level);
}

static void
put_rows(const struct sweep *s, json_t *doc)
{
	json_t *rows = json_array();

	for (int64_t i = 0; i < s->n && s->mode != SWEEP_GREEDY; i++) {
		json_t *o;

		if (!s->item[i].done)
			continue;
		o = json_object();
		put_item(o, s, i);
		put_result(o, &s->item[i].r, &s->base);
		json_array_append_new(rows, o);
	}
	for (int64_t i = 0; i < s->nsteps; i++) {
		json_t *o = json_object();

		result_put_int(o, "step", i + 1);
		result_put_int(o, "round", s->step[i].round);
		put_item(o, s, s->step[i].item);
		put_result(o, &s->step[i].r, &s->base);
		json_array_append_new(rows, o);
	}
	json_object_set_new(doc, "rows", rows);
}

/* mode=others: what each is left in. */
static void
put_all(const struct asked *a, const struct sweep *s, json_t *doc)
{
	json_t *list = json_array();
	char level[40];

	for (int i = 0; i < SWEEP_LEVELS; i++) {
		json_t *o;

		if (!s->alled[i])
			continue;
		o = json_object();
		sweep_level_text(s->what, a->level[i], level, sizeof(level));
		result_put_text(o, "path", sweep_is_coded(s->what) ? level :
		    "none left");
		put_result(o, &s->all[i], &s->base);
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "all", list);
}

/* Of the heads kept alone the best of each layer: how much one head does. */
static void
put_best(const struct sweep *s, json_t *doc)
{
	json_t *list = json_array();

	for (int64_t i = 0, k; i < s->n; i = k) {
		int64_t best = -1;
		json_t *o;

		for (k = i; k < s->n && s->item[k].layer == s->item[i].layer;
		    k++)
			if (s->item[k].done && (best < 0 ||
			    s->item[k].r.loss < s->item[best].r.loss))
				best = k;
		if (best < 0)
			continue;
		o = json_object();
		result_put_int(o, "layer", s->item[best].layer);
		result_put_int(o, "head", s->item[best].index);
		put_result(o, &s->item[best].r, &s->base);
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "best_of_layer", list);
}

/* ---- importances against it ---- */

static const enum score_unit units[SWEEP_WHAT_COUNT] = {
	[SWEEP_HEADS] = SCORE_HEADS, [SWEEP_KEPT] = SCORE_UNITS,
	[SWEEP_NEURONS] = SCORE_NEURONS, [SWEEP_SUBLAYERS] = SCORE_SUBLAYERS,
	[SWEEP_LAYERS] = SCORE_LAYERS, [SWEEP_BITS] = SCORE_UNITS,
	[SWEEP_SPARSITY] = SCORE_UNITS, [SWEEP_RANK] = SCORE_UNITS
};

/* The score of an item: of heads that go together and of a block of neurons their
 * sum. */
static double
item_score(const struct sweep *s, const struct sweep_item *x,
    const struct layer *y, const double *v)
{
	double sum = 0;
	int at = 0;

	switch (s->what) {
	case SWEEP_HEADS:
		for (int h = 0; h < y->heads_original; h++) {
			if (head_set_has(&x->heads, h))
				sum += v[at];
			at += head_set_has(&y->head, h);
		}
		return sum;
	case SWEEP_NEURONS:
		for (int64_t i = x->index; i < x->end; i++)
			sum += v[i];
		return sum;
	case SWEEP_SUBLAYERS:
		return v[x->index];
	default:
		return v[0];
	}
}

/* rho[0]: with the divergence, rho[1]: with the rise of the loss. */
static enum pare_rc
correlate(const struct asked *a, const struct sweep *s, const struct model *m,
    enum score_kind k, const struct op_calib *c, double rho[2],
    struct pare_err *err)
{
	enum score_unit u = units[s->what];
	double *x = xcalloc((size_t)s->n, 3 * sizeof(*x)), *y = x + s->n;
	double *z = y + s->n;
	double *v = NULL;
	int64_t seed = settings_int(a->s->settings, SET_SEED);
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0; i < s->n && rc == PARE_OK; i++) {
		const struct sweep_item *it = &s->item[i];

		if (i == 0 || it->layer != s->item[i - 1].layer) {
			free(v);
			v = xcalloc((size_t)score_count(m, it->layer, u) + 1,
			    sizeof(*v));
			rc = score_layer(k, u, m, c, (uint64_t)seed,
			    it->layer, v, err);
		}
		x[i] = item_score(s, it, &m->layer[it->layer], v);
		y[i] = it->r.kl;
		z[i] = it->r.loss - s->base.loss;
	}
	rho[0] = rc == PARE_OK ? stats_spearman(x, y, s->n) : NAN;
	rho[1] = rc == PARE_OK ? stats_spearman(x, z, s->n) : NAN;
	free(v);
	free(x);
	return rc;
}

/* Rank correlation of each importance with what was measured. */
static enum pare_rc
put_spearman(const struct asked *a, const struct sweep *s, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(a->s);
	enum score_unit u = units[s->what];
	json_t *all = json_object();
	enum pare_rc rc = PARE_OK;

	for (int k = 0; k < SCORE_KINDS && rc == PARE_OK; k++) {
		const struct score_facts *f = &score_table[k];
		struct op_calib c = { 0 };
		double rho[2] = { NAN, NAN };
		json_t *o;

		if (u == SCORE_UNITS || (f->units & (1u << u)) == 0)
			continue;
		if (f->needs != 0)
			rc = calibration_get(a->s, m, f->needs, a->o.samples,
			    "sweep", &c, notes, task, err);
		if (rc == PARE_OK)
			rc = correlate(a, s, m, (enum score_kind)k, &c, rho,
			    err);
		o = json_object();
		result_put_real(o, "kl", rho[0]);
		result_put_real(o, "loss", rho[1]);
		json_object_set_new(all, f->name, o);
	}
	if (rc == PARE_OK)
		json_object_set(doc, "spearman", all);
	json_decref(all);
	return rc;
}

/* ---- the command ---- */

static const char *const mode_names[] = { "alone", "others", "greedy", NULL };

static const struct arg_spec sweep_args[] = {
	{ "what", ARG_CHOICE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, sweep_names,
	    NULL, "heads, neurons, sublayers, layers: each removed; kept: one "
	    "head of a layer kept; bits, sparsity, rank: each matrix coded, "
	    "thinned or factorized" },
	{ "mode", ARG_CHOICE, ARG_WORD, 0, 0, "alone", mode_names, NULL,
	    "others: all but this one; greedy: one after another, the least "
	    "missed first" },
	{ "samples", ARG_INT, 0, 0, 1e15, NULL, NULL, "samples",
	    "calib samples to measure on, 0 takes all; 512 unless said, of "
	    "text windows of 8,192 tokens" },
	{ "block", ARG_INT, 0, 1, 1e9, "64", NULL, "neurons",
	    "of sweep neurons: how many go together" },
	{ "bits", ARG_TEXT, 0, 0, 0, "2,4,8", NULL, NULL,
	    "of sweep bits: the widths, 1 to 8, joined by commas" },
	{ "sparsity", ARG_TEXT, 0, 0, 0, "50%,75%,90%", NULL, NULL,
	    "of sweep sparsity: the shares of zeros" },
	{ "rank", ARG_TEXT, 0, 0, 0, "75%,50%,25%", NULL, NULL,
	    "of sweep rank: ranks, or shares of the weights that the factors "
	    "have" },
	{ "steps", ARG_INT, 0, 0, 1e9, "0", NULL, "parts",
	    "of mode=greedy: how many go; 0 goes on to the last" },
	{ "each", ARG_INT, 0, 1, 1e9, "1", NULL, "parts",
	    "of mode=greedy: how many go before all are measured anew" },
	{ "compare", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "add the rank correlation of each importance with the table" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const sweep_examples[] = { "sweep heads",
	"sweep kept samples=200", "sweep neurons block=128",
	"sweep heads compare=on", "sweep heads greedy steps=10",
	"sweep bits bits=3,4", "sweep sparsity others sparsity=50%",
	"sweep rank rank=8,50%", NULL };

/* One level of a list at *p, which moves behind it; 0: none. */
static int
read_level(enum sweep_what what, const char **p)
{
	int max = what == SWEEP_BITS ? 8 : what == SWEEP_SPARSITY ? 99 :
	    1000000;
	char *end;
	long v;

	if (**p < '1' || **p > '9')
		return 0;
	v = strtol(*p, &end, 10);
	if (*end == '%' && what != SWEEP_BITS) {
		end++;
		max = 99;
		v = what == SWEEP_RANK ? -v : v;
	}
	if (labs(v) > max || (*end != ',' && *end != '\0') ||
	    (*end == ',' && end[1] == '\0'))
		return 0;
	*p = end + (*end == ',');
	return (int)v;
}

static enum pare_rc
read_levels(enum sweep_what what, const char *text, int *level,
    struct pare_err *err)
{
	static const char *const says[] = { "widths of 1 to 8 bits",
		"shares of zeros below 100 %",
		"ranks, or shares of the weights below 100 %" };
	const char *p = text, *name = sweep_names[what];
	int n = 0;

	while (n < SWEEP_LEVELS && (level[n] = read_level(what, &p)) != 0) {
		for (int i = 0; i < n; i++)
			if (level[i] == level[n])
				return err_set(err, PARE_EUSER,
				    "%s: '%.40s' says one twice", name, text);
		n++;
		if (*p == '\0')
			return PARE_OK;
	}
	err_set(err, PARE_EUSER, "%s: '%.40s' is no list of 1 to %d %s", name,
	    text, SWEEP_LEVELS, says[what - SWEEP_BITS]);
	return err_hint(err, "sweep %s %s=%s", name, name, what == SWEEP_BITS ?
	    "2,4,8" : what == SWEEP_RANK ? "16,50%" : "50%,90%");
}

/* Declared in calibration.h. */
int64_t
sweep_recall(struct session *s, const struct model *m, const char *widths,
    struct op_coded **out, struct pare_err *err)
{
	struct asked a = { .s = s, .o = { .what = SWEEP_BITS, .block = 1,
		.samples = calibrate_samples(s->data[ROLE_CALIB],
		CALIBRATE_FEW), .level = a.level } };
	struct sweep w;
	int64_t n = 0;

	*out = NULL;
	if (read_levels(SWEEP_BITS, widths, a.level, err) != PARE_OK ||
	    sweep_open(&w, m, &a.o, err) != PARE_OK)
		return 0;
	a.key = key_of(&a, m, s->data[ROLE_CALIB]);
	recall(&a, &w);
	*out = xcalloc((size_t)w.n + 1, sizeof(**out));
	for (int64_t i = 0; i < w.n; i++)
		if (w.item[i].done)
			(*out)[n++] = (struct op_coded){
				{ w.item[i].layer, w.item[i].slot },
				w.item[i].level, w.item[i].r.kl };
	if (n < w.n || n == 0) {
		free(*out);
		*out = NULL;
		n = 0;
		err_set(err, PARE_EUSER, "by=sweep needs a finished sweep of "
		    "these widths, and none was saved");
		err_hint(err, "sweep bits bits=%s", widths);
	}
	sweep_free(&w);
	return n;
}

static enum pare_rc
refuse_compare(const struct asked *a, struct pare_err *err)
{
	err_set(err, PARE_EUSER, "compare: no importance ranks what sweep %s "
	    "%s measures", sweep_names[a->o.what], mode_names[a->o.mode]);
	return err_hint(err, "sweep heads compare=on");
}

static void part(void *ctx, const struct sweep *s);

static enum pare_rc
read_line(struct asked *a, const struct arg_list *args, struct pare_err *err)
{
	int64_t cache = settings_cache(a->s->settings);
	const struct arg_value *samples = arg_get(args, "samples");

	a->o = (struct sweep_options){
		.what = (enum sweep_what)arg_get(args, "what")->i,
		.mode = (enum sweep_mode)arg_get(args, "mode")->i,
		.samples = samples->set ? samples->i :
		    calibrate_samples(a->s->data[ROLE_CALIB], CALIBRATE_FEW),
		.block = arg_int(args, "block"), .level = a->level,
		.memory = cache > 0 ? cache : 1, .save = part, .ctx = a
	};
	if (a->o.what != SWEEP_NEURONS)
		a->o.block = 1;
	if (a->o.mode == SWEEP_GREEDY) {
		a->o.steps = arg_int(args, "steps");
		a->o.each = arg_int(args, "each");
	}
	if (arg_int(args, "compare") != 0 && (a->o.mode != SWEEP_ALONE ||
	    units[a->o.what] == SCORE_UNITS))
		return refuse_compare(a, err);
	return !sweep_is_coded(a->o.what) ? PARE_OK : read_levels(a->o.what,
	    arg_text(args, sweep_names[a->o.what]), a->level, err);
}

static void
put_sweep(const struct asked *a, const struct sweep *s, json_t *doc)
{
	json_t *base = json_object();

	result_put_text(doc, "what", sweep_names[s->what]);
	result_put_text(doc, "mode", mode_names[s->mode]);
	result_put_int(doc, "n", sweep_total(s));
	result_put_int(doc, "done", sweep_done(s));
	result_put_int(doc, "recalled", a->recalled);
	result_put_bool(doc, "partial", sweep_done(s) < sweep_total(s));
	result_put_int(doc, "samples", s->samples);
	result_put_int(doc, "labelled", s->labelled);
	result_put_int(doc, "tokens", s->tokens);
	result_put_bool(doc, "text", s->text);
	result_put_real(doc, "seconds", s->seconds);
	result_put_real(doc, "evaluation_seconds", s->evaluation);
	result_put_real(base, "loss", s->base.loss);
	result_put_real(base, "value", s->base.value);
	json_object_set_new(doc, "base", base);
	put_rows(s, doc);
	if (s->what == SWEEP_KEPT)
		put_best(s, doc);
	if (s->mode == SWEEP_OTHERS)
		put_all(a, s, doc);
}

/* What is there so far: into the state folder, and to whoever looks on. */
static void
part(void *ctx, const struct sweep *s)
{
	struct asked *a = ctx;
	double now = task_now();
	json_t *doc;

	keep(a, s);
	if (session_on_part == NULL || now < a->shown + part_seconds)
		return;
	a->shown = now;
	doc = json_object();
	put_sweep(a, s, doc);
	session_on_part(a->kind, doc, session_on_result_ctx);
	json_decref(doc);
}

/* A sweep that was stopped is a result where there is any of it. */
static enum pare_rc
measure(struct asked *a, struct sweep *w, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	const struct dataset *d = a->s->data[ROLE_CALIB];
	enum pare_rc rc = sweep_run(w, session_model(a->s), d, &a->o, task,
	    err);

	if (rc == PARE_ECANCELED && sweep_done(w) > 0) {
		notes_add(notes, "stopped after %lld of %lld; the same line "
		    "goes on from there", (long long)sweep_done(w),
		    (long long)sweep_total(w));
		rc = PARE_OK;
	}
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc == PARE_OK && w->labelled < w->samples)
		notes_add(notes, "%lld of %lld samples have no label: what "
		    "the model predicts stands for it",
		    (long long)(w->samples - w->labelled),
		    (long long)w->samples);
	return rc;
}

static enum pare_rc
run_sweep(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	struct asked a = { .s = s, .kind = "sweep" };
	struct sweep w;
	enum pare_rc rc;

	if ((rc = calibration_check(s, "sweep", err)) != PARE_OK ||
	    (rc = read_line(&a, args, err)) != PARE_OK)
		return rc;
	if ((rc = sweep_open(&w, m, &a.o, err)) != PARE_OK)
		goto out;
	calibration_warn(s, a.o.samples, notes);
	a.key = key_of(&a, m, s->data[ROLE_CALIB]);
	if (settings_bool(s->settings, SET_CACHE))
		recall(&a, &w);
	a.recalled = sweep_done(&w);
	if ((rc = measure(&a, &w, notes, task, err)) != PARE_OK)
		goto out;
	put_sweep(&a, &w, doc);
	if (arg_int(args, "compare") != 0 && sweep_done(&w) == w.n)
		rc = put_spearman(&a, &w, doc, notes, task, err);
out:
	sweep_free(&w);
	return rc;
}

enum pare_rc
work_layer_order(struct session *s, const struct model *m, int64_t steps,
    int64_t **order, int64_t *n, struct task *task, struct pare_err *err)
{
	const struct dataset *d = s->data[ROLE_CALIB];
	int64_t cache = settings_cache(s->settings);
	struct asked a = { .s = s, .kind = "sweep" };
	enum pare_rc rc = calibration_check(s, "by=loss", err);
	struct sweep w;

	if (rc != PARE_OK)
		return rc;
	a.o = (struct sweep_options){ .what = SWEEP_LAYERS,
		.mode = SWEEP_GREEDY, .block = 1, .each = 1,
		.samples = calibrate_samples(d, CALIBRATE_FEW),
		.steps = steps, .level = a.level,
		.memory = cache > 0 ? cache : 1, .save = part, .ctx = &a };
	/* A table that is asked for by another line is not shown. */
	a.shown = INFINITY;
	if ((rc = sweep_open(&w, m, &a.o, err)) == PARE_OK) {
		a.key = key_of(&a, m, d);
		if (settings_bool(s->settings, SET_CACHE))
			recall(&a, &w);
		rc = sweep_run(&w, m, d, &a.o, task, err);
	}
	if (rc == PARE_OK) {
		*order = xcalloc((size_t)w.nsteps + 1, sizeof(**order));
		*n = w.nsteps;
		for (int64_t i = 0; i < w.nsteps; i++)
			(*order)[i] = w.item[w.step[i].item].layer;
	}
	sweep_free(&w);
	return rc;
}

const struct command command_sweep = {
	.name = "sweep",
	.group = GROUP_MEASURE,
	.help = "Measure what each part costs when it is taken away.\n"
	    "On the calib samples (data FILE role=calib), never on the eval "
	    "samples. A row has the loss, its rise, the share that is right, "
	    "predictions fixed, broken and changed, and the mean "
	    "Kullback-Leibler divergence from the whole model. Samples "
	    "without a label stand for what the model predicts. Of a language "
	    "model the loss is that of each token after the first of a window "
	    "of text; heads that share a KV head are one part.\n"
	    "mode=others takes away (codes) all parts but this one, and tells "
	    "what is left without it too. mode=greedy removes the part whose "
	    "loss rises least, measures all others anew, and so on: the order, "
	    "and the loss after each; the last head of a layer, and the last "
	    "part of all, stay.\n"
	    "bits: symmetric codes with a step for each row and 8 bits of "
	    "activations. sparsity: zeros for the smallest weights of the "
	    "matrix. rank: the truncated singular value decomposition; with "
	    "50% its factors have half the weights.\n"
	    "Only layers from the part on are computed. What was measured is "
	    "kept: a sweep that was stopped goes on where it was when the "
	    "line is given again. compare=on tells how well each importance "
	    "agrees with the table (Spearman's rank correlation with the "
	    "divergence, and with the rise of the loss). The divergence says "
	    "what a part changes; the loss may well fall where the model was "
	    "too sure of itself.",
	.examples = sweep_examples,
	.args = sweep_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_sweep,
};
