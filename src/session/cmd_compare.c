/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare: two states on the eval samples, and the same amounts at random. */
#include "base/str.h"
#include "session/control.h"
#include "session/work.h"

static const struct arg_spec compare_args[] = {
	{ "a", ARG_STATE, ARG_WORD, 0, 0, "original", NULL, NULL,
	    "the state to start from" },
	{ "b", ARG_STATE, ARG_WORD, 0, 0, "current", NULL, NULL,
	    "the state it became" },
	{ "metric", ARG_CHOICE, 0, 0, 0, "auto", work_metric_choices, NULL,
	    "what value is" },
	{ "flips", ARG_INT, 0, 0, 1e15, "20", NULL, "samples",
	    "changed predictions to list" },
	{ "random", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "where steps chose what to remove, also the same amounts drawn "
	    "at random" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const compare_examples[] = { "compare",
	"compare original current", "compare 0 0 flips=5", NULL };

static json_t *
compare_side(const struct session *s, int id, const struct evaluation *v)
{
	const struct state *t = &s->history.state[id];
	int64_t seq = settings_int(s->settings, SET_SEQ);
	json_t *o = json_object();
	struct totals totals;

	account_totals(t->model, seq, false, &totals);
	result_put_int(o, "state", id);
	result_put_text(o, "command", t->command);
	result_put_text(o, "metric", metric_table[v->metric].name);
	result_put_real(o, "value", v->value);
	json_object_set_new(o, "ci95", work_interval(v->low, v->high));
	result_put_int(o, "n", v->n);
	result_put_int(o, "params", totals.params);
	result_put_int(o, "bytes", totals.bytes);
	result_put_real(o, "macs_per_token", (double)totals.macs /
	    (double)seq);
	return o;
}

static void
put_label(const struct model *m, int k, json_t *o, const char *key)
{
	char name[256];

	if (k < 0 || k >= m->hp.labels) {
		json_object_set_new(o, key, json_null());
		return;
	}
	model_label_name(m, k, name, sizeof(name));
	result_put_text(o, key, name);
}

enum { BEFORE = 12 };

/* A token that is predicted otherwise, and what stands before it. */
static json_t *
token_flip(const struct session *s, int64_t window, int position,
    const int32_t ids[3])
{
	static const char *const keys[] = { "gold", "a", "b" };
	const struct sample *x = &s->data[ROLE_EVAL]->sample[window];
	int first = position > BEFORE ? position - BEFORE : 0;
	struct str text = STR_INIT;
	json_t *o = json_object();

	result_put_int(o, "index", window);
	result_put_int(o, "position", position);
	for (int k = 0; k < 3; k++)
		result_put_text(o, keys[k], s->tokenizer == NULL ? NULL :
		    tokenizer_piece(s->tokenizer, ids[k]));
	if (s->tokenizer != NULL)
		tokenizer_decode(s->tokenizer, x->tokens.id + first,
		    position - first, false, &text);
	result_put_text(o, "text", text.s != NULL ? text.s : "");
	str_free(&text);
	return o;
}

static void
list_tokens(const struct session *s, const struct evaluation *a,
    const struct evaluation *b, int64_t most, json_t *list)
{
	const struct dataset *d = s->data[ROLE_EVAL];

	for (int64_t w = 0; w < d->n && most > 0; w++) {
		const struct sample *x = &d->sample[w];

		for (int k = 0; k < x->nscored && most > 0; k++) {
			int64_t t = x->scored_at + k;
			const int32_t ids[] = { a->gold[t], a->predicted[t],
				b->predicted[t] };

			if (ids[1] == ids[2])
				continue;
			json_array_append_new(list, token_flip(s, w,
			    x->scored[k], ids));
			most--;
		}
	}
}

static json_t *
flip_list(const struct session *s, const struct model *m,
    const struct evaluation *a, const struct evaluation *b, int64_t most)
{
	const struct dataset *d = s->data[ROLE_EVAL];
	json_t *list = json_array();
	int64_t n = 0;

	if (head_gives_tokens(m->hp.head) && a->data_hash == b->data_hash)
		list_tokens(s, a, b, most, list);
	if (m->hp.head != HEAD_CLASSIFY)
		return list;
	for (int64_t i = 0; i < d->n && i < a->total && n < most; i++) {
		json_t *o;

		if (a->predicted[i] == b->predicted[i])
			continue;
		n++;
		o = json_object();
		result_put_int(o, "index", i);
		put_label(m, a->gold[i], o, "gold");
		put_label(m, a->predicted[i], o, "a");
		put_label(m, b->predicted[i], o, "b");
		result_put_text(o, "text", d->sample[i].text);
		if (d->sample[i].pair != NULL)
			result_put_text(o, "pair", d->sample[i].pair);
		json_array_append_new(list, o);
	}
	return list;
}

static enum pare_rc
run_compare(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct evaluation *va, *vb;
	struct comparison c;
	enum metric metric;
	enum pare_rc rc;
	int a, b;

	rc = work_read_metric(s, args, &metric, err);
	if (rc == PARE_OK)
		rc = work_state(s, args, "a", "original", &a, err);
	if (rc == PARE_OK)
		rc = work_state(s, args, "b", "current", &b, err);
	if (rc == PARE_OK)
		rc = work_evaluate(s, s->history.state[a].model, metric, false,
		    &va, NULL, task, err);
	if (rc == PARE_OK)
		rc = work_evaluate(s, s->history.state[b].model, metric, false,
		    &vb, NULL, task, err);
	if (rc != PARE_OK)
		return rc;
	evaluation_compare(va, vb, &c);
	json_object_set_new(doc, "a", compare_side(s, a, va));
	json_object_set_new(doc, "b", compare_side(s, b, vb));
	work_put_comparison(&c, doc);
	json_object_set_new(doc, "flips", flip_list(s,
	    s->history.state[b].model, va, vb, arg_int(args, "flips")));
	return arg_int(args, "random") == 0 ? PARE_OK : control_doc(s, a, b,
	    vb, doc, notes, task, err);
}

const struct command command_compare = {
	.name = "compare",
	.group = GROUP_MEASURE,
	.help = "Compare two states on the eval samples.\n"
	    "Lists the samples whose prediction changed. Where a step between "
	    "them removed heads, neurons, layers or weights by some measure, "
	    "the same amounts are also removed at random, with three seeds: a "
	    "choice is worth something when it beats those.",
	.examples = compare_examples,
	.args = compare_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_NEEDS_DATA |
	    CMD_LONG,
	.run = run_compare,
};
