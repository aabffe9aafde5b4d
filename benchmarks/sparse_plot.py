"""One picture of several experiments: python benchmarks/sparse_plot.py TITLE=DIR... --out FILE.

Every DIR is what `benchmarks/sparse.py --out` wrote.
"""

import argparse
import json
from pathlib import Path

from sparse import plot


def main() -> None:
    """Draw a panel per experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="+", metavar="TITLE=DIR")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    titled = (experiment.partition("=") for experiment in arguments.experiments)
    plot({title: json.loads((Path(folder) / "sparse.json").read_text()) for title, _, folder in titled}, arguments.out)


if __name__ == "__main__":
    main()
