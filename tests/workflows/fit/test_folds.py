"""Folds: ordinary runs that together hold out everything once, their figures, and the model that they are together."""

import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import says, tiny_settings, tiny_volume

import keras_unet3d
from keras_unet3d import zoo
from keras_unet3d.errors import InputError
from keras_unet3d.files import read_json, write_json
from keras_unet3d.listener import Listener
from keras_unet3d.locks import locked
from keras_unet3d.network.unet import build
from keras_unet3d.run_folder import FoldsFolder
from keras_unet3d.workflows.fit import folds as module
from keras_unet3d.workflows.fit.folds import fit_folds


@pytest.fixture
def copied(tiny_folds, tmp_path) -> FoldsFolder:
    """A copy of finished folds, to be changed."""
    shutil.copytree(tiny_folds.path, tmp_path / "folds")
    return FoldsFolder(tmp_path / "folds")


@pytest.fixture
def no_fit(monkeypatch) -> list:
    """Has a fit be noted instead of done: its folder and its settings."""
    asked = []

    def noted(data, out, *, settings, **_):
        asked.append((Path(out).name, settings))

    monkeypatch.setattr(module, "fit", noted)
    return asked


def test_every_volume_is_held_out_once_by_a_run_of_its_own(tiny_folds):
    runs = FoldsFolder(tiny_folds.path).runs()
    configs = [run.read_config() for run in runs]
    assert [config.settings["fold"] for config in configs] == ["1/2", "2/2"]
    assert [config.settings["seed"] for config in configs] == [0, 1]
    assert sorted(name for config in configs for name in config.data.validation) == ["a.h5", "b.h5"]
    assert all(set(config.data.training) == {"a.h5", "b.h5"} - set(config.data.validation) for config in configs)


def test_its_figures_are_those_that_evaluate_gives_of_what_a_network_did_not_see(tiny_folds, tiny_data):
    result = read_json(FoldsFolder(tiny_folds.path).figures, "figures")
    assert result == tiny_folds.figures
    dice = []
    for number, run in enumerate(FoldsFolder(tiny_folds.path).runs(), 1):
        told = keras_unet3d.evaluate(zoo.predictor(run.path), [tiny_data], only=zoo.held_out_files(run.path))
        (volume,) = told["volumes"]
        (held,) = [volume for volume in result["volumes"] if volume["fold"] == number]
        assert held.keys() <= {"fold", *volume} and held["file"] == volume["file"]
        assert [held[name] for name in ("mean_iou", "mean_dice")] == [
            volume[name] for name in ("mean_iou", "mean_dice")
        ]
        for name, figure in held["classes"].items():
            assert figure.items() <= volume["classes"][name].items() and {"iou", "dice"} <= figure.keys()
        dice.append(volume["mean_dice"])
    assert result["mean_dice"]["of_folds"] == dice
    assert result["mean_dice"]["mean"] == pytest.approx(sum(dice) / 2)
    assert result["mean_dice"]["std"] == pytest.approx(abs(dice[0] - dice[1]) / 2**0.5)


def a_part(epoch: int, *dice: float | None) -> dict:
    """Return the figures of a fold whose volumes have such a Dice of one class; None where it is absent."""
    figures = [{"iou": value and value / 2, "dice": value} if value is not None else None for value in dice]
    volumes = [
        {
            "file": f"{epoch} {number}",
            "classes": {"air": {"iou": 1.0, "dice": 1.0}, "cell": figure},
            "mean_iou": figure and figure["iou"],
            "mean_dice": figure and figure["dice"],
        }
        for number, figure in enumerate(figures)
    ]
    return {"best": {"epoch": epoch}, "background": "air", "volumes": volumes}


def test_figures_are_put_together_by_hand():
    result = module._cross_validated([a_part(4, 0.5, 0.7), a_part(6, 0.9, None)])
    dice = result["classes"]["cell"]["dice"]
    assert (dice["mean"], dice["std"]) == (pytest.approx(0.7), pytest.approx(0.2))
    assert dice["of_folds"] == pytest.approx([0.6, 0.9])
    assert result["mean_dice"] == dice
    assert result["folds"] == [{"best_epoch": 4, "volumes": 2}, {"best_epoch": 6, "volumes": 2}]
    lines = module.in_words(result)
    assert "over 4 volumes" in lines[0]
    assert lines[2].split() == ["cell", "0.7000", "+-", "0.2000", "0.6000", "0.9000"]
    assert lines[-1].endswith("without air")


def test_a_class_that_no_volume_has_is_in_no_figure():
    result = module._cross_validated([a_part(1, None), a_part(1, None)])
    assert result["mean_dice"] == {"mean": None, "std": None, "of_folds": [None, None]}
    assert module.in_words(result)[-1].split()[:3] == ["mean", "-", "+-"]


