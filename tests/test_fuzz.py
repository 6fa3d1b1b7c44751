"""Random files and overrides raise user errors only."""

from pathlib import Path
from typing import get_args

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chirplet.cli.binding import parse
from chirplet.data.preparation.cleaning import clean
from chirplet.data.preparation.normalizers import Cleaning
from chirplet.data.preparation.repair import repair
from chirplet.system.error import DataError
from chirplet.system.error_messages import explain
from places import CONF
from tables import read_rows

many = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SCRAPS = [
    b"text,label\n",
    b"text\tlabel\n",
    b"a",
    b",",
    b"\t",
    b'"',
    b'""',
    b"\\",
    b";",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
]
SCRAPS += [
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "é😀".encode(),
    b"{",
    b"}",
    b'{"text": 1}\n',
    b'{"text": "\\ud800"}',
    b"NaN",
    b"PAR1",
]
FILES = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(SCRAPS), max_size=12).map(b"".join))


@many
@given(
    content=FILES,
    kind=st.sampled_from(["csv", "tsv", "jsonl", "parquet", "excel"]),
    encoding=st.sampled_from(["utf-8", "mixed", "latin-1", "utf-16", "utf-7", "idna", "punycode", "unicode_escape"]),
    quoted=st.booleans(),
    escape=st.sampled_from([None, "\\"]),
    header=st.booleans(),
)
def test_a_file_is_read_or_refused_in_one_line(tmp_path, content, kind, encoding, quoted, escape, header):
    path = tmp_path / "file"
    path.write_bytes(content)
    try:
        for cells in read_rows(path, None, format=kind, encoding=encoding, quoted=quoted, escape=escape, header=header):
            assert all(isinstance(column, str) for column in cells)
    except DataError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


@many
@given(st.text(st.characters(), max_size=60))
def test_any_text_is_repaired_and_cleaned(text):
    mended = repair(text)[0]
    for preset in get_args(Cleaning):
        assert isinstance(clean(mended, preset), str)


KEYS = [
    "seed",
    "stage",
    "stage.learning_rate",
    "data",
    "data.train",
    "model",
    "trainer",
    "trainer.max_epochs",
    "logger",
]
KEYS += [
    "logger.mine",
    "callback",
    "callback.mine._target_",
    "chain",
    "distiller",
    "hydra.run.dir",
    "_target_",
    "nothing",
    "",
]
VALUES = [
    "1",
    "-1",
    "null",
    "nan",
    "inf",
    "1e999",
    "true",
    "''",
    "[]",
    "{}",
    "[1,{a:b}]",
    "{_target_: os.system}",
    "${seed}",
]
VALUES += [
    "${nothing}",
    "${oc.env:NOT_SET_AT_ALL}",
    "${oc.env:HOME}",
    "???",
    "[",
    "}",
    "'",
    "\\",
    "\0",
    "é😀",
    "minilm",
    "csv",
]
VALUES += ["chirplet.config.schema.Foreign", "${now:%Y}", "${${seed}}", "a,b", "choice(1,2)", "glob(*)"]
OVERRIDES = st.one_of(
    st.builds(
        "{}{}={}".format,
        st.sampled_from(["", "+", "++", "~"]),
        st.sampled_from(KEYS),
        st.one_of(st.sampled_from(VALUES), st.text(max_size=6)),
    ),
    st.text(max_size=10),
)


@pytest.fixture(scope="module")
def hydra():
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        yield


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(OVERRIDES, min_size=1, max_size=2))
@example(["seed=" + "9" * 5000])
@example(["+a=" + "[" * 300 + "]" * 300])
@example(["callback={_target_: [os.system]}"])
@example(["stage=[1,{a:b}]"])
@example(["stage=finetune", "logger={mine: {_target_: 3}}"])
def test_overrides_compose_or_are_explained(hydra, overrides):
    try:
        parse(compose("config", overrides=overrides))
    except Exception as error:
        explanation = explain(error)
        assert explanation is not None, f"{type(error).__name__}: {error}"
        message, exit_code = explanation
        assert exit_code == 2 and message and all(line.strip() for line in message.splitlines())


def test_the_files_of_the_corpus_are_read_or_refused_whatever_they_are_called():
    for path in sorted((Path(__file__).parent / "bad_inputs").rglob("*.*")):
        for kind in ("csv", "tsv", "jsonl", "parquet"):
            try:
                for _ in read_rows(path, kind):
                    pass
            except DataError as error:
                assert "\n" not in str(error)
