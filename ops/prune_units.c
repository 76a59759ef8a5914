/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prune units: heads and neurons of all layers under one budget of multiply-adds
 * (Kwon, Kim, Mahoney, Hassoun, Keutzer, Gholami, "A fast post-training pruning
 * framework for Transformers", NeurIPS 2022).
 *
 * With g the gradient of a sample's loss by gates on the units, F = E gg' is
 * their Fisher information, and to be without a set S raises the loss by about
 * sum_{i,j in S} F_ij / 2. Three steps:
 *
 *	search	with the diagonal of F alone: for every number of heads that
 *		stay, the best ones and the best neurons that the budget then
 *		has room for; the number whose sum is highest
 *	rearrange	within a layer, with all of its F: those that stay are gone
 *		through in order; each is given up for the one removed that
 *		leaves the smallest sum over S
 *	refit	what stays to the old outputs (ops/repair.h), where that paper
 *		fits one factor for each unit
 *
 * A budget of time is met with tables of what the attention and the FFN of a layer
 * take by how many of their units stay (ops/times.h), which are no sums over
 * units: there each part has a number of its best units for an option, and of
 * the options one is chosen for each part (ops/choose.h).
 *
 * by=kprune is in ops/walk.h.
 *
 * Gradients here are of one sample each, not means over batches. What shares its
 * weights is one unit, whose gradients add up; one unit of each part stays.
 */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/choose.h"
#include "ops/common.h"
#include "ops/repair.h"
#include "ops/table.h"
#include "ops/walk.h"

/* The units of the attention or the FFN of layers that share it. */
struct section {
	bool ffn;
	int leader;		/* the first of the layers */
	int64_t n, each;	/* units; gates of one */
	double cost;		/* of one, multiply-adds a token, all layers */
	bool *gone;		/* n */
};

struct cut {
	const struct op_input *in;
	const struct model *m;
	bool random;
	int *group[2];		/* of layers: attention, FFN */
	struct section *part;
	int nparts;
	struct ops_unit *unit[2];	/* heads, neurons; layer: the part */
	int64_t n[2];
	double total, budget;	/* of all units that were there; that may stay */
	double limit;		/* milliseconds; 0: the budget is of multiply-adds */
	int64_t swapped;
};

static int
share_of(const struct layer *y)
{
	return y->heads / y->kv_heads;
}

static double
whole_cost(const struct model *m, double seq)
{
	double sum = 0;

	for (int l = 0; l < m->nlayers; l++) {
		const struct layer *y = &m->layer[l];

		if (y->heads > 0)
			sum += y->kv_heads * walk_cost(m, y, false, seq);
		sum += (double)y->ffn * walk_cost(m, y, true, seq);
	}
	return sum;
}

static void
cut_free(struct cut *c)
{
	for (int i = 0; i < c->nparts; i++)
		free(c->part[i].gone);
	free(c->part);
	for (int k = 0; k < 2; k++) {
		free(c->group[k]);
		free(c->unit[k]);
	}
}

static void
add_part(struct cut *c, bool ffn, int leader, double seq)
{
	const struct layer *y = &c->m->layer[leader];
	struct section *p = &c->part[c->nparts++];

	*p = (struct section){ .ffn = ffn, .leader = leader,
		.n = ffn ? y->ffn : y->kv_heads,
		.each = ffn ? 1 : share_of(y) };
	for (int l = leader; l < c->m->nlayers; l++)
		if (c->group[ffn][l] == leader)
			p->cost += walk_cost(c->m, &c->m->layer[l], ffn, seq);
	p->gone = xcalloc((size_t)p->n, sizeof *p->gone);
	c->n[ffn] += p->n;
}

static enum pare_rc
list_parts(struct cut *c, struct pare_err *err)
{
	int n = c->m->nlayers;
	bool *pick = xcalloc((size_t)n + 1, sizeof *pick);
	double seq = (double)arg_int(c->in->args, "seq");

	c->part = xcalloc((size_t)n * 2 + 1, sizeof *c->part);
	for (int k = 0; k < 2; k++) {
		c->group[k] = xcalloc((size_t)n + 1, sizeof **c->group);
		for (int l = 0; l < n; l++)
			pick[l] = k == 0 ? c->m->layer[l].heads > 0 :
			    c->m->layer[l].ffn > 0;
		ops_groups(c->m, k == 0 ? OPS_ATTENTION_SLOTS : OPS_FFN_SLOTS,
		    k == 0, pick, c->group[k]);
		for (int l = 0; l < n; l++)
			if (c->group[k][l] == l)
				add_part(c, k == 1, l, seq);
	}
	free(pick);
	for (int k = 0; k < 2; k++) {
		c->unit[k] = mem_big_zero((size_t)c->n[k] + 1,
		    sizeof **c->unit, err);
		if (c->unit[k] == NULL)
			return PARE_ENOMEM;
		c->n[k] = 0;
	}
	for (int i = 0; i < c->nparts; i++)
		for (int64_t u = 0; u < c->part[i].n; u++)
			c->unit[c->part[i].ffn][c->n[c->part[i].ffn]++] =
			    (struct ops_unit){ .layer = i, .index = u };
	return PARE_OK;
}

/* ---- the Fisher information ---- */

/* The gradients of a part's units by sample, (samples, n): sums over the gates
 * of a unit and over the layers that share it. */
static float *
part_gradients(const struct cut *c, const struct section *p, struct pare_err *err)
{
	const struct gates_means *g = c->in->calib->gates;
	float *out = mem_big_zero((size_t)g->samples, (size_t)p->n *
	    sizeof *out, err);

	for (int l = p->leader; l < c->m->nlayers && out != NULL; l++) {
		int64_t at = p->ffn ? g->at.neurons[l] : g->at.heads[l];

		if (c->group[p->ffn][l] != p->leader)
			continue;
		for (int64_t s = 0; s < g->samples; s++)
			for (int64_t u = 0; u < p->n * p->each; u++)
				out[s * p->n + u / p->each] +=
				    g->each[s * g->at.n + at + u];
	}
	return out;
}

/* The diagonal, for all that is the same in cost: heads and neurons each. */
static enum pare_rc
score_units(struct cut *c, struct pare_err *err)
{
	int64_t at[2] = { 0, 0 }, samples = c->in->calib->gates->samples;

	for (int i = 0; i < c->nparts; i++) {
		const struct section *p = &c->part[i];
		struct ops_unit *u = c->unit[p->ffn] + at[p->ffn];
		float *g = part_gradients(c, p, err);

		if (g == NULL)
			return PARE_ENOMEM;
		for (int64_t s = 0; s < samples; s++)
			for (int64_t k = 0; k < p->n; k++)
				u[k].score += (double)g[s * p->n + k] *
				    g[s * p->n + k] / (double)samples;
		free(g);
		at[p->ffn] += p->n;
	}
	/* By what a multiply-add buys, where units cost unlike. */
	for (int k = 0; k < 2; k++)
		for (int64_t i = 0; i < c->n[k]; i++)
			c->unit[k][i].score /= c->part[c->unit[k][i].layer].cost;
	return PARE_OK;
}

/* ---- search ---- */

/* The best unit of each part comes first, for it stays. */
static void
rank_units(struct cut *c)
{
	for (int k = 0; k < 2; k++) {
		bool *seen = xcalloc((size_t)c->nparts + 1, sizeof *seen);

		if (c->random)
			ops_units_shuffle(c->unit[k], c->n[k], c->in->seed +
			    (uint64_t)k);
		else
			ops_units_rank(c->unit[k], c->n[k]);
		for (int64_t i = c->n[k] - 1; i >= 0; i--) {
			c->unit[k][i].weight = !seen[c->unit[k][i].layer];
			seen[c->unit[k][i].layer] = true;
		}
		free(seen);
	}
}

/* Marks all but the best that the budget has room for; *cost, *worth: of what
 * stays. The first `most` units from the best on alone are asked (-1: all). */
static void
fill(struct cut *c, int k, double budget, int64_t most, bool mark,
    double *cost, double *worth)
{
	*cost = *worth = 0;
	/* What has to stay is in any case. */
	for (int64_t i = 0; i < c->n[k]; i++)
		if (c->unit[k][i].weight != 0) {
			*cost += c->part[c->unit[k][i].layer].cost;
			*worth += c->unit[k][i].score *
			    c->part[c->unit[k][i].layer].cost;
		}
	for (int64_t i = c->n[k] - 1; i >= 0; i--) {
		const struct ops_unit *u = &c->unit[k][i];
		struct section *p = &c->part[u->layer];
		bool stays = u->weight != 0;

		if (!stays && most != 0 && *cost + p->cost <= budget) {
			*cost += p->cost;
			*worth += u->score * p->cost;
			most -= most > 0;
			stays = true;
		}
		if (mark)
			p->gone[u->index] = !stays;
	}
}

/* For each number of heads the best of both. */
static void
search(struct cut *c)
{
	double cost, worth, heads, best = -1;
	int64_t keep = 0;

	for (int64_t k = 0; k <= c->n[0]; k++) {
		double sum;

		fill(c, 0, c->budget, k, false, &heads, &sum);
		fill(c, 1, c->budget - heads, -1, false, &cost, &worth);
		sum += worth;
		if (heads + cost <= c->budget && sum > best) {
			best = sum;
			keep = k;
		}
	}
	fill(c, 0, c->budget, keep, true, &heads, &worth);
	fill(c, 1, c->budget - heads, -1, true, &cost, &worth);
}

/* ---- search by time ---- */

enum { OPTIONS = 64 };		/* about so many for a part */

/* What a part takes where n of its units stay, all layers of it. */
static double
part_ms(const struct cut *c, const struct section *p, int64_t n)
{
	const struct op_times *t = c->in->calib->times;
	double ms = 0;

	for (int l = p->leader; l < c->m->nlayers; l++)
		if (c->group[p->ffn][l] == p->leader)
			ms += t->layer_ms[l][p->ffn];
	return ms * times_ratio(t, p->ffn, (double)n / (double)p->n);
}

/* The units of part i, the least first; p->n of them. */
static void
list_part(const struct cut *c, int i, const struct ops_unit **out)
{
	int k = c->part[i].ffn;
	int64_t n = 0;

	for (int64_t u = 0; u < c->n[k]; u++)
		if (c->unit[k][u].layer == i)
			out[n++] = &c->unit[k][u];
}

/* The options of part i, that all stay first; returns how many. What is lost is
 * what the units that go are worth. */
static int
list_options(const struct cut *c, int i, const struct ops_unit *const *unit,
    struct choose_option *o, int64_t *keep)
{
	const struct section *p = &c->part[i];
	int64_t step = p->n / OPTIONS > 0 ? p->n / OPTIONS : 1, gone = 0;
	double lost = 0;
	int n = 0;

	for (int64_t stay = p->n; stay >= 1; stay -= step) {
		for (; gone < p->n - stay; gone++)
			lost += unit[gone]->score * (c->random ? 1 : p->cost);
		keep[n] = stay;
		o[n++] = (struct choose_option){ llround(1e6 *
		    part_ms(c, p, stay)), lost };
	}
	return n;
}

/* What is no attention and no FFN takes its time whatever goes. */
static double
fixed_ms(const struct cut *c)
{
	const struct op_times *t = c->in->calib->times;
	double ms = t->ms;

	for (int l = 0; l < c->m->nlayers; l++)
		ms -= t->layer_ms[l][0] + t->layer_ms[l][1];
	return ms;
}

static enum pare_rc
too_slow(const struct cut *c, double least, struct pare_err *err)
{
	double whole = c->in->calib->times->ms;

	err_set(err, PARE_EUSER, "latency: %.3g ms cannot be met: one head and "
	    "one neuron of each layer stay", c->limit);
	return err_hint(err, "the nearest is latency<=%.3gms, latency<=%.0f%%",
	    1.005 * least, ceil(100 * least / whole));
}

static enum pare_rc
choose_parts(struct cut *c, struct choose_thing *thing, int *pick,
    int64_t *const *keep, const struct ops_unit **unit, struct pare_err *err)
{
	double fixed = fixed_ms(c), lost;
	int64_t cost = 0, budget = llround(1e6 * (c->limit - fixed));
	enum pare_rc rc = choose_least(thing, c->nparts, budget, pick, &cost,
	    &lost, err);

	if (rc != PARE_OK)
		return rc;
	if (cost > budget)
		return too_slow(c, fixed + (double)cost / 1e6, err);
	for (int i = 0; i < c->nparts; i++) {
		int64_t stay = keep[i][pick[i]];

		list_part(c, i, unit);
		for (int64_t u = 0; u < c->part[i].n - stay; u++)
			c->part[i].gone[unit[u]->index] = true;
	}
	return PARE_OK;
}

static enum pare_rc
search_times(struct cut *c, struct pare_err *err)
{
	size_t n = (size_t)c->nparts + 1, most = 2 * OPTIONS + 1;
	struct choose_thing *thing = xcalloc(n, sizeof *thing);
	struct choose_option *o = xcalloc(n * most, sizeof *o);
	int64_t *keep = xcalloc(n * most, sizeof *keep);
	int64_t **of = xcalloc(n, sizeof *of);
	int *pick = xcalloc(n, sizeof *pick);
	const struct ops_unit **unit = xcalloc((size_t)(c->n[0] + c->n[1]) +
	    1, sizeof *unit);
	enum pare_rc rc;

	for (int i = 0; i < c->nparts; i++) {
		of[i] = keep + (size_t)i * most;
		list_part(c, i, unit);
		thing[i].option = o + (size_t)i * most;
		thing[i].n = list_options(c, i, unit, o + (size_t)i * most,
		    of[i]);
	}
	rc = choose_parts(c, thing, pick, of, unit, err);
	free(thing);
	free(o);
	free(keep);
	free(of);
	free(pick);
	free(unit);
	return rc;
}

/* ---- numbers that the line says ---- */

static enum pare_rc
bad_keep(const struct cut *c, struct pare_err *err)
{
	err_set(err, PARE_EUSER, "keep: not HEADS:NEURONS of each of the %d "
	    "layers, at most as many as are there, and alike where layers "
	    "share them", c->m->nlayers);
	return err_hint(err, "keep=2:100,2:80,... ; a line with latency<= "
	    "is recorded with them");
}

/* The next number of keep= and what ends it. */
static bool
read_count(const char **text, char end, int64_t *out)
{
	char *rest;
	long long v = strtoll(*text, &rest, 10);

	if (rest == *text || *rest != end || v < 0)
		return false;
	*text = rest + (end != '\0');
	*out = v;
	return true;
}

/* count[2 l] heads and count[2 l + 1] neurons of layer l. */
static enum pare_rc
read_keep(const struct cut *c, int64_t *count, struct pare_err *err)
{
	const char *text = arg_text(c->in->args, "keep");

	for (int l = 0; l < c->m->nlayers; l++)
		if (!read_count(&text, ':', &count[2 * l]) ||
		    !read_count(&text, l < c->m->nlayers - 1 ? ',' : '\0',
		    &count[2 * l + 1]))
			return bad_keep(c, err);
	for (int i = 0; i < c->nparts; i++) {
		const struct section *p = &c->part[i];
		int64_t stay = count[2 * p->leader + p->ffn];

		if (stay < 1 || stay > p->n * p->each || stay % p->each != 0)
			return bad_keep(c, err);
		for (int l = p->leader; l < c->m->nlayers; l++)
			if (c->group[p->ffn][l] == p->leader &&
			    count[2 * l + p->ffn] != stay)
				return bad_keep(c, err);
	}
	return PARE_OK;
}

static enum pare_rc
keep_counts(struct cut *c, struct pare_err *err)
{
	int64_t *count = xcalloc(2 * (size_t)c->m->nlayers + 2, sizeof *count);
	const struct ops_unit **unit = xcalloc((size_t)(c->n[0] + c->n[1]) +
	    1, sizeof *unit);
	enum pare_rc rc = read_keep(c, count, err);

	for (int i = 0; i < c->nparts && rc == PARE_OK; i++) {
		struct section *p = &c->part[i];
		int64_t stay = count[2 * p->leader + p->ffn] / p->each;

		list_part(c, i, unit);
		for (int64_t u = 0; u < p->n - stay; u++)
			p->gone[unit[u]->index] = true;
	}
	free(count);
	free(unit);
	return rc;
}

/* The control: both kinds lose the same share. */
static void
draw(struct cut *c)
{
	double share = c->budget / whole_cost(c->m, (double)arg_int(
	    c->in->args, "seq")), cost, worth, all;

	for (int k = 0; k < 2; k++) {
		all = 0;
		for (int64_t i = 0; i < c->n[k]; i++)
			all += c->part[c->unit[k][i].layer].cost;
		fill(c, k, share * all, -1, true, &cost, &worth);
	}
}

/* ---- rearrangement ---- */

/* Gives up the unit i that stays for the removed one whose return leaves the
 * smallest sum of f over what is removed; r = f times the marks. */
static void
try_swap(struct cut *c, struct section *p, const float *f, double *r, int64_t i)
{
	int64_t n = p->n, back = -1;
	/* What j back and i gone changes of the sum. */
	double best = 0;

	for (int64_t j = 0; j < n; j++) {
		double change;

		if (!p->gone[j])
			continue;
		change = 2 * (r[i] - r[j] - f[i * n + j]) + f[i * n + i] +
		    f[j * n + j];
		if (change < best) {
			best = change;
			back = j;
		}
	}
	if (back < 0)
		return;
	p->gone[i] = true;
	p->gone[back] = false;
	for (int64_t k = 0; k < n; k++)
		r[k] += (double)f[i * n + k] - f[back * n + k];
	c->swapped++;
}

static enum pare_rc
rearrange_part(struct cut *c, struct section *p, struct pare_err *err)
{
	int64_t n = p->n, samples = c->in->calib->gates->samples;
	float *g = part_gradients(c, p, err);
	float *f = g == NULL ? NULL : mem_big((size_t)n, (size_t)n *
	    sizeof *f, err);
	double *r = f == NULL ? NULL : mem_big_zero((size_t)n, sizeof *r, err);
	bool *was = xcalloc((size_t)n, sizeof *was);

	if (r != NULL) {
		cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans,
		    (blasint)n, (blasint)n, (blasint)samples, 1.0f /
		    (float)samples, g, (blasint)n, g, (blasint)n, 0.0f, f,
		    (blasint)n);
		for (int64_t i = 0; i < n; i++)
			for (int64_t j = 0; j < n; j++)
				r[i] += p->gone[j] ? (double)f[i * n + j] : 0;
		memcpy(was, p->gone, (size_t)n * sizeof *was);
		for (int64_t i = 0; i < n; i++)
			if (!was[i])
				try_swap(c, p, f, r, i);
	}
	free(g);
	free(f);
	free(was);
	if (r == NULL)
		return PARE_ENOMEM;
	free(r);
	return PARE_OK;
}

