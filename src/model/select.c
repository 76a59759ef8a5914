/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "model/select.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/arch.h"

/* Words that name slots of the whole model, and what they begin with in
 * slot_table[].part. */
static const char *const model_words[] = { "emb", "emb.word", "emb.pos",
	"emb.type", "emb.norm", "emb.proj", "final", "pooler", "head", NULL };

static const char *const layer_parts[] = { "attn", "ffn", "q", "k", "v", "o",
	"up", "down", "gate", "norm", NULL };

static uint32_t
model_bit(enum slot s)
{
	return UINT32_C(1) << ((int)s - SLOT_LAYER_COUNT);
}

static void
selection_init(const struct model *m, struct selection *out)
{
	memset(out, 0, sizeof(*out));
	out->nlayers = m->nlayers;
	out->layer = xcalloc((size_t)m->nlayers, sizeof(*out->layer));
}

void
select_free(struct selection *s)
{
	free(s->layer);
	memset(s, 0, sizeof(*s));
}

bool
select_has(const struct selection *s, struct slot_ref ref)
{
	if (ref.layer < 0)
		return (s->slots & model_bit(ref.slot)) != 0;
	return (s->layer[ref.layer].slots >> ref.slot & 1) != 0;
}

static void
select_slot(struct selection *s, struct slot_ref ref)
{
	if (ref.layer < 0)
		s->slots |= model_bit(ref.slot);
	else
		s->layer[ref.layer].slots |= UINT32_C(1) << ref.slot;
}

void
select_all(const struct model *m, struct selection *out)
{
	struct slot_ref r = SLOT_REF_START;

	selection_init(m, out);
	out->all = true;
	while (model_next_slot(m, &r))
		select_slot(out, r);
	for (int l = 0; l < m->nlayers; l++)
		out->layer[l].whole = true;
}

/* One number of a list, at most 5 digits; false when there is none. */
static bool
read_number(const char **p, int *out)
{
	int v = 0, digits = 0;

	while (isdigit((unsigned char)**p) && digits < 6) {
		v = v * 10 + (**p - '0');
		(*p)++;
		digits++;
	}
	*out = v;
	return digits > 0 && digits < 6;
}

/*
 * "*" or "0,4-7" from *p on, into marks[0..n). *p ends behind it. what names
 * the thing counted.
 */
static enum pare_rc
read_list(const char **p, uint8_t *marks, int n, const char *what,
    const char *owner, const char *word, struct pare_err *err)
{
	int a, b;

	if (**p == '*') {
		(*p)++;
		memset(marks, 1, (size_t)n);
		return PARE_OK;
	}
	do {
		if (**p == ',')
			(*p)++;
		if (!read_number(p, &a))
			goto bad;
		b = a;
		if (**p == '-') {
			(*p)++;
			if (!read_number(p, &b) || b < a)
				goto bad;
		}
		if (b >= n) {
			err_set(err, PARE_EUSER, "there is no %s %d in '%s': "
			    "%s has %ss 0 to %d", what, b, word, owner, what,
			    n - 1);
			return PARE_EUSER;
		}
		memset(marks + a, 1, (size_t)(b - a + 1));
	} while (**p == ',');
	return PARE_OK;
bad:
	err_set(err, PARE_EUSER, "'%s' is no list of %ss", word, what);
	return err_hint(err, "write it like L3, L0-5, L0,2,4 or L3.h0,4-7");
}

static bool
part_has(const char *part, enum slot s)
{
	const struct slot_facts *f = &slot_table[s];

	return strcmp(part, f->part) == 0 || strcmp(part, f->module) == 0;
}

/* Adds the slots of layer l that part names; how many there were. */
static int
add_part(const struct model *m, struct selection *out, int l, const char *part)
{
	int n = 0;

	for (int s = 0; s < SLOT_LAYER_COUNT; s++) {
		struct slot_ref r = { l, (enum slot)s };

		if (model_slot(m, r) == NULL || !part_has(part, r.slot))
			continue;
		select_slot(out, r);
		n++;
	}
	if (n > 0 && strcmp(part, "attn") == 0)
		out->layer[l].attention = true;
	if (n > 0 && strcmp(part, "ffn") == 0)
		out->layer[l].ffn = true;
	return n;
}

