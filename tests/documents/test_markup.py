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
            Section("Before.", lines=(3, 3)),
            Section("Text\n  of it", "One", lines=(5, 6)),
            Section("- item", "One > Two", lines=(12, 12)),
            Section("#+begin_src sh\nls\n#+end_src", "Three", lines=(14, 16)),
        ),
    )
