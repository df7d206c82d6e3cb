"""The loop: a killed and resumed run equals one that was not; it learns; what is frozen stays."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clara.errors import InputError, TrainingError
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.training.examples import EndToEndExample, ReadingExample
from clara.training.objectives import ObjectiveOptions, end_to_end_loss
from conftest import WORDS, tiny_model
from recipes.extractive.loop import LoopOptions, TrainingLoop, averaged_steps, learning_rate
from recipes.extractive.reading import ReadingForm, reading_loss
from recipes.extractive.searching import SearchForm, search_loss


def examples() -> list[ReadingExample]:
    """Eight passages of ten words; the word before the question's word is the answer."""
    rng = random.Random(3)
    made = []
    for number in range(8):
        words = rng.sample(WORDS, 10)
        turns = tuple((words[at], (words[at - 1],)) for at in (2, 5))
        made.append(ReadingExample(str(number), "", " ".join(words), turns))
    return made


FORM = ReadingForm(8, documents=2)


def loss_of(model: ClaraModel, processor: ClaraProcessor, form: ReadingForm = FORM):
    data = examples()

    def step_loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return reading_loss(model, processor, data, form, random.Random(step))

    return step_loss


def trained(model: ClaraModel) -> list[tuple[str, torch.nn.Parameter]]:
    return [
        (name, p)
        for name, p in model.named_parameters()
        if ".variants." in name or name.startswith(("memory.", "span_head."))
    ]


def make_loop(model: ClaraModel, folder: Path, steps: int, **options: float) -> TrainingLoop:
    lines: list[dict[str, float]] = []
    made = LoopOptions(steps=steps, save_every=4, report_every=2, autocast=False, **options)  # type: ignore[arg-type]
    return TrainingLoop(trained(model), made, folder, lines.append)


@pytest.mark.parametrize("averaged", [1, 3])
def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path: Path, averaged: int) -> None:
    whole, processor = tiny_model("bert")
    make_loop(whole, tmp_path / "whole", 8, averaged=averaged).run(loss_of(whole, processor))

    class KilledError(Exception):
        pass

    stopped, _ = tiny_model("bert")
    step_loss = loss_of(stopped, processor)

    def dying(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        if step == 6:
            raise KilledError
        return step_loss(step)

    with pytest.raises(KilledError):
        make_loop(stopped, tmp_path / "stopped", 8, averaged=averaged).run(dying)
    again, _ = tiny_model("bert", seed=9)
    again.load_state_dict(
        {**again.state_dict(), **{n: p for n, p in stopped.state_dict().items() if "variants" not in n}}
    )
    loop = make_loop(again, tmp_path / "stopped", 8, averaged=averaged)
    assert loop.step == 4
    loop.run(loss_of(again, processor))
    for (name, left), (_, right) in zip(trained(whole), trained(again), strict=True):
        assert torch.equal(left, right), name
    last = [
        json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[-1])
        for run in ("whole", "stopped")
    ]
    assert last[0]["answer"] == last[1]["answer"]
    lines = (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("options", "begun_with", "told"),
    [
        ({"steps": 8}, {"seed": 0}, "steps 4, not 8"),
        ({"averaged": 3}, {"seed": 0}, "averaged 1, not 3"),
        ({}, {"seed": 1}, "seed 0, not 1"),
    ],
)
def test_a_run_is_not_resumed_as_another(
    tmp_path: Path, options: dict[str, int], begun_with: dict[str, int], told: str
) -> None:
    def loop(begun_with: dict[str, int], report_every: int = 1, **other: int) -> TrainingLoop:
        options = LoopOptions(**{"steps": 4, **other}, autocast=False, report_every=report_every)
        return TrainingLoop(
            [("weight", torch.nn.Parameter(torch.ones(2)))], options, tmp_path, print, begun_with
        )

    first = loop({"seed": 0})
    first.run(lambda step: (first.parameters["weight"].sum(), {}))
    assert loop({"seed": 0}, report_every=2).step == 4
    with pytest.raises(InputError, match=told):
        loop(begun_with, **options)