static enum pare_rc
rearrange(struct cut *c, struct pare_err *err)
{
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < c->nparts && rc == PARE_OK; i++) {
		if (!task_tick(c->in->task, i, 2.0 * c->nparts, "parts"))
			return task_error(err);
		rc = rearrange_part(c, &c->part[i], err);
	}
	return rc;
}

/* ---- the cut ---- */

static int64_t
count_gone(const struct section *p)
{
	int64_t n = 0;

	for (int64_t i = 0; i < p->n; i++)
		n += p->gone[i];
	return n;
}

static enum pare_rc
drop_heads(const struct cut *c, struct edit *e, const struct section *p, int l,
    struct pare_err *err)
{
	const struct layer *y = &c->m->layer[l];
	struct head_set drop = { { 0 } };
	int at = 0;

	for (int h = 0; h < y->heads_original; h++)
		if (head_set_has(&y->head, h))
			head_set_put(&drop, h, p->gone[at++ / p->each]);
	return edit_drop_heads(e, l, &drop, err);
}

/* Cuts a part in all its layers, or mends it after all was cut. */
static enum pare_rc
cut_part(const struct cut *c, struct edit *e, const struct section *p,
    struct repairs *r, struct pare_err *err)
{
	int64_t each = p->ffn ? 1 : p->each *
	    c->m->layer[p->leader].head_dim, n = 0;
	const int *group = c->group[p->ffn];
	int64_t *keep;
	enum pare_rc rc = PARE_OK;

