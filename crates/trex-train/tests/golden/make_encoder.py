"""Makes a tiny random BERT encoder and the vectors that sentence-transformers makes with it and with all-MiniLM-L6-v2.

Usage: python make_encoder.py [--minilm FOLDER]
Needs: torch 2.15, transformers 5.24, sentence-transformers 6.2, tokenizers (the versions of the committed files).

encoder/                 the tiny encoder as a sentence-transformers folder, bfloat16
encoder/golden.json      texts with their token ids and vectors
minilm.json              texts with their token ids, the beginnings of their vectors and all cosines, by the real model
"""

import argparse
import json
import pathlib
import shutil
import string

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

HERE = pathlib.Path(__file__).parent
SHOWN = 24
TEXTS = [
    "The capital of France is Paris.",
    "Paris is the capital of France!",
    "What is the boiling point of water at sea level?",
    "",
    "a",
    "Fußball und Äpfel, naïve café",
    "word " * 300,
    "2 + 2 = 4; is 17 a prime number?",
    "机器学习 is machine learning",
]
# The vocabulary of the tiny encoder: letters, and some words and pieces of the texts.
PIECES = ["the", "capital", "of", "paris", "is", "##ing", "##er", "wat", "po", "##int", "word", "prime", "num", "machine", "learn"]


def tiny_tokenizer(path):
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *string.digits, *string.ascii_lowercase]
    vocab += ["##" + letter for letter in string.ascii_lowercase + string.digits] + PIECES
    ids = {piece: number for number, piece in enumerate(vocab)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])])
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(path))
    return len(vocab)


def make_tiny(folder):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "1_Pooling").mkdir(parents=True)
    num_tokens = tiny_tokenizer(folder / "tokenizer.json")
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=num_tokens, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=40, type_vocab_size=2, layer_norm_eps=1e-12, initializer_range=0.4)
    model = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.2)
            if "LayerNorm.weight" in name:
                value.normal_(1, 0.2)
    # Rounded before anything is computed, so that the file holds what was computed with.
    model.to(torch.bfloat16).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    special = dict(unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]")
    tokenizer = dict(special, tokenizer_class="BertTokenizer", do_lower_case=True, model_max_length=40)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer) + "\n")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24, "do_lower_case": false}\n')
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.models.{kind}") for i, (path, kind) in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules, indent=1) + "\n")
    pooling = dict(word_embedding_dimension=32, pooling_mode_cls_token=False, pooling_mode_mean_tokens=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling) + "\n")


def vectors(folder):
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs=dict(dtype=torch.float32))
    # By `tokenizers` itself: the tokenizer class of transformers is not always that of the file.
    tokenizer = Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_seq_length)
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    for text, known in zip(TEXTS, ids):
        features = model.preprocess([text])["input_ids"][0].tolist()
        assert features == known, (text, features, known)
    return ids, model.encode(TEXTS, convert_to_tensor=True).double()


def rounded(values, digits):
    return [round(value, digits) for value in values]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minilm", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tiny = HERE / "encoder"
    make_tiny(tiny)
    ids, made = vectors(tiny)
    golden = [dict(text=t, ids=i, vector=rounded(v.tolist(), 7)) for t, i, v in zip(TEXTS, ids, made)]
    (tiny / "golden.json").write_text("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in golden) + "\n]\n")
    if args.minilm:
        ids, made = vectors(args.minilm)
        golden = [dict(text=t, ids=i, vector=rounded(v.tolist()[:SHOWN], 7)) for t, i, v in zip(TEXTS, ids, made)]
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in golden)
        cosines = json.dumps([rounded(row, 6) for row in (made @ made.T).tolist()])
        (HERE / "minilm.json").write_text(f'{{"cases": [\n{lines}\n],\n"cosines": {cosines}}}\n')


main()
