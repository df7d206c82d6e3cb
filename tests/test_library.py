"""The pipeline and the library on a tiny model: against slow twins, over changes of files, on bad input."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from clara import indexing
from clara.documents import READER_VERSION, read_stream
from clara.errors import InputError, PromptError, StoreError, StoreMismatchError
from clara.library import Library, Progress
from clara.pipeline import Clara
from clara.processing import MemorySlot, TextSlot, collate_prompts, collate_texts
from clara.records import Document
from clara.roles import LowRank
from clara.store.maintenance import check
from conftest import WORDS, tiny_model


@pytest.fixture(scope="module", params=["bert", "llama"])
def clara(request: pytest.FixtureRequest) -> Clara:
    model, processor = tiny_model(request.param)
    return Clara(model, processor, f"tiny-{request.param}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of several passages each."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(3):
        words = [WORDS[(number * 17 + place * 7) % len(WORDS)] for place in range(30)]
        (documents / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
    return documents


@pytest.fixture
def library(clara: Clara, tmp_path: Path) -> Iterator[Library]:
    with Library(clara, tmp_path / "store") as opened:
        yield opened


class _FirstOperation(TorchFunctionMode):
    """Notes the frames between a function and the first operation on tensors below it."""

    def __init__(self, top: Callable[..., object]) -> None:
        super().__init__()
        self.top = top.__code__
        self.frames: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if not self.frames:
            frame = sys._getframe(1)
            while frame.f_back and frame.f_code is not self.top:
                self.frames.append(frame.f_code.co_qualname)
                frame = frame.f_back
        return function(*args, **(kwargs or {}))


def test_a_question_reaches_the_first_tensor_operation_within_ten_frames(
    library: Library, folder: Path
) -> None:
    library.add(folder)
    with _FirstOperation(Library.ask) as first:
        library.ask("w3 w10 w17")
    assert 0 < len(first.frames) <= 10, first.frames


def test_a_store_of_another_precision_is_told(
    clara: Clara, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Library(clara, tmp_path / "store") as library:
        assert library.store.info().precision == clara.precision == "float32"
    assert not caplog.messages
    monkeypatch.setattr(clara.model, "reads_in_bfloat16", True)
    Library(clara, tmp_path / "store", read_only=True).close()
    (message,) = caplog.messages
    assert all(fact in message for fact in (str(tmp_path / "store"), "float32", "bfloat16"))


def test_search_is_the_brute_force_ranking(clara: Clara, library: Library, folder: Path) -> None:
    library.add(folder)
    question = "w3 w10 w17"
    hits = library.search(question, k=100)
    ids = [hit.stored.id for hit in hits]
    contents = [stored.passage.content for stored in library.store.passages(ids)]
    model, processor = clara.model, clara.processor
    query = model.encode_query(*collate_texts(processor.encode_questions([question])))
    expected = []
    for content in contents:
        memory = model.compress(*collate_texts(processor.encode_documents([content])))
        expected.append(model.score(query, memory).item())
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=2e-3)
    assert len(hits) == library.store.num_passages
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


@pytest.mark.parametrize("num_text", [0, 1, 3])
def test_an_answer_is_what_the_model_generates_from_the_stored_memories(
    clara: Clara, library: Library, folder: Path, num_text: int
) -> None:
    library.add(folder)
    question = "w1 w2"
    answer = library.ask(question, k=3, text_passages=num_text, max_new_tokens=5)
    hits = library.search(question, k=3)
    memories = [
        torch.from_numpy(memory).float() for memory in library.store.memories([hit.stored.id for hit in hits])
    ]
    texts = clara.processor.encode_documents([hit.stored.passage.content for hit in hits])
    slots = [TextSlot(text) for text in texts[:num_text]] + [MemorySlot(len(m)) for m in memories[num_text:]]
    held = torch.cat([*memories[num_text:], torch.zeros(0, clara.model.hidden_size)])
    prompt = clara.processor.prompt(question, slots)
    (written,) = clara.model.write(
        collate_prompts([prompt]), [held], end_token_id=clara.processor.end_token_id, max_new_tokens=5
    )
    assert answer.text.lower() == clara.processor.decode_answer(written.ids).lower()
    assert [source.read_as for source in answer.sources] == ["text"] * num_text + ["memory"] * (3 - num_text)
    assert "".join(library.ask_stream(question, k=3, text_passages=num_text, max_new_tokens=5)) == answer.text


def test_an_answer_says_where_it_is_from_and_how_sure_it_is(library: Library, folder: Path) -> None:
    library.add(folder)
    answer = library.ask("w1 w2", k=3, max_new_tokens=2)
    assert answer.confidence is not None
    if not library.clara.model.answers_at_once:
        assert (answer.taken_from, answer.is_doubtful) == (None, False)
        assert answer.confidence <= 0
        return
    texts = {source.id: source.text for source in answer.sources}
    assert answer.text in texts[answer.taken_from or 0]
    assert answer.is_doubtful == (answer.confidence < 0)


def test_scores_of_a_search_count_in_reading_where_the_model_says_so(tmp_path: Path, folder: Path) -> None:
    """By so much that the best match alone is read, or not at all."""
    question = "w3 w10 w17"
    for weight in (0.0, 1e6):
        clara = Clara(*tiny_model("bert", score="words", prior_weight=weight), name="tiny")
        with Library(clara, tmp_path / str(weight)) as library:
            library.add(folder)
            answer = library.ask(question, k=4)
            hits = library.search(question, k=4)
            assert [source.id for source in answer.sources] == [hit.stored.id for hit in hits]
            documents = library.store.memories([hit.stored.id for hit in hits])
            best = max(range(4), key=lambda at: hits[at].score)
            assert best == 0
            (plain,) = clara.read([question], [documents])
            (alone,) = clara.read([question], [documents[:1]])
            (heeded,) = clara.read([question], [documents], scores=[[hit.score for hit in hits]])
            assert alone.text != plain.text
            assert heeded.text == answer.text == (alone.text if weight else plain.text)
            assert "".join(library.ask_stream(question, k=4)) == answer.text
            nothing, again = clara.read([question] * 2, [[], documents[:1]], scores=[[], [hits[0].score]])
            assert (nothing.text, again.text) == ("", alone.text)


def test_answers_do_not_depend_on_the_batch(clara: Clara, texts: list[str]) -> None:
    questions = ["w5 w6", "w7", "w8 w9 w10"]
    groups = [texts[:1], texts[1:4], texts[2:4]]
    together = clara.answer(questions, groups, max_new_tokens=4)
    alone = [
        clara.answer([question], [group], max_new_tokens=4)[0]
        for question, group in zip(questions, groups, strict=True)
    ]
    assert together == alone


def test_compression_does_not_depend_on_the_batch_or_the_order(clara: Clara, texts: list[str]) -> None:
    together, keys = clara.compress(texts)
    for index, text in enumerate(texts):
        (alone,), key = clara.compress([text])
        np.testing.assert_allclose(together[index].astype(float), alone.astype(float), atol=2e-3)
        if keys is not None and key is not None:
            np.testing.assert_allclose(keys[index].astype(float), key[0].astype(float), atol=1e-3)


def test_documents_can_be_found_by_keys_of_the_query_reasoner(texts: list[str]) -> None:
    model, processor = tiny_model("bert", embedding_role="query_reasoner")
    _, keys = Clara(model, processor, "tiny").compress(texts)
    _, own = Clara(*tiny_model("bert"), "tiny").compress(texts)
    expected = model.encode_query(*collate_texts(processor.encode_documents(texts))).means
    assert keys is not None
    np.testing.assert_allclose(
        keys.astype(float), torch.nn.functional.normalize(expected, dim=-1).detach().numpy(), atol=1e-3
    )
    assert not np.allclose(keys, own, atol=1e-2)


def test_only_what_changed_is_compressed_again(library: Library, folder: Path) -> None:
    first = library.add(folder)
    assert (first.added, first.replaced, first.unchanged, first.refused) == (3, 0, 0, [])
    assert first.passages == library.store.num_passages
    assert library.add(folder).unchanged == 3

    (folder / "1.txt").write_text("w1 w2 w3", encoding="utf-8")
    (folder / "2.txt").unlink()
    (folder / "new.md").write_text("# w4\n\nw5 w6", encoding="utf-8")
    changed = library.add(folder)
    assert (changed.added, changed.replaced, changed.unchanged, changed.removed) == (1, 1, 1, 0)
    assert len(library.store.documents()) == 4

    removed = library.add(folder, remove_missing=True)
    assert (removed.unchanged, removed.removed) == (3, 1)
    assert {Path(document.source).name for document in library.store.documents()} == {
        "0.txt",
        "1.txt",
        "new.md",
    }


def test_what_cannot_be_looked_at_is_kept(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "closed").mkdir()
    closed = folder / "closed" / "a.txt"
    closed.write_text("w1 w2", encoding="utf-8")
    library.add(folder)
    (folder / "0.txt").unlink()
    look = Path.stat

    def refused(path: Path, **options: bool) -> os.stat_result:
        if path.name == "a.txt":  # as in a folder without permissions, which does not stop root
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", refused)
    report = library.add([folder / "1.txt", folder], remove_missing=True)
    assert report.removed == 1
    assert str(closed) in library.store.sources()
    assert f"files cannot be looked at: 1, the first of them {closed}." in caplog.text


def test_a_file_whose_name_is_not_utf8_stays_while_it_is_there(library: Library, folder: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(folder) + b"/bad\xffname.txt"))
    file.write_text("w1 w2 w3", encoding="utf-8")
    assert library.add(folder, remove_missing=True).added == 4
    for _ in range(2):
        report = library.add(folder, remove_missing=True)
        assert (report.added, report.unchanged, report.removed) == (0, 4, 0)
    (stored,) = (one.source for one in library.documents() if "bad" in one.source)
    assert stored == f"{folder}/bad\\udcffname.txt"
    assert [hit.stored.source for hit in library.search("w1", k=9, where="file~bad")] == [stored]
    file.unlink()
    assert library.add(folder, remove_missing=True).removed == 1


def test_a_name_that_looks_like_an_escape_is_one_of_its_own(library: Library, folder: Path) -> None:
    (folder / "odd\\udcffname.txt").write_text("w1 w2 w3", encoding="utf-8")
    library.add(folder)
    assert library.add(folder, remove_missing=True).removed == 0


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_folder_that_is_gone_takes_its_documents_along(
    library: Library, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_emptied: bool
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("w1", encoding="utf-8")
    library.add([folder, other])
    shutil.rmtree(folder)
    if is_emptied:
        folder.mkdir()
    monkeypatch.chdir(tmp_path)
    fault = "holds no file to read" if is_emptied else "documents does not exist; check the path"
    with pytest.raises(InputError, match=fault):
        library.add("documents")
    with pytest.raises(InputError, match=r"nothing does not exist"):
        library.add(["documents", "nothing"], remove_missing=True)
    with pytest.raises(InputError, match="pattern"):
        library.add("documents", ignore=["!"], remove_missing=True)
    assert len(library.documents()) == 4
    report = library.add(["documents", other], remove_missing=True)
    assert (report.removed, report.unchanged) == (3, 1)
    assert [one.source for one in library.documents()] == [str(other)]
    with pytest.raises(InputError, match=fault):  # nothing of it is known any more
        library.add("documents", remove_missing=True)


def test_a_file_that_is_gone_is_removed_by_its_name(library: Library, folder: Path) -> None:
    library.add(folder)
    (folder / "0.txt").unlink()
    report = library.add(folder / "0.txt", remove_missing=True)
    assert (report.removed, report.unchanged, len(library.documents())) == (1, 0, 2)


def test_documents_are_told_and_removed(library: Library, folder: Path) -> None:
    library.add(folder)
    library.add_texts({"note": "w1 w2"})
    sources = [one.source for one in library.documents()]
    assert sources == [*(f"{folder}/{number}.txt" for number in range(3)), "note"]
    assert library.remove("note") == 1
    assert library.remove([*sources[:2], "unknown"]) == 2
    assert [one.source for one in library.documents()] == sources[2:3]
    library.add(folder)
    assert len(library.documents()) == 3


def test_progress_ends_at_the_total(library: Library, folder: Path) -> None:
    seen: list[tuple[int, int, int]] = []

    def note(state: Progress) -> None:
        seen.append((state.files, state.bytes, state.passages))

    library.add(folder, progress=note)
    assert seen == sorted(seen)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert seen[-1] == (3, size, library.store.num_passages)


def test_a_bad_file_is_refused_and_the_others_are_stored(library: Library, folder: Path) -> None:
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 4)
    (folder / "empty.md").write_text("", encoding="utf-8")
    report = library.add(folder)
    assert report.added == 3
    assert sorted(Path(file).name for file, _ in report.refused) == ["binary.txt", "empty.md"]
    assert all(reason.endswith(".") and "\n" not in reason for _, reason in report.refused)


def test_texts_without_files(library: Library) -> None:
    assert library.add_texts({"a": "w1 w2", "b": "w3"}).added == 2
    report = library.add_texts({"a": "w1 w2", "b": "w4"})
    assert (report.unchanged, report.replaced) == (1, 1)
    assert library.search("w1", k=1)[0].stored.source in {"a", "b"}


def test_bad_questions_are_refused_in_a_sentence(library: Library, folder: Path) -> None:
    with pytest.raises(InputError, match="holds no passages"):
        library.ask("w1")
    library.add(folder)
    with pytest.raises(InputError, match="question is empty"):
        library.ask("   ")
    with pytest.raises(InputError, match="has 40 tokens, but the model reads at most 16"):
        library.ask(" ".join(["w1"] * 40))
    with pytest.raises(InputError, match="number of passages is 0"):
        library.ask("w1", k=0)
    with pytest.raises(InputError, match="read as text is -1"):
        library.ask("w1", text_passages=-1)
    with pytest.raises(InputError, match="longest answer is 0 tokens"):
        library.ask("w1", max_new_tokens=0)
    with pytest.raises(InputError, match="longest answer is 0 tokens"):
        list(library.clara.ask_stream("w1", library.store, max_new_tokens=0))


def test_nothing_asked_is_nothing_answered(clara: Clara) -> None:
    assert clara.answer([], []) == []
    assert clara.read([], []) == []


def test_a_prompt_over_the_models_positions_is_refused(tmp_path: Path) -> None:
    clara = Clara(*tiny_model("llama"), "tiny-llama")
    with Library(clara, tmp_path / "store") as library:
        library.add_texts({str(n): " ".join(WORDS[n : n + 16]) for n in range(20)})
        with pytest.raises(PromptError, match="read fewer or shorter passages"):
            library.ask("w1", k=20, text_passages=20)


def test_another_models_store_is_refused_and_kept(clara: Clara, library: Library, folder: Path) -> None:
    library.add(folder)
    library.close()
    model, processor = tiny_model("bert" if "llama" in clara.name else "llama", seed=7)
    other = Clara(model, processor, "other")
    for read_only in (True, False):
        with pytest.raises(StoreMismatchError, match=clara.name):
            Library(other, library.store.path, read_only=read_only)
    with Library(clara, library.store.path, read_only=True) as again:
        assert len(again.store.documents()) == 3


def test_files_read_ahead_are_stored_as_one_by_one(
    clara: Clara, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clara import indexing

    monkeypatch.setattr(indexing, "PASSAGES_PER_COMMIT", 3)
    monkeypatch.setattr(indexing, "READ_AHEAD", 2)
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.txt").write_text(" ".join(WORDS[number : number + 30]), encoding="utf-8")
    with Library(clara, tmp_path / "at once") as at_once, Library(clara, tmp_path / "in turn") as in_turn:
        report = at_once.add(folder)
        for file in sorted(folder.iterdir()):
            in_turn.add(file)
        assert report.added == 20
        found = [
            [(one.source, one.passage) for one in library.store.passages(range(1, report.passages + 1))]
            for library in (at_once, in_turn)
        ]
        assert found[0] == found[1]
        numbers = range(1, report.passages + 1)
        for one, other in zip(at_once.store.memories(numbers), in_turn.store.memories(numbers), strict=True):
            np.testing.assert_allclose(one, other, atol=5e-3)


def test_a_store_that_cannot_be_written_ends_the_work(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clara import indexing

    monkeypatch.setattr(indexing, "PASSAGES_PER_COMMIT", 1)

    def full(_: object) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(library.store, "add", full)
    with pytest.raises(StoreError, match="full"):
        library.add(folder)


def test_copies_are_stored_once_and_take_the_place_of_what_vanishes(library: Library, folder: Path) -> None:
    (folder / "again.txt").write_bytes((folder / "0.txt").read_bytes())
    report = library.add(folder)
    assert (report.added, report.copies) == (3, 1)
    assert library.add(folder).unchanged == 4
    copied = next(source for source, *_ in library.store.copies())
    original = next(file for file in ("0.txt", "again.txt") if not copied.endswith(file))
    passages = library.store.num_passages
    (folder / original).unlink()
    assert library.add(folder, remove_missing=True).removed == 1
    assert library.store.num_passages == passages
    assert copied in {document.source for document in library.store.documents()}


def test_of_a_changed_file_only_what_changed_is_compressed(
    clara: Clara, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.md"
    parts = [f"# {WORDS[at]}\n\n{' '.join(WORDS[at : at + 6])}\n" for at in range(4)]
    file.write_text("\n".join(parts), encoding="utf-8")
    library.add(file)
    before = {one.passage.content: one.id for one in library.store.passages_of(str(file))}
    memories = dict(zip(before, library.store.memories(list(before.values())), strict=True))
    parts[2] = f"# {WORDS[2]}\n\n{' '.join(WORDS[40:46])}\n"
    file.write_text("\n".join(parts), encoding="utf-8")
    report = library.add(file)
    assert (report.replaced, report.passages, report.kept) == (1, 1, len(before) - 1)
    after = {one.passage.content: one.id for one in library.store.passages_of(str(file))}
    for content, number in after.items():
        if content in memories:
            assert (library.store.memories([number])[0] == memories[content]).all()
    with Library(clara, tmp_path / "fresh") as fresh:
        fresh.add(file)
        hits = [(hit.stored.passage, round(hit.score, 2)) for hit in fresh.search("w3 w41", k=9)]
    assert [(hit.stored.passage, round(hit.score, 2)) for hit in library.search("w3 w41", k=9)] == hits


def test_parts_of_a_file_that_shrank_are_removed(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clara.documents.parts.PART_BYTES", 60)
    file = tmp_path / "long.txt"
    file.write_text("\n\n".join(" ".join(WORDS[at : at + 5]) for at in range(0, 40, 5)), encoding="utf-8")
    assert library.add(file).added > 2
    file.write_text(" ".join(WORDS[:5]), encoding="utf-8")
    library.add(file)
    assert list(library.store.sources()) == [str(file)]
    file.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.txt").write_text("w1", encoding="utf-8")
    report = library.add(elsewhere, remove_missing=True)
    assert (report.added, report.removed, report.gone) == (1, 0, [])  # it lies elsewhere, as on a drive
    (tmp_path / "third.txt").write_text("w2", encoding="utf-8")
    assert library.add(tmp_path).gone == [str(file)]
    assert library.add(tmp_path, remove_missing=True).removed == 1


def test_a_file_that_was_moved_is_not_compressed_again(library: Library, folder: Path) -> None:
    library.add(folder)
    before = library.store.sources()
    passages = library.store.info().passages
    (folder / "inner").mkdir()
    (folder / "0.txt").rename(folder / "inner" / "new.txt")
    report = library.add(folder)
    assert report.moved == [(str(folder / "0.txt"), str(folder / "inner" / "new.txt"))]
    assert (report.added, report.passages, report.copies, report.gone) == (0, 0, 0, [])
    assert library.store.info().passages == passages
    assert library.store.sources().keys() == before.keys() - {str(folder / "0.txt")} | {
        str(folder / "inner" / "new.txt")
    }


def test_report_names_what_was_not_taken_and_what_was_ignored(library: Library, folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"t": "w1"}\nnone\n', encoding="utf-8")
    (folder / "b.md").write_text("w2 ~~w3~~ w4", encoding="utf-8")
    (folder / "c.md").write_text("w5", encoding="utf-8")
    (folder / ".gitignore").write_text("c.*\n", encoding="utf-8")
    report = library.add(folder)
    assert report.left_out == {
        str(folder / "a.jsonl"): ["line 2 was left out: it is not valid JSON (Expecting value)"],
        str(folder / "b.md"): ["1 struck-out text left out"],
    }
    assert report.ignored == {str(folder / ".gitignore"): [str(folder / "c.md")]}
    assert report.is_lossy
    again = library.add(folder, heed=False)
    assert (again.added, again.ignored, again.unchanged) == (1, {}, 5)
    assert again.left_out == report.left_out


def test_losses_of_unchanged_files_and_copies_are_told_again(
    clara: Clara, tmp_path: Path, folder: Path
) -> None:
    for name in ("a.md", "b.md"):
        (folder / name).write_text("w2 ~~w3~~ w4", encoding="utf-8")
    told = {str(folder / name): ["1 struck-out text left out"] for name in ("a.md", "b.md")}
    with Library(clara, tmp_path / "store") as library:
        assert library.add(folder).left_out == told
    with Library(clara, tmp_path / "store") as library:
        again = library.add(folder)
        assert (again.unchanged, again.left_out, again.is_lossy) == (5, told, True)
        (document,) = (one for one in library.documents() if one.title == "a")
        assert document.left_out == ("1 struck-out text left out",)
        typed = read_stream(b"w5 ~~w6~~", "typed", ".md")
        for counts in ((1, 0), (0, 1)):
            report = library.add_documents([typed])
            assert (report.added, report.unchanged) == counts
            assert report.left_out == {"typed": ["1 struck-out text left out"]}


@pytest.mark.parametrize("is_old_store", [True, False])
def test_what_an_older_reader_read_is_read_again_and_its_passages_are_kept(
    clara: Clara, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, is_old_store: bool
) -> None:
    for name in ("3.md", "4.md", "5.md"):
        (folder / name).write_text("# w1\n\nw2 w3\n\n# w4\n\nw5 ~~w6~~ w7\n", encoding="utf-8")
    with Library(clara, tmp_path / "store") as library:
        library.add(folder)
        before, passages = library.store.sources(), library.store.num_passages
    with closing(sqlite3.connect(tmp_path / "store" / "store.sqlite3")) as database:
        database.execute("DROP TABLE readings" if is_old_store else "DELETE FROM readings")
        database.commit()
    with Library(clara, tmp_path / "store", read_only=True) as library:
        assert library.store.readings() == {}
        assert check(library.store).faults == []
    with Library(clara, tmp_path / "store") as library:
        report = library.add(folder)
        assert (report.reread, report.unchanged, report.copies) == (4, 2, 0)
        assert (report.added, report.replaced, report.passages, report.kept) == (0, 0, 0, passages)
        assert len(report.left_out) == 3
        assert (library.store.sources(), library.store.num_passages) == (before, passages)
        assert {one.version for one in library.store.readings().values()} == {READER_VERSION}
        assert len(library.store.copies()) == 2
        assert library.add(folder).unchanged == 6
        # a newer reader finds other text
        monkeypatch.setattr(indexing, "READER_VERSION", READER_VERSION + 1)
        monkeypatch.setattr(indexing, "read_part", _newer(indexing.read_part))
        report = library.add(folder / "5.md")
        assert (report.reread, report.passages, report.kept) == (1, 1, 1)
        assert library.store.sources() == before
        assert [text.passage.text for text in library.store.passages_of(str(folder / "5.md"))][1] == "w8"
        assert not library.store.passages_of(str(folder / "3.md"))  # a copy now
        assert library.add([folder / "3.md", folder / "4.md"]).unchanged == 2
        assert check(library.store).faults == []


def _newer(read_part: Callable[..., Document]) -> Callable[..., Document]:
    def read(*given: Any) -> Document:
        document = read_part(*given)
        sections = (
            *document.sections[:-1],
            replace(document.sections[-1], text="w8", units=(), line_spans=()),
        )
        return replace(document, sections=sections, reader=READER_VERSION + 1)

    return read


def test_a_moved_file_of_an_older_reader_is_read_again(library: Library, folder: Path) -> None:
    library.add(folder)
    passages = library.store.num_passages
    library.store._database._connection.execute("DELETE FROM readings")
    (folder / "inner").mkdir()
    (folder / "0.txt").rename(folder / "inner" / "0.txt")
    report = library.add(folder)
    assert report.moved == [(str(folder / "0.txt"), str(folder / "inner" / "0.txt"))]
    assert (report.reread, report.added, report.passages, report.copies) == (3, 0, 0, 0)
    assert library.store.sources().keys() == {
        str(folder / name) for name in ("1.txt", "2.txt", "inner/0.txt")
    }
    assert library.store.num_passages == passages


@pytest.mark.parametrize("name", ["0.old.txt", "00.txt", "9.txt"])  # before and after it in the folder
def test_old_state_of_a_file_that_goes_on_anew_is_stored(library: Library, folder: Path, name: str) -> None:
    library.add(folder)
    (folder / "0.txt").rename(folder / name)
    (folder / "0.txt").write_text("w1 w2 w3", encoding="utf-8")
    report = library.add(folder)
    assert library.store.sources().keys() >= {str(folder / "0.txt"), str(folder / name)}
    assert (report.added + report.replaced + report.copies, report.moved) == (2, [])
    assert library.add(folder).unchanged == 4


def test_adapters_are_merged_for_use(tmp_path: Path) -> None:
    model, processor = tiny_model("llama")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    plain = Clara.from_pretrained(tmp_path / "model", dtype=torch.float32, merge=False)
    merged = Clara.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert [any(isinstance(m, LowRank) for m in c.model.modules()) for c in (plain, merged)] == [True, False]
    assert merged.fingerprint == plain.fingerprint
    texts = ["w1 w2 w3 w4 w5", "w6 w7 w8"]
    for left, right in zip(plain.compress(texts)[0], merged.compress(texts)[0], strict=True):
        np.testing.assert_allclose(left, right, atol=2e-3)
    np.testing.assert_allclose(plain.encode_query("w1 w2"), merged.encode_query("w1 w2"), atol=1e-4)
    replies = [
        clara.read(["w1 w2"], [[texts[0], *clara.compress(texts[1:])[0]]], max_new_tokens=4)[0]
        for clara in (plain, merged)
    ]
    assert replies[0].text == replies[1].text
    assert replies[0].confidence == pytest.approx(replies[1].confidence, abs=1e-3)


def test_without_a_query_reasoner_search_is_lexical(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapters = dict.fromkeys(("compressor", "generator"), "lora")
    model, processor = tiny_model("llama", roles=adapters)
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    clara = Clara.from_pretrained(tmp_path / "model")
    (record,) = caplog.records
    assert "no query reasoner" in record.getMessage()
    with Library(clara, tmp_path / "store") as library:
        library.add(folder)
        found = library.explain("w3 w10 w17", 3)
        ids, scores = library.store.lexical(["w3", "w10", "w17"], 3)
        assert [hit.stored.id for hit in found.hits] == ids.tolist()
        assert [hit.score for hit in found.hits] == pytest.approx(scores.tolist())
        assert [step.name for step in found.steps] == ["lexical"]
        assert library.ask("w3 w10", max_new_tokens=2).sources[0].read_as == "memory"
        assert library.search("w3 w10", 3, where="format=txt") != []
        assert library.search("nowhere", 3) == []
        with pytest.raises(InputError, match="nowhere"):
            library.ask("nowhere")