static enum pare_rc
add_heads(const struct model *m, struct selection *out, int l,
    const char *list, const char *word, struct pare_err *err)
{
	const struct layer *y = &m->layer[l];
	uint8_t marks[MODEL_HEADS_MAX] = { 0 };
	const char *p = list;
	bool star = *list == '*';
	enum pare_rc rc;
	char owner[16];

	snprintf(owner, sizeof(owner), "L%d", l);
	if (y->heads == 0) {
		if (y->heads_original > 0)
			return err_set(err, PARE_EUSER,
			    "L%d has no heads left: its attention is removed",
			    l);
		return err_set(err, PARE_EUSER, "L%d has no attention", l);
	}
	rc = read_list(&p, marks, y->heads_original, "head", owner, word, err);
	if (rc != PARE_OK)
		return rc;
	if (*p != '\0')
		return err_set(err, PARE_EUSER, "'%s' is no list of heads",
		    word);
	for (int h = 0; h < y->heads_original; h++) {
		if (!marks[h])
			continue;
		if (head_set_has(&y->head, h))
			head_set_put(&out->layer[l].heads, h, true);
		else if (!star)
			return err_set(err, PARE_EUSER,
			    "head %d of L%d is already removed", h, l);
	}
	return PARE_OK;
}

static bool
is_part(const char *s)
{
	for (int i = 0; layer_parts[i] != NULL; i++)
		if (strcmp(s, layer_parts[i]) == 0)
			return true;
	return false;
}

/* The part of a layer word behind the dot, as "q", "attn" or "h0,4-7". */
static enum pare_rc
add_layer_part(const struct model *m, struct selection *out,
    const uint8_t *marks, const char *part, const char *word,
    struct pare_err *err)
{
	bool heads = part[0] == 'h' &&
	    (isdigit((unsigned char)part[1]) || part[1] == '*');
	enum pare_rc rc;
	int found = 0;

	if (!heads && !is_part(part)) {
		const char *near = str_nearest(part, layer_parts);

		err_set(err, PARE_EUSER, "'%s': a layer has no part '%s'",
		    word, part);
		return err_hint(err, near != NULL ? "did you mean .%s? Parts "
		    "are attn ffn q k v o up down gate norm and h0,1..." :
		    "parts are attn ffn q k v o up down gate norm and h0,1...",
		    near);
	}
	for (int l = 0; l < m->nlayers; l++) {
		if (!marks[l])
			continue;
		if (!heads) {
			found += add_part(m, out, l, part);
			continue;
		}
		rc = add_heads(m, out, l, part + 1, word, err);
		if (rc != PARE_OK)
			return rc;
		found++;
	}
	if (found == 0)
		return err_set(err, PARE_EUSER, "'%s' names nothing: no such "
		    "part is left there", word);
	return PARE_OK;
}

static enum pare_rc
add_layers(const struct model *m, struct selection *out, const char *word,
    struct pare_err *err)
{
	uint8_t *marks = xcalloc((size_t)m->nlayers, 1);
	const char *p = word + 1;
	enum pare_rc rc;

	rc = read_list(&p, marks, m->nlayers, "layer", "the model", word, err);
	if (rc == PARE_OK && *p == '.') {
		rc = add_layer_part(m, out, marks, p + 1, word, err);
	} else if (rc == PARE_OK && *p != '\0') {
		rc = err_set(err, PARE_EUSER, "'%s' is no target", word);
		err_hint(err, "targets look like L3, L0-5.attn, L2.h0,3, emb, "
		    "pooler, head, all");
	} else if (rc == PARE_OK) {
		for (int l = 0; l < m->nlayers; l++) {
			if (!marks[l])
				continue;
			out->layer[l].whole = true;
			for (int s = 0; s < SLOT_LAYER_COUNT; s++)
				if (m->layer[l].t[s] != NULL)
					select_slot(out, (struct slot_ref){ l,
					    (enum slot)s });
		}
	}
	free(marks);
	return rc;
}

static int
add_model_word(const struct model *m, struct selection *out, const char *word)
{
	int n = 0;

	for (int s = SLOT_LAYER_COUNT; s < SLOT_COUNT; s++) {
		struct slot_ref r = { -1, (enum slot)s };
		const char *part = slot_table[s].part;
		size_t k = strlen(word);

		if (model_slot(m, r) == NULL || strncmp(part, word, k) != 0 ||
		    (part[k] != '\0' && part[k] != '.'))
			continue;
		select_slot(out, r);
		n++;
	}
	return n;
}

