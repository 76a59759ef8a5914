/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * quantize: few bits a weight, packed for real.
 *
 * Rounding to nearest on a grid per matrix, row or group (symmetric, affine),
 * or codes into a table of means (k-means from balanced bins; binary: two
 * values).
 * The arithmetic is in tensor/transform.h; this file turns a line into a
 * quant_spec for each matrix and refuses what has no meaning.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/gobo.h"
#include "ops/refine.h"
#include "ops/table.h"

enum group_kind { GROUP_MATRIX, GROUP_ROW, GROUP_SIZE };

struct quant {
	const struct op_input *in;
	struct ops_what what;
	struct ops_slots slots;
	int bits;
	enum quant_scheme scheme;
	enum group_kind kind;
	int64_t group;
	int act;		/* of codes, as struct quant_spec */
	enum form_kind cast;	/* bits == 16 */
	bool *folded;		/* of slots: coded, with scales that went into
				 * what comes before; NULL: none is */
	int kept, twice;	/* left as they are; rounded before */
	int opened;		/* blocks of GGUF that became floats */
	int other;		/* given other activations only */
	char first_kept[64];
	bool floats;		/* scheme=gobo: outliers stay floats */
	struct gobo gobo;
	struct refine refine;	/* what rounding to nearest does not do */
};

static struct quant_spec
spec_for(const struct quant *q, const struct tensor *t)
{
	struct quant_spec s = { .scheme = q->scheme, .bits = q->bits,
		.act = q->act };

	if (q->kind == GROUP_SIZE)
		s.group = q->group;
	else if (q->kind == GROUP_ROW)
		s.group = t->form == FORM_LOWRANK ? -1 : t->cols;
	return s;
}

/* A cast of both factors of a low-rank product. */
static struct tensor *
cast_factors(const struct quant *q, const struct tensor *t,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor facts = { .form = FORM_LOWRANK, .values = FORM_LOWRANK,
	    .ndim = t->ndim, .rows = t->rows, .cols = t->cols };
	struct tensor *kid[2];

	kid[0] = tensor_cast(t->kid[0], q->cast, ctx, err);
	if (kid[0] == NULL)
		return NULL;
	kid[1] = tensor_cast(t->kid[1], q->cast, ctx, err);
	if (kid[1] == NULL) {
		tensor_unref(kid[0]);
		return NULL;
	}
	facts.ghost = kid[0]->ghost;
	atomic_init(&facts.nonzero, -1);
	return tensor_new(&facts, NULL, kid, err);
}

static struct tensor *
convert_plain(struct quant *q, const struct tensor *t,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct quant_spec s = spec_for(q, t);
	struct tensor *codes, *out;

	if (q->floats)
		return gobo_code(&q->gobo, t, &s, ctx, err);
	if (q->bits != 16 && ctx->estimate && refine_scales(&q->refine, t)) {
		codes = tensor_quantize(t, &s, ctx, err);
		out = codes == NULL ? NULL : tensor_scale(codes, NULL, ctx,
		    err);
		tensor_unref(codes);
		return out;
	}
	if (q->bits != 16)
		return tensor_quantize(t, &s, ctx, err);
	return t->form == FORM_LOWRANK ? cast_factors(q, t, ctx, err) :
	    tensor_cast(t, q->cast, ctx, err);
}

/* What refine_code() does to the plain codes it does to real ones alone. */
static struct tensor *
convert(struct quant *q, const struct tensor *t,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct tensor *codes = convert_plain(q, t, ctx, err), *out;

	if (codes == NULL || !refine_amends(&q->refine, t) ||
	    (!ctx->estimate && !t->ghost))
		return codes;
	out = tensor_amend(codes, t, q->refine.residual, NULL, ctx, err);
	tensor_unref(codes);
	return out;
}

static bool
is_coded(const struct tensor *t)
{
	if (t->kid[0] != NULL)
		return is_coded(t->kid[0]) || is_coded(t->kid[1]);
	return t->values == FORM_INT || t->values == FORM_TABLE ||
	    t->values == FORM_BLOCK;
}

