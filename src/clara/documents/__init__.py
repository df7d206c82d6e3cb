"""From paths to passages: find the files, read them as documents, cut the documents to the model's size.

No function here needs the model; `cut` is told how long a text is by the counter that it is given.
"""

from clara.documents.discover import find_files
from clara.documents.passages import cut
from clara.documents.readers import SUFFIXES, read_document

__all__ = ["SUFFIXES", "cut", "find_files", "read_document"]
