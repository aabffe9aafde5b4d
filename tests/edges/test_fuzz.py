"""Whatever a file, an option, a setting or a card holds: exit code 0 or 2 and a sentence, soon, and in the memory that it explains."""

import copy
import json
import shutil

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from edge_commands import TINY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_unet3d.settings import CleanSettings, FitSettings, PredictSettings

pytestmark = pytest.mark.long

_SECONDS, _MEMORY = 10, 2**29
_CONTROLS = {chr(code) for code in range(32)} - {"\n", "\t"}


def _tried(examples: int):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks, database=None)


@pytest.fixture(scope="module")
def usual(together) -> int:
    """The memory that a command takes which does nothing."""
    return together(["--version"])[0]["memory"]


@pytest.fixture
def fine(together, usual):
    """A function that runs a command and asserts that it ends well, or in a sentence."""

    def run(*words, seconds=_SECONDS):
        (done,) = together(words)
        assert done["code"] in (0, 2), done
        assert "Traceback" not in done["out"], done["out"]
        assert done["code"] == 0 or "unet3d-cli: " in done["out"], done["out"]
        assert not _CONTROLS & set(done["out"]), done["out"]
        assert done["seconds"] < seconds, done
        assert done["memory"] < usual + _MEMORY, done
        return done

    return run


# ---- files ---------------------------------------------------------------------------------------

SUFFIXES = (".h5", ".nii", ".nii.gz", ".tif", ".zarr")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> dict[str, bytes]:
    """The bytes of a volume in every format; of Zarr, of its metadata."""
    folder = tmp_path_factory.mktemp("volumes")
    array = np.random.default_rng(0).integers(0, 200, (6, 8, 10)).astype(np.uint8)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", data=array, chunks=(3, 4, 5), compression="gzip")
        file["label"] = array % 2
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name)
    tifffile.imwrite(folder / "a.tif", array, imagej=True, metadata={"axes": "ZYX", "spacing": 2.0})
    import zarr

    zarr.create_group(folder / "a.zarr").create_array("raw", data=array, chunks=(3, 4, 5))
    metadata = (folder / "a.zarr" / "raw" / "zarr.json").read_bytes()
    return {f"a{suffix}": (folder / f"a{suffix}").read_bytes() for suffix in SUFFIXES[:-1]} | {"a.zarr": metadata}


# Where headers are, mostly near the beginning; and what is written there.
CHANGES = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 400), st.integers(0, 20_000)),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 8, b"\x00" * 8, b"\x80", b"\x7f\xff"])),
    ),
    min_size=1,
    max_size=6,
)


@_tried(400)
@given(suffix=st.sampled_from(SUFFIXES), changes=CHANGES, cut=st.one_of(st.none(), st.integers(0, 2000)))
def test_headers(fine, volumes, tmp_path, suffix, changes, cut):
    content = bytearray(volumes[f"a{suffix}"])
    for place, written in changes:
        at = place % len(content)
        content[at : at + len(written)] = written
    path = tmp_path / f"a{suffix}"
    shutil.rmtree(path, ignore_errors=True)
    if suffix == ".zarr":
        (path / "raw").mkdir(parents=True)
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
        (path / "raw" / "zarr.json").write_bytes(bytes(content[:cut]))
    else:
        path.unlink(missing_ok=True)
        path.write_bytes(bytes(content[:cut]))
    labels = [] if suffix in (".h5", ".zarr") else ["--images", path, "--labels", path]
    fine("check", *(labels or [path]))


# ---- options -------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.sampled_from(
        ["0", "-1", "1", "2", "1e308", "-1e308", "nan", "inf", "99999999999999999999", "1000000", "0.5", "1e-300"]
    ),
    st.integers(-(10**6), 10**12).map(str),
    st.floats(allow_nan=False).map(str),
)
WORDS = st.one_of(NUMBERS, st.sampled_from(["", "a", "zyx", "0=a,1=b", "1,2,3", "\x1b[31m", "ä", "0,5", "4G", "-"]))


def _options(*kinds: type) -> dict[str, int]:
    """Return the options of settings classes, with how many words follow; those that are on or off have none."""
    from dataclasses import fields

    from keras_unet3d.fields import field_type

    counts = {}
    for kind in kinds:
        for field in fields(kind):
            hint = field_type(kind, field.name)
            counts[f"--{field.name.replace('_', '-')}"] = (
                0 if hint is bool else 3 if field.name in ("patch", "tile") else 1
            )
    return counts


def _drawn(counts: dict[str, int]):
    one = st.sampled_from(sorted(counts)).flatmap(
        lambda name: st.lists(WORDS, min_size=counts[name], max_size=counts[name]).map(lambda words: [name, *words])
    )
    return st.lists(one, min_size=1, max_size=3).map(lambda options: [word for option in options for word in option])


@_tried(150)
@given(options=_drawn(_options(FitSettings)))
def test_options_of_fit(fine, world, tmp_path, options):
    # TINY comes last and wins, so that what is in order takes a single step.
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    done = fine("fit", world / "a.h5", "--out", tmp_path / "run", *options, *TINY, seconds=60)
    assert done["code"] == 0 or not (tmp_path / "run").exists()


@_tried(100)
@given(options=_drawn(_options(PredictSettings, CleanSettings)))
def test_options_of_predict(fine, world, tmp_path, options):
    done = fine(
        "predict", world / "run", world / "a.h5", "--out", tmp_path / "o.h5", "--overwrite", *options, seconds=60
    )
    assert done["code"] == 0 or not list(tmp_path.glob(".*"))


# ---- settings and cards --------------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["\x1b[31m", "../../etc/passwd", "a" * 300, "0" * 5000]),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
NAMES = sorted(FitSettings().config())


@_tried(150)
@given(values=st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), VALUES, max_size=4))
def test_settings(fine, tmp_path, values):
    (tmp_path / "c.json").write_text(json.dumps(values))
    # There are no data: what passes ends there.
    assert fine("fit", tmp_path / "none.h5", "--out", tmp_path / "run", "--config", tmp_path / "c.json")["code"] == 2


def _places(value, above=()):
    """Yield the place of everything in nested JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*above, key)
        yield from _places(part, (*above, key))


@_tried(200)
@given(data=st.data())
def test_cards(fine, world, tmp_path, monkeypatch, data):
    bundle = world / "models" / "tiny" / "1.0.0"
    card = json.loads((bundle / "metadata.json").read_text())
    changed = copy.deepcopy(card)
    for place in data.draw(st.lists(st.sampled_from(list(_places(card))), min_size=1, max_size=3)):
        part = changed
        try:
            for key in place[:-1]:
                part = part[key]
            part[place[-1]] = data.draw(VALUES)
        except (KeyError, IndexError, TypeError):
            continue  # it went with another change
    target = tmp_path / "zoo" / "tiny" / "1.0.0"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bundle, target)
    (target / "metadata.json").write_text(json.dumps(changed))
    for words in (["show", target], ["show", target, "--json"], ["install", target, "--to", tmp_path / "to"]):
        fine("zoo", *words)
