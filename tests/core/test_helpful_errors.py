"""Errors that meet users where they come from: Keras, notebooks, a checkout."""

import pytest

import mox_core as mox


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"epochs": 3},
            "mox.run takes no argument 'epochs'. Here that is num_epochs of the data set, or max_number_of_",
        ),
        ({"callbacks": []}, "mox.run takes no argument 'callbacks'. Here that is hooks of mox.ModelSpec."),
        ({"logdir": "x"}, "mox.run takes no argument 'logdir'. Did you mean 'log_dir'?"),
        ({"zzz": 1}, "mox.run takes no argument 'zzz'."),
    ],
)
def test_an_argument_of_another_trainer_is_translated(arguments, text):
    with pytest.raises(mox.UsageError) as caught:
        mox.run(**arguments)
    assert str(caught.value).startswith(text)


@pytest.mark.usefixtures("fresh_plugins")
@pytest.mark.parametrize(
    ("look_up", "text"),
    [
        (lambda: mox.get_optimizer_fn("adamw", learning_rate=0.1), "keras.optimizers.AdamW(learning_rate=...)"),
        (lambda: mox.get_optimizer_fn("LAMB", learning_rate=0.1), "keras.optimizers.Lamb(learning_rate=...)"),
        (lambda: mox.get_model_fn("mobilenet_v2", "TRAIN", 10), "keras.applications.MobileNetV2("),
        (lambda: mox.get_model_fn("efficientnet_b0", "TRAIN", 10), "keras.applications.EfficientNetB0("),
    ],
)
def test_what_keras_has_is_named(look_up, text):
    with pytest.raises(mox.UnknownNameError) as caught:
        look_up()
    assert text in str(caught.value)
