/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Weights to zero by what the calib samples say: SparseGPT against the plain
 * surgeon that inverts anew for each column, wanda against its formula.
 */
#include "plain_obs.h"

#include <math.h>

#include "ops/sparsegpt.h"

enum { ROWS = 5, BLOCK = 128 };

/* The loss of taking (r, j) now; zeros first, then what nothing comes to. */
static double
loss_of(const double *v, const uint8_t *there, const double *e, int cols,
    int r, int j, bool dead)
{
	double x = v[r * cols + j];

	return there[r * cols + j] == 0 ? -2 : dead ? -1 : x * x / e[j];
}

/* Of n losses the `go` least (earlier ones first) go: keep[i] = 0. */
static void
take_least(const double *loss, int n, int go, uint8_t *keep)
{
	for (int i = 0; i < n; i++)
		keep[i] = loss[i] != -2;
	for (int k = 0; k < go; k++) {
		int at = -1;

		for (int i = 0; i < n; i++)
			if (loss[i] > -3 && keep[i] < 2 && (at < 0 ||
			    loss[i] < loss[at]))
				at = i;
		keep[at] = 2;
	}
	for (int i = 0; i < n; i++)
		keep[i] = keep[i] == 1;
}

struct plain {
	int cols;
	const double *h;
	double *e;	/* (cols, cols): columns of the inverses */
	double *v;	/* (ROWS, cols) */
	uint8_t *there, *keep;
};

/* Chooses in rows [r0, r1) of columns [c, c + m). */
static void
choose(struct plain *p, int r0, int r1, int c, int m, int go)
{
	double loss[ROWS * BLOCK];
	uint8_t keep[ROWS * BLOCK];

	for (int r = r0; r < r1; r++)
		for (int j = c; j < c + m; j++)
			loss[(r - r0) * m + j - c] = loss_of(p->v, p->there,
			    p->e + j * p->cols, p->cols, r, j,
			    p->h[j * p->cols + j] == 0);
	take_least(loss, (r1 - r0) * m, go, keep);
	for (int r = r0; r < r1; r++)
		for (int j = c; j < c + m; j++)
			p->keep[r * p->cols + j] = keep[(r - r0) * m + j - c];
}

static void
take_out(struct plain *p, int r, int j)
{
	const double *e = p->e + j * p->cols;
	double loss = p->v[r * p->cols + j];

	if (p->keep[r * p->cols + j] != 0)
		return;
	for (int k = j; k < p->cols; k++)
		p->v[r * p->cols + k] -= loss / e[j] * e[k];
	p->v[r * p->cols + j] = 0;
}

static void
plain_solve(struct plain *p, const struct sparsegpt *s)
{
	int step = s->group > 0 ? s->group : BLOCK, done = 0;

	for (int c = 0; c < p->cols; c += step) {
		int m = p->cols - c < step ? p->cols - c : step;
		int until = (int)((double)s->zeros * (c + m) / p->cols + 0.5);

		for (int r = 0; r < ROWS && s->group > 0; r++)
			choose(p, r, r + 1, c, m, m - (m * s->keep +
			    s->group - 1) / s->group);
		if (s->group == 0)
			choose(p, 0, ROWS, c, m, until - done);
		done = until;
		for (int j = c; j < c + m; j++)
			for (int r = 0; r < ROWS; r++)
				take_out(p, r, j);
	}
}

