"""Small but real runs: real texts, a small BERT, everything else as configured."""

from pathlib import Path

from places import SAMPLE

WHOLE = "trainer.limit_train_batches=1.0"
"""Every training text in every epoch: 36 steps."""


def small_run(encoder: Path, folder: Path) -> list[str]:
    """Overrides for 18 steps on the sample's texts from the checkpoint in `encoder`, with its cache in `folder`."""
    return [
        "model=local",
        f"model.name_or_path={encoder}",
        "model.cleaning=twitter_roberta",
        "model.max_length=40",
        "data=csv",
        f"data.train={SAMPLE}",
        "data.text_column=text",
        "data.label_column=sentiment",
        f"cache_dir={folder}/cache",
        "deterministic=true",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=9",
        "trainer.log_every_n_steps=5",
        "trainer.precision=32-true",
        "stage.measure_cost=false",
    ]
