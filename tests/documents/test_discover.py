"""What a list of paths stands for, against the files that were put there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clara.documents import find_files
from clara.errors import InputError


def write(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text", encoding="utf-8")
    return paths


def test_folder_gives_known_endings_in_order_of_folders(tmp_path: Path) -> None:
    expected = write(tmp_path, "b.md", "z.TXT", "a/c.html", "a/d/e.pdf", "b/a.htm")
    write(tmp_path, "data.xyz", ".hidden.md", ".git/readme.md", "a/.cache/x.txt")
    assert find_files(tmp_path) == expected
    assert find_files([str(tmp_path)]) == expected


def test_empty_code_is_taken_only_where_it_is_named(tmp_path: Path) -> None:
    (note,) = write(tmp_path, "note.md")
    empty = tmp_path / "__init__.py"
    empty.touch()
    assert find_files(tmp_path) == [note]
    assert find_files(empty) == [empty]


def test_named_file_is_taken_whatever_its_ending_and_once(tmp_path: Path) -> None:
    odd, hidden, note = write(tmp_path, "LICENSE", ".notes", "note.md")
    assert find_files([odd, hidden, tmp_path, note, odd]) == [odd, hidden, note]


def test_hidden_folder_that_is_named_is_searched(tmp_path: Path) -> None:
    notes = write(tmp_path, ".notes/a.md")
    assert find_files(tmp_path / ".notes") == notes


def test_links_are_followed_and_loops_survived(tmp_path: Path) -> None:
    (inside,) = write(tmp_path, "docs/sub/a.md")
    (outside,) = write(tmp_path, "elsewhere/b.md")
    docs = tmp_path / "docs"
    (docs / "sub" / "loop").symlink_to(docs, target_is_directory=True)
    (docs / "other").symlink_to(outside.parent, target_is_directory=True)
    (docs / "again.md").symlink_to(inside)
    (docs / "broken.md").symlink_to(tmp_path / "nothing.md")
    (docs / "self.md").symlink_to(docs / "self.md")
    assert sorted(find_files(docs)) == sorted([inside, outside])


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.md does not exist; check the path\.$"):
        find_files([tmp_path / "nothing.md"])


def test_text_without_an_ending_is_read_and_other_kinds_are_counted(tmp_path: Path) -> None:
    texts = write(
        tmp_path, "Apache-2.0", "LICENSE", "Makefile", "README", "notes.2024.10", "tar.1", "a/NOTICE"
    )
    for name in ("icon.svg", "a/icon.SVG", "a/data.xyz", "uv.lock", "README~"):
        write(tmp_path, name)
    chinese, latin = tmp_path / "b" / "CHINESE", tmp_path / "b" / "LATIN"
    chinese.parent.mkdir()
    chinese.write_text("x" + "你好" * 5000, encoding="utf-8")  # what is looked at ends within a character
    latin.write_bytes("Le café naïf.".encode("cp1252"))
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0\0\1")
    (tmp_path / "libz.so.1").write_bytes(b"\x7fELF\0\0\0\1")
    (tmp_path / "coded").write_bytes(bytes(range(0xA0, 0x100)) * 3)
    (tmp_path / "marker").touch()
    found = find_files(tmp_path)
    assert found == [*texts, chinese, latin]
    assert found.passed_over == {".svg": 2, "": 2, ".1": 1, ".lock": 1, ".xyz": 1}
    assert next(iter(found.passed_over)) in (".svg", "")
    named = find_files([tmp_path, tmp_path / "uv.lock"])
    assert ".lock" not in named.passed_over  # since it is read


@pytest.mark.parametrize(
    ("names", "options", "reason"),
    [
        ([], {}, "it is empty, or all its files are; check the path"),
        (["__init__.py"], {}, "it is empty, or all its files are; check the path"),
        (
            [".a.md", ".git/b.md"],
            {},
            "all that is in it is ignored; change what is ignored, or name the files",
        ),
        (["a.md"], {"ignore": ["*.md"]}, "all that is in it is ignored; change what is ignored"),
        (
            ["a.md"],
            {"only": ["*.pfd", "*.dm"]},
            r"none that is not ignored matches \*\.pfd or \*\.dm; correct the patterns of the only files",
        ),
        (
            ["a.svg", "b.xyz"],
            {},
            r"its files are of other kinds \(\.svg, \.xyz\); name one to have it read as plain text",
        ),
        (
            [f"{at}.k{at}" for at in range(7)],
            {},
            r"its files are of other kinds \(\.k0, \.k1, \.k2, \.k3, \.k4 and 2 more\)",
        ),
    ],
)
def test_folder_without_documents_tells_why(
    tmp_path: Path, names: list[str], options: dict[str, list[str]], reason: str
) -> None:
    for path in write(tmp_path, *names):
        if path.suffix == ".py":
            path.write_text("")
    with pytest.raises(InputError, match=rf"^The folder \S+ holds no file to read: {reason}[^\n]*\.$"):
        find_files(tmp_path, **options)


def test_no_path_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match=r"^No path was given; name files, or folders with files\.$"):
        find_files([])


def test_a_pipe_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        find_files([tmp_path / "pipe.txt"])
    with pytest.raises(InputError, match="holds no file to read"):
        find_files([tmp_path])


def test_closed_folder_is_refused_once_and_the_others_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (note,) = write(tmp_path, "a.md")
    write(tmp_path, "closed/b.md")
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    folder = tmp_path / "closed"
    found = find_files([tmp_path, tmp_path])
    assert found == [note]
    reason = f"The folder {folder} cannot be opened: Permission denied; check its permissions."
    assert found.refused == [(str(folder), reason)]
    assert not caplog.text
    with pytest.raises(
        InputError, match="holds no file to read: it, or a folder in it, cannot be opened; check"
    ):
        find_files(folder)


def git_files(folder: Path) -> list[Path]:
    """What git would take of a folder, by its own reading of `.gitignore`."""
    subprocess.run(["git", "init", "-q", folder], check=True)
    listed = subprocess.run(
        ["git", "-C", folder, "ls-files", "--others", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = [name for name in listed.split("\0") if name and not Path(name).name.startswith(".")]
    return sorted(folder / name for name in names)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("*.log\n!keep.log\n/top.md\nbuild/\n", ""),
        ("# a comment\n\na/**/deep.md\n?.txt\n[bc].md\n", "!b.md\n*.txt\n"),
        ("*\n!*/\n!*.md\n", "top.md\n"),
        ("a/*\n!a/b\n", "!keep.log\n"),
        ("\\!odd.md\nspace.md \n*.md/\n", "/b.md\n"),
    ],
)
def test_ignore_files_are_read_as_git_reads_them(tmp_path: Path, outer: str, inner: str) -> None:
    names = ["top.md", "a/top.md", "a/b/deep.md", "a/b.md", "a/x.txt", "x.txt", "b.md", "!odd.md", "space.md"]
    write(
        tmp_path, *names, "a/keep.log", "keep.log", "a/z.log", "build/b.md", "a/build/c.md", "a/b/c/deep.md"
    )
    (tmp_path / ".gitignore").write_text(outer)
    (tmp_path / "a" / ".gitignore").write_text(inner)
    assert sorted(find_files(tmp_path)) == git_files(tmp_path)


def test_own_ignore_file_has_the_last_word_and_takes_hidden_names_back(tmp_path: Path) -> None:
    git, own, notes, *_ = write(
        tmp_path,
        "git.md",
        "own.md",
        ".notes/a.md",
        ".other/b.md",
        "node_modules/c/d.js",
        "v/site-packages/e.py",
    )
    (tmp_path / ".gitignore").write_text("*.md\n")
    (tmp_path / ".claraignore").write_text("!git.md\n!own.md\n!.notes/\n!.notes/*.md\n")
    assert find_files(tmp_path) == [git, own, notes]


def test_patterns_as_arguments_come_after_all_others(tmp_path: Path) -> None:
    one, two, three, draft = write(tmp_path, "one.md", "two.txt", "a/three.md", "a/draft.md")
    (tmp_path / ".gitignore").write_text("two.txt\n")
    assert find_files(tmp_path, ignore=["draft*", "!two.txt"]) == [one, two, three]
    assert find_files(tmp_path, only=["*.md", "!draft.md"]) == [one, three]
    assert find_files([one, two, draft], ignore=["*.txt"], only=["/o*", "*.txt"]) == [one]
    assert find_files(tmp_path, only=["a/"]) == [draft, three]
    with pytest.raises(InputError, match=r"^The patterns leave no file to read; change what is ignored"):
        find_files([one, two], only=["*.pdf"])
    with pytest.raises(InputError, match=r"holds no file to read: all that is in it is ignored"):
        find_files(tmp_path, ignore=["*"])


def test_bad_patterns_are_errors_as_arguments_and_refused_in_files(tmp_path: Path) -> None:
    (note,) = write(tmp_path, "a.md")
    with pytest.raises(InputError, match=r"write patterns as in \.gitignore\.$"):
        find_files(tmp_path, ignore=["!"])
    write(tmp_path, ".hidden.md")
    (tmp_path / ".gitignore").write_text("!\n*.md\n")
    found = find_files(tmp_path)
    assert found == [note]
    ((file, reason),) = found.refused
    assert file == str(tmp_path / ".gitignore")
    assert reason.startswith(f"The file {file} was not heeded: ")
