/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * gates: the derivative of each sample's loss by gates that multiply the heads,
 * the FFN neurons, what the sub-layers add and what the layers change, all at 1:
 *
 *	dL/dg = sum over tokens and values of x * dL/dx
 *
 * (Michel, Levy, Neubig 2019; for neurons and layers the same). One pass there
 * and back over activations; no gradient of a weight is computed. Any form of
 * tensor will do: matrices are decoded to float32, floats are used where they
 * are.
 *
 * With relevance instead of gradients the same sums are what layer-wise
 * relevance propagation gives (Bach et al. 2015; attention and norms as in Ali
 * et al., "XAI for Transformers: better explanations through conservative
 * propagation", 2022): the shares that the parts have in the logit of the class
 * predicted. Biases keep their own share.
 */
#ifndef PARE_ENGINE_GATES_H
#define PARE_ENGINE_GATES_H

#include "engine/train.h"

/* Where gates lie in a row of them: heads and neurons of a layer one after
 * another by present index. Owned by struct gates. */
struct gates_layout {
	int64_t n;		/* all */
	/* Per layer. stream: all that flows behind the layer; of relevance that
	 * is the whole logit, but for what biases have behind it. */
	int64_t *heads, *neurons, *attention, *ffn, *layer, *stream;
};

void gates_layout_make(struct gates_layout *a, const struct model *m);
void gates_layout_free(struct gates_layout *a);

/* Over samples: the mean of |dL/dg|, and of its square (the diagonal of the
 * Fisher information, for the loss is that of one sample). n values each. */
struct gates_means {
	struct gates_layout at;
	double *size, *square;
	float *each;		/* (samples, n): dL/dg of each; NULL: not kept */
	int64_t samples, labelled;	/* the rest stood for what is predicted */
	/* So many samples with gradients of one size would weigh as much: with q
	 * the sum of squares of a sample's, (sum q)^2 / sum q^2. */
	double weight;
};
void gates_means_free(struct gates_means *g);	/* not g itself */

struct gates;
/* PARE_EUSER where the model cannot be differentiated (and why). Keeps a
 * reference to m. */
struct gates *gates_new(const struct model *m, struct pare_err *err);
/* Another one of the same model for another thread, with the weights of g, which
 * has to live longer. */
struct gates *gates_twin(const struct gates *g);
void gates_free(struct gates *g);	/* NULL is fine */
const struct gates_layout *gates_layout(const struct gates *g);

/*
 * Samples sample[0..n) of d, all at once: row i of out (n, layout->n) is for
 * sample[i]. A label below 0 stands for the class that is predicted, a score that
 * is no number for the score itself. *loss is the mean (of relevance: the mean
 * logit explained).
 */
enum pare_rc gates_run(struct gates *g, const struct train_data *d,
    const int64_t *sample, int n, bool relevance, double *out, double *loss,
    struct task *task, struct pare_err *err);

#endif
