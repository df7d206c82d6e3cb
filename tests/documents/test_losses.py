"""Text in odd places of mails, notebooks and subtitles is not lost."""

from __future__ import annotations

import json
from email.message import EmailMessage
from io import BytesIO
from zipfile import ZipFile

from writers import epub, packed

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


def test_json_keeps_numbers_as_they_are_written_and_all_values_of_a_name() -> None:
    (section,) = read_stream(
        b'{"a": 1.10, "b": 1e400, "c": 1, "c": "two", "d": 2.5}', suffix=".json"
    ).sections
    assert section.text == "a: 1.10\nb: 1e400\nc: 1, two\nd: 2.5"
    assert section.metadata == {"a": 1.1, "d": 2.5}
    assert {type(value) for value in section.metadata.values()} == {float}
    (section,) = read_stream(b'{"a": [1], "a": [2, 3], "a": 4, "b": 5}\n', suffix=".jsonl").sections
    assert section.text == "a: 1, 2, 3, 4\nb: 5"


def html(markup: str) -> Document:
    return read_stream(markup.encode(), suffix=".html")


def test_hidden_parts_of_pages_are_counted() -> None:
    document = html(
        "<p>Shown.<span style='color:red; display: none'> One.</span></p><template><p>Two.</p></template>"
        "<div style='visibility:hidden'>Three.</div><table><tr><td>a<td>b<tr><td>c<td>d"
        "<i style='DISPLAY:NONE'>Four.</i></table><div style='display:none'></div>"
    )
    assert words(document) == "Shown.\n\na | b\nc | d"
    assert document.left_out == ("4 hidden parts left out",)
    assert words(html("<body style='display:none'><p>A page that scripts show.</p></body>")) == (
        "A page that scripts show."
    )
    assert words(html("<p>A<template shadowrootmode=open>B</template>C</p>")) == "ABC"


def test_ruby_abbreviations_and_forms_are_not_glued() -> None:
    assert (
        words(html("<p><ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>です</p>")) == "漢字 (かんじ)です"
    )
    abbreviation = "<abbr title='World Health Organization'>WHO</abbr>"
    page = html(f"<p>The {abbreviation} and {abbreviation}.</p>")
    assert words(page) == "The WHO (World Health Organization) and WHO."
    assert words(html(
        "<p>Name<input value='Ann Lee'>Color<select><option>red<option selected>blue</select>"
        "<textarea>More text</textarea>end</p>"
    )) == "Name Ann Lee Color blue More text end"  # fmt: skip


def test_cells_beyond_the_columns_of_a_markdown_table_are_read() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 | 3 \\| **x** |\n| 4 |\n5 | 6 | 7\n"
    assert words(read_stream(table.encode(), suffix=".md")) == "a | b\n1 | 2 | 3 | x\n4 |\n5 | 6 | 7"
    quoted = "".join(f"> {line}\n" for line in table.splitlines())
    assert words(read_stream(quoted.encode(), suffix=".md")) == "a | b\n1 | 2 | 3 | x\n4 |\n5 | 6 | 7"


def test_cues_that_repeat_are_read_and_those_that_roll_on_are_read_once() -> None:
    times = ("00:01,000 --> 00:02,000", "00:03,000 --> 00:04,000", "00:04,000 --> 00:05,000")
    repeated = "".join(f"{number}\n{one}\nNo.\n\n" for number, one in enumerate(times, 1))
    assert words(read_stream(repeated.encode(), suffix=".srt")) == "No.\nNo.\nNo."
    rolling = (
        "WEBVTT\n\nNOTE made by a program\n\n00:00.000 --> 00:02.000\n \nhello<00:01.000><c> world</c>\n\n"
        "00:02.000 --> 00:02.010\nhello world\n \n\n"
        "00:02.010 --> 00:04.000\nhello world\nnext<c> line</c>\n\n"
        "NOTE\nof two\nlines\n\n00:04.000 --> 00:05.000\nnext line\nlast\n"
    )
    document = read_stream(rolling.encode(), suffix=".vtt")
    assert words(document) == "hello world\nnext line\nlast"
    assert document.left_out == ("2 comments left out",)


def test_all_receivers_and_pictures_of_mail() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "List", "ann@example.org", "bo@example.org"
    mail["Bcc"], mail["Reply-To"] = "cy@example.org", "desk@example.org"
    mail.set_content("<p>See <img src='cid:a' alt='the map'></p>", subtype="html")
    mail.add_related(b"\x89PNG", "image", "png", cid="<a>")
    document = read_stream(mail.as_bytes(), suffix=".eml")
    assert "bcc: cy@example.org" in words(document)
    assert "reply-to: desk@example.org" in words(document)
    assert document.left_out == ("1 picture within the text left out",)


def test_plain_parts_of_saved_pages_are_read() -> None:
    page = EmailMessage()
    page.set_content("<title>Gates</title><p>The gate closes at nine.</p>", subtype="html")
    page.make_mixed()
    more = EmailMessage()
    more.set_content("It opens at six.")
    page.attach(more)
    assert (
        words(read_stream(page.as_bytes(), suffix=".mhtml")) == "The gate closes at nine.\nIt opens at six."
    )
    page = EmailMessage()
    page.set_content("As plain text.")
    assert words(read_stream(page.as_bytes(), suffix=".mhtml")) == "As plain text."
    page.add_alternative("<p>As a page.</p>", subtype="html")
    assert words(read_stream(page.as_bytes(), suffix=".mhtml")) == "As a page."


def latex(markup: str) -> str:
    document = read_stream(f"\\begin{{document}}\n{markup}\n\\end{{document}}\n".encode(), suffix=".tex")
    return words(document)


