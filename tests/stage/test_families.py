"""The contract of families: a tiny checkpoint of each goes through the stages. A new family adds a line to `FACTS`.

What a stage does alike for all of them, one of them shows; types with the modules of another family show what depends
on their weights' names and on their tokenizers.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.csv
import pytest
import torch
from huggingface_hub import constants
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from checkpoints import TEXTS as EXAMPLES
from checkpoints import settings_of, tiny
from chirplet.artifact.artifact import Artifact
from chirplet.cli.experiment import execute
from chirplet.data.batching.tokens import tokenize
from chirplet.model.family import FAMILIES, family_of
from chirplet.model.loading.load import load_model, load_tokenizer
from chirplet.model.structure.freezing import freeze
from chirplet.model.structure.parameter_groups import parameter_groups
from chirplet.pruner.magnitude import Magnitude
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.pruner.wanda import Wanda
from chirplet.runtime.pytorch import load_model as open_model
from chirplet.stage.output import verify
from chirplet.task.single_label import SingleLabel
from hub import Hub, serving
from isolated import here
from places import CONF, SAMPLE

SAME_MODULES = ("tuned", "fewer")
"""Steps of a type whose modules are those of another family."""
OWN_MODULES = (*SAME_MODULES, "student", "smaller")
TRAINED_MASKS = (*OWN_MODULES, "sparse")
"""Steps of a family whose layers are shared, or whose matrices are fused, and of those that `Generic` finds."""
ALL = (*TRAINED_MASKS, "half")


@dataclass(frozen=True)
class Facts:
    """What a family can do: parts that structured pruning removes, and whether attention can be distilled."""

    prunes: tuple[str, ...] = ("heads", "intermediate_size")
    attention: bool = True
    distinct: int = 2
    steps: tuple[str, ...] = OWN_MODULES


FACTS = {
    "albert": Facts(prunes=(), distinct=1, steps=TRAINED_MASKS),
    "bert": Facts(steps=ALL),
    "bertweet": Facts(steps=SAME_MODULES),
    "camembert": Facts(steps=SAME_MODULES),
    "data2vec-text": Facts(steps=SAME_MODULES),
    "deberta-v2": Facts(),
    "distilbert": Facts(),
    "electra": Facts(),
    "ernie": Facts(prunes=(), attention=False, steps=TRAINED_MASKS),
    "mmbert": Facts(prunes=("intermediate_size",), attention=False, steps=SAME_MODULES),
    "modernbert": Facts(prunes=("intermediate_size",), attention=False, steps=TRAINED_MASKS),
    "mpnet": Facts(prunes=("intermediate_size",)),
    "roberta": Facts(),
    "roberta-prelayernorm": Facts(prunes=(), attention=False),
    "xlm-roberta": Facts(steps=SAME_MODULES),
}
TEXTS = 100
SIZES = {"heads": 1, "intermediate_size": 40}


@dataclass(frozen=True)
class Made:
    """What a chain made of a checkpoint: its artifacts by the name of the step."""

    kind: str
    base: Path
    folder: Path
    artifacts: dict[str, Artifact]

    @property
    def facts(self) -> Facts:
        return FACTS[self.kind]

    def artifact(self, step: str) -> Artifact:
        if step not in self.facts.steps:
            pytest.skip("another family has the same modules")
        return self.artifacts[step]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """A few texts of each class."""
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    pyarrow.csv.write_csv(pyarrow.csv.read_csv(SAMPLE).slice(0, TEXTS), path)
    return path


@pytest.fixture(scope="module")
def in_this_process() -> Iterator[None]:
    """Run saved models in this process, and in no other batches."""
    with here(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "verify_grid", lambda *_: {})
        yield


def steps_of(facts: Facts) -> str:
    """Stages that make a model, of the fine-tuned one or of its child."""
    distillers = ["logits", "hidden", *(["attention"] if facts.attention else [])]
    sizes = [f"pruner.{name}={SIZES[name]}" for name in facts.prunes]
    overrides = {
        "tuned": ["stage.layer_decay=0.5"],
        "student": [
            f"distiller=[{','.join(distillers)}]",
            "stage.label_only_baseline=false",
            "stage.cut.num_layers=1",
        ],
        "sparse": ["pruner=movement", "stage.recovery=distill"],
        "smaller": ["pruner=structured", *(sizes or ["pruner.layers=1"]), "stage.recovery=labels"],
        "fewer": ["pruner=vocabulary", "stage.recovery=none"],
        "half": ["quantizer=bf16", "stage.tolerance=null", "stage.sensitivity_texts=0"],
    }
    start = {
        "tuned": "stage: finetune",
        "student": "stage: distill, of: tuned",
        "sparse": "stage: prune, of: tuned",
        "smaller": "stage: prune, of: tuned",
        "fewer": "stage: prune, of: tuned",
        "half": "stage: quantize, of: fewer",
    }

    def step(name: str) -> str:
        given = ",".join(f"'{override}'" for override in ["stage.measure_cost=false", *overrides[name]])
        return f"{name}: {{{start[name]}, overrides: [{given}]}}"

    return f"stage.steps={{{', '.join(step(name) for name in start if name in facts.steps)}}}"


def overrides_of(folder: Path, texts: Path, facts: Facts) -> list[str]:
    few = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.threads=1", "trainer.precision=32-true"]
    data = ["data=csv", f"data.train={texts}", "data.text_column=text", "data.label_column=sentiment"]
    model = ["model=local", f"model.name_or_path={folder}/base", "model.max_length=40"]
    plain = [f"cache_dir={folder}/cache", "logger=none", "callback=none", "deterministic=true"]
    compare = f"stage.compare={str(facts.steps == ALL).lower()}"
    return [*model, *data, *few, *plain, "stage=chain", "stage.compare_overrides=[]", compare, steps_of(facts)]


@pytest.fixture(scope="module")
def hydra() -> Iterator[None]:
    """One Hydra for all, since what it composed before it has composed."""
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        yield


@cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    return compose("config", overrides=list(overrides))


def ran(overrides: list[str], folder: Path) -> None:
    execute(copy.deepcopy(composed(tuple(overrides))), folder, overrides)


@pytest.fixture(scope="module")
def current(tmp_path_factory) -> Path:
    """A link to the folder of the family at hand, so that the overrides are the same for all."""
    return tmp_path_factory.mktemp("current") / "family"


@pytest.fixture(scope="module", params=FACTS)
def made(request, tmp_path_factory, texts, current, hydra, in_this_process) -> Made:
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    current.unlink(missing_ok=True)
    current.symlink_to(folder)
    base = tiny(kind, folder / "base")
    ran(overrides_of(current, texts, FACTS[kind]), folder / "chain")
    artifacts = {path.parent.name: Artifact.open(path) for path in (folder / "chain").glob("*/artifact")}
    return Made(kind, base, folder, artifacts)


def weights(artifact: Artifact) -> dict[str, torch.Tensor]:
    return load_file(artifact.folder / "model.safetensors")


def test_every_family_is_here():
    assert FAMILIES.keys() <= FACTS.keys()


def test_fine_tuning_moves_every_part_and_transformers_opens_it(made):
    tuned = made.artifacts["tuned"]
    model, info = AutoModelForSequenceClassification.from_pretrained(tuned.folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    before = load_model(settings_of(made.base, attention="auto"), tuned.record.labels, tuned.record.seed).model
    family = family_of(model)
    after = dict(model.named_parameters())
    depths = {
        family.depth_from_top(before, name)
        for name, weight in before.named_parameters()
        if not torch.equal(weight, after[name])
    }
    assert depths == set(range(made.facts.distinct + 2))


@pytest.mark.parametrize(("method", "layers"), [("full", None), ("head", None), ("last_layers", 1)])
def test_what_is_trained_is_as_deep_as_asked(made, method, layers):
    model = load_model(settings_of(made.base, attention="auto"), "abc", 0).model
    freeze(model, method, layers, embeddings=False)
    groups = parameter_groups(model, 1.0, 0.1, 0.5, None)
    rates = {group["lr"] for group in groups}
    depth = {"full": made.facts.distinct + 1, "head": 0, "last_layers": 1}[method]
    assert rates == {0.5**each for each in range(depth + 1)}


def test_a_student_learns_from_the_states_of_its_teacher(made):
    record = made.artifact("student").record
    assert record.method.split(" + ")[:2] == ["logits", "hidden"]
    config = open_model(made.artifacts["student"].folder).config
    assert family_of(config).sizes(config).layers == 1
    assert record.lineage[-1].artifact == made.artifacts["tuned"].record.id


def test_movement_pruning_removes_half_of_the_weights_of_the_layers(made):
    assert made.artifact("sparse").record.training["pruning"]["reached"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("pruner", [Magnitude, Wanda])
def test_single_weights_are_pruned_in_one_shot(made, pruner):
    folder = made.artifacts["tuned"].folder
    tokenizer = load_tokenizer(settings_of(folder))
    tokens = tokenize(EXAMPLES, tokenizer, "none", 40)
    targets = np.arange(len(EXAMPLES), dtype=np.int64) % 5
    calibration = CalibrationData(
        SingleLabel(), tokens, targets, int(tokenizer.pad_token_id), tokenizer, lambda: tokens
    )
    settings = {"sparsity": 0.5, "scope": "body", "ramp_fraction": 0.5, "every_steps": 1, "schedule": "one_shot"}
    model, one_shot = open_model(folder).eval(), pruner(**settings)
    one_shot.check_weights(model)
    evaluated = SimpleNamespace(evaluate_splits=lambda model: {"accuracy": 0.0, "loss": float(zeros(model))})
    losses = one_shot.trials(model, calibration, [], lambda: evaluated)["layer_losses"]
    assert len(losses) == made.facts.distinct and min(losses) > 0
    assert one_shot.reached(one_shot.prune(model, calibration).model) == pytest.approx(0.5, abs=0.02)


def zeros(model) -> int:
    return sum(int((weight == 0).sum()) for weight in model.parameters())


def test_structured_pruning_leaves_the_sizes_that_were_asked_for(made):
    config = open_model(made.artifact("smaller").folder).config
    sizes = family_of(config).sizes(config)
    left = {name: getattr(sizes, name) for name in made.facts.prunes}
    assert left == {name: SIZES[name] for name in made.facts.prunes}
    assert made.facts.prunes or sizes.layers == 1


def test_vocabulary_pruning_leaves_the_logits_of_train_texts(made):
    fewer, tuned = made.artifacts["fewer"], made.artifacts["tuned"]
    facts = fewer.record.training["pruning"]
    assert facts["tokens"] < facts["tokens_before"]
    known = [artifact.predictions("train").logits for artifact in (fewer, tuned)]
    np.testing.assert_allclose(*known, atol=1e-4)


def test_bf16_is_half_as_large(made):
    """Each of them is in `quantizer/test_every_family.py`."""
    assert all(weight.dtype == torch.bfloat16 for weight in weights(made.artifact("half")).values())


def test_a_comparison_has_every_artifact(made):
    if made.facts.steps != ALL:
        pytest.skip("it is the same for all families")
    table = pyarrow.csv.read_csv(made.folder / "chain" / "comparison.csv").to_pydict()
    assert len(table[next(iter(table))]) == len(made.artifacts) == 6


def test_a_file_is_labeled(made, current, tmp_path, monkeypatch):
    (tmp_path / "in.csv").write_text('text\nwhat a lovely morning\nworst day ever ж\n""\n', encoding="utf-8")
    options = ["stage=predict", f"artifact={current}/chain/fewer/artifact", "input=in.csv", "output=out.csv"]
    monkeypatch.chdir(tmp_path)
    ran(options, tmp_path / "run")
    assert len(pyarrow.csv.read_csv("out.csv")["label"]) == 3


def test_an_artifact_is_pushed(made, current, tmp_path, monkeypatch):
    if made.facts.steps != ALL:
        pytest.skip("it is the same for all families")
    with serving(Hub("hf_token")) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_token")
        ran(["stage=push", f"artifact={current}/chain/fewer/artifact", "push=me/model"], tmp_path)
        assert "config.json" in hub.files["me/model"]
