/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/control.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "session/plan_book.h"
#include "session/work.h"

static bool
has_spec(const struct op *op, const char *name)
{
	for (const struct arg_spec *a = op->args; a->name != NULL; a++)
		if (strcmp(a->name, name) == 0)
			return true;
	return false;
}

static bool
takes_random(const struct op *op)
{
	for (const struct arg_spec *a = op->args; a->name != NULL; a++)
		for (int i = 0; strcmp(a->name, "by") == 0 &&
		    a->choices[i] != NULL; i++)
			if (strcmp(a->choices[i], "random") == 0)
				return true;
	return false;
}

/* Whether the op decided what goes: by an amount, or as `least N`. */
static bool
chose(const struct op *op, const struct arg_list *args)
{
	const char *target = has_spec(op, "target") ? arg_text(args,
	    "target") : NULL;

	if ((op->flags & OP_RANDOM) == 0 || !takes_random(op))
		return false;
	if (arg_get(args, "by")->has &&
	    strcmp(arg_choice(args, "by"), "random") == 0)
		return false;
	if (has_spec(op, "amount") && arg_get(args, "amount")->has)
		return true;
	if (has_spec(op, "pattern") && arg_get(args, "pattern")->set)
		return true;
	return target != NULL && str_has_prefix(target, "least ");
}

static char *
random_words(const struct arg_words *w, uint64_t seed)
{
	struct str s = STR_INIT;

	for (int i = 0; i < w->n; i++) {
		char *word;

		if (!w->quoted[i] && (str_has_prefix(w->word[i], "by=") ||
		    str_has_prefix(w->word[i], "seed=")))
			continue;
		word = w->quoted[i] ? arg_quote(w->word[i]) :
		    xstrdup(w->word[i]);
		str_addf(&s, "%s%s", s.n > 0 ? " " : "", word);
		free(word);
	}
	str_addf(&s, " by=random seed=%llu", (unsigned long long)seed);
	return str_detach(&s);
}

char *
control_line(const char *line, uint64_t seed)
{
	struct pare_err err;
	struct arg_words w;
	struct arg_list args;
	const struct op *op;
	char *out = NULL;
	int words;

	if (arg_split(line, &w, &err) != PARE_OK)
		return NULL;
	if (op_find(&w, &op, &words, &err) == PARE_OK &&
	    arg_parse(op->args, &w, words, &args, &err) == PARE_OK) {
		if (chose(op, &args))
			out = random_words(&w, seed);
		arg_list_free(&args);
	}
	arg_words_free(&w);
	return out;
}

/* The states from a (left out) to b, first to last; 0: b does not come from
 * a. */
static int
path(const struct history *h, int a, int b, int *out)
{
	int n = 0;

	for (int i = b; i != a; i = h->state[i].parent) {
		if (i < 0)
			return 0;
		n++;
	}
	for (int i = b, k = n; i != a; i = h->state[i].parent)
		out[--k] = i;
	return n;
}

struct draw {
	const struct evaluation *v;
	struct comparison c;	/* the chosen one against it */
};

static enum pare_rc
draw(struct session *s, int a, const int *id, int n, uint64_t seed,
    struct draw *out, struct evaluation const *chosen, struct task *task,
    struct pare_err *err)
{
	const struct history *h = &s->history;
	struct model *m = model_ref(h->state[a].model);
	struct notes quiet = { 0 };
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < n && rc == PARE_OK; i++) {
		const char *line = h->state[id[i]].command;
		char *other = control_line(line, seed);
		struct op_result r;

		rc = work_op_apply(s, m, other != NULL ? other : line, false,
		    &r, &quiet, task, err);
		free(other);
		if (rc == PARE_OK) {
			model_unref(m);
			m = model_ref(r.model);
			op_result_free(&r);
		}
	}
	if (rc == PARE_OK)
		rc = work_evaluate(s, m, chosen->metric, false, &out->v, NULL,
		    task, err);
	if (rc == PARE_OK)
		evaluation_compare(out->v, chosen, &out->c);
	model_unref(m);
	notes_free(&quiet);
	return rc;
}

/* Better than every draw, and beyond noise than most of them; or the other way
 * round. */
static const char *
verdict(const struct draw *d, bool falls)
{
	int above = 0, below = 0, clear = 0;

	for (int i = 0; i < CONTROL_DRAWS; i++) {
		double p = d[i].c.ratio != 0 ? d[i].c.ratio_p : d[i].c.p;
		double gain = falls ? -d[i].c.delta : d[i].c.delta;

		above += gain > 0;
		below += gain < 0;
		clear += p < 0.05;
	}
	if (above == CONTROL_DRAWS && 2 * clear > CONTROL_DRAWS)
		return "the choice beat chance";
	if (below == CONTROL_DRAWS && 2 * clear > CONTROL_DRAWS)
		return "chance beat the choice";
	return "the choice is not told from chance";
}

static void
put_control(const struct draw *d, const char *line, bool falls, json_t *doc)
{
	json_t *o = json_object(), *list = json_array();
	double sum = 0;

	for (int i = 0; i < CONTROL_DRAWS; i++) {
		json_t *x = json_object();

		result_put_int(x, "seed", i + 1);
		result_put_real(x, "value", d[i].v->value);
		result_put_real(x, "delta", d[i].c.delta);
		result_put_real(x, "p", d[i].c.ratio != 0 ? d[i].c.ratio_p :
		    d[i].c.p);
		json_array_append_new(list, x);
		sum += d[i].v->value;
	}
	result_put_text(o, "line", line);
	json_object_set_new(o, "draws", list);
	result_put_real(o, "mean", sum / CONTROL_DRAWS);
	result_put_text(o, "verdict", verdict(d, falls));
	json_object_set_new(doc, "control", o);
}

enum pare_rc
control_doc(struct session *s, int a, int b, const struct evaluation *chosen,
    json_t *doc, struct notes *notes, struct task *task, struct pare_err *err)
{
	int *id = xcalloc((size_t)s->history.n + 1, sizeof(*id));
	int n = path(&s->history, a, b, id), i = 0;
	struct draw d[CONTROL_DRAWS];
	struct plan_progress step;
	enum pare_rc rc = PARE_OK;
	char *line = NULL;

	while (i < n && (line = control_line(s->history.state[id[i]].command,
	    1)) == NULL)
		i++;
	plan_progress_init(&step, task, CONTROL_DRAWS, "random controls");
	for (int k = 0; k < CONTROL_DRAWS && line != NULL && rc == PARE_OK;
	    k++, step.done++)
		rc = draw(s, a, id, n, (uint64_t)k + 1, &d[k], chosen,
		    &step.task, err);
	if (rc == PARE_OK && line != NULL)
		put_control(d, line, metric_falls(chosen->metric), doc);
	if (rc == PARE_EUSER) {
		notes_add(notes, "no random control: %s", err->msg);
		rc = PARE_OK;
	}
	free(line);
	free(id);
	return rc;
}
