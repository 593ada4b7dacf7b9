"""Deep Feature Factorization: what in these images is the same, by the layer's own features.

The activations of all positions of all images are taken apart into a few concepts, each a vector of
channels and a map of how much of it there is where; both are nowhere negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import LayerError, OptionError, TargetError
from gradcam_hooks.methods.registry import Found, method
from gradcam_hooks.runs.run import Run, TappedLayer
from gradcam_hooks.runs.tail import Tail
from gradcam_hooks.targets import AllClasses, Selection, select

__all__ = ["dff", "factorize", "start"]


def factorize(
    activation: Tensor, concepts: int, *, steps: int = 200, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Non-negative matrix factorisation ``A = sum_c maps_c vectors_c`` over a batch at once.

    Args:
        activation: ``A (batch, channels, *space)``; what is negative counts as 0.
        concepts: how many there are to be.
        steps: of the multiplicative update of Lee and Seung 2001, which lowers
            ``|A - maps vectors|^2`` at every step.
        generator: for the start, see `start`; by default one seeded with 0.

    Returns:
        Maps ``(batch, concepts, *space)`` and vectors ``(concepts, channels)``. Each map's largest
        value in the batch is 1, so that its vector is in the activation's unit: what the features
        are where there is most of it. The concept that explains most is the first.

    >>> activation = torch.tensor([[[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0]]])
    >>> maps, vectors = factorize(activation, 2)
    >>> vectors.round(decimals=2)
    tensor([[0., 3.],
            [2., 0.]])
    """
    space = activation.shape[2:]
    rows = activation.flatten(2).transpose(1, 2).reshape(-1, activation.shape[1]).relu()
    unit = rows.amax().clamp_min(torch.finfo(rows.dtype).tiny)  # no square may leave the range
    rows = rows / unit
    amounts, vectors = start(rows, concepts, generator)
    tiny = torch.finfo(rows.dtype).tiny
    for _ in range(steps):
        amounts = amounts * (rows @ vectors.T) / (amounts @ (vectors @ vectors.T)).clamp_min(tiny)
        vectors = vectors * (amounts.T @ rows) / ((amounts.T @ amounts) @ vectors).clamp_min(tiny)
    peak = amounts.amax(0)
    alive = peak > 0
    amounts = amounts / torch.where(alive, peak, torch.ones_like(peak))
    vectors = vectors * peak[:, None]
    order = (amounts.norm(dim=0) * vectors.norm(dim=1)).argsort(descending=True, stable=True)
    maps = amounts[:, order].view(len(activation), -1, concepts).transpose(1, 2)
    largest = torch.finfo(rows.dtype).max  # beyond which rounding may carry it
    return maps.reshape(*maps.shape[:2], *space), (vectors[order] * unit).clamp_max(largest)


