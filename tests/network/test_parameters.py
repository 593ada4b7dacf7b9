"""Parameters that a forward writes to: as they were, whichever way; other threads' writes stay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.parameters import _KEPT, may_write
from tests.support.meanwhile import Meanwhile, apart
from tests.support.nets import images, residual
from tests.support.traces import snapshot


def halve(weight: Tensor) -> None:
    weight.detach().div_(2)


class Constrained(nn.Conv2d):
    """A convolution that keeps its weight within bounds, as EEGNet's does."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=0.1)
        return super().forward(x)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.shift = nn.Parameter(torch.ones(4))

    def before(self) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        self.before()
        features = self.conv(x).relu().mean((2, 3)) + self.shift
        logits: Tensor = self.fc(features)
        return logits


class ByData(Base):
    def before(self) -> None:
        self.fc.weight.data.clamp_(-0.1, 0.1)


class Assigned(Base):
    def before(self) -> None:
        with torch.no_grad():
            self.shift *= 2


class Indexed(Base):
    def before(self) -> None:
        with torch.no_grad():
            self.shift[0] = 7.0


class ByHelper(Base):
    def before(self) -> None:
        halve(self.conv.weight[:2])


class ByOut(Base):
    def before(self) -> None:
        with torch.no_grad():
            torch.mul(self.shift, 3, out=self.shift.data)


class ByNumPy(Base):
    def before(self) -> None:
        self.shift.detach().numpy().fill(5)


class Freezing(Base):
    def before(self) -> None:
        self.shift.requires_grad_(not self.shift.requires_grad)


class Training(Base):
    """Adapts itself to what it is given, as test-time training does."""

    def before(self) -> None:
        with torch.enable_grad():
            self.shift.square().sum().backward()
        torch.optim.SGD([self.shift, self.fc.bias], 0.1).step()


class Replaced(Base):
    def before(self) -> None:
        self.shift = nn.Parameter(torch.zeros(4, dtype=torch.float64))


