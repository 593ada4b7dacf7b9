"""The law of no trace: whatever is explained and however it ends, all is as it was found.

Asked of networks with each trait that a pass may leave traces in, of every method, of errors in
any module, hook or target at any call, and of Ctrl-C at any step.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.every import CHEAP, attends, vit
from tests.support.nets import images, residual
from tests.support.strikes import Strike
from tests.support.traces import snapshot
from tests.support.traits import ERRORS, NETWORKS, Failing, Plan, drawn, plans

METHODS = list(gh.METHODS)


def left_as_found(net: nn.Module, work: Callable[[], object]) -> None:
    """Do it, let it fail as it likes, and look at everything."""
    before = snapshot(net)
    with contextlib.suppress(BaseException), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work()
    after = snapshot(net)
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == []
    copy.deepcopy(net)


settled = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20")),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)

WHERE = ("nowhere", "module", "enters", "target", "step")
TARGETS = (1, None, "function", gh.TopK(2), gh.AllClasses(), gh.Probability(1), 99)


def asked(
    net: nn.Module,
    layer: str,
    method: str,
    target: object,
    where: str,
    fails: Failing,
    number: int,
    **options: object,
) -> Callable[[], object]:
    """An explanation in which something fails, or nothing."""
    modules = list(net.modules())
    if where == "module":
        modules[number % len(modules)].register_forward_hook(fails)
    if where == "enters":
        modules[number % len(modules)].register_forward_pre_hook(fails)

    def function(output: Tensor) -> Tensor:
        if where == "target":
            fails()
        return output[:, 1]

    return lambda: gh.explain(
        net,
        images().to(next(net.parameters())),
        layer if number % 2 else "auto",
        method=method,
        target=function if target == "function" or where == "target" else target,  # type: ignore[arg-type]
        progress=fails if where == "step" else None,
        **CHEAP.get(method, {}),
        **options,
    )


@settled
@given(
    st.sampled_from(sorted(NETWORKS)),
    st.sampled_from(METHODS),
    st.booleans(),
    st.sampled_from(WHERE),
    st.sampled_from(ERRORS),
    st.sampled_from(TARGETS),
    st.integers(1, 30),
    st.integers(0, 2**16),
)
def test_whatever_is_explained_and_however_it_ends(
    name: str,
    method: str,
    training: bool,
    where: str,
    error: type[BaseException],
    target: object,
    at: int,
    number: int,
) -> None:
    make, layer = NETWORKS[name]
    net = make()
    net.requires_grad_(number % 3 > 0).train(training)
    left_as_found(net, asked(net, layer, method, target, where, Failing(error, at), number))


@settled
@given(
    plans,
    st.booleans(),
    st.sampled_from([one for one in METHODS if not attends(one)]),
    st.booleans(),
    st.sampled_from(WHERE),
    st.sampled_from(ERRORS),
    st.sampled_from(TARGETS),
    st.integers(1, 30),
    st.integers(0, 2**16),
)
def test_of_whatever_the_network_is_made(
    plan: Plan,
    shared: bool,
    method: str,
    training: bool,
    where: str,
    error: type[BaseException],
    target: object,
    at: int,
    number: int,
) -> None:
    net = drawn(plan, shared=shared).train(training)
    names = [name for name, _ in net.named_modules() if name and not name.startswith("fc")]
    layer, fails = names[number % len(names)], Failing(error, at)
    call = -1 if number % 4 else "all"
    left_as_found(net, asked(net, layer, method, target, where, fails, number, call=call))


def steps_of(work: Callable[[], object]) -> int:
    work()  # what is found out once, is
    never = Strike(0)
    assert not never.during(work)
    return never.moments


@pytest.mark.parametrize("method", METHODS)
def test_every_method_after_ctrl_c_at_some_steps(method: str) -> None:
    net = (vit() if attends(method) else residual()).train()
    layer, x = ("blocks.1", images(1)) if attends(method) else ("drop", images(1, (4, 4)))

    def work() -> object:
        return gh.explain(net, x, layer, method=method, target=1, **CHEAP.get(method, {}))

    moments = steps_of(work)
    for at in range(moments // 8, moments, moments // (2 if moments > 20_000 else 5)):
        strike = Strike(at)
        left_as_found(net, lambda strike=strike: strike.during(work))
        assert strike.where


# Where it comes in a callback of a weak reference, as torch has them, Python goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("block", [False, True])
def test_ctrl_c_in_a_call_and_in_a_block(*, block: bool) -> None:
    net = residual().train()

    def work() -> None:
        if not block:
            gh.explain(net, images(), "bn2", target=1)
            return
        with gh.GradCAM(net, "bn2") as cam:
            cam(images(), target=1)

    moments, came = steps_of(work), 0
    before = snapshot(net)
    for at in range(1, moments, 31):
        strike = Strike(at)
        came += strike.during(work)
        assert not any(one._forward_hooks for one in net.modules()), strike.where
        assert not torch.is_inference_mode_enabled(), strike.where
        assert torch.is_grad_enabled(), strike.where
        assert net.training, strike.where
    assert came > 60
    assert snapshot(net) == before


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def strike_on_the_way_out(frame: FrameType, event: str, argument: object) -> None:
    generator = getattr(frame.f_locals.get("self"), "gen", None)
    leaving = event == "call" and frame.f_code.co_name == "__exit__"
    if leaving and getattr(generator, "__name__", "") == "without_gradients":
        raise KeyboardInterrupt


def test_a_generators_block_is_not_left_later_with_the_traceback() -> None:
    # Torch has such blocks. Closed when the traceback is dropped, this one would put back then
    # what it had found, inside the call: gradients off, for good.
    def target(output: Tensor) -> Tensor:
        with without_gradients():
            return output[:, 1]

    def struck() -> None:
        before = sys.getprofile()
        try:
            sys.setprofile(strike_on_the_way_out)
            gh.explain(residual(), images(), "bn2", target=target, method="eigencam")
        finally:
            sys.setprofile(before)

    with pytest.raises(KeyboardInterrupt) as caught:
        struck()
    assert torch.is_grad_enabled()
    del caught
    gc.collect()
    assert torch.is_grad_enabled()


def test_a_part_under_torch_compile() -> None:
    net, x = residual(), images()
    want = gh.explain(net, x, "bn1", target=1)
    net.conv2 = torch.compile(net.conv2, backend="eager")  # type: ignore[assignment]
    net.relu.compile(backend="eager")
    with torch.no_grad():
        plain = net(x)
        left_as_found(net.train(), lambda: gh.explain(net, x, "bn1", target=1))
        assert torch.allclose(gh.explain(net, x, "bn1", target=1).raw, want.raw, rtol=1e-12)
        assert torch.equal(net.eval()(x), plain)
