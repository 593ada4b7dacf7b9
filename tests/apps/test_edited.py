"""Results that people edit, or other programs write: told by their line, and left as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Series
from tests.support.runs_on_disk import contents, lines, noise, small_job


@pytest.fixture
def cats(tmp_path: Path) -> list[Path]:
    return [noise(tmp_path / f"cats/{i}.png", i) for i in range(3)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"overlay": 5}, "overlay is 5, which is no str | None"),
        ({"overlay": "overlays/../../../etc/x.png"}, "which is not in overlays/"),
        ({"overlay": "/etc/x.png"}, "which is not in overlays/"),
        ({"place": None}, "place is None, which is no str"),
        ({"score": "high"}, "score is 'high'"),
        ({"probability": float("nan")}, "NaN is no finite number"),
        ({"predicted": True}, "predicted is True"),
        ({"more": 1}, "not exactly the fields expected: more"),
    ],
)
def test_an_edited_record_is_told_with_its_line(change, told, cats, tmp_path):
    Series(small_job(), cats, tmp_path).go()
    path = tmp_path / "results.jsonl"
    found = lines(tmp_path)
    found[1] |= change
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    edited = contents(tmp_path)
    with pytest.raises(gh.ImageError) as caught:
        Series(small_job(), cats, tmp_path)
    assert f"'{path}', line 2, is no record of a picture: " in str(caught.value)
    assert told in str(caught.value)
    assert contents(tmp_path) == edited


@pytest.mark.parametrize("line", ["note to self", "[" * 100_000, '{"a": 1e999}', "1" * 5000, "{}"])
def test_a_line_of_another_kind_is_told_too(line, cats, tmp_path):
    Series(small_job(), cats, tmp_path).go()
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(gh.ImageError, match="line 5, is no record"):
        Series(small_job(), cats, tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "[" * 100_000, '{"root": 1, "made": []}'])
def test_an_edited_list_of_what_was_made_is_told(text, cats, tmp_path):
    Series(small_job(), cats, tmp_path).go()
    (tmp_path / ".gradcam_hooks/made.json").write_text(text)
    with pytest.raises(gh.ImageError, match=r"made.json' should list .*name another folder"):
        Series(small_job(), cats, tmp_path)
