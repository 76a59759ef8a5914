#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports opened by others: see run.sh."""

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

PARE = os.environ["PARE"]
SOURCE = os.environ["PARE_SOURCE"]
SHARED = os.environ.get("PARE_SHARED", os.path.join(SOURCE, "..", "shared"))
IDS = [5, 3, 60, 3, 17, 41, 2, 8, 9, 33, 20, 1]


def have(name):
    try:
        return importlib.import_module(name)
    except Exception:  # a broken package is as good as none
        return None


def pare(model, *lines):
    """Runs lines; the documents they give."""
    args = [PARE, "--no-state", "--json", model]
    for line in lines:
        args += ["-c", line]
    r = subprocess.run(args, capture_output=True, text=True)
    docs = [json.loads(l) for l in r.stdout.splitlines() if l.startswith("{")]
    for d in docs:
        if not d.get("ok", False):
            raise RuntimeError("%s: %s" % (d["command"],
                                           d["error"]["message"]))
    if r.returncode != 0:
        raise RuntimeError(r.stderr.strip())
    return docs


BERT = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
            intermediate_size=48, vocab_size=70, max_position_embeddings=24,
            type_vocab_size=2, hidden_act="gelu", initializer_range=0.2,
            layer_norm_eps=1e-12, pad_token_id=0)
LLAMA = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, intermediate_size=64,
             vocab_size=70, max_position_embeddings=64, rms_norm_eps=1e-6,
             rope_theta=10000.0, initializer_range=0.2, pad_token_id=0,
             bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=8192)


def config(kind, cls, base, **more):
    c = dict(base)
    c.update(model_type=kind, architectures=[cls], **more)
    return c


RANDOM = {
    "bert": config("bert", "BertForSequenceClassification", BERT),
    "bert-mlm": config("bert", "BertForMaskedLM", BERT),
    "distilbert": dict(model_type="distilbert", architectures=[
        "DistilBertForSequenceClassification"], dim=24, n_layers=2, n_heads=2,
        hidden_dim=40, vocab_size=70, max_position_embeddings=24,
        activation="gelu", initializer_range=0.2, pad_token_id=0),
    "electra": config("electra", "ElectraForSequenceClassification", BERT,
                      embedding_size=16),
    "albert": config("albert", "AlbertForMaskedLM", BERT, embedding_size=16,
                     num_hidden_groups=1, inner_group_num=1),
    "roberta": config("roberta", "RobertaForSequenceClassification", BERT,
                      pad_token_id=0, layer_norm_eps=1e-5),
    "gpt2": dict(model_type="gpt2", architectures=["GPT2LMHeadModel"],
                 n_embd=32, n_layer=3, n_head=4, n_inner=None, vocab_size=70,
                 n_positions=24, initializer_range=0.2, bos_token_id=0,
                 eos_token_id=0),
    "llama": config("llama", "LlamaForCausalLM", LLAMA,
                    tie_word_embeddings=False),
    "llama-3": config("llama", "LlamaForCausalLM", LLAMA,
                      tie_word_embeddings=True, rope_scaling=LLAMA3),
    "mistral": config("mistral", "MistralForCausalLM", LLAMA,
                      sliding_window=8, tie_word_embeddings=False),
    "qwen2": config("qwen2", "Qwen2ForCausalLM", LLAMA,
                    tie_word_embeddings=True),
    "qwen3": config("qwen3", "Qwen3ForCausalLM", LLAMA,
                    tie_word_embeddings=False),
    "gemma": config("gemma", "GemmaForCausalLM", LLAMA,
                    hidden_act="gelu_pytorch_tanh",
                    hidden_activation="gelu_pytorch_tanh",
                    tie_word_embeddings=True),
    "gemma2": config("gemma2", "Gemma2ForCausalLM", LLAMA, sliding_window=8,
                     query_pre_attn_scalar=8, attn_logit_softcapping=50.0,
                     final_logit_softcapping=30.0,
                     hidden_activation="gelu_pytorch_tanh",
                     tie_word_embeddings=True),
}

