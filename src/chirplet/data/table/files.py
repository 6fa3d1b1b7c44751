"""Find and open the files of a table: patterns, formats, compression."""

import bz2
import glob
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from chirplet.config.schema import as_list, existing_file
from chirplet.system.error import DataError, Key, first_line, near
from chirplet.system.optional_dependency import INSTALL_PYARROW, PYARROW, check_installed, check_package, needs

STDIN = "-"

Format = Literal["csv", "tsv", "parquet", "jsonl", "excel"]
FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".xlsx": "excel",
    ".xls": "excel",
}
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip")
_BLOCK_BYTES = 1 << 16
_DAMAGE = (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What the libraries raise for damaged, encrypted and unknown content."""


def table_files(paths: str | list[str] | None, what: str) -> list[str]:
    """The files that these paths and patterns name, in order; those of a pattern are sorted.

    Raises:
        ValueError: a path is not a file, or a pattern matches none; `what` says what it should be.
    """
    files: list[str] = []
    for path in as_list(paths):
        if glob.has_magic(path) and not Path(path).expanduser().exists():
            found = matching_files(path)
            if not found:
                raise ValueError(f"got {path!r}, which matches no file; should be {what}")
            files += found
        else:
            folder = Path(path).expanduser().is_dir()
            files.append(existing_file(path, f"{what}, or a pattern ({path}/*.csv)" if folder else what))
    return files


def matching_files(pattern: str) -> list[str]:
    """The files that a path or pattern (`**` for any depth) matches, sorted."""
    names = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207
    return sorted(name for name in names if Path(name).is_file())


def format_of(path: str | Path, format: Format | None = None) -> Format:  # noqa: A002
    """The format of a file: `format`, else by its suffix before that of the compression; standard input is CSV.

    Raises:
        DataError: the suffix is unknown.
    """
    if format is not None:
        return format
    if str(path) == STDIN:
        return "csv"
    suffix = Path(_uncompressed_name(Path(path))).suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        raise DataError(
            f"{path}: got the suffix {suffix!r}, should be one of {', '.join(FORMAT_OF_SUFFIX)}, which may be followed "
            f"by {', '.join(COMPRESSIONS)}; or set ",
            Key("data.format"),
            f" to one of {', '.join(get_args(Format))}",
        )
    return FORMAT_OF_SUFFIX[suffix]


def check_readers(paths: Iterable[str | Path], format: Format | None) -> None:  # noqa: A002
    """Check that what reads these files is installed.

    Raises:
        DependencyError: it is not.
    """
    for path in paths:
        kind = format_of(path, format)
        if kind == "excel":
            check_installed("excel", str(path))
        if kind == "parquet" or Path(path).suffix.lower() == ".zst":
            check_package(PYARROW, str(path), INSTALL_PYARROW)


def name_of(path: str | Path) -> str:
    """The file's name in messages."""
    return "standard input" if str(path) == STDIN else str(path)


def open_bytes(path: str | Path) -> io.BufferedReader:
    """Open a file for reading, or standard input for `-`. A compressed file is decompressed while it is read.

    Raises:
        DataError: the file does not exist or cannot be read. Damaged content raises when it is read, with a message
            without the file's name.
    """
    if str(path) == STDIN:
        return io.BufferedReader(sys.stdin.buffer)  # type: ignore[arg-type]
    file = Path(path)
    if file.is_dir():
        raise DataError(f"{path}: is a folder, should be a file")
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"{path}: no such file{near(file.name, siblings)}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    suffix = file.suffix.lower()
    return io.BufferedReader(_Decompressed(stream, suffix), _BLOCK_BYTES) if suffix in COMPRESSIONS else stream


class _Decompressed(io.RawIOBase):
    """The content of a compressed stream. Opened when it is first read, so that all damage is found there."""

    def __init__(self, stream: BinaryIO, suffix: str) -> None:
        self._stream = stream
        self._suffix = suffix
        self._content: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            if self._content is None:
                self._content = _content(self._stream, self._suffix)
            block = self._content.read(len(buffer))
        except _DAMAGE as error:
            raise DataError(f"damaged {self._suffix} file ({first_line(error)})") from None
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if self._content is not None:
            self._content.close()
        self._stream.close()
        super().close()


def _content(stream: BinaryIO, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=stream, mode="rb")
    if suffix == ".bz2":
        return bz2.BZ2File(stream)
    if suffix == ".xz":
        return lzma.LZMAFile(stream)
    if suffix == ".zst":
        with needs(PYARROW, INSTALL_PYARROW):
            import pyarrow as pa
        return pa.CompressedInputStream(stream, "zstd")
    archive = zipfile.ZipFile(stream)
    return archive.open(_only_member(archive))


def _only_member(archive: zipfile.ZipFile) -> str:
    """The name of an archive's only file, apart from what macOS adds."""
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        shown = ", ".join(names[:3])
        raise DataError(f"the archive has {len(names)} files ({shown}), should have one; unpack it and name the files")
    return names[0]


def _uncompressed_name(path: Path) -> str:
    if path.suffix.lower() not in COMPRESSIONS:
        return path.name
    if path.suffix.lower() == ".zip" and Path(path.stem).suffix.lower() not in FORMAT_OF_SUFFIX and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                return _only_member(archive)
        except DataError as error:
            raise error.behind(f"{path}: ") from None
        except _DAMAGE as error:
            raise DataError(f"{path}: damaged .zip file ({first_line(error)})") from None
    return path.stem