	if (count_gone(p) == 0)
		return PARE_OK;
	keep = mem_big((size_t)(p->n * each), sizeof *keep, err);
	if (keep == NULL)
		return PARE_ENOMEM;
	for (int64_t i = 0; i < p->n * each; i++)
		if (!p->gone[i / each])
			keep[n++] = i;
	if (r != NULL)
		rc = repair_group(r, group, p->leader, keep, n, err);
	for (int l = 0; l < c->m->nlayers && r == NULL && rc == PARE_OK; l++)
		if (group[l] == p->leader)
			rc = p->ffn ? edit_keep_neurons(e, l, keep, n, err) :
			    drop_heads(c, e, p, l, err);
	free(keep);
	return rc;
}

static enum pare_rc
carry_out(struct cut *c, struct edit *e, enum repair how, struct str *note,
    struct pare_err *err)
{
	struct repairs r[2] = {
		{ .how = how, .in = c->in, .e = e, .slot = SLOT_O_W },
		{ .how = how, .in = c->in, .e = e, .slot = SLOT_DOWN_W } };
	int64_t gone[2] = { 0, 0 };
	enum pare_rc rc = PARE_OK;

	for (int i = 0; i < c->nparts && rc == PARE_OK; i++) {
		if (!task_tick(c->in->task, c->nparts + i, 2.0 * c->nparts,
		    "parts"))
			return task_error(err);
		rc = cut_part(c, e, &c->part[i], NULL, err);
		gone[c->part[i].ffn] += count_gone(&c->part[i]) *
		    c->part[i].each;
	}
	for (int i = 0; i < c->nparts && rc == PARE_OK; i++)
		rc = task_canceled(c->in->task) ? task_error(err) :
		    cut_part(c, e, &c->part[i], &r[c->part[i].ffn], err);
	if (rc != PARE_OK)
		return rc;
	ops_note(note, "%lld heads and %lld neurons went", (long long)gone[0],
	    (long long)gone[1]);
	if (c->swapped > 0)
		ops_note(note, "%lld changed places", (long long)c->swapped);
	r[0].before += r[1].before;
	r[0].after += r[1].after;
	r[0].energy += r[1].energy;
	r[0].matrices += r[1].matrices;
	repair_note(&r[0], note);
	return PARE_OK;
}

