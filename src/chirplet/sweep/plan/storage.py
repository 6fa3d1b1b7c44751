"""Where a study is kept, and the lock under which its trials are handed out.

A lock here dies with its holder: a file's by the operating system, a database's with the connection. So a worker that
is killed never blocks the others.
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
"""Options of a URL that are passwords too."""
SQLITE_WAIT_S = 120
"""How long a writer waits for another before SQLite calls the database locked."""
KEEP_ALIVE_S = 20
"""How often a connection that holds a lock is used; HAProxy's examples drop one that was idle for 50 s."""

Lock = Callable[[str], AbstractContextManager[None]]
"""`with lock("claim"):` is held by one process at a time among all that share the storage, whatever the machine."""

FROM_ENVIRONMENT = "FROM_ENVIRONMENT"
"""Stands for what a URL takes from the environment."""

JOURNAL_START = b'{"op_code":'
"""How every line of Optuna's journal begins."""


def check_storage(storage: str, key: str) -> None:
    """See that `storage` is the path of a journal file, or a URL that can be opened here.

    Raises:
        ConfigError: another kind of database, a URL that cannot be read, or a driver that is not installed.
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
        raise ConfigError(f'{key}: {error}; pip install "chirplet[postgresql]" brings the driver') from None


def has_password(storage: str, key: str) -> bool:
    """Whether a password stands in the URL itself."""
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
    """The name of a lock for one study alone: what takes long is no reason for the storage's other studies to wait."""
    return f"{name}-{hashlib.sha256(study_name.encode()).hexdigest()[:16]}"


def open_storage(storage: str, key: str = "storage") -> tuple[BaseStorage, Lock]:
    """The storage, made where there is none, and its lock; `${oc.env:NAME}` is read from the environment.

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
        raise ConfigError(f"{key}: {shown(storage)!r} cannot be opened ({error.strerror or error})") from error


def _open_journal(path: Path, key: str) -> tuple[BaseStorage, Lock]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open("rb") as file:
            start = file.read(len(JOURNAL_START))
        if not JOURNAL_START.startswith(start):
            raise ConfigError(f"{key}: {str(path)!r} is there already and is no journal of Optuna")
    backend = JournalFileBackend(str(path), lock_obj=_JournalLock(path))  # type: ignore[arg-type]
    storage = JournalStorage(backend)
    return storage, _lock_of(path)


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
        lock = _lock_of(path)
    else:
        # Its own connection, not from a pool: the lock ends when the connection does.
        lock = _advisory(create_engine(url, poolclass=NullPool))
    # Several processes may come first; the tables are to be made once.
    try:
        with lock("tables"), _logging_kept():
            opened = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
            # Studies put a cache around it, which must be the same for all that is done here.
            return get_storage(opened), lock
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise ConfigError(f"{key}: {shown(storage)!r} cannot be opened ({reason[:200]})") from error


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Put logging back afterwards: where Optuna makes or checks its tables, Alembic sets up its own for everybody."""
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

    # The URL is not shown: a password may be where it does not belong.
    try:
        url = make_url(storage)
        # SQLAlchemy's own choice of a driver differs between its versions.
        return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
    except (ArgumentError, ValueError):
        raise ConfigError(f"{key}: is no URL of a database") from None


def _lock_of(path: Path) -> Lock:
    @contextmanager
    def lock(name: str) -> Iterator[None]:
        with FileLock(f"{path}.{name}.lock"):
            yield

    return lock


def _advisory(engine: Any) -> Lock:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    @contextmanager
    def lock(name: str) -> Iterator[None]:
        # Databases have their own numbers, so two studies elsewhere on the server are not in each other's way.
        number = int.from_bytes(hashlib.sha256(f"chirplet/{name}".encode()).digest()[:8], signed=True)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
            try:
                with _kept_alive(connection):
                    yield
            finally:
                try:
                    connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": number})
                except SQLAlchemyError:
                    # What was done under the lock is done; the server has released it itself.
                    logging.getLogger(__name__).warning(
                        "the connection that held the lock %s was lost; another command may have taken it", name
                    )

    return lock


def _kept_alive(connection: Any) -> AbstractContextManager[None]:
    """Use the connection from time to time while the block runs: proxies drop one that is idle."""
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    def use(done: threading.Event) -> None:
        with suppress(SQLAlchemyError):  # reported when the lock is released
            while not done.wait(KEEP_ALIVE_S):
                connection.execute(text("SELECT 1"))

    return in_background("keep-alive", use)


class _JournalLock:
    """Optuna's own locks stay behind when their holder is killed, for half a minute; this one does not.

    Whoever takes it also cuts off a last line without an end, which a writer that was killed has left: Optuna would
    append to it, and never be able to read the file again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.write.lock")

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
    """Cut what follows the last line end of a file, where that is not its end."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        logging.getLogger(__name__).warning("%s: cut off a last line that was never finished", path)
        file.truncate(whole)
        os.fsync(file.fileno())
