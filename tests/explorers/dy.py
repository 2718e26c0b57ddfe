import numpy as np

import bnlib.functional as F


def settings(rng):
    """Return what the controls do not hold."""
    return {
        "x": (
            rng.normal() + 10.0 ** rng.uniform(-1, 1) * rng.standard_normal(10)
        ).tolist(),
        "dy": (rng.normal() + 2 * rng.standard_normal(10)).tolist(),
    }


def values(s):
    """Return what the explorer has to show."""
    x, dy = (np.array(s[name][: s["m"]])[:, None] for name in ("x", "dy"))
    weight = np.array([s["gamma"]], float)
    eps = 10.0 ** s["eps"]
    _, cache = F.batch_norm_forward(x, None, None, weight, training=True, eps=eps)
    dx, dweight, dbias = F.batch_norm_backward(dy, cache)
    x_hat = F.batch_norm(x, None, None, training=True, eps=eps)
    # The line is that of ridge regression on x, whose penalty on the squared slope is m · eps.
    c = x - x.mean()
    line = dy.mean() + c * (c * dy).sum() / ((c**2).sum() + s["m"] * eps)
    return {
        "xHat": x_hat[:, 0],
        "dy": dy[:, 0],
        "invstd": 1 / np.sqrt(x.var() + eps),
        "level": dbias[0] / s["m"],
        "slope": dweight[0] / s["m"],
        "line": line[:, 0],
        "stick": (dy - line)[:, 0],
        "dx": dx[:, 0],
        "share": 1 - (x_hat**2).mean(),
        "kept": np.linalg.norm(dy - line) / np.linalg.norm(dy),
    }
