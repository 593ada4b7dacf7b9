"""The word on a map that is too coarse to point, and the layer that it names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradcam_hooks as gh


def shrinking() -> nn.Sequential:
    """Halves its space at each step: of 32 x 48 cells 16 x 24, 8 x 12, 4 x 6, 2 x 3 are left."""
    torch.manual_seed(0)
    steps = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(4)]
    for step in steps:  # of a positive image all is positive, so that nothing is blank
        step.weight.data.abs_()
        step.bias.data.abs_()
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize(("layer", "word"), [("3", "coarse"), ("2", "ok"), ("1", "ok")])
def test_fewer_than_four_cells_along_every_axis_are_coarse(layer: str, word: str) -> None:
    result = gh.explain(shrinking(), torch.rand(2, 3, 32, 48), layer, method="eigencam")
    assert set(result.diagnosis) == {word}


def test_the_finer_layer_is_named() -> None:
    (word,) = gh.explain(
        shrinking(), torch.rand(1, 3, 32, 48), target=0, method="eigencam"
    ).diagnosis
    assert word == "coarse"
    assert word.message.endswith("Take an earlier layer or a larger image. '2' is finer.")


def test_with_a_finer_layer_beside_it_a_map_is_not_coarse() -> None:
    result = gh.explain(shrinking(), torch.rand(1, 3, 32, 48), ["1", "3"], method="eigencam")
    assert result.diagnosis == ("ok",)


def test_one_axis_that_is_fine_is_enough() -> None:
    result = gh.explain(shrinking(), torch.rand(1, 3, 16, 64), "3", method="eigencam")
    assert tuple(result.raw.shape) == (1, 1, 4)
    assert result.diagnosis == ("ok",)


class Sure(nn.Module):
    """Its first class is as probable as a factor makes it."""

    def __init__(self, factor: float, *, squashed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.factor, self.squashed = nn.Conv2d(3, 4, 3), factor, squashed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.factor * self.features(x).square().mean((1, 2, 3)).sqrt()
        logits = torch.stack([first, torch.zeros_like(first)], dim=1)
        return logits.softmax(1) if self.squashed else logits


@pytest.mark.parametrize("squashed", [True, False])
@pytest.mark.filterwarnings("ignore::gradcam_hooks.ProbabilityWarning")
def test_a_probability_that_is_one_but_for_rounding_is_saturated(squashed: bool) -> None:
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    target = 0 if squashed else gh.Probability(0)
    words, errors = [], []
    unit = float(Sure(1.0, squashed=False)(x)[0, 0].detach())
    for logit in (2.0, 8.0, 14.5):
        net = Sure(logit / unit, squashed=squashed)
        found = gh.explain(net, x, "features", target=target)
        exact = gh.explain(net.double(), x.double(), "features", target=target)
        assert exact.diagnosis == ("ok",)
        words += found.diagnosis
        errors.append(float((found.raw - exact.raw).abs().max() / exact.raw.abs().max()))
    assert [str(word) for word in words] == ["ok", "ok", "saturated"]
    assert errors[0] < 1e-5
    assert errors[2] > 0.01
    assert "Explain the logit" in words[2].message
    assert ("output='logits'" in words[2].message.split("float32.")[1]) == squashed


def test_the_logit_of_a_sure_class_is_not_saturated() -> None:
    x = torch.rand(1, 3, 16, 16)
    for target in (0, gh.ReST(0), None):
        assert gh.explain(Sure(99.0, squashed=False), x, "features", target=target).diagnosis == (
            "ok",
        )


def test_gradients_of_few_bits_in_half_precision_are_saturated() -> None:
    net, x = Sure(1.0, squashed=False).half(), torch.rand(1, 3, 16, 16).half()
    for factor, word in ((1.0, "ok"), (2.0**-28, "saturated")):
        found = gh.explain(net, x, "features", target=lambda y, by=factor: y[:, 0] * by)
        assert [str(one) for one in found.diagnosis] == [word]
