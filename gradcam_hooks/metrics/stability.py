"""Max-sensitivity: how far a map moves when the image hardly does.

It is handed a function from images to maps, whatever makes them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_range
from gradcam_hooks.errors import InputError
from gradcam_hooks.metrics.cases import chance, check_maps
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric

__all__ = ["max_sensitivity"]


@metric(
    title="Max-sensitivity",
    paper="Yeh et al. 2019, arXiv:1901.09392",
    higher_is_better=False,
    claims="The map stays what it is when the image changes less than anybody sees.",
    assumes="The network's answer stays what it is too, so that its reasons should.",
    gamed="A map that does not hang on the image, such as a blob in the centre, never moves.",
    blind="It sees how a map moves, not where it lies: a wrong map that stays is as good.",
    elsewhere="Quantus takes 200 samples and a radius of 0.2; captum's are those here.",
    gradients=True,
)
def max_sensitivity(
    explain: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
) -> Found:
    """Max-sensitivity: the largest move of the map among images that differ by a hair.

    ``max over d of |m(x + d) - m(x)| / |m(x)|``, d uniform in ``[-radius, radius]`` at each value.

    Args:
        explain: from images to maps of the shape of ``maps``, for the targets that these have:
            ``lambda x: gh.explain(model, x, layer, target=classes).raw``.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``, what ``explain(images)`` gave.
        radius: in the input's own units; the paper's is 0.02.
        samples: how many of the images there are; captum's 10.
        seed: for the draws.

    Returns:
        The largest move for each sample; NaN where the map is zero everywhere.

    Raises:
        InputError: ``explain`` gives maps of another shape.

    >>> images = torch.ones(1, 1, 4)
    >>> still = max_sensitivity(lambda x: torch.ones(1, 4), images, torch.ones(1, 4))
    >>> float(still), 0 < float(max_sensitivity(lambda x: x[:, 0], images, images[:, 0])) <= 0.02
    (0.0, True)
    """
    if not callable(explain):
        raise InputError(
            f"explain= is a function from images to maps, not {type(explain).__name__}, such as "
            "lambda x: gh.explain(model, x, layer, target=classes).raw."
        )
    check_range(radius, "radius", 0)
    plain, lead = check_maps(maps), images.shape[0]
    rank = images.ndim - 2
    ahead = plain.shape[: plain.ndim - rank]
    if len(plain) != lead:
        raise InputError(f"there are {lead} images and {len(plain)} maps.")
    flat = plain.reshape(*ahead, -1).double()
    largest = torch.zeros(ahead, dtype=torch.float64, device=flat.device)
    for number in range(check_count(samples, "samples")):
        drawn = [
            torch.rand(images.shape[1:], generator=chance(seed, row, number)) for row in range(lead)
        ]
        noise = radius * (2 * torch.stack(drawn) - 1)
        moved = check_maps(explain(images + noise.to(images)), "explain(images)")
        if moved.shape != plain.shape:
            raise InputError(
                f"explain= gives maps {tuple(moved.shape)}, and maps= are {tuple(plain.shape)}; "
                "fix the targets, and take the raw maps in both or in neither."
            )
        apart = (moved.reshape(flat.shape).to(flat) - flat).norm(dim=-1)
        largest = torch.maximum(largest, apart)
    size = flat.norm(dim=-1)
    return Found(torch.where(size > 0, largest / size, torch.nan))
