"""What the report's runs come from: params and versions, and each recorded run's machine and commits."""

from collections.abc import Mapping
from html import escape
from typing import Any

import yaml

from study.base.provenance import versions


def reproduction(params: Mapping[str, Any], recorded: Mapping[str, Mapping[str, Any]]) -> str:
    """The exact params and versions of this run and of the recorded ones (see stage `analyze`'s origin)."""
    others = "".join(_recorded(name, origin) for name, origin in recorded.items() if origin)
    return ('<section id="params"><h2>Params and versions</h2>'
            f"<p>{_listed(versions())}.</p>{_params('this run', params)}{others}</section>")


def _recorded(name: str, origin: Mapping[str, Any]) -> str:
    machines = "; ".join(map(_machine, origin["machines"]))
    missing = f"; missing: {', '.join(origin['missing'])}" if origin["missing"] else ""
    told = (f"Recorded on {origin['recorded']['date']}: {origin['parts']} parts in "
            f"{origin['wall_seconds'] / 3600:.1f} hours on {machines}{missing}. "
            f"Code: {', '.join(origin['commits'])}. {_listed(origin['versions'])}.")
    return f"<h3>{escape(name)}</h3><p>{escape(told)}</p>{_params(name, origin['params'])}"


def _machine(each: Mapping[str, Any]) -> str:
    gpu = f"{each['gpu']}, " if "gpu" in each else ""
    return f"{gpu}{each['cpu']}, {each['cores']} cores, {each['memory_gib']} GiB, {each['system']}"


def _listed(versions: Mapping[str, str]) -> str:
    return escape(", ".join(f"{name} {each}" for name, each in versions.items()))


def _params(name: str, params: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True)
    return f"<details><summary>Every param of {escape(name)}</summary><pre>{escape(text)}</pre></details>"
