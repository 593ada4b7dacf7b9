"""Score-CAM and its kin: by hand, by loops from the papers in every rank, and their options."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from tests.support.hand import Head, mask_of
from tests.support.ranks import RANKS, batch, curved

HAND = torch.tensor([[[[1.0, 2.0]], [[1.0, 0.0]]]], dtype=torch.float64)


def by_hand(method: str, **options: object) -> list[float]:
    result = gh.explain(Head(), HAND, "layer", method=method, target=0, **options)  # type: ignore[arg-type]
    raw: list[float] = result.raw[0, 0].tolist()
    return raw


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_scorecam_by_hand() -> None:
    # Channel (1, 2) makes the mask (0, 1): x becomes (0, 2), (0, 0), and y = 4.
    # Channel (1, 0) makes the mask (1, 0): x becomes (1, 0), (1, 0), and y = 4 - 3 = 1.
    # A black image has y = 0. So 4 (1, 2) + 1 (1, 0).
    assert by_hand("scorecam", score="increase") == [5, 8]
    # The softmax of 4 and 1 is sigmoid(3) and sigmoid(-3), which add up to 1.
    assert by_hand("scorecam", score="softmax") == pytest.approx([1, 2 * sigmoid(3)])
    # The probability of y beside -y is sigmoid(2 y): sigmoid(8) and sigmoid(2).
    expected = [sigmoid(8) + sigmoid(2), 2 * sigmoid(8)]
    assert by_hand("scorecam", score="probability") == pytest.approx(expected)
    assert by_hand("scorecam") == pytest.approx(expected)


def test_iscam_by_hand() -> None:
    # At intensity 1/2 the first mask gives (0, 1), (0, 0) and y = 1, the second (1/2, 0), (1/2, 0)
    # and y = 1 - 3/2 = -1/2. At 1 they give 4 and 1. The means are 5/2 and 1/4.
    assert by_hand("iscam", samples=2, score="increase") == [2.75, 5]
    assert by_hand("iscam", samples=2) == pytest.approx([1, 2 * sigmoid(2.25)])


def test_gscorecam_by_hand() -> None:
    # The sum is 4, so the gradient is 8 everywhere but for the first position, where it is 5.
    # The channels' means are 6.5 and 8: the second is chosen, and its mask gives y = 1.
    assert by_hand("gscorecam", channels=1, score="increase") == [1, 0]
    assert by_hand("gscorecam", channels=0.5, score="softmax") == [1, 0]
    assert by_hand("scorecam", channels=1, score="increase") == [1, 0]
    assert by_hand("gscorecam", score="increase") == [5, 8]  # 300 is more than there are


def test_sscam_without_noise_to_speak_of_is_scorecam() -> None:
    got = by_hand("sscam", samples=3, std=1e-9, score="increase")
    assert got == pytest.approx([5, 8], abs=1e-6)


# --- the papers' equations, in loops


Masks = Callable[[Tensor, int], list[Tensor]]
"""A channel's mask and number to the masks that its score is averaged over."""


def reference(
    model: nn.Sequential,
    image: Tensor,
    target: int,
    score: str,
    masks: Masks = lambda mask, k: [mask],
    channels: int | None = None,
) -> Tensor:
    """The map at layer 2 of one image ``(channels, *space)`` and one class."""
    activation = model[:3](image[None])[0].detach()
    chosen = list(range(len(activation)))
    if channels is not None:
        leaf = activation[None].clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(model[3:](leaf)[0, target], leaf)
        chosen.sort(key=lambda k: -float(gradient[0, k].mean()))
        chosen = chosen[:channels]
    black = float(model(torch.zeros_like(image)[None])[0, target])
    weights = {}
    for k in chosen:
        found = []
        for mask in masks(mask_of(activation[k], image.shape[1:]), k):
            logits = model((image * mask)[None])[0]
            if score == "probability":
                found.append(math.exp(logits[target]) / sum(math.exp(one) for one in logits))
            else:
                found.append(float(logits[target]) - black)
        weights[k] = sum(found) / len(found)
    if score == "softmax":
        total = sum(math.exp(one) for one in weights.values())
        weights = {k: math.exp(one) / total for k, one in weights.items()}
    raw = torch.zeros_like(activation[0])
    for k, weight in weights.items():
        for at in product(*map(range, raw.shape)):
            raw[at] += weight * activation[k][at]
    return raw


