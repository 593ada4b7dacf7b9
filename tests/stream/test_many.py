"""`explain_many`: what `explain` says of each picture, in order, from wherever they come."""

from __future__ import annotations

import io
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import gradcam_hooks as gh
from tests.support.runs_on_disk import noise

ROUGH = gh.Preprocess(size=(16, 20))


class Net(nn.Module):
    """Three classes; memory for ``most`` pictures at once."""

    def __init__(self, most: int = 99) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        self.head = nn.Linear(8, 3)
        self.most, self.batches = most, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


class Listed(Dataset):
    """Pictures ahead of their classes, or in mappings as Hugging Face's data sets give them."""

    def __init__(self, paths: list[Path], *, mapped: bool) -> None:
        self.paths, self.mapped = paths, mapped

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> object:
        picture = opened(self.paths[index])
        return {"label": 1, "image": picture} if self.mapped else (picture, 1)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [noise(folder / f"{i}.png", i, (24 + i, 36)) for i in range(5)]


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def as_bytes(path: Path) -> bytes:
    memory = io.BytesIO()
    opened(path).save(memory, "PNG")
    return memory.getvalue()


@pytest.mark.parametrize(
    "given",
    [
        lambda paths: paths[0].parent,
        lambda paths: iter(paths),
        lambda paths: [as_bytes(path) for path in paths],
        lambda paths: (opened(path) for path in paths),
        lambda paths: [np.asarray(opened(path)) for path in paths],
        lambda paths: Listed(paths, mapped=False),
        lambda paths: Listed(paths, mapped=True),
        lambda paths: DataLoader([str(path) for path in paths], batch_size=2),
        lambda paths: DataLoader(Listed(paths, mapped=False), batch_size=2, collate_fn=list),
    ],
    ids=["folder", "paths", "bytes", "PIL", "arrays", "pairs", "mappings", "loader", "collated"],
)
def test_each_picture_as_explain_explains_it(given, paths, request):
    net, workers = Net(), 2 * (request.node.callspec.id in ("paths", "mappings"))
    stream = gh.explain_many(
        net, given(paths), "features", batch_size=2, workers=workers, preprocess=ROUGH
    )
    found = list(stream)
    assert len(found) == len(paths)
    for path, one in zip(paths, found, strict=True):
        alone = gh.explain(net, path, "features", preprocess=ROUGH)
        torch.testing.assert_close(one.maps, alone.maps, rtol=1e-4, atol=1e-5)
        assert one.overlay().size == opened(path).size


def test_tensors_and_loaders_of_them():
    net, images = Net(), torch.rand(5, 3, 16, 20)
    whole = gh.explain(net, images, "features", target=[0, 1, 2, 0, 1])
    loader = DataLoader(TensorDataset(images, torch.arange(5)), batch_size=3)
    for given in (images, loader, images.clone().requires_grad_(), list(images)):
        found = list(
            gh.explain_many(net, given, "features", batch_size=2, target=torch.arange(5) % 3)
        )
        torch.testing.assert_close(torch.cat([one.maps for one in found]), whole.maps)
    with pytest.raises(gh.InputError, match=r"fewer than pictures"):
        list(gh.explain_many(net, images, "features", target=[1, 2]))


def test_a_batch_that_is_too_large_for_the_memory_is_halved_and_stays_so():
    net, images = Net(most=3), torch.rand(9, 3, 16, 20)
    assert len(list(gh.explain_many(net, images, "features", batch_size=8))) == 9
    assert net.batches == [8, 4, 2, 2, 2, 2, 1]
    with pytest.raises(torch.OutOfMemoryError):
        list(gh.explain_many(Net(most=0), images, "features"))


def test_pictures_of_several_sizes_go_together_where_they_are_alike():
    sizes = [(16, 20), (12, 12), (16, 20), (12, 12), (16, 20)]
    net, images = Net(), [torch.rand(3, *size) for size in sizes]
    found = list(gh.explain_many(net, images, "features", batch_size=5))
    assert [tuple(one.maps.shape[1:]) for one in found] == sizes
    assert net.batches == [3, 2]


def test_a_broken_picture_is_raised_in_its_turn_or_given_in_its_place(paths, tmp_path):
    (tmp_path / "torn.png").write_bytes(paths[0].read_bytes()[:50])
    given = [paths[0], tmp_path / "torn.png", paths[1]]
    stream = gh.explain_many(Net(), given, "features")
    assert isinstance(next(stream), gh.Explanation)
    with pytest.raises(gh.ImageError, match=r"torn.png' is cut short or damaged"):
        next(stream)
    found = list(gh.explain_many(Net(), given, "features", errors="yield"))
    assert [type(one) for one in found] == [gh.Explanation, gh.ImageError, gh.Explanation]
    with pytest.raises(gh.LayerNotFound):  # which is no picture's fault
        list(gh.explain_many(Net(), given, "featurs", errors="yield"))


def test_closed_half_way_the_network_is_as_it_was_and_no_process_is_left(paths):
    net = Net().train()
    before = multiprocessing.active_children()
    stream = gh.explain_many(net, paths, "features", batch_size=1, workers=2)
    next(stream)
    stream.close()
    assert net.training
    assert not net.features._forward_hooks
    assert multiprocessing.active_children() == before


@pytest.mark.parametrize("given", [3, {"image": 1}, torch.zeros(3), torch.zeros(2, 3, 4, 4).int()])
def test_what_are_no_pictures_is_refused_before_anything_runs(given):
    with pytest.raises(gh.InputError, match=r"many pictures are|as the network takes them"):
        gh.explain_many(Net(), given, "features")
