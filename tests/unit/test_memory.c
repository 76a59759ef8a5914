/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Results that outlive a session: they come back as they were, to the samples
 * they belong to, and files that are torn, strange or made up are as good as
 * none. Every test has a state folder of its own.
 */
#include "made_data.h"
#include "tiny_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "session/memory.h"
#include "session/store.h"

enum { SAMPLES = 30, LABELS = 3 };

static char *root;
static struct dataset *data;

static int
setup(void **state)
{
	root = tiny_root();
	setenv("XDG_STATE_HOME", root, 1);
	data = made_data(SAMPLES);
	return 0;
}

static int
teardown(void **state)
{
	made_data_free(data);
	tiny_root_free(root);
	return 0;
}

static char *
folder(void)
{
	char *dir = str_format("%s/pare/results", root);

	return dir;
}

/* The n-th file of the folder; NULL. */
static char *
file_path(int n)
{
	char *dir = folder(), *path = NULL;
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && n-- == 0)
			path = io_join(dir, e->d_name);
	if (d != NULL)
		closedir(d);
	free(dir);
	return path;
}

static int
file_count(void)
{
	int n = 0;
	char *path;

	while ((path = file_path(n)) != NULL) {
		free(path);
		n++;
	}
	return n;
}

/* ---- evaluations ---- */

static struct evaluation
an_evaluation(uint64_t model)
{
	struct evaluation v = { .metric = METRIC_ACCURACY, .value = 0.5,
		.low = 0.25, .high = 0.75, .loss = 0.7, .seconds = 1.5,
		.tokens = 400, .total = SAMPLES, .labels = LABELS, .from = 2,
		.model_hash = model, .data_hash = data->hash };
	struct rng r;

	rng_seed(&r, model);
	for (int i = 0; i < METRIC_COUNT; i++)
		v.all[i] = i % 2 == 0 ? 0.1 * i : NAN;
	v.predicted = xcalloc(SAMPLES, sizeof(*v.predicted));
	v.gold = xcalloc(SAMPLES, sizeof(*v.gold));
	v.logits = xcalloc(SAMPLES * LABELS, sizeof(*v.logits));
	for (int i = 0; i < SAMPLES * LABELS; i++)
		v.logits[i] = rng_normal(&r);
	evaluation_labels(&v, data);
	for (int i = 0; i < SAMPLES; i++)
		v.labelled += v.gold[i] >= 0;
	v.n = v.labelled;
	return v;
}

static void
same_evaluation(const struct evaluation *a, const struct evaluation *b)
{
	assert_int_equal(a->metric, b->metric);
	assert_int_equal(a->n, b->n);
	assert_int_equal(a->labelled, b->labelled);
	assert_int_equal(a->tokens, b->tokens);
	assert_int_equal(a->from, b->from);
	assert_int_equal(a->labels, b->labels);
	assert_true(a->value == b->value && a->low == b->low &&
	    a->high == b->high && a->loss == b->loss);
	assert_memory_equal(a->all, b->all, sizeof(a->all));
	assert_memory_equal(a->logits, b->logits, SAMPLES * LABELS *
	    sizeof(*a->logits));
	assert_memory_equal(a->predicted, b->predicted, SAMPLES *
	    sizeof(*a->predicted));
	assert_memory_equal(a->gold, b->gold, SAMPLES * sizeof(*a->gold));
	assert_true(a->model_hash == b->model_hash &&
	    a->data_hash == b->data_hash);
	assert_false(b->partial);
	assert_null(b->ran);
}

static void
keep(uint64_t model)
{
	struct memory *m = memory_new();
	struct evaluation v = an_evaluation(model);

	memory_keep_evaluation(m, &v);
	memory_free(m);
}

