"""Small models drawn as other people's code draws them, written again with torch.nn.init; each says whose.

A right one is drawn without a fault. WRONG holds faults that were reported, each with what it does to a
model.
"""

import copy
import math

import torch
from torch import nn

from networks import CNN, NanoGPT, mlp, transformer


class Block(nn.Module):
    """Llama's block by torchtitan's and OLMo-core's names; with `fused` by nanoGPT's."""

    def __init__(self, width):
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        sizes = {"wq": (width, width), "wk": (width, width), "wv": (width, width), "wo": (width, width)}
        self.attention = nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})
        wide = {"w1": (width, 3 * width), "w2": (3 * width, width), "w3": (width, 3 * width)}
        self.feed_forward = nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in wide.items()})


class Titan(nn.Module):
    """A Llama by torchtitan's names, at PyTorch's defaults."""

    def __init__(self, width=64, layers=3):
        super().__init__()
        self.tok_embeddings = nn.Embedding(211, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.output = nn.RMSNorm(width), nn.Linear(width, 211, bias=False)


class ChatBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = nn.ModuleDict({name: nn.Linear(width, width, bias=False)
                                   for name in ("c_q", "c_k", "c_v", "c_proj")})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width, bias=False),
                                  "c_proj": nn.Linear(4 * width, width, bias=False)})


class Chat(nn.Module):
    """nanochat's names."""

    def __init__(self, width=64, layers=2):
        super().__init__()
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(211, width),
                                          "h": nn.ModuleList(ChatBlock(width) for _ in range(layers))})
        self.lm_head = nn.Linear(width, 211, bias=False)


def seeded(build):
    """The builder with torch's global stream started at `seed`."""
    def made(seed=0):
        torch.manual_seed(seed)
        with torch.no_grad():
            return build()
    return made


def nanogpt():
    return NanoGPT(width=64, layers=3, seed=int(torch.randint(2**31, ())))


def titan():
    model = Titan()
    nn.init.normal_(model.tok_embeddings.weight)
    for i, block in enumerate(model.layers):
        for name, layer in [*block.attention.items(), *block.feed_forward.items()]:
            plain = name in ("wq", "wk", "wv", "w1")
            nn.init.trunc_normal_(layer.weight, std=0.02 if plain else 0.02 / math.sqrt(2 * (i + 1)))
    _cut(model.output.weight, 64**-0.5)
    return model


def _cut(weight, std):
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)


def mitchell():
    model = Titan()
    _cut(model.tok_embeddings.weight, 64**-0.5)
    _cut(model.output.weight, 64**-0.5)
    for i, block in enumerate(model.layers):
        for name in ("wq", "wk", "wv"):
            _cut(block.attention[name].weight, 64**-0.5)
        _cut(block.attention["wo"].weight, 1 / math.sqrt(2 * 64 * (i + 1)))
        _cut(block.feed_forward["w1"].weight, 64**-0.5)
        _cut(block.feed_forward["w3"].weight, 64**-0.5)
        _cut(block.feed_forward["w2"].weight, 1 / math.sqrt(2 * 3 * 64 * (i + 1)))
    return model


def core_fan_in():
    model = Titan()
    nn.init.normal_(model.tok_embeddings.weight)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            _cut(layer.weight, layer.in_features**-0.5)
    return model


def everywhere(std):
    def build():
        model = Titan()
        for parameter in model.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=std)
        return model
    return build


def neox():
    model = everywhere(math.sqrt(2 / (5 * 64)))()
    for block in model.get_submodule("layers").children():
        for weight in (block.attention["wo"].weight, block.feed_forward["w2"].weight):
            nn.init.normal_(weight, std=2 / 3 / math.sqrt(64))
    return model


def nanochat():
    model = Chat()
    nn.init.normal_(model.transformer["wte"].weight, std=0.8)
    nn.init.normal_(model.lm_head.weight, std=0.001)
    bound = math.sqrt(3 / 64)
    for block in model.transformer["h"].children():
        for name in ("c_q", "c_k", "c_v"):
            nn.init.uniform_(block.attn[name].weight, -bound, bound)
        nn.init.uniform_(block.mlp["c_fc"].weight, -0.4 * bound, 0.4 * bound)
        nn.init.zeros_(block.attn["c_proj"].weight)
        nn.init.zeros_(block.mlp["c_proj"].weight)
    return model


def bert_of_google():
    model = Titan()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
    return model


def keras_mlp():
    model = mlp(seed=int(torch.randint(2**31, ())))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def mup_zeros():
    model = mlp((64, 128, 128, 10), seed=int(torch.randint(2**31, ())))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            gain = min(1.0, math.sqrt(layer.out_features / layer.in_features))
            nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
    nn.init.zeros_(model[-1].weight)
    return model