static void
check(struct sparsegpt s, bool holes, uint64_t seed)
{
	size_t n = (size_t)(ROWS * s.cols), sq = (size_t)(s.cols * s.cols);
	int cols = (int)s.cols;
	double *h = xcalloc(sq, sizeof *h);
	struct plain p = { cols, h, xcalloc(sq, sizeof(double)),
		xcalloc(n, sizeof(double)), xcalloc(n, 1), xcalloc(n, 1) };
	float *w = xcalloc(n, sizeof *w), *was = xcalloc(n, sizeof *was), *f;
	uint8_t *mask = xcalloc(n, 1);
	struct pare_err err = { 0 };
	int64_t kept = 0, want;
	struct rng r;

	rng_seed(&r, seed);
	s.rows = ROWS;
	obs_moments(&r, cols, 3 * cols, 4, h);
	for (size_t i = 0; i < n; i++) {
		w[i] = holes && i % 3 == 1 ? 0 : rng_normal(&r);
		was[i] = w[i];
		p.v[i] = w[i];
		p.there[i] = w[i] != 0;
	}
	for (int j = 0; j < cols; j++)
		obs_column(h, cols, j, p.e + j * cols);
	plain_solve(&p, &s);
	want = sparsegpt_kept(&s, w);
	f = obs_floats(h, sq);
	assert_int_equal(sparsegpt_solve(&s, f, w, mask, &err), PARE_OK);
	free(f);
	for (size_t i = 0; i < n; i++) {
		kept += mask[i];
		if (mask[i] != p.keep[i] || fabs(w[i] - p.v[i]) > 2e-3)
			fail_msg("%zu: %g (%d), expected %g (%d)", i, w[i],
			    mask[i], p.v[i], p.keep[i]);
		assert_true(was[i] != 0 || w[i] == 0);
		assert_true((w[i] != 0) == mask[i]);
	}
	assert_int_equal(kept, want);
	free(h);
	free(p.e);
	free(p.v);
	free(p.there);
	free(p.keep);
	free(w);
	free(was);
	free(mask);
}

static void
test_plain(void **state)
{
	for (uint64_t seed = 1; seed < 5; seed++) {
		check((struct sparsegpt){ .cols = 12, .zeros = 30 }, false,
		    seed);
		check((struct sparsegpt){ .cols = 12, .zeros = 40 }, true,
		    seed);
		/* More zeros there than are asked for. */
		check((struct sparsegpt){ .cols = 12, .zeros = 4 }, true, seed);
		check((struct sparsegpt){ .cols = 14, .keep = 2, .group = 4 },
		    false, seed);
		check((struct sparsegpt){ .cols = 12, .keep = 1, .group = 3 },
		    true, seed);
	}
	/* More than a block of columns. */
	check((struct sparsegpt){ .cols = 150, .zeros = 400 }, false, 9);
	check((struct sparsegpt){ .cols = 150, .keep = 5, .group = 7 }, false,
	    10);
}

static void
test_singular(void **state)
{
	struct sparsegpt s = { .rows = 1, .cols = 2, .zeros = 1 };
	const float h[4] = { 1, 9, 9, 1 };
	struct pare_err err = { 0 };
	float w[2] = { 1, 2 };
	uint8_t mask[2];

	assert_int_equal(sparsegpt_solve(&s, h, w, mask, &err), PARE_EUSER);
	assert_non_null(strstr(err.msg, "singular"));
}

static void
read_note(const char *note, int matrices, double *was, double *is)
{
	int n = 0;

	if (note == NULL || sscanf(note, "output error of %d matrices %lf %% "
	    "by magnitude, %lf %% now", &n, was, is) != 3)
		fail_msg("%s", note);
	assert_int_equal(n, matrices);
}

