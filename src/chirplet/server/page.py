"""The page at `/`, and the card of each model.

The page is static. Its Content-Security-Policy allows files of this server alone, and no code or style in the HTML.
"""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from chirplet.artifact.artifact import CARD
from chirplet.server.errors import RequestError
from chirplet.server.exchange import models_of
from chirplet.server.routes import Documentation, Router

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
FILES = {
    file.name: (file.read_bytes(), TYPES["." + file.name.rpartition(".")[2]])
    for file in files("chirplet.server").joinpath("page").iterdir()
    if "." + file.name.rpartition(".")[2] in TYPES
}
"""Name of each file of the page: its content and media type."""

router = Router()


@router.get("/", None)
async def page(request: Request) -> Response:
    """The page."""
    return await page_file(request, "index.html")


@router.get("/page/{name}", None)
async def page_file(request: Request, name: str) -> Response:
    """A file of the page."""
    if name not in FILES:
        raise RequestError(404, "the page has no such file")
    content, kind = FILES[name]
    return Response(content, headers=HEADERS, media_type=kind)


@router.get("/models/{name:path}/card", Documentation("text/markdown", errors=(401, 404)))
async def card(request: Request, name: str) -> Response:
    """The model card of an artifact, as Markdown."""
    model = models_of(request).named(name)
    try:
        content = (model.artifact.folder / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise RequestError(404, f"the artifact of {model.name} has no {CARD}") from None
    return Response(content, headers={"X-Content-Type-Options": "nosniff"}, media_type="text/markdown")