def torch_layers():
    """Three layers of torch's own transformer, each made anew."""
    layers = [nn.TransformerEncoderLayer(64, 4, 128, batch_first=True) for _ in range(3)]
    return nn.ModuleDict({"embedding": nn.Embedding(100, 64), "layers": nn.ModuleList(layers),
                          "head": nn.Linear(64, 10)})


def rnn():
    return nn.ModuleDict({"embedding": nn.Embedding(100, 32), "rnn": nn.LSTM(32, 48, 2, batch_first=True),
                          "head": nn.Linear(48, 100)})


def of_transformers(family, **changes):
    return lambda: transformer(family, width=64, layers=3, seed=int(torch.randint(2**31, ())), **changes)


RIGHT = {
    "gpt2 of nanoGPT": (nanogpt, "gpt2"),  # karpathy/nanoGPT model.py
    "gpt2 of transformers": (of_transformers("gpt2"), "gpt2"),
    "llama of transformers": (of_transformers("llama"), "llama"),
    "neox of transformers": (of_transformers("gpt_neox"), "transformers"),
    "bert of transformers": (of_transformers("bert"), "bert"),
    "vit of transformers": (of_transformers("vit"), "vit"),
    "torchtitan": (titan, "torchtitan"),  # torchtitan/models/llama3/__init__.py
    "olmo mitchell": (mitchell, "olmo_mitchell"),  # allenai/OLMo olmo/model.py
    "olmo-core fan_in": (core_fan_in, "olmo_core_fan_in"),  # olmo_core/nn/transformer/init.py
    "neox": (neox, "neox"),  # megatron/model/init_functions.py, small_init and wang_init
    "deepseek": (everywhere(0.006), "deepseek"),  # arXiv 2412.19437
    "nanochat": (nanochat, "nanochat"),  # karpathy/nanochat nanochat/gpt.py
    "bert of Google": (bert_of_google, "bert_original"),  # google-research/bert modeling.py
    "keras": (keras_mlp, "keras"),  # keras/src/layers
    "mup zeros": (mup_zeros, "mup_zeros"),  # microsoft/mup README
    "torch layers": (torch_layers, "pytorch"), "torch rnn": (rnn, "pytorch"),
    "torch mlp": (lambda: mlp(seed=int(torch.randint(2**31, ()))), "pytorch"),
    "torch cnn": (lambda: CNN(seed=int(torch.randint(2**31, ()))), "pytorch"),
}
"""Name -> how the model is made, and the recipe that it follows. Auto accepts each of them, too."""
RIGHT = {name: (seeded(build), recipe) for name, (build, recipe) in RIGHT.items()}


def changed(build, change):
    def made():
        model = build()
        change(model)
        return model
    return seeded(made)


def _all(ending, change):
    def on(model):
        found = [parameter for name, parameter in model.named_parameters() if name.endswith(ending)]
        assert found, ending
        for parameter in found:
            change(parameter)
    return on


def _rank_one(weight):
    weight.copy_(torch.randn(len(weight), 1) @ torch.randn(1, weight.shape[1]) * 0.02)


def _signs(weight):
    weight.copy_(0.02 * torch.randn_like(weight).sign())


def _same_layers(model):
    model.layers[1].load_state_dict(model.layers[0].state_dict())


def gpt_at_defaults():
    model = nanogpt()
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def cloned_layers():
    """pytorch 86274, 72253, 120396: nn.TransformerEncoder deep-copies the layer that it is given."""
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    return nn.ModuleDict({"embedding": nn.Embedding(100, 64), "encoder": nn.TransformerEncoder(layer, 3)})


def gemma():
    import transformers

    config = transformers.GemmaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=16,
                                      num_key_value_heads=2, intermediate_size=128, vocab_size=101)
    return transformers.GemmaForCausalLM(config)


def mixtral():
    import transformers

    config = transformers.MixtralConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                                        num_key_value_heads=2, intermediate_size=128, vocab_size=101,
                                        num_local_experts=4)
    return transformers.MixtralForCausalLM(config)


def unscaled(model):
    """transformers 47458: c_proj kept .02."""
    _all("c_proj.weight", lambda weight: nn.init.normal_(weight, std=0.02))(model)


def trained_start(model):
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.randn_like(parameter))


