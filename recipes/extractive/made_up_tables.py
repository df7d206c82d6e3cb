"""Made-up tables with questions on their cells, as Clara's readers bring tables, records and settings.

A row is a passage of `field: value` lines, with its name as a heading where the table has one; a small
table stands whole in a passage, its cells between bars, and some rows of a long one under the names of its
columns; settings are `field = value` lines. Names are the names among SQuAD's training answers, all other
values are drawn.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from clara.errors import InputError
from clara.training.examples import ReadingExample

PASSAGES = 14_000
MAX_ROWS = 12
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
STATES = ("open", "closed", "active", "pending", "shipped", "red", "blue", "green", "black", "yes", "no")
ANY_FIELD = (
    "What is the {field} of {key}?",
    "What is the {field} of the {key_field} {key}?",
    "What is {key}'s {field}?",
    "What {field} does {key} have?",
    "Which {field} belongs to {key}?",
    "Tell me the {field} for {key_field} {key}.",
    "{field} of {key}?",
    "{key} {field}",
)
ANY_KEY = (
    "Which {key_field} has the {field} {value}?",
    "Which {key_field} has {value}?",
    "Which {key_field} is {value}?",
    "Which {title} {key_field} is {value}?",
    "What is the {key_field} of {value}?",
)
PHRASES = (
    "used for {}",
    "the {} of {}",
    "{} and {}",
    "passed to {} when {} is set",
    "an {} that has no {}",
    "{} records",
)


@dataclass(frozen=True)
class Kind:
    """A kind of column: names of its fields, and questions that suit them beside those for any field."""

    fields: str
    forms: tuple[str, ...] = ()


KINDS = {
    "person": Kind(
        "name owner author manager contact customer employee teacher driver patient player coach director "
        "maintainer seller buyer assignee student captain supplier",
        ("Who is the {field} of {key}?", "Who is {key}'s {field}?"),
    ),
    "place": Kind(
        "city country region address office branch location destination origin birthplace venue warehouse "
        "state station room",
        ("In which {field} is {key}?", "Which {field} is {key} in?"),
    ),
    "thing": Kind(
        "title product item project team department brand model category codename series label description "
        "subject type company school publisher genre material role job language"
    ),
    "state": Kind("status color enabled active availability stage priority paid"),
    "date": Kind(
        "date created released release updated start end due born founded opened shipped expires eol joined "
        "last_login delivered published hired",
        ("When is the {field} of {key}?", "On what date is the {field} of {key}?"),
    ),
    "number": Kind(
        "price amount total quantity stock age population area weight height width length score points "
        "salary volume open high low close adj_close rating pages seats distance speed capacity duration "
        "cost budget votes elevation count size timeout level"
    ),
    "code": Kind(
        "id sku code serial isbn invoice order ticket license phone email port ip flight plate account url "
        "hash extension path default"
    ),
    "version": Kind("version release edition build model python"),
    "symbol": Kind(
        "error code constant option function method class flag variable command event type",
        ("What is the {field} for {key}?",),
    ),
    "text": Kind(
        "description notes summary contains purpose comment meaning",
        ("What is {key}?", "What does {key} mean?"),
    ),
}
FIELD_FORMS = {
    "created": ("When was {key} created?",),
    "released": ("When was {key} released?", "When did {key} come out?"),
    "release": ("When was {key} released?", "When did {key} come out?"),
    "updated": ("When was {key} updated?",),
    "start": ("When did {key} start?", "When does {key} begin?"),
    "end": ("When does {key} end?",),
    "born": ("When was {key} born?", "What is {key}'s date of birth?"),
    "founded": ("When was {key} founded?",),
    "opened": ("When was {key} opened?",),
    "shipped": ("When was {key} shipped?",),
    "expires": ("When does {key} expire?",),
    "eol": ("When does the support of {key} end?", "When does {key} reach its end of life?"),
    "joined": ("When did {key} join?",),
    "delivered": ("When was {key} delivered?",),
    "published": ("When was {key} published?", "When did {key} appear?"),
    "hired": ("When was {key} hired?",),
    "author": ("Who wrote {key}?",),
    "owner": ("Who owns {key}?",),
    "director": ("Who directs {key}?",),
    "teacher": ("Who teaches {key}?",),
    "price": ("How much does {key} cost?",),
    "cost": ("How much is {key}?",),
    "quantity": ("How many {key} are there?",),
    "stock": ("How many {key} are in stock?",),
    "age": ("How old is {key}?",),
    "population": ("How many people live in {key}?",),
    "area": ("How large is {key}?",),
    "weight": ("How much does {key} weigh?",),
    "height": ("How tall is {key}?", "How high is {key}?"),
    "width": ("How wide is {key}?",),
    "length": ("How long is {key}?",),
    "salary": ("How much does {key} earn?",),
    "pages": ("How many pages does {key} have?",),
    "seats": ("How many seats does {key} have?",),
    "speed": ("How fast is {key}?",),
    "elevation": ("How high is {key}?",),
    "votes": ("How many votes did {key} get?",),
    "contains": ("What does {key} contain?", "What do {key} contain?"),
    "purpose": ("What is {key} for?", "What is {key} used for?"),
}


@dataclass(frozen=True)
class Column:
    """A column of a table: its kind, its field's name, and a value for each row."""

    kind: str
    field: str
    values: list[str]


