/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A GGUF file: the container, the model in it, its tokenizer, and a pass over
 * two tokens. The file is written under TMPDIR, for models are mapped.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "engine/engine.h"
#include "file/file.h"
#include "file/gguf.h"
#include "model/account.h"
#include "tensor/kernel.h"
#include "tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { WORK_MAX = 1 << 22 };	/* values; more would only be slower */

static char *dir, *path;

static void
remove_dir(void)
{
	(void)remove(path);
	(void)remove(dir);
	free(path);
	free(dir);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *tmp = getenv("TMPDIR");

	dir = str_format("%s/pare-fuzz-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		abort();
	path = io_join(dir, "m.gguf");
	atexit(remove_dir);
	kernel_set_threads(1);
	return 0;
}

/* Whatever the weights are, a pass gives numbers or says why not. */
static void
run(const struct model *m)
{
	int64_t start[] = { 0, 2 };
	int32_t ids[] = { 0, 0 };
	struct batch b = { .nseq = 1, .start = start, .ids = ids };
	int64_t values = 2 * (m->hp.hidden > m->hp.vocab ? m->hp.hidden :
	    m->hp.vocab);
	struct forward f = { 0 };
	struct pare_err err = { 0 };
	struct engine *e;

	if (values > WORK_MAX)
		return;
	e = engine_new();
	if (m->hp.head == HEAD_NONE)
		f.hidden = malloc((size_t)values * sizeof(float));
	else
		f.logits = malloc((size_t)values * sizeof(float));
	if (engine_forward(e, m, &b, &f, &err) != PARE_OK &&
	    err.msg[0] == '\0')
		abort();
	free(f.hidden);
	free(f.logits);
	engine_free(e);
}

static void
open_model(void)
{
	struct pare_err err = { 0 };
	struct notes notes = { 0 };
	struct model *m = NULL;
	struct totals totals;

	if (file_open_model(path, NULL, &m, &notes, &err) != PARE_OK) {
		if (err.msg[0] == '\0')
			abort();
	} else {
		account_totals(m, 128, true, &totals);
		(void)model_hash(m);
		run(m);
		model_unref(m);
	}
	notes_free(&notes);
}

static void
open_tokenizer(const char *s, size_t n)
{
	struct pare_err err = { 0 };
	struct tokenizer *t = tokenizer_load(path, 0, &err);

	if (t == NULL && err.msg[0] == '\0')
		abort();
	if (t != NULL)
		tokens_check_all(t, s, n);
	tokenizer_free(t);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pare_err err = { 0 };
	FILE *f;

	if (gguf_check(data, n, "fuzz", &err) != PARE_OK) {
		if (err.msg[0] == '\0')
			abort();
		return 0;
	}
	(void)remove(path);
	f = fopen(path, "wb");
	if (f == NULL)
		abort();
	fwrite(data, 1, n, f);
	fclose(f);
	open_model();
	open_tokenizer((const char *)data, n);
	return 0;
}
