"""Checkpoints in the revisions of a repository on the Hugging Face hub; only what is asked for is read.

Of a .safetensors file that is its header, and then single tensors, by range requests. Other files are read
whole. `huggingface_hub` lists the revisions and their files; every address holds a commit, so that nothing
changes between two requests. Headers and tensors are kept in a folder, and each tensor is deleted as soon as
no later step is compared with it.
"""

import fnmatch
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.base.atomic import replacing
from variance_dynamics.base.errors import BadInput
from variance_dynamics.checkpoint_series.mirror import (
    RemoteFile,
    RemoteTensors,
    header_of,
    spans_of,
    whole_file,
)
from variance_dynamics.checkpoint_series.ranges import Server, attempted
from variance_dynamics.checkpoint_series.steps import (
    Opened,
    Step,
    chosen_steps,
    on_disk,
    step_in,
)

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
SMALL = ("config.json", "*.index.json")
"""Files that are read whole beside the weights."""
WHOLE = "pytorch_model*.bin"
"""Weights that are read whole, where there are no .safetensors files."""


def is_repository(source: str) -> bool:
    """Whether `source` has the form of a repository's name."""
    return bool(REPOSITORY.fullmatch(source))


def hub_steps(repository: str, pattern: str, numbers: Sequence[int], folder: Path
              ) -> tuple[list[Step], list[str], Server]:
    """The steps that the branches and tags matching `pattern` name, notes, and the server that is read.

    `folder` keeps what is read. Raises BadInput without huggingface_hub, or where no revision fits.
    """
    api, token = _api()
    server = Server({"Authorization": f"Bearer {token}"} if token else {})
    refs = _asked(lambda: api.list_repo_refs(repository), f"{repository}: its revisions")
    commits: dict[int, tuple[str, str]] = {}
    left = []
    for ref in [*refs.branches, *refs.tags]:
        if not fnmatch.fnmatchcase(ref.name, pattern):
            continue
        number = step_in(ref.name)
        if number is None:
            left.append(ref.name)
        elif commits.setdefault(number, (ref.name, ref.target_commit))[1] != ref.target_commit:
            raise BadInput(f"{repository}: {commits[number][0]} and {ref.name} are both of step {number}: "
                           "expected --revisions with a pattern for one of them")
    steps = [_remote(api, server, repository, number, *commits[number], folder)
             for number in chosen_steps(commits, numbers, f"{repository}, revisions {pattern!r}")]
    notes = [f"left out, as no step is in its name: {', '.join(left[:5])}"] if left else []
    return steps, notes, server


def _api() -> tuple[Any, str | None]:
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise BadInput("a repository of the hub: expected huggingface_hub to be installed, for instance by "
                       "pip install 'variance-dynamics[hub]'") from None
    return HfApi(), get_token()


def _asked(ask: Any, what: str) -> Any:
    """An answer of huggingface_hub, whose own errors are those of its HTTP client."""
    def once() -> Any:
        try:
            return ask()
        except (BadInput, OSError):
            raise
        except Exception as problem:
            status = getattr(getattr(problem, "response", None), "status_code", None)
            first = (str(problem) or type(problem).__name__).splitlines()[0][:200]
            if status is not None and status < 500 and status != 429:
                raise BadInput(f"{what}: {first}: expected a repository that can be read") from None
            raise OSError(first) from None

    return attempted(once, what)


def _remote(api: Any, server: Server, repository: str, number: int, name: str, commit: str, folder: Path
            ) -> Step:
    return Step(number, name, commit,
                lambda: _opened(api, server, repository, commit, folder / commit), commit)


def _opened(api: Any, server: Server, repository: str, commit: str, folder: Path) -> Opened:
    """The commit's checkpoint, whose tensors are read when their values are."""
    files = _files(api, repository, commit, folder)
    weights = [name for name in files if name.endswith(".safetensors")]
    whole = [] if weights else [name for name in files if fnmatch.fnmatchcase(name, WHOLE)]
    kept = folder / "files"
    kept.mkdir(parents=True, exist_ok=True)
    for name in files:
        if name in whole or any(fnmatch.fnmatchcase(name, small) for small in SMALL):
            whole_file(server, files[name], kept / name)
    headers = {name: header_of(server, files[name], kept / name) for name in weights}
    checkpoint = open_checkpoint(kept)
    hashes = {name: file.hash for name, file in files.items() if file.hash}
    if whole:
        size = sum(files[name].size for name in whole)
        note = f".bin files are read whole ({size:,} bytes a step) and kept until the end"
        return replace(on_disk(kept, checkpoint), hashes=hashes, notes=(note,))
    spans = spans_of(headers, files)
    tensors = RemoteTensors(server, checkpoint.tensors, spans, folder, kept)
    places = {name: spans[name].file for name in checkpoint.tensors}
    return Opened(replace(checkpoint, tensors=tensors.lazily()), places, tensors.auditable, tensors.sample,
                  tensors.release, hashes)


def _files(api: Any, repository: str, commit: str, folder: Path) -> dict[str, RemoteFile]:
    """The files in the root of a commit, listed once."""
    kept = folder / "files.json"
    if not kept.is_file():
        info = _asked(lambda: api.model_info(repository, revision=commit, files_metadata=True),
                      f"{repository} at {commit[:12]}: its files")
        listed = {each.rfilename: [each.size or 0, (each.lfs or {}).get("sha256") or each.blob_id or ""]
                  for each in info.siblings if "/" not in each.rfilename and "\\" not in each.rfilename}
        with replacing(kept) as partial:
            partial.write_text(json.dumps(listed), encoding="utf-8")
    return {name: RemoteFile(_address(api, repository, name, commit), *facts)
            for name, facts in json.loads(kept.read_text(encoding="utf-8")).items()}


def _address(api: Any, repository: str, name: str, commit: str) -> str:
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(repository, name, revision=commit, endpoint=api.endpoint))
