"""HTML from plain values: every string is escaped unless it was built here.

>>> tag("p", "a < b", tag("em", "&"), title='"x"')
'<p title="&quot;x&quot;">a &lt; b<em>&amp;</em></p>'
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | int | float | Html
_VOID = frozenset(("meta", "br", "hr"))


def tag(name: str, /, *children: Child, **attributes: str | int | bool) -> Html:
    """Return one element. ``class_`` is class, ``aria_label`` is aria-label; True is a bare attribute."""
    pairs = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not False]
    opened = "".join(f" {key}" if value is True else f' {key}="{html.escape(str(value))}"' for key, value in pairs)
    return Html(f"<{name}{opened}>" if name in _VOID else f"<{name}{opened}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Return the children one after another, escaped unless they are :class:`Html`."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children))


def section(name: str, title: str, *children: Child) -> Html:
    """Return a section with a heading that names it; ``name`` is its anchor."""
    return tag("section", tag("h2", title, id=f"{name}-title"), *children, id=name, aria_labelledby=f"{name}-title")


def bullets(items: Iterable[Child]) -> Html:
    """Return an unordered list."""
    return tag("ul", *(tag("li", item) for item in items))


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Return a list of names and values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Child]],
    numbers: Iterable[int] = (),
    *,
    stack: bool = False,
) -> Html:
    """Return a table in a box that scrolls sideways by keyboard too.

    Args:
        caption: What the table shows.
        head: Column names.
        rows: Cells; the first of each row names it.
        numbers: Columns that hold numbers, aligned right.
        stack: On a phone show each row as a block: for tables of sentences.
    """
    right = frozenset(numbers)
    style = {True: "number", False: "text"}
    header = tag("tr", *(tag("th", name, scope="col", class_=style[k in right]) for k, name in enumerate(head)))
    body = [
        tag("tr", *(_cell(head[k], cell, style[k in right], first=k == 0) for k, cell in enumerate(row)))
        for row in rows
    ]
    inner = tag("table", tag("caption", tag("span", caption)), tag("thead", header), tag("tbody", *body))
    return tag(
        "div", inner, class_="scroll stack" if stack else "scroll", role="region", aria_label=caption, tabindex=0
    )


def _cell(column: str, cell: Child, style: str, *, first: bool) -> Html:
    return tag("th", cell, scope="row", class_=style) if first else tag("td", cell, class_=style, data_column=column)


def data_block(name: str, value: object) -> Html:
    """Return JSON that a script of the page reads; no text in it can end the block."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def page(title: str, *body: Child, contents: Mapping[str, str], scripts: Sequence[str] = ()) -> str:
    """Return a whole page that loads nothing from anywhere.

    A content security policy holds it to that: only the scripts given here run, by their digests,
    so that not even markup that slipped through could run or call out.

    Args:
        title: Title and main heading.
        body: What follows the heading.
        contents: Anchor → words, for the navigation.
        scripts: JavaScript sources.
    """
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
    )
    links = [tag("li", tag("a", words, href=f"#{name}")) for name, words in contents.items()]
    head = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", title),
            tag("style", Html(asset("report.css"))),
        ]
    )
    main = join(
        [
            tag("a", "Skip to the content", href="#main", class_="skip"),
            tag("header", tag("h1", title)),
            tag("nav", tag("ul", *links), aria_label="Contents"),
            tag("main", *body, id="main", tabindex=-1),
            *(Html(f"<script>{script}</script>") for script in scripts),
        ]
    )
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', main), lang='en')}\n"


def asset(name: str) -> str:
    """Return the text of a file in ``assets/``."""
    return resources.files("fedgenome.report").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
