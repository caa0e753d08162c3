"""The built-in recipes, each as the mapping that a user's file would hold (see recipe.py), with its source.

What the schemes of the study give is in weights.schemes; a recipe with `scheme` adds what the scheme leaves
open. "cut" in a comment means that torch's trunc_normal_ cuts at +-2 and not at two std: at a std of .02 it
cuts nothing.
"""

from typing import Any

DENSE, GPT2, TORCH, BLOCKS = KINDS = ("dense", "gpt2", "torch", "blocks")
"""Kinds of networks for `auto`: without blocks; with GPT-2's names; made of torch.nn's own transformer
layers; with other blocks.
"""

LINEAR = "uniform(1 / sqrt(3 * fan_in))"
"""What a layer of PyTorch draws, weight and bias: U(-b, b) with b = 1 / sqrt(fan_in)."""
XAVIER = "uniform(sqrt(2 / (fan_in + fan_out)))"
XAVIER_QKV = "uniform(sqrt(2 / (fan_in + 3 * fan_out)))"
"""Xavier of q, k and v fused as one matrix, for each of the three."""
OPEN_BIAS: dict[str, Any] = {"bias": ["zero", LINEAR]}
"""Who names a scheme for weights may leave biases to PyTorch."""
LECUN = "fan_in ** -.5 / .8796256610342398"
"""lecun_normal_ of transformers: the std is corrected for a cut at two std, but nothing is cut."""
NEOX = "sqrt(2 / (5 * d_model))"
TRANSFORMERS = "https://github.com/huggingface/transformers"
MODELS = f"{TRANSFORMERS}/blob/main/src/transformers/models"


def _scheme(name: str, source: str, *auto: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "scheme": name, "auto": auto, **OPEN_BIAS, **more}


SCHEME_RECIPES: dict[str, dict[str, Any]] = {
    "normal": _scheme("normal", "one std for every matrix", DENSE, TORCH, BLOCKS),
    "lecun": _scheme("lecun", "LeCun et al. 1998, Efficient BackProp", *KINDS),
    "xavier": _scheme("xavier", "Glorot and Bengio 2010, AISTATS; torch.nn.init.xavier_normal_", *KINDS),
    "xavier_sqrt2": _scheme("xavier_sqrt2", "a control for Kaiming, of the study"),
    "kaiming": _scheme("kaiming", "He et al. 2015, arXiv 1502.01852", *KINDS),
    "kaiming_fan_out": _scheme("kaiming_fan_out", "He et al. 2015, arXiv 1502.01852", *KINDS),
    "torch_default": _scheme("torch_default", "torch.nn.Linear.reset_parameters, with a std for embeddings",
                             embeddings=["std", "1"], **{".*in_proj_weight": [LINEAR, XAVIER_QKV]}),
    "orthogonal": _scheme("orthogonal", "Saxe et al. 2014, arXiv 1312.6120; gain sqrt 2", *KINDS),
    "gpt2": {"source": f"{MODELS}/gpt2/modeling_gpt2.py; https://github.com/karpathy/nanoGPT model.py; "
                       "Radford et al. 2019, section 2.3",
             "scheme": "gpt2", "auto": (GPT2, TORCH, BLOCKS),
             "families": ("gpt2", "gpt_bigcode", "imagegpt")},
    "small": _scheme("small", "Nguyen and Salazar 2019, arXiv 1910.05895", *KINDS),
    "ds_init": _scheme("ds_init", "Zhang, Titov and Sennrich 2019, arXiv 1908.11365", *KINDS),
    "lir": _scheme("lir", "Owen et al. 2025, arXiv 2503.17500", *KINDS),
    "mup": _scheme("mup", "Yang et al. 2023, arXiv 2310.17813, the spectral condition", *KINDS),
}

