/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The container against hand-made files: what the reference reader refuses is
 * refused, in words that name the tensor, and what it takes is taken.
 */
#include "tiny_dir.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "file/file.h"

/* A file of this header text and n bytes of data. */
static unsigned char *
make_file(const char *header, size_t n, size_t *size)
{
	size_t length = strlen(header);
	unsigned char *p = xcalloc(1, 8 + length + n);

	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)((uint64_t)length >> (8 * i));
	memcpy(p + 8, header, length);
	for (size_t i = 0; i < n; i++)
		p[8 + length + i] = (unsigned char)i;
	*size = 8 + length + n;
	return p;
}

static void
check_text(const char *header, size_t n, const char *words)
{
	struct pare_err err = { 0 };
	size_t size;
	unsigned char *p = make_file(header, n, &size);
	enum pare_rc rc = st_check(p, size, "m.safetensors", &err);

	free(p);
	if (words == NULL) {
		if (rc != PARE_OK)
			fail_msg("%.200s: refused: %s", header, err.msg);
		return;
	}
	if (rc != PARE_EFORMAT)
		fail_msg("%.200s: rc %d", header, rc);
	if (strstr(err.msg, words) == NULL)
		fail_msg("%.200s: '%s' lacks '%s'", header, err.msg, words);
	assert_non_null(strstr(err.msg, "m.safetensors"));
}

#define T(name, dtype, shape, range) "\"" name "\":{\"dtype\":\"" dtype \
	"\",\"shape\":" shape ",\"data_offsets\":" range "}"

