import numpy as np

import bnlib.functional as F


def settings(rng):
    """Return what the controls do not hold."""
    return {
        "x": rng.normal(3, 4, 4).tolist(),
        "dy": rng.normal(0.5, 2, 4).tolist(),
        "beta": rng.normal(),
        "eps": 10 ** rng.uniform(-6, 0),
    }


def values(s):
    """Return what the explorer has to show.

    Each gradient comes from the closed form of its path, and none from the node before it.
    """
    x, dy = (np.array(s[name], float)[:, None] for name in ("x", "dy"))
    weight, bias = np.array([s["gamma"]], float), np.array([s["beta"]], float)
    settings = {"training": True, "eps": s["eps"]}
    y, cache = F.batch_norm_forward(x, None, None, weight, bias, **settings)
    dx, dweight, dbias = F.batch_norm_backward(dy, cache)
    x_hat = F.batch_norm(x, None, None, **settings)[:, 0]
    x, dy, gamma = x[:, 0], dy[:, 0], weight[0]
    mean, var = x.mean(), x.var()
    invstd = (var + s["eps"]) ** -0.5
    dvar = -gamma / 2 * invstd**2 * (dy @ x_hat)
    square = -gamma * invstd * x_hat * (dy @ x_hat) / 4
    return {
        "mu": mean,
        "c": x - mean,
        "q": (x - mean) ** 2,
        "variance": var,
        "s": invstd,
        "xHat": x_hat,
        "z": gamma * x_hat,
        "y": y[:, 0],
        "dz": dy,
        "dbeta": dbias[0],
        "dgamma": dweight[0],
        "dxHat": gamma * dy,
        "direct": gamma * invstd * dy,
        "ds": dweight[0] * gamma / invstd,
        "dvar": dvar,
        "dq": np.full(4, dvar / 4),
        "square": square,
        "dc": gamma * invstd * dy + square,
        "dmu": -gamma * invstd * dbias[0],
        "share": -gamma * invstd * dbias[0] / 4,
        "dx": dx[:, 0],
    }
