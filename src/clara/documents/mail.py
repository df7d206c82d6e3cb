"""Mail (EML) with its attachments, and web pages saved as mail is written (MHTML), through Python's own
parser."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.errors import MessageError
from email.message import EmailMessage
from typing import Any

from clara.documents.charsets import decode
from clara.documents.html import outline_of, stated_charset
from clara.documents.reading import Context, Losses, Reading, UnreadableError, facts, facts_section
from clara.documents.text import numbered_lines, paragraphs_of, squeeze, tidy, unwrap
from clara.records import Section

_HEADERS = ("From", "Reply-To", "To", "Cc", "Bcc", "Date", "Subject")
_TEXTS = ("text/plain", "text/html", "application/xhtml+xml")
_ENDINGS = {
    "text/plain": ".txt", "text/html": ".html", "text/csv": ".csv", "text/markdown": ".md",
    "application/pdf": ".pdf", "application/json": ".json", "message/rfc822": ".eml",
}  # fmt: skip


def read_mail(data: bytes, context: Context) -> Reading:
    """Read a mail: who wrote when to whom of what, its text, and what is attached, under its name.

    Raises:
        UnreadableError: It is no mail.
    """
    message = _parsed(data)
    stated = {name.lower(): _header(message, name) for name in _HEADERS}
    if not any(stated.values()):
        raise UnreadableError("is no mail: it has no sender, date or subject; give it the ending that fits")
    title = squeeze(stated.pop("subject"))
    values = facts(stated)
    body = _first_body(message)
    sections = list(facts_section({**values, **({"subject": title} if title else {})}))
    for part in _texts(message, body):
        sections += _text_sections(part, title, context.losses)
    for name, content in _attached(message, body, context.losses):
        sections += context.embedded(name, content)
    return Reading(title, tuple(sections), values)


def read_saved_page(data: bytes, context: Context) -> Reading:
    """Read a web page that was saved with its pictures in one file.

    Raises:
        UnreadableError: No page is in it.
    """
    message = _parsed(data)
    kinds = ("text/html", "application/xhtml+xml", "text/plain")
    first = next((part for part in message.walk() if part.get_content_type() in kinds[:2]), None)
    pages = [part for part in _texts(message, first) if part.get_content_type() in kinds]
    if not pages:
        raise UnreadableError("is no saved web page: it holds no text; give it the ending that fits")
    title, sections = "", list[Section]()
    metadata: dict[str, str | int | float | bool] = {}
    for part in pages:
        if part.get_content_type() == "text/plain":
            sections += _text_sections(part, title, context.losses)
            continue
        name, outline, stated = outline_of(_text(part, context.losses), context.losses)
        if not title:
            title, metadata = name or outline.leading_heading, dict(stated)
        sections += outline.sections(title)
    address = _header(message, "Snapshot-Content-Location") or _header(pages[0], "Content-Location")
    metadata |= facts({"address": address if address.startswith("http") else ""})
    return Reading(
        title or squeeze(_header(message, "Subject")), (*facts_section(metadata), *sections), metadata
    )


def _parsed(data: bytes) -> EmailMessage:
    if data.startswith(b"From ") and b"\n" in data:  # the line that parts mails in a mailbox
        data = data[data.index(b"\n") + 1 :]
    message: Any = email.message_from_bytes(data.lstrip(), policy=email.policy.default)
    return message  # type: ignore[no-any-return]


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message.get(name, "")
    except (MessageError, ValueError, LookupError, AttributeError, TypeError):  # as it is written, then
        value = next((text for key, text in message.raw_items() if key.lower() == name.lower()), "")
    return " ".join(str(value).split())


def _first_body(message: EmailMessage) -> EmailMessage | None:
    """The part with the text, as such where there is a choice."""
    parts = [one for one in _parts(message) if not one.is_multipart() and not _is_attached(one)]
    for kind in ("text/plain", "text/html"):
        for part in parts:
            if part.get_content_type() == kind and _text(part, Losses()).strip():
                return part
    return None


def _texts(message: EmailMessage, body: EmailMessage | None) -> Iterator[EmailMessage]:
    """The body and the texts beside it, such as a footer; of alternatives only one with text."""
    stack: list[Any] = [message]
    while stack:
        part = stack.pop()
        kind = part.get_content_type()
        if kind == "message/rfc822" and part is not message:
            continue
        if part.is_multipart():
            inner = part.get_payload()
            if kind == "multipart/alternative":
                chosen = body if body in part.walk() else _first_body(part)
                inner = [one for one in inner if chosen in one.walk()] or inner[:1]
            stack.extend(reversed(inner))
        elif part is body or (kind in _TEXTS and not _is_attached(part)):
            yield part


def _is_attached(part: EmailMessage) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _text(part: EmailMessage, losses: Losses) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else str(payload or "").encode("utf-8", "replace")
    stated = str(part.get_content_charset() or "").removeprefix("us-ascii")  # which many write unasked
    if not stated and part.get_content_type() != "text/plain":
        stated = stated_charset(data)
    return decode(data, stated, losses) if data else ""


def _text_sections(part: EmailMessage, title: str, losses: Losses) -> Iterator[Section]:
    text = _text(part, losses)
    if part.get_content_type() == "text/html":
        _, outline, _ = outline_of(text, losses)
        yield from outline.sections(title)
        return
    paragraphs = paragraphs_of(numbered_lines(text))
    whole = "\n\n".join(unwrap(paragraph).text for paragraph in paragraphs)
    yield Section(tidy(whole))


def _attached(
    message: EmailMessage, body: EmailMessage | None, losses: Losses
) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of all parts but the text and what says the same in another way."""
    for number, part in enumerate(_parts(message), 1):
        kind = part.get_content_type()
        is_other_text = kind in ("text/plain", "text/html") and not _is_attached(part) and body is not None
        if part is body or is_other_text:
            continue
        if kind.startswith("image/") and part.get("Content-ID"):
            losses.count("picture within the text", plural="pictures within the text")
            continue
        if kind == "message/rfc822":
            inner: Any = part.get_payload()
            content = bytes(inner[0]) if isinstance(inner, list) and inner else b""
        else:
            payload = part.get_payload(decode=True)
            content = payload if isinstance(payload, bytes) else b""
        name = part.get_filename() or f"attachment {number}{_ENDINGS.get(kind, '')}"
        if kind == "message/rfc822" and not name.lower().endswith(".eml"):
            name += ".eml"
        yield squeeze(str(name)), content


def _parts(message: EmailMessage) -> Iterator[EmailMessage]:
    """All parts without parts of their own; mails within the mail stay whole."""
    stack: list[Any] = [message]
    while stack:
        part = stack.pop()
        if part.get_content_type() == "message/rfc822" and part is not message:
            yield part
        elif part.is_multipart():
            payload = part.get_payload()
            stack.extend(reversed(payload if isinstance(payload, list) else []))
        else:
            yield part
