"""A wrong configuration is told in one line, before torch is imported."""

import subprocess
import sys
from typing import Literal

import pytest

from chirplet.config.schema import Count, Foreign, Fraction, Settings, bind, validate
from chirplet.system.error import ConfigError, near


class Part(Settings):
    rate: Fraction
    epochs: Count
    schedule: Literal["linear", "cosine"]
    weights: Literal["balanced"] | list[float] | None


GOOD = {"rate": 0.5, "epochs": 3, "schedule": "linear", "weights": None}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"rate": 1.0}, "stage.rate: got 1.0, should be less than 1"),
        ({"rate": "fast"}, "stage.rate: got 'fast', should be a valid number"),
        ({"epochs": 0}, "stage.epochs: got 0, should be greater than or equal to 1"),
        ({"epochs": True}, "stage.epochs: got True, should be a valid integer"),
        ({"schedule": "linar"}, "stage.schedule: got 'linar', should be 'linear' or 'cosine'; did you mean 'linear'?"),
        ({"weights": [1.0, "x"]}, "stage.weights.1: got 'x', should be a valid number"),
        ({"weights": "even"}, "stage.weights: got 'even', should be 'balanced' or be a valid list"),
        (
            {"epoch": 3},
            "stage.epoch: no such key; did you mean 'epochs'?; known here: rate, epochs, schedule, weights",
        ),
    ],
)
def test_each_fault_is_one_line_with_key_value_and_what_is_allowed(change, line):
    with pytest.raises(ConfigError) as caught:
        validate(Part, GOOD | change, "stage")
    assert str(caught.value) == line


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        validate(Part, {"rate": -1.0, "epochs": 0, "schedule": "linear", "weights": None}, "stage")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["stage.rate", "stage.epochs"]


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"^stage\.epochs: is missing$"):
        validate(Part, {key: value for key, value in GOOD.items() if key != "epochs"}, "stage")


def test_a_whole_number_passes_for_a_float_but_nothing_else_is_converted():
    assert validate(Part, GOOD | {"rate": 0}).rate == 0.0
    with pytest.raises(ConfigError):
        validate(Part, GOOD | {"epochs": "3"})


def test_settings_cannot_be_changed():
    part = validate(Part, GOOD)
    with pytest.raises(Exception, match="frozen"):
        part.rate = 0.1


def test_near_names():
    assert near("learnin_rate", ["learning_rate", "layers"]) == "; did you mean 'learning_rate'?"
    assert near("zzz", ["learning_rate"]) == ""


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "logging.os.system",
        "numpy.load",
        "lightning.pytorch.Trainer",
    ],
)
def test_targets_outside_the_allowed_packages_are_refused(target):
    with pytest.raises(ConfigError, match="should be in one of the packages chirplet, torch"):
        bind({"callback": {"mine": {"_target_": target}}})


@pytest.mark.parametrize(
    "target",
    [
        "chirplet.config.schema.importlib.import_module",
        "chirplet.config.schema.BaseModel",
        "chirplet.system.error.near",
        "chirplet.stage.finetune.Stage",
        "chirplet.nowhere.Thing",
        "chirplet",
    ],
)
def test_chirplet_targets_must_be_settings_classes_of_their_own_module(target):
    with pytest.raises(ConfigError, match="_target_: got"):
        bind({"_target_": target}, "stage")


@pytest.mark.parametrize("target", ["torch.os.system", "torch.hub.load", "transformers.logging.os.system"])
def test_foreign_targets_must_be_classes_of_their_library(target):
    foreign = bind({"_target_": target, "command": "true"}, "callback.mine")
    with pytest.raises(ConfigError, match="_target_: got"):
        foreign.build()


def test_a_foreign_class_is_bound_to_its_signature():
    foreign = bind({"_target_": "torch.nn.Linear", "in_features": 2, "out_feature": 3}, "callback.mine")
    assert isinstance(foreign, Foreign)
    with pytest.raises(ConfigError, match=r"callback\.mine: torch\.nn\.Linear .*did you mean 'out_features'"):
        foreign.build()
    good = bind({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}, "callback.mine")
    assert good.build().out_features == 3


def test_checking_the_default_configuration_does_not_import_torch():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from places import CONF\n"
        "from hydra import compose, initialize_config_dir\n"
        "from chirplet.cli.experiment import parse\n"
        "with initialize_config_dir(config_dir=str(CONF), version_base='1.3'):\n"
        "    parse(compose('config', return_hydra_config=False))\n"
        "print(sorted({'torch', 'transformers', 'pytorch_lightning', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
