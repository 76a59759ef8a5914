/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sweep: the measured table of what each part costs. What was measured is in the
 * state folder, so a sweep that was stopped goes on where it was. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "measure/calibrate.h"
#include "measure/stats.h"
#include "measure/sweep.h"
#include "session/calibration.h"
#include "session/work.h"
#include "tensor/kernel.h"

enum { FILE_VERSION = 1, BITS_MAX = 8 };

/* An item in a file. */
struct kept {
	double loss, value, kl;
	int64_t fixed, broke, changed, done;
};

struct asked {
	struct session *s;
	struct sweep_options o;
	int bits[BITS_MAX + 1];
	uint64_t key;
};

static enum pare_rc
read_bits(const char *text, int *bits, struct pare_err *err)
{
	int n = 0;

	for (const char *p = text; n < BITS_MAX;) {
		if (*p < '1' || *p > '8' || (p[1] != ',' && p[1] != '\0'))
			break;
		bits[n++] = *p - '0';
		if (p[1] == '\0')
			return PARE_OK;
		p += 2;
	}
	err_set(err, PARE_EUSER, "bits: '%.40s' is not a list of 1 to 8", text);
	return err_hint(err, "sweep bits bits=2,4,8");
}

/* ---- what was measured before ---- */

static uint64_t
key_of(const struct asked *a, const struct model *m, const struct dataset *d)
{
	uint64_t v[] = { FILE_VERSION, model_hash(m), d->hash,
		(uint64_t)a->o.samples, (uint64_t)a->o.what,
		(uint64_t)a->o.block, (uint64_t)cpu_level() };

	return hash_bytes(a->bits, sizeof(a->bits), hash_bytes(v, sizeof(v),
	    hash_text(kernel_blas_name(), 21)));
}

static void
recall(const struct asked *a, struct sweep *s)
{
	size_t n = 0;
	struct kept *k = memory_load(a->s->memory, a->key, &n);
	bool fine = k != NULL && n == (size_t)s->n * sizeof(*k);

	for (int64_t i = 0; i < s->n && fine; i++)
		fine = isfinite(k[i].loss) && isfinite(k[i].value) &&
		    isfinite(k[i].kl);
	for (int64_t i = 0; i < s->n && fine; i++) {
		struct sweep_item *x = &s->item[i];

		x->done = k[i].done == 1;
		x->r = (struct sweep_result){ k[i].loss, k[i].value, k[i].kl,
			k[i].fixed, k[i].broke, k[i].changed };
	}
	free(k);
}

static void
save(void *ctx, const struct sweep *s)
{
	const struct asked *a = ctx;
	struct kept *k = xcalloc((size_t)s->n + 1, sizeof(*k));

	for (int64_t i = 0; i < s->n; i++) {
		const struct sweep_item *x = &s->item[i];

		if (x->done)
			k[i] = (struct kept){ x->r.loss, x->r.value, x->r.kl,
				x->r.fixed, x->r.broke, x->r.changed, 1 };
	}
	memory_save(a->s->memory, a->key, k, (size_t)s->n * sizeof(*k));
	free(k);
}

/* Declared in calibration.h. */
int64_t
sweep_recall(struct session *s, const struct model *m, const char *widths,
    struct op_coded **out, struct pare_err *err)
{
	struct asked a = { .s = s, .o = { .what = SWEEP_BITS, .block = 1,
		.samples = CALIBRATE_SAMPLES, .bits = a.bits } };
	struct sweep w;
	int64_t n = 0;

