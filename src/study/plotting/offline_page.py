"""Set-up of `dvc plots` without a network: a page with the JavaScript inlined, named in the local DVC config.

The page is generated, never committed; without it DVC's own page still works, from a CDN.
"""

import subprocess
import sys
from pathlib import Path

from study.plotting.javascript import guarded, libraries
from variance_dynamics.base.errors import BadInput, one_line

NAME = "plots_page.html"
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>variance-dynamics: dvc plots</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; }}
body > div {{ margin: 0 0 2.5rem; overflow-x: auto; }}
table {{ border-spacing: 1rem 0.4rem; }}
img {{ max-width: 46vw; height: auto; }}
div:only-of-type > img {{ max-width: 100%; }}
</style>
<script>(() => {{ {script} }})();</script>
</head>
<body>
{{plot_divs}}
</body>
</html>
"""


def write(dvc_folder: Path) -> Path:
    """Write the page into `.dvc`; raises BadInput where that folder is not."""
    if not dvc_folder.is_dir():
        raise BadInput(f"{dvc_folder}: no such folder: expected the root of the DVC repository")
    page = dvc_folder / NAME
    page.write_text(PAGE.format(script=guarded(libraries())), encoding="utf-8")
    return page


@one_line
def main() -> None:
    write(Path(".dvc"))
    # A relative path counts from .dvc.
    command = [sys.executable, "-m", "dvc", "config", "--quiet", "--local", "plots.html_template", NAME]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
