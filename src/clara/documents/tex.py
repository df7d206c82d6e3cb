"""LaTeX files, as text under their numbered headings; formulas stay as they are written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from clara.documents.charsets import decode
from clara.documents.grids import (
    END_OF_CELL,
    END_OF_ROW,
    heads_by_content,
    spanned,
    table,
    with_inner_rows,
)
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
_TABLES = ("tabular", "tabular*", "tabularx", "tabulary", "longtable")
_COLORED = "Highlighting"  # code in colors, by Pandoc
_BLOCKS = (*CODE, _COLORED, *_TABLES)
_LISTS = ("itemize", "enumerate", "description")
_ITEM_LABEL = re.compile(r"\s*\[((?:[^\[\]{}]|\{[^{}]*\})*)\]")
_EDGE = re.compile(r"\\(begin|end)\{(" + "|".join(map(re.escape, (*_BLOCKS, *_LISTS))) + r")\}")
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
    "item": "\n- ", "boxtimes": "[x]", "square": "[ ]",
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
_MULTIROW = re.compile(
    r"\\multirow(?:\[[^\]]*\])?\{\s*(\d{1,4})\s*\}(?:\[[^\]]*\])?(?:\{[^{}]*\}|[*=])(?:\[[^\]]*\])?"
)
_MULTICOLUMN = re.compile(rf"\\multicolumn\s*\{{(\d{{1,2}})\}}\s*{GROUP}")
_SPEC = re.compile(rf"^\s*\\begin\{{\w+\*?\}}(?:\[[^\]]*\])?(?:{GROUP})?")
_SPEC_OF_WIDTH = re.compile(_SPEC.pattern + rf"(?:{GROUP})?")
_WITH_WIDTH = ("tabular*", "tabularx", "tabulary")
_INNER = re.compile(
    r"\\begin\{tabular\}(?:(?!\\begin\{tabular\}|\\end\{tabular\}).)*+\\end\{tabular\}", re.DOTALL
)
_CELL_TOKEN = re.compile(r"\\\\\*?(?:\[[^\]]*\])?|\\tabularnewline\b|\\.|[{}&]", re.DOTALL)
# what says how text looks, before the text
_LOOKS = re.compile(
    r"\\(?:textcolor|color|colorbox|rowcolor|cellcolor|columncolor|parbox|raisebox|scalebox|rotatebox)"
    r"(?:\[[^\]]*\]){0,3}\{[^{}]*\}|\\(?:fontsize|resizebox\*?|rule)(?:\[[^\]]*\])?\{[^{}]*\}\{[^{}]*\}"
)
_RULE = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|endlastfoot|cline\{[^}]*\}"
    r"|cmidrule(?:\([^)]*\))?\{[^}]*\})"
)
_ESCAPES = {r"\%": "%", r"\&": "&", r"\$": "$", r"\#": "#", r"\_": "_", r"\{": "{", r"\}": "}", "~": " ",
            "---": "—", "--": "–", "``": "“", "''": "”", r"\,": " ", r"\ ": " ", r"\-": "", r"\/": "",
            r"\;": " "}  # fmt: skip
_MAX_DEPTH = 8
_LONGEST_GROUP = 100  # lines
_LONGEST_PARAGRAPH = 20_000  # characters


def read_tex(data: bytes, context: Context) -> Reading:
    """Read LaTeX: headings with the numbers that they get, lists, tables, footnotes where they are referred
    to.

    Files that it includes are told of: they are documents of their own.

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = _parted(prepared(list(numbered_lines(decode(data, losses=context.losses)))))
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
            if begin is not None and begin[1] in (*_BLOCKS, *_LISTS):
                self._paragraph(open_lines)
                open_lines = []
                stop = _end_of(lines, at, begin[1])
                self._environment(begin[1], lines[at:stop])
                at = stop
                continue
            if not line.strip() and _open_braces(open_lines) > 0 and len(open_lines) < _LONGEST_GROUP:
                open_lines.append((number, ""))
            elif not line.strip():
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
        if name in _LISTS:
            self._list(lines)
        else:
            self._outline.block(self._block(name, lines))

    def _block(self, name: str, lines: Sequence[Line]) -> Traced:
        """Code or a table."""
        if name == _COLORED:
            code = [Traced.of(_plain(line, self._losses).rstrip(), (at, at)) for at, line in lines[1:-1]]
            return join("\n", code).whole()
        if name in CODE:
            return join(
                "\n", [Traced.of(line.rstrip(), (number, number)) for number, line in lines[1:-1]]
            ).whole()
        return self._table("\n".join(line for _, line in lines), name, (lines[0][0], lines[-1][0]))

    def _list(self, lines: Sequence[Line]) -> None:
        items: list[list[Line | Traced]] = []
        kinds: list[list[object]] = []  # [kind, number of the last item] of the open lists
        marks: list[str] = []
        at = 0
        while at < len(lines):
            number, line = lines[at]
            begin = _BEGIN.match(line)
            if begin is not None and begin[1] in _BLOCKS:
                stop = _end_of(lines, at, begin[1])
                block = self._block(begin[1], lines[at:stop])
                if items:
                    items[-1].append(block)
                else:
                    self._outline.block(block)
                at = stop
                continue
            at += 1
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
                    label = _ITEM_LABEL.match(part)
                    items[-1].append((number, f"{label[1]}: {part[label.end() :]}" if label else part))
                elif part.strip():
                    self._paragraph([(number, part)])
        made = [self._item(mark, item) for mark, item in zip(marks, items, strict=True)]
        self._outline.block(join("\n", [one.whole() for one in made if one.text]))

    def _item(self, mark: str, parts: Sequence[Line | Traced]) -> Traced:
        """An item of a list with its text, tables and code, each on lines of its own."""
        indent = " " * (len(mark) - len(mark.lstrip()) + 2)
        made: list[Traced] = []
        for is_block, group in groupby(parts, lambda part: isinstance(part, Traced)):
            if is_block:
                blocks = [part for part in group if isinstance(part, Traced)]
                for block in blocks:
                    around = (block.spans[0][1], block.spans[-1][2]) if block.spans else None
                    made += [Traced.of(line, around) for line in block.text.split("\n")]
                continue
            lines = [part for part in group if not isinstance(part, Traced)]
            text = squeeze(_plain("\n".join(line for _, line in lines), self._losses))
            made += [Traced.of(text, (lines[0][0], lines[-1][0]))] if text else []
        return join("\n", [one.prefixed(indent if at else mark) for at, one in enumerate(made)])

    def _table(self, markup: str, name: str, around: tuple[int, int]) -> Traced:
        spec = _SPEC_OF_WIDTH if name in _WITH_WIDTH else _SPEC
        inner = re.sub(r"\\end\{\w+\*?\}\s*$", "", spec.sub("", markup, count=1))
        for _ in range(_MAX_DEPTH):
            inner, number = _INNER.subn(_within_cell, inner)
            if not number:
                break
        rows = []
        open_: dict[int, tuple[int, Traced]] = {}  # of each column the rows still to fill, and with what
        for row in _split(_RULE.sub("", inner)):
            cells: list[tuple[Traced, int, int]] = []
            column = 0
            for cell in row:
                wide, tall = _MULTICOLUMN.search(cell), _MULTIROW.search(cell)
                text = Traced.of(squeeze(_plain(_MULTICOLUMN.sub("", cell), self._losses)), around)
                text = Traced.of(with_inner_rows(text.text), around)
                left, above = open_.pop(column, (0, text))
                if left and not text.text:  # it goes on below the row where it is written
                    text = above
                if tall is not None and text.text:
                    left = min(int(tall[1]), 1000)
                if left > 1:
                    open_[column] = (left - 1, text)
                cells.append((text, int(wide[1]) if wide else 1, 1))
                column += cells[-1][1]
            if any(cell[0].text for cell in cells):
                rows.append(cells)
        grid = spanned(rows)
        return table(grid, heads_by_content(grid) or int("rule" in markup and len(grid) > 1))


