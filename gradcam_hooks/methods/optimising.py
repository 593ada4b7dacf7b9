"""Opti-CAM: channel weights found by gradient steps, so that the masked image keeps its score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_one_of, check_range
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.runs.masks import masks_of
from gradcam_hooks.runs.run import NoPath, Run

__all__ = ["opticam"]

_LOSSES = ("score", "difference")

_CHECKS = 10
"""How often, in all steps, it is asked whether the loss still falls."""


@method(
    paper="Zhang et al. 2023, arXiv:2301.07002, equation 8",
    cost="100 (F + B) at most",
    quick={"steps": 20},
    elsewhere=(
        "The authors' code asks all images of a batch together whether to stop, here each is asked "
        "by itself. Its script takes 50 steps (steps=50), and has the normalisation inside of the "
        "model, so that what is masked is black; here it is the input's 0, which after a usual "
        "normalisation is grey: give nn.Sequential(normalize, model) and pixels in [0, 1] for its "
        "form. It maximises what Average Drop measures: judge it by other metrics."
    ),
)
def opticam(run: Run, *, steps: int = 100, lr: float = 0.1, loss: str = "score") -> list[Tensor]:
    """Opti-CAM: channels weighted so that the image scores highest under their sum.

    ``sum_k softmax(u)_k relu(A_k)``, u such that the image under that map scores best:
    ``u = argmin loss(y(x), y(x minmax(resize(sum_k softmax(u)_k relu(A_k)))))`` by Adam, from u
    all alike.

    Args:
        run: the unmasked pass.
        steps: how many steps at most; ten times in between it is asked whether an image's loss is
            lower than it was the last time, and where it is not, that image is done.
        lr: Adam's learning rate.
        loss: ``"score"``, ``y(x) - y(masked)``, so that the masked image scores as high as it can,
            the paper's; or ``"difference"``, the size of that.

    Returns:
        For each layer the raw map ``(batch, [targets,] *space)``, nowhere negative.

    Zhang et al. 2023 (arXiv:2301.07002), equation 8 and the objective behind it; start, stopping
    rule, learning rate and the ReLU on the activation as in the authors' code. No gradient is
    taken of anything but u.

    Raises:
        NoPath: no gradient comes from the score back to the input.
    """
    check_count(steps, "steps")
    check_range(lr, "lr", 0)
    check_one_of(loss, "loss", _LOSSES)
    count = len(run.columns())
    runs = count * len(run.layers)
    columns: list[list[Tensor]] = []
    for target in range(count):
        raws: list[Tensor] = []
        for layer in run.layers:
            before = (len(columns) * len(run.layers) + len(raws)) * steps
            search = _Search(run, layer.activation().relu(), target, loss, before, runs * steps)
            raws.append(search.map(search.best(steps, lr)))
        columns.append(raws)
    return run.joined(columns)


def _slope(loss: Tensor, logits: Tensor, factor: float, retain: bool | None) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, logits, torch.full_like(loss, factor), retain_graph=retain)


@dataclass(frozen=True)
class _Search:
    """For one target of each image the weights of one layer's channels."""

    run: Run
    activation: Tensor
    target: int
    loss: str
    before: int
    total: int

    def map(self, logits: Tensor) -> Tensor:
        """``sum_k softmax(u)_k A_k`` for ``u (batch, channels)``: ``(batch, *space)``."""
        return torch.einsum("bc,bc...->b...", logits.softmax(1), self.activation)

    def best(self, steps: int, lr: float) -> Tensor:
        """The u that were found, ``(batch, channels)``, each image's when its loss fell no more."""
        logits = self.activation.new_full(self.activation.shape[:2], 0.5)
        found = logits.clone()
        live = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        last = torch.full((len(logits),), torch.inf, dtype=torch.float64, device=logits.device)
        logits.requires_grad_()
        adam = torch.optim.Adam([logits], lr=lr)
        for step in range(steps):
            with torch.enable_grad():
                losses = self._losses(logits)
                kinds = self.run.passed.kinds(losses)
                (slope,) = unscaled(partial(_slope, losses.sum(), logits), kinds)
            if step % max(1, steps // _CHECKS) == 0:
                now = losses.detach().double()
                worse = live & (now > last)
                found[worse] = logits.detach()[worse]
                live &= ~worse
                last = now
                if not bool(live.any()):
                    self.run.step(self.before + steps, self.total)
                    return found
            logits.grad = slope
            adam.step()
            self.run.step(self.before + step + 1, self.total)
        found[live] = logits.detach()[live]
        return found

    def _losses(self, logits: Tensor) -> Tensor:
        """Each image's loss, ``(batch,)``, in the graph."""
        run = self.run
        masks = masks_of(run, self.map(logits))[:, None].to(run.image.dtype)
        # Gradients from the start: it is the input that they are to come back to.
        seen = run.look_again(run.image * masks, "uncut")
        scores = seen.columns()[self.target]
        if not scores.requires_grad:
            raise NoPath(run.lost())
        change = run.columns()[self.target].detach() - scores
        return change.abs() if self.loss == "difference" else change
