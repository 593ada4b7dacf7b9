"""Explanations in TensorBoard, and a Lightning callback that training does not feel."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset, TensorDataset

import gradcam_hooks as gh
from gradcam_hooks.watch import add_explanation, pixels, sample_losses
from tests.support.nets import gap_linear, images

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
boards = pytest.importorskip("torch.utils.tensorboard", reason="tensorboard is not installed")

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger  # noqa: E402

from gradcam_hooks.watch import ExplainWorst  # noqa: E402

# Lightning and TensorBoard warn of their own affairs.
pytestmark = [
    pytest.mark.filterwarnings("ignore:::(lightning|pytorch_lightning|tensorboard|torch)"),
    pytest.mark.filterwarnings(
        "ignore:.*(num_workers|log_every_n_steps|logging interval|LeafSpec)"
    ),
]


class Noisy(Dataset):
    """Pictures disturbed by all three random number generators."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(count, 1, 8, 8, generator=generator)
        self.y = torch.randint(3, (count,), generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        shift = (int(np.random.randint(-2, 3)), random.randint(-2, 2))
        return self.x[index].roll(shift, (1, 2)) + 0.1 * torch.randn(1, 8, 8), self.y[index]


def module(base: type, given: object = None) -> nn.Module:
    """A LightningModule with dropout and batch norm that keeps its training curve."""

    class Net(base):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.drop, self.fc, self.curve = nn.Dropout(0.4), nn.Linear(4, 3), []
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.fc(self.drop(self.body(x).mean((2, 3))))

        def training_step(self, batch: list[Tensor], number: int) -> Tensor:
            loss = F.cross_entropy(self(batch[0]), batch[1])
            self.curve.append(loss.item())
            return loss

        def validation_step(self, batch: object, number: int) -> object:
            x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
            logits = self(x)
            self.log("val", F.cross_entropy(logits, y))
            return {"logits": logits} if given == "logits" else None

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 0.01)

    return Net()


def trained(where: Path, *callbacks: object, epochs: int = 3, lightning=pl, **how: object):
    """A short real training; with the trainer and the module."""
    lightning.seed_everything(7, verbose=False)
    net = module(lightning.LightningModule, how.pop("given", None))
    validation = how.pop("validation", DataLoader(Noisy(30), 10))
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), default_root_dir=where, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        **{"logger": False, **how},
    )  # fmt: skip
    trainer.fit(net, DataLoader(Noisy(48), 16, shuffle=True), validation)
    return trainer, net


