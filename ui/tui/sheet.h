/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sheet: the accounts of the current model, kept by a detail so that drawing
 * looks numbers up and works nothing out. */
#ifndef PARE_UI_TUI_SHEET_H
#define PARE_UI_TUI_SHEET_H

#include "ui/tui/facts.h"

struct sheet {
	bool filled;
	int64_t seq;
	struct account layers, modules, kinds, tensors;
};

/* Where `change` says it may be another model. */
void sheet_update(struct sheet *s, const struct app *app, unsigned change);
void sheet_free(struct sheet *s);
/* By path, in the finest account that has it; NULL. */
const struct account_row *sheet_find(const struct sheet *s, const char *path);
const struct account_row *sheet_total(const struct sheet *s);

/* The rows of an account whose path begins with prefix, as a table; names
 * without their first `cut` characters, shares of `whole`. */
void sheet_table(struct facts *f, const struct account *a, const char *prefix,
    int cut, const struct account_row *whole);
/* The tensors of a part: names, shapes, forms, bytes. */
void sheet_tensors(struct facts *f, const struct sheet *s, const char *path);

#endif
