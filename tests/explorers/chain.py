import sys
from pathlib import Path

import numpy as np

from bnlib import BatchNorm1d, Linear, ReLU, Sequential, Sigmoid, Tanh

sys.path.insert(0, str(Path(__file__).parents[1]))
from explorers_random import normal_array

SAMPLES, UNITS, DEEPEST = 64, 32, 20
INPUT, TOP = normal_array(1, SAMPLES, UNITS), normal_array(2, SAMPLES, UNITS)
WEIGHTS = [normal_array(3 + k, UNITS, UNITS) for k in range(DEEPEST)]
ACTIVATIONS = {"ReLU": ReLU, "tanh": Tanh, "sigmoid": Sigmoid, "none": Sequential}


def settings(rng):
    """Return what the controls do not hold: nothing."""
    return {}


def run(s, norm):
    """Return what arrives at each activation, and its gradient, of a bnlib network."""
    layers = []
    for weight in WEIGHTS[: s["depth"]]:
        linear = Linear(UNITS, UNITS, bias=False, dtype=float)
        linear.weight.data[...] = 2.0 ** s["scale"] / np.sqrt(UNITS) * weight
        bn = [BatchNorm1d(UNITS, dtype=float)] if norm else []
        layers.append((Sequential(linear, *bn), ACTIVATIONS[s["act"]]()))
    x, arriving, gradients = INPUT, [], []
    for linear, act in layers:
        arriving.append(linear(x))
        x = act(arriving[-1])
    dy = TOP
    for linear, act in reversed(layers):
        gradients.insert(0, act.backward(dy))
        dy = linear.backward(gradients[0])
    return arriving, gradients


def values(s):
    """Return what the explorer has to show."""
    spread, gradient, found, kept = [], [], [], []
    for norm in (False, True):
        arriving, gradients = run(s, norm)
        found.append(arriving)
        rms = np.array([np.sqrt(np.mean(a**2)) for a in arriving])
        spreads = [np.sqrt(a.var(0).mean()) for a in arriving]
        kept.append(np.sum(spreads > 1e-7 * rms))
        spread.append(np.log10(np.maximum(spreads, 1e-7 * rms)))
        gradient.append([np.log10(np.sqrt(np.mean(g**2))) for g in gradients])
    own, last = int(s["norm"]), s["depth"] - 1
    first, at = spread[own][0], kept[own] - 1  # the last that is more than round-off
    edges = np.linspace(-4, 4, 26)[1:-1]
    counts = [
        np.bincount(np.digitize(a.ravel(), edges), minlength=25) for a in found[own]
    ]
    return {
        "spread": spread,
        "gradient": gradient,
        "counts": counts,
        "kept": kept,
        "signalFactor": 10 ** ((spread[own][at] - first) / at),
        "gradientFactor": 10 ** ((gradient[own][0] - gradient[own][-1]) / last),
    }
