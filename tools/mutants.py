"""Change one operator of bnlib at a time, and see a test fail for each.

    python tools/mutants.py                       # the modules that hold the formulas and the state
    python tools/mutants.py moments optim -j 2

Each mutant is a copy of the package with one change: another operator, comparison or constant, a
condition turned round, float32 for float64, a statement left out. The tests run on the copy until
one of them fails; the work tree is never touched. A mutant that survives is a hole in the tests, or
no mistake at all: those are listed below, with the reason. It fails when fewer than nine in ten are
killed.
"""

import argparse
import ast
import copy
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The modules that hold the formulas and the state, each with the tests that look at it most; these
# run first, the quick ones before the slow ones. A mutant that they let through survives.
TESTS = {
    "moments": ["moments", "batch_norm", "digits", "norms", "nonsense", "accuracy"],
    "normalize": ["batch_norm", "norms", "digits", "caches", "accuracy", "nonsense"],
    "norm": ["batch_norm", "attributes", "norms", "caches", "layers", "nonsense"],
    "module": ["caches", "walking", "module", "atomicity", "attributes", "nonsense"],
    "optim": ["optim", "walking", "attributes", "atomicity", "nonsense", "train"],
    "folding": ["folding", "walking", "nonsense"],
}
SECONDS = 300  # of CPU: more than any run takes, so that a mutant that loops is killed
GOAL = 0.9

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NAMES = {"float64": "float32", "float32": "float64"}

# (line, before, after): why the change makes no difference.
COPY = "a copy more: the same numbers"
SAME = "two lists that are of one length by what was checked before"
ROOT_INIT = "the base class has nothing to initialize"
EQUIVALENT = {
    ("forward.wrapped = True  # type: ignore[attr-defined]", "True", "False"): "a mark",
    (
        "backward.wrapped = True  # type: ignore[attr-defined]",
        "True",
        "False",
    ): "a mark",
    (
        "if len(layers) == 1 and isinstance(layers[0], Mapping):",
        "0",
        "-1",
    ): "the first of one is the last",
    ("named = dict(layers[0])", "0", "-1"): "the first of one is the last",
    ("momentum = 1 / count if count else 0", "0", "1"): "no batch, no update",
    (
        "gradient = (gradient + decay * data).astype(data.dtype, copy=False)",
        "False",
        "True",
    ): COPY,
    ("copy=False,", "False", "True"): COPY,
    (
        "for own, group in zip(self.param_groups, groups, strict=True):",
        "True",
        "False",
    ): SAME,
    (
        "for own, group in zip(new.param_groups, groups, strict=True):",
        "True",
        "False",
    ): SAME,
    (
        'for parameter, i in zip(own["params"], group["params"], strict=True):',
        "True",
        "False",
    ): SAME,
    (
        "a not in (1, b) for a, b in zip(rate.shape, tail, strict=True)",
        "True",
        "False",
    ): SAME,
    ("super().__init__()", "super().__init__()", "pass"): ROOT_INIT,
}


def changed(node, is_condition):
    """Yield copies of a node with one change each."""

    def change(**fields):
        twin = copy.copy(node)
        for name, value in fields.items():
            setattr(twin, name, value)
        return twin

    match node:
        case ast.Name() if is_condition:
            yield ast.UnaryOp(ast.Not(), node)
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in OPERATORS:
            yield change(op=OPERATORS[type(node.op)]())
        case ast.Compare():
            for i, op in enumerate(node.ops):
                other = OPERATORS[type(op)]()
                yield change(ops=[*node.ops[:i], other, *node.ops[i + 1 :]])
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield change(value=not node.value)
        case ast.Constant(value=int()):
            yield change(value=node.value + 1)
            yield change(value=node.value - 1)
        case ast.Constant(value=float()):
            yield change(value=2 * node.value)
        case ast.IfExp():
            yield change(body=node.orelse, orelse=node.body)
        case ast.Attribute(attr=attr) if attr in NAMES:
            yield change(attr=NAMES[attr])
        case ast.Expr(value=ast.Call()) | ast.Raise():
            yield ast.Pass()


