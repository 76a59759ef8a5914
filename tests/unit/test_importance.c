/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Importances against what they stand for: gate gradients against differences of
 * the loss of models whose matrices were scaled, means against one sample at a
 * time, relevance against the logit it is shares of, moments against sums over
 * a plain pass.
 */
#include "made_data.h"
#include "tiny_model.h"

#include "measure/calibrate.h"
#include "ops/score.h"
#include "tensor/kernel.h"

enum { SAMPLES = 60 };

static const struct tiny odd = {
	.type = "bert", .head = HEAD_CLASSIFY, .hidden = 14, .embed = 14,
	.vocab = 60, .positions = 24, .types = 2, .labels = 3,
	.act = ACT_GELU, .pooler = true, .nlayers = 4,
	.layer = { { 4, 2, 3, 9 }, { 0, 0, 7, 5 }, { 1, 1, 7, 0 },
	    { 2, 2, 5, 17 } },
	.seed = 11
};

static double
loss_of(const struct model *m, const struct sample *s)
{
	int64_t start[] = { 0, s->tokens.n };
	struct batch b = { .nseq = 1, .start = start, .ids = s->tokens.id,
	    .types = s->tokens.type };
	float z[3];
	struct forward f = { .logits = z };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	engine_free(e);
	return log(exp(z[0]) + exp(z[1]) + exp(z[2])) - z[s->label];
}

/* m with columns [from, to) of a matrix, and with all of them the bias, times
 * factor. */
