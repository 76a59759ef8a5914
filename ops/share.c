/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * share: one tensor in several places (Lan et al., "ALBERT", ICLR 2020, shares
 * all layers; Dehghani et al., "Universal Transformers", ICLR 2019).
 *
 * Sharing is two slots that name one tensor, so it costs nothing to run and the
 * bytes are really gone. A head is no tensor but rows and columns of four; two
 * heads of one layer are shared by folding: with the same queries, keys and
 * values both heads see the same z, and O1 z + O2 z = (O1 + O2) z, so one head
 * with the sum of the output columns does what the two would. Heads of unlike
 * layers cannot share storage; their rows are copied.
 *
 * Where query heads share KV heads, a head stands for its group: groups are
 * folded or copied query by query. Two heads of one group differ by their
 * queries alone, which are copied.
 *
 * With difference=R a matrix W that gets the place of another keeps of W - B, B
 * what is shared, the nearest of rank R beside B (tensor_amend()); biases and
 * norms, which are small, stay as they are then.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/common.h"
#include "ops/share_cost.h"
#include "ops/table.h"
#include "ops/weighing.h"

enum share_part { PART_OF_ALL, PART_OF_ATTENTION, PART_OF_FFN };
enum { TO_FIRST = -1, TO_MEAN = -2 };

struct share {
	const struct op_input *in;
	const struct model *m;
	struct edit *e;
	struct ops_what what;
	uint32_t slots;		/* of a layer, by part */
	int *layer;		/* the layers to tie, ascending */
	int n;
	int to;			/* a layer, TO_FIRST or TO_MEAN */
	int64_t rank;		/* of what stays each one's own; 0: none */
	bool weigh;		/* by the inputs */
	/* Squared errors of matrices that have a difference: shared alone, with
	 * it, and the squares themselves. */
	double alone, now, energy;
	int differ, unseen;
};

static uint32_t
part_slots(enum share_part p)
{
	return p == PART_OF_ATTENTION ? OPS_ATTENTION_SLOTS :
	    p == PART_OF_FFN ? OPS_FFN_SLOTS :
	    OPS_BIT(SLOT_LAYER_COUNT) - 1;
}

/* ---- layers ---- */

/* What makes two layers unlike in the slots that shall be shared. */
static enum pare_rc
check_alike(const struct share *j, int a, int b, struct pare_err *err)
{
	const struct layer *x = &j->m->layer[a], *y = &j->m->layer[b];
	bool attention = (j->slots & OPS_BIT(SLOT_Q_W)) != 0;
	bool ffn = (j->slots & OPS_BIT(SLOT_UP_W)) != 0;

	if (attention && (x->heads != y->heads || x->kv_heads != y->kv_heads ||
	    x->head_dim != y->head_dim)) {
		int more = x->heads > y->heads ? a : b;
		int d = abs(x->heads - y->heads);

		err_set(err, PARE_EUSER, "target: L%d has %d heads and L%d has "
		    "%d: unlike layers cannot share", a, x->heads, b,
		    y->heads);
		if (x->heads == 0 || y->heads == 0)
			return err_hint(err, "prune attention L%d makes them "
			    "alike; part=ffn leaves attention out", more);
		return err_hint(err, "prune heads %d L%d makes them alike; "
		    "part=ffn leaves attention out", d, more);
	}
	if (ffn && x->ffn != y->ffn) {
		int more = x->ffn > y->ffn ? a : b;
		long long d = llabs((long long)(x->ffn - y->ffn));

		err_set(err, PARE_EUSER, "target: the FFN of L%d is %lld wide "
		    "and that of L%d %lld: unlike layers cannot share", a,
		    (long long)x->ffn, b, (long long)y->ffn);
		if (x->ffn == 0 || y->ffn == 0)
			return err_hint(err, "prune ffn L%d makes them alike; "
			    "part=attention leaves the FFN out", more);
		return err_hint(err, "prune neurons %lld L%d makes them alike; "
		    "part=attention leaves the FFN out", d, more);
	}
	return PARE_OK;
}

/* The mean of a slot over the layers of a group, as a new reference. */
static enum pare_rc
mean_of(const struct share *j, int slot, const int *layer, int n,
    struct tensor **out, struct pare_err *err)
{
	const struct tensor **t = xcalloc((size_t)n, sizeof *t);
	char path[64];
	bool same = true, packed = false, blocks = false;

