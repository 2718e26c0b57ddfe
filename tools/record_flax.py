"""Record what Flax computes, so that bnlib is tested against it without JAX.

The recording is bnlib/lab/files/flax.json. It is made again by::

    python -m venv flax-env
    flax-env/bin/pip install flax==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
    flax-env/bin/python tools/record_flax.py

Names and conventions in the file are Flax's: channels last, ``scale``, ``mean``, ``var``,
and a momentum that weighs the old value. Every array is a nested list that
``np.array(values, dtype)`` restores exactly; null is NaN. The inputs are multiples of
1/64, hence the same numbers in float32 and float64, and are stored once. The gradients
are those of ``sum(y * r)``.

The last digits of what XLA computes depend on the processor. A number that is there already and
is right to round-off stays as it is, so that the file has the same bytes on every machine.
"""

import json
import os
import re
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"

import flax
import jax
import numpy as np
from flax import linen as nn

TARGET = Path(__file__).resolve().parents[1] / "bnlib/lab/files/flax.json"
STEPS = 3
DTYPES = ("float32", "float64")
SHAPES = {"features": (8, 5), "images": (4, 6, 6, 3), "groups": (2, 3, 3, 4)}
DEFAULTS = {"momentum": 0.99, "epsilon": 1e-5}
OTHERS = {"momentum": 0.75, "epsilon": 1e-3}
ROUND_OFF = {"float32": 1e-6, "float64": 1e-14}


def as_lists(a):
    """Return an array as lists of the shortest numbers that restore it; NaN is None."""
    a = np.asarray(a)
    if a.ndim:
        return [as_lists(row) for row in a]
    return None if np.isnan(a) else float(str(a))


def make_input(rng, shape):
    """Return the arrays of one shape: batches `x`, cotangent `r`, `scale` and `bias`."""
    channels = shape[-1]
    arrays = {
        "x": rng.normal(rng.normal(size=channels), 1, (STEPS, *shape)),
        "r": rng.normal(size=shape),
        "scale": rng.uniform(0.5, 2, channels),
        "bias": rng.normal(size=channels),
    }
    return {name: np.round(64 * a) / 64 for name, a in arrays.items()}


def record_gradients(prefix, forward, x, parameters, r):
    """Return output and gradients of ``forward(x, *parameters)``, by Flax's names."""
    y, vjp = jax.vjp(forward, x, *parameters.values())  # the gradients of sum(y * r)
    names = "y", "dx", *map("d{}".format, parameters)
    found = dict(zip(names, (y, *vjp(r)), strict=True))
    assert all(a.dtype == x.dtype for a in found.values())
    return {prefix + name: as_lists(a) for name, a in found.items()}


def record_batch_norm(name, arrays, dtype, settings):
    """Return three training steps and one evaluation of `nn.BatchNorm`."""
    batches, r, scale, bias = (
        arrays[key].astype(dtype) for key in ("x", "r", "scale", "bias")
    )
    x, parameters = batches[0], {"scale": scale, "bias": bias}
    layer = nn.BatchNorm(**settings, param_dtype=dtype)

    def apply(x, scale, bias, stats, **mode):
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
        return layer.apply(variables, x, **mode)

    def train(*args):
        return apply(*args, use_running_average=False, mutable=["batch_stats"])

    start = {"mean": np.zeros_like(scale), "var": np.ones_like(scale)}
    history = [start]
    for batch in batches:
        history.append(train(batch, scale, bias, history[-1])[1]["batch_stats"])

    def forward(*args):
        return train(*args, start)[0]

    def evaluate(*args):
        return apply(*args, history[-1], use_running_average=True)

    return {
        "input": name,
        "dtype": dtype,
        **settings,
        **record_gradients("", forward, x, parameters, r),
        "mean": [as_lists(stats["mean"]) for stats in history[1:]],
        "var": [as_lists(stats["var"]) for stats in history[1:]],
        **record_gradients("eval_", evaluate, x, parameters, r),
    }


def record_sample_norm(layer_type, name, arrays, dtype, settings):
    """Return output and gradients of a layer that normalizes each sample by itself."""
    arrays = {key: a.astype(dtype) for key, a in arrays.items()}
    x, layer = arrays["x"][0], layer_type(**settings, param_dtype=dtype)
    names = layer.init(jax.random.key(0), x)["params"]
    parameters = {key: arrays[key] for key in ("scale", "bias") if key in names}

    def forward(x, *values):
        return layer.apply({"params": dict(zip(parameters, values, strict=True))}, x)

    found = record_gradients("", forward, x, parameters, arrays["r"])
    return {"input": name, "dtype": dtype, **settings, **found}


