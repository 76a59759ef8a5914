/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The times of options, measured on this machine.
 *
 * Models are made in which all layers have one form at one width, and timed part
 * by part in turn with the model itself: the whole width and about half of it
 * for each form. What an attention or an FFN then takes, relative to the
 * model's in the same run, is the ratio of that option; between and beyond the
 * two widths it is a straight line. Zeros and low ranks are not timed. A layer
 * that is timed by itself has its own milliseconds, which the ratio multiplies.
 * The table belongs to the model and to the processor, the threads and the
 * libraries, and is kept in the state folder.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/plan_book.h"
#include "session/work.h"
#include "tensor/kernel.h"

enum { WIDTHS = 2, KINDS = 2, RUNS = 24, TABLE_VERSION = 4 };

struct table {
	double ratio[KINDS][WIDTHS][PLAN_FORMS];	/* NAN: not measured */
	double ms;		/* of the whole model */
	double layer_ms[][ENGINE_PARTS];
};

/* The parts of a model, by those of the model of the book. */
struct times {
	bool fine;
	double ratio[KINDS];
};

static uint64_t
key_of(const struct plan_book *b)
{
	uint64_t v[] = { TABLE_VERSION, model_hash(b->model),
		(uint64_t)cpu_level(), (uint64_t)cpu_detected(),
		(uint64_t)kernel_threads(), (uint64_t)b->seq, b->families &
		1u << PLAN_QUANTIZE, 0x74696d65 };

	return hash_bytes(v, sizeof(v), hash_text(kernel_blas_name(), 13));
}

static int64_t
seq_of(const struct plan_book *b)
{
	int64_t most = work_max_tokens(b->model, NULL);

	return b->seq < most ? b->seq : most;
}

static double
part_ratio(struct latency_parts *const parts[2], enum engine_part k)
{
	double was = latency_part_ms(parts[1], (int)k);

	return was > 0 ? latency_part_ms(parts[0], (int)k) / was : 1;
}

static enum pare_rc
time_model(const struct plan_book *b, const struct model *m,
    struct times *out, struct task *task, struct pare_err *err)
{
	struct latency_options o = { .batch = 1, .seq = seq_of(b),
		.runs = RUNS };
	struct latency_parts *parts[2] = { NULL, NULL };
	struct latency l;
	enum pare_rc rc = latency_run(m, b->model, &o, &l, parts, task, err);

	if (rc == PARE_OK && parts[0] != NULL && parts[1] != NULL) {
		out->fine = true;
		out->ratio[PLAN_ATTENTION] = part_ratio(parts,
		    ENGINE_ATTENTION);
		out->ratio[PLAN_FFN] = part_ratio(parts, ENGINE_FFN);
	}
	free(parts[0]);
	free(parts[1]);
	return rc;
}

/* The model itself: each layer's milliseconds, to the lower quartile of the
 * whole, which other programs disturb least. */
static enum pare_rc
time_base(const struct plan_book *b, struct table *t, struct task *task,
    struct pare_err *err)
{
	struct latency_options o = { .batch = 1, .seq = seq_of(b),
		.runs = 2 * RUNS };
	struct latency_parts *parts[2] = { NULL, NULL };
	struct latency l;
	enum pare_rc rc = latency_run(b->model, NULL, &o, &l, parts, task,
	    err);

	if (rc == PARE_OK) {
		double sum = latency_sum_ms(parts[0]);
		double scale = sum > 0 ? l.p25_ms / sum : 1;

		t->ms = l.p25_ms;
		for (int i = 0; i < b->model->nlayers; i++)
			for (int k = 0; k < ENGINE_PARTS; k++)
				t->layer_ms[i][k] = scale *
				    parts[0]->layer_ms[i][k];
	}
	free(parts[0]);
	free(parts[1]);
	return rc;
}

/* Half of each layer's heads and neurons go, the widths being what an option may
 * have. */
