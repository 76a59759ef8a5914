/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Orders are walked as a tree, so that those with the same beginning share its
 * models. */
#include "session/plan_order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "session/plan_book.h"
#include "session/work.h"

struct outcome {
	int order[ORDER_OPS_MAX];
	bool fine, falls;	/* falls: less is better */
	double value, low, high, loss;
	int64_t n, fixed, broke;
	struct totals totals;
	char why[512];
};

struct orders {
	struct session *s;
	const struct model *start;
	const struct evaluation *was;
	enum metric metric;
	char *op[ORDER_OPS_MAX];
	int n, now[ORDER_OPS_MAX];
	bool used[ORDER_OPS_MAX];
	struct outcome *out;
	int nout;
	struct notes *notes;
	struct plan_progress step;
};

static bool
is_verb(const char *word)
{
	for (int i = 0; op_table[i] != NULL; i++)
		if (strcmp(op_table[i]->verb, word) == 0)
			return true;
	return false;
}

static enum pare_rc
how_to(struct pare_err *err)
{
	return err_hint(err, "plan order 'prune neurons 50%%' 'quantize all "
	    "bits=4'");
}

/* Each verb begins an op. */
static enum pare_rc
read_ops(struct orders *o, const char *text, struct pare_err *err)
{
	struct str now = STR_INIT;
	struct arg_words w;
	enum pare_rc rc = arg_split(text, &w, err);

	if (rc != PARE_OK)
		return rc;
	if (strcmp(w.word[0], "order") != 0)
		rc = err_set(err, PARE_EUSER, "plan takes budgets, or the "
		    "word order and ops, not '%.40s'", w.word[0]);
	for (int i = 1; i < w.n && rc == PARE_OK; i++) {
		char *word;

		if (is_verb(w.word[i]) && o->n == ORDER_OPS_MAX) {
			rc = err_set(err, PARE_EUSER, "more than %d ops have "
			    "too many orders", ORDER_OPS_MAX);
			break;
		}
		if (is_verb(w.word[i]))
			str_clear(&now);
		else if (o->n == 0) {
			rc = err_set(err, PARE_EUSER, "'%.40s' begins no op",
			    w.word[i]);
			break;
		}
		word = strpbrk(w.word[i], " '\"\\") != NULL ?
		    arg_quote(w.word[i]) : xstrdup(w.word[i]);
		str_addf(&now, "%s%s", now.n > 0 ? " " : "", word);
		free(word);
		if (is_verb(w.word[i]))
			o->op[o->n++] = NULL;
		free(o->op[o->n - 1]);
		o->op[o->n - 1] = xstrdup(now.s);
	}
	str_free(&now);
	arg_words_free(&w);
	if (rc == PARE_OK && o->n < 2)
		rc = err_set(err, PARE_EUSER, "an order is of two ops or more");
	return rc == PARE_OK ? rc : how_to(err);
}

static enum pare_rc
leaf(struct orders *o, const struct model *m, struct pare_err *err)
{
	struct outcome *x = &o->out[o->nout++];
	const struct evaluation *v;
	struct comparison c;
	enum pare_rc rc;

	rc = work_evaluate(o->s, m, o->metric, false, &v, NULL,
	    &o->step.task, err);
	if (rc != PARE_OK)
		return rc;
	evaluation_compare(o->was, v, &c);
	memcpy(x->order, o->now, sizeof(x->order));
	x->fine = true;
	x->value = v->value;
	x->low = v->low;
	x->high = v->high;
	x->loss = v->loss;
	x->n = v->n;
	x->fixed = c.fixed;
	x->broke = c.broke;
	account_totals(m, settings_int(o->s->settings, SET_SEQ), false,
	    &x->totals);
	o->step.done++;
	return PARE_OK;
}

static int
factorial(int n)
{
	return n < 2 ? 1 : n * factorial(n - 1);
}

/* All orders that begin as o->now[0..depth) fail at its last op: told once. */
static void
refused(struct orders *o, int depth, const struct pare_err *why)
{
	struct outcome *x = &o->out[o->nout++];

	memcpy(x->order, o->now, sizeof(x->order));
	for (int i = depth, k = 0; i < o->n; k++)
		if (!o->used[k])
			x->order[i++] = k;
	snprintf(x->why, sizeof(x->why), "%s", why->msg);
	o->step.done += factorial(o->n - depth);
}

