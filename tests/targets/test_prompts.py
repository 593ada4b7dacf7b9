"""A text that images are compared with: CLIP and SigLIP read it, and the map is the oracle's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.oracle import grad_cam, oracle

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 1, "[UNK]": 0, "a": 3, "dog": 4, "cat": 5, "[EOS]": 2}
    reader = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    reader.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=reader, pad_token="[PAD]", eos_token="[EOS]", model_max_length=8
    )


def clip() -> tuple[nn.Module, str, int]:
    config = transformers.CLIPConfig(
        text_config={**SIZES, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 2},
        vision_config={**SIZES, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    return transformers.CLIPModel(config).eval(), "vision_model.encoder.layers.0", 1


def siglip() -> tuple[nn.Module, str, int]:
    config = transformers.SiglipConfig(
        text_config={**SIZES, "vocab_size": 20, "max_position_embeddings": 8},
        vision_config={**SIZES, "image_size": 32, "patch_size": 8},
    )
    return transformers.SiglipModel(config).eval(), "vision_model.encoder.layers.0", 0


@pytest.mark.filterwarnings("ignore")  # what transformers says of small configurations
@pytest.mark.parametrize("make", [clip, siglip])
def test_the_map_of_a_text_is_the_oracles(make: Any) -> None:
    torch.manual_seed(0)
    net, layer, prefix = make()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    reader = tokenizer()
    target = gh.Similarity(text="a dog", processor=reader)
    result = gh.GradCAM(net, layer)(images, target=target)
    ids = reader(["a dog"], return_tensors="pt")["input_ids"]
    assert ids.tolist() == [[3, 4]]

    def score(output: Any) -> Tensor:
        text = output.text_embeds.expand_as(output.image_embeds)
        return torch.cosine_similarity(output.image_embeds, text, dim=1)

    given = {"input_ids": ids, "pixel_values": images}
    with torch.no_grad():
        assert torch.allclose(result.scores, score(net(**given)), atol=1e-6)
    spatial = [
        one[:, prefix:].transpose(1, 2).unflatten(2, (4, 4))
        for one in oracle(net, layer, score, **given)
    ]
    expected = grad_cam(*spatial)
    assert torch.allclose(result.raw, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    other = gh.GradCAM(net, layer)(images, target=gh.Similarity(text="cat", processor=reader))
    assert not torch.allclose(other.raw, result.raw)


@pytest.mark.filterwarnings("ignore")
def test_a_processor_reads_the_text_and_makes_the_picture_ready() -> None:
    torch.manual_seed(0)
    net, layer, _ = clip()
    made = transformers.CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    processor = SimpleNamespace(tokenizer=tokenizer(), image_processor=made)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    target = gh.Similarity(text=["a dog"], processor=processor)
    result = gh.explain(net, Image.fromarray(pixels), layer, target=target, preprocess=made)
    assert result.overlay().size == (64, 48)


def test_what_is_no_text_is_told() -> None:
    with pytest.raises(gh.TargetError, match="give one of them"):
        gh.Similarity()
    with pytest.raises(gh.TargetError, match="give one of them"):
        gh.Similarity(torch.ones(3), text="a dog", processor=tokenizer())
    with pytest.raises(gh.TargetError, match=r"processor=processor"):
        gh.Similarity(text="a dog")
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    target = gh.Similarity(text="a dog", processor=tokenizer())
    with pytest.raises(gh.OutputError, match="text_embeds"):
        gh.explain(net, torch.rand(1, 3, 12, 12), "0", target=target)