gpt2_of_transformers = of_transformers("gpt2")
llama = of_transformers("llama")
WRONG = {
    "std 1.0 everywhere": (seeded(everywhere(1.0)), "std x"),
    "an MLP of std 1.0": (changed(keras_mlp, _all("weight", nn.init.normal_)), "std x"),
    "residual projections not scaled (transformers 47458)":
        (changed(gpt2_of_transformers, unscaled), "without the residual scaling"),
    "the same without a config": (changed(nanogpt, unscaled), "without the residual scaling"),
    "init never ran (litgpt 759)": (seeded(gpt_at_defaults), "PyTorch's default left in place"),
    "init never ran, a Llama": (seeded(Titan), "PyTorch's default left in place"),
    "layers are copies (pytorch 86274)": (seeded(cloned_layers), "the same numbers as"),
    "two layers hold the same numbers": (changed(titan, _same_layers), "the same numbers as"),
    "rank 1": (changed(titan, _all("0.attention.wq.weight", _rank_one)), "rank 1 of"),
    "only +s and -s": (changed(titan, _all("0.attention.wq.weight", _signs)), "only +0.02 and -0.02"),
    "norms of 0 (llm-foundry 1745)": (changed(llama, _all("norm.weight", nn.init.zeros_)),
                                      "all zero: expected all 1"),
    "norms of 1e-30": (changed(llama, _all("norm.weight", lambda w: w.fill_(1e-30))), "expected all 1"),
    "norms of 1e4": (changed(llama, _all("norm.weight", lambda w: w.fill_(1e4))),
                     "constant 10000: expected all 1"),
    "norms random around 0": (changed(llama, _all("norm.weight", nn.init.normal_)), "expected all 1"),
    "Gemma's norms at 1 (Automodel 1527)":
        (changed(gemma, _all("norm.weight", nn.init.ones_)), "constant 1: expected all 0"),
    "biases of 1e6": (changed(nanogpt, _all("c_fc.bias", lambda b: b.fill_(1e6))),
                      "constant 1e+06: expected all 0"),
    "biases of 1e6 in an MLP": (changed(keras_mlp, _all("bias", lambda b: b.fill_(1e6))), "1e+06"),
    "biases at PyTorch's default": (changed(nanogpt, _all("c_fc.bias", lambda b: b.uniform_(-0.1, 0.1))),
                                    "expected all 0"),
    "experts x 25": (changed(mixtral, _all("experts.down_proj", lambda w: w.mul_(25))), "std x2"),
    "one expert zero": (changed(mixtral, _all("0.mlp.experts.down_proj", lambda w: w[2].zero_())),
                        "all zero"),
    "a layer all zero": (changed(llama, _all("0.mlp.up_proj.weight", nn.init.zeros_)), "all zero"),
    "values NaN": (changed(llama, _all("0.mlp.up_proj.weight", lambda w: w[0].fill_(math.nan))),
                   "values NaN"),
    "xavier over fused q, k and v":
        (changed(nanogpt, _all("c_attn.weight", nn.init.xavier_uniform_)),
         "xavier of the whole fused tensor"),
    "cut at two std": (changed(nanogpt,
                               _all("c_fc.weight", lambda w: nn.init.trunc_normal_(w, 0, .02, -.04, .04))),
                       "cut at two std"),
    "uniform where normal is meant":
        (changed(nanogpt, _all("c_fc.weight", lambda w: w.uniform_(-.02 * 3**.5, .02 * 3**.5))),
         "flatter than normal"),
    "B of LoRA not 0": (None, "expected all 0"),
    "a trained model": (changed(llama, trained_start), "expected all 1"),
}
"""Name of the fault -> how the faulty model is made, and words of its alarm."""


class Adapted(nn.Module):
    """A linear layer under PEFT's names."""

    def __init__(self, layer, rank):
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(layer.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, layer.out_features, bias=False)})


def adapted():
    """A Llama with LoRA as PEFT draws it: A Kaiming uniform with a = sqrt(5), B zero."""
    model = llama()
    for block in model.model.layers:
        attention = block.self_attn
        for name in ("q_proj", "v_proj"):
            layer = Adapted(getattr(attention, name), 8)
            nn.init.kaiming_uniform_(layer.lora_A["default"].weight, a=math.sqrt(5))
            nn.init.zeros_(layer.lora_B["default"].weight)
            setattr(attention, name, layer)
    return model


RIGHT["lora of PEFT"] = (seeded(adapted), "lora")  # peft/tuners/lora/layer.py
WRONG["B of LoRA not 0"] = (changed(adapted,
                                    _all("lora_B.default.weight", lambda w: nn.init.normal_(w, std=.02))),
                            "expected all 0")


def copy_of(model):
    """The same numbers in memory of its own."""
    return copy.deepcopy(model)
