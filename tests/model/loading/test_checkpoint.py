import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertModel

from checkpoints import settings_of
from chirplet.model.loading.checkpoint import Origin, origin_of, weight_files
from chirplet.system.error import ModelError
from chirplet.system.hashing import file_hash

CopyOf = Callable[[str], Path]


@pytest.fixture
def sharded(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    BertModel.from_pretrained(checkpoints["bert"]).save_pretrained(tmp_path, max_shard_size="60KB")
    return tmp_path


def test_one_file(checkpoint: Path) -> None:
    assert weight_files(settings_of(checkpoint), checkpoint) == [checkpoint / "model.safetensors"]


def test_shards_in_order(sharded: Path) -> None:
    shards = weight_files(settings_of(sharded), sharded)
    assert len(shards) >= 2
    assert shards == sorted(sharded.glob("model-*-of-*.safetensors"))


def test_a_shard_is_missing(sharded: Path) -> None:
    (sharded / weight_files(settings_of(sharded), sharded)[1].name).unlink()
    with pytest.raises(ModelError, match=r"lacks its weights model-00002-of-\d+\.safetensors$"):
        weight_files(settings_of(sharded), sharded)


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is not JSON"), ("[]", "JSON object"), ("{}", "names no weights")]
)
def test_a_damaged_index(sharded: Path, content: str, message: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        weight_files(settings_of(sharded), sharded)


def test_only_pickles(copy_of: CopyOf) -> None:
    folder = copy_of("roberta")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"has no model\.safetensors, and only safetensors .* again with save_pretrained$"
    ):
        weight_files(settings_of(folder), folder)


@pytest.mark.parametrize("length", [0, 4, 100])
def test_cut_off_in_the_header(copy_of: CopyOf, length: int) -> None:
    folder = copy_of("bert")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"^model\.name_or_path: model\.safetensors of .*copy_bert is damaged \(.+\)$"):
        weight_files(settings_of(folder), folder)


def test_cut_off_in_the_weights(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="is damaged"):
        weight_files(settings_of(folder), folder)


def test_the_record_of_a_folder_names_no_path(checkpoint: Path) -> None:
    weights = [checkpoint / "model.safetensors"]
    actual = origin_of(settings_of(checkpoint), checkpoint, weights)
    assert actual == Origin(checkpoint.name, None, file_hash(*weights), pretrained=True, parent=None)


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_record_of_an_artifact_names_its_parent(copy_of: CopyOf, pretrained: bool) -> None:
    folder = copy_of("bert")
    (folder / "artifact.json").write_text(json.dumps({"id": "abc123", "pretrained": pretrained}))
    origin = origin_of(settings_of(folder), folder, [folder / "model.safetensors"])
    assert (origin.parent, origin.pretrained) == ("abc123", pretrained)


def test_random_weights_have_no_parent(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    (folder / "artifact.json").write_text(json.dumps({"id": "abc123", "pretrained": True}))
    origin = origin_of(settings_of(folder, pretrained=False), folder, [])
    assert origin == Origin("copy_bert", None, None, pretrained=False, parent=None)


def test_a_pointer_of_git_lfs_is_explained(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa51172d142c89\nsize 90868376\n"
    (folder / "model.safetensors").write_text(pointer)
    with pytest.raises(ModelError, match="is a Git LFS pointer instead of the weights; run git lfs pull"):
        weight_files(settings_of(folder), folder)
