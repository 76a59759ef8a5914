/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pare.json, beside weights of every form. The input is the text; the folder
 * is made once, under TMPDIR.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/str.h"
#include "file/file.h"
#include "file/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char *dir;

static void
remove_dir(void)
{
	static const char *const names[] = { "config.json", "pare.json",
		"model.safetensors" };

	for (int i = 0; i < 3; i++) {
		char *path = io_join(dir, names[i]);

		(void)remove(path);
		free(path);
	}
	(void)remove(dir);
	free(dir);
}

static void
make_dir(void)
{
	/* One tensor of each form: i int4, t a table, b a bitmap, x an index,
	 * l of low rank, n int4 with a low rank beside it, m a low rank beside
	 * a; the sparse ones hold two weights. */
	static const uint32_t rows[] = { 0, 1, 1, 2, 2 };
	static const uint16_t cols[] = { 3, 0 };
	static const unsigned char mask[] = { 8, 0, 1, 0 }, zeros[64];
	static const struct {
		const char *name, *dtype;
		int ndim;
		int64_t dim[2], bytes;
		const void *data;
	} w[] = {
		{ "a", "F32", 2, { 4, 4 }, 64, zeros },
		{ "v", "F32", 1, { 4, 0 }, 16, zeros },
		{ "i.pare.data", "U8", 1, { 8, 0 }, 8, zeros },
		{ "i.pare.scale", "F16", 1, { 4, 0 }, 8, zeros },
		{ "i.pare.min", "F16", 1, { 4, 0 }, 8, zeros },
		{ "t.pare.data", "U8", 1, { 4, 0 }, 4, zeros },
		{ "t.pare.table", "F32", 1, { 16, 0 }, 64, zeros },
		{ "b.pare.data", "F32", 1, { 2, 0 }, 8, zeros },
		{ "b.pare.rows", "U32", 1, { 5, 0 }, 20, rows },
		{ "b.pare.mask", "U8", 1, { 4, 0 }, 4, mask },
		{ "x.pare.data", "F32", 1, { 2, 0 }, 8, zeros },
		{ "x.pare.rows", "U32", 1, { 5, 0 }, 20, rows },
		{ "x.pare.cols", "U16", 1, { 2, 0 }, 4, cols },
		{ "l.pare.a", "F32", 2, { 4, 2 }, 32, zeros },
		{ "l.pare.b", "F32", 2, { 2, 4 }, 32, zeros },
		{ "n.pare.a.pare.data", "U8", 1, { 8, 0 }, 8, zeros },
		{ "n.pare.a.pare.scale", "F16", 1, { 4, 0 }, 8, zeros },
		{ "n.pare.b.pare.a", "F16", 2, { 4, 2 }, 16, zeros },
		{ "n.pare.b.pare.b", "F16", 2, { 2, 4 }, 16, zeros },
		{ "m.pare.b.pare.a", "F16", 2, { 4, 2 }, 16, zeros },
		{ "m.pare.b.pare.b", "F16", 2, { 2, 4 }, 16, zeros },
	};
	const char *tmp = getenv("TMPDIR");
	struct st_writer *sw = st_writer_new();
	char *path;

	dir = str_format("%s/pare-fuzz-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		abort();
	atexit(remove_dir);
	for (size_t i = 0; i < sizeof(w) / sizeof(*w); i++)
		st_writer_add(sw, w[i].name, w[i].dtype, w[i].ndim, w[i].dim,
		    w[i].data, w[i].bytes);
	path = io_join(dir, "model.safetensors");
	(void)st_writer_write(sw, path, NULL, NULL, NULL);
	free(path);
	st_writer_free(sw);
	path = io_join(dir, "config.json");
	(void)io_write(path, "{}", 2, NULL);
	free(path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct notes notes = { 0 };
	struct model *m = NULL;
	struct pare_err err;
	char *path;
	FILE *f;

	if (dir == NULL)
		make_dir();
	path = io_join(dir, "pare.json");
	f = fopen(path, "wb");
	if (f != NULL) {
		fwrite(data, 1, n, f);
		fclose(f);
		if (file_open_model(dir, NULL, &m, &notes, &err) == PARE_OK) {
			(void)model_hash(m);
			model_unref(m);
		}
	}
	notes_free(&notes);
	free(path);
	return 0;
}
