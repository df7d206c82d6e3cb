"""Formulas as a line of text: those of web pages and books (MathML), and those of Word (OMML)."""

from __future__ import annotations

from collections.abc import Sequence


def power(base: str, exponent: str) -> str:
    """A base with its exponent."""
    return f"{_grouped(base)}^{_grouped(exponent)}"


def index(base: str, lower: str) -> str:
    """A name with its index."""
    return f"{base}_{_grouped(lower)}"


def fraction(above: str, below: str) -> str:
    """A fraction on one line."""
    return f"{_grouped(above)}/{_grouped(below)}"


def root(inner: str, degree: str = "") -> str:
    """A root; the square root has no degree."""
    return f"root({degree}, {inner})" if degree.strip() else f"sqrt({inner})"


def linear(tag: str, parts: Sequence[str]) -> str:
    """An element of MathML or OMML, by its local name, with its parts as lines."""
    given = [*parts, "", "", ""]
    match tag:
        case "msup" | "sSup":
            return power(given[0], given[1])
        case "msub" | "sSub":
            return index(given[0], given[1])
        case "msubsup" | "sSubSup":
            return power(index(given[0], given[1]), given[2])
        case "mfrac" | "f":
            return fraction(given[0], given[1])
        case "msqrt":
            return root("".join(parts))
        case "mroot":
            return root(given[0], given[1])
        case "mtr" | "mr":
            return " ".join(parts) + "; "
        case _:
            return "".join(parts)


def _grouped(text: str) -> str:
    text = text.strip()
    is_one = text.replace(".", "").isalnum() or (text[:1] == "(" and text[-1:] == ")")
    return text if is_one or not text else f"({text})"
