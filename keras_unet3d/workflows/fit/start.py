"""A network that is trained further, also on other classes or channels."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import keras

from keras_unet3d.errors import InputError
from keras_unet3d.network.architecture import Architecture
from keras_unet3d.network.unet import architecture_of
from keras_unet3d.settings import FitSettings
from keras_unet3d.workflows.fit.plan import Plan, network_options


@dataclass(frozen=True)
class Start:
    """A network to begin with.

    Attributes:
        model: made by `build_model`.
        name: what the user calls it: a run folder, a bundle, or a name.
    """

    model: keras.Model = field(repr=False)
    name: str

    @property
    def architecture(self) -> Architecture:
        """What it was built from."""
        return architecture_of(self.model)


def other_settings(settings: FitSettings, start: Start) -> Iterator[str]:
    """Yield a sentence for every setting that asks for another network than the one to begin with."""
    default, networks = FitSettings(), start.architecture.networks
    if networks > 1:
        yield (
            f"start: expected one network to train further, found {start.name}, the mean of {networks}; make one network of "
            "it first (distill)."
        )
    for name, value in network_options(start.architecture).items():
        asked = getattr(settings, name)
        if asked not in (getattr(default, name), value):
            yield f"{name}: expected {value}, that of {start.name}, found {asked}; leave it out with `start`."


def refuse_other_kind(start: Start, plan: Plan) -> None:
    """Raise `InputError` where classes of the data do not overlap and those of the network to begin with may."""
    if start.architecture.output == "sigmoid" and plan.spec.architecture.output != "sigmoid":
        raise InputError(
            f"start: expected a network of classes, found {start.name}, whose classes may overlap (a sigmoid each)."
        )


def take_weights(model: keras.Model, start: Start) -> str:
    """Give `model` the weights of the layers of the same name and shape, and return a line on what is kept and new."""
    theirs = {layer.name: layer for layer in start.model.layers}
    kept, new = 0, []
    for layer in model.layers:
        shapes = [weight.shape for weight in layer.weights]
        if not shapes:
            continue
        if layer.name in theirs and [weight.shape for weight in theirs[layer.name].weights] == shapes:
            layer.set_weights(theirs[layer.name].get_weights())
            kept += 1
        else:
            new.append(layer.name)
    return f"from {start.name}: {kept} layers kept, {'new: ' + ', '.join(new) if new else 'none new'}"
