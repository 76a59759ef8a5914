/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * render: documents as text for people. A table names the renderer of each kind
 * of document (session/result.h lists their keys); a kind without one is shown
 * key by key. Renderers only lay out what the document says.
 */
#ifndef PARE_UI_RENDER_H
#define PARE_UI_RENDER_H

#include <jansson.h>

#include "ui/look.h"

typedef void render_fn(struct str *b, const struct look *l, const json_t *doc);

struct renderer {
	const char *kind;	/* as in struct result */
	render_fn *draw;
};
extern const struct renderer render_table[];	/* ends with a NULL kind */

/* The document of a command that succeeded. */
void render_document(struct str *b, const struct look *l, const char *kind,
    const json_t *doc);

/* "accuracy 94.1 -> 94.0 % (1 fixed, 2 broke of 1000): within noise. Latency
 * 0.97 x (0.95 to 0.99)." Either document may be NULL. */
void render_verdict(struct str *b, const struct look *l, const json_t *eval,
    const json_t *latency);
/* " Accuracy 94.1 % (92.5 to 95.5, n 1000)." */
void render_first_metric(struct str *b, const json_t *eval);

/* A `latency` without its parts. */
void render_latency_line(struct str *b, const struct look *l,
    const json_t *doc);

/* The renderers, by file. */
render_fn render_open, render_data, render_info, render_show, render_inspect,
    render_attend;
render_fn render_op, render_travel, render_resume, render_history, render_diff,
    render_recover;
render_fn render_eval, render_latency, render_predict, render_compare,
    render_expect, render_generate;
render_fn render_importance, render_sweep, render_plan, render_overview;
render_fn render_save, render_export, render_recipe, render_source, render_set,
    render_help, render_quiet, render_keys;

/* Shared by the renderers: "name  value" lines through a table of two columns,
 * values wrapped; lines without a value are left out. */
void render_field(struct str *b, const struct look *l, const char *name,
    const char *value);
/* A metric's value: percent for a share, else three decimals. */
void render_metric(char *out, size_t n, const char *metric, double value);
void render_metric_bare(char *out, size_t n, const char *metric, double value,
    const char **unit);
/* "4" for [4, 4, 4], "4 2 4" otherwise; "" when there is none. */
void render_list(struct str *b, const json_t *list);

#endif