/* ---- the op ---- */

static bool
by_random(const struct arg_list *args)
{
	return strcmp(arg_choice(args, "by"), "random") == 0;
}

/* Whoever searches fits, unless the line says otherwise. */
static enum repair
how_of(const struct arg_list *args)
{
	return arg_get(args, "repair")->set || by_random(args) ?
	    repair_of(args) : REPAIR_REFIT;
}

/* What has to stay, and what the budget leaves, of what was there before all
 * rounds. */
static enum pare_rc
read_budget(struct cut *c, struct pare_err *err)
{
	const struct op_rounds *r = c->in->rounds;
	double seq = (double)arg_int(c->in->args, "seq"), least = 0, cost;
	double share = arg_real(c->in->args, "amount");

	if (r != NULL)
		share *= (double)r->round / r->of;
	c->total = whole_cost(r != NULL ? r->before : c->m, seq);
	c->budget = c->total * (1 - share);
	for (int i = 0; i < c->nparts; i++)
		least += c->part[i].cost;
	cost = whole_cost(c->m, seq);
	if (c->nparts == 0)
		return err_set(err, PARE_EUSER,
		    "the model has neither heads nor neurons");
	if (least <= c->budget && cost > 0)
		return PARE_OK;
	err_set(err, PARE_EUSER, "amount: one head and one neuron of each "
	    "layer stay, and those are more than that leaves");
	return err_hint(err, "at most %.0f%%", 100 * (1 - least / c->total) -
	    0.5);
}

