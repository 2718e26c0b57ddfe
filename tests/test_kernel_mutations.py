"""Mistakes planted in the source of the fast kernel: a short check catches each."""

import itertools

import numpy as np
import pytest
from helpers import assert_close, edited

from bnlib import textbook


def check_blocks(module):
    """Walk over arrays in small blocks: every number once, and the sums of each channel."""
    rng = np.random.default_rng(0)
    vars(module).update(BLOCK=48, RUN=5, TALL=2, ROW=16, WIDE=12)
    for kind, shape in (
        (module.Planes, (5, 3, 7)),
        (module.Planes, (5, 7, 12)),
        (module.Planes, (2, 2, 70)),
        (module.Planes, (2, 2, 71)),
        (module.Rows, (11, 3, 2)),
        (module.Rows, (9, 5, 1)),
        (module.Rows, (5, 5, 3)),
    ):
        C = shape[1]
        a, b = rng.integers(1, 9, (2, *shape)).astype(np.float32)
        numbers = np.arange(2 * C, dtype=np.float64).reshape(2, C)
        walk, seen, sums = kind(*shape), np.zeros_like(a), np.zeros((2, C))
        for c, steps in walk.groups:
            spread = walk.spread(numbers[:, c])
            for step in steps:
                block = walk.block(seen, step)
                one, ten = walk.fit(spread, block)
                block += 1 + one + 10 * ten
                assert block.size <= 48
                sums[:, c] += walk.sums(walk.block(a, step), walk.block(b, step))
        assert_close(sums, np.array([a.sum((0, 2)), (a * b).sum((0, 2))], np.float64))
        expected = (1 + numbers[0] + 10 * numbers[1])[:, None]
        assert (seen == expected).all()
    assert isinstance(module.walk_of((2, 2, 16, 16)), module.Planes)
    assert isinstance(module.walk_of((2, 2, 255)), module.Rows)


