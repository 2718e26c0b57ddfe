import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from record_rates import read

DATA = read()
RATES = np.array(DATA["rates"])


def settings(rng):
    """Return what the controls do not hold."""
    return {"at": rng.uniform(*np.log10(RATES[[0, -1]]))}


def ends(medians):
    """Return log10 of the first and the last rate around the best that is usable."""
    x, best = np.log10(RATES), int(np.argmax(medians))
    if medians[best] <= 0.12:  # it guesses
        return x[[best, best]]
    found = []
    for side in (slice(best, None, -1), slice(best, None)):
        rates, above = x[side], medians[side] - (medians[best] - 0.02)
        below = np.flatnonzero(above < 0)
        if len(below) == 0:
            found.append(rates[-1])
            continue
        k = below[0]  # between k − 1 and k the line crosses zero
        found.append(np.interp(0, [above[k], above[k - 1]], [rates[k], rates[k - 1]]))
    return found


def values(s):
    """Return what the explorer has to show."""
    seeds = [
        np.array(
            DATA["accuracies"][f"{s['net']}, {s['opponent']}, {arm}, {s['steps']}"]
        )
        / 1000
        for arm in ("none", "batch")
    ]
    medians = np.median(seeds, axis=2)
    limits = np.array([ends(m) for m in medians])
    return {
        "seeds": seeds,
        "medians": medians,
        "here": [np.interp(s["at"], np.log10(RATES), m) for m in medians],
        "ends": limits,
        "decades": limits[:, 1] - limits[:, 0],
        "best": RATES[medians.argmax(1)],
        "highest": medians.max(1),
    }
