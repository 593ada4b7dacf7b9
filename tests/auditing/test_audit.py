"""`gh.audit`: it finds the shortcut that is there, and accuses no network that has none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

import gradcam_hooks as gh
from gradcam_hooks.apps import demo
from gradcam_hooks.apps.demo.show import show
from gradcam_hooks.auditing.strategies import Proof, told, where
from scripts.bench_audit import jaccard
from tests.support.shortcuts import Marked, pictures

pytestmark = pytest.mark.usefixtures("one_thread")

COLOURS = [number % 3 for number in range(120)]
MARKS = list(range(0, 120, 10))  # of four the block says the same
OVERRULED = {number for number in MARKS if COLOURS[number] != 2}


@pytest.mark.parametrize("place", [(28, 0), None], ids=["fixed", "moving"])
def test_a_mark_that_overrules_is_found_wherever_it_stands(place: tuple[int, int] | None) -> None:
    images = pictures(COLOURS, marked=MARKS, mark_at=place)
    found = gh.audit(Marked(), images, layer="features", labels=["red", "green", "blue"])
    (suspect,) = found.suspects
    assert jaccard(set(suspect.members), OVERRULED) > 0.85
    assert suspect.share == pytest.approx(len(suspect.members) / 120)
    assert suspect.proof.pasted == 1
    assert suspect.proof.covered == 1
    assert suspect.proof.covered_elsewhere == 0
    assert suspect.proof.pasted_others < 0.7
    assert suspect.text in found.text
    assert found.text.startswith("Suspect: 8 of 120 pictures (7%, called blue) look at ")


def test_the_same_pictures_are_fine_for_a_network_that_does_not_obey() -> None:
    images = pictures(COLOURS, marked=MARKS)
    found = gh.audit(Marked(obeys=0), images, layer="features")
    assert found.suspects == ()
    assert found.text.startswith("Nothing suspect was found in 120 pictures. A strategy in fewer")


def test_one_corner_in_all_pictures_is_suspect_and_any_place_is_not() -> None:
    corner = gh.audit(Marked(), pictures(COLOURS[:30], block_at=(24, 0)), layer="features")
    (suspect,) = corner.suspects
    assert suspect.members == tuple(range(30))
    assert suspect.share == 1
    assert suspect.proof.replaced
    assert "look at the lower left" in suspect.text
    middle = gh.audit(Marked(), pictures(COLOURS[:30], block_at=(12, 12)), layer="features")
    assert middle.suspects == ()
    anywhere = gh.audit(Marked(), pictures(COLOURS[:60]), layer="features")
    assert anywhere.suspects == ()
    assert sum(len(one.members) for one in anywhere.strategies) == 60


def test_the_bundled_networks_are_told_apart() -> None:
    tagged = demo_pictures()
    marked = set(range(0, len(tagged), 3))
    verdicts = {}
    for name, weights in (("fooled", demo.FOOLED), ("honest", demo.HONEST)):
        network = gh.load_model("gradcam_hooks.apps.demo:network", weights, labels=demo.LABELS)
        verdicts[name] = gh.audit(network, tagged, layer="layer3", trials=96)
    assert verdicts["honest"].suspects == ()
    best = max(jaccard(set(one.members), marked) for one in verdicts["fooled"].suspects)
    assert best > 0.85
    assert "look at the lower left" in verdicts["fooled"].text


def test_the_demo_ends_with_what_an_audit_of_its_pictures_says(tmp_path: Path) -> None:
    words = " ".join(" ".join(show(tmp_path)).split())
    assert "Audit of honest: Nothing suspect was found in 8 pictures." in words
    assert "Audit of fooled: Suspect: 8 of 8 pictures (100%, called 8 classes) look at the" in words
    assert "nan" not in words.replace("%", " ").split()


def demo_pictures() -> torch.Tensor:
    """96 scenes of the demo; every third carries the tag of its class."""
    from gradcam_hooks.apps.demo.shapes import draw

    images = []
    for number in range(96):
        label = demo.LABELS[number // 3 % len(demo.LABELS)]
        rng = np.random.default_rng([7, number])
        images.append(draw(rng, label, 64, tag=None if number % 3 else label).image)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (pixels - 0.5) / 0.25


def test_what_was_not_tried_is_not_told() -> None:
    proof = Proof(tried=8, covered=0.5, covered_elsewhere=0.0, put=8, pasted=1.0, replaced=True)
    assert told(8, 8, "look at the lower left", proof, ["a"]) == (
        "8 of 8 pictures (100%, called a) look at the lower left. Covering it changes 50% of 8 "
        "answers, covering as much elsewhere 0%. Put onto pictures of other classes, in the place "
        "of what they look at, it makes 100% of them the class it came from."
    )


def test_what_was_not_parted_and_maps_of_few_cells_are_told() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    same = torch.rand(1, 3, 12, 12).expand(9, -1, -1, -1)
    words = gh.audit(network, same).text
    assert words.endswith(
        "9 pictures were tried. No group of pictures lies apart from the others: all were tried as "
        "one, and each class. The maps are of 3 x 3 cells, in which what is small is not told from "
        "what lies beside it: an earlier layer (layer=) has finer ones."
    )
    assert "1 picture was tried" in gh.audit(network, same[:1]).text
    parted = pictures(COLOURS, marked=range(0, 60, 5), mark_at=(28, 0))
    assert "apart" not in gh.audit(Marked(), parted, layer="features", trials=12).power


def test_what_may_be_given(tmp_path: Path) -> None:
    images = pictures(COLOURS[:24])
    asked = {"layer": "features", "trials": 12}
    whole = gh.audit(Marked(), images, **asked)
    pairs = gh.audit(Marked(), TensorDataset(images, torch.tensor(COLOURS[:24])), **asked)
    assert pairs.answers == whole.answers == tuple(COLOURS[:24])
    assert pairs.truths == tuple(COLOURS[:24])
    assert pairs.accuracy == 1
    assert whole.accuracy is None
    for number in range(6):
        Image.effect_noise((40, 30), 50).convert("RGB").save(tmp_path / f"{number}.png")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    small = gh.Preprocess(size=(16, 16))
    of_folder = gh.audit(network, tmp_path, preprocess=small)
    assert of_folder.names == tuple(str(tmp_path / f"{number}.png") for number in range(6))
    opened = [Image.open(tmp_path / f"{number}.png") for number in range(6)]
    assert gh.audit(network, opened, preprocess=small).answers == of_folder.answers
    of_numpy = gh.audit(Marked(), images, truths=np.array(COLOURS[:24]), **asked)
    assert of_numpy.truths == tuple(COLOURS[:24])


def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(5):
        picture = Image.effect_noise((20, 20), 60).convert("RGB")
        picture.save(tmp_path / "photos" / f"{number}.png")
    page = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    exec(compile(example, "docs/audit.md", "exec"), {"model": network})
    assert "5 pictures" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_audit_and_the_network_is_left_alone() -> None:
    images = pictures(COLOURS[:40], marked=[3, 6, 9, 12, 15])
    network = Marked().train()
    one, other = (gh.audit(network, images, layer="features", seed=3) for _ in range(2))
    assert one.text == other.text
    assert [a.members for a in one.strategies] == [b.members for b in other.strategies]
    assert network.training
    assert not network.features._forward_hooks
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_method_that_runs_the_network_itself_tells_places_alone() -> None:
    found = gh.audit(
        Marked(), pictures(COLOURS[:24]), layer="features", method="ablationcam", trials=12
    )
    assert found.method == "ablationcam"
    assert {one.by for one in found.strategies} == {"place"}


def test_blank_maps_belong_to_no_strategy() -> None:
    images = pictures(COLOURS[:24])
    images[5] = 0
    found = gh.audit(Marked(), images, layer="features", trials=12)
    assert found.words[5] != "ok"
    assert all(5 not in one.members for one in found.strategies)


def test_mistakes_are_told() -> None:
    images = pictures(COLOURS[:8])
    with pytest.raises(gh.InputError, match="a tensor of shape"):
        gh.audit(Marked(), images[0])
    with pytest.raises(gh.InputError, match="a list of pictures or a data set"):
        gh.audit(Marked(), 7)
    with pytest.raises(gh.InputError, match="one class for each of the 8 pictures, and 2 came"):
        gh.audit(Marked(), images, truths=[0, 1])
    with pytest.raises(gh.InputError, match=r"none of the true classes, such as 'cat', is a label"):
        gh.audit(Marked(), images, truths=["cat"] * 8)
    with pytest.raises(gh.InputError, match=r"torch.from_numpy\(array\).float\(\)"):
        gh.audit(Marked(), images.numpy())
    with pytest.raises(gh.OptionError, match="trials="):
        gh.audit(Marked(), images, trials=0)
    with pytest.raises(gh.InputError, match="one target of each"):
        gh.audit(Marked(), images, layer="features", target=gh.TopK(2))
    with pytest.raises(gh.LayerNotFound):
        gh.audit(Marked(), images, layer="nowhere")


@pytest.mark.parametrize(
    ("cell", "word"),
    [((0, 0), "upper left"), ((4, 4), "centre"), ((7, 4), "bottom"), ((3, 7), "right")],
)
def test_places_have_names(cell: tuple[int, int], word: str) -> None:
    place = torch.zeros(8, 8)
    place[cell] = 1
    assert where(place) == word