static struct model *
scaled(const struct model *m, struct slot_ref ref, int64_t from, int64_t to,
    float factor, bool with_bias)
{
	const struct tensor *t = model_slot(m, ref);
	struct slot_ref bias = { ref.layer, (enum slot)(ref.slot + 1) };
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct model *out = NULL;
	struct pare_err err;
	struct tensor *n;
	float *v;

	n = tensor_new_f32(2, t->rows, t->cols, &v, NULL);
	tensor_decode(t, 0, t->rows, v);
	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = from; c < to; c++)
			v[r * t->cols + c] *= factor;
	edit_set(e, ref, n);
	if (with_bias) {
		t = model_slot(m, bias);
		n = tensor_new_f32(1, 1, t->cols, &v, NULL);
		tensor_decode(t, 0, 1, v);
		for (int64_t c = 0; c < t->cols; c++)
			v[c] *= factor;
		edit_set(e, bias, n);
	}
	if (edit_commit(e, &out, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return out;
}

static double
difference(const struct model *m, const struct sample *s, struct slot_ref ref,
    int64_t from, int64_t to, bool with_bias)
{
	const float step = 4e-3f;
	struct model *up = scaled(m, ref, from, to, 1 + step,
	    with_bias);
	struct model *down = scaled(m, ref, from, to, 1 - step,
	    with_bias);
	double d = (loss_of(up, s) - loss_of(down, s)) / (2 * (double)step);

	model_unref(up);
	model_unref(down);
	return d;
}

/* The gates of one sample, all at once. */
static double *
gates_of(const struct model *m, const struct dataset *d, int64_t sample,
    bool relevance, double *loss)
{
	const struct sample *s = &d->sample[sample];
	const int32_t *ids[] = { s->tokens.id }, *types[] = { s->tokens.type };
	struct train_data data = { 1, ids, types, &s->tokens.n, &s->label,
	    (float[]){ NAN } };
	struct pare_err err = { 0 };
	struct gates *g = gates_new(m, &err);
	double *out;

	if (g == NULL)
		fail_msg("%s", err.msg);
	out = xcalloc((size_t)gates_layout(g)->n, sizeof *out);
	assert_int_equal(gates_run(g, &data, (int64_t[]){ 0 }, 1, relevance,
	    out, loss, NULL, &err), PARE_OK);
	gates_free(g);
	return out;
}

/* The mean loss of the tokens of a sample but the first. */
static double
text_loss(const struct model *m, const struct sample *s)
{
	int64_t start[] = { 0, s->tokens.n }, vocab = m->hp.vocab;
	struct batch b = { .nseq = 1, .start = start, .ids = s->tokens.id };
	float *z = xcalloc((size_t)(s->tokens.n * vocab), sizeof *z);
	struct forward f = { .logits = z };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	double loss = 0;

	if (engine_forward(e, m, &b, &f, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	for (int t = 0; t + 1 < s->tokens.n; t++) {
		double sum = 0;

		for (int64_t c = 0; c < vocab; c++)
			sum += exp(z[t * vocab + c]);
		loss += log(sum) - z[t * vocab + s->tokens.id[t + 1]];
	}
	engine_free(e);
	free(z);
	return loss / (s->tokens.n - 1);
}

static void
assert_close(const char *what, int layer, int64_t i, double got, double want)
{
	if (!(fabs(got - want) < 2e-3 + 2e-2 * fabs(want)))
		fail_msg("%s %d.%d: %g, expected %g", what, layer, (int)i, got,
		    want);
}

static void
check_layer_gates(const struct model *m, const struct sample *s,
    const struct gates_layout *a, const double *g, int l, double *most)
{
	const struct layer *y = &m->layer[l];
	struct slot_ref o = { l, SLOT_O_W }, down = { l, SLOT_DOWN_W };

	for (int64_t h = 0; h < y->heads; h++) {
		double want = difference(m, s, o, h * y->head_dim,
		    (h + 1) * y->head_dim, false);

		assert_close("head", l, h, g[a->heads[l] + h], want);
		*most = fabs(want) > *most ? fabs(want) : *most;
	}
	for (int64_t i = 0; i < y->ffn; i++)
		assert_close("neuron", l, i, g[a->neurons[l] + i],
		    difference(m, s, down, i, i + 1, false));
	if (y->heads > 0)
		assert_close("attention", l, 0, g[a->attention[l]],
		    difference(m, s, o, 0, model_slot(m, o)->cols, true));
	if (y->ffn > 0)
		assert_close("ffn", l, 0, g[a->ffn[l]],
		    difference(m, s, down, 0, y->ffn, true));
}

static void
test_gate_gradients(void **state)
{
	struct model *m = tiny_model(&odd);
	struct dataset *d = made_data(SAMPLES);
	struct gates_layout a;
	double most = 0, loss;

	gates_layout_make(&a, m);
	for (int64_t i = 0; i < 2; i++) {
		double *g = gates_of(m, d, i, false, &loss);

		assert_close("loss", 0, i, loss, loss_of(m, &d->sample[i]));
		for (int l = 0; l < m->nlayers; l++)
			check_layer_gates(m, &d->sample[i], &a, g, l, &most);
		free(g);
	}
	assert_true(most > 0.05);
	gates_layout_free(&a);
	made_data_free(d);
	model_unref(m);
}

/* x + g (f(x) - x) instead of f(x), by beginning behind the layer. */
static double
layer_loss(const struct model *m, const struct sample *s, int l, float g)
{
	int64_t start[] = { 0, s->tokens.n }, n = s->tokens.n * m->hp.hidden;
	struct batch b = { .nseq = 1, .start = start, .ids = s->tokens.id,
	    .types = s->tokens.type };
	float *keep[8] = { NULL }, z[3];
	struct forward f = { .logits = z, .keep = keep };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };

	keep[l] = xcalloc((size_t)n, sizeof(float));
	keep[l + 1] = xcalloc((size_t)n, sizeof(float));
	assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	for (int64_t i = 0; i < n; i++)
		keep[l][i] += g * (keep[l + 1][i] - keep[l][i]);
	f = (struct forward){ .logits = z, .input = keep[l], .from = l + 1 };
	assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	free(keep[l]);
	free(keep[l + 1]);
	engine_free(e);
	return log(exp(z[0]) + exp(z[1]) + exp(z[2])) - z[s->label];
}

static void
test_layer_gates(void **state)
{
	struct model *m = tiny_model(&odd);
	struct dataset *d = made_data(SAMPLES);
	struct gates_layout a;
	double loss, *g = gates_of(m, d, 1, false, &loss);

	gates_layout_make(&a, m);
	for (int l = 0; l + 1 < m->nlayers; l++)
		assert_close("layer", l, 0, g[a.layer[l]],
		    (layer_loss(m, &d->sample[1], l, 1.004f) -
		    layer_loss(m, &d->sample[1], l, 0.996f)) / 0.008);
	free(g);
	gates_layout_free(&a);
	made_data_free(d);
	model_unref(m);
}

/* Batches and threads make no difference; means are those of single samples, and
 * labels that are missing are the ones predicted. */
static void
test_means(void **state)
{
	struct model *m = tiny_model(&odd);
	struct dataset *d = made_data(SAMPLES);
	struct gates_means one, many;
	struct pare_err err = { 0 };
	double *size, *square, loss, all = 0, squares = 0;
	int64_t labelled = 0;

	kernel_set_threads(3);
	assert_int_equal(calibrate_gates(m, d, 0, false, &many, NULL, &err),
	    PARE_OK);
	kernel_set_threads(1);
	assert_int_equal(calibrate_gates(m, d, 0, false, &one, NULL, &err),
	    PARE_OK);
	assert_memory_equal(one.size, many.size, (size_t)one.at.n * 8);
	assert_memory_equal(one.square, many.square, (size_t)one.at.n * 8);
	size = xcalloc((size_t)one.at.n, sizeof *size);
	square = xcalloc((size_t)one.at.n, sizeof *square);
	for (int64_t i = 0; i < d->n; i++) {
		double *g = gates_of(m, d, i, false, &loss), sum = 0;

		labelled += d->sample[i].label >= 0;
		for (int64_t k = 0; k < one.at.n; k++) {
			size[k] += fabs(g[k]) / SAMPLES;
			square[k] += g[k] * g[k] / SAMPLES;
			sum += g[k] * g[k];
		}
		all += sum;
		squares += sum * sum;
		free(g);
	}
	assert_close("weight", 0, 0, one.weight, all * all / squares);
	assert_true(one.weight > 1 && one.weight < SAMPLES);
	assert_int_equal(one.samples, SAMPLES);
	assert_int_equal(one.labelled, labelled);
	assert_true(labelled < SAMPLES);
	for (int64_t k = 0; k < one.at.n; k++) {
		assert_true(fabs(size[k] - one.size[k]) <
		    1e-6 + 1e-4 * size[k]);
		assert_true(fabs(square[k] - one.square[k]) <
		    1e-6 + 1e-4 * square[k]);
	}
	free(size);
	free(square);
	gates_means_free(&one);
	gates_means_free(&many);
	made_data_free(d);
	model_unref(m);
}

/* ---- relevance ---- */

/* m without biases: all relevance is that of the inputs. */
static struct model *
unbiased(const struct model *m)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct slot_ref ref = SLOT_REF_START;
	struct model *out = NULL;
	struct pare_err err;
	float *v;

	while (model_next_slot(m, &ref)) {
		int64_t n = model_slot(m, ref)->cols;
		struct tensor *t;

		if (strstr(slot_table[ref.slot].name, "bias") == NULL)
			continue;
		t = tensor_new_f32(1, 1, n, &v, NULL);
		memset(v, 0, (size_t)n * sizeof *v);
		edit_set(e, ref, t);
	}
	assert_int_equal(edit_commit(e, &out, &err), PARE_OK);
	return out;
}

/* What a layer's heads, neurons, and sub-layers have, and what of the logit comes
 * through the stream: all of it. */
static void
test_conservation(void **state)
{
	struct model *biased = tiny_model(&odd), *m = unbiased(biased);
	struct dataset *d = made_data(SAMPLES);
	struct gates_layout a;

	gates_layout_make(&a, m);
	for (int64_t i = 0; i < 4; i++) {
		double logit, *g = gates_of(m, d, i, true, &logit);

		assert_true(fabs(logit) > 1e-3);
		for (int l = 0; l < m->nlayers; l++) {
			const struct layer *y = &m->layer[l];
			double heads = 0, neurons = 0;

			for (int h = 0; h < y->heads; h++)
				heads += g[a.heads[l] + h];
			for (int64_t k = 0; k < y->ffn; k++)
				neurons += g[a.neurons[l] + k];
			assert_close("heads", l, i, heads, y->heads > 0 ?
			    g[a.attention[l]] : 0);
			assert_close("neurons", l, i, neurons, y->ffn > 0 ?
			    g[a.ffn[l]] : 0);
			assert_close("stream", l, i, g[a.stream[l]], logit);
		}
		free(g);
	}
	gates_layout_free(&a);
	made_data_free(d);
	model_unref(m);
	model_unref(biased);
}

/* ---- moments ---- */

struct seen {
	int layer;
	int64_t rows;
	double sum, square, cross;	/* of column 2, and its product with 0 */
};

/* The FFN's neurons of one layer, a row at a time: independent of moments.c. */
static void
look(void *ctx, int layer, enum engine_place place, const float *x,
    int64_t rows, int64_t cols)
{
	struct seen *s = ctx;

	if (layer != s->layer)
		return;
	for (int64_t r = 0; r < rows && place == ENGINE_SEES_DOWN; r++) {
		const float *v = x + r * cols;

		s->rows++;
		s->sum += v[2];
		s->square += (double)v[2] * v[2];
		s->cross += (double)v[0] * v[2];
	}
}

static void
check_moments(const struct model *m, const struct dataset *d,
    const struct statistics *s, int l)
{
	struct seen seen = { .layer = l };
	struct engine_watch watch = { look, &seen };
	const struct moments *x = statistics_of(s, (struct slot_ref){ l,
	    SLOT_DOWN_W });
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	float z[3];

	for (int64_t i = 0; i < d->n; i++) {
		int64_t start[] = { 0, d->sample[i].tokens.n };
		struct batch b = { 1, start, d->sample[i].tokens.id,
		    d->sample[i].tokens.type };
		struct forward f = { .logits = z, .watch = &watch };

		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
	}
	engine_free(e);
	if (m->layer[l].ffn == 0) {
		assert_null(x);
		return;
	}
	/* Behind the last attention of a classifier: token 0 alone. */
	assert_int_equal(x->rows, l == 3 ? d->n : s->tokens);
	assert_int_equal(x->rows, seen.rows);
	assert_true(fabs(x->sum[2] - seen.sum) < 1e-3);
	assert_true(fabs(x->square[2] - seen.square) < 1e-3);
	assert_true(fabs(x->gram[2] - seen.cross) < 1e-2);
	assert_true(fabs(x->gram[2 * x->cols] - seen.cross) < 1e-2);
	assert_true(fabs(x->gram[2 * x->cols + 2] - seen.square) < 1e-2);
}

/* What a layer turns the stream, from its inputs as a pass keeps them. */
static double
turn_of(const struct model *m, const struct dataset *d, int l)
{
	const int64_t w = m->hp.hidden;
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	double sum = 0;
	int64_t n = 0;

	for (int64_t i = 0; i < d->n; i++) {
		int64_t start[] = { 0, d->sample[i].tokens.n };
		struct batch b = { 1, start, d->sample[i].tokens.id,
		    d->sample[i].tokens.type };
		float z[3], in[64 * 24], out[64 * 24], *keep[8] = { NULL };
		struct forward f = { .logits = z, .keep = keep };

		keep[l] = in;
		keep[l + 1] = out;
		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
		for (int64_t r = 0; r < start[1]; r++, n++) {
			double ab = 0, aa = 0, bb = 0;

			for (int64_t c = r * w; c < (r + 1) * w; c++) {
				ab += (double)in[c] * out[c];
				aa += (double)in[c] * in[c];
				bb += (double)out[c] * out[c];
			}
			sum += 1 - ab / sqrt(aa * bb);
		}
	}
	engine_free(e);
	return sum / (double)n;
}

static void
test_similarity(void **state)
{
	struct model *m = tiny_model(&odd);
	struct dataset *d = made_data(SAMPLES);
	struct op_calib c = { 0 };
	struct statistics *s;
	struct pare_err err = { 0 };
	double got;

	assert_int_equal(calibrate_statistics(m, d, 0, NULL, &s, NULL, &err),
	    PARE_OK);
	c.statistics = s;
	for (int l = 0; l < 3; l++) {
		assert_int_equal(score_layer(SCORE_SIMILARITY, SCORE_LAYERS, m,
		    &c, 0, l, &got, &err), PARE_OK);
		assert_true(fabs(got - turn_of(m, d, l)) < 1e-5);
	}
	statistics_free(s);
	made_data_free(d);
	model_unref(m);
}

static void
test_statistics(void **state)
{
	struct model *m = tiny_model(&odd);
	struct dataset *d = made_data(SAMPLES);
	bool gram[4 * MOMENTS_PLACES];
	struct statistics *s;
	struct pare_err err = { 0 };
	int64_t tokens = 0;

	for (int i = 0; i < 4 * MOMENTS_PLACES; i++)
		gram[i] = i % MOMENTS_PLACES == ENGINE_SEES_DOWN;
	assert_int_equal(calibrate_statistics(m, d, 0, gram, &s, NULL, &err),
	    PARE_OK);
	for (int64_t i = 0; i < d->n; i++)
		tokens += d->sample[i].tokens.n;
	assert_int_equal(s->tokens, tokens);
	assert_int_equal(s->samples, d->n);
	for (int l = 0; l < m->nlayers; l++)
		check_moments(m, d, s, l);
	statistics_free(s);
	made_data_free(d);
	model_unref(m);
}

/* What is missing is said, with what to type. */
static void
test_refusals(void **state)
{
	struct model *m = tiny_model(&odd);
	struct dataset *d = made_data(SAMPLES);
	struct gates_means g;
	struct statistics *s;
	struct pare_err err = { 0 };
	struct task task = { .cancel = true };
	double v[32];

	assert_int_equal(score_layer(SCORE_GRADIENT, SCORE_HEADS, m, NULL, 0,
	    0, v, &err), PARE_EUSER);
	assert_string_equal(err.hint, "data FILE role=calib");
	assert_int_equal(score_layer(SCORE_SIMILARITY, SCORE_HEADS, m, NULL,
	    0, 0, v, &err), PARE_EUSER);
	assert_int_equal(calibrate_gates(m, d, 0, false, &g, &task, &err),
	    PARE_ECANCELED);
	assert_int_equal(calibrate_statistics(m, d, 0, NULL, &s, &task, &err),
	    PARE_ECANCELED);
	d->encoded = false;
	assert_int_equal(calibrate_gates(m, d, 0, false, &g, NULL, &err),
	    PARE_EUSER);
	made_data_free(d);
	model_unref(m);
}

/* Gates of a decoder against differences of each sample's own loss, of samples
 * of unlike length in one batch. */
static void
test_text_gates(void **state)
{
	static const char *const names[] = { "gpt2", "llama of groups" };
	struct dataset *d = made_data(2);

	made_data_single(d);
	d->sample[1].tokens.n = d->sample[0].tokens.n > 9 ? 5 : 15;
	d->sample[1].tokens.id = xrealloc(d->sample[1].tokens.id, 15 *
	    sizeof(int32_t));
	for (int k = 0; k < d->sample[1].tokens.n; k++)
		d->sample[1].tokens.id[k] = 7 * k % 60;
	for (int i = 0; i < 2; i++) {
		struct model *m = sample_real(sample_named(names[i]));
		const int32_t *ids[] = { d->sample[0].tokens.id,
			d->sample[1].tokens.id };
		int len[] = { d->sample[0].tokens.n, d->sample[1].tokens.n };
		struct train_data data = { .n = 2, .ids = ids, .len = len };
		struct pare_err err = { 0 };
		struct gates *g = gates_new(m, &err);
		const struct gates_layout *a;
		double *out, loss, most = 0;

		assert_non_null(g);
		a = gates_layout(g);
		out = xcalloc((size_t)a->n * 2, sizeof *out);
		assert_int_equal(gates_run(g, &data, (int64_t[]){ 0, 1 }, 2,
		    false, out, &loss, NULL, &err), PARE_OK);
		for (int s = 0; s < 2; s++)
			for (int h = 0; h < m->layer[1].heads; h++) {
				int64_t from = h * m->layer[1].head_dim;
				int64_t to = from + m->layer[1].head_dim;
				struct slot_ref o = { 1, SLOT_O_W };
				struct model *up = scaled(m, o, from, to,
				    1.004f, false);
				struct model *down = scaled(m, o, from, to,
				    0.996f, false);
				double want = (text_loss(up, &d->sample[s]) -
				    text_loss(down, &d->sample[s])) / 0.008;

				assert_close("head", 1, h, out[s * a->n +
				    a->heads[1] + h], want);
				most = fmax(most, fabs(want));
				model_unref(up);
				model_unref(down);
			}
		assert_true(most > 1e-3);
		free(out);
		gates_free(g);
		model_unref(m);
	}
	made_data_free(d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_gates),
		cmocka_unit_test(test_gate_gradients),
		cmocka_unit_test(test_layer_gates),
		cmocka_unit_test(test_means),
		cmocka_unit_test(test_conservation),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_similarity),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
