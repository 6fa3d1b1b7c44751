"""Norms of a layer's inputs."""

import torch

from chirplet.pruner.wanda import Wanda, input_norms


def test_norms_are_those_of_single_texts_without_padding(model, calibration):
    name = "bert.encoder.layer.1.output.dense"
    actual = input_norms(model, calibration, [name])[name]
    states: list[torch.Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, inputs: states.append(inputs[0][0]))
    with torch.inference_mode():
        for i in range(len(calibration.tokens)):
            model(input_ids=torch.tensor(calibration.tokens[i][None].astype("int64")))
    hook.remove()
    torch.testing.assert_close(actual, torch.cat(states).norm(dim=0), rtol=1e-4, atol=1e-4)


def test_an_input_that_is_always_zero_goes_first_however_large_its_weight(model, calibration):
    dense = model.bert.encoder.layer[0]
    with torch.no_grad():
        # GELU of a large negative number is 0.
        dense.intermediate.dense.weight[5], dense.intermediate.dense.bias[5] = 0.0, -100.0
        dense.output.dense.weight[:, 5] = 100.0
    wanda = Wanda(sparsity=0.25, scope="body", schedule="one_shot", ramp_fraction=0.5, every_steps=1)
    mask = wanda.masks(model, calibration, 0.25)["bert.encoder.layer.0.output.dense.weight"]
    assert not mask[:, 5].any()
    assert (~mask).sum(dim=1).unique().tolist() == [16]  # a quarter of each row's 64
