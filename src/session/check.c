/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "session/work.h"

enum { DRAWN_MAX = 32, TOKENS_MAX = 512 };

static int64_t
width_of(const struct model *m)
{
	return m->hp.head == HEAD_NONE ? m->hp.hidden :
	    head_gives_tokens(m->hp.head) ? m->hp.vocab : m->hp.labels;
}

/* Outputs of one input, rows of width_of(); owned by the caller. */
static enum pare_rc
run(struct session *s, const struct model *m, const int32_t *id, int n,
    float **out, int64_t *rows, struct task *task, struct pare_err *err)
{
	const int64_t start[2] = { 0, n };
	struct forward f = { .task = task };
	struct batch b = { 1, start, id, NULL };
	const bool head = m->hp.head != HEAD_NONE;
	enum pare_rc rc;

	*rows = !head || head_gives_tokens(m->hp.head) ? n : 1;
	*out = mem_big((size_t)(*rows * width_of(m)), sizeof(**out), err);
	if (*out == NULL)
		return PARE_ENOMEM;
	if (head)
		f.logits = *out;
	else
		f.hidden = *out;
	rc = engine_forward(s->engine, m, &b, &f, err);
	if (rc != PARE_OK) {
		free(*out);
		*out = NULL;
	}
	return rc;
}

static void
compare_row(const float *x, const float *y, int64_t n,
    struct output_check *out)
{
	int64_t top[2] = { 0, 0 };

	for (int64_t k = 0; k < n; k++) {
		double d = fabs((double)x[k] - (double)y[k]);

		if (!(d <= out->most))
			out->most = d;
		out->largest = fmax(out->largest, fabs((double)x[k]));
		top[0] = x[k] > x[top[0]] ? k : top[0];
		top[1] = y[k] > y[top[1]] ? k : top[1];
	}
	out->rows++;
	out->same_top += top[0] == top[1];
}

static enum pare_rc
compare(struct session *s, const struct model *a, const struct model *b,
    const int32_t *id, int n, struct output_check *out, struct task *task,
    struct pare_err *err)
{
	const int64_t width = width_of(a);
	float *x = NULL, *y = NULL;
	int64_t rows = 0, others = 0;
	enum pare_rc rc = run(s, a, id, n, &x, &rows, task, err);

	if (rc == PARE_OK && width_of(b) != width)
		rc = err_set(err, PARE_EUSER, "%lld outputs and %lld cannot "
		    "be compared", (long long)width, (long long)width_of(b));
	if (rc == PARE_OK)
		rc = run(s, b, id, n, &y, &others, task, err);
	for (int64_t r = 0; rc == PARE_OK && r < rows; r++)
		compare_row(x + r * width, y + r * width, width, out);
	out->sequences += rc == PARE_OK;
	free(x);
	free(y);
	return rc;
}

enum pare_rc
check_outputs(struct session *s, const struct model *a,
    const struct model *b, int samples, struct output_check *out,
    struct task *task, struct pare_err *err)
{
	static const int lengths[] = { 1, 7, DRAWN_MAX };
	const struct dataset *d = s->data[ROLE_EVAL];
	int max = work_max_tokens(a, NULL), other = work_max_tokens(b, NULL);
	enum pare_rc rc = PARE_OK;

	memset(out, 0, sizeof(*out));
	max = other < max ? other : max;
	for (int i = 0; rc == PARE_OK && i < 3; i++) {
		int32_t id[DRAWN_MAX];
		struct rng rng;

		if (i > 0 && lengths[i] > max)
			break;
		rng_seed(&rng, (uint64_t)lengths[i]);
		for (int k = 0; k < lengths[i]; k++)
			id[k] = (int32_t)rng_below(&rng,
			    (uint64_t)a->hp.vocab);
		rc = compare(s, a, b, id, lengths[i], out, task, err);
	}
	max = max > TOKENS_MAX ? TOKENS_MAX : max;
	for (int64_t i = 0; rc == PARE_OK && d != NULL && d->encoded &&
	    i < d->n && i < samples; i++) {
		const struct tokens *t = &d->sample[i].tokens;

		if (t->n > 0)
			rc = compare(s, a, b, t->id, t->n < max ? t->n : max,
			    out, task, err);
	}
	return rc;
}
