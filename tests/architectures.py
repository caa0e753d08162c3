"""Small models of many libraries: those of transformers from tiny configs, torch's own, and skeletons with the names
of libraries that are no dependency. Nothing is downloaded.

A skeleton holds layers of torch's classes under the names of the library; it has no forward pass.
"""

import itertools
import os
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import Conv2d, Embedding, LayerNorm, Linear, Parameter, RMSNorm

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

WIDTH, INNER, EXPERT, LATENT, LAYERS, EXPERTS, VOCABULARY = 32, 48, 20, 12, 2, 4, 64
"""Different sizes wherever it matters, so that a matrix taken for its transpose is noticed."""

SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "attention_hidden_size"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers",
                     "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads",
                     "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("intermediate_size", "d_ff", "hidden_dim", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner",
                     "ffn_hidden_size", "intermediate_size_mlp"), INNER),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), EXPERT),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), EXPERTS),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
    **dict.fromkeys(("n_group", "n_groups", "topk_group", "first_k_dense_replace"), 1),
    "vocab_size": VOCABULARY, "max_position_embeddings": 24, "n_positions": 24, "head_dim": 8, "d_kv": 8,
    "num_experts_per_tok": 2, "q_lora_rank": LATENT, "kv_lora_rank": 10, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "image_size": 16, "patch_size": 4, "embedding_size": 16, "state_size": 4, "depths": [1, 1],
    "embed_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6,
    "linear_value_head_dim": 5, "d_inner": INNER,
}


