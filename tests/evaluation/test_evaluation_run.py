"""Runs on tiny models: answers against the model asked alone, resuming, failures, reports, comparison."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from clara.answer_text import as_written
from clara.errors import InputError, PromptError
from clara.evaluation import metrics
from clara.evaluation.asking import score
from clara.evaluation.compare import compare
from clara.evaluation.questions import read_evaluation_set
from clara.evaluation.report import write_report
from clara.evaluation.run import EvaluationOptions, EvaluationRun, read_lines
from clara.evaluation.summary import read_figures, summarise
from clara.pipeline import Clara
from clara.processing import collate_texts
from conftest import WORDS, tiny_model

QUESTIONS = 6


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Passages of known words, a question about each, and one that has no answer."""
    rng = random.Random(3)
    path = tmp_path_factory.mktemp("data") / "asked.jsonl"
    records: list[dict[str, Any]] = []
    for number in range(QUESTIONS):
        words = rng.sample(WORDS, 9)
        qas: list[dict[str, Any]] = [{"question": " ".join(words[:3]), "answers": [words[4]]}]
        if number == 0:
            qas.append({"question": "w1 w2", "answers": []})
        records.append({"id": f"p{number}", "title": "", "passage": " ".join(words), "qas": qas})
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def clara_of(kind: str) -> Clara:
    return Clara(*tiny_model(kind), name=kind)


def options(encoder: str, **changed: Any) -> EvaluationOptions:
    small: dict[str, Any] = {"encoder": encoder, "max_new_tokens": 4, "timed": 1, "paraphrases": 3}
    return EvaluationOptions(**(small | changed))


