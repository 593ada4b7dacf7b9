"""Series and sound of transformers' library, and trained networks, whose layers' axes are known."""

from __future__ import annotations

import torch
import transformers
from torch import nn

from tests.support.light import Net
from tests.support.light_parts import normal

_SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
_SERIES = {"num_input_channels": 6, "context_length": 96, "patch_length": 8, "patch_stride": 8}


def _patch_tst() -> nn.Module:
    config = transformers.PatchTSTConfig(
        d_model=24, num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, **_SERIES
    )
    return transformers.PatchTSTModel(config)


def _patch_mixer() -> nn.Module:
    return transformers.PatchTSMixerModel(
        transformers.PatchTSMixerConfig(d_model=24, num_layers=2, **_SERIES)
    )


def _wav2vec() -> nn.Module:
    config = transformers.Wav2Vec2Config(
        conv_dim=(16, 16, 16), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3),
        num_feat_extract_layers=3, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        **_SMALL,
    )  # fmt: skip
    return transformers.Wav2Vec2Model(config)


def _whisper() -> nn.Module:
    config = transformers.WhisperConfig(
        d_model=24, encoder_layers=2, encoder_attention_heads=2, decoder_layers=1,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=20,
        max_source_positions=40, vocab_size=60, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    return transformers.WhisperModel(config).encoder


def _words(count: int = 18) -> list[torch.Tensor]:
    return [torch.randint(3, 60, (2, count)), torch.ones(2, count, dtype=torch.long)]


def _bert() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(vocab_size=60, **_SMALL))


def _gpt2() -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=60, n_embd=24, n_layer=2, n_head=2, n_positions=40, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    return transformers.GPT2Model(config)


def _perceiver() -> nn.Module:
    config = transformers.PerceiverConfig(
        num_latents=12, d_latents=24, d_model=24, num_blocks=1, num_self_attends_per_block=1,
        num_self_attention_heads=2, num_cross_attention_heads=2,
    )  # fmt: skip
    return transformers.PerceiverModel(config)


def _speech_bert() -> nn.Module:
    config = transformers.Wav2Vec2BertConfig(feature_projection_input_dim=20, **_SMALL)
    return transformers.Wav2Vec2BertModel(config)


LIBRARY_SERIES = [
    Net(
        "patchtst", _patch_tst, normal((2, 96, 6)), "b t c",
        {
            "encoder.layers.0": ["b c t -"], "encoder.layers.1.self_attn.q_proj": ["(b c=6) t -"],
            "encoder.layers.1.ff": ["(b c=6) t -"],
        },
    ),
    Net(
        "mixer of patches", _patch_mixer, normal((2, 96, 6)), "b t c",
        {"encoder.mlp_mixer_encoder.mixers.1": ["b c t -"]},
    ),
    Net(
        "wav2vec", _wav2vec, normal((2, 800)), "b t",
        {
            "feature_extractor.conv_layers.0.conv": ["b - t"],
            "feature_projection.projection": ["b t -"], "encoder.layers.1": ["b t -"],
        },
    ),
    Net(
        "whisper", _whisper, normal((2, 20, 80)), "b f t",
        {"conv1": ["b - t"], "layers.1": ["b t -"]},
    ),
    Net("bert", _bert, _words, "b t, B T", {"encoder.layer.1": ["b t -"]},
        names=("input_ids", "attention_mask")),
    Net(
        "gpt2", _gpt2, lambda: _words()[:1], "b t",
        {"h.0": ["b t -"], "h.1.attn.c_attn": ["b t -"]},
    ),
    Net("perceiver", _perceiver, normal((2, 40, 24)), "b t c",
        {"encoder.self_attends.0": ["b - -"]}),
    Net("bert of speech", _speech_bert, normal((2, 50, 20)), "b t c",
        {"encoder.layers.0": ["b t -"]}),
]  # fmt: skip
