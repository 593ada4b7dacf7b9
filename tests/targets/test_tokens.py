"""A word of a language model: which logit it is, and its maps on networks that see and speak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.targets import select, settle
from tests.support.oracle import grad_cam, oracle

LOGITS = torch.arange(24.0).reshape(2, 3, 4)  # 2 texts, 3 positions, 4 tokens
WORDS = {"cat": [1], " cat": [3], "a cat": [0, 1], " a cat": [0, 3], "": []}


def read(text: str) -> list[int]:
    return WORDS[text]


@pytest.mark.parametrize(
    ("target", "scores"),
    [
        (gh.Token(), [11, 23]),
        (gh.Token(position=0), [3, 15]),
        (gh.Token(2), [10, 22]),
        (gh.Token(2, position=1), [6, 18]),
        (gh.Token([1, 3]), [1 + 7, 13 + 19]),  # the last two of the text, by the logits ahead
        (gh.Token(torch.tensor([[1, 3]]), position=1), [5 + 11, 17 + 23]),
        (gh.Token("cat", tokenizer=read), [11, 23]),  # " cat" is likelier
        (gh.Token("a cat", tokenizer=read), [0 + 5, 12 + 17]),
        (
            gh.Token("cat", tokenizer=type("Processor", (), {"tokenizer": staticmethod(read)})()),
            [11, 23],
        ),
    ],
)
def test_the_logit_of_each_word(target: gh.Token, scores: list[float]) -> None:
    assert target(LOGITS).tolist() == scores
    assert select(target, {"logits": LOGITS}, 2).index is None
    settled = settle(target, LOGITS, 2)
    other = LOGITS.flip(2)  # another token is the likeliest now
    assert settled(LOGITS).tolist() == scores
    assert callable(settled)
    assert not torch.equal(settled(other), settled(LOGITS))


def test_a_word_may_be_one_of_the_labels() -> None:
    target = gh.Token("dog")
    assert select(target, LOGITS, 2, ("cat", "dog", "eel", "fox")).scores.tolist() == [9, 21]


def test_each_picture_keeps_the_word_that_it_says() -> None:
    logits = LOGITS.clone()
    logits[1, -1, 0] = 99
    settled = settle(gh.Token(), logits, 2)
    assert callable(settled)
    assert settled(LOGITS).tolist() == [11, 20]


@pytest.mark.parametrize(
    ("target", "output", "error", "told"),
    [
        (gh.Token("cat"), LOGITS, gh.TargetError, r"tokenizer=processor"),
        (gh.Token(7), LOGITS, gh.TargetError, "token 7 is out of range"),
        (gh.Token(position=5), LOGITS, gh.TargetError, "position 5 on, and the output has 3"),
        (gh.Token([1, 2, 3]), LOGITS, gh.TargetError, "3 tokens from position -4 on"),
        (gh.Token(), LOGITS[0], gh.OutputError, r"\(batch, length, vocabulary\)"),
    ],
)
def test_what_is_no_word_is_told(
    target: gh.Token, output: Tensor, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        target(output)


@pytest.mark.parametrize("word", ["", [], 1.5, -1, True])
def test_what_is_no_token_is_told(word: Any) -> None:
    with pytest.raises(gh.TargetError, match=r"Token\(word=\)"):
        gh.Token(word)
    with pytest.raises(gh.TargetError, match=r"Token\(position=\) is a whole number"):
        gh.Token(1, position=1.5)  # type: ignore[arg-type]


VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
IMAGE = 39  # the token that stands for a patch

Speaker = tuple[nn.Module, dict[str, Tensor], str, int]


def given(ids: list[int]) -> dict[str, Tensor]:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([ids])
    return {"input_ids": tokens, "attention_mask": tokens.ne(0).long(), "pixel_values": picture}


def llava() -> Speaker:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=LlamaConfig(**TEXT),
        image_token_id=IMAGE,
        image_token_index=IMAGE,
    )
    ids = [1, *[IMAGE] * 16, 5, 6, 7]
    net = LlavaForConditionalGeneration(config)
    return net, given(ids), "model.vision_tower.encoder.layers.0", 1


def paligemma() -> Speaker:
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    config = PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION},
        text_config={"model_type": "gemma", **TEXT, "head_dim": 8},
        image_token_id=IMAGE,
        projection_dim=16,
    )
    net = PaliGemmaForConditionalGeneration(config)
    return net, given([*[IMAGE] * 16, 1, 5, 6, 7]), "model.vision_tower.encoder.layers.0", 0


def blip() -> Speaker:
    from transformers import BlipConfig, BlipForConditionalGeneration

    text = {name: value for name, value in TEXT.items() if name != "num_key_value_heads"}
    special = {"bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
    config = BlipConfig(
        vision_config=VISION, text_config={**text, **special, "encoder_hidden_size": 16}
    )
    net = BlipForConditionalGeneration(config)
    return net, given([1, 5, 6, 7]), "vision_model.encoder.layers.0", 1


@pytest.mark.filterwarnings("ignore")  # what transformers says of small configurations
@pytest.mark.parametrize("make", [llava, paligemma, blip])
@pytest.mark.parametrize("target", [gh.Token(), gh.Token(5, position=-2), gh.Token([6, 7])])
def test_which_pixels_made_a_model_say_a_word(
    make: Callable[[], Speaker], target: gh.Token
) -> None:
    torch.manual_seed(0)
    net, inputs, layer, prefix = make()
    net.eval()
    result = gh.GradCAM(net, layer)(**inputs, target=target)
    activation, gradient = oracle(net, layer, target, **inputs)
    spatial = [
        one[:, prefix:].transpose(1, 2).unflatten(2, (4, 4)) for one in (activation, gradient)
    ]
    expected = grad_cam(*spatial)
    assert torch.allclose(result.raw, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert result.maps.shape == (1, 32, 32)
