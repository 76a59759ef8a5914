/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Repairs against the inputs themselves: what the notes say of the error is what
 * the outputs of cut matrices really differ by, and no other weights near the
 * fitted ones do much better. Scores against plain sums.
 */
#include "made_data.h"

#include <math.h>

#include "measure/calibrate.h"
#include "ops/score.h"

enum { SAMPLES = 120, ROWS_MAX = 4000 };

/* All that the output matrix of a layer sees. */
struct seen {
	int layer;
	enum engine_place place;
	int64_t rows, cols;
	float *x;
};

static void
see(void *ctx, int layer, enum engine_place place, const float *x,
    int64_t rows, int64_t cols)
{
	struct seen *s = ctx;

	if (layer != s->layer || place != s->place)
		return;
	assert_true(s->rows + rows < ROWS_MAX);
	s->cols = cols;
	memcpy(s->x + s->rows * cols, x, (size_t)(rows * cols) * sizeof *x);
	s->rows += rows;
}

static void
look(const struct model *m, const struct dataset *d, int layer,
    enum engine_place place, struct seen *s)
{
	struct engine_watch watch = { see, s };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	*s = (struct seen){ layer, place, 0, 0,
		xcalloc(ROWS_MAX * 64, sizeof(float)) };
	for (int64_t i = 0; i < d->n; i++) {
		int64_t start[] = { 0, d->sample[i].tokens.n };
		struct batch b = { 1, start, d->sample[i].tokens.id,
		    d->sample[i].tokens.type };
		float z[2];
		struct forward f = { .logits = z, .watch = &watch };

		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	}
	engine_free(e);
}

/* Squares of W x + b - (V x_K + c) over all rows, and of W x. */
static void
compare(const struct model *m, const struct model *less,
    const struct seen *s, const struct slot_ref w, const int64_t *keep,
    double *error, double *energy)
{
	struct slot_ref b = { w.layer, (enum slot)(w.slot + 1) };
	const struct tensor *t = model_slot(m, w), *u = model_slot(less, w);
	float *wv = xcalloc((size_t)(t->rows * t->cols), sizeof *wv);
	float *uv = xcalloc((size_t)(u->rows * u->cols), sizeof *uv);
	float *bv = xcalloc((size_t)t->rows, sizeof *bv);
	float *cv = xcalloc((size_t)t->rows, sizeof *cv);

	tensor_decode(t, 0, t->rows, wv);
	tensor_decode(u, 0, u->rows, uv);
	tensor_decode(model_slot(m, b), 0, 1, bv);
	tensor_decode(model_slot(less, b), 0, 1, cv);
	*error = *energy = 0;
	for (int64_t r = 0; r < s->rows; r++)
		for (int64_t o = 0; o < t->rows; o++) {
			double y = 0, z = (double)cv[o] - bv[o];

			for (int64_t c = 0; c < t->cols; c++)
				y += (double)wv[o * t->cols + c] *
				    s->x[r * s->cols + c];
			for (int64_t c = 0; c < u->cols; c++)
				z += (double)uv[o * u->cols + c] *
				    s->x[r * s->cols + keep[c]];
			*error += (y - z) * (y - z);
			*energy += y * y;
		}
	free(wv);
	free(uv);
	free(bv);
	free(cv);
}

