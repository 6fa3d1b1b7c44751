"""Workers of a sweep get disjoint GPUs. The tests check environment variables, so they need no GPU."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
import torch
from optuna.distributions import CategoricalDistribution

from chirplet.sweep.trial import gpus
from chirplet.sweep.trial.gpus import gpu_count, split_gpus, visible_gpus, worker_gpus
from chirplet.sweep.trial.pool import Pool
from chirplet.system.error import ConfigError
from sweeps import here, wait_until

MIG = ["MIG-3a5c0001-0000-0000-0000-000000000000", "MIG-GPU-9b11/7/0"]
UUIDS = ["GPU-5d5ba0d6", "GPU-0c8e4a11"]


@pytest.fixture
def machine(monkeypatch):
    """A machine with `count` GPUs and the given CUDA_VISIBLE_DEVICES."""

    def made(count, named=None):
        monkeypatch.setattr(gpus, "gpu_count", lambda: count)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if named is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)

    return made


@pytest.mark.parametrize(
    ("named", "count", "names"),
    [
        (None, 0, []),
        (None, 3, ["0", "1", "2"]),
        ("", 0, []),
        ("-1", 0, []),
        ("2,0", 2, ["2", "0"]),
        (" 2 , 0 ", 2, ["2", "0"]),
        ("1,0,-1,2", 2, ["1", "0"]),
        ("0,1", 0, []),
        (",".join(UUIDS), 2, UUIDS),
        # A process sees only one MIG instance.
        (",".join(MIG), 1, MIG),
        (f"{MIG[0]},,{MIG[1]}", 1, MIG[:1]),
        (",".join(MIG), 0, []),
    ],
)
def test_visible_gpus_have_the_users_names(named, count, names):
    assert visible_gpus(named, count) == names


@pytest.mark.parametrize(
    ("names", "workers", "devices", "share", "parts"),
    [
        ("0123", 4, 1, False, ["0", "1", "2", "3"]),
        ("0123", 2, 1, False, ["01", "23"]),
        ("0123", 2, 2, False, ["01", "23"]),
        ("01234", 2, 1, False, ["01", "23"]),
        ("0123", 3, 1, False, ["0", "1", "2"]),
        ("01", 2, 1, True, ["0", "1"]),
        ("01", 4, 1, True, ["0", "1", "0", "1"]),
        ("01", 3, 1, True, ["0", "1", "0"]),
        ("012", 2, 2, True, ["01", "20"]),
        ("0", 2, 2, True, ["0", "0"]),
        ("", 3, 1, False, ["", "", ""]),
    ],
)
def test_gpus_are_split(names, workers, devices, share, parts):
    assert split_gpus(names, workers, devices, share) == [list(part) for part in parts]


@pytest.mark.parametrize(
    ("names", "workers", "devices", "most"), [("01", 4, 1, 2), ("0", 2, 1, 1), ("0123", 3, 2, 2), ("01", 2, 4, 1)]
)
def test_fewer_gpus_than_workers_are_refused_with_the_count(names, workers, devices, most):
    with pytest.raises(ConfigError) as caught:
        split_gpus(names, workers, devices, share=False)
    assert str(caught.value) == (
        f"hydra.sweeper.n_jobs: got {workers}, should be at most {most} (visible GPUs: {len(names)}, each worker needs "
        f"{min(devices, len(names))}); hydra.sweeper.share_gpus=true lets workers share, trainer=cpu needs none"
    )


class TestTrainer:
    """GPUs are counted only if a trial may train on one."""

    def of(self, make_plan, config, workers=2, space=None):
        return worker_gpus(make_plan(config=config, **({} if space is None else {"space": space})), workers, False)

    @pytest.mark.parametrize("accelerator", ["auto", "gpu"])
    def test_each_worker_has_a_gpu(self, make_plan, machine, accelerator):
        machine(2, ",".join(UUIDS))
        config = {"trainer": {"accelerator": accelerator, "devices": 1}}
        assert self.of(make_plan, config) == [{"CUDA_VISIBLE_DEVICES": name} for name in UUIDS]

    def test_a_worker_that_trains_on_two_has_two(self, make_plan, machine):
        machine(4)
        config = {"trainer": {"accelerator": "auto", "devices": 2}}
        assert [one["CUDA_VISIBLE_DEVICES"] for one in self.of(make_plan, config)] == ["0,1", "2,3"]
        with pytest.raises(ConfigError, match="got 3, should be at most 2"):
            self.of(make_plan, config, workers=3)

    @pytest.mark.parametrize(
        ("config", "workers"),
        [
            ({"trainer": {"accelerator": "cpu", "devices": 1}}, 4),
            ({"trainer": {"accelerator": "mps", "devices": 1}}, 4),
            ({"trainer": {"accelerator": "auto", "devices": 1}}, 1),
            ({"seed": 1}, 4),
            ({"trainer": "an application's own"}, 4),
        ],
    )
    def test_without_use_or_with_one_worker_none_is_counted(self, make_plan, monkeypatch, config, workers):
        monkeypatch.setattr(gpus, "gpu_count", None)
        assert self.of(make_plan, config, workers) == [{}] * workers

    @pytest.mark.parametrize("key", ["trainer", "+trainer", "trainer.accelerator"])
    def test_a_searched_trainer_may_use_gpus(self, make_plan, machine, key):
        machine(2)
        config = {"trainer": {"devices": 1}} if "." in key else {}
        space = {key: CategoricalDistribution(["cpu", "gpu"])}
        assert self.of(make_plan, config, space=space) == [{"CUDA_VISIBLE_DEVICES": name} for name in "01"]

    @pytest.mark.parametrize(("overrides", "used"), [([], True), (["trainer=gpu"], True), (["trainer=cpu"], False)])
    def test_the_command_line_counts(self, planned, machine, overrides, used):
        machine(2)
        expected = [{"CUDA_VISIBLE_DEVICES": name} for name in "01"] if used else [{}, {}]
        assert worker_gpus(planned("search=finetune", *overrides), 2, False) == expected

    def test_without_gpus_nothing_is_set(self, make_plan, machine):
        machine(0, "0,1")
        assert self.of(make_plan, {"trainer": {"accelerator": "auto", "devices": 1}}, 4) == [{}] * 4


class TestCount:
    def test_it_is_torchs_count_and_the_parent_does_not_import_torch(self, tmp_path):
        code = (
            "import sys; from pathlib import Path; from chirplet.sweep.trial import gpus; gpus.DRIVERS = (Path('/'),); "
            "print(gpus.gpu_count(), 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(torch.cuda.device_count()), "False"]

    def test_without_a_driver_no_process_is_started(self, monkeypatch, tmp_path):
        monkeypatch.setattr(gpus, "DRIVERS", (tmp_path / "nvidiactl",))
        monkeypatch.setattr(subprocess, "run", None)
        assert gpu_count() == 0


@dataclass
class Reporting:
    """A worker that records its GPUs; each is killed once and then runs to its end."""

    folder: Path

    def work(self):
        had = self.folder / os.environ["CUDA_VISIBLE_DEVICES"]
        if not had.exists():
            had.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        had.write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {'torch' in sys.modules}")


def test_a_replacement_worker_gets_the_same_gpus(tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    claims = SimpleNamespace(fail_worker=lambda pid, reason: True)
    try:
        with Pool(2) as pool:
            pool.run(Reporting(tmp_path), claims, [{"CUDA_VISIBLE_DEVICES": name} for name in (UUIDS[0], "0,1")])
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: f"{name} False" for name in (UUIDS[0], "0,1")
    }


class TestSweep:
    def test_simultaneous_trials_have_disjoint_gpus(self, tmp_path, machine):
        machine(1, ",".join(MIG))
        gate, ledger = tmp_path / "gate", tmp_path / "ledger"

        def open_gate():
            wait_until(lambda: ledger.exists() and len(ledger.read_text().split()) == 2)
            gate.touch()

        watch = threading.Thread(target=open_gate, daemon=True)
        watch.start()
        overrides = ["hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=2", f"gate={gate}", f"ledger={ledger}"]
        here(tmp_path / "sweep", *overrides, "+trainer={accelerator: auto, devices: 1}", isolate=True)
        printed = [(tmp_path / f"sweep/{number}/output.log").read_text() for number in range(2)]
        assert sorted(name for text in printed for name in MIG if f"'CUDA_VISIBLE_DEVICES': '{name}'" in text) == MIG

    TWO = ("hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=1", "+trainer={accelerator: gpu, devices: 1}")

    def test_too_few_are_refused_before_the_study_is_created(self, tmp_path, machine):
        machine(1)
        with pytest.raises(ConfigError, match=r"^hydra.sweeper.n_jobs: got 2, should be at most 1 "):
            here(tmp_path, *self.TWO, isolate=True)
        assert list(tmp_path.iterdir()) == []

    def test_too_few_may_be_shared(self, tmp_path, machine):
        machine(1)
        here(tmp_path, *self.TWO, "hydra.sweeper.share_gpus=true", isolate=True)
        assert "'CUDA_VISIBLE_DEVICES': '0'" in (tmp_path / "0" / "output.log").read_text()
