"""Makes tiny random checkpoints of every family and what transformers, PEFT and gguf-py make of them.

Usage: python make_families.py [--only-ranks] [--smollm2 FOLDER_WITH_THE_GGUF_FILE]
Needs: torch 2.15, transformers 5.24, peft 0.21, gguf 0.19, safetensors 0.8 (the versions of the committed files).

families/CASE/config.json, model.safetensors   the checkpoint, bfloat16, one of them in two shards
families/CASE/golden.safetensors               logits, adapters, their gradients, the losses of 21 forward passes
families/CASE/ranks.safetensors                the same for adapters whose rank and alpha differ by module, of some
families/CASE/model.gguf                       some of them again, in mixed types, with the logits of transformers' reader
quants.gguf, quants.safetensors                one tensor of every quantised type, and gguf-py's dequantisation
smollm2.json                                   top logits of SmolLM2-135M-Instruct by transformers' GGUF reader
"""

import argparse
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

HERE = pathlib.Path(__file__).parent
VOCAB = 80
# Two sequences with a common beginning; the loss is on the last tokens of each.
SEQUENCES = [[3, 17, 42, 8, 8, 61, 5, 33, 70, 12, 29, 54, 2, 19], [3, 17, 42, 8, 8, 61, 44, 7, 23, 66, 1]]
SUPERVISED = [6, 4]
STEPS = 20
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01

SHAPE = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
SPLIT = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def rope(kind="default", theta=10_000.0, **rest):
    return dict(rope_type=kind, rope_theta=theta, **rest)


CASES = {
    "llama": ("Llama", dict(tie_word_embeddings=True, head_dim=8, rope_parameters=rope())),
    "llama_linear": ("Llama", dict(
        attention_bias=True, mlp_bias=True, tie_word_embeddings=False, head_dim=16,
        rope_parameters=rope("linear", factor=2.0))),
    "llama3": ("Llama", dict(tie_word_embeddings=True, head_dim=16, rope_parameters=rope(
        "llama3", 500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16))),
    "mistral": ("Mistral", dict(sliding_window=5, head_dim=16, tie_word_embeddings=False, rope_parameters=rope())),
    "qwen2": ("Qwen2", dict(
        use_sliding_window=True, sliding_window=4, max_window_layers=1, tie_word_embeddings=True,
        rope_parameters=rope(theta=1e6))),
    "qwen3": ("Qwen3", dict(head_dim=16, tie_word_embeddings=True, rope_parameters=rope(theta=1e6))),
    "gemma3": ("Gemma3", dict(
        num_hidden_layers=4, head_dim=16, query_pre_attn_scalar=12, sliding_window=5,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(full_attention=rope("linear", 1e6, factor=4.0), sliding_attention=rope()))),
    "phi3": ("Phi3", dict(
        sliding_window=6, tie_word_embeddings=False, head_dim=16,
        rope_parameters=rope(partial_rotary_factor=0.5))),
    "phi3_long": ("Phi3", dict(
        sliding_window=None, tie_word_embeddings=True, original_max_position_embeddings=32,
        rope_parameters=rope("longrope", short_factor=[1.0, 1.2, 1.5, 2.0], long_factor=[2.0, 3.0, 4.0, 5.0],
                             original_max_position_embeddings=32))),
}
SHARDED = "qwen3"

# Ranks and alphas by module; a key is the end of a module's path, of several that fit the first one counts.
PATTERNS = {
    "llama": dict(
        rank_pattern={"layers.1.self_attn.q_proj": 1, "mlp.down_proj": 5, "q_proj": 3},
        alpha_pattern={"down_proj": 7, "model.layers.0.mlp.up_proj": 2}),
    "phi3": dict(
        use_rslora=True, rank_pattern={"qkv_proj": 6, "1.mlp.gate_up_proj": 1}, alpha_pattern={"self_attn.o_proj": 9}),
}


def make_model(name):
    family, extra = CASES[name]
    config_class = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, config_class)(**{**SHAPE, **extra})
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{family}ForCausalLM")(config).float().eval()
    generator = torch.Generator().manual_seed(sum(name.encode()))
    for key, weight in sorted(model.named_parameters()):
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in key:
            weight.data = 0.2 * noise + (0.0 if family == "Gemma3" else 1.0)
        elif key.endswith("bias"):
            weight.data = 0.2 * noise
        elif "embed_tokens" in key:
            weight.data = noise * (0.15 if family == "Gemma3" else 0.8)
        else:
            weight.data = 1.2 * noise / weight.shape[1] ** 0.5
        weight.data = weight.data.bfloat16().float()
    return model


def losses(model):
    """Mean cross-entropy over the supervised tokens of both sequences, each run on its own."""
    total = 0.0
    for tokens, count in zip(SEQUENCES, SUPERVISED):
        logits = model(torch.tensor([tokens])).logits[0, -count - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[-count:]), reduction="sum")
    return total / sum(SUPERVISED)


def golden(name, model, **lora):
    tensors = {"logits": model(torch.tensor([SEQUENCES[0]])).logits[0].detach().clone()}
    family = CASES[name][0]
    targets = FUSED if family == "Phi3" else SPLIT
    tuned = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=targets, task_type="CAUSAL_LM", **lora))
    generator = torch.Generator().manual_seed(1)
    trained = {key.replace(".default", ""): p for key, p in tuned.named_parameters() if p.requires_grad}
    for key, weight in sorted(trained.items()):
        weight.data = torch.randn(weight.shape, generator=generator) * (0.3 if "lora_A" in key else 0.2)
        tensors[key] = weight.detach().clone()
    tensors["adapted_logits"] = tuned(torch.tensor([SEQUENCES[0]])).logits[0].detach().clone()
    optimizer = torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    curve = []
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = losses(tuned)
        loss.backward()
        curve.append(loss.item())
        if step == 0:
            tensors.update({f"grad.{key}": weight.grad.clone() for key, weight in trained.items()})
        optimizer.step()
    tensors["losses"] = torch.tensor(curve)
    return tensors