static void
test_evaluation(void **state)
{
	struct memory *m = memory_new();
	struct evaluation v = an_evaluation(5);
	const struct evaluation *got;
	struct stat st;
	char *path, *dir = folder();

	assert_null(memory_evaluation(m, 5, data, METRIC_ACCURACY));
	keep(5);
	/* This sitting looked into the folder before. */
	assert_null(memory_evaluation(m, 5, data, METRIC_ACCURACY));
	memory_free(m);
	m = memory_new();
	assert_null(memory_evaluation(m, 6, data, METRIC_ACCURACY));
	assert_null(memory_evaluation(m, 5, data, METRIC_F1));
	memory_recall_earlier(m, false);
	assert_null(memory_evaluation(m, 5, data, METRIC_ACCURACY));
	memory_recall_earlier(m, true);
	got = memory_evaluation(m, 5, data, METRIC_ACCURACY);
	assert_non_null(got);
	same_evaluation(&v, got);
	assert_ptr_equal(memory_evaluation(m, 5, data, METRIC_ACCURACY), got);
	/* For its owner alone. */
	path = file_path(0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	/* Other samples, whatever their number. */
	data->hash++;
	assert_null(memory_evaluation(m, 5, data, METRIC_ACCURACY));
	memory_free(m);
	evaluation_free(&v);
	free(path);
	free(dir);
}

/* ---- latencies ---- */

static const struct latency_key key = { .model = 7, .original = 8, .batch = 2,
	.seq = 16, .threads = 3 };

static struct latency_parts *
some_parts(int layers)
{
	struct latency_parts *p = xcalloc(1, sizeof(*p) + (size_t)layers *
	    sizeof(*p->layer_ms));

	p->layers = layers;
	p->passes = 9;
	p->whole_ms = 4.5;
	p->embed_ms = 0.5;
	p->head_ms = 0.25;
	for (int l = 0; l < layers; l++)
		for (int i = 0; i < ENGINE_PARTS; i++)
			p->layer_ms[l][i] = l + 0.125 * i;
	return p;
}

static struct latency
a_latency(void)
{
	return (struct latency){ .batch = 2, .seq = 16, .runs = 20,
		.threads = 3, .p50_ms = 4, .p95_ms = 6, .p25_ms = 3.5,
		.p75_ms = 4.5, .original_p50_ms = 5, .original_p25_ms = 4.75,
		.original_p75_ms = 5.5, .ratio = 0.8, .ratio_low = 0.7,
		.ratio_high = 0.9, .has_ratio = true, .pinned = true,
		.waited = NAN };
}

static void
keep_latency(void)
{
	struct latency_parts *parts[2] = { some_parts(3), some_parts(4) };
	struct memory *m = memory_new();
	struct latency l = a_latency();

	memory_keep_latency(m, &key, &l);
	memory_keep_parts(m, &key, parts);
	memory_free(m);
}

static void
test_latency(void **state)
{
	struct memory *m;
	struct latency want = a_latency();
	const struct latency *l;
	struct latency_key other = key;

	keep_latency();
	m = memory_new();
	other.threads = 2;
	assert_null(memory_latency(m, &other));
	other = key;
	other.original = 9;
	assert_null(memory_latency(m, &other));
	l = memory_latency(m, &key);
	assert_non_null(l);
	assert_true(l->p50_ms == want.p50_ms && l->p95_ms == want.p95_ms &&
	    l->p25_ms == want.p25_ms && l->p75_ms == want.p75_ms &&
	    l->original_p50_ms == want.original_p50_ms &&
	    l->original_p25_ms == want.original_p25_ms &&
	    l->original_p75_ms == want.original_p75_ms);
	assert_true(l->ratio == 0.8 && l->ratio_low == 0.7 &&
	    l->ratio_high == 0.9 && l->has_ratio && l->pinned &&
	    isnan(l->waited));
	assert_int_equal(l->runs, 20);
	assert_ptr_equal(memory_latency_of(m, 7), l);
	for (int of = 0; of < 2; of++) {
		const struct latency_parts *p = memory_parts(m, &key, of);
		struct latency_parts *same = some_parts(3 + of);

		assert_non_null(p);
		assert_int_equal(p->layers, 3 + of);
		assert_int_equal(p->passes, 9);
		assert_true(p->whole_ms == 4.5 && p->embed_ms == 0.5 &&
		    p->head_ms == 0.25);
		assert_memory_equal(p->layer_ms, same->layer_ms,
		    (size_t)(3 + of) * sizeof(*p->layer_ms));
		free(same);
	}
	memory_free(m);
}

/* ---- files as they should not be ---- */

/* Whatever comes back belongs to these samples. */
static bool
look(void)
{
	struct memory *m = memory_new();
	const struct evaluation *v = memory_evaluation(m, 5, data,
	    METRIC_ACCURACY);
	const struct latency *l = memory_latency(m, &key);
	const struct latency_parts *p;

	if (v != NULL) {
		assert_int_equal(v->total, SAMPLES);
		assert_true(v->labels >= 1 && v->n == v->labelled);
		for (int i = 0; i < SAMPLES; i++) {
			assert_true(v->predicted[i] >= 0 &&
			    v->predicted[i] < v->labels);
			assert_true(v->gold[i] >= -1 &&
			    v->gold[i] < v->labels);
			assert_true(isfinite(v->logits[i * v->labels]));
		}
	}
	if (l != NULL) {
		assert_true(l->batch == 2 && l->seq == 16 && l->runs > 0 &&
		    isfinite(l->p50_ms) && l->p50_ms >= 0);
		for (int of = 0; of < 2; of++) {
			p = memory_parts(m, &key, of);
			assert_true(p == NULL || (p->layers >= 0 &&
			    isfinite(latency_sum_ms(p))));
		}
	}
	memory_free(m);
	return v != NULL || l != NULL;
}

/* Cut short at every length, and with every byte another one. */
static void
test_torn(void **state)
{
	char *path, *bytes, *bad;
	struct pare_err err;
	size_t n;

	keep_latency();
	path = file_path(0);
	assert_int_equal(io_read(path, 1 << 20, &bytes, &n, &err), PARE_OK);
	assert_true(look());
	bad = xmalloc(n + 8);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(io_write(path, bytes, i, &err), PARE_OK);
		assert_false(look());
		memcpy(bad, bytes, n);
		bad[i] ^= 0x40;
		assert_int_equal(io_write(path, bad, n, &err), PARE_OK);
		assert_false(look());
	}
	memcpy(bad, bytes, n);
	memset(bad + n, 0, 8);
	assert_int_equal(io_write(path, bad, n + 8, &err), PARE_OK);
	assert_false(look());
	assert_int_equal(io_write(path, bytes, n, &err), PARE_OK);
	assert_true(look());
	free(bad);
	free(bytes);
	free(path);
}