# model, ops before, arguments of export
FOLDERS = [(name, [], "") for name in RANDOM] + [
    ("bert", ["prune heads L1.h0,2"], ""),
    ("bert", ["prune heads L1.h0,2"], "pad=on"),
    ("bert", ["prune neurons 30% L1", "prune attention L2"], "pad=on"),
    ("bert", ["prune layers L1"], ""),
    ("bert", ["prune neurons 25%"], "type=F16"),
    ("bert", ["quantize L* bits=4 group=16 activations=float"], ""),
    ("bert", ["factorize L*.ffn rank=8"], ""),
    ("gpt2", ["prune heads L0.h1"], ""),
    ("gpt2", ["prune heads L0.h1", "prune ffn L1"], "pad=on"),
    ("gpt2", ["prune layers last 1", "prune neurons 25%"], ""),
    ("llama", ["prune heads L*.h0,1"], ""),
    ("llama", ["prune heads L1.h0,1", "prune neurons 25% L2"], "pad=on"),
    ("llama", ["prune attention L0", "prune ffn L3"], "pad=on"),
    ("gemma2", ["prune neurons 25%"], ""),
    ("real:stories260K", [], ""),
    ("real:gpt-nano-sort", [], ""),
    ("real:sst2-bert", [], ""),
    ("real:rxnmapper-albert", [], ""),
    ("gguf:stories260K-Q4_K_M.gguf", [], ""),
    ("sample:reviews", ["prune heads L0.h1", "quantize L* bits=8 "
                        "activations=float"], "pad=on"),
]
FILES = [
    ("real:stories260K", [], ""), ("real:stories260K", [], "type=F16"),
    ("real:stories260K", [], "type=Q8_0"),
    ("real:stories260K", [], "type=Q4_0"),
    ("real:stories260K", [], "type=mixed"),
    ("real:stories260K", ["prune heads L1.h0,1"], "pad=on"),
    ("real:stories260K", ["quantize L*.attn bits=4 group=32 "
                          "activations=float"], ""),
    ("gguf:stories260K-Q6_K.gguf", [], ""),
    ("gpt2", [], ""), ("qwen2", [], ""), ("qwen3", [], ""), ("gemma", [], ""),
    ("gemma2", [], ""), ("llama", [], ""), ("llama-3", [], ""),
    ("llama", [], "type=Q4_K"),
]
CLASSIFIERS = [("sample:reviews", [], ""), ("real:sst2-bert", [], ""),
               ("real:trec-bert", [], "type=Q8_0"),
               ("sample:reviews", ["prune heads L1.h0"], "pad=on")]


def letters():
    """A byte-level tokenizer of 70 characters."""
    return {"version": "1.0", "added_tokens": [], "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                              "trim_offsets": True, "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": {
                chr(33 + i): i for i in range(70)}, "merges": []}}


def path_of(name, work):
    """The model's path, or None where the machine has it not."""
    kind, _, rest = name.partition(":")
    if kind == "real":
        p = os.path.join(SHARED, "real/models", rest)
    elif kind == "gguf":
        p = os.path.join(SHARED, "real/gguf", rest)
    elif kind == "sample":
        p = os.path.join(SOURCE, "samples", rest)
    else:
        p = os.path.join(work, "made", name)
        if not os.path.isdir(p):
            os.makedirs(p)
            with open(os.path.join(p, "config.json"), "w") as f:
                json.dump(RANDOM[name], f)
            if RANDOM[name]["architectures"][0].endswith(("LM", "LMHeadModel")):
                with open(os.path.join(p, "tokenizer.json"), "w") as f:
                    json.dump(letters(), f)
            # Fresh weights are saved once, so that all see the same.
            pare(p + "/config.json", "open %s/config.json weights=random "
                 "seed=3" % p, "save %s.w" % p)
        p += ".w"
    return p if os.path.exists(p) else None


def flat(logits):
    return [v for r in logits for v in (r if isinstance(r, list) else [r])]


def difference(mine, other):
    mine, other = flat(mine), flat(other)
    if len(mine) != len(other):
        raise RuntimeError("%d outputs, not %d" % (len(other), len(mine)))
    scale = max(abs(v) for v in mine)
    return max(abs(a - b) for a, b in zip(mine, other)), scale


def question(ids):
    return "predict ids=%s what=logits" % ",".join(map(str, ids))


def predict(model, ids):
    return pare(model, question(ids))[-1]["rows"][0]["logits"]


def export(model, ops, fmt, target, more, ids):
    docs = pare(model, *ops, question(ids),
                "export %s %s %s" % (fmt, target, more))
    return docs[-2]["rows"][0]["logits"], docs[-1]


