"""The page of a run and of an evaluation, made of real ones."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import UNLABELLED, tiny_volume, write_pair

from keras_unet3d import Gallery, InputError, evaluate, evaluation_page, make_report, zoo
from keras_unet3d.datasets import open_examples
from keras_unet3d.labels import LabelTable
from keras_unet3d.listener import Listener
from keras_unet3d.report.scene import Side
from keras_unet3d.run_folder import RunFolder
from keras_unet3d.workflows.report import run as report_run
from keras_unet3d.workflows.report.scenes import object_charts, scene_of


def scenes_of(text: str) -> dict:
    return json.loads(re.search(r'id="scenes">(.*?)</script>', text, re.DOTALL).group(1))


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "runs" / "copy"))


def test_fit_leaves_a_page_with_its_figures_words_and_volumes(tiny_fit):
    text = (tiny_fit.path / "report.html").read_text()
    for title in (
        "The volumes",
        "The course of the training",
        "How good it is",
        "What was done",
        "Where the time went",
    ):
        assert f"<h2>{title}</h2>" in text
    assert f"{tiny_fit.best['val_dice']:.3f}" in text
    # Half of the two volumes was held out.
    (scene,) = scenes_of(text)["scenes"]
    assert scene["name"] in ("a.h5", "b.h5") and scene["shape"] == [16, 16, 16] and scene["spacing"] == [2, 1, 1]
    assert "held out whole: the network was not trained on them" in text
    assert "steps of training" in text and "1 epoch of 1 step; batches of 1 patches of 8 x 8 x 8 voxels" in text


def test_the_seconds_of_a_fit_are_kept(tiny_run):
    seconds = RunFolder(tiny_run).read_config().input["seconds"]
    assert [*seconds] == ["reading and planning", "steps of training", "validation and files", "after the training"]
    assert all(part > 0 for part in seconds.values())


def test_a_page_is_made_again_with_the_figures_of_evaluate(run, tiny_data):
    (run / "report.html").unlink()
    said = []
    assert make_report(run, zoo.predictor(run), Listener(said.append)) == run / "report.html"
    assert said == [f"page: {run / 'report.html'}"]
    figures = evaluate(zoo.predictor(run), [tiny_data], only=zoo.held_out_files(run))
    text = (run / "report.html").read_text()
    assert f"{figures['classes']['5']['dice']:.3f}" in text
    assert f"Calibration error {figures['calibration_error']:.4f}" in text


def test_without_a_network_there_are_words_alone(run):
    make_report(run, None)
    text = (run / "report.html").read_text()
    assert "There is no network yet." in text and 'id="scenes"' not in text


def test_without_its_data_a_page_says_so_and_has_the_rest(run):
    config = json.loads((run / "config.json").read_text())
    config["data"]["arguments"] = [str(run / "gone.h5")]
    (run / "config.json").write_text(json.dumps(config))
    said = []
    make_report(run, zoo.predictor(run), Listener(said.append))
    text = (run / "report.html").read_text()
    assert "could not be opened again" in text and "gone.h5" in text and "The course of the training" in text
    assert "could not be opened again" in said[0]


def test_a_history_that_is_no_table_is_refused(run):
    (run / "history.csv").write_text("epoch,loss\n1,abc\n")
    with pytest.raises(InputError, match=r"history\.csv: expected a table of numbers, found something else"):
        make_report(run, None)


def test_no_run_and_several_folds_are_refused(tmp_path, tiny_folds):
    with pytest.raises(InputError, match=r"expected a run folder, found no config\.json there"):
        make_report(tmp_path, None)
    with pytest.raises(InputError, match=r"expected a run, found several folds; name one of them, .*fold_1"):
        make_report(tiny_folds.path, None)


def test_of_a_large_volume_the_part_with_most_to_see_is_taken(tmp_path):
    image, label = (np.full((8, 300, 300), value, np.uint8) for value in (1, UNLABELLED))
    label[4, 200:210, 150:290] = 5
    image[4, 200, 150] = 9
    example = open_examples([write_pair(tmp_path / "a.h5", raw=image, label=label)]).examples[0]
    table = LabelTable((0, 5), ("0", "5"), (UNLABELLED,))
    part = report_run._part(example, table, 8 * 100 * 100)
    assert part.image.shape == (8, 100, 100) and part.name == "a.h5: z 0 to 7, y 142 to 241, x 142 to 241"
    assert part.image.array()[4, 200 - 142, 150 - 142, 0] == 9
    assert part.label.array()[4, 200 - 142, 150 - 142, 0] == 5
    assert report_run._part(example, table, 8 * 300 * 300) is example


def test_a_scene_is_thinned_alike_in_all_its_parts(tmp_path):
    image, label = tiny_volume()
    example = open_examples([write_pair(tmp_path / "a.h5", raw=image, label=label)]).examples[0]
    objects = (label == 5).astype(np.uint8)
    scene = scene_of("a volume", example.image, label, Side("one", label, label, objects), objects, 16 * 8 * 8)
    assert (scene.step, scene.spacing) == ((1, 2, 2), (2.0, 2.0, 2.0))
    np.testing.assert_array_equal(scene.labels, label[:, ::2, ::2])
    for array in (
        scene.image,
        scene.objects,
        *(getattr(scene.sides[0], name) for name in ("classes", "uncertainty", "objects")),
    ):
        assert array.shape == (16, 8, 8)
    assert "every 1 x 2 x 2th is shown" in scene.note
    # The size is that of all its voxels, of two cubic micrometres each.
    assert scene.sides[0].sizes.tolist() == [2 * objects.sum()]
    (chart,) = object_charts([scene], "um")
    assert chart["across"] == "volume in um³"


def test_the_page_of_two_networks(predictor, tmp_path):
    for seed in range(6):
        write_pair(tmp_path / f"{seed}.h5", seed)
    first = Gallery("one")
    figures = evaluate(predictor, [tmp_path], gallery=first)
    worst = sorted(figures["volumes"], key=lambda volume: volume["mean_dice"])[:4]
    assert [scene.name for scene in first.scenes] == [volume["file"] for volume in worst]
    second = Gallery("two", only=[scene.name for scene in first.scenes])
    from keras_unet3d import compare

    other = evaluate(predictor, [tmp_path], gallery=second)
    figures["compared"] = {"model": "two", "figures": other, "difference": compare(figures, other)}
    text = evaluation_page(figures, [first, second], predictor.spec.labels)
    viewer = scenes_of(text)
    assert [[side["name"] for side in scene["sides"]] for scene in viewer["scenes"]] == [["one", "two"]] * 4
    assert viewer["classes"] == ["0", "5"] and "Evaluation of one and two" in text
    assert "4 of 6 volumes" in text


def test_the_volumes_of_a_page_take_less_than_10_megabytes():
    # Noise cannot be packed: grey values and uncertainty of it are the largest that there may be.
    from keras_unet3d.report.scene import MOST_VOXELS, packed

    noise = np.random.default_rng(0).integers(0, 256, MOST_VOXELS // 16, np.uint8)
    assert 2 * 16 * len(packed(noise)) < 10e6
