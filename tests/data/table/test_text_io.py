import io
from pathlib import Path

import pytest

from chirplet.data.table.text_io import Lines, check_encoding, decode_mixed, read_lines
from chirplet.system.error import DataError


def lines_of(content: bytes, encoding: str = "utf-8") -> list[str]:
    return list(Lines(io.BufferedReader(io.BytesIO(content)), encoding))  # type: ignore[arg-type]


def test_line_endings_stay() -> None:
    assert lines_of("a\r\nb\rc\n\u2028é".encode()) == ["a\r\n", "b\r", "c\n", "\u2028é"]


def test_nothing_gives_no_lines() -> None:
    assert lines_of(b"") == []


def test_bytes_cut_in_utf16_are_refused() -> None:
    with pytest.raises(DataError, match="not valid utf-16"):
        lines_of("ab\n".encode("utf-16")[:-1])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"abc", ("abc", False)),
        ("é😀".encode(), ("é😀", False)),
        (b"\x93a\x94", ("“a”", True)),
        (b"\x8d", ("\x8d", True)),
    ],
)
def test_decode_mixed(raw: bytes, expected: tuple[str, bool]) -> None:
    assert decode_mixed(raw.decode("latin-1")) == expected


@pytest.mark.parametrize("encoding", ["utf-9", "base64"])
def test_only_text_encodings_pass(encoding: str) -> None:
    with pytest.raises(ValueError, match=encoding):
        check_encoding(encoding)
    assert check_encoding("mixed") == "mixed"


def test_read_lines_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\r\nb \n\xff\n")
    with pytest.raises(DataError, match=r"a\.txt line 3, byte 6: 0xff"):
        read_lines(path)
    path.write_bytes(b"a\r\nb \n")
    assert read_lines(path) == ["a", "b "]
