"""What an interrupted command says of checkpoints."""

import pytest

from chirplet.cli.interruption import interruptible
from chirplet.system.error import Interrupted


def interrupted(folder, *written):
    """The message of a run that was interrupted after it wrote checkpoints in these folders."""
    with pytest.raises(Interrupted) as caught, interruptible(folder, "hydra.run.dir=X"):
        for name in written:
            checkpoint(folder / name)
        raise KeyboardInterrupt
    return str(caught.value)


def checkpoint(folder):
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def finish(folder):
    (folder / "artifact").mkdir(parents=True)
    (folder / "artifact" / "artifact.json").write_text("")


@pytest.mark.parametrize("where", ["", "finetune", "distill/label_only_baseline"])
def test_the_checkpoint_that_was_written_is_named(tmp_path, where):
    path = tmp_path / where / "checkpoints" / "last.ckpt"
    expected = f"what was trained is in {path}, and the same command with hydra.run.dir=X resumes from it"
    assert interrupted(tmp_path, where) == f"interrupted; {expected}"


def test_a_finished_step_s_checkpoint_is_not_named(tmp_path):
    finish(tmp_path / "finetune")
    finish(tmp_path / "distill")
    assert interrupted(tmp_path, "finetune", "distill", "distill/label_only_baseline") == "interrupted"


def test_a_checkpoint_of_an_earlier_run_is_not_named(tmp_path):
    checkpoint(tmp_path)
    assert interrupted(tmp_path) == "interrupted"
