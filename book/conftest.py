"""What the tests ask of a notebook beyond nbval, which runs each cell and compares its texts.

A notebook runs as that of a reader who has downloaded it alone: in an empty folder, and with bnlib
from its wheel instead of this folder. The ledger is the exception: it reads the chapters.

nbval says nothing of a cell that was never run and does not look at pictures. Here a stored
notebook must be complete and clean, and each picture, frames of animations included, must equal
that of a fresh run. Two pictures are equal when each pixel of one lies, to within ``TOLERANCE``, in
the range of colours that its 3 x 3 neighbourhood has in the other: a line may be smoothed
differently or move by one pixel, and no more.
"""

import base64
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

BOOK = Path(__file__).resolve().parent
PACKAGE = BOOK.parent / "tools" / "package.py"
BUILD = BOOK.parent / "_build" / "tests"
# The kernels inherit it: nothing depends on the machine, nor on what its user has set up at home.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["PYTHONHASHSEED"] = "0"
if PACKAGE.exists():  # else this is a copy, for a test of these guards
    for _name in (
        "IPYTHONDIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_RUNTIME_DIR",
        "MPLCONFIGDIR",
    ):
        os.environ[_name] = str(BUILD / "home")
    (BUILD / "home").mkdir(parents=True, exist_ok=True)
os.environ.pop("MPLBACKEND", None)  # the kernel chooses the one that shows pictures

import matplotlib.font_manager  # noqa: F401 (builds its cache of fonts here, not in a cell)
import numpy as np
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from bnlib.lab._machine import one_cpu

one_cpu()

TOLERANCE = 40  # of 255
IN_HTML = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\\\s]*)")
IMG = re.compile(r"<img\b[^>]*>")
ALT = re.compile(r"""\balt\s*=\s*(["'])\s*(?!\1)\S""")
MACHINE = re.compile(
    r"(?<![\w.])(?:/(?:home|root|tmp|opt|usr|var|mnt|srv|work|workspace|Users|private)/"
    r"|[A-Z]:\\Users\\)[\w.\\/-]*"
)


def execute_as_jupyter_does(kernel, source, allow_stdin=False):
    """Run a cell with history, without which a closing semicolon hides nothing."""
    return kernel.kc.execute(source, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_as_jupyter_does
start = RunningKernel.__init__
WHEEL = BUILD / "wheel"  # lasting: Numba keeps compiled code beside it
READS_THE_CHAPTERS = BOOK / "appendix"


def start_alone(kernel, kernel_name, cwd=None, startup_timeout=60):
    """Start a kernel as a reader's: in a folder with nothing in it."""
    if Path(cwd) != READS_THE_CHAPTERS:
        kernel.folder = tempfile.TemporaryDirectory()  # lives as long as the kernel
        cwd = kernel.folder.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(WHEEL))
        start(kernel, kernel_name, cwd, startup_timeout)


if PACKAGE.exists():
    RunningKernel.__init__ = start_alone


def pytest_configure(config):
    """Unpack bnlib's wheel where the kernels find it first; in workers it is done already."""
    if hasattr(config, "workerinput") or not PACKAGE.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, PACKAGE, "wheel", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise pytest.UsageError(f"bnlib's wheel was not built:\n{done.stderr}")
        with zipfile.ZipFile(*Path(folder).glob("*.whl")) as wheel:
            names = set(wheel.namelist())
            for path in WHEEL.rglob("*"):  # what has left the package
                gone = path.relative_to(WHEEL).as_posix() not in names
                if gone and path.suffix in (".py", ".json", ".toml"):
                    path.unlink()
            for name in names:
                path, data = WHEEL / name, wheel.read(name)
                if not path.exists() or path.read_bytes() != data:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)


def pytest_collection_modifyitems(config):
    # nbval would measure coverage in the kernels too, which slows them and hides untested code.
    config.option.cov_source = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not isinstance(item, IPyNbCell):
        return (yield)
    if item.options["skip"]:
        item.raise_cell_error("a cell may not be skipped")
    result = yield
    faults = stored_faults(item)
    if item.options["check"]:
        faults += picture_faults(item.cell.outputs, item.test_outputs)
    if faults:
        item.raise_cell_error("; ".join(faults))
    return result


def stored_faults(item):
    """Return what is wrong with a cell as it is stored."""
    cell, faults = item.cell, []
    if not cell.source.strip():
        faults.append("the cell is empty")
    if cell.execution_count is None:
        faults.append("the cell was never run")
    elif cell.execution_count != item.cell_num + 1:
        faults.append(
            f"cell {item.cell_num + 1} has count {cell.execution_count}: out of order"
        )
    texts = [cell.source]
    for output in cell.outputs:
        if output.output_type == "error" and not item.options["check_exception"]:
            faults.append("an error is stored")
        if output.get("name") == "stderr":
            faults.append("text on stderr is stored")
        data = output.get("data", {})
        if "image/png" in data and not alt_text(cell):
            faults.append("a picture has no alt text in mystnb.image.alt")
        html = data.get("text/html", "")
        if any(not ALT.search(tag) for tag in IMG.findall(html)):
            faults.append("a picture inside HTML has no alt text")
        texts += [output.get("text", ""), *output.get("traceback", [])]
        texts += [
            IN_HTML.sub("", str(data[kind])) for kind in data if kind != "image/png"
        ]
    if item.cell_num == 0:
        cells = item.parent.nb.cells
        texts += [other.source for other in cells if other.cell_type != "code"]
        code = "\n".join(other.source for other in cells if other.cell_type == "code")
        if not re.search(r"\bassert\b|\bclaim", code):
            faults.append("nothing in this notebook is asserted")
    paths = sorted(
        {match.group() for text in texts for match in MACHINE.finditer(text)}
    )
    if paths:
        faults.append(f"paths of a machine: {paths}")
    return faults


def alt_text(cell):
    """Return a cell's alternative text."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip()


def picture_faults(stored, fresh):
    """Return how the pictures of two lists of outputs differ."""
    before, after = pictures(stored), pictures(fresh)
    if len(before) != len(after):
        return [
            f"{len(before)} pictures are stored, and a fresh run gives {len(after)}"
        ]
    return [
        f"picture {number} differs from that of a fresh run"
        for number, pair in enumerate(zip(before, after, strict=True), start=1)
        if not same_picture(*pair)
    ]


def pictures(outputs):
    """Return the pixels of every picture in a list of outputs."""
    encoded = []
    for output in outputs:
        data = output.get("data", {})
        encoded += [data["image/png"]] if "image/png" in data else []
        encoded += IN_HTML.findall(data.get("text/html", ""))
    return [decode(text) for text in encoded]


def decode(text):
    """Return the pixels of a picture, on white."""
    data = base64.b64decode(re.sub(r"[\\\s]", "", text))
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(
        Image.alpha_composite(white, picture).convert("RGB"), dtype=np.int16
    )


def same_picture(a, b):
    """Return whether two pictures are equal but for the smoothing of their edges."""
    return a.shape == b.shape and within(a, b) and within(b, a)


def within(a, b):
    """Return whether each pixel of `a` has a colour that `b` has nearby."""
    low, high = (
        filtered(b, size=(3, 3, 1)) for filtered in (minimum_filter, maximum_filter)
    )
    return bool(np.all((a >= low - TOLERANCE) & (a <= high + TOLERANCE)))