@pytest.fixture(scope="module", params=["bert", "mistral"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, questions: Path, encoder: str
) -> EvaluationRun:
    """A finished run of a segment model and of one with appended memory tokens."""
    rates = {"bert": (4, 8), "mistral": (4, 8)}[request.param]
    done = EvaluationRun(
        clara_of(request.param),
        read_evaluation_set([questions]),
        tmp_path_factory.mktemp(request.param) / "run",
        options(encoder, rates=rates),
    )
    done.execute()
    return done


def answers(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    return read_lines(folder / "answers" / f"{name}.jsonl")


def test_every_condition_has_an_answer_to_every_question(run: EvaluationRun) -> None:
    names = {condition.name for condition in run.conditions}
    assert names == {file.stem for file in (run.folder / "answers").iterdir()}
    for name in names:
        found = answers(run.folder, name)
        assert len(found) == QUESTIONS + 1
        assert not [line for line in found.values() if "error" in line]
    has_base = "gold-text" in names and any(name.endswith("-base") for name in names)
    assert has_base == (run.clara.name == "mistral")  # only adapters leave a base to compare with


@pytest.mark.parametrize("rate", [4, 8])
def test_an_answer_is_that_of_the_model_asked_alone(run: EvaluationRun, rate: int) -> None:
    passages = {question.id: question for question in run.data.questions}
    for name in (f"full-memory-{rate}x", f"gold-memory-{rate}x"):
        for key, line in answers(run.folder, name).items():
            texts = [run.data.passages[number] for number in line["passages"]]
            memories, _ = run.clara.compress(texts, rate=rate)
            (reply,) = run.clara.read([passages[key].text], [memories], rate=rate, max_new_tokens=4)
            assert line["answer"] == as_written(reply.text, texts)
            assert line["confidence"] == pytest.approx(reply.confidence, abs=1e-3)
            assert line["f1"] == score(line["answer"], passages[key].answers or ())["f1"]


def test_text_is_read_as_text(run: EvaluationRun) -> None:
    for key, line in answers(run.folder, "gold-text").items():
        question = next(one for one in run.data.questions if one.id == key)
        texts = [run.data.passages[number] for number in question.asked_about]
        (reply,) = run.clara.read([question.text], [texts], max_new_tokens=4)
        assert line["answer"] == as_written(reply.text, texts)
        assert line["passages"] == list(question.asked_about)


def test_the_search_is_that_of_a_search_in_memory(run: EvaluationRun) -> None:
    own, clara = run.plan.rates[0], run.clara
    memories = clara.model.compress(*collate_texts(clara.processor.encode_documents(run.data.passages)))
    for question in run.data.questions:
        asked = clara.model.encode_query(*collate_texts(clara.processor.encode_questions([question.text])))
        ranking = clara.model.score(asked, memories)[0].argsort(descending=True, stable=True).tolist()
        assert run.ranking(f"memories-{own}x")[question.id] == ranking
        reranked = run.ranking(f"reranked-{own}x")[question.id]
        assert reranked == [number for number in ranking if number in reranked]


def test_figures_are_the_means_of_the_lines(run: EvaluationRun) -> None:
    figures = summarise(run.folder)
    for condition in run.conditions:
        found = list(answers(run.folder, condition.name).values())
        mean = sum(line["f1"] for line in found) / len(found)
        assert figures["answers"][condition.name]["f1"]["mean"] == pytest.approx(mean, abs=1e-6)
    golds = {question.id: question.gold for question in run.data.questions if question.gold}
    recalls = [metrics.recall_at(run.ranking("bm25")[key], gold, 1) for key, gold in golds.items()]
    assert figures["retrieval"]["bm25"]["recall@1"]["mean"] == pytest.approx(sum(recalls) / QUESTIONS)
    assert figures["unanswerable"] == 1
    assert figures["rates"]["4"]["effective_rate"] == pytest.approx(
        figures["rates"]["4"]["tokens"] / figures["rates"]["4"]["memory_tokens"], abs=1e-3
    )
    measured = set(figures["preservation"])
    assert measured == (set() if run.clara.name == "bert" else measured)
    assert json.loads((run.folder / "metrics.json").read_text()) == figures


def test_the_report_shows_tables_and_pictures(run: EvaluationRun) -> None:
    figures = summarise(run.folder)
    text = write_report(figures, run.folder).read_text(encoding="utf-8")
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    for heading in ("Are memories read?", "Answers", "Against text", "Search", "Compression", "Abstention"):
        assert f"## {heading}" in text
        assert f"<h2>{heading}</h2>" in page
    for picture in ("rates.png", "retrieval.png", "abstention.png", "map.png", "words.png"):
        assert picture in text
        assert (run.folder / picture).read_bytes().startswith(b"\x89PNG")
    assert "http" not in page


@pytest.mark.parametrize("kept", [("none", "wrong", "gold"), ("none", "wrong", "gold", "oracle")])
def test_a_run_of_fewer_settings_has_all_its_pictures(run: EvaluationRun, kept: tuple[str, ...]) -> None:
    figures = summarise(run.folder)
    asked = [condition for condition in figures["conditions"] if condition["passages"] in kept]
    names = {condition["name"] for condition in asked}
    figures["conditions"] = asked
    for part in ("answers", "abstention", "against_text"):
        figures[part] = {name: found for name, found in figures[part].items() if name in names}
    (run.folder / "rates.png").unlink(missing_ok=True)
    write_report(figures, run.folder)
    assert (run.folder / "rates.png").is_file()


def test_a_run_of_named_rows_answers_as_the_whole_run_does(
    run: EvaluationRun, questions: Path, tmp_path: Path, encoder: str
) -> None:
    def of(*rows: str) -> EvaluationRun:
        chosen = options(encoder, rates=run.plan.rates, rows=rows)
        return EvaluationRun(run.clara, read_evaluation_set([questions]), tmp_path / rows[0], chosen)

    some = of("gold-text", "full-memory-*")
    some.execute()
    written = {file.stem for file in (some.folder / "answers").iterdir()}
    assert written == {"gold-text", "full-memory-4x", "full-memory-8x"}
    for name in written:
        assert answers(some.folder, name) == answers(run.folder, name)
    write_report(summarise(some.folder), some.folder)
    assert not (some.folder / "paraphrases").exists()
    with pytest.raises(InputError, match=r"gold-picture.*gold-text"):
        of("gold-picture")


def test_a_run_goes_on_where_it_was(
    run: EvaluationRun, tmp_path: Path, questions: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    cut = folder / "answers" / "full-text.jsonl"
    lines = cut.read_text(encoding="utf-8").splitlines(keepends=True)
    failed = json.dumps({"id": json.loads(lines[2])["id"], "error": "MemoryError: none left"}) + "\n"
    cut.write_text("".join(lines[:2]) + failed + lines[3][:20], encoding="utf-8")  # killed within a line
    (folder / "rankings" / "bm25.jsonl").unlink()
    asked: list[str] = []
    read = run.clara.read

    def noted(texts: list[str], *rest: Any, **named: Any) -> Any:
        asked.extend(texts)
        return read(texts, *rest, **named)

    monkeypatch.setattr(run.clara, "read", noted)
    EvaluationRun(run.clara, read_evaluation_set([questions]), folder, run.options, resume=True).execute()
    assert len(asked) <= len(lines) - 2  # only what was missing, and less where another condition has it
    for name in ("answers/full-text", "rankings/bm25"):
        ours, theirs = read_lines(folder / f"{name}.jsonl"), read_lines(run.folder / f"{name}.jsonl")
        for line in (*ours.values(), *theirs.values()):
            line.pop("confidence", None)  # batches of other sizes round differently
        assert ours == theirs


def test_a_folder_is_not_taken_for_another_run(run: EvaluationRun, questions: Path, tmp_path: Path) -> None:
    data = read_evaluation_set([questions])
    with pytest.raises(InputError, match=r"holds a run; .*--resume"):
        EvaluationRun(run.clara, data, run.folder, run.options)
    with pytest.raises(InputError, match="started with another options"):
        EvaluationRun(run.clara, data, run.folder, EvaluationOptions(seed=5), resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        EvaluationRun(run.clara, data, tmp_path, run.options)


def test_a_question_that_fails_is_no_empty_answer(
    tmp_path: Path, questions: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clara = clara_of("bert")
    data = read_evaluation_set([questions])
    bad = data.questions[3].text
    read = clara.read

    def fails(texts: list[str], *rest: Any, **named: Any) -> Any:
        if bad in texts:
            raise PromptError("The prompt is too long.")
        return read(texts, *rest, **named)

    monkeypatch.setattr(clara, "read", fails)
    chosen = options(encoder, settings=("full",), timed=0)
    EvaluationRun(clara, data, tmp_path / "run", chosen).execute()
    found = summarise(tmp_path / "run")["answers"]["full-text"]
    assert (found["questions"], found["failed"], found["f1"]["count"]) == (7, 1, 6)
    line = answers(tmp_path / "run", "full-text")[data.questions[3].id]
    assert line["error"] == "PromptError: The prompt is too long."
    assert "**" in write_report(read_figures(tmp_path / "run"), tmp_path / "run").read_text()


def test_two_runs_are_paired_by_question(
    run: EvaluationRun, tmp_path: Path, questions: Path, encoder: str
) -> None:
    summarise(run.folder)
    same = compare(run.folder, run.folder)
    assert {one.difference.mean for one in same} == {0.0}
    part = EvaluationRun(
        clara_of(run.clara.name),
        read_evaluation_set([questions]),
        tmp_path / "part",
        options(encoder, settings=("full",), questions=4, timed=0),
    )
    part.execute()
    summarise(part.folder)
    found = {(one.what, one.metric): one for one in compare(run.folder, part.folder)}
    assert found["full-memory-4x", "f1"].difference.count == 4
    assert found["bm25", "mrr"].difference.mean == 0
    with pytest.raises(InputError, match="no finished evaluation"):
        compare(run.folder, tmp_path)


def test_a_model_without_search_is_evaluated_on_given_passages(
    tmp_path: Path, questions: Path, encoder: str
) -> None:
    model, processor = tiny_model("mistral", roles={"compressor": "lora", "generator": "lora"})
    clara = Clara(model, processor, name="instruct")
    EvaluationRun(
        clara, read_evaluation_set([questions]), tmp_path / "run", options(encoder, timed=1)
    ).execute()
    figures = summarise(tmp_path / "run")
    assert {"oracle-memory-4x", "normal-bm25-memory-4x"} <= figures["answers"].keys()
    assert set(figures["retrieval"]) == {"bm25", "dense"}


def test_a_rate_that_the_model_does_not_have(tmp_path: Path, questions: Path, encoder: str) -> None:
    run = EvaluationRun(
        clara_of("mistral"), read_evaluation_set([questions]), tmp_path / "run", options(encoder, rates=(2,))
    )
    with pytest.raises(InputError, match="The rate is 2, but this model's memories begin at 4"):
        run.execute()
