"""Haystack's own tests of the asynchronous methods of document stores; they need pytest-asyncio."""

from __future__ import annotations

import pytest

pytest.importorskip("haystack", reason="haystack-ai is not installed (extra haystack)")
pytest.importorskip(
    "pytest_asyncio", reason="pytest-asyncio is not installed; run scripts/conformance-integrations"
)

from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
)

from clara import Library
from clara.integrations.haystack import ClaraDocumentStore
from tests.integrations.test_haystack_standard import without_embedding


class TestDocumentStoreAsync(
    CountDocumentsAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
):
    @pytest.fixture
    def document_store(self, empty: Library) -> ClaraDocumentStore:
        return ClaraDocumentStore(library=empty)

    @staticmethod
    def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
        assert without_embedding(received) == without_embedding(expected)

    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store: ClaraDocumentStore) -> None:
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError, match="is stored already"):
            await document_store.write_documents_async([document])
        self.assert_documents_are_equal(await document_store.filter_documents_async(), [document])