def check(
    result: gh.Explanation,
    model: nn.Sequential,
    x: Tensor,
    score: str,
    masks: Masks = lambda mask, k: [mask],
    channels: int | None = None,
) -> None:
    assert isinstance(result.raw, Tensor)
    assert result.target is not None
    for index, target in product(range(len(x)), range(result.target.shape[1])):
        number = int(result.target[index, target])
        with torch.no_grad():
            expected = reference(model, x[index], number, score, masks, channels)
        assert expected.abs().max() > 0
        assert torch.allclose(result.raw[index, target], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("score", ["probability", "increase", "softmax"])
@pytest.mark.parametrize("rank", RANKS)
def test_scorecam_in_loops(rank: int, score: str) -> None:
    model, x = curved(rank), batch(rank)
    result = gh.explain(model, x, "2", method="scorecam", target=gh.TopK(3), score=score)
    check(result, model, x, score)


@pytest.mark.parametrize("method", ["scorecam", "gscorecam"])
@pytest.mark.parametrize("rank", RANKS)
def test_a_budget_of_channels_in_loops(rank: int, method: str) -> None:
    model, x = curved(rank, channels=5), batch(rank)
    for score, channels in (("softmax", 2), ("probability", 3)):
        result = gh.explain(
            model, x, "2", method=method, target=gh.TopK(3), score=score, channels=channels
        )
        check(result, model, x, score, channels=channels)


@pytest.mark.parametrize("rank", RANKS)
def test_iscam_in_loops(rank: int) -> None:
    model, x = curved(rank), batch(rank)
    result = gh.explain(model, x, "2", method="iscam", target=gh.TopK(2), samples=3)

    def dimmed(mask: Tensor, k: int) -> list[Tensor]:
        return [mask * i / 3 for i in (1, 2, 3)]

    check(result, model, x, "softmax", dimmed)


@pytest.mark.parametrize("rank", RANKS)
def test_sscam_in_loops(rank: int) -> None:
    model, x = curved(rank), batch(rank)
    seeded = torch.Generator().manual_seed(5)
    result = gh.explain(
        model, x, "2", method="sscam", target=gh.TopK(2), samples=3, std=0.7, generator=seeded
    )
    first = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(5)))

    def noisy(mask: Tensor, k: int) -> list[Tensor]:
        found = []
        for sample in range(3):
            draw = torch.Generator().manual_seed(first + 3 * k + sample)
            found.append(mask + 0.7 * torch.randn(mask.shape, generator=draw).double())
        return found

    check(result, model, x, "softmax", noisy)


def test_sscam_in_the_authors_form_in_loops() -> None:
    # The resized channel as it is, with noise of deviation (std / range)², weighs by probability.
    model, x = curved(2), batch(2)
    seeded = torch.Generator().manual_seed(5)
    asked = {"samples": 3, "std": 0.7, "noise": "channel", "score": "probability"}
    result = gh.explain(model, x, "2", method="sscam", target=1, generator=seeded, **asked)  # type: ignore[arg-type]
    first = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(5)))
    activation = model[:3](x)
    for image in range(2):
        expected = torch.zeros_like(activation[image, 0])
        for k, channel in enumerate(activation[image]):
            mask = functional.interpolate(channel[None, None], x.shape[2:], mode="bilinear")[0, 0]
            sigma, chances = 0.7 / float(mask.max() - mask.min()), []
            for sample in range(3):
                draw = torch.Generator().manual_seed(first + 3 * k + sample)
                noise = sigma**2 * torch.randn(mask.shape, generator=draw).double()
                logits = model((x[image] * (mask + noise))[None])
                chances.append(float(logits.softmax(1)[0, 1]))
            expected = expected + sum(chances) / 3 * channel
        assert torch.allclose(result.raw[image], expected, atol=1e-9)  # type: ignore[index]


def test_sscam_without_noise_is_scorecam() -> None:
    model, x = curved(2), batch(2)
    quiet = gh.explain(model, x, "2", method="sscam", samples=2, std=0, score="increase", target=1)
    plain = gh.explain(model, x, "2", method="scorecam", score="increase", target=1)
    assert torch.allclose(quiet.raw, plain.raw, atol=1e-12)  # type: ignore[arg-type]


