/* SPDX-License-Identifier: GPL-3.0-or-later */
/* generate: how a text goes on, by the original and by the current model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "engine/generate.h"
#include "session/vocabulary.h"
#include "session/work.h"

enum { USUAL_TOKENS = 64, STOPS = 16 };

static const struct arg_spec generate_args[] = {
	{ "text", ARG_TEXT, ARG_WORD | ARG_REPEAT, 0, 0, NULL, NULL, NULL,
	    "what to go on after; nothing begins a text" },
	{ "ids", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "token ids to go on after instead, as 1,403,407" },
	{ "n", ARG_INT, 0, 1, 131072, NULL, NULL, "tokens",
	    "how many to add; 64 unless said, or as many as the model has "
	    "positions for" },
	{ "temperature", ARG_REAL, 0, 0, 100, "0", NULL, NULL,
	    "0 takes the likeliest token each time; with more, unlikely ones "
	    "are drawn more often" },
	{ "top_k", ARG_INT, 0, 0, 100000, "0", NULL, "tokens",
	    "draw from so many of the likeliest; 0 from all" },
	{ "top_p", ARG_REAL, 0, 0, 1, "1", NULL, NULL,
	    "draw from the fewest that have this share of the probability" },
	{ "seed", ARG_INT, 0, 0, 9007199254740992.0, NULL, NULL, NULL,
	    "of the draws; both models draw with the same" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const generate_examples[] = {
	"generate Once upon a time",
	"generate 'The first law of' n=40 temperature=0.8 top_p=0.95 seed=2",
	"generate ids=1,403,407 n=8",
	NULL
};

/* Who goes on. The original may have tokens that the current model has not. */
struct side {
	const struct model *m;
	const struct tokenizer *k;	/* NULL */
	struct tokens prompt;
	int32_t stop[STOPS];
	int nstop;
};

struct ask {
	struct session *s;
	struct side side[2];		/* the current model, the original */
	struct generate_options o;
};

/* ---- what to go on after ---- */

static enum pare_rc
parse_ids(const char *text, int64_t vocab, struct tokens *t,
    struct pare_err *err)
{
	size_t most = strlen(text) / 2 + 1;

	t->id = xcalloc(most, sizeof(*t->id));
	for (const char *p = text; *p != '\0';) {
		char *end;
		long long v = strtoll(p, &end, 10);

		if (end == p || v < 0 || v >= vocab ||
		    (*end != '\0' && *end != ','))
			return err_set(err, PARE_EUSER, "ids: '%.*s' is not a "
			    "number from 0 to %lld",
			    (int)strcspn(p, ",") < 20 ? (int)strcspn(p, ",") :
			    20, p, (long long)vocab - 1);
		t->id[t->n++] = (int32_t)v;
		p = *end == ',' ? end + 1 : end;
	}
	return PARE_OK;
}

/* A tokenizer may end what it encodes; the model is to do that here. */
static void
open_end(const struct tokenizer *k, struct tokens *t)
{
	if (t->n > 1 && t->id[t->n - 1] == tokenizer_eos(k))
		t->n--;
	if (t->n > 0 || tokenizer_bos(k) < 0)
		return;
	t->id = xrealloc(t->id, sizeof(*t->id));
	t->id[t->n++] = tokenizer_bos(k);
}

static enum pare_rc
read_text(const struct ask *a, struct side *d, const char *text,
    struct pare_err *err)
{
	int most = work_max_tokens(d->m, d->k);
	enum pare_rc rc;

	if (d->k == NULL) {
		err_set(err, PARE_EUSER, "text needs a tokenizer: %s",
		    a->s->tokenizer_why.msg);
		return err_hint(err, "generate ids=1,2,3 works without one");
	}
	rc = tokenizer_encode(d->k, text, strlen(text), NULL, 0, most, true,
	    &d->prompt, err);
	if (rc == PARE_OK && d->prompt.truncated)
		return err_set(err, PARE_EUSER, "the text is longer than the "
		    "model's %d tokens", most);
	if (rc == PARE_OK)
		open_end(d->k, &d->prompt);
	return rc;
}

/* The same tokens as the original numbers them. */
static void
number_ids(const struct model *m, const struct tokens *from,
    struct tokens *to)
{
	to->id = xcalloc((size_t)from->n + 1, sizeof(*to->id));
	to->n = from->n;
	for (int i = 0; i < from->n; i++)
		to->id[i] = m->tokens != NULL ? m->tokens->id[from->id[i]] :
		    from->id[i];
}

