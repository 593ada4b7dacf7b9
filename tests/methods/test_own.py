"""A method of one's own: made by the decorator, handed over as a function, told when it is none."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app
from tests.support.nets import gap_linear, images
from tests.support.toys import toys

ROOT = Path(__file__).resolve().parents[2]

TOY = '''
import gradcam_hooks as gh


@gh.method(paper="Doe et al. 2026, arXiv:2601.00001", elsewhere="Nobody has it.")
def toycam(activation, gradient, *, power=1):
    """Toy-CAM: the gradient's size to a power, times activation, summed over channels."""
    return (gradient.abs() ** power * activation).sum(1)
'''


@pytest.fixture
def toycam() -> Iterator[Callable[..., Tensor]]:
    module: dict[str, object] = {"__name__": "toy"}
    with toys():
        exec(TOY, module)
        yield module["toycam"]  # type: ignore[misc]
    assert "toycam" not in gh.METHODS


def test_one_function_is_all_that_a_method_needs(toycam: Callable[..., Tensor]) -> None:
    row = gh.METHODS["toycam"]
    assert list(gh.METHODS)[-1] == "toycam"
    assert (row.title, row.cls, row.passes) == ("Toy-CAM", "ToyCAM", "1 F + 1 B")
    assert row.formula == "the gradient's size to a power, times activation, summed over channels"
    assert row.paper == "Doe et al. 2026, arXiv:2601.00001"
    assert row.options == {"power": 1}
    assert row.rule is toycam
    hand = toycam(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[-3.0, 0.5]]]), power=2)
    assert hand.tolist() == [[9, 0.5]]  # it is the plain function still


def test_it_is_found_by_name_as_a_class_and_as_the_function(toycam: Callable[..., Tensor]) -> None:
    net, x = gap_linear(), images(2)
    kind = gh.explainer_class("toycam")
    assert kind.__name__ == "ToyCAM"
    assert kind is gh.explainer_class(toycam) is gh.explainer_class(kind)
    assert list(inspect.signature(kind).parameters)[-1] == "power"
    assert str(kind.__doc__).startswith("Toy-CAM: the gradient's size")
    activation = net[:2](x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net[2:](activation)[:, 1].sum(), activation)
    expected = toycam(activation.detach(), gradient, power=2)
    for given in ("toycam", kind, toycam, gh.METHODS["toycam"]):
        result = gh.explain(net, x, "1", target=1, method=given, power=2)
        assert torch.allclose(result.raw, expected, atol=1e-12)  # type: ignore[arg-type]
        assert result.method == "toycam"
    with kind(net, "1", power=2) as cam:
        assert torch.allclose(cam(x, target=1).raw, expected, atol=1e-12)  # type: ignore[arg-type]


def test_it_is_in_the_command_and_on_the_page(toycam: Callable[..., Tensor]) -> None:
    from scripts.methods_doc import page

    said = CliRunner().invoke(app, ["methods"], env={"COLUMNS": "300"}).stdout
    assert re.search(r"toycam .*1 F \+ 1 B .*Toy-CAM: the gradient's size.*arXiv:2601.00001", said)
    said = CliRunner().invoke(app, ["methods", "toycam"], env={"COLUMNS": "300"}).stdout
    assert re.search(r"options +power=1", said)
    assert "Nobody has it." in said
    section = page().partition("## Toy-CAM\n")[2]
    assert "The gradient's size to a power, times activation, summed over channels." in section
    assert "- options: `power=1`\n- elsewhere: Nobody has it.\n" in section


def test_the_laws_of_every_method_hold_it_too(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    laws = ["test_rule_laws", "test_every_method"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "toy",
            "-k",
            "toycam",
            "-p",
            "no:cacheprovider",
        ]
        + [f"tests/methods/{name}.py" for name in laws],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert passed is not None
    assert int(passed[1]) >= 40, "the laws are asked of the table's methods"


def test_a_lambda_is_a_method_with_targets_samplers_and_comparisons() -> None:
    net, x = gap_linear(), images(2)
    expected = gh.explain(net, x, "1", method="hirescam", target=gh.AllClasses())
    found = gh.explain(net, x, "1", method=lambda a, g: (a * g).sum(1), target=gh.AllClasses())
    assert torch.equal(found.raw, expected.raw)  # type: ignore[arg-type]
    assert found.method == "lambda"
    noise = [
        gh.explain(net, x, "1", method=method, target=1, sampler=gh.Noise(2)).raw
        for method in ("hirescam", lambda a, g: (a * g).sum(1))
    ]
    assert torch.equal(*noise)  # type: ignore[arg-type]
    made = gh.compare(
        net,
        x[:1],
        layers=["1"],
        methods=[lambda a, g: a.sum(1), lambda a, g, power=1: (a**power * g).sum(1), gh.FEM],
        power=2,
    )
    assert [one.method for one in made.explanations] == ["lambda", "lambda", "fem"]
    assert torch.equal(made.explanations[0].raw[0], net[:2](x[:1])[0].sum(0))  # type: ignore[index]


def test_a_procedure_asks_the_run() -> None:
    with toys():

        @gh.method(cost="1 F", needs_gradients=False)
        def twice(run: object, *, factor: float = 2.0) -> list[Tensor]:
            raws = [factor * one.activation().sum(1) for one in run.layers]  # type: ignore[attr-defined]
            return run.joined([raws for _ in run.columns()])  # type: ignore[attr-defined]

        net, x = gap_linear(), images(2)
        found = gh.explain(net, x, "1", method=twice, target=gh.AllClasses(), factor=3.0)
        assert torch.allclose(found.raw[:, 2], 3 * net[:2](x).sum(1))  # type: ignore[index]
        assert gh.METHODS["twice"].procedure is twice


def test_a_rule_that_branches_on_values_is_asked_once_for_each_target() -> None:
    def branching(activation: Tensor, gradient: Tensor) -> Tensor:
        return (activation * gradient).sum(1) if float(gradient.sum()) > 0 else -activation.sum(1)

    net, x = gap_linear(), images(1)
    every = gh.explain(net, x, "1", method=branching, target=gh.AllClasses())
    signs = set()
    for target in range(5):
        alone = gh.explain(net, x, "1", method=branching, target=target)
        signs.add(bool((net[4].weight[target].sum() > 0).item()))
        assert torch.equal(every.raw[:, target], alone.raw)  # type: ignore[index]
    assert signs == {True, False}, "the network takes both branches"


def test_counts_of_what_is_there_are_a_map() -> None:
    found = gh.explain(gap_linear(), images(1), "1", target=0, method=lambda a, g: (a > 0).sum(1))
    assert found.raw.dtype == torch.float64  # type: ignore[union-attr]


def writes(activation: Tensor, gradient: Tensor) -> Tensor:
    activation *= gradient
    return activation.sum(1)


def fails(activation: Tensor, gradient: Tensor) -> Tensor:
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize("target", [1, gh.AllClasses()], ids=["one", "many"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda a: a.sum(1), r"\(activation, gradient\).*or \(run\).*takes \(a\)\. Give it those"),
        (lambda a, b, c: a, r"takes \(a, b, c\)"),
        (lambda a, g: a * g, r"returned \(1, 6, .* one map for each image.*\.sum\(1\)"),
        (lambda a, g: 1.0, r"returned float; a rule returns a tensor \(batch, \*space\)"),
        (lambda a, g: a.sum(1).numpy(), r"returned ndarray"),
        (lambda a, g: a.sum(1) * 1j, r"complex numbers.*Return \.abs\(\)"),
        (lambda run: run, r"returned Run; a procedure returns a list"),
        (lambda run: [], r"returned 0 maps and not 1"),
        (lambda run: [run.image.sum((1, 2))], r"returned a map \(1, .*images first, then"),
        (writes, r"writes writes into what it is given.*x = x \* y for x \*= y"),
        (fails, r"fails failed on an activation \(1, 6, .*ZeroDivisionError: by nothing"),
        (7, r"method= is a name, a class .*, or a function .* not 7"),
    ],
)
def test_what_is_no_method_is_told(given: object, told: str, target: object) -> None:
    with pytest.raises(gh.MethodError, match=told):
        gh.explain(gap_linear(), images(1), "1", method=given, target=target)  # type: ignore[arg-type]


def test_options_that_clash_or_are_missing_are_told() -> None:
    net = gap_linear()
    with pytest.raises(gh.MethodError, match=r"an option layer=, which every explainer has"):
        gh.explainer(lambda a, g, *, layer=1: a, net)
    with pytest.raises(gh.OptionError, match=r"needs power=, which .* has no default for"):
        gh.explainer(lambda a, g, *, power: a, net)


@pytest.mark.parametrize("name", ["all", "two words", "a,b", "file.py:f"])
def test_a_name_that_nobody_could_ask_for_is_refused(name: str) -> None:
    with toys(), pytest.raises(gh.MethodError, match=r"cannot be called .*@method\('name'\)"):
        gh.method(name)(lambda activation, gradient: activation.sum(1))


def test_a_name_that_is_taken_is_refused_but_a_cell_may_run_again() -> None:
    def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
        return activation.sum(1)

    with toys():
        with pytest.raises(gh.MethodError, match=r"'layercam' is taken by gradcam_hooks\.methods"):
            gh.method()(layercam)
        for _ in range(2):
            exec(TOY, {"__name__": "cell"})
        with pytest.raises(gh.MethodError, match=r"taken by cell\.toycam"):
            exec(TOY, {"__name__": "another"})
    with pytest.raises(gh.MethodError, match=r"write @gradcam_hooks\.method\(\)"):
        gh.method(layercam)  # type: ignore[arg-type]


# --- who has an option


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("masks", r"Grad-CAM has no option masks=; 'rise' has it\."),
        ("start_layer", "'attentionrollout', 'gradientrollout' and 'legrad' have it"),
        ("eigen_smoth", r"did you mean eigen_smooth=\?"),
        ("layot", r"did you mean layout=\?"),
        ("target_layers", r"The layers are layer="),
        ("target_category", r"The class is target="),
        ("aug_smooth", r"sampler=gradcam_hooks\.Augment\(\)"),
        ("use_cuda", r"model\.to\('cuda'\)"),
        ("reshape_transform", r"layout= says it otherwise"),
        ("class_idx", r"The class is target="),
        ("device", r"model\.to\(device\)"),
    ],
)
def test_an_unknown_option_says_where_it_is(given: str, told: str) -> None:
    with pytest.raises(gh.OptionError, match=told):
        gh.GradCAM(gap_linear(), **{given: 8})  # type: ignore[arg-type]


def test_a_class_shows_its_methods_own_options() -> None:
    for name, row in gh.METHODS.items():
        kind = gh.explainer_class(name)
        own = inspect.signature(kind).parameters
        assert kind is getattr(gh, row.cls)
        assert {key: own[key].default for key in row.options} == row.options
        assert not [one for one in own.values() if one.kind is one.VAR_KEYWORD]
        assert own["fuse"].default == row.fuse
    assert inspect.signature(gh.RefineCAM).parameters["fuse"].default == "product"


SNIPPET = """
import torch
from torch import nn
import gradcam_hooks as gh

model = nn.Linear(2, 2)
gh.RISE(model, masks=8, labels=["a"], fuse="max")
gh.RefineCAM(model, ["1", "2"], normalize=True)
gh.explain(model, torch.ones(1), method=gh.RISE, masks=8)
gh.explain(model, torch.ones(1), method=lambda a, g: (a * g).sum(1))


@gh.method("mine", cost="1 F")
def mine(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return (activation * gradient).sum(1)


mine(torch.ones(1), torch.ones(1)).sum()
gh.GradCAM(model, masks=8)
gh.RISE(model, masks="many")
gh.RISE(model, laels=["a"])
gh.GradCAM(model, eigen_smooth=True).method + 1
mine("a picture", torch.ones(1))
"""


def test_a_type_checker_knows_each_class_s_options(tmp_path: Path) -> None:
    mypy = pytest.importorskip("mypy.api", reason="mypy is in the extra 'dev'")
    (tmp_path / "snippet.py").write_text(SNIPPET)
    said, _, _ = mypy.run(
        ["--strict", f"--config-file={ROOT / 'setup.cfg'}", str(tmp_path / "snippet.py")]
    )
    wrong = SNIPPET.splitlines().index("gh.GradCAM(model, masks=8)") + 1
    lines = [int(line) for line in re.findall(r"snippet\.py:(\d+): error", said)]
    assert lines == list(range(wrong, wrong + 5)), said
    assert 'Unexpected keyword argument "masks" for "GradCAM"' in said


NET = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=8), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 28 * 28, 3)
    )
"""


def test_the_command_takes_a_function_in_a_file_and_sees_it_change(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    noise = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    Image.fromarray((noise * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    own = tmp_path / "own.py"

    def overlay(method: str, out: str) -> bytes:
        words = ["explain", tmp_path / "photo.png", "--model", f"{tmp_path / 'net.py'}:build"]
        words += ["--layer", "1", "--target", "1", "--no-caption", "--method", method]
        done = CliRunner().invoke(app, [*map(str, words), "--out", str(tmp_path / out)])
        assert done.exit_code == 0, done.output
        runs = (tmp_path / out).rglob("results.jsonl")
        newest = max(runs, key=lambda path: path.stat().st_mtime_ns)  # another text, another run
        (record,) = newest.read_text().splitlines()[-1:]
        assert json.loads(record)["method"] == method.rpartition(":")[2]
        return (newest.parent / json.loads(record)["overlay"]).read_bytes()

    with toys():
        for formula, same in (("a * g", "hirescam"), ("a * g.relu()", "layercam")):
            own.write_text(f"def sums(a, g):\n    return ({formula}).sum(1)\n")
            os.utime(own, (0, len(formula)))  # Python looks at a file's time before its text
            assert overlay(f"{own}:sums", "own") == overlay(same, same)
    told = CliRunner().invoke(app, ["methods", f"{own}:sum"])
    assert told.exit_code == 2
    assert "did you mean sums?" in " ".join(told.stderr.split())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("targets", r"no targets=\. The class is target="),
        ("aug_smooth", r"sampler="),
        ("tagret", r"did you mean target=\?"),
        ("colour", r"Options go where the explainer is made"),
    ],
)
def test_a_call_with_a_keyword_that_the_forward_has_not_is_told(name: str, told: str) -> None:
    with gh.GradCAM(gap_linear(), "1") as cam, pytest.raises(gh.OptionError, match=told):
        cam(images(), **{name: None})