def inner_nodes(node):
    """Yield what is below `node`, but not in messages, and whether it is a condition."""
    for child in ast.iter_child_nodes(node):
        annotation = child in (
            getattr(node, "annotation", 0),
            getattr(node, "returns", 0),
        )
        if not (annotation or isinstance(child, ast.JoinedStr)):
            yield child, child is getattr(node, "test", None)
            yield from inner_nodes(child)


def mutants(source):
    """Yield ``(line, before, after, mutated source)`` for the functions and classes."""
    lines = [0]
    for line in source.encode().splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    text = source.encode()
    for top in ast.parse(source).body:
        if not isinstance(top, (ast.FunctionDef, ast.ClassDef)):
            continue
        for node, is_condition in inner_nodes(top):
            for twin in changed(node, is_condition):
                start = lines[node.lineno - 1] + node.col_offset
                end = lines[node.end_lineno - 1] + node.end_col_offset
                before, after = ast.unparse(node), ast.unparse(twin)
                if before == after:  # 2 · 0.0
                    continue
                new = after if isinstance(node, ast.stmt) else f"({after})"
                yield (
                    node.lineno,
                    before,
                    after,
                    text[:start] + new.encode() + text[end:],
                )


class Watch:
    """A pytest plugin: it keeps which test fails, and lets hypothesis not simplify it."""

    killer = None

    def pytest_runtest_logreport(self, report):
        """Keep the name of a test that failed."""
        if report.failed:
            self.killer = report.nodeid.split("/")[-1]

    def pytest_configure(self):
        """Load the profile, after the one of conftest.py."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("quick", settings.default, phases=phases)
        settings.load_profile("quick")


def too_long(*_):
    """Fail the test that runs."""
    raise TimeoutError(f"more than {SECONDS} s")


def killer(task):
    """Run the tests on a copy of the package with a module replaced; return which one fails."""
    name, source = task
    tests = TESTS.get(name, sorted({test for some in TESTS.values() for test in some}))
    import pytest

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(
            ROOT / "bnlib",
            f"{folder}/bnlib",
            ignore=shutil.ignore_patterns("__pycache__", "lab"),
        )
        Path(folder, "bnlib", f"{name}.py").write_bytes(source)
        sys.path.insert(0, folder)
        paths = [ROOT / "tests" / f"test_{test}.py" for test in tests]
        tests = [str(path) for path in paths if path.exists()]
        options = ["-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
        code = pytest.main([f"--rootdir={ROOT}", *options, *tests], plugins=[watch])
        module = sys.modules.get("bnlib")
        if module is not None and not module.__file__.startswith(folder):
            raise RuntimeError("the tests did not run on the copy")
    signal.setitimer(signal.ITIMER_PROF, 0)
    return None if code == pytest.ExitCode.OK else watch.killer or f"exit {code}"


def main():
    """Make all mutants, run them, print who survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("-j", "--jobs", type=int, default=1)
    arguments = parser.parse_args()

    os.nice(10)
    os.environ.update(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1")
    cases = []
    for name in arguments.modules:
        source = (ROOT / "bnlib" / f"{name}.py").read_text(encoding="utf-8")
        cases.append((name, 0, "", "", source.encode()))  # unchanged: it has to pass
        lines = source.splitlines()
        for line, before, after, mutated in mutants(source):
            if (lines[line - 1].strip(), before, after) not in EQUIVALENT:
                cases.append((name, line, before, after, mutated))
    # One process for each mutant, forked from one that has imported what takes long.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "scipy.stats", "hypothesis", "pytest"])
    killed = {name: [] for name in arguments.modules}
    with context.Pool(arguments.jobs, maxtasksperchild=1) as pool:
        tasks = [(name, source) for name, *_, source in cases]
        for case, test in zip(cases, pool.imap(killer, tasks), strict=True):
            name, line, before, after, _ = case
            if line == 0 and test:
                sys.exit(f"{name}: on the unchanged source {test} fails")
            if line > 0:
                killed[name].append(test is not None)
                print(f"{name}.py:{line}: {before}  →  {after}")
                print(f"    killed by {test}" if test else "    SURVIVED", flush=True)
    print()
    for name, results in killed.items():
        print(f"{name}: {sum(results)} of {len(results)} killed")
    total = [result for results in killed.values() for result in results]
    share = sum(total) / len(total)
    print(f"{share:.1%} in all")
    sys.exit(share < GOAL)


if __name__ == "__main__":
    main()
