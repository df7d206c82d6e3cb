"""What the readers of reStructuredText and Org make of files whose content is known."""

from __future__ import annotations

from clara.documents import read_stream
from clara.records import Section

RST = """\
======
Guide
======

Intro that is
short.

.. a comment
.. _target:

.. note:: Keep this

Install
=======

Steps
-----

1. One
2. Two

Use
===

text::

    code

----

after the rule
"""

ORG = """\
#+TITLE: My notes
#+AUTHOR: me
Before.
* One :tag:
  Text
  of it
# a comment
** TODO Two
:PROPERTIES:
:ID: x
:END:
- item
* Three
#+begin_src sh
ls
#+end_src
"""


def read(text: str, suffix: str) -> tuple[str, tuple[Section, ...]]:
    document = read_stream(text.encode(), "x", suffix)
    return document.title, document.sections


def test_restructured_text() -> None:
    assert read(RST, ".rst") == (
        "Guide",
        (
            Section("Intro that is\nshort.\n\n.. note:: Keep this", lines=(5, 11)),
            Section("1. One\n2. Two", "Install > Steps", lines=(19, 20)),
            Section("text::\n\n    code\n\n----\n\nafter the rule", "Use", lines=(25, 31)),
        ),
    )


def test_org() -> None:
    assert read(ORG, ".org") == (
        "My notes",
        (
            Section("author: me", metadata={"author": "me"}),
            Section("Before.", lines=(3, 3), metadata={"author": "me"}),
            Section("Text\n  of it", "One", lines=(5, 6), metadata={"author": "me"}),
            Section("- item", "One > Two", lines=(12, 12), metadata={"author": "me"}),
            Section("#+begin_src sh\nls\n#+end_src", "Three", lines=(14, 16), metadata={"author": "me"}),
        ),
    )


def test_comments_and_properties_are_counted() -> None:
    document = read_stream(ORG.encode(), "x", ".org")
    assert document.left_out == ("1 comment left out", "1 property left out")
    text = "* A\n#+CAPTION: The mill\n#+begin_comment\nhidden\n#+end_comment\nShown.\n"
    document = read_stream(text.encode(), "x", ".org")
    assert (document.sections[0].text, document.left_out) == ("The mill\nShown.", ("1 comment left out",))


def test_substitutions_and_addresses_of_restructured_text() -> None:
    text = (
        "See |mill| and `the weir`_.\n\n.. |mill| replace:: the old mill\n.. _the weir: https://example.org/w\n\n"
        ".. a comment\n   of two lines\n\n.. |pic| image:: a.png\n   :alt: A\n\nLast |line|.\n"
    )
    document = read_stream(text.encode(), "x", ".rst")
    assert document.sections[0].text == (
        "See the old mill and `the weir`_.\n\nthe weir: https://example.org/w\n\nLast |line|."
    )
    assert document.left_out == ("1 comment left out", "1 picture or sign left out")