static const struct {
	const char *header;
	size_t n;
	const char *words;	/* NULL: must be taken */
} headers[] = {
	/* what is legal */
	{ "{}", 0, NULL },
	{ " \t\r\n{} \n", 0, NULL },
	{ "{" T("a", "F32", "[2,2]", "[0,16]") "}", 16, NULL },
	{ "{" T("a", "F32", "[]", "[0,4]") "}", 4, NULL },
	{ "{" T("a", "F32", "[0,5]", "[0,0]") "," T("b", "U8", "[1]", "[0,1]")
	    "}", 1, NULL },
	{ "{" T("b", "F4", "[2]", "[1,2]") "," T("a", "U8", "[1]", "[0,1]") "}",
	    2, NULL },
	{ "{\"__metadata__\":{\"format\":\"pt\"}," T("a", "BOOL", "[3]",
	    "[0,3]") "}", 3, NULL },
	{ "{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1],"
	    "\"extra\":[{\"x\":1}]}}", 1, NULL },
	{ "{" T("a/../b \\u00e9", "U8", "[1]", "[0,1]") "}", 1, NULL },
	/* no object */
	{ "", 0, "not a JSON object" },
	{ " ", 0, "not a JSON object" },
	{ "[]", 0, "not a JSON object" },
	{ "null", 0, "not a JSON object" },
	{ "\"text\"", 0, "not a JSON object" },
	{ "\xef\xbb\xbf{}", 0, "not a JSON object" },
	{ "{", 0, "not valid JSON at byte 9" },
	{ "{}x", 0, "not valid JSON" },
	/* text */
	{ "{\"\xff\":1}", 0, "not valid JSON" },
	{ "{" T("\\ud800", "U8", "[1]", "[0,1]") "}", 1, "not valid JSON" },
	{ "{" T("a\\u0000b", "U8", "[1]", "[0,1]") "}", 1, "not valid JSON" },
	{ "{" T("a\\nb", "U8", "[1]", "[0,1]") "}", 1, "control character" },
	{ "{" T("", "U8", "[1]", "[0,1]") "}", 1, "empty name" },
	{ "{" T("a", "U8", "[1]", "[0,1]") "," T("a", "U8", "[1]", "[0,1]")
	    "}", 1, "duplicate" },
	/* entries */
	{ "{\"a\":1}", 0, "'a': is not described by an object" },
	{ "{\"a\":{}}", 0, "'a': dtype is missing" },
	{ "{" T("a", "F24", "[1]", "[0,3]") "}", 3,
	    "'a': unknown dtype 'F24'" },
	{ "{" T("a", "f32", "[1]", "[0,4]") "}", 4,
	    "'a': unknown dtype 'f32'" },
	{ "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1,
	    "'a': shape is missing" },
	{ "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1,
	    "'a': data_offsets is missing" },
	{ "{" T("a", "U8", "[-1]", "[0,1]") "}", 1,
	    "'a': number 1 of shape is not" },
	{ "{" T("a", "U8", "[\"1\"]", "[0,1]") "}", 1,
	    "'a': number 1 of shape is not" },
	{ "{" T("a", "U8", "[1.5]", "[0,1]") "}", 1, "number 1 of shape" },
	{ "{" T("a", "U8", "[1e0]", "[0,1]") "}", 1, "number 1 of shape" },
	{ "{" T("a", "U8", "[true]", "[0,1]") "}", 1, "number 1 of shape" },
	{ "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1,
	    "'a': shape has 9 numbers; at most 8" },
	{ "{" T("a", "U8", "[1]", "[0]") "}", 1, "'a': data_offsets must" },
	{ "{" T("a", "U8", "[1]", "[0,1,2]") "}", 1,
	    "'a': data_offsets has 3" },
	{ "{" T("a", "U8", "[1]", "[\"0\",\"1\"]") "}", 1,
	    "number 1 of data_offsets" },
	{ "{" T("a", "U8", "[1]", "[0.0,1.0]") "}", 1,
	    "number 1 of data_offsets" },
	{ "{" T("a", "U8", "[1]", "[false,true]") "}", 1,
	    "number 1 of data_offsets" },
	{ "{" T("a", "U8", "[1]", "[-1,0]") "}", 1,
	    "number 1 of data_offsets" },
	{ "{" T("a", "U8", "[1]", "[0,18446744073709551617]") "}", 1,
	    "not valid JSON" },
	/* ranges */
	{ "{" T("a", "U8", "[1]", "[1,0]") "}", 1, "'a': begins at 1, behind" },
	{ "{" T("a", "U8", "[1]", "[1,2]") "}", 2,
	    "1 unused bytes before tensor 'a'" },
	{ "{" T("a", "U8", "[1]", "[0,1]") "," T("b", "U8", "[1]", "[2,3]")
	    "}", 3, "1 unused bytes before tensor 'b'" },
	{ "{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[2,6]")
	    "}", 6, "'b' overlaps 'a'" },
	{ "{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[0,4]")
	    "}", 4, "'b' overlaps 'a'" },
	{ "{" T("a", "U8", "[4]", "[0,4]") "}", 2,
	    "truncated: tensor 'a' ends at 4, the data after 2 bytes (2" },
	{ "{" T("a", "U8", "[4]", "[0,4]") "}", 7, "3 unexpected bytes" },
	{ "{}", 5, "5 unexpected bytes" },
	/* sizes */
	{ "{" T("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0,
	    "'a': the size of its shape overflows" },
	{ "{" T("a", "I8", "[2,9223372036854775807]", "[0,0]") "}", 0,
	    "'a': the size of its shape overflows" },
	{ "{" T("a", "F32", "[0,4294967296,4294967296,4294967296]", "[0,0]")
	    "}", 0, NULL },
	{ "{" T("a", "F32", "[4294967296,4294967296,4294967296,0]", "[0,0]")
	    "}", 0, "overflows" },
	{ "{" T("a", "I32", "[2,2]", "[0,4]") "}", 4,
	    "'a': its shape takes 16 bytes of I32, its data_offsets 4" },
	{ "{" T("a", "F4", "[3]", "[0,1]") "}", 1, "'a': misaligned" },
	{ "{" T("a", "F6_E2M3", "[3]", "[0,2]") "}", 2, "'a': misaligned" },
	/* metadata */
	{ "{\"__metadata__\":[]}", 0, "__metadata__ is not an object" },
	{ "{\"__metadata__\":{\"n\":1}}", 0,
	    "__metadata__: the value of 'n' is not a string" },
	{ "{" T("__metadata__", "U8", "[1]", "[0,1]") "}", 1,
	    "__metadata__: the value of" },
};

static void
test_headers(void **state)
{
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
		check_text(headers[i].header, headers[i].n, headers[i].words);
}

static const struct {
	const char *bytes;
	size_t n;
	const char *words;
} starts[] = {
	{ "", 0, "is 0 bytes" },
	{ "1234567", 7, "is 7 bytes" },
	{ "\0\0\0\0\0\0\0\x80{}", 10, "header length 9223372036854775808" },
	{ "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10,
	    "header length 18446744073709551615 is over the limit" },
	{ "\x3c\0\0\0\xff\xff\xff\xff", 8, "is over the limit" },
	{ "\x01\xe1\xf5\x05\0\0\0\0{}", 10, "100000001 is over the limit" },
	{ "\xe8\x03\0\0\0\0\0\0{}", 10,
	    "truncated: its header takes 1000 bytes but only 2 follow" },
	{ "\x3c\0\0\0\0\0\0\0", 8, "takes 60 bytes but only 0 follow" },
	{ "version https://git-lfs.github.com/spec/v1\noid sha256:00\n", 56,
	    "Git LFS pointer" },
	{ "<!DOCTYPE html><html></html>", 28, "HTML page" },
	{ "<html><body>404</body></html>", 29, "HTML page" },
	{ "\x1f\x8b\x08\0\0\0\0\0\0\x03""abcdef", 16, "gzip" },
	{ "PK\x03\x04\x14\0\0\0\x08\0abcdef", 16, "zip archive" },
	{ "GGUF\x03\0\0\0\0\0\0\0", 12, "GGUF" },
	{ "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9", 9, "pickle" },
};

