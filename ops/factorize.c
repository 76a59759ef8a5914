/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * factorize: a matrix as the product of two thin ones.
 *
 * The truncated SVD is the nearest matrix of its rank in the L2 sense (Eckart
 * and Young 1936). rank=k says it outright; energy=F takes the smallest k for
 * which the first k squared singular values add up to F of all; ratio=F the
 * largest k for which k (rows + cols) is at most F rows cols. It pays below the
 * break-even rank rows cols / (rows + cols) only.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "ops/common.h"
#include "ops/table.h"

struct factor {
	const struct op_input *in;
	struct ops_what what;
	struct ops_slots slots;
	int64_t *rank;		/* per slot; 0: left as it is */
	bool force;
	int used, left;
	char first_left[64];
	struct pare_err why;	/* of the first that was left */
};

static enum pare_rc
read_size(const struct factor *f, struct pare_err *err)
{
	const struct arg_list *a = f->in->args;
	int given = arg_get(a, "rank")->has + arg_get(a, "energy")->has +
	    arg_get(a, "ratio")->has;

	if (given == 1)
		return PARE_OK;
	err_set(err, PARE_EUSER, given == 0 ?
	    "rank: missing: give one of rank=, energy=, ratio=" :
	    "rank, energy, ratio: give one of them, not %d", given);
	return err_hint(err, "factorize %s ratio=50%%", f->what.target);
}

/* What the form of a matrix has against it; PARE_OK: nothing. */
static enum pare_rc
check_form(const struct tensor *t, const char *path, struct pare_err *err)
{
	if (t->form == FORM_LOWRANK) {
		err_set(err, PARE_EUSER, "%s is low rank already (%lld)", path,
		    (long long)tensor_rank(t));
		return err_hint(err, "undo, then factorize with the rank you "
		    "want");
	}
	if (t->form == FORM_BITMAP || t->form == FORM_INDEX) {
		err_set(err, PARE_EUSER, "%s is sparse: its factors would be "
		    "dense again", path);
		return err_hint(err, "factorize first; single weights of a "
		    "product cannot be pruned");
	}
	if (t->form == FORM_INT || t->form == FORM_TABLE) {
		err_set(err, PARE_EUSER, "%s is packed", path);
		return err_hint(err, "factorize before quantizing: undo, "
		    "factorize, then quantize the factors");
	}
	if (t->form == FORM_BLOCK) {
		err_set(err, PARE_EUSER, "%s lies in blocks of a GGUF file",
		    path);
		return err_hint(err, "make it floats before: quantize all "
		    "bits=16");
	}
	return PARE_OK;
}

/* The smallest k that keeps `energy` of the squared spectrum. */
static enum pare_rc
rank_of_energy(const struct factor *f, const struct tensor *t, double energy,
    int64_t *rank, struct pare_err *err)
{
	double total = 0, sum = 0;
	enum pare_rc rc;
	float *s;
	int64_t n;

	rc = tensor_spectrum(t, &s, &n, f->in->task, err);
	if (rc != PARE_OK)
		return rc;
	for (int64_t i = 0; i < n; i++)
		total += (double)s[i] * s[i];
	*rank = 0;
	while (*rank < n && (*rank == 0 || sum < energy * total)) {
		sum += (double)s[*rank] * s[*rank];
		++*rank;
	}
	free(s);
	return PARE_OK;
}

static enum pare_rc
find_rank(const struct factor *f, const struct tensor *t, int64_t *rank,
    struct pare_err *err)
{
	const struct arg_list *a = f->in->args;
	double full = (double)t->rows * (double)t->cols;

	if (arg_get(a, "rank")->has) {
		*rank = arg_int(a, "rank");
	} else if (arg_get(a, "ratio")->has) {
		*rank = (int64_t)(arg_real(a, "ratio") * full /
		    (double)(t->rows + t->cols));
		*rank = *rank < 1 ? 1 : *rank;
	} else if (t->ghost) {
		err_set(err, PARE_EUSER, "energy: needs the singular values, "
		    "and this model is a configuration alone");
		return err_hint(err, "use rank= or ratio=");
	} else {
		return rank_of_energy(f, t, arg_real(a, "energy"), rank, err);
	}
	return PARE_OK;
}

static enum pare_rc
check_rank(const struct factor *f, const struct tensor *t, int64_t rank,
    const char *path, struct pare_err *err)
{
	int64_t least = t->rows < t->cols ? t->rows : t->cols;
	int64_t even = tensor_break_even_rank(t);

	if (rank > least) {
		err_set(err, PARE_EUSER, "rank: %lld is more than %s (%lld x "
		    "%lld) can have", (long long)rank, path,
		    (long long)t->rows, (long long)t->cols);
		return err_hint(err, "at most rank=%lld; smaller below %lld",
		    (long long)least, (long long)even + 1);
	}
	if (rank <= even || f->force)
		return PARE_OK;
	err_set(err, PARE_EUSER, "rank: %s would grow at rank %lld; the last "
	    "rank that saves is %lld", path, (long long)rank, (long long)even);
	if (even < 1)
		return err_hint(err, "leave %s out: no rank makes it smaller",
		    path);
	return err_hint(err, "rank=%lld or less, or force=on",
	    (long long)even);
}

