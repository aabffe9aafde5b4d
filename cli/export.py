"""`unet3d-cli export`."""

import shlex
from pathlib import Path

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, Command, teaches
from keras_unet3d.cli.terminal import say
from keras_unet3d.machine import kernels

_NOT_STATED = "not stated"


@teaches("name", "out", "evaluation", example="export runs/stack --name small-cells --out models")
@click.command("export", cls=Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=FILE)
@click.option("--name", required=True, help="Lower-case letters, digits and . _ -")
@click.option("--version", default="1.0.0", show_default=True, help="Three numbers, semantic.")
@click.option(
    "--out", required=True, type=FILE, metavar="DIR", help="Folder of bundles; the bundle is DIR/NAME/VERSION."
)
@click.option("--description", default="", help="One sentence for the card.")
@click.option("--licence", default=_NOT_STATED, help="Of the weights.")
@click.option("--data-licence", default=_NOT_STATED, help="Of the training data.")
@click.option(
    "--card",
    "card_path",
    type=FILE,
    metavar="FILE",
    help="Further entries of the card, JSON: authors, cite, limitations ...",
)
@click.option("--evaluation", type=FILE, metavar="FILE", help="What evaluate --json wrote, for the card.")
@click.option(
    "--cover",
    type=FILE,
    metavar="VOLUME",
    help="Whose prediction the cover shows [default: one that the fit held out].",
)
@click.option(
    "--slim", is_flag=True, help="Leave out SavedModel, ONNX and rdf.yaml, which zoo complete makes of the rest."
)
@options.overwrite
def command(
    runs, name, version, out, description, licence, data_licence, card_path, evaluation, cover, slim, overwrite
):
    """Write a run's network as a bundle for the zoo.

    A RUN of folds, or several RUNs of the same settings, make an ensemble: one model, the mean of their probabilities.

    Add DIR to $KERAS_UNET3D_ZOO and the model is found by NAME.
    """
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.files import read_json

    entries = read_json(Path(card_path), "entries of a model card") if card_path else {}
    stated = {key: value for key, value in {"weights": licence, "data": data_licence}.items() if value != _NOT_STATED}
    given = {"description": description, "licence": stated}
    card = entries | {"name": name, "version": version} | {key: value for key, value in given.items() if value}
    bundle = zoo.export_run(
        runs,
        card,
        out,
        overwrite,
        complete=not slim,
        evaluation=read_json(Path(evaluation), "figures of evaluate") if evaluation else None,
        cover=cover,
    )
    say(f"bundle: {bundle}")
    say(f"next: export KERAS_UNET3D_ZOO={shlex.quote(str(Path(out).resolve()))}; unet3d-cli zoo verify {name}")
