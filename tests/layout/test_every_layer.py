"""Every layer of a network of every family is right: its activation and its raw map.

Two claims for each network, both against the independent oracle: every layer, asked for in one
pass; and layer by layer, each with the cut at that very layer. The second takes all layers of a
small network, and of a large one those that are unlike; ``scripts/bench layers`` goes
through all of them one by one.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.network.hooks import Call, Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.tap import Tap
from tests.support.networks import NETWORKS, Network
from tests.support.opened import tapped
from tests.support.oracle import Truth, error, kinds, truths

TOLERANCE = 1e-9
"""Of the largest value of the map; 1e-5 is what users are promised in float32."""

SMALL, FEW = 80, 10
"""Up to so many layers each is explained alone; of more, one of each kind, or two where few."""

LIKE_OTHERS = {
    "wide_resnet50_2": "resnext50_32x4d",
    "mnasnet0_5": "mobilenet_v2",
    "inception_v3": "googlenet",
    "vgg11": "alexnet",
    "dpn48b": "resnext50_32x4d and densenet121",
}
"""Large networks whose layers are of the kinds of another's; one pass of theirs is enough here."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def network(request: pytest.FixtureRequest) -> Network:
    return request.param


@pytest.fixture(scope="module")
def model(network: Network) -> nn.Module:
    return network.build()


def label(truth: Truth) -> str:
    return truth.layer if truth.calls == 1 else f"{truth.layer}#{truth.call}"


def activation(tap: Tap, truth: Truth) -> torch.Tensor:
    return tap.activation.movedim(-1, 1) if truth.channels_last else tap.activation


def test_the_oracle_tells_the_same_with_zeros_in_one_place_alone() -> None:
    network = next(one for one in NETWORKS if one.name == "resnet18")
    model, images = network.build(), network.image()
    found = truths(network, model, images)
    for truth in found[::9]:
        (alone,) = truths(network, model, images, only=(truth.layer, truth.call))
        assert torch.equal(truth.activation, alone.activation)
        assert error(truth.gradient, alone.gradient) < 1e-12
        assert alone.raw.abs().max() > 0


def test_the_oracle_tells_a_wrong_map_from_a_right_one() -> None:
    # The tensor that an in-place operation leaves behind is what the peers take for bn1's.
    network = next(one for one in NETWORKS if one.name == "resnet18")
    model, images = network.build(), network.image()
    found = {label(truth): truth for truth in truths(network, model, images)}
    assert error(found["relu"].raw, found["bn1"].raw) > 0.01
    assert error(torch.full_like(found["bn1"].raw, torch.nan), found["bn1"].raw) == float("inf")


def test_all_layers_in_one_pass(network: Network, model: nn.Module) -> None:
    images = network.image(batch=2)
    found = truths(network, model, images)
    assert len(found) >= network.layers
    names = list(dict.fromkeys(truth.layer for truth in found))
    shapes = {label(truth): truth.raw.shape[1:] for truth in found}

    caught = taps_of(model, names, "all", images)
    result = gh.explain(model, images, names, call="all")
    raw = dict(zip(result.layers, result.raw, strict=True))

    assert shapes.keys() == raw.keys() == caught.keys()
    wrong = []
    for truth in found:
        given = activation(caught[label(truth)], truth)
        both = error(raw[label(truth)], truth.raw), error(given, truth.activation)
        if max(both) > TOLERANCE:
            wrong.append((label(truth), *both))
    assert not wrong
    assert sum(bool(truth.raw.any()) for truth in found) > 0.9 * len(found)


def taps_of(model: nn.Module, names: list[str], call: Call, images: torch.Tensor) -> dict[str, Tap]:
    def work(taps: Taps) -> dict[str, Tap]:
        passed = taps.forward(Inputs.of(model, [images], {}))
        return {one.label: one.tap for one in passed.select()}

    return tapped(model, names, work, call=call)


def raw_error(model: nn.Module, truth: Truth, images: torch.Tensor) -> float:
    return error(gh.explain(model, images, truth.layer, call=truth.call).raw, truth.raw)


def activation_error(model: nn.Module, truth: Truth, images: torch.Tensor) -> float:
    (tap,) = taps_of(model, [truth.layer], truth.call, images).values()
    return error(activation(tap, truth), truth.activation)


def test_each_layer_alone(network: Network, model: nn.Module) -> None:
    if network.name in LIKE_OTHERS:
        pytest.skip(f"its layers are of the kinds of {LIKE_OTHERS[network.name]}")
    images = network.image()
    found = truths(network, model, images)
    chosen = found if len(found) <= SMALL else kinds(found, model, each=1)
    if len(chosen) < FEW:
        chosen = kinds(found, model, each=2)
    assert len(chosen) >= min(network.layers, FEW)
    raws = {label(truth): raw_error(model, truth, images) for truth in chosen}
    activations = {label(truth): activation_error(model, truth, images) for truth in chosen[::3]}
    assert {name: far for name, far in raws.items() if far > TOLERANCE} == {}
    assert {name: far for name, far in activations.items() if far > TOLERANCE} == {}
