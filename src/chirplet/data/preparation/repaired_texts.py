"""Texts repaired, and the keys by which they are compared: most of the work of preparing a corpus.

The processes that share the work import this module, so it imports little.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from chirplet.data.preparation.normalizers import URL
from chirplet.data.preparation.repair import repair
from chirplet.system.process_map import process_map

CHARACTERS = 2_000_000
"""Characters for which a process is worth its start: tweets of about 0.4 s, for about 0.15 s."""
CHUNK = 500
"""Texts that a process gets at once: some milliseconds of work."""


RepairedText = tuple[str, tuple[str, ...], str]
"""A repaired text, the sorted kinds of repair that changed it (see `repair`), and its `text_key`. Plain tuples pass
between processes in a third of the time of sets and named ones."""


def repaired_texts(texts: Sequence[str], enabled: bool, processes: int | None = None) -> Iterator[RepairedText]:
    """Each text in order, repaired if that is `enabled`, by `processes` processes.

    None starts a process for every `CHARACTERS` characters, at most as many as there are cores (OMP_NUM_THREADS), and
    none where that would be one.

    Raises:
        ProcessError: a process exited.
    """
    work = partial(repaired_text, enabled=enabled)
    if processes is None:
        processes = _processes(sum(map(len, texts)))
    if processes < 2:
        yield from map(work, texts)
        return
    yield from process_map(work, texts, processes, CHUNK)


def repaired_text(text: str, enabled: bool) -> RepairedText:
    """One text, repaired if that is `enabled`."""
    text, kinds = repair(text) if enabled else (text, frozenset[str]())
    return text, tuple(sorted(kinds)), text_key(text)


def text_key(text: str) -> str:
    """A key that is equal for tweets with the same text, and empty for a blank tweet.

    Case, white space and URLs are ignored: Twitter gives each posting a new t.co link, so two postings of the same
    sentence differ in it. A tweet that consists only of a link is identified by it.
    """
    words = text.split()
    plain = " ".join(words).casefold()
    if not _may_have_url(plain):  # saves the search, which takes most of the time
        return plain
    rest = " ".join(URL.sub(" ", word) if _may_have_url(word.casefold()) else word for word in words)
    return " ".join(rest.split()).casefold() or plain


def _may_have_url(text: str) -> bool:
    return "http" in text or "www." in text


def _processes(characters: int) -> int:
    worth = characters // CHARACTERS
    if worth < 2:
        return 1
    from chirplet.system.hardware import cpu_cores, cpu_threads

    return min(worth, cpu_cores(), cpu_threads(None))
