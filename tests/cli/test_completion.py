"""The shell is not offered what is no option."""

from chirplet.cli.completion import only_options


def test_files_that_options_share_are_left_out(capsys):
    with only_options():
        print("stage=_training stage=chain", "model@student=_pretrained", "model=team/_base", "data.text_column=_text")
    assert capsys.readouterr().out.split() == ["stage=chain", "data.text_column=_text"]
