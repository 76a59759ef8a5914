/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/history.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

enum { MARK_MAX = 64 };

void
history_init(struct history *h, struct model *first)
{
	memset(h, 0, sizeof(*h));
	h->current = -1;
	history_add(h, first, NULL, 0.0);
}

void
history_free(struct history *h)
{
	for (int i = 0; i < h->n; i++) {
		model_unref(h->state[i].model);
		free(h->state[i].command);
		free(h->state[i].mark);
	}
	free(h->state);
	memset(h, 0, sizeof(*h));
}

int
history_add(struct history *h, struct model *model, const char *command,
    double seconds)
{
	struct state *s;

	h->state = xrealloc(h->state, (size_t)(h->n + 1) * sizeof(*h->state));
	s = &h->state[h->n];
	memset(s, 0, sizeof(*s));
	s->id = h->n;
	s->parent = h->n == 0 ? -1 : h->current;
	s->redo = -1;
	s->model = model;
	s->command = command != NULL ? xstrdup(command) : NULL;
	s->seconds = seconds;
	if (s->parent >= 0)
		h->state[s->parent].redo = s->id;
	h->current = s->id;
	h->n++;
	return s->id;
}

static enum pare_rc
check_steps(const struct history *h, int steps, struct pare_err *err)
{
	if (h->n == 0)
		return err_set(err, PARE_EUSER, "no model is open");
	if (steps < 1)
		return err_set(err, PARE_EUSER, "%d steps: expected 1 or more",
		    steps);
	return PARE_OK;
}

enum pare_rc
history_undo(struct history *h, int steps, struct pare_err *err)
{
	int at = h->current;

	if (check_steps(h, steps, err) != PARE_OK)
		return PARE_EUSER;
	for (int i = 0; i < steps; i++) {
		int parent = h->state[at].parent;

		if (parent < 0 && i == 0) {
			err_set(err, PARE_EUSER,
			    "nothing to undo: this is the original");
			return err_hint(err, "history");
		}
		if (parent < 0) {
			err_set(err, PARE_EUSER,
			    "cannot undo %d steps: only %d lead back to the "
			    "original", steps, i);
			return err_hint(err, "undo %d", i);
		}
		at = parent;
	}
	for (int i = 0; i < steps; i++) {
		int child = h->current;

		h->current = h->state[child].parent;
		h->state[h->current].redo = child;
	}
	return PARE_OK;
}

enum pare_rc
history_redo(struct history *h, int steps, struct pare_err *err)
{
	int at = h->current;

	if (check_steps(h, steps, err) != PARE_OK)
		return PARE_EUSER;
	for (int i = 0; i < steps; i++) {
		int child = h->state[at].redo;

		if (child < 0 && i == 0) {
			err_set(err, PARE_EUSER,
			    "nothing to redo: state %d has no later state", at);
			return err_hint(err, "history");
		}
		if (child < 0) {
			err_set(err, PARE_EUSER,
			    "cannot redo %d steps: only %d were undone", steps,
			    i);
			return err_hint(err, "redo %d", i);
		}
		at = child;
	}
	h->current = at;
	return PARE_OK;
}

static int
find_mark(const struct history *h, const char *name)
{
	for (int i = 0; i < h->n; i++)
		if (h->state[i].mark != NULL &&
		    strcmp(h->state[i].mark, name) == 0)
			return i;
	return -1;
}

enum pare_rc
history_find(const struct history *h, const char *text, int *id,
    struct pare_err *err)
{
	int64_t number;
	int mark;

	if (h->n == 0)
		return err_set(err, PARE_EUSER, "no model is open");
	if (text[0] == '\0' || strcmp(text, "current") == 0) {
		*id = h->current;
		return PARE_OK;
	}
	if (strcmp(text, "original") == 0) {
		*id = 0;
		return PARE_OK;
	}
	if (strcmp(text, "previous") == 0) {
		if (h->state[h->current].parent < 0)
			return err_set(err, PARE_EUSER,
			    "there is no previous state: this is the original");
		*id = h->state[h->current].parent;
		return PARE_OK;
	}
	if (str_to_int(text, &number)) {
		if (number < 0 || number >= h->n) {
			err_set(err, PARE_EUSER,
			    "no state %s: there are states 0 to %d", text,
			    h->n - 1);
			return err_hint(err, "history");
		}
		*id = (int)number;
		return PARE_OK;
	}
	mark = find_mark(h, text);
	if (mark < 0) {
		err_set(err, PARE_EUSER,
		    "no state is called '%s': expected a number, a mark, "
		    "original, current or previous", text);
		return err_hint(err, "history");
	}
	*id = mark;
	return PARE_OK;
}

/* The way to id becomes what redo takes from every state on it. */
void
history_goto(struct history *h, int id)
{
	for (int at = id; h->state[at].parent >= 0; at = h->state[at].parent)
		h->state[h->state[at].parent].redo = at;
	h->current = id;
}

