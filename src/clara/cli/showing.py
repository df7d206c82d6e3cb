"""`clara show`: the passages that a file would be indexed as, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clara.cli.options import JsonOption
from clara.errors import DocumentError


def show(
    files: Annotated[list[Path], typer.Argument(help="Files to show.")],
    text_fields: Annotated[
        str | None, typer.Option(help="CSV and JSON: fields to index as text, comma-separated.")
    ] = None,
    title_field: Annotated[str | None, typer.Option(help="CSV and JSON: field with the title.")] = None,
    metadata_fields: Annotated[
        str | None,
        typer.Option(help="CSV and JSON: fields to keep as metadata for filters, comma-separated."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Folder of the model whose passage length applies [default: the packaged one].",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages that files would be indexed as, and what would be left out. Needs no store."""
    from clara.cli.options import field_names
    from clara.documents.options import ReadOptions
    from clara.documents.show import show as shown
    from clara.rendering.basics import one_line
    from clara.rendering.documents import print_shown

    options = ReadOptions(field_names(text_fields), title_field, field_names(metadata_fields))
    documents = []
    has_failed = False
    for file in files:
        try:
            documents += shown(file, options, model)
        except DocumentError as error:
            has_failed = True
            typer.echo(f"Error: {one_line(str(error))}", err=True)
    if documents or as_json:
        print_shown(documents, as_json=as_json)
    if has_failed:
        raise typer.Exit(1)
