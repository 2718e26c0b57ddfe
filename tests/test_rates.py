"""The explorer's sweeps are what its script writes: some of it, trained again."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import record_rates

HELD = record_rates.read()


@pytest.mark.parametrize(
    ("net", "opponent", "arm", "rate"),
    [("ReLU", "prepared", "none", 5), ("sigmoid", "default", "batch", 4)],
)
def test_trained_again(net, opponent, arm, rate):
    steps = record_rates.STEPS[0]
    found = record_rates.trained(
        net,
        opponent,
        arm,
        record_rates.RATES[[rate]],
        record_rates.SEEDS[:2],
        steps=(steps,),
    )
    held = HELD["accuracies"][f"{net}, {opponent}, {arm}, {steps}"][rate][:2]
    # One picture of a thousand may fall to the other side on another processor.
    assert np.abs(np.array(found[0][0]) - held).max() <= 1


def test_no_entry_nor_its_making_has_changed_since_it_was_trained():
    data = {key: HELD[key] for key in ("rates", "accuracies")}
    assert HELD["fingerprint"] == record_rates.fingerprint(data), (
        "run tools/record_rates.py"
    )


def test_arms_start_from_the_same_weights():
    def weights(*settings):
        net = record_rates.build(np.random.default_rng(0), *settings)
        return [p.data for p in net.parameters() if p.data.ndim == 2]

    for net, (_, _, gain, _) in record_rates.NETS.items():
        default = weights(net, "default", "none")
        for other in (
            weights(net, "prepared", "batch"),
            weights(net, "default", "batch"),
        ):
            for a, b in zip(default, other, strict=True):
                np.testing.assert_array_equal(a, b)
        for a, b in zip(default, weights(net, "prepared", "none"), strict=True):
            np.testing.assert_allclose(b, np.sqrt(3 * gain) * a)


def test_everything_is_there():
    assert HELD["rates"] == record_rates.RATES.tolist()
    shape = len(record_rates.RATES), len(record_rates.SEEDS)
    held = HELD["accuracies"].values()
    assert len(held) == 2 * 2 * 2 * len(record_rates.STEPS)
    assert {np.shape(table) for table in held} == {shape}
