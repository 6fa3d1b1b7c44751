"""Everything a run imports, for processes that are forked from one that has: `forked.FORKED` starts them in no time.

Nothing is computed here: a process that has used OpenMP's threads must not be forked.
"""

from transformers import BertForSequenceClassification, BertTokenizer

import chirplet.experiment
import chirplet.predictor
import chirplet.runtime.pytorch
import chirplet.stage.lesson
import chirplet.stage.memory
import chirplet.stage.parent
import chirplet.stage.proof
import chirplet.stage.rounding
import chirplet.stage.student
import chirplet.stage.teachers
import chirplet.stage.teaching

__all__ = ["BertForSequenceClassification", "BertTokenizer", "chirplet"]
