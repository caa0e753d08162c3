"""Weights that are stored as small numbers with scales beside them: neither of the two is the weights.

Names as written by bitsandbytes, GPTQ and AWQ, compressed-tensors, DeepSeek's fp8 and the MXFP4 of GPT-OSS.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from variance_dynamics.auditing.tensors import Checkpoint

SCALES = re.compile(r"^(?P<base>.+?)(_scale_inv|_scale_2|_scales?|_scb|_global_scale|"
                    r"[.](SCB|scales|absmax|quant_map|nested_absmax|nested_quant_map))$")
"""A tensor of scales, and what its name says they are the scales of."""
WITH_SCALES = ("{}", "{}.weight", "{}.qweight", "{}_packed", "{}_blocks")
"""Names that the scaled tensor may have."""
FP8 = ("F8_E4M3", "F8_E5M2")


def without_quantised(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without the scales of quantised weights, and without fp8 weights that have scales.

    They are added to what was skipped. Weights in fp8 without scales are the weights, and stay.
    """
    small = {name for name, stored in checkpoint.tensors.items() if stored.dtype in FP8}
    candidates = {*checkpoint.skipped, *small}
    out: dict[str, str] = {}
    for name in checkpoint.tensors:
        for scaled in _scaled_by(name):
            if scaled in candidates:
                out[name] = f"scales in {checkpoint.tensors[name].dtype}"
                if scaled in small:
                    out[scaled] = f"{checkpoint.tensors[scaled].dtype} with scales"
    tensors = {name: stored for name, stored in checkpoint.tensors.items() if name not in out}
    shapes = {name: checkpoint.tensors[name].shape for name in out}
    return replace(checkpoint, tensors=tensors, skipped={**checkpoint.skipped, **out},
                   skipped_shapes={**checkpoint.skipped_shapes, **shapes})


def _scaled_by(name: str) -> Iterator[str]:
    match = SCALES.match(name)
    return (form.format(match["base"]) for form in WITH_SCALES) if match else iter(())
