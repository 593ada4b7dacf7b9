"""A folder for each run: none takes the place of another's, and the last one is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder, Series
from gradcam_hooks.apps.batch.runs import home_of, searched
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.reported.running import running
from gradcam_hooks.images.files import list_images
from tests.support.runs_on_disk import NET, contents, lines, noise, small_job


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [noise(tmp_path / f"photos/{i}.png", i) for i in range(2)]


def done(photos: list[Path], out: Path, **options: object) -> Path:
    """The folder in which a run's results came to lie."""
    with running({"": small_job(**options)}, photos, out) as run:
        run.write({"": run.go("")})
    return run.home.path


def home(out: Path, fingerprint: str) -> Path:
    with home_of(out, fingerprint) as folder:
        return folder.path


def test_the_folder_of_a_run_that_was_killed_before_it_made_anything_is_taken(photos, tmp_path):
    """But for one in which there is something, or somebody is at work."""
    out = tmp_path / "out"
    done(photos, out)
    for name in ("lock", "parts/half.jpg"):
        left = out / "run-2/.gradcam_hooks" / name
        left.parent.mkdir(parents=True)
        left.write_text("1")
        assert home(out, "other") == out / "run-2"
        assert not (out / "run-2").exists()  # nothing was claimed
    with Folder(out / "run-2").held():
        assert home(out, "other") == out / "run-3"
    (out / "run-2/.gradcam_hooks").mkdir(parents=True)
    (out / "run-2/.gradcam_hooks/mine.txt").write_text("mine")
    assert done(photos, out, target=1) == out / "run-3"
    assert contents(out / "run-2") == {".gradcam_hooks/mine.txt": b"mine"}


def test_other_options_get_a_folder_of_their_own_and_nothing_is_lost(photos, tmp_path):
    out = tmp_path / "out"
    assert done(photos, out) == out
    first = contents(out)
    assert not (out / "latest.html").exists()
    assert done(photos, out, target=1) == out / "run-2"
    assert done(photos[:1], out, method="layercam") == out / "run-3"
    now = contents(out)
    assert {name: now[name] for name in first if "made.json" not in name} == {
        name: data for name, data in first.items() if "made.json" not in name
    }
    assert [line["target"] for line in lines(out / "run-2")] == [1, 1]
    assert "url=run-3/report.html" in (out / "latest.html").read_text()
    # The same options again find their own results, and do nothing anew.
    before = (out / "run-2" / "overlays" / "0.png").stat().st_mtime_ns
    assert done(photos, out, target=1) == out / "run-2"
    assert (out / "run-2" / "overlays" / "0.png").stat().st_mtime_ns == before
    assert "url=run-2/report.html" in (out / "latest.html").read_text()
    assert done(photos, out) == out
    assert "url=report.html" in (out / "latest.html").read_text()


def test_a_run_that_was_stopped_is_found_again(photos, tmp_path):
    out = tmp_path / "out"
    done(photos, out)

    def stop(record: object) -> None:
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        running({"": small_job(target=1)}, photos, out) as run,
    ):
        run.go("", batch_size=1, progress=stop)
    with running({"": small_job(target=1)}, photos, out) as run:
        assert run.home.path == out / "run-2"
        assert len(run.series[""].kept) == 2  # what was explained when it was stopped, too


def test_what_holds_only_broken_pictures_or_nothing_is_taken(tmp_path):
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"nothing")
    good = noise(tmp_path / "good.png")
    assert done([torn], tmp_path / "out") == tmp_path / "out"
    assert done([torn, good], tmp_path / "out", target=1) == tmp_path / "out"
    assert home(tmp_path / "new", "a") == tmp_path / "new"
    assert not (tmp_path / "new").exists()


def test_a_folder_of_another_s_that_is_called_so_is_passed_over(photos, tmp_path):
    out = tmp_path / "out"
    done(photos, out)
    (out / "run-2").mkdir()
    (out / "run-2" / "mine.txt").write_text("mine")
    (out / "run-3").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if os.name == "posix":
        (out / "run-4").symlink_to(elsewhere)
    else:
        (out / "run-4").mkdir()
    (out / "latest.html").write_text("mine")
    assert done(photos, out, target=1) == out / "run-5"
    assert list(elsewhere.iterdir()) == []
    assert contents(out)["run-2/mine.txt"] == b"mine"
    assert (out / "latest.html").read_text() == "mine"


