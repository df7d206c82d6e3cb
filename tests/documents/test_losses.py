"""Text in odd places of mails, notebooks and subtitles is not lost."""

from __future__ import annotations

import json
from email.message import EmailMessage

from clara.documents import read_stream
from clara.records import Document


def words(document: Document) -> str:
    return "\n".join(section.text for section in document.sections)


def test_mail_keeps_texts_after_the_first_and_one_of_alternatives() -> None:
    mail = EmailMessage()
    mail["Subject"] = "List"
    mail.set_content("Plain body.")
    mail.add_alternative("<p>Same in HTML.</p>", subtype="html")
    mail.make_mixed()
    footer = EmailMessage()
    footer.set_content("Footer of the list.")
    mail.attach(footer)
    read = words(read_stream(mail.as_bytes(), suffix=".eml"))
    assert "Plain body." in read
    assert "Footer of the list." in read
    assert "Same in HTML." not in read


def test_forwarded_mail_is_read_once() -> None:
    inner, mail = EmailMessage(), EmailMessage()
    inner["Subject"], mail["Subject"] = "Inner", "Outer"
    inner.set_content("Inner body.")
    mail.make_mixed()
    forwarded = EmailMessage()
    forwarded.set_content(inner)
    mail.attach(forwarded)
    assert words(read_stream(mail.as_bytes(), suffix=".eml")).count("Inner body.") == 1


def test_notebook_outputs_of_every_kind_are_kept_or_counted() -> None:
    outputs = [
        {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": []},
        {"data": {"application/json": {"key": "json value"}}},
        {"data": {"text/latex": "latex value"}},
        {"data": {"text/html": "<p>html value</p>", "text/plain": "<IPython.core.display.HTML object>"}},
        {"data": {"application/x-unknown": "0"}},
    ]
    book = {"cells": [{"cell_type": "code", "source": "x", "outputs": outputs}], "metadata": {}}
    document = read_stream(json.dumps(book).encode(), suffix=".ipynb")
    read = words(document)
    for expected in ("ValueError: bad", "json value", "latex value", "html value"):
        assert expected in read
    assert "object>" not in read
    assert document.left_out == ("1 output of a kind that is not read left out",)


def test_subtitles_keep_angle_brackets_and_text_after_a_blank_line() -> None:
    text = """1
00:00:01,000 --> 00:00:02,000
<i>if</i> x < 5 and y > 3

still here

2
00:00:03,000 --> 00:00:04,000
next
"""
    assert words(read_stream(text.encode(), suffix=".srt")) == "if x < 5 and y > 3 still here\nnext"


def test_latex_macros_are_expanded_and_code_keeps_its_percent_signs() -> None:
    text = r"""\newcommand{\product}{Zorblax 3000}
\newcommand{\price}[1]{\textbf{#1 euros}}
\newcommand{\greet}[2][Hello]{#1, #2!}
\def\firm#1{Firm #1 Ltd}
\newcommand{\loop}{\loop x}
\title{The \product{} manual}
\begin{document}
The \product\ costs \price{30}, says \firm{Acme}. \greet{Ann} \greet[Bye]{Bob} % a comment
It has 10\textsuperscript{9} parts, the 1\textsuperscript{st} at \verb|50% {off}|.
\iffalse
Hidden \ifx\a\b inner \fi more
\fi
\begin{comment}
Hidden too.
\end{comment}
\begin{equation}\label{eq:a}
\frac{a}{b} = \sqrt{3}
\end{equation}
\begin{lstlisting}
x = 5 % 3  # \product
\end{lstlisting}
\end{document}
"""
    document = read_stream(text.encode(), suffix=".tex")
    assert document.title == "The Zorblax 3000 manual"
    read = words(document)
    assert (
        "The Zorblax 3000 costs 30 euros, says Firm Acme Ltd. Hello, Ann! Bye, Bob! It has 10^9 parts, "
        "the 1st at 50% {off}." in read
    )
    assert r"\frac{a}{b} = \sqrt{3}" in read
    assert r"x = 5 % 3  # \product" in read
    for hidden in ("Hidden", "more", "comment", "eq:a", "newcommand"):
        assert hidden not in read


def test_a_latex_macro_that_names_itself_ends() -> None:
    text = (
        "\\newcommand{\\loop}{\\loop\\loop xx}\n\\begin{document}\nBefore \\loop{} after.\n\\end{document}\n"
    )
    assert words(read_stream(text.encode(), suffix=".tex")).startswith("Before")
