"""LaTeX files, as text under their numbered headings; formulas stay as they are written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from clara.documents.charsets import decode
from clara.documents.grids import heads_by_content, spanned, table
from clara.documents.inline import address_after
from clara.documents.lines import Traced, join
from clara.documents.outline import Outline
from clara.documents.reading import Context, Losses, Reading, facts, facts_section
from clara.documents.tex_macros import CODE, GROUP, VERB, prepared
from clara.documents.text import Line, numbered_lines, squeeze

_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
_SECTION = re.compile(
    r"\s*\\(part|chapter|section|subsection|subsubsection|paragraph)(\*?)\s*(?:\[[^\]]*\])?\{"
)
_BEGIN = re.compile(r"\s*\\begin\{(\w+\*?)\}")
_TABLES = ("tabular", "tabular*", "tabularx", "longtable")
_LISTS = ("itemize", "enumerate", "description")
_STATED = re.compile(rf"\\(title|author|date)\s*(?:\[[^\]]*\])?{GROUP}")
_INPUT = re.compile(r"\\(?:input|include|subfile)\{([^{}]+)\}")
_PICTURE = re.compile(r"\\includegraphics(?:\[[^\]]*\])?\{[^{}]*\}")
_FOOTNOTE = re.compile(rf"\s?\\footnote(?:\[[^\]]*\])?{GROUP}")
_HREF = re.compile(rf"\\href\{{([^{{}}]*)\}}{GROUP}")
_URL = re.compile(r"\\(?:url|nolinkurl)\{([^{}]*)\}")
_CITE = re.compile(r"~?\\(?:[a-zA-Z]*cite[a-zA-Z]*\*?)(?:\[([^\]]*)\])?(?:\[[^\]]*\])?\{([^{}]*)\}")
_STRUCK = re.compile(rf"\\(?:sout|st|xout)\s*{GROUP}")
_SILENT = re.compile(
    r"\\(?:label|index|vspace\*?|hspace\*?|pagestyle|thispagestyle|bibliographystyle|setlength\{[^{}]*\}|addtolength"
    r"|usepackage|documentclass|newcommand|renewcommand|graphicspath|caption\*?\[[^\]]*\])(?:\[[^\]]*\])?\{[^{}]*\}"
)
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304",
            ".": "\u0307", "c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b", "r": "\u030a",
            "k": "\u0328"}  # fmt: skip
_ACCENT = re.compile(r"\\(?:([\"'`^~=.])\s*\{?\\?([A-Za-z])\}?|([cvuHrk])\{\\?([A-Za-z])\})")
_LETTERS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "oe": "œ", "OE": "Œ", "l": "ł",
    "L": "Ł", "ldots": "…", "dots": "…", "textdegree": "°", "euro": "€", "texteuro": "€", "pounds": "£",
    "textsterling": "£", "S": "§", "copyright": "©", "LaTeX": "LaTeX", "TeX": "TeX", "textbackslash": "\\",
    "textendash": "–", "textemdash": "—", "quad": " ", "qquad": " ", "newline": "\n", "par": "\n\n",
    "item": "\n- ",
}  # fmt: skip
_LETTER = re.compile(
    r"\\(" + "|".join(sorted(_LETTERS, key=len, reverse=True)) + r")(?![A-Za-z])\s?(?:\{\})?"
)
_WRAPPED = re.compile(rf"\\[A-Za-z]+\*?(?:\[[^\]]*\])?{GROUP}")
_MATH = re.compile(r"\$\$.+?\$\$|\$[^$]+\$|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
_DISPLAYED = re.compile(
    r"\\begin\{((?:equation|align|gather|multline|eqnarray|displaymath|math|flalign|alignat)\*?)\}"
    r"(.+?)\\end\{\1\}",
    re.DOTALL,
)
_LABEL = re.compile(r"\\(?:label\{[^{}]*\}|nonumber\b|notag\b)")
_SUPERSCRIPT = re.compile(r"(?<=\d)\\textsuperscript\{\s*([-+\u2212]?\d)")
_MULTIROW = re.compile(r"\\multirow(?:\[[^\]]*\])?\{[^{}]*\}(?:\[[^\]]*\])?\{[^{}]*\}(?:\[[^\]]*\])?")
_MULTICOLUMN = re.compile(r"\\multicolumn\{(\d{1,2})\}\{[^{}]*\}")
_RULE = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|endlastfoot|cline\{[^}]*\}"
    r"|cmidrule(?:\([^)]*\))?\{[^}]*\})"
)
_ESCAPES = {r"\%": "%", r"\&": "&", r"\$": "$", r"\#": "#", r"\_": "_", r"\{": "{", r"\}": "}", "~": " ",
            "---": "—", "--": "–", "``": "“", "''": "”", r"\,": " ", r"\ ": " ", r"\-": "", r"\/": "",
            r"\;": " "}  # fmt: skip
_MAX_DEPTH = 8
_LONGEST_PARAGRAPH = 20_000  # characters


def read_tex(data: bytes, context: Context) -> Reading:
    """Read LaTeX: headings with the numbers that they get, lists, tables, footnotes where they are referred
    to.

    Files that it includes are told of: they are documents of their own.

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = prepared(list(numbered_lines(decode(data, losses=context.losses))))
    whole = "\n".join(line for _, line in lines)
    stated = {name: squeeze(_plain(text, Losses())) for name, text in _STATED.findall(whole)}
    title = stated.pop("title", "")
    values = facts({name: "" if "\\today" in text else text for name, text in stated.items()})
    for name in _INPUT.findall(whole):
        context.losses.say(f"the file {name} that it includes is a document of its own")
    context.losses.count("picture", len(_PICTURE.findall(whole)))
    begin = next((at + 1 for at, (_, line) in enumerate(lines) if r"\begin{document}" in line), 0)
    outline = Outline()
    _Body(outline, context.losses).run(lines[begin:])
    title = title or outline.leading_heading
    return Reading(title, (*facts_section(values), *outline.sections(title)), values)


