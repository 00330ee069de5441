"""Makes golden.json: token ids from llama.cpp and rendered templates from transformers.

    pip install transformers tokenizers gguf numpy xllamacpp
    python make_golden.py

The vocabulary is trained without any splitting, so its merges reach over words, digits and line ends: a wrong
pre-tokenizer gives other ids. llama.cpp reads it from a tiny random model, once for every pre-tokenizer.
"""

import json
import pathlib
import tempfile
import urllib.request

import gguf
import numpy as np
import tokenizers
import transformers
import xllamacpp
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
USER_DEFINED = ["<tool>"]
PRE_TOKENIZERS = ["smollm", "llama-bpe", "qwen2", "gpt-2", "default"]

TEXTS = [
    "Hello world", " leading space", "trailing space ", "  two  spaces", "a\nb\n\nc\n\n\nd", "tab\tand\r\nreturn",
    "12", "123", "1234", "12345678", "in 2024 there were 365 days", "3.14159", "$1,234.56", "10% of 50",
    "it's we're I'll you've he'd I'm don't", "IT'S WE'RE I'LL YOU'VE HE'D", "it’s “quoted” – dash — em…",
    "naïve café Ærø Straße", "ÀÉÎÕÜ", "Zażółć gęślą jaźń", "Привет, мир!", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم",
    "你好，世界！", "こんにちは世界", "안녕하세요 세계", "สวัสดี", "😀😃😄", "👩‍👩‍👧‍👦 family", "a😀b 12😀34", "½ ² ³ ⅷ ①",
    "x = y + 2*z;", "if (a[i] != b->c) { return; }", "https://example.org/a?b=c&d=1#e", "user@example.org",
    "<b>bold</b> &amp;", "__init__ self.value", "snake_case CamelCase kebab-case", "...!!!???", "a,b;c:d", "#hash @at $usd ^caret ~tilde |pipe`",
    "\n", "\n\n", " \n", "\n ", " \n \n ", "   ", "\t\t", "\u00a0nbsp\u00a0", "a\u200bb", "\u3000全角", "１２３ full width", "٣٤٥ arabic digits",
    "end\n", "\nstart", "a  \n  b", "word\n\n  indented", "The quick brown fox jumps over the lazy dog.",
    "<|im_start|>user\nHi 12!<|im_end|>\n", "a<|endoftext|>b", "<|im_end|> <tool> x<tool>y", "<|im_end", "'s 'S 're", "''' \"\"\"",
    "ﬁ ligature", "100€ £5 ¥", "C++ a<=b $x^2", "0", "007 and 1000000", "\u0000\u0001\u007f",
]

CONVERSATIONS = {
    "user": [("user", "What is 2+2?")],
    "turns": [("user", " Hi a "), ("assistant", "Hello <b>&\"'"), ("user", "naïve 😀\n?")],
    "system": [("system", " you are a cat "), ("user", "meow"), ("assistant", "purr")],
    "thought": [("user", "q"), ("assistant", "<think>\nhm\n</think>\n\na"), ("user", "r"), ("assistant", "s")],
}


def vocabulary():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=256 + 420, min_frequency=2, show_progress=False, max_token_length=8,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
    )
    corpus = [text for text in TEXTS if not any(token in text for token in SPECIAL + USER_DEFINED)] * 3
    corpus += [f"{n} {n * 37} days\n\nit's {n}" for n in range(90, 140)]
    tokenizer.train_from_iterator(corpus, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) for pair in model["merges"]]
    types = [1] * len(tokens) + [3] * len(SPECIAL) + [4] * len(USER_DEFINED)
    tokens += SPECIAL + USER_DEFINED
    while len(tokens) % 32:
        types.append(5)
        tokens.append(f"[PAD{len(tokens)}]")
    return tokens, types, merges


def write_gguf(path, pre, tokens, types, merges):
    hidden, inner, heads = 32, 64, 2
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    zeros = lambda *shape: np.zeros(shape, dtype=np.float32)
    writer.add_tensor("token_embd.weight", zeros(len(tokens), hidden))
    writer.add_tensor("output_norm.weight", zeros(hidden))
    for name, shape in {
        "attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (hidden, hidden), "attn_v": (hidden, hidden),
        "attn_output": (hidden, hidden), "ffn_norm": (hidden,), "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }.items():
        writer.add_tensor(f"blk.0.{name}.weight", zeros(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_ids(path, texts):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 256
    params.n_parallel = 1
    params.warmup = False
    params.fit_params = False
    params.port = 0
    params.verbosity = -1
    server = xllamacpp.Server(params)
    return [post(server.listening_address, text) for text in texts]


def post(address, text):
    body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
    request = urllib.request.Request(f"{address}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["tokens"]


def rendered(templates):
    special = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    for name, source in templates.items():
        template = _compile_jinja_template(source)
        for conversation, turns in CONVERSATIONS.items():
            messages = [{"role": role, "content": content} for role, content in turns]
            for prompt in (False, True):
                text = template.render(
                    messages=messages, tools=None, documents=None, add_generation_prompt=prompt, **special
                )
                yield {"template": name, "conversation": conversation, "add_generation_prompt": prompt, "text": text}


def main():
    tokens, types, merges = vocabulary()
    ids = {}
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRE_TOKENIZERS:
            path = pathlib.Path(folder, f"{pre}.gguf")
            write_gguf(path, pre, tokens, types, merges)
            ids[pre] = llama_cpp_ids(path, TEXTS)
    golden = {
        "made_with": {
            "transformers": transformers.__version__,
            "xllamacpp": xllamacpp.__version__ if hasattr(xllamacpp, "__version__") else "",
        },
        "tokens": tokens,
        "token_types": types,
        "merges": merges,
        "texts": TEXTS,
        "ids": ids,
        "conversations": {
            name: [{"role": role, "content": content} for role, content in turns]
            for name, turns in CONVERSATIONS.items()
        },
        "rendered": list(rendered(json.loads((HERE / "templates.json").read_text()))),
    }
    lines = ",\n".join(f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in golden.items())
    (HERE / "golden.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
