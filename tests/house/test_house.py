"""The drawing of the rooms: what it is made from, by hand, and that docs/house.svg is current."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts import house

DIAMOND = {"ground": set(), "a": {"ground"}, "b": {"ground", "a"}, "roof": {"a", "b", "ground"}}


def test_the_drawing_is_current() -> None:
    drawn = house.drawing(house.rooms(house.modules()))
    assert house.PICTURE.read_text(encoding="utf-8") == drawn, "run scripts/house"


def test_every_kind_of_import_is_read(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    (package / "apps" / "shop").mkdir(parents=True)
    for folder in (package, package / "apps", package / "apps" / "shop"):
        (folder / "__init__.py").write_text("")
    (package / "ground.py").write_text("import os\nfrom collections import abc\n")
    (package / "__init__.py").write_text("from pack.ground import brick\n")
    (package / "apps" / "shop" / "till.py").write_text(
        "from pack import ground\nfrom packing import box\n"
        "def sell():\n    from pack.apps import shop\n    from pack.ground import brick, ash\n"
    )
    found = house.modules(package)
    assert found == {
        "__init__": {"ground"},
        "apps/__init__": set(),
        "apps/shop/__init__": set(),
        "apps/shop/till": {"ground", "apps/shop/__init__"},
        "ground": set(),
    }
    assert house.rooms(found) == {"apps/shop": {"ground"}, "ground": set()}


def test_floors_and_arrows_by_hand() -> None:
    assert house.floors(DIAMOND) == {"ground": 0, "a": 1, "b": 2, "roof": 3}
    assert house.plain(DIAMOND) == {"ground": set(), "a": {"ground"}, "b": {"a"}, "roof": {"b"}}
    assert house.figures(DIAMOND) == "4 rooms, 4 floors, 6 arrows (3 of them drawn)"


@pytest.mark.parametrize(
    "of_rooms",
    [DIAMOND, {"0": set(), "1": {"0"}, "2": {"1"}, "3": {"2", "side"}, "side": {"0"}}],
    ids=["diamond", "way round"],
)
def test_an_arrow_leads_down_and_no_room_covers_another(of_rooms: dict[str, set[str]]) -> None:
    svg = ElementTree.fromstring(house.drawing(of_rooms))
    space = "{http://www.w3.org/2000/svg}"
    boxes = {
        group.findtext(f"{space}text"): {
            name: int(value)
            for name, value in group.find(f"{space}rect").items()
            if name in ("x", "y", "width", "height")
        }
        for group in svg.findall(f"{space}g")
    }
    assert set(boxes) == set(of_rooms)
    for name, to in of_rooms.items():
        for one in to:
            assert boxes[name]["y"] + boxes[name]["height"] < boxes[one]["y"]
    for left, right in pairwise(sorted(boxes.values(), key=lambda box: (box["y"], box["x"]))):
        assert left["y"] < right["y"] or left["x"] + left["width"] < right["x"]
    assert len(svg.findall(f"{space}path")) == sum(map(len, house.plain(of_rooms).values()))


def test_wishes_that_clash_are_shared_out() -> None:
    assert house._spread([0.0, 0.0, 500.0], [100, 100, 100]) == [-57.0, 57.0, 500.0]
    assert house._spread([300.0, 0.0], [100, 20]) == [113.0, 187.0]


def test_every_room_is_described_from_the_ground_up() -> None:
    text = (house.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    *described, last = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert last == "The tests"
    floor = house.floors(house.rooms(house.modules()))
    assert sorted(described) == sorted(floor)
    below = house.rooms(house.modules())
    for at, name in enumerate(described):
        assert below[name] <= set(described[:at]), f"{name} stands ahead of what it imports"
