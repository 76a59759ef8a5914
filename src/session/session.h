/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * session: what a front end talks to. One open model with its history, sample
 * sets, settings and remembered results, and the commands that act on them.
 *
 * session_run() takes a line and gives a struct result: a document (one JSON
 * object with the keys of the contract) and its kind. Front ends render that
 * document and compute nothing of their own, so their numbers agree. Nothing
 * here prints.
 *
 * A session belongs to one thread at a time. Long work reads the task given to
 * session_run(); cancelling leaves the session as it was.
 */
#ifndef PARE_SESSION_SESSION_H
#define PARE_SESSION_SESSION_H

#include <jansson.h>

#include "file/file.h"
#include "measure/evaluate.h"
#include "measure/latency.h"
#include "ops/op.h"
#include "session/history.h"

enum data_role { ROLE_EVAL, ROLE_CALIB, ROLE_COUNT };

struct settings;	/* session/settings.h */
struct memory;		/* remembered results by model hash */
struct journal;
struct calibration;	/* session/calibration.h */
struct asides;		/* session/vocabulary.h */
struct plan_book;	/* session/plan_book.h */

/* Where a sample set came from, so that it can be read again for another model.
 * path NULL: none was asked for. All owned. */
struct data_source {
	char *path, *text, *pair, *label;
	int64_t limit;
	uint64_t seed;
};

struct session {
	struct history history;	/* n == 0: no model is open */
	struct tokenizer *tokenizer;	/* NULL: none, and tokenizer_why says why */
	struct pare_err tokenizer_why;
	struct dataset *data[ROLE_COUNT];
	/* Whose tokens those are of (NULL: the opened model's): session_run()
	 * and what evaluates a state see to it, by session/vocabulary.h. */
	struct token_map *tokens;
	struct asides *aside;
	struct model *reference;	/* of vocabulary_original(); NULL */
	struct settings *settings;
	struct memory *memory;
	struct journal *journal;	/* NULL: not kept */
	struct engine *engine;	/* of predict */
	struct evaluator *evaluator;
	struct calibration *calibration;
	struct plan_book *plan;	/* made last; NULL: none */
	bool dry_run;		/* --dry-run: estimate, change nothing */
	bool quit;		/* `quit` was run */
	int depth;		/* nesting of `source` */
	int64_t began_bytes;	/* resident when the session began; -1: unknown */

	/* Set by front ends. */
	bool want_hash;		/* documents always carry the hash (JSON, batch);
				 * else only where it is known already, for the
				 * first one reads all weights */
	bool interactive;	/* with `set live on`: evaluate after a change */
	bool keep_journal;	/* set before session_free() when the session ends
				 * against the user's will (SIGHUP, SIGTERM) */

	/* For the commands. */
	const char *line;	/* the line that runs now, trimmed */
	struct data_source source[ROLE_COUNT];
	struct dataset_cut cut;	/* how running text is cut for eval, as it was
				 * asked for last; most and seed are not used */
	char *record;		/* what to journal in place of the line; owned */
	bool located;		/* the error names its file and line */
	bool unrecorded;	/* this line changed nothing worth a record */
};

/* What front ends may say of a finished command. doc always has command, ok,
 * state and hash (the last two null without a model); on failure error{code,
 * message,hint}. */
struct result {
	const char *kind;	/* the command's name, as "show"; "op" for ops */
	json_t *doc;		/* owned */
	enum pare_rc rc;
	struct notes notes;	/* warnings, for stderr */
};
void result_free(struct result *r);

struct session *session_new(void);
void session_free(struct session *s);	/* NULL is fine */

/* From now on every change is journaled under the state folder, so that
 * `resume` can bring it back after a crash. Interactive sessions do so by
 * themselves; other front ends call it once, for sessions worth resuming.
 * Without a state folder nothing happens. */
void session_keep_journal(struct session *s);

/*
 * Runs one line. Always fills *out. Returns out->rc. An empty line or a comment
 * gives a result of kind "" with doc NULL. What the line changed has been
 * journaled when it returns.
 */
enum pare_rc session_run(struct session *s, const char *line,
    struct task *task, struct result *out);

/* Called by `source` and `resume` after each line, so that a front end shows results as they
 * come; may be NULL. */
extern void (*session_on_result)(const struct result *r, void *ctx);
extern void *session_on_result_ctx;
/* Called while a long line runs, with its document as far as it is, borrowed; with
 * the same ctx; may be NULL. */
extern void (*session_on_part)(const char *kind, json_t *doc, void *ctx);

/* The current model, borrowed; NULL when none is open. */
const struct model *session_model(const struct session *s);

/* The samples of a role as model m of the history reads them, borrowed; NULL:
 * there are none, or none were needed for such a vocabulary yet. m NULL: as they
 * are. */
const struct dataset *session_data(const struct session *s,
    const struct model *m, enum data_role role);

/* Completion of the word that ends at `cursor` in line: a malloc'ed
 * NULL-terminated list of malloc'ed whole words, may be empty. */
char **session_complete(const struct session *s, const char *line,
    int cursor);

#endif
