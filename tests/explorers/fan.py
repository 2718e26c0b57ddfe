import numpy as np

import bnlib.functional as F
from bnlib import MSELoss, Parameter
from bnlib.optim import SGD

M, BATCH, WEDGES = 16, 8, 40


def settings(rng):
    """Return what the controls do not hold."""
    x = rng.normal(size=(M, 2)) @ [[1, 0.4], [0, 0.7]] + rng.normal(size=2)
    t = x @ rng.normal(size=2) + rng.normal(size=M)
    return {"x": x.tolist(), "t": t.tolist(), "angle": rng.uniform(-180, 180)}


def loss(x, t, w):
    """Return half the mean squared error behind a BN, and its gradient."""
    z = x @ w[:, None]
    x_hat, cache = F.batch_norm_forward(z, None, None, training=True, eps=1e-300)
    criterion = MSELoss()
    value = criterion(x_hat, t[:, None]) / 2
    dz = F.batch_norm_backward(criterion.backward() / 2, cache)[0]
    return value, x.T @ dz[:, 0]


def descend(x, t, w, steps, lr, decay, momentum, v=None):
    """Return the path of bnlib's SGD at the rates lr(step), from the buffer v."""
    w = Parameter(np.array(w))
    groups = [{"params": [w]}]
    optimizer = SGD(groups, lr=lr(0), momentum=momentum, weight_decay=decay)
    path = [w.data.copy()]
    for step in range(steps):
        rows = (5 * step + 3 * np.arange(BATCH)) % M
        w.grad[...] = loss(x[rows], t[rows], w.data)[1]
        optimizer.param_groups[0]["lr"] = lr(step)
        if step == 0 and v is not None:  # what the buffer brings along
            w.grad += momentum * v
        optimizer.step()
        path.append(w.data.copy())
    return np.array(path)


def turns(path):
    """Return by how many radians each step turns."""
    unit = path / np.linalg.norm(path, axis=1, keepdims=True)
    chord = np.linalg.norm(np.diff(unit, axis=0), axis=1)
    return 2 * np.arcsin(np.minimum(chord / 2, 1))


def values(s):
    """Return what the explorer has to show."""
    x, t, steps = np.array(s["x"]), np.array(s["t"]), s["steps"]
    eta, mu, product = 10 ** s["rate"], float(s["momentum"]), float(s["product"])
    phi = np.deg2rad(s["angle"])
    start = 10 ** s["start"] * np.array([np.cos(phi), np.sin(phi)])
    w = descend(x, t, start, steps, lambda _: eta, product / eta, mu)
    norms = np.linalg.norm(w, axis=1)

    roots = np.roots([1, -(1 + mu - product), mu])
    exists = product == 0 or np.sqrt(product) <= 1 - np.sqrt(mu)
    alpha = roots.real.max() if exists else np.nan
    directions = w / norms[:, None]
    fan = 2 * np.pi * np.arange(WEDGES) / WEDGES
    shown = {
        "w": w,
        "norms": norms,
        "rates": eta / norms**2,
        "turns": turns(w),
        "alpha": alpha,
        "balance": np.sqrt(2 * product / (1 + mu)),
        "fan": [loss(x, t, np.array([np.cos(a), np.sin(a)]))[0] for a in fan],
        "gap": 0,
    }
    if s["run"] == "projected":
        shown |= {"replay": directions, "replayTurns": turns(w)}
        shown |= {"replayNorms": np.ones(steps + 1), "replayRates": eta / norms**2}
    elif s["run"] == "growing rate":
        if not exists:
            return shown | {"gap": np.nan}
        growing = descend(
            x,
            t,
            start,
            steps,
            lambda k: eta * alpha ** (-2 * k - 1),
            0,
            mu,
            (alpha - 1) / (eta * alpha) * start,
        )
        # No decay, a growing rate: other lengths, the same directions.
        lengths = norms * alpha ** -np.arange(steps + 1)
        assert np.allclose(np.linalg.norm(growing, axis=1), lengths, rtol=1e-6)
        shown |= {"replay": lengths[:, None] * directions, "replayNorms": lengths}
        shown |= {"replayTurns": turns(w), "replayRates": eta / alpha / norms**2}
        np.testing.assert_allclose(growing, shown["replay"], 1e-6, 1e-6 * lengths.max())
    return shown
