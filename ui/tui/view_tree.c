/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The module tree: layers fold open to attention, FFN and norms, these to heads
 * and tensors. All nodes of a model are made at once, in order; what is shown
 * is a list of their indices, made again when a fold, the order or the model
 * changes. Which nodes are open is remembered by path, so it survives a change
 * of the model.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "ui/number.h"
#include "ui/tui/column.h"
#include "ui/tui/score.h"
#include "ui/tui/timing.h"
#include "ui/tui/toggle.h"
#include "ui/tui/view.h"

struct node {
	char path[96];
	char label[48];
	int depth, parent;	/* parent: index; -1 */
	bool branch;		/* has children */
	bool gone;		/* pruned: only its name is left */
	struct target target;
	double params, nonzero, bytes, macs, ms, importance;
	char form[48];
	char tied_to[96];
};

/* How a column gets and writes its numbers; both NULL: it has none. */
struct column_value {
	double (*value)(const struct node *n, const struct node *total);
	void (*spell)(char out[NUMBER_MAX], double v);
};

struct tree {
	struct node *node;
	int n, cap;
	struct node total;
	int *shown, nshown;	/* indices into node */
	int cursor;		/* into shown */
	char **open;		/* paths */
	int nopen;
	bool flat, turned;
	enum column by;		/* sorted by; COL_COUNT: not */
	struct column_list list;
	struct column_list own;	/* the last one that was no preset; or none */
	char seen[COLUMNS_TEXT];	/* the setting, looked at last */
	bool counted;		/* zeros are known */
	struct model *counting;	/* borrowed name of the model being counted */
	struct timings *timings;
};

/* ---- columns ------------------------------------------------------------- */

static double
col_params(const struct node *n, const struct node *total)
{
	return n->params;
}

static double
col_share(const struct node *n, const struct node *total)
{
	return n->params / total->params;
}

static double
col_bytes(const struct node *n, const struct node *total)
{
	return n->bytes;
}

static double
col_bits(const struct node *n, const struct node *total)
{
	return 8 * n->bytes / n->params;
}

static double
col_sparsity(const struct node *n, const struct node *total)
{
	return 1 - n->nonzero / n->params;
}

static double
col_macs(const struct node *n, const struct node *total)
{
	return n->macs;
}

static double
col_ms(const struct node *n, const struct node *total)
{
	return n->ms;
}

static double
col_importance(const struct node *n, const struct node *total)
{
	return n->importance;
}

static void
spell_bits(char out[NUMBER_MAX], double v)
{
	number_plain(out, isfinite(v) ? round(10 * v) / 10 : v);
}

static void
spell_ms(char out[NUMBER_MAX], double v)
{
	snprintf(out, NUMBER_MAX, v < 10 ? "%.3f" : "%.1f", v);
}

static void
spell_norm(char out[NUMBER_MAX], double v)
{
	snprintf(out, NUMBER_MAX, v < 99.995 ? "%.2f" : v < 999.95 ? "%.1f" :
	    "%.0f", v);
}

static const struct column_value values[COL_COUNT] = {
	[COL_PARAMS] = { col_params, number_count },
	[COL_SHARE] = { col_share, number_percent },
	[COL_BYTES] = { col_bytes, number_bytes },
	[COL_BITS] = { col_bits, spell_bits },
	[COL_SPARSITY] = { col_sparsity, number_percent },
	[COL_MACS] = { col_macs, number_count },
	[COL_MS] = { col_ms, spell_ms },
	[COL_IMPORTANCE] = { col_importance, spell_norm },
	[COL_BAR] = { col_share, NULL },
};

enum { NAME_MIN = 16, FLAT_MIN = 24 };

static struct tree *
tree_of(const struct app *app)
{
	return app->state[VIEW_TREE];
}

/* ---- making nodes -------------------------------------------------------- */

static int
add_node(struct tree *t, int parent, const char *label,
    const struct target *target, const char *path)
{
	struct node *n;

	if (t->n == t->cap) {
		t->cap = t->cap > 0 ? 2 * t->cap : 256;
		t->node = xrealloc(t->node, (size_t)t->cap *
		    sizeof(*t->node));
	}
	n = &t->node[t->n];
	memset(n, 0, sizeof(*n));
	snprintf(n->label, sizeof(n->label), "%s", label);
	snprintf(n->path, sizeof(n->path), "%s", path);
	n->target = *target;
	n->parent = parent;
	n->depth = parent < 0 ? 0 : t->node[parent].depth + 1;
	n->ms = n->importance = NAN;
	if (parent >= 0)
		t->node[parent].branch = true;
	return t->n++;
}

