"""The storage of a study, and the lock under which its trials are assigned.

A lock is released when its process ends: the operating system releases a file lock, and a database lock ends with its
connection. So a killed worker never blocks the others.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from chirplet.sweep.plan.background import in_background
from chirplet.system.error import ConfigError, first_line

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

DATABASES = ("sqlite", "postgresql")
SECRET_OPTIONS = ("password", "sslpassword")
"""URL options that contain passwords."""
SQLITE_WAIT_S = 120
"""Seconds that a writer waits for another before SQLite reports that the database is locked."""
KEEP_ALIVE_S = 20
"""Seconds between queries on a connection that has a lock. HAProxy's examples drop connections idle for 50 s."""

Lock = Callable[[str], AbstractContextManager[None]]
"""`with lock("claim"):` runs in one process at a time, among all processes and machines that share the storage."""

FROM_ENVIRONMENT = "FROM_ENVIRONMENT"
"""Placeholder for a part of a URL that comes from the environment."""

JOURNAL_START = b'{"op_code":'
"""The start of every line of an Optuna journal."""


def check_storage(storage: str, key: str) -> None:
    """Check that `storage` is the path of a journal file, or the URL of a supported database.

    Raises:
        ConfigError: an unsupported database, an invalid URL, or a driver that is not installed.
    """
    if "://" not in storage:
        return
    from sqlalchemy.exc import NoSuchModuleError

    url = _url(storage, key)
    if url.get_backend_name() not in DATABASES:
        kinds = " or ".join(DATABASES)
        raise ConfigError(
            f"{key}: got a database {url.get_backend_name()!r}, should be {kinds}, or the path of a journal file"
        )
    try:
        url.get_dialect().import_dbapi()
    except NoSuchModuleError:
        raise ConfigError(f"{key}: got the driver {url.drivername!r}, which does not exist") from None
    except ImportError as error:
        raise ConfigError(f'{key}: {error}; pip install "chirplet[postgresql]" installs the driver') from None


def has_password(storage: str, key: str) -> bool:
    """Whether the URL itself contains a password."""
    if "://" not in storage:
        return False
    url = _url(storage, key)
    passwords = [url.password, *(url.query.get(name) for name in SECRET_OPTIONS)]
    return any(password is not None and FROM_ENVIRONMENT not in str(password) for password in passwords)


def shown(storage: str) -> str:
    """`storage` without a password."""
    if "://" not in storage:
        return storage
    return _url(storage, "storage").difference_update_query(SECRET_OPTIONS).render_as_string(hide_password=True)


def of_study(name: str, study_name: str) -> str:
    """The name of a lock for one study, so that a long operation does not block other studies in the storage."""
    return f"{name}-{hashlib.sha256(study_name.encode()).hexdigest()[:16]}"


def open_storage(storage: str, key: str = "storage") -> tuple[BaseStorage, Lock]:
    """Open or create the storage; returns it with its lock. `${oc.env:NAME}` is read from the environment.

    Raises:
        ConfigError: it cannot be reached or written, or the environment lacks a variable.
    """
    try:
        storage = str(OmegaConf.create({"storage": storage}).storage)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {first_line(error)}") from None
    try:
        check_storage(storage, key)
        return _open_database(storage, key) if "://" in storage else _open_journal(Path(storage), key)
    except OSError as error:
        reason = f"{shown(storage)!r} cannot be opened ({error.strerror or error})"
        raise ConfigError(f"{key}: {reason}; give a file on a disk with space and file locks") from error


def _open_journal(path: Path, key: str) -> tuple[BaseStorage, Lock]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open("rb") as file:
            start = file.read(len(JOURNAL_START))
        if not JOURNAL_START.startswith(start):
            raise ConfigError(f"{key}: got {str(path)!r}, which exists and is not an Optuna journal")
    backend = JournalFileBackend(str(path), lock_obj=_JournalLock(path))  # type: ignore[arg-type]
    storage = JournalStorage(backend)
    lock = _file_lock(path)
    with lock("open"):  # raises now where the file system has no locks
        return storage, lock


def _open_database(storage: str, key: str) -> tuple[BaseStorage, Lock]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    url = _url(storage, key)
    options: dict[str, Any] = {"pool_pre_ping": True}
    lock: Lock
    if url.get_backend_name() == "sqlite":
        if not url.database or ":memory:" in url.database or "mode=memory" in storage:
            raise ConfigError(f"{key}: got {storage!r}, should name a file, since several processes share it")
        path = Path(url.database).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": SQLITE_WAIT_S}}
        lock = _file_lock(path)
    else:
        # Not a pooled connection: the lock must end when the connection closes.
        lock = _advisory_lock(create_engine(url, poolclass=NullPool))
    # Several processes may open a new database; only one may create the tables.
    try:
        with lock("tables"), _restored_logging():
            opened = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
            # Optuna wraps the storage in a cache, which all operations must share.
            return get_storage(opened), lock
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise ConfigError(f"{key}: {shown(storage)!r} cannot be opened ({reason[:200]})") from error


@contextmanager
def _restored_logging() -> Iterator[None]:
    """Restore the logging configuration, which Alembic replaces when Optuna creates or checks its tables."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    enabled = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger) and not one.disabled]
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        for one in enabled:
            one.disabled = False


def _url(storage: str, key: str) -> "URL":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    # The URL is not printed: a password may be in the wrong part of it.
    try:
        url = make_url(storage)
        # SQLAlchemy's default driver differs between its versions.
        return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
    except (ArgumentError, ValueError):
        raise ConfigError(f"{key}: is not a database URL") from None


def _file_lock(path: Path) -> Lock:
    @contextmanager
    def lock(name: str) -> Iterator[None]:
        with FileLock(f"{path}.{name}.lock", fallback_to_soft=False):
            yield

    return lock


def _advisory_lock(engine: Any) -> Lock:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    @contextmanager
    def lock(name: str) -> Iterator[None]:
        # Advisory locks are local to a database, so studies in other databases of the server do not wait.
        number = int.from_bytes(hashlib.sha256(f"chirplet/{name}".encode()).digest()[:8], signed=True)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
            try:
                with _keep_alive(connection):
                    yield
            finally:
                try:
                    connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": number})
                except SQLAlchemyError:
                    # The work under the lock has finished, and the server has released the lock.
                    logging.getLogger(__name__).warning(
                        "lost the connection with the lock %s; another command may have acquired it", name
                    )

    return lock


def _keep_alive(connection: Any) -> AbstractContextManager[None]:
    """Use the connection regularly during the block, since proxies drop idle connections."""
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    def use(done: threading.Event) -> None:
        with suppress(SQLAlchemyError):  # reported when the lock is released
            while not done.wait(KEEP_ALIVE_S):
                connection.execute(text("SELECT 1"))

    return in_background("keep-alive", use)


class _JournalLock:
    """A journal lock that is released at once when its process is killed; Optuna's locks stay for half a minute.

    Acquiring it also removes an incomplete last line, left by a killed writer. Optuna would append to that line and
    then fail to read the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.write.lock", fallback_to_soft=False)

    def acquire(self) -> bool:
        self._lock.acquire()
        try:
            cut_torn_line(self._path)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def cut_torn_line(path: Path) -> None:
    """Remove an incomplete last line, one without a line end, from a file."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        complete = file.read().rfind(b"\n") + 1
        logging.getLogger(__name__).warning("%s: removed an incomplete last line", path)
        file.truncate(complete)
        os.fsync(file.fileno())
