"""Tiny networks of many kinds, each initialised by its own library's code or by torch's defaults."""

import itertools
import math
import os

import torch
from torch import nn

from variance_dynamics.roles.find_roles import find_roles
from variance_dynamics.weights.parameter import TABLES
from variance_dynamics.weights.schemes import SCHEMES, scaled_normal

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

FAMILIES = ("gpt2", "gpt_neox", "llama", "mistral", "bert", "vit")
USUAL = {"gpt2": "gpt2", "gpt_neox": "transformers", "llama": "llama", "mistral": "llama", "bert": "bert",
         "vit": "vit"}
"""The recipe by which transformers draws each family."""


def transformer(family, width=32, layers=2, seed=0, **changes):
    """A transformers model from its config, drawn by transformers' own init; nothing is downloaded."""
    import transformers

    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4,
             "intermediate_size": 2 * width, "attn_implementation": "eager"}
    text = {**sizes, "vocab_size": 101, "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 0}
    made = {
        "gpt2": ("GPT2Config", "GPT2LMHeadModel",
                 {"n_embd": width, "n_layer": layers, "n_head": 4, "vocab_size": 101, "n_positions": 24,
                  "bos_token_id": 0, "eos_token_id": 0, "attn_implementation": "eager"}),
        "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", text),
        "llama": ("LlamaConfig", "LlamaForCausalLM", {**text, "num_key_value_heads": 2}),
        "mistral": ("MistralConfig", "MistralForCausalLM", {**text, "num_key_value_heads": 2}),
        "bert": ("BertConfig", "BertForMaskedLM", text),
        "vit": ("ViTConfig", "ViTForImageClassification",
                {**sizes, "image_size": 16, "patch_size": 4, "num_labels": 10}),
    }
    config, model, values = made[family]
    values = {**values, **changes}
    return getattr(transformers, model)(getattr(transformers, config)(**values)).eval()


class NanoBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})


class NanoGPT(nn.Module):
    """nanoGPT's names and init: fused Linear c_attn, a tied head. Only the parameters matter here."""

    def __init__(self, width=32, layers=2, seed=0):
        torch.manual_seed(seed)
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(101, width), "wpe": nn.Embedding(24, width),
            "h": nn.ModuleList(NanoBlock(width) for _ in range(layers)), "ln_f": nn.LayerNorm(width)})
        self.lm_head = nn.Linear(width, 101, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight
        for name, parameter in self.named_parameters():
            residual = math.sqrt(2 * layers) if name.endswith("c_proj.weight") else 1.0
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02 / residual)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


def mlp(sizes=(64, 128, 128, 10), seed=0):
    """Linear and ReLU, at torch's defaults."""
    torch.manual_seed(seed)
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes[:-1])]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class CNN(nn.Module):
    """Convolutions with batch norm, at torch's defaults."""

    def __init__(self, width=32, seed=0):
        torch.manual_seed(seed)
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, 2 * width, 3, stride=2), nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width, 10)


def shapes(model):
    """Names and shapes of a model's parameters."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def drawn(model, recipe, seed, std=0.02):
    """`model` drawn anew by a scheme, slice by slice."""
    config = model.config.to_dict() if hasattr(model, "config") else None
    generator = torch.Generator().manual_seed(seed)
    scheme = SCHEMES[recipe]
    for piece in find_roles(shapes(model), config).pieces:
        view = piece.of(model.get_parameter(piece.tensor).data)
        z = torch.randn(math.prod(piece.shape), generator=generator).view(view.shape)
        sample = scaled_normal if piece.parameter.role in TABLES else scheme.sample
        view.copy_(sample(z, scheme.std(piece.parameter, std)))
    return model