def _split(markup: str) -> list[list[str]]:
    """The rows and cells of a table; what is within braces ends neither."""
    rows, cells, open_, depth, at = [], list[str](), list[str](), 0, 0
    for match in _CELL_TOKEN.finditer(markup):
        open_.append(markup[at : match.start()])
        at = match.end()
        token = match[0]
        is_row = token.startswith(("\\\\", "\\tabularnewline"))
        if not depth and (token == "&" or is_row):
            cells.append("".join(open_))
            open_ = []
            if is_row:
                rows.append(cells)
                cells = []
        else:
            open_.append(" " if is_row else token)
        depth = max(0, depth + (token == "{") - (token == "}"))
    return [*rows, [*cells, "".join([*open_, markup[at:]])]]


def _within_cell(match: re.Match[str]) -> str:
    """A table within a cell, of which one with a single column breaks lines."""
    rows = _split(_SPEC.sub("", match[0], count=1).rpartition("\\end{")[0])
    if all(len(row) < 2 for row in rows):
        return " ".join(cell for row in rows for cell in row)
    return "".join("".join(cell + END_OF_CELL for cell in row) + END_OF_ROW for row in rows)


def _parted(lines: Sequence[Line]) -> list[Line]:
    """The lines, where tables, lists and code begin on one of their own, and what follows them too."""
    parted: list[Line] = []
    inside = ""  # the code environment
    for number, line in lines:
        at = 0
        for match in _EDGE.finditer(line):
            if inside and match[0] != f"\\end{{{inside}}}":
                continue
            is_begin = match[1] == "begin"
            place = match.start() if is_begin else match.end()
            if line[at:place].strip():
                parted.append((number, line[at:place]))
                at = place
            inside = match[2] if is_begin and match[2] in CODE else ""
        if line[at:].strip() or not at:
            parted.append((number, line[at:]))
    return parted


def _open_braces(lines: Sequence[Line]) -> int:
    """How many groups, such as a footnote of two paragraphs, go on after some lines."""
    text = "".join(line for _, line in lines).replace("\\{", "").replace("\\}", "")
    return text.count("{") - text.count("}")


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
    text = _PICTURE.sub("", _LOOKS.sub("", _SILENT.sub("", text)))
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
