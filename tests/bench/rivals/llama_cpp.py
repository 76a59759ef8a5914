#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Llama-shaped decoder of random weights on llama.cpp, timed on request.

Writes GGUF files of the shape that bench_decode runs (12 layers of 768, FFN
2048, 32,000 words, output and embedding apart) with the package gguf and runs
them with llama.cpp as the package xllamacpp. Then answers lines of standard
input:

    prompt TYPE N      tokens a second over a prompt of N tokens
    decode TYPE N M    tokens a second of M tokens after a prompt of N
    memory TYPE        resident MiB of the process that holds TYPE
    quit

with one number, or "error REASON". TYPE is F32, F16, BF16, Q8_0, Q4_0 or Q4_K;
matrices have it, norms are F32. Each TYPE is held by a process of its own.

The first line it writes is "ready NAME VERSION", or "missing REASON" where a
package is not installed.

usage: llama_cpp.py [--threads N]
"""

import argparse
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile

HIDDEN, HEADS, FFN, LAYERS, VOCAB, CONTEXT = 768, 12, 2048, 12, 32000, 1024
# Types that the package gguf cannot make are filled with random codes and a
# small scale: bytes of a block, and where its halves of scale stand.
BLOCKS = {"Q4_K": (256, 144, (0, 2))}


def shapes():
    """Names and (rows, columns) of the matrices."""
    yield "token_embd", (VOCAB, HIDDEN)
    yield "output", (VOCAB, HIDDEN)
    for i in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{i}.{name}", (HIDDEN, HIDDEN)
        for name in ("ffn_gate", "ffn_up"):
            yield f"blk.{i}.{name}", (FFN, HIDDEN)
        yield f"blk.{i}.ffn_down", (HIDDEN, FFN)


def data_of(kind, shape, rng):
    """Array and raw type of a random matrix."""
    import gguf
    import numpy
    t = gguf.GGMLQuantizationType[kind]
    if kind in BLOCKS:
        values, size, scales = BLOCKS[kind]
        a = rng.integers(0, 256, (shape[0], shape[1] // values, size),
                         dtype=numpy.uint8)
        for at in scales:
            a[..., at], a[..., at + 1] = 0, 0x10
        return a.reshape(shape[0], -1), t
    a = (rng.random(shape, dtype=numpy.float32) - 0.5) * 0.07
    return (a, None) if kind == "F32" else (gguf.quants.quantize(a, t), t)


def tokens_of(w):
    """A vocabulary of single bytes and of names."""
    import gguf
    kinds = gguf.TokenType
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256
    more = VOCAB - len(names)
    w.add_tokenizer_model("llama")
    w.add_token_list(names + [f"w{i}" for i in range(more)])
    w.add_token_scores([0.0] * VOCAB)
    w.add_token_types(types + [kinds.NORMAL] * more)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)


def write(kind, path):
    """The model as a GGUF file."""
    import gguf
    import numpy
    rng = numpy.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(CONTEXT)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(HEADS)
    w.add_rope_dimension_count(HIDDEN // HEADS)
    w.add_rope_freq_base(10000.0)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCAB)
    tokens_of(w)
    for name, shape in shapes():
        a, t = data_of(kind, shape, rng)
        w.add_tensor(name + ".weight", a, raw_dtype=t)
    ones = numpy.ones(HIDDEN, dtype=numpy.float32)
    w.add_tensor("output_norm.weight", ones)
    for i in range(LAYERS):
        w.add_tensor(f"blk.{i}.attn_norm.weight", ones)
        w.add_tensor(f"blk.{i}.ffn_norm.weight", ones)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def hold(path, threads):
    """Runs one file: answers lines "N M" with prompt and decode rates."""
    import xllamacpp as x
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    p = x.CommonParams()
    p.model.path = path
    p.n_ctx = CONTEXT
    p.cpuparams.n_threads = threads
    p.cpuparams_batch.n_threads = threads
    server = x.Server(p)
    for line in sys.stdin:
        n, m = map(int, line.split())
        r = server.handle_completions({
            "prompt": [300 + i % 1000 for i in range(n)], "n_predict": m,
            "ignore_eos": True, "cache_prompt": False, "temperature": 0.0})
        r = r if isinstance(r, dict) else json.loads(r)
        t = r["timings"]
        with open("/proc/self/statm") as f:
            resident = int(f.read().split()[1]) * 4096 / 2**20
        print(t["prompt_per_second"], t["predicted_per_second"], resident,
              file=answers, flush=True)
    os._exit(0)


class Held:
    """The processes that hold a type each."""

    def __init__(self, folder, threads):
        self.folder, self.threads, self.at = folder, threads, {}

    def ask(self, kind, n, m):
        if kind not in self.at:
            path = os.path.join(self.folder, kind + ".gguf")
            write(kind, path)
            self.at[kind] = subprocess.Popen(
                [sys.executable, __file__, "--hold", path, "--threads",
                 str(self.threads)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.ask(kind, n, m)
        p = self.at[kind]
        p.stdin.write(f"{n} {m}\n")
        p.stdin.flush()
        line = p.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp does not run {kind}")
        return [float(v) for v in line.split()]

    def stop(self):
        for p in self.at.values():
            p.kill()
            p.wait()


def answer(held, words):
    """The number that a line asks for."""
    if words[0] == "prompt":
        return held.ask(words[1], int(words[2]), 1)[0]
    if words[0] == "decode":
        return held.ask(words[1], int(words[2]), int(words[3]))[1]
    if words[0] == "memory":
        return held.ask(words[1], 128, 1)[2]
    raise ValueError("not a question: " + " ".join(words))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hold")
    options = parser.parse_args()
    if options.hold:
        hold(options.hold, options.threads)
    try:
        from importlib.metadata import version
        version("gguf")
        name = "llama.cpp of xllamacpp " + version("xllamacpp")
    except ImportError as e:
        print(f"missing {e}", flush=True)
        return
    folder = tempfile.mkdtemp(prefix="pare-rival-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    held = Held(folder, options.threads)
    atexit.register(held.stop)
    print("ready " + name, flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words or words[0] == "quit":
            break
        try:
            print(answer(held, words), flush=True)
        except Exception as e:
            print("error " + str(e).replace("\n", " "), flush=True)


main()
