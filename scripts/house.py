"""Draws docs/house.svg, the package's rooms and who imports whom: scripts/house

A room is a file or a folder of the package; each application is one of its own. Its floor is the
longest way down from it, so an arrow always leads downwards. An arrow that a longer way tells as
well is counted, but not drawn. All is read from the import statements, those within functions too;
nothing is imported. A test says when the drawing is out of date.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import accumulate, combinations, pairwise
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "house.svg"

Arrows = Mapping[str, set[str]]
Cell = tuple[str, str]
"""What takes up room on a floor: ``(a, a)`` is a itself, ``(a, b)`` the arrow that passes by."""
Place = tuple[int, Cell]
"""A cell with its floor."""

_WIDE, _TALL, _LANE, _GAP, _FLOOR, _EDGE = 116, 30, 8, 14, 64, 24
_SWEEPS = 200
_STYLE = (
    "rect.room{fill:#eef3fb;stroke:#33527f} path{fill:none;stroke:#7d8fa8;stroke-width:1.3;"
    "marker-end:url(#tip)} text{font:14px system-ui,sans-serif;fill:#14233b;text-anchor:middle}"
    " text.floor,text.sum{fill:#5b6b82;font-size:12px;text-anchor:start}"
)


def modules(package: Path = ROOT / "gradcam_hooks") -> dict[str, set[str]]:
    """Each module of the package with those it imports, as paths without their ending."""
    files = {path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py")}

    def module(dotted: str) -> str | None:
        path = dotted.removeprefix(package.name).strip(".").replace(".", "/")
        here = (path, f"{path}/__init__".strip("/"))
        return next((one for one in here if one in files), None)

    found = {}
    for name in sorted(files):
        inside = set()
        for node in ast.walk(ast.parse((package / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(package.name):
                for alias in node.names:
                    inside.add(module(f"{node.module}.{alias.name}") or module(node.module or ""))
        found[name] = {one for one in inside if one is not None}
    return found


def room(module: str) -> str | None:
    """The room of a module; none for the door, and for a folder that only holds rooms."""
    first, *more = module.split("/")
    if first == "apps" and len(more) > 1:
        return f"{first}/{more[0]}"
    return None if first in ("apps", "__init__", "__main__", "public") else first


def rooms(of_modules: Arrows) -> dict[str, set[str]]:
    """Each room with those it imports from."""
    found: dict[str, set[str]] = {}
    for module, imported in of_modules.items():
        if (here := room(module)) is not None:
            there = {one for one in map(room, imported) if one is not None}
            found[here] = found.get(here, set()) | (there - {here})
    return dict(sorted(found.items()))


def floors(of_rooms: Arrows) -> dict[str, int]:
    """The floor of each room: 0 where it imports none, else one above the highest it imports.

    Raises:
        CycleError: The imports run in a circle, which it names.
    """
    found: dict[str, int] = {}
    for name in TopologicalSorter(of_rooms).static_order():
        found[name] = 1 + max((found[one] for one in of_rooms[name]), default=-1)
    return found


def plain(of_rooms: Arrows) -> dict[str, set[str]]:
    """The arrows that no longer way tells as well."""
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(of_rooms).static_order():
        below[name] = of_rooms[name].union(*(below[one] for one in of_rooms[name]))
    return {
        name: {one for one in to if not any(one in below[two] for two in to)}
        for name, to in of_rooms.items()
    }


def figures(of_rooms: Arrows) -> str:
    """How large the house is, in a line."""
    arrows = sum(map(len, of_rooms.values()))
    drawn = sum(map(len, plain(of_rooms).values()))
    stories = 1 + max(floors(of_rooms).values())
    return f"{len(of_rooms)} rooms, {stories} floors, {arrows} arrows ({drawn} of them drawn)"


def drawing(of_rooms: Arrows) -> str:
    """The house as SVG."""
    floor = floors(of_rooms)
    ways = list(_ways(plain(of_rooms), floor))
    rows = _rows(ways, floor)
    across = _across(rows, ways)
    left = min(across.values()) - _WIDE // 2 - 3 * _EDGE
    wide = max(across.values()) + _WIDE // 2 + _EDGE - left
    tall = _FLOOR * (len(rows) - 1) + _TALL + 3 * _EDGE

    def top(row: int) -> int:
        return _EDGE + (len(rows) - 1 - row) * _FLOOR

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} 0 {wide} {tall}" role="img">',
        f"<title>The rooms of gradcam_hooks: {figures(of_rooms)}</title>",
        f"<style>{_STYLE}</style>",
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#7d8fa8;stroke:none"/></marker>',
        f'<rect x="{left}" width="{wide}" height="{tall}" fill="#fff"/>',
    ]
    lines += [
        f'<text class="floor" x="{left + _EDGE}" y="{top(row) + 20}">{row}</text>'
        for row in range(len(rows))
    ]
    lines += [f'<path d="{_path(way, across, top)}"/>' for way in ways]
    for name, row in sorted(floor.items()):
        x, y = across[row, (name, name)], top(row)
        box = f'x="{x - _WIDE // 2}" y="{y}" width="{_WIDE}" height="{_TALL}" rx="6"'
        told = f"{name} imports from {', '.join(sorted(of_rooms[name])) or 'no other room'}"
        lines += [
            f'<g><title>{told}</title><rect class="room" {box}/>',
            f'<text x="{x}" y="{y + 20}">{name}</text></g>',
        ]
    lines.append(f'<text class="sum" x="{left + _EDGE}" y="{tall - 14}">{figures(of_rooms)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _ways(drawn: Arrows, floor: Mapping[str, int]) -> Iterator[list[Place]]:
    """The places that each arrow goes through, from above to below."""
    for name, to in drawn.items():
        for one in sorted(to):
            by = [(row, (name, one)) for row in range(floor[name] - 1, floor[one], -1)]
            yield [(floor[name], (name, name)), *by, (floor[one], (one, one))]


def _rows(ways: Sequence[Sequence[Place]], floor: Mapping[str, int]) -> list[list[Place]]:
    """The places of each floor in the order from left to right that crosses the fewest arrows."""
    places = {place for way in ways for place in way}
    places |= {(row, (name, name)) for name, row in floor.items()}
    rows = [
        sorted(place for place in places if place[0] == row)
        for row in range(1 + max(floor.values()))
    ]
    steps = [step for way in ways for step in pairwise(way)]
    best, fewest = rows, _crossings(rows, steps)
    for sweep in range(_SWEEPS):
        rows = [list(row) for row in rows]
        upwards = sweep % 2 == 0
        for row in rows if upwards else reversed(rows):
            order = {place: at for line in rows for at, place in enumerate(line)}
            near = _near(steps, below=upwards)
            wish = {one: fmean(order[two] for two in near.get(one, [one])) for one in row}
            row.sort(key=wish.__getitem__)
        if (crossings := _crossings(rows, steps)) < fewest:
            best, fewest = rows, crossings
    return best


def _near(steps: Sequence[tuple[Place, Place]], below: bool) -> dict[Place, list[Place]]:
    """The places that each is tied to on the floor below, or above."""
    near: dict[Place, list[Place]] = {}
    for upper, lower in steps:
        near.setdefault(upper if below else lower, []).append(lower if below else upper)
    return near


def _crossings(rows: Sequence[Sequence[Place]], steps: Sequence[tuple[Place, Place]]) -> int:
    order = {place: at for row in rows for at, place in enumerate(row)}
    ends = [(upper[0], order[upper], order[lower]) for upper, lower in steps]
    return sum(
        one[0] == two[0] and (one[1] - two[1]) * (one[2] - two[2]) < 0
        for one, two in combinations(ends, 2)
    )


def _across(rows: Sequence[Sequence[Place]], ways: Sequence[Sequence[Place]]) -> dict[Place, int]:
    """The middle of each place: near those it is tied to, and clear of its neighbours."""
    steps = [step for way in ways for step in pairwise(way)]
    tied = [_near(steps, below=True), _near(steps, below=False)]
    at = {place: 0.0 for row in rows for place in row}
    for _ in range(_SWEEPS):
        for row in rows:
            wish = [
                fmean([at[one] for near in tied for one in near.get(place, [])] or [at[place]])
                for place in row
            ]
            at |= dict(zip(row, _spread(wish, [_wide(place) for place in row]), strict=True))
    return {place: round(x) for place, x in at.items()}


def _wide(place: Place) -> int:
    return _LANE if place[1][0] != place[1][1] else _WIDE


def _spread(wish: Sequence[float], wide: Sequence[int]) -> list[float]:
    """The places nearest to those wished for, at which none touches the next.

    Those in each other's way stand side by side, with their middle where their wishes' middle is.
    """
    before = [0.0, *accumulate((one + two) / 2 + _GAP for one, two in pairwise(wide))]
    heaps: list[list[float]] = []
    for want, ahead in zip(wish, before, strict=True):
        heaps.append([want - ahead])
        while len(heaps) > 1 and fmean(heaps[-2]) > fmean(heaps[-1]):
            heaps[-2:] = [heaps[-2] + heaps[-1]]
    shifts = [fmean(heap) for heap in heaps for _ in heap]
    return [shift + ahead for shift, ahead in zip(shifts, before, strict=True)]


def _path(way: Sequence[Place], across: Mapping[Place, int], top: Callable[[int], int]) -> str:
    """A line from the foot of the upper room, straight past others, to the head of the lower."""
    (row, _), *below = way
    x, y = across[way[0]], top(row) + _TALL
    line = f"M{x} {y}"
    for place in below:
        to, down = across[place], top(place[0])
        line += f"C{x} {(y + down) // 2} {to} {(y + down) // 2} {to} {down}"
        x, y = to, down + _TALL
        line += f"V{y}" if place != way[-1] else ""
    return line


if __name__ == "__main__":
    house = rooms(modules())
    PICTURE.write_text(drawing(house), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}  {figures(house)}")