def from_transformers(name: str, **changes) -> nn.Module:
    """A model of transformers by its class name, drawn by its own init."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, name)
    sizes = _sizes(model.config_class().to_dict(), getattr(model.config_class, "attribute_map", {}).values())
    return model(model.config_class(**{**sizes, **changes})).eval()


def _sizes(default, mapped=()) -> dict:
    """The small sizes of what a config has, in each of the configs inside it too."""
    sizes = {key: size for key, size in SIZES.items() if (key in default or key in mapped)
             and isinstance(default.get(key), list | tuple) <= isinstance(size, list)}
    inside = {key: value for key, value in default.items() if key.endswith("_config") and isinstance(value, dict)}
    for key, value in inside.items():
        kind = {"model_type": value["model_type"]} if "model_type" in value else {}
        sizes[key] = {**_sizes(value), **kind}
    return sizes


def skeleton(**parts) -> nn.Module:
    """A module that holds each layer or parameter under its dotted name; `#` in a name stands for each layer's number.

    A layer is given as a function that makes it, so that every block has its own.
    """
    torch.manual_seed(0)
    root = nn.Module()
    for name, make in parts.items():
        for number in range(LAYERS if "#" in name else 1):
            *path, last = name.replace("#", str(number)).split(".")
            holder = root
            for part in path:
                if not hasattr(holder, part):
                    holder.add_module(part, nn.Module())
                holder = getattr(holder, part)
            setattr(holder, last, make())
    return root


def linear(into: int, out: int) -> Callable[[], nn.Module]:
    return lambda: Linear(into, out, bias=False)


def bare(*shape: int) -> Callable[[], Parameter]:
    return lambda: Parameter(torch.randn(shape) * 0.02)


def table(rows: int = VOCABULARY) -> Callable[[], nn.Module]:
    return lambda: Embedding(rows, WIDTH)


def norm() -> nn.Module:
    return LayerNorm(WIDTH)


def blocks(prefix: str, **parts) -> dict:
    """Parts of each block of a stack that lies at `prefix`; __ in a name stands for a dot."""
    return {f"{prefix}.#.{name.replace('__', '.')}": make for name, make in parts.items()}


D, F, KV = WIDTH, INNER, WIDTH // 2


def megatron(experts: bool = False) -> nn.Module:
    shared = {"mlp__shared_experts__linear_fc1": linear(D, 2 * EXPERT), "mlp__shared_experts__linear_fc2": linear(EXPERT, D)}
    local = {f"mlp__experts__local_experts__{i}__{name}": make for i in range(EXPERTS)
             for name, make in (("linear_fc1", linear(D, 2 * EXPERT)), ("linear_fc2", linear(EXPERT, D)))}
    mlp = {"mlp__router": linear(D, EXPERTS), **shared, **local} if experts else {
        "mlp__linear_fc1": linear(D, 2 * F), "mlp__linear_fc2": linear(F, D)}
    model = skeleton(**{"embedding.word_embeddings": table()}, **blocks(
        "decoder.layers", input_layernorm=norm, self_attention__linear_qkv=linear(D, D + 2 * KV),
        self_attention__linear_proj=linear(D, D), pre_mlp_layernorm=norm, **mlp),
        **{"decoder.final_layernorm": norm, "output_layer": linear(D, VOCABULARY)})
    return with_config(model, num_attention_heads=4, num_query_groups=2)


class Config:
    """What a config of transformers offers to those who read head counts."""

    def __init__(self, **values) -> None:
        self.values = values

    def to_dict(self) -> dict:
        return self.values


def with_config(model: nn.Module, **values) -> nn.Module:
    model.config = Config(**values)
    return model


def olmo() -> nn.Module:
    return skeleton(**{"transformer.wte": table()}, **blocks(
        "transformer.blocks", attn_norm=norm, att_proj=linear(D, D + 2 * KV), attn_out=linear(D, D), ff_norm=norm,
        ff_proj=linear(D, 2 * F), ff_out=linear(F, D)), **{"transformer.ln_f": norm, "transformer.ff_out": linear(D, VOCABULARY)})


def olmo_core() -> nn.Module:
    return skeleton(embeddings=table(), **blocks(
        "blocks", attention__w_q=linear(D, D), attention__w_k=linear(D, KV), attention__w_v=linear(D, KV),
        attention__w_out=linear(D, D), attention_norm=norm, feed_forward__w1=linear(D, F), feed_forward__w2=linear(F, D),
        feed_forward__w3=linear(D, F), feed_forward_norm=norm), **{"lm_head.norm": norm, "lm_head.w_out": linear(D, VOCABULARY)})


def olmo_core_experts() -> nn.Module:
    stack = "feed_forward_moe__experts__mlp__"
    return skeleton(embeddings=table(), **blocks(
        "blocks", attention__w_q=linear(D, D), attention__w_k=linear(D, KV), attention__w_v=linear(D, KV),
        attention__w_out=linear(D, D), **{f"{stack}w1": bare(EXPERTS, D, EXPERT), f"{stack}w2": bare(EXPERTS, EXPERT, D),
                                          f"{stack}w3": bare(EXPERTS, D, EXPERT)}), **{"lm_head.w_out": linear(D, VOCABULARY)})


def nanochat() -> nn.Module:
    return skeleton(**{"transformer.wte": table(), "value_embeds.1": table()}, **blocks(
        "transformer.h", attn__c_q=linear(D, D), attn__c_k=linear(D, KV), attn__c_v=linear(D, KV), attn__c_proj=linear(D, D),
        attn__ve_gate=linear(D, 2), mlp__c_fc=linear(D, 4 * D), mlp__c_proj=linear(4 * D, D)), lm_head=linear(D, VOCABULARY))


def litgpt(old: bool = False) -> nn.Module:
    fused = "attn__attn" if old else "attn__qkv"
    model = skeleton(**{"transformer.wte": table()}, **blocks(
        "transformer.h", norm_1=norm, norm_2=norm, **{fused: linear(D, D + 2 * KV)}, attn__proj=linear(D, D),
        mlp__fc_1=linear(D, F), mlp__fc_2=linear(D, F), mlp__proj=linear(F, D)),
        **{"transformer.ln_f": norm, "lm_head": linear(D, VOCABULARY)})
    return with_config(model, n_head=4, n_query_groups=2)


def transformer_lens() -> nn.Module:
    return skeleton(**{"embed.W_E": bare(VOCABULARY, D), "pos_embed.W_pos": bare(24, D)}, **blocks(
        "blocks", attn__W_Q=bare(4, D, 8), attn__W_K=bare(4, D, 8), attn__W_V=bare(4, D, 8), attn__W_O=bare(4, 8, D),
        attn__b_Q=bare(4, 8), mlp__W_in=bare(D, F), mlp__W_out=bare(F, D)), **{"unembed.W_U": bare(D, VOCABULARY)})


def vit_pytorch() -> nn.Module:
    return skeleton(pos_embedding=bare(1, 17, D), cls_token=bare(1, 1, D), **{"to_patch_embedding.2": linear(27, D)}, **blocks(
        "transformer.layers", **{"0__norm": norm, "0__to_q": linear(D, D), "0__to_kv": linear(D, 2 * D),
                                 "0__to_out__0": linear(D, D), "1__net__0": norm, "1__net__1": linear(D, F),
                                 "1__net__4": linear(F, D)}), mlp_head=linear(D, 10))


def x_transformers() -> nn.Module:
    halves = {f"attn_layers.layers.{2 * layer}.1": {"to_q": linear(D, D), "to_k": linear(D, D), "to_v": linear(D, D),
                                                   "to_out": linear(D, D)} for layer in range(LAYERS)}
    halves |= {f"attn_layers.layers.{2 * layer + 1}.1": {"ff.0.0": linear(D, F), "ff.2": linear(F, D)}
               for layer in range(LAYERS)}
    parts = {f"{half}.{name}": make for half, held in halves.items() for name, make in held.items()}
    return skeleton(**{"token_emb.emb": table(), "pos_emb.emb": table(24)}, **parts, to_logits=linear(D, VOCABULARY))


def llms_from_scratch() -> nn.Module:
    return skeleton(tok_emb=table(), pos_emb=table(24), **blocks(
        "trf_blocks", att__W_query=linear(D, D), att__W_key=linear(D, D), att__W_value=linear(D, D), att__out_proj=linear(D, D),
        ff__layers__0=linear(D, F), ff__layers__2=linear(F, D), norm1=norm, norm2=norm), final_norm=norm,
        out_head=linear(D, VOCABULARY))


def modded_nanogpt(merged: bool = False) -> nn.Module:
    attention = {"attn__qkvo_w": bare(4 * D, D)} if merged else {"attn__qkv_w": bare(3, D, D), "attn__c_proj": linear(D, D)}
    mlp = {"mlp__c_fc": bare(4 * D, D), "mlp__c_proj": bare(4 * D, D)} if merged else {
        "mlp__c_fc": linear(D, 4 * D), "mlp__c_proj": linear(4 * D, D)}
    return skeleton(embed=table(), **{"value_embeds.0": table()}, **blocks("blocks", **attention, **mlp),
                    lm_head=linear(D, VOCABULARY))


def gpt_oss_original() -> nn.Module:
    return skeleton(embedding=table(), **blocks(
        "block", attn__norm=lambda: RMSNorm(D), attn__qkv=linear(D, D + 2 * KV), attn__out=linear(D, D),
        mlp__norm=lambda: RMSNorm(D), mlp__gate=linear(D, EXPERTS), mlp__mlp1_weight=bare(EXPERTS, 2 * EXPERT, D),
        mlp__mlp1_bias=bare(EXPERTS, 2 * EXPERT), mlp__mlp2_weight=bare(EXPERTS, D, EXPERT), mlp__mlp2_bias=bare(EXPERTS, D)),
        unembedding=linear(D, VOCABULARY))


def megablocks() -> nn.Module:
    return skeleton(**{"transformer.wte": table()}, **blocks(
        "transformer.blocks", norm_attn_norm__attn__Wqkv=linear(D, D + 2 * KV), norm_attn_norm__attn__out_proj=linear(D, D),
        ffn__router__layer=linear(D, EXPERTS), ffn__experts__mlp__w1=bare(EXPERTS * EXPERT, D),
        ffn__experts__mlp__v1=bare(EXPERTS * EXPERT, D), ffn__experts__mlp__w2=bare(EXPERTS * EXPERT, D)),
        lm_head=linear(D, VOCABULARY))


def torchtitan_experts() -> nn.Module:
    return skeleton(tok_embeddings=table(), **blocks(
        "layers", attention__wq=linear(D, D), attention__wk=linear(D, KV), attention__wv=linear(D, KV), attention__wo=linear(D, D),
        moe__router__gate=linear(D, EXPERTS), moe__experts__w1=bare(EXPERTS, EXPERT, D), moe__experts__w2=bare(EXPERTS, D, EXPERT),
        moe__experts__w3=bare(EXPERTS, EXPERT, D)), output=linear(D, VOCABULARY))


def deepseek_original() -> nn.Module:
    experts = {f"ffn__experts__{i}__{name}": make for i in range(EXPERTS)
               for name, make in (("w1", linear(D, EXPERT)), ("w2", linear(EXPERT, D)), ("w3", linear(D, EXPERT)))}
    return skeleton(embed=table(), **blocks(
        "layers", attn__wq_a=linear(D, LATENT), attn__wq_b=linear(LATENT, 48), attn__wkv_a=linear(D, 14), attn__wkv_b=linear(10, 64),
        attn__wo=linear(32, D), ffn__gate=linear(D, EXPERTS), **experts, ffn__shared_experts__w1=linear(D, EXPERT),
        ffn__shared_experts__w2=linear(EXPERT, D)), head=linear(D, VOCABULARY))


def rwkv7() -> nn.Module:
    return skeleton(emb=table(), **blocks(
        "blocks", att__w1=bare(D, 8), att__w2=bare(8, D), att__receptance=linear(D, D), att__key=linear(D, D),
        att__value=linear(D, D), att__output=linear(D, D), ffn__key=linear(D, F), ffn__value=linear(F, D)), head=linear(D, VOCABULARY))


def open_clip() -> nn.Module:
    towers = [blocks(f"{tower}resblocks", ln_1=norm, attn__in_proj_weight=bare(3 * D, D), attn__out_proj=linear(D, D),
                     mlp__c_fc=linear(D, F), mlp__c_proj=linear(F, D)) for tower in ("visual.transformer.", "transformer.")]
    return skeleton(**{"positional_embedding": bare(24, D), "text_projection": bare(D, 24), "visual.class_embedding": bare(D),
                       "visual.positional_embedding": bare(17, D), "visual.proj": bare(D, 24),
                       "visual.conv1": lambda: Conv2d(3, D, 4, 4, bias=False), "token_embedding": table()}, **towers[0], **towers[1])


def adapted() -> nn.Module:
    """A Llama's block under the names that PEFT gives it."""
    attention = {f"self_attn__{name}__{part}": make for name, out in (("q_proj", D), ("v_proj", KV))
                 for part, make in (("base_layer", linear(D, out)), ("lora_A__default", linear(D, 4)),
                                    ("lora_B__default", linear(4, out)))}
    return skeleton(**{"base_model.model.model.embed_tokens": table()}, **blocks(
        "base_model.model.model.layers", **attention, self_attn__k_proj=linear(D, KV), self_attn__o_proj=linear(D, D),
        mlp__gate_proj=linear(D, F), mlp__up_proj=linear(D, F), mlp__down_proj=linear(F, D), input_layernorm=norm),
        **{"base_model.model.lm_head": linear(D, VOCABULARY)})


