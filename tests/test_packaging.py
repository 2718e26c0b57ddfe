"""The wheel and the source distribution: complete, and what a downloaded notebook needs."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import keras
import nbformat
import numpy as np
import pytest
import torch

import bnlib
from bnlib.lab import files

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = {"ipython": "IPython", "pillow": "PIL", "scikit-learn": "sklearn"}
NOT_SHIPPED = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")


def built(kind, folder):
    """Build a distribution; return its path."""
    command = [sys.executable, ROOT / "tools" / "package.py", kind, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel's files, as text by name."""
    with zipfile.ZipFile(built("wheel", tmp_path_factory.mktemp("wheel"))) as found:
        return {name: found.read(name).decode() for name in found.namelist()}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Return the folder of an unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built("sdist", folder)) as found:
        found.extractall(folder, filter="data")
    return folder / f"bnlib-{bnlib.__version__}"


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    kinds = (".py", ".js", ".json", ".svg", ".toml", ".typed")
    package = [path for path in (ROOT / "bnlib").rglob("*") if path.suffix in kinds]
    expected = {path.relative_to(ROOT).as_posix() for path in package}
    assert {name for name in wheel if ".dist-info/" not in name} == expected


def test_the_version_stands_in_one_place(wheel):
    (name,) = (name for name in wheel if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel[name])
    assert metadata["Version"] == bnlib.__version__
    assert bnlib.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_source_distribution_is_the_whole_project(unpacked):
    listed = subprocess.run(
        ["git", "ls-files", "--cached"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("no git here: these tests run from a source distribution")
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    missing = [
        name
        for name in names
        if not name.startswith(NOT_SHIPPED) and not (unpacked / name).exists()
    ]
    assert not missing


def test_the_tests_run_from_the_source_distribution(unpacked):
    chosen = [
        f"tests/test_{name}.py" for name in ("moments", "book_code", "lab_charts")
    ]
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
    code = "import sys, pytest; sys.path.insert(0, '.'); sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *options, *chosen],
        cwd=unpacked,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def imported(source):
    """Return the modules that some code imports, without what stands below them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names


def test_the_extra_for_the_book_brings_what_its_notebooks_import():
    extras = SETTINGS["project"]["optional-dependencies"]
    needed = [*SETTINGS["project"]["dependencies"]]
    needed += [line for extra in ("fast", "lab", "book") for line in extras[extra]]
    names = {re.match(r"[\w-]+", line)[0] for line in needed}
    brought = {MODULES.get(name, name) for name in names}
    sources = [path.read_text("utf-8") for path in (ROOT / "bnlib").rglob("*.py")]
    for path in (ROOT / "book").rglob("*.ipynb"):
        if ".ipynb_checkpoints" not in path.parts:
            cells = nbformat.read(path, as_version=4).cells
            sources += [cell.source for cell in cells if cell.cell_type == "code"]
    assert set().union(*map(imported, sources)) <= brought
    assert "ipykernel" in brought


@pytest.mark.parametrize("name", ["cost", "depth-budgets", "fast-kernel", "flax"])
def test_what_was_kept_is_read(name):
    assert files.read(name)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras
def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {"torch": torch}
    exec(first, names)
    x, bn = names["x"], names["bn"]
    assert np.abs(names["y"].mean(0)).max() < 1e-5
    names["torch_bn"] = torch.nn.BatchNorm1d(100)
    names["keras_bn"] = keras.layers.BatchNormalization()
    names["keras_bn"].build(x.shape)
    torch_part, keras_part = second.split("names =")
    state = {key: value.copy() for key, value in bn.state_dict().items()}
    names["torch_bn"].load_state_dict(
        {key: torch.as_tensor(value) for key, value in state.items()}
    )
    exec(torch_part, names)
    y = bn(x)
    other = names["torch_bn"].eval()(torch.as_tensor(x)).detach().numpy()
    assert np.abs(y - other).max() < 1e-4
    for key, value in bn.state_dict().items():
        assert np.array_equal(value, state[key])
    exec("names =" + keras_part, names)
    assert np.abs(bn(x) - np.asarray(names["keras_bn"](x).detach())).max() < 1e-4


def test_a_commit_is_checked_by_the_same_ruff():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"^ruff==.*", (ROOT / "requirements.txt").read_text(), re.M)
    assert set(re.findall(r"ruff==[^\]]*", hooks)) == {pinned}
