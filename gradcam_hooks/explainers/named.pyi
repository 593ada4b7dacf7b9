# The classes that named.py makes, for type checkers. Written by scripts/methods_doc.py.

from typing import Literal

from torch import nn
from typing_extensions import Unpack

from gradcam_hooks.explainers.explainer import Explainer, Options
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.modules import LayerSpec

__all__ = [
    "CAM",
    "DFF",
    "FEM",
    "ISCAM",
    "KPCACAM",
    "LIFTCAM",
    "RISE",
    "SESS",
    "SSCAM",
    "AblationCAM",
    "AttentionRollout",
    "CenterGaussian",
    "EigenCAM",
    "EigenGradCAM",
    "ElementWiseCAM",
    "FakeCAM",
    "FullGrad",
    "GScoreCAM",
    "GradCAM",
    "GradCAMPlus",
    "GradCAMPlusPlus",
    "GradECLIP",
    "GradientRollout",
    "GroupCAM",
    "GuidedBackprop",
    "GuidedGradCAM",
    "HiResCAM",
    "IntegratedGradCAM",
    "LayerCAM",
    "LeGrad",
    "OptiCAM",
    "RandomCAM",
    "ReciproCAM",
    "RefineCAM",
    "ScoreCAM",
    "SegEigenCAM",
    "ShapleyCAM",
    "SmoothGradCAMPlusPlus",
    "SobelEdges",
    "XGradCAM",
]

class CAM(Explainer):  # gradcam_hooks.methods.cam.cam
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class GradCAM(Explainer):  # gradcam_hooks.methods.gradient.gradcam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class GradCAMPlusPlus(Explainer):  # gradcam_hooks.methods.gradient.gradcam_plus_plus
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        normalize: bool = False,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class RefineCAM(Explainer):  # gradcam_hooks.methods.gradient.refinecam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        normalize: bool = False,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class GradCAMPlus(Explainer):  # gradcam_hooks.methods.gradient.gradcam_plus
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class XGradCAM(Explainer):  # gradcam_hooks.methods.gradient.xgradcam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class HiResCAM(Explainer):  # gradcam_hooks.methods.gradient.hirescam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class ElementWiseCAM(Explainer):  # gradcam_hooks.methods.gradient.elementwise
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class LayerCAM(Explainer):  # gradcam_hooks.methods.gradient.layercam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        eigen_smooth: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class ShapleyCAM(Explainer):  # gradcam_hooks.methods.second_order.shapleycam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        rule: str = "gradcam",
        **options: Unpack[Options],
    ) -> None: ...

class LIFTCAM(Explainer):  # gradcam_hooks.methods.lift.liftcam
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class EigenCAM(Explainer):  # gradcam_hooks.methods.spectral.eigencam
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class EigenGradCAM(Explainer):  # gradcam_hooks.methods.spectral.eigengradcam
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class SegEigenCAM(Explainer):  # gradcam_hooks.methods.spectral.segeigencam
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class KPCACAM(Explainer):  # gradcam_hooks.methods.spectral.kpcacam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        kernel: str = "sigmoid",
        gamma: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...

class FEM(Explainer):  # gradcam_hooks.methods.statistics.fem
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class SmoothGradCAMPlusPlus(Explainer):  # gradcam_hooks.methods.sampling.smooth_gradcam_plus_plus
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        samples: int = 8,
        std: float = 0.15,
        first_order: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class IntegratedGradCAM(Explainer):  # gradcam_hooks.methods.sampling.integrated_gradcam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        steps: int = 20,
        baseline: float = 0.0,
        **options: Unpack[Options],
    ) -> None: ...

class AblationCAM(Explainer):  # gradcam_hooks.methods.disturbing.ablationcam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        divide: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class ReciproCAM(Explainer):  # gradcam_hooks.methods.disturbing.reciprocam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        probability: bool | None = None,
        gaussian: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class ScoreCAM(Explainer):  # gradcam_hooks.methods.scoring.scorecam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        score: str | None = None,
        channels: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...

class GScoreCAM(Explainer):  # gradcam_hooks.methods.scoring.gscorecam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        channels: float = 300,
        score: str | None = "softmax",
        **options: Unpack[Options],
    ) -> None: ...

class SSCAM(Explainer):  # gradcam_hooks.methods.scoring.sscam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        samples: int = 35,
        std: float = 2.0,
        noise: str = "mask",
        score: str | None = "softmax",
        channels: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...

class ISCAM(Explainer):  # gradcam_hooks.methods.scoring.iscam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        samples: int = 10,
        score: str | None = "softmax",
        channels: float | None = None,
        **options: Unpack[Options],
    ) -> None: ...

class GroupCAM(Explainer):  # gradcam_hooks.methods.groups.groupcam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        groups: int = 32,
        probability: bool | None = None,
        **options: Unpack[Options],
    ) -> None: ...

class OptiCAM(Explainer):  # gradcam_hooks.methods.optimising.opticam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        steps: int = 100,
        lr: float = 0.1,
        loss: str = "score",
        **options: Unpack[Options],
    ) -> None: ...

class SESS(Explainer):  # gradcam_hooks.methods.sliding.sess
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        scales: int = 12,
        prefilter: float = 0.0,
        pool: str = "mean",
        smooth: bool = True,
        probability: bool | None = None,
        **options: Unpack[Options],
    ) -> None: ...

class RISE(Explainer):  # gradcam_hooks.methods.random_masks.rise
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        masks: int = 4000,
        cells: int = 7,
        keep: float = 0.5,
        probability: bool | None = None,
        **options: Unpack[Options],
    ) -> None: ...

class AttentionRollout(Explainer):  # gradcam_hooks.methods.transformers.attention_rollout
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        head_fusion: Literal["mean", "max", "min"] = "mean",
        discard_ratio: float = 0.0,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None: ...

class GradientRollout(Explainer):  # gradcam_hooks.methods.transformers.gradient_rollout
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None: ...

class GradECLIP(Explainer):  # gradcam_hooks.methods.transformers.gradeclip
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class LeGrad(Explainer):  # gradcam_hooks.methods.legrad.legrad
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        start_layer: int = 0,
        **options: Unpack[Options],
    ) -> None: ...

class FullGrad(Explainer):  # gradcam_hooks.methods.fullgrad.fullgrad
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        complete: bool = True,
        align_corners: bool = False,
        **options: Unpack[Options],
    ) -> None: ...

class GuidedBackprop(Explainer):  # gradcam_hooks.methods.guided.guided_backprop
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        others: str = "error",
        **options: Unpack[Options],
    ) -> None: ...

class GuidedGradCAM(Explainer):  # gradcam_hooks.methods.guided.guided_gradcam
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        others: str = "error",
        **options: Unpack[Options],
    ) -> None: ...

class DFF(Explainer):  # gradcam_hooks.methods.concepts.dff
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        concepts: int = 4,
        steps: int = 200,
        **options: Unpack[Options],
    ) -> None: ...

class RandomCAM(Explainer):  # gradcam_hooks.methods.baselines.random_map
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class CenterGaussian(Explainer):  # gradcam_hooks.methods.baselines.center_gaussian
    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        width: float = 0.25,
        **options: Unpack[Options],
    ) -> None: ...

class SobelEdges(Explainer):  # gradcam_hooks.methods.baselines.sobel
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...

class FakeCAM(Explainer):  # gradcam_hooks.methods.baselines.fake_cam
    def __init__(
        self, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: Unpack[Options]
    ) -> None: ...