# ---- going on ---------------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(copied, no_fit):
    said: list[str] = []
    again = fit_folds([], copied.path, resume=True, listener=Listener(said.append))
    assert again.figures == read_json(copied.figures, "figures") and not no_fit
    assert any("over 2 volumes" in line for line in said)


def test_a_fold_without_its_figures_or_for_more_epochs_goes_on(copied, no_fit, monkeypatch):
    monkeypatch.setattr(module, "_held_out_figures", lambda folder, run: None)
    copied.run(2).held_out.unlink()
    said: list[str] = []
    assert fit_folds([], copied.path, resume=True, listener=Listener(said.append)).figures is None
    assert [name for name, _ in no_fit] == ["fold_2"] and "fold_2: trained by other processes" in said[-1]
    no_fit.clear()
    fit_folds([], copied.path, settings=keras_unet3d.FitSettings(epochs=3), resume=True)
    assert [(name, settings.epochs, settings.fold, settings.seed) for name, settings in no_fit] == [
        ("fold_1", 3, "1/2", 0),
        ("fold_2", 3, "2/2", 1),
    ]
    # Whoever shares the work learns of it.
    assert copied.read_config().settings["epochs"] == 3


def test_figures_of_an_earlier_network_do_not_count(copied, no_fit):
    figures = read_json(copied.run(1).held_out, "figures")
    write_json(copied.run(1).held_out, figures | {"best": {"epoch": 7}})
    fit_folds([], copied.path, resume=True)
    assert [name for name, _ in no_fit] == ["fold_1"]


def test_a_fold_that_another_process_trains_is_left_to_it(copied):
    copied.run(1).held_out.unlink()
    said: list[str] = []
    with locked(copied.run(1).path / ".lock", copied.run(1).path):
        assert fit_folds([], copied.path, resume=True, listener=Listener(said.append)).figures is None
    assert "fold_1: another process trains it" in said and said[-1].startswith("fold_1: trained by other processes")


def test_the_last_network_takes_everything_for_the_median_of_the_best_epochs(copied, no_fit):
    for number, epoch in ((1, 4), (2, 7)):
        run = copied.run(number)
        config = run.read_config()
        best = config.best | {"epoch": epoch}
        run.write_config(replace(config, best=best))
        write_json(run.held_out, read_json(run.held_out, "figures") | {"best": best})
    fit_folds([], copied.path, resume=True, final=True)
    ((name, settings),) = no_fit
    assert (name, settings.epochs, settings.validation_share, settings.fold) == ("final", 6, 0, None)


def test_earlier_folds_are_replaced_once_the_data_are_good(copied, tiny_data, no_fit, monkeypatch):
    monkeypatch.setattr(module, "_held_out_figures", lambda folder, run: None)
    with pytest.raises(InputError, match=says("at least 3 volumes for 3 folds, found 2")):
        fit_folds(tiny_data, copied.path, 3, settings=tiny_settings(), overwrite=True)
    assert copied.run(2).is_run
    fit_folds(tiny_data, copied.path, 2, settings=tiny_settings(seed=5), overwrite=True)
    assert not copied.run(1).is_run and not copied.figures.exists()
    assert copied.read_config().settings["seed"] == 5


# ---- as a model -------------------------------------------------------------------------------------


def test_folds_are_a_model_that_averages_them(tiny_folds):
    image, _ = tiny_volume(3)
    runs = FoldsFolder(tiny_folds.path).runs()
    together = keras_unet3d.predict_volume(zoo.predictor(tiny_folds.path), image, output="probabilities")
    members = [zoo.predictor(run.path) for run in runs]
    # A temperature that was fitted to one network alone is not that of the mean.
    members = [replace(member, spec=member.spec.unsettled) for member in members]
    alone = [keras_unet3d.predict_volume(member, image, output="probabilities") for member in members]
    assert np.abs(alone[0] - alone[1]).max() > 1e-4
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-5)
    assert zoo.open_model(tiny_folds.path)[1].architecture.networks == 2


def test_tiles_of_an_ensemble_are_merged_exactly(tiny_folds):
    predictor = zoo.predictor(tiny_folds.path)
    volume = tiny_volume(4, (24, 28, 32))[0]
    whole, tiled = (
        keras_unet3d.predict_volume(predictor, volume, output="probabilities", merge="exact", tile=tile)
        for tile in ((24, 28, 32), (20, 20, 20))
    )
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_its_recipe_names_every_network(tiny_folds):
    recipe = zoo.recipe(tiny_folds.path)
    assert [Path(file).parent.name for file in recipe.files] == ["fold_1", "fold_2"]


