"""`unet3d-cli zoo`."""

import json
import shlex
from pathlib import Path

import click

from keras_unet3d.cli import options
from keras_unet3d.cli.command import FILE, MODEL, Command, Working, teaches
from keras_unet3d.cli.terminal import live, say
from keras_unet3d.machine import kernels
from keras_unet3d.zoo import ImportSettings


@click.group("zoo")
def command():
    """List, show, verify, install, publish and remove models by name.

    Names are looked up in the folders and web addresses of $KERAS_UNET3D_ZOO, the user's own folder, and the package.
    """


@teaches(example="zoo list")
@command.command("list", cls=Command)
def list_models():
    """List the models that can be loaded by name."""
    from keras_unet3d import zoo
    from keras_unet3d.zoo.registry import survey

    models, broken = survey()
    if not models:
        say(f"no models in {', '.join(map(str, zoo.search_path()))}")
    for sentence in broken:
        say(f"skipped: {sentence}", err=True)
    for card, place in models:
        classes = ", ".join(card.model.labels.names)
        away = "" if isinstance(place, Path) else f"(at {place.zoo}, fetched when it is used)"
        said = f"{card.name}@{card.version}", f"[{classes}]", card.description, away
        say("  ".join(part for part in said if part))


@teaches(example="zoo show hippocampus-mri")
@command.command("show", cls=Command)
@click.argument("name", type=MODEL)
@click.option("--json", "as_json", is_flag=True, help="The whole card, for programs.")
def show(name, as_json):
    """Show the card of a model."""
    from keras_unet3d.zoo.cards import from_metadata, to_readme
    from keras_unet3d.zoo.registry import described

    place, metadata = described(name)
    if as_json:
        say(json.dumps(metadata, indent=2))
        return
    say(f"{place}\n")
    say(to_readme(from_metadata(metadata, place)))


@teaches(
    "directory",
    example="zoo install small-cells-1.0.0.zip",
    stopped="a download that was begun is continued by the same command",
)
@command.command("install", cls=Working)
@click.argument("source", type=FILE)
@click.option("--to", "directory", type=FILE, metavar="DIR", help="Folder of the search path [default: the user's].")
@options.overwrite
def install(source, directory, overwrite):
    """Copy a bundle to where it is found by name; it is proved first.

    SOURCE is a folder or a zip, the address https://... of a zip (with #sha256=... after it where you have its checksum),
    hf://OWNER/NAME[@REVISION] on Hugging Face, or bioimageio://ID, which `zoo import` reads. A download that was cut is continued.
    """
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    with live("fetching") as listener:
        folder = zoo.install(source, directory, overwrite, listener=listener)
    say(f"installed: {folder}")


@teaches("to", example="zoo publish small-cells --to zoo", stopped="what is there already is as it was")
@command.command("publish", cls=Working)
@click.argument("name", type=MODEL)
@click.option("--to", required=True, type=FILE, metavar="PLACE", help="A folder for a web server, or hf://OWNER/NAME.")
@options.overwrite
def publish(name, to, overwrite):
    """Give a bundle to others: NAME, or the folder or zip of one; it is proved first.

    A folder gets a zip, and an entry in its index.json; served by any web server it is a zoo whose address can stand in
    $KERAS_UNET3D_ZOO. A repository of Hugging Face is made for everybody to see, where there is none; log in by hf auth login.
    """
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    published = zoo.publish(name, to, overwrite)
    say(f"published: {published}")
    if "://" in published:
        say(f"next: unet3d-cli zoo install {shlex.quote(published)}")
    else:
        say(
            f"next: serve the folder {shlex.quote(to)}; its address belongs into $KERAS_UNET3D_ZOO of whoever shall find it"
        )


@teaches(
    "name",
    "config",
    "licence",
    example="zoo import best_checkpoint.pytorch --config config_train.yml --name theirs",
    stopped="nothing was written",
)
@command.command("import", cls=Working)
@click.argument("checkpoint", type=FILE)
@click.option(
    "--config",
    type=FILE,
    metavar="FILE",
    help="Its config_train.yml; without it network and sizes are read off the tensors.",
)
@click.option("--name", required=True, help="Lower-case letters, digits and . _ -")
@click.option("--version", default="1.0.0", show_default=True, help="Three numbers, semantic.")
@click.option(
    "--out", type=FILE, metavar="DIR", help="Folder of bundles [default: the user's, where models are found by name]."
)
@click.option("--licence", default=None, help="Of the weights.")
@click.option("--card", "card_path", type=FILE, metavar="FILE", help="Further entries of the card, JSON.")
@click.option(
    "--slim", is_flag=True, help="Leave out SavedModel, ONNX and rdf.yaml, which zoo complete makes of the rest."
)
@options.settings(ImportSettings)
@options.overwrite
def import_checkpoint(checkpoint, config, name, version, out, licence, card_path, slim, overwrite, **given):
    """Make a bundle of a network of pytorch-3dunet: CHECKPOINT is a .pytorch file, or a bioimage.io package with one.

    It may be an address, https://..., or bioimageio://ID, a model of bioimage.io. PyTorch is not needed, and no code in the file is run.
    """
    settings = options.given_settings(ImportSettings, given)
    kernels.load_backend_quietly()
    from keras_unet3d import zoo
    from keras_unet3d.files import read_json

    card = read_json(Path(card_path), "entries of a model card") if card_path else {}
    card |= {"name": name, "version": version}
    if licence:
        card["licence"] = {"weights": licence, "code": "not stated"}
    with live("fetching") as listener:
        bundle = zoo.import_checkpoint(
            checkpoint, card, out, overwrite, config=config, settings=settings, complete=not slim, listener=listener
        )
    say(f"network: {zoo.card(bundle).training['imported']['layers']}")
    say(f"bundle: {bundle}")
    say(f"next: unet3d-cli predict {shlex.quote(str(bundle))} VOLUME --out LABELS")


@teaches(example="zoo remove small-cells")
@command.command("remove", cls=Command)
@click.argument("name", type=MODEL)
def remove(name):
    """Remove an installed model: NAME, or NAME@VERSION where there are several."""
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    say(f"removed: {zoo.remove(name)}")


@teaches(example="zoo path hippocampus-mri")
@command.command("path", cls=Command)
@click.argument("name", type=MODEL)
@click.option(
    "--serving", type=FILE, metavar="DIR", help="Write the SavedModel to DIR/NAME/1 as well, which TF Serving reads."
)
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


@teaches(example="zoo complete small-cells --out models", stopped="nothing was written")
@command.command("complete", cls=Working)
@click.argument("name", type=MODEL)
@click.option("--out", required=True, type=FILE, metavar="DIR", help="Folder of bundles.")
@options.overwrite
def complete(name, out, overwrite):
    """Write a bundle again with SavedModel and ONNX: a package that bioimage.io takes."""
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    say(f"bundle: {zoo.complete(name, out, overwrite)}")


@teaches(example="zoo verify hippocampus-mri")
@command.command("verify", cls=Command)
@click.argument("name", type=MODEL)
def verify(name):
    """Check every checksum of a model and replay its stored test."""
    kernels.load_backend_quietly()
    from keras_unet3d import zoo

    for line in zoo.verify(name):
        say(line)