/* The limit of time, where there is one. */
static enum pare_rc
read_limit(struct cut *c, struct pare_err *err)
{
	const struct arg_value *v = arg_get(c->in->args, "latency");
	const struct op_calib *k = c->in->calib;

	if (k == NULL || k->times == NULL)
		return err_set(err, PARE_EUSER, "latency: sizes alone cannot "
		    "be timed");
	if (c->nparts == 0)
		return err_set(err, PARE_EUSER,
		    "the model has neither heads nor neurons");
	c->limit = v->is_share ? v->d * k->times->ms : v->d;
	return PARE_OK;
}

static enum pare_rc
check_budgets(const struct arg_list *args, struct pare_err *err)
{
	bool amount = arg_get(args, "amount")->has;
	bool latency = arg_get(args, "latency")->has ||
	    arg_get(args, "keep")->has;

	if (amount == latency) {
		err_set(err, PARE_EUSER, amount ? "amount beside latency "
		    "or keep: one budget at a time" : "a budget is missing: an amount, or "
		    "latency<=");
		return err_hint(err, "prune units 30%%, or prune units "
		    "latency<=50%%");
	}
	if (latency && arg_int(args, "rounds") > 1) {
		err_set(err, PARE_EUSER,
		    "rounds: this budget is met all at once");
		return err_hint(err, "leave rounds= away");
	}
	if (walk_asked(args) && (latency || arg_int(args, "rounds") > 1)) {
		err_set(err, PARE_EUSER, "by=kprune: a budget of multiply-adds "
		    "alone, and no rounds");
		return err_hint(err, "prune units 50%% by=kprune");
	}
	return PARE_OK;
}

