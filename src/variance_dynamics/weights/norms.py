"""Where the weight of a norm starts: at 1, or at 0 where the norm multiplies by 1 + weight.

By the class of the norm where there is a live module, else by the model_type of a Hugging Face config.
Source: the norms of transformers 5 whose forward pass reads 1 + weight and whose weight starts at zeros.
"""

import re

ZERO_CENTRED = frozenset((
    "GemmaRMSNorm", "Gemma2RMSNorm", "Gemma3RMSNorm", "RecurrentGemmaRMSNorm", "T5GemmaRMSNorm",
    "T5Gemma2RMSNorm", "VaultGemmaRMSNorm", "Qwen3NextRMSNorm", "Qwen3_5RMSNorm", "Qwen3_5MoeRMSNorm",
    "MiniMaxM3VLRMSNorm", "Step3p7RMSNorm", "Qwen4ExpTextRMSNorm", "MuseGlimmerTextCenteredRMSNorm",
    "MuseSparkTextCenteredRMSNorm", "MuseSparkTextInputScaledRMSNorm"))
MODEL_TYPES = re.compile(r"(recurrent_|pali|vault|t5)?gemma2?$|(t5)?gemma[23](_text)?$|colpali$|shieldgemma2$"
                         r"|qwen3_(next|5)\w*$|minimax_m3\w*$|step3p7\w*$|qwen4_exp\w*$")
OTHERS = re.compile(r"(^|\.)vision|linear_attn\.norm")
"""Norms in such models that do start at 1: those of a vision tower, and gated ones."""


def norm_start(name: str, module: str = "", model_type: str = "") -> float:
    """The value at which the norm weight `name` starts; `module` is the class name of the norm, if known.

    >>> norm_start("model.norm.weight", module="GemmaRMSNorm"), norm_start("model.norm.weight")
    (0.0, 1.0)
    """
    if module:
        return 0.0 if module in ZERO_CENTRED else 1.0
    return 0.0 if MODEL_TYPES.match(model_type) and not OTHERS.search(name) else 1.0
