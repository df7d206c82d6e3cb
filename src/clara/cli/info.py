"""`clara info`: versions, device, precision, packaged models and extras."""

from __future__ import annotations

from clara.cli.options import JsonOption


def info(as_json: JsonOption = False) -> None:
    """Show versions, device, precision, the packaged models and the optional extras."""
    from clara.installation import installation
    from clara.rendering.installation import print_installation

    print_installation(installation(), as_json=as_json)
