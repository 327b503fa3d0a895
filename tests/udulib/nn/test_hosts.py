"""Modules that read a layer's weight, or save a layer: what they compute with UDV layers inside is what the layers do."""

import copy

import pytest
import torch
from torch import nn

import udulib.nn as un
from udulib import InputError
from udulib.compress import compress


def encoder_layer(**settings):
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0, **settings)


def encoder():
    return nn.TransformerEncoder(encoder_layer(), 2, enable_nested_tensor=True)


MODELS = {
    "layer": encoder_layer,
    "layer, gelu": lambda: encoder_layer(activation="gelu"),
    "encoder": encoder,
    "transformer": lambda: nn.Transformer(32, 4, 1, 1, 64, dropout=0.0, batch_first=True),
}


def outputs(model, x, **more):
    """In train mode, in eval mode, and in eval mode without gradients, where PyTorch fuses."""
    inputs = (x, x) if isinstance(model, nn.Transformer) else (x,)
    found = [model.train()(*inputs, **more), model.eval()(*inputs, **more)]
    with torch.no_grad():
        return [*found, model(*inputs, **more)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_converted_encoders_compute_the_same_in_every_mode(name, activation):
    model = un.convert(MODELS[name](), hidden=8, activation=activation)
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(1))
    train, evaluated, fused = outputs(model, x)
    torch.testing.assert_close(evaluated, train, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused, train, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # of a plain encoder as well
@pytest.mark.parametrize("activation", [None, "relu"])
def test_a_padded_batch_in_eval_mode(activation):
    """Where an encoder would go over to nested tensors."""
    model = un.convert(encoder(), hidden=8, activation=activation)
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    train, _, fused = outputs(model, x, src_key_padding_mask=padding)
    torch.testing.assert_close(fused[~padding], train[~padding], atol=1e-5, rtol=1e-5)


def test_a_layer_put_in_by_hand_is_read_right():
    layer = encoder_layer()
    layer.linear2 = un.UDVLinear(64, 32, hidden=4, bias=True)
    train, evaluated, fused = outputs(layer, torch.randn(2, 3, 32))
    torch.testing.assert_close(fused, train, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(evaluated, train, atol=1e-5, rtol=1e-5)


# Saving ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pretrained():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1}
    return transformers.BertModel(transformers.BertConfig(vocab_size=50, **sizes)).eval()


def converted(model, **settings):
    return un.convert(model, hidden=6, skip=["pooler.dense"], **settings)


def test_a_converted_model_refuses_save_pretrained(pretrained, tmp_path):
    model = converted(pretrained)
    with pytest.raises(InputError, match=r"random weights.*state_dict"):
        model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="random weights"):
        copy.deepcopy(model).save_pretrained(tmp_path)  # a copy refuses for itself
    assert list(tmp_path.iterdir()) == []


def test_its_state_dict_loads_into_a_model_converted_alike(pretrained):
    ids, twin = torch.arange(8)[None], converted(copy.deepcopy(pretrained))
    model = converted(pretrained)
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(twin(ids).last_hidden_state, model(ids).last_hidden_state)


def test_compressed_to_one_matrix_it_is_saved_and_read_back(pretrained, tmp_path):
    ids, model = torch.arange(8)[None], converted(pretrained, start="svd")
    for name, layer in un.udv_modules(model).items():
        small = compress(layer, tol=0, batch=1).layer
        whole = nn.Linear(layer.in_features, layer.out_features)
        whole.weight.data, whole.bias = layer.weight.detach(), layer.bias
        model.set_submodule(name, small if isinstance(small, nn.Linear) else whole)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        again = type(model).from_pretrained(tmp_path).eval()(ids).last_hidden_state
        torch.testing.assert_close(again, model(ids).last_hidden_state)