def made_up_tables(names: Sequence[str], count: int = PASSAGES, seed: int = 0) -> list[ReadingExample]:
    """Passages of made-up tables, the rows of one behind each other, so that they are neighbours.

    Args:
        names: To draw names of persons, places and things from.
        count: How many passages.
        seed: Draws everything.

    Raises:
        InputError: There are too few names to tell the rows of a table apart.
    """
    if len(set(names)) < MAX_ROWS:
        raise InputError(f"Made-up tables need {MAX_ROWS} names or more; the data give {len(set(names))}.")
    rng = random.Random(seed)
    passages: list[ReadingExample] = []
    while len(passages) < count:
        passages += _passages(rng, names, f"table{len(passages)}")
    return passages[:count]


def names_among(examples: Sequence[ReadingExample]) -> list[str]:
    """Answers of one to three words that are written like names, each once, in order."""
    answers = {answer for example in examples for _, all_of in example.turns for answer in all_of}
    names = (answer for answer in answers if re.fullmatch(r"[A-Z][\w'. -]{2,24}", answer))
    return sorted(name for name in names if len(name.split()) <= 3 and not name.startswith(("The ", "A ")))


def _passages(rng: random.Random, names: Sequence[str], name: str) -> list[ReadingExample]:
    """One table in one of the forms in which files hold tables."""
    form = rng.choices((_rows, _headed_rows, _whole, _long, _settings), (8, 3, 4, 5, 2))[0]
    rows = rng.randint(3, 6) if form is _whole else rng.randint(5, MAX_ROWS)
    key, columns = _table(rng, names, rows)
    if form in (_whole, _long):
        columns = columns[:4]  # so that some rows fit into a passage
    title = rng.choice((rng.choice(names), rng.choice(names).split()[0].lower(), "data", "list"))
    examples = []
    for number, (heading, text, chosen) in enumerate(form(rng, key, columns)):
        head = " > ".join(part for part in (title, heading) if part)
        turns = _turns(rng, title, key, columns, chosen, f"{head}\n{text}")
        examples.append(ReadingExample(f"{name}/{number}", head, text, turns))
    return examples


Shown = tuple[str, str, range]
"""A passage's heading, its text, and which rows it shows."""


def _rows(rng: random.Random, key: Column, columns: list[Column]) -> list[Shown]:
    """Every row as lines of field and value."""
    ordered = [*columns]
    ordered.insert(rng.choice((0, 0, 0, rng.randint(0, len(columns)))), key)
    before = rng.choice(("", "", "", f"{rng.choice(ordered).kind}."))
    return [
        (
            "",
            "\n".join(f"{before}{column.field}: {column.values[row]}" for column in ordered),
            range(row, row + 1),
        )
        for row in range(len(key.values))
    ]