	*out = NULL;
	for (int i = 0; i < n; i++) {
		t[i] = j->m->layer[layer[i]].t[slot];
		same = same && t[i] == t[0];
		blocks = blocks || t[i]->form == FORM_BLOCK;
		packed = packed || (t[i]->form != FORM_F32 &&
		    t[i]->form != FORM_F16 && t[i]->form != FORM_BF16);
	}
	if (same) {
		*out = tensor_ref(t[0]);
	} else if (packed) {
		model_slot_path((struct slot_ref){ layer[0], (enum slot)slot },
		    path, sizeof path);
		err_set(err, PARE_EUSER, "to: the mean of packed or sparse "
		    "matrices (%s) would be unpacked", path);
		err_hint(err, "share first, then compress; or to=first%s",
		    blocks ? "; quantize all bits=16 makes blocks floats" :
		    "");
	} else {
		struct tensor *mean = tensor_mean(t, n, &j->e->ctx, err);

		if (mean != NULL && t[0]->form != FORM_F32) {
			*out = tensor_cast(mean, t[0]->form, &j->e->ctx, err);
			tensor_unref(mean);
		} else {
			*out = mean;
		}
	}
	free(t);
	return *out != NULL ? PARE_OK : err->rc;
}

/* ---- differences ---- */

static enum pare_rc
check_differ(const struct share *j, const struct tensor *t,
    struct pare_err *err)
{
	int64_t least = t->rows < t->cols ? t->rows : t->cols;

	if (j->rank >= least) {
		err_set(err, PARE_EUSER, "difference: rank %lld of %lld x %lld "
		    "is all there is", (long long)j->rank, (long long)t->rows,
		    (long long)t->cols);
		return err_hint(err, "at most difference=%lld",
		    (long long)least - 1);
	}
	if (2 * j->rank * (t->rows + t->cols) < tensor_bytes(t))
		return PARE_OK;
	err_set(err, PARE_EUSER, "difference: rank %lld takes as many bytes as "
	    "the weights themselves", (long long)j->rank);
	return err_hint(err, "a smaller rank, or leave it unshared");
}

/* Adds what t loses by base alone and by made. */
static enum pare_rc
tally(struct share *j, const struct inputs *x, const struct tensor *t,
    const struct tensor *base, const struct tensor *made,
    struct pare_err *err)
{
	struct task *task = j->e->ctx.task;
	double alone, now, energy;
	enum pare_rc rc;

	rc = inputs_change(x, t, base, task, &alone, err);
	if (rc == PARE_OK)
		rc = inputs_change(x, t, made, task, &now, err);
	if (rc == PARE_OK)
		rc = inputs_change(x, t, NULL, task, &energy, err);
	if (rc != PARE_OK)
		return rc;
	j->alone += alone;
	j->now += now;
	j->energy += energy;
	j->differ++;
	return PARE_OK;
}

/* base and what t has beside it, as a new reference; NULL with *err. */
static struct tensor *
make_differ(struct share *j, const struct tensor *t,
    const struct tensor *base, struct pare_err *err)
{
	bool real = !j->e->ctx.estimate && !t->ghost && !base->ghost;
	struct tensor *made;
	struct weighing by;

	if (check_differ(j, t, err) != PARE_OK || weighing_of(j->in, t,
	    j->weigh && real ? WEIGHING_WHITENED : WEIGHING_SVD, &by, err) !=
	    PARE_OK)
		return NULL;
	by.inputs.cols = t->cols;
	made = tensor_amend(base, t, j->rank, weighing_by(&by), &j->e->ctx,
	    err);
	/* Squares of weights and of outputs do not add up. */
	j->unseen += j->weigh && real && by.inputs.h == NULL;
	if (made != NULL && real && j->weigh == (by.inputs.h != NULL) &&
	    tally(j, &by.inputs, t, base, made, err) != PARE_OK) {
		tensor_unref(made);
		made = NULL;
	}
	weighing_free(&by);
	return made;
}

/* Puts base into ref: all of it, or below what is its own. */
static enum pare_rc
put_shared(struct share *j, struct slot_ref ref, const struct tensor *base,
    struct pare_err *err)
{
	const struct tensor *own = model_slot(j->m, ref);
	struct tensor *made;
	char path[64];

	if (j->rank == 0 || own == base) {
		edit_set(j->e, ref, tensor_ref(base));
		return PARE_OK;
	}
	if (!slot_table[ref.slot].matrix)
		return PARE_OK;
	made = make_differ(j, own, base, err);
	if (made != NULL) {
		edit_set(j->e, ref, made);
		return PARE_OK;
	}
	model_slot_path(ref, path, sizeof path);
	return err->rc == PARE_EUSER ? err_prefix(err, "%s", path) : err->rc;
}

static void
note_differ(const struct share *j, struct str *note)
{
	if (j->energy > 0)
		ops_note(note, "%s error of %d matrices %.3g %% with shared "
		    "weights alone, %.3g %% with rank %lld of their own",
		    j->weigh ? "output" : "squared", j->differ,
		    100 * j->alone / j->energy, 100 * j->now / j->energy,
		    (long long)j->rank);
	if (j->unseen > 0)
		ops_note(note, "weigh=inputs did nothing for %d matrices: the "
		    "calib samples say nothing of them", j->unseen);
}

/* ---- layers that share ---- */

/* Ties slot s of the layers of one group. */
static enum pare_rc
tie_slot(struct share *j, int slot, const int *layer, int n,
    struct pare_err *err)
{
	const struct layer *lead = &j->m->layer[j->to >= 0 ? j->to : layer[0]];
	enum pare_rc rc = PARE_OK;
	struct tensor *t;

