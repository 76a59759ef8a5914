/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/calibration.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "measure/reconstruct.h"
#include "measure/calibrate.h"
#include "measure/unit_times.h"
#include "session/work.h"
#include "tensor/kernel.h"

enum { KEPT = 3 };

struct kept {
	uint64_t model, data;
	int64_t samples, used;
	unsigned have;		/* enum op_need */
	struct statistics *statistics;
	struct gates_means gates, relevance;
	struct curvature *curvature;
};

struct calibration {
	struct kept kept[KEPT];
	struct head_scores heads;
	int64_t *tokens;
	struct reconstruct *reconstruct;
	struct op_times *times;
	uint64_t times_key;
	int64_t clock;
};

struct calibration *
calibration_new(void)
{
	return xcalloc(1, sizeof(struct calibration));
}

static void
drop(struct kept *k)
{
	statistics_free(k->statistics);
	gates_means_free(&k->gates);
	gates_means_free(&k->relevance);
	curvature_free(k->curvature);
	memset(k, 0, sizeof(*k));
}

void
calibration_clear(struct calibration *c)
{
	for (int i = 0; i < KEPT; i++)
		drop(&c->kept[i]);
	head_scores_free(&c->heads);
	free(c->tokens);
	c->tokens = NULL;
	reconstruct_free(c->reconstruct);
	c->reconstruct = NULL;
	free(c->times);
	c->times = NULL;
}

void
head_scores_free(struct head_scores *h)
{
	free(h->v);
	memset(h, 0, sizeof(*h));
}

void
head_scores_copy(struct head_scores *to, const struct head_scores *from)
{
	size_t n = (size_t)from->layers * (size_t)from->width;

	*to = *from;
	to->v = xcalloc(n + 1, sizeof(*to->v));
	memcpy(to->v, from->v, n * sizeof(*to->v));
}

void
calibration_keep_heads(struct calibration *c, const struct head_scores *h)
{
	head_scores_free(&c->heads);
	c->heads = *h;
}

const struct head_scores *
calibration_heads(const struct calibration *c, uint64_t model)
{
	return c->heads.v != NULL && model != 0 && c->heads.model == model ?
	    &c->heads : NULL;
}

void
calibration_free(struct calibration *c)
{
	if (c != NULL)
		calibration_clear(c);
	free(c);
}

/* The place of a model, emptied if it is a new one. */
static struct kept *
find(struct calibration *c, uint64_t model, uint64_t data, int64_t samples)
{
	struct kept *place = &c->kept[0];

	c->clock++;
	for (int i = 0; i < KEPT; i++) {
		struct kept *k = &c->kept[i];

		if (k->used > 0 && k->model == model && k->data == data &&
		    k->samples == samples) {
			k->used = c->clock;
			return k;
		}
		if (k->used < place->used)
			place = k;
	}
	drop(place);
	*place = (struct kept){ .model = model, .data = data,
		.samples = samples, .used = c->clock };
	return place;
}

enum pare_rc
calibration_check(const struct session *s, const char *what, struct pare_err *err)
{
	if (s->data[ROLE_CALIB] != NULL)
		return PARE_OK;
	if (s->source[ROLE_CALIB].path != NULL && s->tokenizer == NULL)
		return err_set(err, PARE_EUSER, "the calib samples cannot be "
		    "tokenized for this model: %s", s->tokenizer_why.msg);
	return score_missing(what, err);
}

static void
count_tokens(const struct tokens *t, int64_t vocab, int64_t *count)
{
	for (int i = 0; i < t->n; i++)
		if (t->id[i] >= 0 && t->id[i] < vocab)
			count[t->id[i]]++;
}

enum pare_rc
calibration_tokens(struct session *s, const struct model *m, const char *what,
    const int64_t **out, struct pare_err *err)
{
	const struct dataset *d = s->data[ROLE_CALIB];
	const int64_t vocab = m->hp.vocab;
	int64_t *count;
	enum pare_rc rc = calibration_check(s, what, err);

	if (rc != PARE_OK)
		return rc;
	count = mem_big_zero((size_t)vocab, sizeof(*count), err);
	if (count == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < d->ndocs; i++)
		count_tokens(&d->doc[i].tokens, vocab, count);
	for (int64_t i = 0; i < d->n && d->ndocs == 0; i++)
		count_tokens(&d->sample[i].tokens, vocab, count);
	free(s->calibration->tokens);
	s->calibration->tokens = count;
	*out = count;
	return PARE_OK;
}

enum { TIMES_VERSION = 2 };

static uint64_t
times_key(const struct model *m, int64_t seq)
{
	uint64_t v[] = { TIMES_VERSION, model_hash(m), (uint64_t)cpu_level(),
		(uint64_t)cpu_detected(), (uint64_t)kernel_threads(),
		(uint64_t)seq, 0x756e6974 };

	return hash_bytes(v, sizeof(v), hash_text(kernel_blas_name(), 17));
}