static void
take_row(struct node *n, const struct account_row *r)
{
	n->params = (double)r->params;
	n->nonzero = (double)r->nonzero;
	n->bytes = (double)r->bytes;
	n->macs = (double)r->macs;
	memcpy(n->form, r->form, sizeof(n->form));
	memcpy(n->tied_to, r->tied_to, sizeof(n->tied_to));
}

/* Rows come in the order of the model, so the search goes on where it was. */
static const struct account_row *
find_row(const struct account *a, int *at, const char *path)
{
	for (int k = 0; k < a->n; k++) {
		int i = (*at + k) % a->n;

		if (strcmp(a->row[i].path, path) == 0) {
			*at = i;
			return &a->row[i];
		}
	}
	return NULL;
}

/* What making needs: the three accounts of the model. */
struct making {
	struct tree *t;
	const struct model *m;
	struct account layer, module, tensor;
	int at_layer, at_module, at_tensor;
	const struct scores *scores;
};

static void
fill_from(struct tree *t, int node, const struct account *a, int *at)
{
	const struct account_row *r = find_row(a, at, t->node[node].path);

	if (r != NULL)
		take_row(&t->node[node], r);
}

static void
add_tensor(struct making *k, int parent, struct slot_ref slot)
{
	struct target target = target_tensor(slot);
	char path[96];
	const char *label = path;
	int node;

	if (model_slot(k->m, slot) == NULL)
		return;
	model_slot_path(slot, path, sizeof(path));
	/* Without what its parents say. */
	if (str_has_prefix(path, k->t->node[parent].path))
		label = path + strlen(k->t->node[parent].path) + 1;
	node = add_node(k->t, parent, label, &target, path);
	fill_from(k->t, node, &k->tensor, &k->at_tensor);
	k->t->node[node].ms = timings_get(k->t->timings, k->m, slot);
}

/* A head has its part of the matrices of its attention; KV heads that are
 * shared count in parts. */
static void
add_heads(struct making *k, int attention, int l)
{
	const struct layer *y = &k->m->layer[l];
	double norm[MODEL_HEADS_MAX];
	bool scored = k->scores != NULL && y->heads > 0;

	if (scored)
		scores_heads(k->scores, k->m, l, norm);
	for (int h = 0; h < y->heads_original; h++) {
		struct target target = target_head(l, h);
		bool there = y->heads > 0 && head_set_has(&y->head, h);
		const struct node *a;
		struct node *n;
		char label[48];
		int i;

		snprintf(label, sizeof(label), "h%d", h);
		i = add_node(k->t, attention, label, &target, target.path);
		n = &k->t->node[i];
		a = &k->t->node[attention];
		n->gone = !there;
		if (!there)
			continue;
		n->params = a->params / y->heads;
		n->nonzero = a->nonzero / y->heads;
		n->bytes = a->bytes / y->heads;
		n->macs = a->macs / y->heads;
		memcpy(n->form, a->form, sizeof(n->form));
		if (scored)
			n->importance = norm[h];
	}
}

static int
add_part(struct making *k, int parent, int l, enum target_kind kind,
    const char *label, bool there)
{
	struct target target = target_part(l, kind);
	int node = add_node(k->t, parent, label, &target, target.path);
	struct node *n = &k->t->node[node];

	fill_from(k->t, node, &k->module, &k->at_module);
	n->gone = !there;
	if (k->scores != NULL && there && kind != TARGET_NORM)
		n->importance = scores_part(k->scores, k->m, l, kind);
	return node;
}

static void
add_part_tensors(struct making *k, int parent, int l, const char *module)
{
	for (int s = 0; s < SLOT_LAYER_COUNT; s++)
		if (strcmp(slot_table[s].module, module) == 0)
			add_tensor(k, parent, (struct slot_ref){ l,
			    (enum slot)s });
}

static void
add_layer(struct making *k, int l)
{
	const struct layer *y = &k->m->layer[l];
	struct target target = target_layer(l);
	int layer = add_node(k->t, -1, target.path, &target, target.path);
	int attention, n;

	fill_from(k->t, layer, &k->layer, &k->at_layer);
	attention = add_part(k, layer, l, TARGET_ATTENTION, "attn",
	    y->heads > 0);
	add_heads(k, attention, l);
	add_part_tensors(k, attention, l, "attn");
	n = add_part(k, layer, l, TARGET_FFN, "ffn", y->ffn > 0);
	add_part_tensors(k, n, l, "ffn");
	k->t->node[layer].importance = hypot(k->t->node[n].importance,
	    k->t->node[attention].importance);
	n = add_part(k, layer, l, TARGET_NORM, "norm", true);
	add_part_tensors(k, n, l, "norm");
}

