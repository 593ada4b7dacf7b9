"""Guided backpropagation and Guided Grad-CAM: sharp pictures, and a warning.

**Both fail the sanity checks of Adebayo et al. 2018 (arXiv:1810.03292)**: with the weights of the
upper layers drawn at random, the picture stays nearly the same, because it is an edge detector more
than an explanation of the answer. They are here because they are asked for and to compare with.

No module is touched: while the pass runs, every ReLU, be it a module or a function, is seen and
given the guided backward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gradcam_hooks.errors import GradientError, InputError, OptionError
from gradcam_hooks.maps import resize
from gradcam_hooks.methods.gradient import gradcam
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.runs.function_rules import Back, Op, Watching, ruled, slope
from gradcam_hooks.runs.run import NoPath, Run

__all__ = ["guided_backprop", "guided_gradcam", "guided_gradients"]

_RECTIFIERS = frozenset(["relu", "relu6", "hardtanh", "threshold", "clamp", "clamp_min", "clip"])
"""What a ReLU may be called; those that do not cut at 0 are left alone."""

_KIN = frozenset(
    [
        "celu",
        "elu",
        "gelu",
        "hardswish",
        "leaky_relu",
        "mish",
        "prelu",
        "rrelu",
        "selu",
        "silu",
        "softplus",
        "softshrink",
        "tanhshrink",
        "hardshrink",
        "logsigmoid",
    ]
)
"""What stands where a ReLU could; sigmoids, tanh and softmax squash or gate and are left alone."""


class _Guiding(Watching):
    """The pass in which no negative gradient goes through a ReLU."""

    def __init__(self, others: str) -> None:
        super().__init__(_RECTIFIERS | _KIN)
        self.guided: Counter[str] = Counter()
        self.unruled: Counter[str] = Counter()
        self._others = others

    def replaced(self, op: Op) -> object:
        rectifier = _rectifies(op)
        if not (torch.is_grad_enabled() and op.given.requires_grad):
            return op.plain()
        if not rectifier and (op.name not in _KIN or self._others == "error"):
            if op.name in _KIN:
                self.unruled[op.name] += 1
            return op.plain()
        self.guided[op.name] += 1
        return op.put(ruled(_guided(op, rectifier=rectifier), op.given))


def _guided(op: Op, *, rectifier: bool) -> Callable[[], tuple[Tensor, Back]]:
    def ruled_run() -> tuple[Tensor, Back]:
        given = op.given.detach()
        if op.name == "relu":
            value = given.relu()
            through = given > 0
        else:
            value, through = op.at(given), slope(op, given)
            if rectifier:  # clamp's derivative at 0 itself is 1
                through = through * (given > 0)
        return value, lambda gradient: gradient.relu() * through

    return ruled_run


def _rectifies(op: Op) -> bool:
    """Whether it is 0 below 0 and, from there on, the identity up to some value."""
    if op.name in ("relu", "relu6"):
        return True
    if op.name == "threshold":
        return op.argument(1, "threshold") == 0 and op.argument(2, "value") == 0
    low = op.argument(1, "min_val" if op.name == "hardtanh" else "min")
    return isinstance(low, int | float) and low == 0


def guided_gradients(run: Run, *, others: str = "error") -> list[Tensor]:
    """For each column of scores the guided gradient at the input, ``(batch, channels, *space)``.

    Raises:
        GradientError, OptionError: as `guided_backprop`.
    """
    if others not in ("error", "guide"):
        raise OptionError(f"others= is 'error' or 'guide', not {others!r}.")
    guiding = _Guiding(others)
    with torch.enable_grad():
        image = run.image.detach().clone().requires_grad_()
        with guiding:  # a copy, which the network may change in place
            again = run.look_again(image.clone(), "uncut")
    scripted = [n for n, m in run.model.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        raise GradientError(
            f"{scripted[0]!r} is TorchScript, whose ReLUs cannot be guided. Build it without "
            "torch.jit.script, or take 'gradcam'."
        )
    if guiding.unruled:
        what = " and ".join(f"{name} ({count} times)" for name, count in guiding.unruled.items())
        raise GradientError(
            f"guided backpropagation is a rule for ReLU, and this network runs {what}, through "
            "which the plain gradient would pass. Ask for the rule relu(gradient) times derivative "
            "there with others='guide', or take 'gradcam'."
        )
    if not guiding.guided:
        raise GradientError(
            "guided backpropagation is a rule for ReLU, and no ReLU ran between the input and the "
            "score: what comes out would be the plain gradient. Take 'gradcam'."
        )
    found = []
    for column in again.columns():
        if not column.requires_grad:
            raise NoPath(_LOST)
        back = partial(_back, column, image)
        (gradient,) = unscaled(back, again.passed.kinds(column, image))
        if gradient is None:
            raise NoPath(_LOST)
        found.append(gradient.to(torch.promote_types(gradient.dtype, torch.float32)))
    return found


def _back(column: Tensor, image: Tensor, factor: float, _: object) -> tuple[Tensor | None, ...]:
    seed = torch.full_like(column, factor)
    return torch.autograd.grad(column, image, seed, retain_graph=True, allow_unused=True)


_LOST = (
    "no gradient can flow from the score back to the input: somewhere the model or the target "
    "function leaves the graph (detach(), no_grad, argmax, round, numpy())."
)


@method(
    "guidedbackprop",
    cls="GuidedBackprop",
    paper="Springenberg et al. 2014, arXiv:1412.6806, section 3.4",
    cost="2 F + 1 B",
    looks="input",
    elsewhere=(
        "Fails the sanity checks of Adebayo et al. 2018. grad-cam and captum guide modules only, "
        "and where a network has none return the plain gradient; grad-cam leaves its own ReLUs in "
        "the model, without inplace."
    ),
)
def guided_backprop(run: Run, *, others: str = "error") -> list[Tensor]:
    """Guided Backpropagation: the gradient at the input, only positive gradients let through each
    ReLU.

    ``sum_c dy/dx_c`` with ``relu(gradient)`` at every ReLU.

    **Fails sanity checks (Adebayo et al. 2018): it hardly depends on the upper layers' weights, nor
    on the class.** Do not read it as the reason for an answer.

    Args:
        run: the undisturbed pass.
        others: what to do at GELU, SiLU, ELU, leaky ReLU and their like, of which the paper does
            not speak: ``"error"``, or ``"guide"``: let ``relu(gradient) f'(x)`` pass.

    Returns:
        One signed raw map ``(batch, [targets,] *space)`` at the input's size: the guided gradient,
        summed over the input's channels.

    Springenberg et al. 2014 (arXiv:1412.6806), section 3.4: the gradient passes a ReLU where both
    the gradient and what went in are positive. ReLU6 and ``clamp(min=0)`` are ReLUs that end;
    squashing functions and gates (sigmoid, tanh, softmax) keep their derivative.

    Raises:
        GradientError: no ReLU ran; or another function in a ReLU's place did.
    """
    found = [[gradient.sum(1)] for gradient in guided_gradients(run, others=others)]
    return run.joined(found)


@method(
    "guidedgradcam",
    paper="Selvaraju et al. 2017, arXiv:1610.02391, section 3.2",
    cost="2 F + 2 B",
    elsewhere=(
        "Fails the sanity checks of Adebayo et al. 2018. captum resizes the map by repeating its "
        "nearest value unless told otherwise."
    ),
)
def guided_gradcam(run: Run, *, others: str = "error") -> list[Tensor]:
    """Guided Grad-CAM: guided backpropagation times the resized Grad-CAM map.

    ``sum_c guided_c up(relu(Grad-CAM))``.

    **Fails sanity checks (Adebayo et al. 2018), as `guided_backprop` does**: where the map has
    light, its pattern is guided backpropagation's and hardly depends on the class.

    Args:
        run: the pass through the layer.
        others: as for `guided_backprop`.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)`` at the input's size; where
        the Grad-CAM map is nowhere positive, the product would be 0, and that map itself, which is
        nowhere positive either, is the raw one.

    Selvaraju et al. 2017 (arXiv:1610.02391), section 3.2: guided backpropagation times the Grad-CAM
    map, resized linearly to the input's size.

    Raises:
        GradientError: as for `guided_backprop`.
        InputError: pictures that the model itself puts on a larger canvas.
    """
    if run.place is not None:
        raise InputError(
            "Guided Grad-CAM multiplies pixels of the input by a map of the layer, and this model "
            "puts the pictures on a canvas of its own in between. Take 'gradcam'."
        )
    columns = []
    guided = guided_gradients(run, others=others)
    for column, pixels in zip(run.columns(), guided, strict=True):
        raws = []
        for layer, gradient in zip(run.layers, run.gradients(column), strict=True):
            coarse = gradcam(layer.activation(), gradient).to(pixels)
            product = pixels.sum(1) * resize(coarse.relu(), run.size)
            # A map without light leaves the sign to tell why: everything speaks against.
            dark = (coarse.flatten(1).amax(1) <= 0).view(-1, *[1] * len(run.size))
            raws.append(torch.where(dark, resize(coarse, run.size), product))
        columns.append(raws)
    return run.joined(columns)