	if (lead->t[slot] == NULL || (j->rank > 0 && !slot_table[slot].matrix))
		return PARE_OK;
	if (j->rank > 0 && !task_tick(j->in->task, slot, SLOT_LAYER_COUNT,
	    "matrices"))
		return task_error(err);
	if (j->to == TO_MEAN) {
		if ((rc = mean_of(j, slot, layer, n, &t, err)) != PARE_OK)
			return rc;
	} else {
		t = tensor_ref(lead->t[slot]);
	}
	for (int i = 0; i < n && rc == PARE_OK; i++)
		rc = put_shared(j, (struct slot_ref){ layer[i],
		    (enum slot)slot }, t, err);
	tensor_unref(t);
	return rc;
}

static enum pare_rc
tie_group(struct share *j, const int *layer, int n, struct pare_err *err)
{
	int lead = j->to >= 0 ? j->to : layer[0];
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < n && rc == PARE_OK; i++)
		rc = check_alike(j, lead, layer[i], err);
	for (int s = 0; s < SLOT_LAYER_COUNT && rc == PARE_OK; s++)
		if ((j->slots & OPS_BIT(s)) != 0)
			rc = tie_slot(j, s, layer, n, err);
	/* The heads that are there now are those of the lead. */
	for (int i = 0; i < n && rc == PARE_OK && j->rank == 0; i++)
		if ((j->slots & OPS_BIT(SLOT_Q_W)) != 0)
			j->e->m->layer[layer[i]].head =
			    j->m->layer[lead].head;
	return rc;
}

static enum pare_rc
tie_groups(struct share *j, int groups, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int g = 0; g < groups && rc == PARE_OK; g++) {
		int from = j->n * g / groups, end = j->n * (g + 1) / groups;

		if (!task_tick(j->in->task, g, groups, "groups"))
			return task_error(err);
		rc = tie_group(j, j->layer + from, end - from, err);
	}
	return rc;
}

/* to=first|mean|L3 */
static enum pare_rc
read_to(struct share *j, int groups, struct pare_err *err)
{
	const char *text = arg_text(j->in->args, "to");
	struct selection s;
	enum pare_rc rc;
	int found = 0;

	j->to = TO_FIRST;
	if (text == NULL || strcmp(text, "first") == 0)
		return PARE_OK;
	if (strcmp(text, "mean") == 0) {
		j->to = TO_MEAN;
		return PARE_OK;
	}
	if ((rc = select_parse(j->m, text, &s, err)) != PARE_OK)
		return err_prefix(err, "to");
	for (int l = 0; l < s.nlayers; l++)
		if (s.layer[l].whole) {
			j->to = l;
			found++;
		}
	select_free(&s);
	if (found != 1) {
		err_set(err, PARE_EUSER, "to: '%s' is not first, mean or one "
		    "layer", text);
		return err_hint(err, "to=first, to=mean, or to=L0");
	}
	if (groups > 1) {
		err_set(err, PARE_EUSER, "to: with groups=%d each group has "
		    "its own first layer or mean", groups);
		return err_hint(err, "leave groups out, or use to=first");
	}
	return PARE_OK;
}

/* Which part, from part= or from targets like L0-3.attn. */
static enum pare_rc
read_part(struct share *j, struct pare_err *err)
{
	const struct arg_value *part = arg_get(j->in->args, "part");
	bool whole = false, attention = false, ffn = false, other = false;

	for (int l = 0; l < j->m->nlayers; l++) {
		const struct select_layer *s = &j->what.sel.layer[l];

		whole = whole || s->whole;
		attention = attention || (s->attention && !s->whole);
		ffn = ffn || (s->ffn && !s->whole);
		other = other || (!s->whole && !s->attention && !s->ffn &&
		    (s->slots != 0 || head_set_count(&s->heads) > 0));
	}
	if (other || whole + attention + ffn > 1 ||
	    (!whole && part->set && part->i != PART_OF_ALL &&
	    part->i != (attention ? PART_OF_ATTENTION : PART_OF_FFN))) {
		err_set(err, PARE_EUSER, "part: '%s' names unlike parts of "
		    "layers", j->what.target);
		return err_hint(err, "share L0-1 part=attention, or share "
		    "L1.q to=L0.q");
	}
	j->slots = part_slots(attention ? PART_OF_ATTENTION :
	    ffn ? PART_OF_FFN : (enum share_part)part->i);
	return PARE_OK;
}

