"""The methods: pure formulas, and the table `METHODS` that tells what each published name is.

A rule is a plain function ``(activation, gradient) -> raw map`` on ``(batch, channels, *space)``:
no model, no hook, no file. A new method is one function and one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from gradcam_hooks.methods.gradient import (
    elementwise,
    gradcam,
    gradcam_plus,
    gradcam_plus_plus,
    hirescam,
    layercam,
    xgradcam,
)
from gradcam_hooks.methods.spectral import eigencam, eigengradcam, segeigencam
from gradcam_hooks.methods.statistics import fem

__all__ = ["METHODS", "Method", "Rule"]

Rule = Callable[[Tensor, Tensor], Tensor]
"""``(activation, gradient) -> raw``: ``(batch, channels, *space)`` twice to ``(batch, *space)``."""


@dataclass(frozen=True)
class Method:
    """What a published name is.

    Attributes:
        name: how it is asked for, as in ``method="gradcam"``.
        cls: the name of its class in ``gradcam_hooks``.
        title: how the paper writes it.
        paper: authors, year, arXiv number or DOI, and equation.
        formula: in words.
        passes: what it costs, in forward (F) and backward (B) passes.
        needs_gradients: whether it needs the backward pass.
        class_specific: whether it tells classes apart.
        deviations: what other libraries do under this name, where it is something else.
        rule: the formula itself.
    """

    name: str
    cls: str
    title: str
    paper: str
    formula: str
    passes: str
    needs_gradients: bool
    class_specific: bool
    deviations: str
    rule: Rule


_ROWS = (
    Method(
        name="gradcam",
        cls="GradCAM",
        title="Grad-CAM",
        paper="Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2",
        formula="channels weighted by the mean of their gradient over space, summed",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations="",
        rule=gradcam,
    ),
    Method(
        name="gradcam++",
        cls="GradCAMPlusPlus",
        title="Grad-CAM++",
        paper="Chattopadhyay et al. 2018, arXiv:1710.11063, equations 5 and 19",
        formula="channels weighted by their positive gradients times alpha, summed",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations=(
            "torchcam leaves alpha's denominator out: its weights are the sum of g² relu(g). "
            "grad-cam adds 1e-6 to the denominator, too much for gradients of 1e-3 and less. "
            "The authors' code scales alpha to add up to 1 in each channel."
        ),
        rule=gradcam_plus_plus,
    ),
    Method(
        name="gradcam+",
        cls="GradCAMPlus",
        title="Grad-CAM+",
        paper="Lerma and Lucas 2022, arXiv:2205.10838",
        formula="channels weighted by the mean of their positive gradient, summed",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations="",
        rule=gradcam_plus,
    ),
    Method(
        name="xgradcam",
        cls="XGradCAM",
        title="XGrad-CAM",
        paper="Fu et al. 2020, arXiv:2008.02312",
        formula="channels weighted by their gradient's mean under the activation, summed",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations=(
            "The authors' code, grad-cam and torchcam add 1e-6, 1e-7 and 1e-8 to a channel's sum."
        ),
        rule=xgradcam,
    ),
    Method(
        name="hirescam",
        cls="HiResCAM",
        title="HiResCAM",
        paper="Draelos and Carin 2020, arXiv:2011.08891",
        formula="gradient times activation, position by position, summed over channels",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations="",
        rule=hirescam,
    ),
    Method(
        name="elementwise",
        cls="ElementWiseCAM",
        title="Element-wise Grad-CAM",
        paper="no paper; named by the grad-cam library",
        formula="the positive part of gradient times activation, summed over channels",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations="",
        rule=elementwise,
    ),
    Method(
        name="layercam",
        cls="LayerCAM",
        title="LayerCAM",
        paper="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943, section III",
        formula="positive gradient times activation, summed over channels",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations="",
        rule=layercam,
    ),
    Method(
        name="eigencam",
        cls="EigenCAM",
        title="Eigen-CAM",
        paper="Muhammad and Yeasin 2020, arXiv:2008.00299",
        formula="the activation's first singular vector over positions",
        passes="1 F",
        needs_gradients=False,
        class_specific=False,
        deviations="grad-cam takes each channel's mean off first; its sign is left to chance.",
        rule=eigencam,
    ),
    Method(
        name="eigengradcam",
        cls="EigenGradCAM",
        title="Eigen-Grad-CAM",
        paper="no paper; named by the grad-cam library",
        formula="the first singular vector of gradient times activation",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations="grad-cam takes each channel's mean off first; its sign is left to chance.",
        rule=eigengradcam,
    ),
    Method(
        name="segeigencam",
        cls="SegEigenCAM",
        title="Seg-Eigen-CAM",
        paper="Chung and Ying 2025, doi:10.3390/app15137562, equations 10 to 13",
        formula="the first singular vector of the gradient's size times activation",
        passes="1 F + 1 B",
        needs_gradients=True,
        class_specific=True,
        deviations="grad-cam takes each channel's mean off first.",
        rule=segeigencam,
    ),
    Method(
        name="fem",
        cls="FEM",
        title="FEM",
        paper="Fuad et al. 2020, doi:10.1109/IPTA50016.2020.9286629",
        formula="where a channel lies two deviations above its mean, weighted by that mean",
        passes="1 F",
        needs_gradients=False,
        class_specific=False,
        deviations=(
            "grad-cam weighs the whole of each channel by its share of such positions (fem_share)."
        ),
        rule=fem,
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({row.name: row for row in _ROWS})
"""Each method by its name."""
