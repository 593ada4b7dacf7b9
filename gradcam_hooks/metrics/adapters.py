"""For those who measure with other libraries: Quantus' ``explain_func``, and torchmetrics.

Quantus is not imported here at all, torchmetrics where a metric of it is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gradcam_hooks.errors import OptionError
from gradcam_hooks.explainers import explain
from gradcam_hooks.methods import Method
from gradcam_hooks.metrics.measured import Measured
from gradcam_hooks.metrics.registry import METRICS, Metric, metric_of
from gradcam_hooks.metrics.states import State
from gradcam_hooks.network.modules import LayerSpec

if TYPE_CHECKING:
    from torchmetrics import Metric as TorchMetric

__all__ = ["explain_func", "torchmetric"]


def explain_func(
    model: nn.Module,
    inputs: npt.NDArray[np.floating] | Tensor,
    targets: npt.NDArray[np.integer] | Tensor,
    *,
    layer: LayerSpec = "auto",
    method: str | Method = "gradcam",
    raw: bool = False,
    **options: object,
) -> npt.NDArray[np.floating]:
    """Maps as Quantus asks for them: hand this to its metrics as ``explain_func``.

    The method and the layer go into ``explain_func_kwargs``::

        quantus.Sparseness()(model, x, y, explain_func=gh.metrics.explain_func,
                             explain_func_kwargs={"layer": "layer4", "method": "layercam"})

    Args:
        model: the network.
        inputs: ``(batch, channels, *space)``.
        targets: the class of each.
        layer: as for `explain`.
        method: as for `explain`.
        raw: signed maps, resized to the input, in the place of those in [0, 1].
        options: of the method and the explainer; what else Quantus passes (``device``) is left.

    Returns:
        ``(batch, 1, *space)``.
    """
    options.pop("device", None)
    like = next(model.parameters(), torch.empty(0))
    images = torch.as_tensor(inputs).to(like.device, like.dtype)
    classes = torch.as_tensor(targets).reshape(-1).long()
    result = explain(model, images, layer, target=classes, method=method, **options)
    maps = result.maps
    if raw:
        if not isinstance(result.raw, Tensor):
            raise OptionError("raw=True is for one layer; several are fused in the finished maps.")
        from gradcam_hooks.maps import resize

        maps = resize(result.raw, result.maps.shape[1:])
    found: npt.NDArray[np.floating] = maps[:, None].detach().cpu().numpy()
    return found


def torchmetric(metric: str | Metric, **settings: object) -> TorchMetric:
    """A metric of ours as one of torchmetrics, on its own or in a ``MetricCollection``.

    It takes what the metric takes by keyword and leaves the rest, so that a collection is fed once:
    ``collection.update(score=score, images=images, maps=maps, masks=masks)``. It computes the mean.

    Args:
        metric: its name, or its row.
        settings: its settings.

    Raises:
        ImportError: torchmetrics is not installed.
    """
    try:
        from torchmetrics import Metric as Base
    except ImportError as error:
        raise ImportError(
            "torchmetrics is not installed: pip install gradcam-hooks[metrics]. State(name) keeps "
            "and merges what is measured without it."
        ) from error

    row = metric_of(metric)
    State(row.name, **settings)  # its settings are checked now
    # In a collection two metrics share one state where states of the same names are equal after
    # the first batch, which values of different metrics may be by chance.
    words = "_".join([row.name, *(f"{key}_{value}" for key, value in sorted(settings.items()))])
    name = re.sub(r"\W", "_", words)

    class Adapted(Base):
        full_state_update = False
        is_differentiable = False
        higher_is_better = row.higher_is_better

        def __init__(self) -> None:
            super().__init__()
            self.add_state(name, default=[], dist_reduce_fx="cat")

        def update(self, **given: object) -> None:
            missing = [one for one in row.takes if one not in given]
            if missing:
                raise OptionError(
                    f"{row.name} takes {', '.join(row.takes)} by keyword, and {missing[0]!r} is "
                    "missing."
                )
            found = row.function(*(given[one] for one in row.takes), **settings)
            type(self).higher_is_better = found.higher_is_better
            getattr(self, name).append(_kept(row, found).to(self.device))

        def compute(self) -> Tensor:
            kept = getattr(self, name)
            whole = kept if isinstance(kept, Tensor) else torch.cat(kept)
            return torch.tensor(_mean(row, whole), dtype=torch.float64)

        def __reduce__(self) -> tuple[object, ...]:
            return _again, (row.name, settings), self.__getstate__()

    Adapted.__name__ = Adapted.__qualname__ = re.sub(r"\W", "", row.title)
    return Adapted()


def _kept(row: Metric, found: Measured) -> Tensor:
    """What the mean is made of, ``(batch, ...)``: numbers, or the curves that they hang on."""
    if row.pooled is None:
        return found.values
    return torch.stack(list(found.curves.values()), -1)


def _mean(row: Metric, whole: Tensor) -> float:
    if row.pooled is not None:
        whole = row.pooled({str(at): curve for at, curve in enumerate(whole.unbind(-1))})
    return Measured(row.name, whole, row.higher_is_better).mean


def _again(name: str, settings: dict[str, object]) -> TorchMetric:
    return torchmetric(METRICS[name], **settings)
