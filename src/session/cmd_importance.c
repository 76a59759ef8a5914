/* SPDX-License-Identifier: GPL-3.0-or-later */
/* importance: parts of the model, ranked by what is lost with them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "measure/calibrate.h"
#include "session/calibration.h"
#include "session/work.h"

/* A part and its score. */
struct row {
	double score;
	int64_t index;		/* head (original number), neuron; sub-layer:
				 * 0 attention, 1 FFN; the slot of a matrix */
	int layer;
};

struct ranking {
	enum score_unit unit;
	enum score_kind kind;
	int64_t n, cap;
	struct row *row;
};

static int
compare_rows(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	if (a->layer != b->layer)
		return a->layer < b->layer ? -1 : 1;
	return (a->index > b->index) - (a->index < b->index);
}

static void
add_row(struct ranking *r, int layer, int64_t index, double score)
{
	if (isnan(score))
		return;
	if (r->n == r->cap) {
		r->cap = 2 * r->cap + 64;
		r->row = xrealloc(r->row, (size_t)r->cap * sizeof(*r->row));
	}
	r->row[r->n++] = (struct row){ score, index, layer };
}

/* The original number of the i-th head that is there. */
static int
head_number(const struct layer *y, int64_t i)
{
	int h = 0;

	while (!head_set_has(&y->head, h) || i-- > 0)
		h++;
	return h;
}

static enum pare_rc
rank_layers(struct ranking *r, const struct model *m, const struct op_calib *c,
    uint64_t seed, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int l = 0; l < m->nlayers && rc == PARE_OK; l++) {
		int64_t n = score_count(m, l, r->unit);
		double *v;

		if (!task_tick(task, l, m->nlayers, "layers"))
			return task_error(err);
		v = mem_big((size_t)n + 1, sizeof(*v), err);
		if (v == NULL)
			return PARE_ENOMEM;
		rc = score_layer(r->kind, r->unit, m, c, seed, l, v, err);
		for (int64_t i = 0; i < n && rc == PARE_OK; i++)
			add_row(r, l, r->unit == SCORE_HEADS ?
			    head_number(&m->layer[l], i) : i, v[i]);
		free(v);
	}
	return rc;
}

static enum pare_rc
rank_matrices(struct ranking *r, const struct model *m,
    const struct op_calib *c, uint64_t seed, struct task *task,
    struct pare_err *err)
{
	struct slot_ref ref = SLOT_REF_START;
	enum pare_rc rc = PARE_OK;

	while (rc == PARE_OK && model_next_slot(m, &ref)) {
		struct slot_ref owner = model_owner(m, ref);
		double v;

		if (!slot_table[ref.slot].matrix || owner.layer != ref.layer ||
		    owner.slot != ref.slot)
			continue;
		if (!task_tick(task, ref.layer, m->nlayers, "layers"))
			return task_error(err);
		rc = score_matrix(r->kind, m, c, seed, ref, &v, err);
		if (rc == PARE_OK)
			add_row(r, ref.layer, ref.slot, v);
	}
	return rc;
}

static void
row_path(const struct ranking *r, const struct row *x, char *out, size_t n)
{
	switch (r->unit) {
	case SCORE_HEADS:
		snprintf(out, n, "L%d.h%lld", x->layer, (long long)x->index);
		return;
	case SCORE_NEURONS:
		snprintf(out, n, "L%d.n%lld", x->layer, (long long)x->index);
		return;
	case SCORE_SUBLAYERS:
		snprintf(out, n, "L%d.%s", x->layer, x->index == 0 ? "attn" :
		    "ffn");
		return;
	case SCORE_LAYERS:
		snprintf(out, n, "L%d", x->layer);
		return;
	default:
		model_slot_path((struct slot_ref){ x->layer,
		    (enum slot)x->index }, out, n);
	}
}

