"""The worst samples of a validation epoch, explained and logged: a Lightning callback.

It knows the trainer, the batches and the loggers. Training is not disturbed: the model, its
buffers and the random state of torch, NumPy and Python are left as they were found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from torch import Tensor, nn

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import GradCamHooksError, InputError, OptionError
from gradcam_hooks.explainers import Explainer, MethodSpec, Options, explainer
from gradcam_hooks.images.colors import Floats, to_uint8
from gradcam_hooks.images.encoding import enlarged
from gradcam_hooks.network.final_softmax import remembering
from gradcam_hooks.network.modules import LayerSpec
from gradcam_hooks.network.outputs import OutputSpec, choose
from gradcam_hooks.network.state import untouched
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.facts import class_word, label_of
from gradcam_hooks.targets import Target
from gradcam_hooks.watch.boards import Writer
from gradcam_hooks.watch.losses import sample_losses

try:
    from lightning.pytorch import Callback
    from lightning.pytorch.utilities import rank_zero_warn
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment]
        from pytorch_lightning.utilities import rank_zero_warn
    except ImportError as error:
        raise ImportError(
            "ExplainWorst is a callback of Lightning, which is not installed: "
            "pip install tensorboard lightning."
        ) from error

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["ExplainWorst", "Sample"]

_T = TypeVar("_T")

_LEAST, _HEIGHT = 160, 256
"""Of a cell: its shorter side at least, and its height at most, in pixels."""

_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample of a validation epoch.

    Attributes:
        loss: how wrong the model was.
        image: the input, ``(channels, *space)``.
        label: what is right, as the batch had it.
        place: which loader, batch and sample of the batch, from 0.
    """

    loss: float
    image: Tensor
    label: object
    place: tuple[int, int, int]

    @property
    def number(self) -> int | None:
        """The class number of the label; None where it is no class."""
        if not isinstance(self.label, Tensor) or self.label.numel() != 1:
            return None
        return None if self.label.is_floating_point() else int(self.label)


