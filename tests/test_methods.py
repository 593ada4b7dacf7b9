"""Each method's formula on numbers worked out by hand, and the table that tells what it is."""

from __future__ import annotations

import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.methods.gradient import gradcam


def test_gradcam_by_hand() -> None:
    activation = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 0.0], [1.0, 2.0]]]])
    gradient = torch.tensor([[[[2.0, 0.0], [0.0, 2.0]], [[-4.0, 0.0], [0.0, 0.0]]]])
    # weights: (2 + 0 + 0 + 2) / 4 = 1 and -4 / 4 = -1, so the map is A_1 - A_2
    assert gradcam(activation, gradient).tolist() == [[[-4.0, 2.0], [2.0, 2.0]]]


@pytest.mark.parametrize("space", [(5,), (3, 4), (2, 3, 4)])
def test_gradcam_equals_its_equation_in_loops(space: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    activation = torch.randn(2, 3, *space, dtype=torch.float64, generator=generator)
    gradient = torch.randn(2, 3, *space, dtype=torch.float64, generator=generator)
    got = gradcam(activation, gradient)
    for image in range(2):
        expected = torch.zeros(space, dtype=torch.float64)
        for k in range(3):
            weight = sum(gradient[image, k].flatten().tolist()) / activation[0, 0].numel()
            expected += weight * activation[image, k]
        assert torch.allclose(got[image], expected, atol=1e-8)


def test_the_table_tells_each_method_and_its_class() -> None:
    assert set(gh.METHODS) == {"gradcam"}
    for name, method in gh.METHODS.items():
        assert method.name == name
        kind = getattr(gh, method.cls)
        assert issubclass(kind, gh.Explainer)
        assert kind.method == name
        assert isinstance(gh.explainer(name, torch.nn.Conv2d(3, 3, 3)), kind)
        assert "arXiv" in method.paper
    with pytest.raises(TypeError):
        gh.METHODS["new"] = method  # type: ignore[index]


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(gh.MethodNotFound, match=r"no method 'grad-cam'; did you mean 'gradcam'\?"):
        gh.explain(torch.nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 8, 8), method="grad-cam")