enum pare_rc
calibration_times(struct session *s, const struct model *m, int64_t seq,
    const struct op_times **out, struct task *task, struct pare_err *err)
{
	struct calibration *c = s->calibration;
	size_t size = sizeof(struct op_times) + (size_t)m->nlayers *
	    sizeof(c->times->layer_ms[0]), n = 0;
	int64_t most = work_max_tokens(m, NULL);
	uint64_t key = times_key(m, seq < most ? seq : most);
	enum pare_rc rc = PARE_OK;

	if (c->times == NULL || c->times_key != key) {
		free(c->times);
		c->times_key = key;
		c->times = settings_bool(s->settings, SET_CACHE) ?
		    memory_load(s->memory, key, &n) : NULL;
	}
	if (c->times != NULL && n != 0 && (n != size ||
	    c->times->nlayers != m->nlayers)) {
		free(c->times);
		c->times = NULL;
	}
	if (c->times == NULL) {
		rc = unit_times_measure(m, seq < most ? seq : most, &c->times,
		    task, err);
		/* What other programs disturbed is not for later sittings. */
		if (rc == PARE_OK && c->times->waited <= LATENCY_WAITED_MAX)
			memory_save(s->memory, key, c->times, size);
	}
	*out = c->times;
	return rc;
}

enum { GRAMS = OP_NEED_GRAM_OUTPUT | OP_NEED_GRAM_DOWN | OP_NEED_GRAM_ALL };

static enum pare_rc
get_statistics(struct kept *k, const struct model *m, const struct dataset *d,
    unsigned needs, struct task *task, struct pare_err *err)
{
	bool *gram = xcalloc((size_t)m->nlayers * MOMENTS_PLACES + 1,
	    sizeof(*gram));
	unsigned all = (needs | k->have) & (GRAMS | OP_NEED_STATISTICS);
	struct statistics *s = NULL;
	enum pare_rc rc;

	for (int i = 0; i < m->nlayers * MOMENTS_PLACES; i++) {
		int place = i % MOMENTS_PLACES;

		gram[i] = (all & OP_NEED_GRAM_ALL) != 0 ||
		    (place == ENGINE_SEES_OUTPUT &&
		    (all & OP_NEED_GRAM_OUTPUT) != 0) ||
		    (place == ENGINE_SEES_DOWN &&
		    (all & OP_NEED_GRAM_DOWN) != 0);
	}
	rc = calibrate_statistics(m, d, k->samples, gram, &s, task, err);
	free(gram);
	if (rc != PARE_OK)
		return rc;
	statistics_free(k->statistics);
	k->statistics = s;
	k->have |= all | OP_NEED_STATISTICS;
	if ((all & OP_NEED_GRAM_ALL) != 0)
		k->have |= GRAMS;
	return PARE_OK;
}

static enum pare_rc
get_gates(struct kept *k, const struct model *m, const struct dataset *d,
    unsigned flags, struct task *task, struct pare_err *err)
{
	bool relevance = (flags & CALIBRATE_RELEVANCE) != 0;
	struct gates_means *to = relevance ? &k->relevance : &k->gates;
	struct gates_means now;
	enum pare_rc rc = calibrate_gates(m, d, k->samples, flags, &now, task,
	    err);

	if (rc != PARE_OK)
		return rc;
	gates_means_free(to);
	*to = now;
	k->have |= relevance ? OP_NEED_RELEVANCE : OP_NEED_GATES;
	if ((flags & CALIBRATE_EACH) != 0)
		k->have |= OP_NEED_GATES_EACH;
	return PARE_OK;
}

static enum pare_rc
get_curvature(struct kept *k, const struct model *m, const struct dataset *d,
    unsigned lacking, struct task *task, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	if (k->curvature == NULL &&
	    (k->curvature = curvature_new(m, err)) == NULL)
		return PARE_ENOMEM;
	if ((lacking & OP_NEED_SQUARES) != 0)
		rc = calibrate_squares(m, d, k->samples, k->curvature, task,
		    err);
	if (rc == PARE_OK)
		k->have |= lacking & OP_NEED_SQUARES;
	if (rc == PARE_OK && (lacking & OP_NEED_HESSIAN) != 0)
		rc = calibrate_hessian(m, d, k->samples, k->curvature, task,
		    err);
	if (rc == PARE_OK)
		k->have |= lacking & OP_NEED_HESSIAN;
	return rc;
}

void
calibration_warn(const struct session *s, int64_t samples, struct notes *notes)
{
	const struct dataset *d = s->data[ROLE_CALIB];

	if (d->ndocs == 0 && d->n > 0 && (d->n == 1 || samples == 1))
		notes_add(notes, "one calib sample was looked at: what it says "
		    "may hold for it alone");
}

