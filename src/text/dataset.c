/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sample sets: rows of a table become samples, a stratified draw keeps `limit`
 * of them, and the tokenizer runs over each once.
 *
 * The draw gives every class its share of the limit by largest remainders and
 * takes a random subset of each class: the same seed takes the same rows, and
 * the shares of the classes stay what they were.
 */
#include "text/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "text/columns.h"
#include "text/table.h"

enum {
	TICK_ROWS = 2048,
	TICK_SAMPLES = 128,
	LABELS_SHOWN = 8
};

static const int64_t max_file = (int64_t)1 << 36;

struct loader {
	struct dataset *d;
	struct table *table;
	struct columns columns;
	const struct dataset_options *o;
	struct table_row row;
	struct uni_bytes scratch;
	int64_t cap;
	struct task *task;
	struct pare_err *err;
};

/* ---- rows to samples ---- */

static void
sample_free(struct sample *s)
{
	free(s->text);
	free(s->pair);
	free(s->gold);
	free(s->scored);
	tokens_free(&s->tokens);
}

void
dataset_free(struct dataset *d)
{
	if (d == NULL)
		return;
	for (int64_t i = 0; i < d->n; i++)
		sample_free(&d->sample[i]);
	for (int64_t i = 0; i < d->ndocs; i++) {
		free(d->doc[i].text);
		tokens_free(&d->doc[i].tokens);
	}
	free(d->doc);
	free(d->sample);
	free(d->columns);
	free(d->path);
	free(d);
}

/* A cell as valid UTF-8 in memory of its own. */
static enum pare_rc
copy_cell(struct loader *l, const struct table_cell *c, char **out)
{
	enum pare_rc rc;
	char *p;

	l->scratch.n = 0;
	rc = table_clean(c->s, c->n, &l->scratch, &l->d->bad_bytes, l->err);
	if (rc != PARE_OK)
		return rc;
	p = malloc(l->scratch.n + 1);
	if (p == NULL)
		return err_set(l->err, PARE_ENOMEM,
		    "out of memory: %zu bytes wanted", l->scratch.n + 1);
	if (l->scratch.n > 0)
		memcpy(p, l->scratch.p, l->scratch.n);
	p[l->scratch.n] = '\0';
	*out = p;
	return PARE_OK;
}

static void
trim(char *s)
{
	size_t n = strlen(s), skip = strspn(s, " \t\r\n");

	n = uni_trim_end(s, n);
	if (n < skip)
		n = skip;
	memmove(s, s + skip, n - skip);
	s[n - skip] = '\0';
}

static enum pare_rc
bad_label(const struct loader *l, const char *text)
{
	const struct dataset_options *o = l->o;
	struct str b = STR_INIT;

	if (o->regression) {
		str_add(&b, "a number");
	} else {
		for (int i = 0; i < o->nlabels && i < LABELS_SHOWN; i++)
			str_addf(&b, "%s, ", o->label_name[i]);
		if (o->nlabels > LABELS_SHOWN)
			str_add(&b, "..., ");
		str_addf(&b, "or 0 to %d", o->nlabels - 1);
	}
	err_set(l->err, PARE_EFORMAT, "%s:%lld: the label is '%.60s'; allowed "
	    "is %s (-1 or - where there is none)", l->d->path,
	    (long long)l->row.line, text, b.s);
	str_free(&b);
	return PARE_EFORMAT;
}

static const struct table_cell *
cell(const struct loader *l, int column)
{
	if (column < 0 || column >= l->row.n || l->row.cell[column].s == NULL)
		return NULL;
	return &l->row.cell[column];
}

