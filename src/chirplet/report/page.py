"""Pages and cards from the templates beside this file."""

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
    """A self-contained HTML page. Every value is escaped but what is wrapped in `markupsafe.Markup`.

    Args:
        template: `NAME.html.j2`; it extends `shell.html.j2`.
        values: what the template names; a missing one raises `jinja2.UndefinedError`.
    """
    return _HTML.get_template(template).render(**values)


def figure_page(svg: str, caption: str) -> str:
    """A page of one figure, an `<svg>` element, for where it is shown apart from the report it belongs to."""
    return render_page("figure.html.j2", svg=Markup(svg), caption=caption)


def render_markdown(template: str, **values: Any) -> str:
    """A Markdown text. `NAME.md.j2` puts whatever a record holds through the filters `md` and `code`."""
    return _MARKDOWN.get_template(template).render(**values)
