"""A folder for transformers.js: its files, its tokenizer, and what it cannot be made of."""

import json
import shutil

import pytest
from tokenizers import Tokenizer

import chirplet
from artifacts import tiny_artifact
from checkpoints import RAW, TEXTS, settings_of, tiny_bert, tiny_bertweet
from chirplet.artifact.artifact import CARD, Artifact, write_record
from chirplet.cli.experiment import execute
from chirplet.data.batching.tokens import save_tokenizer
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.stage.output.transformers_js import write_folder
from chirplet.system.error import ArtifactError
from quantizing import Small, prepared
from records import LABELS, make_record


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    return Small(place / "artifact", tiny_bert(place / "base"))


def quantized(small, folder, name="onnx_int8"):
    """An artifact of the quantized model, without a probe."""
    shutil.copytree(small.folder, folder, ignore=shutil.ignore_patterns("model.safetensors", "probe.json"))
    prepared(name, small, folder.parent / "work").write(folder, ())
    return folder


@pytest.fixture(scope="module")
def int8(small, tmp_path_factory):
    return quantized(small, tmp_path_factory.mktemp("int8") / "artifact")


def test_the_folder_has_what_transformers_js_opens(int8, compose_config, tmp_path, capfd):
    execute(compose_config("stage=export", f"artifact={int8}", "verify=false"), tmp_path)
    made = tmp_path / "transformers_js"
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert files == {"README.md", "config.json", "onnx/model_quantized.onnx", "tokenizer.json", "tokenizer_config.json"}
    assert (made / "onnx/model_quantized.onnx").read_bytes() == (int8 / "model.onnx").read_bytes()
    config = json.loads((made / "config.json").read_text())
    assert config["transformers.js_config"] == {"dtype": "q8"} and [*config["id2label"].values()] == LABELS
    settings = json.loads((made / "tokenizer_config.json").read_text())
    assert (settings["tokenizer_class"], settings["model_max_length"]) == ("PreTrainedTokenizerFast", 32)
    assert str(tmp_path) not in (made / CARD).read_text()
    out = capfd.readouterr().out
    assert out.startswith(f"folder    {made}") and f'await pipeline("text-classification", "{made}")' in out


def test_its_tokenizer_cleans_also_where_that_of_the_artifact_does_not(int8, small, tmp_path):
    older = shutil.copytree(int8, tmp_path / "older")
    save_tokenizer(load_tokenizer(settings_of(small.folder)), older)  # with the preset `none`
    for artifact in (int8, older):
        made = tmp_path / f"of_{artifact.name}"
        write_folder(Artifact.open(artifact), made, 1, verify=False)
        ids = chirplet.load(artifact, verify=False).tokens([*RAW, *TEXTS])
        tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
        tokenizer.enable_truncation(32)
        assert [tokenizer.encode(text).ids for text in [*RAW, *TEXTS]] == [row.tolist() for row in ids]


def test_other_weights_have_another_name(small, tmp_path):
    artifact = quantized(small, tmp_path / "artifact", "int4_weights")
    write_folder(Artifact.open(artifact), tmp_path / "made", 1, verify=False)
    assert (tmp_path / "made" / "onnx" / "model_q4.onnx").is_file()
    assert json.loads((tmp_path / "made" / "config.json").read_text())["transformers.js_config"] == {"dtype": "q4"}


def test_what_cannot_be_exported_is_refused_with_what_works(small, int8, tmp_path):
    def refusal(folder):
        with pytest.raises(ArtifactError) as caught:
            write_folder(Artifact.open(folder), tmp_path / "made", 1, verify=False)
        assert not (tmp_path / "made").exists()
        return str(caught.value)

    line = refusal(small.folder)
    assert (
        "is for pytorch, should be for onnxruntime" in line and "stage=quantize quantizer=onnx_int8 artifact=" in line
    )

    emoji = shutil.copytree(int8, tmp_path / "emoji")
    (emoji / "artifact.json").unlink()
    write_record(emoji, make_record(cleaning="emoji"))
    assert "cleans texts with emoji, which is Python alone; should be trained with model.cleaning=none, " in refusal(
        emoji
    )

    other = shutil.copytree(int8, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "funnel"}))
    assert "is a model of type 'funnel', which transformers.js has no classifier for; should be albert" in refusal(
        other
    )

    tweets = tiny_artifact(tiny_bertweet(tmp_path / "bertweet"), tmp_path / "tweets", make_record(cleaning="none"))
    (tweets / "model.safetensors").unlink()
    (tweets / "model.onnx").write_bytes((int8 / "model.onnx").read_bytes())
    assert "has BERTweet's tokenizer, which is Python alone" in refusal(tweets)
