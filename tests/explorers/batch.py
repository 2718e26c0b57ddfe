import numpy as np

import bnlib.functional as F


def settings(rng):
    """Return what the controls do not hold."""
    scale = 10.0 ** rng.integers(-3, 4)
    return {
        "x": (scale * rng.standard_normal(32) + rng.normal()).tolist(),
        "runningMean": rng.normal(),
        "runningVar": rng.uniform(0.1, 4),
    }


def values(s):
    """Return what the explorer has to show."""
    x = np.array(s["x"][: s["m"]])[:, None]
    running = np.array([s["runningMean"]]), np.array([s["runningVar"]])
    arguments = {"training": s["training"], "eps": 10.0 ** s["eps"]}
    if s["training"]:
        running = None, None
    weight, bias = np.array([s["gamma"]], float), np.array([s["beta"]], float)
    x_hat = F.batch_norm(x, *running, **arguments)
    y = F.batch_norm(x, *running, weight, bias, **arguments)
    return {
        "x": x[:, 0],
        "xHat": x_hat[:, 0],
        "y": y[:, 0],
        "mean": x.mean() if s["training"] else s["runningMean"],
        "var": x.var() if s["training"] else s["runningVar"],
    }
