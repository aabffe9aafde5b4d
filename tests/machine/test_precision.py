"""Which number format a training has where nobody says."""

import pytest

from keras_unet3d import InputError
from keras_unet3d.choices import PRECISIONS
from keras_unet3d.machine import precision


@pytest.fixture
def processor(monkeypatch):
    """A function that sets the flags of the processor, and whether there is a GPU."""

    def become(flags: str, gpu: bool = False, onednn: str = "1") -> None:
        monkeypatch.setattr(precision, "read_text", lambda *_: f"flags\t\t: fpu sse2 {flags}\n")
        monkeypatch.setattr(precision, "has_gpu", lambda: gpu)
        monkeypatch.setattr(precision, "_has_tensor_cores", lambda: True)
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
        monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    return become


@pytest.mark.parametrize("flags", ["avx512_bf16", "amx_bf16 amx_tile"])
def test_wide_networks_train_in_bfloat16_where_the_processor_multiplies_it(processor, flags):
    processor(flags)
    assert precision.resolve_precision("auto", 16) == "mixed_bfloat16"
    assert precision.resolve_precision("auto", 8) == "float32"
    assert precision.resolve_precision("auto") == "float32"


def test_elsewhere_they_train_in_float32(processor):
    processor("avx512f avx2")
    assert precision.resolve_precision("auto", 64) == "float32"
    processor("avx512_bf16", onednn="0")
    assert precision.resolve_precision("auto", 64) == "float32"


def test_on_a_gpu_the_processor_does_not_matter(processor):
    processor("avx512_bf16", gpu=True)
    assert precision.resolve_precision("auto", 16) == "mixed_float16"


def test_a_system_that_does_not_tell_of_its_processor(processor, monkeypatch):
    processor("avx512_bf16")

    def missing(*_):
        raise InputError("/proc/cpuinfo: expected it, found no such file.")

    monkeypatch.setattr(precision, "read_text", missing)
    assert precision.resolve_precision("auto", 16) == "float32"


@pytest.mark.parametrize("asked", PRECISIONS[1:])
def test_what_is_asked_for_is_taken(processor, asked):
    processor("")
    assert precision.resolve_precision(asked, 64) == asked


def test_features_of_two_slices_are_not_trained_in_bfloat16_on_a_processor(processor):
    processor("avx512_bf16")
    assert precision.resolve_precision("auto", 16, [16, 8, 4, 2]) == "float32"
    assert precision.resolve_precision("auto", 16, [24, 12, 6, 3]) == "mixed_bfloat16"
    with pytest.raises(InputError) as error:
        precision.resolve_precision("mixed_bfloat16", 16, [4, 2])
    assert str(error.value) == (
        "precision: expected float32 where a level of the network has 2 slices along z, for which this processor's gradients "
        "in bfloat16 are wrong in TensorFlow, found mixed_bfloat16; change it, or z of `patch`."
    )
    processor("avx512_bf16", gpu=True)
    assert precision.resolve_precision("mixed_bfloat16", 16, [4, 2]) == "mixed_bfloat16"
