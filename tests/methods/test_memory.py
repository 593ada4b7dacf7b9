"""Nothing of a call is alive once its result is dropped, whichever method and option."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.tap import Tap, Way
from tests.support.every import CHEAP, attends, vit
from tests.support.live import flat, frozen
from tests.support.nets import images, residual

RULES = [name for name, one in gh.METHODS.items() if one.rule and one.needs_gradients]
WAYS: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in gh.METHODS),
    *((name, {"target": gh.AllClasses()}) for name in ("gradcam", "shapleycam", "legrad")),
    *((name, {"differentiable": True}) for name in RULES),
    ("gradcam", {"differentiable": True, "target": gh.AllClasses()}),
    ("gradcam", {"sampler": gh.Noise(samples=2)}),
    ("layercam", {"layer": ["bn1", "bn2"]}),
    ("gradcam", {"layer": "auto"}),
]


_frozen = pytest.fixture(autouse=True)(frozen)


@pytest.mark.parametrize(("method", "options"), WAYS, ids=str)
def test_nothing_of_a_call_is_alive_afterwards(method: str, options: dict[str, object]) -> None:
    # A sigmoid behind the layer: the gradient itself is in the graph then, where one is asked.
    net = vit() if attends(method) else residual()
    if not attends(method) and method not in ("cam", "liftcam", "guidedbackprop", "guidedgradcam"):
        net.relu = nn.Sigmoid()  # type: ignore[assignment]
    net.requires_grad_()
    given = {"layer": "blocks.1" if attends(method) else "drop", "target": 1, **options}
    options = {**CHEAP.get(method, {}), **given}
    if method == "fullgrad":
        options["complete"] = False

    def work() -> None:
        options.setdefault("method", method)
        result = gh.explain(net, images(1, (8, 8)), **options)  # type: ignore[arg-type]
        assert result.maps.requires_grad == ("differentiable" in options)

    flat(work)


def test_the_count_would_notice_a_circle_through_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaking(Tap):
        kept: Tensor | None = None

        def __init__(self, output: Tensor, way: Way) -> None:
            super().__init__(output, way)
            self.register_full_backward_hook(_keep)

    def _keep(tap: nn.Module, given: object, gradients: tuple[Tensor, ...]) -> None:
        tap.kept = gradients[0]  # type: ignore[assignment]

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    monkeypatch.setattr("gradcam_hooks.network.hooks.Tap", Leaking)
    with pytest.raises(AssertionError):
        flat(lambda: gh.explain(net.double(), images(), "0", target=1, differentiable=True))


def test_many_calls_leave_no_object_and_no_open_file() -> None:
    net, files = residual(), Path("/proc/self/fd")

    def counted() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), len([*files.iterdir()]) if files.exists() else 0

    def work() -> None:
        gh.explain(net, images(1), "bn2", target=1)

    work()
    work()
    before = counted()
    for _ in range(50):
        work()
    objects, opened = counted()
    assert opened == before[1]
    assert objects <= before[0] + 25  # one kept by each call would be twice as many
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())
