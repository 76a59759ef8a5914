/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Factors of inputs that go into what makes them: in floats the model stays what
 * it was; method=awq leaves nothing at run time where that holds, and a scale for
 * each input where it does not.
 */
#include "plain_obs.h"

#include <math.h>

#include "engine/engine.h"
#include "ops/fold.h"

enum { TOKENS = 12 };

static const enum engine_place places[] = { ENGINE_SEES_QKV,
    ENGINE_SEES_OUTPUT, ENGINE_SEES_FFN, ENGINE_SEES_DOWN };

static float *
run(const struct model *m)
{
	static const int32_t ids[TOKENS] = { 3, 14, 15, 9, 26, 5, 35, 8, 9, 7,
		9, 3 };
	static const int32_t types[TOKENS] = { 0 };
	int64_t start[] = { 0, TOKENS };
	struct batch b = { 1, start, ids, types };
	float *h = xcalloc((size_t)(TOKENS * m->hp.hidden), sizeof *h);
	struct forward f = { .hidden = h };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
	return h;
}

/* The largest difference of the last hidden states, and the largest value. */
static double
difference(const struct model *a, const struct model *b, double *most)
{
	float *x = run(a), *y = run(b);
	double d = 0;

	*most = 0;
	for (int64_t i = 0; i < TOKENS * a->hp.hidden; i++) {
		d = fmax(d, fabs((double)x[i] - y[i]));
		*most = fmax(*most, fabs((double)x[i]));
	}
	free(x);
	free(y);
	return d;
}

/* Multiplies inputs by factors within 8 and undoes that in what reads them, which
 * is left out to see that it matters. */
static void
fold_by_hand(struct edit *e, const struct fold *f, struct rng *r, bool undo)
{
	const struct tensor *t = edit_get(e, f->user[0]);
	int64_t cols = t->cols;
	double *log = xcalloc((size_t)cols, sizeof *log);
	float *by = xcalloc((size_t)cols, sizeof *by), *v;
	struct pare_err err = { 0 };

	for (int64_t c = 0; c < cols; c++)
		log[c] = 3 * (2 * rng_uniform(r) - 1);
	fold_pool(f, log, cols);
	for (int64_t c = 0; c < cols; c++)
		by[c] = (float)exp2(log[c]);
	assert_int_equal(fold_source(f, e, by, &err), PARE_OK);
	for (int i = 0; i < f->n && undo; i++) {
		struct tensor *made;

		t = edit_get(e, f->user[i]);
		assert_int_equal(t->cols, cols);
		made = tensor_new_f32(2, t->rows, cols, &v, &err);
		tensor_decode(t, 0, t->rows, v);
		for (int64_t k = 0; k < t->rows * cols; k++)
			v[k] /= by[k % cols];
		edit_set(e, f->user[i], made);
	}
	free(log);
	free(by);
}

/* As many places of each layer as `want`; with all of them folded the same
 * outputs, with one half done others. */
static void
check_model(const char *name, int want)
{
	struct model *m = sample_real(sample_named(name)), *made;
	struct pare_err err = { 0 };
	struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);
	struct fold f;
	struct rng r;
	double d, most;
	int n = 0;

	rng_seed(&r, 12);
	for (int l = 0; l < m->nlayers; l++)
		for (int k = 0; k < 4; k++)
			if (fold_find(m, l, places[k], &f)) {
				fold_by_hand(e, &f, &r, true);
				n++;
			}
	assert_int_equal(n, want * m->nlayers);
	assert_int_equal(edit_commit(e, &made, &err), PARE_OK);
	d = difference(m, made, &most);
	if (d > 2e-5 * most)
		fail_msg("%s: %g of %g", name, d, most);
	model_unref(made);
	for (int k = 0; k < 4; k++) {
		if (!fold_find(m, 0, places[k], &f))
			continue;
		e = edit_begin(m, EDIT_REAL, 1, NULL);
		fold_by_hand(e, &f, &r, false);
		assert_int_equal(edit_commit(e, &made, &err), PARE_OK);
		if (difference(m, made, &most) < 1e-3 * most)
			fail_msg("%s: place %d does nothing", name, k);
		model_unref(made);
	}
	model_unref(m);
}

static void
test_same(void **state)
{
	check_model("llama", 4);
	check_model("llama of groups", 4);
	check_model("qwen2", 4);
	check_model("qwen3", 4);
	check_model("mistral", 4);
	check_model("gemma", 4);
	check_model("gemma2", 4);
	check_model("gpt2", 3);		/* GELU before down */
	check_model("bert", 1);		/* and post-norm: v alone */
	check_model("roberta", 1);
	check_model("albert", 0);	/* one set of weights for all layers */
}

