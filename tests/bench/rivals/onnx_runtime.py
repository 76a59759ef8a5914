#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""BERT-base on ONNX Runtime, timed on request.

Builds the graph that pare's benchmarks run (random weights, BERT-base shapes,
a classifier of two labels) in the operators that ONNX Runtime's own
transformer optimizer ends with: EmbedLayerNormalization, Attention or
MultiHeadAttention (whichever is faster here), BiasGelu, SkipLayerNormalization
with the bias inside. Then answers lines of standard input:

    run KIND BATCHxLENGTH    one pass over so many tokens
    run KIND lengths FILE    one pass over the sequences whose lengths FILE
                             lists, in their order, 32 a batch, each batch
                             padded to its longest, with a mask
    run KIND sorted FILE     the same, sorted by length first
    memory KIND              resident MiB that loading KIND added
    quit

with one number, milliseconds of that run (or MiB), or "error REASON". Models
are made at their first use, which warms them up as well. KIND is one of

    float32
    int8          dynamic quantization of the tool onnxruntime.quantization
    int8-blocks   MatMulNBits, 8 bits, integer products
    int4          MatMulNBits, 4 bits, integer products
    int2          the same with 2 bits
    float16, bfloat16

The first line it writes is "ready NAME VERSION", or "missing REASON" where a
package is not installed.

usage: onnx_runtime.py [--threads N] [--variant KIND=attention|mha|...]
"""

import argparse
import os
import sys
import tempfile
import time

HIDDEN, HEADS, FFN, LAYERS = 768, 12, 3072, 12
VOCAB, POSITIONS, TYPES, LABELS = 30522, 512, 2, 2
BATCH = 32
MICROSOFT = "com.microsoft"


class Graph:
    """Nodes and initializers of one model."""

    def __init__(self, kind, attention, masked, block):
        self.kind, self.attention, self.masked = kind, attention, masked
        self.block = block
        self.rng = numpy.random.default_rng(1)
        self.nodes, self.constants = [], []
        self.count = 0

    def real(self):
        return {"float16": numpy.float16, "bfloat16": ml_dtypes.bfloat16}.get(
            self.kind, numpy.float32)

    def constant(self, array):
        name = "c%d" % len(self.constants)
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def weight(self, *shape):
        w = self.rng.standard_normal(shape, dtype=numpy.float32) * 0.02
        return self.constant(w.astype(self.real()))

    def same(self, value, *shape):
        return self.constant(numpy.full(shape, value, numpy.float32).astype(
            self.real()))

    def add(self, op, inputs, outputs=1, domain="", **attributes):
        self.count += 1
        names = ["t%d_%d" % (self.count, i) for i in range(outputs)]
        self.nodes.append(onnx.helper.make_node(
            op, inputs, names, name="n%d" % self.count, domain=domain,
            **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, x, k, n):
        """x W, without its bias."""
        bits = {"int4": 4, "int2": 2, "int8-blocks": 8}.get(self.kind)
        if bits is None:
            return self.add("MatMul", [x, self.weight(k, n)])
        blocks = k // self.block
        codes = self.rng.integers(
            0, 256, (n, blocks, self.block * bits // 8), dtype=numpy.uint8)
        scales = numpy.full(n * blocks, 0.04 / (1 << bits), numpy.float32)
        return self.add("MatMulNBits",
                        [x, self.constant(codes), self.constant(scales)],
                        domain=MICROSOFT, K=k, N=n, bits=bits,
                        block_size=self.block, accuracy_level=4)

    def heads(self, x):
        """Attention up to the sum of the values."""
        mask = ["mask"] if self.masked else []
        if self.attention == "attention":
            return self.add("Attention", [
                x, self.weight(HIDDEN, 3 * HIDDEN),
                self.weight(3 * HIDDEN)] + mask, domain=MICROSOFT,
                num_heads=HEADS)
        parts = [self.linear(x, HIDDEN, HIDDEN) for _ in range(3)]
        return self.add("MultiHeadAttention", parts + [
            self.weight(3 * HIDDEN)] + mask, domain=MICROSOFT,
            num_heads=HEADS)

    def norm(self, x, residual, bias):
        return self.add("SkipLayerNormalization", [
            x, residual, self.same(1, HIDDEN), self.same(0, HIDDEN), bias],
            domain=MICROSOFT, epsilon=1e-12)

    def layer(self, x):
        y = self.linear(self.heads(x), HIDDEN, HIDDEN)
        x = self.norm(y, x, self.weight(HIDDEN))
        y = self.add("BiasGelu", [self.linear(x, HIDDEN, FFN),
                                  self.weight(FFN)], domain=MICROSOFT)
        return self.norm(self.linear(y, FFN, HIDDEN), x, self.weight(HIDDEN))

    def model(self):
        x = self.add("EmbedLayerNormalization", [
            "ids", "types", self.weight(VOCAB, HIDDEN),
            self.weight(POSITIONS, HIDDEN), self.weight(TYPES, HIDDEN),
            self.same(1, HIDDEN), self.same(0, HIDDEN)], 2, MICROSOFT,
            epsilon=1e-12)[0]
        for _ in range(LAYERS):
            x = self.layer(x)
        first = self.add("Gather", [x, self.constant(numpy.array(0))], axis=1)
        pooled = self.add("Tanh", [self.add("Gemm", [
            first, self.weight(HIDDEN, HIDDEN), self.weight(HIDDEN)])])
        logits = self.add("Gemm", [
            pooled, self.weight(HIDDEN, LABELS), self.weight(LABELS)])
        return self.finish(logits)

    def finish(self, output):
        tensor = onnx.helper.make_tensor_value_info
        int32 = onnx.TensorProto.INT32
        inputs = [tensor("ids", int32, ["batch", "length"]),
                  tensor("types", int32, ["batch", "length"])]
        if self.masked:
            inputs.append(tensor("mask", int32, ["batch"]))
        real = {"float16": onnx.TensorProto.FLOAT16,
                "bfloat16": onnx.TensorProto.BFLOAT16}.get(
                    self.kind, onnx.TensorProto.FLOAT)
        graph = onnx.helper.make_graph(
            self.nodes, "bert", inputs, [tensor(output, real, None)],
            self.constants)
        opset = onnx.helper.make_opsetid
        return onnx.helper.make_model(
            graph, opset_imports=[opset("", 17), opset(MICROSOFT, 1)],
            ir_version=9)


def dynamic_int8(model, per_channel):
    """What the rival's own tool makes of the float32 model."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "float32.onnx")
        target = os.path.join(folder, "int8.onnx")
        onnx.save(model, source)
        quantize_dynamic(source, target, per_channel=per_channel,
                         weight_type=QuantType.QInt8,
                         extra_options={
                             "MatMulConstBOnly": True,
                             "DefaultTensorType": onnx.TensorProto.FLOAT})
        return onnx.load(target)