static void
test_starts(void **state)
{
	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		struct pare_err err = { 0 };

		assert_int_equal(st_check(starts[i].bytes, starts[i].n, "w.st",
		    &err), PARE_EFORMAT);
		if (strstr(err.msg, starts[i].words) == NULL)
			fail_msg("'%s' lacks '%s'", err.msg, starts[i].words);
		assert_non_null(strstr(err.msg, "w.st"));
	}
}

/* Nesting and lists without end are refused before anything recurses. */
static void
test_depth(void **state)
{
	static const char *const begins[] = { "{\"a\":",
		"{\"__metadata__\":{\"a\":",
		"{\"a\":{\"dtype\":\"U8\",\"x\":" };

	for (int i = 0; i < 3; i++) {
		struct str b = STR_INIT;

		str_add(&b, begins[i]);
		for (int k = 0; k < 100000; k++)
			str_addc(&b, '[');
		check_text(b.s, 0, "nests deeper than 8 at byte");
		str_free(&b);
	}
}

static void
test_many_values(void **state)
{
	struct str b = STR_INIT;

	str_add(&b, "{\"a\":{\"dtype\":\"U8\",\"shape\":[0");
	for (int k = 0; k < 3000000; k++)
		str_add(&b, ",0");
	str_add(&b, "],\"data_offsets\":[0,0]}}");
	check_text(b.s, 0, "more than");
	str_free(&b);
}

/* Many tensors that claim one range: told by the first overlap. */
static void
test_many_tensors(void **state)
{
	struct str b = STR_INIT;

	str_add(&b, "{");
	for (int k = 0; k < 100000; k++)
		str_addf(&b, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[16],"
		    "\"data_offsets\":[0,16]}", k == 0 ? "" : ",", k);
	str_add(&b, "}");
	check_text(b.s, 16, "overlaps");
	str_free(&b);
}

/* What the reference writer makes of two tensors, byte for byte. */
static void
test_writer_bytes(void **state)
{
	static const char expected[] = "{\"__metadata__\":{\"format\":\"pt\"},"
	    "\"z\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	    "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]}}";
	char *root = tiny_root(), *path = io_join(root, "m.safetensors"), *p;
	struct st_writer *w = st_writer_new();
	struct pare_err err;
	float one = 1.0f;
	int64_t dim[] = { 1, 3 }, bytes;
	size_t n, length = sizeof(expected) - 1;

	st_writer_add(w, "a", "U8", 1, dim + 1, "xyz", 3);
	st_writer_add(w, "z", "F32", 1, dim, &one, 4);
	assert_int_equal(st_writer_write(w, path, &bytes, NULL, &err),
	    PARE_OK);
	st_writer_free(w);
	assert_int_equal(io_read(path, 4096, &p, &n, &err), PARE_OK);
	assert_int_equal(n, bytes);
	assert_int_equal((unsigned char)p[0], (length + 7) / 8 * 8);
	assert_memory_equal(p + 8, expected, length);
	for (size_t i = length; i % 8 != 0; i++)
		assert_int_equal(p[8 + i], ' ');
	assert_memory_equal(p + n - 7, &one, 4);
	assert_memory_equal(p + n - 3, "xyz", 3);
	free(p);
	free(path);
	tiny_root_free(root);
}

static void
test_writer_refuses(void **state)
{
	char *root = tiny_root(), *path = io_join(root, "m.safetensors");
	struct pare_err err;
	int64_t dim = 4;

	for (int i = 0; i < 3; i++) {
		struct st_writer *w = st_writer_new();

		st_writer_add(w, i == 1 ? "\xff" : "a", i == 2 ? "F9" : "U8",
		    1, &dim, "abcd", i == 0 ? 3 : 4);
		assert_int_equal(st_writer_write(w, path, NULL, NULL, &err),
		    PARE_EWRITE);
		st_writer_free(w);
		assert_false(io_is_file(path));
	}
	free(path);
	tiny_root_free(root);
}