static enum pare_rc
fill_sample(struct loader *l, struct sample *s)
{
	const struct table_cell *pair = cell(l, l->columns.pair);
	const struct table_cell *label = cell(l, l->columns.label);
	enum pare_rc rc;

	s->label = -1;
	s->score = (double)NAN;
	s->line = l->row.line;
	rc = copy_cell(l, cell(l, l->columns.text), &s->text);
	if (rc == PARE_OK && pair != NULL)
		rc = copy_cell(l, pair, &s->pair);
	if (rc == PARE_OK && label != NULL)
		rc = copy_cell(l, label, &s->gold);
	if (rc != PARE_OK)
		return rc;
	if (s->gold != NULL) {
		trim(s->gold);
		if (label_read(l->o, s->gold, s) != PARE_OK)
			return bad_label(l, s->gold);
		if (*s->gold == '\0' || strcmp(s->gold, "-") == 0 ||
		    strcmp(s->gold, "-1") == 0) {
			free(s->gold);
			s->gold = NULL;
		}
	}
	s->hash = hash_text(s->text, 0);
	if (s->pair != NULL)
		s->hash = hash_mix(s->hash, hash_text(s->pair, 1));
	return PARE_OK;
}

static enum pare_rc
grow(struct loader *l)
{
	int64_t cap = l->cap == 0 ? 256 : 2 * l->cap;
	struct sample *p;

	if (l->d->n < l->cap)
		return PARE_OK;
	p = mem_big((size_t)cap, sizeof(*p), l->err);
	if (p == NULL)
		return PARE_ENOMEM;
	if (l->d->n > 0)
		memcpy(p, l->d->sample, (size_t)l->d->n * sizeof(*p));
	free(l->d->sample);
	l->d->sample = p;
	l->cap = cap;
	return PARE_OK;
}

/* Rows that lack a column are counted, not read. */
static enum pare_rc
add_row(struct loader *l)
{
	const struct columns *c = &l->columns;
	struct sample s = { 0 };
	enum pare_rc rc;
	bool json = l->table->keys > 0;

	if (cell(l, c->text) == NULL ||
	    (c->pair >= 0 && cell(l, c->pair) == NULL) ||
	    (c->label >= 0 && cell(l, c->label) == NULL && !json)) {
		l->d->skipped_rows++;
		return PARE_OK;
	}
	rc = grow(l);
	if (rc == PARE_OK)
		rc = fill_sample(l, &s);
	if (rc != PARE_OK) {
		sample_free(&s);
		return rc;
	}
	l->d->sample[l->d->n++] = s;
	return PARE_OK;
}

static enum pare_rc
read_rows(struct loader *l)
{
	bool more = true, header = l->columns.has_header;

	for (int64_t i = 0;; i++) {
		enum pare_rc rc = table_next(l->table, &l->row, &more, l->err);

		if (rc != PARE_OK)
			return rc;
		if (!more)
			return PARE_OK;
		if (header) {
			header = false;
			continue;
		}
		rc = add_row(l);
		if (rc != PARE_OK)
			return rc;
		if (i % TICK_ROWS == TICK_ROWS - 1 && !task_tick(l->task,
		    (double)l->table->at, (double)l->table->n, "bytes"))
			return task_error(l->err);
	}
}

/* ---- the draw ---- */

struct place {
	uint64_t group;
	int64_t index;
};

static int
compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

static uint64_t
group_of(const struct sample *s, const struct dataset_options *o)
{
	if (o->regression || s->gold == NULL)
		return s->gold == NULL ? 0 : 1;
	return s->label >= 0 ? (uint64_t)s->label + 2 : hash_text(s->gold, 0);
}

struct share {
	int64_t begin, size, take;
	double rest;
};

/* By the fraction left over, larger first; then in order. */
static int
compare_rests(const void *a, const void *b)
{
	const struct share *const *x = a, *const *y = b;

	if ((*x)->rest != (*y)->rest)
		return (*x)->rest > (*y)->rest ? -1 : 1;
	return ((*x)->begin > (*y)->begin) - ((*x)->begin < (*y)->begin);
}

static int64_t
find_shares(const struct place *p, int64_t n, int64_t limit,
    struct share *share, struct share **by_rest)
{
	int64_t groups = 0, taken = 0;