static void
add_warnings(const struct kept *k, unsigned needs, struct notes *notes)
{
	int64_t rows = 0, cols = (needs & GRAMS) == 0 ? 0 :
	    calibrate_short(k->statistics, &rows);

	if (cols > 0)
		notes_add(notes, "few tokens for what is asked of them: an "
		    "input of %lld values was seen %lld times", (long long)cols,
		    (long long)rows);
	if ((needs & OP_NEED_GATES) != 0 &&
	    k->gates.labelled < k->gates.samples)
		notes_add(notes, "%lld of %lld samples have no label: what "
		    "the model predicts stands for it",
		    (long long)(k->gates.samples - k->gates.labelled),
		    (long long)k->gates.samples);
	if ((needs & (OP_NEED_SQUARES | OP_NEED_HESSIAN)) != 0 &&
	    k->curvature->labelled < k->curvature->samples)
		notes_add(notes, "%lld of %lld samples have no label: what "
		    "the model predicts stands for it",
		    (long long)(k->curvature->samples -
		    k->curvature->labelled), (long long)k->curvature->samples);
}

/* The gradient of a loss that is next to 0 says nothing of the sample. */
enum { SURE = 20 };	/* one of so many samples says what all do */

void
calibration_doubt(const struct session *s, const struct model *m,
    struct notes *notes)
{
	uint64_t model = model_hash(m);
	const struct kept *last = NULL;

	for (int i = 0; i < KEPT; i++) {
		const struct kept *k = &s->calibration->kept[i];

		if (k->used > 0 && k->model == model &&
		    (k->have & OP_NEED_GATES) != 0 && (last == NULL ||
		    k->used > last->used))
			last = k;
	}
	if (last != NULL && last->gates.weight > 0 &&
	    last->gates.weight * SURE < (double)last->gates.samples)
		notes_add(notes, "the model is sure of most calib samples: "
		    "gradients say what %.0f of %lld would; by=lrp weighs all "
		    "alike", ceil(last->gates.weight),
		    (long long)last->gates.samples);
}

enum pare_rc
calibration_get(struct session *s, const struct model *m, unsigned needs,
    int64_t samples, const char *what, struct op_calib *out,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct dataset *d = s->data[ROLE_CALIB];
	unsigned lacking;
	struct kept *k;
	enum pare_rc rc;

	memset(out, 0, sizeof(*out));
	if ((rc = calibration_check(s, what, err)) != PARE_OK)
		return rc;
	k = find(s->calibration, model_hash(m), d->hash, samples);
	if ((needs & GRAMS) != 0)
		needs |= OP_NEED_STATISTICS;
	lacking = needs & ~k->have;
	if ((lacking & (GRAMS | OP_NEED_STATISTICS)) != 0)
		rc = get_statistics(k, m, d, needs, task, err);
	if (rc == PARE_OK && (lacking & OP_NEED_GATES_EACH) != 0)
		rc = get_gates(k, m, d, CALIBRATE_EACH, task, err);
	else if (rc == PARE_OK && (lacking & OP_NEED_GATES) != 0)
		rc = get_gates(k, m, d, 0, task, err);
	if (rc == PARE_OK && (lacking & OP_NEED_RELEVANCE) != 0)
		rc = get_gates(k, m, d, CALIBRATE_RELEVANCE, task, err);
	if (rc == PARE_OK && (lacking & (OP_NEED_SQUARES | OP_NEED_HESSIAN)) != 0)
		rc = get_curvature(k, m, d, lacking, task, err);
	if (rc == PARE_OK && (needs & OP_NEED_RECONSTRUCT) != 0) {
		reconstruct_free(s->calibration->reconstruct);
		rc = reconstruct_new(m, d, samples, &s->calibration->reconstruct, err);
	}
	if (rc == PARE_OK)
		rc = work_damage(err);
	if (rc != PARE_OK)
		return rc;
	calibration_warn(s, samples, notes);
	add_warnings(k, needs, notes);
	*out = (struct op_calib){ .statistics = k->statistics,
		.gates = (k->have & OP_NEED_GATES) != 0 ? &k->gates : NULL,
		.relevance = (k->have & OP_NEED_RELEVANCE) != 0 ?
		    &k->relevance : NULL,
		.squares = (k->have & OP_NEED_SQUARES) != 0 ?
		    k->curvature : NULL,
		.hessian = (k->have & OP_NEED_HESSIAN) != 0 ?
		    k->curvature : NULL,
		.reconstruct = (needs & OP_NEED_RECONSTRUCT) != 0 ?
		    reconstruct_op(s->calibration->reconstruct) : NULL };
	return PARE_OK;
}