# How rows of q and k lie in GGUF files of the architecture llama: the pairs of a rotation side by side.
def permuted(weight, heads):
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


GGUF_ARCHITECTURES = {"Llama": "llama", "Mistral": "llama", "Qwen2": "qwen2", "Qwen3": "qwen3", "Gemma3": "gemma3", "Phi3": "phi3"}
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]


def write_gguf(name, model, path):
    family, _ = CASES[name]
    arch = GGUF_ARCHITECTURES[family]
    config = model.config
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    names = gguf.get_tensor_name_map(
        next(number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == arch), config.num_hidden_layers)
    for index, (key, weight) in enumerate(sorted(model.state_dict().items())):
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        data = weight.numpy()
        if arch == "llama" and ("q_proj" in key or "k_proj" in key):
            data = permuted(data, config.num_attention_heads if "q_proj" in key else config.num_key_value_heads)
        if arch == "gemma3" and "norm" in key:
            data = data + 1
        kind = TYPES[index % len(TYPES)] if data.ndim == 2 else "F32"
        kind = gguf.GGMLQuantizationType[kind]
        base, _, suffix = key.rpartition(".")
        writer.add_tensor(f"{names.get_name(base)}.{suffix}", gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_logits(name, path):
    """Logits of the weights as transformers reads them from the GGUF file."""
    model = make_model(name)
    read = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    missing = model.load_state_dict({key: value.float() for key, value in read.items()}, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.tie_weights()
    return model(torch.tensor([SEQUENCES[0]])).logits[0].detach().clone()


def families():
    for name in CASES:
        folder = HERE / "families" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = make_model(name)
        state = {key: value.bfloat16().contiguous() for key, value in sorted(model.state_dict().items())}
        if model.config.tie_word_embeddings:
            state.pop("lm_head.weight")
        model.config.architectures = [type(model).__name__]
        (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=1, sort_keys=True) + "\n")
        if name == SHARDED:
            parts = [{k: v for i, (k, v) in enumerate(state.items()) if i % 2 == part} for part in range(2)]
            files = [f"model-0000{part + 1}-of-00002.safetensors" for part in range(2)]
            for file, part in zip(files, parts):
                save_file(part, folder / file, {"format": "pt"})
            index = {"metadata": {}, "weight_map": {k: f for f, part in zip(files, parts) for k in part}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
        else:
            save_file(state, folder / "model.safetensors", {"format": "pt"})
        extra = {}
        if name in ["llama_linear", "qwen2", "qwen3", "gemma3", "phi3"]:
            (folder / "gguf").mkdir()
            write_gguf(name, model, folder / "gguf/model.gguf")
            extra["gguf_logits"] = gguf_logits(name, folder / "gguf/model.gguf")
        tensors = {**golden(name, model), **extra}
        save_file(tensors, folder / "golden.safetensors")
        print(name, f"{tensors['losses'][0]:.4f} -> {tensors['losses'][-1]:.4f}", f"logits ±{tensors['logits'].abs().max():.1f}")


def ranks():
    for name, patterns in PATTERNS.items():
        tensors = golden(name, make_model(name), **patterns)
        save_file(tensors, HERE / "families" / name / "ranks.safetensors")
        print(name, f"{tensors['losses'][0]:.4f} -> {tensors['losses'][-1]:.4f} with ranks by module")


def quants():
    """Random blocks: scales that are small numbers, everything else any bits."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(HERE / "quants.gguf", "llama")
    expected = {}
    halves = {  # Where the half-precision scales of a block lie, in bytes.
        "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
        "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    }
    for name, places in halves.items():
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        rows = rng.integers(0, 256, (2, 512 // block, size), dtype=np.uint8)
        for place in places:
            scales = rng.uniform(-0.02, 0.02, rows.shape[:2]).astype(np.float16)
            rows[:, :, place : place + 2] = scales[..., None].view(np.uint8)
        rows = rows.reshape(2, -1)
        writer.add_tensor(name, rows, raw_dtype=kind)
        expected[name] = torch.from_numpy(gguf.quants.dequantize(rows, kind).astype(np.float32))
    for name in ["F32", "F16", "BF16"]:
        kind = gguf.GGMLQuantizationType[name]
        rows = gguf.quants.quantize(rng.normal(size=(2, 32)).astype(np.float32), kind)
        writer.add_tensor(name, rows, raw_dtype=kind)
        expected[name] = torch.from_numpy(gguf.quants.dequantize(rows, kind).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, HERE / "quants.safetensors")


def smollm2(folder):
    name = next(pathlib.Path(folder).glob("*.gguf")).name
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    rng = np.random.default_rng(5)
    tokens = [1, 4093, 198] + rng.integers(20, 49_000, 29).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    positions = [0, 2, 11, 20, 31]
    tops = [[[int(i), round(float(v), 5)] for v, i in zip(*logits[p].topk(8))] for p in positions]
    lines = json.dumps({"file": name, "tokens": tokens, "positions": positions, "top": tops})
    (HERE / "smollm2.json").write_text(lines + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--smollm2")
    parser.add_argument("--only-ranks", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only_ranks:
        ranks()
        raise SystemExit
    families()
    ranks()
    quants()
    if arguments.smollm2:
        smollm2(arguments.smollm2)
