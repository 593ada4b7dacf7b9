"""The report's parts without a browser: cards, truths, pages, and that hostile words stay words."""

from __future__ import annotations

import base64
import html.parser
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder, Record, Series
from gradcam_hooks.apps.batch.cards import Card, Heat, heat_of
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.names import card_name
from gradcam_hooks.apps.batch.truths import check_truths, judged, read_truths
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.report import Look, entries_of, terms_of, write_report
from gradcam_hooks.apps.report.page import safe_json
from gradcam_hooks.images import load_image
from gradcam_hooks.maps import finish, minmax, resize
from tests.support.runs_on_disk import NET

LABELS = ("</script><script>alert(1)</script>", "sea lion", "b&w")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(3, 6, 3, stride=2)
        self.two = nn.Conv2d(6, 8, 3, stride=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.two(self.one(x).relu()).relu().mean((2, 3)))
        return logits


def job(**options: object) -> Job:
    loaded = gh.LoadedModel(
        Net().eval(), "net", "random", LABELS, gh.Preprocess(size=(32, 40), fit="letterbox")
    )
    return Job(loaded, **{"layer": "two", **options})


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    (folder / "Sea_Lion").mkdir(parents=True)
    for name, pixels in {
        "Sea_Lion/cat.jpg": data.chelsea()[::3, ::3],
        "Sea_Lion/<img src=x onerror=alert(1)>.png": data.astronaut()[::4, ::4],
    }.items():
        Image.fromarray(pixels).save(folder / name)
    return sorted((folder / "Sea_Lion").iterdir())


def restored(heat: Heat, size: tuple[int, int]) -> Tensor:
    """The map of a card, as the docstring of `Heat` says."""
    values = np.frombuffer(base64.b64decode(heat.values), np.uint8).reshape(heat.height, heat.width)
    large = resize(torch.from_numpy(values.astype(np.float32) / 255), size)
    return ((large - heat.low) / (heat.high - heat.low)).clamp(0, 1)


# --- cards ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [(7, 7), (3, 9), (1, 4), (96, 20)])
def test_a_map_in_eight_bits_is_the_map(cells):
    raw = torch.randn(cells, generator=torch.Generator().manual_seed(1))
    size = (64, 96)
    final = finish(raw, size)
    heat = heat_of(final, raw)
    assert (heat.height, heat.width) == cells
    assert float((restored(heat, size) - final).abs().max()) < 0.005


def test_a_map_by_hand():
    # relu gives 0, 2, 4: in steps of 255 these are 0, 127.5 (even: 128) and 255.
    heat = heat_of(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[-1.0, 2.0, 4.0]]))
    assert base64.b64decode(heat.values) == bytes([0, 128, 255])
    assert (heat.height, heat.width, heat.low, heat.high) == (1, 3, 0, 1)
    # Twice as wide, no pixel lies on a cell's centre: 0, 1/4, 3/4, 1 of two cells.
    heat = heat_of(torch.tensor([[0.0, 0.25, 0.75, 1.0]]), torch.tensor([[1.0, 3.0]]))
    assert base64.b64decode(heat.values) == bytes([0, 255])


