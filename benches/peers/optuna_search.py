"""Optuna's TPE sampler, with and without its successive-halving (ASHA) pruner, on recorded surfaces.

The same game as `trex bench search`: the unit of the budget is one training of full length, a rung that is gone on with costs
the difference, a training that is asked for again costs again, search and select items are drawn anew for every search, and
what is recommended is the fully trained point with the most right answers on search and select together. Prints regrets with
95 % intervals in the form of that command, or JSON with --json.

    python benches/peers/optuna_search.py assets/surfaces/mini-1.jsonl

Needs: pip install optuna numpy
"""

import argparse
import json

import numpy as np
import optuna

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CHECKPOINTS = (0.25, 0.5, 1.0)
MIN_ITEMS = 30


def outcomes(text):
    count, digits = text.split(":")
    bits = [(DIGITS.index(digit) >> place) & 1 for digit in digits for place in range(6)]
    return np.array(bits[: int(count)], dtype=float)


class Surface:
    def __init__(self, path):
        with open(path) as file:
            self.header = json.loads(file.readline())
            lines = [json.loads(line) for line in file]
        self.lengths = [len(dimension["values"]) for dimension in self.header["dimensions"]]
        self.points = int(np.prod(self.lengths))
        trials = {(line["p"], line["s"]): line for line in lines}
        whole = [seed for seed in range(self.header["seeds"]) if all((p, seed) in trials for p in range(self.points))]
        self.seeds = whole
        self.base = [outcomes(text) for text in self.header["base"]]
        self.rungs, self.eta = self.header["rungs"], self.header["eta"]
        self.shares = [self.eta ** -(self.rungs - 1 - rung) for rung in range(self.rungs)]
        self.trials = {}
        for key, line in trials.items():
            if key[1] in whole:
                failed = "e" in line
                self.trials[key] = {
                    "search": [outcomes(rung[2]) for rung in line["r"]],
                    "select": None if failed else outcomes(line["v"]),
                    "final": None if failed else outcomes(line["f"]).mean(),
                }
        base = self.base[2].mean()
        self.truth = [
            np.mean([base if self.trials[p, s]["final"] is None else self.trials[p, s]["final"] for s in whole])
            for p in range(self.points)
        ]

    def point(self, place):
        return int(np.ravel_multi_index(place, self.lengths))


class Search:
    """One simulated search with its own items."""

    def __init__(self, surface, number, budget):
        self.surface, self.budget = surface, budget
        self.seed = surface.seeds[number % len(surface.seeds)]
        rng = np.random.default_rng(number)
        self.search = rng.integers(0, len(surface.base[0]), len(surface.base[0]))
        self.select = rng.integers(0, len(surface.base[1]), len(surface.base[1]))
        self.cost, self.best, self.progress = 0.0, None, []

    def charge(self, cost):
        if self.cost + cost > self.budget + 1e-9:
            return False
        self.cost += cost
        return True

    def score(self, point, rung):
        """Search score at a rung; None where the training failed before it."""
        recorded = self.surface.trials[point, self.seed]["search"]
        if len(recorded) <= rung:
            return None
        take = max(MIN_ITEMS, int(np.ceil(len(self.search) * self.surface.shares[rung] - 1e-9)))
        return recorded[rung][self.search[:take]].mean()

    def finish(self, point):
        trial = self.surface.trials[point, self.seed]
        if trial["select"] is None:
            return
        right = trial["search"][-1][self.search].sum() + trial["select"][self.select].sum()
        if self.best is None or right > self.best[0]:
            self.best = (right, point)
        self.progress.append((self.cost, self.surface.truth[self.best[1]]))

    def truth_at(self, cost):
        reached = [truth for at, truth in self.progress if at <= cost + 1e-9]
        return reached[-1] if reached else self.surface.base[2].mean()


def simulate(surface, pruned, number, budget):
    search = Search(surface, number, budget)
    sampler = optuna.samplers.TPESampler(seed=number)
    pruner = (
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=surface.eta)
        if pruned
        else optuna.pruners.NopPruner()
    )
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    while True:
        trial = study.ask()
        names = [dimension["name"] for dimension in surface.header["dimensions"]]
        # Numbers have an order, recipes have none.
        place = [
            trial.suggest_categorical(name, list(range(length)))
            if name == "recipe"
            else trial.suggest_int(name, 0, length - 1)
            for name, length in zip(names, surface.lengths)
        ]
        point, before, value = surface.point(place), 0.0, None
        for rung in range(surface.rungs) if pruned else [surface.rungs - 1]:
            if not search.charge(surface.shares[rung] - before):
                return search
            before = surface.shares[rung]
            value = search.score(point, rung)
            if value is None:
                break
            if pruned:
                trial.report(value, surface.eta**rung)
                if rung < surface.rungs - 1 and trial.should_prune():
                    break
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif before < 1.0:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
            search.finish(point)


def estimate(values):
    half = 1.959964 * np.std(values, ddof=1) / np.sqrt(len(values))
    return {"mean": float(np.mean(values)), "ci95": [float(np.mean(values) - half), float(np.mean(values) + half)], "n": len(values)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surfaces", nargs="+")
    parser.add_argument("--budget", type=float, default=16.0)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = []
    for path in args.surfaces:
        surface = Surface(path)
        best = max([surface.base[2].mean(), *surface.truth])
        for name, pruned in [("optuna-tpe", False), ("optuna-asha", True)]:
            searches = [simulate(surface, pruned, number, args.budget) for number in range(args.searches)]
            regret = [estimate([best - one.truth_at(share * args.budget) for one in searches]) for share in CHECKPOINTS]
            found.append({"surface": path, "name": name, "regret": regret})
            shown = "  ".join(f"{r['mean']:.4f} [{r['ci95'][0]:.4f}, {r['ci95'][1]:.4f}]" for r in regret)
            if not args.json:
                print(f"{path} {name:<12} regret at 25, 50, 100 %: {shown}")
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
