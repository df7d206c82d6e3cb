"""The `clara` command: parses, calls the library, prints. Heavy imports happen inside the commands.

Exit codes: 0 done, 1 an error in one sentence on standard error, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clara import __version__
from clara.cli.asking import ask, index, search
from clara.cli.measuring import evaluate, inspect_app
from clara.cli.store import store_app
from clara.cli.training import convert, data_app, train
from clara.errors import ClaraError
from clara.rendering.basics import one_line

app = typer.Typer(
    name="clara",
    help="Answers questions about your documents from compressed memories of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (index, ask, search, convert, train, evaluate):
    app.command()(command)
app.add_typer(inspect_app, name="inspect")
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"clara {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the command; every foreseen error is one sentence on standard error."""
    try:
        app(standalone_mode=True)
    except ClaraError as error:
        typer.echo(f"Error: {one_line(str(error))}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("Interrupted; what was reported as stored or saved is kept.", err=True)
        sys.exit(130)
