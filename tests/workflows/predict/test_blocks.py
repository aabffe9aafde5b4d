"""Blocks of a volume, computed apart: what was done is not done again, and a lost worker costs nothing but time."""

import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from helpers import write_pair

from keras_unet3d import InputError, zoo
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.listener import Listener
from keras_unet3d.segments.cells import InstanceSettings, instances
from keras_unet3d.settings import CleanSettings, PredictSettings
from keras_unet3d.volumes import from_array, open_volume, write_volume
from keras_unet3d.workflows.predict import blocks, cluster, cutting
from keras_unet3d.workflows.predict.files import predict

# Of the network's context of 8: blocks of 8 voxels along x.
SETTINGS = PredictSettings(tile=(16, 24, 24), merge="exact")


@pytest.fixture
def stack(tmp_path):
    image = np.random.default_rng(0).normal(size=(16, 24, 60)).astype(np.float32)
    write_volume(tmp_path / "stack.zarr", image, from_array(image, spacing=(2.0, 1.0, 1.0), unit="um"), "raw")
    return tmp_path / "stack.zarr"


def call(run, stack, out, scheduler="here", settings=SETTINGS, progress=lambda done, of: None, said=None, **more):
    listener = Listener((said if said is not None else []).append, progress)
    return predict(
        zoo.predictor(run),
        [stack],
        out,
        settings=settings,
        scheduler=scheduler,
        recipe=zoo.recipe(run),
        listener=listener,
        **more,
    )


def expected(run, stack, output="labels"):
    return zoo.predictor(run).predict(open_volume(stack), output, SETTINGS)


