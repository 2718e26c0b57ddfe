"""First aid for batch normalization in PyTorch: one file, to put beside your code.

It needs torch and nothing else, and takes any network: nested modules, every dimension, dtype and
device. What a function switches for a moment it puts back, also when something raises.

    import first_aid
    for finding in first_aid.checkup(net, x):
        print(finding)

The field guide of "Batch Normalization, from First Principles" says what each finding means. The
functions whose names begin with ``assert_`` are tests: call them from yours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def norms(net: nn.Module) -> dict[str, _BatchNorm]:
    """Return each batch normalization of a network, of any dimension, by its name."""
    return {n: m for n, m in net.named_modules() if isinstance(m, _BatchNorm)}


def run(net: Callable, x: Any) -> Any:
    """Call a network on one input, a tuple of inputs, or a dictionary of inputs."""
    if isinstance(x, dict):
        return net(**x)
    return net(*x) if isinstance(x, tuple) else net(x)


# Modes and buffers


@contextmanager
def modes_kept(net: nn.Module) -> Iterator[nn.Module]:
    """Put each module back into the mode in which it was."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield net
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(net: nn.Module) -> Iterator[nn.Module]:
    """Evaluate for a while: all modules in evaluation mode, and then as they were."""
    with modes_kept(net):
        net.eval()
        yield net


@contextmanager
def buffers_kept(net: nn.Module) -> Iterator[nn.Module]:
    """Let forward passes leave no trace in the running statistics.

    The layers work on copies for a while, so that a backward that follows finds what it saved.
    """
    kept = [
        (bn, {name: getattr(bn, name) for name in BUFFERS})
        for bn in norms(net).values()
    ]
    try:
        for bn, buffers in kept:
            for name, buffer in buffers.items():
                if buffer is not None:
                    setattr(bn, name, buffer.clone())
        yield net
    finally:
        for bn, buffers in kept:
            for name, buffer in buffers.items():
                setattr(bn, name, buffer)


@contextmanager
def buffers_guarded(net: nn.Module) -> Iterator[nn.Module]:
    """Put the running statistics back if a training step in this block spoils them.

    Put it around forward, backward and step. The check waits for the device once a step.
    """
    kept = [
        (getattr(bn, name), getattr(bn, name).clone())
        for bn in norms(net).values()
        for name in BUFFERS
        if getattr(bn, name) is not None
    ]
    yield net
    if not _finite(*(buffer for buffer, _ in kept)):
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def predict(net: nn.Module, x: Any) -> Any:
    """Return the output in evaluation mode, without gradients; the modes stay as they were."""
    with evaluating(net), torch.no_grad():
        return run(net, x)


def _stay_frozen(bn: _BatchNorm, mode: bool = True) -> _BatchNorm:
    return nn.Module.train(bn, False)


def freeze(net: nn.Module) -> nn.Module:
    """Freeze statistics, weight and bias of every batch normalization, whatever `train` says."""
    for bn in norms(net).values():
        bn.requires_grad_(False)
        bn.train = partial(
            _stay_frozen, bn
        )  # `net.train()` calls it, and changes nothing
        bn.train()
    return net


def unfreeze(net: nn.Module) -> nn.Module:
    """Undo `freeze`: weight and bias learn again, and the mode is that of the network."""
    for bn in norms(net).values():
        vars(bn).pop("train", None)
        bn.requires_grad_(True).train(net.training)
    return net


def recompute(net: nn.Module, batches: Iterable) -> nn.Module:
    """Compute the running statistics anew, for the weights as they are.

    Every batch weighs the same. All modules but the batch normalizations are in evaluation mode
    meanwhile, so that dropout is off, as it is when the statistics are used.

    Parameters
    ----------
    net : Module
        The network, which is changed and returned; its modes are not.
    batches : iterable
        Training batches, without their targets or with them: of a list or a tuple the first item
        goes to the network.

    Raises
    ------
    ValueError
        If there are no batches. The statistics are then what they were, as after any error.
    """
    tracked = [bn for bn in norms(net).values() if bn.running_mean is not None]
    kept = [(bn, bn.momentum, {n: getattr(bn, n) for n in BUFFERS}) for bn in tracked]
    count = 0
    try:
        with evaluating(net), torch.no_grad():
            for bn in tracked:
                for name in BUFFERS:
                    setattr(bn, name, getattr(bn, name).clone())
                bn.reset_running_stats()
                bn.momentum = None  # a plain average: each of n batches weighs 1/n
                bn.training = True
            for batch in batches:
                net(batch[0] if isinstance(batch, (list, tuple)) else batch)
                count += 1
        if not count:
            raise ValueError("recompute() needs at least one batch")
    except BaseException:
        for bn, momentum, buffers in kept:
            bn.momentum = momentum
            for name, buffer in buffers.items():
                setattr(bn, name, buffer)
        raise
    for bn, momentum, buffers in kept:
        bn.momentum = momentum
        for name, buffer in buffers.items():  # in place: others may hold these tensors
            setattr(bn, name, buffer.copy_(getattr(bn, name)))
    return net


