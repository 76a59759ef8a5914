/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * fit: the model nearest to a model that a plain format can say. Formats of
 * other programs have one number of heads and one width of the FFN for all
 * layers, know float tensors or their own blocks, and stand the rows of rotated
 * pairs in an order of their own. Each function makes a new model (the caller's
 * reference) that computes the same but for what its comment names; on error
 * *out is untouched.
 */
#ifndef PARE_FILE_FIT_H
#define PARE_FILE_FIT_H

#include "model/model.h"

/* Configs of the architecture count heads (any number, the same in all layers)
 * rather than name those that are gone. */
bool fit_counts_heads(const struct arch *a);

/*
 * PARE_OK when one set of numbers tells all layers. Otherwise PARE_EUSER with
 * the first layer that it cannot tell, and why. pruned: the format can name the
 * heads that are gone from a layer.
 */
enum pare_rc fit_check(const struct model *m, bool pruned,
    struct pare_err *err);

/*
 * m with layers of one shape: what fit_check(out, false) accepts. Heads that
 * were removed come back as zeros at their place (where heads are counted:
 * behind the others, up to the most that a layer has), and so do neurons and
 * whole sub-layers. Float tensors keep their form; others that grow become F32.
 * The outputs stay.
 */
enum pare_rc fit_pad(const struct model *m, struct task *task,
    struct model **out, struct pare_err *err);

/* m as if it had been opened as it is: heads and neurons count from what there
 * is now. Where heads are named, their original numbers stay. */
enum pare_rc fit_renumber(const struct model *m, struct model **out,
    struct pare_err *err);

/* m with float tensors only: those that are keep their form, or get `form` where
 * that is not FORM_COUNT; packed ones get `packed`. */
enum pare_rc fit_floats(const struct model *m, enum form_kind form,
    enum form_kind packed, struct task *task, struct model **out,
    struct pare_err *err);

/* m with rotated pairs side by side (interleaved) or half a head apart. Only
 * float and block tensors can be moved so. m itself where it stands so. */
enum pare_rc fit_rotation(const struct model *m, bool interleaved,
    struct model **out, struct pare_err *err);

/* m with the frequencies of ROPE_LLAMA3 as divisors in SLOT_ROPE (divisors), or
 * the other way round; PARE_EUSER when no known setting has these divisors. m
 * itself where there is nothing to do. */
enum pare_rc fit_rope(const struct model *m, bool divisors,
    struct model **out, struct pare_err *err);

/* m without its head: a body. */
enum pare_rc fit_body(const struct model *m, struct model **out,
    struct pare_err *err);

#endif
