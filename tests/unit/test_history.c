/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tree of states against its invariants: src/session/history.h. */
#include "samples.h"
#include "session/history.h"

static void
grow(struct history *h, const char *line)
{
	struct model *m = sample_do(h->state[h->current].model, line);

	history_add(h, m, line, 0.5);
}

static struct history
start(void)
{
	struct history h;

	history_init(&h, sample_real(&sample_models[0]));
	return h;
}

static void
test_moves(void **state)
{
	struct history h = start();
	struct pare_err err;
	uint64_t hash[3];

	assert_int_equal(h.n, 1);
	assert_int_equal(h.state[0].parent, -1);
	assert_null(h.state[0].command);
	grow(&h, "prune heads L0.h1");
	grow(&h, "prune ffn L1");
	for (int i = 0; i < 3; i++)
		hash[i] = model_hash(h.state[i].model);
	assert_true(hash[0] != hash[1] && hash[1] != hash[2]);
	assert_int_equal(history_redo(&h, 1, &err), PARE_EUSER);
	assert_int_equal(history_undo(&h, 3, &err), PARE_EUSER);
	assert_string_equal(err.hint, "undo 2");
	assert_int_equal(h.current, 2);
	assert_int_equal(history_undo(&h, 2, &err), PARE_OK);
	assert_int_equal(h.current, 0);
	assert_int_equal(history_undo(&h, 1, &err), PARE_EUSER);
	assert_int_equal(history_undo(&h, 0, &err), PARE_EUSER);
	assert_int_equal(history_redo(&h, 3, &err), PARE_EUSER);
	assert_int_equal(h.current, 0);
	assert_int_equal(history_redo(&h, 2, &err), PARE_OK);
	assert_int_equal(h.current, 2);
	for (int i = 0; i < 3; i++)
		assert_true(model_hash(h.state[i].model) == hash[i]);
	history_free(&h);
	assert_int_equal(h.n, 0);
}

static void
test_branches(void **state)
{
	struct history h = start();
	struct pare_err err;
	char *recipe;

	grow(&h, "prune heads L0.h1");
	grow(&h, "prune heads L1.h1");
	assert_int_equal(history_undo(&h, 2, &err), PARE_OK);
	grow(&h, "prune ffn L2");
	assert_int_equal(h.current, 3);
	assert_int_equal(h.state[3].parent, 0);
	/* Redo takes the child visited last. */
	assert_int_equal(history_undo(&h, 1, &err), PARE_OK);
	assert_int_equal(history_redo(&h, 1, &err), PARE_OK);
	assert_int_equal(h.current, 3);
	history_goto(&h, 2);
	assert_int_equal(h.current, 2);
	assert_int_equal(history_undo(&h, 2, &err), PARE_OK);
	assert_int_equal(history_redo(&h, 2, &err), PARE_OK);
	assert_int_equal(h.current, 2);
	recipe = history_recipe(&h, 2);
	assert_string_equal(recipe, "prune heads L0.h1\nprune heads L1.h1\n");
	free(recipe);
	recipe = history_recipe(&h, 3);
	assert_string_equal(recipe, "prune ffn L2\n");
	free(recipe);
	recipe = history_recipe(&h, 0);
	assert_string_equal(recipe, "");
	free(recipe);
	history_free(&h);
}

static void
expect_found(const struct history *h, const char *text, int id)
{
	struct pare_err err;
	int got = -1;

	if (history_find(h, text, &got, &err) != PARE_OK)
		fail_msg("%s: %s", text, err.msg);
	assert_int_equal(got, id);
}

static void
expect_lost(const struct history *h, const char *text)
{
	struct pare_err err;
	int got = -7;

	assert_int_equal(history_find(h, text, &got, &err), PARE_EUSER);
	assert_int_equal(got, -7);
}

static void
test_names(void **state)
{
	static const char *const bad[] = { "", "12", "-3", "original",
		"current", "previous", "two words", "a=b", "#x", "'q'",
		"tab\there", NULL };
	struct history h = start();
	struct pare_err err;

	expect_lost(&h, "previous");
	grow(&h, "prune ffn L0");
	expect_found(&h, "0", 0);
	expect_found(&h, "1", 1);
	expect_found(&h, "", 1);
	expect_found(&h, "current", 1);
	expect_found(&h, "previous", 0);
	expect_found(&h, "original", 0);
	expect_lost(&h, "2");
	expect_lost(&h, "-1");
	expect_lost(&h, "99999999999999999999");
	expect_lost(&h, "small");
	assert_int_equal(history_mark(&h, 1, "small", &err), PARE_OK);
	expect_found(&h, "small", 1);
	assert_int_equal(history_mark(&h, 0, "small", &err), PARE_OK);
	expect_found(&h, "small", 0);
	assert_null(h.state[1].mark);
	assert_int_equal(history_mark(&h, 0, "big", &err), PARE_OK);
	expect_lost(&h, "small");
	for (int i = 0; bad[i] != NULL; i++)
		if (history_mark(&h, 0, bad[i], &err) != PARE_EUSER)
			fail_msg("'%s' became a mark", bad[i]);
	expect_found(&h, "big", 0);
	history_free(&h);
}

static void
test_own_bytes(void **state)
{
	struct history h = start();
	struct totals t;
	const struct layer *l;
	int64_t fresh = 0;

	account_totals(h.state[0].model, 16, false, &t);
	assert_int_equal(history_own_bytes(&h, 0), t.bytes);
	grow(&h, "prune heads L1.h2");
	/* What the cut made anew: q, k, v with their biases, and o. */
	l = &h.state[1].model->layer[1];
	for (int s = SLOT_Q_W; s <= SLOT_O_W; s++)
		fresh += tensor_bytes(l->t[s]);
	assert_int_equal(history_own_bytes(&h, 1), fresh);
	grow(&h, "prune ffn L0");
	assert_int_equal(history_own_bytes(&h, 2), 0);
	history_free(&h);
}

/* Two branches share what neither changed; each adds what it made. */
static void
test_held_bytes(void **state)
{
	struct history h = start();
	int64_t first = history_held_bytes(&h);
	struct pare_err err;

	assert_int_equal(first, history_own_bytes(&h, 0));
	grow(&h, "prune heads L1.h2");
	assert_int_equal(history_undo(&h, 1, &err), PARE_OK);
	grow(&h, "prune heads L0.h1");
	grow(&h, "prune ffn L0");
	assert_int_equal(history_held_bytes(&h), first +
	    history_own_bytes(&h, 1) + history_own_bytes(&h, 2));
	assert_true(history_own_bytes(&h, 2) > 0);
	history_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_branches),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_own_bytes),
		cmocka_unit_test(test_held_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
