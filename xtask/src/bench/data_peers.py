"""What people use for the same work. Called by `cargo xtask bench data` as: peers.py WHAT FILE [MORE]."""

import json
import sys
import tempfile


def polars_read(path):
    import polars

    print(polars.read_ndjson(path).height)


def polars_profile(path):
    """The part of our profile that polars has: duplicates, conflicts, lengths, rows that match patterns."""
    import polars as pl

    frame = pl.scan_ndjson(path).with_columns(
        chars=pl.col("instruction").str.len_chars() + pl.col("output").str.len_chars(),
        key=pl.col("instruction").str.to_lowercase(),
        email=pl.col("instruction").str.contains(r"[a-z0-9._%+-]+@[a-z0-9-]+\.[a-z]{2,}"),
        phone=pl.col("instruction").str.contains(r"\+[1-9][0-9 ()-]{7,}"),
    )
    print(
        frame.select(
            rows=pl.len(),
            distinct=pl.struct("key", "output").n_unique(),
            prompts=pl.col("key").n_unique(),
            longest=pl.col("chars").max(),
            email=pl.col("email").sum(),
            phone=pl.col("phone").sum(),
        ).collect()
    )


def datasets_load(path):
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        print(datasets.load_dataset("json", data_files=path, split="train", cache_dir=cache).num_rows)


def datasketch_dedup(path):
    """The usual recipe: 128 permutations, shingles of three words, a query before each insert."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=0.8, num_perm=128)
    found = 0
    with open(path) as file:
        for number, line in enumerate(file):
            words = json.loads(line)["text"].lower().split()
            shingles = {" ".join(words[at : at + 3]).encode() for at in range(max(1, len(words) - 2))}
            signature = MinHash(num_perm=128)
            signature.update_batch(shingles)
            if lsh.query(signature):
                found += 1
            else:
                lsh.insert(number, signature)
    print(found)


def sentence_transformers_embed(path, folder):
    """Vectors of the texts by the model of a folder; prints their number and the seconds of the encoding alone."""
    import time

    from sentence_transformers import SentenceTransformer

    with open(path) as file:
        texts = [json.loads(line)["text"] for line in file]
    model = SentenceTransformer(folder, device="cpu")
    start = time.perf_counter()
    vectors = model.encode(texts, batch_size=32, normalize_embeddings=True)
    print(len(vectors), time.perf_counter() - start)


WHAT = {
    "sentence_transformers-embed": sentence_transformers_embed,
    "polars-read": polars_read,
    "polars-profile": polars_profile,
    "datasets-load": datasets_load,
    "datasketch-dedup": datasketch_dedup,
}

WHAT[sys.argv[1]](*sys.argv[2:])