static enum pare_rc
list_layers(struct share *j, int groups, struct pare_err *err)
{
	const struct selection *s = &j->what.sel;

	j->layer = xcalloc((size_t)j->m->nlayers, sizeof *j->layer);
	for (int l = 0; l < j->m->nlayers; l++)
		if (s->layer[l].whole || s->layer[l].attention ||
		    s->layer[l].ffn)
			j->layer[j->n++] = l;
	if (j->n < 2 && j->to < 0) {
		err_set(err, PARE_EUSER, "target: one layer alone has nothing "
		    "to share with");
		return err_hint(err, "share L0-1, share L*, or share L1 to=L0");
	}
	if (groups > j->n) {
		err_set(err, PARE_EUSER, "groups: %d layers do not make %d "
		    "groups", j->n, groups);
		return err_hint(err, "groups=%d or less", j->n / 2);
	}
	return PARE_OK;
}

/* ---- groups of least cost ---- */

/* The layers that lead says go with number g, g first, into member. */
static int
members_of(const struct share *j, const int *lead, int g, int *member)
{
	int n = 0;

	member[n++] = j->layer[g];
	for (int a = 0; a < j->n; a++)
		if (lead[a] == g && a != g)
			member[n++] = j->layer[a];
	return n;
}

/* "L0-2 as L1; L3,5 as L5" of groups of more than one, and what they cost. */
static void
note_groups(const struct share *j, const int *lead, double sum, double plain,
    struct str *note)
{
	bool *mark = xcalloc((size_t)j->m->nlayers, sizeof *mark);
	int *member = xcalloc((size_t)j->n, sizeof *member);
	struct str text = STR_INIT;

	for (int g = 0; g < j->n; g++) {
		int n = members_of(j, lead, g, member);

		if (lead[g] != g || n < 2)
			continue;
		memset(mark, 0, (size_t)j->m->nlayers * sizeof *mark);
		for (int i = 0; i < n; i++)
			mark[member[i]] = true;
		str_add(&text, text.n > 0 ? "; " : "");
		ops_layers_text(mark, j->m->nlayers, &text);
		str_addf(&text, " as L%d", j->layer[g]);
	}
	ops_note(note, "%s", text.s);
	if (j->to == TO_MEAN)
		str_add(note, ", with the means of their weights");
	ops_note(note, "rise of the loss foretold %.3g; %.3g with runs of "
	    "neighbours", sum, plain);
	str_free(&text);
	free(member);
	free(mark);
}

static enum pare_rc
tie_leads(struct share *j, const int *lead, struct pare_err *err)
{
	int *member = xcalloc((size_t)j->n, sizeof *member), to = j->to;
	enum pare_rc rc = PARE_OK;

	for (int g = 0; g < j->n && rc == PARE_OK; g++) {
		int n = members_of(j, lead, g, member);

		if (lead[g] != g || n < 2)
			continue;
		j->to = to == TO_MEAN ? to : j->layer[g];
		rc = tie_group(j, member, n, err);
	}
	j->to = to;
	free(member);
	return rc;
}

/* by=cost: whose weights each takes follows from the calib samples. */
static enum pare_rc
share_by_cost(struct share *j, int groups, struct str *note,
    struct pare_err *err)
{
	size_t n = (size_t)j->n;
	double *cost, plain = 0, sum;
	int *lead;
	enum pare_rc rc;

	if (j->to >= 0 || arg_get(j->in->args, "to")->set) {
		if (j->to != TO_MEAN) {
			err_set(err, PARE_EUSER, "to: by=cost finds out whose "
			    "weights a group takes");
			return err_hint(err, "leave to out, or to=mean");
		}
	}
	if (j->in->calib == NULL || j->in->calib->statistics == NULL ||
	    j->in->calib->squares == NULL)
		return score_missing("by=cost", err);
	cost = xcalloc(n * n, sizeof *cost);
	lead = xcalloc(n, sizeof *lead);
	rc = share_cost_of(j->in, j->layer, j->n, j->slots, cost, err);
	if (rc == PARE_OK) {
		sum = share_cost_lead(cost, j->n, groups, lead);
		for (int g = 0; g < groups; g++)
			for (int a = j->n * g / groups;
			    a < j->n * (g + 1) / groups; a++)
				plain += cost[a * j->n + j->n * g / groups];
		rc = tie_leads(j, lead, err);
	}
	if (rc == PARE_OK)
		note_groups(j, lead, sum, plain, note);
	free(cost);
	free(lead);
	return rc;
}

static enum pare_rc
share_layers(struct share *j, struct str *note, struct pare_err *err)
{
	int groups = (int)arg_int(j->in->args, "groups");
	enum pare_rc rc;

	if ((rc = read_part(j, err)) != PARE_OK ||
	    (rc = read_to(j, groups, err)) != PARE_OK ||
	    (rc = list_layers(j, groups, err)) != PARE_OK)
		return rc;
	if (strcmp(arg_choice(j->in->args, "by"), "cost") == 0)
		return share_by_cost(j, groups, note, err);
	return tie_groups(j, groups, err);
}

/* ---- single matrices ---- */

static void
list_slots(const struct model *m, const struct selection *s,
    struct ops_slots *matrix, struct ops_slots *vector)
{
	ops_slots_of(m, s, OPS_MATRICES, matrix);
	ops_slots_of(m, s, OPS_VECTORS, vector);
}

