"""Which axes are channels and which are space: decided by data, or asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.layouts import infer

_PLAIN = {"": nn.Sequential(), "x": nn.ReLU()}


@pytest.mark.parametrize(
    ("shape", "image", "name", "channels", "space"),
    [
        ((2, 512, 7, 7), (224, 224), "channels-first", 512, (7, 7)),
        ((2, 7, 7, 768), (224, 224), "channels-last", 768, (7, 7)),
        ((2, 64, 56, 80), (224, 320), "channels-first", 64, (56, 80)),
        ((2, 56, 80, 96), (224, 320), "channels-last", 96, (56, 80)),
        ((1, 2048, 8, 8), (299, 299), "channels-first", 2048, (8, 8)),
        ((1, 16, 125), (1000,), "channels-first", 16, (125,)),
        ((1, 32, 4, 8, 8), (32, 64, 64), "channels-first", 32, (4, 8, 8)),
        ((1, 4, 8, 8, 96), (32, 64, 64), "channels-last", 96, (4, 8, 8)),
    ],
)
def test_the_reading_whose_space_shrank_alike_is_taken(
    shape: tuple[int, ...],
    image: tuple[int, ...],
    name: str,
    channels: int,
    space: tuple[int, ...],
) -> None:
    if len(image) == 1:  # one axis of space has no aspect to compare: the modules must tell
        layout = infer(shape, image, "c", {"": nn.Sequential(), "c": nn.Conv1d(16, 16, 3)})
    else:
        layout = infer(shape, image, "x", _PLAIN)
    assert (layout.name, layout.channels, layout.space) == (name, channels, space)


def test_where_both_readings_fit_the_modules_tell() -> None:
    shape, image = (1, 32, 32, 32), (32, 32)
    cnn = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU())
    assert infer(shape, image, "1", dict(cnn.named_modules())).name == "channels-first"
    mlp = nn.Sequential(nn.Linear(3, 32), nn.GELU())
    assert infer(shape, image, "1", dict(mlp.named_modules())).name == "channels-last"


def test_where_nothing_decides_the_error_shows_both_and_the_way_out() -> None:
    message = r"both readings fit: 32 channels x 32x32 \(channels-first\) or 32 channels x 32x32"
    with pytest.raises(gh.LayoutError, match=message + r".*layout='channels-first' or"):
        infer((1, 32, 32, 32), (32, 32), "x", _PLAIN)
    asked = infer((1, 32, 32, 32), (32, 32), "x", _PLAIN, "channels-last")
    assert asked.name == "channels-last"


def test_a_layer_without_space_is_an_error_with_the_arithmetic() -> None:
    with pytest.raises(gh.LayoutError, match=r"gives \(2, 1000\): 2 axes, but an input.*needs 4"):
        infer((2, 1000), (224, 224), "x", _PLAIN)


def test_an_unknown_layout_names_the_known() -> None:
    with pytest.raises(gh.LayoutError, match=r"'channels-first' or 'channels-last', not 'NHWC'"):
        infer((1, 2, 3, 4), (3, 4), "x", _PLAIN, "NHWC")


def test_channels_first_moves_the_last_axis_and_keeps_what_leads() -> None:
    layout = infer((2, 4, 6, 3), (8, 12), "x", _PLAIN)
    assert layout.channels_first(torch.zeros(2, 4, 6, 3)).shape == (2, 3, 4, 6)
    assert layout.channels_first(torch.zeros(9, 2, 4, 6, 3)).shape == (9, 2, 3, 4, 6)


def test_a_map_in_channels_last_is_the_map_of_the_permuted_network() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, padding=1)
            self.mix = nn.Linear(5, 7)
            self.fc = nn.Linear(7, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mixed = self.mix(self.conv(x).permute(0, 2, 3, 1))
            logits: torch.Tensor = self.fc(mixed.relu().mean((1, 2)))
            return logits

    torch.manual_seed(0)
    net = Last().double()
    x = torch.randn(2, 3, 6, 10, dtype=torch.float64)
    result = gh.explain(net, x, "mix", target=1)
    assert result.layouts == ("7 channels x 6x10 (channels-last)",)
    activation = net.mix(net.conv(x).permute(0, 2, 3, 1)).detach()
    # d mean(relu(a)) W / da = W [a > 0] / 60, and its mean over space
    weights = ((activation > 0) * net.fc.weight[1] / 60).mean((1, 2))
    assert torch.allclose(result.raw, torch.einsum("bc,bhwc->bhw", weights, activation))