def problem(shape, offset):
    """Return x, dy, weight, bias, running_mean and running_var, half of x off zero."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    x[:, ::2] += np.float32(offset)
    vectors = rng.uniform(0.5, 2, (4, shape[1])).astype(np.float32)
    vectors[2, ::2] += np.float32(offset)
    return x, dy, *vectors


def expected(x, dy, weight, bias, mean, var, *settings):
    """Return y, dx, dweight, dbias and the running statistics, in float64."""
    x, dy, weight, bias, mean, var = (
        a.astype(float) for a in (x, dy, weight, bias, mean, var)
    )
    y, cache = textbook.batch_norm_forward(x, mean, var, weight, bias, *settings)
    return y, *textbook.batch_norm_backward(dy, cache), mean, var


def compare(results, rights):
    """Fail unless all results are right to round-off."""
    for got, right in zip(results, rights, strict=True):
        assert_close(got.astype(float), right, rtol=1e-5, atol=5e-5)


def check_kernels(module):
    """Compare with the textbook version along every way, on each side of the pivot."""
    shapes = (8, 4), (100, 3), (5000, 3), (3, 2, 200), (2, 9000)
    for shape, strands in itertools.product(shapes, (1, module.STRANDS)):
        module.STRANDS = strands
        for offset, training in ((0, True), (1e4, True), (0, False), (1e4, False)):
            x, dy, weight, bias, mean, var = problem(shape, offset)
            settings = training, 0.3, 1e-2
            rights = expected(x, dy, weight, bias, mean, var, *settings)
            y, saved = module.batch_norm_forward(x, mean, var, weight, bias, *settings)
            gradients = module.batch_norm_backward(dy, saved)
            compare((y, *gradients, mean, var), rights)
            assert (saved.pivot is None) == (offset == 0) or shape[0] == 2
            if saved.pivot is not None:  # exact where it is subtracted
                assert (saved.pivot == saved.pivot.astype(np.float32)).all()
    before = mean.copy(), var.copy()
    x[0, 0] = np.inf
    assert module.batch_norm_forward(x, mean, var, weight, bias, True, 0.3, 1) is None
    assert (mean == before[0]).all()
    assert (var == before[1]).all()
    # Long float32 sums do not give the pivot at once.
    x = np.full((2, 1, 2000), 0.1, np.float32)
    _, saved = module.batch_norm_forward(x, None, None, None, None, True, 0, 1)
    assert (saved.pivot, saved.low) == (x[0, 0, 0], 0)


def check_small(module):
    """Compare with the textbook version, few samples and many."""
    assert module.suits(np.ones((64, 5), np.float32))
    assert module.suits(np.ones((128, 512), np.float32))
    for shape in ((65, 5), (128, 513), (8, 4, 1)):
        assert not module.suits(np.ones(shape, np.float32))
    for shape in ((8, 4), (192, 4)):
        for offset in (0, 1e4):
            x, dy, weight, bias, *stats = problem(shape, offset)
            for w, b in ((weight, bias), (0 * weight + 1, 0 * bias)):
                wide = [a.astype(float) for a in stats]
                exact = x.astype(float)
                for training in (True, False):
                    given = (None, None) if training else wide
                    rights = expected(x, dy, w, b, *stats, training, 0.3, 1e-2)
                    y, dx = np.full((2, *shape), np.nan, np.float32)
                    found = module.forward(x, *given, w, b, 1e-2, y)
                    pivot, low, var, invstd = found
                    saved = x, pivot, low, invstd, w, training
                    gradients = module.backward(dy, *saved, dx)
                    assert gradients[0] is dx
                    compare((y, *gradients), rights[:4])
                    mean = low + (0 if pivot is None else pivot)
                    moments = (exact.mean(0), exact.var(0)) if training else wide
                    compare((mean, var), moments)
                    assert (pivot is None) == (offset == 0)
    x[0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        assert module.forward(x, None, None, weight, bias, 1e-2, y) is None


CHECKS = {
    "blocks": check_blocks,
    "kernels": check_kernels,
    "small": check_small,
}
FOLD = "sums = np.add.reduce(sums.reshape(2, -1, self.width), 1)"
LENGTH = "sums = np.add.reduce(sums.reshape(2, -1, self.length), 2)"
MUTATIONS = {
    "the tail of the samples lost": (
        "blocks",
        (
            "cuts(whole, samples) + [slice(whole, N)] * (whole < N)",
            "cuts(whole, samples)",
        ),
    ),
    "the tail of any cut lost": (
        "blocks",
        ("range(0, length, step)", "range(0, length - step + 1, step)"),
    ),
    "a long plane not cut": (
        "blocks",
        ("for k in cuts(L, runs)", "for k in [slice(0, runs)]"),
    ),
    "fold not added up": ("blocks", (FOLD, "sums = sums[:, : self.width]")),
    "fold the wrong way": (
        "blocks",
        (FOLD, FOLD.replace("(2, -1, self.width), 1", "(2, self.width, -1), 2")),
    ),
    "planes not added up": ("blocks", (LENGTH, "sums = sums[:, :: self.length]")),
    "planes spread the wrong way": (
        "blocks",
        (
            "np.array(vectors, np.float32).repeat(self.length, axis=1)",
            "np.tile(np.array(vectors, np.float32), self.length)",
        ),
    ),
    "one run of a plane only": (
        "blocks",
        ("runs = cuts(row, RUN)", "runs = cuts(row, RUN)[:1]"),
    ),
    "first run twice": ("blocks", ("np.dot(a[:, k],", "np.dot(a[:, runs[0]],")),
    "samples and channels mixed up": (
        "blocks",
        (
            "sums.reshape(len(runs), 2, samples, channels, -1)",
            "sums.reshape(len(runs), 2, channels, samples, -1).swapaxes(2, 3)",
        ),
    ),
    "squares in place of products": (
        "blocks",
        ('"ij,ij->j", a, b', '"ij,ij->j", a, a'),
    ),
    "rows at any length": ("blocks", ("L >= PLANE", "L > PLANE")),
    "one strand lost": (
        "kernels",
        ("run(strand, parts, threads))", "run(strand, parts[:1], threads))"),
    ),
    "one part not written": (
        "kernels",
        ("for step in steps[part]], parts,", "for step in steps[part]], parts[:1],"),
    ),
    "one step of a strand lost": (
        "kernels",
        ("map(term, steps[part])", "map(term, steps[part][:1])"),
    ),
    "one try only": ("kernels", ("range(4)", "range(1)")),
    "two tries only": ("kernels", ("range(4)", "range(2)")),
    "every sum is good": ("kernels", ("        if good:\n", "        if True:\n")),
    "pivot not carried on": (
        "kernels",
        ("low if pivot is None else pivot + low\n        pivot", "low\n        pivot"),
    ),
    "pivot not rounded": (
        "kernels",
        ("mean.astype(np.float32).astype(np.float64)", "mean"),
    ),
    "group that failed not noticed": (
        "kernels",
        ("None if None in found else _join(found)", "_join(found)"),
    ),
    "pivot lost in the running mean": (
        "kernels",
        (
            "mean = low if pivot is None else pivot + low\n        update",
            "mean = low\n        update",
        ),
    ),
    "statistics updated in evaluation": (
        "kernels",
        ("if training and running_mean is not None", "if running_mean is not None"),
    ),
    "no pivot in evaluation": (
        "kernels",
        ("if (low * low > 4 * square).any()", "if False"),
    ),
    "projection in evaluation": (
        "kernels",
        ("            if training:\n", "            if True:\n"),
    ),
    "x not centred in the sums": (
        "kernels",
        (
            "walk.sums(g, centred(step, scratch(g.shape)))",
            "walk.sums(g, walk.block(x, step))",
        ),
    ),
    "dy forgotten": ("kernels", ("g = np.add(u, g, out=u)", "g = u")),
    "shift forgotten": ("kernels", ("np.add(o, shift, out=o)", "pass")),
    "sums of the other channels": (
        "kernels",
        ("dbias[c] = sums[0]", "dbias[:] = sums[0][0]"),
    ),
    "second pivot lost": (
        "small",
        (
            "        low, var, good = shifted_moments(_sums(d, d), len(x))\n        if not good",
            "        if False",
        ),
    ),
    "sums of many rows not added up": (
        "small",
        (
            "np.add.reduce(sums.reshape(2, -1, a.shape[1]), 1, np.float64)",
            "sums.reshape(2, -1, a.shape[1])[:, 0].astype(np.float64)",
        ),
    ),
    "small: dy forgotten": ("small", ("dy = np.add(dx, dy, out=dx)", "dy = dx")),
    "small: shift forgotten": (
        "small",
        ("    np.add(y, shift.astype(np.float32), out=y)", "    pass"),
    ),
    "small: x not centred": (
        "small",
        (
            "x if pivot is None else np.subtract(x, pivot.astype(np.float32), out=dx)",
            "x",
        ),
    ),
    "small: dbias and dweight swapped": ("small", ("sums[0].astype", "sums[1].astype")),
    "small: mean forgotten in evaluation": (
        "small",
        ("good = np.maximum.reduce(low * low - 4 * var) <= 0", "good = True"),
    ),
    "small: projection in evaluation": (
        "small",
        ("    if training:\n", "    if True:\n"),
    ),
    "small: as large as may be": ("small", ("x.size <= SMALL", "True")),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_check_passes_for_the_source_as_it_is(name):
    CHECKS[name](edited(name))


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_planted_mistake_is_caught(mutation):
    name, *edits = MUTATIONS[mutation]
    module = edited(name, *edits)
    with (
        np.errstate(all="ignore"),
        pytest.raises((AssertionError, ValueError, IndexError, TypeError)),
    ):
        CHECKS[name](module)
