"""What batch normalization alone has: statistics of two kinds, a counter, and what they mean."""

import numpy as np
import pytest
import torch
from helpers import assert_close, problem, state_of, to_torch

import bnlib
from bnlib import functional as F

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(64, 5), (16, 3, 4, 4)])
def test_float16_has_float32_statistics_and_a_float16_output(shape, training):
    x, dy, *vectors = problem(0, shape, np.float32)
    half, dhalf = x.astype(np.float16), dy.astype(np.float16)
    weight, bias, mean, var = vectors
    stats = to_torch(mean), to_torch(var)
    tx, tw, tb = (to_torch(a, grad=True) for a in (half, weight, bias))
    ty = torch.nn.functional.batch_norm(tx, *stats, tw, tb, training, 0.1, 1e-5)
    ty.backward(to_torch(dhalf))

    y, cache = F.batch_norm_forward(half, mean, var, weight, bias, training, 0.1, 1e-5)
    dx, dweight, dbias = F.batch_norm_backward(dhalf, cache)
    assert_close(y, ty, rtol=2e-3, atol=2e-3)  # a step or two of float16
    assert_close(dx, tx.grad, rtol=2e-3, atol=4e-3)
    assert_close(dweight, tw.grad, rtol=1e-3, atol=1e-2)
    assert_close(dbias, tb.grad, rtol=1e-3, atol=1e-2)
    assert_close(mean, stats[0], rtol=1e-5, atol=1e-6)
    assert_close(var, stats[1], rtol=1e-5)


def test_one_value_per_channel_is_refused_in_training_and_fine_in_evaluation():
    layer = bnlib.BatchNorm1d(3)
    x = np.ones((1, 3), np.float32)
    before = state_of(layer)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(x)
    assert state_of(layer) == before
    assert_close(layer.eval()(x), x, rtol=1e-5)
    untracked = bnlib.BatchNorm1d(3, track_running_stats=False).eval()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        untracked(x)


def test_running_variance_is_unbiased_and_the_output_biased():
    x = np.array([[1.0], [3.0]])
    layer = bnlib.BatchNorm1d(1, momentum=1.0, dtype=np.float64)
    assert_close(layer(x), np.array([[-1.0], [1.0]]), rtol=1e-5)
    assert_close(layer.running_var, np.array([2.0]))


def test_momentum_weighs_the_new_batch():
    layer = bnlib.BatchNorm1d(1, momentum=0.25, dtype=np.float64)
    layer(np.array([[7.0], [9.0]]))
    assert_close(layer.running_mean, np.array([0.25 * 8]))
    assert_close(layer.running_var, np.array([0.75 * 1 + 0.25 * 2]))


def test_momentum_none_is_the_plain_average_of_all_batches():
    layer = bnlib.BatchNorm1d(2, momentum=None, dtype=np.float64)
    batches = np.random.default_rng(0).standard_normal((5, 4, 2))
    for batch in batches:
        layer(batch)
    assert_close(layer.running_mean, batches.mean((0, 1)), atol=1e-15)
    assert_close(layer.running_var, batches.var(1, ddof=1).mean(0), rtol=1e-14)
    layer(batches[:0, 0])
    assert layer.num_batches_tracked == 5


def test_without_running_statistics_evaluation_uses_the_batch():
    x, *_ = problem(0, (6, 3), np.float32)
    layer = bnlib.BatchNorm1d(3, track_running_stats=False)
    assert_close(layer.eval()(x), layer.train()(x))
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert (layer.running_mean, layer.running_var, layer.num_batches_tracked) == (
        None,
    ) * 3


def test_an_empty_batch_is_not_counted():
    for momentum in (0.1, None):
        layer = bnlib.BatchNorm1d(2, momentum=momentum)
        x = np.ones((3, 2), np.float32)
        layer(x)
        before = state_of(layer)
        layer(x[:0])
        assert state_of(layer) == before
        assert layer.num_batches_tracked == 1