def timm_vit() -> nn.Module:
    return skeleton(cls_token=bare(1, 1, D), reg_token=bare(1, 4, D), pos_embed=bare(1, 17, D),
                    **{"patch_embed.proj": lambda: Conv2d(3, D, 4, 4)}, **blocks(
        "blocks", norm1=norm, attn__qkv=linear(D, 3 * D), attn__proj=linear(D, D), ls1__gamma=bare(D), norm2=norm,
        mlp__fc1=linear(D, F), mlp__fc2=linear(F, D)), norm=norm, head=linear(D, 10))


def timm_swin() -> nn.Module:
    stages = [blocks(f"layers.{stage}.blocks", norm1=norm, attn__relative_position_bias_table=bare(169, 4),
                     attn__qkv=linear(D, 3 * D), attn__proj=linear(D, D), mlp__fc1=linear(D, F), mlp__fc2=linear(F, D))
              for stage in (0, 1)]
    return skeleton(**{"patch_embed.proj": lambda: Conv2d(3, D, 4, 4)}, **stages[0],
                    **{"layers.1.downsample.reduction": linear(4 * D, D)}, **stages[1], **{"head.fc": linear(D, 10)})


def timm_convnext() -> nn.Module:
    depthwise = partial(Conv2d, D, D, 7, groups=D)
    return skeleton(**{"stem.0": lambda: Conv2d(3, D, 4, 4)}, **blocks(
        "stages.0.blocks", conv_dw=depthwise, norm=norm, mlp__fc1=linear(D, F), mlp__fc2=linear(F, D), gamma=bare(D)),
        **{"head.fc": linear(D, 10)})


