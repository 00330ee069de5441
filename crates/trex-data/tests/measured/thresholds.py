"""Cosines of all-MiniLM-L6-v2 behind the defaults of semantic_dedup and semantic_filter.

Usage: python thresholds.py MODEL_FOLDER     (needs sentence-transformers; printed with version 6.2:)

same       0.837 0.862 0.877 0.880 0.891 0.900 0.908 0.918 0.939 0.959 0.966 0.980
different  0.444 0.608 0.640 0.653 0.659 0.676 0.705 0.731 0.776 0.826 0.862 0.931
related    0.097 0.111 0.178 0.279 0.333 0.474
unrelated  -0.011 0.026 0.056 0.057 0.101 0.154
"""

import sys

from sentence_transformers import SentenceTransformer

# One question in two wordings; two questions of one kind; a topic with a question of it, and of another.
SAME = [
    ("What is the capital of France?", "Tell me the capital city of France."),
    ("How do I sort a list in Python?", "How can I sort a Python list?"),
    ("Translate 'good morning' into German.", "What is 'good morning' in German?"),
    ("Write a poem about the sea.", "Compose a poem on the ocean."),
    ("Summarise the plot of Hamlet.", "Give a summary of Hamlet's plot."),
    ("What causes rain?", "Why does it rain?"),
    ("How many legs does a spider have?", "What is the number of legs of a spider?"),
    ("Explain photosynthesis to a child.", "Describe photosynthesis in simple words for kids."),
    ("List three uses of a hammer.", "Name 3 things a hammer can be used for."),
    ("Is 17 prime?", "Is 17 a prime number?"),
    ("When did World War II end?", "In which year was World War II over?"),
    ("Convert 10 miles to kilometres.", "How many kilometres are 10 miles?"),
]
DIFFERENT = [
    ("What is the capital of France?", "What is the capital of Spain?"),
    ("How do I sort a list in Python?", "How do I sort a list in Java?"),
    ("Translate 'good morning' into German.", "Translate 'good night' into German."),
    ("Write a poem about the sea.", "Write a poem about the forest."),
    ("Summarise the plot of Hamlet.", "Summarise the plot of Macbeth."),
    ("What causes rain?", "What causes snow?"),
    ("How many legs does a spider have?", "How many legs does an ant have?"),
    ("Explain photosynthesis to a child.", "Explain gravity to a child."),
    ("Is 17 prime?", "Is 27 prime?"),
    ("When did World War II end?", "When did World War I end?"),
    ("Convert 10 miles to kilometres.", "Convert 12 miles to kilometres."),
    ("List three uses of a hammer.", "List three uses of a knife."),
]
RELATED = [
    ("medicine and health", "What are the symptoms of diabetes?"),
    ("medicine and health", "How should a burn be treated?"),
    ("cooking recipes", "How do I bake bread?"),
    ("programming", "How do I sort a list in Python?"),
    ("sports", "Who won the world cup in 1998?"),
    ("astronomy", "How far away is the Moon?"),
]
UNRELATED = [
    ("medicine and health", "How do I sort a list in Python?"),
    ("medicine and health", "Who won the world cup in 1998?"),
    ("cooking recipes", "How far away is the Moon?"),
    ("programming", "What are the symptoms of diabetes?"),
    ("sports", "How do I bake bread?"),
    ("astronomy", "How should a burn be treated?"),
]

model = SentenceTransformer(sys.argv[1], device="cpu")
for name, pairs in [("same", SAME), ("different", DIFFERENT), ("related", RELATED), ("unrelated", UNRELATED)]:
    left, right = (model.encode([pair[side] for pair in pairs], normalize_embeddings=True) for side in (0, 1))
    print(f"{name:10}", *(f"{cosine:.3f}" for cosine in sorted((left * right).sum(1))))
