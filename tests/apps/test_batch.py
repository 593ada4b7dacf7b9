from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from gradcam_hooks import (
    GradCAM,
    ImageError,
    InputError,
    LayerNotFound,
    LoadedModel,
    MethodNotFound,
    ModelError,
    Preprocess,
    TargetError,
    TopK,
)
from gradcam_hooks.apps.batch import Folder, Series, overlay_names
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.records import Record, record_of
from gradcam_hooks.apps.batch.results import Results
from gradcam_hooks.images import load_image
from gradcam_hooks.images.colors import blend, to_float, to_uint8
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.explanation import Explanation

SIZE = (32, 40)
ROUGH = Preprocess(size=SIZE)


class Net(nn.Module):
    """Three classes, a batch counter, and a picture on which it fails if it is told so."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, classes)
        self.batches: list[int] = []
        self.fails: Callable[[Tensor], bool] = lambda x: False

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        if self.fails(x):
            raise RuntimeError("out of memory")
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


def job(net: nn.Module | None = None, labels: tuple[str, ...] | None = None, **options) -> Job:
    loaded = LoadedModel((net or Net()).eval(), "net", "random", labels, ROUGH)
    return Job(loaded, **{"layer": "features", **options})


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    flower = load_sample_images().images[1]
    pictures = {
        "astronaut.jpg": data.astronaut()[:200, 100:400],
        "camera.png": data.camera()[::3, ::3],
        "logo.png": data.logo()[::3, ::3],
        "more/cat.jpg": data.chelsea()[::2, ::2],
        "more/flower.jpg": flower[:300, :200],
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
    return [folder / name for name in pictures]


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_every_picture_has_an_overlay_at_its_own_size_and_a_line_in_order(photos, tmp_path):
    out = tmp_path / "out"
    seen: list[Record] = []
    records = Series(job(labels=("a", "b", "c")), photos, out).go(
        batch_size=2, progress=seen.append
    )
    assert seen == records
    found = lines(out)
    assert [line["file"] for line in found] == [str(path) for path in photos]
    assert [line["overlay"] for line in found] == [
        "overlays/astronaut.png",
        "overlays/camera.png",
        "overlays/logo.png",
        "overlays/more/cat.png",
        "overlays/more/flower.png",
    ]
    for path, line in zip(photos, found, strict=True):
        with Image.open(path) as picture, Image.open(out / line["overlay"]) as overlay:
            assert overlay.size == picture.size
            assert overlay.mode == "RGB"
        assert line["label"] == "abc"[line["predicted"]]
        assert (line["target"], line["target_label"]) == (line["predicted"], line["label"])
        assert (line["layer"], line["method"], line["error"]) == ("features", "gradcam", None)
        assert line["layouts"] == ["b c=8 h=8 w=10"]
        geometry = Geometry.from_dict(line["geometry"])
        assert geometry.input == SIZE
    assert not (out / ".gradcam_hooks/journal.jsonl").exists()


def test_the_numbers_and_pixels_are_those_of_the_explainer_alone(photos, tmp_path):
    net = Net()
    asked = job(net, target=1, style=Style(alpha=0.3, opacity="even", colormap="jet"))
    (record,) = Series(asked, photos[3:4], tmp_path).go()
    picture = load_image(photos[3])
    pixels, geometry = ROUGH(picture)
    with GradCAM(net, "features") as cam:
        alone = cam(pixels[None], target=1)
    logits = alone.output[0].double()
    assert record.predicted == int(logits.argmax())
    assert record.probability == pytest.approx(float(logits.exp().max() / logits.exp().sum()))
    assert record.target == 1
    assert record.score == pytest.approx(float(logits[1]))
    drawn = blend(
        to_float(picture), geometry.place(alone.maps[0]), alpha=0.3, colormap="jet",
        seen=geometry.seen_mask(),
    )  # fmt: skip
    overlay = np.asarray(Image.open(tmp_path / str(record.overlay)))
    assert np.abs(overlay.astype(int) - to_uint8(drawn)).max() <= 1


def test_batches_do_not_change_the_answers(photos, tmp_path):
    one = Series(job(), photos, tmp_path / "one").go(batch_size=1)
    all_ = Series(job(), photos, tmp_path / "all").go(batch_size=99)
    for a, b in zip(one, all_, strict=True):
        assert a.probability == pytest.approx(b.probability, rel=1e-4)
        first = np.asarray(Image.open(tmp_path / "one" / str(a.overlay))).astype(int)
        second = np.asarray(Image.open(tmp_path / "all" / str(b.overlay)))
        assert np.abs(first - second).max() <= 2


def test_several_targets_are_lists_and_a_contact_sheet(photos, tmp_path):
    (record,) = Series(job(labels=("a", "b", "c"), target=TopK(2)), photos[3:4], tmp_path).go()
    assert isinstance(record.target, list)
    assert len(record.target) == 2
    assert record.target[0] == record.predicted
    assert record.target_label == ["abc"[i] for i in record.target]
    assert isinstance(record.score, list)
    assert record.score[0] > record.score[1]
    assert isinstance(record.diagnosis, list)
    assert len(record.diagnosis) == len(record.diagnosis_message or ()) == 2
    with Image.open(photos[3]) as picture, Image.open(tmp_path / str(record.overlay)) as sheet:
        assert sheet.width > 2 * picture.width


def test_a_broken_picture_is_recorded_and_the_others_are_done(photos, tmp_path):
    torn, none, text = (photos[0].with_name(name) for name in ("torn.jpg", "gone.png", "t.png"))
    torn.write_bytes(photos[0].read_bytes()[:5000])
    text.write_text("not a picture")
    pictures = [torn, photos[0], none, photos[1], text]
    records = Series(job(), pictures, tmp_path / "out").go(batch_size=3)
    assert [bool(record.error) for record in records] == [True, False, True, False, True]
    assert "cut short or damaged" in str(records[0].error)
    assert "no file" in str(records[2].error)
    assert "no picture that Pillow knows" in str(records[4].error)
    assert [line["error"] is None for line in lines(tmp_path / "out")] == [
        False, True, False, True, False,
    ]  # fmt: skip


def test_a_folder_of_broken_pictures_alone_is_told_too(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (record,) = Series(job(), [tmp_path / "a.jpg"], tmp_path / "out").go()
    assert "is empty" in str(record.error)
    assert [line["file"] for line in lines(tmp_path / "out")] == [str(tmp_path / "a.jpg")]


def test_a_second_run_does_the_rest_alone(photos, tmp_path):
    out = tmp_path / "out"
    Series(job(), photos[:3], out).go()
    stamps = [(out / line["overlay"]).stat().st_mtime_ns for line in lines(out)]
    net = Net()
    run = Series(job(net), photos[:3] + photos[4:], out)
    # photos[4] lies deeper, which does not rename the overlays of the others.
    assert [record.file for record in run.kept] == [str(path) for path in photos[:3]]
    fresh: list[Record] = []
    records = run.go(progress=fresh.append)
    assert net.batches == [1]
    assert [record.file for record in fresh] == [str(photos[4])]
    assert len(records) == len(lines(out)) == 4
    after = [(out / line["overlay"]).stat().st_mtime_ns for line in lines(out)]
    assert after[:3] == stamps


@pytest.mark.parametrize(
    "changed",
    [
        {"target": 1},
        {"layer": "features.0"},
        {"layer": ("features.0", "features.1")},
        {"style": Style(alpha=0.4)},
        {"style": Style(opacity="even")},
        {"style": Style(colormap="jet")},
        {"fuse": "max"},
        {"labels": ("a", "b", "c")},
        {"preprocess": Preprocess(size=(32, 48))},
        {"net": Net(seed=1)},
    ],
)
def test_whatever_decides_the_result_makes_a_run_of_its_own(changed, photos, tmp_path):
    Series(job(), photos[:1], tmp_path).go()
    assert Series(job(), photos[:1], tmp_path).kept
    assert not Series(job(**changed), photos[:1], tmp_path).kept


def test_a_forward_that_was_rewritten_makes_a_run_of_its_own(tmp_path):
    source = tmp_path / "net.py"
    prints = []
    for factor in (2, 3):
        source.write_text(f"def forward(self, x):\n    return self.net(x) * {factor}\n")
        space: dict = {}
        exec(compile(source.read_text(), str(source), "exec"), space)
        kind = type("Own", (nn.Module,), {"forward": space["forward"]})
        own = kind()
        own.net = Net()
        prints.append(job(own).fingerprint())
    assert prints[0] != prints[1]


def test_a_changed_picture_and_a_lost_overlay_are_done_again(photos, tmp_path):
    records = Series(job(), photos[:3], tmp_path).go()
    Image.fromarray(data.coffee()).save(photos[0])
    (tmp_path / str(records[1].overlay)).unlink()
    run = Series(job(), photos[:3], tmp_path)
    assert [record.file for record in run.kept] == [str(photos[2])]
    assert not Series(job(), photos[:3], tmp_path, again=True).kept


def test_a_broken_picture_is_tried_again(photos, tmp_path):
    good = photos[0].read_bytes()
    photos[0].write_bytes(good[:5000])
    first = Series(job(), photos[:2], tmp_path).go()
    assert first[0].error is not None
    photos[0].write_bytes(good)
    run = Series(job(), photos[:2], tmp_path)
    assert [record.file for record in run.kept] == [str(photos[1])]
    assert [record.error for record in run.go()] == [None, None]


class Stop(BaseException):
    pass


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Stop, RuntimeError])
def test_however_it_stops_what_was_done_is_kept_in_order(stop, photos, tmp_path):
    (photos[0].with_name("torn.jpg")).write_bytes(b"x")
    pictures = [*photos[:2], photos[0].with_name("torn.jpg"), *photos[2:]]
    done: list[str] = []

    def progress(record: Record) -> None:
        done.append(record.file)
        if len(done) == 3:
            raise stop

    with pytest.raises(stop):
        Series(job(), pictures, tmp_path).go(batch_size=1, progress=progress)
    assert done == [str(p) for p in pictures[:3]]
    # The fourth was explained by then, and is kept.
    assert [line["file"] for line in lines(tmp_path)] == [str(p) for p in pictures[:4]]
    assert not (tmp_path / ".gradcam_hooks/journal.jsonl").exists()
    rest = Series(job(), pictures, tmp_path)
    assert [record.file for record in rest.kept] == [str(one) for one in photos[:3]]
    assert [line.error is None for line in rest.go()] == [True, True, False, True, True, True]


def test_lines_of_another_run_are_gone_before_its_overlays_are_overwritten(photos, tmp_path):
    first = Series(job(), photos, tmp_path).go()
    results = Results(Folder(tmp_path))
    assert len(results.known()) == 5
    known: list[int] = []

    def progress(record: Record) -> None:
        # What a run that were killed here would leave to the next one.
        left = results.known().values()
        known.append(sum(one.run == first[0].run for one in left))

    Series(job(target=2), photos, tmp_path).go(progress=progress)
    assert known == [0] * 5


def test_a_torn_journal_is_read_as_far_as_it_goes(photos, tmp_path):
    records = Series(job(), photos, tmp_path).go()
    whole = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "results.jsonl").unlink()
    torn = "".join(whole[:2]) + whole[2][:50]
    (tmp_path / ".gradcam_hooks/journal.jsonl").write_text(torn)
    run = Series(job(), photos, tmp_path)
    assert run.kept == records[:2]
    assert len(run.go()) == 5
    assert not (tmp_path / ".gradcam_hooks/journal.jsonl").exists()
    assert len(lines(tmp_path)) == 5


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"layer": "feature"}, LayerNotFound),
        ({"target": 3}, TargetError),
        ({"target": "cat"}, TargetError),
        ({"method": "gradcamm"}, MethodNotFound),
        ({"net": nn.Flatten()}, LayerNotFound),
    ],
)
def test_a_mistake_in_the_job_stops_it_and_leaves_nothing(asked, error, photos, tmp_path):
    out = tmp_path / "out"
    photos[0].write_bytes(b"broken")
    with pytest.raises(error):
        Series(job(**asked), photos, out).go(batch_size=1)
    assert not out.exists()


def test_a_mistake_leaves_an_earlier_run_as_it_was(photos, tmp_path):
    Series(job(), photos, tmp_path).go()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(TargetError):
        Series(job(target=7), photos, tmp_path).go()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before == after


@pytest.mark.parametrize(("alpha", "colormap"), [(1.5, "jet"), (0.5, "jett")])
def test_how_to_draw_is_checked_before_anything_runs(alpha, colormap):
    with pytest.raises(InputError, match=r"alpha|did you mean 'jet'"):
        job(style=Style(alpha=alpha, colormap=colormap))


def test_a_chunk_too_large_for_the_network_goes_through_one_by_one(photos, tmp_path):
    net = Net()
    net.fails = lambda x: len(x) > 1
    records = Series(job(net), photos, tmp_path).go(batch_size=5)
    assert [record.error for record in records] == [None] * 5
    assert net.batches == [5, 1, 1, 1, 1, 1]


def test_one_picture_that_the_network_fails_on_takes_no_other_down(photos, tmp_path):
    net = Net()
    black = photos[0].with_name("black.png")
    Image.new("RGB", (50, 50)).save(black)
    net.fails = lambda x: bool((x.flatten(1).std(1) < 0.5).any())
    records = Series(job(net), [photos[0], black, photos[1]], tmp_path).go()
    assert [record.error for record in records] == [
        None, "the network fails on it: RuntimeError: out of memory", None,
    ]  # fmt: skip


def test_a_network_that_fails_on_every_picture_is_no_picture_s_fault(photos, tmp_path):
    net = Net()
    net.fails = lambda x: True
    with pytest.raises(ModelError, match=r"fails on '.*astronaut.jpg' as an input of shape"):
        Series(job(net), photos, tmp_path / "out").go()
    assert not (tmp_path / "out").exists()


def test_an_overlay_that_cannot_be_drawn_is_that_picture_s_error(photos, tmp_path, monkeypatch):
    real = Explanation.save

    def save(self, path, **options):
        if self.pictures[0].image.height == load_image(photos[1]).height:
            raise MemoryError("no room")
        return real(self, path, **options)

    monkeypatch.setattr(Explanation, "save", save)
    records = Series(job(), photos, tmp_path / "out").go()
    assert records[1].error == "its overlay cannot be drawn: no room"
    assert sum(record.error is None for record in records) == 4


def test_an_overlay_never_takes_the_place_of_a_picture(tmp_path):
    (tmp_path / "overlays").mkdir()
    picture = tmp_path / "overlays" / "cat.png"
    Image.fromarray(data.chelsea()).save(picture)
    with pytest.raises(ImageError, match=r"overwritten by its own overlay; name another folder"):
        Series(job(), [picture], tmp_path)


def test_the_batch_size_is_checked(photos, tmp_path):
    with pytest.raises(InputError, match=r"from 1 up, not 0"):
        Series(job(), photos, tmp_path).go(batch_size=0)


@pytest.mark.parametrize(
    ("pictures", "names"),
    [
        (["a/cat.jpg"], ["cat.png"]),
        (["a/1.jpg", "b/1.jpg"], ["a/1.png", "b/1.png"]),
        (["a/cat.jpg", "a/dog.JPG"], ["cat.png", "dog.png"]),
        (["a/cat.jpg", "a/cat.png", "a/dog.png"], ["cat.jpg.png", "cat.png.png", "dog.png"]),
        # cat.jpg keeps its suffix because of cat.png, and would then be cat.jpg.png's overlay.
        (
            ["a/cat.jpg", "a/cat.png", "a/cat.jpg.png"],
            ["cat.jpg.png", "cat.png.png", "cat.jpg.png.png"],
        ),
        (["a/Cat.jpg", "a/cat.png"], ["Cat.jpg.png", "cat.png.png"]),
        (["a/x.tar.gz"], ["x.tar.png"]),
        (["a/nosuffix"], ["nosuffix.png"]),
        ([], []),
    ],
)
def test_overlay_names(pictures, names):
    found = overlay_names([Path(one) for one in pictures])
    assert found == [f"overlays/{name}" for name in names]


def explanation(output: Tensor, labels: tuple[str, ...] | None = None) -> Explanation:
    return Explanation(
        maps=torch.zeros(1, 2, 2), raw=torch.zeros(1, 2, 2), scores=output[:, 0],
        target=torch.tensor([0]), output=output, layers=("l",), method="gradcam",
        layouts=("",), diagnosis=(Diagnosis("ok"),), labels=labels, logits=output,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("logits", "labels", "predicted", "label", "probability"),
    [
        ([[0.0, float(np.log(3.0))]], ("cat", "dog"), 1, "dog", 0.75),
        ([[0.25, 0.75]], None, 1, None, 0.75),  # a softmax of its own
        ([[float(np.log(3.0))]], None, 0, None, 0.75),
        ([[float(np.log(3.0))]], ("cat", "dog"), 1, "dog", 0.75),
        ([[-float(np.log(3.0))]], ("cat", "dog"), 0, "cat", 0.75),
        ([[float("nan"), 1.0]], None, 0, None, None),
    ],
)
def test_predictions_by_hand(logits, labels, predicted, label, probability):
    record = record_of(explanation(torch.tensor(logits), labels))
    assert (record.predicted, record.label) == (predicted, label)
    assert record.probability == (probability and pytest.approx(probability))


def test_the_one_logit_of_two_labels_speaks_for_the_second():
    record = record_of(explanation(torch.tensor([[-3.0]]), ("cat", "dog")))
    assert (record.label, record.target, record.target_label) == ("cat", 1, "dog")


def test_an_output_that_is_no_classes_has_no_probability(photos, tmp_path):
    class Boxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            kept = self.features(x).mean((2, 3))
            return {"boxes": kept[:, :, None].expand(-1, -1, 4), "scores": kept}

    record = record_of(GradCAM(Boxes(), "features")(torch.rand(1, 3, 8, 8)))
    assert record.probability is not None  # one tensor alone is (batch, classes)
    picked = GradCAM(Boxes(), "features", output="boxes")(
        torch.rand(1, 3, 8, 8), target=lambda boxes: boxes.sum((1, 2))
    )
    record = record_of(picked)
    assert (record.predicted, record.probability, record.target) == (None, None, None)
    assert record.score is not None


def test_a_record_survives_its_line_and_odd_numbers_are_valid_json():
    record = Record("pa\udcffth/猫.png", score=[1.5, None], geometry={"input": [1, 2]})
    line = record.line()
    assert line.isascii()
    assert Record.read(line) == record
    for other in ('{"file": "x"}', "[1]"):
        with pytest.raises(ValueError, match=r"fields|no Record"):
            Record.read(other)
    nan = record_of(explanation(torch.tensor([[float("nan"), 1.0]])))
    assert json.loads(nan.line(), parse_constant=pytest.fail)["score"] is None


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    yield folder
    folder.chmod(0o700)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error(photos, read_only):
    with pytest.raises(PermissionError):
        Series(job(), photos, read_only / "out").go()


def test_results_that_are_a_file_are_an_error(photos, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match="out"):
        Series(job(), photos, tmp_path / "out").go()
    assert (tmp_path / "out").read_text() == "a file"
