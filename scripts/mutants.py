"""Change the code a little, one place at a time, and see whether a test notices.

    .venv/bin/python scripts/mutants.py gradcam_hooks/maps.py --tests tests/results/test_maps.py

Comparisons, arithmetic, numbers, truths, conditions, what is returned and statements are changed
(`changes`), a sample of them in each file, drawn by ``--seed``. Of the tests named those that reach
the line run, the fastest first, in a process forked from one that has imported everything but this
project, in a copy of the working tree. A mutant dies where one fails or takes ten times as long.
Printed is every mutant that lives: what was, what became of it. Words of errors are left alone.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gradcam_hooks", "tests", "scripts", "conftest")

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: the lines it is on, the characters that go, and the text in their place."""

    lines: range
    start: int
    end: int
    text: str


@dataclass
class Reached:
    """What a run of the tests told: which reach which line, how long each takes."""

    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)

    def tests(self, file: str, mutant: Mutant, at_most: float) -> list[str]:
        """Those that reach a mutant, the fastest first; of code run by import, the file's."""
        of_file = self.lines.get(file, {})
        found = set().union(*(of_file.get(line, set()) for line in mutant.lines))
        if found == {""}:
            found = set().union(*of_file.values())
        chosen: list[str] = []
        spent = 0.0
        for name in sorted(found - {""}, key=lambda one: self.seconds.get(one, 1)):
            spent += self.seconds.get(name, 1)
            if chosen and spent > at_most:
                break
            chosen.append(name)
        return chosen


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        ops = [COMPARED[type(node.ops[0])](), *node.ops[1:]]
        yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        yield ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield ast.Return(ast.Constant(None))
    elif _goes(node):
        yield ast.Pass()
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield node


def _goes(node: ast.AST) -> bool:
    """Whether it is a statement that may be left out."""
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return called or isinstance(node, ast.AugAssign | ast.Raise | ast.Break | ast.Continue)


def mutants(source: str) -> list[Mutant]:
    """All changes of a file, in its order."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    found = []
    for node in _within(ast.parse(source)):
        for other in changes(node):
            if other is node:  # a condition, turned round where nothing else changes it
                assert isinstance(node, ast.If | ast.IfExp | ast.While)
                place: ast.expr | ast.stmt = node.test
                if isinstance(place, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
                    continue
                text = f"(not {ast.unparse(place)})"
            else:
                assert isinstance(node, ast.expr | ast.stmt)
                place, text = node, ast.unparse(ast.fix_missing_locations(other))
                text = f"({text})" if isinstance(place, ast.expr) else text
            first, last = place.lineno, place.end_lineno or place.lineno
            found.append(
                Mutant(
                    range(first, last + 1),
                    starts[first - 1] + place.col_offset,
                    starts[last - 1] + (place.end_col_offset or 0),
                    text,
                )
            )
    return found


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes whose change is a change of what is done: no types, no words of errors."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        if isinstance(node, ast.Raise | ast.JoinedStr):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST) and not _of_types(one):
                yield from _within(one)


def _of_types(node: ast.AST) -> bool:
    """Whether it is for readers and type checkers alone."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Name) and node.value.id in ("Literal", "Callable")
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("cast", "TypeVar")


def forked(work: Callable[[], int], seconds: float) -> int | None:
    """The exit status of some work in a process of its own; None where it takes longer."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        os.setpgid(0, 0)
        status = 70
        try:
            status = int(work())
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class _Clock:
    """How long each test takes, and what was imported meanwhile."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration


def run_tests(tests: Sequence[str], *more: str) -> tuple[int, _Clock]:
    """The tests by pytest, up to the first that fails."""
    clock = _Clock()
    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *more, *tests]
    return int(pytest.main(words, plugins=[clock])), clock


def reach(tests: Sequence[str]) -> Reached:
    """Run the tests once as they are, and keep which lines each of them reaches.

    Raises:
        SystemExit: they fail.
    """

    def work() -> int:
        status, clock = run_tests(tests, "--cov", "--cov-context=test", "--cov-report=")
        tops = {name.partition(".")[0] for name in tuple(sys.modules)}
        told = {"seconds": clock.seconds, "modules": sorted(tops - set(PACKAGES))}
        Path("reached.json").write_text(json.dumps(told))
        return status

    if status := forked(work, 3600):
        raise SystemExit(f"the tests fail as they are ({status}): scripts/test {' '.join(tests)}")
    told = json.loads(Path("reached.json").read_text())
    found = Reached({}, told["seconds"], told["modules"])
    data = CoverageData()
    data.read()
    for path in data.measured_files():
        lines = data.contexts_by_lineno(path).items()
        found.lines[Path(path).relative_to(Path.cwd()).as_posix()] = {
            line: {one.rpartition("|")[0] for one in contexts} for line, contexts in lines
        }
    return found


def copied() -> Path:
    """The working tree, as git knows it, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="mutants_")).resolve()
    named = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, named.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def tried(file: str, asked: argparse.Namespace, reached: Reached) -> list[int]:
    """How many mutants of a file were made, died, ran out of time, live, are reached by no test."""
    whole = Path(file).read_bytes()
    every = mutants(whole.decode())
    chosen = random.Random(f"{asked.seed} {file}").sample(every, min(asked.each, len(every)))
    counts = [len(chosen), 0, 0, 0, 0]
    for mutant in sorted(chosen, key=lambda one: one.start):
        tests = reached.tests(file, mutant, asked.seconds)
        was = whole[mutant.start : mutant.end].decode()
        if tests:
            text = mutant.text.encode()
            Path(file).write_bytes(whole[: mutant.start] + text + whole[mutant.end :])
            spent = sum(reached.seconds.get(one, 1) for one in tests)
            status = forked(lambda tests=tests: run_tests(tests)[0], 60 + 10 * spent)  # type: ignore[misc]
            Path(file).write_bytes(whole)
            counts[2 if status is None else 3 if status == 0 else 1] += 1
        else:
            counts[4] += 1
        if not tests or status == 0:
            told = "lives" if tests else "is reached by no test"
            place = f"{file}:{mutant.lines[0]}"
            print(f"{place} {told}: {' '.join(was.split())!r} -> {mutant.text!r}", flush=True)
    return counts


def main() -> None:
    """Try a sample of each file, and say how many there were of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", help="what is changed")
    parser.add_argument("--tests", nargs="+", required=True, help="what is to notice it")
    parser.add_argument("--each", type=int, default=25, help="mutants of each file at most")
    parser.add_argument("--seconds", type=float, default=20, help="of tests for each, at most")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.chdir(copied())
    sys.path.insert(0, str(Path.cwd()))
    os.environ["PYTHONPATH"] = str(Path.cwd())
    sys.dont_write_bytecode = True
    reached = reach([*asked.tests, *asked.files])
    for name in reached.modules:
        with suppress(Exception):  # some can be imported by their own packages alone
            importlib.import_module(name)
    total = [0] * 5
    for file in asked.files:
        counts = tried(file, asked, reached)
        total = [one + other for one, other in zip(total, counts, strict=True)]
        print(f"{file}: " + _told(counts), flush=True)
    print("together: " + _told(total))


def _told(counts: Sequence[int]) -> str:
    kinds = ("mutants", "killed", "out of time", "live", "reached by no test")
    return ", ".join(f"{count} {kind}" for count, kind in zip(counts, kinds, strict=True))


if __name__ == "__main__":
    main()
