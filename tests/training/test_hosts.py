"""Several processes, as several hosts have them, learn what one does; one that ends ends all of them, and the run goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import UNLABELLED, says, tiny_settings, write_pair

from keras_unet3d import InputError, fit, fit_folds
from keras_unet3d.machine import hosts
from keras_unet3d.run_folder import RunFolder

PROGRAM = """
import json, sys
from pathlib import Path
from keras_unet3d.machine import hosts

data, out, cases, address, host = sys.argv[1:]
hosts.join(address, host)
from keras_unet3d import FitSettings, fit

for number, case in enumerate(json.loads(cases)):
    settings = FitSettings(patch=(8, 8, 8), batch_size=4, base_filters=2, depth=2, workers=1, engine="native",
                           unlabelled=(9,), precision="float32", **case)
    fit(data, Path(out) / str(number), settings=settings)
"""
SGD = {"epochs": 2, "steps_per_epoch": 3, "optimizer": "sgd", "learning_rate": 0.05, "class_weights": "balanced"}
CASES = [
    # Statistics of the whole batch, soft Dice, random numbers within the network.
    SGD | {"dropout": 0.2},
    # Weights that are divided by their sum over several batches.
    SGD | {"normalization": "none", "accumulate": 3},
    # By the clock of the first process.
    {"minutes": 0.1, "optimizer": "sgd"},
]
OPTIONS = "--patch 8 8 8 --batch-size 4 --epochs 4 --steps-per-epoch 10 --base-filters 2 --depth 2 --workers 1 --engine native"
# Until one of several processes has seen that another is gone.
SEEN = 60


@pytest.fixture(scope="module")
def sparse_folder(tmp_path_factory) -> Path:
    """Volumes in which patches have different numbers of labelled voxels."""
    folder = tmp_path_factory.mktemp("sparse")
    rng = np.random.default_rng(0)
    for number in range(3):
        label = np.full((16, 16, 16), UNLABELLED, np.uint8)
        label[5] = rng.random((16, 16)) > 0.5
        label[:, 3, :4] = 1
        write_pair(folder / f"{number}.h5", number, label=label)
    return folder


def started(count: int, words: Callable[[str, str], list[str]]) -> list[subprocess.Popen]:
    """Return so many processes: `words` of an address and of which one it is are the arguments of Python."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return [
        subprocess.Popen(
            [sys.executable, *words(address, f"{number}/{count}")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(1, count + 1)
    ]


def ended(processes: list[subprocess.Popen]) -> list[str]:
    """Return what they printed, once they are done."""
    printed = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes), printed
    return printed


def trained(count: int, data: Path, out: Path) -> list[Path]:
    """Return the runs of all cases by so many processes."""
    ended(started(count, lambda *host: ["-c", PROGRAM, str(data), str(out), json.dumps(CASES), *host]))
    return [out / str(number) for number in range(len(CASES))]


def state(run: Path) -> dict:
    with np.load(RunFolder(run).state) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    rows = json.loads(str(kept.pop("facts")))["rows"]
    for row in rows:
        # A measured time is another one every time.
        row.pop("waiting")
    return kept | {"rows": rows}