def timm_mixer() -> nn.Module:
    return skeleton(**{"stem.proj": lambda: Conv2d(3, D, 4, 4)}, **blocks(
        "blocks", norm1=norm, mlp_tokens__fc1=linear(16, 24), mlp_tokens__fc2=linear(24, 16), norm2=norm,
        mlp_channels__fc1=linear(D, F), mlp_channels__fc2=linear(F, D)), head=linear(D, 10))


def timm_pvt() -> nn.Module:
    return skeleton(**{"patch_embed.proj": lambda: Conv2d(3, D, 7, 4)}, **blocks(
        "stages.0.blocks", attn__q=linear(D, D), attn__kv=linear(D, 2 * D), attn__proj=linear(D, D),
        attn__sr=lambda: Conv2d(D, D, 8), mlp__fc1=linear(D, F), mlp__dwconv=lambda: Conv2d(F, F, 3, groups=F),
        mlp__fc2=linear(F, D)), head=linear(D, 10))


def mlp_mixed() -> nn.Module:
    return nn.Sequential(*itertools.chain.from_iterable((Linear(D, D), nn.ReLU()) for _ in range(3)), Linear(D, 10))


def recurrent(kind: type, **options) -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"embedding": Embedding(VOCABULARY, 16), "rnn": kind(16, D, **options), "fc": Linear(D, 10)})


