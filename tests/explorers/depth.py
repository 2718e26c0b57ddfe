import sys
from pathlib import Path

import numpy as np

from bnlib import BatchNorm1d, Linear, ReLU, Sequential

sys.path.insert(0, str(Path(__file__).parents[1]))
from explorers_random import normal_array

LAYERS, UNITS, FEATURES, CLASSES, MOST, SHOWN = 50, 32, 16, 4, 64, 20
OF_CLASS = np.arange(MOST) % CLASSES
PROTOTYPES = normal_array(101, CLASSES, FEATURES)
INPUT = PROTOTYPES[OF_CLASS] + 0.3 * normal_array(102, MOST, FEATURES)
TOP = normal_array(103, MOST, UNITS)
WEIGHTS = [
    normal_array(104 + k, UNITS, UNITS if k else FEATURES) for k in range(LAYERS)
]


def settings(rng):
    """Return what the controls do not hold: nothing."""
    return {}


def network(norm):
    """Return pairs of a linear layer, with BN or without it, and an activation."""
    layers = []
    for weight in WEIGHTS:
        linear = Linear(*weight.shape[::-1], bias=False, dtype=float)
        linear.weight.data[...] = np.sqrt(2 / weight.shape[1]) * weight
        bn = [BatchNorm1d(UNITS, dtype=float)] if norm else []
        layers.append((Sequential(linear, *bn), ReLU()))
    return layers


def values(s):
    """Return what the explorer has to show."""
    m, layers = s["m"], network(s["norm"])
    x, dy, arriving, norms = INPUT[:m], TOP[:m], [], []
    for k, (linear, act) in enumerate(layers):
        arriving.append(linear(x))
        passing = x if s["skip"] and k else 0
        x = act(arriving[-1]) + passing
    for k, (linear, act) in reversed(list(enumerate(layers))):
        passing = dy if s["skip"] and k else 0
        dy = linear.backward(act.backward(dy)) + passing
        norms.insert(0, np.linalg.norm(dy))
    labels = OF_CLASS[: min(m, SHOWN)]
    order = np.argsort(labels, kind="stable")
    shown = arriving[s["layer"] - 1][order]
    unit = shown / np.linalg.norm(shown, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = labels[order][:, None] == labels[order]
    return {
        "cosine": cosine,
        "within": cosine[same & ~np.eye(len(same), dtype=bool)].mean(),
        "between": cosine[~same].mean(),
        "gradient": np.log10(norms),
        "growth": (norms[5] / norms[40]) ** (1 / 35),
        "law": np.sqrt(np.pi / (np.pi - 1) * (m - 2) / (m - 3)),
    }