@pytest.mark.parametrize("output", ["labels", "probabilities", "uncertainty"])
def test_blocks_make_the_whole(tiny_run, stack, tmp_path, output):
    call(tiny_run, stack, tmp_path / "o.zarr", output=output)
    found = open_volume(tmp_path / "o.zarr", "label" if output == "labels" else output)
    wanted = expected(tiny_run, stack, output)
    np.testing.assert_allclose(found.array().reshape(wanted.shape), wanted, atol=1e-6)
    assert (found.dtype, found.spacing) == (wanted.dtype, (2.0, 1.0, 1.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.zarr", "stack.zarr"]


def test_what_was_done_is_not_done_again(tiny_run, stack, tmp_path, monkeypatch):
    def stop(done, of):
        if done > of / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(tiny_run, stack, tmp_path / "o.zarr", progress=stop)
    assert not (tmp_path / "o.zarr").exists()
    done = len(list((tmp_path / ".unfinished.o.zarr" / "done").iterdir()))
    assert 0 < done < 8
    computed, said = [], []
    monkeypatch.setattr(
        blocks,
        "compute",
        lambda number, job, compute=blocks.compute: computed.append(number) or compute(number, job),
    )
    call(tiny_run, stack, tmp_path / "o.zarr", said=said)
    assert len(computed) == 8 - done
    assert said[0].endswith(f"{done} of 8 blocks are done already")
    np.testing.assert_array_equal(open_volume(tmp_path / "o.zarr", "label").array()[..., 0], expected(tiny_run, stack))


def test_blocks_of_another_prediction_are_refused(tiny_run, stack, tmp_path):
    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(tiny_run, stack, tmp_path / "o.zarr", progress=stop)
    with pytest.raises(
        InputError, match=r"expected blocks of the same prediction, found those of another \(output differ"
    ):
        call(tiny_run, stack, tmp_path / "o.zarr", output="uncertainty")
    # What has no plan yet is begun anew.
    (tmp_path / ".unfinished.o.zarr" / "plan.json").unlink()
    call(tiny_run, stack, tmp_path / "o.zarr")
    assert (tmp_path / "o.zarr").exists()


def test_blended_blocks_make_the_whole(tiny_run, stack, tmp_path):
    settings = PredictSettings(tile=(16, 16, 16), merge="blend")
    call(tiny_run, stack, tmp_path / "o.zarr", settings=settings, output="probabilities")
    wanted = zoo.predictor(tiny_run).predict(open_volume(stack), "probabilities", settings)
    np.testing.assert_allclose(open_volume(tmp_path / "o.zarr", "probabilities").array(), wanted, atol=1e-6)


def test_other_formats_are_refused(tiny_run, tmp_path):
    path = write_pair(tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"o\.h5: expected Zarr, whose blocks are written apart; end it in \.zarr"):
        call(tiny_run, path, tmp_path / "o.h5")


def test_no_scheduler_is_explained(tiny_run, stack, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_TIMEOUT", 1)
    with pytest.raises(InputError, match="scheduler: expected a Dask scheduler at tcp://127.0.0.1:9, found none"):
        call(tiny_run, stack, tmp_path / "o.zarr", scheduler="tcp://127.0.0.1:9")


def test_a_missing_package_is_explained(tiny_run, stack, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(InputError, match=r"scheduler: expected the package distributed, found none; run pip install"):
        call(tiny_run, stack, tmp_path / "o.zarr", scheduler="tcp://127.0.0.1:9")


def test_a_cluster_computes_the_blocks(tiny_run, stack, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, processes=False, threads_per_worker=1, dashboard_address=None) as workers:
        call(tiny_run, stack, tmp_path / "o.zarr", scheduler=workers.scheduler_address)
    np.testing.assert_array_equal(open_volume(tmp_path / "o.zarr", "label").array()[..., 0], expected(tiny_run, stack))


@pytest.mark.long
def test_a_worker_that_is_killed_costs_a_retry(tiny_run, stack, tmp_path):
    from distributed import LocalCluster

    def kill():
        # Once the first block is done the other worker is at work too.
        while not list((tmp_path / ".unfinished.o.zarr").glob("done/*")):
            time.sleep(0.02)
        os.kill(next(iter(workers.workers.values())).pid, signal.SIGKILL)

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers:
        killer = threading.Thread(target=kill)
        killer.start()
        call(tiny_run, stack, tmp_path / "o.zarr", scheduler=workers.scheduler_address)
        killer.join()
    np.testing.assert_array_equal(open_volume(tmp_path / "o.zarr", "label").array()[..., 0], expected(tiny_run, stack))


# ---- instances -----------------------------------------------------------------------------------


@pytest.fixture
def cell_run(tiny_run, tmp_path):
    """A run whose network, so it says, was trained on boundaries."""
    path = shutil.copytree(tiny_run, tmp_path / "cells")
    config = json.loads((path / "config.json").read_text("utf-8"))
    config["model"]["labels"] = BOUNDARY_TABLE.config()
    config["model"]["instances"] = CUT.config()
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    return path


CUT = InstanceSettings(threshold=0.5, smoothing=1.0, join_below=0.45, least=20)


def cut_whole(run, stack):
    volume = open_volume(stack)
    said = zoo.predictor(run).uncalibrated.predict(volume, "probabilities", SETTINGS)
    return instances(said[..., 1], spacing=volume.spacing, settings=CUT)


@pytest.fixture
def small_boxes(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", (8, 16, 16))


def test_boxes_have_the_instances_of_the_whole(cell_run, stack, tmp_path, small_boxes):
    call(cell_run, stack, tmp_path / "o.zarr", cleaning=CleanSettings(instances=True))
    found, wanted = open_volume(tmp_path / "o.zarr", "label"), cut_whole(cell_run, stack)
    assert wanted.max() > 5
    np.testing.assert_array_equal(found.array()[..., 0], wanted)
    assert (found.dtype, found.spacing) == (wanted.dtype, (2.0, 1.0, 1.0))
    assert not (tmp_path / ".unfinished.o.zarr").exists()


@pytest.mark.parametrize("step", ["pieces", "contacts", "label"])
def test_a_cut_that_was_stopped_goes_on(cell_run, stack, tmp_path, small_boxes, monkeypatch, step):
    functions = {"pieces": "cut_pieces", "contacts": "find_contacts", "label": "write_instances"}
    done = {name: getattr(cutting, function) for name, function in functions.items()}
    calls = []

    def stopping(number, job):
        if number == 2:
            raise KeyboardInterrupt
        return done[step](number, job)

    monkeypatch.setattr(cutting, functions[step], stopping)
    options = dict(cleaning=CleanSettings(instances=True))
    with pytest.raises(KeyboardInterrupt):
        call(cell_run, stack, tmp_path / "o.zarr", **options)
    assert not (tmp_path / "o.zarr").exists()
    for name, function in functions.items():
        again = lambda number, job, name=name: calls.append((name, number)) or done[name](number, job)  # noqa: E731
        monkeypatch.setattr(cutting, function, again)
    call(cell_run, stack, tmp_path / "o.zarr", **options)
    assert min(number for name, number in calls if name == step) == 2
    earlier = list(functions)[: list(functions).index(step)]
    assert not {name for name, _ in calls} & {*earlier}
    np.testing.assert_array_equal(open_volume(tmp_path / "o.zarr", "label").array()[..., 0], cut_whole(cell_run, stack))


def test_a_call_that_was_killed_at_its_very_end_loses_nothing(
    cell_run, tiny_run, stack, tmp_path, small_boxes, monkeypatch
):
    remove = blocks.remove_path
    for run, options in ((cell_run, dict(cleaning=CleanSettings(instances=True))), (tiny_run, {})):
        out = tmp_path / f"{run.name}.zarr"

        def killed(path, out=out):
            if out.exists():
                raise KeyboardInterrupt
            remove(path)

        with monkeypatch.context() as patched:
            patched.setattr(blocks, "remove_path", killed)
            with pytest.raises(KeyboardInterrupt):
                call(run, stack, out, **options)
        before = open_volume(out, "label").array()
        assert before.any()
        call(run, stack, out, overwrite=True, **options)
        np.testing.assert_array_equal(open_volume(out, "label").array(), before)


def test_a_cluster_cuts_the_boxes(cell_run, stack, tmp_path, small_boxes):
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, processes=False, threads_per_worker=1, dashboard_address=None) as workers:
        options = dict(scheduler=workers.scheduler_address, cleaning=CleanSettings(instances=True))
        call(cell_run, stack, tmp_path / "o.zarr", **options)
    np.testing.assert_array_equal(open_volume(tmp_path / "o.zarr", "label").array()[..., 0], cut_whole(cell_run, stack))