def test_the_function_is_the_forward_without_a_cache():
    x, _, weight, bias, mean, var = problem(0, (6, 3, 2), np.float32)
    for training in (True, False):
        stats = mean.copy(), var.copy()
        y, _ = F.batch_norm_forward(x, mean, var, weight, bias, training, 0.3, 0.1)
        assert_close(F.batch_norm(x, *stats, weight, bias, training, 0.3, 0.1), y)
        assert_close(stats[0], mean)
        assert_close(stats[1], var)


@pytest.mark.parametrize("sizes", [(3, 5), (1, 4), (0, 6), (1, 1, 2)])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_workers_that_share_their_sums_normalize_as_one(sizes, momentum):
    """Each worker in turn asks for sums; a first pass learns them, the last one uses them."""
    rng = np.random.default_rng(0)
    N = sum(sizes)
    x, dy = 1e3 + rng.standard_normal((N, 4, 3)), rng.standard_normal((N, 4, 3))
    whole = bnlib.BatchNorm1d(4, momentum=momentum, dtype=float)
    expected = whole(x), whole.backward(dy)
    cuts = np.cumsum(sizes)[:-1]
    parts = list(zip(np.split(x, cuts), np.split(dy, cuts), strict=True))

    sums = []  # of each question, in the order in which it is asked
    for question in range(4):
        asked = []
        for x_part, dy_part in parts:
            layer = SyncedInTurn(sums, momentum)
            layer.run(x_part, dy_part)
            asked.append(layer)
        if question < 3:
            sums.append(sum(layer.vectors[question] for layer in asked))
    assert_close(
        np.concatenate([a.y for a in asked]), expected[0], rtol=1e-9, atol=1e-9
    )
    assert_close(
        np.concatenate([a.dx for a in asked]), expected[1], rtol=1e-9, atol=1e-9
    )
    for name in ("weight", "bias"):
        total = sum(getattr(layer.bn, name).grad for layer in asked)
        assert_close(total, getattr(whole, name).grad, rtol=1e-9, atol=1e-9)
    for layer in asked:
        assert_close(layer.bn.running_mean, whole.running_mean, rtol=1e-12)
        assert_close(layer.bn.running_var, whole.running_var, rtol=1e-9)


class SyncedInTurn:
    """A worker that is told the sums known so far, and goes on with its own where there is none."""

    def __init__(self, sums, momentum):
        self.sums, self.vectors = sums, []
        self.bn = bnlib.SyncBatchNorm(
            4, momentum=momentum, dtype=float, all_reduce=self.all_reduce
        )

    def all_reduce(self, vector):
        self.vectors.append(vector)
        known = len(self.vectors) <= len(self.sums)
        return self.sums[len(self.vectors) - 1] if known else vector + 2

    def run(self, x, dy):
        self.y = self.bn(x)
        self.dx = self.bn.backward(dy)


def test_one_value_in_all_workers_together_is_refused():
    layer = bnlib.SyncBatchNorm(2, all_reduce=lambda vector: vector)
    before = state_of(layer)
    with pytest.raises(ValueError, match="1 in all workers together"):
        layer(np.ones((1, 2), np.float32))
    assert state_of(layer) == before
    two = bnlib.SyncBatchNorm(2, all_reduce=lambda vector: 2 * vector)
    assert_close(two(np.ones((1, 2), np.float32)), np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda vector: None, TypeError),
        (lambda vector: vector.astype(np.float32), TypeError),
        (lambda vector: vector[1:], ValueError),
    ],
)
def test_an_answer_that_is_no_such_vector_is_refused(answer, error):
    layer = bnlib.SyncBatchNorm(2, all_reduce=answer)
    before = state_of(layer)
    with pytest.raises(error, match="all_reduce"):
        layer(np.ones((4, 2), np.float32))
    assert state_of(layer) == before
    with pytest.raises(TypeError, match="SyncBatchNorm: expected all_reduce to be a"):
        bnlib.SyncBatchNorm(2, all_reduce="sum")
