"""Haystack's own tests of document stores, whose mixins come with haystack-ai."""

from __future__ import annotations

import pytest

pytest.importorskip("haystack", reason="haystack-ai is not installed (extra haystack)")

from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.testing.document_store import DocumentStoreBaseExtendedTests

from clara import Library
from clara.integrations.haystack import ClaraDocumentStore


def without_embedding(documents: list[Document]) -> list[dict[str, object]]:
    """What is stored of documents: all but given embeddings. The order is the store's, by id."""
    fields = [document.to_dict(flatten=False) for document in documents]
    return sorted(({**each, "embedding": None} for each in fields), key=lambda each: str(each["id"]))


class TestDocumentStore(DocumentStoreBaseExtendedTests):
    @pytest.fixture
    def document_store(self, empty: Library) -> ClaraDocumentStore:
        return ClaraDocumentStore(library=empty)

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        assert without_embedding(received) == without_embedding(expected)

    def test_write_documents(self, document_store: ClaraDocumentStore) -> None:
        # the base class leaves it to each store what it does without a policy: here as with FAIL
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError, match="is stored already"):
            document_store.write_documents([document], DuplicatePolicy.NONE)
        self.assert_documents_are_equal(document_store.filter_documents(), [document])
