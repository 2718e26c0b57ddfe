"""``python -m benchmarks [FILE]``: print the tables, and write the times to a JSON file."""

import os
import sys

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy and torch are imported; torch is told later

if __name__ == "__main__":
    from benchmarks.compare import main

    main(*sys.argv[1:])
