/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/render.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "measure/evaluate.h"
#include "ui/doc.h"
#include "ui/number.h"

const struct renderer render_table[] = {
	{ "open", render_open },
	{ "data", render_data },
	{ "info", render_info },
	{ "show", render_show },
	{ "inspect", render_inspect },
	{ "op", render_op },
	{ "undo", render_travel },
	{ "redo", render_travel },
	{ "goto", render_travel },
	{ "mark", render_travel },
	{ "history", render_history },
	{ "diff", render_diff },
	{ "recover", render_recover },
	{ "eval", render_eval },
	{ "latency", render_latency },
	{ "predict", render_predict },
	{ "attend", render_attend },
	{ "generate", render_generate },
	{ "compare", render_compare },
	{ "expect", render_expect },
	{ "importance", render_importance },
	{ "sweep", render_sweep },
	{ "plan", render_plan },
	{ "overview", render_overview },
	{ "save", render_save },
	{ "export", render_export },
	{ "recipe", render_recipe },
	{ "source", render_source },
	{ "resume", render_resume },
	{ "set", render_set },
	{ "help", render_help },
	{ "quit", render_quiet },
	{ NULL, NULL }
};

void
render_document(struct str *b, const struct look *l, const char *kind,
    const json_t *doc)
{
	const struct renderer *r;

	/* In a dry run, what would do more than estimate was only checked. */
	if (doc_true(doc, "dry_run") && strcmp(kind, "op") != 0 &&
	    !doc_has(doc, "before")) {
		str_add(b, "checked, not run: ");
		look_wrap(b, l, 18, 2, doc_text(doc, "command"));
		return;
	}
	for (r = render_table; r->kind != NULL; r++)
		if (strcmp(r->kind, kind) == 0)
			break;
	(r->kind != NULL ? r->draw : render_keys)(b, l, doc);
}

void
render_quiet(struct str *b, const struct look *l, const json_t *doc)
{
}

/* Any document, key by key, but for what every document has. */
void
render_keys(struct str *b, const struct look *l, const json_t *doc)
{
	static const char *const common[] = { "command", "ok", "state", "hash",
		"warnings", NULL };
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)doc, key, v) {
		const char *const *c = common;
		char *text;

		while (*c != NULL && strcmp(*c, key) != 0)
			c++;
		if (*c != NULL || json_is_null(v))
			continue;
		text = json_is_string(v) ? NULL : json_text_of(v);
		render_field(b, l, key,
		    text != NULL ? text : json_string_value(v));
		free(text);
	}
}

void
render_field(struct str *b, const struct look *l, const char *name,
    const char *value)
{
	enum { NAME_WIDTH = 12 };
	int n = look_columns(name);

	if (value == NULL || *value == '\0')
		return;
	look_paint(b, l, PAINT_TITLE, name);
	look_spaces(b, n < NAME_WIDTH ? NAME_WIDTH - n : 1);
	look_wrap(b, l, n < NAME_WIDTH ? NAME_WIDTH : n + 1, NAME_WIDTH,
	    value);
}

void
render_metric_bare(char *out, size_t n, const char *metric, double value,
    const char **unit)
{
	enum metric m;
	bool known = metric_find(metric, &m);
	bool share = known && metric_table[m].share;

	*unit = share ? " %" : "";
	if (!isfinite(value))
		snprintf(out, n, "undefined");
	else if (share)
		snprintf(out, n, "%.1f", 100 * value);
	else if (known && metric_table[m].tokens && fabs(value) >= 100)
		/* A perplexity of hundreds has no use for thousandths. */
		snprintf(out, n, fabs(value) >= 10000 ? "%.0f" : "%.1f",
		    value);
	else
		snprintf(out, n, "%.3f", value);
	if (!isfinite(value))
		*unit = "";
}

void
render_metric(char *out, size_t n, const char *metric, double value)
{
	const char *unit;
	size_t k;

	render_metric_bare(out, n, metric, value, &unit);
	k = strlen(out);
	snprintf(out + k, n - k, "%s", unit);
}

void
render_list(struct str *b, const json_t *list)
{
	size_t n = json_array_size(list), i;
	bool same = true;

	for (i = 1; i < n; i++)
		same = same && json_equal(json_array_get(list, i),
		    json_array_get(list, 0));
	for (i = 0; i < (same && n > 0 ? 1 : n); i++) {
		const json_t *v = json_array_get(list, i);

		if (i > 0)
			str_addc(b, ' ');
		if (json_is_string(v))
			str_add(b, json_string_value(v));
		else
			str_addf(b, "%lld",
			    (long long)json_integer_value(v));
	}
}
