/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * calibration: what was gathered from the calib samples, for the models looked at
 * last, so that commands and ops that follow each other gather it once. It
 * belongs to a model and a sample set by their hashes and to the number of
 * samples; nothing is kept of what was stopped.
 */
#ifndef PARE_SESSION_CALIBRATION_H
#define PARE_SESSION_CALIBRATION_H

#include "ops/score.h"
#include "session/session.h"

struct calibration;
struct calibration *calibration_new(void);
void calibration_free(struct calibration *c);	/* NULL is fine */
void calibration_clear(struct calibration *c);

/*
 * What the needs (enum op_need) ask of m on the calib samples, at most `samples`
 * of them (0: all). *out is borrowed until the next call. PARE_EUSER where no
 * calib samples are loaded, with what to type; `what` begins that message.
 * Warns in notes when too few tokens or one sample were seen, or labels are
 * missing.
 */
enum pare_rc calibration_get(struct session *s, const struct model *m,
    unsigned needs, int64_t samples, const char *what, struct op_calib *out,
    struct notes *notes, struct task *task, struct pare_err *err);

/* Warns when few of the samples made up the gradients by gates that were gathered
 * of m last: for commands that rank by these alone. */
void calibration_doubt(const struct session *s, const struct model *m,
    struct notes *notes);

/* How often each token of m is in the calib texts, those that stand around each
 * text too: as many numbers as it has tokens. Borrowed and errors as above. */
enum pare_rc calibration_tokens(struct session *s, const struct model *m,
    const char *what, const int64_t **out, struct pare_err *err);
/*
 * What `sweep bits bits=WIDTHS` measured of m on the calib samples, which are
 * loaded, and left in the state folder: *out (malloc'ed), and how many. 0 with
 * PARE_EUSER: there is no such sweep, or it was not finished. In cmd_sweep.c.
 */
int64_t sweep_recall(struct session *s, const struct model *m,
    const char *widths, struct op_coded **out, struct pare_err *err);

/* The times of m's heads and neurons for a text of seq tokens, or as many as it
 * reads; measured where they are not known. Borrowed until the next call. */
enum pare_rc calibration_times(struct session *s, const struct model *m,
    int64_t seq, const struct op_times **out, struct task *task,
    struct pare_err *err);

/* Whether there are calib samples: that error alone. */
enum pare_rc calibration_check(const struct session *s, const char *what,
    struct pare_err *err);

/* Warns when all that is looked at, at most `samples` (0: all) of the calib
 * samples, which are loaded, is one. calibration_get does so too. */
void calibration_warn(const struct session *s, int64_t samples,
    struct notes *notes);

/* The importance of heads that was shown last, of a model. */
struct head_scores {
	uint64_t model;
	enum score_kind kind;
	int layers, width;
	double *v;	/* (layers, width) by original number; NAN: not there */
};
void head_scores_free(struct head_scores *h);	/* not h itself */
void head_scores_copy(struct head_scores *to, const struct head_scores *from);
/* Keeps h, whose v it takes over. */
void calibration_keep_heads(struct calibration *c, const struct head_scores *h);
/* NULL: another model's, or none. */
const struct head_scores *calibration_heads(const struct calibration *c,
    uint64_t model);

#endif
