"""What an artifact was made for must be what the run asks for."""

from types import SimpleNamespace

import pytest

from chirplet.artifact.artifact import Artifact
from chirplet.stage.run.compatibility import check_task
from chirplet.system.error import ArtifactError
from chirplet.task.single_label import SingleLabel
from records import make_record


class Thresholded(SingleLabel):
    """Another task, with a setting."""

    threshold: float


def test_an_artifact_of_another_task_is_refused_with_the_overrides_that_name_it(tmp_path):
    artifact = Artifact(tmp_path, make_record(task=Thresholded(threshold=0.25)))
    with pytest.raises(ArtifactError, match=r"teacher: .*task=single_label; should be task=.* task\.threshold=0\.25"):
        check_task(artifact, SimpleNamespace(task=SingleLabel()), key="teacher")
    with pytest.raises(ArtifactError, match=r"^artifact: "):
        check_task(artifact, SimpleNamespace(task=Thresholded(threshold=0.5)))
    check_task(artifact, SimpleNamespace(task=Thresholded(threshold=0.25)))