/* Whole files with the right hashes and wrong numbers inside. */
static void
make_up(const char *bytes, size_t n, uint64_t name)
{
	static const double doubles[] = { -1, 1e300, INFINITY, NAN, -0.0 };
	static const int64_t numbers[] = { 0, 1, -1, 2, SAMPLES - 1,
		INT64_MAX, INT64_MIN, INT32_MAX, (int64_t)1 << 40 };
	char *bad = xmalloc(n);
	int known = 0, unknown = 0;

	for (size_t at = 0; at + 8 <= n; at += 8)
		for (int k = 0; k < 14; k++) {
			struct store *s = store_new();

			memcpy(bad, bytes, n);
			if (k < 5)
				memcpy(bad + at, &doubles[k], 8);
			else
				memcpy(bad + at, &numbers[k - 5], 8);
			store_put(s, name, bad, n);
			store_free(s);
			if (look())
				known++;
			else
				unknown++;
		}
	assert_true(known > 0 && unknown > 0);
	free(bad);
}

static void
test_made_up(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		struct store *s;
		uint64_t name;
		char *path, *bytes;
		size_t n;

		if (kind == 0)
			keep(5);
		else
			keep_latency();
		path = file_path(0);
		name = strtoull(strrchr(path, '/') + 1, NULL, 16);
		s = store_new();
		bytes = store_get(s, name, &n);
		assert_non_null(bytes);
		assert_true(look());
		make_up(bytes, n, name);
		/* Too short for its own head, and empty. */
		for (size_t k = 0; k < n; k += 7) {
			store_put(s, name, bytes, k);
			assert_false(look());
		}
		store_free(s);
		free(bytes);
		assert_int_equal(unlink(path), 0);
		free(path);
	}
}

