import sys
from pathlib import Path

import numpy as np

from bnlib import BatchNorm1d

sys.path.insert(0, str(Path(__file__).parents[1]))
from explorers_random import normal_array

STEPS = 200
GRID = 10 ** np.linspace(-3, 0, 61)


def settings(rng):
    """Return what the controls do not hold."""
    return {
        "base": rng.normal(0, 5),
        "sigma": rng.uniform(0.1, 5),
        "seed": int(rng.integers(2**32)),
    }


def running_means(means, momentum, start):
    """Return what a layer of bnlib stores after each batch of two with such a mean."""
    bn = BatchNorm1d(1, momentum=momentum, dtype=np.float64)
    bn.running_mean[...] = start
    path = []
    for mean in means:
        bn(np.array([[mean - 1], [mean + 1]], float))
        path.append(bn.running_mean[0])
    return np.array(path)


def expected(s, momentum):
    """Return the standard deviation and the root mean square of the error, from all weights."""
    t = s["t"]
    k = np.arange(t)
    weights = momentum * (1 - momentum) ** k
    std = s["sigma"] / np.sqrt(2.0 ** s["logM"]) * np.linalg.norm(weights)
    truth = s["base"] + s["drift"] * np.arange(1, t + 1)
    bias = weights @ truth[::-1] - truth[-1]
    return std, np.hypot(bias, std)


def values(s):
    """Return what the explorer has to show."""
    momentum, t = 10.0 ** s["log"], s["t"]
    climb = s["drift"] * np.arange(1, STEPS + 1)
    noise = s["sigma"] / np.sqrt(2.0 ** s["logM"]) * normal_array(s["seed"], STEPS)
    truth = s["base"] + climb
    running = running_means(truth + noise, momentum, 0)
    starts = running_means(np.zeros(STEPS), momentum, -s["base"])
    lags = running_means(climb, momentum, 0) - climb
    noises = running_means(noise, momentum, 0)
    parts = starts[t - 1], lags[t - 1], noises[t - 1]
    np.testing.assert_allclose(sum(parts), running[t - 1] - truth[t - 1], atol=1e-9)
    std, rms = expected(s, momentum)
    curve = [expected(s, a)[1] for a in GRID]
    return {
        "momentum": momentum,
        "truth": truth,
        "batchMeans": truth + noise,
        "running": running,
        "starts": starts,
        "lags": lags,
        "noises": noises,
        "start": parts[0],
        "lag": parts[1],
        "noise": parts[2],
        "error": sum(parts),
        "std": std,
        "rms": rms,
        "curve": curve,
        "least": min(curve),
        "best": GRID[np.argmin(curve)],
    }
