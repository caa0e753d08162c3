"""Pages that need no network: the report's page around its content, and DVC's page around its plots.

`python -m study.plotting.page` is the set-up of `dvc plots`: it writes the page with the JavaScript inlined
and names it in the local DVC config. That page is never committed. Without it DVC uses its own page, which
loads the JavaScript from a CDN.
"""

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from variance_dynamics.base.errors import BadInput, one_line

DVC_PAGE_NAME = "plots_page.html"
STYLE = """
:root { --ink: #222; --quiet: #5a5a5a; --line: #dcdcdc; --blue: #0072B2; --red: #B34700; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); margin: 0; }
main, header { max-width: 64rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.5rem 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .2rem; }
p { margin: .4rem 0; max-width: 46rem; }
nav a { margin-right: 1rem; }
a { color: var(--blue); }
.quiet, figcaption { color: var(--quiet); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; }
tr { border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; white-space: nowrap; }
.source, .arm { white-space: nowrap; } .why { display: block; min-width: 15rem; }
.verdict { font-weight: 600; }
.verdict, td[data-label=run] { white-space: nowrap; }
.supported { color: var(--blue); } .contradicted { color: var(--red); }
.inconclusive, .not-run { color: var(--quiet); }
figure { margin: 0; } figcaption { max-width: 46rem; margin-bottom: .5rem; }
.chart { width: 100%; min-height: 12rem; }
.vega-embed { width: 100%; padding-right: 0 !important; }
.chart-wrapper { display: flex; flex-direction: column; }
.vega-bindings { order: -1; display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: 0 40px .4rem 0; }
.vega-bind { font-size: .9rem; } .vega-bind select { font: inherit; max-width: 60vw; }
.chart svg { max-width: 100%; height: auto; }
.failed { color: var(--red); }
pre { font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .7rem; }
details { margin: .5rem 0; } summary { cursor: pointer; }
@media (max-width: 40rem) { body { font-size: 15px; } }
@media print, (max-width: 40rem) { .cards > thead { display: none; }
  .cards > tbody > tr { display: block; padding: .5rem 0; }
  .cards > tbody > tr > td { display: block; padding: .1rem 0; text-align: left; white-space: normal; }
  .cards > tbody > tr > td[data-label]::before { content: attr(data-label) ": "; color: var(--quiet); } }
@page { margin: 14mm; }
@media print { nav, .vega-embed details, #vg-tooltip-element { display: none !important; }
  .wide { overflow: visible; } a { color: inherit; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } pre { background: none; padding: 0; }
  main, header { max-width: none; padding: 0; } body { font-size: 11pt; } }
"""

SCRIPT = """
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const unpacked = (text) => new Response(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))])
    .stream().pipeThrough(new DecompressionStream("gzip")));
  // A column is a list, or {words, index} for names that repeat.
  const rows = (table) => {
    const names = Object.keys(table);
    const columns = names.map((name) => table[name].words
      ? table[name].index.map((i) => table[name].words[i]) : table[name]);
    const row = (_, i) => Object.fromEntries(names.map((name, k) => [name, columns[k][i]]));
    return (columns[0] || []).map(row);
  };
  const look = {
    font: "system-ui, sans-serif", view: {stroke: "#dcdcdc"},
    axis: {grid: false, labelFontSize: 11, titleFontSize: 11, titleFontWeight: 500},
    header: {labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500},
    legend: {orient: "bottom", symbolOpacity: 1, symbolStrokeWidth: 2, labelFontSize: 11, titleFontSize: 11,
      labelLimit: 0, unselectedOpacity: 1},
  };
  const sized = (spec, columns, width) => {
    const room = Math.max(width - 12, 240);
    const layout = {bottom: {anchor: "start", direction: room < 500 ? "vertical" : "horizontal"}};
    const legend = {...look.legend, columns: Math.max(2, Math.floor(room / 125)), layout};
    const full = {...spec, config: {...look, legend}};
    if (!spec.facet) return {...full, width: room - 66};
    const beside = Math.max(1, Math.min(columns, Math.floor(room / 250)));
    return {...full, columns: beside, spec: {...spec.spec, width: (room - 66 - 20 * (beside - 1)) / beside}};
  };
  const draw = async (element) => {
    const {spec, columns, data} = read(element.dataset.chart);
    const width = element.clientWidth;
    try {
      const whole = {...sized(spec, columns, width), data: {values: rows(await unpacked(data).json())}};
      const actions = {export: true, source: false, compiled: false, editor: false};
      await vegaEmbed(element, whole, {renderer: "svg", actions});
      element.dataset.width = width;
    } catch (problem) {
      element.textContent = "This figure could not be drawn: " + problem.message;
      element.classList.add("failed");
    }
  };
  const all = [...document.querySelectorAll(".chart")];
  (async () => {
    const code = document.getElementById("libraries").textContent;
    new Function(await unpacked(code).text())();  // defines vegaEmbed
    for (const element of all) await draw(element);
    document.body.dataset.drawn = all.length;
  })();
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => all.filter((element) => element.dataset.width
      && Math.abs(element.dataset.width - element.clientWidth) > 20).forEach(draw), 250);
  });
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((element) => { element.open = true; });
  });
})();
"""

# No request may leave the page; Vega compiles its expressions, hence unsafe-eval.
POLICY = ("default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
          "img-src data: blob:")

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>variance-dynamics: report</title>
<style>{style}</style>
</head>
<body>
{body}
<script type="text/plain" id="libraries">{libraries}</script>
<script>{script}</script>
</body>
</html>
"""

DVC_PAGE = """<!DOCTYPE html>
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


def page(body: str, libraries: str) -> str:
    """The whole document around its content; `libraries` is compressed JavaScript that defines vegaEmbed."""
    return PAGE.format(policy=POLICY, style=STYLE, body=body, libraries=libraries, script=SCRIPT)


def libraries() -> str:
    """JavaScript that defines window.vegaEmbed, about 900 kB."""
    import vl_convert  # 20 MB of native code: loaded only where a page is written

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def guarded(code: str) -> str:
    """JavaScript that cannot end its script element early: `</script` occurs inside strings only."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def compressed(text: str) -> str:
    """`text` in gzip and base64: code shrinks to 45%, tables of numbers to a third."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def to_json(value: Any) -> str:
    """Compact JSON; raises ValueError for what is not finite."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def data_element(identifier: str, value: Any) -> str:
    """`value` as JSON in a script element that the browser does not run. No name can end that element."""
    text = to_json(value)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{identifier}">{text}</script>'


def write_dvc_page(dvc_folder: Path) -> Path:
    """Write the page into the folder `.dvc`. Raises BadInput if there is no such folder."""
    if not dvc_folder.is_dir():
        raise BadInput(f"{dvc_folder}: no such folder: expected the root of the DVC repository")
    page = dvc_folder / DVC_PAGE_NAME
    page.write_text(DVC_PAGE.format(script=guarded(libraries())), encoding="utf-8")
    return page


@one_line
def main() -> None:
    write_dvc_page(Path(".dvc"))
    # A relative path counts from .dvc.
    command = [sys.executable, "-m", "dvc", "config", "--quiet", "--local", "plots.html_template"]
    subprocess.run([*command, DVC_PAGE_NAME], check=True)


if __name__ == "__main__":
    main()
