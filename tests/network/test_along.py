"""Which axis carries the images: found by what goes along with their number, and taken apart by."""

from __future__ import annotations

import torch

from gradcam_hooks.network.along import by_length, grown, taken


def test_by_length_takes_the_first_axis_and_lists_of_dicts() -> None:
    output = {"a": torch.zeros(2, 3), "b": torch.zeros(3, 2), "c": [{}, {}], "d": [1, 2]}
    assert by_length(output, 2) == {("a",): 0, ("c",): 0}


def test_grown_is_the_one_axis_that_went_along() -> None:
    zeros = torch.zeros
    assert grown(zeros(2, 2), zeros(1, 2), (2, 1)) == 0
    assert grown(zeros(2, 2), zeros(2, 1), (2, 1)) == 1
    assert grown(zeros(2, 2), zeros(1, 1), (2, 1)) is None
    assert grown(zeros(2, 2), zeros(2, 2), (2, 1)) is None
    assert grown(zeros(4, 2), zeros(2, 2), (2, 1)) is None
    assert grown([1, 2], [1], (2, 1)) == 0
    assert grown("ab", "a", (2, 1)) is None


def test_rows_in_any_order_and_of_nested_tensors() -> None:
    x = torch.arange(6).view(3, 2)
    assert taken(x, {(): 0}, [2, 0]).tolist() == [[4, 5], [0, 1]]
    assert taken((x, ("a", "b", "c")), {(1,): 0}, [1, 2])[1] == ("b", "c")
    ragged = torch.nested.nested_tensor([x[0], x[:, 0]], layout=torch.jagged)
    assert [one.tolist() for one in taken(ragged, {(): 0}, [1, 1]).unbind()] == [[0, 2, 4]] * 2
