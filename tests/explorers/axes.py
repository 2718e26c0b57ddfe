import numpy as np

import bnlib.functional as F

N, C, H, W = SHAPE = 4, 6, 2, 3
EPS = 1e-5
METHODS = "batch", "layer", "group", "instance", "RMS"


def settings(rng):
    """Return what the controls do not hold."""
    x = rng.normal(size=SHAPE) + rng.normal(size=(N, 1, 1, 1))
    x += rng.normal(size=(C, 1, 1))
    return {
        "x": (10.0 ** rng.integers(-2, 3) * x).ravel().tolist(),
        "cell": int(rng.integers(x.size)),
    }


def normalized(x, method, groups):
    """Return x̂, and the axes of x with its channels in groups."""
    if method == "batch":
        return F.batch_norm(x, None, None, training=True, eps=EPS), (0, 3, 4, 5), C
    if method == "layer":
        return F.layer_norm(x, (C, H, W), eps=EPS), (2, 3, 4, 5), 1
    if method == "RMS":
        return F.rms_norm(x, (C, H, W), eps=EPS), (2, 3, 4, 5), 1
    if method == "instance":
        return F.instance_norm(x, eps=EPS), (3, 4, 5), C
    return F.group_norm(x, groups, eps=EPS), (3, 4, 5), groups


def values(s):
    """Return what the explorer has to show."""
    x = np.array(s["x"]).reshape(SHAPE)
    groups, method = int(s["groups"]), s["method"]
    row, column = divmod(s["cell"], C * W)
    (n, h), (c, w) = divmod(row, H), divmod(column, W)

    x_hat, axes, split = normalized(x, method, groups)
    # Number the values; those of one mean share the least number.
    numbers = np.arange(x.size).reshape(N, split, C // split, 1, H, W)
    kept = tuple(a for a in (0, 1) if a not in axes)
    own = (n, c * split // C)
    index = tuple(own[a] if a in kept else slice(None) for a in (0, 1))
    member = np.zeros(x.size, bool)
    member[numbers[index].ravel()] = True
    tile = x.ravel()[member]
    mean = 0 if method == "RMS" else tile.mean()

    def moved(sample):
        other = x.copy()
        other[sample] += 2
        gaps = [
            (normalized(other, m, groups)[0] - normalized(x, m, groups)[0])[n, c, h, w]
            for m in METHODS
        ]
        return np.where(np.abs(gaps) < 1e-9, 0, gaps)

    return {
        "xHat": x_hat.ravel(),
        "member": member,
        "count": member.sum(),
        "mean": mean,
        "var": ((tile - mean) ** 2).mean(),
        "x": x[n, c, h, w],
        "chosen": x_hat[n, c, h, w],
        "crosses": method == "batch",
        "others": moved((n + 1) % N),
        "own": moved(n),
    }
