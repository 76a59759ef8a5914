/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune layers repair=refit, against streams watched here: a layer that adds
 * constants alone is made up for exactly, what the note says is what the streams
 * differ by, samples are asked for, and what cannot be fitted is refused.
 */
#include "made_data.h"

#include <math.h>

#include "measure/reconstruct.h"

enum { SAMPLES = 400, WIDTH = 32 };

static struct op_calib
gather(const struct model *m, const struct dataset *d, struct reconstruct **b)
{
	struct pare_err err = { 0 };

	if (reconstruct_new(m, d, 0, b, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return (struct op_calib){ .reconstruct = reconstruct_op(*b) };
}

static enum pare_rc
try(const struct model *m, const char *line, const struct op_calib *c,
    struct model **out, char **note, struct pare_err *err)
{
	struct sample_line l;
	struct op_input in = { .model = m, .calib = c };
	struct op_result r;
	enum pare_rc rc;

	assert_int_equal(sample_parse(line, &l, err), PARE_OK);
	in.args = &l.args;
	rc = op_apply(l.op, &in, 16, &r, err);
	sample_line_free(&l);
	if (rc != PARE_OK)
		return rc;
	*out = model_ref(r.model);
	*note = xstrdup(r.note != NULL ? r.note : "");
	op_result_free(&r);
	return PARE_OK;
}

static struct model *
apply(const struct model *m, const char *line, const struct op_calib *c,
    char **note)
{
	struct pare_err err = { 0 };
	struct model *out = NULL;

	if (try(m, line, c, &out, note, &err) != PARE_OK)
		fail_msg("%s: %s", line, err.msg);
	return out;
}

/* The stream of one sample behind a layer. */
static void
hidden_of(const struct model *m, const struct sample *s, int layers, float *out)
{
	struct engine *e = engine_new();
	int64_t start[] = { 0, s->tokens.n };
	struct batch b = { 1, start, s->tokens.id, m->hp.types > 0 ?
	    s->tokens.type : NULL };
	struct forward f = { .hidden = out };
	struct pare_err err = { 0 };
	struct edit *cut = edit_begin(m, EDIT_REAL, 0, NULL);
	struct model *less;

	for (int l = m->nlayers - 1; l >= layers; l--)
		assert_int_equal(edit_drop_layer(cut, l, &err), PARE_OK);
	assert_int_equal(edit_commit(cut, &less, &err), PARE_OK);
	if (engine_forward(e, less, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	model_unref(less);
	engine_free(e);
}

/* Squared distances of the streams behind so many layers each. */
static double
distance(const struct model *a, int la, const struct model *b, int lb,
    const struct dataset *d)
{
	float x[MADE_LONGEST * WIDTH], y[MADE_LONGEST * WIDTH];
	double sum = 0;

	assert_int_equal(a->hp.hidden, WIDTH);
	for (int64_t i = 0; i < d->n; i++) {
		hidden_of(a, &d->sample[i], la, x);
		hidden_of(b, &d->sample[i], lb, y);
		for (int k = 0; k < d->sample[i].tokens.n * WIDTH; k++)
			sum += ((double)x[k] - y[k]) * ((double)x[k] - y[k]);
	}
	return sum;
}

static void
fill(struct edit *e, int layer, enum slot slot, double scale, double shift)
{
	struct slot_ref ref = { layer, slot };
	const struct tensor *t = edit_get(e, ref);
	struct pare_err err = { 0 };
	struct tensor *n;
	float *v, *row;

	if (t == NULL)
		return;
	n = tensor_new_f32(t->ndim, t->rows, t->cols, &v, &err);
	row = xcalloc((size_t)(t->rows * t->cols), sizeof *row);
	tensor_decode(t, 0, t->rows, row);
	for (int64_t i = 0; i < t->rows * t->cols; i++)
		v[i] = (float)(scale * row[i] + shift * sin((double)i));
	free(row);
	edit_set(e, ref, n);
}

/* The model with a layer 1 that adds constants; where norms follow the sums they
 * are those of any layer. */
static struct model *
with_constant(const struct model *m)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct pare_err err = { 0 };
	struct model *out;

	fill(e, 1, SLOT_O_W, 0, 0);
	fill(e, 1, SLOT_DOWN_W, 0, 0);
	fill(e, 1, SLOT_O_B, 0, 0.3);
	fill(e, 1, SLOT_DOWN_B, 0, 0.2);
	assert_int_equal(edit_commit(e, &out, &err), PARE_OK);
	return out;
}

static void
test_constant(void **state)
{
	struct model *m = sample_real(sample_named("gpt2"));
	struct model *whole = with_constant(m), *plain, *fitted;
	struct dataset *d = made_data(SAMPLES);
	struct reconstruct *b;
	struct op_calib c = gather(whole, d, &b);
	char *note, *say;
	double was, is;

	plain = apply(whole, "prune layers L1", &c, &note);
	fitted = apply(whole, "prune layers L1 repair=refit", &c, &say);
	was = distance(whole, 3, plain, 2, d);
	is = distance(whole, 3, fitted, 2, d);
	if (!(is < 1e-6 * was))
		fail_msg("%g, was %g: %s", is, was, say);
	free(note);
	free(say);
	model_unref(plain);
	model_unref(fitted);
	model_unref(whole);
	model_unref(m);
	reconstruct_free(b);
	made_data_free(d);
}

static void
test_nearer(void **state)
{
	static const struct {
		const char *which;
		int then, now;	/* layers before the place where they meet */
	} cut[] = { { "L1", 2, 1 }, { "last 1", 3, 2 }, { "L0", 2, 1 },
		{ "L1,2", 3, 1 } };
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(SAMPLES);
	struct reconstruct *b;
	struct op_calib c = gather(m, d, &b);

	for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
		char *plain = str_format("prune layers %s", cut[i].which);
		char *line = str_format("%s repair=refit", plain), *note, *say;
		struct model *less = apply(m, plain, &c, &note);
		struct model *fit = apply(m, line, &c, &say);
		double was = distance(m, cut[i].then, less, cut[i].now, d);
		double is = distance(m, cut[i].then, fit, cut[i].now, d);

		assert_int_equal(fit->nlayers, less->nlayers);
		/* The last layer is fitted for the token that is read. */
		if (cut[i].then < 3 && !(is < 0.9 * was))
			fail_msg("%s: %g, was %g: %s", line, is, was, say);
		if (strstr(say, "with it") == NULL)
			fail_msg("%s: %s", line, say);
		model_unref(less);
		model_unref(fit);
		free(plain);
		free(line);
		free(note);
		free(say);
	}
	reconstruct_free(b);
	made_data_free(d);
	model_unref(m);
}

static void
test_refused(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *out = NULL;
	struct model *packed = sample_do(m, "quantize L* bits=8");
	struct dataset *d = made_data(40);
	struct pare_err err = { 0 };
	struct reconstruct *b;
	struct op_calib c = gather(packed, d, &b);
	char *note;

	assert_int_equal(try(m, "prune layers L1 repair=refit", NULL, &out,
	    &note, &err), PARE_EUSER);
	assert_non_null(strstr(err.hint, "role=calib"));
	assert_int_equal(try(packed, "prune layers L1 repair=refit", &c, &out,
	    &note, &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "packed"));
	reconstruct_free(b);
	made_data_free(d);
	model_unref(packed);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constant),
		cmocka_unit_test(test_nearer),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
