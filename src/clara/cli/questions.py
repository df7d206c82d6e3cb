"""Questions from an argument or the standard input, and the errors for unusable ones."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand

from clara.errors import InputError

STDIN = "-"
"""In the place of a question: questions are read from the standard input."""

_TAKEN_FOR_OPTIONS = re.compile(r"-[^=]*\s")


class QuestionCommand(TyperCommand):
    """A command with a question; explains how to quote one that was parsed as several words or as options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)  # parsing uses up what it is given
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # a usage error, whose class lies elsewhere in each version of typer
            message = str(getattr(error, "message", ""))
            if any(map(_TAKEN_FOR_OPTIONS.match, given)):
                hint = f"put a question that begins with a hyphen after --: {ctx.command_path} -- QUESTION"
            elif "extra argument" in message:
                hint = f'write the question in quotes, as in: {ctx.command_path} "What is gzip?"'
            else:
                raise
            error.message = f"{message.rstrip('.')}; {hint}"  # type: ignore[attr-defined]
            raise


def check_question(question: str) -> None:
    """Raise InputError for a question that is empty or no text."""
    check_text("question", question)
    if not question.strip():
        raise InputError("The question is empty; pass a question.")


def check_text(name: str, text: str) -> None:
    """Raise InputError for an argument whose bytes are not UTF-8; Python keeps them as half characters."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The {name} {text!r} is not valid UTF-8; encode it as UTF-8.") from error


def typed_questions() -> Iterator[str]:
    """Non-blank lines of the standard input, each as soon as it is read; a terminal gets a prompt."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    is_person = sys.stdin.isatty()
    while True:
        if is_person:
            typer.echo("Question: ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            break
        if line.strip():
            yield line.strip()
    if is_person:
        typer.echo(err=True)  # the prompt's line has no end
