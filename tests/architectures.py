"""Small models of many libraries: those of transformers from tiny configs, torch's own, and skeletons.

Nothing is downloaded.
"""

import os
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import Conv2d, Embedding, Linear

from skeletons import LAYERS, TEXTS, VOCABULARY, WIDTH, skeleton

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

INNER, EXPERT, LATENT, EXPERTS = 48, 20, 12, 4
"""Sizes that differ, so that a matrix taken for its transpose is noticed."""

SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "attention_hidden_size"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers",
                     "decoder_layers", "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads",
                     "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("intermediate_size", "d_ff", "hidden_dim", "ffn_dim", "encoder_ffn_dim",
                     "decoder_ffn_dim", "n_inner", "ffn_hidden_size", "intermediate_size_mlp"), INNER),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), EXPERT),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), EXPERTS),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
    **dict.fromkeys(("n_group", "n_groups", "topk_group", "first_k_dense_replace"), 1),
    "vocab_size": VOCABULARY, "max_position_embeddings": 24, "n_positions": 24, "head_dim": 8, "d_kv": 8,
    "num_experts_per_tok": 2, "q_lora_rank": LATENT, "kv_lora_rank": 10, "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8, "v_head_dim": 8, "image_size": 16, "patch_size": 4, "embedding_size": 16,
    "state_size": 4, "depths": [1, 1], "embed_dim": 16, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 6, "linear_value_head_dim": 5, "d_inner": INNER,
}


