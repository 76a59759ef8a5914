/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info: the model, the samples and the machine at a glance. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/kv.h"
#include "model/arch.h"
#include "session/work.h"
#include "tensor/form.h"
#include "tensor/kernel.h"

/* Counting zeros reads every weight; below this it is done unasked. */
static const int64_t count_below = 256ll << 20;

static const struct arg_spec info_args[] = {
	{ "seq", ARG_INT, 0, 1, 1048576, NULL, NULL, "tokens",
	    "length of the sequence that macs_per_token is for" },
	{ NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL }
};

static const char *const info_examples[] = { "info", "info seq=512", NULL };

int64_t
work_resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long long size, resident = -1;

	if (f == NULL)
		return -1;
	if (fscanf(f, "%lld %lld", &size, &resident) != 2)
		resident = -1;
	fclose(f);
	return resident < 0 ? -1 : resident * sysconf(_SC_PAGESIZE);
}

static void
put_forms(const struct model *m, json_t *doc)
{
	int64_t tensors[FORM_COUNT] = { 0 }, bytes[FORM_COUNT] = { 0 };
	json_t *forms = json_array();
	struct slot_ref ref = SLOT_REF_START;

	/* A tensor that several slots hold counts once. */
	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);
		const struct tensor *own = model_own(m, ref);

		if (own == NULL)
			continue;
		tensors[t->form]++;
		bytes[t->form] += tensor_bytes(own);
	}
	for (int k = 0; k < FORM_COUNT; k++) {
		json_t *o;

		if (tensors[k] == 0)
			continue;
		o = json_object();
		result_put_text(o, "form", form_table[k].name);
		result_put_int(o, "tensors", tensors[k]);
		result_put_int(o, "bytes", bytes[k]);
		json_array_append_new(forms, o);
	}
	json_object_set_new(doc, "forms", forms);
}

/* A row of kernels[], unless there is one like it; those of its parts too. */
static void
put_kernel(const struct tensor *t, int64_t seq, json_t *kernels)
{
	json_t *o = json_object(), *old;
	size_t i;

	result_put_text(o, "form", form_table[t->form].name);
	result_put_text(o, "kernel", kernel_of(t, seq)->name);
	result_put_text(o, "one", kernel_of(t, 1)->name);
	json_array_foreach(kernels, i, old)
		if (json_equal(old, o))
			break;
	if (i == json_array_size(kernels))
		json_array_append(kernels, o);
	json_decref(o);
	for (int k = 0; k < 2; k++)
		if (t->kid[k] != NULL && t->kid[k]->ndim == 2)
			put_kernel(t->kid[k], seq, kernels);
}

/* How the matrices that are multiplied are, and with what instructions. */
static void
put_kernels(const struct model *m, int64_t seq, json_t *doc)
{
	json_t *kernels = json_array(), *lacking = json_array();
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(m, &ref)) {
		const struct tensor *t = model_slot(m, ref);

		if (t->ndim != 2 || !slot_table[ref.slot].matrix ||
		    slot_table[ref.slot].kind == KIND_EMBEDDING)
			continue;
		put_kernel(t, seq, kernels);
	}
	for (int k = (int)cpu_detected() + 1; k < CPU_LEVELS; k++)
		json_array_append_new(lacking, json_string(cpu_level_name(
		    (enum cpu_level)k)));
	for (int k = 0; k < CPU_EXTRAS; k++)
		if (cpu_detected() >= CPU_AVX512 && k != CPU_BF16_FAST &&
		    !cpu_extra_detected((enum cpu_extra)k))
			json_array_append_new(lacking, json_string(
			    cpu_extra_name((enum cpu_extra)k)));
	result_put_text(doc, "instructions", cpu_level_name(cpu_level()));
	result_put_text(doc, "processor", cpu_level_name(cpu_detected()));
	json_object_set_new(doc, "lacking", lacking);
	result_put_text(doc, "precision", kernel_precision() == KERNEL_EXACT ?
	    "exact" : "fast");
	json_object_set_new(doc, "kernels", kernels);
}

