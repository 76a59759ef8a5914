/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/work.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

const char *const data_role_names[ROLE_COUNT + 1] = { "eval", "calib", NULL };

uint64_t
work_known_hash(const struct model *m)
{
	return atomic_load(&m->hash);
}

enum pare_rc
work_damage(struct pare_err *err)
{
	const char *path;

	if (!file_damaged(&path))
		return PARE_OK;
	err_set(err, PARE_EIO, "'%s' became shorter while it was open: its "
	    "weights cannot be trusted any more", path);
	return err_hint(err, "restore the file and open it again");
}

void
work_record(struct session *s, char *line)
{
	free(s->record);
	s->record = line;
}

enum pare_rc
work_add_state(struct session *s, struct model *model, const char *line,
    double seconds, struct pare_err *err)
{
	/* Hashing reads what the op did not: a file that broke must be found
	 * before there is a state. */
	if (s->want_hash || s->interactive || s->journal != NULL)
		model_hash(model);
	if (work_damage(err) != PARE_OK) {
		model_unref(model);
		return err->rc;
	}
	history_add(&s->history, model, line, seconds);
	return PARE_OK;
}

static bool
has_arg(const struct arg_list *args, const char *name)
{
	for (int i = 0; i < args->n; i++)
		if (strcmp(args->spec[i].name, name) == 0)
			return true;
	return false;
}

uint64_t
work_seed(const struct session *s, const struct arg_list *args)
{
	if (has_arg(args, "seed") && arg_get(args, "seed")->set)
		return (uint64_t)arg_int(args, "seed");
	return (uint64_t)settings_int(s->settings, SET_SEED);
}

char *
work_line_with_seed(const struct session *s, const struct arg_list *args)
{
	int64_t seed = settings_int(s->settings, SET_SEED);

	if (seed == 0 || !has_arg(args, "seed") || arg_get(args, "seed")->set)
		return xstrdup(s->line);
	return str_format("%s seed=%lld", s->line, (long long)seed);
}

enum pare_rc
work_state(const struct session *s, const struct arg_list *args,
    const char *name, const char *dflt, int *id, struct pare_err *err)
{
	const char *text = arg_text(args, name);

	return history_find(&s->history, text != NULL ? text : dflt, id, err);
}

char *
work_absolute(const char *path)
{
	char *full = realpath(path, NULL);

	return full != NULL ? full : xstrdup(path);
}

void
work_put_state(const struct session *s, int id, json_t *doc)
{
	const struct state *t = &s->history.state[id];
	struct totals totals;
	double value = work_known_value(s, t->model);

	account_totals(t->model, ACCOUNT_SEQ_DEFAULT, false, &totals);
	result_put_text(doc, "command_of_state", t->command);
	result_put_text(doc, "mark", t->mark);
	result_put_int(doc, "bytes", totals.bytes);
	result_put_int(doc, "params", totals.params);
	result_put_real(doc, "metric_value", value);
	result_put_text(doc, "metric", isfinite(value) ?
	    metric_table[work_metric(t->model)].name : NULL);
	result_put_bool(doc, "cached", isfinite(value));
}

void
data_source_free(struct data_source *d)
{
	free(d->path);
	free(d->text);
	free(d->pair);
	free(d->label);
	memset(d, 0, sizeof(*d));
}

int
work_max_tokens(const struct model *m, const struct tokenizer *t)
{
	int64_t max = INT_MAX;
	int limit = t != NULL ? tokenizer_max_length(t) : 0;

	if (m->hp.positions > 0)
		max = m->hp.positions - m->hp.position_offset;
	if (limit > 0 && limit < max)
		max = limit;
	return max > INT_MAX ? INT_MAX : max < 1 ? 1 : (int)max;
}

/* ---- sample sets ---- */

/* The names labels are matched against; *names is owned by the caller. */
static char **
label_names(const struct model *m, int *n)
{
	char **names, buf[256];

	*n = 0;
	if (m == NULL || m->hp.head != HEAD_CLASSIFY || m->hp.labels < 1 ||
	    m->hp.labels > 1000000)
		return NULL;
	*n = (int)m->hp.labels;
	names = xcalloc((size_t)*n, sizeof(*names));
	for (int k = 0; k < *n; k++) {
		model_label_name(m, k, buf, sizeof(buf));
		names[k] = xstrdup(buf);
	}
	return names;
}

const char *const cut_custom_names[] = { [CUT_NONE] = NULL,
	[CUT_CHUNKS] = "chunks", [CUT_STRIDE] = "stride",
	[CUT_MASKED] = "masked" };

enum pare_rc
work_cut_data(const struct session *s, const struct model *m,
    const struct tokenizer *t, const struct dataset_cut *how,
    struct dataset *d, struct pare_err *err)
{
	struct dataset_cut cut = *how;

	cut.most = work_max_tokens(m, t);
	cut.seed = s->source[ROLE_EVAL].seed;
	if (m->hp.head == HEAD_MLM)
		cut.custom = CUT_MASKED;
	else if (m->hp.head != HEAD_LM)
		return PARE_OK;
	else if (cut.custom != CUT_STRIDE)
		cut.custom = CUT_CHUNKS;
	return dataset_cut(d, t, &cut, err);
}

/* As it was asked for before, or by itself where that does not fit. Samples of a
 * model that cannot be asked about them are samples all the same. */
static enum pare_rc
first_cut(const struct session *s, enum data_role role, const struct model *m,
    const struct tokenizer *t, struct dataset *d, struct pare_err *err)
{
	static const struct dataset_cut plain;
	struct pare_err why;

	if (role != ROLE_EVAL || work_cut_data(s, m, t, &s->cut, d, &why) ==
	    PARE_OK || m->hp.head == HEAD_MLM)
		return PARE_OK;
	return work_cut_data(s, m, t, &plain, d, err);
}

enum pare_rc
work_read_data(const struct session *s, enum data_role role,
    const struct model *m, const struct tokenizer *t, struct dataset **out,
    struct task *task, struct pare_err *err)
{
	const struct data_source *src = &s->source[role];
	struct dataset_options o = {
		.text = src->text, .pair = src->pair, .label = src->label,
		.limit = src->limit, .seed = src->seed,
		.regression = m != NULL && m->hp.head == HEAD_REGRESS,
	};
	enum pare_rc rc = PARE_OK;
	struct dataset *d;
	char **names;

	*out = NULL;
	o.is_text = m != NULL && m->hp.head == HEAD_LM;
	names = label_names(m, &o.nlabels);
	o.label_name = (const char *const *)names;
	d = dataset_read(src->path, &o, task, err);
	for (int k = 0; k < o.nlabels; k++)
		free(names[k]);
	free(names);
	if (d == NULL)
		return err->rc;
	if (m != NULL)
		rc = dataset_encode_known(d, t, work_max_tokens(m, t),
		    (const struct dataset *const *)s->data, ROLE_COUNT, task,
		    err);
	if (rc == PARE_OK && m != NULL)
		rc = first_cut(s, role, m, t, d, err);
	if (rc != PARE_OK) {
		dataset_free(d);
		return rc;
	}
	*out = d;
	return PARE_OK;
}
