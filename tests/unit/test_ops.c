/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The laws of ops, over the whole table and every sample model, with no code
 * for any single op: a new op is tested by being in the table.
 */
#include "samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tensor/kernel.h"

enum { TOKENS = 17, SEQUENCES = 2, TICKS = 10, ALLOCATIONS = 400 };

/* What every law gets. */
struct law {
	const struct sample_model *sample;
	const struct model *m;
	const struct op *op;
	const char *line;
	bool tells;		/* its note is of what was measured */
};

/* Lines that tell what they measured, which an estimate cannot: no examples of the
 * table, whose notes have to agree. */
static const char *const telling[] = { "quantize L*.ffn bits=2 residual=2",
    "share L0-1 difference=1", "share L* difference=2 to=mean part=ffn" };
enum { TELLING = sizeof telling / sizeof *telling };

#define SAY(l, what) \
	fail_msg("%s: %s: %s", (l)->sample->name, (l)->line, what)

typedef void law_check(const struct law *l);

static void
each_example(law_check *check, bool ghost)
{
	for (int s = 0; s < SAMPLE_MODELS; s++) {
		struct model *m = ghost ? sample_ghost(&sample_models[s]) :
		    sample_real(&sample_models[s]);

		for (int i = 0; op_table[i] != NULL; i++)
			for (int k = 0; op_table[i]->examples[k] != NULL; k++) {
				struct law l = { &sample_models[s], m,
				    op_table[i], op_table[i]->examples[k],
				    false };

				check(&l);
			}
		for (int i = 0; i < TELLING; i++) {
			struct sample_line parsed;
			struct law l = { &sample_models[s], m, NULL,
			    telling[i], true };
			struct pare_err err = { 0 };

			if (sample_parse(telling[i], &parsed, &err) != PARE_OK)
				SAY(&l, err.msg);
			l.op = parsed.op;
			sample_line_free(&parsed);
			check(&l);
		}
		model_unref(m);
	}
}

static void
expect_equal(const struct law *l, const struct totals *a,
    const struct totals *b, const char *which)
{
	if (a->params == b->params && a->nonzero == b->nonzero &&
	    a->bytes == b->bytes && a->macs == b->macs &&
	    a->tensors == b->tensors)
		return;
	fail_msg("%s: %s: %s: estimate %lld params %lld nonzero %lld bytes "
	    "%lld macs %d tensors, result %lld %lld %lld %lld %d",
	    l->sample->name, l->line, which, (long long)a->params,
	    (long long)a->nonzero, (long long)a->bytes, (long long)a->macs,
	    a->tensors, (long long)b->params, (long long)b->nonzero,
	    (long long)b->bytes, (long long)b->macs, b->tensors);
}

/* ---- tables ---- */

static void
test_table(void **state)
{
	for (int i = 0; op_table[i] != NULL; i++) {
		const struct op *o = op_table[i];
		const char *eol = strchr(o->help, '\n');
		int n = 0;

		assert_non_null(o->verb);
		assert_non_null(o->title);
		assert_non_null(eol);
		assert_int_equal(eol[-1], '.');
		assert_int_not_equal(o->help[strlen(o->help) - 1], '\n');
		for (n = 0; o->args[n].name != NULL; n++) {
			assert_non_null(o->args[n].text);
			assert_true(o->args[n].type != ARG_CHOICE ||
			    o->args[n].choices != NULL);
		}
		assert_true(n > 0 && n <= ARG_MAX);
		for (n = 0; o->examples[n] != NULL; n++) {
			struct sample_line l;
			struct pare_err err = { 0 };

			if (sample_parse(o->examples[n], &l, &err) != PARE_OK)
				fail_msg("%s: %s", o->examples[n], err.msg);
			assert_ptr_equal(l.op, o);
			sample_line_free(&l);
		}
		assert_true(n >= 2);
	}
}

static void
test_find(void **state)
{
	static const char *const wrong[][2] = {
		{ "prune", "heads, neurons" }, { "prune hedas L0", "heads" },
		{ "qantize all", "quantize" }, { "", "prune" },
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct pare_err err = { 0 };
		struct sample_line l;

		assert_int_equal(sample_parse(wrong[i][0], &l, &err),
		    PARE_EUSER);
		if (strstr(err.msg, wrong[i][1]) == NULL &&
		    strstr(err.hint, wrong[i][1]) == NULL)
			fail_msg("'%s': %s (%s)", wrong[i][0], err.msg,
			    err.hint);
	}
}

/* ---- estimate, result, hashes ---- */

