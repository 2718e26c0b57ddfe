"""What an accelerator changes: PyTorch's normalizations on a GPU, against the GPU's own memory.

    python -m benchmarks.accelerator FILE

Needs PyTorch with a GPU, and nothing of bnlib. For each shape: forward and backward as PyTorch
launches them one by one ("eager"), the same kernels replayed from one graph, without the time that
a launch takes ("graph"), what PyTorch's compiler makes of it ("compiled", replayed too), and the
memory floor: the bytes that nobody can save, moved by copies. Beside them the error far from zero.
"""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

BATCH = [
    (64, 64, 32, 32),
    (64, 32, 62, 62),
    (32, 256, 14, 14),
    (128, 64, 8, 8),
    (1024, 512),
    (256, 128),
    (64, 128),
    (256, 256, 56, 56),  # what a GPU is made for
]
OTHERS = {
    "LN (512, 1024)": ("layer", (512, 1024), (1024,)),
    "LN (32, 128, 256)": ("layer", (32, 128, 256), (256,)),
    "LN (64, 128)": ("layer", (64, 128), (128,)),
    "GN 32 × (32, 256, 14, 14)": ("group", (32, 256, 14, 14), 32),
    "GN 8 × (64, 64, 32, 32)": ("group", (64, 64, 32, 32), 8),
    "RMS (512, 1024)": ("rms", (512, 1024), (1024,)),
}
OFFSETS = (0, 1e2, 1e4, 1e5, 1e6)
REPEATS, ROUNDS = 20, 15


def cases():
    """Return ``{name: (function of x, weight and bias, shape, number of weights)}``."""
    found = {}
    for shape in BATCH:
        C = shape[1]
        mean, var = torch.zeros(C, device="cuda"), torch.ones(C, device="cuda")

        def batch(x, weight, bias, mean=mean, var=var):
            return F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)

        found[f"BN {shape}"] = batch, shape, (C,)
    for name, (kind, shape, setting) in OTHERS.items():
        functions = {
            "layer": lambda x, w, b, s=setting: F.layer_norm(x, s, w, b),
            "group": lambda x, w, b, s=setting: F.group_norm(x, s, w, b),
            "rms": lambda x, w, b, s=setting: F.rms_norm(x, s, w),
        }
        size = (shape[1],) if kind == "group" else setting
        found[name] = functions[kind], shape, size
    return found


def seconds(call: Callable[[], object]) -> float:
    """Return the median time of a call on the GPU, in a loop of its own."""
    for _ in range(3):
        call()
    times = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
        start.record()
        for _ in range(REPEATS):
            call()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / REPEATS)
    return statistics.median(times)


def graphed(call: Callable[[], object]) -> Callable[[], object]:
    """Return the replay of what a call does on the GPU."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def measure_one(function, shape, size) -> dict[str, float]:
    """Return the seconds of forward and backward, and of the floor."""
    torch.manual_seed(0)
    x, dy = (torch.randn(shape, device="cuda") for _ in "ab")
    x.requires_grad_(True)
    weight, bias = (torch.randn(size, device="cuda", requires_grad=True) for _ in "ab")

    no_bias = "rms_norm" in function.__code__.co_names
    learned = [weight] if no_bias else [weight, bias]

    def both(function=function):
        y = function(x, weight, bias)
        return torch.autograd.grad(y, [x, *learned], dy)

    compiled = torch.compile(function)
    one, two = torch.empty_like(x), torch.empty_like(x)
    half = one.view(-1)[: one.numel() // 2], two.view(-1)[: two.numel() // 2]

    def floor():  # read x, write y; read x and dy, write dx: five passes, 2.5 copies
        one.detach().copy_(two)
        two.detach().copy_(one)
        half[0].copy_(half[1])

    return {
        "eager": seconds(both),
        "graph": seconds(graphed(both)),
        "compiled": seconds(graphed(lambda: both(compiled))),
        "floor": seconds(graphed(floor)),
    }


def errors() -> dict[str, float]:
    """Return the largest error of y for float32 columns of mean `offset`, standard deviation 1."""
    found = {}
    for offset in OFFSETS:
        torch.manual_seed(0)
        x = (offset + torch.randn(2**18, 4, dtype=torch.float64)).float()
        wide = x.double() - offset
        right = (wide - wide.mean(0)) / (wide.var(0, correction=0) + 1e-5).sqrt()
        y = F.batch_norm(x.cuda(), None, None, training=True, eps=1e-5).cpu().double()
        found[f"{offset:g}"] = float((y - right).abs().max())
    return found


def measure() -> dict[str, object]:
    """Measure everything; a dict that JSON can hold."""
    device = torch.cuda.get_device_properties(0)
    one, two = (torch.empty(2**28, device="cuda") for _ in "ab")
    copy = seconds(lambda: one.copy_(two))
    return {
        "machine": device.name,
        "versions": {"torch": torch.__version__, "CUDA": torch.version.cuda},
        "bytes per second": 2 * 4 * 2**28 / copy,
        "L2 cache": device.L2_cache_size,
        "layer": {name: measure_one(*case) for name, case in cases().items()},
        "largest error of y, (262144, 4)": errors(),
    }


def report(found) -> str:
    """Return the tables as text."""
    lines = [
        f"{found['machine']}, {found['bytes per second'] / 1e12:.2f} TB/s by copying"
    ]
    columns = ("eager", "graph", "compiled", "floor")
    lines.append(f"{'microseconds':28}" + "".join(f"{c:>10}" for c in columns))
    for name, times in found["layer"].items():
        cells = "".join(f"{1e6 * times[c]:10.1f}" for c in columns)
        lines.append(f"{name:28}{cells}")
    return "\n".join([*lines, str(found["largest error of y, (262144, 4)"])])


if __name__ == "__main__":
    result = measure()
    print(report(result))
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
