"""Vega, Vega-Lite and Vega-Embed as vl-convert-python carries them, for pages that need no network."""

import base64
import gzip
import json
from typing import Any


def bundle() -> str:
    """A script element that defines `vegaEmbed` (about 900 kB); nothing it declares leaks into the page."""
    import vl_convert  # 20 MB of native code: loaded only where a page is written

    code = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f"<script>(() => {{{guarded(code)}}})();</script>"


def guarded(code: str) -> str:
    """JavaScript that cannot end its script element early: `</script` occurs inside strings only."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def compressed(value: Any) -> str:
    """`value` as JSON, gzip and base64: tables of numbers shrink to a quarter."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def data_element(identifier: str, value: Any) -> str:
    """`value` as JSON in a script element that the browser does not run; no `<` in it, whatever the names."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{identifier}">{text}</script>'