# --- what they are asked


def dead(rank: int = 2) -> nn.Sequential:
    """The middle one of three channels is 2.5 everywhere."""
    model = curved(rank)
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 2.5
    return model


@pytest.mark.parametrize("method", ["scorecam", "gscorecam", "sscam", "iscam"])
def test_a_constant_channel_has_no_mask_and_no_run(method: str) -> None:
    model, x = dead(), batch(2)
    few = {"samples": 2} if method in ("sscam", "iscam") else {}
    seen: list[int] = []
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    result = gh.explain(model, x, "2", method=method, target=1, score="probability", **few)  # type: ignore[arg-type]
    assert sum(seen) == 2 + 2 * 2 * few.get("samples", 1)
    assert result.notes[0] == "2: 1 of 3 channels are constant and left out"
    activation = model[:3](x)
    # Without the middle channel the map is made of the two others alone.
    basis = activation[0, [0, 2]].flatten(1).detach()
    raw = result.raw[0].flatten()
    weights = torch.linalg.lstsq(basis.T, raw[:, None]).solution[:, 0]
    assert torch.allclose(weights @ basis, raw, atol=1e-10)
    assert (weights > 0).all()


def test_all_channels_constant_is_a_diagnosis() -> None:
    model = curved(2)
    nn.init.zeros_(model[0].weight)
    result = gh.explain(model, batch(2), "2", method="scorecam", target=1)
    assert result.diagnosis == ("constant", "constant")
    assert not result.maps.any()


def test_the_choice_stands_in_the_result() -> None:
    model, x = curved(2, channels=5), batch(2)
    result = gh.explain(model, x, "2", method="gscorecam", target=1, channels=0.4)
    told = "2: masked by 2 of 5 channels at most, those of the highest mean gradient of each score"
    assert result.notes == (told,)
    assert result[0].notes == (told,)
    assert gh.explain(model, x, "2", method="scorecam", target=1).notes == ()


def test_several_layers_and_their_order() -> None:
    model, x = curved(2), batch(2)
    both = gh.explain(model, x, ["2", "0"], method="scorecam", target=1)
    assert isinstance(both.raw, tuple)
    for raw, layer in zip(both.raw, ("2", "0"), strict=True):
        alone = gh.explain(model, x, layer, method="scorecam", target=1)
        assert torch.allclose(raw, alone.raw, atol=1e-12)


def test_a_target_that_is_no_class_is_scored_by_its_increase() -> None:
    model, x = curved(2), batch(2)

    def second(output: Tensor) -> Tensor:
        return output[:, 1]

    own = gh.explain(model, x, "2", method="scorecam", target=second)
    same = gh.explain(model, x, "2", method="scorecam", target=1, score="increase")
    assert torch.allclose(own.raw, same.raw, atol=1e-12)
    with pytest.raises(gh.TargetError, match="the probability of a class is asked for"):
        gh.explain(model, x, "2", method="scorecam", target=second, score="probability")


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("scorecam", {"score": "logit"}, "score= is one of 'probability', 'increase', 'softmax'"),
        ("scorecam", {"channels": 0}, "channels= is a number of channels from 1 up"),
        ("scorecam", {"channels": 1.5}, "channels= is a number of channels from 1 up"),
        ("gscorecam", {"channels": True}, "channels= is a number of channels from 1 up"),
        ("sscam", {"samples": 0}, "samples= is a whole number from 1 up, not 0"),
        ("sscam", {"std": -0.1}, "std= is a number from 0 up, not -0.1"),
        ("iscam", {"samples": 2.0}, "samples= is a whole number from 1 up, not 2.0"),
        ("iscam", {"stds": 2.0}, "IS-CAM has no option stds="),
    ],
)
def test_options_that_are_none(method: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(gh.OptionError, match=told):
        gh.explain(curved(2), batch(2), "2", method=method, target=1, **options)  # type: ignore[arg-type]


def test_progress_goes_up_to_the_number_of_masks() -> None:
    steps: list[tuple[int, int]] = []
    gh.explain(
        curved(2, channels=40),
        batch(2),
        "2",
        method="scorecam",
        target=1,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(done, 80) for done in range(4, 81, 4)]
