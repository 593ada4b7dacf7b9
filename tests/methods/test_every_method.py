"""What holds of every method there is, asked of whole networks: ranks, batches, flips, failures.

Methods that look at attention are asked of a small transformer, all others of small convolutional
networks. Chance is seeded, so two calls are alike.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.every import CHEAP, attends, vit
from tests.support.nets import Raising, gap_linear, images
from tests.support.ranks import RANKS, SIZES, batch, pooled
from tests.support.traces import Disturbing, snapshot

NAMES = list(gh.METHODS)


def ask(name: str, net: nn.Module, x: Tensor, layer: str = "1", **more: object) -> gh.Explanation:
    return gh.explain(net, x, layer, method=name, **CHEAP.get(name, {}), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", [name for name in NAMES if not attends(name)])
def test_it_works_in_every_rank_and_stays_in_range(name: str, rank: int) -> None:
    net, x = pooled(rank), batch(rank)
    result = ask(name, net, x, target=1)
    assert result.maps.shape[0] == 2
    assert result.maps.shape[-rank:] == SIZES[rank]
    assert result.maps.isfinite().all()
    assert result.maps.min() >= 0
    assert result.maps.max() <= 1
    again = ask(name, net, x, target=1)
    assert torch.equal(result.maps, again.maps)


MIXES_BATCH = {
    "random": "its noise is drawn for the whole batch",
    "smoothgradcam++": "its noise is drawn for the whole batch",
    "dff": "concepts are shared by the batch",
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MIXES_BATCH])
def test_a_batch_is_its_images_one_by_one(name: str) -> None:
    net = vit() if attends(name) else gap_linear()
    x = images(3)
    layer = "blocks.1" if attends(name) else "1"
    together = ask(name, net, x, layer, target=[0, 2, 1])
    for i, label in enumerate((0, 2, 1)):
        alone = ask(name, net, x[i : i + 1], layer, target=label)
        assert torch.allclose(together.raw[i], alone.raw[0], atol=1e-9)  # type: ignore[index]
        assert torch.allclose(together.maps[i], alone.maps[0], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"dff"}])
def test_several_targets_are_each_their_own(name: str) -> None:
    net = vit() if attends(name) else gap_linear()
    layer = "blocks.1" if attends(name) else "1"
    x = images(2)
    many = ask(name, net, x, layer, target=gh.TopK(2))
    assert many.target is not None
    assert many.maps.shape[:2] == (2, 2)
    if name == "random":
        return
    for column in range(2):
        one = ask(name, net, x, layer, target=many.target[:, column])
        assert torch.allclose(many.raw[:, column], one.raw, atol=1e-9)  # type: ignore[index]


# By which power of a factor on the score the raw map grows, where it is not the first. None: by
# none, as softmaxes over the channels, sums of different powers of the gradient, and noise in
# alpha's denominator do.
POWERS: dict[str, int | None] = {
    "gradcam++": None,
    "refinecam": None,
    "eigencam": 0,
    "kpcacam": 0,
    "sess": 0,
    "fem": 0,
    "smoothgradcam++": None,
    "gscorecam": None,
    "sscam": None,
    "iscam": None,
    "groupcam": 2,  # once in the groups' gradients, once in what they gain
    "opticam": 0,  # Adam's steps know no scale but their epsilon
    "attentionrollout": 0,
    "gradientrollout": None,
    "fullgrad": 0,  # every part is scaled by itself
    "guidedgradcam": 2,  # two gradients
    "dff": 0,
    "random": 0,
    "center": 0,
    "sobel": 0,
    "fakecam": 0,
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cam"])  # of a class alone
def test_scaling_the_score(name: str) -> None:
    net, layer = (vit(), "blocks.1") if attends(name) else (gap_linear(), "1")
    x, raws = images(2), []
    for factor in (1.0, 4.0):
        result = ask(name, net, x, layer, target=lambda out, factor=factor: factor * out[:, 1])
        assert isinstance(result.raw, Tensor)
        raws.append(result.raw)
    plain, scaled = raws
    assert plain.any()
    power, size = POWERS.get(name, 1), float(plain.abs().max())
    if power is not None:
        share = 1e-5 if name == "opticam" else 1e-9
        assert (scaled / 4**power - plain).abs().max() <= share * size
    else:
        for power in (0, 1, 2):
            assert (scaled / 4**power - plain).abs().max() > 1e-6 * size


NOT_EQUIVARIANT = {
    "random": "noise knows no picture",
    "fakecam": "one corner is another than the other",
    "smoothgradcam++": "its noise is not flipped",
    "rise": "its masks are not flipped",
    "sscam": "its noise is not flipped",
    "dff": "its start is drawn by position",
}


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in NOT_EQUIVARIANT and not attends(name)]
)
def test_flipping_the_input_of_an_equivariant_network_flips_the_map(name: str) -> None:
    net, x = gap_linear(), images(2)
    with torch.no_grad():
        net[0].weight.copy_((net[0].weight + net[0].weight.flip(-1)) / 2)
    one, two = (ask(name, net, image, target=2) for image in (x, x.flip(-1)))
    assert torch.allclose(one.raw, two.raw.flip(-1), atol=1e-8)  # type: ignore[union-attr,arg-type]


IN_ORDER = {
    "sscam": "its noise is drawn channel by channel",
    "groupcam": "its groups are neighbouring channels",
    "dff": "its start is drawn by channel",
}


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in IN_ORDER and not attends(name)]
)
def test_the_order_of_the_channels_says_nothing(name: str) -> None:
    net, x = gap_linear(), images(2)
    order = torch.tensor([4, 0, 3, 5, 1, 2])
    other = gap_linear()
    with torch.no_grad():
        other[0].weight.copy_(net[0].weight[order])
        other[0].bias.copy_(net[0].bias[order])
        other[4].weight.copy_(net[4].weight[:, order])
    one, two = (ask(name, each, x, target=2) for each in (net, other))
    assert torch.allclose(one.raw, two.raw, atol=1e-8)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e20])
@pytest.mark.parametrize("name", [name for name in NAMES if not attends(name)])
def test_inputs_of_any_size_give_maps_in_range_and_a_word(name: str, scale: float) -> None:
    net, x = gap_linear(), images(2) * scale
    result = ask(name, net, x, target=1)
    assert result.maps.isfinite().all()
    assert result.maps.min() >= 0
    assert result.maps.max() <= 1
    for map_, word in zip(result.maps.flatten(0, -3), _words(result), strict=True):
        assert bool(map_.any()) == (word in ("ok", "border"))


def _words(result: gh.Explanation) -> list[str]:
    return [
        word for one in result.diagnosis for word in ([one] if isinstance(one, str) else list(one))
    ]


class DisturbingTransformer(Disturbing):
    """The same traps around a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = vit().train()

    def forward(self, x: Tensor) -> Tensor:
        self.written += 1
        self.replaced = self.replaced + 1
        logits: Tensor = self.vit(self.raising(x))
        return logits


