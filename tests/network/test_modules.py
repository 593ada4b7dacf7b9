"""Finding a layer: by name, glob, module or list; and what an error says."""

from __future__ import annotations

import pytest
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.network.modules import find


@pytest.fixture
def net() -> nn.Module:
    """A small tree of modules in which one is shared under two names."""
    net = nn.Module()
    shared = nn.ReLU()
    net.stem = nn.Sequential(nn.Conv2d(3, 4, 3), shared)
    net.layer3 = nn.Sequential(nn.Conv2d(4, 4, 3), shared)
    net.layer4 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    return net


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        ("layer4", ["layer4"]),
        ("layer4.1", ["layer4.1"]),
        ("layer[34]", ["layer3", "layer4"]),
        ("layer?", ["layer3", "layer4"]),
        ("layer4.*", ["layer4.0", "layer4.1"]),
        ("*", ["stem", "layer3", "layer4"]),
        ("**.0", ["stem.0", "layer3.0", "layer4.0"]),
        (["layer4", "layer3"], ["layer4", "layer3"]),
        (["layer4", "layer[34]"], ["layer4", "layer3"]),
        ("layer3.1", ["layer3.1"]),
    ],
)
def test_names_globs_and_lists_in_the_order_named(
    net: nn.Module, layer: str | list[str], names: list[str]
) -> None:
    assert find(net, layer) == names


def test_a_module_is_found_by_being_itself(net: nn.Module) -> None:
    assert find(net, net.layer4) == ["layer4"]
    assert find(net, [net.layer4[0], "stem"]) == ["layer4.0", "stem"]


def test_a_shared_module_counts_once(net: nn.Module) -> None:
    assert find(net, ["stem.1", "layer3.1"]) == ["stem.1"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("layer5", r"no layer 'layer5' in Module; did you mean 'layer4'"),
        ("model.layer4", r"did you mean 'layer4'"),
        ("layer4#2", r"'layer4#2' is a call of 'layer4': pass layer='layer4', call=2"),
        ("1", r"did you mean 'stem\.1' or 'layer3\.1' or 'layer4\.1'"),
        ("zzz", r"at the top it has stem, layer3, layer4\."),
        ("layer9*", r"no layer of Module matches 'layer9\*'"),
        (nn.ReLU(), r"the ReLU that was handed over is no part of this Module"),
        ([], r"an empty list names no layer"),
        ([3], r"a layer is a dotted name, a glob or a module, not int: 3"),
    ],
)
def test_an_unknown_layer_says_the_nearest_and_how_to_list(
    net: nn.Module, layer: object, message: str
) -> None:
    with pytest.raises(gh.LayerNotFound, match=message) as caught:
        find(net, layer)  # type: ignore[arg-type]
    assert isinstance(caught.value, LookupError)
