"""Records that are damaged, or a stranger's: each is refused in one line that names the field, or works everywhere."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import chirplet
from checkpoints import tiny_bert
from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.artifact.hub import check_complete
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute, for_record, run_of
from chirplet.cli.reproduce.choices import choices
from chirplet.cli.reproduce.inputs import check_given, pinned
from chirplet.cli.reproduce.reproduce import _print_changes, check_inputs
from chirplet.cli.reproduce.settings import restored
from chirplet.cli.reproduce.verdict import print_verdict
from chirplet.report import comparison_page, pruning
from chirplet.report.candidates import open_candidates
from chirplet.report.comparison import advise, compare
from chirplet.report.comparison_csv import as_csv
from chirplet.report.comparison_table import comparison_table, markdown, notes
from chirplet.stage.distillation.student import own_start
from chirplet.stage.distillation.teachers import open_teachers
from chirplet.stage.prune import _other_runs
from chirplet.stage.run.parent import open_parent, settings_of
from chirplet.system.error import ArtifactError
from chirplet.system.error_messages import explain
from comparisons import cost
from places import CONF
from runs import small_run

WRONG: list[Any] = [None, -1, 10**30, "text", "\ud800", [], {}, {"key": 7}]
"""What may stand in place of a field: one of each type, empty and full, and numbers and texts that few can hold."""
WRONG_WITHIN: list[Any] = [None, -1, "text", [], {"key": 7}]
"""What may stand in place of a value within a field."""
UNREAD = [("data", "report"), ("data", "sizes"), ("versions",)]
"""Of what is below nothing is read."""

DRAWN = [("lineage", 0), ("training", "pruning"), ("training", "teachers"), ("metrics", "test", "per_class")]
"""What pages read; one takes a second, so of each one change is drawn."""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A teacher, and a student whose record has all that any stage writes."""
    folder = tmp_path_factory.mktemp("records")
    encoder = tiny_bert(folder / "encoder")
    (folder / "more.csv").write_text("text\na day\nanother day\n", encoding="utf-8")
    few = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "logger=none", "data.folds=4"]
    common = [*small_run(encoder, folder), *few]
    learning = ["stage=distill", f"teacher={folder}/teacher/artifact", f"unlabeled_files={folder}/more.csv"]
    for name, overrides in {"teacher": ["stage=finetune"], "student": learning}.items():
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            execute(compose("config", overrides=[*common, *overrides]), folder / name, [*common, *overrides])
    return folder


def part(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names}


@pytest.fixture(scope="module")
def record(base) -> dict[str, Any]:
    """What code reads of the student's, as if it had been measured, pruned and made from an artifact too."""
    written: dict[str, Any] = json.loads((base / "student" / "artifact" / RECORD).read_text(encoding="utf-8"))
    compared_with = {"times_texts_per_s": 2.0, "times_latency": 2.0, "times_bytes": 0.5}
    written["cost"] = cost(1.0, 2.0, 3.0) | {"compared_with": compared_with, "device": "cpu", "mb": 1.0}
    written["cost"]["gpu"] = {"latency_ms": {"p50": 1.0, "p95": 2.0}, "texts_per_s": 4.0}
    written["settings"] = {"pruner": {"sparsity": 0.5}}
    written["parent"] = "a" * 64
    written["metrics"] = {"test": written["metrics"]["test"] | {"confusion_matrix": []}}
    training, config = written["training"], written["config"]
    baseline = part(training["label_only_baseline"]["test"], "accuracy", "difference")
    training = part(training, "threads", "teachers", "texts", "device") | {"label_only_baseline": {"test": baseline}}
    training["teachers"] = {name: part(teacher, "stage") for name, teacher in training["teachers"].items()}
    written["training"] = training | {"final": False, "runtime": "pytorch", "pruning": {"reached": 0.5}}
    config["data"] = part(config["data"], "_target_", "train", "val", "repair", "folds", "fold")
    written["config"] = part(config, "data", "stage", "trainer", "callback", "student")
    assert Record.model_validate(written).training["label_only_baseline"]["test"]["difference"]
    return written


@pytest.fixture(scope="module")
def openers(base, tmp_path_factory) -> dict[str, Callable[[Path], object]]:
    """What each stage does with a record that it is given."""
    out = tmp_path_factory.mktemp("out")
    given = [*small_run(base / "encoder", base), "data.folds=4", "logger=none"]
    given = [override for override in given if not override.startswith("stage.")]
    sound = Artifact.open(base / "teacher" / "artifact")

    def composed(*overrides: str) -> Any:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            return compose("config", overrides=[*given, *overrides])

    plain = composed("stage=finetune")
    run = run_of(parse(plain), out / "run", for_record(plain))
    corpus = open_parent(run, str(sound.folder)).data.corpus

    def compared(folder: Path) -> None:
        comparisons = [compare(group, None, seed=0) for group in open_candidates([sound.folder, folder], None)]
        assert sum(comparison_table(one).row_count for one in comparisons) == 2 and all(map(notes, comparisons))
        assert as_csv(comparisons) and markdown(comparisons)
        for one in comparisons:
            advise(one, 0.01)

    def child(folder: Path) -> None:
        parent = open_parent(run, str(folder))
        Record.model_validate(sound.record.model_dump() | {"lineage": parent.lineage, "training": parent.inherited})

    def taught(folder: Path) -> None:
        for combine, out_of_fold in (("mean", False), ("validation", False), ("mean", True)):
            teachers = open_teachers([str(folder), str(sound.folder)], corpus, run, combine, out_of_fold, False)
            assert teachers.title() and teachers.summary(corpus)

    @cache
    def composed_again(*overrides: str) -> Any:
        return composed(*overrides)

    def repeated(folder: Path) -> None:
        recorded = Artifact.open(folder).record
        own = ["teacher", "unlabeled_files", "data.train", "cache_dir"]
        files = [f"teacher={sound.folder}", f"unlabeled_files={base}/more.csv", f"reproduce={folder}"]
        again = restored(composed_again(*choices(recorded), *files), recorded.config, own)
        check_given(again, recorded, own)
        experiment = parse(pinned(again, recorded, own))
        _print_changes(for_record(again), recorded.config)
        print_verdict(recorded, sound.record, "name")
        check_inputs(experiment, recorded, own)

    def started_from(folder: Path) -> None:
        assert own_start(settings_of(Artifact.open(folder)), None, corpus, run, True).lineage

    return {
        "compare": compared,
        "load": lambda folder: chirplet.load(folder)(["a day"]),
        "prune and quantize": child,
        "distill": taught,
        "reproduce": repeated,
        "finetune": started_from,
        "push": check_complete,
    }


