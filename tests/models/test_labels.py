"""Labels come in the order of their indices, and a list with a hole is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.labels import labels_of, plain_labels, read_labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\ufeffcat\r\ntench, Tinca tinca\r\n\r\n", ("cat", "tench, Tinca tinca")),
        (json.dumps(["cat", "dog"]), ("cat", "dog")),
        (json.dumps({"1": "dog", "0": "cat"}), ("cat", "dog")),
        (json.dumps({"dog": 1, "cat": 0}), ("cat", "dog")),
        (
            json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}),
            ("tench", "goldfish"),
        ),
    ],
    ids=["lines", "byte-order mark and CRLF", "list", "by index", "by name", "ImageNet"],
)
def test_a_file_gives_the_names_in_the_order_of_their_indices(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8")
    assert read_labels(path) == expected
    assert read_labels(str(path)) == expected


def test_ten_and_more_are_ordered_as_numbers_not_as_words() -> None:
    by_index = {str(index): f"class {index}" for index in reversed(range(12))}
    assert plain_labels(by_index) == tuple(f"class {index}" for index in range(12))


@pytest.mark.parametrize(
    "text",
    ["", "cat\n\ndog\n", '{"0": "cat", "2": "dog"}', '{"1": "cat", "2": "dog"}', '["cat", ""]'],
    ids=["empty", "blank line", "hole", "from one", "blank name"],
)
def test_a_name_left_out_would_shift_the_others_and_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"labels\.txt': expected one name for each class"):
        read_labels(path)


def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat")
    with pytest.raises(ModelError, match=r"no file of labels .*lables\.txt.*labels\.txt"):
        read_labels(tmp_path / "lables.txt")


def test_broken_json_and_a_folder_are_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"0": "cat"')
    with pytest.raises(ModelError, match="cannot be read as labels: Expecting"):
        read_labels(path)
    with pytest.raises(ModelError, match="cannot be read as labels"):
        read_labels(tmp_path)


def test_a_list_in_a_program_is_taken_as_it_is() -> None:
    assert read_labels(["cat", "dog"]) == ("cat", "dog")
    with pytest.raises(ModelError, match="expected one name for each class"):
        read_labels([])


@pytest.mark.parametrize(
    ("id2label", "labels"),
    [
        ({str(i): f"c{i}" for i in range(12)}, tuple(f"c{i}" for i in range(12))),
        ({1: "b", 3: "d"}, ("class 0", "b", "class 2", "d")),
        ({2: "c", 0: "a", 1: "b"}, ("a", "b", "c")),
        ({"cat": 0}, None),
        ({-1: "a"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_labels_of_a_configuration_stand_by_their_numbers(id2label, labels) -> None:
    model = nn.Identity()
    model.config = SimpleNamespace(id2label=id2label)
    assert labels_of(model) == labels


def test_a_network_without_a_configuration_has_no_labels() -> None:
    assert labels_of(nn.Identity()) is None


def test_imagenet_by_name_in_bytes_and_opened(tmp_path: Path) -> None:
    names = read_labels("imagenet")
    assert (len(names), names[0], names[281], names[999]) == (
        1000,
        "tench",
        "tabby",
        "toilet tissue",
    )
    path = tmp_path / "labels.txt"
    path.write_text("cat\ndog\n")
    assert read_labels(b'{"0": "cat", "1": "dog"}') == ("cat", "dog")
    with path.open("rb") as file:
        assert read_labels(file) == ("cat", "dog")
    assert read_labels({1: "dog", 0: "cat"}) == ("cat", "dog")  # type: ignore[arg-type]


def test_a_thousand_classes_without_names_are_offered_imagenets() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000)
    )
    image = torch.rand(1, 3, 12, 12)
    (note,) = gh.explain(net, image).notes
    assert 'labels="imagenet"' in note
    named = gh.explain(net, image, labels="imagenet", target="tabby")
    assert (named.notes, named.target.tolist()) == ((), [281])
