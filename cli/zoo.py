"""`unet3d-cli zoo`."""

import json

import click

from keras_unet3d import runtime


@click.group("zoo")
def command():
    """List, show and verify models by name.

    Names are looked up in the folders of $KERAS_UNET3D_ZOO, the user's ~/.keras-unet3d/zoo, and the package.
    """


@command.command("list")
def list_models():
    """List the models that can be loaded by name."""
    from keras_unet3d import zoo

    cards = zoo.list_models()
    if not cards:
        click.echo(f"no models in {', '.join(map(str, zoo.search_path()))}")
    for sentence in zoo.broken_models():
        click.echo(f"skipped: {sentence}", err=True)
    for card in cards:
        classes = ", ".join(card.model.labels.names)
        click.echo(f"{card.name}@{card.version}  [{classes}]  {card.description}".rstrip())


@command.command("show")
@click.argument("name")
def show(name):
    """Show the card of a model."""
    from keras_unet3d import zoo
    from keras_unet3d.files import read_json

    bundle = zoo.find(name)
    click.echo(f"{bundle}")
    click.echo(json.dumps(read_json(bundle / "metadata.json", "the card of a model"), indent=2))


@command.command("verify")
@click.argument("name")
def verify(name):
    """Check every checksum of a model and replay its stored test."""
    runtime.load_backend_quietly()
    from keras_unet3d import zoo

    for line in zoo.verify(name):
        click.echo(line)