static void
check_result(const struct law *l)
{
	struct op_result estimate, result, again;
	struct pare_err err = { 0 };
	uint64_t hash = model_hash(l->m);
	struct slot_ref ref = SLOT_REF_START;

	if (sample_run(op_estimate, l->m, l->line, NULL, &estimate, &err) !=
	    PARE_OK)
		SAY(l, err.msg);
	if (sample_run(op_apply, l->m, l->line, NULL, &result, &err) != PARE_OK)
		SAY(l, err.msg);
	assert_int_equal(sample_run(op_apply, l->m, l->line, NULL, &again,
	    &err), PARE_OK);
	if (model_hash(l->m) != hash)
		SAY(l, "the input changed");
	if (model_hash(result.model) != model_hash(again.model))
		SAY(l, "same line and seed, other hash");
	expect_equal(l, &estimate.before, &result.before, "before");
	expect_equal(l, &estimate.after, &result.after, "after");
	if (!l->tells && ((estimate.note == NULL) != (result.note == NULL) ||
	    (result.note != NULL && strcmp(estimate.note, result.note) != 0)))
		SAY(l, "the notes differ");
	while (model_next_slot(result.model, &ref))
		if (model_slot(result.model, ref)->ghost != l->m->ghost)
			SAY(l, "a ghost among weights, or the reverse");
	op_result_free(&estimate);
	op_result_free(&result);
	op_result_free(&again);
}

static void
test_result(void **state)
{
	each_example(check_result, false);
}

static void
test_ghost(void **state)
{
	each_example(check_result, true);
}

/* ---- numeric bounds ---- */

static void
expect_bound(const struct law *l, const struct arg_spec *a, double value)
{
	char *line = str_format("%s %s=%.12g", l->line, a->name, value);
	struct pare_err err = { 0 };
	struct op_result r;

	if (sample_run(op_apply, l->m, line, NULL, &r, &err) != PARE_EUSER)
		fail_msg("%s: not refused", line);
	if (strstr(err.msg, a->name) == NULL)
		fail_msg("%s: '%s' does not name %s", line, err.msg, a->name);
	free(line);
}

static void
check_bounds(const struct law *l)
{
	for (const struct arg_spec *a = l->op->args; a->name != NULL; a++) {
		double eps = a->type == ARG_INT ? 1 : 1e-6;

		if ((a->type != ARG_INT && a->type != ARG_REAL) ||
		    (a->min == 0 && a->max == 0))
			continue;
		expect_bound(l, a, a->min - eps);
		expect_bound(l, a, a->max + eps);
	}
}

static void
test_bounds(void **state)
{
	each_example(check_bounds, false);
}

/* ---- cancel and memory ---- */

struct countdown {
	int left;
};

static void
tick(struct task *task, double done, double total, const char *what)
{
	struct countdown *c = task->ctx;

	assert_true(done >= 0 && done <= total);
	assert_non_null(what);
	if (--c->left == 0)
		atomic_store(&task->cancel, true);
}

/* The line with a cancel at tick number `at`; false when it ended before. */
static bool
cancel_at(const struct law *l, int at)
{
	struct countdown c = { at };
	struct task task = { .tick = tick, .ctx = &c };
	struct pare_err err = { 0 };
	struct op_result r;
	enum pare_rc rc = sample_run(op_apply, l->m, l->line, &task, &r, &err);

	if (c.left > 0) {
		assert_int_equal(rc, PARE_OK);
		op_result_free(&r);
		return false;
	}
	if (rc != PARE_ECANCELED)
		SAY(l, "not canceled");
	return true;
}

static void
check_cancel(const struct law *l)
{
	uint64_t hash = model_hash(l->m);
	int at = 1;

	while (at <= TICKS && cancel_at(l, at))
		at++;
	if (at == 1)
		SAY(l, "reports no progress");
	if (model_hash(l->m) != hash)
		SAY(l, "the input changed");
}

static void
test_cancel(void **state)
{
	each_example(check_cancel, false);
}

static void
check_memory(const struct law *l)
{
	uint64_t hash = model_hash(l->m);
	int n;

	for (n = 1; n < ALLOCATIONS; n += n < 20 ? 1 : 13) {
		struct pare_err err = { 0 };
		struct op_result r;
		enum pare_rc rc;

		mem_fail_at(n);
		rc = sample_run(op_apply, l->m, l->line, NULL, &r, &err);
		mem_fail_at(0);
		if (rc == PARE_OK) {
			op_result_free(&r);
			break;
		}
		if (rc != PARE_ENOMEM)
			SAY(l, err.msg);
	}
	if (model_hash(l->m) != hash)
		SAY(l, "the input changed");
}

static void
test_memory(void **state)
{
	each_example(check_memory, false);
}

/* ---- running ---- */