class _Body:
    def __init__(self, outline: Outline, losses: Losses) -> None:
        self._outline = outline
        self._losses = losses
        self._counts: dict[int, int] = {}
        self._is_appendix = False

    def run(self, lines: Sequence[Line]) -> None:
        at = 0
        open_lines: list[Line] = []
        while at < len(lines):
            number, line = lines[at]
            begin = _BEGIN.match(line)
            if r"\end{document}" in line:
                break
            if _SECTION.match(line):
                self._paragraph(open_lines)
                open_lines = []
                at += self._heading(lines[at : at + 5])
                continue
            if begin is not None and begin[1] in (*CODE, *_TABLES, *_LISTS):
                self._paragraph(open_lines)
                open_lines = []
                stop = _end_of(lines, at, begin[1])
                self._environment(begin[1], lines[at:stop])
                at = stop
                continue
            if not line.strip():
                self._paragraph(open_lines)
                open_lines = []
            elif r"\appendix" in line:
                self._is_appendix, self._counts = True, {}
            else:
                open_lines.append((number, line))
            at += 1
        self._paragraph(open_lines)

    def _heading(self, lines: Sequence[Line]) -> int:
        """Begin a section; gives how many lines its heading takes."""
        found = _SECTION.match(lines[0][1])
        if found is None:
            return 1
        text, depth, used = "", 1, 1
        rest = lines[0][1][found.end() :]
        while True:
            for place, character in enumerate(rest):
                depth += (character == "{") - (character == "}")
                if not depth:
                    text += rest[:place]
                    rest = rest[place + 1 :]
                    break
            if not depth or used >= len(lines):
                break
            text += rest + " "
            rest = lines[used][1]
            used += 1
        level = _LEVELS[found[1]]
        number = "" if found[2] or found[1] in ("part", "paragraph") else self._number(level)
        self._outline.heading(
            level, squeeze(f"{number} {_plain(text, self._losses)}"), (lines[0][0], lines[used - 1][0])
        )
        after = _plain(rest, self._losses).strip()
        if after:
            self._outline.block(Traced.of(after, (lines[used - 1][0],) * 2))
        return used

    def _number(self, level: int) -> str:
        self._counts[level] = self._counts.get(level, 0) + 1
        for deeper in [one for one in self._counts if one > level]:
            del self._counts[deeper]
        numbers = [str(self._counts[one]) for one in sorted(self._counts)]
        if self._is_appendix and numbers and self._counts[min(self._counts)] <= 26:
            numbers[0] = chr(64 + self._counts[min(self._counts)])
        return ".".join(numbers)

    def _paragraph(self, lines: Sequence[Line]) -> None:
        if lines:
            text = _plain("\n".join(line for _, line in lines), self._losses)
            words = "\n".join(filter(None, (squeeze(part) for part in text.split("\n\n"))))
            if words:
                self._outline.block(Traced.of(words, (lines[0][0], lines[-1][0])))

    def _environment(self, name: str, lines: Sequence[Line]) -> None:
        around = (lines[0][0], lines[-1][0])
        if name in CODE:
            code = [Traced.of(line.rstrip(), (number, number)) for number, line in lines[1:-1]]
            self._outline.block(join("\n", code).whole())
        elif name in _TABLES:
            self._table("\n".join(line for _, line in lines), around)
        else:
            self._list(lines)

    def _list(self, lines: Sequence[Line]) -> None:
        items: list[list[Line]] = []
        kinds: list[list[object]] = []  # [kind, number of the last item] of the open lists
        marks: list[str] = []
        for number, line in lines:
            for part in re.split(
                r"(\\(?:begin|end)\{(?:itemize|enumerate|description)\}(?:\[[^\]]*\])?|\\item\b)", line
            ):
                if part.startswith("\\begin"):
                    kinds.append([part[7:].partition("}")[0], 0])
                elif part.startswith("\\end"):
                    kinds = kinds[:-1]
                elif part == "\\item" and kinds:
                    kinds[-1][1] = int(str(kinds[-1][1])) + 1
                    indent = "  " * (min(len(kinds), 12) - 1)
                    marks.append(indent + (f"{kinds[-1][1]}. " if kinds[-1][0] == "enumerate" else "- "))
                    items.append([])
                elif part.strip() and items:
                    label = re.match(r"\s*\[([^\]]*)\]", part)
                    items[-1].append((number, f"{label[1]}: {part[label.end() :]}" if label else part))
                elif part.strip():
                    self._paragraph([(number, part)])
        made = []
        for mark, item in zip(marks, items, strict=True):
            text = squeeze(_plain("\n".join(line for _, line in item), self._losses))
            if text:
                made.append(Traced.of(text, (item[0][0], item[-1][0])).prefixed(mark).whole())
        self._outline.block(join("\n", made))

    def _table(self, markup: str, around: tuple[int, int]) -> None:
        inner = re.sub(rf"^\s*\\begin\{{\w+\*?\}}(?:\[[^\]]*\])?(?:{GROUP})?(?:{GROUP})?", "", markup)
        inner = _RULE.sub("", re.sub(r"\\end\{\w+\*?\}\s*$", "", inner))
        rows = []
        for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\tabularnewline", inner):
            cells = []
            for cell in re.split(r"(?<!\\)&", row):
                wide = _MULTICOLUMN.search(cell)
                text = squeeze(_plain(_MULTICOLUMN.sub("", cell), self._losses))
                cells.append((Traced.of(text, around), int(wide[1]) if wide else 1, 1))
            if any(cell[0].text for cell in cells):
                rows.append(cells)
        grid = spanned(rows)
        self._outline.block(table(grid, heads_by_content(grid) or int("rule" in markup and len(grid) > 1)))


