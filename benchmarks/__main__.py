"""``python -m benchmarks``: print the tables."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy and torch are imported

if __name__ == "__main__":
    from benchmarks.compare import main

    main()
