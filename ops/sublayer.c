/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ops/sublayer.h"

#include "ops/common.h"

/* Layers named as a whole or by the part; other parts are refused. */
static enum pare_rc
check_target(const struct ops_sublayer *kind, const struct op_input *in,
    const struct ops_what *w, struct pare_err *err)
{
	int found = 0;

	for (int l = 0; l < in->model->nlayers; l++) {
		const struct select_layer *s = &w->sel.layer[l];
		bool picked = s->whole || kind->named(s);

		if (!picked && (s->slots != 0 ||
		    head_set_count(&s->heads) > 0)) {
			err_set(err, PARE_EUSER, "target: '%s' names a part "
			    "of L%d other than its %s", w->target, l,
			    kind->name);
			return err_hint(err, "%s L%d", kind->command, l);
		}
		found += picked && kind->there(&in->model->layer[l]);
	}
	if (found > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "target: there is no %s in '%s'", kind->name,
	    w->target);
	return err_hint(err, "show lists what each layer has");
}

enum pare_rc
ops_sublayer_drop(const struct ops_sublayer *kind, const struct op_input *in,
    struct edit *e, struct pare_err *err)
{
	int n = in->model->nlayers;
	struct ops_what what;
	enum pare_rc rc = ops_what_read(in, &what, err);

	if (rc != PARE_OK)
		return rc;
	rc = check_target(kind, in, &what, err);
	for (int l = 0; l < n && rc == PARE_OK; l++) {
		if (!task_tick(in->task, l, n, "layers"))
			rc = task_error(err);
		else if (kind->there(&in->model->layer[l]) &&
		    ops_layer_picked(&what.sel, l, kind->slots))
			rc = kind->drop(e, l, err);
	}
	ops_what_free(&what);
	return rc;
}
