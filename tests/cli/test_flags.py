"""What the core says of its fields, as options of the command line: by hand."""

import pytest

from keras_unet3d.cli.flags import error_with_flags, flag, with_flags


@pytest.mark.parametrize(
    ("name", "option"),
    [("axes", "--axes"), ("batch_size", "--batch-size"), ("augment_on", "--augment-on"), ("start", "--from")],
)
def test_the_option_of_a_field(name, option):
    assert flag(name) == option


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        # A field; with a value; with several words for a value; a truth value.
        ("use a larger `memory`, so that", "use a larger --memory, so that"),
        ("check the file, and `axes`.", "check the file, and --axes."),
        ("name the axes, e.g. `axes=czyx`.", "name the axes, e.g. --axes czyx."),
        ("`batch_size=2` would fit", "--batch-size 2 would fit"),
        ("`patch=16 32 32` `batch_size=1` would fit", "--patch 16 32 32 --batch-size 1 would fit"),
        ("choose another path or add `overwrite=True`.", "choose another path or add --overwrite."),
        ("use `augment=False` or a machine with more cores", "use --no-augment or a machine with more cores"),
        ("declare the value (`classes=7=NAME,...`)", "declare the value (--classes 7=NAME,...)"),
        ("`images=data/*.tif`: expected files", "--images data/*.tif: expected files"),
        # Several in a sentence.
        ("`overwrite=True`, or `resume=True` to go on with it", "--overwrite, or --resume to go on with it"),
        ("name it by `raw_key`, `label_key` or `weight_key`.", "name it by --raw-key, --label-key or --weight-key."),
        # The one that has another name.
        ("leave it out with `start`.", "leave it out with --from."),
        ("expected `start=hippocampus-mri` again", "expected --from hippocampus-mri again"),
        # Calls of the zoo are commands.
        ("`zoo.list_models()` has all names.", "unet3d-cli zoo list has all names."),
        ("make it by `zoo.complete('a', FOLDER)`.", "make it by unet3d-cli zoo complete a --out FOLDER."),
        # Nothing to write otherwise.
        ("", ""),
        ("epoch   1/2  loss 1.500  iou 0.300", "epoch   1/2  loss 1.500  iou 0.300"),
        ("one ` alone", "one ` alone"),
        ("`not a field`", "`not a field`"),
    ],
)
def test_fields_between_backticks_become_options(said, shown):
    assert with_flags(said) == shown


@pytest.mark.parametrize(
    "line",
    [
        "engine: native, because elasticdeform takes 0.4 s for the patches of a step and the network about 3 s",
        "memory: holding 2 volumes, 0 MB",
        "patch: 32 x 32 x 32 is larger than 1 of 2 volumes (e.g. a.h5, 16 x 16 x 16), padded by mirroring",
        "classes: 0, 5; unlabelled: 9",
    ],
)
def test_a_line_that_begins_with_the_name_of_a_field_is_left_as_it_is(line):
    assert with_flags(line) == line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("engine: expected one of a, b; found 'c'.", "--engine: expected one of a, b; found 'c'."),
        ("batch_size: expected 2, found 4.", "--batch-size: expected 2, found 4."),
        (
            "batch_size: expected a multiple of the 2 devices, found 3; add `devices=1`, or change it.",
            "--batch-size: expected a multiple of the 2 devices, found 3; add --devices 1, or change it.",
        ),
        ("keep_largest: expected true or false, found 3.", "--keep-largest: expected true or false, found 3."),
        ("skip_below: expected a finite number, found nan.", "--skip-below: expected a finite number, found nan."),
        ("scheduler: expected a trained model.", "--scheduler: expected a trained model."),
        ("resume: expected one, found both.", "--resume: expected one, found both."),
        # What is no option stays what it is: files, data, parts of other things.
        ("a.h5: the output exists already; add `overwrite=True`.", "a.h5: the output exists already; add --overwrite."),
        ("DATA: expected `images` and `labels`; found none.", "DATA: expected --images and --labels; found none."),
        ("card: name: expected lower-case letters, found 'A'.", "card: name: expected lower-case letters, found 'A'."),
        ("out of memory: expected room, found too little.", "out of memory: expected room, found too little."),
        ("nothing at all", "nothing at all"),
        ("engine", "engine"),
    ],
)
def test_an_error_that_begins_with_an_option_says_the_option(said, shown):
    assert error_with_flags(said) == shown
