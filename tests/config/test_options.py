"""Options of groups, those in folders of a group among them."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from chirplet.config.options import check_option, is_group, options
from chirplet.system.error import ConfigError


@pytest.fixture
def loader(tmp_path):
    for name in ("config", "model/a", "model/_base", "model/team/b", "nested/team/c"):
        (tmp_path / f"{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("{}")
    with initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def test_groups_by_their_keys(loader):
    assert [key for key in ("model", "+model@student", "nested", "seed", "model.name") if is_group(loader, key)] == [
        *("model", "+model@student", "nested")
    ]


def test_files_that_options_share_are_none(loader):
    assert options(loader, "model") == ["a", "team/b"]
    assert options(loader, "nested") == ["team/c"]
    check_option(loader, "model", "team/b")
    for name in ("_base", "team/x"):
        with pytest.raises(ConfigError, match=rf"^model: got '{name}', should be one of a, team/b"):
            check_option(loader, "model", name)
