"""Make the kernels of notebooks compute with the instructions that every current CPU has.

A sum adds up in another order where vectors are longer, and training carries the difference into
the digits that a chapter prints. What a chapter stores, and what a test compares with it, are
computed alike on every x86 machine with AVX2.
"""

import importlib
import os


def one_cpu() -> None:
    """Set the environment that kernels started from here inherit."""
    cpu = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    # A name that NumPy does not know, or that the machine lacks, would be a warning.
    longer = [name for name in ("X86_V4", "AVX512_ICL", "AVX512_SPR") if cpu.get(name)]
    if longer:  # in a process started from one that was here, they are off already
        os.environ["NPY_DISABLE_CPU_FEATURES"] = " ".join(longer)
    os.environ["ATEN_CPU_CAPABILITY"] = "avx2"  # PyTorch
    if cpu.get("X86_V3"):
        os.environ["OPENBLAS_CORETYPE"] = "Haswell"
        # Numba: what x86-64-v3 has, and nothing that this machine has besides.
        os.environ.update(NUMBA_CPU_NAME="x86-64-v3", NUMBA_CPU_FEATURES="")