	for (int64_t i = 0; i < n; i++) {
		if (i == 0 || p[i].group != p[i - 1].group)
			share[groups++] = (struct share){ .begin = i };
		share[groups - 1].size++;
	}
	for (int64_t g = 0; g < groups; g++) {
		double want = (double)limit * ((double)share[g].size /
		    (double)n);

		share[g].take = (int64_t)floor(want);
		share[g].rest = want - floor(want);
		taken += share[g].take;
		by_rest[g] = &share[g];
	}
	qsort(by_rest, (size_t)groups, sizeof(struct share *), compare_rests);
	for (int64_t g = 0; taken < limit; g = (g + 1) % groups)
		if (by_rest[g]->take < by_rest[g]->size) {
			by_rest[g]->take++;
			taken++;
		}
	return groups;
}

/* Keeps the samples that are marked, in their order. */
static void
keep_marked(struct dataset *d, const bool *keep)
{
	int64_t n = 0;

	for (int64_t i = 0; i < d->n; i++) {
		if (keep[i])
			d->sample[n++] = d->sample[i];
		else
			sample_free(&d->sample[i]);
	}
	d->n = n;
}

static void
mark_group(const struct place *p, const struct share *g, uint64_t seed,
    int64_t *order, bool *keep)
{
	struct rng r;

	rng_seed(&r, seed);
	for (int64_t i = 0; i < g->size; i++)
		order[i] = p[g->begin + i].index;
	rng_shuffle(&r, order, g->size);
	for (int64_t i = 0; i < g->take; i++)
		keep[order[i]] = true;
}

/* What the draw works in, n of each. */
struct draw_room {
	struct place *place;
	struct share *share, **by_rest;
	int64_t *order;
	bool *keep;
};

static bool
make_room(struct draw_room *r, size_t n, struct pare_err *err)
{
	r->place = mem_big(n, sizeof(*r->place), err);
	r->share = mem_big(n, sizeof(*r->share), err);
	r->by_rest = mem_big(n, sizeof(*r->by_rest), err);
	r->order = mem_big(n, sizeof(*r->order), err);
	r->keep = mem_big_zero(n, sizeof(*r->keep), err);
	return r->place != NULL && r->share != NULL && r->by_rest != NULL &&
	    r->order != NULL && r->keep != NULL;
}

static void
free_room(struct draw_room *r)
{
	free(r->place);
	free(r->share);
	free(r->by_rest);
	free(r->order);
	free(r->keep);
}

static enum pare_rc
draw(struct dataset *d, const struct dataset_options *o, struct pare_err *err)
{
	struct draw_room r;
	bool ok;

	if (o->limit <= 0 || o->limit >= d->n || o->is_text)
		return PARE_OK;
	ok = make_room(&r, (size_t)d->n, err);
	if (ok) {
		int64_t groups;

		for (int64_t i = 0; i < d->n; i++)
			r.place[i] = (struct place){
				group_of(&d->sample[i], o), i };
		qsort(r.place, (size_t)d->n, sizeof(*r.place), compare_places);
		groups = find_shares(r.place, d->n, o->limit, r.share,
		    r.by_rest);
		for (int64_t g = 0; g < groups; g++)
			mark_group(r.place, &r.share[g], rng_derive(o->seed,
			    (uint64_t)g), r.order, r.keep);
		keep_marked(d, r.keep);
	}
	free_room(&r);
	return ok ? PARE_OK : PARE_ENOMEM;
}

/* ---- a whole file ---- */

/* Counts and the content hash, once the samples are settled. */
static void
settle(struct dataset *d, const struct dataset_options *o)
{
	uint64_t h = o->regression;

	for (int64_t i = 0; i < d->n; i++) {
		const struct sample *s = &d->sample[i];
		uint64_t score = 0;

		d->has_pairs = d->has_pairs || s->pair != NULL;
		d->has_labels = d->has_labels || s->gold != NULL;
		d->unlabelled += s->gold == NULL;
		h = hash_mix(h, s->hash);
		h = hash_mix(h, (uint64_t)(int64_t)s->label);
		if (!isnan(s->score))
			memcpy(&score, &s->score, sizeof(score));
		h = hash_mix(h, score);
		if (s->label < 0 && s->gold != NULL)
			h = hash_text(s->gold, h);
	}
	d->content = d->hash = h;
}

/* ---- running text ---- */

