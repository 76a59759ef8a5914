/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mixed bits: budgets are met, what was predicted is what came out, a choice is
 * no worse than one width everywhere, and what cannot be is said with what can.
 */
#include "made_data.h"

#include <math.h>
#include <stdio.h>

#include "measure/calibrate.h"
#include "ops/score.h"

static enum pare_rc
try(const struct model *m, const char *line, const struct op_calib *c,
    struct op_result *r, struct pare_err *err)
{
	struct sample_line l;
	enum pare_rc rc = sample_parse(line, &l, err);

	if (rc != PARE_OK)
		fail_msg("%s: %s", line, err->msg);
	rc = op_apply(l.op, &(struct op_input){ .model = m, .args = &l.args,
	    .calib = c }, 16, r, err);
	sample_line_free(&l);
	return rc;
}

static void
must(const struct model *m, const char *line, const struct op_calib *c,
    struct op_result *r)
{
	struct pare_err err = { 0 };

	if (try(m, line, c, r, &err) != PARE_OK)
		fail_msg("%s: %s (%s)", line, err.msg, err.hint);
}

static int
width_of(const struct tensor *t)
{
	return t->form == FORM_INT ? t->code.bits : 32;
}

static void
budgets_are_met(void **state)
{
	static const char *const by[] = { "weights", "error", "hessian",
		"fisher" };
	struct model *m = sample_real(&sample_models[0]);
	struct dataset *d = made_data(60);
	bool gram[3 * MOMENTS_PLACES];
	struct pare_err err = { 0 };
	struct statistics *s;
	struct curvature *k = curvature_new(m, &err);
	struct op_calib c;

	memset(gram, 1, sizeof gram);
	assert_int_equal(calibrate_statistics(m, d, 0, gram, &s, NULL, &err),
	    PARE_OK);
	assert_int_equal(calibrate_hessian(m, d, 0, k, NULL, &err), PARE_OK);
	assert_int_equal(calibrate_squares(m, d, 0, k, NULL, &err), PARE_OK);
	c = (struct op_calib){ .statistics = s, .hessian = k, .squares = k };
	for (int i = 0; i < 4; i++)
		for (int64_t bytes = 16000; bytes < 60000; bytes += 9000) {
			char *line = str_format("quantize mixed bytes=%lld "
			    "by=%s", (long long)bytes, by[i]);
			double loss, same = INFINITY, bits;
			struct op_result r, again;
			const char *told;

			must(m, line, &c, &r);
			must(m, line, &c, &again);
			assert_true(r.after.bytes <= bytes);
			assert_true(model_hash(r.model) ==
			    model_hash(again.model));
			told = strstr(r.note, "sum of losses");
			if (told != NULL && sscanf(told, "sum of losses %lf; "
			    "%lf with %lf", &loss, &same, &bits) == 3)
				assert_true(loss <= same);
			assert_true(told == NULL || !isinf(same));
			op_result_free(&r);
			op_result_free(&again);
			free(line);
		}
	statistics_free(s);
	curvature_free(k);
	made_data_free(d);
	model_unref(m);
}

