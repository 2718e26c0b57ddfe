"""`import bnlib` needs NumPy only, and every public name says what it is."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import bnlib

PACKAGE = Path(bnlib.__file__).parent
CORE = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
PUBLIC = [name for name in CORE if not name.startswith("_")]
# What each module may import from bnlib: arrows run one way.
MAY_IMPORT = {
    "_checks": set(),
    "moments": {"_checks"},
    "ops": {"_checks"},
    "convolution": {"_checks", "ops"},
    "sample_norm": {"_checks", "moments", "ops"},
    "textbook": {"_checks", "moments", "ops"},
    "coefficients": set(),
    "blocks": set(),
    "small": {"blocks", "coefficients"},
    "threads": {"_checks"},
    "kernels": {"blocks", "coefficients", "small", "textbook", "threads"},
    "functional": {
        "_checks",
        "ops",
        "convolution",
        "sample_norm",
        "textbook",
        "kernels",
    },
    "module": {"_checks"},
    "norm": {"_checks", "functional", "module"},
    "layers": {"_checks", "functional", "module"},
    "optim": {"module"},
    "gradcheck": set(),
    "fuse": {"_checks", "layers", "module", "norm"},
}


def imports(name):
    """Return the modules that ``bnlib/NAME.py`` imports, ``bnlib.X`` for each of bnlib's own."""
    found = set()
    for node in ast.walk(
        ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    ):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "bnlib":
            found |= {f"bnlib.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def test_importing_bnlib_loads_numpy_and_nothing_else():
    code = (
        "import sys, numpy; before = set(sys.modules); import bnlib; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(run.stdout.split()) - set(sys.stdlib_module_names)
    assert loaded <= {"bnlib", "numpy"}
    assert "bnlib" in loaded


@pytest.mark.parametrize("name", CORE)
def test_a_module_imports_only_what_stands_below_it(name):
    allowed = {f"bnlib.{other}" for other in MAY_IMPORT[name]}
    rest = {
        module
        for module in imports(name)
        if module.split(".")[0] not in sys.stdlib_module_names
    }
    assert rest <= allowed | {"numpy"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_says_what_it_is(name):
    module = importlib.import_module(f"bnlib.{name}")
    assert module.__doc__.strip()
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        summary = (getattr(module, public).__doc__ or "").strip().splitlines()
        assert summary, f"{public} has no docstring"
        assert summary[0].rstrip().endswith("."), (
            f"{public}: the summary is not one line"
        )


def test_the_package_gathers_the_layers_and_the_modules():
    for name in bnlib.__all__:
        assert getattr(bnlib, name) is not None
    assert len(set(bnlib.__all__)) == len(bnlib.__all__)
    assert {"functional", "gradcheck", "moments", "optim"} < set(bnlib.__all__)
    for module in (bnlib.norm, bnlib.layers, bnlib.module):
        assert set(module.__all__) <= set(bnlib.__all__)
    assert bnlib.__version__.count(".") == 2


def test_functional_is_the_door_to_all_functions():
    for module in (bnlib.sample_norm, bnlib.convolution, bnlib.ops):
        for name in module.__all__:
            assert getattr(bnlib.functional, name) is getattr(module, name)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_and_method_has_a_docstring(name):
    module = importlib.import_module(f"bnlib.{name}")
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing):
            for method, value in vars(thing).items():
                if inspect.isfunction(value) and not method.startswith("_"):
                    assert value.__doc__, f"{public}.{method}"
