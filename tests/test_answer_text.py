"""Answers as their sources write them."""

import pytest

from clara.answer_text import as_written


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
        ("lock", ["It reads Cargo.lock. Then it builds."], "Cargo.lock"),
        ("lock", ["It reads Cargo.lock and takes the lock."], "lock"),
        ("pyproject", ["in pyproject.toml"], "pyproject.toml"),
        ("hidden", ["its max_hidden_size is"], "max_hidden_size"),
        ("path", ["see os.path.join"], "os.path.join"),
        ("3 . 1", ["version 3.1.4-rc"], "3.1.4"),
        ("done", ["It was done.The rest"], "done"),
        ("u . s", ["the U.S. Army"], "U.S"),
        ("the", ["It was done.The rest"], "The"),
        (
            "dapper drake series",
            ["version: 6.06 LTS\ncodename: Dapper Drake\nseries: dapper"],
            "Dapper Drake",
        ),
        ("all day long", ["It rained all\nday long: for hours"], "all day long"),
        ("1000 ( resp . 60000", ["The default is 1000 (resp. 60000)."], "1000 (resp. 60000)"),
        ("60000", ["The default is 1000 (resp. 60000)."], "60000"),
        ("2", ["at 14:00, 2.5 km, or 2."], "2"),
        ("- rc < t >", ["Use one:\n- Rc<T> for several"], "Rc<T>"),
        ("- 5", ["it fell to -5 degrees"], "-5"),
        ("- 5", ["it fell to - 5 degrees"], "- 5"),
        ("= 0", ["opt-level = 0"], "0"),
        ("-", ["from - to"], "-"),
        ('gaiola or " cage', ['the gaiola or "cage", which'], 'gaiola or "cage"'),
        ("a “ cage", ["in a “cage”, or"], "a “cage”"),
        ('" cage', ['a "cage and more" here'], '"cage'),
        ("limon", ["ein Zug", "Ünder Ada Limón, á"], "Limón"),
    ],
)
def test_the_first_text_with_the_words_gives_the_form(answer: str, texts: list[str], written: str) -> None:
    assert as_written(answer, texts) == written


def test_the_text_that_an_answer_is_taken_from_comes_first() -> None:
    texts = ["She ate an apple.", "Steve Jobs founded Apple."]
    assert as_written("apple", texts) == "apple"
    assert as_written("apple", texts, taken_from=1) == "Apple"