static void
put_samples(const struct session *s, json_t *doc)
{
	json_t *o = json_object();

	for (int r = 0; r < ROLE_COUNT; r++) {
		json_t *d;

		if (s->data[r] == NULL) {
			json_object_set_new(o, data_role_names[r],
			    json_null());
			continue;
		}
		d = json_object();
		result_put_text(d, "path", s->data[r]->path);
		result_put_int(d, "n", s->data[r]->n);
		result_put_text(d, "columns", s->data[r]->columns);
		json_object_set_new(o, data_role_names[r], d);
	}
	json_object_set_new(doc, "data", o);
}

static void
put_shape(const struct model *m, json_t *doc)
{
	json_t *ffn = json_array();
	int head_dim = 0;

	for (int l = 0; l < m->nlayers; l++) {
		json_array_append_new(ffn, json_integer(m->layer[l].ffn));
		if (head_dim == 0)
			head_dim = m->layer[l].head_dim;
	}
	json_object_set_new(doc, "ffn", ffn);
	result_put_int(doc, "embedding", m->hp.embed);
	result_put_int(doc, "vocab", m->hp.vocab);
	result_put_int(doc, "positions", m->hp.positions);
	result_put_int(doc, "head_dim", head_dim);
}

static enum pare_rc
run_info(struct session *s, const struct arg_list *args, json_t *doc,
    struct notes *notes, struct task *task, struct pare_err *err)
{
	const struct model *m = session_model(s);
	int64_t seq = arg_get(args, "seq")->has ? arg_int(args, "seq") :
	    settings_int(s->settings, SET_SEQ);
	struct account a;
	struct totals t;
	bool count;

	account_totals(m, seq, false, &t);
	count = m->ghost || s->want_hash || t.bytes < count_below;
	account_totals(m, seq, count, &t);
	account_rows(m, NULL, BY_KIND, seq, false, &a);
	work_put_model(s, m, doc);
	put_shape(m, doc);
	json_object_set_new(doc, "nonzero", count ? json_integer(t.nonzero) :
	    json_null());
	result_put_real(doc, "macs_per_token", (double)t.macs / (double)seq);
	result_put_int(doc, "seq", seq);
	if ((m->arch->flags & ARCH_CAUSAL) != 0)
		result_put_int(doc, "kv_bytes", kv_bytes(m, seq));
	result_put_int(doc, "tensors", t.tensors);
	result_put_int(doc, "tied", a.tied);
	put_samples(s, doc);
	result_put_int(doc, "threads", kernel_threads());
	result_put_text(doc, "blas", kernel_blas_name());
	put_forms(m, doc);
	put_kernels(m, seq, doc);
	result_put_int(doc, "held_bytes", history_held_bytes(&s->history));
	result_put_int(doc, "scratch_bytes",
	    (int64_t)engine_scratch(s->engine) +
	    evaluator_scratch(s->evaluator));
	result_put_int(doc, "cache_bytes", evaluator_cached(s->evaluator));
	result_put_int(doc, "program_bytes", s->began_bytes);
	result_put_int(doc, "resident_bytes", work_resident_bytes());
	result_put_int(doc, "states", s->history.n);
	account_free(&a);
	return PARE_OK;
}

const struct command command_info = {
	.name = "info",
	.group = GROUP_SEE,
	.help = "Show what is open: sizes, forms, samples and machine.\n"
	    "Memory is what the process has, and of that the tensors of all "
	    "states, the scratch of passes, the cache of evaluations, and the "
	    "program before a model was open; the rest is the tokenizer and "
	    "the samples.",
	.examples = info_examples,
	.args = info_args,
	.flags = CMD_NEEDS_MODEL | CMD_LONG | CMD_DRY,
	.run = run_info,
};