/*
 * The source for slot ref: the same place of another layer, or the one source
 * there is.
 */
static bool
find_source(const struct ops_slots *from, struct slot_ref ref,
    struct slot_ref *out)
{
	int hits = 0;

	for (int i = 0; i < from->n; i++)
		if (from->ref[i].slot == ref.slot) {
			*out = from->ref[i];
			hits++;
		}
	if (hits == 0 && from->n == 1) {
		*out = from->ref[0];
		hits = 1;
	}
	return hits == 1;
}

static enum pare_rc
tie_one(struct share *j, struct slot_ref ref, struct slot_ref from,
    struct pare_err *err)
{
	const struct tensor *a = model_slot(j->m, ref);
	const struct tensor *b = model_slot(j->m, from);
	char to_path[64], from_path[64];

	if (a->rows == b->rows && a->cols == b->cols && a->ndim == b->ndim)
		return put_shared(j, ref, b, err);
	model_slot_path(ref, to_path, sizeof to_path);
	model_slot_path(from, from_path, sizeof from_path);
	err_set(err, PARE_EUSER, "to: %s is %lld x %lld and %s is %lld x %lld: "
	    "one tensor cannot be both", to_path, (long long)a->rows,
	    (long long)a->cols, from_path, (long long)b->rows,
	    (long long)b->cols);
	return err_hint(err, "prune heads or prune neurons makes layers alike");
}

/* Matrices each from its source; biases along with them where they fit. */
static enum pare_rc
tie_slots(struct share *j, const struct ops_slots *to,
    const struct ops_slots *from, bool must, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;
	struct slot_ref source;
	char path[64];

	for (int i = 0; i < to->n && rc == PARE_OK; i++) {
		if (!task_tick(j->in->task, i, to->n, "matrices"))
			return task_error(err);
		if (find_source(from, to->ref[i], &source)) {
			rc = tie_one(j, to->ref[i], source, err);
		} else if (must) {
			model_slot_path(to->ref[i], path, sizeof path);
			err_set(err, PARE_EUSER, "to: '%s' does not say which "
			    "tensor %s shall be", arg_text(j->in->args, "to"),
			    path);
			rc = err_hint(err, "name one source, as share L1.q "
			    "to=L0.q");
		}
	}
	return rc;
}

static enum pare_rc
share_slots(struct share *j, const struct selection *to, struct pare_err *err)
{
	struct ops_slots matrix, vector, from_matrix, from_vector;
	enum pare_rc rc;

	list_slots(j->m, &j->what.sel, &matrix, &vector);
	list_slots(j->m, to, &from_matrix, &from_vector);
	rc = tie_slots(j, &matrix, &from_matrix, true, err);
	if (rc == PARE_OK)
		rc = tie_slots(j, &vector, &from_vector, matrix.n == 0, err);
	ops_slots_free(&matrix);
	ops_slots_free(&vector);
	ops_slots_free(&from_matrix);
	ops_slots_free(&from_vector);
	return rc;
}

/* ---- heads ---- */

/* The one head a selection names; false when it is not one. */
static bool
one_head(const struct selection *s, int *layer, int *head)
{
	int n = 0;

	for (int l = 0; l < s->nlayers; l++)
		for (int h = 0; h < MODEL_HEADS_MAX; h++)
			if (head_set_has(&s->layer[l].heads, h)) {
				*layer = l;
				*head = h;
				n++;
			}
	return n == 1;
}

static bool
has_heads(const struct selection *s)
{
	for (int l = 0; l < s->nlayers; l++)
		if (head_set_count(&s->layer[l].heads) > 0)
			return true;
	return false;
}

/* Query heads a KV head serves. */
static int
head_share(const struct layer *y)
{
	return y->heads / y->kv_heads;
}

/* Which of the present heads h is. */
static int
head_position(const struct layer *y, int h)
{
	int position = 0;

	for (int i = 0; i < h; i++)
		position += head_set_has(&y->head, i);
	return position;
}

/* The original number of the head at a position. */
static int
head_number(const struct layer *y, int position)
{
	int h = 0;

	while (!head_set_has(&y->head, h) || position-- > 0)
		h++;
	return h;
}

static enum pare_rc
check_writable(const struct tensor *t, struct slot_ref ref,
    struct pare_err *err)
{
	char path[64];

	if (t->form == FORM_F32 || t->form == FORM_F16 || t->form == FORM_BF16)
		return PARE_OK;
	model_slot_path(ref, path, sizeof path);
	err_set(err, PARE_EUSER, "target: %s is packed, sparse or low rank: "
	    "its heads cannot be written one by one", path);
	return t->form == FORM_BLOCK ? err_hint(err, "make them floats before: "
	    "quantize all bits=16") :
	    err_hint(err, "share heads first, then compress");
}

