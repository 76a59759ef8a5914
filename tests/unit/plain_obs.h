/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * plain_obs: what fast forms of "surgeons" (GPTQ, SparseGPT) are compared with,
 * inverting anew for every weight; and lines of ops run with the moments of made
 * samples.
 */
#ifndef PARE_TESTS_PLAIN_OBS_H
#define PARE_TESTS_PLAIN_OBS_H

#include "made_data.h"

#include "measure/calibrate.h"
#include "ops/score.h"

/* Solves a y = b for n unknowns by elimination, in place. */
static inline void
obs_eliminate(double *a, double *b, int n)
{
	for (int i = 0; i < n; i++) {
		for (int k = i + 1; k < n; k++) {
			double f = a[k * n + i] / a[i * n + i];

			for (int j = i; j < n; j++)
				a[k * n + j] -= f * a[i * n + j];
			b[k] -= f * b[i];
		}
	}
	for (int i = n - 1; i >= 0; i--) {
		for (int j = i + 1; j < n; j++)
			b[i] -= a[i * n + j] * b[j];
		b[i] /= a[i * n + i];
	}
}

/* Second moments of correlated columns, as floats can say them; column `dead` is
 * always 0. */
static inline void
obs_moments(struct rng *r, int cols, int seen, int dead, double *h)
{
	double *x = xcalloc((size_t)cols, sizeof *x);

	memset(h, 0, (size_t)(cols * cols) * sizeof *h);
	for (int s = 0; s < seen; s++) {
		double common = rng_normal(r);

		for (int c = 0; c < cols; c++)
			x[c] = c == dead ? 0 : (1 + c % 3) * (rng_normal(r) +
			    common);
		for (int i = 0; i < cols * cols; i++)
			h[i] += x[i / cols] * x[i % cols] / seen;
	}
	for (int i = 0; i < cols * cols; i++)
		h[i] = (float)h[i];
	free(x);
}

/* n values as floats; free() them. */
static inline float *
obs_floats(const double *h, size_t n)
{
	float *f = xcalloc(n, sizeof *f);

	for (size_t i = 0; i < n; i++)
		f[i] = (float)h[i];
	return f;
}

/* The column of the inverse of what is left of the damped h, columns [j, cols),
 * that belongs to j, into e[j..cols). */
static inline void
obs_column(const double *h, int cols, int j, double *e)
{
	int n = cols - j;
	double *a = xcalloc((size_t)(n * n), sizeof *a), mean = 0;

	for (int c = 0; c < cols; c++)
		mean += h[c * cols + c] / cols;
	for (int i = 0; i < n; i++) {
		for (int k = 0; k < n; k++)
			a[i * n + k] = h[(j + i) * cols + j + k];
		a[i * n + i] += a[i * n + i] == 0 ? 1 : 0.01 * mean;
		e[j + i] = i == 0;
	}
	obs_eliminate(a, e + j, n);
	free(a);
}

/* tr(D h D') for D = w - q. */
static inline double
obs_error(const float *w, const float *q, const double *h, int rows, int cols)
{
	double sum = 0;

	for (int r = 0; r < rows; r++)
		for (int i = 0; i < cols; i++)
			for (int j = 0; j < cols; j++)
				sum += ((double)w[r * cols + i] -
				    q[r * cols + i]) * h[i * cols + j] *
				    ((double)w[r * cols + j] -
				    q[r * cols + j]);
	return sum;
}

/* Statistics of m on n made samples, with X'X of everything. */
static inline struct statistics *
obs_statistics(const struct model *m, int64_t n)
{
	struct dataset *d = made_data(n);
	bool gram[8 * MOMENTS_PLACES];
	struct pare_err err = { 0 };
	struct statistics *s;

	memset(gram, 1, sizeof gram);
	if (calibrate_statistics(m, d, 0, gram, &s, NULL, &err) != PARE_OK)
		fail_msg("%s", err.msg);
	made_data_free(d);
	return s;
}

/* An op's line with statistics; PARE_OK or what it says. */
static inline enum pare_rc
obs_run(const struct model *m, const struct statistics *s, const char *line,
    struct op_result *r, struct pare_err *err)
{
	struct op_calib c = { .statistics = s };
	struct sample_line l;
	enum pare_rc rc = sample_parse(line, &l, err);

	if (rc != PARE_OK)
		return rc;
	rc = op_apply(l.op, &(struct op_input){ .model = m, .args = &l.args,
	    .seed = 5, .calib = &c }, 16, r, err);
	sample_line_free(&l);
	return rc;
}

static inline void
obs_do(const struct model *m, const struct statistics *s, const char *line,
    struct op_result *r)
{
	struct pare_err err = { 0 };

	if (obs_run(m, s, line, r, &err) != PARE_OK)
		fail_msg("%s: %s (%s)", line, err.msg, err.hint);
}

static inline void
obs_refuse(const struct model *m, const struct statistics *s, const char *line,
    const char *word)
{
	struct pare_err err = { 0 };
	struct op_result r;

	if (obs_run(m, s, line, &r, &err) != PARE_EUSER)
		fail_msg("%s: not refused", line);
	if (strstr(err.msg, word) == NULL && strstr(err.hint, word) == NULL)
		fail_msg("%s: '%s' (%s) does not say '%s'", line, err.msg,
		    err.hint, word);
}

/* All moments of s become f(moment): 0, or not finite. */
static inline void
obs_spoil(struct statistics *s, float v)
{
	for (int l = 0; l < s->nlayers; l++)
		for (int k = 0; k < MOMENTS_PLACES; k++) {
			struct moments *x = &s->at[l][k];

			for (int64_t i = 0; i < x->cols; i++)
				x->sum[i] = x->square[i] = v;
			for (int64_t i = 0; x->gram != NULL &&
			    i < x->cols * x->cols; i++)
				x->gram[i] = v;
		}
}

#endif
