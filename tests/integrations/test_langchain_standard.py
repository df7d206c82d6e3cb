"""LangChain's own tests (langchain-tests) of its retriever, embeddings, chat model and vector store."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip(
    "langchain_tests", reason="langchain-tests is not installed; run scripts/conformance-integrations"
)

from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests

from clara import Clara, Library
from clara.integrations.langchain import ChatClara, ClaraEmbeddings, ClaraRetriever, ClaraVectorStore
from tests.integrations.conftest import QUESTION


class OfLibrary:
    """Gives the tests, which ask for no fixture, the library."""

    library: Library

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def keep(cls, library: Library) -> None:
        cls.library = library


class TestRetriever(OfLibrary, RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[ClaraRetriever]:
        return ClaraRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"library": self.library}

    @property
    def retriever_query_example(self) -> str:
        return QUESTION


class OfModel:
    """What is tested of the embeddings."""

    clara: Clara

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def keep(cls, clara: Clara) -> None:
        cls.clara = clara

    @property
    def embeddings_class(self) -> type[ClaraEmbeddings]:
        return ClaraEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"clara": self.clara}


class TestEmbeddings(OfModel, EmbeddingsIntegrationTests):
    pass


class TestEmbeddingsUnit(OfModel, EmbeddingsUnitTests):
    pass


class OfChat(OfLibrary):
    """What is tested of the chat model: it calls no tools, reads text alone, and counts no tokens."""

    @property
    def chat_model_class(self) -> type[ChatClara]:
        return ChatClara

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"library": self.library}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def returns_usage_metadata(self) -> bool:
        return False


class TestChat(OfChat, ChatModelIntegrationTests):
    pass


class TestChatUnit(OfChat, ChatModelUnitTests):
    pass


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, empty: Library) -> ClaraVectorStore:  # type: ignore[override]
        return ClaraVectorStore(empty)
