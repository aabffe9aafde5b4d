"""The scripts in examples/ and the notebooks run, on tiny data."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import servers
import tensorflow as tf
from helpers import tiny_settings
from pages import ROOT, blocks_of

from keras_unet3d import open_volume, zoo

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def _script(name: str) -> dict:
    """Return what a script defines."""
    path, variables = ROOT / "examples" / name, {"__name__": "example"}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), variables)
    return variables


def test_a_training_loop(capsys):
    _script("own_training_loop.py")["main"](steps=2)
    assert "IoU" in capsys.readouterr().out


def test_fit_in_python(tiny_data, tmp_path, capsys):
    settings = tiny_settings()
    table = _script("fit_in_python.py")["main"](str(tiny_data / "a.h5"), str(tmp_path / "run"), settings)
    image = open_volume(tiny_data / "a.h5", key="raw")
    assert 0 < table["volume_voxels"].sum() <= np.prod(image.shape)
    assert "mean uncertainty" in capsys.readouterr().out


@pytest.fixture(scope="module")
def served(world, tmp_path_factory) -> Path:
    """The SavedModel of a run, as `zoo path --serving` writes it."""
    folder = tmp_path_factory.mktemp("served")
    bundle = zoo.export_run(world / "runs" / "stack", {"name": "stack"}, folder)
    return zoo.unpack_for_serving(bundle, folder / "serving")


@pytest.fixture
def server(served):
    """The address of a server that speaks as much of TF Serving's REST interface as the client does."""
    model = tf.saved_model.load(str(served))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            batch = tf.constant(asked["inputs"]["volume"], tf.float32)
            (labels,) = model.signatures[asked["signature_name"]](volume=batch).values()
            self.send_response(200 if self.path == "/v1/models/stack:predict" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"outputs": labels.numpy().tolist()}).encode())

        def log_message(self, *_):
            pass

    with servers.serving(Handler) as address:
        yield f"{address}/v1/models/stack"


@pytest.mark.slow
def test_a_client_of_a_folder_and_one_of_a_server(served, server, world, tmp_path):
    volume = np.random.default_rng(0).integers(0, 255, (11, 20, 27)).astype(np.uint8)
    np.save(tmp_path / "volume.npy", volume)
    expected = zoo.predictor(world / "runs" / "stack")(volume)
    for model in (str(served), server):
        _script("serving_client.py")["main"](model, str(tmp_path / "volume.npy"), str(tmp_path / "labels.npy"))
        np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected)


# ---- notebooks ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    # A kernel of this very Python, whatever kernels the user has.
    kernel = tmp_path / "jupyter" / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(kernel.parents[1]))
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="here", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(output.output_type == "display_data" for cell in notebook.cells for output in cell.get("outputs", ()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_the_snippet_of_jax_runs_on_jax():
    (snippet,) = [
        text
        for text in blocks_of(ROOT / "docs" / "tutorials" / "keras-engineer.md", "python")
        if "KERAS_BACKEND" in text
    ]
    code = f"{snippet}\nimport sys\nprint('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