def start(
    rows: Tensor, concepts: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Where the factorisation of ``rows (positions, channels)`` starts: NNDSVDa.

    Of each leading pair of singular vectors the part of one sign that carries more, and the mean
    where there is nothing (Boutsidis and Gallopoulos 2008). The singular vectors come of a subspace
    iteration from a random one; of what is drawn next to nothing is left.

    Returns:
        Amounts ``(positions, concepts)`` and vectors ``(concepts, channels)``.
    """
    generator = generator or torch.Generator(rows.device).manual_seed(0)
    shape = rows.shape[1], min(concepts + _BESIDE, *rows.shape)
    noise = torch.randn(shape, generator=generator, device=generator.device, dtype=rows.dtype)
    basis = noise.to(rows.device)
    for _ in range(_TURNS):
        basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
    left, values, right = torch.linalg.svd(rows @ basis, full_matrices=False)
    left, values, right = left[:, :concepts], values[:concepts], (right @ basis.T)[:concepts]
    sides = []
    for sign in (1, -1):
        amounts, vectors = (sign * left).relu(), (sign * right).relu()
        lengths = amounts.norm(dim=0), vectors.norm(dim=1)
        sides.append((amounts, vectors, *lengths))
    (more, more_of, *up), (less, less_of, *down) = sides
    positive = up[0] * up[1] >= down[0] * down[1]
    amounts = torch.where(positive, more, less)
    vectors = torch.where(positive[:, None], more_of, less_of)
    length, width = (torch.where(positive, a, b) for a, b in zip(up, down, strict=True))
    tiny = torch.finfo(rows.dtype).tiny
    amounts = amounts * (values * width / length.clamp_min(tiny)).sqrt()
    vectors = vectors * (values * length / width.clamp_min(tiny)).sqrt()[:, None]
    mean = rows.mean()
    return torch.where(amounts == 0, mean, amounts), torch.where(vectors == 0, mean, vectors)


_TURNS, _BESIDE = 10, 8
"""Subspace iterations, and directions taken along so that the leading ones come out fast."""


@method(
    cls="DFF",
    paper="Collins et al. 2018, arXiv:1806.10206, section 3.1",
    cost="1 F + a tail for each concept",
    needs_gradients=False,
    class_specific=False,
    elsewhere=(
        "grad-cam takes each channel's smallest value off first, leaves the concepts' scale to "
        "chance, and asks for the classifier; here negative values are 0, a concept's map ends at "
        "1, and the network itself, from the layer on, tells its class."
    ),
)
def dff(run: Run, *, concepts: int = 4, steps: int = 200) -> Found:
    """Deep Feature Factorization: non-negative factors of the activations of all images, and each
    factor's class.

    The concepts are those into which a batch's features fall.

    Args:
        run: the pass through one layer.
        concepts: how many; they are those of the whole batch, so that the same concept is the same
            in every image.
        steps: see `factorize`.

    Returns:
        A raw map for each concept, ``(batch, concepts, *space)``, nowhere negative, with the
        concepts where other methods have targets; and the concepts' own scores
        ``(batch, concepts)``: the class that the network sees in a map that holds nothing but this
        concept's vector, at its strongest, at every position, and that class's logit. A class or a
        function as the target asks for that score of each concept instead.

    Collins et al. 2018 (arXiv:1806.10206), section 3.1: the factorisation of activations after a
    ReLU. The maps are the same for any class. As everywhere, each of the result's ``maps`` is
    scaled by itself; how much of a concept is in one image and in another, ``raw`` tells.

    Raises:
        OptionError: fewer concepts than 1, or more than there are channels or positions.
        LayerError: several layers, whose concepts have nothing to do with each other.
        TargetError: several targets for each image.
    """
    if len(run.layers) != 1:
        raise LayerError(
            f"Deep Feature Factorization finds the concepts of one layer, and "
            f"{', '.join(layer.label for layer in run.layers)} are {len(run.layers)}. Name one."
        )
    layer = run.layers[0]
    activation = layer.activation()
    most = min(activation.shape[1], len(activation) * activation[0, 0].numel())
    check_count(concepts, "concepts")
    check_count(steps, "steps")
    if concepts > most:
        raise OptionError(
            f"concepts={concepts} is more than the {most} that {tuple(activation.shape)} holds: "
            "as many as there are channels, or positions in all images, at most."
        )
    if run.scores.ndim > 1:
        raise TargetError(
            f"the maps of Deep Feature Factorization are of concepts, so target= is None (each "
            f"concept's own class), a class or a function, not {run.target!r}."
        )
    # An image with a NaN or an infinity has no part in the others' concepts.
    whole = activation.flatten(1).isfinite().all(1)
    shaped = whole.view(-1, *[1] * (activation.ndim - 1))
    maps, vectors = factorize(
        activation.where(shaped, 0), concepts, steps=steps, generator=run.generator()
    )
    maps = maps.where(shaped, torch.nan)
    return Found([maps], _scored(run, layer, vectors, whole.tolist()))


def _scored(run: Run, layer: TappedLayer, vectors: Tensor, whole: Sequence[bool]) -> Selection:
    """What the network says of each concept alone, in the place of each image that is ``whole``."""
    wide = run
    if run.asks_classes:
        every = select(AllClasses(), run.chosen, run.batch)
        wide = replace(run, target=AllClasses(), selected=every)
    scores = []
    for index in range(run.batch):
        if not whole[index]:
            shape = len(vectors), *wide.scores.shape[1:]
            scores.append(torch.full(shape, torch.nan, device=vectors.device))
            continue
        tail = Tail(wide, layer, index)

        def filled(part: slice, tail: Tail = tail) -> Tensor:
            copies = tail.copies(part.stop - part.start)
            copies[:] = vectors[part].view(*vectors[part].shape, *[1] * (copies.ndim - 2))
            return copies

        scores.append(tail.scores(len(vectors), filled))
        run.step(index + 1, run.batch)
    said = torch.stack(scores)  # (batch, concepts[, classes])
    if not run.asks_classes:
        return Selection(said, None)
    if run.target is None:
        best, classes = said.max(2)
        return Selection(best, classes)
    assert run.selected.index is not None  # a class was asked for
    classes = run.selected.index[:, None].expand(said.shape[:2])
    return Selection(said.gather(2, classes[..., None]).squeeze(2), classes)
