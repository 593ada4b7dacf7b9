"""What is read with nothing said, against networks whose axes are known: right, or refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.light import Net
from tests.support.light_judge import judged
from tests.support.light_kinds import KINDS
from tests.support.light_own import OWN
from tests.support.light_parts import Do, cnn
from tests.support.light_trained import TRAINED

_LEFT = ("characters", *(net.name for net in TRAINED if not net.name.startswith("honest")))
NETS = [net for net in (*OWN, *KINDS, *TRAINED) if net.name not in _LEFT]

#: Maps that are refused: it is not told what of them is what.
REFUSED = {
    "heads in the batch": "which of them are channels",
    "letterboxed": "sees its input padded",
    "neighbours of points": "tokens, padding, or places",  # the last points are also the first
    "edges between points": "which of them are channels",
    "a ring of points": "tokens, padding, or places",
    "pixels unshuffled": "which of them are channels",
    "state for state": "does not tell",  # as many frames as colours
}


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_a_layer_is_read_right_or_refused(net: Net) -> None:
    for one in judged(net):
        assert one.word != "WRONG", one
        if one.map and one.word == "refused":
            assert REFUSED[net.name] in one.said, one


@pytest.mark.parametrize(
    "net",
    [
        net
        for net in NETS
        if net.name in ("series with a class token", "mirrored in the same batch")
    ],
    ids=lambda net: net.name,
)
def test_so_it_is_of_one_picture(net: Net) -> None:
    assert all(one.word != "WRONG" for one in judged(net, 1))


def noisy(noise: object) -> nn.Module:
    def forward(s: Do, x: Tensor) -> Tensor:
        s.passes += 1
        return s.head(s.cnn(noise(x)).mean((2, 3)))

    net = Do(forward, cnn=cnn(), head=nn.Linear(24, 3))
    net.passes = 0
    return net.eval()


def test_a_network_that_draws_random_numbers_is_asked_once() -> None:
    torch.manual_seed(0)
    net = noisy(lambda x: x.flip(3) + 0.02 * torch.randn(x.shape))
    x = torch.randn(2, 3, 32, 48)
    first = gh.explain(net, x, "cnn", target=1)
    asked = net.passes
    again = gh.explain(net, x, "cnn", target=1)
    assert net.passes == asked + 1
    assert first.layouts == again.layouts == ("b c=24 h=8 w=12",)


def test_the_callers_random_state_decides_nothing() -> None:
    torch.manual_seed(0)
    net, x = noisy(lambda x: x.mT).double(), torch.randn(1, 3, 24, 32, dtype=torch.float64)
    told = set()
    for seed in range(4):
        fresh = copy.deepcopy(net)  # which was asked nothing yet
        torch.manual_seed(seed)
        told.add(gh.explain(fresh, x, "cnn", target=1, layout="probe").layouts)
    assert told == {("b c=24 w=8 h=6",)}


def test_chance_that_moves_cells_is_refused() -> None:
    torch.manual_seed(0)
    net = noisy(lambda x: x.flip(3) if torch.rand(()) < 0.5 else x.flip(2))
    with pytest.raises(gh.LayoutError, match="random numbers that it draws move its cells"):
        gh.explain(net, torch.randn(2, 3, 32, 48), "cnn", target=1)


class Learned(nn.Module):
    """A grid of tokens against itself, ahead of a softmax: as square as a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.logits = nn.Conv2d(3, 24, 8, 8), nn.Identity()
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        weights = self.logits((tokens @ tokens.mT)[:, None]).softmax(-1)[:, 0]
        return self.head((weights @ tokens).mean(1))


def test_what_tokens_are_to_tokens_is_no_picture() -> None:
    torch.manual_seed(0)
    with pytest.raises(gh.LayoutError, match="as the weights of an attention do"):
        gh.explain(Learned().eval(), torch.randn(1, 3, 48, 48), "logits", target=0)