class ExplainWorst(Callback):
    """Logs the samples of a validation epoch that the model is most wrong about, explained.

    One picture an epoch: a row for each sample, the highest loss first, with the sample, the map
    of the predicted class and the map of the true one. A logger whose ``experiment`` has
    ``add_image`` (TensorBoard) gets it under ``tag``; beside any other it is saved as
    ``<log_dir>/<tag>/epoch=0003-step=00000120.png``.

    Training is the same to the bit with and without it. It costs one more forward pass of the
    validation set in the epochs it looks at, unless ``validation_step`` returns a dictionary with
    ``"logits"``. Where several processes train, the first one's share is looked at; a model
    sharded over them is not, with a warning. A model that cannot be explained is told in a warning
    and training goes on; a layer, a method or a label that is wrong raises before it begins.

    Args:
        layer: which layer of the LightningModule, as for `gradcam_hooks.explain`.
        samples: how many.
        every_n_epochs: in which epochs: every n-th, counted as ``ModelCheckpoint`` does.
        method: a name in `METHODS`, a class, or a function ``(activation, gradient) -> map``.
        target: what the first map explains; by default the predicted class.
        truth: whether there is a second map, of the true class, where labels are class numbers.
        loss: ``(output, labels) -> losses (batch,)``; by default `sample_losses`, cross-entropy.
        batch: ``batch -> (images, labels)``; by default a batch is that pair.
        tag: the name the picture is logged under.
        style: how maps are drawn.
        options: what else `gradcam_hooks.explain` takes, such as ``{"labels": names}``.

    Raises:
        OptionError: ``samples`` or ``every_n_epochs`` is less than 1.
    """

    def __init__(
        self,
        layer: LayerSpec = "auto",
        samples: int = 8,
        every_n_epochs: int = 1,
        method: MethodSpec = "gradcam",
        *,
        target: Target = None,
        truth: bool = True,
        loss: Callable[[object, object], Tensor] | None = None,
        batch: Callable[[object], tuple[Tensor, object]] | None = None,
        tag: str = "worst",
        style: Style | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        check_count(samples, "samples")
        check_count(every_n_epochs, "every_n_epochs")
        self.layer, self.method, self.target, self.truth = layer, method, target, truth
        self.samples, self.every_n_epochs, self.tag = samples, every_n_epochs, tag
        self.loss = loss or sample_losses
        self.batch = batch or _pair
        self.style = style or Style()
        self.options = cast("Options", options or {})
        self.worst: list[Sample] = []
        self._told: set[str] = set()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew, and see that the layer and the method are there."""
        self.worst = []
        if self._looks(trainer):
            with self._explainer(pl_module):
                pass  # entering the block finds the layer, or says that it is not there

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the worst samples so far."""
        if not self._looks(trainer):
            return
        place = dataloader_idx, batch_idx
        work = partial(self._worst_of, pl_module, outputs, batch, place)
        new = _undisturbed(trainer, pl_module, self.options.get("output"), work)
        every = sorted([*self.worst, *new], key=lambda one: -one.loss)
        self.worst = every[: self.samples]

    def _worst_of(
        self, model: LightningModule, outputs: object, batch: object, place: tuple[int, int]
    ) -> list[Sample]:
        images, labels = self.batch(batch)
        known = isinstance(outputs, Mapping) and "logits" in outputs
        output = cast("Mapping[str, object]", outputs)["logits"] if known else model(images)
        if not known:
            output = choose(output, self.options.get("output"))
        losses = self.loss(output, labels).detach().double().nan_to_num(nan=float("inf"))
        if losses.shape != (len(images),):
            raise OptionError(
                f"loss= gave {tuple(losses.shape)} for a batch of {len(images)}; expected a "
                "loss for each sample (reduction='none')."
            )
        highest, places = losses.topk(min(self.samples, len(losses)))
        return [
            Sample(
                loss,
                images[i].detach().clone(),
                labels[i].detach().clone() if isinstance(labels, Tensor) else None,
                (*place, i),
            )
            for loss, i in zip(highest.tolist(), places.tolist(), strict=True)
        ]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the worst samples, and log them."""
        if trainer.sanity_checking or not self.worst:
            return
        try:
            work = partial(self._figure, pl_module)
            figure = _undisturbed(trainer, pl_module, self.options.get("output"), work)
        except GradCamHooksError as error:
            self._warn(f"the worst samples cannot be explained: {error}")
        else:
            self._log(trainer, figure)
        finally:
            self.worst = []

    def _looks(self, trainer: Trainer) -> bool:
        """Whether this process looks at this epoch; a sanity check is looked at, but not logged."""
        if type(trainer.strategy).__name__ in _SHARDED:
            self._warn("ExplainWorst does not look at models that are sharded over processes.")
            return False
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        due = not fitting or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return trainer.is_global_zero and due

    def _warn(self, words: str) -> None:
        """Say it once."""
        if words not in self._told:
            self._told.add(words)
            rank_zero_warn(words)

    def _explainer(self, model: nn.Module) -> Explainer:
        return explainer(self.method, model, self.layer, **self.options)

    def _figure(self, model: nn.Module) -> Floats:
        """A row for each sample: itself, and its maps."""
        from gradcam_hooks.images.sheets import sheet

        rows, captions = [], []
        with self._explainer(model) as explain:
            for sample in self.worst:
                image = sample.image[None]
                word = "predicted: " if self.target is None else ""
                found = [(word, explain(image, target=self.target))]
                logits, truth = found[0][1].logits, sample.number if self.truth else None
                if truth is not None and logits is not None and logits.shape[1] > 1:
                    found.append(("true: ", explain(image, target=truth)))
                told = _told(sample, found[0][1].labels)
                cells, lines = [_drawn(found[0][1], Style(alpha=0))], [told]
                for word, one in found:
                    first, *more = one.facts()[0][0].lines()
                    cells.append(_drawn(one, self.style))
                    lines.append([word + first, *more])
                rows.append(cells)
                captions.append(lines)
        return sheet(rows, captions=captions, most=_HEIGHT)

    def _log(self, trainer: Trainer, figure: Floats) -> None:
        """Hand the picture to every logger, or save it beside it."""
        from gradcam_hooks.images import save_image

        name = f"epoch={trainer.current_epoch:04d}-step={trainer.global_step:08d}.png"
        folders: list[object] = [] if trainer.loggers else [trainer.default_root_dir]
        for logger in trainer.loggers:
            writer = getattr(logger, "experiment", None)
            if callable(getattr(writer, "add_image", None)):
                board = cast(Writer, writer)
                board.add_image(self.tag, to_uint8(figure), trainer.global_step, dataformats="HWC")
            else:
                folder = getattr(logger, "log_dir", None) or logger.save_dir
                folders.append(folder or trainer.default_root_dir)
        for folder in dict.fromkeys(map(str, folders)):
            save_image(Path(folder) / self.tag / name, figure)


def _undisturbed(
    trainer: Trainer, model: nn.Module, output: OutputSpec, work: Callable[[], _T]
) -> _T:
    """`untouched`, in the trainer's precision."""

    def precisely() -> _T:
        with remembering(output), trainer.precision_plugin.val_step_context():
            return work()

    return untouched(model, precisely)


def _pair(batch: object) -> tuple[Tensor, object]:
    if isinstance(batch, Sequence) and len(batch) == 2 and isinstance(batch[0], Tensor):
        return batch[0], batch[1]
    what = type(batch).__name__
    if isinstance(batch, Mapping):
        what += f" with {', '.join(map(repr, batch))}"
    raise InputError(
        f"a validation batch is expected as (images, labels), and a {what} came. Pass batch=, a "
        "function that takes it and returns that pair."
    )


def _told(sample: Sample, labels: Sequence[str] | None) -> list[str]:
    """What is known of a sample, in lines."""
    loader, batch, place = sample.place
    where = f"batch {batch}, sample {place}"
    lines = [f"loss {sample.loss:.4g}"]
    if sample.number is not None:
        label = label_of(sample.number, labels)
        lines.append(f"true: {class_word(sample.number, label, numbered=True)}")
    return [*lines, f"loader {loader}, {where}" if loader else where]


def _drawn(explanation: Explanation, style: Style) -> Floats:
    """The first map, large enough to be looked at."""
    return enlarged(explanation.drawn(style)[0][0], _LEAST)