def replace(net: nn.Module, make: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    """Replace each batch normalization inside a network by ``make(bn)``."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(module, name, make(child))
    return net


# Looking


def checkup(net: nn.Module, x: Any = None) -> list[str]:
    """List what is strange about the batch normalizations of a network, and change nothing.

    Parameters
    ----------
    net : Module
        Any network. It runs once, in evaluation mode; its modes are put back.
    x : tensor, tuple or dict, optional
        One typical batch. Without it only the layers are looked at.

    Returns
    -------
    list of str
        One line "name: what is strange" for each finding; empty if there is none.
    """
    layers = norms(net)
    ready = not any(is_lazy(t) for t in (*net.parameters(), *net.buffers()))
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    if x is not None and ready:
        hooks = [
            bn.register_forward_pre_hook(
                lambda _, args, name=name: seen[name].append(args[0])
            )
            for name, bn in layers.items()
        ]
        try:
            predict(net, x)
        finally:
            for hook in hooks:
                hook.remove()
    findings = []
    for name, bn in layers.items():
        signs = _signs(bn)
        if x is not None and ready:
            signs |= _signs_for(bn, seen[name])
        findings += [
            f"{name or 'net'}: {sign}" for sign, present in signs.items() if present
        ]
    return findings


def _signs(bn: _BatchNorm) -> dict[str, bool]:
    """Return what a layer says by itself."""
    if any(is_lazy(t) for t in (*bn.parameters(), *bn.buffers())):
        return {"not initialized: no input has been seen": True}
    signs = {"in training mode": bn.training}
    if bn.weight is not None:
        signs["a weight (γ) near 0"] = bool((bn.weight.abs() < 1e-3).any())
        signs["NaN or infinity in weight or bias"] = not _finite(bn.weight, bn.bias)
    if bn.running_mean is None:
        return signs | {"no running statistics": True}
    mean, var = bn.running_mean, bn.running_var
    fresh = bool((mean == 0).all() and (var == 1).all())
    momentum = bn.momentum
    return signs | {
        "never trained": fresh,
        "NaN or infinity in the buffers": not _finite(mean, var),
        "buffers in half precision": mean.dtype.itemsize < 4 or var.dtype.itemsize < 4,
        "a negative variance": bool((var < 0).any()),
        "a variance below ε": bool(((var >= 0) & (var < bn.eps)).any()),
        "momentum 0: the statistics never move": momentum == 0,
        "momentum above 0.5": momentum is not None and momentum > 0.5,
    }


def _signs_for(bn: _BatchNorm, inputs: list[Tensor]) -> dict[str, bool]:
    """Return what the inputs of a layer say."""
    if not inputs:
        return {"does not run for this input": True}
    finite = all(_finite(x) for x in inputs)
    signs = {
        "NaN or infinity in its input": not finite,
        "one value per channel": any(x.numel() == x.shape[1] for x in inputs),
    }
    if bn.running_mean is not None and finite:
        mean, std = bn.running_mean.float(), (bn.running_var.float() + bn.eps).sqrt()
        rows = [x.float().transpose(0, 1).flatten(1) for x in inputs]
        far = any(((r.mean(1) - mean).abs() > 2 * std).any() for r in rows)
        signs["means far from this batch"] = bool(far)
        ratios = [
            (r.var(1, correction=0) + bn.eps).sqrt() / std
            for r in rows
            if r.shape[1] > 15
        ]
        far = any(not 1 / 3 < ratio.median() < 3 for ratio in ratios)
        signs["variances far from this batch"] = far
    return signs


def _finite(*tensors: Tensor | None) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors if t is not None)


def idle_biases(net: nn.Module, x: Any) -> list[str]:
    """Name the layers whose bias the batch normalization right after them takes out again."""
    made: dict[int, tuple[str, Tensor]] = {}
    idle: list[str] = []

    def after(_, args, y, name):
        made[id(y)] = name, y  # the tensor is kept, so that no other gets its id

    def before(_, args):
        if id(args[0]) in made:
            idle.append(made[id(args[0])][0])

    hooks = [bn.register_forward_pre_hook(before) for bn in norms(net).values()]
    for name, module in net.named_modules():
        biased = isinstance(getattr(module, "bias", None), nn.Parameter)
        if biased and not isinstance(module, _BatchNorm):
            hooks.append(module.register_forward_hook(partial(after, name=name)))
    try:
        predict(net, x)
    finally:
        for hook in hooks:
            hook.remove()
    return sorted(set(idle))


def slopes(net: nn.Module) -> dict[str, float]:
    """Return the largest factor |γ| / √(σ² + ε) of each layer in evaluation mode."""
    found = {}
    for name, bn in norms(net).items():
        if bn.running_var is not None:
            slope = (bn.running_var.float() + bn.eps).rsqrt()
            slope = slope if bn.weight is None else slope * bn.weight.detach().abs()
            found[name] = slope.max().item()
    return found


# Tests


def _close(a: Tensor, b: Tensor, rtol: float | None) -> bool:
    """Whether two outputs differ by little, measured by the largest value of the second."""
    if rtol is None:
        rtol = 1e-2 if min(a.dtype.itemsize, b.dtype.itemsize) < 4 else 1e-4
    return bool((a - b).abs().max() <= rtol * b.abs().max())


def assert_company(predict: Callable, x: Tensor, rtol: float | None = None) -> None:
    """Assert that the prediction for a part of a batch is that part of the whole one."""
    part = max(1, len(x) // 2)
    whole = predict(x)[:part]
    assert _close(predict(x[:part]), whole, rtol), (
        "the answer depends on the batch mates"
    )


def assert_same_output(
    net: Callable, other: Callable, x: Any, rtol: float | None = None
) -> None:
    """Assert that two networks, or two ways to run one, give the same output."""
    assert _close(run(net, x), run(other, x), rtol), "the outputs differ"


def assert_runs(net: nn.Module, x: Any, training: bool = True) -> None:
    """Assert that a network runs on an input, in training mode unless you say otherwise."""
    with modes_kept(net), buffers_kept(net), torch.no_grad():
        net.train(training)
        try:
            run(net, x)
        except (ValueError, RuntimeError) as error:
            raise AssertionError(str(error).splitlines()[0]) from error


def assert_modes_kept(net: nn.Module, function: Callable[[], Any]) -> None:
    """Assert that a function leaves every module in the mode in which it was."""
    before = {name: module.training for name, module in net.named_modules()}
    function()
    changed = [n for n, m in net.named_modules() if m.training != before[n]]
    assert not changed, f"in another mode than before: {changed}"


def assert_state_kept(net: nn.Module, function: Callable[[], Any]) -> None:
    """Assert that a function changes no parameter and no buffer."""
    before = {name: t.detach().clone() for name, t in net.state_dict().items()}
    function()
    changed = [
        name
        for name, t in net.state_dict().items()
        if not torch.equal(t.nan_to_num(), before[name].nan_to_num())
    ]
    assert not changed, f"changed: {changed}"


def assert_frozen(net: nn.Module, step: Callable[[], Any]) -> None:
    """Assert that a training step changes nothing in any batch normalization."""
    assert_state_kept(nn.ModuleList(norms(net).values()), step)


def assert_one_update(net: nn.Module, step: Callable[[], Any]) -> None:
    """Assert that a training step updates all running statistics exactly once."""
    counted = {
        n: bn for n, bn in norms(net).items() if bn.num_batches_tracked is not None
    }
    before = {name: int(bn.num_batches_tracked) for name, bn in counted.items()}
    step()
    updates = {n: int(bn.num_batches_tracked) - before[n] for n, bn in counted.items()}
    wrong = {name: count for name, count in updates.items() if count != 1}
    assert not wrong, f"updates in one step: {wrong}"


def assert_finite_state(net: nn.Module) -> None:
    """Assert that every parameter and every buffer is finite."""
    bad = [name for name, tensor in net.state_dict().items() if not _finite(tensor)]
    assert not bad, f"NaN or infinity in {bad}"


def assert_full_precision(net: nn.Module) -> None:
    """Assert that the running statistics are kept in float32 or better."""
    low = [
        name
        for name, bn in norms(net).items()
        if bn.running_mean is not None and bn.running_mean.dtype.itemsize < 4
    ]
    assert not low, f"statistics in half precision: {low}"


def assert_small_gap(
    net: nn.Module, score: Callable[[nn.Module], float], tolerance: float = 0.05
) -> None:
    """Assert that evaluation mode does not score much worse than training mode."""
    with modes_kept(net), buffers_kept(net), torch.no_grad():
        in_training, in_evaluation = score(net.train()), score(net.eval())
    gap = in_training - in_evaluation
    assert gap < tolerance, (
        f"training mode {in_training:.2f}, evaluation {in_evaluation:.2f}"
    )


def assert_own_statistics(
    net: nn.Module, batches: Iterable, tolerance: float = 0.5
) -> None:
    """Assert that the running statistics are those of the weights: new ones differ little.

    The tolerance is in standard deviations of a channel, and a factor 1 + tolerance of these.
    """
    tracked = {n: bn for n, bn in norms(net).items() if bn.running_mean is not None}
    with buffers_kept(net):
        old = {
            n: (bn.running_mean.clone(), bn.running_var.clone())
            for n, bn in tracked.items()
        }
        recompute(net, batches)
        new = {n: (bn.running_mean, bn.running_var) for n, bn in tracked.items()}
    far = []
    for name, (mean, var) in new.items():
        std = (var + tracked[name].eps).sqrt()
        ratio = (old[name][1] + tracked[name].eps).sqrt() / std
        near = ((old[name][0] - mean).abs() <= tolerance * std).all()
        if not (
            near and ratio.max() <= 1 + tolerance and ratio.min() >= 1 / (1 + tolerance)
        ):
            far.append(name)
    assert not far, f"statistics of other weights or other data: {far}"


def assert_slopes(net: nn.Module, limit: float = 100.0) -> None:
    """Assert that in evaluation no channel is multiplied by more than a limit."""
    steep = {name: slope for name, slope in slopes(net).items() if not slope <= limit}
    assert not steep, f"steeper than {limit}: {steep}"


def assert_no_idle_bias(net: nn.Module, x: Any) -> None:
    """Assert that no layer has a bias that the normalization after it takes out again."""
    idle = idle_biases(net, x)
    assert not idle, f"a bias right before batch normalization: {idle}"


def assert_no_decay(optimizer: torch.optim.Optimizer, net: nn.Module) -> None:
    """Assert that the optimizer decays no weight and no bias of batch normalization."""
    ids = {id(p) for bn in norms(net).values() for p in bn.parameters()}
    for group in optimizer.param_groups:
        decayed = group.get("weight_decay", 0) and any(
            id(p) in ids for p in group["params"]
        )
        assert not decayed, "weight decay on γ and β of batch normalization"


def assert_alive(net: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
    """Assert that every channel of every batch normalization gets a gradient."""
    names = [n for n, bn in norms(net).items() if bn.weight is not None]
    layers = norms(net)
    parameters = [p for n in names for p in (layers[n].weight, layers[n].bias)]
    with buffers_kept(net):
        gradients = torch.autograd.grad(loss(net), parameters, allow_unused=True)
    dead = {}
    for name, dweight, dbias in zip(
        names, gradients[::2], gradients[1::2], strict=True
    ):
        if dweight is None:
            dead[name] = "all"
        elif (still := (dweight == 0) & (dbias == 0)).any():
            dead[name] = still.nonzero().flatten().tolist()
    assert not dead, f"channels without a gradient: {dead}"


def tell_apart(
    test: Callable[[Any], Any], broken: Any, cured: Any, name: str = ""
) -> None:
    """Show that a test fails for what is broken and passes for what is cured."""
    name = name or getattr(test, "__name__", "the test")
    try:
        test(broken)
    except AssertionError:
        test(cured)
        print(f"{name}: ✗ broken  ✓ cured")
    else:
        raise RuntimeError(f"{name} does not see the fault")
