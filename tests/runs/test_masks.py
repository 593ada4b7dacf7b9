"""Masked images go through the network a few at a time, and no number hangs on how many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.runs.masks import blurred, filtered
from tests.support.nets import images
from tests.support.ranks import batch, curved

FEW: dict[str, dict[str, object]] = {
    "scorecam": {},
    "gscorecam": {},
    "sscam": {"samples": 2},
    "iscam": {"samples": 2},
    "groupcam": {"groups": 80},
    "rise": {"masks": 50, "cells": 3},
}
NAMES = list(FEW)


def many(channels: int = 24) -> nn.Sequential:
    return curved(2, channels=channels)


def ask(name: str, model: nn.Module, x: Tensor, **more: object) -> gh.Explanation:
    return gh.explain(model, x, "2", method=name, target=1, **FEW[name], **more)  # type: ignore[arg-type]


BORDERS = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}  # ours, NumPy's


@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_filtered_is_a_correlation_along_one_axis(borders: str, axis: int) -> None:
    values = torch.randn(4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = torch.tensor([0.5, -1.0, 2.0, 0.25, 3.0], dtype=torch.float64)

    def line(row: np.ndarray) -> np.ndarray:
        return np.correlate(np.pad(row, 2, mode=BORDERS[borders]), kernel.numpy(), "valid")

    expected = np.apply_along_axis(line, axis, values.numpy())
    got = filtered(values, kernel, axis, borders).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-14)


def test_a_signal_as_long_as_a_minute_of_sound_is_blurred() -> None:
    # A matrix of its length squared would not fit.
    x = torch.zeros(1, 1, 1_000_000)
    x[..., 500_000] = 1
    got = blurred(x, 51, 50.0)
    assert got.count_nonzero() == 51
    assert got.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_never_all_masks_at_once(name: str) -> None:
    model, seen = many(80), []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    ask(name, model, batch(2))
    assert seen[0] == 2  # the images themselves
    assert max(seen) == 4
    assert sum(seen) > 2 * 4


@pytest.mark.parametrize("name", NAMES)
def test_where_memory_gives_out_the_chunk_is_halved_and_nothing_is_lost(name: str) -> None:
    model, x = many(), batch(2)
    expected = ask(name, model, x)
    sizes: list[int] = []

    def small(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(small)
    got = ask(name, model, x)
    assert torch.allclose(got.raw, expected.raw, atol=1e-12)  # type: ignore[arg-type]
    assert got.raw.any()  # type: ignore[union-attr]
    assert 4 in sizes
    runs = [size for size in sizes if size <= 5]
    # Done is done: 24, 16 and 8 were tried in vain for each of the two images, and no mask twice.
    assert sum(size > 5 for size in sizes) <= 2 * 3
    assert sum(runs) == sum(_plain_sizes(name, x))


def _plain_sizes(name: str, x: Tensor) -> list[int]:
    model, sizes = many(), []
    model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    ask(name, model, x)
    return sizes


@pytest.mark.parametrize("name", NAMES)
def test_masks_run_without_gradients(name: str) -> None:
    model, modes = many(), []
    model.register_forward_pre_hook(lambda module, args: modes.append(torch.is_grad_enabled()))
    ask(name, model, batch(2))
    assert len(modes) > 1
    assert not any(modes[1:])


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_with_an_image_comes_with_its_masks(name: str) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = many(5)

        def forward(self, x: Tensor, shift: Tensor) -> Tensor:
            logits = self.net(x)
            return logits + shift[:, None] * logits.square()

    model, x, shift = Shifted(), batch(2), torch.tensor([0.5, -2.0], dtype=torch.float64)
    with gh.explainer(name, model, "net.2", **FEW[name]) as cam:  # type: ignore[arg-type]
        both = cam(x, shift, target=1)
        for index in range(2):
            alone = cam(x[index : index + 1], shift[index : index + 1], target=1)
            assert torch.allclose(both.raw[index], alone.raw[0], atol=1e-12)


@pytest.mark.parametrize("name", [*NAMES, "opticam"])
def test_half_precision(name: str) -> None:
    model, x = many(6).bfloat16(), batch(2).bfloat16()
    more: dict[str, object] = FEW.get(name, {"steps": 2})
    result = gh.explain(model, x, "2", method=name, target=1, **more)  # type: ignore[arg-type]
    assert isinstance(result.raw, Tensor)
    assert result.raw.dtype == torch.float32
    assert set(result.diagnosis) <= {"ok", "constant", "zero-gradient"}
    assert result.maps.isfinite().all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rise"])
def test_a_value_that_is_not_finite_is_told(name: str) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clone().index_fill(1, torch.tensor([1]), float("nan"))

    model = many(6)
    model[1] = Broken()
    result = ask(name, model, batch(2))
    assert result.diagnosis == ("non-finite", "non-finite")


def _boxed(name: str) -> Callable[[nn.Module, Tensor], gh.Explanation]:
    return lambda model, x: gh.explain(
        model,
        [x[0]],
        "backbone.0",
        method=name,
        target=lambda output: torch.stack([one["scores"].sum() for one in output]),
        **FEW[name],
    )  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["scorecam", "rise"])
def test_a_model_that_takes_a_list_of_pictures(name: str) -> None:
    class Detector(nn.Module):
        """One answer for each picture of a list, as torchvision's detectors give it."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())

        def forward(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
            features = self.backbone(torch.stack(pictures))
            return [{"scores": one.mean((1, 2)).square()} for one in features]

    result = _boxed(name)(Detector().double(), images())
    assert result.maps.shape == (1, 8, 8)
    assert result.diagnosis == ("ok",)
