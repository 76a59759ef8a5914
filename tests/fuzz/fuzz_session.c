/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Command lines against a whole session: a tiny model with weights and samples
 * is open, each line of the input is a command. Whatever the lines are, every
 * document says ok or why not, a failed line leaves the model as it was, and
 * undo reaches the first state again. Long work is canceled after some ticks.
 * The model is a BERT, or a Llama where the input begins with "decoder".
 *
 * Lines that would write or read files are left out: the fuzzer runs on real
 * machines.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "session/session.h"
#include "tensor/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { LINES_MAX = 12, TICKS_MAX = 60 };

static const char *const config = "{\"model_type\":\"bert\","
    "\"architectures\":[\"BertForSequenceClassification\"],"
    "\"hidden_size\":12,\"num_hidden_layers\":3,\"num_attention_heads\":3,"
    "\"intermediate_size\":20,\"vocab_size\":24,"
    "\"max_position_embeddings\":16}";
static const char *const decoder = "{\"model_type\":\"llama\","
    "\"architectures\":[\"LlamaForSequenceClassification\"],"
    "\"hidden_size\":12,\"num_hidden_layers\":3,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":4,\"attention_bias\":true,"
    "\"pad_token_id\":0,\"intermediate_size\":20,\"vocab_size\":24,"
    "\"max_position_embeddings\":16}";
static const char *const vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n"
    "c\nd\ne\nf\ng\nh\n##a\n##b\n##c\n";
static const char *const rows = "sentence\tlabel\na b c\t1\nb d\t0\nabc\t1\n"
    "g h\t0\nf f f\t1\n";
static const char *const opening[2][5] = {
	{ "set threads 1", "set live off",
	    "open config.json weights=random seed=1", "data rows.tsv",
	    "data rows.tsv role=calib" },
	{ "set threads 1", "set live off",
	    "open decoder.json weights=random seed=1", "data rows.tsv",
	    "data rows.tsv role=calib" }
};
static const char begins[] = "decoder\n";
static int ticks;

static void
count_tick(struct task *task, double done, double total, const char *what)
{
	if (++ticks > TICKS_MAX)
		atomic_store(&task->cancel, true);
}

static bool
is_allowed(const char *line)
{
	static const char *const no[] = { "save", "recipe", "source", "open",
		"data", "resume", "out=", "/", "threads", "quit" };

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (strstr(line, no[i]) != NULL)
			return false;
	return true;
}

static bool
run(struct session *s, const char *line)
{
	struct task task = { .tick = count_tick };
	struct result r;
	bool ok;

	ticks = 0;
	session_run(s, line, &task, &r);
	ok = r.rc == PARE_OK;
	if (r.doc != NULL &&
	    (json_is_true(json_object_get(r.doc, "ok")) != ok ||
	    (!ok && json_object_get(r.doc, "error") == NULL)))
		abort();
	result_free(&r);
	return ok;
}

static void
run_checked(struct session *s, const char *line)
{
	uint64_t before = model_hash(session_model(s));
	int states = s->history.n;
	char **list = session_complete(s, line, (int)strlen(line));

	for (int i = 0; list != NULL && list[i] != NULL; i++)
		free(list[i]);
	free(list);
	if (!run(s, line) && (model_hash(session_model(s)) != before ||
	    s->history.n != states))
		abort();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char dir[] = "/tmp/pare-fuzz-XXXXXX";

	if (mkdtemp(dir) == NULL || chdir(dir) != 0)
		abort();
	io_state_disable();
	kernel_set_threads(1);
	if (io_write("config.json", config, strlen(config), NULL) != PARE_OK ||
	    io_write("decoder.json", decoder, strlen(decoder), NULL) !=
	    PARE_OK ||
	    io_write("vocab.txt", vocab, strlen(vocab), NULL) != PARE_OK ||
	    io_write("rows.tsv", rows, strlen(rows), NULL) != PARE_OK)
		abort();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct session *s;
	uint64_t first;
	char *text, *save = NULL, *line;
	int lines = 0, kind;

	if (n > 2000)
		return 0;
	kind = n >= sizeof(begins) - 1 && memcmp(data, begins,
	    sizeof(begins) - 1) == 0;
	data += kind ? sizeof(begins) - 1 : 0;
	n -= kind ? sizeof(begins) - 1 : 0;
	s = session_new();
	for (int i = 0; i < 5; i++)
		if (!run(s, opening[kind][i]))
			abort();
	first = model_hash(session_model(s));
	text = xstrndup((const char *)data, n);
	for (line = strtok_r(text, "\n", &save);
	    line != NULL && lines < LINES_MAX;
	    line = strtok_r(NULL, "\n", &save))
		if (is_allowed(line)) {
			run_checked(s, line);
			lines++;
		}
	free(text);
	run(s, "goto 0");
	if (model_hash(session_model(s)) != first)
		abort();
	session_free(s);
	return 0;
}
