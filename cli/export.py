"""`unet3d-cli export`."""

import shlex

import click

from keras_unet3d import runtime
from keras_unet3d.cli import options


@click.command("export")
@click.argument("run")
@click.option("--name", required=True, help="Lower-case letters, digits and . _ -")
@click.option("--version", default="1.0.0", show_default=True, help="Three numbers, semantic.")
@click.option("--out", required=True, metavar="DIR", help="Folder of bundles; the bundle is DIR/NAME/VERSION.")
@click.option("--description", default="", help="One sentence for the card.")
@click.option("--licence", default="not stated", help="Of the weights.")
@click.option("--data-licence", default="not stated", help="Of the training data.")
@options.overwrite
def command(run, name, version, out, description, licence, data_licence, overwrite):
    """Write a run's network as a bundle for the zoo.

    Add DIR to $KERAS_UNET3D_ZOO and the model is found by NAME.
    """
    runtime.load_backend_quietly()
    from keras_unet3d import zoo

    card = zoo.Card(name, version, description=description, licence=zoo.Licence(weights=licence, data=data_licence))
    bundle = zoo.export_run(run, card, out, overwrite)
    click.echo(f"bundle: {bundle}")
    click.echo(f"next: export KERAS_UNET3D_ZOO={shlex.quote(out)}; unet3d-cli zoo verify {name}")
