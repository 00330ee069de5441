"""Writes methods.json: losses, curves and gradients of transformers, PEFT and TRL on a tiny random Llama.

    pip install torch transformers peft trl
    python methods.py > methods.json

Weights are made from names and places by `fill`, which the Rust test repeats, so none are stored.
Made with torch 2.15.0, transformers 5.24.0, peft 0.21.2 and trl 1.16.0.
"""

import json
import sys
import tempfile

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.trainer_pt_utils import LabelSmoother
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from trl import DPOConfig, DPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

torch.set_num_threads(1)
STEPS = 10
RATE = 5e-3
VOCAB = 40

# Prompt, answer, rejected answer: of different lengths, two with a common beginning.
ROWS = [
    ([3, 7, 9, 11, 12, 5], [20, 21, 2], [22, 2]),
    ([3, 7, 9, 11, 15, 16, 17], [23, 2], [24, 25, 26, 2]),
    ([30, 31], [32, 33, 34, 35, 2], [36, 2]),
]


def fill(name, count, scale):
    """Values in ±scale from a name and a place; integers wrap at 32 bits."""
    seed = np.uint32(2166136261)
    for byte in name.encode():
        seed = np.uint32((int(seed) ^ byte) * 16777619 & 0xFFFFFFFF)
    x = (np.arange(count, dtype=np.uint64) * 0x9E3779B9 + int(seed)) & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    x = x ^ (x >> 16)
    return ((x >> 8).astype(np.float64) / 2**23 - 1.0) * scale


def base_model():
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=4, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
        attention_bias=False, mlp_bias=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = fill(name, parameter.numel(), 0.4)
            values = 1.0 + values / 4 if parameter.dim() == 1 else values
            parameter.copy_(torch.tensor(values, dtype=torch.float32).view_as(parameter))
    return model


def lora_config():
    return LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")


def fill_adapter(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                values = fill(name.replace(".default", ""), parameter.numel(), 0.3)
                parameter.copy_(torch.tensor(values, dtype=torch.float32).view_as(parameter))
    return model


def lora_model():
    return fill_adapter(get_peft_model(base_model(), lora_config()))


def adamw(model, weight_decay=0.0):
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=RATE)


def gradients(model):
    """Of every trained tensor: its norm and its dot product with fill("probe"), which sees signs and places."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            grad = parameter.grad.detach().double().flatten().numpy()
            probe = fill("probe", grad.size, 1.0)
            found[name.replace(".default", "")] = [float(np.linalg.norm(grad)), float(grad @ probe)]
    return found


def run(model, loss_of, weight_decay=0.0):
    """STEPS steps of AdamW with clipping at 1 on the same batch."""
    optimizer = adamw(model, weight_decay)
    losses, norms, first = [], [], None
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        first = first or gradients(model)
        norms.append(float(torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)))
        losses.append(float(loss.detach()))
        optimizer.step()
    return {"losses": losses, "grad_norms": norms, "gradients": first}


def pad(rows, value):
    width = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def sft_loss(smoothing=0.0):
    ids = pad([prompt + answer for prompt, answer, _ in ROWS], 0)
    labels = pad([[-100] * len(prompt) + answer for prompt, answer, _ in ROWS], -100)
    mask = pad([[1] * len(prompt + answer) for prompt, answer, _ in ROWS], 0)

    def loss(model):
        if smoothing > 0:
            return LabelSmoother(epsilon=smoothing)(model(input_ids=ids, attention_mask=mask), labels, shift_labels=True)
        return model(input_ids=ids, attention_mask=mask, labels=labels).loss

    return loss


def text_loss():
    """Every row is one text, loss on every token but the first."""
    ids = pad([prompt + answer for prompt, answer, _ in ROWS], 0)
    labels = pad([prompt + answer for prompt, answer, _ in ROWS], -100)
    mask = pad([[1] * len(prompt + answer) for prompt, answer, _ in ROWS], 0)
    return lambda model: model(input_ids=ids, attention_mask=mask, labels=labels).loss


def tokenizer():
    vocab = {f"t{index}": index for index in range(VOCAB)}
    words = Tokenizer(WordLevel(vocab, unk_token="t4"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="t0", eos_token="t2", bos_token="t1"
    )


def dpo_loss(beta):
    args = DPOConfig(
        output_dir=tempfile.mkdtemp(), beta=beta, loss_type="sigmoid", report_to=[], use_cpu=True, bf16=False,
        per_device_train_batch_size=len(ROWS), gradient_checkpointing=False, disable_dropout=True,
    )
    trainer = DPOTrainer(
        model=base_model(), args=args, train_dataset=pairs(), processing_class=tokenizer(), peft_config=lora_config()
    )
    model = fill_adapter(trainer.model)
    model.train()
    batch = trainer.data_collator([{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in ROWS])
    return model, lambda model: trainer._compute_loss(model, dict(batch), return_outputs=False)


def pairs():
    """Something that the trainers can be made with; the losses are of ROWS."""
    return Dataset.from_list([{"prompt": "t3 t7 ", "chosen": "t5", "rejected": "t6"}])


def orpo_loss(beta):
    def row(prompt, chosen, rejected):
        return {
            "chosen_input_ids": prompt + chosen, "chosen_attention_mask": [1] * len(prompt + chosen),
            "chosen_labels": [-100] * len(prompt) + chosen,
            "rejected_input_ids": prompt + rejected, "rejected_attention_mask": [1] * len(prompt + rejected),
            "rejected_labels": [-100] * len(prompt) + rejected,
            "prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt),
        }

    args = ORPOConfig(
        output_dir=tempfile.mkdtemp(), beta=beta, report_to=[], use_cpu=True, bf16=False,
        per_device_train_batch_size=len(ROWS), gradient_checkpointing=False, max_length=64, disable_dropout=True,
    )
    trainer = ORPOTrainer(
        model=base_model(), args=args, train_dataset=pairs(), processing_class=tokenizer(), peft_config=lora_config()
    )
    model = fill_adapter(trainer.model)
    model.train()
    batch = trainer.data_collator([row(*each) for each in ROWS])
    return model, lambda model: trainer.get_batch_loss_metrics(model, batch)[0]


def main():
    cases = {
        "sft_lora": run(lora_model(), sft_loss()),
        "sft_smoothing": run(lora_model(), sft_loss(0.1)),
        "sft_full": run(base_model(), sft_loss(), weight_decay=0.1),
        "pretrain_full": run(base_model(), text_loss()),
    }
    model, loss = dpo_loss(0.3)
    cases["dpo"] = run(model, loss)
    model, loss = orpo_loss(0.2)
    cases["orpo"] = run(model, loss)
    json.dump({"rows": ROWS, "cases": cases}, sys.stdout)


main()
