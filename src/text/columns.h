/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * columns: which columns of a table hold the text, its pair and the label.
 */
#ifndef PARE_TEXT_COLUMNS_H
#define PARE_TEXT_COLUMNS_H

#include "base/str.h"
#include "text/dataset.h"
#include "text/table.h"

struct columns {
	int text, pair, label;	/* from 0; -1: none */
	bool has_header;	/* the first row is one */
};

/*
 * Decides from the options and the first rows, without moving t. Without
 * options the header must have a known name for the text. With column numbers
 * only, the first row is a header when it has a known name in one of those
 * columns, or when its label is none while the second row's is one.
 */
enum pare_rc columns_find(const struct table *t,
    const struct dataset_options *o, struct columns *out, struct str *said,
    struct pare_err *err);

/* Fills label or score from the label's text; PARE_EFORMAT (without a message)
 * when it is neither a class nor a mark of an unlabelled row. */
enum pare_rc label_read(const struct dataset_options *o, const char *text,
    struct sample *s);

#endif
