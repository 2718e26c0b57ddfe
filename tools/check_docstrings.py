"""Ask numpydoc about the docstring of every public name of bnlib; exit with 1 for a fault.

Public is what a module without an underscore lists in ``__all__`` (in ``bnlib.lab``: what has no
underscore), and the methods of such a class. The checks are named in ``pyproject.toml``.
"""

import importlib
import inspect
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from numpydoc.validate import get_validation_checks, validate

import bnlib
import bnlib.lab

ROOT = Path(__file__).parent.parent


def public_names() -> Iterator[str]:
    """Iterate over the dotted names of all public classes, methods and functions."""
    for package in (bnlib, bnlib.lab):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if "._" in info.name:
                continue
            module = importlib.import_module(info.name)
            names = getattr(module, "__all__", None)
            for name, thing in vars(module).items():
                own = getattr(thing, "__module__", None) == info.name
                if inspect.isclass(thing) and issubclass(thing.__base__, tuple):
                    own = (
                        own and thing.__base__ is tuple
                    )  # else the base has the fields
                listed = name in names if names else not name.startswith("_")
                if not (own and listed and (inspect.isclass(thing) or callable(thing))):
                    continue
                yield f"{info.name}.{name}"
                if inspect.isclass(thing):
                    for method, value in vars(thing).items():
                        if inspect.isfunction(value) and not method.startswith("_"):
                            yield f"{info.name}.{name}.{method}"


def main() -> None:
    """Print what numpydoc finds."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    checks = get_validation_checks(
        set(settings["tool"]["numpydoc_validation"]["checks"])
    )
    names = sorted(set(public_names()))
    faults = [
        f"{name}: {code} {text}"
        for name in names
        for code, text in validate(name)["errors"]
        if code in checks
    ]
    print("\n".join([*faults, f"{len(names)} docstrings, {len(faults)} faults"]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
