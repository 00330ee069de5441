"""Writes sampling.json: what transformers leaves to be drawn from random logits under several settings.

    pip install torch transformers
    python sampling.py > sampling.json

The processors and their order are those that `generate` itself puts together. Made with torch 2.15.0 and transformers 5.24.0.
"""

import json
import sys

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

VOCAB = 24
PROMPT = [3, 7, 7, 11]

SETTINGS = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.8, "top_k": 0},
    {"top_k": 5},
    {"top_k": 0, "top_p": 0.6},
    {"top_k": 0, "top_p": 0.05},
    {"top_k": 0, "min_p": 0.15},
    {"top_k": 0, "repetition_penalty": 1.7},
    {"temperature": 0.8, "top_k": 12, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.3},
]


def main():
    generator = torch.Generator().manual_seed(5)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    cases = []
    for settings in SETTINGS:
        # Rounded, so that the file holds exactly what was computed with.
        logits = (torch.randn(VOCAB, generator=generator, dtype=torch.float64) * 2).mul(1024).round().div(1024)
        config = GenerationConfig(do_sample=True, **settings)
        ids = torch.tensor([PROMPT])
        model._prepare_special_tokens(config, kwargs_has_attention_mask=True)
        processors = model._get_logits_processor(
            generation_config=config, input_ids_seq_length=len(PROMPT), encoder_input_ids=ids, device="cpu"
        )
        left = torch.softmax(processors(ids, logits[None].clone()), dim=-1)[0]
        cases.append({"settings": settings, "logits": logits.tolist(), "probabilities": left.tolist()})
    json.dump({"prompt": PROMPT, "cases": cases}, sys.stdout, indent=1)
    print()


main()
