"""What a model cannot go through is refused by its configuration and tokenizer, before the first step of a chain."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from checkpoints import change_config, settings_of, tiny
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute
from chirplet.model.loading.blueprint import blueprint_of
from chirplet.stage import finetune
from chirplet.system import optional_dependency
from chirplet.system.error import ConfigError, UserError
from places import CONF, SAMPLE


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    bases = {kind: tiny(kind, folder / kind) for kind in ("albert", "bert", "ernie", "modernbert", "mpnet", "roberta")}
    bases["laplace"] = tiny("bert", folder / "laplace")
    change_config(bases["laplace"], hidden_act="laplace")
    bases["words"] = tiny("roberta", folder / "words")
    _words(bases["words"])
    return bases


def _words(folder: Path) -> None:
    """Give a checkpoint a tokenizer of whole words, opened by the class that takes a file as it is."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] = {"type": "WordLevel", "vocab": content["model"]["vocab"], "unk_token": "<unk>"}
    path.write_text(json.dumps(content))
    path = folder / "tokenizer_config.json"
    names = {name: value for name, value in json.loads(path.read_text()).items() if name.endswith("_token")}
    path.write_text(json.dumps(names | {"tokenizer_class": "PreTrainedTokenizerFast"}))


@pytest.fixture
def chain(bases, tmp_path, monkeypatch):
    """Start a chain of these steps from a base; its first step must not begin."""

    def started(*_):
        raise AssertionError("the first step began")

    monkeypatch.setattr(finetune.Finetune, "run", started)

    def chained(base: str, steps: str, *more: str) -> None:
        data = ["data=csv", f"data.train={SAMPLE}", "data.text_column=text", "data.label_column=sentiment"]
        model = ["model=local", f"model.name_or_path={bases[base]}", "model.max_length=40"]
        overrides = [*model, *data, f"cache_dir={tmp_path}/cache", "logger=none", "stage=chain", *more]
        overrides += ["stage.compare=false", f"stage.steps={{{steps}}}"]
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            execute(compose("config", overrides=overrides), tmp_path / "out", overrides)

    return chained


TUNED = "tuned: {stage: finetune}, "
REFUSED = {
    "an activation": (
        "laplace",
        TUNED + "half: {stage: distill}, last: {stage: quantize, overrides: ['quantizer=onnx_int8']}",
        r"step last: quantizer: got a model of type 'bert' with hidden_act='laplace', should be one of gelu, ",
    ),
    "a kind of tokenizer": (
        "words",
        TUNED + "last: {stage: prune, overrides: ['pruner=vocabulary']}",
        "step last: pruner: got vocabulary, but the tokenizer is WordLevel, should be WordPiece, BPE or Unigram",
    ),
    "heads": (
        "mpnet",
        TUNED + "last: {stage: prune, overrides: ['pruner=structured','pruner.heads=1']}",
        "step last: pruner.heads: got 1, but heads of a model of type 'mpnet' cannot be .* reduce pruner.layers",
    ),
    "a layer that an earlier step removed": (
        "bert",
        TUNED + "one: {stage: prune, overrides: ['pruner=structured','pruner.layers=1']},"
        "last: {stage: prune, overrides: ['pruner=structured','pruner.layers=2']}",
        "step last: pruner.layers: got 2, but the parent has 1",
    ),
    "neurons of a student that is cut": (
        "ernie",
        TUNED + "last: {stage: distill, overrides: ['stage.cut.intermediate_size=8']}",
        "step last: stage.cut.intermediate_size: got 8, but neurons of a model of type 'ernie' cannot be removed",
    ),
    "layers of a student that is cut": (
        "modernbert",
        TUNED + "last: {stage: distill, overrides: ['stage.cut.layers=[1]']}",
        r"step last: stage\.cut\.layers: got \[1\], should begin with 0, the only layer .* 'modernbert'",
    ),
    "attention": (
        "modernbert",
        TUNED + "last: {stage: distill, overrides: ['distiller=attention']}",
        "step last: distiller: got attention, but .* of type 'modernbert', the teacher's; should be hidden or logits",
    ),
    "pruning what was quantized": (
        "bert",
        TUNED + "int8: {stage: quantize}, last: {stage: prune}",
        "step last: artifact: got a model for onnxruntime, should be for pytorch; start from the artifact ",
    ),
    "quantizing what was quantized": (
        "bert",
        TUNED + "int8: {stage: quantize, overrides: ['quantizer=torch_int8']}, last: {stage: quantize}",
        "step last: artifact: got a model for pytorch_int8, should be for pytorch; ",
    ),
    "cutting a student from what was quantized": (
        "bert",
        TUNED + "int8: {stage: quantize}, last: {stage: distill}",
        "step last: teacher: got a model for onnxruntime, should be for pytorch; ",
    ),
    "layers of one set of weights": (
        "albert",
        "tuned: {stage: finetune, overrides: ['stage.method=last_layers','stage.layers=2']}",
        "step tuned: stage.layers: got 2, should be 0 to 1, since the 2 layers of a model of type 'albert' share",
    ),
}


@pytest.mark.parametrize(("base", "steps", "line"), REFUSED.values(), ids=REFUSED)
def test_a_chain_is_refused_before_its_first_step(chain, base, steps, line):
    with pytest.raises(ConfigError, match=f"^{line}") as error:
        chain(base, steps)
    assert "\n" not in str(error.value)


def test_a_student_of_other_tokens_is_refused_before_the_first_step(chain, bases):
    steps = TUNED + "last: {stage: distill, overrides: ['distiller=hidden']}"
    student = ["model@student=local", f"student.name_or_path={bases['roberta']}", "student.max_length=40"]
    with pytest.raises(ConfigError, match=r"step last: distiller: got hidden, .*their vocabularies differ"):
        chain("bert", steps, *student)


def test_what_is_not_installed_is_said_before_the_first_step(chain, monkeypatch):
    found = optional_dependency.find_spec
    monkeypatch.setattr(optional_dependency, "find_spec", lambda name: None if name == "nncf" else found(name))
    with pytest.raises(ConfigError, match=r"^step last: quantizer=openvino_int8 needs nncf, which is not"):
        chain("bert", TUNED + "last: {stage: quantize, overrides: ['quantizer=openvino_int8']}")


def test_what_every_step_supports_begins(chain):
    with pytest.raises(AssertionError, match="the first step began"):
        chain("bert", TUNED + "last: {stage: prune, overrides: ['pruner=vocabulary']}, half: {stage: distill}")


def test_a_quantized_teacher_of_another_student_begins(chain, bases):
    student = ["model@student=local", f"student.name_or_path={bases['roberta']}", "student.max_length=40"]
    with pytest.raises(AssertionError, match="the first step began"):
        chain("bert", TUNED + "int8: {stage: quantize}, last: {stage: distill}", *student)


ALONE = {
    "quantizer: got a model of type 'bert' with hidden_act='laplace'": ["stage=quantize", "quantizer=onnx_int8"],
    "pruner.layers: got 3, but the parent has 2": ["stage=prune", "pruner=structured", "pruner.layers=3"],
    "stage.cut.num_layers: got 3, should be at most 2": ["stage=distill", "stage.cut.num_layers=3"],
}


@pytest.mark.parametrize(("line", "overrides"), ALONE.items(), ids=ALONE)
def test_a_single_stage_is_checked_alike(bases, compose_config, line, overrides):
    stage = parse(compose_config("model=minilm", "data=csv", f"data.train={SAMPLE}", *overrides)).stage
    with pytest.raises(UserError, match=line):
        stage.check_model([blueprint_of(settings_of(bases["laplace"]))])
