/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gradients against central differences of the loss, for every kind of slot, on
 * tiny models whose layers all differ.
 */
#include "tiny_model.h"

#include "engine/train.h"

enum { SAMPLES = 5, PLACES = 10 };

struct set {
	struct train_data d;
	int32_t token[SAMPLES][16], type[SAMPLES][16];
	const int32_t *ids[SAMPLES], *types[SAMPLES];
	int len[SAMPLES], label[SAMPLES];
	float score[SAMPLES];
};

static void
set_fill(struct set *s, const struct model *m)
{
	static const int len[SAMPLES] = { 4, 1, 7, 11, 2 };
	struct rng r;

	rng_seed(&r, 99);
	for (int i = 0; i < SAMPLES; i++) {
		for (int j = 0; j < len[i]; j++) {
			s->token[i][j] = (int32_t)rng_below(&r,
			    (uint64_t)m->hp.vocab);
			s->type[i][j] = m->hp.types > 1 ? j % 2 : 0;
		}
		s->ids[i] = s->token[i];
		s->types[i] = s->type[i];
		s->len[i] = len[i];
		s->label[i] = (int)rng_below(&r, (uint64_t)m->hp.labels);
		s->score[i] = rng_normal(&r);
	}
	s->d = (struct train_data){ SAMPLES, s->ids, s->types, s->len,
	    s->label, s->score };
}

/* Order of the batch: not that of the data. */
static const int64_t order[SAMPLES] = { 3, 0, 4, 2, 1 };