def test_a_map_that_does_not_come_of_the_raw_one_is_kept_itself():
    final = torch.tensor([[1.0, 0.0], [0.5, 0.25]])
    heat = heat_of(final, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert float((restored(heat, (2, 2)) - final).abs().max()) < 0.005


def test_a_map_too_fine_is_averaged_and_a_blank_one_takes_one_cell():
    fine = finish(torch.rand(300, 200, generator=torch.Generator().manual_seed(0)), (300, 200))
    heat = heat_of(fine, fine)
    assert (heat.height, heat.width) == (96, 64)
    heat = heat_of(torch.zeros(20, 20), torch.full((5, 5), float("nan")))
    assert (heat.height, heat.width, heat.low, heat.high) == (1, 1, 0, 1)
    assert not restored(heat, (20, 20)).any()


def test_the_cards_of_a_run_hold_the_explainer_s_maps(photos, tmp_path):
    (record,) = Series(job(target=gh.TopK(2)), photos[1:], tmp_path).go()
    card = Card.read(tmp_path / card_name(str(record.overlay)))
    picture = load_image(photos[1])
    pixels, _ = job().prepare(picture)
    alone = gh.GradCAM(job().loaded.model, "two")(pixels[None], target=gh.TopK(2))
    assert (
        [panel.facts["target"] for panel in card.panels]
        == record.target
        == alone.target[0].tolist()
    )
    for panel, final in zip(card.panels, alone.maps[0], strict=True):
        assert float((restored(panel.heat, (32, 40)) - final).abs().max()) < 0.01
        assert (panel.heat.height, panel.heat.width) == tuple(alone.raw.shape[-2:])
    assert [panel.facts["score"] for panel in card.panels] == record.score
    with Image.open(io.BytesIO(base64.b64decode(card.image))) as small:
        assert small.size == (card.width, card.height) == picture.size
        assert small.format == "JPEG"


def test_several_layers_are_a_panel_each_behind_the_fused_one(photos, tmp_path):
    (record,) = Series(job(layer=("one", "two")), photos[1:], tmp_path).go()
    card = Card.read(tmp_path / card_name(str(record.overlay)))
    assert [panel.facts["layer"] for panel in card.panels] == ["one + two", "one", "two"]
    fused, one, two = (restored(panel.heat, (32, 40)) for panel in card.panels)
    assert float((minmax((one + two) / 2, 2) - fused).abs().max()) < 0.02
    assert float((one - two).abs().max()) > 0.1


def test_a_large_picture_becomes_small(photos, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos[1])
    (record,) = Series(job(), photos[1:], tmp_path).go()
    card = Card.read(tmp_path / card_name(str(record.overlay)))
    assert (card.height, card.width) == (360, 480)
    assert len(card.image) < 90_000  # noise is the worst there is; photographs take 43,000 at most
    Image.fromarray(np.asarray(data.astronaut())).save(photos[1])
    Series(job(), photos[1:], tmp_path).go()
    assert len(Card.read(tmp_path / card_name(str(record.overlay))).image) <= 4 / 3 * 32_000 + 4


def test_a_lost_card_is_made_again_and_a_broken_one_is_told(photos, tmp_path):
    records = Series(job(), photos, tmp_path).go()
    card = tmp_path / card_name(str(records[0].overlay))
    card.unlink()
    assert [one.file for one in Series(job(), photos, tmp_path).kept] == [records[1].file]
    card.write_text('{"image": 1}')
    with pytest.raises(gh.ImageError, match=r"should hold the maps of a picture.*--force"):
        write_report(Folder(tmp_path), entries_of(records, tmp_path))
    assert not (tmp_path / "report.html").exists()


# --- true classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "truth", "labels", "shown", "right"),
    [
        (1, "sea lion", LABELS, "sea lion", True),
        (1, "SEA-lion", LABELS, "sea lion", True),
        (0, "sea_lion", LABELS, "sea lion", False),
        (1, "1", LABELS, "sea lion", True),
        (1, "walrus", LABELS, "walrus", None),  # no class of this network, so neither
        (1, None, LABELS, None, None),
        (2, "2", None, "2", True),
        (2, "cat", None, "cat", None),
        (None, "1", None, "1", None),
    ],
)
def test_right_and_wrong(predicted, truth, labels, shown, right):
    record = judged(Record("a", predicted=predicted), truth, labels)
    assert (record.truth, record.right) == (shown, right)