static void
put_rows(const struct ranking *r, int64_t top, json_t *doc)
{
	json_t *rows = json_array();

	for (int64_t i = 0; i < r->n && (top == 0 || i < top); i++) {
		json_t *o = json_object();
		char path[96];

		row_path(r, &r->row[i], path, sizeof(path));
		result_put_int(o, "rank", i + 1);
		result_put_text(o, "path", path);
		result_put_int(o, "layer", r->row[i].layer);
		if (r->unit == SCORE_HEADS)
			result_put_int(o, "head", r->row[i].index);
		if (r->unit == SCORE_NEURONS)
			result_put_int(o, "neuron", r->row[i].index);
		result_put_real(o, "score", r->row[i].score);
		json_array_append_new(rows, o);
	}
	json_object_set_new(doc, "rows", rows);
}

/* What of layers is in a neuron ranking, where not all rows are listed. */
static void
put_layers(const struct ranking *r, const struct model *m, json_t *doc)
{
	json_t *list = json_array();

	for (int l = 0; l < m->nlayers; l++) {
		double sum = 0, low = INFINITY, high = -INFINITY;
		json_t *o = json_object();
		int64_t n = 0;

		for (int64_t i = 0; i < r->n; i++) {
			double v = r->row[i].score;

			if (r->row[i].layer != l)
				continue;
			sum += v;
			low = v < low ? v : low;
			high = v > high ? v : high;
			n++;
		}
		result_put_int(o, "layer", l);
		result_put_int(o, "n", n);
		result_put_real(o, "mean", n > 0 ? sum / (double)n : NAN);
		result_put_real(o, "low", low);
		result_put_real(o, "high", high);
		json_array_append_new(list, o);
	}
	json_object_set_new(doc, "by_layer", list);
}

/* For maps of heads. */
static void
keep_heads(struct session *s, const struct ranking *r)
{
	const struct model *m = session_model(s);
	struct head_scores h = { .model = model_hash(m), .kind = r->kind,
		.layers = m->nlayers };

	for (int l = 0; l < m->nlayers; l++)
		if (m->layer[l].heads_original > h.width)
			h.width = m->layer[l].heads_original;
	h.v = xcalloc((size_t)h.layers * (size_t)h.width + 1, sizeof(*h.v));
	for (int i = 0; i < h.layers * h.width; i++)
		h.v[i] = NAN;
	for (int64_t i = 0; i < r->n; i++)
		h.v[r->row[i].layer * h.width + r->row[i].index] =
		    r->row[i].score;
	calibration_keep_heads(s->calibration, &h);
}

static const char *const by_choices[] = { "magnitude", "activation",
	"gradient", "fisher", "lrp", "wanda", "similarity", "random", NULL };
static const char *const unit_choices[] = { "heads", "neurons", "sublayers",
	"layers", "weights", NULL };

