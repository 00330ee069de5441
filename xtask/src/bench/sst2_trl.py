#!/usr/bin/env python3
"""TRL's SFTTrainer on real rows, as its manual sets it up: prompt and completion as messages, loss on the completion.

Same model, rows, adapters, rate and batch as the other contenders of `cargo xtask bench sst2`; batches are padded and shuffled as
the trainer does. Gradient checkpointing, which the trainer turns on by itself, is off: it would cost it about a third, and the others
do without. Prints one line of JSON: examples per second by the median step, accuracy on the first rows of dev.tsv before and after.
"""
import argparse
import json
import os
import statistics
import tempfile
import time

ANSWERS = ["negative", "positive"]
ASK = "Is the sentiment of this movie review sentence negative or positive? Answer with one word.\n"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--eval", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    return parser.parse_args()


def rows(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            sentence, label = line.rstrip("\n").rsplit("\t", 1)
            yield sentence, int(label)


def question(sentence):
    return [{"role": "user", "content": ASK + sentence}]


def accuracy(model, tokenizer, items):
    """Share of items whose right word has the higher logit at the place of the answer."""
    import torch

    words = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ANSWERS]
    right = 0
    model.eval()
    with torch.no_grad():
        for sentence, label in items:
            ids = tokenizer.apply_chat_template(question(sentence), add_generation_prompt=True, return_dict=True)["input_ids"]
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            right += int((logits[words[1]] > logits[words[0]]).item() == bool(label))
    model.train()
    return right / len(items)


def main():
    args = arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class StepTimes(TrainerCallback):
        def __init__(self):
            self.seconds = []

        def on_step_begin(self, *_, **__):
            self.begun = time.perf_counter()

        def on_step_end(self, *_, **__):
            self.seconds.append(time.perf_counter() - self.begun)

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    folder, gguf = os.path.split(os.path.abspath(args.model))
    dtype = torch.float32 if args.dtype == "f32" else torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=dtype)
    # The weights are floats by now; the trainer only looks at where they came from.
    model.is_quantized = False
    model.hf_quantizer = None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    dev = list(rows(os.path.join(args.data, "dev.tsv")))[: args.eval]
    before = accuracy(model, tokenizer, dev)
    train = [
        {"prompt": question(sentence), "completion": [{"role": "assistant", "content": ANSWERS[label]}]}
        for sentence, label in rows(os.path.join(args.data, "train.tsv"))
    ]
    times = StepTimes()
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out, max_steps=args.steps, per_device_train_batch_size=args.batch, learning_rate=2e-4,
            lr_scheduler_type="constant", gradient_checkpointing=False, use_cpu=True, bf16=False, fp16=False,
            save_strategy="no", report_to=[], seed=args.seed, disable_tqdm=True, logging_steps=args.steps,
            dataloader_pin_memory=False,
        )
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(train), processing_class=tokenizer, callbacks=[times]
        )
        trainer.train()
    after = accuracy(model, tokenizer, dev)
    middle = statistics.median(times.seconds)
    print(json.dumps({
        "peer": "TRL SFTTrainer", "dtype": args.dtype, "threads": args.threads, "steps": args.steps, "batch": args.batch,
        "s_per_batch": middle, "examples_per_s": args.batch / middle, "n": len(dev), "accuracy_before": before,
        "accuracy_after": after,
    }))


if __name__ == "__main__":
    main()
