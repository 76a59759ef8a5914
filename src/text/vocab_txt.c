/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * vocab.txt: one piece per line, its id the 0-based number of the line. White
 * space at the end of a line does not count (so CRLF is harmless), an empty
 * line keeps its id, of a piece given twice the last id holds.
 */
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PIECE = 65536 };

static enum pare_rc
refuse_other_files(const char *data, size_t n, const char *where,
    struct pare_err *err)
{
	if (n >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 ||
	    memcmp(data, "\xfe\xff", 2) == 0)) {
		err_set(err, PARE_EFORMAT, "%s: the file is UTF-16", where);
		return err_hint(err, "convert it to UTF-8");
	}
	if (n >= 19 && memcmp(data, "version https://git", 19) == 0) {
		err_set(err, PARE_EFORMAT, "%s: this is a Git LFS pointer, "
		    "not the file itself", where);
		return err_hint(err, "fetch the real file with git lfs pull");
	}
	return PARE_OK;
}

/* The length of the line at data, without its end; *next is where the following
 * line begins. */
static size_t
line_length(const char *data, size_t n, size_t *next)
{
	const char *end = n != 0 ? memchr(data, '\n', n) : NULL;
	size_t k = end != NULL ? (size_t)(end - data) : n;

	*next = end != NULL ? k + 1 : n;
	return k;
}

static enum pare_rc
check_line(const char *s, size_t n, int64_t line, const char *where,
    struct pare_err *err)
{
	if (n > MAX_PIECE)
		return err_set(err, PARE_EFORMAT, "%s:%lld: the line is %zu "
		    "bytes long; a piece has at most %d", where,
		    (long long)line, n, MAX_PIECE);
	if (n != 0 && memchr(s, '\0', n) != NULL)
		return err_set(err, PARE_EFORMAT,
		    "%s:%lld: the line holds a NUL byte", where,
		    (long long)line);
	if (!uni_valid(s, n))
		return err_set(err, PARE_EFORMAT,
		    "%s:%lld: the line is not UTF-8", where, (long long)line);
	return PARE_OK;
}

struct tokenizer *
vocab_txt_parse(const char *data, size_t n, const char *where,
    struct pare_err *err)
{
	struct tokenizer *t;
	int64_t lines = 1;
	size_t next;

	if (refuse_other_files(data, n, where, err) != PARE_OK)
		return NULL;
	if (n >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		data += 3;
		n -= 3;
	}
	n = uni_trim_end(data, n);
	if (n == 0) {
		err_set(err, PARE_EFORMAT, "%s: the vocabulary is empty",
		    where);
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		lines += data[i] == '\n';
	if (lines > INT32_MAX / 2) {
		err_set(err, PARE_EFORMAT, "%s: too many lines", where);
		return NULL;
	}
	t = vocabulary_new(lines, n, err);
	for (int64_t i = 0; t != NULL && i < lines; i++) {
		size_t k = line_length(data, n, &next);

		if (check_line(data, k, i + 1, where, err) != PARE_OK) {
			tokenizer_free(t);
			return NULL;
		}
		vocabulary_add(t, (int32_t)i, data, uni_trim_end(data, k));
		data += next;
		n -= next;
	}
	if (t == NULL)
		return NULL;
	t->continued = trie_walk(&t->trie, 0, "##", 2);
	t->clean = t->ideographs = t->lower = true;
	t->strip_said = -1;
	return t;
}
