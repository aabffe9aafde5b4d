"""Models by name: bundles that describe, prove and carry a trained network.

>>> from keras_unet3d import zoo
>>> [card.name for card in zoo.list_models()]  # doctest: +SKIP
"""

from keras_unet3d.lazy import lazy_names

_HOMES = {
    "Card": "keras_unet3d.zoo.cards",
    "Licence": "keras_unet3d.zoo.cards",
    "complete": "keras_unet3d.zoo.exporting",
    "ImportSettings": "keras_unet3d.zoo.importing",
    "import_checkpoint": "keras_unet3d.zoo.importing",
    "install": "keras_unet3d.zoo.installing",
    "publish": "keras_unet3d.zoo.publishing",
    "remove": "keras_unet3d.zoo.installing",
    "unpack_for_serving": "keras_unet3d.zoo.exporting",
    "card": "keras_unet3d.zoo.registry",
    "find": "keras_unet3d.zoo.registry",
    "list_models": "keras_unet3d.zoo.registry",
    "search_path": "keras_unet3d.zoo.registry",
    "export": "keras_unet3d.zoo.exporting",
    "broken_models": "keras_unet3d.zoo.registry",
    "export_run": "keras_unet3d.zoo.exporting",
    "held_out_files": "keras_unet3d.zoo.loading",
    "load": "keras_unet3d.zoo.loading",
    "open_model": "keras_unet3d.zoo.loading",
    "fastest": "keras_unet3d.zoo.choosing",
    "chooser": "keras_unet3d.zoo.choosing",
    "predictor": "keras_unet3d.zoo.engines",
    "recipe": "keras_unet3d.zoo.engines",
    "verify": "keras_unet3d.zoo.verifying",
}
__all__ = [*_HOMES]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