static enum pare_rc
walk(struct orders *o, const struct model *m, int depth, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	if (depth == o->n)
		return leaf(o, m, err);
	for (int i = 0; i < o->n && rc == PARE_OK; i++) {
		struct op_result r;

		if (o->used[i])
			continue;
		o->used[i] = true;
		o->now[depth] = i;
		rc = work_op_apply(o->s, m, o->op[i], false, &r, o->notes,
		    &o->step.task, err);
		if (rc == PARE_OK) {
			rc = walk(o, r.model, depth + 1, err);
			op_result_free(&r);
		} else if (rc == PARE_EUSER) {
			refused(o, depth + 1, err);
			rc = PARE_OK;
		}
		o->used[i] = false;
	}
	return rc;
}

static int
better(const void *pa, const void *pb)
{
	const struct outcome *a = pa, *b = pb;

	if (a->fine != b->fine)
		return a->fine ? -1 : 1;
	if (a->value != b->value)
		return (a->value > b->value) != a->falls ? -1 : 1;
	if (a->loss != b->loss)
		return a->loss < b->loss ? -1 : 1;
	return memcmp(a->order, b->order, sizeof(a->order));
}

static void
put_rows(const struct orders *o, json_t *doc)
{
	json_t *rows = json_array();

	for (int i = 0; i < o->nout; i++) {
		const struct outcome *x = &o->out[i];
		json_t *row = json_object(), *ops = json_array();

		result_put_int(row, "rank", i + 1);
		for (int k = 0; k < o->n; k++)
			json_array_append_new(ops,
			    result_text(o->op[x->order[k]]));
		json_object_set_new(row, "ops", ops);
		result_put_text(row, "refused", x->fine ? NULL : x->why);
		if (x->fine) {
			result_put_int(row, "bytes", x->totals.bytes);
			result_put_real(row, "value", x->value);
			result_put_real(row, "loss", x->loss);
			result_put_real(row, "delta", x->value -
			    o->was->value);
			result_put_int(row, "fixed", x->fixed);
			result_put_int(row, "broke", x->broke);
		}
		json_array_append_new(rows, row);
	}
	json_object_set_new(doc, "orders", rows);
}

static enum pare_rc
try_all(struct orders *o, json_t *doc, struct task *task, struct pare_err *err)
{
	enum pare_rc rc;
	struct totals t;

	rc = work_evaluate(o->s, o->start, o->metric, false, &o->was, NULL,
	    task, err);
	if (rc != PARE_OK)
		return rc;
	o->out = xcalloc((size_t)factorial(o->n) + 1, sizeof(*o->out));
	plan_progress_init(&o->step, task, factorial(o->n), "orders");
	rc = walk(o, o->start, 0, err);
	if (rc != PARE_OK)
		return rc;
	for (int i = 0; i < o->nout; i++)
		o->out[i].falls = metric_falls(o->metric);
	qsort(o->out, (size_t)o->nout, sizeof(*o->out), better);
	account_totals(o->start, settings_int(o->s->settings, SET_SEQ), false,
	    &t);
	result_put_text(doc, "metric", metric_table[o->metric].name);
	result_put_real(doc, "value", o->was->value);
	result_put_int(doc, "n", o->was->n);
	result_put_int(doc, "bytes", t.bytes);
	put_rows(o, doc);
	return PARE_OK;
}

enum pare_rc
plan_order(struct session *s, const char *text, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct orders o = { .s = s, .start = session_model(s),
		.notes = notes };
	enum pare_rc rc;

	o.metric = work_metric(o.start);
	rc = read_ops(&o, text, err);
	if (rc == PARE_OK && s->data[ROLE_EVAL] == NULL) {
		err_set(err, PARE_EUSER, "plan order needs samples, and none "
		    "are loaded");
		rc = err_hint(err, "load samples: data FILE");
	}
	if (rc == PARE_OK)
		rc = try_all(&o, doc, task, err);
	for (int i = 0; i < o.n; i++)
		free(o.op[i]);
	free(o.out);
	return rc;
}
