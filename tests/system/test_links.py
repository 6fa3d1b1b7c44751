"""Links in an artifact's folder lead to files of it, or into the hub's own cache."""

import pytest

from chirplet.artifact.artifact import check_folder
from chirplet.system.error import ArtifactError
from chirplet.system.links import link_outside


@pytest.mark.parametrize(
    ("name", "target", "opens"),
    [
        ("file", "inside", True),
        ("below/file", "../inside", True),
        ("file", "../outside", False),
        ("file", "/etc/hostname", False),
        ("below/file", "../../outside", False),
        ("file", "nowhere", False),
        ("file", "file", False),
        ("folder", "..", False),
        ("folder", "below", False),
        ("file", "hop", False),
    ],
)
def test_links_lead_to_files_of_the_folder(tmp_path, name, target, opens):
    folder = tmp_path / "artifact"
    (folder / "below").mkdir(parents=True)
    for path in (folder / "artifact.json", folder / "inside", tmp_path / "outside"):
        path.write_text("{}")
    if target == "hop":
        (folder / "hop").symlink_to("../outside")
    (folder / name).symlink_to(target)
    told = link_outside(folder, hub_cache=True)
    assert told == (None if opens else "file" if target == "hop" else name)
    (tmp_path / "other").symlink_to(folder)  # the folder itself may be one
    if opens:
        assert check_folder(tmp_path / "other")
    else:
        with pytest.raises(ArtifactError, match=f"{name} is a link to something outside that folder"):
            check_folder(tmp_path / "other")


@pytest.mark.parametrize("planted", ["blob", "blobs"])
def test_a_cache_that_links_on_is_no_hub_s(tmp_path, planted):
    """The hub's own client never makes such links; who unpacks a stranger's archive might find them."""
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("key")
    blobs = tmp_path / "models--a--b" / "blobs"
    if planted == "blobs":
        blobs.symlink_to(tmp_path / "secrets")
    else:
        blobs.mkdir()
        (blobs / "key").symlink_to(tmp_path / "secrets" / "key")
    (snapshot / "README.md").symlink_to("../../blobs/key")
    assert link_outside(snapshot, hub_cache=True) == "README.md"
