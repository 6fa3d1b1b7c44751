"""What people see while training runs."""

import re

from checkpoints import tiny_bert
from chirplet.cli.experiment import execute
from runs import small_run


def test_off_a_terminal_an_epoch_is_a_line(compose_config, tmp_path, capsys):
    encoder = tiny_bert(tmp_path / "encoder")
    config = compose_config(*small_run(encoder, tmp_path), "callback.progress.line_s=1e6")
    execute(config, tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 2
    for i, line in enumerate(epochs, start=1):
        assert re.fullmatch(rf"epoch {i}/2  batch loss \d\.\d+  val/f1_macro 0\.\d+  \d+ texts/s  \d+ s", line)
    assert not any("\x1b" in line for line in lines)


def test_off_a_terminal_lines_tell_what_is_left(compose_config, tmp_path, capsys):
    config = compose_config(*small_run(tiny_bert(tmp_path / "encoder"), tmp_path), "callback.progress.line_s=1e-6")
    execute(config, tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert "epoch 1/2  validating: 100%" in lines
    told = [line for line in lines if line.startswith("epoch ") and " left " in line]
    assert len(told) == 18
    for step, line in enumerate(told, start=1):
        best = "" if step < 10 else r"  best val/f1_macro 0\.\d+"
        epoch, share = 1 + (step - 1) // 9, round(100 * step / 18)
        assert re.fullmatch(rf"epoch {epoch}/2  {share}%  0:00:\d\d left  \d+ texts/s  loss \d\.\d+{best}", line), line
    assert " 0:00:00 left " in told[-1]