static enum pare_rc
decide(struct cut *c, struct pare_err *err)
{
	bool told = arg_get(c->in->args, "keep")->has;
	bool timed = arg_get(c->in->args, "latency")->has && !told;
	enum pare_rc rc = list_parts(c, err);
	bool blind = c->in->calib == NULL || c->in->calib->gates == NULL ||
	    c->in->calib->gates->each == NULL;

	if (rc == PARE_OK)
		rc = timed ? read_limit(c, err) : told ? PARE_OK :
		    read_budget(c, err);
	if (rc != PARE_OK)
		return rc;
	if (walk_asked(c->in->args))
		return PARE_OK;
	if (!c->random && blind)
		return score_missing("prune units", err);
	if (!c->random && (rc = score_units(c, err)) != PARE_OK)
		return rc;
	rank_units(c);
	if (timed)
		rc = search_times(c, err);
	else if (told)
		rc = keep_counts(c, err);
	else if (c->random)
		draw(c);
	else
		search(c);
	return rc != PARE_OK || c->random || arg_get(c->in->args,
	    "rearrange")->i == 0 ? rc : rearrange(c, err);
}

static enum pare_rc
run(const struct op_input *in, struct edit *e, struct str *note,
    struct pare_err *err)
{
	struct cut c = { .in = in, .m = in->model,
		.random = by_random(in->args) };
	bool walk = walk_asked(in->args);
	enum pare_rc rc = check_budgets(in->args, err);
	int64_t gone = 0;

