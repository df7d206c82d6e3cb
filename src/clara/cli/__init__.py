"""The `clara` command: parses, calls the library, prints. Heavy imports happen inside the commands.

Exit codes: 0 done, 1 an error in one sentence on standard error, 2 wrong usage, 130 interrupted. A search
that finds nothing is done.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clara import __version__
from clara.cli.asking import ask, index, search
from clara.cli.info import info
from clara.cli.measuring import evaluate, inspect_app
from clara.cli.questions import QuestionCommand
from clara.cli.serving import chat, mcp, serve
from clara.cli.showing import show
from clara.cli.store import store_app
from clara.cli.training import convert, data_app, train
from clara.errors import ClaraError
from clara.rendering.basics import one_line

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to an output that takes no more fails with; a closed pipe is none of these."""


class _Commands(TyperGroup):
    """All commands; one that is interrupted prints "Stopped." unless it has printed a more specific line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Stopped.", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="clara",
    cls=_Commands,
    help="Question answering over your own documents, through compressed memory tokens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(index)
app.command(cls=QuestionCommand)(ask)
app.command(cls=QuestionCommand)(search)
app.command()(chat)
app.command()(serve)
app.command()(mcp)
for command in (show, convert, train, evaluate, info):
    app.command()(command)
app.add_typer(inspect_app, name="inspect")
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="With --version: print what `clara info` prints.")
    ] = False,
) -> None:
    if version and verbose:
        info()
        raise typer.Exit
    if version:
        typer.echo(f"clara {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the command; every expected error is one sentence on standard error."""
    _replace_what_cannot_be_encoded()
    try:
        app(standalone_mode=True)
    except ClaraError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        _drop_output()
        _fail(f"The output cannot be written: {error.strerror}; free some space or choose another target.")


def _fail(sentence: str) -> None:
    typer.echo(f"Error: {one_line(sentence)}", err=True)
    sys.exit(1)


def _replace_what_cannot_be_encoded() -> None:
    """Print question marks for characters that the encoding of the output lacks, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")


def _drop_output() -> None:
    """Discard buffered output: Python would try to write it again at exit, and fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
