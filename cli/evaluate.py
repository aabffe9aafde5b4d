"""`unet3d-cli evaluate`."""

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, MODEL, Working, teaches
from keras_unet3d.cli.terminal import live
from keras_unet3d.machine import kernels
from keras_unet3d.settings import FitSettings, PredictSettings


@teaches(
    "report",
    "json_path",
    "other",
    example="evaluate runs/stack labelled.h5 --report figures.html",
    stopped="nothing was written",
)
@click.command("evaluate", cls=Working)
@click.argument("model", type=MODEL)
@click.argument("data", nargs=-1, type=FILE)
@options.images
@options.labels
@options.settings(FitSettings, only=("unlabelled", "annotated"))
@options.option(
    "Data and labels", "--held-out", is_flag=True, help="Only the volumes that the fit of MODEL, a run, held out."
)
@click.option("--instances", is_flag=True, help="Also compare the cells that predict --instances cuts.")
@click.option(
    "--compare", "other", type=MODEL, metavar="MODEL", help="Another model on the same volumes, and which is better."
)
@options.json_file
@click.option("--table", type=FILE, metavar="FILE.csv", help="Write a row per volume and class to FILE.csv as well.")
@click.option(
    "--report",
    type=FILE,
    metavar="FILE.html",
    help="Write a page with the figures and the volumes to FILE.html as well.",
)
@options.option("Data and labels", "--raw-key", help="Data set of the image [default: as in training].")
@options.option("Data and labels", "--label-key", help="Data set of the labels [default: as in training].")
@options.option("Data and labels", "--axes", help="Order of the files' axes, e.g. czyx [default: as in training].")
@options.scene
@options.time
@options.settings(PredictSettings)
@options.overwrite
def command(
    model,
    data,
    images,
    labels,
    unlabelled,
    annotated,
    held_out,
    instances,
    other,
    json_path,
    table,
    report,
    raw_key,
    label_key,
    axes,
    scene,
    time,
    overwrite,
    **given,
):
    """Measure how good a model is on labelled volumes.

    MODEL and DATA are as in predict and fit. Overlap (IoU, Dice, sensitivity, precision, volume), distances of
    surfaces and calibration, with 95 % intervals over volumes, the worst volumes named. Unlabelled voxels count nowhere; the
    means leave out the background. With --instances also the adapted Rand error of cells, 0 where they are equal.
    """
    settings = options.given_settings(PredictSettings, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.report.scene import Gallery
    from keras_unet3d.workflows.evaluate.compare import compare, refuse_other_classes
    from keras_unet3d.workflows.evaluate.run import evaluate
    from keras_unet3d.workflows.evaluate.words import rows
    from keras_unet3d.workflows.report.evaluated import evaluation_page

    keys = {"raw": raw_key, "label": label_key, "axes": axes, "scene": scene, "time": time}
    with (
        options.figures_file(json_path, overwrite) as write,
        options.figures_file(table, overwrite, "--table", ".csv") as write_table,
        options.figures_file(report, overwrite, "--report", ".html") as write_report,
        live("measuring") as listener,
    ):
        models = [model, other] if other else [model]
        predictors = [zoo.predictor(name) for name in models]
        for predictor in predictors[1:]:
            refuse_other_classes(predictors[0].spec.labels.names, predictor.spec.labels.names)
        only = zoo.held_out_files(model) if held_out else None
        results: list[dict] = []
        galleries: list[Gallery] = []
        for name, predictor in zip(models, predictors, strict=True):
            if other:
                listener.say(f"{name}:")
            if report:
                worst = [scene.name for scene in galleries[0].scenes] if galleries else None
                galleries.append(Gallery(name, only=worst))
            results.append(
                evaluate(
                    predictor,
                    data,
                    images=images,
                    labels=labels,
                    keys=predictors[0].spec.keys.replaced(**keys),
                    unlabelled=unlabelled,
                    annotated=annotated,
                    only=only,
                    settings=settings,
                    instances=instances,
                    gallery=galleries[-1] if report else None,
                    listener=listener,
                )
            )
        figures, *others = results
        for found in others:
            figures["compared"] = {"model": other, "figures": found, "difference": compare(figures, found, listener)}
        write(figures)
        if report:
            write_report(evaluation_page(figures, galleries, predictors[0].spec.labels))
        write_table(
            [{"model": name} | row for name, result in zip(models, results, strict=True) for row in rows(result)]
        )
