"""A folder of results: other people's files, other runs' results, and one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder, Series
from gradcam_hooks.apps.batch.names import card_name
from gradcam_hooks.apps.batch.results import Results
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.report import entries_of, write_report
from tests.support.runs_on_disk import NET, contents, lines, noise, small_job, surroundings

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and signals as POSIX has them")
HIDDEN = ".gradcam_hooks/made.json"
"""All that a run leaves hidden."""


@pytest.fixture
def cats(tmp_path: Path) -> list[Path]:
    return [noise(tmp_path / f"cats/{i}.png", i) for i in range(3)]


@pytest.fixture
def dogs(tmp_path: Path) -> list[Path]:
    return [noise(tmp_path / f"dogs/{i}.png", 10 + i) for i in range(3)]


# --- what is somebody else's --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["report.html", "results.jsonl", "overlays/1.png", "maps/1.json", "overlays/2.png/a"]
)
def test_what_is_there_and_not_ours_is_not_touched(name, cats, tmp_path):
    out = tmp_path / "work"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    before = contents(out)
    with pytest.raises(gh.ImageError, match=r"nothing is written. Name another folder \(--out\)"):
        Series(small_job(), cats, out).go()
    assert contents(out) == before
    assert not (out / ".gradcam_hooks").exists()


def test_files_of_others_beside_ours_stay(cats, tmp_path):
    out = tmp_path / "work"
    others = ("notes.txt", "results.jsonl.part", "report_pages/2024.html", "overlays/mine.png")
    for name in others:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    series = Series(small_job(), cats, out)
    entries = entries_of(series.go(), out)
    write_report(series.folder, entries, most=1)
    write_report(series.folder, entries)
    assert [(out / name).read_text() for name in others] == list(others)
    ours = {"results.jsonl", "report.html", HIDDEN}
    ours |= {f"overlays/{i}.png" for i in range(3)} | {f"maps/{i}.json" for i in range(3)}
    assert set(contents(out)) == ours | set(others)


def test_a_page_of_another_s_is_not_written_over(cats, tmp_path):
    out = tmp_path / "work"
    (out / "report_pages").mkdir(parents=True)
    (out / "report_pages" / "2.html").write_text("mine")
    series = Series(small_job(), cats, out)
    entries = entries_of(series.go(), out)
    with pytest.raises(gh.ImageError, match=r"2\.html' is there already"):
        write_report(series.folder, entries, most=1)
    assert (out / "report_pages" / "2.html").read_text() == "mine"
    assert not (out / "report.html").exists()


@posix
@pytest.mark.parametrize("name", ["overlays", "maps", ".gradcam_hooks", "results.jsonl"])
@pytest.mark.parametrize("ran_before", [False, True])
def test_nothing_is_written_through_a_link(name, ran_before, cats, tmp_path):
    out, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    out.mkdir()
    if ran_before:
        Series(small_job(), cats, out).go()
        (out / name).rename(elsewhere)
    elif name == "results.jsonl":
        elsewhere.write_text("mine")
    else:
        elsewhere.mkdir()
    (out / name).symlink_to(elsewhere)
    before = contents(tmp_path)
    with pytest.raises(gh.ImageError, match="is a link, where the results need"):
        Series(small_job(target=1), cats, out).go()
    assert contents(tmp_path) == before


@posix
def test_a_folder_that_is_named_by_a_link_to_it_is_fine(cats, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "disk")
    Series(small_job(), cats, tmp_path / "work").go()
    assert len(lines(tmp_path / "disk")) == 3


@posix
@pytest.mark.parametrize(
    "name", ["results.jsonl", "report.html", "overlays/1.png", ".gradcam_hooks/journal.jsonl"]
)
def test_a_pipe_in_the_way_is_told_and_not_waited_for(name, cats, tmp_path):
    out = tmp_path / "work"
    Series(small_job(), cats, out).go()
    (out / name).unlink(missing_ok=True)
    os.mkfifo(out / name)
    with pytest.raises(gh.ImageError, match=r"a device or a pipe, where the results need a file"):
        Series(small_job(), cats, out).go()


def test_where_nothing_is_claimed_nothing_is_left(tmp_path):
    out = tmp_path / "a" / "b"
    with Folder(out).held():
        assert out.is_dir()
    assert not (tmp_path / "a").exists()
    with Folder(out).held():
        (out / "notes.txt").write_text("mine")
    assert contents(tmp_path) == {"a/b/notes.txt": b"mine"}
    with pytest.raises(ValueError, match="in held"):
        Folder(out).claim(["a.png"])


# --- what is another run's ----------------------------------------------------------------------


def alone(pictures: list[Path], out: Path, **options: object) -> list[bytes]:
    """The overlays of a run that has a folder for itself."""
    return [
        (out / str(one.overlay)).read_bytes()
        for one in Series(small_job(**options), pictures, out).go()
    ]


def test_a_second_folder_of_equal_names_drops_nothing_of_the_first(cats, dogs, tmp_path):
    out = tmp_path / "out"
    wanted = alone(cats, tmp_path / "1") + alone(dogs, tmp_path / "2")
    first = Series(small_job(), cats, out).go()
    second = Series(small_job(), dogs, out).go()
    assert [one.overlay for one in first] == [f"overlays/{i}.png" for i in range(3)]
    assert [one.overlay for one in second] == [f"overlays/dogs/{i}.png" for i in range(3)]
    found = lines(out)
    assert [line["file"] for line in found] == list(map(str, cats + dogs))
    assert [(out / line["overlay"]).read_bytes() for line in found] == wanted
    series = Series(small_job(), dogs[:1], out)
    assert (len(series.kept), series.replaced) == (1, 0)
    series.go()
    assert len(lines(out)) == 6
    assert list(series.all()) == [line["place"] for line in lines(out)]
    later = [*dogs, noise(tmp_path / "dogs/9.png", 20), noise(tmp_path / "dogs/0.jpg", 21)]
    named = [one.overlay for one in Series(small_job(), later, out).go()][3:]
    assert named == ["overlays/dogs/9.png", "overlays/dogs/0.jpg.png"]


def test_the_same_words_from_two_folders_are_two_pictures(cats, dogs, tmp_path, monkeypatch):
    for folder in ("cats", "dogs"):
        monkeypatch.chdir(tmp_path / folder)
        Series(small_job(), [Path("0.png")], Path("../out")).go()
    found = lines(tmp_path / "out")
    assert [line["place"] for line in found] == ["../cats/0.png", "../dogs/0.png"]
    assert [line["file"] for line in found] == ["0.png", "0.png"]
    monkeypatch.chdir(tmp_path)
    again = Series(small_job(), [Path("cats/0.png"), dogs[0]], Path("out"))
    assert [record.place for record in again.kept] == ["../cats/0.png", "../dogs/0.png"]


def test_a_moved_folder_is_taken_up_where_it_was(cats, tmp_path):
    Series(small_job(), cats, tmp_path / "out").go()
    there = tmp_path / "there"
    there.mkdir()
    for name in ("cats", "out"):
        (tmp_path / name).rename(there / name)
    moved = [there / "cats" / path.name for path in cats]
    assert len(Series(small_job(), moved, there / "out").kept) == 3


def test_other_options_take_the_place_picture_by_picture(cats, tmp_path):
    """Stopped when the second was explained, the third one's earlier result is there yet."""
    out = tmp_path / "out"
    before = alone(cats, out)
    wanted = alone(cats, tmp_path / "other", target=1)
    series = Series(small_job(target=1), cats, out)
    assert (series.kept, series.replaced) == ([], 3)

    def progress(record):
        if record.place.endswith("0.png"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        series.go(batch_size=1, progress=progress)
    found = lines(out)
    assert [line["target"] for line in found] == [1, 1, found[2]["predicted"]]
    drawn = [(out / line["overlay"]).read_bytes() for line in found]
    assert drawn == [*wanted[:2], before[2]]
    assert len(Series(small_job(target=1), cats, out).kept) == 2


@pytest.mark.parametrize("what", [b"", b"another's", None])
def test_an_overlay_or_card_that_is_not_as_it_was_is_made_again(what, cats, tmp_path):
    out = tmp_path / "out"
    records = Series(small_job(), cats, out).go()
    for name in (str(records[0].overlay), card_name(str(records[1].overlay))):
        (out / name).unlink() if what is None else (out / name).write_bytes(what)
    series = Series(small_job(), cats, out)
    assert [record.file for record in series.kept] == [str(cats[2])]
    assert series.go() == records


def test_a_report_tells_what_of_other_runs_is_gone(cats, dogs, tmp_path):
    out = tmp_path / "out"
    Series(small_job(), cats, out).go()
    (out / "maps" / "0.json").unlink()
    (out / "overlays" / "1.png").write_bytes(b"another's")
    series = Series(small_job(), dogs, out)
    series.go()
    shown = series.shown()
    assert [one.error is None for one in shown] == [False, False, True, True, True, True]
    assert "explain it again" in str(shown[0].error)
    write_report(series.folder, entries_of(shown, out))
    assert (out / "overlays" / "1.png").read_bytes() == b"another's"


# --- one run at a time --------------------------------------------------------------------------


def test_a_second_run_at_the_same_time_is_refused(cats, dogs, tmp_path):
    out = tmp_path / "out"
    refused: list[str] = []

    def progress(record):
        with pytest.raises(gh.ImageError) as caught:
            Series(small_job(), dogs, out).go()
        refused.append(str(caught.value))

    assert len(Series(small_job(), cats, out).go(progress=progress)) == 3
    assert f"another run is at work in '{out}' (process {os.getpid()})" in refused[0]
    assert len(refused) == 3
    Series(small_job(), dogs, out).go()
    assert len(lines(out)) == 6


def test_what_another_run_did_since_is_taken_into_account(cats, dogs, tmp_path):
    out = tmp_path / "out"
    early = Series(small_job(), [*cats[:1], *dogs], out)
    Series(small_job(), cats, out).go()
    records = early.go()
    assert [one.file for one in early.kept] == [str(cats[0])]
    assert [one.overlay for one in records] == [
        "overlays/0.png", *(f"overlays/dogs/{i}.png" for i in range(3)),
    ]  # fmt: skip
    assert len(lines(out)) == 6


@contextmanager
def holding(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work in a folder, until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from gradcam_hooks.apps.batch import Folder\n"
        "folder = Folder(Path(sys.argv[1]))\n"
        "with folder.held(), folder.write('a.txt') as part:\n"
        "    part.write_text('half'); print('held', flush=True); time.sleep(600)"
    )
    root = Path(gh.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", code, out], stdout=subprocess.PIPE, text=True, cwd=root
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_lock_of_another_process_holds_until_it_dies(cats, tmp_path):
    out = tmp_path / "out"
    with holding(out) as process:
        with pytest.raises(gh.ImageError, match=rf"at work in .* \(process {process.pid}\)"):
            Series(small_job(), cats, out).go()
        process.kill()
        process.wait()
        assert any("parts/" in name for name in contents(out))  # what was half written
        Series(small_job(), cats, out).go()
    hidden = [name for name in contents(out) if "/." in f"/{name}"]
    assert hidden == [HIDDEN]


# --- what the command says of it ----------------------------------------------------------------


def test_the_command_tells_of_other_runs_and_other_options(cats, dogs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)

    def explained(*words: str) -> str:
        asked = ["explain", *words, "--model", "net.py:build", "--layer", "0", "--size", "32"]
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 0, done.output
        return " ".join(done.stdout.split())

    more = "The report and the results tell of 3 more, of earlier runs."
    other = "The earlier results in 'gradcam_results', of other options or another network, are as"
    assert more not in explained("cats")
    assert more in (told := explained("dogs"))
    assert other not in told
    page = Path("gradcam_results/report.html").read_text(encoding="utf-8")
    assert "3 more of earlier runs in this folder" in page
    assert other in (told := explained("dogs", "--target", "1"))
    assert "report: gradcam_results/run-2/report.html" in told
    assert Path("gradcam_results/report.html").read_text(encoding="utf-8") == page
    Path("gradcam_results/results.jsonl").write_text("edited")
    done = CliRunner().invoke(app, ["explain", "cats", "--model", "net.py:build"])
    assert done.exit_code == 2
    assert "results.jsonl', line 1, is no record of a picture" in " ".join(done.stderr.split())


FULL = """
import resource, sys
from pathlib import Path
from gradcam_hooks.apps.batch import Series
from tests.support.runs_on_disk import noise, small_job

folder = Path(sys.argv[1])
pictures = [noise(folder / f"in/{i}.png", i, (24, 36) if i else (90, 90)) for i in range(3)]
series = Series(small_job(), pictures, folder / "out")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
for record in series.go():
    print(record.error)
"""


@posix
def test_a_disk_that_takes_no_more_is_told_by_name_and_nothing_half_is_left(tmp_path):
    """The system refuses to make files larger than that; it is told as a full disk is."""

    def full(size: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", FULL, str(tmp_path), str(size)]
        root = Path(gh.__file__).parents[1]
        return subprocess.run(
            words, capture_output=True, text=True, cwd=root, env=surroundings(), check=False
        )

    told = full(16_000).stdout.splitlines()  # room for all but the first one's overlay
    assert told[1:] == ["None", "None"]
    assert "its overlay cannot be drawn" in told[0]
    assert "File too large" in told[0]
    assert (len(lines(tmp_path / "out")), len(contents(tmp_path / "out"))) == (3, 2 * 2 + 2)
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    done = full(50)  # no room for any record
    assert done.stderr.splitlines()[-1].startswith("OSError: [Errno 27] File too large: '")
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


@posix
def test_a_journal_that_finds_no_room_is_told_by_name(tmp_path):
    """As it is written, and once more as it is closed."""
    import resource

    results = Results(Folder(tmp_path / "out"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with results.folder.held():
        results.begin([])
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            for step in (lambda: results.touch("x" * 200), lambda: results.finish([])):
                with pytest.raises(OSError, match=r"File too large: '.*journal\.jsonl'"):
                    step()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