def test_true_classes_of_folders_and_tables(photos, tmp_path):
    assert set(read_truths("folders", photos).values()) == {"Sea_Lion"}
    table = tmp_path / "photos" / "truth.csv"
    for text in (
        "file,label\nSea_Lion/cat.jpg,x\n",
        "\ufeffid;other;class\ncat;0;x\n",
        "cat.jpg\tx\nunknown.jpg\ty\n",
        f'"label","path"\nx,"{photos[1]}"\n',
    ):
        table.write_text(text, encoding="utf-8")
        assert read_truths(str(table), photos) == {str(photos[1]): "x"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "--truth is 'folders', or a CSV file"),
        ("a,b,c\n1,2,3\n", "has the columns a, b, c; expected file and label"),
        ("file,label\nother.jpg,x\n", "names none of the pictures: it names 'other.jpg'"),
    ],
)
def test_a_table_that_is_none_is_told(text, told, photos, tmp_path):
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(gh.InputError, match=told):
        read_truths(str(tmp_path / "t.csv"), photos)


def test_true_classes_that_the_network_does_not_know_are_told():
    check_truths({}, LABELS)
    check_truths({"a": "walrus", "b": "sea lion"}, LABELS)
    with pytest.raises(gh.InputError, match="such as 'sea lions', is a label; did you mean 'sea"):
        check_truths({"a": "sea lions"}, LABELS)
    with pytest.raises(gh.InputError, match=r"have no names\. Name them with --labels"):
        check_truths({"a": "cat"}, None)


def test_kept_records_take_the_truth_of_this_run(photos, tmp_path):
    Series(job(), photos, tmp_path).go()
    run = Series(job(), photos, tmp_path, truths={str(photos[0]): "sea lion"})
    assert [one.truth for one in run.kept] == [one.truth for one in run.go()] == ["sea lion", None]
    assert [one.truth for one in Series(job(), photos, tmp_path).go()] == [None, None]


# --- the page ---------------------------------------------------------------------------------


