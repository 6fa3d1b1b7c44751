"""What people see while training runs."""

import re

from checkpoints import tiny_bert
from chirplet.experiment import execute
from runs import small_run


def test_off_a_terminal_an_epoch_is_a_line(compose_config, tmp_path, capsys):
    encoder = tiny_bert(tmp_path / "encoder")
    config = compose_config(*small_run(encoder, tmp_path))
    execute(config, tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 2
    for i, line in enumerate(epochs, start=1):
        assert re.fullmatch(rf"epoch {i}/2  batch loss \d\.\d+  val/f1_macro 0\.\d+  \d+ tweets/s  \d+ s", line)
    assert not any("\x1b" in line for line in lines)
