"""Writes schedules.json: learning rates of transformers' get_scheduler, step by step.

    pip install torch transformers
    python schedules.py > schedules.json

Made with transformers 5.24.0.
"""

import json
import math

import torch
from transformers.optimization import get_scheduler

TOTAL = 24
CASES = [
    ("linear", 0.1, {}),
    ("linear", 0.0, {}),
    ("cosine", 0.25, {}),
    ("cosine", 5, {"num_cycles": 1.25}),
    ("cosine_with_restarts", 0.1, {}),
    ("cosine_with_restarts", 3, {"num_cycles": 3}),
    ("cosine_with_min_lr", 0.1, {"min_lr": 1e-4}),
    ("cosine_with_min_lr", 2, {"min_lr_rate": 0.2}),
    ("polynomial", 0.1, {}),
    ("polynomial", 4, {"lr_end": 1e-5, "power": 2.0}),
    ("constant", 0.0, {}),
    ("constant_with_warmup", 6, {}),
    ("inverse_sqrt", 4, {}),
    ("inverse_sqrt", 0.0, {}),
    ("inverse_sqrt", 3, {"timescale": 7}),
    ("warmup_stable_decay", 4, {"num_decay_steps": 8}),
    ("warmup_stable_decay", 0.1, {"num_decay_steps": 5, "decay_type": "linear", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", 2, {"num_decay_steps": 9, "decay_type": "1-sqrt"}),
    ("warmup_stable_decay", 2, {"num_decay_steps": 9, "num_stable_steps": 4, "min_lr_ratio": 0.05}),
]


def rates(name, warmup, kwargs):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    steps = int(warmup) if warmup >= 1 else math.ceil(TOTAL * warmup)
    scheduler = get_scheduler(name, optimizer, steps, TOTAL, dict(kwargs))
    found = []
    for _ in range(TOTAL):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def case(name, warmup, kwargs):
    config = {
        "learning_rate": 1e-3,
        "lr_scheduler_type": name,
        "warmup_ratio": float(warmup),
        "lr_scheduler_kwargs": kwargs,
    }
    return {"config": config, "total": TOTAL, "rates": rates(name, warmup, kwargs)}


print(json.dumps([case(*args) for args in CASES]))