/* The nearest that can be met is offered, and can. */
static void
what_cannot_be_met_says_what_can(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct pare_err err = { 0 };
	struct op_result r;
	long long bytes;
	double bits;
	char *line;

	assert_int_equal(try(m, "quantize mixed bytes=900 by=weights", NULL,
	    &r, &err), PARE_EUSER);
	assert_int_equal(sscanf(err.hint, "quantize mixed bytes<=%lld", &bytes),
	    1);
	line = str_format("quantize mixed bytes=%lld by=weights", bytes);
	must(m, line, NULL, &r);
	assert_int_equal(r.after.bytes, bytes);
	op_result_free(&r);
	free(line);
	line = str_format("quantize mixed bytes=%lld by=weights", bytes - 1);
	assert_int_equal(try(m, line, NULL, &r, &err), PARE_EUSER);
	free(line);
	assert_int_equal(try(m, "quantize mixed bits=1.5 by=weights", NULL,
	    &r, &err), PARE_EUSER);
	assert_int_equal(sscanf(err.hint, "quantize mixed bits<=%lf", &bits),
	    1);
	line = str_format("quantize mixed bits=%.2f by=weights", bits);
	must(m, line, NULL, &r);
	op_result_free(&r);
	free(line);
	sample_refuse(m, "quantize mixed bits=32 by=weights",
	    "nothing has to be coded");
	sample_refuse(m, "quantize mixed bits=4", "role=calib");
	sample_refuse(m, "quantize mixed bits=4 by=hessian", "role=calib");
	sample_refuse(m, "quantize mixed bits=4 by=fisher", "role=calib");
	sample_refuse(m, "quantize mixed bits=4 by=sweep", "role=calib");
	sample_refuse(m, "quantize mixed by=weights", "bytes<=");
	sample_refuse(m, "quantize mixed bits=4 bytes=1M by=weights", "both");
	sample_refuse(m, "quantize mixed bytes=1Y by=weights", "bound");
	sample_refuse(m, "quantize mixed bytes=Mi by=weights", "bound");
	sample_refuse(m, "quantize mixed bytes<=1x by=weights",
	    "nothing has to be coded");
	sample_refuse(m, "quantize mixed bits<=33 by=weights", "bits");
	sample_refuse(m, "quantize mixed widths<=3 by=weights", "widths");
	sample_refuse(m, "quantize mixed bits=4 widths=3,3 by=weights",
	    "widths");
	sample_refuse(m, "quantize mixed bits=4 widths=9 by=weights",
	    "widths");
	sample_refuse(m, "quantize mixed bits=4 group=none by=weights",
	    "group");
	model_unref(m);
}

/* Of two matrices of one size the one that costs more gets more bits. */
static void
what_was_measured_decides(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct op_coded coded[4];
	struct op_calib c = { .coded = coded, .ncoded = 4 };
	struct op_result r;

	for (int turn = 0; turn < 2; turn++) {
		for (int i = 0; i < 4; i++)
			coded[i] = (struct op_coded){ { 0, i < 2 ? SLOT_Q_W :
				SLOT_K_W }, i % 2 == 0 ? 2 : 8,
				(i % 2 == 0 ? 1.0 : 0.1) *
				((i < 2) == (turn == 0) ? 5 : 1) };
		must(m, "quantize mixed L0.q L0.k bits=6 by=sweep widths=2,8", &c,
		    &r);
		assert_int_equal(width_of(r.model->layer[0].t[SLOT_Q_W]),
		    turn == 0 ? 8 : 2);
		assert_int_equal(width_of(r.model->layer[0].t[SLOT_K_W]),
		    turn == 0 ? 2 : 8);
		op_result_free(&r);
	}
	model_unref(m);
}

/* One sample is a set of one part; packed matrices stay. */
static void
small_sets_and_packed_matrices(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *p;
	struct dataset *d = made_data(1);
	struct pare_err err = { 0 };
	struct curvature *k = curvature_new(m, &err);
	struct op_calib c = { .hessian = k };
	struct op_result r;

	assert_int_equal(calibrate_hessian(m, d, 0, k, NULL, &err), PARE_OK);
	assert_int_equal(k->samples, 1);
	for (int i = 0; i < k->n; i++)
		assert_true(k->of[i].deviation == 0);
	must(m, "quantize mixed bits=5 by=hessian", &c, &r);
	op_result_free(&r);
	p = sample_do(m, "quantize L0 bits=8");
	must(p, "quantize mixed bits=7.5 by=weights", NULL, &r);
	assert_non_null(strstr(r.note, "packed before"));
	assert_ptr_equal(r.model->layer[0].t[SLOT_Q_W],
	    p->layer[0].t[SLOT_Q_W]);
	op_result_free(&r);
	model_unref(p);
	curvature_free(k);
	made_data_free(d);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(budgets_are_met),
		cmocka_unit_test(what_cannot_be_met_says_what_can),
		cmocka_unit_test(what_was_measured_decides),
		cmocka_unit_test(small_sets_and_packed_matrices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
