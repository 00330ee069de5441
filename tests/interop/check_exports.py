#!/usr/bin/env python3
"""Loads what `trex export` wrote into PEFT, transformers and llama.cpp and compares their numbers with ours.

Our numbers come from `trex probe`: logits after a prompt, and a greedy continuation. Prints one line per comparison and
exits with 1 where one is outside its tolerance. A program that is not installed is counted and shown as skipped.
Run by `cargo xtask interop`; by hand:

    check_exports.py --trex target/debug/trex --base MODEL_FOLDER --exports FOLDER --scratch FOLDER

FOLDER holds what `trex export NODE --format all` wrote, and any further GGUF files in folders named `gguf-*`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

QUESTIONS = [
    "What is the capital of France?",
    "Choose one: red, green, blue.",
    "the cat likes the",
    "Écrivez 12 + 30 = ?",
]
NEW_TOKENS = 16

# Largest difference that passes. Against torch: of logits, both sides in 32-bit floats. Against llama.cpp: of the
# log-probabilities of its ten likeliest tokens; it rounds activations to eight bits where weights are quantised.
TORCH_TOLERANCE = 1e-3
LLAMA_CPP_TOLERANCE = {"F32": 1e-3, "F16": 0.01, "BF16": 0.01, "Q8_0": 0.1, "Q6_K": 0.2, "Q5_K_M": 0.3, "Q4_K_M": 0.5}
EXACT_TEXT = {"F32", "F16", "BF16"}
# llama.cpp multiplies quantised weights by activations that it rounds to 8 bits in blocks of 32, where we multiply the
# weights' values by the activations as they are. With weights in bfloat16 it rounds activations to bfloat16, which has
# eight bits of a number. What that changes grows with the logits: this share of their range.
ROUNDED_ACTIVATIONS = {"F32": 0.0, "F16": 0.0, "BF16": 2**-9, "Q8_0": 0.01, "Q6_K": 0.01, "Q5_K_M": 0.01, "Q4_K_M": 0.01}


class Table:
    """Results, printed as they come."""

    def __init__(self, label):
        self.label, self.failed, self.skipped, self.passed = label, 0, 0, 0

    def row(self, what, program, difference, tolerance, note, same=True):
        good = same and difference <= tolerance
        self.passed += good
        self.failed += not good
        verdict = "ok" if good else "DISAGREES"
        print(f"{self.label:10} {what:18} {program:14} {difference:10.2e} {tolerance:8.1e} {verdict:10} {note}", flush=True)

    def skip(self, what, why):
        self.skipped += 1
        print(f"{self.label:10} {what:18} skipped: {why}", flush=True)


class Trex:
    """The program under test."""

    def __init__(self, binary, scratch):
        self.binary, self.scratch, self.runs = binary, Path(scratch), 0

    def probe(self, model, adapter=None):
        self.runs += 1
        scratch = self.scratch / f"probe-{self.runs}"
        scratch.mkdir(parents=True, exist_ok=True)
        questions = scratch / "questions.json"
        questions.write_text(json.dumps(QUESTIONS), encoding="utf-8")
        command = [self.binary, "probe", "--model", str(model), "--questions", str(questions)]
        command += ["--max-new-tokens", str(NEW_TOKENS), "--scratch", str(scratch / "unpacked")]
        if adapter:
            command += ["--adapter", str(adapter)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def base_gguf(self, base):
        out = self.scratch / "base-gguf"
        if not out.exists():
            command = [self.binary, "base-gguf", "--model", str(base), "--out", str(out)]
            subprocess.run(command, check=True, capture_output=True)
        return next(out.glob("*.gguf"))


def torch_answers(model, expected):
    """Largest difference of logits over all prompts, and the greedy continuations."""
    import torch

    worst, texts = 0.0, []
    for answer in expected:
        ids = torch.tensor([answer["ids"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -1].float()
            ours = torch.tensor(answer["logits"])
            worst = max(worst, (logits[: len(ours)] - ours).abs().max().item())
            made = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=len(answer["greedy_ids"]) or 1
            )
        texts.append(made[0, len(answer["ids"]) :].tolist())
    return worst, texts


def same_greedy(texts, expected):
    """Equal as far as ours goes: what ends a continuation is not part of it."""
    return all(text[: len(answer["greedy_ids"])] == answer["greedy_ids"] for text, answer in zip(texts, expected))


def load_base(base):
    """The base in 32-bit floats, from safetensors or GGUF."""
    import torch
    from transformers import AutoModelForCausalLM

    files = {} if list(base.glob("*.safetensors")) else {"gguf_file": next(base.glob("*.gguf")).name}
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **files).eval()


def check_peft(table, trex, base, folder):
    try:
        from peft import PeftModel
    except ImportError as err:
        return table.skip("peft", str(err))
    expected = trex.probe(base, folder)
    model = PeftModel.from_pretrained(load_base(base), folder).eval()
    worst, texts = torch_answers(model, expected)
    table.row("adapter folder", "PEFT", worst, TORCH_TOLERANCE, "logits, greedy ids", same_greedy(texts, expected))
    plain = trex.probe(base)
    effect = max(abs(a - b) for x, y in zip(expected, plain) for a, b in zip(x["logits"], y["logits"]))
    table.row("adapter folder", "itself", 0.0, 0.0, f"moves logits by up to {effect:.3f}", effect > 0)


def check_merged(table, trex, folder):
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as err:
        return table.skip("merged", str(err))
    expected = trex.probe(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    worst, texts = torch_answers(model, expected)
    stored = json.loads((folder / "config.json").read_text())
    kind = stored.get("dtype") or stored.get("torch_dtype")
    table.row(f"merged {kind}", "transformers", worst, TORCH_TOLERANCE, "logits, greedy ids", same_greedy(texts, expected))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    same = True
    for question, answer in zip(QUESTIONS, expected):
        message = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        same &= text == answer["prompt"] and ids == answer["ids"]
    table.row(f"merged {kind}", "transformers", 0.0, 0.0, "chat template, token ids", same)


def llama_cpp_server(model, adapter=None):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = 512
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.verbosity = -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.use_jinja = True
    # Attention in 32 bits, so that only the weights differ.
    params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if adapter:
        info = xllamacpp.CommonAdapterLoraInfo()
        info.path = str(adapter)
        info.scale = 1.0
        params.lora_adapters = [info]
    return xllamacpp.Server(params)


def log_softmax(logits):
    top = max(logits)
    total = math.log(sum(math.exp(x - top) for x in logits))
    return [x - top - total for x in logits]


def llama_cpp_tolerance(encoding, expected):
    """Of log-probabilities, in nats."""
    spread = max(max(answer["logits"]) - min(answer["logits"]) for answer in expected)
    return LLAMA_CPP_TOLERANCE[encoding] + ROUNDED_ACTIVATIONS[encoding] * spread


def check_llama_cpp(table, what, encoding, server, expected):
    worst, texts, first = 0.0, [], True
    tolerance = llama_cpp_tolerance(encoding, expected)
    for answer in expected:
        request = {"prompt": answer["ids"], "max_tokens": NEW_TOKENS, "temperature": 0.0, "logprobs": 10, "cache_prompt": False}
        made = server.handle_completions(request)
        made = json.loads(made) if isinstance(made, (str, bytes)) else made
        ours = log_softmax(answer["logits"])
        tokens = made["choices"][0]["logprobs"]["content"]
        for one in tokens[0]["top_logprobs"] if tokens else []:
            worst = max(worst, abs(ours[one["id"]] - one["logprob"]))
        ids = [one["id"] for one in tokens]
        texts.append(ids)
        best, second = sorted(ours)[-1:-3:-1]
        # What lies closer than the tolerance may change places.
        if answer["greedy_ids"] and best - second > 2 * tolerance:
            first &= ids[:1] == answer["greedy_ids"][:1]
    exact = same_greedy(texts, expected)
    same = exact if encoding in EXACT_TEXT else first
    note = "10 log-probs, greedy ids " + ("equal" if exact else "differ where they may" if first else "differ")
    table.row(f"{what} {encoding}", "llama.cpp", worst, tolerance, note, same)


def check_llama_cpp_chat(table, what, encoding, server, expected):
    """Through the chat template and tokenizer that the file itself holds."""
    same = True
    for question, answer in zip(QUESTIONS, expected):
        request = {"messages": [{"role": "user", "content": question}], "max_tokens": NEW_TOKENS, "temperature": 0.0, "cache_prompt": False}
        made = server.handle_chat_completions(request)
        made = json.loads(made) if isinstance(made, (str, bytes)) else made
        text = made["choices"][0]["message"]["content"]
        same &= made["usage"]["prompt_tokens"] == len(answer["ids"])
        if encoding in EXACT_TEXT:
            same &= text.strip() == answer["greedy_text"].strip()
    note = "chat template of the file" + (", greedy text" if encoding in EXACT_TEXT else ", prompt length")
    table.row(f"{what} {encoding}", "llama.cpp", 0.0, 0.0, note, same)


def check_gguf(table, trex, folder):
    try:
        import xllamacpp  # noqa: F401
    except ImportError as err:
        return table.skip(folder.name, str(err))
    file = next(folder.glob("*.gguf"))
    encoding = next(name for name in sorted(LLAMA_CPP_TOLERANCE, key=len, reverse=True) if file.stem.endswith(name))
    expected = trex.probe(file)
    server = llama_cpp_server(file)
    check_llama_cpp(table, "gguf", encoding, server, expected)
    check_llama_cpp_chat(table, "gguf", encoding, server, expected)


def check_gguf_lora(table, trex, base, folder):
    try:
        import xllamacpp  # noqa: F401
    except ImportError as err:
        return table.skip(folder.name, str(err))
    adapter = next(folder.glob("*.gguf"))
    expected = trex.probe(base, adapter)
    server = llama_cpp_server(trex.base_gguf(base), adapter)
    check_llama_cpp(table, "gguf-lora", "F32", server, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trex", required=True, help="the program")
    parser.add_argument("--base", required=True, type=Path, help="folder of the base model")
    parser.add_argument("--exports", required=True, type=Path, help="folder with the exports")
    parser.add_argument("--scratch", required=True, type=Path, help="folder for intermediate files")
    parser.add_argument("--label", default="model", help="name of the model in the table")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    table, trex = Table(args.label), Trex(args.trex, args.scratch)
    print(f"{'model':10} {'what':18} {'against':14} {'worst':>10} {'allowed':>8} {'verdict':10} what was compared")
    check_peft(table, trex, args.base, args.exports / "peft")
    for folder in sorted(args.exports.glob("merged*")):
        check_merged(table, trex, folder)
    for folder in sorted(args.exports.glob("gguf*")):
        if folder.name == "gguf-lora":
            check_gguf_lora(table, trex, args.base, folder)
        else:
            check_gguf(table, trex, folder)
    print(f"{args.label}: {table.passed} agree, {table.failed} disagree, {table.skipped} skipped")
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