def _headed_rows(rng: random.Random, key: Column, columns: list[Column]) -> list[Shown]:
    """Every row under its name."""
    return [
        (
            key.values[row],
            "\n".join(f"{column.field}: {column.values[row]}" for column in columns),
            range(row, row + 1),
        )
        for row in range(len(key.values))
    ]


def _whole(rng: random.Random, key: Column, columns: list[Column]) -> list[Shown]:
    """The whole table, a row a line."""
    shown = [key, *columns]
    lines = [[column.field for column in shown]]
    lines += ([column.values[row] for column in shown] for row in range(len(key.values)))
    return [("", "\n".join(" | ".join(cells) for cells in lines), range(len(key.values)))]


def _long(rng: random.Random, key: Column, columns: list[Column]) -> list[Shown]:
    """Some rows at a time, under the names of the columns."""
    shown = [key, *columns]
    heading = " | ".join(column.field for column in shown)
    lines = [" | ".join(column.values[row] for column in shown) for row in range(len(key.values))]
    size = rng.randint(2, 6)
    return [
        (heading, "\n".join(lines[first : first + size]), range(first, min(first + size, len(lines))))
        for first in range(0, len(lines), size)
    ]


def _settings(rng: random.Random, key: Column, columns: list[Column]) -> list[Shown]:
    """Every row as a section of settings."""
    before, after = rng.choice(((" = ", ""), ("=", ""), (": ", ""), (' = "', '"')))
    return [
        (
            key.values[row],
            "\n".join(
                [
                    f"[{key.values[row]}]",
                    *(f"{column.field}{before}{column.values[row]}{after}" for column in columns),
                ]
            ),
            range(row, row + 1),
        )
        for row in range(len(key.values))
    ]


def _table(rng: random.Random, names: Sequence[str], rows: int) -> tuple[Column, list[Column]]:
    """The column that names the rows, and the others."""
    kinds = [
        *rng.choices(
            ("person", "place", "thing", "code", "date", "version", "symbol"), (3, 3, 3, 2, 1, 3, 4)
        ),
        *rng.choices(list(KINDS), (3, 2, 3, 1, 3, 4, 2, 2, 2, 2), k=rng.randint(2, 7)),
    ]
    columns: list[Column] = []
    for kind in kinds:
        field = rng.choice(KINDS[kind].fields.split())
        if field not in {column.field for column in columns}:
            columns.append(Column(kind, field, _values(rng, kind, field, names, rows)))
    return columns[0], columns[1:]


def _values(rng: random.Random, kind: str, field: str, names: Sequence[str], rows: int) -> list[str]:
    """A column's values in one style, all different but states."""
    if kind == "state":
        return [rng.choice(STATES) for _ in range(rows)]
    draw = {
        "date": partial(_date, style=rng.randrange(7)),
        "number": partial(_number, style=rng.randrange(8)),
        "code": _codes(rng, field, names),
        "version": _versions(rng),
        "symbol": partial(_symbol, names=names, style=rng.randrange(6)),
        "text": partial(_phrase, names=names),
    }.get(kind, lambda rng: rng.choice(names))
    values: dict[str, None] = {}
    while len(values) < rows:
        values[draw(rng)] = None
    return list(values)


def _date(rng: random.Random, style: int) -> str:
    year, month, day = rng.randint(1950, 2026), rng.randint(1, 12), rng.randint(1, 28)
    name = MONTHS[month - 1]
    return (
        f"{year}-{month:02}-{day:02}",
        f"{year}-{month:02}-{day:02}",
        f"{day:02}-{name[:3]}-{year % 100:02}",
        f"{month}/{day}/{year}",
        f"{day} {name} {year}",
        f"{name} {day}, {year}",
        str(year),
    )[style]


def _number(rng: random.Random, style: int) -> str:
    return (
        str(rng.randint(1, 99)),
        str(rng.randint(100, 99_999)),
        f"{rng.randint(1_000, 9_999_999):,}",
        f"{rng.uniform(0, 500):.2f}",
        f"${rng.uniform(1, 2_000):.2f}",
        f"{rng.uniform(0, 100):.1f} kg",
        f"{rng.randint(1, 900)} km",
        f"{rng.randint(1, 100)}%",
    )[style]


