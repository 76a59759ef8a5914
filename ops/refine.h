/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * refine: better codes than rounding to nearest gives, for quantize: levels found
 * by more than the range (clip=, weigh=, method=hqq), codes by what the others
 * lose (method=gptq), the mean of what is lost added to the bias (bias=). Each
 * matrix is compared with the plain one, which stays where it is no worse. And a
 * low rank of what is lost in any case, beside the codes (residual=); where the
 * inputs are asked for in any way, it is the one that the outputs lose least with.
 */
#ifndef PARE_OPS_REFINE_H
#define PARE_OPS_REFINE_H

#include "ops/fold.h"
#include "ops/inputs.h"
#include "ops/tally.h"

enum refine_weigh { REFINE_NONE, REFINE_INPUTS, REFINE_FISHER };

struct refine {
	const struct op_input *in;
	bool gptq, awq, hqq, clip, correct;
	enum refine_weigh weigh;
	int64_t residual;	/* rank; 0: none */
	/* Sums over matrices. */
	struct tally tally;
	double before, after;	/* hqq: what it lowers */
	int no_bias, small;	/* small: no residual, a side is not above it */
	/* Means of what outputs lost, by the tensor they belong to. */
	struct refine_shift {
		const struct tensor *t;
		double *by;
	} *shift;
	int nshift;
	/* awq: matrices whose scales went into what comes before them, and that
	 * keep scales. */
	int folded, scaled;
	/* Tensors of the edit whose rows such scales have divided. */
	struct refine_stand {
		struct tensor *now;
		const struct tensor *was;	/* of the model */
		double *row;	/* errors count so much of what they were */
	} *stand;
	int nstand;
};

/* Whether anything is asked for, and whether that needs the calib samples. */
bool refine_asked(const struct refine *g);
unsigned refine_needs(const struct refine *g);
/* "method=gptq": the first that is asked for. */
const char *refine_name(const struct refine *g);

/*
 * t as `plain` (from t by spec; consumed) has it, but better; plain itself where
 * that cannot be or is no worse. NULL with PARE_ENOMEM, or PARE_EUSER when the
 * moments are singular or not finite.
 */
struct tensor *refine_code(struct refine *g, const struct tensor *t,
    struct tensor *plain, const struct quant_spec *spec,
    const struct transform_ctx *ctx, struct pare_err *err);

/* The tensor of the model that t, of an edit, stands for; else t itself. */
const struct tensor *refine_was(const struct refine *g, const struct tensor *t);

/*
 * method=awq: puts codes of all matrices of f, floats in e, into e, with scales
 * that they share and that go into what makes their input; plain codes where those
 * are no worse. What makes it is float32 then in any case.
 */
enum pare_rc refine_fold(struct refine *g, struct edit *e,
    const struct fold *f, const struct quant_spec *spec,
    struct pare_err *err);

/* Whether method=awq looks at t: floats that only layers multiply with. */
bool refine_scales(const struct refine *g, const struct tensor *t);

/* Whether codes of t get a residual beside them: it is a full matrix with both
 * sides above the rank. */
bool refine_amends(const struct refine *g, const struct tensor *t);

/* After the slot of a matrix, which was t, got its codes: its bias. */
enum pare_rc refine_bias(struct refine *g, struct edit *e, struct slot_ref ref,
    const struct tensor *t, struct pare_err *err);

/* For the note of an op; PARE_EUSER when nothing at all could be done. */
enum pare_rc refine_note(const struct refine *g, struct str *note,
    struct pare_err *err);
void refine_free(struct refine *g);

#endif