LIBRARY: dict[str, dict[str, Any]] = {
    "pytorch": {
        "source": "https://github.com/pytorch/pytorch torch/nn/modules: linear.py, conv.py, sparse.py, "
                  "rnn.py, activation.py, each reset_parameters",
        "auto": (DENSE, TORCH), "matrices": LINEAR, "embedding, position": 1, "token, bias_table": "any",
        "input_gates, recurrent_gates": "uniform(1 / sqrt(3 * fan_out))",
        r"bias_(ih|hh)_l\d+(_reverse)?": "uniform(1 / sqrt(3 * fan_out))",
        ".*in_proj_weight": XAVIER_QKV, ".*[qkv]_proj_weight": XAVIER,
        ".*in_proj_bias": "zero", "bias": [LINEAR, "zero"],
        r"(\w*attn|attention)\.out_proj\.bias": ["zero", LINEAR]},
    "torch_transformer": {
        "source": "https://github.com/pytorch/pytorch torch/nn/modules/transformer.py, "
                  "Transformer._reset_parameters",
        "like": "pytorch", "auto": (TORCH,), "matrices": XAVIER},
    "resnet": {
        "source": f"{MODELS}/resnet/modeling_resnet.py; https://github.com/pytorch/vision "
                  "torchvision/models/resnet.py",
        "auto": (DENSE,), "families": ("resnet",), "conv, patch, hidden": "sqrt(2 / fan_out)",
        "readout": LINEAR, "bias": [LINEAR, "zero"]},
    "keras": {
        "source": "https://github.com/keras-team/keras keras/src/layers: glorot_uniform kernels, zeros "
                  "biases, RandomUniform(-.05, .05) embeddings, orthogonal recurrent kernels",
        "auto": (DENSE,), "matrices": "uniform(sqrt(2 / (fan_in + fan_out)))",
        "recurrent_gates": "any", "embeddings": "between(-.05, .05)"},
    "transformers": {
        "source": f"{TRANSFORMERS}/blob/main/src/transformers/modeling_utils.py, "
                  "PreTrainedModel._init_weights",
        "matrices, embeddings": "std", "mask_token": ["std", "zero"],
        r".*act_fn\.(alpha_[pn]|beta|eps)": "any",
        "families": (
            "apertus", "arcee", "bart", "biogpt", "bitnet", "blenderbot", "blenderbot-small", "bloom",
            "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5", "ernie4_5_moe",
            "exaone4", "falcon",
            "flex_olmo", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "gpt_neo",
            "gpt_neox", "gpt_neox_japanese", "gptj", "granite", "granitemoe", "helium", "hunyuan_v1_dense",
            "jetmoe", "mbart", "mixtral", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "opt",
            "persimmon", "phi", "phi3", "phimoe", "plbart", "qwen2_moe", "qwen3_moe", "seed_oss", "smollm3",
            "stablelm", "starcoder2", "trocr", "vaultgemma", "xglm")},
    "llama": {
        "source": f"{MODELS}/llama/modeling_llama.py, by PreTrainedModel._init_weights",
        "like": "transformers",
        "families": ("llama", "mistral", "ministral", "qwen2", "qwen3")},
    "neox": {
        "source": "https://github.com/EleutherAI/gpt-neox megatron/model/init_functions.py: small_init, and "
                  "wang_init for output layers; configs of Pythia",
        "auto": (BLOCKS, GPT2), "matrices, embeddings": NEOX, "residual": "2 / depth / sqrt(d_model)"},
    "bert": {
        "source": f"{MODELS}/bert/modeling_bert.py, by PreTrainedModel._init_weights", "like": "transformers",
        "families": ("albert", "bert", "bert-generation", "camembert", "deberta", "deberta-v2",
                     "distilbert", "electra", "ernie", "layoutlm", "longformer", "megatron-bert", "mpnet",
                     "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "splinter",
                     "squeezebert", "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso"),
        "position": ["std", "any"]},
    "bert_original": {
        "source": "https://github.com/google-research/bert modeling.py, create_initializer: a truncated "
                  "normal of std .02, whose values have .88 of it",
        "matrices, embeddings": "truncated(std, 2)", "auto": (BLOCKS,)},
    "deepseek": {
        "source": "arXiv 2412.19437, section 4.2: all learnable parameters by a std of .006",
        "matrices, embeddings": ".006", "auto": (BLOCKS,)},
    "gpt_oss": {
        "source": f"{MODELS}/gpt_oss/modeling_gpt_oss.py", "like": "transformers", "families": ("gpt_oss",),
        "sinks": "normal(std)", r"router\.bias": "normal(std)"},
    "qwen3_next": {
        "source": f"{MODELS}/qwen3_next/modeling_qwen3_next.py", "like": "transformers",
        "families": ("qwen3_next",), "A_log": "any", "dt_bias": "one"},
    "t5": {
        "source": f"{MODELS}/t5/modeling_t5.py; https://github.com/tensorflow/mesh",
        "values": {"initializer_factor": 1, "d_kv": 64}, "families": ("t5", "mt5"), "auto": (BLOCKS,),
        "matrices": "initializer_factor * fan_in ** -.5", "bias_table": "initializer_factor * d_model ** -.5",
        "q": "initializer_factor * (fan_in * d_kv) ** -.5", "embedding, readout": "initializer_factor",
        "norm": "constant(initializer_factor)"},
    "clip": {
        "source": f"{MODELS}/clip/modeling_clip.py",
        "values": {"initializer_factor": 1}, "auto": (BLOCKS,),
        "families": ("clip", "clip_text_model", "clip_vision_model"),
        "q, k, v": "initializer_factor * fan_in ** -.5 * (2 * depth) ** -.5",
        "attn_out": "initializer_factor * fan_in ** -.5",
        "mlp_in": "initializer_factor * (2 * fan_in) ** -.5",
        "mlp_out": "initializer_factor * fan_out ** -.5 * (2 * depth) ** -.5",
        "embedding, position": ".02 * initializer_factor", "patch": "std * initializer_factor",
        "hidden, readout": "initializer_factor * fan_in ** -.5",
        "class_embedding": "normal(initializer_factor * fan_out ** -.5)", "logit_scale": "constant(2.6592)"},
    "open_clip": {
        "source": "https://github.com/mlfoundations/open_clip src/open_clip/transformer.py, "
                  "TextTransformer.init_parameters and VisionTransformer; as https://github.com/openai/CLIP",
        "auto": (TORCH, BLOCKS), r"visual\..*in_proj_weight": XAVIER_QKV,
        r"visual\..*(c_fc|c_proj|out_proj|conv1)\.weight": LINEAR,
        r"visual\.proj": "fan_in ** -.5", r"visual\.(class|positional)_embedding": "normal(fan_out ** -.5)",
        r".*(in_proj_bias|out_proj\.bias)": "zero", r".*(c_fc|c_proj)\.bias": LINEAR,
        "q, k, v": "fan_in ** -.5", "attn_out": "fan_in ** -.5 * (2 * depth) ** -.5",
        "mlp_in": "(2 * fan_in) ** -.5", "mlp_out": "fan_out ** -.5 * (2 * depth) ** -.5",
        "embedding": ".02", "position": ".01", "hidden, readout": "fan_in ** -.5",
        "text_projection": "fan_in ** -.5", "logit_scale": ["constant(2.6592600)", "any"]},
    "siglip": {
        "source": f"{MODELS}/siglip/modeling_siglip.py",
        "families": ("siglip", "siglip_text_model", "siglip_vision_model"),
        "q, k, v, attn_out, mlp_in, mlp_out": "uniform(sqrt(2 / (fan_in + fan_out)))",
        ".*in_proj_weight": XAVIER_QKV, r".*out_proj\.weight": ["uniform(sqrt(2 / (fan_in + fan_out)))",
                                                               LECUN],
        "hidden, readout, patch": LECUN,
        "embedding, position": "normal(fan_out ** -.5)", "token": "any",
        r".*fc[12]\.bias": "normal(1e-6)", "logit_scale": "zero", "logit_bias": "zero"},
    "vit": {
        "source": f"{MODELS}/vit/modeling_vit.py", "like": "transformers",
        "families": ("vit", "dinov2", "dinov2_with_registers"),
        "values": {"layerscale_value": 1}, "lambda1": "constant(layerscale_value)",
        "token": ["std", "zero"]},
    "deit": {
        "source": f"{MODELS}/deit/modeling_deit.py", "like": "vit", "families": ("deit",),
        "position": "zero"},
    "vit_timm": {
        "source": "https://github.com/huggingface/pytorch-image-models timm/models/vision_transformer.py, "
                  "init_weights_vit_timm and VisionTransformer.init_weights",
        "auto": (BLOCKS,), "matrices": ".02", "readout": [".02", "zero"], "patch": LINEAR,
        r"patch_embed\.proj\.bias": LINEAR, "position": ".02", "token": "normal(1e-6)", "scale": "any"},
    "swin": {
        "source": f"{MODELS}/swin/modeling_swin.py", "like": "transformers", "families": ("swin", "swinv2"),
        "position, bias_table": ["zero", "std"], "mask_token": "zero"},
    "whisper": {
        "source": f"{MODELS}/whisper/modeling_whisper.py", "like": "transformers", "families": ("whisper",),
        r".*encoder\.embed_positions": "any"},
    "sinusoids": {
        "source": f"{MODELS}/marian/modeling_marian.py and pegasus: positions are sinusoids, which are not "
                  "drawn",
        "like": "transformers", "families": ("marian", "pegasus"), "position": "any"},
    "modernbert": {
        "source": f"{MODELS}/modernbert/modeling_modernbert.py", "families": ("modernbert",),
        "values": {"initializer_cutoff_factor": 2},
        "matrices, embeddings": "truncated(std, initializer_cutoff_factor)",
        "residual, hidden": "truncated(std / sqrt(2 * num_hidden_layers), initializer_cutoff_factor)",
        r".*decoder\.weight": "truncated(std / sqrt(2 * num_hidden_layers), initializer_cutoff_factor)",
        r".*classifier\.weight": "truncated(d_model ** -.5, initializer_cutoff_factor)"},
    "mamba": {
        "source": f"{MODELS}/mamba/modeling_mamba.py; https://github.com/state-spaces/mamba",
        "families": ("mamba", "falcon_mamba", "mamba2"), "like": "transformers",
        "conv, mixer_out": LINEAR, r".*conv1d\.weight": LINEAR, "A_log": "any", "D": "one", "dt_bias": "any",
        r".*dt_proj\.weight": "any", r".*dt_proj\.bias": "any"},
    "torchtitan": {
        "source": "https://github.com/pytorch/torchtitan torchtitan/models/llama3/__init__.py and "
                  "deepseek_v3: depth_scaled_std from the first layer on; the output is cut at 3 std (x.986)",
        "auto": (BLOCKS,), "matrices": ".02", "w3|up_proj|w3_EFD": ".02 / sqrt(2 * layer)",
        "router": [".02 / sqrt(2 * layer)", ".02"],
        "residual": ".02 / sqrt(2 * layer)", "embedding": 1, "readout": "truncated(d_model ** -.5, 3)"},
    "olmo_mitchell": {
        "source": "https://github.com/allenai/OLMo olmo/model.py, InitFnType.mitchell; cut at 3 std",
        "auto": (BLOCKS,), "matrices, embeddings": "truncated(1 / sqrt(d_model), 3)",
        "attn_out": "truncated(1 / sqrt(2 * d_model * layer), 3)",
        "mlp_out": "truncated(1 / sqrt(2 * fan_in * layer), 3)"},
    "olmo_core": {
        "source": "https://github.com/allenai/OLMo-core src/olmo_core/nn/transformer/init.py, "
                  "InitMethod.normal",
        "auto": (BLOCKS,), "matrices, embeddings": "truncated(.02, 3)"},
    "olmo_core_fan_in": {
        "source": "https://github.com/allenai/OLMo-core src/olmo_core/nn/transformer/init.py, "
                  "InitMethod.fan_in",
        "auto": (BLOCKS,), "matrices": "truncated(fan_in ** -.5, 3)", "embedding": 1,
        "readout": "truncated(d_model ** -.5, 3)"},
    "nanochat": {
        "source": "https://github.com/karpathy/nanochat nanochat/gpt.py, GPT.init_weights (both of its "
                  "times)",
        "auto": (BLOCKS, GPT2), "embedding": [".8", "1"], "readout": ".001",
        "q, k, v": "uniform(1 / sqrt(d_model))", "residual": "zero",
        "mlp_in": ["uniform(.4 / sqrt(d_model))", "uniform(1 / sqrt(d_model))"],
        r"value_embeds\..*": "uniform(1 / sqrt(d_model))",
        r".*(smear|ve)_gate": ["between(0, .02)", "zero"],
        "resid_lambdas|x0_lambdas|smear_lambda|backout_lambda": "any"},
    "mup_zeros": {
        "source": "https://github.com/microsoft/mup README: zero readout and query weights, "
                  "arXiv 2203.03466, appendix D.2",
        "like": "mup", "auto": KINDS, "readout, q": "zero"},
    "lora": {
        "source": "https://github.com/huggingface/peft src/peft/tuners/lora/layer.py, reset_lora_parameters; "
                  "arXiv 2106.09685: A uniform, B 0; the weights that are adapted are not judged",
        "matrices, embeddings, norm, bias, scale, other": "any", "lora_a": LINEAR, "lora_b": "zero",
        r".*lora_embedding_A.*": "zero", r".*lora_embedding_B.*": "normal(1)"},
}

BUILT_IN: dict[str, dict[str, Any]] = {**SCHEME_RECIPES, **LIBRARY}
"""Name -> the recipe."""
