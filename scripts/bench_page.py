"""The page of an audit of very many pictures in a real Chromium: size, seconds to use it, memory.

Pictures, maps and answers are drawn, as an audit of a network with ten classes and four strategies
would have them; the page is the command's own. Needs `playwright` and its Chromium.

    PYTHONPATH=. python scripts/bench_page.py 10000
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from gradcam_hooks.apps.audited import write_audit
from gradcam_hooks.apps.audited.drawing import Drawing
from gradcam_hooks.apps.audited.sprites import SIDE
from gradcam_hooks.apps.batch import Folder
from gradcam_hooks.auditing.strategies import Audit, Proof, Strategy

__all__ = ["drawn", "main", "measured"]

_CLASSES, _STRATEGIES = 10, 4

_READY = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  return {
    "first paint": paint.startTime / 1000,
    "script ran": page.domContentLoadedEventEnd / 1000,
    "memory of the script, MB": performance.memory.usedJSHeapSize / 1e6,
  };
}"""

_ASKED = """(field) => {
  const one = document.getElementById(field[0]);
  one.value = field[1];
  const start = performance.now();
  one.dispatchEvent(new Event("input"));
  document.body.offsetHeight;
  return (performance.now() - start) / 1000;
}"""


def drawn(count: int) -> Audit:
    """An audit of so many pictures, of random answers and places around a few spots."""
    chance = torch.Generator().manual_seed(0)
    own = torch.randint(_STRATEGIES, (count,), generator=chance)
    spots = torch.randint(64, (_STRATEGIES,), generator=chance)
    places = torch.rand(count, 64, generator=chance) * 0.1
    places[torch.arange(count), spots[own]] += 1
    places /= places.sum(1, keepdim=True)
    answers = torch.randint(_CLASSES, (count,), generator=chance)
    wrong = torch.rand(count, generator=chance) < 0.1
    truths = torch.where(wrong, (answers + 1) % _CLASSES, answers)
    strategies = []
    for number in range(_STRATEGIES):
        members = tuple((own == number).nonzero()[:, 0].tolist())
        strategies.append(
            Strategy(
                members=members, share=len(members) / count, by="place", among=None,
                suspect=number == 0, text=f"{len(members):,} pictures", proof=Proof(),
                answers={}, accuracy=None, accuracy_outside=None,
                place=places[list(members)].mean(0).view(8, 8), concentration=0.5, leaves=0.01,
                stability=1.0, middle=members[:8], edge=members[-8:],
            )
        )  # fmt: skip
    return Audit(
        strategies=tuple(strategies), text=f"{count:,} drawn pictures.",
        answers=tuple(answers.tolist()),
        chances=tuple(torch.rand(count, generator=chance).tolist()),
        truths=tuple(truths.tolist()), labels=tuple(f"class {one}" for one in range(_CLASSES)),
        names=tuple(f"photos/of/a/data/set/{one:06d}.jpg" for one in range(count)),
        layers=("layer4",), method="gradcam", words=("ok",) * count, places=places,
        maps=places.view(-1, 8, 8).half(), boxes=torch.zeros(count, 4, dtype=torch.long),
        size=(224, 224), power="",
    )  # fmt: skip


def measured(browser: object, page_file: Path) -> dict[str, float]:
    """What the page costs in this browser."""
    page = browser.new_page()  # type: ignore[attr-defined]
    page.goto(page_file.as_uri())
    found: dict[str, float] = page.evaluate(_READY)
    for words, field in {
        "a filter": ["right", "false"],
        "a search by name": ["text", "0001"],
        "all again": ["text", ""],
    }.items():
        found[words] = page.evaluate(_ASKED, field)
    page.close()
    return found


def main() -> None:
    """Print the figures."""
    from tests.support.report_runs import chromium

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    noise = [Image.effect_noise((SIDE, SIDE), 90).convert("RGB") for _ in range(32)]

    def draw(number: int) -> Image.Image:
        return noise[number % 32]

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        audit = drawn(count)
        files = write_audit(audit, Folder(Path(folder)), Drawing(draw, crop=draw, thumb=draw))
        print(f"written in {time.perf_counter() - start:.1f} s")
        print(*(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB" for file in files), sep=", ")
        with chromium() as browser:
            for words, value in measured(browser, files[0]).items():
                print(f"{words}: {value:.2f}")


if __name__ == "__main__":
    main()