@pytest.fixture(scope="module")
def by_one(sparse_folder, tmp_path_factory) -> list[Path]:
    return trained(1, sparse_folder, tmp_path_factory.mktemp("one"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_learn_what_one_does(sparse_folder, by_one, tmp_path, count):
    runs = trained(count, sparse_folder, tmp_path)
    for one, several in zip(by_one[:2], runs[:2], strict=True):
        alone, together = state(one), state(several)
        assert alone.keys() == together.keys()
        for name in set(alone) - {"rows"}:
            np.testing.assert_allclose(alone[name], together[name], rtol=0, atol=1e-5, err_msg=name)
        for a, b in zip(alone["rows"], together["rows"], strict=True):
            assert a == pytest.approx(b, rel=0, abs=1e-5)
    # Their clocks differ: left to themselves they would not end after the same step.
    assert RunFolder(runs[2]).read_config().best


@pytest.fixture(scope="module")
def never_stopped(sparse_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("two") / "run"
    first, second = ended(started(2, command(sparse_folder, out)))
    assert "best: epoch" in first
    assert second == ""
    return out


def command(data: Path, out: Path, *more: str) -> Callable[[str, str], list[str]]:
    words = [
        "-m",
        "keras_unet3d.cli",
        "fit",
        str(data),
        "--out",
        str(out),
        "--unlabelled",
        "9",
        *OPTIONS.split(),
        *more,
    ]
    return lambda address, host: [*words, "--hosts", address, "--host", host]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_others_and_the_run_goes_on(sparse_folder, never_stopped, tmp_path, killed):
    out = tmp_path / "run"
    processes = started(2, command(sparse_folder, out))
    while not RunFolder(out).history.is_file():
        assert processes[killed].poll() is None
        time.sleep(0.1)
    processes[killed].send_signal(signal.SIGKILL)
    printed = processes[1 - killed].communicate(timeout=SEEN)[0]
    assert processes[1 - killed].returncode not in (0, 2)
    # Ours, or where JAX was quicker its own.
    assert "another of the 2 processes has ended" in printed or "another task died" in printed, printed
    processes[killed].communicate()
    ended(started(2, command(sparse_folder, out, "--resume")))
    resumed, whole = state(out), state(never_stopped)
    assert resumed.pop("rows") == whole.pop("rows")
    assert resumed.keys() == whole.keys()
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_what_the_first_process_refuses_is_refused_by_all(sparse_folder, never_stopped):
    processes = started(2, command(sparse_folder, never_stopped))
    for process in processes:
        printed = process.communicate()[0]
        assert process.returncode == 2
        assert "the run exists already" in printed


# ---- what needs no other process -------------------------------------------------------------------


@pytest.fixture
def on_jax(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")


@pytest.fixture
def of_two(monkeypatch):
    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(hosts, "index", lambda: 0)
    monkeypatch.setattr(hosts, "of_first", lambda make: make())


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    with pytest.raises(
        InputError, match=says("hosts: expected the JAX backend, found tensorflow", "KERAS_BACKEND=jax")
    ):
        hosts.join("node1:9000", "1/2")


@pytest.mark.usefixtures("on_jax")
@pytest.mark.parametrize(
    ("address", "host", "words"),
    [
        ("node1", "1/2", ("hosts: expected auto, or an address and a port like node1:9000", "found 'node1'")),
        (None, "1/2", ("hosts: expected auto, or an address and a port", "found none")),
        ("node1:9000", None, ("host: expected which of how many processes this one is, like 1/2, found none",)),
        ("node1:9000", "3/2", ("host: expected which of how many processes this one is", "found '3/2'")),
        ("node1:9000", "0/2", ("found '0/2'",)),
        ("auto", "1/2", ("host: expected none with `hosts=auto`", "found 1/2", "leave it out")),
    ],
)
def test_what_is_no_place_to_meet_is_refused(address, host, words):
    with pytest.raises(InputError, match=says(*words)):
        hosts.join(address, host)


@pytest.mark.usefixtures("on_jax")
def test_auto_outside_of_a_job_is_refused(monkeypatch):
    pytest.importorskip("jax")
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=says("hosts: expected a step of SLURM", "found neither", "`host=1/2`")):
        hosts.join("auto")


@pytest.mark.usefixtures("of_two")
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("profile", lambda data, out: fit(data, out, profile=True)),
        ("augment_on", lambda data, out: fit(data, out, settings=tiny_settings(augment=True, augment_on="device"))),
        ("folds", lambda data, out: fit_folds(data, out, 2)),
    ],
)
def test_what_one_process_alone_can_do_is_refused(name, call, tiny_data, tmp_path):
    with pytest.raises(InputError, match=says(f"{name}: expected a training by one process, found 2; leave it out")):
        call(tiny_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("of_two")
def test_an_error_about_another_process_is_one_sentence():
    with (
        pytest.raises(hosts.HostLost, match="another of the 2 processes has ended"),
        hosts.lost_in_words(),
    ):
        raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")
    with pytest.raises(ZeroDivisionError), hosts.lost_in_words():
        raise ZeroDivisionError


def test_one_process_asks_nobody():
    assert hosts.count() == 1
    assert hosts.leads()
    assert hosts.of_first(lambda: {"as": ("it", "is")}) == {"as": ("it", "is")}
    assert hosts.summed(2.5) == 2.5