static enum pare_rc
read_prompt(struct ask *a, const struct arg_list *args, struct pare_err *err)
{
	const char *ids = arg_text(args, "ids"), *text = arg_text(args, "text");
	enum pare_rc rc = PARE_OK;

	a->side[0].m = session_model(a->s);
	a->side[1].m = a->s->history.state[0].model;
	for (int i = 0; i < 2; i++)
		a->side[i].k = vocabulary_tokenizer(a->s, a->side[i].m);
	if (ids != NULL && text != NULL)
		return err_set(err, PARE_EUSER,
		    "a text and ids= cannot both be given");
	if (ids != NULL) {
		rc = parse_ids(ids, a->side[0].m->hp.vocab,
		    &a->side[0].prompt, err);
		if (rc == PARE_OK)
			number_ids(a->side[0].m, &a->side[0].prompt,
			    &a->side[1].prompt);
		return rc;
	}
	for (int i = 0; i < 2 && rc == PARE_OK; i++)
		rc = read_text(a, &a->side[i], text != NULL ? text : "", err);
	return rc;
}

static void
add_stop(struct side *d, int64_t id)
{
	if (id >= 0 && id <= INT32_MAX && d->nstop < STOPS)
		d->stop[d->nstop++] = (int32_t)id;
}

static void
add_named(struct side *d, const json_t *id)
{
	if (json_is_integer(id))
		add_stop(d, token_map_id(d->m->tokens,
		    json_integer_value(id)));
}

/* The tokenizer says what ends a text, and the config, with one id or several. */
static void
list_stops(struct side *d)
{
	const json_t *v = json_object_get(d->m->origin->config,
	    "eos_token_id");

	if (d->k != NULL)
		add_stop(d, tokenizer_eos(d->k));
	add_named(d, v);
	for (size_t i = 0; i < json_array_size(v); i++)
		add_named(d, json_array_get(v, i));
}

static void
read_options(struct ask *a, const struct arg_list *args)
{
	const int64_t room = kv_longest(session_model(a->s)) -
	    (a->side[1].prompt.n > a->side[0].prompt.n ?
	    a->side[1].prompt.n : a->side[0].prompt.n) + 1;

	a->o.sampling = (struct sampling){
		.temperature = arg_real(args, "temperature"),
		.top_k = arg_int(args, "top_k"),
		.top_p = arg_real(args, "top_p"),
		.seed = work_seed(a->s, args)
	};
	a->o.n = USUAL_TOKENS < room || room < 1 ? USUAL_TOKENS : room;
	if (arg_get(args, "n")->has)
		a->o.n = arg_int(args, "n");
	list_stops(&a->side[0]);
	list_stops(&a->side[1]);
}

/* ---- documents ---- */

/* What the added tokens say: the text of all without that of the prompt, for the
 * first word may be written otherwise at the beginning of a text. */
static json_t *
added_text(const struct side *d, const struct generation *g)
{
	const struct tokenizer *k = d->k;
	struct str before = STR_INIT, all = STR_INIT;
	const int64_t p = d->prompt.n;
	json_t *out;
	int32_t *id;

	if (k == NULL)
		return json_null();
	id = xcalloc((size_t)(p + g->n), sizeof(*id));
	memcpy(id, d->prompt.id, (size_t)p * sizeof(*id));
	memcpy(id + p, g->id, (size_t)g->n * sizeof(*id));
	tokenizer_decode(k, id, p, false, &before);
	tokenizer_decode(k, id, p + g->n, false, &all);
	if (before.n > 0 && (all.n < before.n ||
	    memcmp(all.s, before.s, before.n) != 0)) {
		str_clear(&all);
		str_clear(&before);
		tokenizer_decode(k, g->id, g->n, false, &all);
	}
	out = result_text(all.n > 0 ? all.s + before.n : "");
	str_free(&before);
	str_free(&all);
	free(id);
	return out;
}

static json_t *
id_list(const int32_t *id, int64_t n)
{
	json_t *list = json_array();

	for (int64_t i = 0; i < n; i++)
		json_array_append_new(list, json_integer(id[i]));
	return list;
}

static json_t *
side_doc(const struct side *d, int state, const struct generation *g,
    bool partial)
{
	static const char *const ends[GENERATE_ENDS] = { "length", "stop" };
	const double more = g->seconds - g->first_seconds;
	json_t *o = json_object();

	result_put_int(o, "state", state);
	result_put_int(o, "n", g->n);
	result_put_text(o, "end", partial ? "canceled" : ends[g->end]);
	json_object_set_new(o, "ids", id_list(g->id, g->n));
	json_object_set_new(o, "text", added_text(d, g));
	result_put_int(o, "kv_bytes", g->kv_bytes);
	result_put_real(o, "first_ms", 1e3 * g->first_seconds);
	result_put_real(o, "tokens_per_second", g->n > 1 && more > 0 ?
	    (double)(g->n - 1) / more : NAN);
	return o;
}

