"""What a pass leaves in modules is put back: buffers, whichever way, and tensors in attributes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn.utils import prune

import gradcam_hooks as gh
from gradcam_hooks.network import buffers
from gradcam_hooks.network.contents import Contents
from tests.support.nets import images
from tests.support.oracle import raw_by_zeros


class Mine(list[object]):
    """A list of somebody's own."""


class Writing(nn.Module):
    """Does something to itself in each pass.

    Args:
        write: what it does.
    """

    def __init__(self, write: Callable[[Writing, Tensor], object]) -> None:
        super().__init__()
        self.write = write
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.register_buffer("mean", torch.tensor([1.0, torch.nan, 3.0]))
        self.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
        self.register_buffer("seen", torch.zeros(0))
        self.register_buffer("steps", torch.tensor([7, 8]))
        self.register_buffer("cache", None)
        self.size: object = None
        self.kept: object = None
        self.mask, self.pair = torch.zeros(3), (torch.zeros(2), 1)
        self.nested: dict[str, list[list[object]]] = {"keys": [[torch.zeros(2)]]}
        self.groups: defaultdict[str, list[object]] = defaultdict(list)
        self.mine = Mine()
        self.several: list[object] = []
        self.by_size: dict[object, object] = {"none": 0}
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        self.write(self, features)
        logits: Tensor = self.fc(features.relu().mean((2, 3)))
        return logits


def resized(net: Writing, _: Tensor) -> None:
    net.seen.resize_(2).fill_(1)
    net.steps.add_(1)


def cached_for_a_size(net: Writing, features: Tensor) -> None:
    if net.size != features.shape:
        net.size, net.kept = features.shape, torch.ones(3)
        net.by_size[features.shape] = net.kept


WAYS: dict[str, Callable[[Writing, Tensor], object]] = {
    "in place": lambda net, _: net.mean.mul_(2),
    "through .data": lambda net, _: net.mean.data.mul_(0.9).add_(1),
    "through NumPy": lambda net, _: net.mean.detach().numpy().fill(5),
    "with other strides": lambda net, _: net.turned.data.add_(1),
    "other memory": lambda net, _: setattr(net.mean, "data", torch.zeros(3)),
    "another type": lambda net, _: setattr(net.mean, "data", torch.zeros(3).double()),
    "another buffer": lambda net, _: setattr(net, "mean", net.mean + 1),
    "resized": resized,
    "filled": lambda net, _: setattr(net, "cache", torch.ones(2)),
    "new": lambda net, _: net.register_buffer("late", torch.ones(2)),
    "deleted": lambda net, _: net._buffers.pop("mean", None),
    "drawn into the graph": lambda net, features: net.mean.add_(features.mean()),
    "asked for a gradient": lambda net, _: net.mean.requires_grad_(),
    "an attribute": lambda net, features: setattr(net, "kept", features),
    "a new attribute": lambda net, features: setattr(net, "newer", features),
    "a list": lambda net, features: net.several.append(features),
    "a tuple": lambda net, features: setattr(net, "kept", (features, 1)),
    "a tensor that is no buffer": lambda net, _: net.mask.add_(1),
    "the same, a row of it": lambda net, _: net.mask[1:].fill_(7),
    "a tensor in a tuple": lambda net, _: net.pair[0].add_(1),
    "a tensor in a list in a list in a dict": lambda net, _: net.nested["keys"][0][0].add_(1),
    "a list in a list in a dict": lambda net, features: net.nested["keys"][0].append(features),
    "a dict of lists": lambda net, features: net.groups["seen"].append(features),
    "a list of somebody's own": lambda net, features: net.mine.append(features),
    "a tensor in a dict in a list": lambda net, features: net.several.append({"last": features}),
    "a cache and what it is for": cached_for_a_size,
}


def held(net: nn.Module) -> list[object]:
    """All that a module holds, to be compared: tensors by identity, shape and values."""
    parts: list[object] = []
    for module in net.modules():
        for name, value in {**vars(module), **module._buffers}.items():
            parts += [name, id(value)]
            if isinstance(value, list | dict | tuple):
                parts.append(str(value))
            if isinstance(value, Tensor):
                shape = value.shape, value.stride(), value.dtype
                parts += [shape, str(value.tolist()), value.requires_grad]
    return parts


@pytest.mark.parametrize("method", ["gradcam", "ablationcam"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at_hand", ["cpu", "where nothing is"])  # as on a device
def test_whatever_way_a_pass_writes_to_its_module(
    way: str, method: str, at_hand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "_AT_HAND", at_hand)
    net = Writing(WAYS[way]).eval()
    net.several.append(0)
    before = held(net)
    x = images().float()
    gh.explain(net, x, "conv", target=1, method=method)
    assert held(net) == before
    net(x)
    assert held(net) != before  # the proof of the proof


def test_weights_that_modules_hold_in_lists_are_not_copied() -> None:
    net = nn.LSTM(3, 4)
    net.__dict__["alias"] = [net.weight_ih_l0.data, net.weight_hh_l0[:2]]
    assert Contents([net], ())._buffers._found == []


def test_what_a_pass_counts_goes_on() -> None:
    net = Writing(lambda net, _: setattr(net, "count", net.count + 1)).eval()
    gh.explain(net, images().float(), "conv", target=1)
    assert net.count == 1


@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        lambda conv: prune.l1_unstructured(conv, "weight", 0.3),
    ],
    ids=["weight_norm", "spectral_norm", "parametrised", "prune"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weights_computed_on_the_way_can_be_copied_afterwards(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).double()
    wrap(net[0])
    wrap(net[2])
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3).double()]).eval()
    with torch.no_grad():
        plain = net(images())
    gh.explain(net, images(), "0", target=1)
    assert torch.equal(copy.deepcopy(net)(images()), plain)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", [{}, {"version": 0}])
def test_observers_of_quantisation_aware_training(options: dict[str, int]) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ).train()
    net.qconfig = quantization.get_default_qat_qconfig("x86", **options)
    net = quantization.prepare_qat(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = gh.explain(net, images().float(), "0", target=1)
    assert result.raw.any()
    after = net.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    assert net.training


class Prepared(nn.Module):
    """A network as it is made ready for quantisation: observers ahead of and behind everything."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.fc = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.b(self.a(self.quant(x)).relu()).relu()
        logits: Tensor = self.dequant(self.fc(features.mean((2, 3))))
        return logits


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_network_that_observes_is_asked_of_its_axes_as_if_it_did_not() -> None:
    torch.manual_seed(0)
    net, x = Prepared().train(), torch.rand(2, 3, 16, 16)
    net.qconfig = quantization.get_default_qat_qconfig("x86")
    net = quantization.prepare_qat(net)
    net(x)
    twin = copy.deepcopy(net.eval())
    result = gh.explain(net, x * 3, "b", target=1)  # beyond the ranges that were observed
    expected = raw_by_zeros(twin, "b", lambda: twin(x * 3)[:, 1])
    torch.testing.assert_close(result.raw, expected)
