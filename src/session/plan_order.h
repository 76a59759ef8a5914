/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * plan_order: the same ops in every order, each outcome measured. Private to
 * src/session.
 */
#ifndef PARE_SESSION_PLAN_ORDER_H
#define PARE_SESSION_PLAN_ORDER_H

#include "session/session.h"

enum { ORDER_OPS_MAX = 5 };

/* text: "order" and the ops, one behind another; fills doc. The history stays as
 * it is. */
enum pare_rc plan_order(struct session *s, const char *text, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err);

#endif