@pytest.fixture(scope="module")
def pages(base) -> Callable[[Path], None]:
    """What draws figures, which takes a second: the pages of a comparison, and of what is pruned from the artifact."""
    teacher = base / "teacher" / "artifact"

    def drawn(folder: Path) -> None:
        comparison = compare(open_candidates([teacher, folder], None)[0], None, seed=0)
        comparison_page.page([comparison_page.Section(comparison, None, None)])
        other = Artifact.open(folder).record
        pruned = {"training": {"pruning": {"sparsity": {}, "reached": 0.1}}}
        pruned |= {"settings": {"pruner": {"sparsity": 0.1}, "recovery": "none", "curve_texts": 9}}
        own = other.model_copy(update=pruned | {"id": "b" * 64})
        pruning.page(own, other, _other_runs(own, folder.parents[1]))

    return drawn


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands, outermost first; of a list the first item, of the configuration what lies not too deep."""
    if path:
        yield path
    inside = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, value in inside:
        if path not in UNREAD and (path[:1] != ("config",) or path in (("config",), ("config", "data"))):
            yield from places(value, (*path, key))


@dataclass(frozen=True)
class Change:
    """Another value at a place in a record, or none there."""

    path: tuple[Any, ...]
    value: Any

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))} is {self.value!r}"

    def overlaps(self, other: "Change") -> bool:
        return all(mine == its for mine, its in zip(self.path, other.path, strict=False))


def changed(record: dict[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """A copy of the record with these changes, of which none overlaps another."""
    copied = copy.deepcopy(record)
    for change in changes:
        node: Any = copied
        for key in change.path[:-1]:
            node = node[key]
        if change.value is ...:
            del node[change.path[-1]]
        else:
            node[change.path[-1]] = change.value
    return copied


def together(changes: Sequence[Change]) -> list[list[Change]]:
    """The changes in few groups without overlaps."""
    groups: list[list[Change]] = []
    for change in changes:
        free = (group for group in groups if not any(change.overlaps(other) for other in group))
        group = next(free, None)
        if group is None:
            groups.append([change])
        else:
            group.append(change)
    return groups


@pytest.mark.parametrize("field", Record.model_fields)
def test_a_record_works_everywhere_or_is_refused_in_one_line(base, record, openers, pages, field, tmp_path):
    folder = Path(shutil.copytree(base / "student" / "artifact", tmp_path / "x" / "artifact"))
    accepted = []
    for path in places({field: record[field]}):
        for value in [*(WRONG if len(path) == 1 else WRONG_WITHIN), ...]:
            change = Change(path, value)
            if (refusal := refused(record, [change], folder)) is None:
                accepted.append(change)
            else:
                assert "\n" not in refusal and field in refusal, change
    faults = []
    for group in together(accepted):
        for name, opener in openers.items():
            faults += [f"{name}: {one}" for one in found(opener, record, group, folder)]
    drawn = {change.path: change for change in accepted if change.path in DRAWN}
    faults += [f"pages: {one}" for change in drawn.values() for one in found(pages, record, [change], folder)]
    assert not faults, "\n".join(faults)


def refused(record: dict[str, Any], changes: Sequence[Change], folder: Path) -> str | None:
    """Write the changed record to the folder; what is said against it when it is opened."""
    (folder / RECORD).write_text(json.dumps(changed(record, changes)), encoding="utf-8")
    try:
        Artifact.open(folder)
    except ArtifactError as error:
        return str(error)
    return None


def found(
    opener: Callable[[Path], object], record: dict[str, Any], changes: Sequence[Change], folder: Path
) -> list[str]:
    """What goes wrong with a change that is not the user's fault.

    All are made at once. Where that does not work, each half of them is, since one change may hide another.
    """
    if refused(record, changes, folder) is None:
        try:
            opener(folder)
        except Exception as error:
            if len(changes) == 1:
                told = explain(error)
                said = told is not None and bool(told[0].strip())
                return [] if said else [f"{changes[0]}: {type(error).__name__}: {error}"]
        else:
            return []
    half = len(changes) // 2
    return [*found(opener, record, changes[:half], folder), *found(opener, record, changes[half:], folder)]
