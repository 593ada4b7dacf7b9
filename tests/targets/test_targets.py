"""What a target selects, and what is said of one that is no target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.targets import select

LOGITS = torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]])
LABELS = ("cat", "dog", "Ship")


@pytest.mark.parametrize(
    ("target", "index"),
    [
        (None, [1, 0]),
        (2, [2, 2]),
        (np.int64(2), [2, 2]),
        (torch.tensor(2), [2, 2]),
        ([2], [2, 2]),
        ([2, 0], [2, 0]),
        ((2, 0), [2, 0]),
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor([2, 0], dtype=torch.uint8), [2, 0]),
        (np.array([2, 0]), [2, 0]),
        (np.array([2, 0], dtype=np.uint16), [2, 0]),
        ([torch.tensor(2), np.int32(0)], [2, 0]),
        ("dog", [1, 1]),
        ("ship", [2, 2]),
        (["cat", "Ship"], [0, 2]),
        (torch.tensor([[2, 0], [1, 1]]), [[2, 0], [1, 1]]),
        (gh.TopK(2), [[1, 2], [0, 2]]),
        (gh.AllClasses(), [[0, 1, 2], [0, 1, 2]]),
    ],
)
def test_each_way_to_name_classes(target: object, index: list[object]) -> None:
    selected = select(target, LOGITS, 2, LABELS)  # type: ignore[arg-type]
    assert selected.index is not None
    assert selected.index.tolist() == index
    assert selected.index.dtype == torch.long
    expected = LOGITS.gather(1, torch.tensor(index).view(2, -1)).view(selected.index.shape)
    assert torch.equal(selected.scores, expected)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (-1, r"class -1 is out of range: .* 0 to 2; negative numbers do not count from the end"),
        (3, r"class 3 is out of range: this output has classes 0 to 2\."),
        ([0, 3], r"class 3 is out of range"),
        ([0, 1, 2], r"one for each of the 2 .*it has shape \(3,\)"),
        ([], r"it has shape \(0,\)"),
        (torch.zeros(3, 1, dtype=torch.long), r"it has shape \(3, 1\)"),
        (torch.zeros(2, 1, 1, dtype=torch.long), r"it has shape \(2, 1, 1\)"),
        (1.0, r"not float: 1\.0"),
        (True, r"not bool: True"),
        ([True, False], r"not bool: True"),
        (torch.tensor([1.0, 0.0]), r"integers, not torch\.float32"),
        (torch.tensor([True, False]), r"integers, not torch\.bool"),
        (np.array([1.0, 0.0]), r"integers, not float64"),
        ({"a": 1}, r"not dict"),
        (b"cat", r"not bytes"),
        ("catt", r"no class is called 'catt' among the 3 labels; did you mean 'cat'\?"),
        ("zzzzzz", r"the first are cat, dog, Ship\."),
        (gh.TopK(4), r"TopK\(k=4\) asks for more than the 3 classes"),
        (lambda out: out.sum(), r"one floating-point score per image, \(batch=2,\).*returned \(\)"),
        (lambda out: 3.0, r"returned float"),
        (lambda out: out.argmax(1), r"returned \(2,\) of torch\.int64"),
    ],
)
def test_a_wrong_target_says_what_was_legal(target: object, message: str) -> None:
    with pytest.raises(gh.TargetError, match=message) as caught:
        select(target, LOGITS, 2, LABELS)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_top_k_takes_a_whole_number(k: object) -> None:
    with pytest.raises(gh.TargetError, match="whole number from 1 up"):
        gh.TopK(k)  # type: ignore[arg-type]


def test_a_label_needs_labels_and_one_meaning() -> None:
    with pytest.raises(gh.TargetError, match=r"labels of this model are not known"):
        select("cat", LOGITS, 2)
    with pytest.raises(gh.TargetError, match=r"several classes are called 'crane': 0, 2"):
        select("crane", LOGITS, 2, ("crane", "dog", "crane"))


def test_a_function_gets_the_output_and_has_no_index() -> None:
    selected = select(lambda out: out[:, 1] - out[:, 0], LOGITS, 2)
    assert torch.allclose(selected.scores, torch.tensor([0.8, -2.0]))
    assert selected.index is None


def test_a_class_of_an_output_that_is_no_table_of_classes() -> None:
    with pytest.raises(gh.OutputError, match=r"this output is a segmentation's"):
        select(0, torch.zeros(2, 3, 4, 4), 2)
    with pytest.raises(gh.OutputError, match=r"\(batch=2, classes\), but the output has shape"):
        select(0, torch.zeros(2, 3, 4), 2)
