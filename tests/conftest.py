"""Settings that all tests share."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy and torch are imported

import hypothesis
import pytest

# The same examples in every run: a test that passed does not fail by chance.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="module", params=["reference", "compiled"])
def backend(request):
    """Run the tests of a module with the readable version, then with the compiled loops."""
    if request.param == "compiled":
        pytest.importorskip("numba", exc_type=ImportError)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNLIB_BACKEND", request.param)
        yield request.param
