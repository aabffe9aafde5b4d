"""What is lost where only some classes were annotated in a volume: one class in one half of the volumes, the other in the rest.

    python benchmarks/partly_labelled.py FOLDER [--steps 1500] [--folds 5] [--fold 1] [--seed 0] [--json FILE]

FOLDER has a `dataset.json` of three classes (the hippocampus of the Medical Segmentation Decathlon). A network of the default
settings is trained for so many steps on four fifths of the volumes with all their labels ("full"), with those that are
left ("partly": `--annotated` says it), and with the same labels as if they were complete ("taken as complete"); all three are
measured on the fifth that was held out, with full labels.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from keras_unet3d import FitSettings, Listener, fit, zoo
from keras_unet3d.files import write_json
from keras_unet3d.volumes import open_volume, write_volume
from keras_unet3d.workflows.evaluate.run import evaluate

EPOCHS = 20
# Of the volumes in turn, the class that was looked for.
LOOKED_FOR = (1, 2)


def write_cohort(folder: Path, described: dict, pairs: list[dict], partly: bool) -> Path:
    """Write `pairs` of the described data set into a folder, a class of every one left out where they are to be `partly` labelled."""
    (folder / "labelsTr").mkdir(parents=True)
    written = []
    for number, pair in enumerate(pairs):
        known = LOOKED_FOR[number % 2]
        label = folder / "labelsTr" / f"only{known}_{Path(pair['label']).name}"
        volume = open_volume(pair["label"])
        values = volume.array()[..., 0]
        write_volume(label, np.where(values == known, values, 0) if partly else values, volume)
        written.append({"image": pair["image"], "label": str(label)})
    (folder / "dataset.json").write_text(json.dumps(described | {"training": written}))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    described = json.loads((options.folder / "dataset.json").read_text())
    pairs = [
        {kind: str((options.folder / pair[kind]).resolve()) for kind in ("image", "label")}
        for pair in described["training"]
    ]
    held_out = pairs[options.fold - 1 :: options.folds]
    trained_on = [pair for pair in pairs if pair not in held_out]
    rules = tuple(f"only{known}_*=0,{known}" for known in LOOKED_FOR)
    results = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        test = write_cohort(folder / "test", described, held_out, partly=False)
        for name, partly, annotated in (
            ("full", False, ()),
            ("partly", True, rules),
            ("taken as complete", True, ()),
        ):
            data = write_cohort(folder / name, described, trained_on, partly)
            settings = FitSettings(
                epochs=EPOCHS,
                steps_per_epoch=options.steps // EPOCHS,
                seed=options.seed,
                annotated=annotated,
                # Not what a busy machine would choose.
                engine="native",
            )
            run = fit(data, folder / f"run {name}", settings=settings, listener=Listener(print))
            found = evaluate(zoo.predictor(run.path), test)["per_volume"]
            results[name] = {key: found["classes"][key]["dice"]["mean"] for key in ("Anterior", "Posterior")}
            results[name]["mean"] = found["mean_dice"]["mean"]
            print(f"{name}: {results[name]}", flush=True)
    for name in list(results)[1:]:
        print(f"{name}: {results[name]['mean'] / results['full']['mean']:.1%} of full labels")
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