/* Something else where the file or the folder should be. */
static void
test_strange(void **state)
{
	char *path, *dir = folder(), *elsewhere = io_join(root, "elsewhere");
	struct pare_err err;

	keep(5);
	path = file_path(0);
	assert_int_equal(rename(path, elsewhere), 0);
	assert_int_equal(symlink(elsewhere, path), 0);
	assert_false(look());
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(look());
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_false(look());
	keep(5);
	assert_int_equal(rmdir(path), 0);
	keep(5);
	assert_true(look());
	/* The name of another result. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(elsewhere, path), 0);
	assert_true(look());
	path[strlen(path) - 1] ^= 1;
	assert_int_equal(io_write(path, "", 0, &err), PARE_OK);
	assert_true(look());
	tiny_remove(dir);
	assert_int_equal(io_write(dir, "a file", 6, &err), PARE_OK);
	keep(5);
	assert_false(look());
	free(path);
	free(dir);
	free(elsewhere);
}

/* A long history leaves as many files as the store holds, and those used last. */
static void
test_bounds(void **state)
{
	struct store *s = store_new();
	char *dir = folder(), *torn;
	size_t n, big = 1 << 20;
	char *bytes = xcalloc(1, big);
	struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	int files;
	void *got;

	for (uint64_t k = 1; k <= STORE_FILES + 1; k++)
		store_put(s, k, &k, sizeof(k));
	files = file_count();
	assert_true(files <= STORE_FILES && files >= STORE_FILES / 2);
	assert_null(store_get(s, 1, &n));
	got = store_get(s, STORE_FILES + 1, &n);
	assert_non_null(got);
	assert_int_equal(n, sizeof(uint64_t));
	free(got);
	/* By size too; and one that is too large is not kept at all. */
	for (uint64_t k = 0; k <= STORE_BYTES / big; k++)
		store_put(s, 100000 + k, bytes, big);
	got = store_get(s, 100000 + STORE_BYTES / big, &n);
	assert_non_null(got);
	assert_int_equal(n, big);
	free(got);
	assert_true(file_count() <= (int)(STORE_BYTES / big));
	bytes = realloc(bytes, STORE_ONE + 1);
	store_put(s, 5, bytes, STORE_ONE + 1);
	assert_null(store_get(s, 5, &n));
	store_free(s);
	/* What a crash left half written goes, in time; other names stay. */
	torn = io_join(dir, "0123456789abcdef.Xy12Zz");
	files = file_count();
	assert_int_equal(io_write(torn, "x", 1, NULL), PARE_OK);
	s = store_new();
	assert_null(store_get(s, 3, &n));
	assert_int_equal(file_count(), files + 1);
	store_free(s);
	assert_int_equal(utimensat(AT_FDCWD, torn, old, 0), 0);
	s = store_new();
	assert_null(store_get(s, 3, &n));
	assert_int_equal(file_count(), files);
	store_free(s);
	free(torn);
	free(bytes);
	free(dir);
}

/* Last: it cannot be undone. */
static void
test_no_state(void **state)
{
	keep(5);
	assert_true(look());
	io_state_disable();
	assert_false(look());
	keep(6);
	assert_int_equal(file_count(), 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_evaluation), TEST(test_latency), TEST(test_torn),
		TEST(test_made_up), TEST(test_strange), TEST(test_bounds),
		TEST(test_no_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