class Tags(html.parser.HTMLParser):
    """What a browser makes of a page: its tags with their attributes, and the text of scripts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += data


def test_hostile_names_make_no_tag_and_no_address(photos, tmp_path):
    records = Series(job(), photos, tmp_path, truths={str(photos[0]): LABELS[0]}).go()
    look = Look("<img src=x onerror=alert(2)>", "\u2028</title><script>")
    terms = terms_of(job(), records, "gradcam-hooks '</code><script>alert(3)</script>\udcff'")
    (page,) = write_report(Folder(tmp_path), entries_of(records, tmp_path), terms, look)
    found = Tags(page)
    names = [name for name, _ in found.tags]
    assert names.count("script") == 4  # the data, two pictures, and the page's own
    assert "img" not in names
    assert not [one for _, one in found.tags if any(key.startswith("on") for key in one)]
    asked = {one[key] for _, one in found.tags for key in ("src", "href") if key in one}
    assert asked == {"data:,", "#pictures"}
    policy = next(one["content"] for _, one in found.tags if one.get("http-equiv"))
    assert str(policy).startswith("default-src 'none';")
    assert "unsafe" not in str(policy)
    items = json.loads(found.scripts[0])["items"]
    assert [item["name"] for item in items] == [path.name for path in photos]
    assert LABELS[0] in json.dumps(items, ensure_ascii=False)
    assert found.scripts[-1].count("innerHTML") == 0


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "a\u2028b\u2029", "&amp;", "\udcff"])
def test_json_in_a_script_is_harmless_and_the_same(text):
    written = safe_json({text: [text]})
    assert written.isascii()
    assert not set(written) & set("<>&")
    assert json.loads(written) == {text: [text]}


def test_pages_are_cut_by_number_and_weight_and_old_ones_go(photos, tmp_path):
    entries = entries_of(Series(job(), photos, tmp_path).go(), tmp_path) * 3
    page = tmp_path / "report.html"
    folder = tmp_path / "report_pages"
    assert write_report(Folder(tmp_path), entries, most=2) == [
        page,
        folder / "2.html",
        folder / "3.html",
    ]
    (folder / "mine.html").write_text("kept")
    links = [one["href"] for tag, one in Tags(folder / "2.html").tags if tag == "a"]
    assert links == ["#pictures", *["../report.html", "2.html", "3.html"] * 2]
    assert write_report(Folder(tmp_path), entries, largest=1) == [
        page, *(folder / f"{number}.html" for number in range(2, 7)),
    ]  # fmt: skip
    assert write_report(Folder(tmp_path), entries) == [page]
    assert [one.name for one in folder.iterdir()] == ["mine.html"]
    assert not [one for _, one in Tags(page).tags if one.get("class") == "pages"]
    assert page.stat().st_size > sum(len(one.cards()[0].image) for one in entries)


def test_all_pages_are_written_or_none(photos, tmp_path):
    entries = entries_of(Series(job(), photos, tmp_path).go(), tmp_path)
    write_report(Folder(tmp_path), entries, most=1)
    before = {one: one.read_bytes() for one in tmp_path.rglob("*.html")}
    assert len(before) == 2
    (tmp_path / "report_pages" / "3.html").mkdir()  # the third page cannot be written
    with pytest.raises(gh.ImageError, match=r"3\.html' is a folder"):
        write_report(Folder(tmp_path), [*entries, entries[0]], [("new", "fact")], most=1)
    assert {one: one.read_bytes() for one in tmp_path.rglob("*.html") if one.is_file()} == before
    assert not list(tmp_path.rglob(".part-*"))


def test_an_empty_report_and_broken_pictures_are_pages_too(tmp_path):
    (page,) = write_report(Folder(tmp_path), [])
    assert json.loads(Tags(page).scripts[0])["items"] == []
    records = [replace(Record("a.png"), error="torn")]
    (page,) = write_report(Folder(tmp_path), entries_of(records, tmp_path))
    (item,) = json.loads(Tags(page).scripts[0])["items"]
    assert (item["error"], item["panels"], item["size"]) == ("torn", [], None)


def test_the_terms_are_enough_to_repeat_the_run(photos, tmp_path):
    asked = job(target=1, layer=("one", "two"), fuse="max")
    records = Series(asked, photos, tmp_path).go()
    terms = dict(terms_of(asked, records, "gradcam-hooks explain photos/"))
    assert (terms["Network"], terms["Weights"]) == ("net", "random")
    assert (terms["Layer"], terms["Layers fused by"]) == ("one + two", "max")
    assert terms["Explained"] == "sea lion (1)"
    assert terms["Method"].endswith("(gradcam)")
    assert terms["Preprocessing"].startswith("letterbox to 32 x 40")
    assert terms["Seed of torch"] == str(torch.initial_seed())
    assert f"torch {torch.__version__}" in terms["Versions"]
    assert terms["Fingerprint"] == asked.fingerprint()
    assert terms["Command"] == "gradcam-hooks explain photos/"


def test_the_terms_of_a_crop_tell_the_shorter_side_also_where_it_is_the_default(photos, tmp_path):
    cropped = job(preprocess=gh.Preprocess(size=(28, 28), fit="crop"))
    terms = dict(terms_of(cropped, Series(cropped, photos, tmp_path).go()))
    assert terms["Preprocessing"].startswith("crop to 28 x 28 out of 32,")


def test_the_command_writes_it_and_a_second_run_remakes_it(photos, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "names.txt").write_text("sea lion\nb\nc\n")
    words = [
        "explain", str(photos[0].parent), "--model", f"{tmp_path / 'net.py'}:build", "--layer", "0",
        "--labels", str(tmp_path / "names.txt"), "--truth", "folders", "--size", "32",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    page = tmp_path / "out" / "report.html"
    assert f"report:   {page}" in result.stdout
    assert "of 2 are predicted right." in result.stdout
    first = json.loads(Tags(page).scripts[0])["items"]
    assert [item["truth"] for item in first] == ["sea lion"] * 2
    page.unlink()
    result = CliRunner().invoke(app, words)
    assert "2 kept from an earlier run" in " ".join(result.stdout.split())
    assert json.loads(Tags(page).scripts[0])["items"] == first
    result = CliRunner().invoke(app, [*words, "--truth", "nowhere.csv"])
    assert result.exit_code == 2
    assert "nowhere.csv" in result.stderr
