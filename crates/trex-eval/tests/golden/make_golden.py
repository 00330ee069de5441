"""Writes golden.json beside this file: what the reference implementations say about some texts and counts.

Needs the PyPI packages sacrebleu, rouge-score, scikit-learn and scipy; their versions are noted in the output.
The SQuAD F1 has no package; it is stated here from its definition (Rajpurkar et al., 2016 and 2018).
"""

import json
import re
import string
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF
from scipy.stats import binomtest, permutation_test
from sklearn.metrics import f1_score

PAIRS = [  # (predicted, gold)
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("the cat sat on the mat", "the cat is on the mat"),
    ("The Cat SAT on the mat.", "the cat sat on the mat"),
    ("mat the on sat cat the", "the cat sat on the mat"),
    ("a", "a"),
    ("a", "b"),
    ("", "something"),
    ("something", ""),
    ("", ""),
    ("   ", "..."),
    ("yes", "Yes!"),
    ("yes, it is", "no, it is not"),
    ("police killed the gunman", "police kill the gunman"),
    ("the gunman kill police", "police killed the gunman"),
    ("the the the the", "the cat the dog"),
    ("cat cat cat", "cat"),
    ("An apple a day keeps the doctor away.", "The apple a day, keeps doctors away"),
    ("It costs $1,234.50 today", "It cost 1234.5 dollars today"),
    ("3.14159", "3.14"),
    ("42", "the answer is 42"),
    ("state-of-the-art results", "state of the art results"),
    ("don't stop", "do not stop"),
    ("it's John's book", "its Johns book"),
    ("snake_case and CamelCase", "snake case and camelcase"),
    ("e-mail: a@b.org", "email a b org"),
    ("line one\nline two", "line one line two"),
    ("tab\tseparated\x1cfields", "tab separated fields"),
    ("non\u00a0breaking\u3000space", "non breaking space"),
    ("Zürich ist schön", "Zurich ist schon"),
    ("naïve café", "naïve café society"),
    ("北京是中国的首都", "中国的首都是北京"),
    ("我喜欢 GPT2 模型", "我喜欢 gpt2 的模型"),
    ("Привет, мир", "привет мир"),
    ("👍 great 👍👍", "great 👍"),
    ("The patient has no history of diabetes, hypertension or cardiac disease and takes no medication.",
     "Patient denies diabetes and hypertension. No cardiac disease. No medication at present."),
    ("Quick brown foxes jumped over the lazy dogs while the sun was setting behind the hills",
     "The quick brown fox jumps over the lazy dog as the sun sets behind the hill"),
    ("abcdefghij", "abcdefghik"),
    ("abc", "abcdefghij"),
    ("abcdefghij", "abc"),
    ("one two three four five six seven eight nine ten", "ten nine eight seven six five four three two one"),
    ("x y z x y z x y z", "x y z"),
    ("the a an", "a the"),
    ("\u212aelvin K", "kelvin k"),
]

rng = np.random.default_rng(7)


def squad_tokens(text):
    bare = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def squad_f1(predicted, gold):
    predicted, gold = squad_tokens(predicted), squad_tokens(gold)
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * common / (len(predicted) + len(gold))


def text_case(predicted, gold):
    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False).score(gold, predicted)
    return {
        "predicted": predicted,
        "gold": gold,
        "rouge1": rouge["rouge1"].fmeasure,
        "rouge2": rouge["rouge2"].fmeasure,
        "rouge_l": rouge["rougeL"].fmeasure,
        "token_f1": squad_f1(predicted, gold),
        "chrf": CHRF().sentence_score(predicted, [gold]).score / 100,
    }


def macro_case(gold, predicted):
    value = f1_score(gold, predicted, average="macro", zero_division=0)
    return {"gold": list(gold), "predicted": list(predicted), "macro_f1": float(value)}


def drawn_macro_case(labels, n, share_right):
    gold = [str(g) for g in rng.choice(labels, n)]
    predicted = [g if rng.random() < share_right else str(rng.choice(labels)) for g in gold]
    return macro_case(gold, predicted)


def discordant_case(left, right):
    return {"left": left, "right": right, "p": float(binomtest(left, left + right, 0.5).pvalue)}


def wilson_case(successes, n):
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return {"successes": successes, "n": n, "ci95": [float(interval.low), float(interval.high)]}


def sign_flip_case(candidate, incumbent):
    def mean_difference(x, y, axis):
        return np.mean(x - y, axis=axis)

    test = permutation_test((np.array(candidate), np.array(incumbent)), mean_difference, vectorized=True,
                            permutation_type="samples", n_resamples=np.inf)
    return {"candidate": candidate, "incumbent": incumbent, "p": float(test.pvalue)}


def std_case(scores):
    return {"scores": scores, "sd": float(np.std(scores, ddof=1))}


golden = {
    "versions": {name: version(name) for name in ["sacrebleu", "rouge-score", "scikit-learn", "scipy", "numpy"]},
    "texts": [text_case(predicted, gold) for predicted, gold in PAIRS],
    "macro_f1": [
        macro_case(["a", "a", "b", "c"], ["a", "b", "b", "c"]),
        macro_case(["a", "a", "a"], ["b", "b", "b"]),
        macro_case(["a", "b"], ["a", "b"]),
        macro_case(["a", "a", "a", "b"], ["a", "a", "a", "a"]),
        macro_case(["x", "y", "x"], ["x", "other", "y"]),
        drawn_macro_case(["neg", "neu", "pos"], 60, 0.5),
        drawn_macro_case(list("abcdefg"), 50, 0.2),
    ],
    "discordant": [discordant_case(*pair) for pair in
                   [(1, 0), (3, 3), (5, 0), (10, 2), (2, 10), (25, 15), (59, 121), (300, 350), (1500, 1400)]],
    "wilson": [wilson_case(*pair) for pair in [(0, 1), (0, 10), (10, 10), (3, 10), (117, 200), (200, 200)]],
    "sign_flip": [
        sign_flip_case([1.0] * 6, [0.0] * 6),
        sign_flip_case([1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        sign_flip_case([0.9, 0.3, 0.55, 0.7, 0.61, 0.82, 0.4, 0.75, 0.2, 0.66],
                       [0.7, 0.35, 0.5, 0.5, 0.6, 0.5, 0.45, 0.6, 0.1, 0.6]),
    ],
    "std_dev": [std_case([0.1, 0.4]), std_case([0.71, 0.74, 0.69, 0.8]), std_case([0.5, 0.5, 0.5])],
}

text = json.dumps(golden, indent=1, ensure_ascii=True) + "\n"
Path(__file__).with_name("golden.json").write_text(text, encoding="utf-8")