/* What another slot holds too, or is no float, takes no factors. */
static void
test_refused(void **state)
{
	static const struct {
		enum slot slot;
		bool of[4];	/* still there, of the places */
	} list[] = {
		{ SLOT_ANORM_W, { false, true, true, true } },
		{ SLOT_K_W, { false, true, true, true } },
		{ SLOT_V_W, { false, false, true, true } },
		{ SLOT_UP_W, { true, true, false, false } },
		{ SLOT_GATE_W, { true, true, false, true } },
		{ SLOT_UP_B, { true, true, true, false } },
		{ SLOT_DOWN_W, { true, true, true, false } },
	};
	struct model *m = sample_real(sample_named("llama of groups")), *made;
	struct pare_err err = { 0 };
	struct fold f;

	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		struct edit *e = edit_begin(m, EDIT_REAL, 1, NULL);

		edit_set(e, (struct slot_ref){ 0, list[i].slot },
		    tensor_ref(m->layer[1].t[list[i].slot]));
		assert_int_equal(edit_commit(e, &made, &err), PARE_OK);
		for (int k = 0; k < 4; k++)
			if (fold_find(made, 1, places[k], &f) !=
			    list[i].of[k])
				fail_msg("slot %d, place %d",
				    (int)list[i].slot, k);
		model_unref(made);
	}
	made = sample_do(m, "quantize L1.v bits=8");
	assert_false(fold_find(made, 1, ENGINE_SEES_OUTPUT, &f));
	assert_false(fold_find(made, 1, ENGINE_SEES_QKV, &f));
	model_unref(made);
	made = sample_do(m, "prune attention L1");
	assert_false(fold_find(made, 1, ENGINE_SEES_OUTPUT, &f));
	assert_false(fold_find(made, 1, ENGINE_SEES_QKV, &f));
	assert_true(fold_find(made, 1, ENGINE_SEES_DOWN, &f));
	model_unref(made);
	model_unref(m);
}

/* The line on a model: matrices of layers with and without scales at run time;
 * bytes as foretold, and fewer of them than with scales everywhere. */
static void
check_line(const char *name, const char *line, int folded, int scaled)
{
	struct model *m = sample_real(sample_named(name));
	struct statistics *s = obs_statistics(m, 60);
	struct op_result r, guess;
	struct pare_err err = { 0 };
	struct slot_ref ref = SLOT_REF_START;
	int plain = 0, with = 0;
	double was, is, d, most;
	int n;

	obs_do(m, s, line, &r);
	while (model_next_slot(r.model, &ref)) {
		struct slot_ref first = model_owner(r.model, ref);

		if (first.layer != ref.layer || first.slot != ref.slot)
			continue;
		plain += model_slot(r.model, ref)->form == FORM_INT;
		with += model_slot(r.model, ref)->form == FORM_SCALED;
	}
	if (plain < folded || with > scaled || plain + with != folded + scaled)
		fail_msg("%s: %s: %d and %d", name, line, plain, with);
	if (sscanf(r.note, "output error of %d matrices %lf %% rounded to "
	    "nearest, %lf %% now", &n, &was, &is) != 3)
		fail_msg("%s", r.note);
	assert_int_equal(n, folded + scaled);
	assert_true(is < was);
	assert_true((strstr(r.note, "in what comes before") != NULL) ==
	    (folded > 0));
	assert_int_equal(sample_run(op_estimate, m, line, NULL, &guess, &err),
	    PARE_OK);
	if (with == scaled)
		assert_true(guess.after.bytes == r.after.bytes);
	/* Not only the sum of errors: what comes out of it all. */
	d = difference(m, r.model, &most);
	assert_true(d < 0.35 * most);
	op_result_free(&guess);
	op_result_free(&r);
	statistics_free(s);
	model_unref(m);
}

static void
test_line(void **state)
{
	check_line("llama of groups", "quantize L* bits=5 method=awq "
	    "activations=float", 14, 0);
	check_line("llama of groups", "quantize L* bits=5 method=awq clip=mse "
	    "group=8 bias=correct activations=float", 14, 0);
	check_line("gemma2", "quantize L* bits=5 method=awq "
	    "activations=float", 14, 0);
	/* Not all that reads the norm is named: v moves for the output alone. */
	check_line("llama of groups", "quantize L0.k L0.v L0.o bits=5 "
	    "method=awq activations=float", 1, 2);
	/* v stays float32 and is divided all the same. */
	check_line("llama of groups", "quantize L0.o L0.down bits=5 "
	    "method=awq activations=float", 2, 0);
	check_line("gpt2", "quantize L* bits=5 method=awq activations=float",
	    15, 3);
	check_line("bert", "quantize L* bits=5 method=awq group=matrix "
	    "activations=float", 3, 15);
	check_line("albert", "quantize L* bits=5 method=awq "
	    "activations=float", 0, 6);
}

/* With a residual scales stay beside the codes, and what comes before is as it
 * was. */
static void
test_residual(void **state)
{
	struct model *m = sample_real(sample_named("llama of groups"));
	struct statistics *s = obs_statistics(m, 60);
	struct slot_ref ref = SLOT_REF_START;
	struct op_result r;
	double most;

	obs_do(m, s, "quantize L* bits=5 method=awq residual=2 "
	    "activations=float", &r);
	while (model_next_slot(r.model, &ref)) {
		const struct tensor *t = model_slot(r.model, ref);

		if (ref.layer < 0 || t->ndim != 2) {
			assert_ptr_equal(t, model_slot(m, ref));
			continue;
		}
		assert_int_equal(t->form, FORM_SUM);
		assert_true(t->kid[0]->form == FORM_SCALED ||
		    t->kid[0]->form == FORM_INT);
		assert_int_equal(t->kid[1]->form, FORM_LOWRANK);
	}
	assert_null(strstr(r.note, "in what comes before"));
	assert_true(difference(m, r.model, &most) < 0.35 * most);
	op_result_free(&r);
	statistics_free(s);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_residual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
