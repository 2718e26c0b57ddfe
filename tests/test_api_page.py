"""The API page: each public name is on it, and its index by PyTorch's names is right."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.utils.fusion

ROOT = Path(__file__).resolve().parents[1]
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
