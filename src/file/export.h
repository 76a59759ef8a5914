/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * export: a model in the files of other programs. An export is written to a
 * temporary place beside its target, where it can be opened and compared; only
 * export_commit() puts it in place, and until then nothing is left behind.
 */
#ifndef PARE_FILE_EXPORT_H
#define PARE_FILE_EXPORT_H

#include "file/file.h"
#include "file/gguf_type.h"
#include "file/gguf_write.h"

enum export_format { EXPORT_HF, EXPORT_GGUF, EXPORT_GPTQ, EXPORT_FORMATS };
extern const char *const export_formats[];	/* ends with NULL */

struct export_ask {
	enum export_format format;
	const char *path;	/* a folder; GGUF: a file */
	enum gguf_want want;	/* HF and GPTQ: GGUF_KEEP or a float type */
	bool pad;		/* zeros where the format wants layers alike */
	bool body;		/* without the head */
	bool force;		/* over what is there */
	/* The tokenizer. Folders take files (n of them), or, when there are
	 * none, those of the model's own folder; GGUF takes keys, which stay the
	 * caller's (NULL: no tokenizer). */
	const struct export_file *file;
	int nfiles;
	const struct gguf_writer *keys;
	/* GGUF: what errors of columns count; the slots are those of m. */
	gguf_weigh *weigh;
	void *weigh_ctx;
};

/* What tensors of one type take. */
struct export_kind {
	char name[32];
	int tensors;
	int64_t bytes;
};
enum { EXPORT_KINDS = 24 };

struct export {
	char *path;		/* what file_open_model() opens meanwhile */
	struct model *model;	/* that model, as it should come back */
	int64_t bytes;		/* of the tensors */
	int64_t file_bytes;	/* of all files */
	bool lossy;		/* some tensors have other values than before */
	bool padded;
	int weighed;		/* tensors rounded by ask->weigh() */
	int nkinds;
	struct export_kind kind[EXPORT_KINDS];
	struct notes notes;
	struct stage *stage;	/* private */
	char *base;		/* private: name of the one file */
};

/*
 * Writes m. NULL with PARE_EUSER where the format cannot say the model: the
 * message names the layer and why, the hint what would do; PARE_EWRITE,
 * PARE_ENOMEM, PARE_ECANCELED. Nothing is in place yet.
 */
struct export *export_begin(const struct model *m,
    const struct export_ask *ask, struct task *task, struct pare_err *err);
/* Puts the files in place; frees x in any case. */
enum pare_rc export_commit(struct export *x, struct pare_err *err);
/* Leaves everything as it was; NULL is fine. */
void export_abort(struct export *x);

/* m without its head, which body asks for. */
enum pare_rc export_body(const struct model *m, struct model **out,
    struct pare_err *err);

/*
 * Whether back, opened from x->path, is x->model: every tensor the same bytes,
 * but for vectors, whose last bits a format may round. PARE_EWRITE naming the
 * first that differs.
 */
enum pare_rc export_compare(const struct export *x, const struct model *back,
    struct pare_err *err);

#endif