# What may be the fastest way to say the same. Blocks: weights a scale.
VARIANTS = {
    "float32": ["attention", "mha"],
    "float16": ["attention", "mha"],
    "bfloat16": ["attention", "mha"],
    "int8": ["attention", "mha", "attention-channel"],
    "int8-blocks": ["mha-32", "mha-128"],
    "int4": ["mha-32", "mha-128"],
    "int2": ["mha-32", "mha-128"],
}


def resident():
    with open("/proc/self/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0


class Rival:
    def __init__(self, threads, fixed):
        self.threads, self.fixed = threads, fixed
        self.sessions, self.best, self.memory = {}, {}, {}
        self.rng = numpy.random.default_rng(2)

    def make(self, kind, variant, masked):
        attention, _, more = variant.partition("-")
        model = Graph(kind, attention, masked,
                      int(more) if more.isdigit() else 32).model()
        if kind == "int8":
            model = dynamic_int8(model, more == "channel")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Its threads may spin within a run, not between: others run then.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        raw = model.SerializeToString()
        del model
        before = resident()
        session = onnxruntime.InferenceSession(
            raw, options, providers=["CPUExecutionProvider"])
        self.memory[kind] = resident() - before
        return session

    def feed(self, batch, length, mask=None):
        ids = self.rng.integers(1000, 30000, (batch, length),
                                dtype=numpy.int32)
        feed = {"ids": ids, "types": numpy.zeros_like(ids)}
        if mask is not None:
            feed["mask"] = numpy.array(mask, numpy.int32)
        return feed

    def pick(self, kind):
        """The variant that is the fastest here at one sequence of 128."""
        if kind not in self.best:
            names = self.fixed.get(kind, VARIANTS[kind])
            made = {v: self.make(kind, v, False) for v in names}
            took = {v: [] for v in names}
            feed = self.feed(1, 128)
            for _ in range(7 if len(names) > 1 else 1):
                for v in names:
                    took[v].append(timed(made[v], feed))
            self.best[kind] = min(names, key=lambda v: min(took[v]))
            self.sessions[kind, False] = made[self.best[kind]]
            print("%s: %s" % (kind, ", ".join("%s %.1f ms" % (
                v, min(took[v])) for v in names)), file=sys.stderr)
        return self.best[kind]

    def session(self, kind, masked):
        variant = self.pick(kind)
        if (kind, masked) not in self.sessions:
            self.sessions[kind, masked] = self.make(kind, variant, masked)
        return self.sessions[kind, masked]

    def run(self, kind, shape, path=None):
        if path is None:
            batch, length = (int(n) for n in shape.split("x"))
            return timed(self.session(kind, False), self.feed(batch, length))
        with open(path, encoding="ascii") as f:
            lengths = [int(n) for line in f if not line.startswith("#")
                       for n in line.split()]
        if shape == "sorted":
            lengths.sort()
        session = self.session(kind, True)
        return sum(timed(session, self.feed(len(part), max(part), part))
                   for part in (lengths[i:i + BATCH] for i in range(
                       0, len(lengths), BATCH)))

    def answer(self, words):
        if words[1] not in VARIANTS:
            raise ValueError("no kind " + words[1])
        if words[0] == "memory":
            self.session(words[1], False)
            return self.memory[words[1]]
        return self.run(*words[1:])


def timed(session, feed):
    began = time.monotonic()
    session.run(None, feed)
    return 1e3 * (time.monotonic() - began)


def main():
    global ml_dtypes, numpy, onnx, onnxruntime
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--variant", action="append", default=[])
    options = parser.parse_args()
    try:
        import ml_dtypes
        import numpy
        import onnx
        import onnx.numpy_helper
        import onnxruntime
    except ImportError as e:
        print("missing", e, flush=True)
        return 1
    rival = Rival(options.threads, {
        kind: [v] for kind, v in (s.split("=") for s in options.variant)})
    print("ready ONNX Runtime", onnxruntime.__version__, flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words[0] == "quit":
            break
        try:
            print("%.4f" % rival.answer(words), flush=True)
        except Exception as e:  # whatever the rival cannot do is said
            print("error", str(e).replace("\n", " ")[:200], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
