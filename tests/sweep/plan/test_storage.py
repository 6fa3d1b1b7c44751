"""Processes share storages of every kind, and a killed process never blocks the others."""

import errno
import fcntl
import logging
import os
import signal
import threading
import time
from multiprocessing import Pipe

import optuna
import pytest

from chirplet.sweep.plan.storage import check_storage, cut_torn_line, has_password, of_study, open_storage, shown
from chirplet.system.error import ConfigError

NOWHERE = "postgresql://me:hunter2@127.0.0.1:1/sweeps"
"""An address without a server."""


def hold(storage, folder, name="claim"):
    """Acquire a lock and keep it until killed."""
    _, lock = open_storage(storage)
    (folder / "asks").touch()
    with lock(name):
        (folder / "holds").touch()
        signal.pause()


def come_first(storage, ready, others, times):
    """Open a new storage at the same time as others, and increment a number that only the lock protects."""
    (ready / str(os.getpid())).touch()
    while len(list(ready.iterdir())) < others:
        time.sleep(0.001)
    opened, lock = open_storage(storage)
    study = optuna.create_study(storage=opened, study_name="counted", load_if_exists=True)
    for _ in range(times):
        with lock("claim"):
            study.set_user_attr("number", study.user_attrs.get("number", 0) + 1)


def refuse(code):
    """A `flock` of a file system without locks."""

    def flock(*_):
        raise OSError(code, os.strerror(code))

    return flock


def open_as_another_user(storage, sender):
    """Send the error of opening a storage as a user other than root."""
    import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401  # what cannot be read afterwards

    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        open_storage(storage)
    except ConfigError as error:
        sender.send(str(error))


def wait_for(path):
    """Wait without a limit; the timeout of the suite applies."""
    while not path.exists():
        time.sleep(0.002)


def keeps_alive():
    """Whether a connection is used while its lock is taken."""
    return any(thread.name == "keep-alive" for thread in threading.enumerate())


class TestEveryStorage:
    def test_data_survives_reopening(self, used_storage):
        opened, _ = open_storage(used_storage)
        study = optuna.create_study(storage=opened, study_name="s", directions=["maximize", "minimize"])
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        trial.suggest_categorical("c", [None, True, 2, "two"])
        trial.set_user_attr("lease", {"owner": None, "beat": 3})
        study.tell(trial, [0.5, float("inf")])
        again = optuna.load_study(storage=open_storage(used_storage)[0], study_name="s")
        assert again.directions == study.directions
        assert again.trials == study.trials
        assert again.trials[0].values == [0.5, float("inf")]
        assert again.trials[0].user_attrs == {"lease": {"owner": None, "beat": 3}}

    def test_a_lock_excludes_other_processes_until_its_process_is_killed(self, used_storage, start, tmp_path):
        _, lock = open_storage(used_storage)
        processes, folders = [], [tmp_path / "first", tmp_path / "second"]
        for folder, reached in zip(folders, ("holds", "asks"), strict=True):
            folder.mkdir()
            processes.append(start(hold, used_storage, folder))
            wait_for(folder / reached)
        with lock("results"):
            pass  # locks of other names are free; were they not, this would wait for ever
        time.sleep(0.2)
        assert not (folders[1] / "holds").exists()
        processes[0].kill()
        wait_for(folders[1] / "holds")
        processes[1].kill()
        with lock("claim"):
            pass  # had it outlived its holder, this would wait for ever

    def test_studies_have_separate_locks(self, used_storage, start, tmp_path):
        _, lock = open_storage(used_storage)
        start(hold, used_storage, tmp_path, of_study("refit", "one"))
        wait_for(tmp_path / "holds")
        with lock(of_study("refit", "a/study of another name")), lock("refit"):
            assert (tmp_path / "holds").exists(), "taken while the other study's is held, for which this would wait"

    def test_a_lock_is_free_again_after_an_error(self, used_storage):
        _, lock = open_storage(used_storage)
        with pytest.raises(KeyboardInterrupt), lock("claim"):
            raise KeyboardInterrupt
        with lock("claim"):
            pass

    def test_several_processes_may_create_it(self, storage, start, tmp_path):
        processes = [start(come_first, storage, tmp_path, 4, 5) for _ in range(4)]
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0, 0]
        study = optuna.load_study(storage=open_storage(storage)[0], study_name="counted")
        assert study.user_attrs == {"number": 20}