static int64_t
logits_of(const struct model *m, const struct engine_mask *mask, float *out)
{
	static const int64_t start[] = { 0, 7, TOKENS };
	int32_t ids[TOKENS];
	struct batch b = { .nseq = SEQUENCES, .start = start, .ids = ids };
	struct forward f = { .logits = out, .mask = mask };
	struct engine *e = engine_new();
	struct pare_err err = { 0 };
	enum pare_rc rc;

	for (int i = 0; i < TOKENS; i++)
		ids[i] = (int32_t)((i * 37 + 11) % 61);
	rc = engine_forward(e, m, &b, &f, &err);
	engine_free(e);
	if (rc != PARE_OK)
		fail_msg("engine: %s", err.msg);
	return head_gives_tokens(m->hp.head) ? TOKENS * m->hp.vocab :
	    SEQUENCES * m->hp.labels;
}

/* The model with every matrix decoded, or else only with float activations. */
static struct model *
twin_of(const struct law *l, const struct model *m, bool decoded)
{
	struct edit *e = edit_begin(m, EDIT_REAL, 0, NULL);
	struct slot_ref ref = SLOT_REF_START;
	struct pare_err err = { 0 };
	struct model *twin = NULL;

	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);

		edit_set(e, ref, decoded ? tensor_to_f32(t, &err) :
		    tensor_activations(t, 0, &err));
	}
	if (edit_commit(e, &twin, &err) != PARE_OK)
		SAY(l, err.msg);
	return twin;
}

static void
check_logits(const struct law *l, const struct model *m, const float *plain,
    float tolerance)
{
	float packed[TOKENS * 128], top = 0;
	int64_t n = logits_of(m, NULL, packed);

	for (int64_t i = 0; i < n; i++)
		top = fmaxf(top, fabsf(plain[i]));
	for (int64_t i = 0; i < n; i++)
		if (!(fabsf(packed[i] - plain[i]) <= tolerance * (top + 1)))
			fail_msg("%s: %s: logit %g packed, %g decoded",
			    l->sample->name, l->line, (double)packed[i],
			    (double)plain[i]);
}

/* The result runs, and packed or not it agrees with its own decoded twin: with
 * int8 activations within what rounding them costs. */
static void
check_forward(const struct law *l)
{
	struct model *m = sample_do(l->m, l->line);
	struct model *twin = twin_of(l, m, true);
	struct model *exact = twin_of(l, m, false);
	float plain[TOKENS * 128];

	logits_of(twin, NULL, plain);
	check_logits(l, exact, plain, 1e-4f);
	check_logits(l, m, plain, model_hash(m) == model_hash(exact) ? 1e-4f :
	    5e-2f);
	model_unref(twin);
	model_unref(exact);
	model_unref(m);
}

static void
test_forward(void **state)
{
	each_example(check_forward, false);
}

/* ---- masked equals removed ---- */

static bool
same_layer(const struct layer *a, const struct layer *b)
{
	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		if (a->t[s] != b->t[s])
			return false;
	return true;
}

/* Bytes over the neurons of a layer: 1 where the row of up is gone. */
static uint8_t *
gone_neurons(const struct layer *was, const struct layer *is)
{
	const struct tensor *a = was->t[SLOT_UP_W], *b = is->t[SLOT_UP_W];
	size_t size = (size_t)a->cols * sizeof(float);
	float *x = xmalloc(size), *y = xmalloc(size);
	uint8_t *gone = xcalloc((size_t)was->ffn, 1);
	int64_t k = 0;

	for (int64_t i = 0; i < was->ffn; i++) {
		tensor_decode(a, i, 1, x);
		if (k < is->ffn)
			tensor_decode(b, k, 1, y);
		gone[i] = k == is->ffn || memcmp(x, y, size) != 0;
		k += !gone[i];
	}
	assert_int_equal(k, is->ffn);
	free(x);
	free(y);
	return gone;
}

/* What was taken from `was` to make `is`, as a mask; of layers too. */
struct masks {
	struct head_set heads[8];
	uint8_t *neurons[8];
	uint8_t attention[8], ffn[8], layer[8];
};

static void
diff_layer(const struct layer *was, const struct layer *is, int l,
    struct masks *k)
{
	k->attention[l] = was->heads > 0 && is->heads == 0;
	k->ffn[l] = was->ffn > 0 && is->ffn == 0;
	for (int h = 0; h < was->heads_original && is->heads > 0; h++)
		head_set_put(&k->heads[l], h, head_set_has(&was->head, h) &&
		    !head_set_has(&is->head, h));
	if (is->ffn > 0 && is->ffn < was->ffn)
		k->neurons[l] = gone_neurons(was, is);
}