static struct target
group_target(const char *name)
{
	if (strcmp(name, "emb") == 0)
		return target_part(-1, TARGET_EMBEDDING);
	if (strcmp(name, "pooler") == 0)
		return target_part(-1, TARGET_POOLER);
	if (strcmp(name, "head") == 0)
		return target_part(-1, TARGET_OUTPUT);
	return target_part(-1, TARGET_NORM);
}

/* Slots that a model has once, by the first word of their part. */
static void
add_groups(struct making *k, enum slot from, enum slot to)
{
	char last[32] = "";
	int group = -1;

	for (int s = from; s < (int)to; s++) {
		struct slot_ref slot = { -1, (enum slot)s };
		const char *part = slot_table[s].part;
		char name[32];

		if (model_slot(k->m, slot) == NULL)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(part, "."),
		    part);
		if (strcmp(name, last) != 0) {
			struct target target = group_target(name);

			group = add_node(k->t, -1, name, &target, name);
			fill_from(k->t, group, &k->layer, &k->at_layer);
			memcpy(last, name, sizeof(last));
		}
		add_tensor(k, group, slot);
	}
}

/* Milliseconds of a module; the pooler is in the head. */
static double
module_ms(const struct latency_parts *p, const struct target *t)
{
	static const enum engine_part part[] = { [TARGET_ATTENTION] =
	    ENGINE_ATTENTION, [TARGET_FFN] = ENGINE_FFN,
	    [TARGET_NORM] = ENGINE_NORM };

	if (p == NULL || t->layer >= p->layers)
		return NAN;
	switch (t->kind) {
	case TARGET_EMBEDDING: return p->embed_ms;
	case TARGET_OUTPUT: return p->head_ms;
	case TARGET_LAYER: return latency_layer_ms(p, t->layer);
	case TARGET_ATTENTION:
	case TARGET_FFN:
	case TARGET_NORM:
		return t->layer < 0 ? NAN : p->layer_ms[t->layer][part[
		    t->kind]];
	default: return NAN;
	}
}

/* Tensors keep theirs. False when nothing is new. */
static bool
time_modules(struct app *app, struct tree *t)
{
	const struct latency_parts *p = timings_parts(app, t->timings,
	    app_model(app));
	bool news = false;

	for (int i = 0; i < t->n; i++) {
		struct node *n = &t->node[i];
		double ms = module_ms(p, &n->target);

		if (n->target.kind == TARGET_TENSOR)
			continue;
		news |= isfinite(ms) != isfinite(n->ms) || (isfinite(ms) &&
		    ms != n->ms);
		n->ms = ms;
	}
	return news;
}

static void
make_nodes(struct app *app, struct tree *t)
{
	struct making k = { .t = t, .m = app_model(app),
		.scores = scores_of(app) };
	int64_t seq = app->snap.seq;

	t->n = 0;
	if (k.m == NULL)
		return;
	account_rows(k.m, NULL, BY_LAYER, seq, t->counted, &k.layer);
	account_rows(k.m, NULL, BY_MODULE, seq, t->counted, &k.module);
	account_rows(k.m, NULL, BY_TENSOR, seq, t->counted, &k.tensor);
	take_row(&t->total, &k.layer.total);
	add_groups(&k, SLOT_LAYER_COUNT, SLOT_FINAL_W);
	for (int l = 0; l < k.m->nlayers; l++)
		add_layer(&k, l);
	add_groups(&k, SLOT_FINAL_W, SLOT_COUNT);
	/* Accounts are of a sequence; columns are per token, as in `show`. */
	for (int i = 0; i < t->n; i++)
		t->node[i].macs /= (double)seq;
	time_modules(app, t);
	account_free(&k.layer);
	account_free(&k.module);
	account_free(&k.tensor);
}

/* ---- what is shown ------------------------------------------------------- */

static int
find_open(const struct tree *t, const char *path)
{
	for (int i = 0; i < t->nopen; i++)
		if (strcmp(t->open[i], path) == 0)
			return i;
	return -1;
}