static const struct arg_spec importance_args[] = {
	{ "unit", ARG_CHOICE, ARG_REQUIRED | ARG_WORD, 0, 0, NULL,
	    unit_choices, NULL, "what is ranked" },
	{ "by", ARG_CHOICE, 0, 0, 0, NULL, by_choices, NULL,
	    "the measure; gradient, of weights magnitude, unless said" },
	{ "samples", ARG_INT, 0, 0, 1e15, NULL, NULL, "samples",
	    "calib samples to look at, 0 takes all; 512 unless said, of text "
	    "at most windows of 32,768 tokens" },
	{ "top", ARG_INT, 0, 0, 1e15, NULL, NULL, "rows",
	    "rows to list; 0 lists all, as it does but for neurons" },
	{ "seed", ARG_INT, 0, 0, 9007199254740992.0, NULL, NULL, NULL,
	    "of by=random; the setting seed unless said" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const importance_examples[] = {
	"importance heads by=magnitude",
	"importance neurons by=magnitude top=5",
	"importance layers by=random seed=3",
	NULL
};

static enum pare_rc
check_kind(const struct ranking *r, struct pare_err *err)
{
	char *names;

	if ((score_table[r->kind].units & (1u << r->unit)) != 0)
		return PARE_OK;
	names = score_names(r->unit);
	err_set(err, PARE_EUSER, "by: %s cannot rank %s",
	    score_table[r->kind].name, score_unit_names[r->unit]);
	err_hint(err, "by=KIND, one of %s", names);
	free(names);
	return PARE_EUSER;
}

static enum pare_rc
rank(struct session *s, struct ranking *r, const struct arg_list *args,
    json_t *doc, struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const struct score_facts *f = &score_table[r->kind];
	const struct arg_value *samples = arg_get(args, "samples");
	struct op_calib c = { 0 };
	char what[64];
	enum pare_rc rc = PARE_OK;

	snprintf(what, sizeof(what), "by=%s", f->name);
	if (f->needs != 0)
		rc = calibration_get(s, m, f->needs, samples->set ? samples->i :
		    calibrate_samples(s->data[ROLE_CALIB], CALIBRATE_TOKENS),
		    what, &c, notes, task, err);
	if (rc == PARE_OK && (f->needs & OP_NEED_GATES) != 0)
		calibration_doubt(s, m, notes);
	if (rc == PARE_OK)
		rc = r->unit == SCORE_WEIGHTS ? rank_matrices(r, m, &c,
		    work_seed(s, args), task, err) :
		    rank_layers(r, m, &c, work_seed(s, args), task, err);
	if (rc != PARE_OK)
		return rc;
	if (r->n > 0)
		qsort(r->row, (size_t)r->n, sizeof(*r->row), compare_rows);
	result_put_int(doc, "samples", f->needs == 0 ? 0 :
	    c.statistics != NULL && (f->needs & OP_NEED_STATISTICS) != 0 ?
	    c.statistics->samples : (f->needs & OP_NEED_GATES) != 0 ?
	    c.gates->samples : c.relevance->samples);
	return PARE_OK;
}

static enum pare_rc
run_importance(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct ranking r = { .unit = (enum score_unit)arg_get(args,
	    "unit")->i };
	const struct arg_value *by = arg_get(args, "by");
	const struct arg_value *top = arg_get(args, "top");
	double start = task_now();
	enum pare_rc rc;

	r.kind = by->has ? (enum score_kind)by->i : r.unit == SCORE_WEIGHTS ?
	    SCORE_MAGNITUDE : SCORE_GRADIENT;
	result_put_text(doc, "unit", score_unit_names[r.unit]);
	result_put_text(doc, "by", score_table[r.kind].name);
	result_put_text(doc, "measure", score_table[r.kind].text);
	rc = check_kind(&r, err);
	if (rc == PARE_OK)
		rc = rank(s, &r, args, doc, notes, task, err);
	if (rc == PARE_OK) {
		result_put_int(doc, "n", r.n);
		result_put_real(doc, "seconds", task_now() - start);
		put_rows(&r, top->has ? top->i : r.unit == SCORE_NEURONS ? 20 :
		    0, doc);
		if (r.unit == SCORE_HEADS)
			keep_heads(s, &r);
		if (r.unit == SCORE_NEURONS)
			put_layers(&r, session_model(s), doc);
	}
	free(r.row);
	return rc;
}

const struct command command_importance = {
	.name = "importance",
	.group = GROUP_MEASURE,
	.help = "Rank heads, neurons, sub-layers, layers or matrices by what "
	    "they matter.\n"
	    "magnitude: norms of weights. activation: root mean square of what "
	    "they give. wanda: that times the weights that read it. gradient: "
	    "the mean size of the loss's derivative by a gate on the part "
	    "(for heads divided by its norm over the layer); fisher: its mean "
	    "square, sample by sample. lrp: the mean size of the part's share "
	    "in the predicted logit, by layer-wise relevance propagation. "
	    "similarity: 1 - the mean cosine of the stream before and after a "
	    "sub-layer or layer. random: the control.\n"
	    "All but magnitude and random look at the calib samples and never "
	    "at the eval samples: data FILE role=calib. Samples without a "
	    "label stand for what the model predicts. Where it is sure of "
	    "most samples few of them make up the gradients, which a warning "
	    "tells: lrp weighs all alike, and prune with rounds= looks again "
	    "as parts go. What was gathered is "
	    "kept for the models looked at last. prune heads, neurons and "
	    "layers take the same measures as by=. On the full screen the map "
	    "of heads is shaded by the one shown last (s).",
	.examples = importance_examples,
	.args = importance_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_importance,
};
