"""The table that tells what each method is, and how a method is asked for by its name."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.methods import method_of


@pytest.mark.parametrize("name", gh.METHODS)
def test_the_table_tells_each_method_and_its_class(name: str) -> None:
    method = gh.METHODS[name]
    assert method.name == name
    kind = getattr(gh, method.cls)
    assert issubclass(kind, gh.Explainer)
    assert kind.method == name
    assert isinstance(gh.explainer(name, torch.nn.Conv2d(3, 3, 3)), kind)
    assert any(word in method.paper for word in ("arXiv:", "doi:", "no paper"))
    assert kind.__name__ == method.cls
    assert str(kind.__doc__).startswith(method.title)
    assert (method.rule is None) != (method.procedure is None)
    assert method.formula
    assert re.search(r"\bF\b|\(F", method.passes)
    assert ("B" in method.passes) == method.needs_gradients
    function = method.rule or method.procedure
    assert inspect.getdoc(function), "a formula tells its equation"
    with pytest.raises(gh.OptionError, match=r"no option wrong=.*Its options are: "):
        gh.explainer(name, torch.nn.Conv2d(3, 3, 3), wrong=1)  # type: ignore[call-arg]


def test_every_exported_class_is_in_the_table_and_the_table_is_closed() -> None:
    kinds = {
        kind.method
        for kind in vars(gh).values()
        if isinstance(kind, type) and issubclass(kind, gh.Explainer) and kind is not gh.Explainer
    }
    assert kinds == set(gh.METHODS)
    with pytest.raises(TypeError):
        gh.METHODS["new"] = gh.METHODS["gradcam"]  # type: ignore[index]


def test_a_method_is_found_in_any_spelling_of_its_name_title_or_class() -> None:
    meant = {
        "grad-cam": "gradcam",
        "GradCAM": "gradcam",
        "grad_cam": "gradcam",
        "Grad-CAM++": "gradcam++",
        "gradcamplusplus": "gradcam++",
        "Score CAM": "scorecam",
        "Deep Feature Factorization": "dff",
    }
    for word, name in meant.items():
        assert method_of(word) is gh.METHODS[name]
    for row in gh.METHODS.values():
        assert method_of(row.name.upper()) is method_of(row.cls) is method_of(row.title) is row


def test_an_unknown_method_names_the_nearest() -> None:
    for wrong, near in {
        "gradcan": "gradcam",
        "SobelEdge": "sobel",
        "Scorecamm": "scorecam",
    }.items():
        told = re.escape(f"no method {wrong!r}; did you mean {near!r}?")
        with pytest.raises(gh.MethodNotFound, match=told):
            gh.explain(torch.nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 8, 8), method=wrong)


def test_where_no_method_is_near_none_is_named() -> None:
    for wrong in ("saliency", "lime", "shap", "lrp", ""):
        with pytest.raises(
            gh.MethodNotFound, match=re.escape(f"no method {wrong!r}. gradcam_hooks.")
        ):
            gh.explainer(wrong, torch.nn.Conv2d(3, 3, 3))


def test_a_class_of_a_method_that_nobody_named_says_how_to_bring_it() -> None:
    class Mine(gh.Explainer):
        method = "mine of nobody"

    with pytest.raises(gh.MethodNotFound, match=r"a function .*@gradcam_hooks.method"):
        Mine(torch.nn.Conv2d(3, 3, 3))


def test_the_page_and_the_stub_are_what_the_table_says() -> None:
    from scripts.methods_doc import PAGE, STUB, page, stub

    assert PAGE.read_text(encoding="utf-8") == page(), "run scripts/methods_doc.py"
    assert STUB.read_text(encoding="utf-8") == stub(), "run scripts/methods_doc.py"