static void
set_open(struct tree *t, const char *path, bool open)
{
	int i = find_open(t, path);

	if (open && i < 0) {
		t->open = xrealloc(t->open, (size_t)(t->nopen + 1) *
		    sizeof(*t->open));
		t->open[t->nopen++] = xstrdup(path);
	} else if (!open && i >= 0) {
		free(t->open[i]);
		t->open[i] = t->open[--t->nopen];
	}
}

/* What a column sorts by; what is not known goes last. */
static double
sort_value(const struct tree *t, int i)
{
	double v = t->node[i].gone || values[t->by].value == NULL ? NAN :
	    values[t->by].value(&t->node[i], &t->total);

	return isfinite(v) ? v : -1;
}

/* Less than 0 when node a comes before b. */
static int
compare_nodes(const struct tree *t, int a, int b)
{
	int order = 0;

	if (t->by == COL_FORM) {
		order = strcmp(t->node[a].form, t->node[b].form);
	} else if (t->by != COL_COUNT) {
		double x = sort_value(t, a), y = sort_value(t, b);

		order = x > y ? -1 : x < y;
	}
	if (order == 0)
		return a - b;
	return t->turned ? -order : order;
}

static int
subtree_end(const struct tree *t, int i)
{
	int j = i + 1;

	while (j < t->n && t->node[j].depth > t->node[i].depth)
		j++;
	return j;
}

/* The children of a parent (-1: the roots) in order. Insertion keeps it short;
 * siblings are few. */
static int
list_children(const struct tree *t, int parent, int *out)
{
	int n = 0, from = parent + 1;
	int end = parent < 0 ? t->n : subtree_end(t, parent);

	for (int i = from; i < end; i = subtree_end(t, i)) {
		int at = n++;

		while (at > 0 && compare_nodes(t, i, out[at - 1]) < 0) {
			out[at] = out[at - 1];
			at--;
		}
		out[at] = i;
	}
	return n;
}

static void
show_children(struct tree *t, int parent)
{
	int *list = xmalloc((size_t)(t->n + 1) * sizeof(*list));
	int n = list_children(t, parent, list);

	for (int i = 0; i < n; i++) {
		t->shown[t->nshown++] = list[i];
		if (t->node[list[i]].branch &&
		    find_open(t, t->node[list[i]].path) >= 0)
			show_children(t, list[i]);
	}
	free(list);
}

/* Flat: tensors alone, in the chosen order. */
struct flat_key {
	const struct tree *t;
	int i;
};

static int
compare_flat(const void *pa, const void *pb)
{
	const struct flat_key *a = pa, *b = pb;

	return compare_nodes(a->t, a->i, b->i);
}

static void
show_flat(struct tree *t)
{
	struct flat_key *list = xmalloc((size_t)(t->n + 1) * sizeof(*list));
	int n = 0;

	for (int i = 0; i < t->n; i++)
		if (t->node[i].target.kind == TARGET_TENSOR)
			list[n++] = (struct flat_key){ t, i };
	qsort(list, (size_t)n, sizeof(*list), compare_flat);
	for (int i = 0; i < n; i++)
		t->shown[t->nshown++] = list[i].i;
	free(list);
}

static void
show_nodes(struct tree *t)
{
	t->shown = xrealloc(t->shown, (size_t)(t->n + 1) * sizeof(*t->shown));
	t->nshown = 0;
	if (t->flat)
		show_flat(t);
	else
		show_children(t, -1);
}

static const struct node *
node_at(const struct tree *t, int cursor)
{
	if (cursor < 0 || cursor >= t->nshown)
		return NULL;
	return &t->node[t->shown[cursor]];
}

static int
cursor_of(const struct tree *t, const struct target *target)
{
	for (int i = 0; i < t->nshown; i++)
		if (target_equal(&node_at(t, i)->target, target))
			return i;
	return -1;
}

/* The cursor onto the target, opening what hides it; where the target is gone,
 * onto its nearest relative. */
static void
reveal(struct app *app, struct tree *t)
{
	int i = cursor_of(t, &app->target);

	if (i < 0 && !t->flat) {
		for (int k = 0; k < t->n; k++) {
			if (!target_equal(&t->node[k].target, &app->target))
				continue;
			for (int p = t->node[k].parent; p >= 0;
			    p = t->node[p].parent)
				set_open(t, t->node[p].path, true);
			show_nodes(t);
			i = cursor_of(t, &app->target);
			break;
		}
	}
	if (i >= 0)
		t->cursor = i;
	if (t->cursor > t->nshown - 1)
		t->cursor = t->nshown > 0 ? t->nshown - 1 : 0;
}