/* A header of odd length puts every tensor at an odd address. */
static void
test_unaligned(void **state)
{
	char *root = tiny_root(), *path = io_join(root, "m.safetensors");
	const char *header = "{" T("a", "F32", "[3]", "[0,12]") "}";
	const float v[3] = { 1.5f, -2.0f, 3e-9f };
	struct st_file *f;
	struct pare_err err;
	size_t n, pad = strlen(header) % 4 == 1 ? 0 : 1;
	char *text = str_format("%s%*s", header, (int)pad, "");
	unsigned char *p = make_file(text, 12, &n);
	struct tensor *t;

	memcpy(p + n - 12, v, 12);
	tiny_put(root, "m.safetensors", p, n);
	f = st_open(path, &err);
	assert_non_null(f);
	assert_non_null(st_find(f, "a"));
	assert_null(st_find(f, "b"));
	t = tensor_new_view(FORM_F32, 1, 1, 3, f->blob,
	    f->data + st_find(f, "a")->begin, &err);
	assert_non_null(t);
	st_close(f);
	assert_memory_equal(tensor_f32(t), v, 12);
	tensor_unref(t);
	free(text);
	free(p);
	free(path);
	tiny_root_free(root);
}

/* Reading behind the new end of a truncated file gives zeros and a word. */
static void
test_truncated_while_open(void **state)
{
	char *root = tiny_root(), *path = io_join(root, "m.safetensors");
	struct st_writer *w = st_writer_new();
	size_t n = 1 << 20;
	int64_t dim = (int64_t)n;
	unsigned char *data = xmalloc(n);
	const char *damaged = NULL;
	struct pare_err err;
	struct st_file *f;
	unsigned long sum = 0;

	memset(data, 1, n);
	st_writer_add(w, "a", "U8", 1, &dim, data, dim);
	assert_int_equal(st_writer_write(w, path, NULL, NULL, &err), PARE_OK);
	st_writer_free(w);
	free(data);
	f = st_open(path, &err);
	assert_non_null(f);
	assert_false(file_damaged(&damaged));
	assert_int_equal(truncate(path, 8192), 0);
	for (size_t i = 0; i < n; i++)
		sum += ((const volatile unsigned char *)f->data)[i];
	assert_true(sum >= 8000 && sum <= 8192);
	assert_true(file_damaged(&damaged));
	assert_string_equal(damaged, path);
	assert_false(file_damaged(&damaged));
	st_close(f);
	free(path);
	tiny_root_free(root);
}

/* A SIGBUS that is not about a mapped file still ends a process. */
static void
test_foreign_sigbus(void **state)
{
	char *root = tiny_root(), *path = io_join(root, "m.safetensors");
	struct pare_err err;
	struct st_file *f;
	size_t n;
	unsigned char *p = make_file("{}", 0, &n);
	int status = 0;
	pid_t child;

	signal(SIGBUS, SIG_DFL);	/* cmocka has one of its own */
	tiny_put(root, "m.safetensors", p, n);
	f = st_open(path, &err);
	assert_non_null(f);
	child = fork();
	if (child == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		close(2);
		raise(SIGBUS);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	/* The sanitizers catch it and exit with a status of their own. */
	assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS :
	    WEXITSTATUS(status) != 0);
	st_close(f);
	free(p);
	free(path);
	tiny_root_free(root);
}

static void
test_not_regular(void **state)
{
	char *root = tiny_root(), *fifo = io_join(root, "fifo.safetensors");
	char *loop = io_join(root, "loop.safetensors");
	struct pare_err err;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(symlink("loop.safetensors", loop), 0);
	assert_null(st_open(fifo, &err));
	assert_int_equal(err.rc, PARE_EIO);
	assert_non_null(strstr(err.msg, "is a FIFO"));
	assert_null(st_open("/dev/zero", &err));
	assert_int_equal(err.rc, PARE_EIO);
	assert_non_null(strstr(err.msg, "not a regular file"));
	assert_null(st_open(loop, &err));
	assert_int_equal(err.rc, PARE_EIO);
	assert_non_null(strstr(err.msg, "loop.safetensors"));
	assert_null(st_open(root, &err));
	assert_int_equal(err.rc, PARE_EIO);
	free(fifo);
	free(loop);
	tiny_root_free(root);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_starts),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_many_values),
		cmocka_unit_test(test_many_tensors),
		cmocka_unit_test(test_writer_bytes),
		cmocka_unit_test(test_writer_refuses),
		cmocka_unit_test(test_unaligned),
		cmocka_unit_test(test_truncated_while_open),
		cmocka_unit_test(test_foreign_sigbus),
		cmocka_unit_test(test_not_regular),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