	*out = NULL;
	if (read_bits(widths, a.bits, err) != PARE_OK ||
	    sweep_open(&w, m, &a.o, err) != PARE_OK)
		return 0;
	a.key = key_of(&a, m, s->data[ROLE_CALIB]);
	recall(&a, &w);
	*out = xcalloc((size_t)w.n + 1, sizeof(**out));
	for (int64_t i = 0; i < w.n; i++)
		if (w.item[i].done)
			(*out)[n++] = (struct op_coded){
				{ w.item[i].layer, w.item[i].slot },
				w.item[i].bits, w.item[i].r.kl };
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
put_rows(const struct sweep *s, json_t *doc)
{
	json_t *rows = json_array();

	for (int64_t i = 0; i < s->n; i++) {
		const struct sweep_item *x = &s->item[i];
		json_t *o = json_object();
		char path[112];

		if (!x->done) {
			json_decref(o);
			continue;
		}
		sweep_path(s, i, path, sizeof(path));
		result_put_text(o, "path", path);
		result_put_int(o, "layer", x->layer);
		if (s->what == SWEEP_HEADS || s->what == SWEEP_KEPT)
			result_put_int(o, "head", x->index);
		if (s->what == SWEEP_BITS)
			result_put_int(o, "bits", x->bits);
		put_result(o, &x->r, &s->base);
		json_array_append_new(rows, o);
	}
	json_object_set_new(doc, "rows", rows);
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
	[SWEEP_LAYERS] = SCORE_LAYERS, [SWEEP_BITS] = SCORE_UNITS
};

/* The score of an item: of a block of neurons their sum. */
static double
item_score(const struct sweep *s, const struct sweep_item *x,
    const struct layer *y, const double *v)
{
	double sum = 0;
	int at = 0;

	switch (s->what) {
	case SWEEP_HEADS:
		for (int h = 0; h < x->index; h++)
			at += head_set_has(&y->head, h);
		return v[at];
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
		struct op_calib c = { .statistics = NULL };
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

static const struct arg_spec sweep_args[] = {
	{ "what", ARG_CHOICE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL, sweep_names,
	    NULL, "heads, neurons, sublayers, layers: each removed alone; "
	    "kept: one head of a layer kept alone; bits: each matrix coded "
	    "alone" },
	{ "samples", ARG_INT, 0, 0, 1e15, "512", NULL, "samples",
	    "calib samples to measure on; 0 takes all" },
	{ "block", ARG_INT, 0, 1, 1e9, "64", NULL, "neurons",
	    "of sweep neurons: how many go together" },
	{ "bits", ARG_TEXT, 0, 0, 0, "2,4,8", NULL, NULL,
	    "of sweep bits: the widths, 1 to 8, joined by commas" },
	{ "compare", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "add the rank correlation of each importance with the table" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const sweep_examples[] = { "sweep heads",
	"sweep kept samples=200", "sweep neurons block=128",
	"sweep heads compare=on", "sweep bits bits=3,4", NULL };

static enum pare_rc
read_line(struct asked *a, const struct arg_list *args, struct pare_err *err)
{
	int64_t cache = settings_cache(a->s->settings);

	a->o = (struct sweep_options){
		.what = (enum sweep_what)arg_get(args, "what")->i,
		.samples = arg_int(args, "samples"),
		.block = arg_int(args, "block"), .bits = a->bits,
		.memory = cache > 0 ? cache : 1, .save = save, .ctx = a
	};
	if (a->o.what != SWEEP_NEURONS)
		a->o.block = 1;
	if (arg_int(args, "compare") != 0 &&
	    units[a->o.what] == SCORE_UNITS) {
		err_set(err, PARE_EUSER, "compare: no importance ranks what "
		    "sweep %s measures", sweep_names[a->o.what]);
		return err_hint(err, "sweep heads compare=on");
	}
	return a->o.what == SWEEP_BITS ? read_bits(arg_text(args, "bits"),
	    a->bits, err) : PARE_OK;
}

static void
put_sweep(const struct sweep *s, int64_t recalled, json_t *doc)
{
	json_t *base = json_object();

	result_put_text(doc, "what", sweep_names[s->what]);
	result_put_int(doc, "n", s->n);
	result_put_int(doc, "done", sweep_done(s));
	result_put_int(doc, "recalled", recalled);
	result_put_bool(doc, "partial", sweep_done(s) < s->n);
	result_put_int(doc, "samples", s->samples);
	result_put_int(doc, "labelled", s->labelled);
	result_put_int(doc, "tokens", s->tokens);
	result_put_real(doc, "seconds", s->seconds);
	result_put_real(doc, "evaluation_seconds", s->evaluation);
	result_put_real(base, "loss", s->base.loss);
	result_put_real(base, "value", s->base.value);
	json_object_set_new(doc, "base", base);
	put_rows(s, doc);
	if (s->what == SWEEP_KEPT)
		put_best(s, doc);
}

static enum pare_rc
run_sweep(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const struct dataset *d = s->data[ROLE_CALIB];
	struct asked a = { .s = s };
	struct sweep w;
	int64_t recalled;
	enum pare_rc rc;

	if ((rc = read_line(&a, args, err)) != PARE_OK ||
	    (rc = calibration_check(s, "sweep", err)) != PARE_OK)
		return rc;
	if ((rc = sweep_open(&w, m, &a.o, err)) != PARE_OK)
		goto out;
	a.key = key_of(&a, m, d);
	if (settings_bool(s->settings, SET_CACHE))
		recall(&a, &w);
	recalled = sweep_done(&w);
	rc = sweep_run(&w, m, d, &a.o, task, err);
	if (rc == PARE_ECANCELED && sweep_done(&w) > 0) {
		notes_add(notes, "stopped after %lld of %lld; the same line "
		    "goes on from there", (long long)sweep_done(&w),
		    (long long)w.n);
		rc = PARE_OK;
	}
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc != PARE_OK)
		goto out;
	if (w.labelled < w.samples)
		notes_add(notes, "%lld of %lld samples have no label: what "
		    "the model predicts stands for it",
		    (long long)(w.samples - w.labelled),
		    (long long)w.samples);
	put_sweep(&w, recalled, doc);
	if (arg_int(args, "compare") != 0 && sweep_done(&w) == w.n)
		rc = put_spearman(&a, &w, doc, notes, task, err);
out:
	sweep_free(&w);
	return rc;
}

const struct command command_sweep = {
	.name = "sweep",
	.group = GROUP_MEASURE,
	.help = "Measure what each part costs when it alone is taken away.\n"
	    "On the calib samples (data FILE role=calib), never on the eval "
	    "samples. A row has the loss, its rise, the share that is right, "
	    "predictions fixed, broken and changed, and the mean "
	    "Kullback-Leibler divergence from the whole model. Samples "
	    "without a label stand for what the model predicts.\n"
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