def record_behaviour(x, **settings):
    """Return one training step of `nn.BatchNorm` on an unusual input or setting."""
    layer = nn.BatchNorm(**settings)
    try:
        variables = layer.init(jax.random.key(0), x, use_running_average=True)
        y, state = layer.apply(
            variables, x, use_running_average=False, mutable=["batch_stats"]
        )
    except TypeError:
        return {"raises": "TypeError"}
    stats = state["batch_stats"]
    return {
        "y": as_lists(y),
        "y_dtype": str(y.dtype),
        "mean": as_lists(stats["mean"]),
        "var": as_lists(stats["var"]),
        "stats_dtype": str(stats["mean"].dtype),
    }


def record_behaviours(rng):
    """Return what `nn.BatchNorm` does where the frameworks differ."""
    small = np.arange(8).reshape(4, 2)
    far = (np.round(64 * rng.normal(1e4, 1, (16, 2))) / 64).astype(np.float32)
    return {
        "one_value": record_behaviour(np.full((1, 2), 3, np.float32)),
        "empty": record_behaviour(np.ones((0, 2), np.float32)),
        "float16": record_behaviour(small.astype(np.float16)),
        "integer": record_behaviour(small),
        "momentum_none": record_behaviour(small.astype(np.float32), momentum=None),
        "far_from_zero": {"x": as_lists(far), **record_behaviour(far, momentum=0.0)},
    }


def record():
    """Return the whole recording."""
    rng = np.random.default_rng(0)
    inputs = {name: make_input(rng, shape) for name, shape in SHAPES.items()}

    def batch_norm(name, dtype, settings):
        return record_batch_norm(name, inputs[name], dtype, settings)

    def sample_norm(layer_type, name, dtype, settings):
        return record_sample_norm(layer_type, name, inputs[name], dtype, settings)

    return {
        "versions": {module.__name__: module.__version__ for module in (flax, jax, np)},
        "defaults": {
            "axis": nn.BatchNorm.axis,
            "momentum": nn.BatchNorm.momentum,
            "epsilon": nn.BatchNorm.epsilon,
            "layer_norm_epsilon": nn.LayerNorm.epsilon,
            "group_norm_epsilon": nn.GroupNorm.epsilon,
            "rms_norm_epsilon": nn.RMSNorm.epsilon,
            "instance_norm_epsilon": nn.InstanceNorm.epsilon,
        },
        "inputs": {
            name: {key: as_lists(a) for key, a in arrays.items()}
            for name, arrays in inputs.items()
        },
        "batch_norm": [
            batch_norm(name, dtype, settings)
            for name in ("features", "images")
            for settings in (DEFAULTS, OTHERS)
            for dtype in DTYPES
        ],
        "layer_norm": [
            sample_norm(nn.LayerNorm, "features", dtype, {"epsilon": 1e-5})
            for dtype in DTYPES
        ],
        "group_norm": [
            sample_norm(
                nn.GroupNorm, "groups", dtype, {"num_groups": 2, "epsilon": 1e-5}
            )
            for dtype in DTYPES
        ],
        "rms_norm": [
            sample_norm(nn.RMSNorm, "features", dtype, {"epsilon": 1e-5})
            for dtype in DTYPES
        ],
        "instance_norm": [
            sample_norm(nn.InstanceNorm, "groups", dtype, {"epsilon": 1e-5})
            for dtype in DTYPES
        ],
        "behaviour": record_behaviours(rng),
    }


def settled(new, old, tolerance=ROUND_OFF["float32"]):
    """Return `new`, with the numbers of `old` in arrays that agree to round-off."""
    if isinstance(new, dict) and isinstance(old, dict):
        tolerance = ROUND_OFF.get(new.get("dtype"), tolerance)
        return {
            key: a if isinstance(a, float) else settled(a, old.get(key), tolerance)
            for key, a in new.items()
        }
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [settled(a, b, tolerance) for a, b in zip(new, old, strict=True)]
    if isinstance(new, float) and isinstance(old, float):
        return old if abs(new - old) <= tolerance * max(1, abs(old)) else new
    return new


def main():
    """Write the recording, one row of numbers a line."""
    old = json.loads(TARGET.read_text()) if TARGET.exists() else None
    text = json.dumps(settled(record(), old), indent=1, allow_nan=False)
    rows = re.compile(r"\[[^][{}]+\]")
    text = rows.sub(lambda row: f"[{' '.join(row[0][1:-1].split())}]", text)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text + "\n")
    print(f"{TARGET.name}: {len(text) + 1} bytes")


if __name__ == "__main__":
    main()
