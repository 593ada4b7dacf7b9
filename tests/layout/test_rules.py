"""Which axes are channels and which are space: decided by data, or asked for."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn
from torchvision.models.maxvit import MaxVit

import gradcam_hooks as gh
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.reading import Layout
from gradcam_hooks.layout.rules import infer as by_rules
from gradcam_hooks.layout.rules import said
from gradcam_hooks.network.outputs import told_grid

_PLAIN = {"": nn.Sequential(), "x": nn.ReLU()}
_TRANSFORMER = {"": nn.Sequential(nn.LayerNorm(8)), "x": nn.Identity()}


def infer(shape, image, name, modules, asked=None, *, batch=None, grid=None) -> Layout:
    """What was said, or what the rules read."""
    if asked is None:
        return by_rules(shape, image, name, modules, batch=batch, grid=grid)
    axes = InputAxes.read(None, 2 + len(image))
    return said(asked, shape, image, name, modules, axes, shape[0] if batch is None else batch)


def order(layout: Layout) -> str:
    """Where the channels stand."""
    return "channels-first" if layout.pattern.axes[1].factors[0].word == "c" else "channels-last"


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
    assert (order(layout), layout.channels, layout.space) == (name, channels, space)


def test_where_both_readings_fit_the_modules_tell() -> None:
    shape, image = (1, 32, 32, 32), (32, 32)
    cnn = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU())
    assert order(infer(shape, image, "1", dict(cnn.named_modules()))) == "channels-first"
    mlp = nn.Sequential(nn.Linear(3, 32), nn.GELU())
    assert order(infer(shape, image, "1", dict(mlp.named_modules()))) == "channels-last"


def test_where_nothing_decides_the_error_shows_both_and_the_way_out() -> None:
    message = r"more than one reading fits: b c h=32 w=32; b h=32 w=32 c. Say which: layout='b c h"
    with pytest.raises(gh.LayoutError, match=message):
        infer((1, 32, 32, 32), (32, 32), "x", _PLAIN)
    asked = infer((1, 32, 32, 32), (32, 32), "x", _PLAIN, "channels-last")
    assert str(asked) == "b h=32 w=32 c=32"


@pytest.mark.parametrize(
    ("shape", "image", "expected"),
    [
        ((2, 197, 768), (224, 224), "b 1+(h=14 w=14) c=768"),
        ((2, 198, 192), (224, 224), "b 2+(h=14 w=14) c=192"),
        ((2, 196, 768), (224, 224), "b (h=14 w=14) c=768"),
        ((2, 141, 768), (160, 224), "b 1+(h=10 w=14) c=768"),
        ((2, 50, 768), (224, 224), "b 1+(h=7 w=7) c=768"),
        ((2, 257, 1024), (224, 224), "b 1+(h=16 w=16) c=1024"),
        ((197, 2, 768), (224, 224), "1+(h=14 w=14) b c=768"),
    ],
)
def test_tokens_are_a_grid_of_square_patches_behind_a_short_prefix(
    shape: tuple[int, ...], image: tuple[int, ...], expected: str
) -> None:
    assert str(infer(shape, image, "x", _TRANSFORMER, batch=2)).startswith(expected)


def test_tokens_that_are_two_grids_are_an_error_with_both() -> None:
    # 393 tokens of a video of 16 frames: 1 + 8x7x7 or 1 + 2x14x14
    both = r"b 1\+\(d=2 h=14 w=14\) c; b 1\+\(d=8 h=7 w=7\) c"
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


def test_the_grid_of_tokens_can_be_said() -> None:
    # 393 tokens of a video of 16 frames: 1 + 8x7x7 or 1 + 2x14x14
    shape, image = (2, 393, 96), (16, 224, 224)
    with pytest.raises(
        gh.LayoutError,
        match=r"layout='b 1\+\(d=2 h=14 w=14\) c' or layout='b 1\+\(d=8 h=7 w=7\) c', or",
    ):
        infer(shape, image, "x", _TRANSFORMER)
    said = infer(shape, image, "x", _TRANSFORMER, "tokens:8x7x7")
    assert str(said) == "b 1+(d=8 h=7 w=7) c=96"
    # a detection transformer's: a class token, 4 x 6 patches, 100 tokens for objects behind them
    behind = infer((2, 125, 8), (64, 96), "x", _TRANSFORMER, "tokens:1+4x6")
    assert (behind.prefix, behind.space, behind.behind) == (1, (4, 6), 100)
    assert str(behind) == "b 1+(h=4 w=6)+100 c=8"
    odd = infer((2, 8, 170), (100, 100), "x", _PLAIN, "tokens-channels-first:13x13")
    assert (odd.prefix, odd.channels) == (1, 8)
    with pytest.raises(gh.LayoutError, match=r"is 14 x 15 = 210 tokens, and there are 197"):
        infer((2, 197, 768), (224, 224), "x", _TRANSFORMER, "tokens:14x15")
    with pytest.raises(gh.LayoutError, match=r"is 9 \+ 4 x 6 = 33 tokens, and there are 25"):
        infer((2, 25, 8), (64, 96), "x", _TRANSFORMER, "tokens:9+4x6")
    with pytest.raises(gh.LayoutError, match="as in 'tokens:14x14', or the tokens ahead of it"):
        infer((2, 197, 768), (224, 224), "x", _TRANSFORMER, "tokens:14,14")
    with pytest.raises(
        gh.LayoutError,
        match=r"Say what its axes are, as in layout='b c h w' or layout='b \(h w\) c'",
    ):
        infer((2, 120, 768), (224, 224), "x", _PLAIN)


def test_the_grid_that_a_layer_told_decides() -> None:
    shape, image = (2, 170, 96), (100, 100)  # a pool with padding makes 13 x 13 of 100 pixels
    with pytest.raises(gh.LayoutError):
        infer(shape, image, "x", _TRANSFORMER)
    assert infer(shape, image, "x", _TRANSFORMER, grid=(13, 13)).space == (13, 13)
    with pytest.raises(gh.LayoutError):  # numbers of another meaning are no grid
        infer(shape, image, "x", _TRANSFORMER, grid=(4, 40))
    assert told_grid((torch.zeros(2, 170, 96), torch.Size([13, 13]))) == (13, 13)
    assert told_grid((torch.zeros(2, 170, 96), [8, 7, 7])) == (8, 7, 7)
    assert told_grid((torch.zeros(2, 170, 96), (8.0, 7.0))) is None
    assert told_grid((torch.zeros(2, 170, 96), None)) is None
    assert told_grid(torch.zeros(13, 13)) is None


def test_the_strides_of_three_dimensional_convolutions_tell_the_frames() -> None:
    net = nn.Sequential(nn.Conv3d(3, 8, (3, 7, 7), (2, 4, 4)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)))
    modules = {"": net, "0": net[0], "1": net[1], "x": nn.Identity()}
    assert infer((2, 393, 96), (16, 224, 224), "x", modules).space == (8, 7, 7)


@pytest.mark.parametrize("shape", [(256, 49, 96), (256, 7, 7, 96)])
def test_windows_are_no_map(shape: tuple[int, ...]) -> None:
    class WindowAttention(nn.Module):
        window_size = (7, 7)

    block = nn.Sequential()
    block.add_module("attn", WindowAttention())
    modules = {"": nn.Sequential(block), "0": block, "0.attn": block.attn}
    message = r"for a batch of 4: 64 windows of each map, 49 positions in each.*the layer around"
    with pytest.raises(gh.LayoutError, match=message + " it, '0', or another"):
        infer(shape, (224, 224), "0.attn", modules, batch=4)


def test_windows_as_many_as_images_are_not_taken_for_a_sequence() -> None:
    # 64 images of 64 windows of 8 x 8: (4096, 64, C) has the shape of a sequence of 64 x 64 tokens
    import timm

    net = timm.create_model(
        "swinv2_tiny_window8_256",
        img_size=64,
        embed_dim=12,
        depths=(1,),
        num_heads=(2,),
        window_size=4,
        num_classes=3,
    )
    x = torch.randn(16, 3, 64, 64)
    windows = gh.explain(net, x, "layers.0.blocks.0.attn").layouts
    assert windows == ("(b h1=4 w1=4) (h2=4 w2=4) c=12",)
    outside = gh.explain(net, x, "layers.0.blocks.0")
    assert outside.layouts == ("b h=16 w=16 c=12",)


def test_the_windows_of_torchvisions_maxvit_are_put_together() -> None:
    net = MaxVit((64, 64), 8, 4, [8, 8], [1, 1], 4, 0.0, num_classes=3)
    layer = "blocks.0.layers.0.layers.window_attention"
    x = torch.randn(1, 3, 64, 64)
    # 16 windows of 16 positions would pass for a map of 16 x 16
    for inside in (f"{layer}.attn_layer.0", f"{layer}.mlp_layer"):
        read = gh.explain(net, x, inside).layouts
        assert read == ("b (h1=4 w1=4) (h2=4 w2=4) c=8",)
    assert gh.explain(net, x, layer).layouts == ("b c=8 h=16 w=16",)


def test_queries_and_words_are_no_patches() -> None:
    net = nn.Sequential(nn.LayerNorm(8))
    modules = {"": net, "x": nn.Identity()}
    assert infer((2, 100, 8), (640, 640), "x", modules).space == (10, 10)
    net.config = types.SimpleNamespace(num_queries=100)
    with pytest.raises(gh.LayoutError):
        infer((2, 100, 8), (640, 640), "x", modules)
    net.config = types.SimpleNamespace(vocab_size=30_000)
    with pytest.raises(gh.LayoutError):
        infer((2, 16, 8), (224, 224), "x", modules)
    assert infer((2, 16, 8), (224, 224), "x", modules, "tokens:4x4").space == (4, 4)


def test_what_stands_ahead_is_called_what_the_model_calls_it() -> None:
    net = nn.Module()
    net.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
    net.register_tokens = nn.Parameter(torch.zeros(1, 4, 8))
    net.detection_tokens = nn.Parameter(torch.zeros(1, 3, 8))
    modules = {"": net, "x": nn.LayerNorm(8)}
    said = "b 1+4+(h=4 w=6)+3 c=8"
    assert str(infer((2, 32, 8), (64, 96), "x", modules)) == said
    assert str(infer((2, 24, 8), (64, 96), "x", modules)) == "b (h=4 w=6) c=8"


@pytest.mark.parametrize(
    ("shape", "asked", "index"),
    [
        ((2, 5, 4, 6), "channels-first", (1, 3, 2, 5)),
        ((2, 4, 6, 5), "channels-last", (1, 2, 5, 3)),
        ((2, 26, 5), "tokens", (1, 2 + 17, 3)),
        ((2, 5, 26), "tokens-channels-first", (1, 3, 2 + 17)),
        ((26, 2, 5), "tokens-sequence-first", (2 + 17, 1, 3)),
    ],
)
def test_what_is_written_into_the_view_is_written_into_the_tensor(
    shape: tuple[int, ...], asked: str, index: tuple[int, ...]
) -> None:
    tensor = torch.zeros(shape)
    layout = infer(shape, (64, 96), "x", _TRANSFORMER, asked, batch=2)
    view = layout.channels_first(tensor)
    assert view.shape == (2, 5, 4, 6)
    view[1, 3, 2, 5] = 7
    assert tensor[index] == 7
    assert tensor.sum() == 7
    assert view.data_ptr() <= tensor.data_ptr() + tensor.numel() * 4
    lead = layout.channels_first(tensor.expand(3, *shape))
    assert lead.shape == (3, 2, 5, 4, 6)


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
    with pytest.raises(gh.LayoutError, match=r"layout='NHWC' cannot be read: the batch is missing"):
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
    assert result.layouts == ("b h=6 w=10 c=7",)
    activation = net.mix(net.conv(x).permute(0, 2, 3, 1)).detach()
    # d mean(relu(a)) W / da = W [a > 0] / 60, and its mean over space
    weights = ((activation > 0) * net.fc.weight[1] / 60).mean((1, 2))
    assert torch.allclose(result.raw, torch.einsum("bc,bhwc->bhw", weights, activation))