/* Whether t has the codes the line asks for; its activations may be others. */
static bool
has_codes(const struct quant *q, const struct tensor *t)
{
	struct quant_spec s = spec_for(q, t);
	bool table = q->scheme == QUANT_KMEANS || q->scheme == QUANT_BINARY;

	if (q->bits == 16)
		return false;
	if (tensor_base(t) != t)
		return (q->refine.residual == 0 || q->refine.residual ==
		    tensor_rank(t->kid[1])) &&
		    has_codes(q, t->kid[0]);
	if (q->floats || t->form == FORM_SUM || t->form == FORM_SCALED)
		return q->floats && t->form == FORM_SUM &&
		    t->kid[0]->code.bits == q->bits &&
		    t->kid[0]->code.group == s.group;
	if (t->form == FORM_LOWRANK)
		return has_codes(q, t->kid[0]) && has_codes(q, t->kid[1]);
	return t->form == (table ? FORM_TABLE : FORM_INT) &&
	    t->code.bits == q->bits && t->code.group == s.group &&
	    (table || t->code.scheme == (q->scheme == QUANT_AFFINE ?
	    CODE_AFFINE : CODE_SYMMETRIC));
}

/* Blocks of GGUF files become floats when a line says so, though they grow: so
 * that heads, neurons and single weights can be taken out. */
static bool
opens(const struct quant *q, const struct tensor *t)
{
	return q->bits == 16 && t->form == FORM_BLOCK;
}

/* A tensor that would grow, or that is packed and would not get smaller, stays;
 * *ghost is what it would be. */
static enum pare_rc
would_stay(struct quant *q, const struct tensor *t, bool *stays,
    struct tensor **ghost, struct pare_err *err)
{
	const struct tensor *was = refine_was(&q->refine, t);
	struct transform_ctx look = { .estimate = true, .seed = q->in->seed,
	    .task = q->in->task };

	*ghost = convert(q, t, &look, err);
	if (*ghost == NULL)
		return err->rc;
	*stays = tensor_bytes(*ghost) > tensor_bytes(was) - is_coded(was);
	return PARE_OK;
}

/* The transform of one tensor. */
static struct tensor *
quantize_one(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	struct quant *q = arg;
	struct tensor *ghost, *made;
	struct quant_spec spec;
	bool stays;

	if (has_codes(q, t))
		return tensor_activations(t, q->act, err);
	if (opens(q, t))
		return convert(q, t, ctx, err);
	if (would_stay(q, t, &stays, &ghost, err) != PARE_OK)
		return NULL;
	if (!stays && (ctx->estimate || t->ghost))
		return ghost;
	tensor_unref(ghost);
	if (stays)
		return tensor_ref(t);
	made = convert(q, t, ctx, err);
	if (made == NULL || !refine_asked(&q->refine))
		return made;
	spec = spec_for(q, t);
	return refine_code(&q->refine, t, made, &spec, ctx, err);
}

/* "1, 2, 4, 8": divisors of cols, the largest that fit, ascending. */
static void
list_divisors(int64_t cols, struct str *out)
{
	int64_t list[8];
	int n = 0;

	for (int64_t d = cols / 2; d >= 1 && n < 8; d--)
		if (cols % d == 0)
			list[n++] = d;
	while (n-- > 0)
		str_addf(out, "%s%lld", out->n > 0 ? ", " : "",
		    (long long)list[n]);
}

static enum pare_rc
check_group(const struct quant *q, const struct tensor *t,
    struct slot_ref ref, struct pare_err *err)
{
	struct str sizes = STR_INIT;
	char path[64];

	if (q->kind != GROUP_SIZE)
		return PARE_OK;
	if (t->form == FORM_LOWRANK) {
		enum pare_rc rc = check_group(q, t->kid[0], ref, err);

		return rc != PARE_OK ? rc : check_group(q, t->kid[1], ref,
		    err);
	}
	if (t->cols % q->group == 0)
		return PARE_OK;
	model_slot_path(ref, path, sizeof path);
	list_divisors(t->cols, &sizes);
	err_set(err, PARE_EUSER, "group: %lld does not divide the %lld columns "
	    "of %s", (long long)q->group, (long long)t->cols, path);
	err_hint(err, "sizes that fit %s: %s%srow, matrix", path, sizes.s,
	    sizes.n > 0 ? ", " : "");
	str_free(&sizes);
	return PARE_EUSER;
}