	if (rc == PARE_OK)
		rc = decide(&c, err);
	if (walk) {
		if (rc == PARE_OK)
			rc = walk_units(in, e, c.budget, note, err);
		cut_free(&c);
		return rc;
	}
	for (int i = 0; i < c.nparts && rc == PARE_OK; i++)
		gone += count_gone(&c.part[i]);
	if (rc == PARE_OK && gone == 0 && in->rounds == NULL) {
		err_set(err, PARE_EUSER, c.limit > 0 ? "latency: the model is "
		    "that fast as it is" : "amount: no unit is that small");
		rc = err_hint(err, "ask for more");
	}
	if (rc == PARE_OK)
		rc = carry_out(&c, e, how_of(in->args), note, err);
	if (rc == PARE_OK)
		ops_note_unshared(e, note);
	cut_free(&c);
	return rc;
}

static unsigned
needs(const struct arg_list *args)
{
	unsigned n = by_random(args) ? 0 : OP_NEED_GATES | OP_NEED_GATES_EACH;

	if (walk_asked(args))
		return OP_NEED_RECONSTRUCT;
	if (arg_get(args, "latency")->has && !arg_get(args, "keep")->has)
		n |= OP_NEED_TIMES;
	return how_of(args) == REPAIR_NONE ? n : n | OP_NEED_GRAM_OUTPUT |
	    OP_NEED_GRAM_DOWN;
}