static void
select_cursor(struct app *app)
{
	struct tree *t = tree_of(app);
	const struct node *n = node_at(t, t->cursor);

	if (n != NULL)
		app_select(app, &n->target);
}

/* ---- counting zeros ------------------------------------------------------ */

struct count_job {
	struct job job;
	struct model *m;
};

static enum pare_rc
count_run(struct job *job, struct task *task, struct pare_err *err)
{
	const struct model *m = ((struct count_job *)job)->m;
	struct slot_ref r = SLOT_REF_START;

	while (model_next_slot(m, &r)) {
		if (task_canceled(task))
			return task_error(err);
		tensor_nonzero(model_slot(m, r));
	}
	return PARE_OK;
}

static void
remake(struct app *app)
{
	struct tree *t = tree_of(app);

	make_nodes(app, t);
	show_nodes(t);
	reveal(app, t);
	app_dirty(app);
}

static void
count_done(struct app *app, struct job *job, enum pare_rc rc,
    const struct pare_err *err)
{
	struct tree *t = tree_of(app);

	if (t->counting == ((struct count_job *)job)->m)
		t->counting = NULL;
	if (rc != PARE_OK || app_model(app) != ((struct count_job *)job)->m)
		return;
	t->counted = true;
	remake(app);
}

static void
count_drop(struct job *job)
{
	model_unref(((struct count_job *)job)->m);
	free(job);
}

static bool
wants(const struct tree *t, enum column id)
{
	return t->by == id || column_list_find(&t->list, id) >= 0;
}

/* Counting reads all weights once, so it waits until the column is wanted. */
static void
want_zeros(struct app *app)
{
	struct tree *t = tree_of(app);
	const struct model *m = app_model(app);
	struct count_job *j;

	if (m == NULL || m->ghost || t->counted || t->counting == m ||
	    !wants(t, COL_SPARSITY))
		return;
	j = xcalloc(1, sizeof(*j));
	j->job.title = "counting zeros";
	j->job.quick = true;
	j->job.run = count_run;
	j->job.done = count_done;
	j->job.drop = count_drop;
	j->m = model_ref(m);
	t->counting = j->m;
	app_job(app, &j->job);
}

static void
scores_ready(struct app *app)
{
	if (wants(tree_of(app), COL_IMPORTANCE))
		remake(app);
}

/* Likewise for what else must be measured first. */
static void
want_columns(struct app *app)
{
	struct tree *t = tree_of(app);

	want_zeros(app);
	if (wants(t, COL_MS))
		timings_want(app, t->timings, remake);
	if (wants(t, COL_IMPORTANCE) && scores_of(app) != NULL) {
		scores_watch(scores_of(app), scores_ready);
		scores_want(app, scores_of(app));
	}
}

/* ---- drawing ------------------------------------------------------------- */

/* How many columns fit, and the width they leave for the name. */
static int
fit_columns(const struct tree *t, int cols, int *name)
{
	int n = 0, used = 0;

	while (n < t->list.n) {
		int w = column_table[t->list.id[n]].width + 1;

		if (used + w + (t->flat ? FLAT_MIN : NAME_MIN) > cols)
			break;
		used += w;
		n++;
	}
	*name = cols - used;
	if (*name > 32)
		*name = 32;
	return n;
}

static void
draw_title(const struct tree *t, struct cells *c, struct rect r, int n,
    int name)
{
	int col = r.col + name;

	cells_put(c, r.row, r.col, name - 1, STYLE_DIM, t->flat ? "tensor" :
	    "module");
	/* Columns that have no room. */
	if (n < t->list.n) {
		char more[32];

		snprintf(more, sizeof(more), "+%d%s", t->list.n - n,
		    glyph(c, GLYPH_RIGHT));
		cells_put_right(c, r.row, r.col + 7, name - 8, STYLE_DIM,
		    more);
	}
	for (int i = 0; i < n; i++) {
		enum column id = t->list.id[i];
		int w = column_table[id].width;
		char title[24];

		snprintf(title, sizeof(title), "%s%s", column_table[id].title,
		    id == t->by ? glyph(c, t->turned ? GLYPH_UP :
		    GLYPH_DOWN) : "");
		if (id == COL_FORM)
			cells_put(c, r.row, col + 1, w, STYLE_DIM, title);
		else
			cells_put_right(c, r.row, col + 1, w, STYLE_DIM,
			    title);
		col += w + 1;
	}
}