/* What goes with no residual, and with no method that looks at inputs: a matrix
 * whose base others stand on as well must get the codes that they get. */
static enum pare_rc
check_residual(const struct quant *q, const struct tensor *t,
    struct slot_ref ref, struct pare_err *err)
{
	const struct refine *g = &q->refine;
	bool low = t->form == FORM_LOWRANK, thin;
	char path[64];

	model_slot_path(ref, path, sizeof path);
	if (refine_asked(g) && ops_on_base(q->in->model, t)) {
		err_set(err, PARE_EUSER, "%s: %s stands on weights that are "
		    "shared, beside what is its own", refine_name(g), path);
		return err_hint(err, "method=rtn codes what is shared, and "
		    "leaves each its own");
	}
	if (g->residual == 0)
		return PARE_OK;
	/* A few zeros are none that someone made. */
	thin = !low && tensor_nonzero(t) < t->rows * t->cols / 10 * 9;
	if (!low && !thin && t->form != FORM_BITMAP && t->form != FORM_INDEX)
		return PARE_OK;
	err_set(err, PARE_EUSER, "residual: %s is %s", path, low ?
	    "low rank already" : "sparse, and what is added to it would be "
	    "dense");
	return err_hint(err, "leave it out, or leave residual out");
}

static enum pare_rc
read_group(struct quant *q, struct pare_err *err)
{
	const char *text = arg_text(q->in->args, "group");
	bool table = q->scheme == QUANT_KMEANS || q->scheme == QUANT_BINARY;

	q->kind = table ? GROUP_MATRIX : GROUP_ROW;
	if (text == NULL)
		return PARE_OK;
	if (strcmp(text, "row") == 0)
		q->kind = GROUP_ROW;
	else if (strcmp(text, "matrix") == 0)
		q->kind = GROUP_MATRIX;
	else if (str_to_int(text, &q->group) && q->group >= 1)
		q->kind = GROUP_SIZE;
	else {
		err_set(err, PARE_EUSER, "group: '%.40s' is not row, matrix or "
		    "a number of columns", text);
		return err_hint(err, "group=64 gives each 64 weights of a row "
		    "a scale of their own");
	}
	return PARE_OK;
}

static bool
is(const struct arg_list *a, const char *name, const char *choice)
{
	return strcmp(arg_choice(a, name), choice) == 0;
}

static void
read_refine(const struct arg_list *a, struct refine *g)
{
	g->gptq = is(a, "method", "gptq");
	g->awq = is(a, "method", "awq");
	g->hqq = is(a, "method", "hqq");
	g->clip = is(a, "clip", "mse");
	g->weigh = (enum refine_weigh)arg_get(a, "weigh")->i;
	g->correct = is(a, "bias", "correct");
	g->residual = arg_get(a, "residual")->has ? arg_int(a, "residual") : 0;
}

/* What does not go together. */
static enum pare_rc
check_refine(struct quant *q, bool estimate, struct pare_err *err)
{
	bool table = q->scheme == QUANT_KMEANS || q->scheme == QUANT_BINARY;
	struct refine *g = &q->refine;

	if (q->bits == 16 && refine_asked(g)) {
		err_set(err, PARE_EUSER, "%s: a cast to float has no codes to "
		    "better", refine_name(g));
		return err_hint(err, "quantize %s bits=4 %s", q->what.target,
		    refine_name(g));
	}
	if (g->hqq && q->scheme != QUANT_AFFINE) {
		err_set(err, PARE_EUSER, "method: hqq moves the minimum of "
		    "affine codes, and scheme=%s has none",
		    arg_choice(q->in->args, "scheme"));
		return err_hint(err, "leave scheme= out");
	}
	if (q->floats && refine_asked(g)) {
		err_set(err, PARE_EUSER, "scheme: gobo does not go together "
		    "with %s", refine_name(g));
		return err_hint(err, "quantize %s bits=3 scheme=gobo",
		    q->what.target);
	}
	if (g->awq && table) {
		err_set(err, PARE_EUSER, "method: awq is for codes on an even "
		    "grid: scheme=symmetric or affine");
		return err_hint(err, "quantize %s bits=4 method=awq",
		    q->what.target);
	}
	if (g->clip && (table || g->hqq)) {
		err_set(err, PARE_EUSER, "clip: ranges are those of "
		    "scheme=symmetric and affine, rounded or by gptq");
		return err_hint(err, "quantize %s bits=4 clip=mse",
		    q->what.target);
	}
	if (g->weigh != REFINE_NONE && q->scheme != QUANT_KMEANS &&
	    (g->weigh != REFINE_INPUTS || g->residual == 0)) {
		err_set(err, PARE_EUSER, "weigh: means are those of "
		    "scheme=kmeans");
		return err_hint(err, "quantize %s bits=3 scheme=kmeans "
		    "weigh=inputs", q->what.target);
	}
	if (estimate || refine_needs(g) == 0)
		return PARE_OK;
	return inputs_check(q->in, refine_name(g), err);
}

