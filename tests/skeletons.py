"""Modules with the names of libraries that are no dependency, as tests/architectures.py uses them.

A skeleton holds layers of torch's classes under the library's names, and has no forward pass. It is written
as text: groups with `|` between them, each a module, a colon and its parts; `#` is the number of each of two
blocks. A part is `name kind`. The kind is `table` or `tableN` (an embedding of 64 or N rows), `norm`, `32>48`
(a linear layer), `conv3>32/4` (a convolution with a kernel of 4, `*8` for 8 groups) or `3,32,32` (a bare
parameter).
"""

import re

import torch
from torch import nn
from torch.nn import Conv2d, Embedding, LayerNorm, Linear, Parameter

WIDTH, LAYERS, VOCABULARY = 32, 2, 64
CONV = re.compile(r"conv(\d+)>(\d+)/(\d+)(?:\*(\d+))?")

_EXPERTS = ", ".join(f"ffn.experts.{i}.w1 32>20, ffn.experts.{i}.w2 20>32, ffn.experts.{i}.w3 32>20"
                     for i in range(4))
_LOCAL = ", ".join(f"{module}.linear_fc1 32>40, {module}.linear_fc2 20>32"
                   for module in (f"mlp.experts.local_experts.{i}" for i in range(4)))
_ATTENTION = "attention.w_q 32>32, attention.w_k 32>16, attention.w_v 32>16, attention.w_out 32>32"
_CLIP = "ln_1 norm, attn.in_proj_weight 96,32, attn.out_proj 32>32, mlp.c_fc 32>48, mlp.c_proj 48>32"
_SWIN = ("norm1 norm, attn.relative_position_bias_table 169,4, attn.qkv 32>96, attn.proj 32>32, "
         "mlp.fc1 32>48, mlp.fc2 48>32")

