"""Train networks over a grid of learning rates; keep their accuracies for the explorer "rates".

    python tools/record_rates.py

This takes some minutes, so the explorer shows what it wrote between two comments in
``bnlib/lab/explorers/rates.js``: for each network, opponent, arm, number of steps and rate the test
accuracy of five seeds, in thousandths. The networks are those of the chapters on convergence speed
(ReLU) and placement (sigmoid). Nothing is chosen with these accuracies. Pictures and seeds are
those of a confirmation: no chapter was written with them in view.

With the data stands a fingerprint of them, and of the settings and functions that made them. A test
compares it: whoever changes one of these has to train again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bnlib import BatchNorm1d, Linear, ReLU, Sequential, Sigmoid
from bnlib.lab import data
from bnlib.lab.lanes import lane_accuracy
from bnlib.lab.sweep import sweep_rates

FILE = Path(__file__).resolve().parents[1] / "bnlib/lab/explorers/rates.js"
MARKS = "// Written by tools/record_rates.py:", "// To here."
RATES = 0.01 * 2.0 ** np.arange(12)
SEEDS = range(1000, 1005)
STEPS = (150, 600)
NETS = {  # activation, hidden units, prepared n·Var(w), mini-batch: as in the chapters
    "ReLU": (ReLU, (64, 32), 2, 64),
    "sigmoid": (Sigmoid, 3 * (32,), 1, 32),
}
OPPONENTS = ("default", "prepared")
ARMS = ("none", "batch")


def pictures(opponent: str) -> data.Data:
    """Return digits of 14 × 14 pixels, standardized for both arms if the opponent is prepared."""
    digits = data.digits(n_val=1, n_test=1000, seed=1, fonts=data.FONTS)
    splits = {
        name: x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196).astype(float)
        for name, x in digits._asdict().items()
        if name.startswith("x_")
    }
    if opponent == "prepared":
        centre, scale = splits["x_train"].mean(0), splits["x_train"].std()
        splits = {name: (x - centre) / scale for name, x in splits.items()}
    return digits._replace(**splits)


def build(rng: np.random.Generator, net: str, opponent: str, arm: str) -> Sequential:
    """Return a network; with BN it always starts from the default weights."""
    act, widths, gain, _ = NETS[net]
    prepared = arm == "none" and opponent == "prepared"
    layers, n_in = [], 196
    for one, n_out in zip(rng.spawn(len(widths) + 1), (*widths, 10), strict=True):
        hidden = len(layers) < len(widths) * (3 if arm == "batch" else 2)
        bias = arm == "none" or not hidden
        linear = Linear(n_in, n_out, bias=bias, dtype=float, rng=one)
        if prepared:
            linear.weight.data *= np.sqrt(3 * gain)  # the default has n·Var(w) = 1/3
            linear.bias.data[...] = 0
        layers.append(linear)
        if hidden:
            layers += [BatchNorm1d(n_out, dtype=float)] if arm == "batch" else []
            layers.append(act())
        n_in = n_out
    return Sequential(*layers)


def trained(
    net: str,
    opponent: str,
    arm: str,
    rates: Sequence[float],
    seeds: Sequence[int],
    steps: Sequence[int] = STEPS,
) -> list[list[list[int]]]:
    """Return the test accuracies in thousandths, after each of these steps, by rate and seed."""
    digits = pictures(opponent)
    lanes = len(rates) * len(seeds)

    def test(stacked: Sequential) -> np.ndarray:
        return lane_accuracy(stacked, digits.x_test, digits.y_test, lanes)

    _, runs = sweep_rates(
        lambda rng: build(rng, net, opponent, arm),
        digits,
        rates,
        seeds,
        steps=max(steps),
        batch_size=NETS[net][3],
        evaluate_every=min(steps),
        probe=test,
    )
    kept = np.array(runs.probes)[np.isin(runs.steps, steps)]
    shape = len(steps), len(rates), len(seeds)
    return (1000 * kept).round().astype(int).reshape(shape).tolist()


def fingerprint(found: dict[str, Any]) -> str:
    """Return a digest of data, and of what made them: settings, and code without its spaces."""
    made = ["".join(inspect.getsource(f).split()) for f in (pictures, build, trained)]
    settings = RATES.tolist(), [*SEEDS], STEPS, OPPONENTS, ARMS
    nets = [(name, act.__name__, *rest) for name, (act, *rest) in NETS.items()]
    held = json.dumps(found, sort_keys=True)
    return hashlib.sha256(repr((made, settings, nets, held)).encode()).hexdigest()


def read() -> dict[str, Any]:
    """Return what the explorer's file holds, its accuracies as tables of rates and seeds."""
    start, end = map(re.escape, MARKS)
    text = FILE.read_text("utf-8")
    pattern = rf"{start}\n// (\w+)\nconst DATA = (.*?);\n{end}"
    digest, data = re.search(pattern, text, re.DOTALL).groups()
    held = json.loads(data)
    tables = {
        key: np.reshape(flat, (len(held["rates"]), -1)).tolist()
        for key, flat in held["accuracies"].items()
    }
    return {"rates": held["rates"], "accuracies": tables, "fingerprint": digest}


def write(found: dict[str, Any]) -> None:
    """Put these data into the explorer's file, the tables row by row."""
    start, end = MARKS
    text = FILE.read_text("utf-8")
    rows = {key: np.ravel(table).tolist() for key, table in found["accuracies"].items()}
    kept = json.dumps(found | {"accuracies": rows}, separators=(",", ":"))
    kept = kept.replace('],"', '],\n"')
    before, after = text.partition(start)[0], text.partition(end)[2]
    FILE.write_text(
        f"{before}{start}\n// {fingerprint(found)}\nconst DATA = {kept};\n{end}{after}",
        encoding="utf-8",
    )


def main() -> None:
    """Train all of them and write them down."""
    accuracies: dict[str, list[list[int]]] = {}
    for net, opponent, arm in product(NETS, OPPONENTS, ARMS):
        found = trained(net, opponent, arm, RATES.tolist(), SEEDS)
        for steps, table in zip(STEPS, found, strict=True):
            accuracies[f"{net}, {opponent}, {arm}, {steps}"] = table
            print(net, opponent, arm, steps, np.median(table, 1), flush=True)
    write({"rates": RATES.tolist(), "accuracies": accuracies})


if __name__ == "__main__":
    from refresh import prepare

    prepare()
    main()