/* An F32 copy to write to. */
static enum pare_rc
open_copy(const struct tensor *t, struct tensor **out, float **data,
    struct pare_err *err)
{
	*out = tensor_new_f32(t->ndim, t->rows, t->cols, data, err);
	if (*out == NULL)
		return PARE_ENOMEM;
	tensor_decode(t, 0, t->rows, *data);
	return PARE_OK;
}

/* Puts a filled copy in the place of slot ref, in the form that was there. */
static enum pare_rc
close_copy(struct share *j, struct slot_ref ref, struct tensor *t,
    struct pare_err *err)
{
	enum form_kind form = model_slot(j->m, ref)->form;
	struct transform_ctx real = { .seed = j->e->ctx.seed,
	    .task = j->e->ctx.task };
	struct tensor *out = t;

	if (form != FORM_F32) {
		out = tensor_cast(t, form, &real, err);
		tensor_unref(t);
		if (out == NULL)
			return err->rc;
	}
	edit_set(j->e, ref, out);
	return PARE_OK;
}

/* o[:, to] += o[:, from] for the heads of two groups, one after the other, then
 * the group `from` goes. */
static enum pare_rc
fold_group(struct share *j, int l, int from, int to, struct pare_err *err)
{
	struct slot_ref ref = { l, SLOT_O_W };
	const struct layer *y = &j->m->layer[l];
	const struct tensor *o = model_slot(j->m, ref);
	int64_t n = (int64_t)head_share(y) * y->head_dim;
	struct head_set drop = { { 0 } };
	enum pare_rc rc = check_writable(o, ref, err);
	struct tensor *t;
	float *v;

	if (rc == PARE_OK && !o->ghost) {
		if ((rc = open_copy(o, &t, &v, err)) != PARE_OK)
			return rc;
		for (int64_t r = 0; r < o->rows; r++)
			for (int64_t c = 0; c < n; c++)
				v[r * o->cols + to * n + c] +=
				    v[r * o->cols + from * n + c];
		rc = close_copy(j, ref, t, err);
	}
	for (int i = 0; i < head_share(y); i++)
		head_set_put(&drop, head_number(y, from * head_share(y) + i),
		    true);
	return rc != PARE_OK ? rc : edit_drop_heads(j->e, l, &drop, err);
}

/* Copies n rows of slot s from row a of a layer to row b of another. */
static enum pare_rc
copy_rows(struct share *j, enum slot s, int from, int64_t a, int to, int64_t b,
    int64_t n, struct pare_err *err)
{
	struct slot_ref ref = { to, s };
	const struct tensor *src = j->m->layer[from].t[s];
	const struct tensor *dst = j->m->layer[to].t[s];
	enum pare_rc rc;
	struct tensor *t;
	float *v, *all;

	if (src == NULL || dst == NULL)
		return PARE_OK;
	if ((rc = check_writable(dst, ref, err)) != PARE_OK || dst->ghost ||
	    src->ghost)
		return rc;
	if ((rc = open_copy(dst, &t, &v, err)) != PARE_OK)
		return rc;
	if (dst->ndim == 2) {
		tensor_decode(src, a, n, v + b * dst->cols);
		return close_copy(j, ref, t, err);
	}
	/* A vector is one row: its elements are the rows of the head. */
	all = mem_big((size_t)src->cols, sizeof *all, err);
	if (all == NULL) {
		tensor_unref(t);
		return PARE_ENOMEM;
	}
	tensor_decode(src, 0, 1, all);
	memcpy(v + b, all + a, (size_t)n * sizeof *v);
	free(all);
	return close_copy(j, ref, t, err);
}

/* Group a of a layer gives its queries, keys and values to group b of another. */
static enum pare_rc
copy_group(struct share *j, int from, int a, int to, int b,
    struct pare_err *err)
{
	static const enum slot q[] = { SLOT_Q_W, SLOT_Q_B };
	static const enum slot kv[] = { SLOT_K_W, SLOT_K_B, SLOT_V_W,
	    SLOT_V_B };
	const struct layer *x = &j->m->layer[from], *y = &j->m->layer[to];
	int64_t d = y->head_dim, n = head_share(y) * d;
	enum pare_rc rc = PARE_OK;

	if (x->head_dim != y->head_dim || head_share(x) != head_share(y))
		return err_set(err, PARE_EUSER, "to: heads of L%d are %d wide "
		    "and %d share a KV head; those of L%d are %d wide and %d "
		    "do", from, x->head_dim, head_share(x), to, y->head_dim,
		    head_share(y));
	for (int i = 0; i < 2 && rc == PARE_OK; i++)
		rc = copy_rows(j, q[i], from, a * n, to, b * n, n, err);
	for (int i = 0; i < 4 && rc == PARE_OK; i++)
		rc = copy_rows(j, kv[i], from, a * d, to, b * d, d, err);
	return rc;
}

/* Heads at positions a and b of one group: b asks as a does. */
static enum pare_rc
copy_queries(struct share *j, int l, int a, int b, struct pare_err *err)
{
	int64_t d = j->m->layer[l].head_dim;
	enum pare_rc rc = copy_rows(j, SLOT_Q_W, l, a * d, l, b * d, d, err);

	return rc == PARE_OK ? copy_rows(j, SLOT_Q_B, l, a * d, l, b * d, d,
	    err) : rc;
}