def test_latex_cells_over_several_rows_and_cells_that_hold_tables() -> None:
    markup = r"""Before. \begin{tabular}{|l|l|r|}
\hline
Region & Town & \multicolumn{1}{@{}c@{}}{Count} \\ \hline
\multirow{2}{*}{North} & Alba & 3 \\
 & Berg & 4 \\ \hline
\multirow[t]{3}{2cm}{\textbf{South}} & Cove & \textcolor{red}{5} \\
 & Dorn & {a \\ b} \\
 & \begin{tabular}[c]{@{}l@{}}Two\\ lines\end{tabular} & \begin{tabular}{ll}x & y\\ z & w\end{tabular} \\
East & {\bf Ern} & 7 \\
\end{tabular} After."""
    assert latex(markup) == (
        "Before.\n\nRegion | Town | Count\nNorth | Alba | 3\nNorth | Berg | 4\nSouth | Cove | 5\n"
        "South | Dorn | a b\nSouth | Two lines | x, y; z, w\nEast | Ern | 7\n\nAfter."
    )


def test_latex_tables_and_code_within_items() -> None:
    markup = r"""\begin{enumerate}
\item First:
\begin{tabular}{ll}
a & b \\
c & d
\end{tabular} and more
\item Code:
\begin{verbatim}
x = 5 & y \\
\item no item
\end{verbatim}
\item Last. \begin{itemize} \item inner \end{itemize}
\end{enumerate}"""
    assert latex(markup) == (
        "1. First:\n  a | b\n  c | d\n  and more\n2. Code:\n  x = 5 & y \\\\\n  \\item no item\n"
        "3. Last.\n  - inner"
    )


def test_latex_as_pandoc_writes_it() -> None:
    markup = r"""Text\footnote{First.

Second.} goes on.

\begin{itemize}
\item[$\boxtimes$] done
\item[{[~]}] open
\end{itemize}
\begin{Shaded}
\begin{Highlighting}[]
\KeywordTok{def}\NormalTok{ f(x):}
    \ControlFlowTok{return}\NormalTok{ x}
\end{Highlighting}
\end{Shaded}"""
    assert latex(markup) == (
        "Text [First.\nSecond.] goes on.\n\n- $\\boxtimes$: done\n- [ ]: open\n\ndef f(x):\n    return x"
    )
    layout = "\\newcommand*\\bounded[1]{\\sbox\\a@box{#1}\\usebox\\a@box}\n"
    layout += "\\begin{document}\nSee \\bounded{this}.\n"
    assert words(read_stream(layout.encode(), suffix=".tex")) == "See this."


def test_asciidoc_as_pandoc_writes_it() -> None:
    text = "* {blank}++[++ ++]++ open\n* latexmath:[E = mc^2]\n* a{plus}b\n"
    assert words(read_stream(text.encode(), suffix=".adoc")) == "- [ ] open\n- E = mc^2\n- a+b"


def test_page_of_a_mail_is_read_where_its_plain_alternative_is_blank() -> None:
    mail = EmailMessage()
    mail["Subject"] = "Offer"
    mail.set_content("\n")
    mail.add_alternative("<p>The price is 5.</p>", subtype="html")
    mail.make_mixed()
    footer = EmailMessage()
    footer.set_content("Sent by the office.")
    mail.attach(footer)
    assert words(read_stream(mail.as_bytes(), suffix=".eml")).endswith("The price is 5.\nSent by the office.")


def test_text_that_style_sheets_strike_out_is_counted() -> None:
    document = html(
        "<style>.c1{color:red}.c7{font-size:9pt;text-decoration:line-through}</style>"
        "<p><span class='c1 c7'>5</span> <span class=c1>6</span> "
        "<i style='text-decoration: line-through'>7</i></p>"
    )
    assert (words(document), document.left_out) == ("6", ("2 struck-out texts left out",))


def test_addresses_within_those_of_programs_are_read() -> None:
    google = "https://www.google.com/url?q=https://example.org/x&amp;sa=D&amp;ust=1"
    outlook = "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fexample.org%2Fy&amp;data=05"
    assert words(html(f"<p><a href='{google}'>one</a> <a href='{outlook}'>two</a></p>")) == (
        "one (https://example.org/x) two (https://example.org/y)"
    )


def test_colors_of_a_terminal_are_no_text_of_a_notebook() -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": ["\x1b[31mred\x1b[0m text\n"]}]
    book = {"cells": [{"cell_type": "code", "source": "x", "outputs": outputs}], "metadata": {}}
    assert words(read_stream(json.dumps(book).encode(), suffix=".ipynb")) == "x\n\nred text"


def test_gauges_and_areas_of_pages_are_not_glued() -> None:
    page = "<p>Done<progress value=3>30%</progress><meter value=3>3 of 5</meter></p>"
    page += "<map><area alt='North'></map>"
    assert words(html(page)) == "Done 30% 3 of 5\n\nNorth"


def test_titles_of_drawings_are_their_words_and_not_the_page_s() -> None:
    page = "<body><svg><title>Map of the mill</title><text>Weir</text></svg><p>Text.</p>"
    document = html(page)
    assert (document.title, words(document)) == ("stdin", "Map of the mill Weir\n\nText.")


def test_pages_of_a_book_that_are_drawings_are_counted() -> None:
    with ZipFile(BytesIO(epub("Mills", [("text", "The mill stands.")]))) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    files["a.opf"] = files["a.opf"].replace(
        "</manifest><spine>",
        '<item id="s" href="s.svg" media-type="image/svg+xml"/></manifest><spine><itemref idref="s"/>',
    )
    document = read_stream(packed(files), suffix=".epub")
    assert (words(document), document.left_out) == (
        "The mill stands.", ("1 page that is a drawing left out",)
    )  # fmt: skip
