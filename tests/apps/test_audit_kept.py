"""What an audit keeps: no picture is looked at twice, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.apps.audited import audit_files, kept
from gradcam_hooks.apps.audited.kept import Kept
from gradcam_hooks.auditing import looking, run
from gradcam_hooks.auditing.keeping import Part
from gradcam_hooks.models import LoadedModel

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = gh.Preprocess(size=(16, 16), mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The numbers of the pictures that each audit looks at."""
    asked: list[list[int]] = []
    inner = run.parts_of

    def parts(model, pictures, look, missing):
        asked.append(list(missing))
        return inner(model, pictures, look, missing)

    monkeypatch.setattr(run, "parts_of", parts)
    return asked


def network(seed: int = 0) -> LoadedModel:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return LoadedModel(nn.Sequential(*layers).eval(), "net", "random", None, SMALL)


def draw(folder: Path, number: int, seed: int | None = None) -> Path:
    noise = np.random.default_rng(number if seed is None else seed)
    pixels = noise.integers(0, 255, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder / f"{number}.png"


def test_only_what_is_not_known_is_looked_at(tmp_path: Path, looked: list[list[int]]) -> None:
    paths = [draw(tmp_path, number) for number in range(7)]
    out = tmp_path / "out"

    def run(model: LoadedModel, several: list[Path], **more: object) -> gh.Audit:
        asked = {"layer": "1", "trials": 1, "agreement": 0, "batch_size": 3, **more}
        return audit_files(model, several, out, **asked)[0]

    first, again = run(network(), paths), run(network(), paths, seed=5, trials=2)
    assert looked == [list(range(7)), []]
    for name in ("maps", "places", "boxes"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert (first.answers, first.chances, first.words) == (
        again.answers, again.chances, again.words,
    )  # fmt: skip
    plain = gh.audit(network(), paths, layer="1", trials=1, agreement=0)
    assert torch.equal(first.places.topk(1).indices, plain.places.topk(1).indices)
    looked.clear()

    draw(tmp_path, 2, seed=99).touch()  # another picture under the name
    more = [draw(tmp_path, 7), *paths]
    changed = run(network(), more)
    assert looked == [[0, 3]]
    fresh = gh.audit(network(), more, layer="1", trials=1, agreement=0)
    torch.testing.assert_close(changed.places, fresh.places, atol=1e-5, rtol=1e-4)
    assert changed.answers == fresh.answers
    looked.clear()

    kept = {path.name for path in (out / "audit").iterdir()}
    for path in (out / "audit").iterdir():
        path.write_bytes(path.read_bytes()[:-40])  # torn
    run(network(), paths)
    run(network(), paths, layer="0")
    run(network(1), paths)
    assert looked == [list(range(7))] * 3
    assert not kept & {path.name for path in (out / "audit").iterdir()}  # of other networks


def test_an_audit_that_was_stopped_goes_on(
    tmp_path: Path, looked: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [draw(tmp_path, number) for number in range(7)]
    made = looking._facts
    asked = {"layer": "1", "trials": 1, "agreement": 0, "batch_size": 2}
    monkeypatch.setattr(looking, "_facts", stopping(made, after=2))
    with pytest.raises(KeyboardInterrupt):
        audit_files(network(), paths, tmp_path / "out", **asked)
    monkeypatch.setattr(looking, "_facts", made)
    found, _ = audit_files(network(), paths, tmp_path / "out", **asked)
    assert looked == [list(range(7)), [4, 5, 6]]
    assert found.answers == gh.audit(network(), paths, layer="1", trials=1).answers


def stopping(made: Callable[..., object], after: int) -> Callable[..., object]:
    done = []

    def facts(*given: object) -> object:
        done.append(1)
        if len(done) > after:
            raise KeyboardInterrupt
        return made(*given)

    return facts


def test_what_is_kept_of_another_kind_is_let_go(
    tmp_path: Path, looked: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as facts that this version does not know, under a fingerprint that says otherwise."""
    paths = [draw(tmp_path, number) for number in range(4)]
    asked = {"layer": "1", "trials": 1, "agreement": 0}
    audit_files(network(), paths, tmp_path / "out", **asked)
    monkeypatch.setattr(looking, "_earlier", lambda *given: {})
    found, _ = audit_files(network(), [*paths, draw(tmp_path, 4)], tmp_path / "out", **asked)
    assert looked == [[0, 1, 2, 3], [4], [0, 1, 2, 3, 4]]
    assert len(found) == 5


def test_a_kill_loses_the_last_seconds_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen is written as time goes by, and in one file until there is enough in it."""
    monkeypatch.setattr(kept, "_SECONDS", 0)
    monkeypatch.setattr(kept, "_EACH", 5)
    paths = [draw(tmp_path, number) for number in range(8)]
    out = tmp_path / "out"
    writing = Kept(out, "run", paths)

    def keep(*numbers: int) -> tuple[list[int], int]:
        facts = {"maps": torch.tensor(numbers)[:, None]}
        writing.keep(Part(numbers, facts, ("ok",) * len(numbers), ("1",), "", (16, 16)))
        known = Kept(out, "run", paths).known()  # another process, after a kill
        assert all(part.facts["maps"][:, 0].tolist() == [*part.numbers] for part in known)
        found = sorted(number for part in known for number in part.numbers)
        return found, len(list((out / "audit").iterdir()))

    assert keep(0, 1) == ([0, 1], 1)
    assert keep(2, 3) == ([0, 1, 2, 3], 1)
    assert keep(4, 5) == ([0, 1, 2, 3, 4, 5], 1)
    assert keep(7) == ([0, 1, 2, 3, 4, 5, 7], 2)
    monkeypatch.setattr(kept, "_SECONDS", 1e9)
    assert keep(6) == ([0, 1, 2, 3, 4, 5, 7], 2)
    assert writing.flush()
    assert len(Kept(out, "run", paths).known()) == 2