/* Whether the file holds a document in each row, and not one in all. */
static bool
has_rows(const char *name, const struct dataset_options *o)
{
	static const char *const ends[] = { ".tsv", ".csv", ".jsonl",
		".json" };
	size_t n = strlen(name);

	if (o->text != NULL || o->pair != NULL)
		return true;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t k = strlen(ends[i]);

		if (n >= k && strcasecmp(name + n - k, ends[i]) == 0)
			return true;
	}
	return false;
}

static enum pare_rc
one_document(struct loader *l, const char *data, size_t n)
{
	struct dataset *d = l->d;

	if (n == 0)
		return err_set(l->err, PARE_EFORMAT, "%s: the file is empty",
		    d->path);
	d->doc = xcalloc(1, sizeof(*d->doc));
	d->ndocs = 1;
	d->doc->line = 1;
	d->doc->n = n;
	d->doc->text = mem_big(n + 1, 1, l->err);
	if (d->doc->text == NULL)
		return PARE_ENOMEM;
	memcpy(d->doc->text, data, n);
	d->doc->text[n] = '\0';
	d->columns = xstrdup("running text");
	d->content = d->hash = hash_bytes(data, n, 2);
	return PARE_OK;
}

/* Samples become documents. */
static enum pare_rc
take_documents(struct loader *l)
{
	struct dataset *d = l->d;

	d->doc = mem_big_zero((size_t)d->n, sizeof(*d->doc), l->err);
	if (d->doc == NULL)
		return PARE_ENOMEM;
	d->ndocs = d->n;
	for (int64_t i = 0; i < d->n; i++) {
		struct sample *s = &d->sample[i];

		d->doc[i] = (struct document){ .text = s->text,
			.n = strlen(s->text), .line = s->line };
		s->text = NULL;
		sample_free(s);
	}
	d->n = 0;
	d->unlabelled = 0;
	d->has_labels = d->has_pairs = false;
	return PARE_OK;
}

static enum pare_rc
load(struct loader *l, const char *data, size_t n)
{
	struct table t = { 0 };
	struct str said = STR_INIT;
	enum pare_rc rc;

	rc = table_open(&t, l->d->path, data, n, l->err);
	if (rc != PARE_OK)
		return rc;
	l->table = &t;
	rc = columns_find(&t, l->o, &l->columns, &said, l->err);
	l->d->columns = str_detach(&said);
	if (rc == PARE_OK)
		rc = read_rows(l);
	l->d->bad_bytes += t.bad_bytes;
	table_close(&t);
	if (rc == PARE_OK && l->d->n == 0)
		rc = err_set(l->err, PARE_EFORMAT, "%s: no examples%s",
		    l->d->path, l->d->skipped_rows > 0 ? ": every row lacks a "
		    "column" : l->columns.has_header ? ": only a header" : "");
	if (rc == PARE_OK)
		rc = draw(l->d, l->o, l->err);
	if (rc == PARE_OK)
		settle(l->d, l->o);
	return rc;
}

struct dataset *
dataset_parse(const char *name, const char *data, size_t n,
    const struct dataset_options *o, struct task *task, struct pare_err *err)
{
	static const struct dataset_options none;
	struct pare_err unheard;
	struct loader *l = xcalloc(1, sizeof(*l));
	struct dataset *d = xcalloc(1, sizeof(*d));
	enum pare_rc rc;

	d->path = xstrdup(name);
	l->d = d;
	l->o = o != NULL ? o : &none;
	l->task = task;
	l->err = err != NULL ? err : &unheard;
	d->is_text = l->o->is_text;
	d->limit = l->o->limit;
	d->seed = l->o->seed;
	if (d->is_text && !has_rows(name, l->o))
		rc = one_document(l, data, n);
	else
		rc = load(l, data, n);
	if (rc == PARE_OK && d->is_text && d->doc == NULL)
		rc = take_documents(l);
	table_row_free(&l->row);
	free(l->scratch.p);
	free(l);
	if (rc == PARE_OK)
		return d;
	dataset_free(d);
	return NULL;
}