/* Decides slot i. With `all`, what cannot be factorized is left as it is. */
static enum pare_rc
decide_slot(struct factor *f, int i, struct pare_err *err)
{
	const struct tensor *t = model_slot(f->in->model, f->slots.ref[i]);
	struct pare_err why = { 0 };
	enum pare_rc rc;
	char path[64];

	if (f->slots.first[i] != i) {
		f->rank[i] = f->rank[f->slots.first[i]];
		return PARE_OK;
	}
	model_slot_path(f->slots.ref[i], path, sizeof path);
	if ((rc = check_form(t, path, &why)) == PARE_OK &&
	    (rc = find_rank(f, t, &f->rank[i], &why)) == PARE_OK)
		rc = check_rank(f, t, f->rank[i], path, &why);
	if (rc == PARE_OK) {
		f->used++;
		return PARE_OK;
	}
	if (rc == PARE_EUSER && f->what.sel.all) {
		f->rank[i] = 0;
		if (f->left++ == 0) {
			memcpy(f->first_left, path, sizeof path);
			f->why = why;
		}
		return PARE_OK;
	}
	*err = why;
	return rc;
}

static enum pare_rc
decide(struct factor *f, struct pare_err *err)
{
	enum pare_rc rc = ops_what_read(f->in, &f->what, err);

	f->force = arg_get(f->in->args, "force")->i != 0;
	if (rc == PARE_OK)
		rc = read_size(f, err);
	if (rc != PARE_OK)
		return rc;
	ops_slots_of(f->in->model, &f->what.sel, OPS_MATRICES, &f->slots);
	f->rank = xcalloc((size_t)f->slots.n + 1, sizeof *f->rank);
	if (f->slots.n == 0) {
		err_set(err, PARE_EUSER, "target: '%s' has no matrices",
		    f->what.target);
		return err_hint(err, "name matrices as L0.q, L*.ffn, emb.word");
	}
	for (int i = 0; i < f->slots.n && rc == PARE_OK; i++) {
		if (!task_tick(f->in->task, i, 2.0 * f->slots.n, "matrices"))
			rc = task_error(err);
		else
			rc = decide_slot(f, i, err);
	}
	if (rc == PARE_OK && f->used == 0) {
		*err = f->why;
		rc = PARE_EUSER;
	}
	return rc;
}

static struct tensor *
factorize_one(const struct tensor *t, void *arg,
    const struct transform_ctx *ctx, struct pare_err *err)
{
	return tensor_factorize(t, *(const int64_t *)arg, ctx, err);
}

static enum pare_rc
map_slots(struct factor *f, struct edit *e, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < f->slots.n && rc == PARE_OK; i++) {
		if (!task_tick(f->in->task, i + f->slots.n, 2.0 * f->slots.n,
		    "matrices"))
			return task_error(err);
		if (f->rank[i] == 0)
			continue;
		rc = edit_map(e, f->slots.ref[i], (uint64_t)f->rank[i],
		    factorize_one, &f->rank[i], err);
	}
	return rc;
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct factor f = { .in = in };
	enum pare_rc rc = decide(&f, err);

	if (rc == PARE_OK)
		rc = map_slots(&f, e, err);
	if (rc == PARE_OK && f.left > 0)
		ops_note(note, "%d of %d matrices (%s%s) stay as they are: "
		    "they cannot be factorized or would grow", f.left,
		    f.left + f.used, f.first_left, f.left > 1 ? ", ..." : "");
	if (rc == PARE_OK)
		ops_note_unshared(e, note);
	ops_what_free(&f.what);
	ops_slots_free(&f.slots);
	free(f.rank);
	return rc;
}

static const char *const method[] = { "svd", NULL };

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT | ARG_REQUIRED,
	    .text = "matrices (L*.ffn, emb.word), or `all` that get smaller" },
	{ .name = "rank", .type = ARG_INT, .min = 1, .max = 1000000,
	    .text = "inner size of the product" },
	{ .name = "energy", .type = ARG_REAL, .min = 0.001, .max = 1,
	    .text = "share of the squared singular values to keep" },
	{ .name = "ratio", .type = ARG_REAL, .min = 0.001, .max = 1,
	    .text = "share of the parameters to keep" },
	{ .name = "method", .type = ARG_CHOICE, .dflt = "svd",
	    .choices = method, .text = "how the factors are found" },
	{ .name = "force", .type = ARG_BOOL, .dflt = "off",
	    .text = "also where the product is larger than the matrix" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"factorize L*.ffn ratio=50%",
	"factorize emb.word rank=2",
	"factorize all ratio=0.6",
	NULL
};

const struct op op_factorize = {
	.verb = "factorize",
	.method = NULL,
	.title = "Factorize (low rank)",
	.help = "Replace a matrix by the product of two thin ones.\n"
	    "W (rows x cols) becomes A (rows x k) times B (k x cols), from the "
	    "SVD W = U S V: A = U sqrt(S), B = sqrt(S) V cut to the first k, "
	    "the nearest there is of rank k. Give k as rank=, as energy= (the "
	    "share of the squared singular values that stays) or as ratio= "
	    "(the share of the parameters that stays).\n"
	    "Parameters, bytes and multiply-adds become k (rows + cols); above "
	    "the break-even rank rows cols / (rows + cols) they would grow, "
	    "which is refused unless force=on. The word embedding becomes "
	    "V x E and E x H, and a decoder tied to it stays tied. Factorize "
	    "before quantizing; pruned (sparse) matrices cannot be factorized.",
	.examples = examples,
	.args = args,
	.flags = 0,
	.run = run
};
