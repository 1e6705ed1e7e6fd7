"""Drawing by hand: SVG elements as text. Rule: a value gets into a picture through `el` only, which escapes it."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup, escape

MAX_NAME: Final = 14  # characters of a name in a picture; the title holds all of it


def num(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """An element. In attribute names _ becomes - and `class_` is class; an attribute that is None is left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{num(value) if isinstance(value, float) else escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{tag}{written}>{inner}</{tag}>" if inner else f"<{tag}{written}/>")


def label(x: float, y: float, words: object, class_: str = "t", anchor: str = "middle") -> Markup:
    return el("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def short(name: str, limit: int = MAX_NAME) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def picture(ident: str, width: float, height: float, title: str, desc: str, *children: Markup) -> Markup:
    """A whole picture, with a name and a description for those who can't see it."""
    return el(
        "svg",
        el("title", title, id=f"{ident}-title"),
        el("desc", desc, id=f"{ident}-desc"),
        *children,
        id=ident,
        viewBox=f"0 0 {num(width)} {num(height)}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
        style=f"--width:{num(width)}px",
    )
