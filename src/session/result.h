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
 * In a dry run, commands that would only measure, write or travel answer
 * dry_run true and nothing else.
 *
 * open     path, name, architecture, model_type, head ("none",
 *          "classification", "regression", "masked-lm", "causal-lm"), layers, heads[], hidden, params, bytes,
 *          labels[], tokenizer (kind or null), weights (bool), notes[]
 * data     role, path, n, columns, skipped_rows, unlabelled, truncated,
 *          bad_bytes, tokens, tokens_per_sample, labels[] {label, n}, overlap;
 *          documents (of running text; n is its windows then), scored (tokens
 *          that eval asks a language model for), custom ("chunks", "stride",
 *          "masked" or null), context (tokens of a window)
 * info     as open without notes; embedding, ffn[], vocab, positions, head_dim,
 *          nonzero (or null), macs_per_token, seq, kv_bytes (decoders: keys and
 *          values of a text of seq tokens), tensors, tied,
 *          data {eval, calib: null or {path, n, columns}}, threads, blas,
 *          instructions (the level in use), processor (the level it has),
 *          lacking[] (the levels it has not, and from avx512 on the single
 *          instructions), precision ("fast" or "exact", of products),
 *          kernels[] {form, kernel, one (the kernel for one token)} of the
 *          matrices that are multiplied, held_bytes (tensors of all states, each
 *          once), program_bytes (resident before a model was opened; -1:
 *          unknown, as resident_bytes), scratch_bytes, cache_bytes (inputs of
 *          layers kept for evaluations), resident_bytes, states,
 *          forms[] {form, tensors, bytes}
 * show     by, target, seq, rows[] {path, kind, layer, params, share, nonzero
 *          (null where counting would read gigabytes),
 *          bytes, bits_per_param, macs_per_token, ms (null unless measured),
 *          form, tied_to, heads, ffn, shape[] and file_name by=tensor}, total
 *          {the same}; kv_bytes of decoders (keys and values of seq tokens) in
 *          rows of layers and attention, and in total; latency: what ms is of,
 *          or null {batch, seq, threads,
 *          whole_ms, embed_ms}
 * inspect  targets[] {path, shape[], form, params, nonzero, bytes, min, max, mean,
 *          deviation, skewness, kurtosis, abs_mean, l2, zeros, nans, infs,
 *          subnormals, histogram {low, high, counts[]}, spectrum {values[],
 *          break_even_rank, rank_for_energy[] {energy, rank}}}
 * attend   layer, head, sample (or null), tokens[], attention[][] (a row for each
 *          token, a column for each it looks at)
 * OPS      (kind "op") op, before and after {params, nonzero, bytes,
 *          macs_per_token, tensors}, seq, seconds, note, dry_run; for a budget
 *          of time times {seq, disturbed (other programs ran while the table was
 *          measured), start_ms, predicted_ms, predicted_ratio, and
 *          of what was made measured_ms, measured_start_ms, measured_ratio}
 * undo, redo, goto, mark     command_of_state, mark, bytes, params, metric,
 *          metric_value, cached (a value is remembered); mark: marked (the
 *          state that got the name)
 * history  current, metric, states[] {id, parent, command, hash, bytes, params,
 *          own_bytes, metric_value, latency_ratio, mark, seconds}
 * diff     a, b {state, command, params, bytes, macs_per_token}, rows[] {path,
 *          a, b} each null or {form, params, bytes, shape[]}; layers[] {layer, a, b}
 *          each null or {heads, ffn}, where they differ
 * eval     metric, value, ci95[low, high], n, total (labelled samples), partial
 *          (stopped after n of them), loss, seconds, tokens_per_second,
 *          from_layer (the first that was computed; the input of it was known),
 *          cached, metrics {name: value}; against another state (the original
 *          unless said): against, delta, fixed, broke, changed, mcnemar_p,
 *          verdict. Of a language model n, total, fixed, broke and changed are
 *          scored tokens (mcnemar_p takes them as independent, which they are
 *          not quite); custom, context and stride (of running text), windows;
 *          ratio {value, low, high, p}: its perplexity by the other's, with
 *          95 % interval and p from paired windows; divergence from the original
 *          {mean, ci95[low, high], median, p99, max: KL in nats a token,
 *          same_top, same_top_ci95: share of tokens where the likeliest is the
 *          same, kept of vocab: of each distribution of the original, the
 *          others as one}; where tokens were pruned, of the original with the
 *          tokens that are left. Between states with other tokens delta (but of
 *          bits_per_byte), fixed, broke and changed are null, there is no
 *          ratio, and the verdict tells the bits per byte of both
 * latency  batch, seq, runs, p50_ms, p95_ms, p25_ms, p75_ms, spread
 *          ((p75 - p25) / p50, of the worse side), waited (share of the time
 *          that threads had no processor, or null), noise (what makes the
 *          numbers doubtful, or null), original_p50_ms, ratio_to_original
 *          {median, low, high}, warm_up (runs before those), threads, pinned,
 *          cached, blas; breakdown and original_breakdown {passes, whole_ms,
 *          sum_ms, embed_ms, attention_ms, ffn_ms, norm_ms, head_ms, layers[]
 *          {layer, ms, attention_ms, ffn_ms, norm_ms}}: means of the middle half of the passes; list_layers;
 *          decode (null for models that write no text) {prompt, tokens, runs,
 *          first_p50_ms and first_p95_ms (from the prompt to the first token),
 *          p50_ms and p95_ms (of a token), tokens_per_second, kv_bytes, waited,
 *          cached, and against the original ratio_to_original {median, low,
 *          high} (of a token's time), original_first_p50_ms, original_p50_ms,
 *          original_kv_bytes}
 *          of a grid: batches[], lengths[], partial (it was stopped), threads,
 *          pinned, blas, cells[] {batch, seq, runs and, if that is not 0, what
 *          a pass has up to ratio_to_original, tokens_per_second}, in the order
 *          of the lengths for each batch
 * predict  n, what, file (with out=, else null), labels[], rows[] {index, label, gold,
 *          ids[], tokens[], logits[] (masked LM: logits[][]), probabilities[],
 *          text, pair}; what=hidden: hidden[][]; what=next: next[] {position
 *          (of the token that is told), tokens[] {id, token, probability}}
 * generate prompt (or null, with ids=), prompt_ids[], n (asked for), temperature,
 *          top_k, top_p, seed, current and original (null where it is the
 *          current one) {state, n, end ("length", "stop", "canceled"), ids[],
 *          text (or null without a tokenizer), kv_bytes, first_ms (from the
 *          prompt to the first token), tokens_per_second (from then on)}, differ
 *          (the first token, from 0, in which they differ, or null), partial
 * compare  a, b {state, command, metric, value, ci95, n, params, bytes,
 *          macs_per_token}, delta, fixed, broke, changed, mcnemar_p, verdict,
 *          flips[] {index, gold, a, b, text, pair}; of a language model also
 *          ratio as in eval, and flips[] {index of the window, position of the
 *          token in it, gold, a, b, text before it}
 *          where a step from a to b chose what goes: control {line (the first
 *          such one, at random), draws[] {seed, value, delta (of b from it), p},
 *          mean, verdict}
 * importance unit, by, measure, samples (looked at), n, seconds, rows[] {rank,
 *          path, layer, head or neuron, score}, the most important first;
 *          by_layer[] {layer, n, mean, low, high} of neurons
 * sweep    what, mode, n, done, recalled, partial, samples, labelled, tokens,
 *          text (samples are windows of it), seconds, evaluation_seconds (of
 *          one pass of the whole model), base {loss, value}, rows[] {path,
 *          layer, head and heads (with it), or level and bits, loss, delta_loss, value, delta, kl,
 *          fixed, broke, changed}; of mode=greedy step and round too, and what
 *          is told is of the model after it; kept: best_of_layer[] likewise;
 *          mode=others: all[], without the one; compare=on: spearman
 *          {importance: {kl, loss}}
 * plan     budget {bytes, macs_per_token, latency_ms, drop: null where none, in the
 *          unit of drop_of: "points", "perplexity" (a share of it),
 *          "bits_per_byte", "next_token"},
 *          metric, samples (on which options were measured), calib_samples,
 *          options, recalled (of them, from earlier), seconds_of_options, start
 *          {bytes, macs_per_token, latency_ms, value (on the calib samples),
 *          of tokens bits_per_byte, next_token (share foretold), and so below},
 *          predicted {bytes, macs_per_token, latency_ms, latency_ratio, sum (of the options'
 *          divergences), kl, drop (in shares of the metric; of
 *          tokens the share by which the perplexity rises)}, calib {kl, value,
 *          drop: of this very plan on the calib samples}, lines[], parts[]
 *          {path, choice, kl}, anchors[] {the keys of start, sum, kl, value,
 *          drop: plans that were applied and measured}, curve_of ("bytes",
 *          "macs", "latency"), curve[] {use, sum, drop (foretold)}, applied;
 *          measured {bytes, macs_per_token, latency_ms, start_latency_ms,
 *          latency_ratio; on the eval samples was, value, ci95, n, drop, fixed,
 *          broke, mcnemar_p, verdict; of tokens was_bits_per_byte,
 *          was_next_token, perplexity_ratio {median, low, high}}
 *          plan order: metric, value, n, bytes, orders[] {rank, ops[], refused
 *          (why an op of it cannot be, or null), bytes, value, loss, delta,
 *          fixed, broke}, the best first
 * overview metric, seq, runs, start {bytes, params, value, n}, rows[] {method,
 *          lines, refused (or null), bytes, params, p50_ms, latency_ratio
 *          {median, low, high}, value, ci95, delta, fixed, broke, mcnemar_p,
 *          of tokens perplexity_ratio {median, low, high}, bits_per_byte,
 *          next_token (and in start), memory and time (whether it got
 *          better), kept (the metric is not clearly and much worse), lecture_memory,
 *          lecture_time (what lectures print)}
 * expect   metric, op, value, actual, holds (also when it is false, beside error)
 * recover  epochs[] {epoch, loss, seconds}, before, after, seq, seconds as OPS
 * save     path, bytes, files[] {name, bytes}, plain, checked,
 *          max_logit_difference
 * export   format, path, bytes (of tensors), model_bytes (of the state's), types[]
 *          {type, tensors, bytes}, padded, lossy (some tensors have other
 *          values), weighed (tensors rounded by what the calib samples say),
 *          checked, sequences (inputs that were compared), rows (of
 *          outputs), same_top (rows whose largest output is the same),
 *          max_logit_difference (from the state), largest_logit
 * recipe   path, lines        source  path, lines
 * resume   path, lines, states and the keys of undo; or path, discarded
 * set      settings[] {name, value, default, text}
 * help     text (all of it, plain); without a topic: groups[] {title, commands[]
 *          {name, text}}; with one: topic, topics[] {name, usage, summary,
 *          details, args[] {name, type, required, word, default, min, max,
 *          choices[], unit, text}, examples[]}
 *
 * In a live session (session.interactive, `set live on`, labelled eval samples)
 * open, data, ops and recover also have `eval`, and ops and recover `latency`,
 * as those commands give them, without a breakdown.
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
/* labels[]: the names of a classifier's classes, empty for other heads. */
void result_put_labels(json_t *doc, const struct model *m);

#endif
