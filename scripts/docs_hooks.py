"""Generated pages of the documentation site (command line, benchmarks), and equations as MathML.

MkDocs calls the functions whose names begin with `on_` (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

_MATH = re.compile(r"\$\$(.+?)\$\$|(?<![\w$\\])\$([^$\n]+?)\$(?![\w$])", re.DOTALL)
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for page, content in (("reference/cli.md", command_line()), ("benchmarks.md", benchmarks())):
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn equations between dollar signs into MathML, which browsers show without a script."""
    parts = _CODE.split(markdown)
    parts[::2] = [_MATH.sub(_as_mathml, part) for part in parts[::2]]
    return "".join(parts)


def _as_mathml(found: re.Match[str]) -> str:
    block, inline = found.groups()
    if block is not None:
        return f'<div class="equation">{convert(block.strip(), display="block")}</div>'
    return f'<span class="math">{convert(inline)}</span>'


# -- the command line --------------------------------------------------------------------------------


def command_line() -> str:
    """A page with every command, its arguments and its options, as `--help` has them."""
    from typer.main import get_command

    from clara.cli import app

    lines = [
        "# Command line",
        "",
        "`clara` and `clara-rag` are the same program. `clara COMMAND --help` prints what this page shows.",
        "",
        "Exit codes: 0 success, 1 an error described in one sentence on standard error, 2 wrong usage, 130",
        "interrupted. A search that finds nothing exits with 0.",
        "",
    ]
    for name, command in _commands("clara", get_command(app)):
        lines += [f"## {name}", "", _plain(command.help), ""]
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option"]
        usage = [_argument(one) for one in arguments]
        lines += ["```console", f"$ {' '.join([name, '[OPTIONS]', *usage])}", "```", ""]
        if arguments:
            lines += ["| argument | |", "|---|---|"]
            lines += [f"| `{_argument(one)}` | {_plain(one.help)} |" for one in arguments]
            lines.append("")
        if options:
            lines += ["| option | | default |", "|---|---|---|"]
            lines += [f"| {_spelled(one)} | {_plain(one.help)} | {_default(one)} |" for one in options]
            lines.append("")
    return "\n".join(lines)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by the words that call it."""
    nested = getattr(command, "commands", None)
    if nested is None:
        yield name, command
        return
    for word, each in nested.items():
        yield from _commands(f"{name} {word}", each)


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name).strip("[]").upper()
    return f"{name if parameter.required else f'[{name}]'}{'...' if parameter.nargs == -1 else ''}"


def _spelled(parameter: Any) -> str:
    spelled = ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
    return f"{spelled} (`${parameter.envvar}`)" if parameter.envvar else spelled


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value == () or isinstance(value, bool) or callable(value):
        return ""
    text = str(value)
    return "" if "UNSET" in text.upper() or not text else f"`{text}`"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;")


# -- the benchmarks ----------------------------------------------------------------------------------


def benchmarks() -> str:
    """A page with the kept result of every benchmark, under the conditions of its run."""
    lines = [
        "# Benchmarks",
        "",
        "This page is generated from `benchmarks/results/`. Each section is one kept run of a script in",
        "`benchmarks/`, with its conditions. Ratios compare two ways within one process; absolute times",
        "depend on the machine.",
        "",
    ]
    for file in sorted(RESULTS.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        script = ROOT / "benchmarks" / f"{file.stem}.py"
        lines += [f"## {file.stem.replace('_', ' ').capitalize()}", ""]
        if script.is_file():
            summary = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
            lines += [_plain(summary.split("\n\n")[0]), "", f"`python benchmarks/{script.name}`", ""]
        conditions = result.pop("conditions", None) or _pop_conditions(result)
        lines += ["*" + "; ".join(f"{name} {_value(value)}" for name, value in conditions.items()) + "*", ""]
        lines += ["| figure | value |", "|---|--:|"]
        lines += [f"| {_plain(name)} | {_value(value)} |" for name, value in _flat(result)]
        lines.append("")
    return "\n".join(lines)


_CONDITIONS = ("clara", "commit", "model", "torch", "threads", "machine", "processor", "python")


def _pop_conditions(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result.pop(name) for name in _CONDITIONS if name in result}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure by the words that lead to it; a mean stands in one row with its interval."""
    if isinstance(value, dict):
        mean = value.get("mean")
        ends = value.get("interval") or [value.get("low"), value.get("high")]
        if mean is not None and None not in ends:
            yield name, f"{_value(mean)} ({_value(ends[0])} to {_value(ends[1])})"
            return
        for key, each in value.items():
            yield from _flat(each, f"{name}, {key}" if name else str(key))
    elif value is not None:
        yield name.replace("_", " "), value


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return _plain(str(value))
