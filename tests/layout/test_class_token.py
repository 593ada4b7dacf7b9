"""Where the head reads the class token alone, ``"auto"`` takes the last layer ahead of it."""

from __future__ import annotations

import pytest
import torch
import transformers

import gradcam_hooks as gh


@pytest.mark.parametrize("method", ["layercam", "shapleycam", "scorecam", "eigengradcam"])
def test_of_a_class_token_s_network_every_method_takes_the_same_layer(method: str) -> None:
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, intermediate_size=24,
        num_hidden_layers=2, num_attention_heads=2, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    net, x = transformers.ViTForImageClassification(config).eval(), torch.rand(2, 3, 32, 32)
    layer = gh.layers(net, x).recommended
    assert layer is not None
    auto = gh.explain(net, x, method=method, target=gh.TopK(2))
    assert auto.layers == (layer,)
    torch.testing.assert_close(
        auto.raw, gh.explain(net, x, layer, method=method, target=gh.TopK(2)).raw
    )
