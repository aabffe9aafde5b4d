"""`unet3d-cli zoo`."""

import json
import shlex
from pathlib import Path

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.terminal import say
from keras_unet3d.machine import kernels
from keras_unet3d.zoo import ImportSettings


@click.group("zoo")
def command():
    """List, show, verify, install and remove models by name.

    Names are looked up in the folders of $KERAS_UNET3D_ZOO, the user's own (`zoo path` tells where), and the package.
    """


@command.command("list")
def list_models():
    """List the models that can be loaded by name."""
    from keras_unet3d import zoo

    cards = zoo.list_models()
    if not cards:
        say(f"no models in {', '.join(map(str, zoo.search_path()))}")
    for sentence in zoo.broken_models():
        say(f"skipped: {sentence}", err=True)
    for card in cards:
        classes = ", ".join(card.model.labels.names)
        say(f"{card.name}@{card.version}  [{classes}]  {card.description}".rstrip())


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The whole card, for programs.")
def show(name, as_json):
    """Show the card of a model."""
    from keras_unet3d import zoo
    from keras_unet3d.files import read_json
    from keras_unet3d.zoo.cards import to_readme

    bundle = zoo.find(name)
    if as_json:
        say(json.dumps(read_json(bundle / "metadata.json", "the card of a model"), indent=2))
        return
    say(f"{bundle}\n")
    say(to_readme(zoo.card(bundle)))


@command.command("install")
@click.argument("path")
@click.option("--to", "directory", metavar="DIR", help="Folder of the search path [default: the user's].")
@options.overwrite
def install(path, directory, overwrite):
    """Copy a bundle, a folder or a zip, to where it is found by name; it is proved first."""
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    say(f"installed: {zoo.install(path, directory, overwrite)}")


@command.command("import")
@click.argument("checkpoint")
@click.option(
    "--config", metavar="FILE", help="Its config_train.yml; without it network and sizes are read off the tensors."
)
@click.option("--name", required=True, help="Lower-case letters, digits and . _ -")
@click.option("--version", default="1.0.0", show_default=True, help="Three numbers, semantic.")
@click.option("--out", metavar="DIR", help="Folder of bundles [default: the user's, where models are found by name].")
@click.option("--licence", default=None, help="Of the weights.")
@click.option("--card", "card_path", metavar="FILE", help="Further entries of the card, JSON.")
@click.option(
    "--slim", is_flag=True, help="Leave out SavedModel, ONNX and rdf.yaml, which zoo complete makes of the rest."
)
@options.settings(ImportSettings)
@options.overwrite
def import_checkpoint(checkpoint, config, name, version, out, licence, card_path, slim, overwrite, **given):
    """Make a bundle of a network of pytorch-3dunet: CHECKPOINT is a .pytorch file, or a bioimage.io package with one.

    PyTorch is not needed, and no code in the file is run.
    """
    settings = options.given_settings(ImportSettings, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.files import read_json

    card = read_json(Path(card_path), "entries of a model card") if card_path else {}
    card |= {"name": name, "version": version}
    if licence:
        card["licence"] = {"weights": licence, "code": "not stated"}
    bundle = zoo.import_checkpoint(
        checkpoint, card, out, overwrite, config=config, settings=settings, complete=not slim
    )
    say(f"network: {zoo.card(bundle).training['imported']['layers']}")
    say(f"bundle: {bundle}")
    say(f"next: unet3d-cli predict {shlex.quote(str(bundle))} VOLUME --out LABELS")


@command.command("remove")
@click.argument("name")
def remove(name):
    """Remove an installed model: NAME, or NAME@VERSION where there are several."""
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    say(f"removed: {zoo.remove(name)}")


@command.command("path")
@click.argument("name")
@click.option("--serving", metavar="DIR", help="Write the SavedModel to DIR/NAME/1 as well, which TF Serving reads.")
@options.overwrite
def path(name, serving, overwrite):
    """Print where a model is, or its SavedModel."""
    if not serving:
        from keras_unet3d import zoo

        say(zoo.find(name))
        return
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    say(zoo.unpack_for_serving(name, serving, overwrite))


@command.command("complete")
@click.argument("name")
@click.option("--out", required=True, metavar="DIR", help="Folder of bundles.")
@options.overwrite
def complete(name, out, overwrite):
    """Write a bundle again with SavedModel and ONNX: a package that bioimage.io takes."""
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    say(f"bundle: {zoo.complete(name, out, overwrite)}")


@command.command("verify")
@click.argument("name")
def verify(name):
    """Check every checksum of a model and replay its stored test."""
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    for line in zoo.verify(name):
        say(line)
