"""Which folders patterns find, and the names of artifacts."""

import shutil

import pytest

from chirplet.artifact.artifact import Artifact
from chirplet.artifact.find import find_artifacts, names_of
from chirplet.system.error import ArtifactError
from comparisons import family, write_artifact
from records import make_record


def test_patterns_find_each_artifact_once_and_none_that_is_being_written(tmp_path):
    folders = family(tmp_path / "out")
    shutil.copytree(folders[0], folders[0].with_name(".artifact.1.tmp"))
    assert find_artifacts([f"{tmp_path}/out/*/*"]) == find_artifacts([f"{tmp_path}/out/**/artifact"]) == sorted(folders)
    assert find_artifacts([str(folders[0]), f"{tmp_path}/*/*/artifact"])[0] == folders[0]
    assert len(find_artifacts([str(folders[0]), f"{tmp_path}/*/*/artifact"])) == 3


def test_a_folder_with_signs_of_patterns_in_its_name_is_a_folder(tmp_path):
    (folder,) = [write_artifact(tmp_path / "out[1]", "a", {"test": 30})]
    assert find_artifacts([str(folder)]) == [folder]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("{}/out/*.none", "which matches no artifact"),
        ("{}/ou/**/artifact", "no folder '.*/ou'; did you mean 'out'"),
        ("{}/out/teacher", "did you mean '.*teacher/artifact'"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, pattern, told):
    family(tmp_path / "out")
    with pytest.raises(ArtifactError, match=told):
        find_artifacts([pattern.format(tmp_path)])


def test_names_are_the_shortest_ends_that_tell_folders_apart(tmp_path):
    places = [("a/x/artifact", {}), ("b/x/artifact", {}), ("b/y", {}), *_jobs("0", "1")]
    artifacts = [Artifact(tmp_path / place, make_record(**changes)) for place, changes in places]
    assert names_of(artifacts) == ["a/x", "b/x", "y", "sparsity=0.0/one", "sparsity=0.1/one"]


def _jobs(*numbers):
    """What a multirun makes: jobs that differ in one override."""
    return [
        (f"m/{number}/one/artifact", {"overrides": ["data=csv", f"pruner.sparsity=0.{number}"]}) for number in numbers
    ]


def test_jobs_are_called_by_what_they_were_given_and_by_their_number_where_that_is_the_same(tmp_path):
    given = [
        ["model=minilm", "artifact=/somewhere/a/artifact"],
        ["model=minilm", "artifact=/somewhere/b/artifact"],
        ["model=minilm", "artifact=/elsewhere/b/artifact"],
    ]
    artifacts = []
    for number, overrides in enumerate(given):
        (tmp_path / str(number) / ".hydra").mkdir(parents=True)
        (tmp_path / str(number) / ".hydra" / "overrides.yaml").write_text("".join(f"- {one}\n" for one in overrides))
        artifacts.append(Artifact(tmp_path / str(number) / "artifact", make_record(overrides=["artifact=DIR"])))
    assert names_of(artifacts) == ["artifact=a", "1: artifact=b", "2: artifact=b"]


def test_a_pattern_for_folders_of_runs_is_told_what_to_add(tmp_path):
    family(tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"matches no artifact; did you mean '.*/out/\*/artifact'\?"):
        find_artifacts([f"{tmp_path}/out/*"])
