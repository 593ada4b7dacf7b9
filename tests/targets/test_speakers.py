"""A word of models that see tiles, cells or several pictures: the map is the oracle's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
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
TEXT = {"vocab_size": 40, **SIZES, "num_key_value_heads": 2, "max_position_embeddings": 128}
IMAGE = 39  # the token that stands for a patch
WORD = gh.Token(7)
BLOCK = "model.vision_tower.encoder.layers.0"

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers says of small configurations


def pictures(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def close(raw: object, expected: Tensor) -> None:
    assert isinstance(raw, Tensor)
    assert expected.any()
    assert torch.allclose(raw, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def llava(kind: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vision_config=transformers.CLIPVisionConfig(**SIZES, image_size=16, patch_size=4),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        **options,
    )
    made: nn.Module = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    return made.eval()


def test_two_images_in_one_text_share_its_word() -> None:
    net = llava("Llava")
    ids = torch.tensor([[1, *[IMAGE] * 16, 5, *[IMAGE] * 16, 6]])
    inputs = {"input_ids": ids, "pixel_values": pictures(2, 3, 16, 16)}
    result = gh.GradCAM(net, BLOCK)(**inputs, target=lambda out: WORD(out).expand(2) / 2)
    spatial = [
        one[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
        for one in oracle(net, BLOCK, WORD, **inputs)
    ]
    close(result.raw, grad_cam(*spatial))


def test_the_words_layers_hold_the_image_among_words() -> None:
    net, layer = llava("Llava"), "model.language_model.layers.0"
    ids = torch.tensor([[1, 2, *[IMAGE] * 16, 5, 6, 8]])
    inputs = {"input_ids": ids, "pixel_values": pictures(1, 3, 16, 16)}
    result = gh.GradCAM(net, layer, layout="b 2+(h=4 w=4)+3 c")(**inputs, target=WORD)
    spatial = [
        one[:, 2:18].transpose(1, 2).unflatten(2, (4, 4))
        for one in oracle(net, layer, WORD, **inputs)
    ]
    close(result.raw, grad_cam(*spatial))


def test_a_picture_in_tiles_has_a_map_for_each() -> None:
    net = llava("LlavaNext", image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]])
    ids = torch.tensor([[1, *[IMAGE] * 56, 5, 6]])
    inputs = {
        "input_ids": ids,
        "pixel_values": pictures(1, 3, 3, 16, 16),
        "image_sizes": torch.tensor([[32, 16]]),
    }
    result = gh.GradCAM(net, BLOCK)(**inputs, target=WORD)
    spatial = [
        one[:, 1:].unflatten(1, (4, 4)).permute(3, 0, 1, 2)[None]
        for one in oracle(net, BLOCK, WORD, **inputs)
    ]
    close(result.raw, grad_cam(*spatial))
    assert result.maps.shape == (1, 3, 16, 16)


def qwen(kind: str) -> nn.Module:
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    own = {
        "Qwen2VL": {"embed_dim": 16, "mlp_ratio": 2},
        "Qwen2_5_VL": {
            "out_hidden_size": 16,
            "intermediate_size": 32,
            "window_size": 64,
            "fullatt_block_indexes": [1],
        },
    }[kind]
    config = getattr(transformers, f"{kind}Config")(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config={"depth": 2, "hidden_size": 16, "num_heads": 2, "patch_size": 4, **own},
        image_token_id=IMAGE,
    )
    made: nn.Module = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    return made.eval()


class OnPicture(nn.Module):
    """Cuts one picture into the patches of Qwen's processor, one at a time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, picture: Tensor, **words: Tensor) -> Any:
        grid = torch.tensor([[1, picture.shape[2] // 4, picture.shape[3] // 4]])
        return self.model(pixel_values=patches(picture), image_grid_thw=grid, **words)


def patches(picture: Tensor) -> Tensor:
    rows, columns = picture.shape[2] // 4, picture.shape[3] // 4
    cut = []
    for top in range(0, rows, 2):
        for left in range(0, columns, 2):
            for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
                y, x = 4 * (top + row), 4 * (left + column)
                cut.append(picture[0, :, None, y : y + 4, x : x + 4].expand(3, 2, 4, 4).flatten())
    return torch.stack(cut)


def cells(tokens: Tensor) -> Tensor:
    """Patches cell by cell, ``(24, channels)``, in the plane of 4x6."""
    plane = torch.empty(1, tokens.shape[1], 4, 6)
    for number, token in enumerate(tokens):
        cell, inside = divmod(number, 4)
        plane[0, :, 2 * (cell // 3) + inside // 2, 2 * (cell % 3) + inside % 2] = token
    return plane


@pytest.mark.parametrize("kind", ["Qwen2VL", "Qwen2_5_VL"])
def test_a_picture_that_is_cut_inside_is_explained_in_the_plane(kind: str) -> None:
    net = OnPicture(qwen(kind))
    ids = torch.tensor([[1, *[IMAGE] * 6, 5, 6]])
    words = {"input_ids": ids, "mm_token_type_ids": (ids == IMAGE).int()}
    picture = pictures(1, 3, 16, 24)

    layer = "model.model.visual.blocks.0"
    cam = gh.GradCAM(net, layer, layout="(b h1 w1 h2=2 w2=2) c")
    result = cam(picture, **words, target=WORD)
    activation, gradient = oracle(net, layer, WORD, picture, **words)
    close(result.raw, grad_cam(cells(activation), cells(gradient)))
    assert result.maps.shape == (1, 16, 24)

    layer = "model.model.language_model.layers.0"
    result = gh.GradCAM(net, layer, layout="b 1+(h w)+2 c")(picture, **words, target=WORD)
    spatial = [
        one[:, 1:7].transpose(1, 2).unflatten(2, (2, 3))
        for one in oracle(net, layer, WORD, picture, **words)
    ]
    close(result.raw, grad_cam(*spatial))


def test_patches_in_rows_are_refused_with_the_way_out() -> None:
    net = qwen("Qwen2VL")
    given = {
        "input_ids": torch.tensor([[1, *[IMAGE] * 6, 5, 6]]),
        "pixel_values": patches(pictures(1, 3, 16, 24)),
        "image_grid_thw": torch.tensor([[1, 4, 6]]),
    }
    with pytest.raises(gh.InputError, match=r"24 patches in rows.*\[\[1, 4, 6\]\].*docs/kinds\.md"):
        gh.GradCAM(net)(**given, target=WORD)
