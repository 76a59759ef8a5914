/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inspect: the values of tensors: moments, histogram, singular values. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "session/work.h"

/* Spectra are drawn unasked while all of them take about a second. */
static const double spectrum_budget = 2e10;

static const char *const spectrum_choices[] = { "auto", "on", "off", NULL };

static const struct arg_spec inspect_args[] = {
	{ "target", ARG_TARGET, ARG_REQUIRED | ARG_WORD | ARG_REPEAT, 0, 0,
	    NULL, NULL, NULL, "parts to look into" },
	{ "bins", ARG_INT, 0, 1, 4096, "40", NULL, "bins",
	    "of the histogram" },
	{ "spectrum", ARG_CHOICE, 0, 0, 0, "auto", spectrum_choices, NULL,
	    "singular values of matrices; auto leaves out slow ones" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const inspect_examples[] = {
	"inspect L0.q",
	"inspect L0.ffn bins=20 spectrum=off",
	NULL
};

static void
put_stats(const struct tensor_stats *st, const int64_t *counts, int bins,
    json_t *o)
{
	json_t *h = json_object(), *list = json_array();

	result_put_real(o, "min", st->min);
	result_put_real(o, "max", st->max);
	result_put_real(o, "mean", st->mean);
	result_put_real(o, "deviation", st->deviation);
	result_put_real(o, "skewness", st->skewness);
	result_put_real(o, "kurtosis", st->kurtosis);
	result_put_real(o, "abs_mean", st->abs_mean);
	result_put_real(o, "l2", st->l2);
	result_put_int(o, "zeros", st->zeros);
	result_put_int(o, "nans", st->nans);
	result_put_int(o, "infs", st->infs);
	result_put_int(o, "subnormals", st->subnormals);
	for (int i = 0; i < bins; i++)
		json_array_append_new(list, json_integer(counts[i]));
	result_put_real(h, "low", st->min);
	result_put_real(h, "high", st->max);
	json_object_set_new(h, "counts", list);
	json_object_set_new(o, "histogram", h);
}

/* Smallest rank whose squared singular values hold the share of all. */
static void
put_ranks(const float *v, int64_t n, json_t *o)
{
	static const double share[] = { 0.5, 0.8, 0.9, 0.95, 0.99 };
	json_t *list = json_array();
	double all = 0.0;

	for (int64_t i = 0; i < n; i++)
		all += (double)v[i] * v[i];
	for (size_t k = 0; k < sizeof(share) / sizeof(*share); k++) {
		json_t *r = json_object();
		double sum = 0.0;
		int64_t rank = 0;

		while (rank < n && sum < share[k] * all) {
			sum += (double)v[rank] * v[rank];
			rank++;
		}
		result_put_real(r, "energy", share[k]);
		result_put_int(r, "rank", rank);
		json_array_append_new(list, r);
	}
	json_object_set_new(o, "rank_for_energy", list);
}

static enum pare_rc
put_spectrum(const struct tensor *t, json_t *o, struct task *task,
    struct pare_err *err)
{
	json_t *sp, *list;
	float *v;
	int64_t n;
	enum pare_rc rc;

	rc = tensor_spectrum(t, &v, &n, task, err);
	if (rc != PARE_OK)
		return rc;
	sp = json_object();
	list = json_array();
	for (int64_t i = 0; i < n; i++)
		json_array_append_new(list, isfinite(v[i]) ?
		    json_real((double)v[i]) : json_null());
	json_object_set_new(sp, "values", list);
	result_put_int(sp, "break_even_rank", tensor_break_even_rank(t));
	put_ranks(v, n, sp);
	json_object_set_new(o, "spectrum", sp);
	free(v);
	return PARE_OK;
}

static double
spectrum_cost(const struct tensor *t)
{
	double small = (double)(t->rows < t->cols ? t->rows : t->cols);

	return t->ndim == 2 ? 2.0 * (double)t->rows * (double)t->cols * small :
	    0.0;
}

static enum pare_rc
inspect_one(const struct model *m, struct slot_ref ref, int bins,
    bool spectrum, json_t *list, struct task *task, struct pare_err *err)
{
	const struct tensor *t = model_slot(m, ref);
	int64_t *counts = xcalloc((size_t)bins, sizeof(*counts));
	struct tensor_stats st;
	json_t *o = json_object();
	char text[160];
	enum pare_rc rc;

	rc = tensor_measure(t, &st, counts, bins, task, err);
	if (rc == PARE_OK) {
		model_slot_path(ref, text, sizeof(text));
		result_put_text(o, "path", text);
		json_object_set_new(o, "shape", t->ndim == 1 ?
		    json_pack("[I]", (json_int_t)t->cols) :
		    json_pack("[I, I]", (json_int_t)t->rows,
		    (json_int_t)t->cols));
		tensor_describe(t, text, sizeof(text));
		result_put_text(o, "form", text);
		result_put_int(o, "params", tensor_params(t));
		result_put_int(o, "nonzero", tensor_nonzero(t));
		result_put_int(o, "bytes", tensor_bytes(t));
		put_stats(&st, counts, bins, o);
		if (spectrum && st.nans + st.infs == 0)
			rc = put_spectrum(t, o, task, err);
	}
	free(counts);
	if (rc == PARE_OK)
		json_array_append_new(list, o);
	else
		json_decref(o);
	return rc;
}

/* Tied slots are looked at once. */
static bool
wanted(const struct model *m, const struct selection *sel,
    struct slot_ref ref)
{
	struct slot_ref owner = model_owner(m, ref);

	if (!select_has(sel, ref))
		return false;
	return !select_has(sel, owner) || (owner.layer == ref.layer &&
	    owner.slot == ref.slot);
}

static enum pare_rc
inspect_all(const struct model *m, const struct selection *sel,
    const struct arg_list *args, json_t *list, struct notes *notes,
    struct task *task, struct pare_err *err)
{
	const char *mode = arg_choice(args, "spectrum");
	struct slot_ref ref = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;
	double spent = 0.0;
	int left_out = 0;

	while (rc == PARE_OK && model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);
		double cost = spectrum_cost(t);
		bool spectrum = cost > 0.0 && mode[1] != 'f';

		if (!wanted(m, sel, ref))
			continue;
		if (spectrum && mode[0] == 'a' &&
		    spent + cost > spectrum_budget) {
			spectrum = false;
			left_out++;
		}
		if (spectrum)
			spent += cost;
		rc = inspect_one(m, ref, (int)arg_int(args, "bins"), spectrum,
		    list, task, err);
	}
	if (rc == PARE_OK && left_out > 0)
		notes_add(notes, "the spectra of %d large matrices are left "
		    "out; spectrum=on computes them", left_out);
	return rc;
}

static enum pare_rc
run_inspect(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	json_t *list = json_array();
	struct selection sel;
	enum pare_rc rc;

	rc = select_parse(m, arg_text(args, "target"), &sel, err);
	if (rc == PARE_OK) {
		rc = inspect_all(m, &sel, args, list, notes, task, err);
		select_free(&sel);
	}
	if (rc == PARE_OK && json_array_size(list) == 0) {
		err_set(err, PARE_EUSER, "'%s' holds no weights",
		    arg_text(args, "target"));
		rc = err_hint(err, "show by=tensor");
	}
	if (rc == PARE_OK)
		json_object_set(doc, "targets", list);
	json_decref(list);
	return rc;
}

const struct command command_inspect = {
	.name = "inspect",
	.group = GROUP_SEE,
	.help = "Look into tensors: range, moments, histogram, zeros and "
	    "singular values.\n"
	    "break_even_rank is the largest rank at which two factors are "
	    "smaller than the matrix.",
	.examples = inspect_examples,
	.args = inspect_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_inspect,
};
