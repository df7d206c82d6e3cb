"""Every route against what the library says, and what is refused."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import clara.service as service_package
from clara.errors import ClaraError
from clara.library import Library
from clara.service.app import create_app
from clara.service.engine import Asked, Found
from clara.service.service import Service
from clara.service.settings import Limits, Settings

QUESTION = "When was the Brooklyn Bridge opened?"


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def added(client: TestClient, store: str, name: str, content: bytes) -> dict[str, Any]:
    """Upload a file and wait until it is in."""
    one: dict[str, Any] = client.post(f"/api/stores/{store}/uploads/{name}", content=content).json()
    end = time.monotonic() + 30
    while one["state"] in ("waiting", "working") and time.monotonic() < end:
        time.sleep(0.02)
        one = client.get(f"/api/additions/{one['id']}").json()
    return one


def test_an_answer_is_the_librarys(client: TestClient, library: Library) -> None:
    expected = library.ask(QUESTION)
    found = client.post("/api/stores/notes/ask", json={"question": QUESTION}).json()
    assert found["text"] == expected.text
    assert found["confidence"] == pytest.approx(expected.confidence)
    assert [one["id"] for one in found["sources"]] == [one.id for one in expected.sources]
    evidence = [one["evidence"] and one["evidence"]["text"] for one in found["sources"]]
    assert evidence == [one.evidence and one.evidence.text for one in expected.sources]


def test_a_stream_holds_sources_then_text_then_the_answer(client: TestClient, library: Library) -> None:
    found = events(client.post("/api/stores/notes/ask", json={"question": QUESTION, "stream": True}).text)
    assert [one["type"] for one in found] == ["sources", "text", "answer"]
    assert found[1]["text"] == found[2]["answer"]["text"] == library.ask(QUESTION).text


def test_many_at_once_get_what_they_get_alone(client: TestClient, service: Service) -> None:
    questions = [
        QUESTION,
        "How long is the Golden Gate Bridge?",
        "What is the largest moon of Saturn?",
        "Who designed the Eiffel Tower?",
        "How long is the Suez Canal?",
        "When was Voyager 1 launched?",
    ]

    def ask(question: str) -> str:
        return str(client.post("/api/stores/notes/ask", json={"question": question}).json()["text"])

    alone = [ask(question) for question in questions]
    together = [""] * len(questions)

    def put(at: int) -> None:
        together[at] = ask(questions[at])

    threads = [threading.Thread(target=put, args=(at,)) for at in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert 'clara_batch_jobs_count{kind="ask"}' in service.metrics.text().decode()


def test_searches_together_find_what_each_finds(service: Service, client: TestClient) -> None:
    asked = [
        Asked("notes", QUESTION, 3),
        Asked("notes", "Who designed the Eiffel Tower?", 3, ("format=pdf",)),
        Asked("notes", "why " * 300),
        Asked("empty", "Who?"),
        Asked("notes", "What is the largest moon of Saturn?", 3),
    ]

    def ids(found: Found | Exception) -> object:
        return [one.id for one in found.sources] if isinstance(found, Found) else str(found)

    for questions in (asked, asked[:2] + asked[4:]):
        together = service.engine.search_together(questions)
        assert [ids(one) for one in together] == [ids(_alone(service, one)) for one in questions]


def _alone(service: Service, asked: Asked) -> Found | Exception:
    try:
        return service.engine.search(asked)
    except ClaraError as error:
        return error


def test_search_shows_hits_and_steps(client: TestClient, library: Library) -> None:
    found = client.post("/api/stores/notes/search", json={"question": QUESTION, "k": 3, "context": 1}).json()
    assert [one["id"] for one in found["results"]] == [hit.stored.id for hit in library.search(QUESTION, 3)]
    assert [step["name"] for step in found["steps"]] == [
        step.name for step in library.explain(QUESTION, 3).steps
    ]
    assert found["results"][0]["text"] in found["results"][0]["context"]


def test_follow_ups_keep_their_subject(client: TestClient) -> None:
    body = {"question": "How long is its main span?", "before": [QUESTION]}
    found = client.post("/api/stores/notes/ask", json=body).json()
    assert found["question"] == "How long is its main span? (Brooklyn Bridge)"
    assert found["sources"][0]["name"] == "brooklyn-bridge.md"


def test_chat_streams_sources_as_open_webui_reads_them(client: TestClient, library: Library) -> None:
    body = {"model": "clara/notes", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    first, *others = events(client.post("/v1/chat/completions", json=body).text)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    data = first["event"]["data"]
    expected = library.ask(QUESTION)
    assert data["document"] == [one.text for one in expected.sources]
    assert data["distances"] == pytest.approx([one.score for one in expected.sources])
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in others)
    assert text == expected.text
    assert others[-1]["choices"][0]["finish_reason"] == "stop"


def test_chat_tasks_of_open_webui_do_not_reach_the_documents(client: TestClient) -> None:
    prompt = (
        '### Task:\nGenerate a title, JSON {"title": ""}\n<chat_history>\nUSER: Bridges?\n</chat_history>'
    )
    body = {"messages": [{"role": "user", "content": prompt}]}
    found = client.post("/v1/chat/completions", json=body).json()
    assert json.loads(found["choices"][0]["message"]["content"]) == {"title": "Bridges?"}


def test_a_list_of_sources_is_appended_when_asked_for(client: TestClient) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "list_sources": True}
    content = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert "\n\nSources:\n1. [" in content


def test_embeddings_are_the_librarys_keys(client: TestClient, library: Library) -> None:
    texts = ["The bridge opened in 1883.", "Titan is a moon."]
    keys = library.clara.compress(texts)[1]
    assert keys is not None
    data = client.post("/v1/embeddings", json={"input": texts}).json()["data"]
    np.testing.assert_allclose([one["embedding"] for one in data], keys, atol=2e-3)
    body = {"input": QUESTION, "encoding_format": "base64", "dimensions": 64, "input_type": "query"}
    raw = base64.b64decode(client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"])
    vector = library.clara.encode_query(QUESTION)[:64]
    np.testing.assert_allclose(np.frombuffer(raw, "<f4"), vector / np.linalg.norm(vector), atol=2e-3)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_rerank_orders_documents(client: TestClient, path: str) -> None:
    documents: list[Any] = ["Dogs bark.", {"text": "The bridge opened on 24 May 1883."}, "Titan is a moon."]
    body = {"query": QUESTION, "documents": documents, "top_n": 2}
    results = client.post(path, json=body).json()["results"]
    assert len(results) == 2
    assert results[0]["index"] == 1
    assert results[0]["relevance_score"] > results[1]["relevance_score"]


def test_vector_store_search_takes_filters(client: TestClient, library: Library) -> None:
    body = {
        "query": "bridge",
        "max_num_results": 3,
        "filters": {"type": "eq", "key": "format", "value": "pdf"},
    }
    data = client.post("/v1/vector_stores/notes/search", json=body).json()["data"]
    hits = library.search("bridge", 3, where=["format=pdf"])
    assert [one["content"][0]["text"] for one in data] == [hit.stored.passage.text for hit in hits]
    assert {one["filename"] for one in data} == {"eiffel-tower.pdf"}


def test_documents_come_are_read_and_go(client: TestClient, service: Service) -> None:
    one = added(client, "empty", "cheese.md", b"# Cheese\n\nThe moon is made of green cheese.")
    assert one["state"] == "done", one
    (document,) = client.get("/api/stores/empty/documents").json()["documents"]
    assert (document["name"], document["title"]) == ("cheese.md", "Cheese")
    path = f"/api/stores/empty/documents/{document['id']}"
    assert "green cheese" in client.get(path).json()["text"][0]["text"]
    original = client.get(f"{path}/file")
    assert original.headers["content-type"] == "text/plain; charset=utf-8"
    assert original.text.startswith("# Cheese")
    answer = client.post("/api/stores/empty/ask", json={"question": "What is the moon made of?"}).json()
    assert "cheese" in answer["text"]
    added(client, "empty", "cheese.md", b"# Cheese\n\nThe moon is made of rock.")
    assert "rock" in client.get(path).json()["text"][0]["text"]
    assert client.delete(path).json() == {"removed": 1}
    assert client.get("/api/stores/empty/documents").json()["documents"] == []
    assert list((service.engine.paths["empty"] / "files").iterdir()) == []


def test_what_cannot_be_read_fails_and_can_be_tried_again(client: TestClient) -> None:
    one = added(client, "empty", "broken.pdf", b"no PDF")
    assert one["state"] == "failed"
    assert one["message"].startswith("broken.pdf ")
    again = client.post(f"/api/additions/{one['id']}/retry")
    assert again.status_code == 202
    for name, content in (("a.exe", b"x"), ("empty.txt", b""), ("noending", b"x")):
        assert client.post(f"/api/stores/empty/uploads/{name}", content=content).status_code == 400


def test_a_memory_is_shown(client: TestClient, library: Library) -> None:
    (hit,) = library.search(QUESTION, 1)
    found = client.get(f"/api/stores/notes/passages/{hit.stored.id}/memory").json()
    (memory,) = library.store.memories([hit.stored.id])
    assert (found["rows"], found["size"]) == memory.shape
    assert len(found["inspection"]["nearest"]) == len(memory)
    held = " ".join(near["text"] for row in found["inspection"]["nearest"] for near in row)
    words = [word["text"].lower() for word in found["inspection"]["words"]]
    assert set(words) & set(held.split()) >= {word for word in words if word in ("main", "span", "1903")}
    assert sum(word["weight"] for word in found["inspection"]["words"]) == pytest.approx(1)


def test_models_health_metrics_and_info(client: TestClient, library: Library) -> None:
    data = client.get("/v1/models").json()["data"]
    assert [one["id"] for one in data] == ["clara", "clara/notes", "clara/empty"]
    assert client.get("/v1/models/clara/notes").json()["id"] == "clara/notes"
    assert client.get("/health").json() == {"status": "ready"}
    assert "clara_requests_total" in client.get("/metrics").text
    assert client.get("/api/info").json()["model"]["fingerprint"] == library.clara.fingerprint
    assert client.get("/api/stores/notes").json()["passages"] == library.store.num_passages


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/stores/notes/ask", {"question": " "}, 400),
        ("POST", "/api/stores/notes/ask", {"question": "why " * 200}, 400),
        ("POST", "/api/stores/notes/ask", {"question": "a", "k": 0}, 400),
        ("POST", "/api/stores/notes/ask", {"question": "a", "where": ["colour~red"]}, 400),
        ("POST", "/api/stores/nowhere/ask", {"question": "a"}, 404),
        ("POST", "/api/stores/empty/ask", {"question": "Who?"}, 400),
        ("GET", "/api/stores/notes/documents/unknown", None, 404),
        ("GET", "/api/stores/notes/documents/..%2F..%2Fetc%2Fpasswd/file", None, 404),
        ("GET", "/api/stores/notes/passages/999999/memory", None, 409),
        ("POST", "/v1/chat/completions", {"messages": []}, 400),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "system", "content": "x"}]}, 400),
        ("POST", "/v1/chat/completions", {"model": "gpt", "messages": [{"content": "x"}]}, 404),
        ("POST", "/v1/embeddings", {"input": "x", "dimensions": 9999}, 400),
        ("POST", "/v1/vector_stores/notes/search", {"query": "x", "filters": {"type": "or"}}, 400),
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/v1/models", None, 405),
    ],
)
def test_bad_requests_get_one_sentence(
    client: TestClient, method: str, path: str, body: Any, status: int
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_the_page_has_a_strict_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "<script src=" in answer.text
    for name in ("page.js", "page.css"):
        assert client.get(f"/{name}").status_code == 200


def test_the_script_of_the_page_is_sound() -> None:
    playwright = pytest.importorskip("playwright", reason="Playwright carries Node.js")
    node = Path(playwright.__file__).parent / "driver" / "node"
    script = Path(service_package.__file__).parent / "page" / "page.js"
    done = subprocess.run([node, "--check", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_hosts_origins_and_sizes_are_checked(client: TestClient) -> None:
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/health", headers={"host": "localhost:8000"}).status_code == 200
    assert client.get("/health", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/health", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    assert client.get("/health", headers={"origin": "http://127.0.0.1:9"}).status_code == 403
    large = {"question": "a" * (3 << 20)}
    assert client.post("/api/stores/notes/ask", json=large).status_code == 413

    def chunks() -> Any:
        for _ in range(5):
            yield b" " * (1 << 20)

    assert client.post("/api/stores/notes/ask", content=chunks()).status_code == 413
    assert len(client.get("/health").headers["x-request-id"]) == 32
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"


def test_a_key_is_asked_for(tmp_path: Path, service: Service) -> None:
    settings = Settings(
        [tmp_path / "new"], model="extractive", keys=("correct-key",), origins=("https://ok.example",)
    )
    app = create_app(settings, service=Service(settings), own_key="own")
    opened = TestClient(app, base_url="http://127.0.0.1:8000")  # without its life: no model is loaded
    assert opened.get("/").status_code == 200
    assert opened.get("/api/info").status_code == 401
    for key, status in (("wrong", 401), ("correct-key", 200), ("own", 200)):
        assert opened.get("/api/info", headers={"authorization": f"Bearer {key}"}).status_code == status
    assert opened.get("/api/info", headers={"x-api-key": "correct-key"}).status_code == 200
    asked = opened.get("/health", headers={"origin": "https://ok.example"})
    assert asked.headers["access-control-allow-origin"] == "https://ok.example"


def test_nothing_is_open_to_the_network_without_a_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a key"):
        Settings([tmp_path], model="extractive", host="0.0.0.0")
    settings = Settings([tmp_path], model="extractive", host="0.0.0.0", keys=("long-enough",))
    opened = TestClient(create_app(settings), base_url="http://127.0.0.1:8000")
    for host, status in (
        ("127.0.0.1", 401),
        ("10.0.0.7:8000", 401),
        ("[::1]:8000", 401),
        ("evil.example", 403),
    ):
        assert opened.get("/api/info", headers={"host": host}).status_code == status


def test_a_server_that_only_answers_takes_no_documents(made_store: Path) -> None:
    settings = Settings([made_store], model="extractive", device="cpu", allow_writes=False)
    opened = TestClient(create_app(settings), base_url="http://127.0.0.1:8000")
    assert opened.post("/api/stores/notes/uploads/a.txt", content=b"a").status_code == 403
    assert opened.delete("/api/stores/notes/documents/x").status_code == 403


def test_full_queues_and_late_answers_are_told(made_store: Path) -> None:
    limits = Limits(queue=1, seconds=0.3)
    service = Service(Settings([made_store], model="extractive", device="cpu", limits=limits))
    service.engine.load()
    service._loaded.set()  # the model is there, but nobody works
    opened = TestClient(create_app(service.settings, service=service), base_url="http://127.0.0.1:8000")
    asked = {"question": QUESTION}
    assert opened.post("/api/stores/notes/ask", json=asked).status_code == 504
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(opened.post("/api/stores/notes/ask", json=asked).status_code)
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [429, 429, 504]
    service.engine.close()


def test_uploads_that_an_earlier_server_left_are_added(store: Path) -> None:
    (store / "files").mkdir()
    (store / "files" / "left.txt").write_text("The left file tells of green cheese.", encoding="utf-8")
    (store / "files" / ".half.part").write_text("half", encoding="utf-8")
    service = Service(Settings([store], model="extractive", device="cpu"))
    service.start()
    service.wait()
    end = time.monotonic() + 30
    while service.uploads.all("notes")[0].state != "done" and time.monotonic() < end:
        time.sleep(0.02)
    assert any(one.source.endswith("left.txt") for one in service.engine.documents("notes"))
    assert [file.name for file in (store / "files").iterdir()] == ["left.txt"]
    service.stop()
