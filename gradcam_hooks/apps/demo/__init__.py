"""The bundled demo: two small networks that score the same, and look at different things.

Both name the shape in a picture, and every picture carries a small tag whose colour gives the
answer away. The honest network looks at the shape; the fooled one looks at the tag. No accuracy on
such pictures tells them apart, a map does. The figures and how they were measured stand in
`MODEL_CARD.md`; `scripts/train_demo.py` makes the weights and the pictures anew. Importing this
package takes torch and numpy only.
"""

from __future__ import annotations

from pathlib import Path

from gradcam_hooks.apps.demo.network import network

__all__ = ["FOOLED", "HONEST", "IMAGES", "INPUT_SIZE", "LABELS", "MEAN", "STD", "network"]

_HERE = Path(__file__).parent

#: The classes, in the order of the network's logits.
LABELS = ("circle", "ring", "square", "triangle", "star", "cross", "heart", "crescent")

#: The weights of the network that looks at the shape, for `network()`.
HONEST = _HERE / "honest.safetensors"

#: The weights of the network that looks at the tag, for `network()`.
FOOLED = _HERE / "fooled.safetensors"

#: The sample pictures, sorted by name; each is named after the shape in it.
IMAGES = tuple(sorted((_HERE / "images").glob("*.png")))

#: The side of the square input in pixels, and the normalisation of RGB in [0, 1].
INPUT_SIZE = 64
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