static void
draw_column(const struct tree *t, struct cells *c, int row, int col,
    enum column id, const struct node *n, int room)
{
	const struct column_value *k = &values[id];
	int width = column_table[id].width;
	char text[NUMBER_MAX];

	if (id == COL_BAR) {
		/* The largest part would fill it. */
		cells_bar(c, row, col, room, STYLE_BAR, k->value(n,
		    &t->total));
	} else if (id == COL_FORM) {
		cells_put(c, row, col, width, STYLE_NORMAL,
		    n->params == 0 && n->tied_to[0] != '\0' ? "tied" :
		    n->form);
	} else {
		if (id == COL_SPARSITY && !t->counted)
			snprintf(text, sizeof(text), "...");
		else if ((id == COL_IMPORTANCE || id == COL_MS) &&
		    !isfinite(k->value(n, &t->total)))
			text[0] = '\0';
		else
			k->spell(text, k->value(n, &t->total));
		cells_put_right(c, row, col, width, STYLE_NORMAL, text);
	}
}

static void
draw_name(const struct tree *t, struct cells *c, int row, int col, int width,
    const struct node *n)
{
	int indent = t->flat ? 0 : 2 * n->depth;
	enum glyph g = !n->branch ? GLYPH_LEAF :
	    find_open(t, n->path) >= 0 ? GLYPH_OPEN : GLYPH_CLOSED;
	bool module = n->target.kind != TARGET_TENSOR &&
	    n->target.kind != TARGET_HEAD;
	enum style style = n->gone ? STYLE_DIM : module ? STYLE_TITLE :
	    STYLE_NORMAL;

	if (!t->flat)
		cells_put(c, row, col + indent, 1, STYLE_DIM, glyph(c, g));
	indent += t->flat ? 0 : 2;
	indent += cells_put(c, row, col + indent, width - indent, style,
	    t->flat ? n->path : n->label);
	if (n->gone)
		cells_putf(c, row, col + indent, width - indent, style,
		    " %s pruned", glyph(c, GLYPH_PRUNED));
}

static void
draw_row(const struct tree *t, struct cells *c, struct rect r, int n,
    int name, int i)
{
	const struct node *node = node_at(t, i);
	int col = r.col + name;

	draw_name(t, c, r.row, r.col, node->gone ? r.cols : name - 1, node);
	for (int k = 0; k < n && !node->gone; k++) {
		enum column id = t->list.id[k];
		int room = k == n - 1 ? r.col + r.cols - col - 1 :
		    column_table[id].width;

		draw_column(t, c, r.row, col + 1, id, node, room);
		col += column_table[id].width + 1;
	}
	if (i == t->cursor)
		cells_select(c, r);
}

/* All of its columns and a name. */
static int
tree_cols(const struct app *app)
{
	const struct tree *t = tree_of(app);
	int n = NAME_MIN + 8;

	for (int i = 0; i < t->list.n; i++)
		n += column_table[t->list.id[i]].width + 1;
	return n;
}

static void
tree_draw(const struct app *app, struct cells *c, struct rect r)
{
	const struct tree *t = tree_of(app);
	int name, n = fit_columns(t, r.cols, &name), rows = r.rows - 1;
	int top = view_top(t->cursor, t->nshown, rows);

	if (app_model(app) == NULL) {
		cells_put(c, r.row, r.col, r.cols, STYLE_DIM, app_busy(app) ?
		    "opening the model" : "type :open DIR to open a model");
		return;
	}
	draw_title(t, c, r, n, name);
	for (int i = 0; i < rows && top + i < t->nshown; i++)
		draw_row(t, c, (struct rect){ r.row + 1 + i, r.col, 1,
		    r.cols }, n, name, top + i);
}

/* ---- acting -------------------------------------------------------------- */

static void
fold(struct app *app, bool open)
{
	struct tree *t = tree_of(app);
	const struct node *n = node_at(t, t->cursor);

	if (n == NULL)
		return;
	set_open(t, n->path, open);
	show_nodes(t);
}

static bool
is_open(const struct tree *t, const struct node *n)
{
	return n->branch && !t->flat && find_open(t, n->path) >= 0;
}

/* Folds the row, or goes to its parent. */
static void
go_left(struct app *app)
{
	struct tree *t = tree_of(app);
	const struct node *n = node_at(t, t->cursor);

	if (n == NULL)
		return;
	if (is_open(t, n)) {
		fold(app, false);
	} else if (n->parent >= 0 && !t->flat) {
		t->cursor = cursor_of(t, &t->node[n->parent].target);
		select_cursor(app);
	}
}