def test_runs_among_the_pictures_are_no_pictures(photos, tmp_path):
    out = photos[0].parent
    done(photos, out)
    done(photos, out, target=1)
    assert list_images([out], exclude=searched([out], out)) == photos
    assert searched([tmp_path / "photos"], tmp_path / "out") == [tmp_path / "out"]


def test_networks_side_by_side_never_enter_another_run_s_folder(photos, tmp_path):
    out = tmp_path / "out"
    Series(small_job(method="layercam"), photos, out / "before").go()
    there = contents(out / "before")
    jobs = {"before": small_job(), "after": small_job(target=1)}
    with running(jobs, photos, out) as run:
        assert run.home.path == out / "run-2"
        found = {name: run.go(name) for name in jobs}
        run.write(found)
    assert contents(out / "before") == there
    assert {line["file"] for line in lines(out / "run-2" / "after")} == set(map(str, photos))
    assert Folder(out / "run-2").run() == run.run
    with running(jobs, photos, out) as again:
        assert again.home.path == out / "run-2"
        assert [len(one.kept) for one in again.series.values()] == [2, 2]


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_nothing_is_written_through_a_link_of_a_network_s_name(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "before").symlink_to(tmp_path / "elsewhere")
    jobs = {"before": small_job(), "after": small_job(target=1)}
    with pytest.raises(gh.ImageError, match="is a link"), running(jobs, photos, tmp_path / "out"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "run-2", "Overlays", "", "a/b", ".hidden", "end."])
def test_a_network_s_name_that_can_be_no_folder_is_told(name, photos, tmp_path):
    jobs = {name: small_job(), "after": small_job()}
    with pytest.raises(gh.InputError, match="cannot be one"), running(jobs, photos, tmp_path):
        pass
    with (
        pytest.raises(gh.InputError, match="a name of its own"),
        running({"A": small_job(), "a": small_job()}, photos, tmp_path),
    ):
        pass


# --- two networks, by the command and from Python ----------------------------------------------


def test_the_command_puts_two_checkpoints_side_by_side(photos, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    net = small_job().loaded.model
    for name, factor in (("before", 1.0), ("after", -1.0)):
        state = {key: factor * value for key, value in net.state_dict().items()}
        state = {key.replace("3.", "4."): value for key, value in state.items()}
        save_file(state, f"{name}.safetensors")
    words = [
        "explain", "photos", "--model", "net.py:build", "--layer", "0", "--size", "32",
        "--weights", "before.safetensors", "--against", "after.safetensors",
        "--method", "gradcam,layercam",
    ]  # fmt: skip
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    out = Path("gradcam_results")
    assert "report:   gradcam_results" in told.stdout
    assert "\nbefore:" in told.stdout
    assert "\nafter:" in told.stdout
    before, after = lines(out / "before"), lines(out / "after")
    assert [line["method"] for line in before] == [["gradcam", "layercam"]] * 2
    assert [len(line["diagnosis"]) for line in before] == [2, 2]
    assert [one["predicted"] for one in before] != [one["predicted"] for one in after]
    page = (out / "report.html").read_text(encoding="utf-8")
    for words_ in ("before beside after", "told differently", "before: "):
        assert words_ in page
    assert not (out / "results.jsonl").exists()


def test_pictures_in_memory_keep_their_files(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    grey, white = (np.full((8, 8, 3), level, np.uint8) for level in (90, 255))

    def report(pictures: list[np.ndarray], **options: object) -> gh.Report:
        return gh.report(
            net, pictures, out=tmp_path, layer="0", preprocess=gh.Preprocess((8, 8)), **options
        )

    first = report([grey, white])
    assert report([grey, white]).records == first.records  # nothing is done anew
    report([grey, grey])
    stored = [np.asarray(Image.open(record.file)) for record in first.records]
    assert [int(one.max()) for one in stored] == [90, 255]
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    both = gh.report(
        {"one": net, "other": net}, [grey], out=tmp_path / "both", layer="0",
        preprocess=gh.Preprocess((8, 8)), truths=[0],
    )  # fmt: skip
    assert list(both.networks) == ["one", "other"]
    assert both.networks["one"].records == both.records
    assert repr(both).count("% right") == 2
    with pytest.raises(gh.InputError, match="names no network"):
        gh.report({}, [grey], out=tmp_path / "none")
