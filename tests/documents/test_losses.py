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
