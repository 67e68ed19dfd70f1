"""Writes the data of the examples into ``data/`` beside this file: a table, folders of pictures, and texts.

python examples/make_data.py

The wines and the photographs come with scikit-learn, the reviews with Modelyard: nothing is downloaded.
"""

import csv
import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images, load_wine

PICTURES, SIDE = 250, 64
"""Pictures of each class, and their height and width in pixels."""


def write_wines(path: Path) -> None:
    """178 wines of three cultivars: https://archive.ics.uci.edu/dataset/109 (Aeberhard & Forina 1992)."""
    data = load_wine()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*data.feature_names, "cultivar"])
        writer.writerows([*row, data.target_names[k]] for row, k in zip(data.data.tolist(), data.target, strict=True))


def write_pictures(folder: Path, pictures: int = PICTURES) -> None:
    """Pieces of two photographs, a temple and a flower: which one is a piece from?"""
    generator = np.random.default_rng(0)
    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        height, width, _ = photograph.shape
        for number in range(pictures):
            top, left = generator.integers(height - SIDE), generator.integers(width - SIDE)
            piece = photograph[top : top + SIDE, left : left + SIDE]
            Image.fromarray(piece).save(folder / name / f"{number:03d}.png")


def write_reviews(path: Path) -> None:
    """Short reviews of places and films, written for Modelyard."""
    samples = files("modelyard.models.datasets") / "samples"
    lines = [
        line for name in ("train", "test") for line in (samples / f"reviews_{name}.jsonl").read_text().splitlines()
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(json.loads(line) for line in lines)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_wines(folder / "wine.csv")
    write_pictures(folder / "pictures")
    write_reviews(folder / "reviews.csv")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
