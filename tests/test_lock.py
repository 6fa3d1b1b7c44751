"""requirements.lock, which CI installs by hash, agrees with pyproject.toml."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from places import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def locked() -> dict[str, str]:
    """Versions by name."""
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+) \\$", LOCK, re.M)}


def asked(extra: str) -> list[Requirement]:
    """The requirements of an extra, and of the extras that it refers to."""
    requirements = []
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == PROJECT["name"]:
            requirements += [inner for name in requirement.extras for inner in asked(name)]
        else:
            requirements.append(requirement)
    return requirements


def test_every_requirement_is_locked_to_a_version_that_it_allows():
    versions = locked()
    wanted = [*map(Requirement, PROJECT["dependencies"]), *asked("dev"), *asked("audit")]
    stale = [str(one) for one in wanted if not one.specifier.contains(versions.get(canonicalize_name(one.name), "0"))]
    assert not stale, "run .ci/lock"


def test_every_version_has_a_hash():
    entries = re.split(r"^(?=[\w.-]+==)", re.sub(r"^#.*\n", "", LOCK, flags=re.M), flags=re.M)[1:]
    assert len(entries) == len(locked()) > 100
    assert [entry.partition(" ")[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []
