"""On how many networks each way just works: the model, its inputs, and nothing else.

This library and torchcam choose the layer themselves. grad-cam and captum cannot: they get the
layer that this library chose. The judge is the oracle of the tests at the layer that a way took,
its axes ordered by hand, with the tolerance of the other benchmarks. The sign is judged too,
before any ReLU, so that a map without evidence for its class is not held against a peer.
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Literal

import torch
from bench_given import NETWORKS, Given, Shape
from bench_layers import TOLERANCE
from bench_ways import RAW
from torch import Tensor, nn

from tests.support.oracle import error, grad_cam, oracle
from tests.support.zoo import ByHand, drawn, first

__all__ = ["NETWORKS", "OURS", "PEERS", "Row", "count_networks"]

OURS = "gradcam_hooks"
PEERS = ("grad-cam", "torchcam", "captum")

Word = Literal["right", "blank", "wrong", "crash"]


@dataclass(frozen=True)
class Outcome:
    """What came of one way on one network.

    Attributes:
        word: the verdict.
        layer: which layer was explained.
        kind: what sort of fault it is, or of which layer a map is right that we did not take.
        reason: the fault in full.
    """

    word: Word
    layer: str = ""
    kind: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        network: its name.
        layer: what this library chose.
        layout: how it read that layer's axes.
        ways: what each way made of it.
        wrapped: what the peers made of it with the logits picked for them, where the network
            returns more than these.
    """

    network: str
    layer: str
    layout: str
    ways: Mapping[str, Outcome]
    wrapped: Mapping[str, Outcome] = field(default_factory=dict)

    def right(self, way: str, *, wrapped: bool = False) -> bool:
        """Whether a way counts, with its logits picked for it or not."""
        ways = {**self.ways, **(self.wrapped if wrapped else {})}
        return ways[way].word == "right"


class _Logits(nn.Module):
    """The wrapper that a peer's user writes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: object) -> Tensor:
        return _logits(self.net(*args))


def _logits(output: object) -> Tensor:
    """The logits of every network here, by hand."""
    if isinstance(output, Mapping):  # transformers' outputs are mappings
        output = output["logits"]
    if isinstance(output, tuple):
        output = output[0]
    assert isinstance(output, Tensor)  # NETWORKS has no others
    return output


_DRAWS = 5
"""How often weights are drawn at most."""

_ATTENTION = re.compile(r"(^|\.)(attn|attention)\b")
"""Queries, keys and scores of heads, which have as many axes as feature maps and are none."""


@dataclass(frozen=True)
class _Judge:
    """One network in one precision, its inputs, and the truth about it."""

    model: nn.Module
    args: Sequence[Tensor]
    kwargs: Mapping[str, Tensor]
    classes: list[int]

    @classmethod
    def make(cls, given: Given, net: nn.Module, inputs: Sequence[Tensor]) -> _Judge:
        cut = len(inputs) - len(given.keywords)
        args, kwargs = inputs[:cut], dict(zip(given.keywords, inputs[cut:], strict=True))
        with torch.no_grad():
            classes: list[int] = _logits(net(*args, **kwargs)).argmax(1).tolist()
        return cls(net, args, kwargs, classes)

    def wrapped(self) -> _Judge:
        """The same with a model that returns its logits."""
        return _Judge(_Logits(self.model), self.args, self.kwargs, self.classes)

    def truth(self, layer: str, by_hand: ByHand) -> tuple[Tensor, Shape]:
        """The signed map at a layer, and the shape of what the layer gives."""

        def score(output: object) -> Tensor:
            return _logits(output)[range(len(self.classes)), self.classes]

        name, _, call = layer.partition("#")
        activation, gradient = oracle(
            self.model, name, score, *self.args, call=int(call or 0), **self.kwargs
        )
        space = tuple(self.args[0].shape[2:])
        raw = grad_cam(by_hand(activation, space), by_hand(gradient, space))
        return raw, tuple(activation.shape)

    def ours(self) -> tuple[Tensor, str, str, list[str]]:
        """Our raw map, the layer, how it was read, and what is wrong by its own account."""
        import gradcam_hooks as gh

        # With one input this is what gh.explain(model, x) is.
        result = gh.GradCAM(self.model)(*self.args, **self.kwargs)
        assert isinstance(result.raw, Tensor)  # "auto" takes one layer
        faults = [str(word) for word in result.diagnosis if word not in ("ok", "coarse")]
        return result.raw, result.layers[0], result.layouts[0], faults

    def theirs(self, way: str, layer: str) -> Tensor:
        """A peer's raw map of the inputs that go by position; none takes keywords."""
        images = [one.clone().requires_grad_() for one in self.args]
        given = images[0] if len(images) == 1 else tuple(images)
        # A tuple is what captum takes for several inputs; grad-cam takes one tensor.
        raw = RAW[way](self.model, layer, given, self.classes, False)  # type: ignore[arg-type]
        return raw.detach()

    def chosen_by_torchcam(self) -> str:
        """The layer that torchcam takes where it is told the input's shape, and nothing else."""
        from torchcam.methods import GradCAM

        with GradCAM(self.model, input_shape=tuple(self.args[0].shape[1:])) as extractor:
            return str(extractor.target_names[0])