static struct model *
apply(const struct model *m, const char *line, const struct op_calib *c,
    char **note)
{
	struct sample_line l;
	struct pare_err err = { 0 };
	struct op_input in = { .model = m, .calib = c };
	struct op_result r;
	struct model *out;

	assert_int_equal(sample_parse(line, &l, &err), PARE_OK);
	in.args = &l.args;
	if (op_apply(l.op, &in, 16, &r, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	sample_line_free(&l);
	out = model_ref(r.model);
	*note = r.note != NULL ? xstrdup(r.note) : xstrdup("");
	op_result_free(&r);
	return out;
}

static void
check(const char *what, enum slot slot, const int64_t *keep)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct slot_ref ref = { 1, slot };
	double error[3], energy = 1, said[2];
	struct op_calib c = { 0 };
	struct statistics *s;
	struct pare_err err = { 0 };
	struct seen seen;
	bool gram[3 * MOMENTS_PLACES];

	memset(gram, 1, sizeof gram);
	assert_int_equal(calibrate_statistics(m, d, 0, gram, &s, NULL, &err),
	    PARE_OK);
	c.statistics = s;
	look(m, d, 1, slot == SLOT_O_W ? ENGINE_SEES_OUTPUT :
	    ENGINE_SEES_DOWN, &seen);
	for (int k = 0; k < 3; k++) {
		static const char *const how[] = { "none", "bias", "refit" };
		char *line = str_format("%s repair=%s", what, how[k]), *note;
		struct model *less = apply(m, line, &c, &note);

		compare(m, less, &seen, ref, keep, &error[k], &energy);
		if (k > 0 && sscanf(note, "output error of 1 layers %lf %% "
		    "without repair, %lf", &said[0], &said[1]) != 2)
			fail_msg("%s: %s", line, note);
		if (k > 0 && (fabs(said[0] - 100 * error[0] / energy) >
		    0.01 * said[0] || fabs(said[1] - 100 * error[k] /
		    energy) > 0.02 * said[1] + 1e-4))
			fail_msg("%s: %s, but %g %% and %g %%", line, note,
			    100 * error[0] / energy, 100 * error[k] / energy);
		model_unref(less);
		free(note);
		free(line);
	}
	assert_true(error[1] < error[0]);
	assert_true(error[2] < 0.95 * error[1]);
	free(seen.x);
	statistics_free(s);
	made_data_free(d);
	model_unref(m);
}

static void
test_heads(void **state)
{
	int64_t keep[24];

	for (int i = 0; i < 24; i++)
		keep[i] = i + 8;
	check("prune heads L1.h0", SLOT_O_W, keep);
}

/* The neurons that by=wanda leaves are told apart by their rows. */
static void
test_neurons(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct op_calib c = { 0 };
	struct statistics *s;
	struct pare_err err = { 0 };
	struct seen seen;
	double score[48], norm;
	int64_t keep[48], n = 0;
	const struct tensor *t = m->layer[1].t[SLOT_DOWN_W];
	float w[48 * 32];

	assert_int_equal(calibrate_statistics(m, d, 0, NULL, &s, NULL, &err),
	    PARE_OK);
	c.statistics = s;
	assert_int_equal(score_layer(SCORE_WANDA, SCORE_NEURONS, m, &c, 0, 1,
	    score, &err), PARE_OK);
	look(m, d, 1, ENGINE_SEES_DOWN, &seen);
	tensor_decode(t, 0, t->rows, w);
	for (int64_t i = 0; i < 48; i++) {
		int64_t lower = 0;
		double sum = 0;

		for (int64_t r = 0; r < seen.rows; r++)
			sum += (double)seen.x[r * 48 + i] * seen.x[r * 48 + i];
		norm = 0;
		for (int64_t o = 0; o < t->rows; o++)
			norm += (double)w[o * 48 + i] * w[o * 48 + i];
		assert_true(fabs(score[i] - sqrt(norm * sum /
		    (double)seen.rows)) < 1e-4 * score[i]);
		for (int64_t k = 0; k < 48; k++)
			lower += score[k] < score[i];
		if (lower >= 12)
			keep[n++] = i;
	}
	assert_int_equal(n, 36);
	free(seen.x);
	statistics_free(s);
	made_data_free(d);
	model_unref(m);
	check("prune neurons 25% L1 by=wanda", SLOT_DOWN_W, keep);
}

static void
test_refused(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *packed;

	sample_refuse(m, "prune heads L0.h0 repair=refit", "role=calib");
	sample_refuse(m, "prune neurons 25% by=fisher", "role=calib");
	packed = sample_do(m, "quantize L*.ffn bits=4");
	sample_refuse(packed, "prune neurons 25% repair=bias",
	    "before quantizing");
	model_unref(packed);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_neurons),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