/* What a cast does not take. */
static enum pare_rc
check_cast(struct quant *q, struct pare_err *err)
{
	const struct arg_list *a = q->in->args;
	const char *odd = arg_get(a, "scheme")->set ? "scheme" :
	    arg_get(a, "group")->set ? "group" : NULL;

	q->cast = strcmp(arg_choice(a, "float"), "bf16") == 0 ? FORM_BF16 :
	    FORM_F16;
	if (odd == NULL)
		return PARE_OK;
	err_set(err, PARE_EUSER, "%s: bits=16 is a cast to float and has no %s",
	    odd, odd);
	return err_hint(err, "quantize %s bits=16 float=bf16, or bits=8",
	    q->what.target);
}

static enum pare_rc
read_numbers(struct quant *q, struct pare_err *err)
{
	const struct arg_list *a = q->in->args;

	q->bits = (int)arg_int(a, "bits");
	q->floats = is(a, "scheme", "gobo");
	q->scheme = q->floats ? QUANT_KMEANS :
	    (enum quant_scheme)arg_get(a, "scheme")->i;
	read_refine(a, &q->refine);
	q->refine.in = q->in;
	if (q->refine.hqq && !arg_get(a, "scheme")->set)
		q->scheme = QUANT_AFFINE;
	q->act = strcmp(arg_choice(a, "activations"), "int8") == 0 ? 8 : 0;
	if (q->bits > 8 && q->bits != 16) {
		err_set(err, PARE_EUSER,
		    "bits: %d is not 1 to 8 (codes) or 16 (float)", q->bits);
		return err_hint(err, "bits=8 or bits=16");
	}
	if (q->bits == 16)
		return check_cast(q, err);
	if (arg_get(a, "float")->set) {
		err_set(err, PARE_EUSER,
		    "float: says which 16-bit format and needs bits=16");
		return err_hint(err, "quantize %s bits=16 float=%s",
		    q->what.target, arg_choice(a, "float"));
	}
	if (q->scheme == QUANT_BINARY && arg_get(a, "bits")->set &&
	    q->bits != 1) {
		err_set(err, PARE_EUSER, "bits: scheme=binary has two values "
		    "and so 1 bit, not %d", q->bits);
		return err_hint(err, "leave bits out, or use scheme=kmeans");
	}
	if (q->scheme == QUANT_BINARY)
		q->bits = 1;
	return read_group(q, err);
}

/* Matrices, or with bits=16 the vectors when the line names nothing else. */
static enum pare_rc
list_slots(struct quant *q, struct pare_err *err)
{
	const struct model *m = q->in->model;

	ops_slots_of(m, &q->what.sel, OPS_MATRICES, &q->slots);
	if (q->slots.n == 0 && q->bits == 16) {
		ops_slots_free(&q->slots);
		ops_slots_of(m, &q->what.sel, OPS_VECTORS, &q->slots);
	}
	if (q->slots.n > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "target: '%s' has no matrices; biases and "
	    "norms stay float", q->what.target);
	return err_hint(err, "name matrices as L0.q, L*.ffn, emb.word, or use "
	    "bits=16");
}

static enum pare_rc
decide(struct quant *q, bool estimate, struct pare_err *err)
{
	enum pare_rc rc = ops_what_read(q->in, &q->what, err);

	if (rc == PARE_OK)
		rc = read_numbers(q, err);
	if (rc == PARE_OK)
		rc = check_refine(q, estimate, err);
	if (rc == PARE_OK)
		rc = list_slots(q, err);
	for (int i = 0; i < q->slots.n && rc == PARE_OK; i++) {
		const struct tensor *t = model_slot(q->in->model,
		    q->slots.ref[i]);

		if (q->bits != 16)
			rc = check_group(q, t, q->slots.ref[i], err);
		if (rc == PARE_OK)
			rc = check_residual(q, t, q->slots.ref[i], err);
	}
	return rc;
}

