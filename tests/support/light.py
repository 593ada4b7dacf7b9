"""Networks whose layers' axes are known from their architecture, and how a reading is judged.

The truth of an activation is told in words: ``(b h1=4 w1=6) (h2=4 w2=4) -`` are windows, ``-`` an
axis that carries nothing, ``1+(h=4 w=6)+2`` tokens with a class token ahead and two behind, ``?``
one that nobody can read, ``b|B`` the batch of both inputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradcam_hooks.layout.factors import AxisReading, Factor, Reading

Inputs = list[Tensor]

Key = tuple[int, int]
"""An axis of an input: which input, and which of its axes."""


@dataclass(frozen=True)
class Net:
    """A network, its inputs and what some of its layers carry.

    Attributes:
        name: of the network.
        build: makes it.
        inputs: the inputs' shapes, or a function that makes them.
        axes: the words of the inputs' axes, with a comma between two inputs.
        layers: for each layer's name, the truth of each of its calls; ``name#1`` is the second of
            the tensors that it returns.
        names: of the inputs, where they go by keyword.
        spans: for a layer whose map lies on a part of the input, or mirrored, where it begins and
            ends along each axis of space; ``name#1`` is the second call.
        slow: whether only the benchmark runs it.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    axes: str
    layers: Mapping[str, Sequence[str]]
    names: tuple[str, ...] = ()
    spans: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    slow: bool = False
    words: tuple[tuple[str, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        words = tuple(tuple(part.split()) for part in self.axes.split(","))
        object.__setattr__(self, "words", words)

    @property
    def truths(self) -> list[tuple[str, str]]:
        """Each layer and the truth of each of its calls."""
        return [(layer, truth) for layer, truths in self.layers.items() for truth in truths]


@contextmanager
def tapped(net: Net, model: nn.Module) -> Iterator[Callable[[Sequence[Tensor]], list[Tensor]]]:
    """A callable that runs the network and gives the activations of its layers, call by call."""
    found: dict[str, list[Tensor]] = {}

    def keep(layer: str, number: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            found[layer].append(tensors(output)[number])

        return hook

    modules = dict(model.named_modules())
    handles = []
    for layer in net.layers:
        name, _, number = layer.partition("#")
        handles.append(modules[name].register_forward_hook(keep(layer, int(number or 0))))

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        found.update({layer: [] for layer in net.layers})
        torch.manual_seed(7)  # the caller puts random state back
        model(*inputs[: 0 if net.names else None], **dict(zip(net.names, inputs, strict=False)))
        return [value for layer in net.layers for value in found[layer]]

    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()


def tensors(output: object) -> list[Tensor]:
    """All tensors of an output."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return [tensor for part in output for tensor in tensors(part)]
    return []


def made(net: Net) -> tuple[nn.Module, Inputs]:
    """The network in eval mode and its inputs, the same ones each time."""
    torch.manual_seed(len(net.name) + 1)
    model = net.build().eval()
    return model, net.inputs()


def claimed(truth: str, net: Net, shape: Sequence[int], sizes: Inputs) -> list[AxisReading | None]:
    """The truth as axes; None for an axis that nobody can read."""
    parts = re.findall(r"(?:\d+\+)?(?:\([^)]*\)|[^\s()+]+)(?:\+\d+)?", truth)
    assert len(parts) == len(shape), (truth, shape)
    return [_axis(part, length, net, sizes) for part, length in zip(parts, shape, strict=True)]


def _axis(part: str, length: int, net: Net, inputs: Inputs) -> AxisReading | None:
    if part == "?":
        return None
    match = re.fullmatch(r"(?:(\d+)\+)?(.*?)(?:\+(\d+))?", part)
    assert match is not None
    ahead, body, behind = int(match[1] or 0), match[2], int(match[3] or 0)
    words = body.strip("()").split()
    cells = length - ahead - behind
    if length == 1 or words == ["-"]:
        return AxisReading(length)
    sizes = {word: _size(word, net, inputs) for word in words}
    if len(words) == 1 and "=" not in words[0]:
        sizes[words[0]] = cells
    known = 1
    for size in sizes.values():
        known *= size or 1
    factors = []
    for word, size in sizes.items():
        name = word.partition("=")[0]
        keys = _keys(name, net)
        coarse = 10.0 ** -int((re.findall(r"\d$", name) or ["0"])[0])
        first = keys[0] if keys else (None, None)
        factors.append(Factor(*first, size or cells // known, coarse, tuple(keys[1:])))
    assert cells == _product(f.size for f in factors), (part, length, factors)
    return AxisReading(length, ahead, behind, tuple(factors))


def _size(word: str, net: Net, inputs: Inputs) -> int | None:
    name, _, size = word.partition("=")
    if size:
        return int(size)
    keys = _keys(name, net)
    return inputs[keys[0][0]].shape[keys[0][1]] if keys and keys[0][1] == 0 else None


def _keys(name: str, net: Net) -> list[tuple[int, int]]:
    keys = []
    for word in name.split("|"):
        bare = word.rstrip("0123456789")
        for number, words in enumerate(net.words):
            if bare in words:
                keys.append((number, words.index(bare)))
    return keys


def _product(sizes: Iterator[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def agrees(axes: Sequence[AxisReading], truth: Sequence[AxisReading | None]) -> bool:
    """Whether axes are those of the truth, the order of coarse and fine factors as well."""
    for axis, true in zip(axes, truth, strict=True):
        if true is None:
            return False
        if (axis.length, axis.prefix, axis.suffix) != (true.length, true.prefix, true.suffix):
            return False
        if [_plain(f) for f in axis.factors] != [_plain(f) for f in true.factors]:
            return False
    expected = _coarse([axis for axis in truth if axis is not None])
    found = _coarse(axes)
    return all(found[key] == order for key, order in expected.items())


def _plain(factor: Factor) -> tuple[frozenset[tuple[int, int]], int]:
    return frozenset(factor.keys), factor.size


def _coarse(axes: Sequence[AxisReading]) -> dict[object, list[object]]:
    """For each axis of an input, its factors from coarse to fine, by the axes they are on."""
    found: dict[object, list[tuple[float, int, int]]] = {}
    for number, axis in enumerate(axes):
        for place, factor in enumerate(axis.factors):
            for key in factor.keys:
                found.setdefault(key, []).append((-abs(factor.slope), number, place))
    return {
        key: [factor[1:] for factor in sorted(factors)]
        for key, factors in found.items()
        if len({round(factor[0], 3) for factor in factors}) == len(factors) > 1
    }


def verdict(reading: Reading, truth: Sequence[AxisReading | None]) -> str:
    """``right``, ``wrong``, or undecided with the right axes (``und+``) or without (``und-``)."""
    right = agrees(reading.axes, truth)
    if reading.doubts:
        return "und+" if right else "und-"
    return "right" if right else "WRONG"
