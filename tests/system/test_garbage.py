"""The garbage collector of a command."""

import gc

from omegaconf import OmegaConf

from chirplet.cli.run_folder import RunFolder


def test_garbage_is_collected_as_soon_as_a_run_begins(tmp_path):
    folder = RunFolder()
    config = OmegaConf.create({"hydra": {"run": {"dir": str(tmp_path)}}})
    gc.disable()
    try:
        folder.on_run_start(config)
        assert gc.isenabled() and gc.get_freeze_count() > 0
        gc.unfreeze()
        folder.on_run_start(config)  # in a process that collects it anyway
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()
        gc.unfreeze()
        folder.on_run_end(config)
