"""The commands that usually come next: whole, with the paths of the call, and runnable."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from helpers import UNLABELLED, tiny_volume, write_pair

from keras_unet3d.cli import next_steps, unet3d_cli
from keras_unet3d.datasets import SAMPLE, DataKeys
from keras_unet3d.labels import LabelTable
from keras_unet3d.labels.table import BOUNDARY_TABLE
from keras_unet3d.workflows.annotate.painting import Painting, Slice

TABLE = LabelTable((0, 5), ("0", "5"), (9,))


# ---- after fit -------------------------------------------------------------------------------------


@pytest.fixture
def fitted(tiny_fit, tmp_path):
    """A function that returns a finished run in a folder of its own: other data, another table, named in another way."""

    def make(training=tiny_fit.data.training, table=TABLE, folder="run", **named):
        path = Path(shutil.copytree(tiny_fit.path, tmp_path / folder))
        config = json.loads((path / "config.json").read_text())
        config["data"] |= named
        (path / "config.json").write_text(json.dumps(config))
        return replace(tiny_fit, path=path, data=replace(tiny_fit.data, training=training, table=table))

    return make


def test_after_a_fit_on_one_volume_its_name_is_in_the_commands(tiny_fit, fitted):
    (first, *_) = tiny_fit.data.training
    run = fitted((first,), arguments=["my data"])
    folder, volume = run.path, first.image.path
    assert next_steps.after_fit(run).splitlines() == [
        "",
        f"run folder: {folder}  (model.keras, config.json, history.csv, curves.png, slices.png, samples.png)",
        f"all of it on one page: {folder / 'report.html'}",
        "next:",
        *_column(
            (f"unet3d-cli predict {folder} {volume} --out LABELS", "segment a volume"),
            (f"unet3d-cli suggest {folder} {volume} --out DIR", "which slices to annotate next"),
            (f"unet3d-cli evaluate {folder} 'my data' --held-out", "IoU and Dice of the volumes that were held out"),
            (f"unet3d-cli export {folder} --name NAME --out models", "a bundle for the zoo"),
        ),
    ]


def _column(*steps):
    width = max(len(command) for command, _ in steps)
    return [f"  {command.ljust(width)}   {what}" for command, what in steps]


def test_of_several_volumes_none_is_named(tiny_fit, tiny_data):
    said = next_steps.after_fit(tiny_fit)
    assert f"predict {tiny_fit.path} VOLUME --out LABELS" in said
    assert f"suggest {tiny_fit.path} VOLUME --out DIR" in said
    assert f"evaluate {tiny_fit.path} {tiny_data} --held-out  " in said


def test_volumes_without_a_file_are_not_named(tiny_fit, fitted):
    (first, *_) = tiny_fit.data.training
    sample = replace(first, image=replace(first.image, path=None))
    run = fitted((sample,), arguments=["sample"], held_out_files=[])
    said = next_steps.after_fit(run)
    assert f"predict {run.path} VOLUME --out" in said and f"evaluate {run.path} sample  " in said


def test_globs_are_given_again(fitted):
    run = fitted(arguments=[], globs=["image/*.tif", "my labels/*.tif", "weight/*.tif"])
    said = next_steps.after_fit(run)
    assert f"unet3d-cli evaluate {run.path} --images 'image/*.tif' --labels 'my labels/*.tif' --held-out  " in said


def test_validation_data_that_were_named_are_evaluated(fitted):
    run = fitted(arguments=["train"], val=["my val", "more"])
    assert f"unet3d-cli evaluate {run.path} 'my val' more  " in next_steps.after_fit(run)


def test_where_everything_is_labelled_nothing_is_suggested(fitted):
    said = next_steps.after_fit(fitted(table=replace(TABLE, unlabelled=())))
    assert "suggest" not in said and "predict" in said


def test_paths_with_spaces_are_quoted(fitted):
    run = fitted(folder="my run")
    assert f"unet3d-cli evaluate '{run.path}' " in next_steps.after_fit(run)


# ---- after suggest and merge -----------------------------------------------------------------------


def test_after_suggest_by_hand():
    assert next_steps.after_suggest("next slices") == (
        "next:\n  unet3d-cli merge 'next slices' --out NEW_LABELS      the painted slices and the old labels together"
    )


@pytest.mark.parametrize(
    ("painting", "command"),
    [
        (
            Painting("/data/stack.h5", None, DataKeys(), TABLE, 9, (Slice("z", 1),)),
            "unet3d-cli fit --images /data/stack.h5 --labels new.h5 --unlabelled 9 --classes 0,5 --out RUN",
        ),
        (
            Painting(SAMPLE, None, DataKeys(), LabelTable((0, 1), ("air", "thick wall")), 255, ()),
            "unet3d-cli fit --images IMAGE --labels new.h5 --unlabelled 255 --classes '0=air,1=thick wall' --out RUN",
        ),
        (
            Painting("/my data/a.h5", None, DataKeys("v/em", "v/seg", axes="czyx"), BOUNDARY_TABLE, 999, ()),
            "unet3d-cli fit --images '/my data/a.h5' --labels new.h5 --unlabelled 999 --target boundaries "
            "--raw-key v/em --label-key v/seg --axes czyx --out RUN",
        ),
    ],
    ids=["classes", "sample", "boundaries"],
)
def test_after_merge_by_hand(tmp_path, painting, command):
    painting.write(tmp_path)
    assert next_steps.after_merge(str(tmp_path), "new.h5") == f"next:\n  {command}"


# ---- on the command line ---------------------------------------------------------------------------


def call(*arguments) -> str:
    result = CliRunner().invoke(unet3d_cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_command_that_is_printed_is_one_that_runs(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image, label = tiny_volume()
    sparse = np.full_like(label, UNLABELLED)
    sparse[[4, 12]], sparse[:, 3] = label[[4, 12]], label[:, 3]
    write_pair(Path("stack.h5"), raw=image, label=sparse)
    said = call("suggest", tiny_run, "stack.h5", "--out", "next", "--count", 1, "--across", "z")
    assert said.endswith(next_steps.after_suggest("next") + "\n")
    (plane,) = Path("next").glob("*_labels.tif")
    tifffile.imwrite(plane, np.full((16, 16), 5, np.uint8))
    command = said.splitlines()[-1].split("      ")[0].replace("NEW_LABELS", "new.h5")
    said = call(*shlex.split(command)[1:])
    assert said.endswith(next_steps.after_merge("next", "new.h5") + "\n")
    command = said.splitlines()[-1].replace("RUN", "run")
    tiny = "--epochs 1 --steps-per-epoch 1 --patch 8 8 8 --batch-size 1 --base-filters 2 --depth 2 --no-augment"
    said = call(*shlex.split(command)[1:], *tiny.split(), "--workers", 1)
    assert f"  unet3d-cli predict run {Path('stack.h5').resolve()} --out LABELS " in said


# ---- folds -----------------------------------------------------------------------------------------


def test_after_folds_their_folder_is_a_model(tiny_folds):
    said = next_steps.after_folds(tiny_folds)
    assert f"folds: {tiny_folds.path}  (cross_validation.json, a run folder per fold)" in said
    for command in ("predict", "distill", "export"):
        assert f"  unet3d-cli {command} {tiny_folds.path} " in said
    assert "trained by other processes" in next_steps.after_folds(replace(tiny_folds, figures=None))


def test_folds_that_were_stopped_say_how_they_go_on(tiny_folds, tmp_path):
    shutil.copytree(tiny_folds.path, tmp_path / "folds")
    (tmp_path / "folds" / "fold_2" / "held_out.json").unlink()
    said = next_steps.after_stop(str(tmp_path / "folds"))
    assert said == f"1 of 2 folds are done; it goes on with: unet3d-cli fit --out {tmp_path / 'folds'} --resume"
    assert next_steps.after_stop(str(tiny_folds.path / "fold_1"), "the same command").endswith("with: the same command")