static enum pare_rc
share_heads(struct share *j, const struct selection *to, struct str *note,
    struct pare_err *err)
{
	int la = 0, ha = 0, lb = 0, hb = 0, a, b, ga, gb;
	const char *group;

	if (!one_head(&j->what.sel, &la, &ha) || !one_head(to, &lb, &hb)) {
		err_set(err, PARE_EUSER, "to: heads are shared one to one");
		return err_hint(err, "share L0.h1 to=L0.h0");
	}
	if (la == lb && ha == hb)
		return err_set(err, PARE_EUSER, "to: L%d.h%d is that head "
		    "already", la, ha);
	if (!task_tick(j->in->task, 0, 1, "heads"))
		return task_error(err);
	a = head_position(&j->m->layer[la], ha);
	b = head_position(&j->m->layer[lb], hb);
	ga = a / head_share(&j->m->layer[la]);
	gb = b / head_share(&j->m->layer[lb]);
	group = head_share(&j->m->layer[la]) > 1 ? " with its group" : "";
	if (la != lb) {
		ops_note(note, "L%d.h%d%s has the queries, keys and values of "
		    "L%d.h%d now, but a head is no tensor of its own: bytes "
		    "stay; heads of one layer do save", la, ha, group, lb, hb);
		return copy_group(j, lb, gb, la, ga, err);
	}
	if (ga == gb) {
		ops_note(note, "L%d.h%d has the queries of h%d now; both read "
		    "one KV head already, and bytes stay", la, ha, hb);
		return copy_queries(j, la, b, a, err);
	}
	ops_note(note, "L%d.h%d would do what h%d does: its output%s is folded "
	    "into h%d and it is gone", la, ha, hb, group, hb);
	return fold_group(j, la, ga, gb, err);
}

/* ---- the op ---- */

static bool
names_layers(const struct selection *s)
{
	for (int l = 0; l < s->nlayers; l++)
		if (s->layer[l].whole || s->layer[l].attention ||
		    s->layer[l].ffn)
			return true;
	return false;
}

static enum pare_rc
share_named(struct share *j, struct str *note, struct pare_err *err)
{
	const char *text = arg_text(j->in->args, "to");
	const char *const only[] = { "part", "groups", "by", NULL };
	struct selection to;
	enum pare_rc rc;

	for (int i = 0; only[i] != NULL; i++)
		if (arg_get(j->in->args, only[i])->set) {
			err_set(err, PARE_EUSER, "%s: goes with whole layers "
			    "only, not with '%s'", only[i], j->what.target);
			return err_hint(err, "share L0-1 %s=%s", only[i],
			    arg_text(j->in->args, only[i]));
		}
	if (text == NULL || strcmp(text, "first") == 0 ||
	    strcmp(text, "mean") == 0) {
		err_set(err, PARE_EUSER, "to: '%s' needs the tensor it shall "
		    "share", j->what.target);
		return err_hint(err, "share L1.q to=L0.q, share L0.h1 "
		    "to=L0.h0, or share L0-1");
	}
	if ((rc = select_parse(j->m, text, &to, err)) != PARE_OK)
		return err_prefix(err, "to");
	if (j->rank > 0 && (has_heads(&j->what.sel) || has_heads(&to))) {
		err_set(err, PARE_EUSER, "difference: goes with layers and "
		    "matrices, not with heads");
		rc = err_hint(err, "share L0-1 difference=%lld",
		    (long long)j->rank);
	} else if (has_heads(&j->what.sel) || has_heads(&to))
		rc = share_heads(j, &to, note, err);
	else
		rc = share_slots(j, &to, err);
	select_free(&to);
	return rc;
}

/* Says so when the edit leaves the model as it was. */
static void
note_unchanged(const struct share *j, struct str *note)
{
	struct slot_ref ref = SLOT_REF_START;

	while (model_next_slot(j->m, &ref))
		if (model_slot(j->m, ref) != edit_get(j->e, ref))
			return;
	if (note->n == 0)
		ops_note(note, "nothing changed: '%s' shares these tensors "
		    "already", j->what.target);
}

static bool
weighs(const struct arg_list *a)
{
	return arg_get(a, "difference")->has &&
	    (strcmp(arg_choice(a, "weigh"), "inputs") == 0 ||
	    strcmp(arg_choice(a, "by"), "cost") == 0);
}