def test_a_gradient_that_is_not_finite_stops_before_it_is_taken(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    loop = TrainingLoop([("weight", weight)], LoopOptions(steps=4, autocast=False), tmp_path, print)
    with pytest.raises(TrainingError, match=r"norm of step 0 is (inf|nan)"):
        loop.run(lambda step: (weight.sqrt().sum(), {}))  # a slope without end at 0
    assert torch.equal(weight, torch.zeros(2))


@pytest.mark.parametrize(
    ("steps", "averaged", "wanted"),
    [(2400, 3, {1200, 1800, 2400}), (8, 1, {8}), (8, 2, {4, 8}), (2, 3, {1, 2}), (1, 3, {1})],
)
def test_the_steps_that_are_averaged(steps: int, averaged: int, wanted: set[int]) -> None:
    assert averaged_steps(LoopOptions(steps=steps, averaged=averaged)) == wanted


def test_the_last_weights_are_the_mean_of_some(tmp_path: Path) -> None:
    def weights(model: ClaraModel) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in trained(model)}

    plain, processor = tiny_model("bert")
    step_loss, seen = loss_of(plain, processor), {}

    def noting(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        seen[step] = weights(plain)
        return step_loss(step)

    make_loop(plain, tmp_path / "plain", 8).run(noting)
    seen[8] = weights(plain)
    mean, _ = tiny_model("bert")
    make_loop(mean, tmp_path / "mean", 8, averaged=3).run(loss_of(mean, processor))
    for name, found in weights(mean).items():
        torch.testing.assert_close(found, (seen[4][name] + seen[6][name] + seen[8][name]) / 3)
    again, _ = tiny_model("bert", seed=9)
    assert make_loop(again, tmp_path / "mean", 8, averaged=3).step == 8
    assert all(torch.equal(found, weights(mean)[name]) for name, found in weights(again).items())


def test_it_learns_eight_examples_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    model, processor = tiny_model("bert", score="words")
    frozen = {name: p.clone() for name, p in model.named_parameters() if name not in dict(trained(model))}
    before = {name: p.clone() for name, p in trained(model)}
    data, form = examples(), ReadingForm(16)
    contents = tuple(example.content for example in data)
    asked = [
        EndToEndExample(question, contents, answers[0], positives=(place,))
        for place, example in enumerate(data)
        for question, answers in example.turns[:1]
    ]

    def step_loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        answer, parts = reading_loss(model, processor, data, form, random.Random(step))
        searched, of_search = search_loss(model, processor, data, SearchForm(rate=4), random.Random(step))
        found = end_to_end_loss(model, processor, asked, ObjectiveOptions(contrastive_weight=0.5))
        parts |= {**of_search, "contrastive": found.parts()["contrastive"][0]}
        return answer + searched + found.total(), parts

    first = step_loss(0)[1]
    make_loop(model, tmp_path, 150, learning_rate=3e-3).run(step_loss)
    last = step_loss(0)[1]
    assert last["answer"] < 0.2 * first["answer"]
    for name in ("contrastive", "match", "key"):
        assert last[name] < 0.2 * first[name], name
    assert last["found"] > 0.9 > first["found"]
    parameters = dict(model.named_parameters())
    assert all(torch.equal(value, parameters[name]) for name, value in frozen.items())
    assert all(not torch.equal(value, parameters[name]) for name, value in before.items())


@pytest.mark.parametrize("chosen", [True, False, None])
def test_the_forward_pass_is_in_bfloat16_where_asked_or_native(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool | None
) -> None:
    monkeypatch.setattr("clara.device._cpu_flags", lambda: frozenset({"amx_bf16"}))
    weight = torch.nn.Parameter(torch.ones(2, 2))
    kinds: list[torch.dtype] = []

    def step_loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        product = weight @ weight
        kinds.append(product.dtype)
        return product.float().sum(), {}

    options = LoopOptions(steps=1, autocast=chosen)
    TrainingLoop([("weight", weight)], options, tmp_path, lambda line: None).run(step_loss)
    assert kinds == [torch.float32 if chosen is False else torch.bfloat16]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    model, processor = tiny_model("bert")
    step_loss = loss_of(model, processor)

    def failing(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        loss, parts = step_loss(step)
        return (loss * float("nan") if step == 5 else loss), parts

    with pytest.raises(TrainingError, match="loss of step 5 is nan"):
        make_loop(model, tmp_path, 8).run(failing)
    assert make_loop(model, tmp_path, 8).step == 4


def test_each_choice_of_the_form_changes_the_loss() -> None:
    model, processor = tiny_model("bert")
    forms = [
        ReadingForm(),
        ReadingForm(4),
        ReadingForm(documents=2),
        ReadingForm(documents=2, unanswerable=1.0),
        ReadingForm(bare=1.0),
    ]
    data = [
        replace(example, turns=tuple((f"{question} ?", answers) for question, answers in example.turns))
        for example in examples()
    ]
    losses = [
        round(reading_loss(model, processor, data, form, random.Random(0))[0].item(), 5) for form in forms
    ]
    assert len(set(losses)) == len(forms)


def test_rate_factors_hold_for_the_parameters_that_they_name(tmp_path: Path) -> None:
    model, processor = tiny_model("bert")
    before = {name: p.clone() for name, p in trained(model)}
    make_loop(model, tmp_path, 2, rate_factors=((".variants.generator.", 0.0),)).run(  # type: ignore[arg-type]
        loss_of(model, processor)
    )
    # reading trains generator and span head
    changed = {name for name, parameter in trained(model) if not torch.equal(parameter, before[name])}
    assert changed == {"span_head.score.weight", "span_head.score.bias"}


def test_the_rate_rises_holds_and_falls() -> None:
    options = LoopOptions(steps=100, learning_rate=1.0, warmup=0.1, decay=0.5)
    rates = [learning_rate(step, options) for step in range(100)]
    assert rates[4] == pytest.approx(0.5)
    assert rates[10:50] == [1.0] * 40
    assert rates[75] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.05
