"""What other libraries call it: a keyword of theirs is told ours, wherever it stands."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import gradcam_hooks as gh
from tests.support.nets import gap_linear

X = torch.rand(1, 3, 8, 8)

OURS = [
    ("target_layers", "layer="),
    ("target_layer", "layer="),
    ("target_category", "target="),
    ("targets", "target="),
    ("class_idx", "target="),
    ("aug_smooth", r"sampler=gradcam_hooks\.Augment"),
    ("use_cuda", r"model\.to\('cuda'\)"),
    ("input_tensor", "stands first"),
    ("layers", "layer="),
    ("transform", "preprocess="),
    ("methods", r"method=; gradcam_hooks\.compare"),
    ("n_steps", r"gradcam_hooks\.Integrate"),
    ("additional_forward_args", "behind the input"),
]


@pytest.mark.parametrize(("theirs", "ours"), OURS)
def test_a_keyword_of_another_library_is_told_ours(theirs: str, ours: str) -> None:
    net = gap_linear().float()
    calls: list[Callable[[], object]] = [
        lambda: gh.explain(net, X, **{theirs: 1}),
        lambda: gh.GradCAM(net, **{theirs: 1}),
        lambda: gh.GradCAM(net)(X, **{theirs: 1}),
        lambda: gh.audit(net, X.repeat(8, 1, 1, 1), **{theirs: 1}),
    ]
    for call in calls:
        with pytest.raises(gh.OptionError, match=rf" {theirs}=\. .*{ours}"):
            call()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("layer", "layers"),
        ("target_layers", "layers"),
        ("method", "methods"),
        ("target", "targets"),
        ("target_category", "targets"),
        ("class_idx", "targets"),
    ],
)
def test_what_compare_takes_as_a_list_is_told(theirs: str, ours: str) -> None:
    with pytest.raises(gh.OptionError, match=f"no option {theirs}=: {ours}= is .* list"):
        gh.compare(gap_linear().float(), X, **{theirs: 1})  # type: ignore[arg-type]


def test_a_table_of_layers_names_none() -> None:
    with pytest.raises(gh.OptionError, match=r"takes \(input\), and no target_layer=.*all layers"):
        gh.layers(gap_linear().float(), X, target_layer="1")
