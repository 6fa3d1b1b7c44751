"""A `_target_` names a settings class of chirplet or a class of the right kind in an allowed library, nothing else."""

from pathlib import Path

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import Logger

from chirplet.cli.binding import parse
from chirplet.cli.experiment import run_of
from chirplet.config.schema import ALLOWED_PACKAGES, Foreign, bind
from chirplet.stage.fit.callbacks import training_callbacks
from chirplet.stage.run.loggers import open_loggers
from chirplet.sweep.plan.study import make_pruner
from chirplet.system.error import ConfigError

OTHER_PACKAGES = (
    "logging.os.system",
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.__import__",
    "__builtins__.exec",
    "importlib.import_module",
    "hydra.utils.get_method",
    "hydra._internal.utils._locate",
    "omegaconf.OmegaConf.load",
    "pickle.loads",
    "numpy.load",
    "ftfy.io.open",
    "pydantic.BaseModel",
    "hydra_plugins.chirplet_sweeper.sweeper.OptunaSweeper",
    "chirplet_evil.Thing",
    "torchvision.io.read_file",
    "",
    ".os.system",
    "..os.system",
    " torch.nn.Linear",
    "torch .nn.Linear",
    "torch/../os.system",
    "ｔorch.nn.Linear",
    ["os.system"],
    {"a": "torch"},
    7,
    True,
)


@pytest.mark.parametrize("target", OTHER_PACKAGES, ids=str)
def test_other_packages_are_refused_in_one_line(target):
    with pytest.raises(
        ConfigError, match=r"^callback\.mine\._target_: got .*, should be in one of the packages"
    ) as error:
        bind({"callback": {"mine": {"_target_": target}}})
    assert "\n" not in str(error.value)


RE_EXPORTS = (
    "torch.os.system",
    "torch.sys.exit",
    "torch.importlib.import_module",
    "torch.hub.load",
    "torch.hub.os.system",
    "torch.hub.urlopen",
    "torch.load",
    "torch.serialization.pickle.Unpickler",
    "torch.multiprocessing.Process",
    "torch.package.PackageImporter",
    "torch.utils.cpp_extension.load_inline",
    "torch.utils.cpp_extension.subprocess.Popen",
    "torch.distributed.run.main",
    "torch.testing._internal.common_utils.subprocess.Popen",
    "transformers.utils.import_utils.subprocess.Popen",
    "transformers.utils.import_utils.os.system",
    "transformers.utils.import_utils.importlib.import_module",
    "transformers.AutoModel.from_pretrained",
    "transformers.dynamic_module_utils.get_class_from_dynamic_module",
    "transformers.pipeline",
    "pytorch_lightning.os.system",
    "pytorch_lightning.utilities.imports.os.system",
    "pytorch_lightning.trainer.trainer.os.system",
    "pytorch_lightning.LightningModule.load_from_checkpoint",
    "torchmetrics.utilities.imports.shutil.which",
    "optuna.storages.os.system",
    "optuna.load_study",
    "optuna.logging.os.system",
    "optuna.exceptions.TrialPruned",
    "torch..nn.Linear",
    "torch.nn..Linear",
    "torch.nn.Linear.",
    "torch",
    "torch.",
    "torch.__builtins__.eval",
    "torch.nn.Linear.__init__.__globals__",
    "torch.nn.Linear.__subclasses__",
    "torch.nn.Linear",
)


@pytest.mark.parametrize("target", RE_EXPORTS)
@pytest.mark.parametrize("base", [Logger, Callback])
def test_reexports_and_other_classes_of_allowed_packages_are_refused(target, base):
    foreign = bind({"_target_": target}, "callback.mine")
    assert isinstance(foreign, Foreign)
    with pytest.raises(ConfigError, match=r"^callback\.mine\._target_: got '.*', ") as error:
        foreign.build(base)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "target",
    [
        "chirplet.config.schema.importlib.import_module",
        "chirplet.config.schema.Foreign",
        "chirplet.config.schema.Settings",
        "chirplet.config.schema.bind",
        "chirplet.data.preparation.fetch.subprocess.run",
        "chirplet.data.preparation.fetch.fetch_sdist",
        "chirplet.stage.base.Stage",
        "chirplet.stage.finetune.Stage",
        "chirplet..config.Settings",
        "chirplet.",
        "chirplet",
        "chirplet.load",
        "chirplet.runtime.predictor.Predictor",
    ],
)
def test_only_settings_classes_of_chirplet_are_allowed(target):
    with pytest.raises(ConfigError, match=r"^stage") as error:
        bind({"_target_": target, "target": "os.system", "arguments": {}, "key": ""}, "stage")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"_args_": ["touch {trace}"]},
        {"_partial_": True},
        {"_convert_": "object"},
        {"_recursive_": False},
        {"logging_interval": {"_target_": "os.system", "command": "touch {trace}"}},
        {"logging_interval": [{"_target_": "subprocess.Popen", "args": "touch {trace}"}]},
    ],
)
def test_hydras_own_keys_and_nested_targets_do_nothing(arguments, tmp_path: Path):
    trace = tmp_path / "trace"
    node = {"_target_": "pytorch_lightning.callbacks.LearningRateMonitor", **_filled(arguments, trace)}
    with pytest.raises(ConfigError, match=r"^callback\.mine"):
        bind(node, "callback.mine").build(Callback)
    assert not trace.exists()


def test_a_nested_target_of_an_allowed_package_is_not_built():
    nested = {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}
    made = bind({"_target_": "pytorch_lightning.callbacks.Timer", "duration": None, "verbose": nested}, "callback.mine")
    assert isinstance(made.arguments["verbose"], Foreign)


def test_loggers_and_callbacks_of_another_class_are_refused(compose_config, tmp_path):
    right = "pytorch_lightning.callbacks.LearningRateMonitor"
    experiment = parse(
        compose_config("logger=none", f"+logger.mine._target_={right}", f"+callback.mine._target_={right}")
    )
    run = run_of(experiment, tmp_path, {})
    assert any(isinstance(made, LearningRateMonitor) for made in training_callbacks(run, tmp_path, validates=True))
    message = rf"^logger\.mine\._target_: got '{right}', should name a Logger$"
    with pytest.raises(ConfigError, match=message), open_loggers(run, "finetune"):
        pass
    wrong = "pytorch_lightning.loggers.CSVLogger"
    run = run_of(parse(compose_config(f"+callback.mine._target_={wrong}")), tmp_path, {})
    with pytest.raises(ConfigError, match=rf"^callback\.mine\._target_: got '{wrong}', should name a Callback$"):
        training_callbacks(run, tmp_path, validates=True)


@pytest.mark.parametrize("target", ["optuna.samplers.TPESampler", "torch.nn.Linear", "optuna.storages.RDBStorage"])
def test_pruners_of_another_class_are_refused(target):
    with pytest.raises(ConfigError, match="should name a BasePruner"):
        make_pruner(bind({"_target_": target}, "hydra.sweeper.pruner"))


def test_no_allowed_package_is_a_prefix_of_another_name():
    assert all("." not in package and package.isidentifier() for package in ALLOWED_PACKAGES)


def _filled(value, trace):
    if isinstance(value, dict):
        return {key: _filled(item, trace) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, trace) for item in value]
    return value.format(trace=trace) if isinstance(value, str) else value
