"""Render pages and cards from the templates in this folder."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chirplet.system.escaping import code_span, markdown

_HTML = Environment(
    loader=PackageLoader("chirplet", "report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_MARKDOWN = _HTML.overlay(autoescape=False)
_MARKDOWN.filters |= {"md": markdown, "code": code_span}


def render_page(template: str, **values: Any) -> str:
    """Render a self-contained HTML page. Values are escaped, except those wrapped in `markupsafe.Markup`.

    Args:
        template: `NAME.html.j2`; it extends `shell.html.j2`.
        values: the template's variables; a missing one raises `jinja2.UndefinedError`.
    """
    return _HTML.get_template(template).render(**values)


def figure_page(svg: str, caption: str) -> str:
    """Render a page with one figure, an `<svg>` element, for a logger that shows it without the report."""
    return render_page("figure.html.j2", svg=Markup(svg), caption=caption)


def render_markdown(template: str, **values: Any) -> str:
    """Render Markdown. `NAME.md.j2` escapes the values of a record with the filters `md` and `code`."""
    return _MARKDOWN.get_template(template).render(**values)