/* How many tokens are the same from the first on; -1: all, on both sides. b has
 * the original's ids, map tells those of a. */
static int64_t
same_tokens(const struct token_map *map, const struct generation *a,
    const struct generation *b)
{
	int64_t i = 0;

	while (i < a->n && i < b->n && (map != NULL ? map->id[a->id[i]] :
	    a->id[i]) == b->id[i])
		i++;
	return i == a->n && i == b->n && a->end == b->end ? -1 : i;
}

static void
put_ask(const struct ask *a, const struct arg_list *args, json_t *doc)
{
	result_put_text(doc, "prompt", arg_text(args, "ids") != NULL ? NULL :
	    arg_text(args, "text") != NULL ? arg_text(args, "text") : "");
	json_object_set_new(doc, "prompt_ids", id_list(
	    a->side[0].prompt.id, a->side[0].prompt.n));
	result_put_int(doc, "n", a->o.n);
	result_put_real(doc, "temperature", a->o.sampling.temperature);
	result_put_int(doc, "top_k", a->o.sampling.top_k);
	result_put_real(doc, "top_p", a->o.sampling.top_p);
	result_put_int(doc, "seed", (int64_t)a->o.sampling.seed);
}

/* ---- the command ---- */

/* Both sides; what there is when it is stopped is no error but partial. */
static enum pare_rc
run_sides(struct ask *a, struct generation g[2], int *sides, bool *partial,
    struct pare_err *err)
{
	const struct history *h = &a->s->history;
	const int most = h->current == 0 ? 1 : 2;
	enum pare_rc rc = PARE_OK;

	for (*sides = 0; *sides < most && rc == PARE_OK; (*sides)++) {
		const struct side *d = &a->side[*sides];

		a->o.stop = d->stop;
		a->o.nstop = d->nstop;
		rc = generate_run(a->s->engine, d->m, d->prompt.id,
		    d->prompt.n, &a->o, &g[*sides], err);
	}
	*partial = rc == PARE_ECANCELED && g[0].n > 0;
	if (*partial && g[*sides - 1].n == 0)
		(*sides)--;
	return *partial ? PARE_OK : rc;
}

static void
put_sides(const struct ask *a, const struct generation g[2], int sides,
    bool partial, json_t *doc)
{
	const int current = a->s->history.current;
	int64_t same = sides == 2 ? same_tokens(a->side[0].m->tokens,
	    &g[0], &g[1]) : -1;

	json_object_set_new(doc, "current", side_doc(&a->side[0], current, &g[0],
	    partial && sides == 1));
	json_object_set_new(doc, "original", sides == 2 ? side_doc(&a->side[1],
	    0, &g[1], partial) : json_null());
	json_object_set_new(doc, "differ", same < 0 ? json_null() :
	    json_integer(same));
	result_put_bool(doc, "partial", partial);
}

static enum pare_rc
run_generate(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct ask a = { .s = s, .o = { .task = task } };
	struct generation g[2] = { { 0 }, { 0 } };
	bool partial = false;
	enum pare_rc rc;
	int sides = 0;

	rc = read_prompt(&a, args, err);
	if (rc == PARE_OK) {
		read_options(&a, args);
		rc = run_sides(&a, g, &sides, &partial, err);
	}
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc == PARE_OK) {
		put_ask(&a, args, doc);
		put_sides(&a, g, sides, partial, doc);
		if (a.side[0].prompt.invalid > 0)
			notes_add(notes, "%d bytes of the text are no UTF-8 "
			    "and were replaced", a.side[0].prompt.invalid);
	}
	generation_free(&g[0]);
	generation_free(&g[1]);
	tokens_free(&a.side[0].prompt);
	tokens_free(&a.side[1].prompt);
	return rc;
}

const struct command command_generate = {
	.name = "generate",
	.group = GROUP_MEASURE,
	.help = "Go on after a text, by the original and the current model.\n"
	    "A language model says how likely each token is to come next; at "
	    "temperature 0 the likeliest follows each time, otherwise one is "
	    "drawn. Keys and values of earlier tokens are kept, so each "
	    "token costs one pass over the weights. Where the two texts first "
	    "differ is marked. It ends at n tokens, or where the model ends "
	    "its text; stopping it shows what there is.",
	.examples = generate_examples,
	.args = generate_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_generate,
};
