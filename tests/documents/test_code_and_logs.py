"""Code is parted at its definitions and kept as it stands; logs are parted in time."""

from __future__ import annotations

import ast
import inspect
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clara.documents.passages
import clara.records
from clara.documents import cut, read_stream
from clara.records import Section


def read(text: str, suffix: str) -> tuple[Section, ...]:
    return read_stream(text.encode(), "x", suffix).sections


@pytest.mark.parametrize("module", [clara.records, clara.documents.passages, inspect, ast])
def test_python_is_parted_as_its_parser_says(module: object) -> None:
    source = inspect.getsource(module)  # type: ignore[arg-type]
    lines = source.splitlines()
    sections = read(source, ".py")
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert [each.heading for each in sections if each.heading] == names
    kept = [line for each in sections for line in each.text.split("\n") if line]
    assert kept == [line.rstrip().expandtabs(4) for line in lines if line.strip()]
    for section in sections:
        assert section.lines is not None
        first, last = section.lines
        written = [line.rstrip() for line in lines[first - 1 : last] if line.strip()]
        assert [line for line in section.text.split("\n") if line] == written


def test_comments_and_decorators_belong_to_their_definition() -> None:
    source = "import os\n\n# about f\n@cached\ndef f():\n\treturn '\\d'\n\nX = 1\n\n\nclass A:\n    pass\n"
    assert read(source, ".py") == (
        Section("import os", lines=(1, 1)),
        Section("# about f\n@cached\ndef f():\n    return '\\d'", "f", lines=(3, 6)),
        Section("X = 1", lines=(8, 8)),
        Section("class A:\n    pass", "A", lines=(11, 12)),
    )


def test_python_of_another_version_is_parted_by_its_lines() -> None:
    assert [each.heading for each in read("import os\ndef f():\n    print 'x'\nclass A: pass\n", ".py")] == [
        "", "f", "A"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "source", "headings"),
    [
        (".js", "import x\nexport async function f() {\n}\nconst g = (a) => {\n}\nclass K {}\n",
         ["", "f", "g", "K"]),
        (".ts", "export interface I {\n  a: number\n}\nexport type T = string\nconst h: F = async x => x\n",
         ["I", "T", "h"]),
        (".c", "#include <a.h>\n\nstatic int x = 3;\n\n/* adds */\nint add(int a)\n{\n}\nvoid f(void);\n"
         "struct p {\n  int x;\n};\n", ["", "add", "p"]),
        (".cpp", "namespace a {\n}\nclass API_V2 B : C {\n};\nclass D;\nstd::list<int> A::get() const {\n}\n",
         ["a", "B", "A::get"]),
        (".java", "package a;\n\npublic final class Main {\n  void run() {}\n}\n", ["", "Main"]),
        (".go", "package a\n\n// runs\nfunc (s *S) Run() error {\n}\ntype S struct{}\n", ["", "Run", "S"]),
        (".rs", "use a;\nmod b;\npub(crate) async fn f() {}\nimpl<T> Foo for Bar<T> {}\nenum E {}\n",
         ["", "f", "impl<T> Foo for Bar<T>", "E"]),
        (".rb", "require 'a'\nclass A::B\n  def c\n  end\nend\ndef d?\nend\n", ["", "A::B", "d?"]),
        (".sh", "set -e\nf() {\n  :\n}\nfunction g {\n  :\n}\n", ["", "f", "g"]),
        (".sql", "create table if not exists main.a (\n  id int\n);\nCREATE VIEW \"b\" AS SELECT 1;\n",
         ["main.a", "b"]),
        (".toml", "x = 1\n[tool.a]\ny = [1]\n[[b]]  # many\nz = 3\n", ["", "tool.a", "b"]),
        (".yaml", "a:\n  b: 1\nc: 2\n", [""]),
        (".css", "p {\n  color: red;\n}\n", [""]),
    ],
)  # fmt: skip
def test_definitions_of_other_languages(suffix: str, source: str, headings: list[str]) -> None:
    document = read_stream(source.encode(), "x", suffix)
    assert document.title == f"x{suffix}"
    assert [each.heading for each in document.sections] == headings
    kept = [line for each in document.sections for line in each.text.split("\n")]
    assert [line for line in kept if line] == [line for line in source.split("\n") if line]


STEPS = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 2)), min_size=1, max_size=30)
FORMS = {
    "[%Y-%m-%d %H:%M:%S,123] INFO": "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ": "%Y-%m-%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S [error]": "%Y-%m-%d %H:%M:%S",
    "<34>%b %d %H:%M:%S host": "%b %d %H:%M:%S",
    '1.2.3.4 - ann [%d/%b/%Y:%H:%M:%S +0000] "GET /"': "%Y-%m-%d %H:%M:%S",
    "\x1b[32m%H:%M:%S\x1b[0m": "%H:%M:%S",
}


@pytest.mark.parametrize("written", FORMS)
@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_sections_of_logs_end_at_silences(written: str, steps: list[tuple[int, int]]) -> None:
    at = datetime(2024, 2, 29, 8)
    lines: list[str] = []
    expected: list[tuple[int, int, datetime, datetime]] = []  # first and last line, first and last time
    for number, (seconds, traceback) in enumerate(steps):
        at += timedelta(seconds=seconds)
        first = len(lines) + 1
        lines += [f"{at.strftime(written)} entry {number}", *["  at some place"] * traceback]
        if expected and seconds <= 300:
            expected[-1] = (expected[-1][0], len(lines), expected[-1][2], at)
        else:
            expected.append((first, len(lines), at, at))
    sections = read("\n".join(lines), ".log")
    assert [each.lines for each in sections] == [(first, last) for first, last, *_ in expected]
    for section, (_, _, start, end) in zip(sections, expected, strict=True):
        assert section.metadata == {
            "start": start.strftime(FORMS[written]),
            "end": end.strftime(FORMS[written]),
        }
        assert section.heading.startswith(start.strftime(FORMS[written]))
        assert section.heading.endswith(end.strftime("%H:%M:%S"))


def test_full_sections_of_logs_end_before_an_entry() -> None:
    entries = [f"2024-05-01 12:00:{at:02} " + "x" * 400 + "\n  at place\n  at other" for at in range(30)]
    sections = read("\n".join(entries), ".log")
    assert len(sections) > 2
    assert all(len(each.text) <= 4000 for each in sections)
    assert "\n".join(each.text for each in sections).split("\n2024") == "\n".join(entries).split("\n2024")
    assert all(each.text.startswith("2024") for each in sections)


def test_log_without_times_is_parted_by_size() -> None:
    lines = [f"{at} something happened here, and 2024-13-45 12:00:00 is no day" for at in range(200)]
    sections = read("\n".join(lines), ".log")
    assert all(0 < len(each.text) <= 4000 and not each.heading for each in sections)
    assert "\n".join(each.text for each in sections) == "\n".join(lines)


def test_passages_of_code_name_their_lines() -> None:
    source = "def f():\n" + "".join(f"    value_{at} = compute({at})\n" for at in range(30))
    passages = cut(
        read_stream(source.encode(), "x", ".py"), 40, lambda texts: [len(t.split()) for t in texts]
    )
    assert [each.heading for each in passages] == ["f"] * len(passages)
    bounds = [line for each in passages for line in each.lines or ()]
    assert len(passages) > 2
    assert bounds[0] == 1
    assert bounds[1::2] == [*(line - 1 for line in bounds[2::2]), 31]