def _end_of(lines: Sequence[Line], at: int, name: str) -> int:
    depth = 0
    for stop in range(at, len(lines)):
        depth += lines[stop][1].count(f"\\begin{{{name}}}") - lines[stop][1].count(f"\\end{{{name}}}")
        if depth <= 0:
            return stop + 1
    return len(lines)


def _plain(text: str, losses: Losses) -> str:
    """LaTeX's running text as plain text; formulas are set aside and put back as they were."""
    if len(text) > _LONGEST_PARAGRAPH:  # what is never closed is looked for to the end of a piece
        middle = text.rfind("\n", 1, len(text) // 2) + 1 or len(text) // 2
        return _plain(text[:middle], losses) + _plain(text[middle:], losses)
    formulas: list[str] = []

    def aside(match: re.Match[str]) -> str:
        formulas.append(match[0])
        return f"\x00{len(formulas) - 1}\x00"

    def displayed(match: re.Match[str]) -> str:
        formulas.append(squeeze(_LABEL.sub("", match[2])))
        return f"\n\n\x00{len(formulas) - 1}\x00\n\n"

    def verbatim(match: re.Match[str]) -> str:
        formulas.append(match[2])
        return f"\x00{len(formulas) - 1}\x00"

    text = _DISPLAYED.sub(displayed, VERB.sub(verbatim, text).replace("\\$", "\x01"))
    text = _MATH.sub(aside, text)
    text = _MULTIROW.sub("", _SUPERSCRIPT.sub(r"^{\1", text))
    text, struck = _STRUCK.subn("", text)
    losses.count("struck-out text", struck)
    text = _PICTURE.sub("", _SILENT.sub("", text))
    text = _HREF.sub(lambda match: f"{match[2]}{address_after(match[2], match[1])}", text)
    text = _URL.sub(r"\1", text)
    text = _CITE.sub(lambda match: f" [{match[2]}{', ' + match[1] if match[1] else ''}]", text)
    text = _FOOTNOTE.sub(lambda match: f" [{match[1]}]", text)
    text = _ACCENT.sub(_accented, text)
    text = _LETTER.sub(lambda match: _LETTERS[match[1]], text)
    text = re.sub(r"\\(?:begin|end)\{\w+\*?\}(?:\[[^\]]*\])?", "\n", text)
    for _ in range(_MAX_DEPTH):
        text, number = _WRAPPED.subn(r"\1", text)
        if not number:
            break
    text = re.sub(r"\\\\(?:\[[^\]]*\])?", "\n", text)
    for mark, plain in _ESCAPES.items():
        text = text.replace(mark, plain)
    text = re.sub(r"\\[A-Za-z]+\*?\s?", "", text).replace("{", "").replace("}", "").replace("\x01", "$")
    return re.sub(r"\x00(\d+)\x00", lambda match: formulas[int(match[1])].replace("\x01", "\\$"), text)


def _accented(match: re.Match[str]) -> str:
    mark, letter = (match[1], match[2]) if match[1] else (match[3], match[4])
    return unicodedata.normalize("NFC", letter + _ACCENTS[mark])
