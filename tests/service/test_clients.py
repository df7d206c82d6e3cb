"""A running server through OpenAI's client, and its responses against the types of Open Responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pydantic
import pytest

from clara.library import Library

openai = pytest.importorskip("openai", reason="OpenAI's client is not installed")
types = pytest.importorskip("openresponses_types.types", reason="openresponses-types is not installed")

QUESTION = "When was the Brooklyn Bridge opened?"
TALK: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": "1883"},
    {"role": "user", "content": "How long is its main span?"},
]
BRIDGE = "How long is its main span? (Brooklyn Bridge)"


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_models(client: Any) -> None:
    assert [one.id for one in client.models.list()] == ["clara", "clara/notes"]
    assert client.models.retrieve("clara/notes").owned_by == "clara"
    with pytest.raises(openai.NotFoundError, match="There is no model 'gpt'"):
        client.models.retrieve("gpt")


def test_chat(client: Any, library: Library) -> None:
    expected = library.ask(BRIDGE)
    completion = client.chat.completions.create(model="clara/notes", messages=TALK, temperature=0.7)
    (choice,) = completion.choices
    assert (choice.message.content, choice.finish_reason) == (expected.text, "stop")
    assert choice.message.annotations[0].url_citation.title == "The Brooklyn Bridge"
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    with pytest.raises(openai.BadRequestError, match="holds no text"):
        client.chat.completions.create(model="clara", messages=[{"role": "user", "content": " "}])


def test_chat_streamed(client: Any, library: Library) -> None:
    chunks = list(
        client.chat.completions.create(
            model="clara", messages=TALK, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == library.ask(BRIDGE).text
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0
    with client.chat.completions.stream(model="clara", messages=TALK) as stream:
        assert stream.get_final_completion().choices[0].message.content == text


def test_responses(client: Any, library: Library) -> None:
    expected = library.ask(QUESTION)
    response = client.responses.create(model="clara", input=QUESTION)
    assert response.output_text == expected.text
    search, message = response.output
    assert [one.text for one in search.results] == [one.text for one in expected.sources]
    assert message.content[0].annotations[0].filename == "brooklyn-bridge.md"


def test_responses_streamed(client: Any, library: Library) -> None:
    with client.responses.stream(model="clara", input=TALK) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == library.ask(BRIDGE).text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


def test_embeddings(client: Any, library: Library) -> None:
    texts = ["The bridge opened in 1883.", "Titan is a moon."]
    keys = library.clara.compress(texts)[1]
    assert keys is not None
    for options in ({}, {"encoding_format": "float"}):  # the client asks for base64 by itself
        data = client.embeddings.create(model="clara", input=texts, **options).data
        np.testing.assert_allclose([one.embedding for one in data], keys, atol=2e-3)
    short = client.embeddings.create(model="clara", input=texts[0], dimensions=64).data[0].embedding
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(short, keys[0, :64] / np.linalg.norm(keys[0, :64]), atol=4e-3)


def test_vector_store_search(client: Any, library: Library) -> None:
    page = client.vector_stores.search("notes", query=QUESTION, max_num_results=3)
    assert [one.content[0].text for one in page.data] == [
        hit.stored.passage.text for hit in library.search(QUESTION, 3)
    ]
    assert page.data[0].filename == "brooklyn-bridge.md"
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.search("nowhere", query=QUESTION)


EVENTS = {
    kind.value: model
    for name, model in vars(types).items()
    if name.endswith("StreamingEvent")
    for kind in model.model_fields["type"].annotation
}
UNKNOWN = ("file_search_call", "file_citation")
"""What OpenAI's responses hold and these types, which are of many makers, do not know yet."""


def known(value: Any) -> Any:
    """A value without what the types do not know; None where it is that itself."""
    if isinstance(value, list):
        return [known(one) for one in value if known(one) is not None]
    if isinstance(value, dict):
        return None if value.get("type") in UNKNOWN else {name: known(one) for name, one in value.items()}
    return value


def test_responses_are_those_of_the_types(server: str) -> None:
    body = httpx2.post(f"{server}/v1/responses", json={"input": QUESTION}, timeout=60).json()
    types.ResponseResource.model_validate(known(body))
    with pytest.raises(pydantic.ValidationError):  # else `UNKNOWN` is known by now
        types.ResponseResource.model_validate(body)
    for fault in ({"status": 3}, {"output": [{"type": "message"}]}, {"usage": {}}, {"created_at": "now"}):
        with pytest.raises(pydantic.ValidationError):
            types.ResponseResource.model_validate({**known(body), **fault})


def test_events_of_responses_are_those_of_the_types(server: str) -> None:
    text = httpx2.post(f"{server}/v1/responses", json={"input": QUESTION, "stream": True}, timeout=60).text
    events = [
        json.loads(line.removeprefix("data: "))
        for line in text.splitlines()
        if line.startswith("data: ") and "[DONE]" not in line
    ]
    checked = []
    for event in events:
        if known(event.get("item", event)) is not None and known(event.get("annotation", event)) is not None:
            EVENTS[event["type"]].model_validate(known(event))
            checked.append(event["type"])
    assert checked[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert "response.output_text.delta" in checked
    assert checked[-1] == "response.completed"
    # the search's item, begun and done, and the citation
    assert len(checked) == len(events) - 3
