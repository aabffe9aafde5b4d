"""The functions of the zoo refuse arguments of other types, before anything is looked for."""

import pytest

from keras_unet3d import InputError, zoo

BY_REFERENCE = [zoo.card, zoo.find, zoo.load, zoo.open_model, zoo.predictor, zoo.recipe, zoo.verify, zoo.remove]


@pytest.mark.parametrize("function", BY_REFERENCE, ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("reference", "found"), [(None, "None"), (5, "5"), (["a"], "['a']"), ({}, "{}"), (str, "the class str")]
)
def test_what_is_no_reference_is_refused(function, reference, found):
    with pytest.raises(InputError) as caught:
        function(reference)
    assert str(caught.value) == f"reference: expected a path, found {found}."


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: zoo.install(5), "source: expected a path, found 5."),
        (lambda: zoo.install("a", 5), "directory: expected a path, found 5."),
        (lambda: zoo.install("a", overwrite="no"), "overwrite: expected true or false, found 'no'."),
        (lambda: zoo.held_out_files(None), "run: expected a path, found None."),
        (lambda: zoo.complete("a", None), "directory: expected a path, found None."),
        (lambda: zoo.unpack_for_serving("a", 5), "directory: expected a path, found 5."),
        (lambda: zoo.export("model", {}, "a"), "model: expected a Model, found 'model'."),
        (lambda: zoo.export_run("a", "card", "b"), "card: expected a model card or an object, found 'card'."),
        (lambda: zoo.predictor("a", 5), "engine: expected a text, found 5."),
        (lambda: zoo.recipe("a", "torch"), "engine: expected one of keras, savedmodel, onnx, openvino; found 'torch'."),
    ],
)
def test_arguments_of_other_types_are_refused(call, sentence):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == sentence
