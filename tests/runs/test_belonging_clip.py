"""CLIP, the network that most often has as many texts as images: a batch is its images alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh

METHODS = {
    "gradcam": {},
    "scorecam": {},
    "ablationcam": {},
    "rise": {"masks": 16},
    "reciprocam": {},
    "groupcam": {"groups": 2},
}


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    import transformers

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2}
    words = {"vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 2, "bos_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.CLIPConfig(
            text_config={**sizes, **heads, **words},
            vision_config={**sizes, **heads, "image_size": 32, "patch_size": 8},
            projection_dim=6,
        )
        return transformers.CLIPModel(config).eval().double()


@pytest.mark.parametrize("method", METHODS)
def test_clip_with_as_many_texts_as_images(method: str, clip: nn.Module) -> None:
    chance = torch.Generator().manual_seed(5)
    pixels = torch.rand(2, 3, 32, 32, generator=chance, dtype=torch.float64)
    texts = {
        "input_ids": torch.tensor([[0, 5, 7, 2], [0, 3, 2, 2]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
    }

    def explained(some: Tensor) -> Tensor:
        explainer = gh.explainer(
            method,
            clip,
            "vision_model.encoder.layers.0",
            output="logits_per_image",
            generator=torch.Generator().manual_seed(3),
            **METHODS[method],
        )
        result = explainer(pixel_values=some, target=1, **texts)
        if len(some) == 2:
            assert result[1].output["text_embeds"].shape == (2, 6)
            assert result[1].output["logits_per_text"].shape == (2, 1)
            torch.testing.assert_close(result[1].output["logits_per_text"][1, 0], result.scores[1])
        assert isinstance(result.raw, Tensor)
        return result.raw

    alone = torch.cat([explained(pixels[:1]), explained(pixels[1:])])
    torch.testing.assert_close(explained(pixels), alone)
