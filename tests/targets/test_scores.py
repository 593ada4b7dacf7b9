"""Targets of one vector per image: numbers by hand, networks against an oracle, words of errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images
from tests.support.oracle import agree, raw_by_zeros

LOGITS = torch.tensor([[0.5, 1.0, 4.0], [3.0, -1.0, 2.0]])


@pytest.mark.parametrize(
    ("target", "output", "scores"),
    [
        (gh.Difference(2, 0), LOGITS, [3.5, -1.0]),
        (gh.Difference(0, 2), {"logits": LOGITS, "extra": LOGITS}, [-3.5, 1.0]),
        (gh.Binary(), torch.tensor([[0.5], [-2.0]]), [0.5, -2.0]),
        (gh.Binary(positive=False), torch.tensor([0.5, -2.0]), [-0.5, 2.0]),
        (gh.Binary(), {"prediction": torch.tensor([0.5, -2.0])}, [0.5, -2.0]),
        (gh.Regression(), torch.tensor([[7.0], [8.0]]), [7.0, 8.0]),
        (gh.Regression(up=False), torch.tensor([7.0, 8.0]), [-7.0, -8.0]),
        (gh.Regression(0), torch.tensor([7.0, 8.0]), [7.0, 8.0]),
        (gh.Regression(1), LOGITS, [1.0, -1.0]),
        (gh.Regression(1, up=False), LOGITS, [-1.0, 1.0]),
        # |(3, 4)| = 5: (1, 2) . (3, 4) = 11, |(1, 2)| = sqrt 5, |(1, 2) - (3, 4)| = sqrt 8
        (gh.Similarity(torch.tensor([3.0, 4.0]), "dot"), torch.tensor([[1.0, 2.0]]), [11.0]),
        (
            gh.Similarity(torch.tensor([3.0, 4.0])),
            torch.tensor([[1.0, 2.0]]),
            [11 / (5 * math.sqrt(5))],
        ),
        (
            gh.Similarity(torch.tensor([3.0, 4.0]), "distance"),
            torch.tensor([[1.0, 2.0]]),
            [-math.sqrt(8)],
        ),
        (
            gh.Similarity(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), "dot"),
            {"text_embeds": torch.ones(5, 2), "image_embeds": torch.tensor([[1.0, 2], [5, 6]])},
            [11.0, 6.0],
        ),
    ],
)
def test_numbers_by_hand(target: object, output: object, scores: list[float]) -> None:
    assert torch.allclose(target(output), torch.tensor(scores))  # type: ignore[operator]


def test_they_say_themselves() -> None:
    assert repr(gh.Difference(2, np.int64(0))) == "Difference(this=2, that=0)"  # type: ignore[arg-type]
    assert repr(gh.Binary(positive=False)) == "Binary(positive=False)"
    assert repr(gh.Regression(1, up=False)) == "Regression(index=1, up=False)"
    assert repr(gh.Similarity(torch.ones(2, 8), "dot")) == "Similarity((2, 8), how='dot')"
    assert gh.Difference(2, 0) == gh.Difference(2, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gh.Difference(1, 1), r"Difference\(this=1, that=1\) compares a class with itself"),
        (lambda: gh.Difference(-1, 1), r"a class is a whole number from 0 up, not -1"),
        (lambda: gh.Difference(0, ""), r"a class is a number or a label, not an empty string"),
        (lambda: gh.Difference(0, True), r"whole number from 0 up, not True"),
        (lambda: gh.Binary(positive=1), r"Binary\(positive=\) is True or False, not 1"),
        (lambda: gh.Regression(1.0), r"Regression's index is a whole number from 0 up, not 1\.0"),
        (lambda: gh.Regression(up="yes"), r"Regression\(up=\) is True or False, not 'yes'"),
        (
            lambda: gh.Similarity(torch.ones(3), "euclid"),
            r"how=\) is one of 'cosine', 'dot', 'distance', not 'euclid'",
        ),
        (lambda: gh.Similarity([1.0, 2.0]), r"a floating-point tensor \(d,\), not list"),
        (lambda: gh.Similarity(torch.ones(3).long()), r"\(d,\), not torch\.int64"),
        (lambda: gh.Similarity(torch.ones(1, 2, 3)), r"one for each image .* not \(1, 2, 3\)"),
        (lambda: gh.Similarity(torch.tensor([1.0, math.nan])), r"has a NaN or an infinity"),
        (lambda: gh.Similarity(torch.zeros(3)), r"all zeros, which has no direction"),
    ],
)
def test_what_is_not_legal_is_said_on_making(make: object, message: str) -> None:
    with pytest.raises(gh.TargetError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("target", "output", "error", "message"),
    [
        (gh.Difference(0, 3), LOGITS, gh.TargetError, r"class 3 is out of range: .* 0 to 2"),
        (gh.Difference(5, 0), LOGITS, gh.TargetError, r"class 5 is out of range"),
        (
            gh.Difference(0, 1),
            torch.ones(2, 3, 4, 4),
            gh.OutputError,
            r"logits of shape \(batch, classes\), but the output is a tensor of shape \(2, 3,",
        ),
        (
            gh.Binary(),
            LOGITS,
            gh.OutputError,
            r"one logit per image, .*\(2, 3\).*Of several classes pass the number: target=1",
        ),
        (gh.Regression(), LOGITS, gh.TargetError, r"has 3 numbers per image.*Regression\(0\) to R"),
        (gh.Regression(3), LOGITS, gh.TargetError, r"output 3 is out of range: .* outputs 0 to 2"),
        (gh.Regression(), torch.ones(1, 2, 3), gh.OutputError, r"\(batch, outputs\), but it is"),
        (
            gh.Similarity(torch.ones(4)),
            LOGITS,
            gh.TargetError,
            r"are \(batch=2, d=3\), and the reference is \(4,\): it must be \(3,\), or \(2, 3\)",
        ),
        (gh.Similarity(torch.ones(3, 3)), LOGITS, gh.TargetError, r"reference is \(3, 3\)"),
        (
            gh.Similarity(torch.ones(3)),
            {"a": LOGITS, "b": LOGITS},
            gh.OutputError,
            r"(?s)image_embeds, in the model's output\. It is\n'a': \(2, 3\).*'b'.*Pass output=",
        ),
        (
            gh.Similarity(torch.ones(3)),
            torch.ones(2, 3, 4),
            gh.OutputError,
            r"a tensor of shape \(2, 3, 4\)",
        ),
    ],
)
def test_an_output_that_does_not_fit(
    target: object, output: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        target(output)  # type: ignore[operator]


def test_the_batch_is_checked_as_for_any_function() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(0)).double()
    with pytest.raises(gh.TargetError, match=r"one floating-point score per image, \(batch=2,\)"):
        gh.explain(net, images(), "0", target=gh.Binary())


REFERENCE = torch.linspace(-1, 2, 5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("target", "by_hand"),
    [
        (gh.Difference(3, 1), lambda out: out[:, 3] - out[:, 1]),
        (gh.Regression(2, up=False), lambda out: -out[:, 2]),
        (
            gh.Similarity(REFERENCE),
            lambda out: (out / out.norm(dim=1, keepdim=True)) @ (REFERENCE / REFERENCE.norm()),
        ),
        (gh.Similarity(REFERENCE, "dot"), lambda out: out @ REFERENCE),
        (
            gh.Similarity(REFERENCE, "distance"),
            lambda out: -((out - REFERENCE) ** 2).sum(1).sqrt(),
        ),
    ],
)
def test_the_map_equals_the_oracle(target: object, by_hand: object) -> None:
    net, x = gap_linear(), images()
    result = gh.explain(net, x, "1", target=target)  # type: ignore[arg-type]
    assert result.target is None
    assert torch.allclose(result.scores, by_hand(net(x)).detach())  # type: ignore[operator]
    agree(result.raw, raw_by_zeros(net, "1", lambda: by_hand(net(x))))  # type: ignore[operator]


def test_both_sides_of_one_logit_are_each_other_s_negative() -> None:
    net, x = gap_linear(classes=1), images()
    here = gh.explain(net, x, "1", target=gh.Binary())
    there = gh.explain(net, x, "1", target=gh.Binary(positive=False))
    assert isinstance(here.raw, Tensor)
    assert torch.equal(here.raw, -there.raw)
    agree(here.raw, raw_by_zeros(net, "1", lambda: net(x)))


@pytest.mark.filterwarnings("ignore")  # what transformers says of itself
def test_clip_s_image_against_a_text() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 2},
        vision_config={**sizes, "image_size": 64, "patch_size": 16},
        projection_dim=12,
    )
    net = transformers.CLIPModel(config).double().eval()
    given = {
        "input_ids": torch.tensor([[0, 5, 7, 2]]),
        "pixel_values": torch.rand(1, 3, 64, 64, dtype=torch.float64),
    }
    text = net(**given).text_embeds[0]
    layer = "vision_model.encoder.layers.0"
    with gh.GradCAM(net, layer) as cam:
        result = cam(**given, target=gh.Similarity(text))
    assert result.layouts == ("b 1+(h=4 w=4) c=16",)
    scale = net.logit_scale.exp().item()
    agree(
        result.raw * scale,  # the model's own logit is the scaled cosine
        raw_by_zeros(net, layer, lambda: net(**given).logits_per_image, prefix=1),
    )