struct dataset *
dataset_read(const char *path, const struct dataset_options *o,
    struct task *task, struct pare_err *err)
{
	struct dataset *d;
	char *data;
	size_t n;

	if (io_read(path, max_file, &data, &n, err) != PARE_OK)
		return NULL;
	d = dataset_parse(path, data, n, o, task, err);
	free(data);
	return d;
}

/* ---- tokens ---- */

static void
tokens_free_all(struct tokens *t, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		tokens_free(&t[i]);
	free(t);
}

/* Samples that were tokenized before, by hash. */
struct known {
	int64_t n;
	struct known_sample {
		uint64_t hash;
		const struct sample *sample;
	} *list;
};

static int
known_compare(const void *a, const void *b)
{
	const struct known_sample *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

/* Without memory none are known: they are tokenized again. */
static void
known_open(struct known *k, const struct dataset *const *set, int n,
    uint64_t encoder)
{
	int64_t count = 0;

	memset(k, 0, sizeof(*k));
	for (int i = 0; i < n; i++)
		if (set[i] != NULL && set[i]->encoder == encoder)
			count += set[i]->n;
	if (count == 0 || (k->list = mem_big((size_t)count, sizeof(*k->list),
	    NULL)) == NULL)
		return;
	for (int i = 0; i < n; i++) {
		const struct dataset *d = set[i];

		for (int64_t j = 0; d != NULL && d->encoder == encoder &&
		    j < d->n; j++)
			k->list[k->n++] = (struct known_sample){
				d->sample[j].hash, &d->sample[j] };
	}
	qsort(k->list, (size_t)k->n, sizeof(*k->list), known_compare);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The known tokens of a sample; NULL. Of texts with one hash only the first that
 * is found is looked at. */
static const struct tokens *
known_tokens(const struct known *k, const struct sample *s)
{
	struct known_sample key = { s->hash, NULL };
	const struct known_sample *hit = k->n == 0 ? NULL : bsearch(&key,
	    k->list, (size_t)k->n, sizeof(*k->list), known_compare);

	return hit != NULL && same_text(hit->sample->text, s->text) &&
	    same_text(hit->sample->pair, s->pair) ? &hit->sample->tokens :
	    NULL;
}

static enum pare_rc
copy_tokens(const struct tokens *from, struct tokens *to, struct pare_err *err)
{
	size_t n = (size_t)from->n;

	*to = *from;
	to->id = mem_big(n, sizeof(*to->id), err);
	to->type = to->id == NULL ? NULL : mem_big(n, sizeof(*to->type), err);
	if (to->type == NULL)
		return PARE_ENOMEM;
	if (n > 0) {
		memcpy(to->id, from->id, n * sizeof(*to->id));
		memcpy(to->type, from->type, n * sizeof(*to->type));
	}
	return PARE_OK;
}

static enum pare_rc
encode_all(const struct dataset *d, const struct tokenizer *t, int max,
    const struct known *k, struct tokens *all, struct task *task,
    struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int64_t i = 0; i < d->n && rc == PARE_OK; i++) {
		const struct sample *s = &d->sample[i];
		const struct tokens *same = known_tokens(k, s);

		if (i % TICK_SAMPLES == 0 && !task_tick(task, (double)i,
		    (double)d->n, "samples"))
			rc = task_error(err);
		if (rc == PARE_OK && same != NULL)
			rc = copy_tokens(same, &all[i], err);
		else if (rc == PARE_OK)
			rc = tokenizer_encode(t, s->text, strlen(s->text),
			    s->pair, s->pair != NULL ? strlen(s->pair) : 0,
			    max, true, &all[i], err);
		if (rc != PARE_OK && rc != PARE_ECANCELED)
			err_prefix(err, "%s:%lld", d->path, (long long)s->line);
	}
	return rc;
}

/* The tokens become those of the samples; all is freed. */
static void
take_tokens(struct dataset *d, struct tokens *all)
{
	d->truncated = 0;
	d->hash = d->content;
	for (int64_t i = 0; i < d->n; i++) {
		const struct tokens *t = &all[i];
		size_t bytes = (size_t)t->n * sizeof(*t->id);

		tokens_free(&d->sample[i].tokens);
		d->sample[i].tokens = *t;
		d->truncated += t->truncated;
		d->hash = hash_mix(d->hash, t->n > 0 ? hash_bytes(t->id, bytes,
		    hash_bytes(t->type, bytes, 0)) : 0);
	}
	free(all);
	d->encoded = true;
}

/* Documents whole. The tokens that were there before stay on error. */
static enum pare_rc
encode_documents(struct dataset *d, const struct tokenizer *t,
    struct task *task, struct pare_err *err)
{
	struct tokens *all = mem_big_zero((size_t)d->ndocs, sizeof(*all), err);
	enum pare_rc rc = all == NULL ? PARE_ENOMEM : PARE_OK;
	int64_t invalid = 0;

	for (int64_t i = 0; i < d->ndocs && rc == PARE_OK; i++) {
		if (!task_tick(task, (double)i, (double)d->ndocs, "documents"))
			rc = task_error(err);
		else
			rc = tokenizer_encode(t, d->doc[i].text, d->doc[i].n,
			    NULL, 0, INT32_MAX, true, &all[i], err);
		invalid += all[i].invalid;
	}
	if (rc != PARE_OK) {
		if (all != NULL)
			tokens_free_all(all, d->ndocs);
		return rc;
	}
	for (int64_t i = 0; i < d->ndocs; i++) {
		tokens_free(&d->doc[i].tokens);
		d->doc[i].tokens = all[i];
	}
	free(all);
	d->bad_bytes = d->bad_bytes > invalid ? d->bad_bytes : invalid;
	return PARE_OK;
}

static enum pare_rc
encode_text_set(struct dataset *d, const struct tokenizer *t, int max,
    struct task *task, struct pare_err *err)
{
	struct dataset_cut how = { .custom = CUT_STRIDE, .most = max };
	bool was = d->encoded;
	enum pare_rc rc = encode_documents(d, t, task, err);

	if (rc != PARE_OK)
		return rc;
	how.context = max < 512 ? max : 512;
	how.stride = how.context;
	d->encoded = true;
	rc = dataset_cut(d, t, &how, err);
	d->encoded = was || rc == PARE_OK;
	return rc;
}

enum pare_rc
dataset_encode_known(struct dataset *d, const struct tokenizer *t, int max,
    const struct dataset *const *known, int n, struct task *task,
    struct pare_err *err)
{
	uint64_t encoder = hash_mix(tokenizer_hash(t), (uint64_t)max);
	struct tokens *all = mem_big_zero((size_t)d->n, sizeof(*all), err);
	struct known k;
	enum pare_rc rc;

	if (all == NULL)
		return PARE_ENOMEM;
	if (d->is_text) {
		free(all);
		return encode_text_set(d, t, max, task, err);
	}
	known_open(&k, known, n, encoder);
	rc = encode_all(d, t, max, &k, all, task, err);
	free(k.list);
	if (rc != PARE_OK) {
		tokens_free_all(all, d->n);
		return rc;
	}
	take_tokens(d, all);
	d->encoder = encoder;
	return PARE_OK;
}

enum pare_rc
dataset_encode(struct dataset *d, const struct tokenizer *t, int max,
    struct task *task, struct pare_err *err)
{
	return dataset_encode_known(d, t, max, NULL, 0, task, err);
}

/* ---- overlap ---- */

static int
compare_hashes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int64_t
dataset_overlap(const struct dataset *a, const struct dataset *b)
{
	uint64_t *h = mem_big((size_t)b->n, sizeof(*h), NULL);
	int64_t count = 0;

	/* Only a notice hangs on it; without memory there is none. */
	if (h == NULL)
		return 0;
	for (int64_t i = 0; i < b->n; i++)
		h[i] = b->sample[i].hash;
	qsort(h, (size_t)b->n, sizeof(*h), compare_hashes);
	for (int64_t i = 0; i < a->n; i++)
		count += bsearch(&a->sample[i].hash, h, (size_t)b->n,
		    sizeof(*h), compare_hashes) != NULL;
	free(h);
	return count;
}
