"""What of a page is not its own text: menus and notices, told by their links and words, never by a tag
alone."""

from __future__ import annotations

import re

from clara.documents.html_tree import Node

_MENU = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|menu|menubar|breadcrumbs?|sidebar|footer|header|topbar|masthead|"
    r"pagination|pager|social|share|sharing|related|skip-?link|language-?switcher|toc)(?:$|[\s_-])",
    re.IGNORECASE,
)
_NOTICE = re.compile(r"cookie|consent|gdpr|newsletter-?popup", re.IGNORECASE)
_RIGHTS = re.compile(r"©|\(c\)|\bcopyright\b|all rights reserved", re.IGNORECASE)
_TOOLS = frozenset({"mw-editsection", "headerlink", "navbox"})
_DIGIT = re.compile(r"\d")
_FRAME = frozenset({"nav", "header", "footer", "aside"})
_LINK_DENSITY = 0.5
_LONGEST_NOTICE = 1500
_LONGEST_RIGHTS = 200
_LONGEST_LABEL = 25


def kind_of(node: Node, *, in_article: bool, before_heading: bool) -> str:
    """What a part of a page is if it is not its text, as a noun; "" for all others.

    Args:
        node: The part.
        in_article: It is within an article or the main part.
        before_heading: No heading came before it.
    """
    names = f"{node.get('class')} {node.get('id')}"
    role = node.get("role").lower()
    if _TOOLS.intersection(names.split()):
        return "menu"
    if not node.chars:
        return ""
    if _is_notice(node, names, role):
        return "cookie notice"
    density = node.link_chars / node.chars
    is_navigation = node.tag == "nav" or role in ("navigation", "menu", "menubar")
    if is_navigation and not node.links and node.chars <= _LONGEST_LABEL and not _DIGIT.search(node.words()):
        return "menu"
    is_named = is_navigation or node.tag in _FRAME or _MENU.search(names) is not None
    if is_named and node.links and density >= _LINK_DENSITY and not (in_article and node.has_heading):
        return "menu"
    is_labels = node.links > 2 and node.link_chars <= _LONGEST_LABEL * node.links
    if node.tag in ("ul", "ol") and before_heading and not in_article and is_labels and density > 0.9:
        return "menu"
    return ""


def is_rights_line(text: str) -> bool:
    """Whether a line of a site's footer tells its rights alone."""
    return len(text) <= _LONGEST_RIGHTS and _RIGHTS.search(text) is not None


def _is_notice(node: Node, names: str, role: str) -> bool:
    """A banner that is called so, or a dialog, and speaks of cookies."""
    if node.chars > _LONGEST_NOTICE or node.tag in ("body", "main", "article", "html"):
        return False
    is_called = _NOTICE.search(names) is not None or role in ("dialog", "alertdialog")
    return is_called and node.has_notice
