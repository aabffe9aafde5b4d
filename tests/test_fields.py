"""fields: what a value must be, in words; from JSON and back."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import says

from keras_unet3d import zoo
from keras_unet3d.datasets import DataKeys
from keras_unet3d.errors import InputError
from keras_unet3d.fields import Validated, checked, field_type, narrowed, option, plain_type, validated
from keras_unet3d.geometry import Triple
from keras_unet3d.labels import LabelTable
from keras_unet3d.model_spec import ModelSpec
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.run_folder import RunConfig, RunData
from keras_unet3d.settings import FitSettings, PredictSettings
from keras_unet3d.workflows.annotate.painting import Painting, Slice


@dataclass(frozen=True)
class Colour(Validated):
    WHAT = "a colour"

    name: str = checked(choices=("red", "green"))
    share: float = checked(1.0, least=0)

    def faults(self) -> Iterator[str]:
        if self.share > 1:
            yield f"share: expected at most 1, found {self.share}."


@dataclass(frozen=True)
class Everything(Validated):
    WHAT = "everything"

    switch: bool = False
    count: int = checked(1, least=1, most=99)
    length: float = checked(0.5, least=0)
    text: str = "a"
    bag: tuple = ()
    table: dict[str, Any] = field(default_factory=dict)
    numbers: tuple[int, ...] = checked((), least=0)
    names: tuple[str, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    size: Triple = checked((1, 1, 1), least=1)
    sizes: tuple[Triple, ...] = checked((), least=1)
    colour: Colour = Colour("red")
    colours: tuple[Colour, ...] = ()
    perhaps: int | None = checked(None, least=2)
    perhaps_size: Triple | None = checked(None, least=1)
    perhaps_colour: Colour | None = None
    word: str | None = checked(None, ("up", "down"))


# ---- the type of a field ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value",
    [
        ("switch", True),
        ("count", 7),
        ("length", 0.0),
        ("length", 3),
        ("text", ""),
        ("bag", (1, "a", None)),
        ("table", {"a": [1]}),
        ("numbers", (0, 5)),
        ("names", ("a", "b")),
        ("pair", (1, 2.5)),
        ("size", (1, 2, 3)),
        ("sizes", ((1, 2, 3), (4, 5, 6))),
        ("colour", Colour("green", 0.5)),
        ("colours", (Colour("green"), Colour("red"))),
        ("perhaps", None),
        ("perhaps", 2),
        ("perhaps_size", None),
        ("perhaps_size", (4, 4, 4)),
        ("perhaps_colour", Colour("red")),
        ("word", None),
        ("word", "up"),
    ],
)
def test_what_is_right_is_taken_as_it_is(name, value):
    assert getattr(Everything(**{name: value}), name) == value


@pytest.mark.parametrize(
    "name, value, sentence",
    [
        ("switch", 1, "switch: expected true or false, found 1."),
        ("switch", None, "switch: expected true or false, found None."),
        ("count", True, "count: expected a whole number of at least 1, found True."),
        ("count", 2.0, "count: expected a whole number of at least 1, found 2.0."),
        ("count", "2", "count: expected a whole number of at least 1, found '2'."),
        ("count", 0, "count: expected a whole number of at least 1, found 0."),
        ("count", 100, "count: expected a whole number of at most 99, found 100."),
        ("count", int, "count: expected a whole number of at least 1, found the class int."),
        ("count", Fraction(2), "count: expected a whole number of at least 1, found a Fraction."),
        ("text", Path("a"), f"text: expected a text, found a {type(Path('a')).__name__}."),
        ("length", -1, "length: expected a finite number of at least 0, found -1."),
        ("length", float("nan"), "length: expected a finite number of at least 0, found nan."),
        ("length", float("inf"), "length: expected a finite number of at least 0, found inf."),
        ("length", False, "length: expected a finite number of at least 0, found False."),
        ("text", 5, "text: expected a text, found 5."),
        ("bag", "abc", "bag: expected a list, found 'abc'."),
        ("table", [], "table: expected an object, found []."),
        ("numbers", 5, "numbers: expected a list of whole numbers of at least 0, found 5."),
        ("numbers", (1, 2.5), "numbers: expected a list of whole numbers of at least 0, found (1, 2.5)."),
        ("numbers", (1, -1), "numbers: expected a list of whole numbers of at least 0, found (1, -1)."),
        ("numbers", (True,), "numbers: expected a list of whole numbers of at least 0, found (True,)."),
        ("names", ("a", 5), "names: expected a list of texts, found ('a', 5)."),
        ("names", "ab", "names: expected a list of texts, found 'ab'."),
        ("pair", (1.0,), "pair: expected two finite numbers, found (1.0,)."),
        ("pair", (1.0, 2.0, 3.0), "pair: expected two finite numbers, found (1.0, 2.0, 3.0)."),
        ("size", (1, 2), "size: expected three whole numbers (z, y, x) of at least 1, found (1, 2)."),
        ("size", (1, 2, 0), "size: expected three whole numbers (z, y, x) of at least 1, found (1, 2, 0)."),
        ("size", (1, 2, 3, 4), "size: expected three whole numbers (z, y, x) of at least 1, found (1, 2, 3, 4)."),
        ("size", None, "size: expected three whole numbers (z, y, x) of at least 1, found None."),
        ("sizes", ((1, 2),), "sizes: expected a list of triples (z, y, x) of at least 1, found ((1, 2),)."),
        ("sizes", ((1, 2, 0),), "sizes: expected a list of triples (z, y, x) of at least 1, found ((1, 2, 0),)."),
        ("sizes", (1, 2, 3), "sizes: expected a list of triples (z, y, x) of at least 1, found (1, 2, 3)."),
        ("colour", "red", "colour: expected a colour, found 'red'."),
        ("colour", {"name": "red"}, "colour: expected a colour, found {'name': 'red'}."),
        ("colours", ("red",), "colours: expected a list of Colours, found ('red',)."),
        ("perhaps", 1, "perhaps: expected a whole number of at least 2, found 1."),
        ("perhaps", "1", "perhaps: expected a whole number of at least 2, found '1'."),
        ("perhaps_size", 5, "perhaps_size: expected three whole numbers (z, y, x) of at least 1, found 5."),
        ("perhaps_colour", 5, "perhaps_colour: expected a colour, found 5."),
        ("word", "left", "word: expected one of up, down; found 'left'."),
        ("word", "upp", "word: expected one of up, down; found 'upp'. Did you mean 'up'?"),
        ("word", 5, "word: expected a text, found 5."),
    ],
)
def test_what_is_wrong_is_one_sentence(name, value, sentence):
    with pytest.raises(InputError) as caught:
        Everything(**{name: value})
    assert str(caught.value) == sentence


def test_lists_become_tuples():
    made = Everything(bag=[1], numbers=[1, 2], pair=[1, 2], size=[1, 2, 3], sizes=[[1, 2, 3], (4, 5, 6)])
    assert (made.bag, made.numbers, made.pair, made.size) == ((1,), (1, 2), (1, 2), (1, 2, 3))
    assert made.sizes == ((1, 2, 3), (4, 5, 6))
    assert Everything(colours=[Colour("red")]).colours == (Colour("red"),)
    # What is within an object or a list of anything is the caller's.
    assert Everything(table={"a": [1]}).table == {"a": [1]} and Everything(bag=([1],)).bag == ([1],)


def test_what_is_made_stays_as_it_is():
    with pytest.raises(FrozenInstanceError):
        Colour("red").name = "green"
    with pytest.raises(InputError, match="name: expected one of red, green; found 'blue'"):
        replace(Colour("red"), name="blue")


def test_an_option_carries_its_help():
    @dataclass(frozen=True)
    class Told(Validated):
        count: int | None = option(None, "How many.", least=1)
        word: str = option("up", "Which way.", ("up", "down"))

    count, word = (each.metadata for each in Told.__dataclass_fields__.values())
    assert (count["help"], count["choices"], count["least"]) == ("How many.", (), 1)
    assert (word["help"], word["choices"], word["least"]) == ("Which way.", ("up", "down"), None)


def test_types_without_none():
    assert plain_type(int | None) is int and plain_type(Triple) == Triple
    assert field_type(Everything, "perhaps") is int
    assert field_type(Everything, "perhaps_size") == Triple
    assert field_type(FitSettings, "learning_rate") is float


# ---- what is wrong although every field is right ----------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class First(Validated):
    first: int = 0

    def faults(self) -> Iterator[str]:
        if self.first > 9:
            yield "first: expected at most 9."


@dataclass(frozen=True, kw_only=True)
class Second(Validated):
    second: int = 0

    def faults(self) -> Iterator[str]:
        if self.second > 9:
            yield "second: expected at most 9."


@dataclass(frozen=True, kw_only=True)
class Both(Second, First):
    def faults(self) -> Iterator[str]:
        if self.first == self.second == 5:
            yield "first: expected another one than the second."


@dataclass(frozen=True, kw_only=True)
class Neither(Second, First):
    pass


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"first": 10, "second": 10}, "first: expected at most 9."),
        ({"second": 10}, "second: expected at most 9."),
        ({"first": 5, "second": 5}, "first: expected another one than the second."),
        # Fields come before what several of them have to do with each other.
        ({"first": 10, "second": "a"}, "second: expected a whole number, found 'a'."),
    ],
)
def test_the_faults_of_every_base_are_found_in_the_order_of_the_fields(values, sentence):
    with pytest.raises(InputError) as caught:
        Both(**values)
    assert str(caught.value) == sentence
    if "second" not in values or values["second"] != 5:
        with pytest.raises(InputError) as caught:
            Neither(**values)
        assert str(caught.value) == sentence


def test_options_of_fit_are_wrong_in_the_order_of_their_groups():
    first, *_, last = FitSettings.__dataclass_fields__
    assert (first, last) == ("num_classes", "track")
    with pytest.raises(InputError, match="validation_share: expected a share of at least 0 and below 1, found 1"):
        FitSettings(ema=1.0, filters="8,16", base_filters=4, validation_share=1)
    with pytest.raises(InputError, match="filters: expected to be given without `base_filters`, found both"):
        FitSettings(ema=1.0, filters="8,16", base_filters=4)
    with pytest.raises(InputError, match="ema: expected a share of at least 0 and below 1, found 1.0"):
        FitSettings(ema=1.0)


# ---- from JSON and back -----------------------------------------------------------------------------


def test_from_config_makes_objects_of_objects():
    config = {"size": [1, 2, 3], "colour": {"name": "green"}, "colours": [{"name": "red", "share": 0.5}]}
    made = Everything.from_config(config | {"perhaps_colour": {"name": "red"}}, "a.json")
    assert made == Everything(
        size=(1, 2, 3), colour=Colour("green"), colours=(Colour("red", 0.5),), perhaps_colour=Colour("red")
    )
    assert Everything.from_config({}, "a.json") == Everything()
    assert Everything.from_config({"perhaps_colour": None}, "a.json") == Everything()


@pytest.mark.parametrize(
    "config, sentence",
    [
        ([], "a.json: expected everything, found []."),
        (None, "a.json: expected everything, found None."),
        ({"tabel": {}}, "a.json: expected entries of everything, found 'tabel'. Did you mean 'table'?"),
        ({"xyz": {}}, "a.json: expected entries of everything, found 'xyz'."),
        ({"count": 0}, "a.json: count: expected a whole number of at least 1, found 0."),
        ({"size": [1, 2]}, "a.json: size: expected three whole numbers (z, y, x) of at least 1, found (1, 2)."),
        ({"colour": {}}, "a.json: expected the entry 'name' of a colour, found none."),
        ({"colour": 5}, "a.json: colour: expected a colour, found 5."),
        ({"colour": None}, "a.json: colour: expected a colour, found None."),
        (
            {"colour": {"nane": "red"}},
            "a.json: expected entries of a colour, found 'nane'. Did you mean 'name'?",
        ),
        (
            {"colour": {"name": "greeen"}},
            "a.json: name: expected one of red, green; found 'greeen'. Did you mean 'green'?",
        ),
        ({"colour": {"name": "red", "share": 2}}, "a.json: share: expected at most 1, found 2."),
        ({"colours": [{"name": "red"}, {}]}, "a.json: expected the entry 'name' of a colour, found none."),
        ({"colours": {"name": "red"}}, "a.json: colours: expected a list of Colours, found {'name': 'red'}."),
        ({"perhaps_colour": {"share": 1}}, "a.json: expected the entry 'name' of a colour, found none."),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence_that_names_it(config, sentence):
    with pytest.raises(InputError) as caught:
        Everything.from_config(config, "a.json")
    assert str(caught.value) == sentence


ARCHITECTURE = Architecture(depth=2, num_classes=2, filters=(2, 4), kernel_sizes=((1, 3, 3), (3, 3, 3)))
TABLE = LabelTable((0, 7), ("background", "cell"), (9,))
SPEC = ModelSpec(ARCHITECTURE, TABLE, "zscore", (8, 16, 16), (2.0, 1.0, 1.0), "um", DataKeys("em", axes="czyx"))
OBJECTS = [
    Everything(size=(4, 5, 6), colours=(Colour("green"), Colour("red", 0.1)), perhaps=3, table={"a": [1, {"b": None}]}),
    FitSettings(patch=(8, 16, 16), unlabelled=(3, 9), filters="2,4", learning_rate=0.01),
    PredictSettings(tile=(8, 8, 8), max_ram="4G"),
    TABLE,
    ARCHITECTURE,
    Architecture(input_shape=(8, 8, 8, 2), depth=3, seed=5),
    DataKeys("em", "seg", axes="zyxc"),
    SPEC,
    ModelSpec(ARCHITECTURE, TABLE, "none", (8, 8, 8)),
    RunConfig({"epochs": 1}, SPEC, RunData(training=("a",)), {"keras": "3"}, best={"epoch": 1}),
    Painting("a.h5", None, DataKeys(), TABLE, 9, (Slice("z", 3), Slice("x", 0))),
    zoo.Card("name", model=SPEC, authors=("A", "B"), training={"seed": 0}),
    zoo.Card("name"),
]


@pytest.mark.parametrize("made", OBJECTS, ids=[f"{type(made).__name__}-{i}" for i, made in enumerate(OBJECTS)])
def test_what_is_written_is_read_as_the_same(made):
    text = json.dumps(made.config(), allow_nan=False)
    again = type(made).from_config(json.loads(text), "a.json")
    assert again == made and type(again) is type(made)
    assert json.dumps(again.config()) == text
    assert [*made.config()] == [*type(made).__dataclass_fields__]


@pytest.mark.parametrize("made", OBJECTS, ids=[f"{type(made).__name__}-{i}" for i, made in enumerate(OBJECTS)])
def test_an_entry_that_nobody_knows_is_refused_everywhere(made):
    with pytest.raises(InputError, match=says(f"a.json: expected entries of {type(made).WHAT}, found 'unheard'.")):
        type(made).from_config(made.config() | {"unheard": 1}, "a.json")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"architecture": {"depht": 3}}, "expected entries of the architecture of a network, found 'depht'. Did you"),
        ({"architecture": {"depth": 0}}, "depth: expected a whole number of at least 1, found 0."),
        ({"labels": {"values": [0, 1]}}, "expected the entry 'names' of a label table, found none."),
        ({"labels": {"values": [0], "names": ["a"]}}, "labels: expected 2 classes like the network's, found 1."),
        ({"keys": {"raw": 5}}, "raw: expected a text, found 5."),
        ({"spacing": [1, 2]}, "spacing: expected three finite numbers (z, y, x), found (1, 2)."),
        ({"spacing": [1, 2, 0]}, "spacing: expected three numbers above 0 (z, y, x), found (1, 2, 0)."),
        ({"normalization": "minmax"}, "normalization: expected one of zscore, sections, none; found 'minmax'."),
    ],
)
def test_errors_far_down_name_the_file(change, sentence):
    with pytest.raises(InputError, match=says(f"config.json: {sentence}")):
        ModelSpec.from_config(SPEC.config() | change, "config.json")


# ---- from one object to another ----------------------------------------------------------------------


@dataclass(frozen=True)
class Part(Validated):
    count: int
    text: str = "other"
    own: int = 4


def test_narrowed_takes_the_fields_that_both_have():
    options = Everything(count=3, text="b")
    assert narrowed(Part, options) == Part(3, "b", 4)
    assert narrowed(Part, options, count=8, own=5) == Part(8, "b", 5)
    with pytest.raises(InputError, match="text: expected a text, found 5"):
        narrowed(Part, options, text=5)


# ---- the arguments of a function ---------------------------------------------------------------------


@validated
def told(
    path: str | Path | Sequence[str | Path],
    count: int | None = None,
    *,
    shares: Sequence[float] = (),
    array: np.ndarray | None = None,
    call: Callable[[int], int] | None = None,
    size: Triple = (1, 1, 1),
    colour: Colour | Mapping = Colour("red"),
    anything: Any = None,
) -> tuple:
    return path, count, shares, array, call, size, colour, anything


def test_arguments_that_are_right_are_taken_and_computed_numbers_are_plain():
    array = np.zeros(3)
    given = told(
        Path("a"), np.int64(3), shares=np.float32([0.5]), array=array, call=abs, size=[1, 2, 3], anything=array
    )
    assert given == (Path("a"), 3, [0.5], array, abs, (1, 2, 3), Colour("red"), array)
    assert type(given[1]) is int and given[3] is given[7] is array
    assert told(["a", Path("b")], colour={})[0] == ["a", Path("b")]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (dict(path=5), "path: expected a path or a list of paths, found 5."),
        (dict(path=[5]), "path: expected a path or a list of paths, found [5]."),
        (dict(path=None), "path: expected a path or a list of paths, found None."),
        (dict(path="a", count="3"), "count: expected a whole number, found '3'."),
        (dict(path="a", count=np.float32(3)), "count: expected a whole number, found 3.0."),
        (dict(path="a", shares=0.5), "shares: expected a list of finite numbers, found 0.5."),
        (dict(path="a", shares=[0.5, "b"]), "shares: expected a list of finite numbers, found [0.5, 'b']."),
        (dict(path="a", array="b"), "array: expected an array, found 'b'."),
        (dict(path="a", call=int), "call: expected a function, found the class int."),
        (dict(path="a", size=8), "size: expected three whole numbers (z, y, x), found 8."),
        (dict(path="a", colour="red"), "colour: expected a colour or an object, found 'red'."),
        (dict(path="a", count=[0] * 999), "count: expected a whole number, found a list."),
        (dict(path="a", count=Everything()), "count: expected a whole number, found an Everything."),
    ],
)
def test_arguments_of_other_types_are_one_sentence(arguments, sentence):
    with pytest.raises(InputError) as caught:
        told(**arguments)
    assert str(caught.value) == sentence


def test_a_function_stays_what_it_was():
    assert told.__name__ == "told" and "count" in inspect.signature(told).parameters
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        told("a", other=1)


def test_help_has_every_option_also_those_of_bases():
    @dataclass(frozen=True)
    class One(Validated):
        """The first."""

        first: int = option(1, "How many.")

    @dataclass(frozen=True)
    class Both(One):
        """Both."""

        second: int = option(2, "How often.")
        unnamed: int = checked(3)

    assert One.__doc__ == "The first.\n\nAttributes:\n    first: How many.\n"
    assert Both.__doc__ == "Both.\n\nAttributes:\n    first: How many.\n    second: How often.\n"