def _verdict(raw: Tensor, truth: Tensor, layer: str) -> tuple[float, Outcome]:
    """How far off, and the word for it."""
    off = error(raw, truth)
    if off > TOLERANCE:
        kind, reason = "tensor", f"{layer} is off by {off:.1g} of the largest value"
        if raw.shape != truth.shape:
            shapes = f"{tuple(raw.shape[1:])} where space is {tuple(truth.shape[1:])}"
            kind, reason = "axes", f"a map of {shapes}, at {layer}"
        return off, Outcome("wrong", layer, kind, reason)
    spread = float((raw.amax() - raw.amin()) / raw.abs().amax().clamp_min(1e-30))
    if spread < TOLERANCE:
        return off, Outcome("blank", layer, "", "every position has the same value")
    return off, Outcome("right", layer)


def _crash(failure: Exception) -> Outcome:
    said = " ".join(str(failure).split())
    said = said if len(said) <= 100 else said[:97] + "..."
    return Outcome("crash", "", type(failure).__name__, said)


def _best(judges: Sequence[_Judge], ask: Callable[[_Judge], tuple[float, Outcome]]) -> Outcome:
    """The better of two precisions: rounding must not decide."""
    found = []
    for judge in judges:
        default = torch.get_default_dtype()
        torch.set_default_dtype(judge.args[0].dtype)  # torchcam's probe has it
        try:
            found.append(ask(judge))
        except Exception as failure:  # whatever it is, it is counted and told
            found.append((float("inf"), _crash(failure)))
        finally:
            torch.set_default_dtype(default)
        if found[-1][1].word == "right":
            break
    return min(found, key=lambda one: one[0])[1]


def _peer(way: str, judges: Sequence[_Judge], given: Given, ours: str) -> Outcome:
    def ask(judge: _Judge) -> tuple[float, Outcome]:
        layer, by_hand = ours, given.by_hand
        if way == "torchcam" or not layer:
            layer = judge.chosen_by_torchcam()
        name = layer.partition("#")[0]
        raw = judge.theirs(way, name)
        if layer == ours:
            truth, _ = judge.truth(layer, by_hand)
            return _verdict(raw, truth, layer)
        truth, shape = judge.truth(layer, first)
        if _ATTENTION.search(name):
            reason = f"{layer} of {shape} is no feature map"
            return float("inf"), Outcome("wrong", layer, "layer", reason)
        off, outcome = _verdict(raw, truth, layer)
        if outcome.word == "right":
            outcome = replace(outcome, kind=f"at {layer}")
        return off, outcome

    return _best(judges, ask)


def _same_tensor(judge: _Judge, layer: str) -> str:
    """The layer, or where it gives more than a tensor, the module that made its main one.

    grad-cam and captum want a layer that gives a tensor.
    """
    layer = layer.partition("#")[0]
    made: list[tuple[str, Tensor]] = []
    whole: list[object] = []

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, args: object, output: object) -> None:
            if name == layer:
                whole.append(output)
            elif isinstance(output, Tensor):
                made.append((name, output))

        return look

    handles = [one.register_forward_hook(hook(n)) for n, one in judge.model.named_modules()]
    with torch.no_grad():
        judge.model(*judge.args, **judge.kwargs)
    for handle in handles:
        handle.remove()
    if not whole or isinstance(whole[0], Tensor):
        return layer
    main = getattr(whole[0], "last_hidden_state", None)
    return next((name for name, output in made if output is main), layer)


def _row(name: str) -> Row:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    given = NETWORKS[name]
    for seed in range(1, _DRAWS + 1):
        rows = _trials(name, given, seed)
        # By chance nothing may speak for the class that was predicted: drawn again, for all ways.
        if not any(row.ways[OURS].kind == "all-negative" for row in rows):
            break

    def worst(outcomes: Sequence[Outcome]) -> Outcome:
        return next((one for one in outcomes if one.word != "right"), outcomes[0])

    ways = {way: worst([row.ways[way] for row in rows]) for way in rows[0].ways}
    wrapped = {way: worst([row.wrapped[way] for row in rows]) for way in rows[0].wrapped}
    return replace(rows[0], ways=ways, wrapped=wrapped)


def _trials(name: str, given: Given, seed: int) -> list[Row]:
    """The network with weights of this seed, at each of its inputs."""
    torch.manual_seed(seed)
    net = drawn(given.make())
    single = copy.deepcopy(net).float()
    rows = []
    for shapes in given.trials:
        inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        judges = [
            _Judge.make(given, single, [one.float() for one in inputs]),
            _Judge.make(given, net, inputs),
        ]
        rows.append(_trial(name, given, judges))
    return rows


def _trial(name: str, given: Given, judges: Sequence[_Judge]) -> Row:
    chosen = ["", ""]

    def ask(judge: _Judge) -> tuple[float, Outcome]:
        raw, layer, layout, faults = judge.ours()
        chosen[:] = layer, layout
        if faults:
            return float("inf"), Outcome("blank", layer, faults[0], "as its diagnosis says")
        truth, _ = judge.truth(layer, given.by_hand)
        return _verdict(raw, truth, layer)

    ways = {OURS: _best(judges, ask)}
    layer, layout = chosen
    single, double = judges
    theirs = _same_tensor(double, layer)
    for way in PEERS:
        ways[way] = _peer(way, judges, given, theirs)
    wrapped = {}
    if not isinstance(double.model(*double.args, **double.kwargs), Tensor):
        picked = [single.wrapped(), double.wrapped()]
        wrapped = {way: _peer(way, picked, given, f"net.{theirs}") for way in PEERS}
    return Row(name, layer, layout, ways, wrapped)


def count_networks(names: Sequence[str] | None, processes: int) -> Iterator[Row]:
    """A row for each network, or for some of them, as they come."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_row, name) for name in names or NETWORKS]):
            yield future.result()