TEXTS = {
    "Megatron-core":
        "embedding: word_embeddings table | decoder.layers.#: input_layernorm norm, "
        "self_attention.linear_qkv 32>64, self_attention.linear_proj 32>32, mlp.linear_fc1 32>96, "
        "mlp.linear_fc2 48>32 | decoder: final_layernorm norm | : output_layer 32>64",
    "Megatron-core, experts":
        "embedding: word_embeddings table | decoder.layers.#: self_attention.linear_qkv 32>64, "
        "self_attention.linear_proj 32>32, mlp.router 32>4, mlp.shared_experts.linear_fc1 32>40, "
        f"mlp.shared_experts.linear_fc2 20>32, {_LOCAL} | : output_layer 32>64",
    "OLMo":
        "transformer: wte table | transformer.blocks.#: attn_norm norm, att_proj 32>64, attn_out 32>32, "
        "ff_norm norm, ff_proj 32>96, ff_out 48>32 | transformer: ln_f norm, ff_out 32>64",
    "OLMo-core":
        f": embeddings table | blocks.#: {_ATTENTION}, attention_norm norm, feed_forward.w1 32>48, "
        "feed_forward.w2 48>32, feed_forward.w3 32>48, feed_forward_norm norm | lm_head: norm norm, "
        "w_out 32>64",
    "OLMo-core, experts":
        f": embeddings table | blocks.#: {_ATTENTION}, feed_forward_moe.router.weight 128, "
        "feed_forward_moe.experts.mlp.w1 4,32,20, feed_forward_moe.experts.mlp.w2 4,20,32, "
        "feed_forward_moe.experts.mlp.w3 4,32,20 | lm_head: w_out 32>64",
    "nanochat":
        "transformer: wte table | value_embeds: 1 table | transformer.h.#: attn.c_q 32>32, attn.c_k "
        "32>16, attn.c_v 32>16, attn.c_proj 32>32, attn.ve_gate 32>2, mlp.c_fc 32>128, mlp.c_proj "
        "128>32 | : lm_head 32>64",
    "LitGPT":
        "transformer: wte table | transformer.h.#: norm_1 norm, norm_2 norm, attn.qkv 32>64, attn.proj "
        "32>32, mlp.fc_1 32>48, mlp.fc_2 32>48, mlp.proj 48>32 | transformer: ln_f norm | : lm_head "
        "32>64",
    "LitGPT, old":
        "transformer: wte table | transformer.h.#: norm_1 norm, attn.attn 32>64, attn.proj 32>32, "
        "mlp.fc 32>48, mlp.proj 48>32 | : lm_head 32>64",
    "LitGPT, experts":
        "transformer: wte table | transformer.h.#: attn.qkv 32>64, attn.proj 32>32, mlp.gate 32>4, "
        "mlp.experts.0.fc_1 32>20, mlp.experts.0.fc_2 32>20, mlp.experts.0.proj 20>32 | : lm_head 32>64",
    "TransformerLens":
        "embed: W_E 64,32 | pos_embed: W_pos 24,32 | blocks.#: attn.W_Q 4,32,8, attn.W_K 4,32,8, "
        "attn.W_V 4,32,8, attn.W_O 4,8,32, attn.b_Q 4,8, mlp.W_in 32,48, mlp.W_out 48,32 | unembed: W_U "
        "32,64",
    "vit-pytorch":
        ": pos_embedding 1,17,32, cls_token 1,1,32 | to_patch_embedding: 2 27>32 | "
        "transformer.layers.#: 0.norm norm, 0.to_q 32>32, 0.to_kv 32>64, 0.to_out.0 32>32, 1.net.0 "
        "norm, 1.net.1 32>48, 1.net.4 48>32 | : mlp_head 32>10",
    "x-transformers":
        "token_emb: emb table | pos_emb: emb table24 | attn_layers.layers.0.1: to_q 32>32, to_k 32>32, "
        "to_v 32>32, to_out 32>32 | attn_layers.layers.1.1: ff.0.0 32>48, ff.2 48>32 | "
        "attn_layers.layers.2.1: to_q 32>32, to_k 32>32, to_v 32>32, to_out 32>32 | "
        "attn_layers.layers.3.1: ff.0.0 32>48, ff.2 48>32 | : to_logits 32>64",
    "LLMs-from-scratch":
        ": tok_emb table, pos_emb table24 | trf_blocks.#: att.W_query 32>32, att.W_key 32>32, "
        "att.W_value 32>32, att.out_proj 32>32, ff.layers.0 32>48, ff.layers.2 48>32, norm1 norm, norm2 "
        "norm | : final_norm norm, out_head 32>64",
    "modded-nanogpt":
        ": embed table | value_embeds: 0 table | blocks.#: attn.qkv_w 3,32,32, attn.c_proj 32>32, "
        "mlp.c_fc 32>128, mlp.c_proj 128>32 | : lm_head 32>64",
    "modded-nanogpt, merged":
        ": embed table | blocks.#: attn.qkvo_w 128,32, mlp.c_fc 128,32, mlp.c_proj 128,32 | : lm_head "
        "32>64",
    "gpt-oss, original":
        ": embedding table | block.#: attn.norm norm, attn.qkv 32>64, attn.out 32>32, mlp.norm norm, "
        "mlp.gate 32>4, mlp.mlp1_weight 4,40,32, mlp.mlp1_bias 4,40, mlp.mlp2_weight 4,32,20, "
        "mlp.mlp2_bias 4,32 | : unembedding 32>64",
    "MegaBlocks":
        "transformer: wte table | transformer.blocks.#: norm_attn_norm.attn.Wqkv 32>64, "
        "norm_attn_norm.attn.out_proj 32>32, ffn.router.layer 32>4, ffn.experts.mlp.w1 80,32, "
        "ffn.experts.mlp.v1 80,32, ffn.experts.mlp.w2 80,32 | : lm_head 32>64",
    "torchtitan, experts":
        ": tok_embeddings table | layers.#: attention.wq 32>32, attention.wk 32>16, attention.wv 32>16, "
        "attention.wo 32>32, moe.router.gate 32>4, moe.experts.w1 4,20,32, moe.experts.w2 4,32,20, "
        "moe.experts.w3 4,20,32 | : output 32>64",
    "DeepSeek, original":
        ": embed table | layers.#: attn.wq_a 32>12, attn.wq_b 12>48, attn.wkv_a 32>14, attn.wkv_b "
        f"10>64, attn.wo 32>32, ffn.gate 32>4, {_EXPERTS}, ffn.shared_experts.w1 32>20, "
        "ffn.shared_experts.w2 20>32 | : head 32>64",
    "RWKV-7":
        ": emb table | blocks.#: att.w1 32,8, att.w2 8,32, att.receptance 32>32, att.key 32>32, "
        "att.value 32>32, att.output 32>32, ffn.key 32>48, ffn.value 48>32 | : head 32>64",
    "open_clip":
        ": positional_embedding 24,32, text_projection 32,24, token_embedding table | visual: "
        "class_embedding 32, positional_embedding 17,32, proj 32,24, conv1 conv3>32/4 | "
        f"visual.transformer.resblocks.#: {_CLIP} | transformer.resblocks.#: {_CLIP}",
    "PEFT LoRA":
        "base_model.model.model: embed_tokens table | base_model.model.model.layers.#: "
        "self_attn.q_proj.base_layer 32>32, self_attn.q_proj.lora_A.default 32>4, "
        "self_attn.q_proj.lora_B.default 4>32, self_attn.k_proj 32>16, self_attn.v_proj.base_layer "
        "32>16, self_attn.v_proj.lora_A.default 32>4, self_attn.v_proj.lora_B.default 4>16, "
        "self_attn.o_proj 32>32, mlp.gate_proj 32>48, mlp.up_proj 32>48, mlp.down_proj 48>32, "
        "input_layernorm norm | base_model.model: lm_head 32>64",
    "timm ViT":
        ": cls_token 1,1,32, reg_token 1,4,32, pos_embed 1,17,32 | patch_embed: proj conv3>32/4 | "
        "blocks.#: norm1 norm, attn.qkv 32>96, attn.proj 32>32, ls1.gamma 32, norm2 norm, mlp.fc1 "
        "32>48, mlp.fc2 48>32 | : norm norm, head 32>10",
    "timm Swin":
        f"patch_embed: proj conv3>32/4 | layers.0.blocks.#: {_SWIN} | layers.1.downsample: reduction "
        f"128>32 | layers.1.blocks.#: {_SWIN} | head: fc 32>10",
    "timm ConvNeXt":
        "stem: 0 conv3>32/4 | stages.0.blocks.#: conv_dw conv32>32/7*32, norm norm, mlp.fc1 32>48, "
        "mlp.fc2 48>32, gamma 32 | head: fc 32>10",
    "timm MLP-Mixer":
        "stem: proj conv3>32/4 | blocks.#: norm1 norm, mlp_tokens.fc1 16>24, mlp_tokens.fc2 24>16, "
        "norm2 norm, mlp_channels.fc1 32>48, mlp_channels.fc2 48>32 | : head 32>10",
    "timm PVT v2":
        "patch_embed: proj conv3>32/7 | stages.0.blocks.#: attn.q 32>32, attn.kv 32>64, attn.proj "
        "32>32, attn.sr conv32>32/4, mlp.fc1 32>48, mlp.dwconv conv48>48/3*48, mlp.fc2 48>32 | : head "
        "32>10",
    "timm gMLP":
        "stem: proj conv3>32/4 | blocks.#: norm norm, mlp_channels.fc1 32>96, mlp_channels.fc2 48>32 | "
        ": head 32>10",
}
CONFIGS = {"Megatron-core": {"num_attention_heads": 4, "num_query_groups": 2},
           "Megatron-core, experts": {"num_attention_heads": 4, "num_query_groups": 2},
           "LitGPT, old": {"n_head": 4, "n_query_groups": 2}}