static char *
halve(const struct plan_book *b, enum plan_kind kind)
{
	for (int i = 0; i < b->nparts; i++) {
		const struct plan_part *x = &b->part[i];

		if (x->kind != kind)
			continue;
		for (int k = 1; k < x->nshapes; k++)
			if (x->shape[k].kind == SHAPE_CUT &&
			    2 * x->shape[k].keep <= x->size)
				return str_format("prune %s %.6f%%",
				    kind == PLAN_FFN ? "neurons" : "heads",
				    100.0 * (double)(x->size -
				    x->shape[k].keep) / (double)x->size);
	}
	return NULL;
}

/* The width that halve() leaves, as a share. */
static double
half_of(const struct plan_part *x)
{
	for (int k = 1; k < x->nshapes; k++)
		if (x->shape[k].kind == SHAPE_CUT &&
		    2 * x->shape[k].keep <= x->size)
			return (double)x->shape[k].keep / (double)x->size;
	return 0.5;
}

/* The form without what does not change its time. */
static char *
plain_form(const char *form)
{
	size_t n = strlen(form);

	if (str_has_suffix(form, " method=gptq"))
		n -= strlen(" method=gptq");
	return str_format("quantize L*.attn L*.ffn %.*s", (int)n, form);
}

/* m with a line applied; a line that cannot be applied gives NULL. */
static enum pare_rc
change(struct session *s, const struct model *m, const char *line,
    struct model **out, struct task *task, struct pare_err *err)
{
	struct notes quiet = { 0 };
	struct op_result r;
	enum pare_rc rc;

	*out = NULL;
	rc = work_op_apply(s, m, line, false, &r, &quiet, task, err);
	notes_free(&quiet);
	if (rc == PARE_EUSER)
		return PARE_OK;
	if (rc != PARE_OK)
		return rc;
	*out = model_ref(r.model);
	op_result_free(&r);
	return PARE_OK;
}

static enum pare_rc
time_form(struct session *s, struct plan_book *b, const struct model *m,
    const char *form, struct times *t, struct task *task, struct pare_err *err)
{
	char *line = form != NULL ? plain_form(form) : NULL;
	struct model *made = model_ref(m);
	enum pare_rc rc = PARE_OK;

	*t = (struct times){ .fine = false };
	if (line != NULL) {
		model_unref(made);
		rc = change(s, m, line, &made, task, err);
	}
	if (rc == PARE_OK && made != NULL)
		rc = time_model(b, made, t, task, err);
	model_unref(made);
	free(line);
	return rc;
}

/* Both halved, where both can be. */
static enum pare_rc
narrow(struct session *s, const struct plan_book *b, struct model **out,
    struct task *task, struct pare_err *err)
{
	char *line[KINDS] = { halve(b, PLAN_ATTENTION), halve(b, PLAN_FFN) };
	struct model *now = model_ref(b->model), *next;
	enum pare_rc rc = PARE_OK;

	for (int k = 0; k < KINDS; k++) {
		if (rc == PARE_OK && line[k] != NULL) {
			rc = change(s, now, line[k], &next, task, err);
			if (next != NULL) {
				model_unref(now);
				now = next;
			}
		}
		free(line[k]);
	}
	if (rc != PARE_OK) {
		model_unref(now);
		now = NULL;
	}
	*out = now;
	return rc;
}

/* The forms of layers: those of the first part that has any. */
static int
forms_of(const struct plan_book *b, const char *const **form)
{
	for (int i = 0; i < b->nparts; i++)
		if (b->part[i].kind != PLAN_MATRIX) {
			*form = (const char *const *)b->part[i].form;
			return b->part[i].nforms;
		}
	*form = NULL;
	return 0;
}

static enum pare_rc
measure(struct session *s, struct plan_book *b, struct table *t,
    struct plan_progress *step, struct pare_err *err)
{
	const char *const *form;
	int n = forms_of(b, &form);
	struct model *half;
	enum pare_rc rc = narrow(s, b, &half, &step->task, err);