def with_transformers(tf, torch, case, work):
    name, ops, more = case
    model = path_of(name, work)
    if model is None:
        return None
    target = os.path.join(work, "out")
    shutil.rmtree(target, ignore_errors=True)
    ids = [i % 3 for i in IDS[:9]] if "nano" in name else IDS
    mine, doc = export(model, ops, "hf", target, more, ids)
    with open(os.path.join(target, "config.json")) as f:
        c = json.load(f)
    cls = getattr(tf, c["architectures"][0], None)
    if cls is None:
        return "this Transformers has no " + c["architectures"][0]
    if c.get("pruned_heads") and int(tf.__version__.split(".")[0]) >= 5:
        return "this Transformers has no pruned_heads"
    m, info = cls.from_pretrained(target, torch_dtype=torch.float32,
                                  attn_implementation="eager",
                                  output_loading_info=True)
    bad = {k: v for k, v in info.items() if v and k != "error_msgs"}
    if bad:
        raise RuntimeError("keys: %s" % bad)
    m.eval()
    # pare multiplies blocks with rounded activations; the folder has floats.
    if name.startswith("gguf:"):
        mine = predict(target, ids)
    with torch.no_grad():
        out = m(input_ids=torch.tensor([ids])).logits
    other = out[0].tolist()
    d, scale = difference(mine, other)
    return d, scale, 2e-2 if "F16" in more else 2e-4


def log_softmax(row):
    top = max(row)
    s = math.log(sum(math.exp(v - top) for v in row)) + top
    return [v - s for v in row]


class Llama:
    """Log-probabilities of the token after ids, by whichever package."""

    def __init__(self):
        self.old, self.new = have("llama_cpp"), have("xllamacpp")
        self.there = self.old is not None or self.new is not None

    def rows(self, path, ids, labels):
        if self.old is not None and labels == 0:
            m = self.old.Llama(model_path=path, n_ctx=64, logits_all=True,
                               verbose=False)
            m.eval(ids)
            return [log_softmax([float(v) for v in r])
                    for r in m.scores[:len(ids)]][-1]
        # The package ends the process on what it does not like.
        r = subprocess.run([sys.executable, __file__, "--one", path,
                            json.dumps(ids), str(labels)],
                           capture_output=True, text=True)
        for line in r.stdout.splitlines():
            if line.startswith("TOP "):
                return {int(k): v for k, v in json.loads(line[4:]).items()}
        raise RuntimeError((r.stderr or r.stdout).strip()[-300:])


def one(path, ids, labels):
    """What xllamacpp says of the token after ids, or of so many labels."""
    x = importlib.import_module("xllamacpp")
    p = x.CommonParams()
    p.model.path = path
    p.n_ctx = 64
    p.n_predict = 1
    p.warmup = False
    p.cpuparams.n_threads = 1
    if labels > 0:
        p.embedding = True
        p.pooling_type = x.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
        r = x.Server(p).handle_embeddings({"input": ids,
                                           "embd_normalize": -1})
        r = r if isinstance(r, dict) else json.loads(r)
        v = r["data"][0]["embedding"][:labels]
        print("\nTOP " + json.dumps(dict(enumerate(v))), flush=True)
        os._exit(0)
    r = x.Server(p).handle_completions({
        "prompt": ids, "n_predict": 1, "n_probs": 512, "temperature": 1.0,
        "top_k": 0, "top_p": 1.0, "min_p": 0.0, "cache_prompt": False})
    r = r if isinstance(r, dict) else json.loads(r)
    top = r["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    print("\nTOP " + json.dumps({t["id"]: t["logprob"] for t in top}),
          flush=True)
    os._exit(0)


def with_llama(llama, case, work):
    name, ops, more = case
    model = path_of(name, work)
    if model is None:
        return None
    target = os.path.join(work, "out.gguf")
    if os.path.exists(target):
        os.unlink(target)
    mine, doc = export(model, ops, "gguf", target, more, IDS)
    # What the file holds, run by pare, is what llama.cpp must give.
    mine = predict(target, IDS)
    # A row a token of a language model, or one of a classifier.
    labels = 0 if isinstance(mine[0], list) else len(mine)
    mine = mine if labels else log_softmax(mine[-1])
    other = llama.rows(target, IDS, labels)
    d = max(abs(mine[i] - v) for i, v in other.items()) \
        if isinstance(other, dict) else max(
            abs(a - b) for a, b in zip(mine, other))
    # It rounds activations to int8 before quantized products, and its caches
    # to float16.
    quantized = any(t["type"][0] == "Q" for t in doc["types"])
    return d, max(abs(v) for v in mine), 0.03 if quantized else 0.002


