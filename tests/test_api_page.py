"""The API page: each public name is on it, and its index by PyTorch's names is right."""

import ast
import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from types import FunctionType, SimpleNamespace

import nbformat
import pytest
import torch
import torch.nn.utils.fusion

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import chapters  # noqa: E402
from check_docstrings import public_names  # noqa: E402

OWN = (type, FunctionType)
PAGE = (ROOT / "book" / "appendix" / "api.md").read_text(encoding="utf-8")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "bnlib").rglob("*.py"))
    if not path.name.startswith("_") or path.parent.name == "files"
]
# Their functions are functions of bnlib.functional; the others are files of their own.
ELSEWHERE = {"bnlib.ops", "bnlib.convolution"}
PROGRAMS = {"bnlib.lab.files.first_aid", "bnlib.lab.files.workers"}
SHORT = {"F": "torch.nn.functional", "nn": "torch.nn", "optim": "torch.optim"}
INDEX = re.findall(
    r"^\| `([\w.]+)` \| \{py:\w+\}`~(bnlib[\w.]+)` \| \{doc\}`\.\./([\w/-]+)` \|$",
    PAGE,
    re.M,
)


@pytest.mark.parametrize("module", sorted({*MODULES} - PROGRAMS))
def test_each_public_name_is_on_the_page(module):
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = next(
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    shown = {"bnlib.functional"} if module in ELSEWHERE else {module}
    block = re.search(
        rf"^\.\. automodule:: {re.escape(*shown)}\n((?:   :.*\n)*)", PAGE, re.M
    )
    assert block, "no automodule"
    assert ":members:" in block[1]
    hidden = re.search(r":exclude-members: (.*)", block[1])
    hidden = set(re.split(r",\s*", hidden[1])) if hidden else set()
    lost = [
        name
        for name in hidden & {*names}
        if not re.search(rf"^\.\. auto(class|data):: {name}$", PAGE, re.M)
    ]
    assert lost == []


def test_the_index_leads_from_pytorch_to_bnlib_and_its_chapter():
    assert len(INDEX) == PAGE.count("| {py:") > 30
    for foreign, own, chapter in INDEX:
        head, _, rest = foreign.partition(".")
        place, _, last = f"{SHORT.get(head, head)}.{rest}".rpartition(".")
        assert callable(pkgutil.resolve_name(f"{place}:{last}")), foreign
        module, _, name = own.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name)), own
        cells = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells
        tags = {tag for cell in cells for tag in cell.metadata.get("tags", [])}
        assert f"{module.replace('bnlib.', 'bnlib:')}.{name}" in tags, own


def test_each_class_of_bnlib_that_pytorch_has_is_in_the_index():
    import bnlib

    listed = {own.rpartition(".")[2] for _, own, _ in INDEX}
    public = {name for name in dir(bnlib) if not name.startswith("_")}
    shared = {name for name in public if hasattr(torch.nn, name) and name[0].isupper()}
    assert shared <= listed


# What a caller gets and hands on, the loops behind the functions, and what reads files.
NEEDS_NO_EXAMPLE = {
    "bnlib.compiled.backward",
    "bnlib.compiled.forward",
    "bnlib.lab.claims.stored_results",
    "bnlib.lab.data.mnist",
    "bnlib.lab.idx.read_mnist",
}
ON_THE_PAGE = [
    name
    for name in sorted({*public_names()})
    if name.split(".")[-2].islower()  # no method
]


def test_all_that_the_page_shows_is_asked():
    assert len(ON_THE_PAGE) > 150
    assert {*ON_THE_PAGE} > NEEDS_NO_EXAMPLE


@pytest.mark.parametrize("name", ON_THE_PAGE)
def test_each_public_name_has_a_runnable_example(name):
    needs_none = name in NEEDS_NO_EXAMPLE or name.endswith("Cache")
    examples = doctest.DocTestParser().get_examples(
        pkgutil.resolve_name(name).__doc__ or ""
    )
    assert needs_none or any(
        doctest.SKIP not in example.options for example in examples
    )


@pytest.mark.parametrize(
    "name", [name for name in ON_THE_PAGE if not name.startswith("bnlib.lab.")]
)
def test_each_public_name_leads_to_the_chapter_that_builds_it(name, links):
    thing = pkgutil.resolve_name(name)
    lines = (thing.__doc__ or "").splitlines()
    links(None, "function", name, thing, None, lines)
    found = re.findall(r":doc:`[^`]*?<?/([\w/-]+)>?`", "\n".join(lines))
    assert found
    home = f"{thing.__module__.removeprefix('bnlib.')}.{thing.__qualname__}"
    assert chapters.built()[home] in found
    assert all((ROOT / f"{page}.ipynb").exists() for page in found)


@pytest.fixture(scope="module")
def links():
    """Return what the extension does with a docstring."""
    connected = []
    chapters.setup(
        SimpleNamespace(connect=lambda event, function, **_: connected.append(function))
    )
    return connected[0]


def test_a_chapter_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="not enough values"):
        chapters.linked('Derived in the chapter "Backwards".')