def from_transformers(name: str, **changes) -> nn.Module:
    """A model of transformers by its class name, drawn by its own init."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, name)
    sizes = _sizes(model.config_class().to_dict(), getattr(model.config_class, "attribute_map", {}).values())
    return model(model.config_class(**{**sizes, "attn_implementation": "eager", **changes})).eval()


def _sizes(default, mapped=()) -> dict:
    """The small sizes of what a config has, in each of the configs inside it too."""
    sizes = {key: size for key, size in SIZES.items() if (key in default or key in mapped)
             and isinstance(default.get(key), list | tuple) <= isinstance(size, list)}
    inside = {key: value for key, value in default.items()
              if key.endswith("_config") and isinstance(value, dict)}
    for key, value in inside.items():
        kind = {"model_type": value["model_type"]} if "model_type" in value else {}
        sizes[key] = {**_sizes(value), **kind}
    return sizes


def mlp() -> nn.Module:
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(*layers, Linear(WIDTH, 10))


def recurrent(kind: type, **options) -> nn.Module:
    torch.manual_seed(0)
    width = options.get("proj_size", WIDTH) * (1 + options.get("bidirectional", False))
    rnn = kind(16, WIDTH, **options)
    return nn.ModuleDict({"embedding": Embedding(VOCABULARY, 16), "rnn": rnn, "fc": Linear(width, 10)})


def of_torch(kind: type, *sizes: int, **options) -> nn.Module:
    torch.manual_seed(0)
    return kind(*sizes, **options)


def grouped_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Conv2d(3, 16, 3), nn.BatchNorm2d(16), Conv2d(16, 32, 3, groups=4),
                         Conv2d(32, 32, 3, groups=32), nn.Flatten(), Linear(32, 10))


FROM_TRANSFORMERS = (
    "GPT2LMHeadModel", "GPTNeoXForCausalLM", "GPTJForCausalLM", "CodeGenForCausalLM", "BloomForCausalLM",
    "MptForCausalLM", "OPTForCausalLM", "GPTBigCodeForCausalLM", "LlamaForCausalLM", "MistralForCausalLM",
    "Qwen2ForCausalLM", "Qwen3ForCausalLM", "Phi3ForCausalLM", "StableLmForCausalLM",
    "Starcoder2ForCausalLM", "NemotronForCausalLM", "GemmaForCausalLM", "Gemma2ForCausalLM",
    "Olmo2ForCausalLM", "CohereForCausalLM", "MixtralForCausalLM", "Qwen2MoeForCausalLM",
    "Qwen3MoeForCausalLM", "OlmoeForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM",
    "GptOssForCausalLM", "Llama4ForCausalLM", "GraniteMoeForCausalLM", "MiniCPM3ForCausalLM",
    "MambaForCausalLM", "FalconMambaForCausalLM", "RwkvForCausalLM", "Qwen3NextForCausalLM",
    "RecurrentGemmaForCausalLM", "BertForMaskedLM", "RobertaForSequenceClassification",
    "DistilBertForMaskedLM", "AlbertForMaskedLM", "ElectraForPreTraining", "DebertaForMaskedLM",
    "DebertaV2ForMaskedLM", "ModernBertForMaskedLM", "XLNetLMHeadModel", "T5ForConditionalGeneration",
    "BartForConditionalGeneration", "MarianMTModel", "SwitchTransformersForConditionalGeneration",
    "WhisperForConditionalGeneration", "Wav2Vec2ForCTC", "CLIPModel", "SiglipModel",
    "ViTForImageClassification", "BeitForImageClassification", "Dinov2ForImageClassification",
    "SwinForImageClassification", "ResNetForImageClassification",
)
_MLA = {"num_key_value_heads": 4, "head_dim": 4}
CHANGES = {
    "CodeGenForCausalLM": {"rotary_dim": 4}, "GPTJForCausalLM": {"rotary_dim": 4},
    "DeepseekV2ForCausalLM": _MLA, "DeepseekV3ForCausalLM": _MLA,
    "MiniCPM3ForCausalLM": {"num_key_value_heads": 4},
    "SwinForImageClassification": {"num_heads": [2, 4], "window_size": 4},
    "ResNetForImageClassification": {"embedding_size": 8, "hidden_sizes": [8, 16], "layer_type": "basic"},
    "Wav2Vec2ForCTC": {"conv_dim": [8, 8], "conv_kernel": [4, 3], "conv_stride": [2, 2],
                       "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8,
                       "num_conv_pos_embedding_groups": 2},
    "WhisperForConditionalGeneration": {"max_source_positions": 20, "max_target_positions": 20},
}
"""Class of transformers -> what its config needs beside SIZES."""
VARIANTS = {
    "Falcon, new": partial(from_transformers, "FalconForCausalLM", new_decoder_architecture=True),
    "Falcon, multi-query": partial(from_transformers, "FalconForCausalLM", multi_query=True),
    "GPTBigCode, multi-head": partial(from_transformers, "GPTBigCodeForCausalLM", multi_query=False),
    "Mamba2": partial(from_transformers, "Mamba2ForCausalLM", num_heads=8, head_dim=8, expand=2),
    "ConvNeXt": partial(from_transformers, "ConvNextForImageClassification", depths=[1, 1, 1, 1],
                        hidden_sizes=[8, 8, 16, 16]),
}
SKELETONS = {name: partial(skeleton, name) for name in TEXTS}
TORCH = {
    "nn.Transformer": partial(of_torch, nn.Transformer, WIDTH, 4, LAYERS, LAYERS, INNER, batch_first=True),
    "nn.MultiheadAttention": partial(of_torch, nn.MultiheadAttention, WIDTH, 4),
    "nn.MultiheadAttention, kdim": partial(of_torch, nn.MultiheadAttention, WIDTH, 4, kdim=16, vdim=24),
    "nn.LSTM": partial(recurrent, nn.LSTM, num_layers=2, bidirectional=True),
    "nn.LSTM, projected": partial(recurrent, nn.LSTM, proj_size=8),
    "nn.GRU": partial(recurrent, nn.GRU), "nn.RNN": partial(recurrent, nn.RNN), "MLP": mlp,
    "CNN, grouped": grouped_cnn,
}
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(from_transformers, name, **CHANGES.get(name, {})) for name in FROM_TRANSFORMERS},
    **VARIANTS, **SKELETONS, **TORCH,
}
"""Name -> makes the model, the same one each time."""