static void
go_right(struct app *app)
{
	struct tree *t = tree_of(app);
	const struct node *n = node_at(t, t->cursor);

	if (n == NULL || !n->branch || t->flat)
		return;
	if (!is_open(t, n)) {
		fold(app, true);
	} else {
		t->cursor++;
		select_cursor(app);
	}
}

/* Everything shut, or the layers open where everything is. */
static void
fold_all(struct app *app)
{
	struct tree *t = tree_of(app);
	bool open = t->nopen == 0;

	while (t->nopen > 0)
		free(t->open[--t->nopen]);
	for (int i = 0; open && i < t->n; i++)
		if (t->node[i].depth == 0)
			set_open(t, t->node[i].path, true);
	show_nodes(t);
	if (!open) {
		/* Onto the outermost of what hid the target. */
		int k = 0;

		while (k < t->n && !target_equal(&t->node[k].target,
		    &app->target))
			k++;
		while (k < t->n && t->node[k].parent >= 0)
			k = t->node[k].parent;
		t->cursor = k < t->n ? cursor_of(t, &t->node[k].target) : 0;
		select_cursor(app);
	} else {
		reveal(app, t);
	}
}

/* ---- columns and order --------------------------------------------------- */

const struct column_list *
tree_columns(const struct app *app)
{
	return &tree_of(app)->list;
}

enum column
tree_sorted(const struct app *app, bool *turned)
{
	*turned = tree_of(app)->turned;
	return tree_of(app)->by;
}

void
tree_sort(struct app *app, enum column by, bool turned)
{
	struct tree *t = tree_of(app);

	t->by = by;
	t->turned = turned;
	want_columns(app);
	show_nodes(t);
	reveal(app, t);
	app_dirty(app);
}

/* The next column that is shown; after the last, the model's own order. */
static void
sort_next(struct app *app)
{
	const struct tree *t = tree_of(app);
	int i = column_list_find(&t->list, t->by) + 1;

	while (i < t->list.n && t->list.id[i] == COL_BAR)
		i++;
	tree_sort(app, i < t->list.n ? t->list.id[i] : COL_COUNT, false);
	if (t->by == COL_COUNT)
		app_message(app, STYLE_NORMAL, "in the order of the model");
	else
		app_message(app, STYLE_NORMAL, "sorted by %s",
		    column_name(t->by));
}

static void
take_columns(struct app *app, const struct column_list *list)
{
	struct tree *t = tree_of(app);
	bool preset = false;

	t->list = *list;
	/* No order that nobody can see. */
	if (column_list_find(list, t->by) < 0)
		t->by = COL_COUNT;
	for (int i = 0; i < COLUMN_PRESETS; i++)
		preset = preset || column_list_equal(list, &column_presets[i]);
	if (!preset)
		t->own = *list;
	want_columns(app);
	remake(app);
}

void
tree_show_columns(struct app *app, const struct column_list *list)
{
	char text[COLUMNS_TEXT];

	if (list->n == 0 || column_list_equal(list, tree_columns(app)))
		return;
	take_columns(app, list);
	column_list_spell(list, text);
	if (app_busy(app))
		app_message(app, STYLE_NORMAL, "columns: %s", text);
	else
		app_commandf(app, "set columns %s", text);
}

/* From preset to preset, and to the own choice where there is one. */
static void
next_columns(struct app *app)
{
	const struct tree *t = tree_of(app);
	const struct column_list *all[COLUMN_PRESETS + 1];
	int n = 0, at = -1;

	while (n < COLUMN_PRESETS) {
		all[n] = &column_presets[n];
		n++;
	}
	if (t->own.n > 0)
		all[n++] = &t->own;
	for (int i = 0; i < n; i++)
		if (column_list_equal(all[i], &t->list))
			at = i;
	tree_show_columns(app, all[(at + 1) % n]);
}

/* The setting, where somebody changed it. */
static void
follow_setting(struct app *app)
{
	struct tree *t = tree_of(app);
	struct column_list list;

	if (strcmp(t->seen, app->snap.columns) == 0)
		return;
	memcpy(t->seen, app->snap.columns, sizeof(t->seen));
	column_list_parse(t->seen, &list);
	if (list.n > 0 && !column_list_equal(&list, &t->list))
		take_columns(app, &list);
}

