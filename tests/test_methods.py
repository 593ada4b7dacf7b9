"""The table that tells what each method is, and how a method is asked for by its name."""

from __future__ import annotations

import re

import pytest
import torch

import gradcam_hooks as gh


def test_the_table_tells_each_method_and_its_class() -> None:
    assert list(gh.METHODS) == [
        "gradcam",
        "gradcam++",
        "gradcam+",
        "xgradcam",
        "hirescam",
        "elementwise",
        "layercam",
        "eigencam",
        "eigengradcam",
        "segeigencam",
        "fem",
    ]
    for name, method in gh.METHODS.items():
        assert method.name == name
        kind = getattr(gh, method.cls)
        assert issubclass(kind, gh.Explainer)
        assert kind.method == name
        assert isinstance(gh.explainer(name, torch.nn.Conv2d(3, 3, 3)), kind)
        assert any(word in method.paper for word in ("arXiv:", "doi:", "no paper"))
        assert kind.__name__ == method.cls
        assert method.title in str(kind.__doc__)
    assert len({method.rule for method in gh.METHODS.values()}) == len(gh.METHODS)
    with pytest.raises(TypeError):
        gh.METHODS["new"] = method  # type: ignore[index]


def test_an_unknown_method_names_the_nearest() -> None:
    for wrong, near in (("grad-cam", "gradcam"), ("GradCAM++", "gradcam++"), ("eigen", "eigencam")):
        told = re.escape(f"no method {wrong!r}; did you mean {near!r}?")
        with pytest.raises(gh.MethodNotFound, match=told):
            gh.explain(torch.nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 8, 8), method=wrong)