/* Each row keeps the half with the largest |w| * ||x_j||. */
static void
test_wanda(void **state)
{
	struct model *m = sample_real(&sample_models[0]);
	struct statistics *s = obs_statistics(m, 80);
	const struct tensor *was = m->layer[1].t[SLOT_DOWN_W], *is;
	const struct moments *x = statistics_of(s, (struct slot_ref){ 1,
	    SLOT_DOWN_W });
	float *a = xcalloc((size_t)was->cols, sizeof *a);
	float *b = xcalloc((size_t)was->cols, sizeof *b);
	struct op_result r;
	double e0, e1;

	sample_refuse(m, "prune weights 50% by=wanda", "role=calib");
	obs_do(m, s, "prune weights 50% L* by=wanda", &r);
	read_note(r.note, 18, &e0, &e1);
	assert_true(e1 < e0);
	is = r.model->layer[1].t[SLOT_DOWN_W];
	assert_int_equal(tensor_nonzero(is), was->rows * was->cols / 2);
	for (int64_t i = 0; i < was->rows; i++) {
		double gone = 0, stays = INFINITY;
		int n = 0;

		tensor_decode(was, i, 1, a);
		tensor_decode(is, i, 1, b);
		for (int64_t c = 0; c < was->cols; c++) {
			double size = fabs(a[c]) * sqrt(x->square[c]);

			n += b[c] != 0;
			assert_true(b[c] == 0 || b[c] == a[c]);
			if (b[c] == 0)
				gone = fmax(gone, size);
			else
				stays = fmin(stays, size);
		}
		assert_int_equal(n, was->cols / 2);
		assert_true(gone <= stays * (1 + 1e-6));
	}
	op_result_free(&r);
	obs_do(m, s, "prune weights L*.ffn pattern=2:4 by=wanda", &r);
	read_note(r.note, 6, &e0, &e1);
	assert_true(e1 < e0);
	op_result_free(&r);
	free(a);
	free(b);
	statistics_free(s);
	model_unref(m);
}

/* Through the op: far less error than by magnitude; as many weights in as many
 * bytes; and what cannot be is said. */
static void
test_op(void **state)
{
	struct model *m = sample_real(&sample_models[0]), *plain, *half;
	struct statistics *s = obs_statistics(m, 80);
	struct op_result r;
	double was, is;

	sample_refuse(m, "prune weights 50% method=sparsegpt", "role=calib");
	obs_refuse(m, s, "prune weights 50% method=sparsegpt by=random",
	    "by=");
	obs_refuse(m, s, "prune weights 50% method=sparsegpt scope=global",
	    "scope");
	obs_refuse(m, s, "prune weights 50% emb.word method=sparsegpt",
	    "gathered");
	plain = sample_do(m, "prune weights 50% L* scope=module");
	obs_do(m, s, "prune weights 50% L* method=sparsegpt", &r);
	read_note(r.note, 18, &was, &is);
	assert_true(is < 0.7 * was);
	for (int k = 0; k < SLOT_LAYER_COUNT; k++)
		if (slot_table[k].matrix && m->layer[0].t[k] != NULL) {
			assert_int_equal(tensor_bytes(plain->layer[0].t[k]),
			    tensor_bytes(r.model->layer[0].t[k]));
			assert_int_equal(tensor_nonzero(plain->layer[0].t[k]),
			    tensor_nonzero(r.model->layer[0].t[k]));
		}
	op_result_free(&r);
	model_unref(plain);
	obs_do(m, s, "prune weights pattern=2:4 L* method=sparsegpt", &r);
	read_note(r.note, 18, &was, &is);
	assert_true(is < 0.7 * was);
	op_result_free(&r);
	/* Codes cannot move; their zeros are by magnitude. */
	half = sample_do(m, "quantize L0 bits=8");
	obs_do(half, s, "prune weights 50% L* method=sparsegpt", &r);
	assert_non_null(strstr(r.note, "packed"));
	op_result_free(&r);
	model_unref(half);
	obs_spoil(s, 0);
	obs_refuse(m, s, "prune weights 50% L* method=sparsegpt", "are 0");
	obs_refuse(m, s, "prune weights 50% L* by=wanda", "are 0");
	obs_spoil(s, NAN);
	obs_refuse(m, s, "prune weights 50% L* method=sparsegpt", "finite");
	obs_refuse(m, s, "prune weights 50% L* by=wanda", "finite");
	statistics_free(s);
	model_unref(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_singular),
		cmocka_unit_test(test_wanda),
		cmocka_unit_test(test_op),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
