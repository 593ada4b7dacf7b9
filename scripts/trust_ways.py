"""The ways to a map that are compared: our methods, the other libraries', and the baselines.

A way gives raw maps, signed where its library keeps the sign, at the layer's resolution, so that
all are measured at equal layers before anything is scaled. A way imports its library when asked.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.evaluating.controls import BASELINES

__all__ = ["DEAR", "LIBRARIES", "Way", "maps_of", "ways"]

DEAR = (
    "scorecam",
    "gscorecam",
    "sscam",
    "iscam",
    "groupcam",
    "opticam",
    "sess",
    "rise",
    "reciprocam",
    "dff",
    "kpcacam",
)
"""Those that run the network often: they are asked of fewer pictures, with their quick options."""

_GRAD_CAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "refinecam": "RefineCAM",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "elementwise": "GradCAMElementWise",
    "layercam": "LayerCAM",
    "shapleycam": "ShapleyCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "segeigencam": "SegEigenCAM",
    "kpcacam": "KPCA_CAM",
    "fem": "FEM",
    "ablationcam": "AblationCAM",
    "scorecam": "ScoreCAM",
    "fullgrad": "FullGrad",
    "sess": "SESS",
}
_TORCHCAM = {
    "cam": "CAM",
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMpp",
    "smoothgradcam++": "SmoothGradCAMpp",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "scorecam": "ScoreCAM",
    "sscam": "SSCAM",
    "iscam": "ISCAM",
}
_CAPTUM = {
    "gradcam": "LayerGradCam",
    "hirescam": "LayerGradientXActivation",
    "guidedbackprop": "GuidedBackprop",
    "guidedgradcam": "GuidedGradCam",
}
LIBRARIES = {"grad-cam": _GRAD_CAM, "torchcam": _TORCHCAM, "captum": _CAPTUM}
"""Of each library, what it has under the names of our methods."""

_PEERS_OPTIONS: dict[str, dict[str, object]] = {
    "SSCAM": {"num_samples": 4},
    "ISCAM": {"num_samples": 4},
    "SESS": {"num_scales": 4},
    "ShapleyCAM": {},
}
"""As few samples as our quick options have."""

Ask = Callable[[nn.Module, str, Tensor, list[int], int], Tensor]
"""Network, layer, images, a class for each and a seed, to raw maps ``(batch, height, width)``."""


@dataclass(frozen=True)
class Way:
    """One way to a map.

    Attributes:
        method: our name of the method.
        source: ``"ours"``, ``"baseline"``, or the other library.
        ask: makes its maps.
    """

    method: str
    source: str
    ask: Ask

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.method if self.source in ("ours", "baseline") else self._with_source

    @property
    def _with_source(self) -> str:
        return f"{self.method} ({self.source})"

    @property
    def dear(self) -> bool:
        """Whether it is asked of fewer pictures."""
        return self.method in DEAR


def ways(methods: Sequence[str] = (), *, peers: bool = True) -> list[Way]:
    """All ways, or those of these methods."""
    found = []
    for name in gh.METHODS:
        if methods and name not in methods:
            continue
        found.append(Way(name, "baseline" if name in BASELINES else "ours", _ours(name)))
        for library, names in LIBRARIES.items() if peers else ():
            if name in names:
                found.append(Way(name, library, _PEERS[library](names[name])))
    return found


def maps_of(
    way: Way, net: nn.Module, layer: str, images: Tensor, classes: list[int], seed: int
) -> Tensor | str:
    """Its raw maps, or why there are none."""
    hushed = contextlib.redirect_stderr(io.StringIO())  # bars of progress
    try:
        with warnings.catch_warnings(), hushed, contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            maps = way.ask(net, layer, images, classes, seed).detach().float()
    except Exception as failure:  # whatever it is, the table tells it
        said = " ".join(str(failure).split())
        return f"{type(failure).__name__}: {said[:160]}"
    finally:
        for parameter in net.parameters():
            parameter.grad = None  # some libraries leave theirs
    if maps.ndim != 3 or len(maps) != len(images):
        return f"maps of shape {tuple(maps.shape)}"
    if not bool(maps.isfinite().all()):
        return "maps that are not finite"
    return maps


def _ours(name: str) -> Ask:
    row = gh.METHODS[name]

    def ask(net: nn.Module, layer: str, images: Tensor, classes: list[int], seed: int) -> Tensor:
        options = dict(row.quick)
        if row.looks == "layer":
            options["layout"] = "b c h w"
        generator = torch.Generator().manual_seed(seed)
        result = gh.explain(
            net, images, layer, target=classes, method=name, generator=generator, **options
        )
        raw = result.raw
        assert isinstance(raw, Tensor)  # one layer was named
        if raw.ndim == 4:  # of concepts: the one that matters most to the score
            return raw[torch.arange(len(raw)), result.scores.argmax(1)]
        return raw

    return ask


def _grad_cam(kind: str) -> Ask:
    def ask(net: nn.Module, layer: str, images: Tensor, classes: list[int], seed: int) -> Tensor:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        base = getattr(pytorch_grad_cam, kind)
        raws: list[Tensor] = []
        targets = [ClassifierOutputTarget(one) for one in classes]
        options = _PEERS_OPTIONS.get(kind, {})
        if kind in ("RefineCAM", "SESS", "FullGrad"):  # they give finished maps alone
            made = base(net, [net.get_submodule(layer)], **options)
            return torch.as_tensor(made(_leaf(images), targets))

        class Keeping(base):  # type: ignore[misc, valid-type]  # the peer has no types
            def get_cam_image(self, *args: object) -> object:
                raw = super().get_cam_image(*args)
                raws.append(torch.as_tensor(raw))
                return raw

        with Keeping(net, [net.get_submodule(layer)], **options) as cam:
            cam(_leaf(images), targets)
        return raws[0]

    return ask


def _torchcam(kind: str) -> Ask:
    def ask(net: nn.Module, layer: str, images: Tensor, classes: list[int], seed: int) -> Tensor:
        from torchcam import methods

        torch.manual_seed(seed)  # it draws from the global numbers
        options = _PEERS_OPTIONS.get(kind, {})
        with getattr(methods, kind)(net, layer, **options) as extractor:
            scores = net(_leaf(images))
            (cam,) = extractor(classes, scores, normalized=False)
        raw: Tensor = cam
        return raw

    return ask


def _captum(kind: str) -> Ask:
    def ask(net: nn.Module, layer: str, images: Tensor, classes: list[int], seed: int) -> Tensor:
        from captum import attr

        module, target = net.get_submodule(layer), torch.tensor(classes)
        cls = getattr(attr, kind)
        made = cls(net) if kind == "GuidedBackprop" else cls(net, module)
        found: Tensor = made.attribute(_leaf(images), target=target)
        return found.sum(1)  # over channels or colours, as ours are

    return ask


def _leaf(images: Tensor) -> Tensor:
    return images.clone().requires_grad_()


_PEERS: dict[str, Callable[[str], Ask]] = {
    "grad-cam": _grad_cam,
    "torchcam": _torchcam,
    "captum": _captum,
}
