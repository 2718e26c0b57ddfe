"""`import bnlib` needs NumPy only, and every public name says what it is."""

import ast
import graphlib
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
BELOW = {"_checks", "_types"}
MAY_IMPORT = {
    "_types": set(),
    "_checks": {"_types"},
    "_state": BELOW,
    "moments": BELOW,
    "ops": BELOW,
    "convolution": BELOW | {"ops"},
    "normalize": BELOW | {"_state", "moments", "ops"},
    "threads": {"_checks"},
    "compiled": {"threads"},
    "functional": BELOW | {"convolution", "moments", "normalize", "ops", "threads"},
    "module": BELOW | {"_state"},
    "norm": BELOW | {"functional", "module"},
    "layers": BELOW | {"functional", "module"},
    "optim": BELOW | {"_state", "module"},
    "folding": BELOW | {"layers", "module", "norm"},
    "testing": BELOW,
}


def imports(path):
    """Return the modules that a file of bnlib imports, ``bnlib.X`` for each of bnlib's own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in ("bnlib", "bnlib.lab"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
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
    if name == "compiled":  # and nobody else
        allowed |= {"numba", "numba.extending", "numba.np.numpy_support"}
    found = imports(PACKAGE / f"{name}.py")
    rest = {m for m in found if m.split(".")[0] not in sys.stdlib_module_names}
    assert rest - {"numpy", "numpy.typing"} <= allowed


def test_no_imports_run_in_a_circle():
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        if path.stem != "__init__":
            name = ".".join(["bnlib", *path.relative_to(PACKAGE).with_suffix("").parts])
            graph[name] = {m for m in imports(path) if m.startswith("bnlib.")}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)


def test_a_star_import_shadows_no_module():
    for name in bnlib.__all__:
        thing = getattr(bnlib, name)
        assert inspect.ismodule(thing) == (f"bnlib.{name}" in sys.modules), name


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_says_what_it_is(name):
    module = pytest.importorskip(f"bnlib.{name}", exc_type=ImportError)
    assert module.__doc__.strip()
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        summary = (getattr(module, public).__doc__ or "").strip().splitlines()
        assert summary, f"{public} has no docstring"
        assert summary[0].rstrip().endswith("."), (
            f"{public}: the summary is not one line"
        )


def test_the_package_gathers_the_layers_and_what_a_user_calls():
    assert sorted(set(bnlib.__all__)) == sorted(bnlib.__all__)
    layers = {
        name
        for module in (bnlib.norm, bnlib.layers)
        for name in module.__all__
        if inspect.isclass(getattr(module, name))
    }
    rest = {"Module", "Parameter", "Residual", "Sequential", "fold", "gradcheck"}
    modules = {"functional", "moments", "optim", "testing"}
    assert set(bnlib.__all__) == layers | rest | modules | {"no_grad"}
    assert bnlib.__version__.count(".") == 2


def test_functional_is_the_door_to_all_functions():
    for module in (bnlib.convolution, bnlib.ops):
        for name in module.__all__:
            assert getattr(bnlib.functional, name) is getattr(module, name)
    assert len(set(bnlib.functional.__all__)) == len(bnlib.functional.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_and_method_has_a_docstring(name):
    module = pytest.importorskip(f"bnlib.{name}", exc_type=ImportError)
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing):
            for method, value in vars(thing).items():
                if inspect.isfunction(value) and not method.startswith("_"):
                    assert value.__doc__, f"{public}.{method}"