static void
diff_models(const struct model *was, const struct model *is, struct masks *k)
{
	int at = 0;

	memset(k, 0, sizeof *k);
	for (int l = 0; l < was->nlayers; l++) {
		bool removed = is->nlayers < was->nlayers &&
		    (at == is->nlayers ||
		    !same_layer(&was->layer[l], &is->layer[at]));

		k->layer[l] = removed;
		if (!removed)
			diff_layer(&was->layer[l], &is->layer[at++], l, k);
	}
	assert_int_equal(at, is->nlayers);
}

static void
check_mask(const struct law *l)
{
	float removed[TOKENS * 128], masked[TOKENS * 128];
	float plain[TOKENS * 128];
	struct masks k;
	struct engine_mask mask = { .drop_heads = k.heads,
	    .drop_neurons = (const uint8_t *const *)k.neurons,
	    .drop_attention = k.attention, .drop_ffn = k.ffn,
	    .drop_layer = k.layer };
	struct model *m;
	bool differs = false;
	int64_t n;

	if ((l->op->flags & OP_STRUCTURAL) == 0)
		return;
	m = sample_do(l->m, l->line);
	diff_models(l->m, m, &k);
	n = logits_of(m, NULL, removed);
	logits_of(l->m, &mask, masked);
	logits_of(l->m, NULL, plain);
	for (int64_t i = 0; i < n; i++) {
		if (!(fabsf(removed[i] - masked[i]) <= 1e-5f))
			fail_msg("%s: %s: removed %g, masked %g",
			    l->sample->name, l->line, (double)removed[i],
			    (double)masked[i]);
		differs = differs || fabsf(removed[i] - plain[i]) > 1e-4f;
	}
	if (!differs)
		SAY(l, "removed nothing that matters");
	for (int i = 0; i < 8; i++)
		free(k.neurons[i]);
	model_unref(m);
}

static void
test_mask(void **state)
{
	each_example(check_mask, false);
}

/* ---- files ---- */

static void
remove_tree(const char *dir)
{
	char *line = str_format("rm -rf '%s'", dir);

	assert_int_equal(system(line), 0);
	free(line);
}

static void
check_save(const struct law *l)
{
	char dir[] = "/tmp/pare-ops-XXXXXX";
	struct model *m = sample_do(l->m, l->line), *back = NULL;
	struct pare_err err = { 0 };
	struct totals t;
	int64_t bytes = 0;
	bool plain;
	char *path;

	assert_non_null(mkdtemp(dir));
	path = str_format("%s/m", dir);
	if (file_save_model(m, path, NULL, false, &bytes, &plain, NULL, &err) !=
	    PARE_OK)
		SAY(l, err.msg);
	if (file_open_model(path, NULL, &back, NULL, &err) != PARE_OK)
		SAY(l, err.msg);
	if (model_hash(back) != model_hash(m))
		SAY(l, "another hash after save and open");
	account_totals(back, 16, true, &t);
	account_totals(m, 16, true, &t);
	assert_true(bytes >= t.bytes);
	model_unref(back);
	model_unref(m);
	remove_tree(dir);
	free(path);
}

static void
test_save(void **state)
{
	each_example(check_save, false);
}

/* ---- sequences ---- */

/* Ops one after the other, each line's estimate equal to its result. */
static void
test_compose(void **state)
{
	static const char *const chain[] = {
		"prune heads 1 L0", "prune neurons 25%",
		"factorize emb.word rank=3",
		"prune weights 40% L*.ffn", "quantize L* bits=4",
		"prune weights 60% L*.ffn", "quantize emb bits=8",
		"prune heads 1 L1", "prune layers last 1",
		"share L0-1 part=ffn", "prune vocabulary 3 by=order",
		"share L* difference=1 part=attention",
		"prune attention L0",
		"quantize all bits=2 scheme=kmeans",
	};

	for (int s = 0; s < SAMPLE_MODELS; s++) {
		struct model *m = sample_real(&sample_models[s]), *next;

		for (size_t i = 0; i < sizeof chain / sizeof *chain; i++) {
			struct pare_err err = { 0 };
			struct law l = { &sample_models[s], m, NULL,
			    chain[i], strstr(chain[i], "difference") != NULL };
			struct op_result r;
			enum pare_rc rc = sample_run(op_apply, m, chain[i],
			    NULL, &r, &err);

			if (rc == PARE_EUSER)
				continue;
			if (rc != PARE_OK)
				SAY(&l, err.msg);
			op_result_free(&r);
			check_result(&l);
			check_save(&l);
			next = sample_do(m, chain[i]);
			model_unref(m);
			m = next;
		}
		model_unref(m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_ghost),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_save),
		cmocka_unit_test(test_compose),
	};

	/* The models are tiny: threads would only wait for each other. */
	kernel_set_threads(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
