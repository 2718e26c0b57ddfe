import numpy as np

import bnlib.functional as F

KINDS = "raw", "− mean", "÷ σ", "both (BN)", "whitened"


def settings(rng):
    """Return what the controls do not hold."""
    return {"start": rng.uniform(-180, 180)}


def treated(s, kind):
    """Return four samples whose mean and covariance are those of the features."""
    sigma = np.array([s["ratio"], 1])
    cov = sigma * np.array([[1, s["rho"]], [s["rho"], 1]]) * sigma[:, None]
    axes = np.sqrt(2) * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])  # covariance 1
    centred = axes @ np.linalg.cholesky(cov).T
    if kind == "− mean":
        return centred
    x = centred + s["mean"] * sigma
    if kind == "÷ σ":
        return x / x.std(0)
    if kind == "both (BN)":
        return F.batch_norm(x, None, None, training=True, eps=1e-300)
    if kind == "whitened":
        lam, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        return (x - x.mean(0)) @ vectors / np.sqrt(lam)
    return x


def hessian(x):
    """Return E[x xᵀ] and its eigenvalues, the larger first."""
    H = x.T @ x / len(x)
    return H, np.linalg.eigvalsh(H)[::-1]


def values(s):
    """Return what the explorer has to show."""
    x = treated(s, s["kind"])
    H, lam = hessian(x)
    eta = s["rate"] * 2 / lam.sum()
    start = np.deg2rad(s["start"])
    path = [np.array([np.cos(start), np.sin(start)])]
    for _ in range(s["steps"]):
        path.append(path[-1] - eta * H @ path[-1])
    cov = np.cov(x.T, bias=True)
    kappas = [lam[0] / lam[1] for lam in (hessian(treated(s, k))[1] for k in KINDS)]
    steepest = np.linalg.eigh(H)[1][:, 1]
    steepest = steepest if abs(lam[0] / lam[1] - 1) > 1e-9 else np.array([1.0, 0.0])
    shown = {
        "mu": x.mean(0),
        "cov": cov[[0, 0, 1], [0, 1, 1]],
        "H": H[[0, 0, 1], [0, 1, 1]],
        "lam": lam,
        "kappa": lam[0] / lam[1],
        "kappas": kappas,
        "eta": eta,
        "edge": 2 / lam[0],
        "path": path,
        "left": np.linalg.norm(path[-1]),
        "factor": np.abs(np.linalg.eigvalsh(np.eye(2) - eta * H)).max(),
    }
    if lam[0] > 1.001 * lam[1]:  # else any direction is the steepest
        # The angle of an eigenvector, whose sign is free: between −90 and 90 degrees.
        shown["angle"] = np.arctan2(*(steepest * np.sign(steepest[0] or 1))[::-1])
    return shown
