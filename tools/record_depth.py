"""Train plain networks of three depths for 4,000 steps; keep their accuracies on the way.

    python tools/record_depth.py

This takes ten minutes, so the chapter on initialization and depth shows what it wrote to
``bnlib/lab/files/depth-budgets.json``: for each arm, rate and seed the accuracy at some steps. The
networks are those of the chapter, in float32. Two seeds are there to choose a rate, on validation
pictures; the other ones report, on test pictures.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from refresh import prepare

from bnlib import BatchNorm1d, Linear, ReLU, Sequential
from bnlib.lab import data
from bnlib.lab.lanes import lane_accuracy
from bnlib.lab.sweep import sweep_rates

FILE = Path(__file__).resolve().parents[1] / "bnlib/lab/files/depth-budgets.json"
STEPS = [150, 300, 450, 600, 900, 1200, 1800, 2400, 3000, 4000]
CHOOSE, REPORT = (100, 101), (0, 1, 2, 3, 4)
RATES = {  # found on a wider grid, with other runs of 3,000 steps
    ("none", 35): (0.003, 0.01, 0.03),
    ("batch", 35): (0.1, 0.3, 1.0),
    ("none", 20): (0.01, 0.03, 0.1),
    ("batch", 20): (0.03, 0.1, 0.3),
    ("none", 5): (0.03, 0.1, 0.3),
    ("batch", 5): (0.1, 0.3, 1.0),
}


def pictures() -> data.Data:
    """Return the chapter's digits: 14 × 14 pixels, one mean and one standard deviation."""
    digits = data.digits(n_train=3000, n_val=500, n_test=1000, seed=0)
    pixels = {
        name: x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196)
        for name, x in digits._asdict().items()
        if name.startswith("x_")
    }
    mean, std = pixels["x_train"].mean(), pixels["x_train"].std()
    return digits._replace(**{name: (x - mean) / std for name, x in pixels.items()})


def build(rng: np.random.Generator, norm: str, depth: int) -> Sequential:
    """Return a network of `depth` linear layers, each with a generator of its own."""
    layers, n_in = [], 196
    widths = [32] * (depth - 1) + [10]
    for one, n_out in zip(rng.spawn(depth), widths, strict=True):
        hidden = n_out == 32
        linear = Linear(n_in, n_out, bias=not hidden or norm == "none", rng=rng)
        std = np.sqrt((2 if hidden else 1) / n_in)
        linear.weight.data[...] = std * one.standard_normal((n_out, n_in))
        if linear.bias is not None:
            linear.bias.data[...] = 0
        layers.append(linear)
        if hidden:
            layers += [BatchNorm1d(n_out)] if norm == "batch" else []
            layers.append(ReLU())
        n_in = n_out
    return Sequential(*layers)


def main() -> None:
    """Train all arms and write the file."""
    digits = pictures()
    seeds = CHOOSE + REPORT
    arms = []
    for (norm, depth), rates in RATES.items():
        lanes = len(rates) * len(seeds)

        def test(net: Sequential, lanes: int = lanes) -> np.ndarray:
            return lane_accuracy(net, digits.x_test, digits.y_test, lanes)

        _, runs = sweep_rates(
            lambda rng, norm=norm, depth=depth: build(rng, norm, depth),
            digits,
            rates,
            seeds,
            steps=STEPS[-1],
            batch_size=32,
            evaluate_every=150,
            probe=test,
        )
        kept = np.isin(runs.steps, STEPS)
        val = runs.val_accuracy[kept]  # steps, rates, seeds
        tested = np.array(runs.probes)[kept].reshape(val.shape)
        arms.append(
            {
                "norm": norm,
                "depth": depth,
                "rates": rates,
                "val": val[:, :, : len(CHOOSE)].round(3).tolist(),
                "test": tested[:, :, len(CHOOSE) :].round(3).tolist(),
            }
        )
        print(norm, depth, np.median(arms[-1]["test"][-1], axis=1), flush=True)
    FILE.write_text(json.dumps({"steps": STEPS, "arms": arms}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    prepare()
    main()
