"""A folder that transformers.js opens, in Node and in browsers: https://huggingface.co/docs/transformers.js.

The tokenizer cleans texts as in training. It truncates a longer text without the special token at its end, which
transformers.js cuts off.
"""

import json
import shutil
from pathlib import Path

from tokenizers import Tokenizer

from chirplet.artifact.artifact import CARD, Artifact, atomic_folder
from chirplet.data.batching.tokens import read_as_written
from chirplet.data.preparation.normalizers import NORMALIZERS, clean_inside
from chirplet.runtime.onnxruntime import MODEL
from chirplet.runtime.open import open_runtime, runtime_of
from chirplet.runtime.tokenizer import FILE, FileTokenizer, open_tokenizer
from chirplet.system.command_line import command, override_of
from chirplet.system.console import shown_path
from chirplet.system.error import ArtifactError

INSTALL = "npm install @huggingface/transformers"
MODELS = {"fp32": ("fp32", "model.onnx"), "int8": ("q8", "model_quantized.onnx"), "int4": ("q4", "model_q4.onnx")}
"""The `dtype` and the file of a model in transformers.js, by the type of its weights."""
MODEL_TYPES = (
    *("albert", "bart", "bert", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "esm"),
    *("eurobert", "mbart", "mobilebert", "modernbert", "mpnet", "neobert", "roberta", "roformer", "squeezebert", "xlm"),
    "xlm-roberta",
)
"""`model_type` of the classifiers that transformers.js 4.3 opens."""


def write_folder(artifact: Artifact, folder: Path, threads: int | None, verify: bool) -> None:
    """Write the artifact's model, configuration and tokenizer to `folder`, with a README.md that says how to open it.

    Raises:
        ArtifactError: transformers.js cannot open such a model or clean as in training, or the folder cannot be
            written. Says what works.
        ModelError: the model or tokenizer is damaged, or the model does not reproduce its probe here.
    """
    tokenizer = _checked(artifact)
    precision = open_runtime(
        artifact.folder, accelerator="cpu", threads=threads, precision="auto", verify=verify
    ).precision
    dtype, name = MODELS[precision.partition("/")[0]]
    config = json.loads((artifact.folder / "config.json").read_text(encoding="utf-8"))
    config["transformers.js_config"] = {"dtype": dtype}
    with atomic_folder(folder) as temporary:
        (temporary / "onnx").mkdir()
        shutil.copyfile(artifact.folder / MODEL, temporary / "onnx" / name)
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(artifact.folder / "tokenizer_config.json", temporary / "tokenizer_config.json")
        read_as_written(temporary)
        tokenizer.save(str(temporary / FILE))
        (temporary / CARD).write_text(_readme(artifact, folder), encoding="utf-8")


def in_node(path: str) -> str:
    """The lines of JavaScript that open an exported folder in Node."""
    return (
        'import { pipeline } from "@huggingface/transformers";\n'
        f'const classify = await pipeline("text-classification", {json.dumps(path, ensure_ascii=False)});\n'
        'console.log(await classify("a text"));'
    )


def _checked(artifact: Artifact) -> Tokenizer:
    """The artifact's tokenizer, which cleans as in training; checks that transformers.js can open the rest.

    Raises:
        ArtifactError, ModelError: as `write_folder`.
    """
    record, folder = artifact.record, artifact.folder
    kind = runtime_of(folder)
    if kind != "onnxruntime":
        source = override_of("artifact", shown_path(folder)) if kind == "pytorch" else "artifact=DIR"
        first = command("stage=quantize", "quantizer=onnx_int8", source)
        other = "" if kind == "pytorch" else " of the artifact that it was made from"
        raise ArtifactError(
            f"artifact: {str(folder)!r} is for {kind}, should be for onnxruntime, which transformers.js runs; "
            f"{first} makes one{other}"
        )
    if record.cleaning not in NORMALIZERS:
        raise ArtifactError(
            f"artifact: {str(folder)!r} cleans texts with {record.cleaning}, which is Python alone; should be trained "
            f"with model.cleaning={', '.join([*NORMALIZERS][:-1])} or {[*NORMALIZERS][-1]}"
        )
    tokenizer, _ = open_tokenizer(folder, record.max_length)
    if not isinstance(tokenizer, FileTokenizer):
        raise ArtifactError(
            f"artifact: {str(folder)!r} has BERTweet's tokenizer, which is Python alone; should be an artifact with a "
            f"{FILE}, of another model"
        )
    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if model_type not in MODEL_TYPES:
        raise ArtifactError(
            f"artifact: {str(folder)!r} is a model of type {model_type!r}, which transformers.js has no classifier "
            f"for; should be {', '.join(MODEL_TYPES)}"
        )
    clean_inside(tokenizer, record.cleaning)
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer.backend_tokenizer


def _readme(artifact: Artifact, folder: Path) -> str:
    record = artifact.record
    return f"""# A text classifier for transformers.js

The chirplet artifact `{record.id[:12]}`. Texts are cleaned by its tokenizer as in training; texts longer than
{record.max_length} tokens are truncated.

`{INSTALL}`, and in Node, with the path of this folder:

```js
{in_node(f"./{folder.name}")}
```

In a browser, with this folder served below `/models/`:

```js
import {{ env, pipeline }} from "@huggingface/transformers";
env.allowLocalModels = true;
env.allowRemoteModels = false;
env.localModelPath = "/models/";
const classify = await pipeline("text-classification", "{folder.name}");
console.log(await classify("a text"));
```
"""
