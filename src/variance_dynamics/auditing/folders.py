"""Which file of a folder is the checkpoint: what the libraries name it, and in which folder they put it."""

import re
from pathlib import Path

from variance_dynamics.auditing.distributed_folder import METADATA
from variance_dynamics.base.errors import BadInput

IN_FOLDER = (("model.safetensors",), ("*.safetensors.index.json",), ("*.safetensors",),
             ("pytorch_model.bin",), ("*.bin.index.json",), ("*.pt", "*.pth", "*.ckpt", "*.bin", "*.npz"))
"""What to open in a folder: what the first of these groups of patterns matches, which must be one file."""
NO_WEIGHTS = re.compile("^(optimizer|scheduler|rng_state|random_states|training_args|scaler|trainer_state)")
"""Files that training loops write beside the weights."""
TORCH_FILES = 3
"""Groups from here on are torch's; before them, DeepSpeed's folders are looked for."""
DEEPSPEED_NOTE = ("{}, as DeepSpeed saved it, was read; the optimizer's copy of the weights in more bits, in "
                  "*_optim_states.pt, was not (zero_to_fp32.py makes a file of that)")


def checkpoint_in(folder: Path, expected: str) -> tuple[Path, tuple[str, ...]]:
    """The file to open, or the folder itself where it is a distributed checkpoint; and notes on the choice.

    Follows the hub's cache and DeepSpeed's folders. Raises BadInput, which ends with `expected`, where there
    is no checkpoint, or where there are several.
    """
    folder = _snapshot(folder)
    if (folder / METADATA).is_file():
        return folder, ()
    for number, patterns in enumerate(IN_FOLDER):
        deepspeed = _deepspeed(folder) if number == TORCH_FILES else None
        if deepspeed:
            return deepspeed, (DEEPSPEED_NOTE.format(deepspeed.name),)
        files = sorted({file for pattern in patterns for file in folder.glob(pattern)
                        if file.is_file() and not NO_WEIGHTS.match(file.name)})
        if len(files) > 1:
            raise BadInput(f"{folder}: holds {', '.join(file.name for file in files[:3])}: "
                           "expected one checkpoint, or name the file")
        if files:
            return files[0], ()
    raise BadInput(f"{folder}: no checkpoint in this folder: {expected}")


def _snapshot(folder: Path) -> Path:
    """In the hub's cache, models--ORG--NAME, the snapshot of the branch main, or the only one."""
    snapshots = folder if folder.name == "snapshots" else folder / "snapshots"
    if not (snapshots.is_dir() and snapshots.resolve().parent.name.startswith("models--")):
        return folder
    reference = snapshots.parent / "refs" / "main"
    main = reference.read_text(encoding="utf-8", errors="replace").strip() if reference.is_file() else ""
    if main and Path(main).name == main and (snapshots / main).is_dir():
        return snapshots / main
    found = sorted(inside for inside in snapshots.iterdir() if inside.is_dir())
    if len(found) != 1:
        names = ", ".join(inside.name for inside in found[:3]) or "none"
        raise BadInput(f"{folder}: snapshots are {names}: expected one, or name the snapshot's folder")
    return found[0]


def _deepspeed(folder: Path) -> Path | None:
    """DeepSpeed's file of a whole model in `folder`, or in the folder that its file `latest` names.

    Raises BadInput where the model is divided among files.
    """
    latest = folder / "latest"
    tag = latest.read_text(encoding="utf-8", errors="replace").strip() if latest.is_file() else ""
    inside = folder / tag if tag and Path(tag).name == tag and (folder / tag).is_dir() else folder
    states = sorted(inside.glob("*model_states.pt"))
    if len(states) == 1 and not states[0].name.startswith("zero_pp_rank"):
        return states[0]
    if states:
        outer = folder if inside != folder else folder.parent
        raise BadInput(f"{inside}: DeepSpeed divided the weights among {len(states)} files: expected a whole "
                       f"model, as `python zero_to_fp32.py . OUT` makes it in {outer}")
    return None