static double
loss_now(struct trainer *t, const struct set *s)
{
	double loss;
	struct pare_err err;

	if (trainer_gradient(t, &s->d, order, SAMPLES, &loss, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	return loss;
}

/* Places of a slot worth a look; embedding rows that the samples use. */
static void
pick(const struct model *m, const struct set *s, struct slot_ref ref, int i,
    struct rng *r, int64_t *row, int64_t *col)
{
	const struct tensor *t = model_slot(m, ref);
	int64_t rows = t->rows, cols = t->cols;

	*row = (int64_t)rng_below(r, (uint64_t)rows);
	if (ref.slot == SLOT_WORD)
		*row = s->token[i % SAMPLES][0];
	if (ref.slot == SLOT_POSITION)
		*row = m->hp.position_offset + i;
	if (t->form == FORM_LOWRANK) {
		cols = tensor_rank(t);
		if (i % 2 == 1) {
			*row = rows + (int64_t)rng_below(r, (uint64_t)cols);
			cols = t->cols;
		}
	}
	*col = (int64_t)rng_below(r, (uint64_t)cols);
}

/* How far the gradients a are from differences at the same places. */
static double
distance(struct trainer *t, const struct set *s, struct slot_ref ref,
    const int64_t *row, const int64_t *col, const double *a, float delta,
    double *size)
{
	double error = 0, high, low, n;

	*size = 0;
	for (int i = 0; i < PLACES; i++) {
		trainer_nudge(t, ref, row[i], col[i], delta);
		high = loss_now(t, s);
		trainer_nudge(t, ref, row[i], col[i], -2 * delta);
		low = loss_now(t, s);
		trainer_nudge(t, ref, row[i], col[i], delta);
		n = (high - low) / (2 * (double)delta);
		error += (n - a[i]) * (n - a[i]);
		*size += n * n;
	}
	*size = sqrt(*size);
	return sqrt(error);
}

/* A kink of ReLU inside the step spoils a difference: then a smaller step. */
static void
check_slot(struct trainer *t, const struct model *m, const struct set *s,
    struct slot_ref ref, struct rng *r, double *largest)
{
	int64_t row[PLACES], col[PLACES];
	double a[PLACES], error, size;
	char path[96];

	model_slot_path(ref, path, sizeof(path));
	loss_now(t, s);
	for (int i = 0; i < PLACES; i++) {
		pick(m, s, ref, i, r, &row[i], &col[i]);
		a[i] = trainer_gradient_at(t, ref, row[i], col[i]);
	}
	error = distance(t, s, ref, row, col, a, 4e-3f, &size);
	if (error > 1e-2 * size + 3e-4)
		error = distance(t, s, ref, row, col, a, 5e-4f, &size);
	*largest = size > *largest ? size : *largest;
	if (!(error <= 1e-2 * size + 3e-4))
		fail_msg("%s: differences %g, off by %g", path, size, error);
	if (size == 0 && ref.slot != SLOT_K_B)
		fail_msg("%s: nothing depends on it", path);
}

static void
check_model(struct model *m, double smoothing)
{
	const struct train_options o = { .rate = 1e-3, .batch = 4,
	    .epochs = 1, .dropout = 0.3, .label_smoothing = smoothing };
	struct pare_err err;
	struct trainer *t = trainer_new(m, &o, &err);
	struct slot_ref ref = SLOT_REF_START;
	struct set s;
	struct rng r;
	double largest = 0;

	if (!t)
		fail_msg("%s", err.msg);
	rng_seed(&r, 4);
	set_fill(&s, m);
	while (model_next_slot(m, &ref))
		check_slot(t, m, &s, ref, &r, &largest);
	assert_true(largest > 0.05);
	trainer_free(t);
	model_unref(m);
}

static struct tiny
learnable(void)
{
	struct tiny t = tiny_odd;

	t.hidden = t.embed = 14;
	t.layer[0] = (struct tiny_layer){ 4, 2, 3, 9 };
	return t;
}

static void
test_bert(void **state)
{
	struct tiny t = learnable();

	check_model(tiny_model(&t), 0);
}

static void
test_smoothing(void **state)
{
	struct tiny t = learnable();

	t.nlayers = 1;
	t.act = ACT_GELU_TANH;
	check_model(tiny_model(&t), 0.2);
}

static void
test_distilbert(void **state)
{
	struct tiny t = learnable();

	t.type = "distilbert";
	t.types = 0;
	t.pooler = false;
	t.dense = true;
	t.head_act = ACT_RELU;
	check_model(tiny_model(&t), 0);
}

static void
test_electra(void **state)
{
	struct tiny t = learnable();

	t.type = "electra";
	t.embed = 9;
	t.pooler = false;
	t.dense = true;
	t.head_act = ACT_GELU;
	check_model(tiny_model(&t), 0);
}

static void
test_albert(void **state)
{
	struct tiny t = learnable();

	t.type = "albert";
	t.embed = 9;
	t.tied = true;
	t.act = ACT_GELU_TANH;
	check_model(tiny_model(&t), 0);
}

static void
test_regress(void **state)
{
	struct tiny t = learnable();

	t.head = HEAD_REGRESS;
	t.labels = 1;
	t.act = ACT_SILU;
	check_model(tiny_model(&t), 0);
}

static void
test_other_activations(void **state)
{
	static const enum act_kind kinds[] = { ACT_GELU_QUICK, ACT_TANH,
	    ACT_LINEAR };
	struct tiny t = learnable();

	t.nlayers = 1;
	t.dense = true;
	for (int i = 0; i < 3; i++) {
		t.act = t.head_act = kinds[i];
		check_model(tiny_model(&t), 0);
	}
}

/* Both factors of every low-rank slot, the embeddings' too. */
static void
test_low_rank(void **state)
{
	static const enum slot body[] = { SLOT_WORD, SLOT_POSITION,
	    SLOT_PROJ_W, SLOT_HOUT_W, SLOT_POOL_W };
	static const enum slot layer[] = { SLOT_Q_W, SLOT_V_W, SLOT_O_W,
	    SLOT_UP_W, SLOT_DOWN_W };
	struct tiny t = learnable();
	struct model *m, *low = NULL;
	struct pare_err err;
	struct edit *e;

	t.type = "albert";
	t.embed = 9;
	m = tiny_model(&t);
	e = edit_begin(m, EDIT_REAL, 1, NULL);
	for (int i = 0; i < 5; i++) {
		const struct slot_ref a = { -1, body[i] }, b = { 0, layer[i] };

		edit_set(e, a, tiny_low_rank(model_slot(m, a), 2, 5));
		edit_set(e, b, tiny_low_rank(model_slot(m, b), 3, 6));
	}
	assert_int_equal(edit_commit(e, &low, &err), PARE_OK);
	model_unref(m);
	check_model(low, 0);
}

/* The loss of the trainer is that of the engine's logits. */
static void
test_same_pass(void **state)
{
	struct tiny t = learnable();
	struct model *m = tiny_model(&t);
	const struct train_options o = { .batch = 1, .epochs = 1 };
	struct pare_err err;
	struct trainer *r = trainer_new(m, &o, &err);
	struct engine *e = engine_new();
	struct set s;
	float z[3];
	struct forward f = { .logits = z };

	set_fill(&s, m);
	for (int64_t i = 0; i < SAMPLES; i++) {
		int64_t start[2] = { 0, s.len[i] };
		struct batch b = { 1, start, s.ids[i], s.types[i] };
		double loss, sum;

		assert_int_equal(engine_forward(e, m, &b, &f, &err), PARE_OK);
		sum = exp(z[0]) + exp(z[1]) + exp(z[2]);
		assert_int_equal(trainer_gradient(r, &s.d, &i, 1, &loss, &err),
		    PARE_OK);
		if (!(fabs(loss - log(sum) + z[s.label[i]]) < 1e-5))
			fail_msg("sample %d: %g", (int)i, loss);
	}
	engine_free(e);
	trainer_free(r);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bert),
		cmocka_unit_test(test_smoothing),
		cmocka_unit_test(test_distilbert),
		cmocka_unit_test(test_electra),
		cmocka_unit_test(test_albert),
		cmocka_unit_test(test_regress),
		cmocka_unit_test(test_other_activations),
		cmocka_unit_test(test_low_rank),
		cmocka_unit_test(test_same_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