def states(net: nn.Module) -> list[object]:
    """All that a later step of training hangs on."""
    return [
        [value.tolist() for value in net.state_dict().values()],
        torch.get_rng_state().tolist(),
        random.getstate(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
    ]


class TestTraining:
    """It is the same to the bit."""

    @pytest.mark.parametrize("method", ["gradcam", "scorecam"])
    def test_the_curve_the_weights_and_the_random_states(self, tmp_path: Path, method: str) -> None:
        _, plain = trained(tmp_path / "plain")
        expected = states(plain)
        _, watched = trained(tmp_path / "watched", ExplainWorst(samples=4, method=method))
        assert states(watched) == expected
        assert watched.curve == plain.curve
        assert len(plain.curve) == 9
        assert len(set(plain.curve)) == 9
        assert len(list((tmp_path / "watched" / "worst").iterdir())) == 3
        assert not any(one._forward_hooks for one in watched.modules())
        assert all(one.training for one in watched.modules())

    def test_the_proof_is_proven(self, tmp_path: Path) -> None:
        class Careless(pl.Callback):
            def on_validation_epoch_end(self, trainer: object, pl_module: nn.Module) -> None:
                pl_module.drop.train()
                pl_module(torch.zeros(1, 1, 8, 8))  # dropout draws a number
                pl_module.drop.eval()

        _, plain = trained(tmp_path)
        expected = states(plain)
        _, disturbed = trained(tmp_path, Careless())
        assert states(disturbed) != expected
        assert disturbed.curve != plain.curve

    def test_logits_that_the_step_returns_save_the_second_pass(self, tmp_path: Path) -> None:
        again = trained(tmp_path / "a", ExplainWorst(samples=1), epochs=1)[1].calls
        given = trained(tmp_path / "b", ExplainWorst(samples=1), epochs=1, given="logits")[1].calls
        assert again - given == 2 + 3  # batches of the sanity check, and of the epoch
        one, other = (next((tmp_path / name / "worst").iterdir()) for name in "ab")
        assert one.read_bytes() == other.read_bytes()


class Kept(ExplainWorst):
    """Keeps what it was about to explain."""

    kept: tuple[object, ...] = ()

    def on_validation_epoch_end(self, trainer: object, pl_module: nn.Module) -> None:
        self.kept = tuple(self.worst)
        super().on_validation_epoch_end(trainer, pl_module)


class TestWhatIsLogged:
    """The worst samples, and where the picture goes."""

    def test_the_worst_are_the_worst(self, tmp_path: Path) -> None:
        data = TensorDataset(Noisy(50).x, Noisy(50).y)
        pl.seed_everything(1, verbose=False)
        net, callback = module(pl.LightningModule), Kept(samples=7)
        trainer = pl.Trainer(
            callbacks=[callback], logger=False, default_root_dir=tmp_path, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.validate(net, DataLoader(data, 8), verbose=False)
        with torch.no_grad():
            losses = F.cross_entropy(net.eval()(data.tensors[0]), data.tensors[1], reduction="none")
        expected = losses.sort(descending=True).values[:7]
        order = losses.argsort(descending=True)[:7].tolist()
        assert [one.loss for one in callback.kept] == pytest.approx(expected.tolist(), rel=1e-5)
        assert [8 * one.place[1] + one.place[2] for one in callback.kept] == order
        for one, index in zip(callback.kept, order, strict=True):
            assert torch.equal(one.image, data.tensors[0][index])
            assert one.number == data.tensors[1][index]

    def test_tensorboard_has_it_under_its_tag_at_its_step(self, tmp_path: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        loggers = [TensorBoardLogger(tmp_path / "tb"), CSVLogger(tmp_path / "csv")]
        callback = ExplainWorst(samples=2, tag="wrong")
        trainer, _ = trained(tmp_path, callback, epochs=2, logger=loggers)
        events = EventAccumulator(trainer.loggers[0].log_dir, size_guidance={"images": 0}).Reload()
        assert events.Tags()["images"] == ["wrong"]
        logged = events.Images("wrong")
        assert [one.step for one in logged] == [3, 6]
        saved = sorted((Path(trainer.loggers[1].log_dir) / "wrong").iterdir())
        names = [path.name for path in saved]
        assert names == ["epoch=0000-step=00000003.png", "epoch=0001-step=00000006.png"]
        for one, path in zip(logged, saved, strict=True):
            board = np.asarray(Image.open(BytesIO(one.encoded_image_string)))
            assert np.array_equal(board, np.asarray(Image.open(path)))
        assert board.shape[1] > 3 * 160  # the sample, its class and the true one, side by side

    def test_a_cell_is_the_map_that_explain_gives(self, tmp_path: Path) -> None:
        callback = Kept(samples=1, layer="body")
        _, net = trained(tmp_path, callback, epochs=1)
        (path,) = (tmp_path / "worst").iterdir()
        drawn = np.asarray(Image.open(path))
        image = callback.kept[0].image[None]
        assert image.is_inference() is False
        cells = [
            gh.explain(net, image, "body", target=one) for one in (None, callback.kept[0].number)
        ]
        for place, one in enumerate(cells, 1):
            expected = np.asarray(one.overlay()).repeat(20, 0).repeat(20, 1)  # 8 pixels to 160
            left = place * (176 + 8)
            assert np.array_equal(drawn[:160, left : left + 160], expected)

    def test_every_second_epoch(self, tmp_path: Path) -> None:
        trained(tmp_path, ExplainWorst(samples=1, every_n_epochs=2), epochs=5)
        names = sorted(path.name[:10] for path in (tmp_path / "worst").iterdir())
        assert names == ["epoch=0001", "epoch=0003"]

    def test_a_batch_of_another_shape_and_a_loss_of_ones_own(self, tmp_path: Path) -> None:
        rows = [{"x": x, "y": y} for x, y in TensorDataset(Noisy(12).x, Noisy(12).y)]
        callback = Kept(
            samples=3,
            batch=lambda batch: (batch["x"], batch["y"]),
            loss=lambda output, labels: labels,
            truth=False,
        )
        trained(tmp_path, callback, epochs=1, validation=DataLoader(rows, 4))
        highest = Noisy(12).y.sort(descending=True).values[:3].tolist()
        assert [one.loss for one in callback.kept] == highest

    def test_pytorch_lightning_by_its_own_name(self, tmp_path: Path) -> None:
        other = pytest.importorskip("pytorch_lightning", reason="pytorch_lightning is not there")
        trained(tmp_path, ExplainWorst(samples=1), epochs=1, lightning=other)
        assert len(list((tmp_path / "worst").iterdir())) == 1


class TestWhatIsWrong:
    """Told before training where it can be, and else without an end to it."""

    @pytest.mark.parametrize(
        ("callback", "error", "message"),
        [
            (lambda: ExplainWorst("bodi"), gh.LayerNotFound, "did you mean 'body'"),
            (lambda: ExplainWorst(method="gradcan"), gh.MethodNotFound, "did you mean 'gradcam'"),
            (
                lambda: ExplainWorst(loss=lambda output, y: F.cross_entropy(output, y)),
                gh.OptionError,
                r"loss= gave \(\) for a batch of 10",
            ),
            (
                lambda: ExplainWorst(batch=lambda batch: (batch[0], batch[1].float())),
                gh.OptionError,
                r"labels are torch\.float32 \(10,\) and the logits \(10, 3\).*Pass loss=",
            ),
        ],
        ids=["layer", "method", "loss", "labels"],
    )
    def test_it_is_told_before_training(
        self, tmp_path: Path, callback: object, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            trained(tmp_path, callback())

    def test_a_batch_that_is_no_pair(self, tmp_path: Path) -> None:
        rows = [{"x": x, "y": y} for x, y in TensorDataset(Noisy(4).x, Noisy(4).y)]
        with pytest.raises(gh.InputError, match=r"a dict with 'x', 'y' came\. Pass batch="):
            trained(tmp_path, ExplainWorst(), validation=DataLoader(rows, 4))

    def test_what_cannot_be_explained_is_a_warning_and_training_goes_on(
        self, tmp_path: Path
    ) -> None:
        callback = ExplainWorst(samples=1, target=9)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            trainer, net = trained(tmp_path, callback, epochs=2)
        (said,) = [str(one.message) for one in told if "worst samples" in str(one.message)]
        assert re.search("cannot be explained: class 9 is out of range: .* classes 0 to 2", said)
        assert trainer.current_epoch == 2
        assert len(net.curve) == 6

    @pytest.mark.parametrize("how", [{"samples": 0}, {"every_n_epochs": 1.5}], ids=["0", "1.5"])
    def test_counts_are_whole_numbers(self, how: dict[str, int]) -> None:
        with pytest.raises(gh.OptionError, match="a whole number from 1 up"):
            ExplainWorst(**how)


class TestLosses:
    """The loss of each sample."""

    def test_against_torch(self) -> None:
        torch.manual_seed(0)
        logits, labels = torch.randn(6, 4).double(), torch.randint(4, (6,))
        expected = F.cross_entropy(logits, labels, reduction="none")
        for output in (logits, logits.softmax(1), logits.log_softmax(1), {"logits": logits}):
            assert sample_losses(output, labels) == pytest.approx(expected.numpy())
        single = logits[:, :1]
        binary = F.binary_cross_entropy_with_logits(
            single[:, 0], labels.gt(1).double(), reduction="none"
        )
        assert sample_losses(single, labels > 1) == pytest.approx(binary.numpy())
        assert sample_losses(single, (labels > 1).int()[:, None]) == pytest.approx(binary.numpy())
        dense, wanted = torch.randn(2, 3, 5, 5).double(), torch.randint(3, (2, 5, 5))
        each = F.cross_entropy(dense, wanted, reduction="none").mean((1, 2))
        assert sample_losses(dense, wanted) == pytest.approx(each.numpy())

    @pytest.mark.parametrize("labels", [torch.zeros(6, 4), torch.zeros(5, dtype=torch.long), "cat"],
                             ids=["soft", "short", "word"])  # fmt: skip
    def test_labels_that_are_no_classes(self, labels: object) -> None:
        with pytest.raises(gh.OptionError, match="expected class numbers"):
            sample_losses(torch.zeros(6, 4), labels)


class TestBoards:
    """A writer gets the picture as it is."""

    def test_what_is_written_is_read_back(self, tmp_path: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        result = gh.explain(gap_linear(), images(2, (40, 60)), "1")
        made = gh.compare(gap_linear(), images(1, (40, 60)), methods=["gradcam", "hirescam"])
        with boards.SummaryWriter(tmp_path) as writer:
            add_explanation(writer, "one", result[0], 5, caption=False, alpha=0.3)
            add_explanation(writer, "told", result, 6)
            add_explanation(writer, "many", made)
        events = EventAccumulator(str(tmp_path)).Reload()
        read = {
            tag: np.asarray(Image.open(BytesIO(events.Images(tag)[0].encoded_image_string)))
            for tag in ("one", "told", "many")
        }
        assert np.array_equal(read["one"], np.asarray(result[0].overlay(alpha=0.3)))
        assert np.array_equal(read["told"], np.asarray(result.overlay(caption=True)))
        assert np.array_equal(read["many"], np.asarray(made.figure))
        assert events.Images("one")[0].step == 5
        assert pixels(result[0]).dtype == np.uint8

    def test_what_is_no_writer(self) -> None:
        result = gh.explain(gap_linear(), images(1), "1")
        with pytest.raises(gh.InputError, match=r"with add_image.*got str"):
            add_explanation("runs", "tag", result)
        made = gh.compare(gap_linear(), images(1), methods=["gradcam"])
        with pytest.raises(gh.InputError, match="drawn as it was made"):
            pixels(made, alpha=0.1)


def test_nobody_who_does_not_ask_imports_them() -> None:
    code = (
        "import sys, gradcam_hooks, gradcam_hooks.watch\n"
        "names = {'lightning', 'pytorch_lightning', 'tensorboard', 'nibabel', 'PIL'}\n"
        "print(names & {*sys.modules})\n"
        "sys.modules |= {'lightning': None, 'pytorch_lightning': None}\n"
        "try: gradcam_hooks.watch.ExplainWorst\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "set()"
    assert "pip install tensorboard lightning" in second
