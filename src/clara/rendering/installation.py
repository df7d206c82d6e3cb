"""Output of `clara info`."""

from __future__ import annotations

from dataclasses import asdict

from rich.text import Text

from clara.installation import Installation
from clara.rendering.basics import console, print_json, short


def print_installation(found: Installation, *, as_json: bool) -> None:
    """Versions, device, precision, packaged models and extras."""
    if as_json:
        models = [
            {**asdict(model), "folder": str(model.folder), "base": model.base and str(model.base)}
            for model in found.models
        ]
        print_json({**asdict(found), "models": models})
        return
    rows = [
        ("clara", found.version),
        ("Python", found.python),
        *((name, version or "not installed") for name, version in found.libraries.items()),
        ("Device", found.device),
        ("Precision", f"{found.precision} ({found.reason})"),
    ]
    for model in found.models:
        base = f", base {short(str(model.base))}" if model.base else ""
        missing = f", base not installed: {model.install}" if model.install else ""
        rows.append((f"Model {model.name}", f"{short(str(model.folder))}{base}{missing}"))
    for extra in found.extras:
        missing = f"missing {', '.join(extra.missing)}: {extra.install}" if extra.missing else "installed"
        rows.append((f"Extra {extra.name}", missing))
    shown, width = console(), max(len(name) for name, _ in rows)
    for name, value in rows:
        shown.print(Text.assemble((f"{name:{width}}  ", "dim"), value))
