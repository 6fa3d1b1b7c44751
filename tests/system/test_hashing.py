import hashlib
from pathlib import Path

from chirplet.system.hashing import file_hash, folder_hash, json_hash, texts_hash


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_files_are_hashed_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (1 << 20))
    (tmp_path / "b").write_bytes(b"yz")
    assert file_hash(tmp_path / "a", tmp_path / "b") == sha256(b"x" * (1 << 20) + b"yz")


def test_a_folder_s_hash_is_of_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"x")
    expected = sha256(b"sub/a\0" + hashlib.sha256(b"x").digest())
    assert folder_hash([tmp_path / "sub" / "a"], tmp_path) == expected


def test_texts_and_values() -> None:
    assert texts_hash(["a", "\ud83d"]) == sha256(b"a\0\xed\xa0\xbd\0")
    assert texts_hash(["ab"]) != texts_hash(["a", "b"])
    assert json_hash({"b": 1, "a": [None]}) == sha256(b'{"a": [null], "b": 1}')
    assert json_hash({"a": Path("x")}, default=str) == sha256(b'{"a": "x"}')
