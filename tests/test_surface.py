"""Answers as their sources write them."""

import pytest

from clara.surface import as_written


@pytest.mark.parametrize(
    ("answer", "texts", "written"),
    [
        ("neil armstrong", ["Buzz Aldrin.", "It was Neil  Armstrong, then."], "Neil Armstrong"),
        ("32 . 5 km", ["over 32.5 km of road"], "32.5 km"),
        ("24 may 1883", ["on 24 May 1883"], "24 May 1883"),
        ("j . lloyd haigh", ["by J. Lloyd Haigh"], "J. Lloyd Haigh"),
        ("art", ["Smart Arts"], "art"),
        ("c++ (1985)", ["then C++ (1985)."], "C++ (1985)"),
        ("", ["anything"], ""),
        ("paris", [], "paris"),
        ("us", ["it told us", "US"], "us"),
        ("ada limon", ["a poem by Ada Limo\u0301n", "Ada Limón"], "Ada Limo\u0301n"),
        ("limon", ["ein Zug", "Ünder Ada Limón, á"], "Limón"),
    ],
)
def test_the_first_text_with_the_words_gives_the_form(answer: str, texts: list[str], written: str) -> None:
    assert as_written(answer, texts) == written
