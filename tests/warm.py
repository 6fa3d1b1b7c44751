"""Everything a run imports, for processes that are forked from one that has: `forked.FORKED` starts them in no time.

Nothing is computed here: a process that has used OpenMP's threads must not be forked.
"""

import importlib
from contextlib import suppress

from hydra import compose, initialize_config_dir
from transformers import BertForSequenceClassification, BertTokenizer

import chirplet.cli.experiment
import chirplet.runtime.predictor
import chirplet.runtime.pytorch
import chirplet.stage.distillation.data
import chirplet.stage.distillation.student
import chirplet.stage.distillation.teachers
import chirplet.stage.distillation.training
import chirplet.stage.fit.qat
import chirplet.stage.output.verify
import chirplet.stage.run.parent
import chirplet.stage.run.step_cache
from chirplet.system.progress import silence
from places import CONF

silence()

# Hydra looks for plugins and builds its parser when it composes for the first time.
with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
    compose("config", overrides=["stage=finetune"])

# scikit-learn carves the splits. PyArrow imports pandas where it is installed, as other packages may have done.
for name in ("sklearn.model_selection", "pandas"):
    with suppress(ImportError):
        importlib.import_module(name)

__all__ = ["BertForSequenceClassification", "BertTokenizer", "chirplet"]