class DisturbingPooled(Disturbing):
    """The same traps around a network with the head that CAM needs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = gap_linear().train()

    def forward(self, x: Tensor) -> Tensor:
        self.written += 1
        self.replaced = self.replaced + 1
        logits: Tensor = self.net(self.raising(x))
        return logits


def late(net: Disturbing, error: type[BaseException], runs: int) -> Callable[[], None]:
    """Let the model raise at its run number ``runs``."""
    count = 0

    def count_up(module: nn.Module, args: object) -> None:
        nonlocal count
        count += 1
        if count == runs:
            module.error = error  # type: ignore[assignment]

    handle = net.raising.register_forward_pre_hook(count_up)
    return handle.remove


@pytest.mark.parametrize("runs", [1, 2, 4])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_behind(name: str, error: type[BaseException] | None, runs: int) -> None:
    net = DisturbingTransformer() if attends(name) else DisturbingPooled()
    before = snapshot(net)
    remove = late(net, error, runs) if error is not None else None
    raised = None
    try:
        ask(name, net, images(2), "net.1" if not attends(name) else "vit.blocks.1", target=1)
    except (ValueError, KeyboardInterrupt) as caught:
        raised = caught
    if remove is not None:
        remove()
    if error is not None and runs == 1:
        assert type(raised) is error
    if error is None:
        assert raised is None
    assert isinstance(net.raising, Raising)
    net.raising.error = None
    assert snapshot(net) == before


class Centered(nn.Module):
    """A network behind a subtraction, which is made in the input's own memory or not."""

    def __init__(self, net: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.net, self.in_place = net, in_place

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            x -= 0.5
        else:
            x = x - 0.5
        logits: Tensor = self.net(x)
        return logits


@pytest.mark.parametrize("layer", ["named", "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_writes_to_its_input_sees_the_same_one_in_every_run(
    name: str, layer: str
) -> None:
    own = vit() if attends(name) else gap_linear()
    where = "auto" if layer == "auto" else "net.blocks.1" if attends(name) else "net.1"
    plain, writing = (
        ask(name, Centered(own, in_place), images(2), where, target=1) for in_place in (False, True)
    )
    assert plain.layers == writing.layers
    assert torch.allclose(plain.maps, writing.maps, atol=1e-5)


def test_where_a_second_run_would_see_another_input_it_is_refused() -> None:
    class Cut(nn.Module):
        """Under its own ``no_grad`` at first, so that the cut fails and a second run is needed."""

        def __init__(self) -> None:
            super().__init__()
            self.net = gap_linear()

        def forward(self, x: Tensor) -> Tensor:
            x -= 0.5
            with torch.no_grad():
                a = self.net[1](self.net[0](x))
            logits: Tensor = self.net[2:](a)
            return logits

    with pytest.raises(gh.InputError, match=r"writes to its own input.*x = x - mean"):
        gh.explain(Cut(), images(1), "net.0", target=1)