def torch_transformer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Transformer(D, 4, LAYERS, LAYERS, F, batch_first=True)


def grouped_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Conv2d(3, 16, 3), nn.BatchNorm2d(16), Conv2d(16, 32, 3, groups=4), Conv2d(32, 32, 3, groups=32),
                         nn.Flatten(), Linear(32, 10))


FROM_TRANSFORMERS = (
    "GPT2LMHeadModel GPTNeoXForCausalLM GPTJForCausalLM CodeGenForCausalLM BloomForCausalLM MptForCausalLM OPTForCausalLM "
    "GPTBigCodeForCausalLM LlamaForCausalLM MistralForCausalLM Qwen2ForCausalLM Qwen3ForCausalLM Phi3ForCausalLM "
    "StableLmForCausalLM Starcoder2ForCausalLM NemotronForCausalLM GemmaForCausalLM Gemma2ForCausalLM Olmo2ForCausalLM "
    "CohereForCausalLM MixtralForCausalLM Qwen2MoeForCausalLM Qwen3MoeForCausalLM OlmoeForCausalLM DeepseekV2ForCausalLM "
    "DeepseekV3ForCausalLM GptOssForCausalLM Llama4ForCausalLM GraniteMoeForCausalLM MiniCPM3ForCausalLM "
    "MambaForCausalLM FalconMambaForCausalLM RwkvForCausalLM Qwen3NextForCausalLM RecurrentGemmaForCausalLM "
    "BertForMaskedLM RobertaForSequenceClassification DistilBertForMaskedLM AlbertForMaskedLM ElectraForPreTraining "
    "DebertaForMaskedLM DebertaV2ForMaskedLM ModernBertForMaskedLM XLNetLMHeadModel T5ForConditionalGeneration "
    "BartForConditionalGeneration MarianMTModel SwitchTransformersForConditionalGeneration WhisperForConditionalGeneration "
    "Wav2Vec2ForCTC CLIPModel SiglipModel ViTForImageClassification BeitForImageClassification Dinov2ForImageClassification "
    "SwinForImageClassification ResNetForImageClassification").split()
