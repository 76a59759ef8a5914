/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gptq: checkpoints packed as AutoGPTQ packs them (checkpoint_format "gptq"). Of
 * a matrix (out, in) called X.weight they hold
 *
 *	X.qweight	I32 [in * bits / 32, out]: codes, along the inputs, lowest
 *			bits first
 *	X.qzeros	I32 [groups, out * bits / 32]: zero - 1, along the outputs
 *	X.scales	F16 [groups, out]
 *	X.g_idx		I32 [in]: the group of each input
 *
 * and the weight is (code - zero) * scale. Where zero is the middle of the codes
 * and groups are runs of inputs, that is pare's symmetric INT, value by value.
 */
#ifndef PARE_FILE_GPTQ_H
#define PARE_FILE_GPTQ_H

#include "file/weights.h"

/* Whether the config's quantization_config is of this method. */
bool gptq_is(const json_t *config);

/*
 * Puts X.weight into w for every X.qweight: packed where pare has the form, else
 * as floats. Before any tensor was made. PARE_EFORMAT naming the tensor and the
 * numbers of both sides; on error w is only good for freeing.
 */
enum pare_rc gptq_unpack(struct weights *w, const json_t *config,
    const char *where, struct notes *notes, struct pare_err *err);

/* ---- writing ---- */

/* PARE_OK when t can be packed so; else PARE_EUSER saying why. */
enum pare_rc gptq_check(const struct tensor *t, struct pare_err *err);
/* t, which gptq_check() accepts, with groups of `group` inputs (a divisor of its
 * own), float activations and scales without a factor: what is read back. */
struct tensor *gptq_tensor(const struct tensor *t, int64_t group,
    struct pare_err *err);

/* The four arrays of a tensor that gptq_tensor() made. */
struct gptq_arrays {
	int32_t *qweight, *qzeros, *g_idx;
	uint16_t *scales;
	int64_t words, groups;	/* rows of qweight, of scales */
	int64_t zero_words;	/* columns of qzeros */
};
enum pare_rc gptq_pack(const struct tensor *t, struct gptq_arrays *out,
    struct pare_err *err);
void gptq_arrays_free(struct gptq_arrays *a);

#endif