/* Whether the slot gets codes with scales of awq; *index is its place in the
 * list. */
static bool
will_scale(struct quant *q, struct edit *e, struct slot_ref ref, int *index)
{
	const struct tensor *t = edit_get(e, ref);
	struct tensor *ghost;
	struct pare_err no;
	bool stays;

	for (*index = 0; *index < q->slots.n; ++*index)
		if (q->slots.ref[*index].layer == ref.layer &&
		    q->slots.ref[*index].slot == ref.slot)
			break;
	if (*index == q->slots.n || !refine_scales(&q->refine, t) ||
	    would_stay(q, t, &stays, &ghost, &no) != PARE_OK)
		return false;
	tensor_unref(ghost);
	return !stays;
}

/* Codes all that reads one input, if scales can go into what makes it: a matrix
 * has to be float32 for that, or be coded afterwards. */
static enum pare_rc
fold_one(struct quant *q, struct edit *e, const struct fold *f, bool *done,
    struct pare_err *err)
{
	const struct tensor *t = edit_get(e, f->source);
	struct quant_spec spec;
	int index[FOLD_USERS], at;
	enum pare_rc rc;

	*done = false;
	if (slot_table[f->source.slot].matrix && t->form != FORM_F32 &&
	    !will_scale(q, e, f->source, &at))
		return PARE_OK;
	for (int i = 0; i < f->n; i++)
		if (!will_scale(q, e, f->user[i], &index[i]))
			return PARE_OK;
	spec = spec_for(q, edit_get(e, f->user[0]));
	rc = refine_fold(&q->refine, e, f, &spec, err);
	for (int i = 0; i < f->n && rc == PARE_OK; i++)
		q->folded[index[i]] = *done = true;
	return rc;
}

/* Before the others are coded. What reads v and up comes first, for that moves
 * their rows. With a residual scales stay beside the codes: both are what the
 * matrix lacks, and are weighed by the inputs that the samples gave. */
static enum pare_rc
fold_layers(struct quant *q, struct edit *e, struct pare_err *err)
{
	static const enum engine_place order[] = { ENGINE_SEES_OUTPUT,
		ENGINE_SEES_DOWN, ENGINE_SEES_QKV, ENGINE_SEES_FFN };
	const struct model *m = q->in->model;
	enum pare_rc rc = PARE_OK;
	struct fold f;
	bool done;
	int n = 0;

	q->folded = xcalloc((size_t)q->slots.n, sizeof *q->folded);
	if (q->refine.residual > 0)
		return PARE_OK;
	for (int i = 0; i < 4 * m->nlayers && rc == PARE_OK; i++) {
		if (!task_tick(q->in->task, n, q->slots.n, "matrices"))
			return task_error(err);
		if (!fold_find(m, i % m->nlayers, order[i / m->nlayers], &f))
			continue;
		rc = fold_one(q, e, &f, &done, err);
		n += done ? f.n : 0;
	}
	return rc;
}

static enum pare_rc
map_slot(struct quant *q, struct edit *e, int i, struct pare_err *err)
{
	struct slot_ref ref = q->slots.ref[i];
	const struct tensor *was = model_slot(q->in->model, ref);
	enum pare_rc rc;
	char path[64];

	if (q->folded != NULL && q->folded[i])
		return refine_bias(&q->refine, e, ref, was, err);
	rc = edit_map(e, ref, 0, quantize_one, q, err);
	model_slot_path(ref, path, sizeof path);
	if (rc == PARE_EUSER)
		return err_prefix(err, "%s", path);
	if (rc == PARE_OK)
		rc = refine_bias(&q->refine, e, ref, was, err);
	if (rc != PARE_OK || q->slots.first[i] != i)
		return rc;
	if (edit_get(e, ref) != was) {
		if (has_codes(q, was))
			q->other++;
		else if (opens(q, was))
			q->opened++;
		else
			q->twice += is_coded(was);
		return PARE_OK;
	}
	if (q->kept++ == 0)
		memcpy(q->first_kept, path, sizeof path);
	return PARE_OK;
}