static const char *const by[] = { "fisher", "kprune", "random", NULL };

static const struct arg_spec args[] = {
	{ .name = "amount", .type = ARG_REAL,
	    .flags = ARG_WORD, .min = 0.001, .max = 0.999,
	    .text = "share of the multiply-adds of heads and neurons to save" },
	{ .name = "latency", .type = ARG_LIMIT, .unit = "ms",
	    .text = "instead of it the time of one text of seq tokens: 3ms, "
	    "50%, 2x faster" },
	{ .name = "keep", .type = ARG_TEXT,
	    .text = "HEADS:NEURONS of each layer that stay, joined by commas; "
	    "a line with latency<= is recorded with them" },
	{ .name = "by", .type = ARG_CHOICE, .dflt = "fisher", .choices = by,
	    .text = "fisher: the search; kprune: sub-layer after sub-layer, "
	    "each fitted; random: the control, the same share of both kinds" },
	{ .name = "rearrange", .type = ARG_BOOL, .dflt = "on",
	    .text = "let units of a layer change places by what they share" },
	{ .name = "repair", .type = ARG_CHOICE, .dflt = "none",
	    .choices = repair_names,
	    .text = "as in prune heads; by=fisher does refit unless told "
	    "otherwise" },
	{ .name = "seq", .type = ARG_INT, .min = 1, .max = 1e6,
	    .dflt = "128", .unit = "tokens",
	    .text = "the length that multiply-adds are counted at, and times "
	    "are measured at" },
	{ .name = "rounds", .type = ARG_INT, .min = 1, .max = 1000,
	    .dflt = "1",
	    .text = "reach the amount in so many parts, each with gradients "
	    "of what is left" },
	{ .name = "rescore", .type = ARG_INT, .min = 1, .max = 1000,
	    .dflt = "1", .unit = "sub-layers",
	    .text = "of by=kprune: how many go by one look at the gradients" },
	{ .name = "seed", .type = ARG_INT, .max = 9007199254740992.0,
	    .text = "of by=random; the setting seed unless said" },
	{ .name = NULL }
};

static const char *const examples[] = {
	"prune units 30% by=random",
	"prune units 50% by=random seed=3 seq=16",
	NULL
};

const struct op op_prune_units = {
	.verb = "prune",
	.method = "units",
	.title = "Prune heads and neurons",
	.help = "Remove heads and neurons until a share of their multiply-adds "
	    "is saved.\n"
	    "By the Fisher information of gates on the units, from the "
	    "gradients of the calib samples: for every number of heads that "
	    "could stay, the best ones and the best neurons that the budget "
	    "has room for then, and of those the best. Then units of a layer "
	    "change places where what is removed costs less together "
	    "(rearrange), and what stays is fitted to the old outputs "
	    "(repair=refit). rounds=N looks at the calib samples again after "
	    "each part of the amount.\n"
	    "latency<= asks for a time in place of multiply-adds. What the "
	    "attention and the FFN of a layer take by how many heads and "
	    "neurons stay is measured on this machine once and remembered; "
	    "what was foretold from that is told beside what is measured "
	    "then. The line is recorded with keep=, how many of each layer stay, "
	    "so that it gives the same everywhere.\n"
	    "by=kprune goes from the bottom up (Park, Choi and Kang 2024): at "
	    "each sub-layer all units from there on are weighed by what they "
	    "mean for the answers of the original and for what the sub-layer "
	    "gives, those of this one that do not fit the budget go, and the "
	    "output matrix is fitted to the original's stream with the inputs "
	    "that the pruned layers beneath now give. No labels are used. "
	    "rearrange and repair are not for it.\n"
	    "The counted multiply-adds are those of the matrices of heads and "
	    "neurons and of attention over seq= tokens. One head and one "
	    "neuron of each layer stay. Heads that share a KV head go "
	    "together, and so do those of layers that share their weights.",
	.examples = examples,
	.args = args,
	.flags = OP_STRUCTURAL | OP_RANDOM,
	.run = run,
	.needs = needs
};