	for (int k = 0; k < n && rc == PARE_OK; k++)
		for (int w = 0; w < WIDTHS && rc == PARE_OK; w++) {
			struct times x = { .fine = false };

			if (w > 0 || k > 0)
				rc = time_form(s, b, w == 0 ? b->model : half,
				    form[k], &x, &step->task, err);
			/* The model beside itself is not timed. */
			for (int i = 0; i < KINDS && rc == PARE_OK; i++)
				t->ratio[i][w][k] = w == 0 && k == 0 ? 1 :
				    x.fine ? x.ratio[i] : NAN;
			step->done++;
		}
	model_unref(half);
	return rc;
}

/* ---- into the options ---- */

static double
ratio_of(const struct table *t, const struct plan_part *x, int shape, int form)
{
	double one = t->ratio[x->kind][0][form];
	double half = t->ratio[x->kind][1][form], at = half_of(x), width;

	if (x->shape[shape].kind == SHAPE_WHOLE)
		return one;
	if (x->shape[shape].kind == SHAPE_GONE)
		return 0;
	/* Not measured: low ranks by their multiply-adds, zeros as if they
	 * were multiplied. */
	if (x->shape[shape].kind == SHAPE_RATIO)
		return one * (double)x->shape[shape].keep / 100;
	if (x->shape[shape].kind != SHAPE_CUT)
		return one;
	width = (double)x->shape[shape].keep / (double)x->size;
	if (!isfinite(one) || !isfinite(half))
		return one * width;
	/* A straight line; below half a narrow product has its least time. */
	return fmax(half + (one - half) * (width - at) / (1 - at), half / 4);
}

static void
fill(struct plan_book *b, const struct table *t)
{
	static const int part[KINDS] = { ENGINE_ATTENTION, ENGINE_FFN };

	b->base[PLAN_MS] = t->ms;
	for (int i = 0; i < b->nparts; i++) {
		struct plan_part *x = &b->part[i];
		double own = 0;

		for (int l = 0; l < b->model->nlayers &&
		    x->kind != PLAN_MATRIX; l++)
			own += x->of[l] ? t->layer_ms[l][part[x->kind]] : 0;
		for (int k = 0; k < x->nshapes; k++)
			for (int f = 0; f < x->nforms; f++) {
				double r = x->kind == PLAN_MATRIX ? 1 :
				    ratio_of(t, x, k, f);

				x->use[k][f][PLAN_MS] = isfinite(r) ? own *
				    (r - 1) : 0;
			}
	}
	for (int l = 0; l < b->model->nlayers; l++)
		for (int k = 0; k < ENGINE_PARTS; k++)
			b->gone_use[l][PLAN_MS] -= t->layer_ms[l][k];
}

/* Measures all of it into t. */
static enum pare_rc
measure_table(struct session *s, struct plan_book *b, struct table *t,
    struct task *task, struct pare_err *err)
{
	struct plan_progress step;
	const char *const *form;
	enum pare_rc rc;

	plan_progress_init(&step, task, 1 + WIDTHS * forms_of(b, &form),
	    "timings");
	rc = time_base(b, t, &step.task, err);
	step.done++;
	return rc == PARE_OK ? measure(s, b, t, &step, err) : rc;
}

enum pare_rc
plan_latency(struct session *s, struct plan_book *b, struct task *task,
    struct pare_err *err)
{
	size_t size = sizeof(struct table) + (size_t)b->model->nlayers *
	    ENGINE_PARTS * sizeof(double), n = 0;
	struct table *t = memory_load(s->memory, key_of(b), &n);
	enum pare_rc rc = PARE_OK;

	if (t == NULL || n != size || !settings_bool(s->settings,
	    SET_CACHE)) {
		free(t);
		t = xcalloc(1, size);
		rc = measure_table(s, b, t, task, err);
		if (rc == PARE_OK)
			memory_save(s->memory, key_of(b), t, size);
	}
	if (rc == PARE_OK)
		fill(b, t);
	free(t);
	return rc;
}
