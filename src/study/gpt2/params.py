"""Types of the params sections gpt2, gpt2_presets and gpt2_arms, and the run they make. Needs no torch."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from study.base.params import Section, Size, merged, section, typed
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.schedules import SCHEDULES
from variance_dynamics.weights.schemes import SCHEMES

Count = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
SELECTORS = ("preset", "arms", "seeds")
"""Keys of section gpt2 that choose the runs; no run has them."""
AS_BUILT = "pytorch"
"""The scheme of a model that nobody initialises: what PyTorch's own layers draw when they are built."""
EXECUTION = {"checkpoint_every", "processes", "sharding"}
"""Knobs that change how a run is computed but not its numbers, except for the rounding of sums."""


class Dumps(Section):
    """When statistics are measured, over which windows displacements are, and what histograms show."""

    every_step_until: Annotated[int, Field(ge=0)]
    per_decade: Annotated[int, Field(ge=0)]
    every: Count
    windows: list[Count]
    histogram_layer: Count
    histogram_bins: Count
    histogram_dumps: Annotated[int, Field(ge=0)]

    @field_validator("windows")
    @classmethod
    def _windows_differ(cls, windows: list[int]) -> list[int]:
        if len(set(windows)) != len(windows):
            raise ValueError("expected windows that differ")
        return windows


class Knobs(Section):
    """The knobs that section gpt2 sets for every run, before its preset and its arm change them."""

    device: Literal["cpu", "cuda"]
    precision: Literal["bf16", "fp32"]
    compile: bool
    processes: Count
    sharding: Literal["ddp", "fsdp"]
    lr: Size
    min_lr_ratio: Fraction
    schedule: str
    weight_decay: Annotated[float, Field(ge=0)]
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    eps: Size
    grad_clip: Size | None
    std: Size
    scheme: str
    tied: bool
    qkv_bias: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    dumps: Dumps
    val_every: Count
    val_batches: Count
    checkpoint_every: Count

    @field_validator("scheme")
    @classmethod
    def _scheme_is_known(cls, scheme: str) -> str:
        return _one_of((*SCHEMES, AS_BUILT), scheme)

    @field_validator("schedule")
    @classmethod
    def _schedule_is_known(cls, schedule: str) -> str:
        return _one_of(SCHEDULES, schedule)


def _one_of(known: Collection[str], name: str) -> str:
    if name not in known:
        raise ValueError(f"expected one of {', '.join(known)}")
    return name


class Gpt2Params(Knobs):
    """Section gpt2."""

    preset: str
    arms: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]

    @field_validator("arms", "seeds")
    @classmethod
    def _entries_differ(cls, entries: list[Any]) -> list[Any]:
        if len(set(entries)) != len(entries):
            raise ValueError("expected entries that differ")
        return entries


class Gpt2Run(Knobs):
    """One run with a value for every knob. Batch sizes count contexts; lengths are in optimizer steps."""

    n_layer: Count
    n_head: Count
    n_embd: Count
    n_ctx: Count
    vocab_size: Annotated[int, Field(gt=1)]
    batch_size: Count
    micro_batch_size: Count
    steps: Count
    warmup_steps: Annotated[int, Field(ge=0)]


def resolve(tree: dict[str, Any], arm: str, preset: str | None = None) -> Gpt2Run:
    """Section gpt2, changed by gpt2_presets[preset], then by gpt2_arms[arm]; `tree` is from params.read().

    Raises BadInput for an unknown preset or arm, and for any bad key or value.
    """
    preset = preset or section(tree, "gpt2", Gpt2Params).preset
    run = typed(merged_knobs(tree, arm, preset), f"gpt2 with preset {preset} and arm {arm}", Gpt2Run)
    _check_that_it_fits(run)
    return run


def merged_knobs(tree: dict[str, Any], arm: str, preset: str) -> dict[str, Any]:
    """The keys of Gpt2Run as the tree has them. Raises BadInput for an unknown preset or arm."""
    knobs = {key: value for key, value in tree["gpt2"].items() if key not in SELECTORS}
    knobs = merged(knobs, _entry(tree, "gpt2_presets", preset, "gpt2.preset"))
    return dict(merged(knobs, _entry(tree, "gpt2_arms", arm, "gpt2.arms")))


def check_gpus(device: str, processes: int) -> None:
    """Raises BadInput if the GPUs that a run asks for are not here. Imports torch for these alone."""
    if device != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise BadInput("params.yaml: gpt2.device is 'cuda': no CUDA device here: expected cpu")
    gpus = torch.cuda.device_count()
    if processes > gpus:
        expected = f"at most one for each GPU here, {gpus}"
        raise BadInput(f"params.yaml: gpt2.processes is {processes}: expected {expected}")


def _check_that_it_fits(run: Gpt2Run) -> None:
    rules = [
        (run.n_embd % run.n_head == 0, f"n_head is {run.n_head}", f"a divisor of n_embd, {run.n_embd}"),
        (run.batch_size % run.micro_batch_size == 0, f"micro_batch_size is {run.micro_batch_size}",
         f"a divisor of batch_size, {run.batch_size}"),
        (run.warmup_steps <= run.steps, f"warmup_steps is {run.warmup_steps}", f"at most steps, {run.steps}"),
        (run.dumps.histogram_layer <= run.n_layer, f"dumps.histogram_layer is {run.dumps.histogram_layer}",
         f"at most n_layer, {run.n_layer}"),
    ]
    for holds, value, expected in rules:
        if not holds:
            raise BadInput(f"params.yaml: gpt2: {value}: expected {expected}")


def _entry(tree: dict[str, Any], table: str, name: str, key: str) -> dict[str, Any]:
    entries = tree.get(table)
    if not isinstance(entries, dict):
        raise BadInput(f"params.yaml: section {table} is {entries!r}: expected a mapping of names")
    if name not in entries:
        raise BadInput(f"params.yaml: {key} names {name!r}: expected one of {', '.join(map(str, entries))}")
    if not isinstance(entries[name], dict):
        raise BadInput(f"params.yaml: {table}.{name} is {entries[name]!r}: expected a mapping, or {{}}")
    return dict(entries[name])
