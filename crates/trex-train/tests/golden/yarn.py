"""Frequencies of YaRN for `frequencies_of_yarn_are_those_of_transformers` in src/model_config/parse/tests.rs.

Made with transformers 5; run as `python yarn.py` and copy what it prints.
"""

from transformers import Qwen2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CASES = [
    {"factor": 4.0, "original_max_position_embeddings": 2048},
    {"factor": 8.0, "original_max_position_embeddings": 512, "beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.5},
    {"factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.707, "mscale_all_dim": 1.0},
]

for case in CASES:
    config = Qwen2Config(hidden_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=16)
    config.rope_parameters = {"rope_type": "yarn", "rope_theta": 10000.0, **case}
    inverse, attention_factor = ROPE_INIT_FUNCTIONS["yarn"](config, None)
    print(case, [float(f"{x:.9g}") for x in inverse.tolist()], attention_factor)
