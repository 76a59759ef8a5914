/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * work: what several commands of the session share. Private to src/session.
 */
#ifndef PARE_SESSION_WORK_H
#define PARE_SESSION_WORK_H

#include "session/command.h"
#include "session/journal.h"
#include "session/memory.h"
#include "session/result.h"
#include "session/settings.h"

/* What the process has in memory now; -1: unknown. */
int64_t work_resident_bytes(void);
/* The hash when it was computed before, else 0. */
uint64_t work_known_hash(const struct model *m);
/* Error when a mapped file became shorter since the last question. */
enum pare_rc work_damage(struct pare_err *err);
/* Journals `line` in place of what was typed. Consumes line. */
void work_record(struct session *s, char *line);
/* Adds a state for model (consumed) made by line, unless its files broke. */
enum pare_rc work_add_state(struct session *s, struct model *model,
    const char *line, double seconds, struct pare_err *err);
/* The line with " seed=N" when it gave none and the setting is not the default,
 * so that the line alone tells the result; malloc'ed. */
char *work_line_with_seed(const struct session *s,
    const struct arg_list *args);
/* seed= of the arguments when given, else the setting. */
uint64_t work_seed(const struct session *s, const struct arg_list *args);
/* The state an ARG_STATE names (arg absent: dflt). */
enum pare_rc work_state(const struct session *s, const struct arg_list *args,
    const char *name, const char *dflt, int *id, struct pare_err *err);
/* An absolute path where that is possible; malloc'ed. */
char *work_absolute(const char *path);
/* The keys of `open` and the first ones of `info`. */
void work_put_model(const struct session *s, const struct model *m,
    json_t *doc);
/* The `data` line that loads a role again; malloc'ed. */
char *work_data_line(const struct session *s, enum data_role role);
/* state keys that undo, redo, goto and mark answer with. */
void work_put_state(const struct session *s, int id, json_t *doc);

/* Reads and encodes a role for model m (NULL: text only). *out is NULL on error. */
enum pare_rc work_read_data(const struct session *s, enum data_role role,
    const struct model *m, const struct tokenizer *t, struct dataset **out,
    struct task *task, struct pare_err *err);
void data_source_free(struct data_source *d);
extern const char *const data_role_names[ROLE_COUNT + 1];
/* Cuts the running text of the eval role for model m as `how` asks, or hides
 * tokens of its rows; nothing for other models. */
enum pare_rc work_cut_data(const struct session *s, const struct model *m,
    const struct tokenizer *t, const struct dataset_cut *how,
    struct dataset *d, struct pare_err *err);
extern const char *const cut_custom_names[];	/* by enum cut_custom */
/* Longest input of a model in tokens. */
int work_max_tokens(const struct model *m, const struct tokenizer *t);

/* The tokens of the arguments text= and pair=, or ids= and types=, into *t, which
 * the caller frees in any case. */
enum pare_rc work_line_tokens(const struct session *s,
    const struct arg_list *args, struct tokens *t, struct pare_err *err);

/* What a folder of m needs in place of the files of m's own folder: the tokenizer
 * of a GGUF file as files, or one with the tokens that m has left; TOKENIZER_FILES
 * of room, *n of them. file is to be freed by tokenizer_files_free(), entry
 * borrows from it. */
struct tokenizer_file;
struct export_file;
enum pare_rc work_tokenizer_files(const struct session *s,
    const struct model *m, struct tokenizer_file *file,
    struct export_file *entry, int *n, struct pare_err *err);

/* The metric a model is judged by, and metric= of the arguments or that. */
enum metric work_metric(const struct model *m);
enum pare_rc work_read_metric(const struct session *s,
    const struct arg_list *args, enum metric *out, struct pare_err *err);
/* "auto", then the names of metric_table[]; a walk in the tests holds them
 * equal. */
extern const char *const work_metric_choices[];
/*
 * The evaluation of m on the eval role, recalled when it is known (and fresh is
 * false); *out is borrowed from the memory. *cached may be NULL. Always of all
 * samples.
 */
enum pare_rc work_evaluate(struct session *s, const struct model *m,
    enum metric metric, bool fresh, const struct evaluation **out,
    bool *cached, struct task *task, struct pare_err *err);
/* Remembered value of a state's own metric on the present data; NAN. */
double work_known_value(const struct session *s, const struct model *m);
/* Remembered latency ratio to state 0; NAN. */
double work_known_ratio(const struct session *s, const struct model *m);
/* What `eval` was asked for. */
struct eval_ask {
	enum metric metric;
	int against;		/* the state to compare with; -1: none */
	bool fresh;
	enum stop_rule stop;	/* when a result is not known anyway */
	double half_width;	/* as in struct evaluate_options */
};
/* Puts the keys of `eval` into doc. A result that was stopped is told and
 * forgotten. */
enum pare_rc work_eval_doc(struct session *s, int id,
    const struct eval_ask *ask, json_t *doc, struct notes *notes,
    struct task *task, struct pare_err *err);
enum pare_rc work_measure_latency(struct session *s, int id,
    const struct latency_options *o, bool fresh, struct latency *out,
    bool *cached, struct task *task, struct pare_err *err);
void work_put_latency(json_t *doc, const struct latency *l, bool cached);
/* The keys of a comparison into doc; [low, high] with null for what is not
 * finite. */
void work_put_comparison(const struct comparison *c, json_t *doc);
json_t *work_interval(double low, double high);
/* After a change in a live session: adds `eval` and `latency` to doc. */
void work_live(struct session *s, bool with_latency, json_t *doc,
    struct notes *notes, struct task *task);

/* The first `steps` layers that `sweep layers greedy` removes from m, or all it
 * can; order is malloc'ed, *n of them. What was measured before is recalled. */
enum pare_rc work_layer_order(struct session *s, const struct model *m,
    int64_t steps, int64_t **order, int64_t *n, struct task *task,
    struct pare_err *err);

/* Runs op through the history; not a row of the table. */
enum pare_rc cmd_op_run(struct session *s, const struct op *op,
    const struct arg_list *args, json_t *doc, struct notes *notes,
    struct task *task, struct pare_err *err);

/* Applies the line of an op to any model, without the history; what it needs of
 * the calib samples is gathered for that model. estimate: as op_estimate(),
 * which gathers nothing. The seed of a line that draws and names none is the
 * setting. */
enum pare_rc work_op_apply(struct session *s, const struct model *m,
    const char *line, bool estimate, struct op_result *out,
    struct notes *notes, struct task *task, struct pare_err *err);

/* Trains m on the calib samples as recover does, without the history; *out is a
 * new reference. */
struct train_options;
enum pare_rc work_train(struct session *s, const struct model *m,
    const struct train_options *o, struct model **out, struct task *task,
    struct pare_err *err);

/* The rows of command_table[], by file. */
extern const struct command command_open, command_data;
extern const struct command command_info, command_show, command_inspect,
    command_attend;
extern const struct command command_undo, command_redo, command_history,
    command_goto, command_mark, command_diff;
extern const struct command command_eval, command_compare, command_expect;
extern const struct command command_latency, command_predict,
    command_generate;
extern const struct command command_importance, command_sweep;
extern const struct command command_save, command_recipe, command_source,
    command_resume, command_export;
extern const struct command command_recover, command_plan,
    command_overview;
extern const struct command command_help, command_set, command_quit;

#endif
