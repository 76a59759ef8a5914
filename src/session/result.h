/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * result: the documents that commands return, one JSON object a command. --json
 * prints them as they are, on one line; the text renderers of ui/ read the same
 * keys, so every number agrees. Units are in key names; shares are 0 to 1;
 * undefined numbers are null.
 *
 * Every document: command (the whole line), ok, state (id or null), hash (16 hex
 * digits of the current model or null). warnings[] of strings where there are
 * any. On failure: error {code, message, hint}.
 *
 * open     path, name, architecture, head, layers, heads[], params, bytes,
 *          labels[], tokenizer (kind or null), weights (bool), notes[]
 * data     role, path, n, columns, skipped_rows, unlabelled, truncated,
 *          bad_bytes, tokens, tokens_per_sample, labels[] {label, n}, overlap
 * info     name, path, architecture, head, layers, heads[], ffn[], hidden,
 *          embedding, vocab, positions, head_dim, params, nonzero (or null),
 *          bytes, macs_per_token, seq, tensors, tied, weights, tokenizer,
 *          labels[], data {eval, calib}, threads, blas, kernels[] {form, kernel},
 *          scratch_bytes, resident_bytes, states, forms[] {form, tensors, bytes}
 * show     by, seq, rows[] {path, kind, layer, params, share, nonzero, bytes,
 *          bits_per_param, macs_per_token, form, tied_to, heads, ffn,
 *          shape[] and file_name by=tensor}, total {the same}
 * inspect  targets[] {path, shape[], form, params, nonzero, bytes, min, max, mean,
 *          deviation, skewness, kurtosis, abs_mean, l2, zeros, nans, infs,
 *          subnormals, histogram {low, high, counts[]}, spectrum {values[],
 *          break_even_rank, rank_for_energy[] {energy, rank}}}
 * OPS      (kind "op") op, before and after {params, nonzero, bytes,
 *          macs_per_token}, seconds, note, dry_run; in a live session also eval
 *          and latency documents when they were run
 * undo, redo, goto, mark     state, command_of_state, bytes, params, metric_value,
 *          cached
 * history  current, states[] {id, parent, command, hash, bytes, params, own_bytes,
 *          metric_value, latency_ratio, mark, seconds}
 * diff     a, b {state, params, bytes, macs_per_token}, rows[] {path, a, b} each
 *          with form, params, bytes; layers where shapes differ
 * eval     metric, value, ci95[low, high], n, loss, seconds, tokens_per_second,
 *          cached, metrics {name: value}; against the original: delta, fixed,
 *          broke, changed, mcnemar_p, verdict
 * latency  batch, seq, runs, threads, p50_ms, p95_ms, cached, blas,
 *          original_p50_ms, ratio_to_original {median, low, high}
 * predict  n, file (with out=), rows[] {index, label, gold, ids[], tokens[],
 *          logits[], probabilities[], text}; what=hidden: hidden[][]
 * compare  a, b {state, command, metric, value, ci95, params, bytes,
 *          macs_per_token}, delta, fixed, broke, changed, mcnemar_p, verdict,
 *          flips[] {index, gold, a, b, text}
 * expect   metric, op, value, actual, holds
 * recover  epochs[] {epoch, loss, seconds}, before, after as OPS
 * save     path, bytes, files[] {name, bytes}, plain, checked, max_logit_difference
 * recipe   path, lines        source  path, lines
 * set      settings[] {name, value, default, text}     help  text topic data
 */
#ifndef PARE_SESSION_RESULT_H
#define PARE_SESSION_RESULT_H

#include "session/session.h"

/* Helpers that commands share. */
void result_put_totals(json_t *doc, const char *key, const struct totals *t,
    int64_t seq);
void result_put_hash(json_t *doc, const char *key, uint64_t hash);
/* A real, or null when it is not finite. */
void result_put_real(json_t *doc, const char *key, double v);
void result_put_int(json_t *doc, const char *key, int64_t v);
void result_put_bool(json_t *doc, const char *key, bool v);
/* A string, null for NULL; bytes that are no UTF-8 become '?'. */
void result_put_text(json_t *doc, const char *key, const char *s);
json_t *result_text(const char *s);

#endif
