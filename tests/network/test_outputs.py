"""Where the logits are: by rule, or as the user says."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import gradcam_hooks as gh
from gradcam_hooks.network.outputs import choose, find_logits
from gradcam_hooks.network.tree import drawn

LOGITS = torch.zeros(2, 5)
FEATURES = torch.zeros(2, 8, 4, 4)
Pair = namedtuple("Pair", ["features", "scores"])


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        {"logits": LOGITS, "embedding": torch.zeros(2, 9)},
        Answer(LOGITS, torch.zeros(2, 9)),
        (LOGITS, FEATURES),
        [FEATURES, LOGITS],
        Pair(FEATURES, LOGITS),
        {"a": {"b": [LOGITS, FEATURES]}},
        (LOGITS, torch.zeros(2, 5, dtype=torch.long)),
    ],
)
def test_by_rule(output: object) -> None:
    assert find_logits(output) is LOGITS


def test_transformers_output() -> None:
    from transformers.modeling_outputs import ImageClassifierOutput

    assert find_logits(ImageClassifierOutput(logits=LOGITS)) is LOGITS


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("b", LOGITS), (1, LOGITS), (lambda out: out["b"], LOGITS)],
)
def test_as_the_user_says(spec: object, expected: Tensor) -> None:
    assert choose({"a": FEATURES, "b": LOGITS}, spec) is expected  # type: ignore[arg-type]


def test_two_that_could_be_are_an_error_with_the_tree() -> None:
    output = {"main": LOGITS, "aux": torch.zeros(2, 5), "maps": [FEATURES]}
    with pytest.raises(gh.OutputError, match=r"several that could be") as caught:
        find_logits(output)
    assert "'main': (2, 5) torch.float32" in str(caught.value)
    assert "  0: (2, 8, 4, 4) torch.float32" in str(caught.value)
    assert "output=" in str(caught.value)


def test_none_and_wrong_parts_are_errors() -> None:
    with pytest.raises(gh.OutputError, match=r"found no tensor of shape"):
        find_logits("nothing")
    with pytest.raises(gh.OutputError, match=r"has no part 'c'"):
        choose({"a": LOGITS}, "c")
    with pytest.raises(gh.OutputError, match=r"returns a tensor of shape \(2, 5\)"):
        choose(LOGITS, 0)


def test_tree_is_a_line_a_part() -> None:
    assert drawn((LOGITS, {"x": None})).splitlines() == [
        "0: (2, 5) torch.float32",
        "1: dict",
        "  'x': NoneType",
    ]