def test_a_bundle_of_folds_says_what_it_is_and_what_it_is_worth(tiny_folds, tmp_path):
    bundle = zoo.export_run(tiny_folds.path, {"name": "together"}, tmp_path, complete=False)
    card = zoo.card(bundle)
    assert card.spec.architecture.networks == 2
    assert card.evaluation["mean_dice"] == tiny_folds.figures["mean_dice"]["mean"]
    assert sorted(card.training["data"]["training"]) == ["a.h5", "b.h5"] and not card.training["data"]["validation"]
    assert "fold 1 of 2: 1 of 2 volumes; fold 2 of 2" in card.training["data"]["split"]
    assert "the mean of the probabilities of 2 networks" in (bundle / "README.md").read_text()
    assert len(zoo.verify(bundle)) == 2
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    first, second = (keras.ops.convert_to_numpy(zoo.load(path)(x)) for path in (bundle, tiny_folds.path))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_several_runs_are_exported_as_one(tiny_folds, tmp_path):
    runs = [run.path for run in FoldsFolder(tiny_folds.path).runs()]
    bundle = zoo.export_run(runs, {"name": "both"}, tmp_path, complete=False)
    assert zoo.card(bundle).spec.architecture.networks == 2 and not zoo.card(bundle).evaluation


# ---- what is refused --------------------------------------------------------------------------------


def test_folds_of_different_networks_are_refused(copied):
    run = copied.run(2)
    config = run.read_config()
    architecture = replace(config.model.architecture, base_filters=4)
    build(architecture).save(run.network)
    run.write_config(replace(config, model=replace(config.model, architecture=architecture)))
    with pytest.raises(InputError, match=says("networks of one architecture", "base_filters 2", "4 in network 2")):
        zoo.load(copied.path)
    labels = replace(config.model.labels, names=("air", "bone"))
    run.write_config(replace(config, model=replace(config.model, labels=labels)))
    with pytest.raises(InputError, match=says("fold_2", "same labels")):
        zoo.load(copied.path)


def test_folds_that_are_not_finished_are_no_model_yet(copied):
    run = copied.run(2)
    run.write_config(replace(run.read_config(), best=None))
    with pytest.raises(InputError, match=says("networks of 2 folds", "found 1 finished", "resume")):
        zoo.load(copied.path)


def test_an_ensemble_is_not_trained_further(tiny_folds, tiny_data, tmp_path):
    start = keras_unet3d.Start(zoo.load(tiny_folds.path), "runs/folds")
    with pytest.raises(InputError, match=says("start: expected one network", "runs/folds, the mean of 2", "distill")):
        keras_unet3d.fit(tiny_data, tmp_path / "run", settings=tiny_settings(), start=start)


def test_what_folds_held_out_is_no_test_of_their_mean(tiny_folds):
    with pytest.raises(InputError, match=says("found folds", "cross_validation.json")):
        zoo.held_out_files(tiny_folds.path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": 4}, ("at least 4 volumes for 4 folds", "found 2")),
        ({"folds": 1}, ("folds: expected 2 to 64, found 1",)),
        ({"folds": 2, "settings": tiny_settings(validation_share=0.5)}, ("folds", "`validation_share`")),
        ({"folds": 2, "settings": tiny_settings(fold="1/2")}, ("folds", "`fold`")),
        ({"resume": True}, ("expected folds to resume, found none", "`folds`")),
        ({"folds": 2, "resume": True, "overwrite": True}, ("resume", "found both")),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else "-".join(value),
)
def test_what_does_not_go_together_leaves_nothing(tiny_data, tmp_path, options, words):
    with pytest.raises(InputError, match=says(*words)):
        fit_folds(tiny_data, tmp_path / "folds", **{"settings": tiny_settings()} | options)
    assert not (tmp_path / "folds").exists()


def test_places_that_are_taken_are_refused(copied, tiny_run, tiny_data):
    with pytest.raises(InputError, match=says("folds: expected 2", "was begun with, found 3")):
        fit_folds([], copied.path, 3, resume=True)
    with pytest.raises(InputError, match=says("DATA: expected", tiny_data, "was begun with, found", "other.h5")):
        fit_folds("other.h5", copied.path, resume=True)
    with pytest.raises(InputError, match=says("the folds exists already", "`resume=True`")):
        fit_folds(tiny_data, copied.path, 2, settings=tiny_settings())
    with pytest.raises(InputError, match=says("expected a folder for folds, found a run")):
        fit_folds(tiny_data, tiny_run, 2, settings=tiny_settings(), overwrite=True)
    with pytest.raises(InputError, match=says("seed: expected 0")):
        fit_folds([], copied.path, settings=keras_unet3d.FitSettings(seed=4), resume=True)
