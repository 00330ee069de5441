"""llama.cpp on the prompts of `trex measure eval`. Called by `cargo xtask bench eval` as:

    eval_peers.py MODEL.gguf KIND PROMPTS PROMPT_TOKENS SHARED_TOKENS NEW_TOKENS REPEATS THREADS

KIND is `as-is`, or `q8_0`, `f32` or `bf16`, which the file is rewritten to first. Prompts are read without reuse of a
shared beginning (`cache_prompt` off), all at once and continuously batched. Prints one JSON line.
"""

import json
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import gguf
import numpy
import xllamacpp

model, kind = sys.argv[1:3]
prompts, prompt_tokens, shared, new_tokens, repeats, threads = map(int, sys.argv[3:])


def rewrite(source, kind, target):
    """The same file with all its matrices in another number format."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value_type = field.types[0]
        part_type = field.types[-1] if value_type == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), value_type, part_type)
    wanted = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "bf16": gguf.GGMLQuantizationType.BF16}.get(kind)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        values = values.reshape([int(size) for size in reversed(tensor.shape)])
        if wanted is None or values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def made_up_prompts(vocabulary):
    def ids(first, count):
        return [(at * 7919 + 13) % (vocabulary - 200) + 100 for at in range(first, first + count)]

    own = prompt_tokens - shared
    return [ids(0, shared) + ids(prompt_tokens + index * own, own) for index in range(prompts)]


def main(path):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = prompts
    params.n_ctx = prompts * (prompt_tokens + new_tokens + 16)
    params.n_batch = params.n_ubatch = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = True
    params.verbosity = -1
    server = xllamacpp.Server(params)
    reader = gguf.GGUFReader(path)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    texts = made_up_prompts(vocabulary)

    def ask(prompt, count):
        request = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        answer = server.handle_completions(request)
        return answer if isinstance(answer, dict) else json.loads(answer)

    def seconds(count):
        start = time.perf_counter()
        with ThreadPoolExecutor(prompts) as pool:
            answers = list(pool.map(lambda prompt: ask(prompt, count), texts))
        for answer in answers:
            assert answer["usage"]["completion_tokens"] == count, answer
            assert answer["usage"]["prompt_tokens"] == prompt_tokens, answer
        return time.perf_counter() - start

    seconds(1)
    prefill = [seconds(1) for _ in range(repeats)]
    generate = [seconds(new_tokens) for _ in range(repeats)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"kind": kind, "prefill_seconds": prefill, "generate_seconds": generate, "peak_rss_bytes": peak}
    print(json.dumps(found | {"version": getattr(xllamacpp, "__version__", "")}), flush=True)
    os._exit(0)


if kind == "as-is":
    main(model)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.gguf")
    rewrite(model, kind, path)
    main(path)
