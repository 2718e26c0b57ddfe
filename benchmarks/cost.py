"""What batch normalization adds to the two reference networks.

Run as ``OMP_NUM_THREADS=1 python -m benchmarks.cost bnlib/lab/files/cost.json``. All times are
CPU seconds of one thread: others may use the machine, and their time is not ours. bnlib normalizes
with `bnlib.normalize`; its fast kernel has a benchmark of its own. The rivals take turns, a median
stands for each, and every repetition makes its networks anew. The result is the file from which
the chapter "Cost" draws its figures.
"""

import copy
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

import bnlib
from benchmarks.networks import network, step
from benchmarks.timing import alternate, keep_memory, machine
from bnlib.folding import fold

LIBRARIES = {"bnlib": bnlib, "PyTorch": torch.nn}
INPUTS = {"dense": (64, 784), "CNN": (32, 3, 64, 64)}  # batch first
REPETITIONS = 5


def medians(calls, rounds, prepare=None):
    """Run functions in turn; median CPU seconds of each."""
    clock = time.process_time
    return alternate(calls, seconds=0, least=rounds, clock=clock, prepare=prepare)


def inference(lib, net, x):
    """Return a function that makes one prediction."""
    net.eval()
    if lib is bnlib:
        return lambda: net(x)
    x = torch.tensor(x)

    def predict():
        with torch.inference_mode():
            net(x)

    return predict


def folded(lib, net):
    """Fold the batch normalizations of a network into the layers before them."""
    net = copy.deepcopy(net).eval()
    if lib is bnlib:
        return fold(net)
    fusion = torch.nn.utils.fusion
    layers = []
    for layer in net:
        if isinstance(layer, torch.nn.BatchNorm1d):
            layers[-1] = fusion.fuse_linear_bn_eval(layers[-1], layer)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            layers[-1] = fusion.fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return torch.nn.Sequential(*layers)


def ratios(lib, name, rounds):
    """Time over that of the plain network, once for each repetition."""
    found = {"training": [], "inference": [], "folded": []}
    shape = INPUTS[name]
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(shape, dtype=np.float32)
        target = rng.integers(0, 10, shape[0])
        plain, normed = (network(lib, name, norm) for norm in (False, True))
        calls = {"none": plain, "training": normed}
        calls = {key: step(lib, net, x, target) for key, net in calls.items()}
        times = medians(calls, rounds)
        found["training"].append(times["training"] / times["none"])
        nets = {"none": plain, "inference": normed, "folded": folded(lib, normed)}
        calls = {key: inference(lib, net, x) for key, net in nets.items()}
        times = medians(calls, 2 * rounds)
        for key in ("inference", "folded"):
            found[key].append(times[key] / times["none"])
    return found


def layer_times(lib, name, rounds):
    """Seconds of each layer, forward and backward, on the inputs that it sees in the network."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(INPUTS[name], dtype=np.float32)
    found = []
    for k, layer in enumerate(network(lib, name, norm=True)):
        if lib is bnlib:
            y = layer(x)
            dy = rng.standard_normal(y.shape, dtype=np.float32)
            calls = (
                lambda layer=layer, x=x: layer(x),
                lambda layer=layer, dy=dy: layer.backward(dy),
            )
        else:
            # The input of the first layer needs no gradient in PyTorch.
            inputs = torch.as_tensor(x).detach().requires_grad_(k > 0)
            y = layer(inputs)
            dy = torch.randn(y.shape)
            wanted = [*layer.parameters(), *([inputs] if k else [])]
            calls = (
                lambda layer=layer, inputs=inputs: layer(inputs),
                lambda y=y, wanted=wanted, dy=dy: torch.autograd.grad(
                    y, wanted, dy, retain_graph=True
                ),
            )
        # A gradient that is not 0 would be copied, as it never is in a step of training.
        prepare = layer.zero_grad if lib is bnlib else None
        pair = dict(zip(("forward", "backward"), calls, strict=True))
        times = medians(pair, rounds, prepare)
        found.append({"layer": type(layer).__name__, **times})
        x = y
    return found


def limits():
    """Return the FLOP per second of a matrix product and the bytes per second of a copy."""
    a = np.ones((1024, 1024), np.float32)
    b, c = np.ones_like(a), np.empty_like(a)
    source = np.ones(2**25, np.float32)  # 128 MB: no cache holds it
    target = np.zeros_like(source)
    times = medians(
        {
            "product": lambda: np.matmul(a, b, out=c),
            "copy": lambda: np.copyto(target, source),
        },
        rounds=15,
    )
    return {
        "flops": 2 * 1024**3 / times["product"],
        "bandwidth": 2 * source.nbytes / times["copy"],  # read and written
    }


def faults(lib, name, rounds):
    """Pages that the system had to hand out in each step, and the step's seconds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(INPUTS[name], dtype=np.float32)
    target = rng.integers(0, 10, len(x))
    found = {}
    for key, norm in (("none", False), ("training", True)):
        call = step(lib, network(lib, name, norm), x, target)
        call()
        found[key] = []
        for _ in range(rounds):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start = time.process_time()
            call()
            seconds = time.process_time() - start
            after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            found[key].append([after - before, seconds])
    return found


def main(path):
    """Measure everything and write the file."""
    torch.set_num_threads(1)
    # The readable version is what that chapter speaks of.
    os.environ["BNLIB_BACKEND"] = "reference"
    rounds = {"dense": 100, "CNN": 15}
    result = {
        "machine": machine(),
        "versions": {"NumPy": np.__version__, "torch": torch.__version__},
        "inputs": INPUTS,
        "faults": faults(torch.nn, "CNN", 40),
    }
    keep_memory()  # else the fresh pages, which come by chance, hide what a layer costs
    result |= {"limits": limits(), "ratios": {}, "layers": {}}
    for library, lib in LIBRARIES.items():
        result["ratios"][library] = {
            name: ratios(lib, name, rounds[name]) for name in INPUTS
        }
        result["layers"][library] = {
            name: layer_times(lib, name, 2 * rounds[name]) for name in INPUTS
        }
    text = json.dumps(result, indent=1)
    Path(path).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when NumPy was imported
        raise SystemExit("benchmarks.cost: expected OMP_NUM_THREADS=1")
    main(sys.argv[1])
