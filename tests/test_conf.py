"""Every YAML file in conf/ composes and validates."""

from pathlib import Path

import pytest
from hydra._internal import config_loader_impl

from chirplet.cli.binding import parse
from places import CONF
from remembered_choices import create_defaults_list

GROUPS = (
    "chain",
    "pruner",
    "quantizer",
    "callback",
    "data",
    "distiller",
    "logger",
    "task",
    "model",
    "stage",
    "trainer",
    "experiment",
    "search",
)
# Values that a file leaves to the user, so that the rest can be checked.
NEEDED = {
    "data/corona_nlp": ["data.dir={folder}"],
    "data/tweet_eval": ["data.dir={folder}"],
    "data/csv": ["data.train={folder}/texts.csv"],
    "model/local": ["model.name_or_path={folder}"],
    "stage/predict": ["artifact={folder}", "input={folder}/texts.csv", "output={folder}/labeled.csv"],
    "experiment/corona_minilm": ["data.dir={folder}"],
    "experiment/seed": ["data.dir={folder}"],
    "experiment/original_study_bertweet": ["data.dir={folder}"],
}


def option_files() -> list[str]:
    """`group/name` of every option a user can choose."""
    return sorted(
        path.relative_to(CONF).with_suffix("").as_posix()
        for group in GROUPS
        for path in (CONF / group).glob("*.yaml")
        if not path.name.startswith("_")
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file of every kind that a configuration may need."""
    for name in ("Corona_NLP_train.csv", "Corona_NLP_test.csv", "texts.csv", "artifact.json", "mapping.txt"):
        (tmp_path / name).write_text("{}")
    for split in ("train", "val", "test"):
        for part in ("text", "labels"):
            (tmp_path / f"{split}_{part}.txt").write_text("")
    return tmp_path


def test_the_count_of_options():
    assert len(option_files()) == 74
    extra = {"config", "hydra/help/chirplet", "hydra/job_logging/chirplet"}
    everything = {path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml")}
    bases = {name for name in everything if name.rpartition("/")[2].startswith("_")}
    sweepers = {
        name for name in everything if name.startswith("hydra/sweeper/")
    }  # tests/sweep/test_sweeper.py makes each
    assert everything == set(option_files()) | extra | bases | sweepers


@pytest.mark.parametrize("option", option_files())
def test_every_option_composes_and_binds(option, compose_config, folder):
    group, _, name = option.partition("/")
    needed = [override.format(folder=folder) for override in NEEDED.get(option, [])]
    experiment = parse(compose_config(f"{group}={name}", *needed))
    assert experiment.seed == 42


@pytest.mark.parametrize(
    "overrides",
    [
        ["stage=prune", "pruner=movement", "~logger.csv", "artifact=x"],
        ["stage=distill", "model@student=minilm", "+trainer.own=1", "teacher=x"],
        ["experiment=corona_minilm", "data.dir=x", "logger=none"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_choice_that_is_remembered_is_what_hydra_composes(overrides, compose_config, monkeypatch):
    compose_config(*overrides).seed = 9
    again = compose_config(*overrides)
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", create_defaults_list)
    assert again == compose_config(*overrides)


def test_the_module_of_a_target_agrees_with_its_file():
    for group in ("callback", "data", "distiller", "logger", "pruner", "quantizer", "stage", "task"):
        for path in (CONF / group).glob("[!_]*.yaml"):
            if "_target_: chirplet." in path.read_text():
                assert f"_target_: chirplet.{group}.{path.stem}." in path.read_text(), path
