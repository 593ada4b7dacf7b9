"""Which axes are channels and which are space: decided by data, or asked for."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.layouts import infer

_PLAIN = {"": nn.Sequential(), "x": nn.ReLU()}
_TRANSFORMER = {"": nn.Sequential(nn.LayerNorm(8)), "x": nn.Identity()}


@pytest.mark.parametrize(
    ("shape", "image", "name", "channels", "space"),
    [
        ((2, 512, 7, 7), (224, 224), "channels-first", 512, (7, 7)),
        ((2, 7, 7, 768), (224, 224), "channels-last", 768, (7, 7)),
        ((2, 64, 56, 80), (224, 320), "channels-first", 64, (56, 80)),
        ((2, 56, 80, 96), (224, 320), "channels-last", 96, (56, 80)),
        ((1, 2048, 8, 8), (299, 299), "channels-first", 2048, (8, 8)),
        ((1, 768, 1, 1), (64, 96), "channels-first", 768, (1, 1)),
        ((1, 1, 1, 768), (64, 96), "channels-last", 768, (1, 1)),
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
    message = r"more than one reading fits: 32 channels x 32x32 \(channels-first\); 32 channels x"
    with pytest.raises(gh.LayoutError, match=message + r".*layout='channels-first' or"):
        infer((1, 32, 32, 32), (32, 32), "x", _PLAIN)
    asked = infer((1, 32, 32, 32), (32, 32), "x", _PLAIN, "channels-last")
    assert asked.name == "channels-last"


@pytest.mark.parametrize(
    ("shape", "image", "expected"),
    [
        ((2, 197, 768), (224, 224), "1 prefix token + 14x14 patches x 768 channels (tokens)"),
        ((2, 198, 192), (224, 224), "2 prefix tokens + 14x14 patches x 192 channels (tokens)"),
        ((2, 196, 768), (224, 224), "14x14 patches x 768 channels (tokens)"),
        ((2, 141, 768), (160, 224), "1 prefix token + 10x14 patches x 768 channels (tokens)"),
        ((2, 50, 768), (224, 224), "1 prefix token + 7x7 patches x 768 channels (tokens)"),
        ((2, 257, 1024), (224, 224), "1 prefix token + 16x16 patches x 1024 channels (tokens)"),
        ((197, 2, 768), (224, 224), "1 prefix token + 14x14 patches x 768 channels (tokens-seq"),
    ],
)
def test_tokens_are_a_grid_of_square_patches_behind_a_short_prefix(
    shape: tuple[int, ...], image: tuple[int, ...], expected: str
) -> None:
    assert str(infer(shape, image, "x", _TRANSFORMER, batch=2)).startswith(expected)


def test_tokens_that_are_two_grids_are_an_error_with_both() -> None:
    # 393 tokens of a video of 16 frames: 1 + 8x7x7 or 1 + 2x14x14
    both = r"1 prefix token \+ 2x14x14 patches.*1 prefix token \+ 8x7x7 patches"
    with pytest.raises(gh.LayoutError, match=both):
        infer((2, 393, 96), (16, 224, 224), "x", _TRANSFORMER)


def test_tokens_that_are_no_grid_are_an_error() -> None:
    with pytest.raises(
        gh.LayoutError, match=r"gives \(2, 120, 768\).*tokens are a grid of patches"
    ):
        infer((2, 120, 768), (224, 224), "x", _PLAIN)


def test_a_long_prefix_is_believed_where_the_model_or_the_user_tells() -> None:
    shape, image = (2, 201, 384), (224, 224)
    with pytest.raises(gh.LayoutError, match="tokens are a grid of patches"):
        infer(shape, image, "x", _TRANSFORMER)
    asked = infer(shape, image, "x", _TRANSFORMER, "tokens")
    assert (asked.prefix, asked.space) == (5, (14, 14))
    net = nn.Sequential(nn.LayerNorm(8))
    net.num_prefix_tokens = 5  # as timm's models tell
    assert infer(shape, image, "x", {"": net, "x": nn.Identity()}).prefix == 5
    other = nn.Sequential(nn.LayerNorm(8))
    other.config = types.SimpleNamespace(num_register_tokens=4)  # as transformers' tell
    assert infer(shape, image, "x", {"": other, "x": nn.Identity()}).prefix == 5


def test_a_sequence_is_no_grid() -> None:
    # 24 steps of a recurrent layer could be 4 x 6 patches of 4 pixels; nobody says so
    lstm = nn.LSTM(8, 10)
    with pytest.raises(gh.LayoutError):
        infer((2, 24, 10), (16, 24), "x", {"": nn.Sequential(lstm), "x": lstm})
    with pytest.raises(gh.LayoutError):
        infer((2, 12, 10), (16, 24), "x", _TRANSFORMER)
    pool = nn.AdaptiveAvgPool1d(1)  # its 24 channels are no 4 x 6 patches either
    with pytest.raises(gh.LayoutError):
        infer((2, 24, 1), (64, 96), "x", {"": nn.Sequential(pool), "x": pool})
    asked = infer((2, 768, 196), (224, 224), "x", _PLAIN, "tokens-channels-first")
    assert asked.space == (14, 14)


def test_channels_first_of_tokens_is_the_grid_by_hand() -> None:
    # two prefix tokens ahead of a grid of 2 x 3 patches of 8 pixels, 4 channels
    tokens = torch.arange(1 * 8 * 4).view(1, 8, 4)
    net = nn.Sequential(nn.LayerNorm(4))
    net.num_prefix_tokens = 2
    modules = {"": net, "x": nn.Identity()}
    layout = infer(tokens.shape, (16, 24), "x", modules)
    assert (layout.prefix, layout.space) == (2, (2, 3))
    grid = layout.channels_first(tokens)
    assert grid.shape == (1, 4, 2, 3)
    for row in range(2):
        for column in range(3):
            assert torch.equal(grid[0, :, row, column], tokens[0, 2 + 3 * row + column])
    first = infer((8, 5, 4), (16, 24), "x", modules, batch=5)
    assert first.batch_axis == 1
    swapped = torch.arange(8 * 5 * 4).view(8, 5, 4)
    assert torch.equal(first.channels_first(swapped)[3, :, 1, 2], swapped[7, 3])


def test_a_layer_without_space_is_an_error_with_the_arithmetic() -> None:
    with pytest.raises(
        gh.LayoutError,
        match=r"gives \(2, 1000\) for an input of space 224x224: 2 axes, where maps have 4",
    ):
        infer((2, 1000), (224, 224), "x", _PLAIN)


def test_an_unknown_layout_names_the_known() -> None:
    with pytest.raises(
        gh.LayoutError, match=r"one of 'channels-first', 'channels-last', 'tokens', .* not 'NHWC'"
    ):
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