class Inner(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Constrained(3, 4, 3)

    def before(self) -> None:
        pass


class Words(nn.Module):
    """An embedding whose rows are cut to a norm as they are looked up."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(9, 3, max_norm=0.1)
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        shift = self.embedding(torch.arange(4, device=x.device)).mean(0)
        logits: Tensor = self.fc(self.conv(x + shift[:, None, None]).relu().mean((2, 3)))
        return logits


class ByInit(Base):
    def before(self) -> None:
        nn.init.constant_(self.fc.weight, 0.5)


class ByLoading(Base):
    def before(self) -> None:
        self.fc.load_state_dict({k: v / 2 for k, v in self.fc.state_dict().items()})


class Books:
    """What is no module, and has a weight."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def turn(self) -> None:
        halve(self.weight)

    def __call__(self, *_: object) -> None:
        halve(self.weight)


class OfItsOwn(nn.Module):
    """A part that is not run, and changes itself when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def turn(self) -> None:
        halve(self.weight)


class ByPart(Base):
    def __init__(self) -> None:
        super().__init__()
        self.part = OfItsOwn()

    def before(self) -> None:
        self.part.turn()


class ByHelpersMethod(Base):
    def __init__(self) -> None:
        super().__init__()
        self.helper = Books(self.conv.weight)

    def before(self) -> None:
        self.helper.turn()


class ByHelpersCall(ByHelpersMethod):
    def before(self) -> None:
        self.helper()


class ByAttribute(Base):
    def __init__(self) -> None:
        super().__init__()
        self.change = partial(halve)

    def before(self) -> None:
        self.change(self.conv.weight)


def enclosing() -> type[Base]:
    def shrink(weight: Tensor) -> None:
        halve(weight)

    class ByEnclosed(Base):
        def before(self) -> None:
            shrink(self.conv.weight)

    return ByEnclosed


class ByProperty(Base):
    @property
    def bounded(self) -> Tensor:
        halve(self.conv.weight)
        return self.conv.weight

    def before(self) -> None:
        self.bounded.abs()


class ByClass(Base):
    class Changes:
        @staticmethod
        def shrink(weight: Tensor) -> None:
            halve(weight)

    def before(self) -> None:
        self.Changes.shrink(self.conv.weight)


class ByModuleOfPython(Base):
    def before(self) -> None:
        helpers.shrink(self.conv.weight)


helpers = ModuleType("helpers")
helpers.shrink = halve  # type: ignore[attr-defined]


class Emptying(Base):
    """Empties the gradients that somebody gathers."""

    def before(self) -> None:
        self.zero_grad(set_to_none=False)


WAYS: tuple[Callable[[], nn.Module], ...] = (
    *(ByInit, ByLoading, ByPart, ByHelpersMethod, ByHelpersCall, ByAttribute, enclosing()),
    *(
        ByProperty,
        ByClass,
        ByModuleOfPython,
        Emptying,
        ByData,
        Assigned,
        Indexed,
        ByHelper,
        ByOut,
        ByNumPy,
        Freezing,
    ),
    *(Training, Replaced, Inner),
)


@pytest.mark.parametrize("method", ["gradcam", "scorecam"])
@pytest.mark.parametrize("kind", [*WAYS, Words])
def test_whatever_way_a_forward_writes_to_its_parameters(
    kind: Callable[[], nn.Module], method: str
) -> None:
    net, x = kind().double().eval(), images()
    twin = copy.deepcopy(net)
    for one in (net, twin) if isinstance(net, Base) else ():
        one.shift.grad = torch.full_like(one.shift, 3.0)
    plain = twin(x).detach()
    before = snapshot(net)
    result = gh.explain(net, x, "conv", target=1, method=method)
    assert snapshot(net) == before
    assert not _KEPT
    assert torch.allclose(result.scores, plain[:, 1], rtol=1e-12)
    gh.layers(net, x)
    assert snapshot(net) == before
    net(x)
    assert snapshot(net) != before  # the proof of the proof


def test_by_a_forward_that_somebody_put_in_its_place() -> None:
    net, x = residual(), images()
    plain = net.fc.forward

    def forward(given: Tensor) -> Tensor:
        net.fc.weight.data.mul_(2)
        return plain(given)

    net.fc.forward = forward  # type: ignore[method-assign]
    before = snapshot(net)
    gh.explain(net, x, "bn2", target=1)
    assert snapshot(net) == before


def test_by_hooks_of_any_kind() -> None:
    net, x = residual(), images()
    net.conv1.register_forward_pre_hook(Books(net.conv1.weight))
    net.bn1.register_forward_hook(partial(lambda weight, *_: halve(weight), net.fc.weight))
    net.fc.register_forward_pre_hook(Books(net.fc.bias).__call__)
    before = snapshot(net)
    gh.explain(net, x, "bn2", target=1)
    assert snapshot(net) == before


def test_by_a_hook_and_after_an_error() -> None:
    def double(module: nn.Module, args: object) -> None:
        module.weight.data.mul_(2)

    net, x = residual(), images()
    net.conv1.register_forward_pre_hook(double)
    before = snapshot(net)
    gh.explain(net, x, "bn2", target=1)
    with pytest.raises(gh.TargetError):
        gh.explain(net, x, "bn2", target=9)
    assert snapshot(net) == before


def test_what_another_thread_writes_meanwhile_stays() -> None:
    class Both(ByData):
        def __init__(self) -> None:
            super().__init__()
            self.place = Meanwhile()

        def forward(self, x: Tensor) -> Tensor:
            return self.place(super().forward(x))

    net, x = Both().double().eval(), images()
    net.fc.weight.data.mul_(3)
    weight = net.fc.weight.detach().clone()

    def step() -> None:
        with torch.no_grad():
            net.conv.weight.fill_(0.5)
        net.shift.sum().backward()

    with net.place.doing(lambda: apart(step)):
        gh.explain(net, x, "conv", target=1)
    assert torch.equal(net.fc.weight, weight)
    assert bool((net.conv.weight == 0.5).all())
    assert net.shift.grad is not None


def test_networks_that_write_to_none_pay_nothing() -> None:
    nets: list[nn.Module] = [torchvision.models.mobilenet_v3_small(), residual()]
    nets += [timm.create_model(name) for name in ("test_vit", "test_convnext", "test_efficientnet")]
    assert [may_write(list(net.modules())) for net in nets] == [False] * len(nets)
    assert all(may_write(list(kind().modules())) for kind in (*WAYS[:-2], Inner, Words))
