"""What no method can quantize is refused by the configuration alone."""

import pytest
from transformers import AutoConfig

from chirplet.quantizer.trial.small_model import check_share, trial_model
from chirplet.system.error import QuantizationError
from quantizing import QUANTIZERS, quantizer
from tiny_encoders import tiny_encoder

SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 60}
GRAPHS = ("onnx_int8", "int4_weights", "openvino_int8", "openvino_int8_weights", "qat")


@pytest.mark.parametrize("name", GRAPHS)
def test_an_activation_that_onnx_cannot_express(name):
    with pytest.raises(QuantizationError, match="type 'distilbert' with activation='prelu', should be one of gelu, "):
        quantizer(name).check(AutoConfig.for_model("distilbert", activation="prelu"))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_other_activations_are_accepted(name):
    quantizer(name).check(AutoConfig.for_model("roberta", hidden_act="gelu_new"))


@pytest.mark.parametrize("name", ["onnx_int8", "torch_int8"])
def test_weights_outside_linear_layers(name):
    config = AutoConfig.for_model("ibert", num_hidden_layers=2, **SMALL)
    with pytest.raises(QuantizationError, match=r"type 'ibert' only \d+% are in linear layers, which int8 and int4"):
        quantizer(name).check(config)
    quantizer("bf16").check(config)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_model_that_cannot_compute_in_sixteen_bits(name):
    config = AutoConfig.for_model("deberta", num_hidden_layers=2, **SMALL)
    with pytest.raises(QuantizationError, match=f"got {name}, but models of type 'deberta' cannot compute in it"):
        quantizer(name).check(config)
    quantizer("torch_int8").check(config)


def test_only_unknown_architectures_are_tried_and_small():
    assert trial_model(AutoConfig.for_model("bert")) is None
    model = trial_model(AutoConfig.for_model("ernie", num_hidden_layers=7, **SMALL))
    assert len(model.base_model.encoder.layer) == 1
    assert model.config.hidden_size == 32 and model.config.vocab_size == 2


def test_the_share_of_weights_in_linear_layers():
    model = tiny_encoder("bert")
    linears = [name for name, module in model.named_modules() if type(module).__name__ == "Linear"]
    check_share(model, linears)
    with pytest.raises(QuantizationError, match="only 32% are in linear layers"):
        check_share(model, linears[: len(linears) // 3])