class TestLostConnection:
    """A proxy, a firewall or an administrator closes the connection of a lock."""

    @pytest.fixture
    def opened(self, new_storage):
        return new_storage("postgresql")

    def holders(self, connection):
        """Server processes with a lock of this test, and the time of their last query."""
        return connection.execute(
            "SELECT pid, query_start FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory'"
            " AND granted AND datname = current_database()"
        ).fetchall()

    @pytest.mark.parametrize("noticed", [False, True], ids=["at the end", "while it is held"])
    def test_the_work_is_kept_and_a_warning_is_logged(self, opened, monkeypatch, caplog, noticed):
        import psycopg

        monkeypatch.setattr("chirplet.sweep.plan.storage.KEEP_ALIVE_S", 0.001 if noticed else 1e6)
        _, lock = open_storage(opened)
        with psycopg.connect(opened, autocommit=True) as other:
            with lock("refit"):
                ((pid, _),) = self.holders(other)
                other.execute("SELECT pg_terminate_backend(%s)", [pid])
                while self.holders(other) or (noticed and keeps_alive()):
                    time.sleep(0.001)
            assert [
                record.getMessage() for record in caplog.records if record.name == "chirplet.sweep.plan.storage"
            ] == ["lost the connection with the lock refit; another command may have acquired it"]
            with lock("refit"):
                assert len(self.holders(other)) == 1

    def test_an_error_under_the_lock_is_raised(self, opened):
        import psycopg

        _, lock = open_storage(opened)
        with psycopg.connect(opened, autocommit=True) as other, pytest.raises(ZeroDivisionError), lock("refit"):
            other.execute("SELECT pg_terminate_backend(%s)", [self.holders(other)[0][0]])
            raise ZeroDivisionError

    def test_it_is_used_while_the_lock_is_held(self, opened, monkeypatch):
        import psycopg

        monkeypatch.setattr("chirplet.sweep.plan.storage.KEEP_ALIVE_S", 0.001)
        _, lock = open_storage(opened)
        with psycopg.connect(opened, autocommit=True) as other, lock("refit"):
            before = self.holders(other)
            while self.holders(other) == before:  # would be so for ever
                time.sleep(0.001)
        assert not keeps_alive()


class TestJournal:
    def test_its_folder_is_made(self, tmp_path):
        opened, _ = open_storage(str(tmp_path / "a" / "b" / "study.journal"))
        optuna.create_study(storage=opened)
        assert (tmp_path / "a" / "b" / "study.journal").stat().st_size > 0

    @pytest.mark.parametrize("torn", [b'{"op_code": 4, "worker', b"{}", b'{"op_code": 8, "x": "\xc3'])
    def test_an_incomplete_last_line_is_removed(self, tmp_path, caplog, torn):
        path = tmp_path / "study.journal"
        study = optuna.create_study(storage=open_storage(str(path))[0], study_name="s")
        study.tell(study.ask(), 1.0)
        whole = path.read_bytes()
        path.write_bytes(whole + torn)
        again = optuna.load_study(storage=open_storage(str(path))[0], study_name="s")
        again.tell(again.ask(), 2.0)
        assert f"{path}: removed an incomplete last line" in caplog.text
        assert path.read_bytes().startswith(whole + b'{"op_code":')
        last = optuna.load_study(storage=open_storage(str(path))[0], study_name="s")
        assert [trial.value for trial in last.trials] == [1.0, 2.0]

    def test_an_open_study_survives_an_incomplete_line(self, tmp_path):
        path = tmp_path / "study.journal"
        study = optuna.create_study(storage=open_storage(str(path))[0], study_name="s")
        with path.open("ab") as file:
            file.write(b'{"op_code": 4, "worker')
        study.tell(study.ask(), 1.0)
        last = optuna.load_study(storage=open_storage(str(path))[0], study_name="s")
        assert [trial.value for trial in last.trials] == [1.0]

    @pytest.mark.parametrize(
        ("content", "kept"),
        [(b"", b""), (b"a\n", b"a\n"), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"a", b""), (b"\n\nab", b"\n\n")],
    )
    def test_cut_torn_line(self, tmp_path, content, kept):
        path = tmp_path / "a"
        path.write_bytes(content)
        cut_torn_line(path)
        assert path.read_bytes() == kept

    @pytest.mark.parametrize("content", ["# Title\n\nNot a study.\n", "no end of a line", "[1]\n", "{}\n"])
    def test_another_file_is_refused_and_unchanged(self, tmp_path, content):
        path = tmp_path / "README.md"
        path.write_text(content)
        with pytest.raises(ConfigError, match=r"^KEY: got '.*README.md'.*"):
            open_storage(str(path), "KEY")
        assert path.read_text() == content


