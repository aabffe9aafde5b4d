"""`unet3d-cli predict`."""

import click

from keras_unet3d.choices import OUTPUTS
from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, MODEL, Working, teaches
from keras_unet3d.cli.terminal import live
from keras_unet3d.machine import kernels
from keras_unet3d.settings import CleanSettings, EngineSettings, PredictSettings


@teaches(
    "out",
    "instances",
    "output",
    example="predict runs/stack stack.h5 --out dense.h5",
    stopped="volumes that are done are whole at --out; the same command and --resume predicts the others",
)
@click.command("predict", cls=Working)
@click.argument("model", type=MODEL)
@click.argument("inputs", nargs=-1, required=True, type=FILE, metavar="INPUT...")
@click.option("--out", required=True, type=FILE, metavar="PATH", help="A volume for one input, or a folder.")
@click.option(
    "--output",
    type=click.Choice([output for output in OUTPUTS if output != "classes"]),
    help="What is written [default: labels].",
)
@options.option("Labels that are written", "--probabilities", is_flag=True, help="The same as --output probabilities.")
@options.option("Machine", "--dry-run", is_flag=True, help="Say tiles, memory and time, and do nothing.")
@options.option(
    "Labels that are written",
    "--resample",
    is_flag=True,
    help="Predict at the training's voxel size, and bring the result back.",
)
@options.option(
    "Labels that are written",
    "--table",
    is_flag=True,
    help="Also write a table of the objects, as measure does, beside every volume: NAME.csv.",
)
@options.option(
    "Labels that are written",
    "--colours",
    is_flag=True,
    help="Also write names and colours of the classes beside every volume: for ITK-SNAP, 3D Slicer and Fiji.",
)
@options.option(
    "Labels that are written",
    "--report",
    type=FILE,
    metavar="FILE.html",
    help="Also write a page to look through the volumes and their labels.",
)
@options.settings(PredictSettings)
@options.settings(CleanSettings)
@options.settings(EngineSettings)
@options.option(
    "Machine",
    "--scheduler",
    metavar="ADDRESS",
    help="Have the workers of a Dask cluster compute blocks of Zarr volumes; or here, in this process. Goes on where "
    "it was stopped.",
)
@options.option(
    "Labels that are written",
    "--suffix",
    metavar=".EXT",
    help="Format of the results in a folder [default: the inputs', or one that fits].",
)
@options.option("Data and labels", "--raw-key", help="Data set of the image in HDF5 or Zarr [default: as in training].")
@options.option("Data and labels", "--axes", help="Order of the file's axes, e.g. czyx [default: as in training].")
@options.scene
@options.time
@click.option("--resume", is_flag=True, help="Keep the results that are there, and predict the other inputs.")
@options.overwrite
def command(
    model,
    inputs,
    out,
    output,
    probabilities,
    dry_run,
    resample,
    table,
    colours,
    report,
    scheduler,
    suffix,
    raw_key,
    axes,
    scene,
    time,
    resume,
    overwrite,
    **given,
):
    """Segment volumes with a trained network.

    MODEL is a run folder, a bundle, or a name that `unet3d-cli zoo list` shows. The result has the format,
    geometry and voxel size of the input, and the label values of the training data.
    """
    if probabilities and output not in (None, "probabilities"):
        raise click.UsageError(f"--probabilities: expected without --output {output}; leave one out.")
    output = "probabilities" if probabilities else output or "labels"
    if report and output != "labels":
        raise click.UsageError(
            f"--report: expected labels, which the page shows, found --output {output}; leave one out."
        )
    settings = options.given_settings(PredictSettings, given)
    cleaning = options.given_settings(CleanSettings, given)
    wanted = options.given_settings(EngineSettings, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.workflows.predict.files import predict
    from keras_unet3d.workflows.report.predicted import prediction_page

    with (
        options.figures_file(None if dry_run else report, overwrite, "--report", ".html") as write_report,
        live("predicting") as listener,
    ):
        # Instances are cut out of probabilities.
        said = "probabilities" if cleaning.instances else output
        which = {"axes": axes, "scene": scene, "time": time}
        predictor, choose = zoo.chooser(model, wanted, output=said, settings=settings, listener=listener)
        written = predict(
            predictor,
            inputs,
            out,
            output=output,
            settings=settings,
            cleaning=cleaning,
            resample=resample,
            table=table,
            colours=colours,
            raw_key=raw_key,
            **which,
            suffix=suffix,
            scheduler=scheduler,
            choose=choose,
            overwrite=overwrite,
            resume=resume,
            dry_run=dry_run,
            listener=listener,
        )
        if report and not dry_run:
            spec = predictor.spec
            keys = spec.keys.replaced(raw=raw_key, **which)
            shown = {"network": model, "instances": cleaning.instances}
            write_report(prediction_page(inputs, written, spec.labels, keys, **shown))
