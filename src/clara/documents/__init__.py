"""From paths to passages: find the files, read them as documents, cut the documents to the model's size.

No function here needs the model; `cut` is told how long a text is by the counter that it is given.
"""

from clara.documents.discover import FoundFiles, find_files
from clara.documents.options import ReadOptions
from clara.documents.parts import FilePart, file_of, source_of
from clara.documents.passages import cut
from clara.documents.readers import (
    READER_VERSION,
    SUFFIXES,
    file_parts,
    read_document,
    read_documents,
    read_part,
    read_stream,
)
from clara.documents.show import ShownDocument, show

__all__ = [
    "READER_VERSION",
    "SUFFIXES",
    "FilePart",
    "FoundFiles",
    "ReadOptions",
    "ShownDocument",
    "cut",
    "file_of",
    "file_parts",
    "find_files",
    "read_document",
    "read_documents",
    "read_part",
    "read_stream",
    "show",
    "source_of",
]
