"""An untrusted artifact: none of its code runs, and none of its paths leads out of its folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import chirplet
from artifacts import tiny_artifact
from checkpoints import change_config, settings_of, tiny_bert
from chirplet.artifact.artifact import RECORD, Artifact
from chirplet.model.loading.load import load_model, load_tokenizer
from chirplet.stage.run.parent import settings_of as settings_of_artifact
from chirplet.stage.run.parent import trainable
from chirplet.system.error import ModelError
from records import LABELS, make_record


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    return tiny_artifact(tiny_bert(folder / "encoder"), folder / "artifact")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "artifact"))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The file that each planted object would create."""
    return tmp_path / "trace"


def change_json(path: Path, **changes: object) -> None:
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(before | changes), encoding="utf-8")


def test_no_target_of_a_record_is_built(folder, trace):
    planted = {"_target_": "pathlib.Path.touch", "_args_": [str(trace)], "command": f"touch {trace}"}
    planted_logger = {
        "_target_": "chirplet.config.schema.Foreign",
        "target": "os.system",
        "arguments": {"command": f"touch {trace}"},
    }
    config = {
        "data": {"repair": True, **planted},
        "stage": planted,
        "logger": {"mine": planted_logger},
        "_target_": "os.system",
    }
    change_json(
        folder / RECORD, config=config, settings=planted, training=planted, cost=planted, cpu={"name": "x"} | planted
    )
    artifact = Artifact.open(folder)
    assert artifact.record.settings == planted
    chirplet.load(folder)(["a text"])
    trainable(folder)
    load_tokenizer(settings_of_artifact(artifact))
    assert artifact.scalars() and artifact.costs() == {}
    assert not trace.exists()


CODE = "from pathlib import Path\nPath({trace!r}).touch()\nclass Evil: pass\n"


@pytest.mark.parametrize("model_type", ["bert", "evil"])
def test_no_code_of_a_checkpoint_is_run(folder, trace, model_type, monkeypatch):
    """Not even if it is on the Python path, and a configuration, a model and a tokenizer refer to it."""
    (folder / "evil.py").write_text(CODE.format(trace=str(trace)))
    monkeypatch.syspath_prepend(folder)
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")
    wanted = dict.fromkeys(names, "evil.Evil")
    change_config(folder, model_type=model_type, auto_map=wanted, custom_pipelines={"x": {"impl": "evil.Evil"}})
    change_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    for opened in (
        lambda: chirplet.load(folder),
        lambda: trainable(folder),
        lambda: load_model(settings_of(folder), LABELS, 0),
        lambda: load_tokenizer(settings_of(folder)),
    ):
        try:
            opened()
        except ModelError as error:
            assert "\n" not in str(error) and model_type == "evil"
    assert not trace.exists()


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("value", ["kernels-community/flash-attn", {"": "a/b:c"}])
def test_no_kernel_of_the_hub_is_fetched(folder, key, value):
    change_config(folder, **{key: value})
    for opened in (lambda: chirplet.load(folder), lambda: load_model(settings_of(folder), LABELS, 0)):
        with pytest.raises(ModelError, match=r"config.json: got the attention '.*/.*', which is code of the hub"):
            opened()


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/elsewhere.safetensors", "below/elsewhere.safetensors"])
def test_shards_are_files_of_the_folder(folder, name):
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    change_json(folder / "model.safetensors.index.json", weight_map={"classifier.weight": name})
    with pytest.raises(ModelError, match=r"index.json names '.*', should name files of its folder"):
        load_model(settings_of(folder), LABELS, 0)


def test_weights_of_onnx_are_files_of_the_folder(folder):
    """A tensor stored in a file above the folder would expose the bytes of that file through the logits."""
    (folder.parent / "secret").write_bytes(np.arange(3, dtype=np.float32).tobytes())
    tensor = TensorProto(name="logits", data_type=TensorProto.FLOAT, dims=[1, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "../secret", "offset": "0", "length": "12"}.items():
        tensor.external_data.add(key=key, value=value)
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in ("input_ids", "attention_mask")
    ]
    out = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])]
    model = helper.make_model(
        helper.make_graph([], "g", shapes, out, [tensor]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"model.onnx' cannot be opened"):
        chirplet.load(folder)
    assert onnx.load(folder / "model.onnx", load_external_data=False).graph.initializer[0].name == "logits"


@pytest.mark.parametrize("value", ["../predictions.parquet", "/etc/passwd", "predictions.parquet/../x"])
def test_a_record_cannot_name_another_file(folder, value):
    change_json(folder / RECORD, predictions=value)
    with pytest.raises(chirplet.system.error.ArtifactError, match="predictions: "):
        Artifact.open(folder)


def test_a_valid_record_is_accepted():
    assert make_record().predictions == "predictions.parquet"
