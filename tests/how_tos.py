"""The commands of a how-to and what they print; `python tests/how_tos.py` writes it into the pages."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from copies import environment, fresh_copy
from imports import ROOT

FOLDER = ROOT / "docs" / "how-to"
START = FOLDER / "README.md"
PAGES = sorted(set(FOLDER.glob("*.md")) - {START})
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LEFT_OUT = "..."
BETWEEN = "@@ next command @@"
NOISE = re.compile(
    r"^\s*$|\d+%\||^> env |^(Updating|Generating) lock file|^WARNING: No file|^To (track|enable)|^\tgit add"
)
MASKS = [
    (r"\x1b\[[0-9;]*m", ""),
    (r"\b[A-Z][a-z]{2} \d{2}, \d{4}\b", "1:00 PM"),  # of a run before midnight
    (r"\b[0-9a-f]{7,64}\b", "0"),  # a hash may be digits only
    (r"-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", "0"),
    (r"\b[AP]M\b", "M"),
    (r"[-─═━]{3,}", "---"),
    (r"\s+", " "),
]


def steps(text):
    """(command, lines shown below it) of every console block, in order."""
    pairs: list[tuple[str, list[str]]] = []
    for line in "".join(BLOCK.findall(text)).splitlines():
        if line.startswith("$ "):
            pairs.append((line[2:], []))
        else:
            pairs[-1][1].append(line)
    return pairs


def printed(commands, folder, home):
    """The lines that each command prints, in one shell that starts in `folder`; none of them may fail."""
    shell = "set -e\n" + "".join(f"echo '{BETWEEN}'\n{{ {command}\n}} 2>&1\n" for command in commands)
    env = environment(HOME=str(home), COLUMNS="110", PAGER="cat")
    done = subprocess.run(["bash", "-c", shell], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    output = done.stdout.replace(str(folder), "/home/me/variance-dynamics").replace("\r", "\n")
    _, *parts = output.split(f"{BETWEEN}\n")
    return [[line.rstrip() for line in part.splitlines() if not NOISE.search(line)] for part in parts]


def masked(line):
    """The line without what differs between machines and days: numbers, hashes, dates and column widths."""
    for pattern, replacement in MASKS:
        line = re.sub(pattern, replacement, line)
    return line.strip()


def aligned(shown, real):
    """The real lines instead of those shown, where `...` stands for any number; None where they disagree."""
    if not shown:
        return None if real else []
    if shown[0] == LEFT_OUT:
        rests = (aligned(shown[1:], real[skipped:]) for skipped in range(len(real) + 1))
        rest = next((rest for rest in rests if rest is not None), None)
        return None if rest is None else [LEFT_OUT, *rest]
    if not real or masked(shown[0]) != masked(real[0]):
        return None
    rest = aligned(shown[1:], real[1:])
    return None if rest is None else [real[0], *rest]


def started(folder, cache=None):
    """A clone after the start page's commands, and what they printed; its cache is a copy of `cache`."""
    folder.mkdir()
    fresh_copy(folder)
    if cache:
        shutil.copytree(cache, folder / ".dvc" / "cache")
    return folder, printed(commands(START), folder, folder.parent)


def commands(page):
    return [command for command, _ in steps(page.read_text())]


def download(shared, home):
    """Put the files that the pages take from ~/Downloads into the folder Downloads of `home`."""
    (home / "Downloads").mkdir()
    for file in (shared / "mnist").glob("*.gz"):
        shutil.copy(file, home / "Downloads")


def disagreements(page, real):
    """The lines printed and the lines shown, for each command where they disagree."""
    wrong = []
    for (command, shown), lines in zip(steps(page.read_text()), real, strict=True):
        if aligned(shown, lines) is None:
            wrong += [f"$ {command}", *lines, "--- but shown is", *shown]
    return wrong


def refreshed(text, real):
    """The page with real lines for those shown; a command whose lines disagree keeps all that it printed."""
    queue = iter(zip(steps(text), real, strict=True))

    def block(match):
        lines = []
        for command in (line for line in match[1].splitlines() if line.startswith("$ ")):
            (_, shown), printed_now = next(queue)
            same = aligned(shown, printed_now)
            lines += [command, *(printed_now if same is None else same)]
        return "\n".join(["```console", *lines, "```"])

    return BLOCK.sub(block, text)


def main(names):
    """Refresh the pages of these names, or all; some need files of `shared`, a folder beside ours."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        clone, real = started(home / "start")
        if not names:
            START.write_text(refreshed(START.read_text(), real))
        shared = ROOT.parent / "shared" / "data"
        if shared.is_dir():
            download(shared, home)
        for page in [page for page in PAGES if page.stem in names or not names]:
            copy = shutil.copytree(clone, home / page.stem / "variance-dynamics", symlinks=True)
            page.write_text(refreshed(page.read_text(), printed(commands(page), copy, home)))


if __name__ == "__main__":
    main(sys.argv[1:])
