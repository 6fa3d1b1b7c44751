import logging as levels

import pytest
from transformers.utils import logging

from chirplet.model.loading.quiet import quiet


@pytest.mark.parametrize("bars", [True, False])
def test_restores_what_was_set(bars: bool) -> None:
    before, bars_before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_info()
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
        with pytest.raises(KeyError), quiet():
            assert logging.get_verbosity() == levels.ERROR
            assert not logging.is_progress_bar_enabled()
            raise KeyError
        assert logging.get_verbosity() == levels.INFO
        assert logging.is_progress_bar_enabled() is bars
    finally:
        logging.set_verbosity(before)
        (logging.enable_progress_bar if bars_before else logging.disable_progress_bar)()