CHANGES = {
    "CodeGenForCausalLM": {"rotary_dim": 4}, "GPTJForCausalLM": {"rotary_dim": 4},
    "SwinForImageClassification": {"num_heads": [2, 4], "window_size": 4},
    "ResNetForImageClassification": {"embedding_size": 8, "hidden_sizes": [8, 16], "layer_type": "basic"},
    "Wav2Vec2ForCTC": {"conv_dim": [8, 8], "conv_kernel": [4, 3], "conv_stride": [2, 2], "num_feat_extract_layers": 2,
                       "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
    "WhisperForConditionalGeneration": {"max_source_positions": 20, "max_target_positions": 20},
}
VARIANTS = {
    "Falcon, new": partial(from_transformers, "FalconForCausalLM", new_decoder_architecture=True),
    "Falcon, multi-query": partial(from_transformers, "FalconForCausalLM", multi_query=True),
    "GPTBigCode, multi-head": partial(from_transformers, "GPTBigCodeForCausalLM", multi_query=False),
    "Mamba2": partial(from_transformers, "Mamba2ForCausalLM", num_heads=8, head_dim=8, expand=2),
    "ConvNeXt": partial(from_transformers, "ConvNextForImageClassification", depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16]),
}
SKELETONS = {
    "Megatron-core": megatron, "Megatron-core, experts": partial(megatron, experts=True), "OLMo": olmo, "OLMo-core": olmo_core,
    "OLMo-core, experts": olmo_core_experts, "nanochat": nanochat, "LitGPT": litgpt, "LitGPT, old": partial(litgpt, old=True),
    "TransformerLens": transformer_lens, "vit-pytorch": vit_pytorch, "x-transformers": x_transformers,
    "LLMs-from-scratch": llms_from_scratch, "modded-nanogpt": modded_nanogpt,
    "modded-nanogpt, merged": partial(modded_nanogpt, merged=True), "gpt-oss, original": gpt_oss_original,
    "MegaBlocks": megablocks, "torchtitan, experts": torchtitan_experts, "DeepSeek, original": deepseek_original,
    "RWKV-7": rwkv7, "open_clip": open_clip, "PEFT LoRA": adapted, "timm ViT": timm_vit, "timm Swin": timm_swin,
    "timm ConvNeXt": timm_convnext, "timm MLP-Mixer": timm_mixer, "timm PVT v2": timm_pvt,
}
TORCH = {
    "nn.Transformer": torch_transformer, "nn.MultiheadAttention": lambda: nn.MultiheadAttention(D, 4),
    "nn.MultiheadAttention, kdim": lambda: nn.MultiheadAttention(D, 4, kdim=16, vdim=24),
    "nn.LSTM": partial(recurrent, nn.LSTM, num_layers=2, bidirectional=True),
    "nn.LSTM, projected": partial(recurrent, nn.LSTM, proj_size=8),
    "nn.GRU": partial(recurrent, nn.GRU), "nn.RNN": partial(recurrent, nn.RNN), "MLP": mlp_mixed, "CNN, grouped": grouped_cnn,
}
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(from_transformers, name, **CHANGES.get(name, {})) for name in FROM_TRANSFORMERS},
    **VARIANTS, **SKELETONS, **TORCH,
}
"""Name -> makes the model, the same one each time."""
