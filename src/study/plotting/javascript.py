"""Vega, Vega-Lite and Vega-Embed as vl-convert-python carries them, and data, for pages without a network."""

import base64
import gzip
import json
from typing import Any


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
    """`value` as JSON in a script element that the browser does not run; no `<` in it, whatever the names."""
    text = to_json(value)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{identifier}">{text}</script>'
