/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * predict: logits or hidden states, of one text, of one list of ids, or of the
 * sample set. Sequences go through the engine in batches laid end to end, in
 * order; each makes one row, in the document or as a line of out=FILE. Of a model
 * of tokens the likeliest ones are told, from the logits of the places asked
 * about alone: behind the last token, or at each mask.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/work.h"

/* Tokens of a batch; hidden=... and masked-LM logits make wide rows, so that
 * is what bounds the memory of one. */
enum { BATCH_TOKENS = 2048, BATCH_SEQUENCES = 256 };

/* In the order of enum what. */
static const char *const what_choices[] = { "auto", "logits", "next",
	"hidden", NULL };
enum what { WHAT_AUTO, WHAT_LOGITS, WHAT_NEXT, WHAT_HIDDEN };

static const struct arg_spec predict_args[] = {
	{ "text", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "a text to run instead of the samples" },
	{ "pair", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "its second text" },
	{ "ids", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "token ids to run, as 101,2054,102" },
	{ "types", ARG_TEXT, 0, 0, 0, NULL, NULL, NULL,
	    "segment of each id; all 0 unless said" },
	{ "what", ARG_CHOICE, 0, 0, 0, "auto", what_choices, NULL,
	    "outputs of the head, the likeliest tokens of a language model, or "
	    "states of the last layer; auto is next for a causal language "
	    "model and where a token is masked, unless out= is given" },
	{ "top", ARG_INT, 0, 1, 1000, "10", NULL, "tokens",
	    "how many of the likeliest" },
	{ "out", ARG_FILE, 0, 0, 0, NULL, NULL, NULL,
	    "write a line of JSON for each row to this file" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const predict_examples[] = {
	"predict ids=1,2,3",
	"predict text='a fine film'",
	"predict out=logits.ndjson",
	"predict ids=1,2,3 what=hidden",
	"predict text='Once upon a time' top=5",
	NULL
};

/* One sequence to run, borrowed. */
struct item {
	const int32_t *id, *type;
	int n;
	const struct sample *sample;	/* NULL: typed on the line */
};

struct predict {
	struct session *s;
	const struct model *m;
	enum what what;
	bool hidden;
	int32_t mask;		/* -1: the tokenizer has none */
	int top;
	int64_t nitems;
	struct item *item;
	char **spelling;	/* of the classes, as the file writes them */
	int64_t row_width;	/* floats a token or a sequence has */
	bool per_token;
	struct io_out *out;	/* NULL: rows go into the document */
	json_t *rows;
};

/* ---- what to run ---- */

static enum pare_rc
parse_ids(const char *name, const char *text, int64_t max,
    struct tokens *t, bool types, struct pare_err *err)
{
	int cap = 0, n = 0;
	int32_t *v = NULL;

	while (*text != '\0') {
		char *end;
		long long k;

		if (*text == ',' || *text == ' ') {
			text++;
			continue;
		}
		k = strtoll(text, &end, 10);
		if (end == text || k < 0 || k >= max || n >= 1 << 20 ||
		    (*end != '\0' && *end != ',' && *end != ' ')) {
			size_t len = strcspn(text, ", ");

			free(v);
			return err_set(err, PARE_EUSER, "%s: '%.*s' is not a "
			    "number from 0 to %lld", name,
			    len < 20 ? (int)len : 20, text,
			    (long long)max - 1);
		}
		if (n == cap) {
			cap = cap != 0 ? 2 * cap : 64;
			v = xrealloc(v, (size_t)cap * sizeof(*v));
		}
		v[n++] = (int32_t)k;
		text = end;
	}
	if (types && n != t->n) {
		free(v);
		return err_set(err, PARE_EUSER,
		    "types: %d of them for %d ids", n, t->n);
	}
	if (types) {
		t->type = v;
	} else {
		t->id = v;
		t->n = n;
	}
	if (n == 0)
		return err_set(err, PARE_EUSER, "%s: none are given", name);
	return PARE_OK;
}

static enum pare_rc
need_tokenizer(const struct session *s, struct pare_err *err)
{
	if (s->tokenizer != NULL)
		return PARE_OK;
	err_set(err, PARE_EUSER, "text needs a tokenizer: %s",
	    s->tokenizer_why.msg);
	return err_hint(err, "predict ids=1,2,3 works without one");
}

enum pare_rc
work_line_tokens(const struct session *s, const struct arg_list *args,
    struct tokens *t, struct pare_err *err)
{
	const struct model *m = session_model(s);
	const char *text = arg_text(args, "text"), *ids = arg_text(args, "ids");
	const char *pair = arg_text(args, "pair");
	const char *types = arg_text(args, "types");
	enum pare_rc rc;

	if (text != NULL && ids != NULL)
		return err_set(err, PARE_EUSER,
		    "text= and ids= cannot both be given");
	if (ids != NULL) {
		rc = parse_ids("ids", ids, m->hp.vocab, t, false, err);
		if (rc == PARE_OK && types != NULL)
			rc = parse_ids("types", types, m->hp.types > 0 ?
			    m->hp.types : 1, t, true, err);
		return rc;
	}
	rc = need_tokenizer(s, err);
	if (rc != PARE_OK)
		return rc;
	return tokenizer_encode(s->tokenizer, text, strlen(text), pair,
	    pair != NULL ? strlen(pair) : 0,
	    work_max_tokens(m, s->tokenizer), true, t, err);
}

static enum pare_rc
list_samples(struct predict *p, struct pare_err *err)
{
	const struct dataset *d = p->s->data[ROLE_EVAL];

	if (d == NULL) {
		if (p->s->source[ROLE_EVAL].path != NULL)
			return need_tokenizer(p->s, err);
		err_set(err, PARE_EUSER, "nothing to predict: no samples are "
		    "loaded and neither text= nor ids= is given");
		return err_hint(err, "load samples: data FILE");
	}
	p->nitems = d->n;
	p->item = xcalloc((size_t)d->n, sizeof(*p->item));
	for (int64_t i = 0; i < d->n; i++)
		p->item[i] = (struct item){ d->sample[i].tokens.id,
			d->sample[i].tokens.type, d->sample[i].tokens.n,
			&d->sample[i] };
	return PARE_OK;
}

/* Classes are written as the file writes them (0 and 1, say), so that label and
 * gold can be compared; classes it never names have the model's name. */
static void
list_spellings(struct predict *p)
{
	const struct dataset *d = p->s->data[ROLE_EVAL];
	int64_t labels = p->m->hp.labels;
	char name[256];

	if (p->m->hp.head != HEAD_CLASSIFY || labels < 1)
		return;
	p->spelling = xcalloc((size_t)labels, sizeof(*p->spelling));
	for (int64_t i = 0; p->nitems > 0 && p->item[0].sample != NULL &&
	    i < d->n; i++) {
		const struct sample *x = &d->sample[i];

		if (x->label >= 0 && x->label < labels && x->gold != NULL &&
		    p->spelling[x->label] == NULL)
			p->spelling[x->label] = xstrdup(x->gold);
	}
	for (int k = 0; k < labels; k++)
		if (p->spelling[k] == NULL) {
			model_label_name(p->m, k, name, sizeof(name));
			p->spelling[k] = xstrdup(name);
		}
}

/* ---- rows ---- */

static json_t *
floats(const float *v, int64_t n)
{
	json_t *list = json_array();

	for (int64_t i = 0; i < n; i++)
		json_array_append_new(list, isfinite(v[i]) ?
		    json_real((double)v[i]) : json_null());
	return list;
}

static json_t *
matrix(const float *v, int64_t rows, int64_t cols)
{
	json_t *list = json_array();

	for (int64_t r = 0; r < rows; r++)
		json_array_append_new(list, floats(v + r * cols, cols));
	return list;
}

static int
best_of(const float *v, int64_t n)
{
	int best = 0;

	for (int64_t k = 1; k < n; k++)
		if (v[k] > v[best])
			best = (int)k;
	return best;
}

static void
put_class(const struct predict *p, const struct item *it, const float *v,
    json_t *o)
{
	int64_t n = p->m->hp.labels;
	const struct sample *x = it->sample;

	result_put_text(o, "label", p->spelling[best_of(v, n)]);
	result_put_text(o, "gold", x == NULL ? NULL : x->label >= 0 &&
	    x->label < n ? p->spelling[x->label] : x->gold);
}

static json_t *
probabilities(const float *v, int64_t n)
{
	json_t *list = json_array();
	double top = v[best_of(v, n)], sum = 0.0;

	for (int64_t k = 0; k < n; k++)
		sum += exp((double)v[k] - top);
	for (int64_t k = 0; k < n; k++) {
		double x = exp((double)v[k] - top) / sum;

		json_array_append_new(list, isfinite(x) ? json_real(x) :
		    json_null());
	}
	return list;
}

static void
put_tokens(const struct predict *p, const struct item *it, bool pieces,
    json_t *o)
{
	json_t *ids = json_array(), *list = json_array();

	for (int i = 0; i < it->n; i++) {
		json_array_append_new(ids, json_integer(it->id[i]));
		if (pieces && p->s->tokenizer != NULL)
			json_array_append_new(list, result_text(
			    tokenizer_piece(p->s->tokenizer, it->id[i])));
	}
	json_object_set_new(o, "ids", ids);
	if (pieces && p->s->tokenizer != NULL)
		json_object_set(o, "tokens", list);
	json_decref(list);
}

/* The row of one sequence; v is its outputs. Lines of a file have what scripts
 * read; rows of the document also what people do. */
static json_t *
row_doc(const struct predict *p, int64_t index, const float *v)
{
	const struct item *it = &p->item[index];
	bool full = p->out == NULL;
	json_t *o = json_object();

	result_put_int(o, "index", index);
	if (!p->hidden && p->m->hp.head == HEAD_CLASSIFY) {
		put_class(p, it, v, o);
	} else {
		json_object_set_new(o, "label", json_null());
		result_put_text(o, "gold", it->sample != NULL ?
		    it->sample->gold : NULL);
	}
	put_tokens(p, it, full, o);
	if (p->per_token)
		json_object_set_new(o, p->hidden ? "hidden" : "logits",
		    matrix(v, it->n, p->row_width));
	else
		json_object_set_new(o, "logits", floats(v, p->row_width));
	if (full && !p->hidden && p->m->hp.head == HEAD_CLASSIFY)
		json_object_set_new(o, "probabilities",
		    probabilities(v, p->row_width));
	if (full && it->sample != NULL)
		result_put_text(o, "text", it->sample->text);
	if (full && it->sample != NULL && it->sample->pair != NULL)
		result_put_text(o, "pair", it->sample->pair);
	return o;
}

static enum pare_rc
add_row(struct predict *p, json_t *row, struct pare_err *err)
{
	enum pare_rc rc;
	char *text;

	if (p->out == NULL) {
		json_array_append_new(p->rows, row);
		return PARE_OK;
	}
	/* Nine digits give every float32 back. */
	text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(row);
	if (text == NULL)
		return err_set(err, PARE_ENOMEM, "no memory for a row");
	rc = io_out_write(p->out, text, strlen(text), err);
	if (rc == PARE_OK)
		rc = io_out_write(p->out, "\n", 1, err);
	free(text);
	return rc;
}

/* ---- running ---- */

/* Sequences [first, last) laid end to end. */
struct laid {
	int64_t start[BATCH_SEQUENCES + 1];
	int32_t *id, *type;
	int n;
};

static int64_t
choose_last(const struct predict *p, int64_t first)
{
	int64_t last = first + 1, tokens = p->item[first].n;

	while (last < p->nitems && last - first < BATCH_SEQUENCES &&
	    tokens + p->item[last].n <= BATCH_TOKENS)
		tokens += p->item[last++].n;
	return last;
}

static enum pare_rc
lay_out(const struct predict *p, int64_t first, int64_t last, struct laid *b,
    struct pare_err *err)
{
	int64_t total = 0;

	b->n = (int)(last - first);
	for (int i = 0; i < b->n; i++) {
		b->start[i] = total;
		total += p->item[first + i].n;
	}
	b->start[b->n] = total;
	b->id = mem_big((size_t)total, sizeof(*b->id), err);
	b->type = mem_big_zero((size_t)total, sizeof(*b->type), err);
	if (b->id == NULL || b->type == NULL)
		return PARE_ENOMEM;
	for (int i = 0; i < b->n; i++) {
		const struct item *it = &p->item[first + i];

		memcpy(b->id + b->start[i], it->id,
		    (size_t)it->n * sizeof(*b->id));
		if (it->type != NULL)
			memcpy(b->type + b->start[i], it->type,
			    (size_t)it->n * sizeof(*b->type));
	}
	return PARE_OK;
}

/* ---- likeliest tokens ---- */

/* The places of a batch that are asked about, and what is found there. */
struct asked {
	const struct predict *p;
	int64_t n;
	int64_t *row;		/* token of the batch */
	int *seq, *position;	/* whose it is */
	json_t **next;		/* per sequence: places[] */
};

static int32_t
find_mask(const struct tokenizer *t)
{
	int64_t n = t != NULL ? tokenizer_size(t) : 0;

	for (int64_t i = 0; i < n; i++) {
		const char *s = tokenizer_piece(t, (int32_t)i);

		if (s != NULL && (strcmp(s, "[MASK]") == 0 ||
		    strcmp(s, "<mask>") == 0))
			return (int32_t)i;
	}
	return -1;
}

static void
ask(const struct predict *p, const struct laid *b, struct asked *a)
{
	bool masked = p->m->hp.head == HEAD_MLM;

	for (int s = 0; s < b->n; s++)
		for (int64_t i = b->start[s]; i < b->start[s + 1]; i++) {
			if (masked ? b->id[i] != p->mask :
			    i + 1 < b->start[s + 1])
				continue;
			a->row[a->n] = i;
			a->seq[a->n] = s;
			a->position[a->n++] = (int)(i - b->start[s]) +
			    !masked;
		}
}

/* The likeliest `top` ids, best first, by insertion. */
static int
likeliest(const float *v, int64_t vocab, int top, int32_t *id)
{
	int n = 0;

	for (int64_t i = 0; i < vocab; i++) {
		int k;

		if (n == top && !(v[i] > v[id[n - 1]]))
			continue;
		k = n < top ? n++ : n - 1;
		for (; k > 0 && v[i] > v[id[k - 1]]; k--)
			id[k] = id[k - 1];
		id[k] = (int32_t)i;
	}
	return n;
}

static json_t *
place_doc(const struct predict *p, int position, const float *v)
{
	json_t *o = json_object(), *list = json_array();
	int64_t vocab = p->m->hp.vocab;
	int32_t id[1000];
	int n = likeliest(v, vocab, p->top, id);
	double sum = 0;

	for (int64_t i = 0; i < vocab; i++)
		sum += exp((double)v[i] - (double)v[id[0]]);
	for (int k = 0; k < n; k++) {
		json_t *t = json_object();

		result_put_int(t, "id", id[k]);
		result_put_text(t, "token", p->s->tokenizer == NULL ? NULL :
		    tokenizer_piece(p->s->tokenizer, id[k]));
		result_put_real(t, "probability", exp((double)v[id[k]] -
		    (double)v[id[0]]) / sum);
		json_array_append_new(list, t);
	}
	result_put_int(o, "position", position);
	json_object_set_new(o, "tokens", list);
	return o;
}

/* `take` of struct forward. */
static void
take_rows(const float *logits, int64_t first, int64_t n, void *ctx)
{
	const struct asked *a = ctx;

	for (int64_t i = 0; i < n; i++)
		json_array_append_new(a->next[a->seq[first + i]],
		    place_doc(a->p, a->position[first + i], logits +
		    i * a->p->m->hp.vocab));
}

static json_t *
next_doc(const struct predict *p, int64_t index, json_t *places)
{
	const struct item *it = &p->item[index];
	json_t *o = json_object();

	result_put_int(o, "index", index);
	put_tokens(p, it, p->out == NULL, o);
	json_object_set(o, "next", places);
	if (p->out == NULL && it->sample != NULL)
		result_put_text(o, "text", it->sample->text);
	return o;
}

static enum pare_rc
run_next(struct predict *p, int64_t first, const struct laid *b,
    struct task *task, struct pare_err *err)
{
	struct batch batch = { b->n, b->start, b->id,
	    p->m->hp.types > 0 ? b->type : NULL };
	size_t tokens = (size_t)b->start[b->n];
	struct asked a = { .p = p };
	struct forward f = { .task = task, .take = take_rows, .ctx = &a };
	enum pare_rc rc = PARE_ENOMEM;

	a.row = mem_big(tokens, sizeof(*a.row), err);
	a.seq = mem_big(tokens, sizeof(*a.seq), err);
	a.position = mem_big(tokens, sizeof(*a.position), err);
	a.next = xcalloc((size_t)b->n, sizeof(json_t *));
	for (int i = 0; i < b->n; i++)
		a.next[i] = json_array();
	if (a.row != NULL && a.seq != NULL && a.position != NULL) {
		ask(p, b, &a);
		f.rows = a.row;
		f.nrows = a.n;
		rc = engine_forward(p->s->engine, p->m, &batch, &f, err);
	}
	for (int i = 0; i < b->n; i++) {
		if (rc == PARE_OK)
			rc = add_row(p, next_doc(p, first + i, a.next[i]),
			    err);
		json_decref(a.next[i]);
	}
	free(a.row);
	free(a.seq);
	free(a.position);
	free(a.next);
	return rc;
}

static enum pare_rc
run_laid(struct predict *p, int64_t first, const struct laid *b,
    struct task *task, struct pare_err *err)
{
	int64_t units = p->per_token ? b->start[b->n] : b->n;
	/* Pairs of a model without segments differ by their separator alone. */
	struct batch batch = { b->n, b->start, b->id,
	    p->m->hp.types > 0 ? b->type : NULL };
	struct forward f = { .task = task };
	enum pare_rc rc;
	int64_t size;
	float *v;

	if (!mem_mul(units, p->row_width, &size))
		return err_set(err, PARE_ENOMEM, "no memory for the outputs");
	v = mem_big((size_t)size, sizeof(*v), err);
	if (v == NULL)
		return PARE_ENOMEM;
	if (p->hidden)
		f.hidden = v;
	else
		f.logits = v;
	rc = engine_forward(p->s->engine, p->m, &batch, &f, err);
	for (int i = 0; rc == PARE_OK && i < b->n; i++)
		rc = add_row(p, row_doc(p, first + i, v + p->row_width *
		    (p->per_token ? b->start[i] : i)), err);
	free(v);
	return rc;
}

static enum pare_rc
run_all(struct predict *p, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int64_t first = 0, last; rc == PARE_OK && first < p->nitems;
	    first = last) {
		struct laid b = { 0 };

		if (!task_tick(task, (double)first, (double)p->nitems,
		    "samples"))
			return task_error(err);
		last = choose_last(p, first);
		rc = lay_out(p, first, last, &b, err);
		if (rc == PARE_OK)
			rc = p->what == WHAT_NEXT ?
			    run_next(p, first, &b, task, err) :
			    run_laid(p, first, &b, task, err);
		free(b.id);
		free(b.type);
	}
	return rc;
}

static bool
has_mask(const struct predict *p)
{
	for (int64_t i = 0; i < p->nitems; i++)
		for (int k = 0; k < p->item[i].n; k++)
			if (p->item[i].id[k] == p->mask)
				return true;
	return false;
}

/* What is told, once it is known what runs. */
static enum pare_rc
settle(struct predict *p, const struct arg_list *args, struct pare_err *err)
{
	bool tokens = head_gives_tokens(p->m->hp.head);
	bool masked = p->m->hp.head == HEAD_MLM;

	p->mask = masked ? find_mask(p->s->tokenizer) : -1;
	p->top = (int)arg_int(args, "top");
	if (p->what == WHAT_AUTO)
		p->what = tokens && arg_text(args, "out") == NULL &&
		    (!masked || (p->mask >= 0 && has_mask(p))) ? WHAT_NEXT :
		    WHAT_LOGITS;
	if (p->what != WHAT_NEXT)
		return PARE_OK;
	if (!tokens)
		return err_set(err, PARE_EUSER, "%s is no language model: it "
		    "has no next token", p->m->origin->name);
	if (masked && (p->mask < 0 || !has_mask(p))) {
		err_set(err, PARE_EUSER, "no token is masked, and this model "
		    "tells no others");
		return err_hint(err, "predict text='a [MASK] film'");
	}
	return PARE_OK;
}

static enum pare_rc
prepare(struct predict *p, const struct arg_list *args, struct tokens *t,
    struct pare_err *err)
{
	bool line = arg_text(args, "text") != NULL ||
	    arg_text(args, "ids") != NULL;
	enum pare_rc rc;

	p->what = (enum what)arg_get(args, "what")->i;
	p->hidden = p->what == WHAT_HIDDEN;
	p->per_token = p->hidden ||
	    head_gives_tokens(p->m->hp.head);
	p->row_width = p->hidden ? p->m->hp.hidden :
	    head_gives_tokens(p->m->hp.head) ? p->m->hp.vocab : p->m->hp.labels;
	if (!p->hidden && p->m->hp.head == HEAD_NONE) {
		err_set(err, PARE_EUSER, "%s has no head, so no logits",
		    p->m->origin->name);
		return err_hint(err, "predict what=hidden");
	}
	if (!line)
		return list_samples(p, err);
	rc = work_line_tokens(p->s, args, t, err);
	if (rc != PARE_OK)
		return rc;
	p->nitems = 1;
	p->item = xcalloc(1, sizeof(*p->item));
	p->item[0] = (struct item){ t->id, t->type, t->n, NULL };
	return PARE_OK;
}

static enum pare_rc
run_rows(struct predict *p, const char *out, struct task *task,
    struct pare_err *err)
{
	enum pare_rc rc;

	p->rows = json_array();
	if (out != NULL) {
		p->out = io_out_open(out, err);
		if (p->out == NULL)
			return err->rc;
	}
	rc = run_all(p, task, err);
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (p->out == NULL)
		return rc;
	if (rc == PARE_OK)
		return io_out_commit(p->out, err);
	io_out_abort(p->out);
	return rc;
}

static enum pare_rc
run_predict(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	struct predict p = { .s = s, .m = session_model(s) };
	struct tokens t = { 0 };
	enum pare_rc rc;

	rc = prepare(&p, args, &t, err);
	if (rc == PARE_OK)
		rc = settle(&p, args, err);
	if (rc == PARE_OK) {
		list_spellings(&p);
		rc = run_rows(&p, arg_text(args, "out"), task, err);
	}
	if (rc == PARE_OK) {
		result_put_int(doc, "n", p.nitems);
		result_put_text(doc, "what", what_choices[p.what]);
		result_put_text(doc, "file", arg_text(args, "out"));
		result_put_labels(doc, p.m);
		if (arg_text(args, "out") == NULL)
			json_object_set(doc, "rows", p.rows);
		if (t.truncated)
			notes_add(notes, "the text is longer than the model "
			    "allows and was cut");
	}
	json_decref(p.rows);
	for (int64_t k = 0; p.spelling != NULL && k < p.m->hp.labels; k++)
		free(p.spelling[k]);
	free(p.spelling);
	free(p.item);
	tokens_free(&t);
	return rc;
}

const struct command command_predict = {
	.name = "predict",
	.group = GROUP_MEASURE,
	.help = "Run the model and give its outputs.\n"
	    "Over the eval samples, or over one text or list of ids. A "
	    "classifier gives one row of logits a sample, a language model "
	    "the likeliest next tokens, or those at each mask, with their "
	    "probabilities, and with what=logits a row of logits a token; "
	    "what=hidden gives the states of the last layer. label "
	    "and gold are written as the sample file writes them.",
	.examples = predict_examples,
	.args = predict_args,
	.flags = CMD_NEEDS_MODEL | CMD_NEEDS_WEIGHTS | CMD_LONG,
	.run = run_predict,
};