def with_gguf(gguf, case, work):
    name, ops, more = case
    model = path_of(name, work)
    if model is None:
        return None
    target = os.path.join(work, "out.gguf")
    if os.path.exists(target):
        os.unlink(target)
    folder = os.path.join(work, "out")
    shutil.rmtree(folder, ignore_errors=True)
    pare(model, *ops, "export gguf %s %s" % (target, more))
    pare(target, "export hf %s" % folder)
    import safetensors.numpy
    floats = safetensors.numpy.load_file(folder + "/model.safetensors")
    word = [v for k, v in floats.items()
            if k.endswith(("embed_tokens.weight", "wte.weight"))][0]
    reader = gguf.GGUFReader(target)
    for t in reader.tensors:
        v = gguf.quants.dequantize(t.data, t.tensor_type)
        if t.name == "token_embd.weight":
            d = float(abs(v.astype("float32") - word).max())
            return d, float(abs(word).max()), 1e-6
    raise RuntimeError("no token_embd.weight")


def with_gptq(np, case, work):
    """GPTQ folders by the formula of their layout, in numpy."""
    name, ops, more = case
    model = path_of(name, work)
    if model is None:
        return None
    packed = os.path.join(work, "packed")
    plain = os.path.join(work, "plain")
    for p in (packed, plain):
        shutil.rmtree(p, ignore_errors=True)
    pare(model, *ops, "export gptq %s" % packed, "export hf %s" % plain)
    import safetensors.numpy
    have = safetensors.numpy.load_file(packed + "/model.safetensors")
    want = safetensors.numpy.load_file(plain + "/model.safetensors")
    with open(packed + "/config.json") as f:
        bits = json.load(f)["quantization_config"]["bits"]
    worst = top = 0.0
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    for k in have:
        if not k.endswith(".qweight"):
            continue
        base = k[:-len("qweight")]
        q = have[k].view(np.uint32)
        q = (q[:, None, :] >> shifts[None, :, None]) & (2 ** bits - 1)
        q = q.reshape(-1, have[k].shape[1]).astype(np.int64)
        z = have[base + "qzeros"].view(np.uint32)
        z = (z[:, :, None] >> shifts) & (2 ** bits - 1)
        z = z.reshape(z.shape[0], -1).astype(np.int64) + 1
        g = have[base + "g_idx"]
        w = (q - z[g]) * have[base + "scales"].astype(np.float32)[g]
        worst = max(worst, float(abs(w.T - want[base + "weight"]).max()))
        top = max(top, float(abs(w).max()))
    return worst, top, 1e-6


PACKED = [
    ("sample:reviews", ["quantize L* bits=4 group=32"], ""),
    ("real:stories260K", ["quantize L*.attn bits=4 group=16"], ""),
    ("llama", ["quantize L* bits=8 group=row"], ""),
]


def run(title, cases, fn):
    bad = done = 0
    for case in cases:
        what = " ".join([case[0]] + ["; ".join(case[1])] + [case[2]])
        what = " ".join(what.split())
        try:
            with tempfile.TemporaryDirectory() as work:
                r = fn(case, work)
        except Exception as e:
            bad += 1
            print("%-12s FAILED %s: %s" % (title, what, str(e)[:400]))
            continue
        if r is None or isinstance(r, str):
            print("%-12s skipped %s%s" % (title, what,
                                          ": " + r if r else ""))
            continue
        d, scale, tolerance = r
        fine = d <= tolerance * (1 + scale)
        done += 1
        bad += not fine
        print("%-12s %s %s: difference %.2g of %.3g" % (
            title, "ok" if fine else "FAILED", what, d, scale))
        sys.stdout.flush()
    return bad, done


def main():
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
    tf, torch, gguf = have("transformers"), have("torch"), have("gguf")
    llama = Llama()
    bad = done = 0
    if tf is not None and torch is not None:
        tf.logging.set_verbosity_error()
        b, d = run("transformers", FOLDERS, lambda c, w: with_transformers(
            tf, torch, c, w))
        bad, done = bad + b, done + d
    if llama.there:
        cases = FILES + (CLASSIFIERS if llama.new is not None else [])
        b, d = run("llama.cpp", cases, lambda c, w: with_llama(llama, c, w))
        bad, done = bad + b, done + d
    if gguf is not None and have("safetensors.numpy") is not None:
        b, d = run("gguf", FILES, lambda c, w: with_gguf(gguf, c, w))
        bad, done = bad + b, done + d
    np = have("numpy")
    if np is not None and have("safetensors.numpy") is not None:
        b, d = run("gptq", PACKED, lambda c, w: with_gptq(np, c, w))
        bad, done = bad + b, done + d
    if done + bad == 0:
        print("neither Transformers nor llama.cpp is here")
        return 77
    print("%d compared, %d failed" % (done, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