"""What a config says, where names and shapes do not."""


class Config:
    """What a config of transformers offers to those who read head counts."""

    def __init__(self, values: dict) -> None:
        self.values = values

    def to_dict(self) -> dict:
        return self.values


def skeleton(name: str) -> nn.Module:
    """The module of that library, the same one each time."""
    torch.manual_seed(0)
    root = nn.Module()
    for group in TEXTS[name].split("|"):
        prefix, _, parts = group.partition(":")
        for number in range(LAYERS if "#" in prefix else 1):
            for part in re.split(r",\s", parts):
                path, kind = part.split()
                whole = ".".join(filter(None, (prefix.strip().replace("#", str(number)), path)))
                _put(root, whole.split("."), made(kind))
    if name in CONFIGS:
        root.config = Config(CONFIGS[name])
    return root


def _put(root: nn.Module, path: list[str], part: nn.Module | Parameter) -> None:
    for name in path[:-1]:
        if not hasattr(root, name):
            root.add_module(name, nn.Module())
        root = getattr(root, name)
    setattr(root, path[-1], part)


def made(kind: str) -> nn.Module | Parameter:
    """A layer or a parameter by its text."""
    convolution = CONV.fullmatch(kind)
    if convolution:
        into, out, kernel, groups = (int(number or 1) for number in convolution.groups())
        return Conv2d(into, out, kernel, groups=groups)
    if kind.startswith("table"):
        return Embedding(int(kind.removeprefix("table") or VOCABULARY), WIDTH)
    if ">" in kind:
        into, out = map(int, kind.split(">"))
        return Linear(into, out, bias=False)
    return LayerNorm(WIDTH) if kind == "norm" else Parameter(torch.randn(*map(int, kind.split(","))) * 0.02)
