"""The probe against networks whose axes are known: what it is sure of is right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradcam_hooks.layout.factors import AxisReading, Factor
from gradcam_hooks.layout.probe import read
from tests.support.light import Net, claimed, made, tapped, verdict
from tests.support.light_pictures import PICTURES
from tests.support.light_series import SERIES

NETS = [net for net in (*PICTURES, *SERIES) if not net.slow]

#: Read right, but not surely; or not at all, and said so.
UNDECIDED = {
    ("swin of timm", "layers.0.blocks.0.attn"),  # all of a window's positions see the same
    ("maxvit", "blocks.1.layers.0"),
    ("maxvit", "blocks.0.layers.0.layers.MBconv.layers.squeeze_excitation.scale_activation"),
    ("levit", "stages.2"),
    ("mixer", "blocks.0.mlp_tokens.fc1"),  # mixed tokens beside channels
    ("mobilenetv3", "blocks.0.0.se.conv_expand"),
    ("fpn", "fpn#3"),
    ("shuffled", "last"),
    ("graph", "a"),
    ("attention", "logits"),  # tokens for tokens: no map of its input
    ("attention", "soft"),
    ("graph", "b"),
    ("pairs in one batch", "cnn"),
    ("two sensors", "depth"),
    ("waveform", "cnn"),  # frequencies beside channels
}


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_what_it_is_sure_of_is_right(net: Net) -> None:
    model, inputs = made(net)
    with tapped(net, model) as run:
        readings = read(run, inputs)
    verdicts = {}
    for (layer, truth), reading in zip(net.truths, readings, strict=True):
        found = verdict(reading, claimed(truth, net, reading.shape, inputs))
        verdicts.setdefault(layer, []).append((found, reading.axes, reading.doubts))
    for layer, found in verdicts.items():
        allowed = ("right", "und+", "und-") if (net.name, layer) in UNDECIDED else ("right",)
        assert all(word in allowed for word, *_ in found), (layer, found)


def test_most_of_the_layers_are_read() -> None:
    layers = sum(len(net.layers) for net in NETS)
    maps = [one for one in UNDECIDED if one[0] != "attention"]  # whose weights are none
    assert len(maps) < 0.15 * layers


def conv(inputs: list[Tensor]) -> list[Tensor]:
    """A layer of one convolution, of a seeded weight."""
    torch.manual_seed(3)
    return [nn.Conv2d(3, 8, 3, 2, 1).requires_grad_(False)(inputs[0])]


def test_a_picture_takes_thirty_passes_and_all_are_told() -> None:
    torch.manual_seed(0)
    told: list[tuple[int, int]] = []
    (reading,) = read(conv, [torch.randn(2, 3, 32, 48)], progress=lambda *step: told.append(step))
    assert reading.passes == 30
    assert told[0] == (1, 2)
    assert told[2:] == [(step, 30) for step in range(3, 31)]


def test_each_axis_is_told_with_its_factor() -> None:
    torch.manual_seed(0)
    (reading,) = read(conv, [torch.randn(2, 3, 32, 48)])
    batch, channels, height, width = reading.axes
    assert [(f.input, f.axis, f.size) for f in batch.factors] == [(0, 0, 2)]
    assert channels == AxisReading(8)
    assert [(f.input, f.axis, f.size) for f in height.factors] == [(0, 2, 16)]
    assert [(f.input, f.axis, f.size) for f in width.factors] == [(0, 3, 24)]
    assert reading.mixed


def test_a_norm_ahead_of_the_first_convolution_mixes_nothing() -> None:
    torch.manual_seed(0)
    (reading,) = read(lambda inputs: [inputs[0] * 2 - 1], [torch.randn(2, 3, 32, 48)])
    assert [axis.factors[0].keys for axis in reading.axes] == [((0, axis),) for axis in range(4)]
    assert not reading.mixed
    assert reading.sure


def test_shuffled_tokens_are_told_to_be_in_no_known_order() -> None:
    torch.manual_seed(0)
    patch = nn.Conv2d(3, 16, 8, 8).requires_grad_(False)
    order = torch.randperm(48)
    (reading,) = read(
        lambda inputs: [patch(inputs[0]).flatten(2).mT[:, order]], [torch.randn(2, 3, 48, 64)]
    )
    assert any("order that is not known" in doubt for doubt in reading.doubts)


def test_a_random_network_is_told() -> None:
    def run(inputs: list[Tensor]) -> list[Tensor]:
        return [inputs[0] + torch.randn(inputs[0].shape)]

    torch.manual_seed(0)
    (reading,) = read(run, [torch.randn(2, 3, 16, 16)])
    assert any("random" in doubt for doubt in reading.doubts)


def test_a_layer_called_another_number_of_times_is_not_read() -> None:
    times = iter(range(10))
    assert read(lambda inputs: [inputs[0]] * next(times), [torch.randn(2, 3, 16, 16)]) == []


def test_no_global_random_state_is_touched() -> None:
    inputs = [torch.randn(2, 3, 16, 16)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    read(lambda given: [given[0].mean(1)], inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_inputs_are_left_as_they_are() -> None:
    image, mask = torch.randn(2, 3, 16, 16), torch.ones(2, 16, dtype=torch.bool)
    kept = image.clone()
    seen: list[Tensor] = []

    def run(inputs: list[Tensor]) -> list[Tensor]:
        seen.append(inputs[1])
        return [inputs[0] * inputs[1][:, None, None]]

    read(run, [image, mask])
    assert torch.equal(image, kept)
    assert all(torch.equal(given, mask) for given in seen)  # a mask is not disturbed


def test_integers_stay_in_the_range_of_those_seen() -> None:
    words = torch.randint(3, 9, (2, 30))
    seen: list[Tensor] = []

    def run(inputs: list[Tensor]) -> list[Tensor]:
        seen.append(inputs[0])
        return [inputs[0][..., None].float() @ torch.ones(1, 5)]

    (reading,) = read(run, [words])
    assert min(int(given.min()) for given in seen) == int(words.min())
    assert max(int(given.max()) for given in seen) == int(words.max())
    assert [len(axis.factors) for axis in reading.axes] == [1, 1, 0]


def test_the_sizes_of_factors_multiply_to_the_axis() -> None:
    factors = (Factor(0, 2, 4, 0.2), Factor(0, 3, 6, 0.1))
    assert AxisReading(25, 1, 0, factors).length == 1 + 4 * 6