static enum pare_rc
check_change(const struct quant *q, struct str *note, struct pare_err *err)
{
	int distinct = 0;

	for (int i = 0; i < q->slots.n; i++)
		distinct += q->slots.first[i] == i;
	if (q->kept == distinct) {
		err_set(err, PARE_EUSER, "target: nothing in '%s' would get "
		    "smaller: it takes as few bytes already",
		    q->what.target);
		return err_hint(err, "use fewer bits or larger groups; more "
		    "bits cannot bring back what rounding took");
	}
	if (q->kept > 0)
		ops_note(note, "%d of %d matrices (%s%s) stay as they are: "
		    "they would not get smaller", q->kept, distinct,
		    q->first_kept, q->kept > 1 ? ", ..." : "");
	if (q->other > 0)
		ops_note(note, "%d matrices keep their codes and are "
		    "multiplied with %s activations", q->other,
		    q->act == 8 ? "int8" : "float");
	if (q->opened > 0)
		ops_note(note, "%d matrices were blocks of a GGUF file and are "
		    "floats now: they grow", q->opened);
	if (q->twice > 0)
		ops_note(note, "%d matrices were packed before and are rounded "
		    "a second time", q->twice);
	return PARE_OK;
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct quant q = { .in = in };
	enum pare_rc rc = decide(&q, e->ctx.estimate, err);

	if (rc == PARE_OK && q.refine.awq)
		rc = fold_layers(&q, e, err);
	for (int i = 0; i < q.slots.n && rc == PARE_OK; i++) {
		if (!task_tick(in->task, i, q.slots.n, "matrices"))
			rc = task_error(err);
		else
			rc = map_slot(&q, e, i, err);
	}
	if (rc == PARE_OK)
		rc = check_change(&q, note, err);
	if (rc == PARE_OK && !e->ctx.estimate && q.floats)
		gobo_note(&q.gobo, note);
	if (rc == PARE_OK && !e->ctx.estimate && refine_asked(&q.refine))
		rc = refine_note(&q.refine, note, err);
	if (rc == PARE_OK)
		ops_note_unshared(e, note);
	refine_free(&q.refine);
	free(q.folded);
	ops_what_free(&q.what);
	ops_slots_free(&q.slots);
	return rc;
}

/* In the order of enum quant_scheme; gobo is kmeans and more. */
static const char *const scheme[] = { "symmetric", "affine", "kmeans",
    "binary", "gobo", NULL };
static const char *const method[] = { "rtn", "gptq", "awq", "hqq", NULL };
static const char *const clip[] = { "none", "mse", NULL };
/* In the order of enum refine_weigh. */
static const char *const weigh[] = { "none", "inputs", "fisher", NULL };
static const char *const bias[] = { "keep", "correct", NULL };

static unsigned
needs(const struct arg_list *args_of)
{
	struct refine g = { 0 };

	read_refine(args_of, &g);
	return refine_needs(&g);
}

static const char *const floats[] = { "f16", "bf16", NULL };
static const char *const activations[] = { "int8", "float", NULL };

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT | ARG_REQUIRED,
	    .text = "matrices (L*.ffn, emb.word), or `all` of them" },
	{ .name = "bits", .type = ARG_INT, .min = 1, .max = 16, .dflt = "8",
	    .unit = "bits", .text = "1 to 8 for codes, 16 for half precision" },
	{ .name = "group", .type = ARG_TEXT,
	    .text = "weights that share a scale: row, matrix, or N columns; "
	    "row without it, matrix for kmeans and binary" },
	{ .name = "scheme", .type = ARG_CHOICE, .dflt = "symmetric",
	    .choices = scheme, .text = "which values the codes stand for" },
	{ .name = "method", .type = ARG_CHOICE, .dflt = "rtn",
	    .choices = method, .text = "how values are rounded" },
	{ .name = "clip", .type = ARG_CHOICE, .dflt = "none",
	    .choices = clip, .text = "the range of codes is that of the "
	    "weights, or cut where that costs the outputs least" },
	{ .name = "weigh", .type = ARG_CHOICE, .dflt = "none",
	    .choices = weigh, .text = "what counts for the means of kmeans: "
	    "each weight alike, or by its input, or by the loss; inputs for "
	    "residual= too" },
	{ .name = "residual", .type = ARG_INT, .min = 1, .max = 1000000,
	    .text = "the rank of a product of two thin matrices that makes up "
	    "for part of what the codes lose" },
	{ .name = "bias", .type = ARG_CHOICE, .dflt = "keep",
	    .choices = bias, .text = "biases stay, or make up for the mean of "
	    "what outputs lose" },
	{ .name = "activations", .type = ARG_CHOICE, .dflt = "int8",
	    .choices = activations, .text = "what the codes are multiplied "
	    "with: int8 is faster, float exact; nothing with bits=16" },
	{ .name = "float", .type = ARG_CHOICE, .dflt = "f16",
	    .choices = floats, .text = "the format of bits=16" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"quantize all",
	"quantize L*.ffn bits=4 group=8",
	"quantize L* bits=3 scheme=kmeans",
	"quantize all bits=16 float=bf16",
	NULL
};