static int
add_glob(const struct model *m, struct selection *out, const char *word)
{
	struct slot_ref r = SLOT_REF_START;
	char name[256];
	int n = 0;

	while (model_next_slot(m, &r)) {
		bool hit = model_file_name(m, r, name, sizeof(name)) &&
		    fnmatch(word, name, 0) == 0;

		if (!hit) {
			model_slot_path(r, name, sizeof(name));
			hit = fnmatch(word, name, 0) == 0;
		}
		if (hit) {
			select_slot(out, r);
			n++;
		}
	}
	return n;
}

static bool
is_model_word(const char *word)
{
	for (int i = 0; model_words[i] != NULL; i++)
		if (strcmp(word, model_words[i]) == 0)
			return true;
	return false;
}

static enum pare_rc
add_word(const struct model *m, struct selection *out, const char *word,
    struct pare_err *err)
{
	if (strcmp(word, "all") == 0) {
		select_free(out);
		select_all(m, out);
		return PARE_OK;
	}
	if (is_model_word(word)) {
		if (add_model_word(m, out, word) > 0)
			return PARE_OK;
		return err_set(err, PARE_EUSER, "this model has no %s", word);
	}
	if (word[0] == 'L' && (isdigit((unsigned char)word[1]) ||
	    word[1] == '*')) {
		enum pare_rc rc = add_layers(m, out, word, err);

		/* "L*.attn.?.weight" is a glob of paths all the same. */
		return rc == PARE_OK || add_glob(m, out, word) == 0 ? rc :
		    PARE_OK;
	}
	if (add_glob(m, out, word) > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "'%s' names nothing of this model", word);
	return err_hint(err, "targets look like L3, L0-5.attn, L2.h0,3, emb, "
	    "emb.word, pooler, head, all, or a glob of tensor names");
}

enum pare_rc
select_parse(const struct model *m, const char *text, struct selection *out,
    struct pare_err *err)
{
	char *copy = xstrdup(text), *save = NULL, *word;
	enum pare_rc rc = PARE_OK;
	int n = 0;

	selection_init(m, out);
	for (word = strtok_r(copy, " \t", &save); word != NULL && rc == PARE_OK;
	    word = strtok_r(NULL, " \t", &save)) {
		rc = add_word(m, out, word, err);
		n++;
	}
	if (rc == PARE_OK && n == 0) {
		rc = err_set(err, PARE_EUSER, "no target was given");
		err_hint(err, "name one, as L3, L0-5.attn, L2.h0,3, emb or "
		    "all");
	}
	free(copy);
	if (rc != PARE_OK)
		select_free(out);
	return rc;
}

struct list {
	char **s;
	size_t n;
};

static void
offer(struct list *l, const char *prefix, const char *word)
{
	if (!str_has_prefix(word, prefix))
		return;
	l->s = xrealloc(l->s, (l->n + 2) * sizeof(*l->s));
	l->s[l->n++] = xstrdup(word);
	l->s[l->n] = NULL;
}

/* Behind a dot: the parts and heads of what stands before it. */
static void
offer_parts(struct list *l, const struct model *m, const char *prefix)
{
	size_t n = (size_t)(strrchr(prefix, '.') - prefix);
	const char *p = prefix + 1;
	int layer = 0;
	char word[128];

	if (n > 64 || !read_number(&p, &layer) || layer >= m->nlayers)
		layer = 0;
	for (int i = 0; layer_parts[i] != NULL; i++) {
		snprintf(word, sizeof(word), "%.*s.%s", (int)n, prefix,
		    layer_parts[i]);
		offer(l, prefix, word);
	}
	for (int h = 0; h < m->layer[layer].heads_original; h++) {
		if (!head_set_has(&m->layer[layer].head, h))
			continue;
		snprintf(word, sizeof(word), "%.*s.h%d", (int)n, prefix, h);
		offer(l, prefix, word);
	}
}

char **
select_complete(const struct model *m, const char *prefix)
{
	struct list l = { xcalloc(1, sizeof(char *)), 0 };
	char word[32];

	offer(&l, prefix, "all");
	for (int i = 0; model_words[i] != NULL; i++)
		offer(&l, prefix, model_words[i]);
	if (prefix[0] == 'L' && strchr(prefix, '.') != NULL) {
		offer_parts(&l, m, prefix);
		return l.s;
	}
	offer(&l, prefix, "L*");
	for (int i = 0; i < m->nlayers; i++) {
		snprintf(word, sizeof(word), "L%d", i);
		offer(&l, prefix, word);
	}
	return l.s;
}
