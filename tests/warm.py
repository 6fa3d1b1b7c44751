"""Everything a run imports, for processes that are forked from one that has: `forked.FORKED` starts them in no time.

Nothing is computed here: a process that has used OpenMP's threads must not be forked.
"""

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

silence()

__all__ = ["BertForSequenceClassification", "BertTokenizer", "chirplet"]
