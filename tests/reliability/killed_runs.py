"""A stage that is killed and started again, as a script of its own: `python killed_runs.py PLAN.json`.

torch is imported once and each start is a fork, which saves seconds. The plan is {"stage": a module,
"arguments": [...], "starts": [{"folder", "signal", "seconds" or "event", "root"}, ...]}. A start ends by
itself, or gets the signal after so many seconds, or sends it to itself at the n-th time that it opens a file
to write, renames or deletes one. It may have limits (see `_limit`) from its start or, with "tables", from the
moment when it writes its tables. The script prints a line of JSON for each start: its exit status, steps,
seconds and events. Once a start has succeeded, later ones in the same folder are skipped.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

COUNTED = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
STEPS, EVENTS, DONE = "steps.log", "events.log", "done"


def start(main: Any, plan: dict[str, Any]) -> dict[str, Any]:
    folder = Path(plan["folder"])
    if (folder / DONE).exists():
        return {"status": 0, "steps": 0, "events": 0, "seconds": 0.0}
    for name in (STEPS, EVENTS):
        (folder / name).unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if not child:
        _become(folder, plan)
        main()
        os._exit(0)
    if "seconds" in plan:
        time.sleep(plan["seconds"])
        os.kill(child, plan["signal"])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        (folder / DONE).touch()
    return {"status": status, "steps": _size(folder / STEPS),
            "events": _size(folder / EVENTS), "seconds": time.monotonic() - began}


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _become(folder: Path, plan: dict[str, Any]) -> None:
    """Turn this fork into a process of the folder, which logs its steps and what it does to files."""
    os.chdir(folder)
    log = os.open("stderr.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["DVC_ROOT"] = plan.get("root", str(folder))
    steps, events = (os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in (STEPS, EVENTS))
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        if event in COUNTED or writes:
            seen += 1
            os.write(events, b".")
            if seen == plan.get("event"):
                os.kill(os.getpid(), plan["signal"])

    sys.addaudithook(watch)
    _limit_tables(plan) if plan.get("tables") else _limit(plan)
    _count_steps(steps)
    sys.excepthook = _print_and_exit


def _print_and_exit(*error: Any) -> None:
    sys.__excepthook__(*error)
    os._exit(1)


def _limit(plan: dict[str, Any]) -> None:
    """Set limits: "file" bytes a file, "memory" bytes beyond those in use; "plain" gives up root's rights."""
    if "file" in plan:
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan["file"], plan["file"]))
    if "memory" in plan:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + plan["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if "plain" in plan:
        _give_up_override()


def _limit_tables(plan: dict[str, Any]) -> None:
    from study.gpt2 import tables as pretrain_tables

    write = pretrain_tables.write

    def limited(*given: Any) -> None:
        _limit(plan)
        write(*given)

    pretrain_tables.write = limited


def _give_up_override() -> None:
    """Drop CAP_DAC_OVERRIDE, by which root writes where the mode says that nobody may; see capset(2)."""
    libc, header = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, sets) == 0
    sets[0] &= ~(1 << 1)
    sets[1] &= ~(1 << 1)
    assert libc.capset(header, sets) == 0


def _count_steps(log: int) -> None:
    from study.gpt2.pretrain import Pretraining

    advance = Pretraining.advance

    def counted(self: Pretraining) -> None:
        advance(self)
        os.write(log, b".")

    Pretraining.advance = counted  # type: ignore[method-assign]


def main(plan: dict[str, Any]) -> None:
    stage = importlib.import_module(plan["stage"])
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # which imports half of torch on first use
    sys.argv[1:] = plan["arguments"]
    for each in plan["starts"]:
        print(json.dumps(start(_guarded(stage.main), each)), flush=True)


def _guarded(stage: Any) -> Any:
    """The stage, after which the fork ends in every case: it must not continue with this script."""

    def run() -> None:
        try:
            stage()
        except SystemExit as ended:
            sys.stderr.flush()
            os._exit(int(ended.code or 0))
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]

    return run


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(json.loads(Path(sys.argv[1]).read_text()))
