/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/column.h"

#include <string.h>

#include "session/settings.h"

const struct column_facts column_table[COL_COUNT] = {
	[COL_PARAMS] = { "params", 7, "parameters" },
	[COL_SHARE] = { "share", 7, "parameters, as a share of the model's" },
	[COL_BYTES] = { "bytes", 10, "stored bytes" },
	[COL_BITS] = { "bits", 5, "stored bits for each parameter" },
	[COL_FORM] = { "form", 9, "how the values are stored" },
	[COL_SPARSITY] = { "zeros", 7, "share of the weights that are zero" },
	[COL_MACS] = { "MACs", 7, "multiply-adds a token" },
	[COL_MS] = { "ms", 6, "milliseconds of the maps, measured, for a "
	    "sequence" },
	[COL_IMPORTANCE] = { "L2 norm", 8, "importance by magnitude: the L2 "
	    "norm of the weights" },
	[COL_BAR] = { "", 8, "share as a bar" },
};

const struct column_list column_presets[COLUMN_PRESETS] = {
	{ 5, { COL_PARAMS, COL_BYTES, COL_FORM, COL_SHARE, COL_BAR } },
	{ 4, { COL_BYTES, COL_BITS, COL_FORM, COL_SPARSITY } },
	{ 5, { COL_MACS, COL_MS, COL_PARAMS, COL_IMPORTANCE, COL_BAR } },
	{ COL_COUNT, { COL_PARAMS, COL_SHARE, COL_BYTES, COL_BITS, COL_FORM,
	    COL_SPARSITY, COL_MACS, COL_MS, COL_IMPORTANCE, COL_BAR } },
};

const char *
column_name(enum column id)
{
	return setting_table[SET_COLUMNS].choices[id];
}

void
column_list_parse(const char *text, struct column_list *out)
{
	memset(out, 0, sizeof(*out));
	while (*text != '\0') {
		size_t n = strcspn(text, ",");

		for (int i = 0; i < COL_COUNT; i++)
			if (strlen(column_name((enum column)i)) == n &&
			    memcmp(column_name((enum column)i), text, n) ==
			    0 && column_list_find(out, (enum column)i) < 0)
				out->id[out->n++] = (enum column)i;
		text += n + (text[n] == ',');
	}
}

void
column_list_spell(const struct column_list *list, char out[COLUMNS_TEXT])
{
	struct str b = STR_INIT;

	for (int i = 0; i < list->n; i++)
		str_addf(&b, "%s%s", i > 0 ? "," : "",
		    column_name(list->id[i]));
	snprintf(out, COLUMNS_TEXT, "%s", b.n > 0 ? b.s : "");
	str_free(&b);
}

bool
column_list_equal(const struct column_list *a, const struct column_list *b)
{
	return a->n == b->n && memcmp(a->id, b->id, (size_t)a->n *
	    sizeof(a->id[0])) == 0;
}

int
column_list_find(const struct column_list *list, enum column id)
{
	for (int i = 0; i < list->n; i++)
		if (list->id[i] == id)
			return i;
	return -1;
}