def _codes(rng: random.Random, field: str, names: Sequence[str]) -> Callable[[random.Random], str]:
    """Draws a field's codes, which look alike as those of one table do."""
    letters = "".join(rng.choices("ABCDEFGHKLMNPRSTX", k=rng.randint(1, 4)))
    first = rng.randint(10, 9_000)
    word = partial(_word, names=names)
    makers: dict[str, Callable[[random.Random], str]] = {
        "phone": lambda rng: f"555-{rng.randint(0, 9_999):04}",
        "email": lambda rng: f"{word(rng)}@{word(rng)}.{rng.choice(('com', 'org', 'net'))}",
        "ip": lambda rng: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
        "port": lambda rng: str(rng.randint(80, 65_000)),
        "url": lambda rng: f"https://{word(rng)}.org/{rng.randint(1, 99)}",
        "path": lambda rng: f"/{word(rng)}/{word(rng)}",
        "default": lambda rng: rng.choice((word(rng), str(rng.randint(0, 512)))),
    }
    either = (
        lambda rng: f"{letters}-{rng.randint(first, first + 40)}",
        lambda rng: f"{letters}{rng.randint(first, first + 40)}",
        lambda rng: str(rng.randint(first, first + 40)),
        lambda rng: str(rng.randint(1_000, 999_999)),
    )
    return makers.get(field, rng.choice(either))


def _versions(rng: random.Random) -> Callable[[random.Random], str]:
    """Draws versions that are easily taken for each other, as those of one program are."""
    first = rng.randint(0, 20)
    minors = rng.choice((("04", "10"), ("0", "1", "2", "3"), ("0.1", "1.0", "1.1", "2.0")))
    suffix = rng.choice(("", "", "", " LTS"))
    return lambda rng: f"{first + rng.randint(0, 6)}.{rng.choice(minors)}{rng.choice(('', suffix))}"


def _symbol(rng: random.Random, names: Sequence[str], style: int) -> str:
    """What a program calls something."""
    one, other = _word(rng, names), _word(rng, names)
    return (
        f"{one}_{other}".upper(),
        f"{one.title()}{other.title()}Error",
        f"--{one}-{other}",
        f"{one}.{other}()",
        f"{one}_{other}",
        f"'{one.upper()}{other.upper()}'",
    )[style]


def _phrase(rng: random.Random, names: Sequence[str]) -> str:
    return rng.choice(PHRASES).format(rng.choice(names).lower(), rng.choice(names).lower())


def _word(rng: random.Random, names: Sequence[str]) -> str:
    return rng.choice(names).split()[0].lower().strip(".'-")


def _turns(
    rng: random.Random, title: str, key: Column, columns: list[Column], rows: range, shown: str
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Questions on the cells of rows whose value stands in the passage once."""
    asked = [
        _ask(rng, title, key, column, row)
        for row in rows
        for column in columns
        if shown.count(column.values[row]) == 1
    ]
    return tuple((question, (answer,)) for question, answer in asked if shown.count(answer) == 1)


def _ask(rng: random.Random, title: str, key: Column, column: Column, row: int) -> tuple[str, str]:
    """A question on one cell, or on the name of its row, and the answer."""
    names_row = column.kind not in ("state", "number") and rng.random() < 0.25
    forms = ANY_KEY if names_row else (*ANY_FIELD, *KINDS[column.kind].forms * 2)
    if column.field in FIELD_FORMS and not names_row and rng.random() < 0.5:
        forms = FIELD_FORMS[column.field]
    name = key.values[row]
    if key.kind in ("code", "version") and rng.random() < 0.5:
        name = f"{title} {name}"  # as of "Debian 12"
    question = rng.choice(forms).format(
        field=_said(rng, column.field),
        key_field=_said(rng, key.field),
        key=name,
        value=column.values[row],
        title=title,
    )
    return question, (key if names_row else column).values[row]


def _said(rng: random.Random, field: str) -> str:
    """A field's name as people say it, or as it stands."""
    return field.replace("_", " ") if rng.random() < 0.8 else field
