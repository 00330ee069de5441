"""Makes sentence_piece.json: token ids from llama.cpp for a SentencePiece vocabulary that puts no space before a text.

    pip install transformers tokenizers gguf numpy xllamacpp
    python make_sentence_piece.py

The vocabulary is trained on some of the texts of make_golden.py only, so that many characters fall back to bytes. Whitespace
runs are user-defined tokens, as in Gemma.
"""

import json
import pathlib
import tempfile

import gguf
import numpy as np
import tokenizers

from make_golden import HERE, TEXTS, llama_cpp_ids

CONTROL = ["<pad>", "<eos>", "<bos>"]
USER_DEFINED = ["\n\n", "\n\n\n", "  ", "   ", "\t\t", "<tool>"]
TURNS = ["<start_of_turn>", "<end_of_turn>"]


def vocabulary():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=500, min_frequency=2, show_progress=False, max_token_length=10)
    corpus = [text for text in TEXTS[:30] + TEXTS[40:] if "<" not in text and "  " not in text] * 3
    corpus += [f"{n} {n * 37} days\nit's {n}" for n in range(90, 140)]
    tokenizer.train_from_iterator(corpus, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    # SentencePiece numbers merged pieces first, then characters; the score is the number with a minus.
    pieces = [piece for piece in pieces if len(piece) > 1] + [piece for piece in pieces if len(piece) == 1]
    entries = [(token, 3, 0.0) for token in CONTROL] + [("<unk>", 2, 0.0)]
    entries += [(f"<0x{byte:02X}>", 6, 0.0) for byte in range(256)]
    entries += [(token, 4, 0.0) for token in USER_DEFINED] + [(token, 3, 0.0) for token in TURNS]
    taken = {token for token, _, _ in entries}
    entries += [(piece, 1, float(-number)) for number, piece in enumerate(pieces) if piece not in taken]
    return [list(column) for column in zip(*entries)]


def write_gguf(path, tokens, types, scores):
    hidden, inner, heads = 32, 64, 2
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_scores(scores)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_space_prefix(False)
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


def main():
    tokens, types, scores = vocabulary()
    texts = [text for text in TEXTS if "\u0000" not in text]
    texts += ["<start_of_turn>user\nHi 12!<end_of_turn>\n<start_of_turn>model\n", "a    b     c", "\n\n\n\n", "x<tool>  y", "<0x41>"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.gguf")
        write_gguf(path, tokens, types, scores)
        ids = llama_cpp_ids(path, texts)
    golden = {"tokens": tokens, "token_types": types, "scores": scores, "texts": texts, "ids": ids}
    (HERE / "sentence_piece.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
