"""Metadata and dependencies of keras-unet3d; `pyproject.toml` holds tool settings only."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "keras_unet3d" / "__init__.py").read_text("utf-8")).group(1)

# elasticdeform 0.5.1, the newest, ships wheels that were built against NumPy 1 and do not import under NumPy 2. All else
# here runs with either, so the bound is in an extra, which the README's commands install; without it `fit` deforms by its
# own engine. Python 3.13 has neither that wheel nor NumPy 1: pip compiles elasticdeform there, against NumPy 2.
ELASTICDEFORM = ["elasticdeform>=0.5.1", "numpy<2; python_version<'3.13'"]

# 3.0.0 to 3.0.7 are withdrawn: their zarr.load() deletes data.
ZARR = ["zarr>=3.0.8"]
# JAX, so that the core is tested on a second backend and `fit` without TensorFlow.
TEST_TOOLS = [
    "pytest>=8.3",
    "pytest-xdist>=3.8",
    "hypothesis>=6.100",
    # What our figures are compared with; its adapted Rand error is wrong with scipy 1.13.
    "scikit-image>=0.25",
    "scipy>=1.14.1",
    "ruff>=0.9",
    "mypy>=1.17",
    "types-psutil",
    "bioimageio.spec>=0.5.14",
    "jax>=0.7.1",
    # A store like Amazon's, served by a thread. Its extra "server" brings what other services of Amazon need.
    "moto[s3]>=5.1",
    "flask>=3.1",
    "flask-cors>=5.0",
    # The notebooks in docs/ are run.
    "nbclient>=0.10",
    "ipykernel>=6.29",
]

ONNX = ["onnxruntime>=1.22", "tf2onnx>=1.17"]
OPENVINO = ["openvino>=2025.2", "tf2onnx>=1.17"]
# 26 needs NumPy 2, and whoever deforms with elasticdeform has NumPy 1.
PARQUET = ["pyarrow>=18,<26"]
# The whole mlflow brings NumPy 2; with these two the small one keeps a database of its own, where no server is named.
MLFLOW = ["mlflow-skinny>=3.13", "sqlalchemy>=2.0.30", "alembic>=1.13"]
WANDB = ["wandb>=0.31"]
HUB = ["huggingface_hub>=1.0"]
# `aiohttp` for https://, `s3fs` for s3://; of other stores people install what fsspec asks for.
REMOTE = [*ZARR, "fsspec>=2025.5", "s3fs>=2025.5", "aiohttp>=3.11"]
DICOM = ["highdicom>=0.28", "pydicom>=3.0.1"]
ITK = ["SimpleITK>=2.4.1"]
MRC = ["mrcfile>=1.5.3"]
CZI = ["pylibCZIrw>=5.0"]
LIF = ["liffile>=2026.2.15"]
ND2 = ["nd2>=0.10.1"]
# What is made of N5 is written as Zarr.
N5 = ["tensorstore>=0.1.72", *ZARR]
FORMATS = [*ZARR, *DICOM, *ITK, *MRC, *CZI, *LIF, *ND2, *N5]
# A window needs a Qt, too; napari itself brings none.
NAPARI = ["napari>=0.6.1", "pyqt6>=6.5"]
CLUSTER = [*ZARR, "distributed>=2025.5"]
# The site of the documentation.
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.6", "mkdocstrings-python>=2.0"]

setup(
    name="keras-unet3d",
    version=VERSION,
    description="Dense 3D segmentation from a few annotated slices: the 3D U-Net in Keras 3",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    author="keras-unet3d developers",
    project_urls={"Paper": "https://arxiv.org/abs/1606.06650"},
    python_requires=">=3.11",
    # The folders cli/ and zoo/ import as keras_unet3d.cli and keras_unet3d.zoo: the distribution
    # owns one import name, and nothing called "cli" or "zoo" lands in site-packages.
    packages=[
        "keras_unet3d",
        "keras_unet3d.augment",
        "keras_unet3d.datasets",
        "keras_unet3d.evaluation",
        "keras_unet3d.labels",
        "keras_unet3d.machine",
        "keras_unet3d.network",
        "keras_unet3d.patches",
        "keras_unet3d.pictures",
        "keras_unet3d.prediction",
        "keras_unet3d.report",
        "keras_unet3d.segments",
        "keras_unet3d.settings",
        "keras_unet3d.training",
        "keras_unet3d.volumes",
        "keras_unet3d.workflows",
        "keras_unet3d.workflows.annotate",
        "keras_unet3d.workflows.check",
        "keras_unet3d.workflows.doctor",
        "keras_unet3d.workflows.evaluate",
        "keras_unet3d.workflows.fit",
        "keras_unet3d.workflows.predict",
        "keras_unet3d.workflows.report",
        "keras_unet3d.cli",
        "keras_unet3d.zoo",
    ],
    package_dir={"keras_unet3d.cli": "cli", "keras_unet3d.zoo": "zoo"},
    package_data={
        "keras_unet3d": ["py.typed"],
        "keras_unet3d.report": ["page.html", "page.css", "viewer.js"],
        "keras_unet3d.cli": ["napari.yaml"],
        "keras_unet3d.zoo": ["models/*/*/*"],
    },
    install_requires=[
        "tensorflow>=2.20",
        "keras>=3.12",
        "numpy>=1.26.4",
        "elasticdeform>=0.5.1",
        "scipy>=1.13",
        "h5py>=3.11",
        "nibabel>=5.3",
        "tifffile>=2025.1.10",
        "imagecodecs>=2025.3.30",
        "matplotlib>=3.10",
        "rich>=13.9.1",
        "click>=8.2",
        "psutil>=6.1",
        "platformdirs>=4.3",
        "pyyaml>=6.0.1",
        "jinja2>=3.1.2",
        "tensorboard>=2.20",
    ],
    extras_require={
        "elasticdeform": ELASTICDEFORM,
        "test": [*FORMATS, *ONNX, *OPENVINO, *CLUSTER, *PARQUET, *MLFLOW, *WANDB, *HUB, *REMOTE, *TEST_TOOLS],
        "docs": DOCS,
        # Pages are looked at in a real browser, Chromium, which pip does not bring: `pytest -m browser`.
        "browser": ["playwright>=1.65"],
        "zarr": ZARR,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "cluster": CLUSTER,
        "parquet": PARQUET,
        "mlflow": MLFLOW,
        "wandb": WANDB,
        "hub": HUB,
        "remote": REMOTE,
        "dicom": DICOM,
        "itk": ITK,
        "mrc": MRC,
        "czi": CZI,
        "lif": LIF,
        "nd2": ND2,
        "n5": N5,
        "formats": FORMATS,
        "napari": NAPARI,
        "gpu": ["tensorflow[and-cuda]>=2.20"],
    },
    entry_points={
        "console_scripts": ["unet3d-cli = keras_unet3d.cli:main"],
        "napari.manifest": ["keras-unet3d = keras_unet3d.cli:napari.yaml"],
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Framework :: napari",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