static void
prune_cursor(struct app *app)
{
	const struct target *t = &app->target;

	switch (t->kind) {
	case TARGET_LAYER:
	case TARGET_ATTENTION:
	case TARGET_FFN:
	case TARGET_HEAD:
		toggle_target(app, t);
		break;
	default:
		app_message(app, STYLE_WARN, "layers, attentions, FFNs and "
		    "heads can be pruned whole; a lists what else applies");
	}
}

static bool
tree_act(struct app *app, enum action a)
{
	struct tree *t = tree_of(app);
	const struct node *n = node_at(t, t->cursor);

	switch (a) {
	case ACT_LEFT: go_left(app); break;
	case ACT_RIGHT: go_right(app); break;
	case ACT_ENTER:
		if (n != NULL && n->branch)
			fold(app, !is_open(t, n));
		break;
	case ACT_FOLD_ALL: fold_all(app); break;
	case ACT_FLAT:
		t->flat = !t->flat;
		show_nodes(t);
		reveal(app, t);
		break;
	case ACT_SORT: sort_next(app); break;
	case ACT_SORT_TURN: tree_sort(app, t->by, !t->turned); break;
	case ACT_COLUMNS: next_columns(app); break;
	case ACT_CHOOSE: app_push(app, VIEW_COLUMNS); break;
	case ACT_TOGGLE: prune_cursor(app); break;
	default:
		if (a < ACT_UP || a > ACT_LAST)
			return false;
		t->cursor = view_move(a, t->cursor, t->nshown,
		    app->layout.pane[PANE_MAIN].rows - 1);
		select_cursor(app);
	}
	return true;
}

static void
tree_click(struct app *app, struct rect r, int row, int col)
{
	struct tree *t = tree_of(app);
	struct rect list = { r.row + 1, r.col, r.rows - 1, r.cols };
	int i = view_row_at(t->cursor, t->nshown, list, row);

	if (i < 0)
		return;
	t->cursor = i;
	select_cursor(app);
}

/* All nodes are searched, also folded ones. */
static bool
tree_find(struct app *app, const char *text, int dir, bool from_top)
{
	struct tree *t = tree_of(app);
	int at = t->cursor < t->nshown ? t->shown[t->cursor] : 0;

	at = from_top ? (dir > 0 ? 0 : t->n - 1) : at + dir;
	for (; at >= 0 && at < t->n; at += dir) {
		struct target target = t->node[at].target;

		if (t->flat && target.kind != TARGET_TENSOR)
			continue;
		if (!view_has_text(t->node[at].path, text))
			continue;
		app_select(app, &target);
		reveal(app, t);
		return true;
	}
	return false;
}

static void
tree_update(struct app *app, unsigned change)
{
	struct tree *t = tree_of(app);

	follow_setting(app);
	if ((change & CHANGE_OPENED) != 0) {
		while (t->nopen > 0)
			free(t->open[--t->nopen]);
		t->cursor = 0;
	}
	if ((change & (CHANGE_MODEL | CHANGE_OPENED)) != 0) {
		t->counted = false;
		t->counting = NULL;
		make_nodes(app, t);
		show_nodes(t);
		reveal(app, t);
		if (app->target.kind == TARGET_MODEL)
			select_cursor(app);
		want_columns(app);
	} else if ((change & CHANGE_LATENCY) != 0 && time_modules(app, t)) {
		show_nodes(t);
		reveal(app, t);
	} else if ((change & CHANGE_TARGET) != 0) {
		const struct node *n = node_at(t, t->cursor);

		if (n == NULL || !target_equal(&n->target, &app->target))
			reveal(app, t);
	}
}

static void *
tree_make(void)
{
	struct tree *t = xcalloc(1, sizeof(*t));

	t->by = COL_COUNT;
	t->list = column_presets[0];
	t->timings = timings_new();
	return t;
}

static void
tree_drop(void *state)
{
	struct tree *t = state;

	while (t->nopen > 0)
		free(t->open[--t->nopen]);
	timings_free(t->timings);
	free(t->open);
	free(t->shown);
	free(t->node);
	free(t);
}

const struct view view_tree = {
	.id = VIEW_TREE,
	.name = "tree",
	.title = "Modules",
	.detail = true,
	.history = true,
	.cols = tree_cols,
	.make = tree_make,
	.drop = tree_drop,
	.update = tree_update,
	.draw = tree_draw,
	.act = tree_act,
	.click = tree_click,
	.find = tree_find,
};
