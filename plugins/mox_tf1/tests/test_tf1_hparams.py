"""`tf.contrib.training.HParams`, as TensorFlow documented it."""

import json

import pytest

from mox_tf1.hparams import HParams


def test_parameters_are_attributes_that_text_and_dicts_set_with_the_types_they_have():
    params = HParams(rate=0.1, layers=2, units=[4, 5], name="cnn", train=True)
    assert params.parse("rate=1,units=[7, 8,9],name=a b,train=false,units[1]=6") is params
    assert params.values() == {"rate": 1.0, "layers": 2, "units": [7, 6, 9], "name": "a b", "train": False}
    assert isinstance(params.rate, float)
    params.override_from_dict({"layers": 3.0, "units": [1]}).parse_json('{"train": true}')
    assert (params.layers, params.units, params.train, type(params.layers)) == (3, [1], True, int)
    params.add_hparam("new", 1)
    params.del_hparam("name")
    assert ("new" in params, "name" in params, params.get("name", "none"), params.get("new")) == (
        True,
        False,
        "none",
        1,
    )
    assert json.loads(params.to_json()) == params.values()
    assert repr(HParams(b=1, a="x")) == "HParams([('a', 'x'), ('b', 1)])"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda params: params.parse("raet=1"), "Unknown hyperparameter name: raet. Did you mean 'rate'"),
        (lambda params: params.parse("layers=1.5"), "Could not parse hyperparameter 'layers' of type int from '1.5'"),
        (lambda params: params.parse("train=maybe"), "Could not parse hyperparameter 'train' of type bool"),
        (lambda params: params.parse("rate"), "Malformed hyperparameter value: rate"),
        (lambda params: params.set_hparam("layers", True), "Could not cast hyperparameter 'layers' of type int"),
        (lambda params: params.set_hparam("layers", [1]), "layers is no list, and was given"),
        (lambda params: params.add_hparam("rate", 1), "Hyperparameter name is reserved: rate"),
        (lambda params: params.add_hparam("empty", []), "Multi-valued hyperparameters cannot be empty: empty"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_name(act, message):
    with pytest.raises(ValueError, match=f"^{message.replace('(', '[(]')}"):
        act(HParams(rate=0.1, layers=2, train=True))