const struct op op_quantize = {
	.verb = "quantize",
	.method = NULL,
	.title = "Quantize",
	.help = "Store matrices with 1 to 8 bits a weight, or as 16-bit "
	    "floats.\n"
	    "symmetric: w = step * code, step = max|w| / (2^(bits-1) - 1). "
	    "affine: w = min + step * code, step = (max - min) / (2^bits - 1). "
	    "kmeans: each weight becomes the nearest of 2^bits means. binary: "
	    "one of two means. gobo: as kmeans, but weights beyond 3.29 "
	    "deviations stay floats beside the codes. Each row has its own step unless group says "
	    "otherwise.\n"
	    "method=rtn rounds each weight to the nearest value. method=gptq "
	    "lets the weights still to be coded make up for those that are, "
	    "columns of the largest inputs first. method=awq "
	    "codes the weights of large inputs more finely: what multiplies "
	    "these goes into the norm before them, the rows of v or those of "
	    "up where that is exact and all that reads the input is coded by "
	    "the same line, and stays beside the codes as a scale for each "
	    "input where not (GELU, post-norm layers, shared weights). method=hqq moves the minimum "
	    "of affine codes so that a norm is low which outliers count little "
	    "in; it looks at no samples. clip=mse cuts the range of the codes, "
	    "weigh=inputs and weigh=fisher weigh the means of kmeans, each so "
	    "that what matters for the outputs (or the loss) is met best; "
	    "bias=correct adds the mean of what outputs lose to the bias. "
	    "These need calib samples, take each matrix by the inputs it has "
	    "now, and report the error of the outputs beside that of rounding "
	    "to nearest; a matrix that would be no better is left rounded.\n"
	    "residual=R adds to the codes Q of a matrix W the product of rank "
	    "R that is nearest to W - Q: by its squares, or, with "
	    "weigh=inputs or a method that looks at the samples, by what the "
	    "outputs lose. Its factors are 16-bit floats, R (rows + cols) of "
	    "them, and all is multiplied as it is stored; scales of awq stay "
	    "beside the codes then. It is worth most at few bits: quantize L* "
	    "bits=2 residual=8.\n"
	    "With activations=int8 the inputs of a product are rounded to int8 "
	    "as well, with a scale for each token, and multiplied in integer "
	    "arithmetic; tables are rounded to 8 bits there. "
	    "activations=float keeps them as they are, at about the speed of "
	    "float32. Sparse matrices are multiplied with floats in any case, "
	    "and bits=16 takes no notice of it.\n"
	    "Bytes shrink to about bits/32 of float32 plus the steps or "
	    "tables, and the matrices stay packed while the model runs. "
	    "Parameters and multiply-adds stay what they were. Pruned weights "
	    "stay pruned. Embeddings are matrices and take part when named or "
	    "with `all`; biases and norms stay float (bits=16 casts them when "
	    "the target names nothing else). A matrix that would grow is left "
	    "as it is. Factorize before quantizing.\n"
	    "Matrices of a GGUF file stay in its blocks until an op needs "
	    "single weights; bits=16 makes floats of them, for that.",
	.examples = examples,
	.args = args,
	.flags = 0,
	.run = run,
	.needs = needs
};
