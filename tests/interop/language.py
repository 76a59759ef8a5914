# SPDX-License-Identifier: GPL-3.0-or-later
"""Transformers beside pare on text: perplexity by windows that overlap, as its
guide computes it, and folders whose vocabulary was pruned, whose tokenizer must
give the same ids there and whose model the same logits. One line a case; the exit
status is 1 where they differ, 77 without Transformers."""

import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import torch
    from transformers import (AutoModelForCausalLM,
                              AutoModelForSequenceClassification,
                              AutoTokenizer)
except Exception as e:  # a broken package is as good as none
    print(f"no Transformers: {e}")
    sys.exit(77)

PARE = os.environ["PARE"]
SAMPLES = os.path.join(os.environ["PARE_SOURCE"], "samples")
torch.set_num_threads(1)
failed = False


def pare(*args):
    """The documents of a run."""
    run = subprocess.run([PARE, "--no-state", "--json", *args],
                         capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def tell(fine, text):
    global failed
    failed = failed or not fine
    print(("ok      " if fine else "DIFFERS ") + text, flush=True)


def perplexity(folder, text, context, stride):
    """Over windows of `context` tokens every `stride` tokens; what an earlier
    window had is not counted again."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32).eval()
    ids = tokenizer(text, return_tensors="pt").input_ids
    lost = count = end = 0
    with torch.no_grad():
        for begin in range(0, ids.shape[1], stride):
            before, end = end, min(begin + context, ids.shape[1])
            window = ids[:, begin:end]
            wanted = window.clone()
            wanted[:, :-(end - before)] = -100
            n = int((wanted[:, 1:] != -100).sum())
            lost += model(window, labels=wanted).loss.item() * n
            count += n
            if end == ids.shape[1]:
                break
    return math.exp(lost / count), count


def stride_case(folder, path, size, context, stride, tmp):
    with open(path, newline="", encoding="utf-8") as f:
        text = f.read(size)
    part = os.path.join(tmp, "part.txt")
    with open(part, "w", newline="", encoding="utf-8") as f:
        f.write(text)
    want, n = perplexity(folder, text, context, stride)
    doc = pare(folder, "-c", f"data {part}", "-c",
               f"eval custom=stride context={context} stride={stride}")[-1]
    off = doc["value"] / want - 1
    tell(abs(off) < 5e-4 and doc["n"] == n,
         f"{os.path.basename(folder)}, context {context}, stride {stride}: "
         f"perplexity {doc['value']:.6f} of {doc['n']} tokens, Transformers "
         f"{want:.6f} of {n} ({100 * off:+.5f} %)")


def vocabulary_case(name, kind, calib, texts, what, tmp):
    folder = os.path.join(tmp, name)
    docs = pare(os.path.join(SAMPLES, name), "-c",
                f"data {calib} role=calib", "-c", "prune vocabulary 30%",
                "-c", f"export hf {folder}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = kind.from_pretrained(folder, torch_dtype=torch.float32).eval()
    rows = model.get_input_embeddings().weight.shape[0]
    worst = 0.0
    same = rows == json.load(open(os.path.join(
        folder, "config.json"), encoding="utf-8"))["vocab_size"]
    for text in texts:
        out = os.path.join(tmp, "out.nd")
        pare(folder, "-c", f"predict text='{text}' what={what} out={out}")
        row = json.loads(open(out, encoding="utf-8").read())
        os.unlink(out)
        ids = tokenizer(text).input_ids
        same = same and ids == row["ids"]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits
        mine = torch.tensor(row["logits"]).reshape(logits.shape)
        worst = max(worst, (logits - mine).abs().max().item())
    tell(same and worst < 2e-3 and docs[1]["ok"],
         f"{name} with {rows} tokens: the same ids of {len(texts)} texts, "
         f"logits within {worst:.2g}")


with tempfile.TemporaryDirectory() as tmp:
    stories = os.path.join(SAMPLES, "stories")
    test = os.path.join(SAMPLES, "stories.test.txt")
    stride_case(stories, test, 6000, 128, 64, tmp)
    stride_case(stories, test, 4000, 100, 37, tmp)
    vocabulary_case("stories", AutoModelForCausalLM,
                    os.path.join(SAMPLES, "stories.calib.txt"),
                    ["Once upon a time there was a mole.",
                     "The hedgehog, named Zo\u00eb, said: \u201cNo!\u201d 42"],
                    "logits", tmp)
    vocabulary_case("reviews", AutoModelForSequenceClassification,
                    os.path.join(SAMPLES, "reviews.train.tsv"),
                    ["a wonderful book , not dull at all",
                     "the soup was Unbelievably cold"], "logits", tmp)
sys.exit(failed)
