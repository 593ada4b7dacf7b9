"""The wide tail: the widest way that works is found, by networks that break each of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.hooks import Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.runs.run import Asked, look
from gradcam_hooks.runs.tail import Tail
from tests.support.nets import images, residual
from tests.support.opened import tapped


class Tied(nn.Module):
    """Convolution, and a head of the subclass's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)
        self.runs = 0
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        logits: Tensor = self.fc(self.pooled(x, self.conv(x).relu()))
        return logits

    def pooled(self, x: Tensor, a: Tensor) -> Tensor:
        return a.mean((2, 3))


class Residual(Tied):
    """What goes around the layer has one row and broadcasts."""

    def pooled(self, x: Tensor, a: Tensor) -> Tensor:
        return (a + x.mean(1, keepdim=True)).mean((2, 3))


class Concatenated(Tied):
    """What goes around the layer is joined to it, so both must have as many rows."""

    def pooled(self, x: Tensor, a: Tensor) -> Tensor:
        return torch.cat([a[:, :2], x[:, :2]], 1).mean((2, 3)) + a.mean((2, 3))


class Folded(Tied):
    """The batch is read off the input and forced on the tail: rows are mixed without an error."""

    def pooled(self, x: Tensor, a: Tensor) -> Tensor:
        return a.reshape(len(x), -1, 4, *a.shape[2:]).mean((1, 3, 4)).expand(len(a), -1)


class Single(Tied):
    """Rows answer for the whole batch, whatever is done."""

    def pooled(self, x: Tensor, a: Tensor) -> Tensor:
        pooled = a.mean((2, 3))
        return pooled if len(a) == 1 else pooled.mean(0, keepdim=True).expand(len(a), -1)


def tail_of(taps: Taps, net: nn.Module, x: Tensor) -> Tail:
    run = look(Asked(net), taps, Inputs.of(net, [x], {}), 1, "forward")
    return Tail(run, run.layers[0], 0)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (Tied, "wide"),
        (Residual, "wide"),
        (Concatenated, "repeated"),
        (Folded, "repeated"),
        (Single, "single"),
    ],
    ids=["plain", "residual", "concatenated", "folded", "single"],
)
def test_the_widest_way_that_works_is_taken_and_gives_the_loops_answer(
    kind: type[Tied], way: str
) -> None:
    net, x = kind(), images(1)
    with torch.no_grad():
        activation = net.conv(x)
    variants = torch.cat([activation * factor for factor in (0.0, 0.5, 2.0, -1.0, 1.0)])

    def scores(taps: Taps) -> Tensor:
        tail = tail_of(taps, net, x)
        found = tail.scores(5, lambda part: variants[part])
        assert tail._way == way
        return found

    found = tapped(net, ["conv"], scores)
    with torch.no_grad():
        expected = [float(net.fc(net.pooled(x, one[None].relu()))[0, 1]) for one in variants]
    assert torch.allclose(found, torch.tensor(expected).double(), atol=1e-12)


def test_the_layers_ahead_see_one_image_and_few_runs() -> None:
    net, x = Tied(), images(1)
    seen: list[int] = []
    net.conv.register_forward_hook(lambda m, a, o: seen.append(len(a[0])))
    gh.explain(net, x, "conv", method="ablationcam")
    assert set(seen) == {1}
    # One clean pass, three probes alone, one of all, one for the four channels.
    assert net.runs == 6


def test_a_network_that_draws_numbers_is_refused_with_the_way_out() -> None:
    class Drawing(Tied):
        def pooled(self, x: Tensor, a: Tensor) -> Tensor:
            return a.mean((2, 3)) + torch.rand(4)

    with pytest.raises(gh.LayerError, match=r"cannot be disturbed.*random.*such as 'gradcam'"):
        gh.explain(Drawing(), images(1), "conv", method="ablationcam")


def test_one_call_of_a_shared_layer_is_disturbed_and_the_others_are_left() -> None:
    class Twice(Tied):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc((self.conv(x).relu() + 2 * self.conv(x.flip(-1)).relu()).mean((2, 3)))

    net, x = Twice(), images(2)
    found = gh.explain(net, x, "conv", method="ablationcam", call=1, target=0)
    first, second = net.conv(x).detach(), net.conv(x.flip(-1)).detach()
    weights = []
    for k in range(4):
        without = second.clone()
        without[:, k] = 0
        pooled = (first.relu() + 2 * without.relu()).mean((2, 3))
        weights.append((net(x) - net.fc(pooled)).detach()[:, 0])
    expected = torch.einsum("kb,bkhw->bhw", torch.stack(weights), second)
    assert torch.allclose(found.raw, expected, atol=1e-12)


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    gh.explain(
        residual(), images(2), "relu", method="ablationcam", call=0,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1] == (8, 8)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_autocast_around_the_call_is_around_every_run() -> None:
    net, x = Tied().float(), images(1).float()
    seen: list[bool] = []
    net.conv.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    plain = gh.explain(net, x, "conv", method="ablationcam", target=1)
    assert set(seen) == {False}
    seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gh.explain(net, x, "conv", method="ablationcam", target=1)
    assert set(seen) == {True}
    assert half.raw.dtype == torch.float32
    assert (half.maps - plain.maps).abs().max() < 0.1