static bool
mark_is_good(const char *name)
{
	static const char *const reserved[] = { "original", "current",
		"previous", NULL };
	int64_t number;
	size_t n = strlen(name);

	if (n == 0 || n > MARK_MAX || str_to_int(name, &number))
		return false;
	for (int i = 0; reserved[i] != NULL; i++)
		if (strcmp(name, reserved[i]) == 0)
			return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c <= ' ' || c == 0x7f || c == '=' || c == '#' ||
		    c == '\'' || c == '"' || c == '\\')
			return false;
	}
	return true;
}

enum pare_rc
history_mark(struct history *h, int id, const char *name,
    struct pare_err *err)
{
	int old;

	if (!mark_is_good(name)) {
		err_set(err, PARE_EUSER,
		    "'%s' cannot be a mark: expected up to %d letters without "
		    "blanks, quotes or '=', no number and no reserved word",
		    name, MARK_MAX);
		return err_hint(err, "mark before-quantizing");
	}
	old = find_mark(h, name);
	if (old == id)
		return PARE_OK;
	if (old >= 0) {
		free(h->state[old].mark);
		h->state[old].mark = NULL;
	}
	free(h->state[id].mark);
	h->state[id].mark = xstrdup(name);
	return PARE_OK;
}

static void
add_commands(const struct history *h, int id, struct str *out)
{
	int n = 0, *path;

	for (int at = id; h->state[at].parent >= 0; at = h->state[at].parent)
		n++;
	path = xmalloc((size_t)n * sizeof(*path));
	for (int at = id, k = n; k > 0; at = h->state[at].parent)
		path[--k] = at;
	for (int k = 0; k < n; k++)
		str_addf(out, "%s\n", h->state[path[k]].command);
	free(path);
}

char *
history_recipe(const struct history *h, int id)
{
	struct str out = STR_INIT;

	if (id >= 0 && id < h->n)
		add_commands(h, id, &out);
	return str_detach(&out);
}

/*
 * Own bytes: the distinct tensors of the state that its parent does not hold.
 * Both lists are sorted by address and walked together.
 */
static int
by_address(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)*(struct tensor *const *)a;
	uintptr_t y = (uintptr_t)*(struct tensor *const *)b;

	return (x > y) - (x < y);
}

/* Sorts and drops what is there twice; returns how many are left. */
static size_t
make_distinct(struct tensor **list, size_t k)
{
	size_t distinct = 0;

	if (k > 0)
		qsort(list, k, sizeof(*list), by_address);
	for (size_t i = 0; i < k; i++)
		if (i == 0 || list[i] != list[distinct - 1])
			list[distinct++] = list[i];
	return distinct;
}

static struct tensor **
list_tensors(const struct model *m, size_t *n)
{
	struct slot_ref ref = SLOT_REF_START;
	struct tensor **list = NULL;
	size_t k = 0, cap = 0;

	/* What several stand on and what each has beside it count alone. */
	while (model_next_slot(m, &ref)) {
		struct tensor *t = model_slot(m, ref);

		if (k + 2 > cap) {
			cap = cap != 0 ? 2 * cap : 256;
			list = xrealloc(list, cap * sizeof(*list));
		}
		list[k++] = tensor_base(t);
		if (tensor_base(t) != t)
			list[k++] = t->kid[1];
	}
	*n = make_distinct(list, k);
	return list;
}

int64_t
history_own_bytes(const struct history *h, int id)
{
	struct tensor **own, **base = NULL;
	size_t n, nbase = 0, j = 0;
	int64_t bytes = 0;

	own = list_tensors(h->state[id].model, &n);
	if (h->state[id].parent >= 0)
		base = list_tensors(h->state[h->state[id].parent].model,
		    &nbase);
	for (size_t i = 0; i < n; i++) {
		while (j < nbase && by_address(&base[j], &own[i]) < 0)
			j++;
		if (j == nbase || base[j] != own[i])
			bytes += tensor_bytes(own[i]);
	}
	free(own);
	free(base);
	return bytes;
}

int64_t
history_held_bytes(const struct history *h)
{
	struct tensor **all = NULL;
	size_t n = 0;
	int64_t bytes = 0;

	for (int i = 0; i < h->n; i++) {
		struct tensor **own;
		size_t k;

		if (h->state[i].model->ghost)
			continue;
		own = list_tensors(h->state[i].model, &k);
		all = xrealloc(all, (n + k + 1) * sizeof(*all));
		memcpy(all + n, own, k * sizeof(*all));
		n += k;
		free(own);
	}
	n = make_distinct(all, n);
	for (size_t i = 0; i < n; i++)
		bytes += tensor_bytes(all[i]);
	free(all);
	return bytes;
}
