/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gradients against central differences of the loss, for every kind of slot, on
 * tiny models whose layers all differ.
 */
#include "tiny_model.h"

#include "gradients.h"

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

static void
test_teacher(void **state)
{
	struct tiny t = learnable(), u = learnable();

	u.seed = 5;
	check_taught(tiny_model(&t), 0.1, tiny_model(&u));
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
		cmocka_unit_test(test_teacher),
		cmocka_unit_test(test_low_rank),
		cmocka_unit_test(test_same_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