static enum pare_rc
read_difference(struct share *j, struct pare_err *err)
{
	const struct arg_list *a = j->in->args;

	if (!arg_get(a, "difference")->has) {
		if (!arg_get(a, "weigh")->set)
			return PARE_OK;
		err_set(err, PARE_EUSER, "weigh: says by what difference= is "
		    "best, which is missing");
		return err_hint(err, "share %s difference=8 weigh=%s",
		    j->what.target, arg_choice(a, "weigh"));
	}
	j->rank = arg_int(a, "difference");
	j->weigh = weighs(a);
	if (!j->weigh || j->e->ctx.estimate || (j->in->calib != NULL &&
	    j->in->calib->statistics != NULL))
		return PARE_OK;
	return score_missing("weigh=inputs", err);
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct share j = { .in = in, .m = in->model, .e = e };
	const char *method = arg_choice(in->args, "method");
	enum pare_rc rc = ops_what_read(in, &j.what, err);
	bool layers;

	if (rc != PARE_OK)
		return rc;
	layers = strcmp(method, "auto") == 0 ? names_layers(&j.what.sel) :
	    strcmp(method, "layers") == 0;
	rc = read_difference(&j, err);
	if (rc == PARE_OK)
		rc = layers ? share_layers(&j, note, err) :
		    share_named(&j, note, err);
	if (rc == PARE_OK) {
		note_differ(&j, note);
		note_unchanged(&j, note);
		ops_note_unshared(e, note);
	}
	free(j.layer);
	ops_what_free(&j.what);
	return rc;
}

static const char *const method[] = { "auto", "layers", "tie", NULL };
/* In the order of enum share_part. */
static const char *const part[] = { "all", "attention", "ffn", NULL };
static const char *const by[] = { "order", "cost", NULL };
static const char *const weigh[] = { "none", "inputs", NULL };

static unsigned
needs(const struct arg_list *args_of)
{
	return strcmp(arg_choice(args_of, "by"), "cost") == 0 ?
	    OP_NEED_GRAM_ALL | OP_NEED_SQUARES : weighs(args_of) ?
	    OP_NEED_GRAM_ALL : 0;
}

static const struct arg_spec args[] = {
	{ .name = "target", .type = ARG_TARGET,
	    .flags = ARG_WORD | ARG_REPEAT | ARG_REQUIRED,
	    .text = "layers (L0-3, L*), a matrix (L2.q) or a head (L2.h1)" },
	{ .name = "to", .type = ARG_TEXT, .dflt = "first",
	    .text = "whose weights: first, mean, a layer (L3), a matrix or a "
	    "head" },
	{ .name = "part", .type = ARG_CHOICE, .dflt = "all", .choices = part,
	    .text = "what layers share; all has norms too" },
	{ .name = "groups", .type = ARG_INT, .min = 1, .max = 4096,
	    .dflt = "1", .unit = "groups",
	    .text = "how many, each sharing in itself" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "order", .choices = by,
	    .text = "how layers are put into groups: runs of neighbours, or "
	    "the least rise of the loss" },
	{ .name = "difference", .type = ARG_INT, .min = 1, .max = 1000000,
	    .text = "the rank of what each matrix keeps of its own beside what "
	    "is shared" },
	{ .name = "weigh", .type = ARG_CHOICE, .dflt = "none",
	    .choices = weigh, .text = "by what that is best: the weights, or "
	    "the outputs" },
	{ .name = "method", .type = ARG_CHOICE, .dflt = "auto",
	    .choices = method,
	    .text = "layers, or tie for single matrices; auto reads the "
	    "target" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"share L0-1",
	"share L* part=ffn to=mean",
	"share L0.h1 to=L0.h0",
	NULL
};

const struct op op_share = {
	.verb = "share",
	.method = NULL,
	.title = "Share weights",
	.help = "Let several places use one tensor.\n"
	    "Layers: all of the target take the weights of the first "
	    "(to=first), of another (to=L3), or the mean of their own "
	    "(to=mean). part=all shares every tensor of the layer, norms "
	    "included; part=attention and part=ffn share those matrices with "
	    "their biases and leave each layer its norms. groups=2 ties two "
	    "runs of neighbours, each in itself; with by=cost each group "
	    "takes the weights of that member, and members are put together "
	    "so, that the loss rises least, by what the calib samples show of "
	    "the inputs of matrices and of gradients. Matrices: `share L2.q "
	    "to=L1.q` puts one in the place of the other.\n"
	    "difference=R leaves each matrix the rank R of its own that is "
	    "nearest to what sharing takes from it, as two thin matrices of "
	    "16-bit floats beside the shared one: by the squares, or with "
	    "weigh=inputs (and by=cost) by what the outputs lose on the calib "
	    "samples: share L* difference=16. Biases and norms are not shared "
	    "then.\n"
	    "Shared tensors count once, so parameters and bytes shrink; "
	    "multiply-adds and time do not. Shapes must agree. A head that "
	    "shares another of its layer (`share L2.h1 to=L2.h0`) is folded "
	    "into it, which saves its bytes and its time; between layers its "
	    "rows are copied and nothing shrinks. Where heads share KV heads a "
	    "head stands for its group; two of one group share their queries, "
	    "and nothing shrinks.",
	.examples = examples,
	.args = args,
	.flags = 0,
	.run = run,
	.needs = needs
};