class TestRefusals:
    """Errors are one line with the key and without passwords."""

    def refused(self, call, *arguments):
        with pytest.raises(ConfigError) as refusal:
            call(*arguments, "hydra.sweeper.storage")
        message = str(refusal.value)
        assert message.startswith("hydra.sweeper.storage: ")
        assert "\n" not in message and len(message) < 400
        assert "hunter2" not in message
        return message

    @pytest.mark.parametrize("call", [check_storage, open_storage])
    def test_another_kind_of_database(self, call):
        message = self.refused(call, "mysql://me:hunter2@host/sweeps")
        assert "got a database 'mysql', should be sqlite or postgresql, or the path of a journal file" in message

    @pytest.mark.parametrize("call", [check_storage, has_password, open_storage])
    @pytest.mark.parametrize(
        "url", ["://", "postgresql://me:hunter2@host:port/sweeps", "postgresql://me:hunter2@[::1/sweeps"]
    )
    def test_an_invalid_url(self, call, url):
        assert "not a database URL" in self.refused(call, url)

    @pytest.mark.parametrize("call", [check_storage, open_storage])
    @pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
    def test_a_driver_that_is_not_installed(self, call, driver):
        message = self.refused(call, f"postgresql+{driver}://me:hunter2@host/sweeps")
        assert f"No module named '{driver}'" in message and 'pip install "chirplet[postgresql]"' in message

    @pytest.mark.parametrize("call", [check_storage, open_storage])
    def test_a_driver_that_does_not_exist(self, call):
        assert "nonsense" in self.refused(call, "postgresql+nonsense://me:hunter2@host/sweeps")

    def test_a_server_that_does_not_answer(self):
        message = self.refused(open_storage, NOWHERE)
        assert "me:***@127.0.0.1:1/sweeps" in message and "refused" in message

    def test_a_password_in_the_url_options_is_hidden(self):
        assert "hunter2" not in self.refused(open_storage, "postgresql://127.0.0.1:1/sweeps?user=me&password=hunter2")

    def test_a_database_that_is_not_there(self, postgresql):
        url = f"{postgresql}/nowhere".replace("postgres@", "postgres:hunter2@")
        assert 'database "nowhere" does not exist' in self.refused(open_storage, url)

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"])
    def test_a_database_in_memory(self, url):
        assert "should name a file, since several processes share it" in self.refused(open_storage, url)

    @pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
    @pytest.mark.parametrize("path", ["folder", "file/below"])
    def test_an_invalid_path(self, tmp_path, form, path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("{}")
        assert f"{tmp_path / path}' cannot be opened (" in self.refused(open_storage, form.format(tmp_path / path))

    @pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
    @pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
    def test_a_file_system_without_locks(self, tmp_path, monkeypatch, form, code):
        monkeypatch.setattr(fcntl, "flock", refuse(code))
        told = self.refused(open_storage, form.format(tmp_path / "study"))
        assert told.endswith(f"({os.strerror(code)}); give a file on a disk with space and file locks")

    @pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
    def test_a_folder_that_may_not_be_written(self, tmp_path, start, form):
        tmp_path.chmod(0o555)
        receiver, sender = Pipe(duplex=False)
        start(open_as_another_user, form.format(tmp_path / "study"), sender)
        assert "cannot be opened (Permission denied)" in receiver.recv()

    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "file").write_text("not a database\n" * 100)
        assert "file is not a database" in self.refused(open_storage, f"sqlite:///{tmp_path}/file")

    def test_a_variable_that_is_not_set(self, monkeypatch):
        monkeypatch.delenv("SWEEPS", raising=False)
        assert "'SWEEPS' not found" in self.refused(open_storage, "${oc.env:SWEEPS}")

    def test_the_value_of_a_variable_is_hidden(self, monkeypatch):
        monkeypatch.setenv("SWEEPS", NOWHERE)
        assert "refused" in self.refused(open_storage, "${oc.env:SWEEPS}")
        monkeypatch.setenv("SWEEPS", "postgresql://me:hunter2@host:port/sweeps")
        self.refused(open_storage, "${oc.env:SWEEPS}")


class TestPasswords:
    @pytest.mark.parametrize(
        ("storage", "has"),
        [
            ("study.journal", False),
            ("sqlite:///study.db", False),
            ("postgresql://host/sweeps", False),
            ("postgresql://me@host/sweeps", False),
            ("postgresql://me:hunter2@host/sweeps", True),
            ("postgresql+psycopg://me:hunter2@host/sweeps", True),
            ("postgresql://host/sweeps?user=me&password=hunter2", True),
        ],
    )
    def test_has_password(self, storage, has):
        assert has_password(storage, "KEY") is has
        assert "hunter2" not in shown(storage)

    def test_the_rest_is_shown(self):
        assert shown(NOWHERE) == "postgresql+psycopg://me:***@127.0.0.1:1/sweeps"
        assert shown("multirun/a/study.journal") == "multirun/a/study.journal"


def test_a_variable_is_read_when_the_storage_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPS", f"sqlite:///{tmp_path}/study.db")
    open_storage("${oc.env:SWEEPS}")
    assert (tmp_path / "study.db").is_file()


def test_valid_storages_pass_the_check(tmp_path):
    for storage in ("study.journal", str(tmp_path / "a" / "b"), "sqlite:///study.db", "postgresql://host/sweeps"):
        check_storage(storage, "KEY")
    assert list(tmp_path.iterdir()) == [], "to check is not to open"


def test_creating_tables_keeps_the_logging_configuration(tmp_path):
    logger = logging.getLogger("chirplet.other")
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    open_storage(f"sqlite:///{tmp_path}/study.db")
    assert not logger.disabled
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)
