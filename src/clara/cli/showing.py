"""`clara show`: what would be indexed of files, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clara.cli.options import JsonOption
from clara.errors import DocumentError


def show(
    files: Annotated[list[Path], typer.Argument(help="Files to show.")],
    text_fields: Annotated[
        str | None, typer.Option(help="Of records: the fields that are the text, joined by commas.")
    ] = None,
    title_field: Annotated[str | None, typer.Option(help="Of records: the field of a title.")] = None,
    metadata_fields: Annotated[
        str | None, typer.Option(help="Of records: the fields to filter on, joined by commas.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="Folder of the model whose lengths count; the packaged one if not given."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would be indexed of files, passage by passage, and what would be left out; needs no store."""
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
