/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A config, up to the model without weights that it describes. */
#include <stddef.h>
#include <stdint.h>

#include "file/config.h"
#include "model/account.h"
#include "model/arch.h"

enum { LAYERS_MAX = 64 };	/* more would only be slower */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
describe(json_t *config, struct arch_layout *l, struct notes *notes)
{
	struct origin *o = config_origin("fuzz", NULL, config, l->hp.labels,
	    notes);
	struct totals totals;
	struct pare_err err;
	struct model *m;

	if (arch_ghost_model(l, o, &m, &err) != PARE_OK)
		return;
	account_totals(m, 128, false, &totals);
	(void)model_hash(m);
	model_unref(m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct notes notes = { 0 };
	struct arch_layout l;
	struct pare_err err;
	json_t *config = config_parse((const char *)data, n, "fuzz", &notes,
	    &err);

	if (config != NULL &&
	    config_check(config, "fuzz", &notes, &err) == PARE_OK &&
	    arch_read_config(config, "fuzz", &l, &err) == PARE_OK) {
		if (l.nlayers <= LAYERS_MAX)
			describe(config, &l, &notes);
		arch_layout_free(&l);
	}
	json_decref(config);
	notes_free(&notes);
	return 0;
}
