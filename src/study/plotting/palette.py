"""Pictures of 256 colours: a third of the bytes, each colour still close to its own."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 256


def reduced(pixels: NDArray[np.uint8]) -> Image.Image:
    """The picture [height, width, 3] in the 256 of its colours that leave no common one far away.

    Greedy k-centres, weighted by the root of a colour's count, so that both the line of a legend and a pale
    band keep their hue (Pillow's own quantisers blend them). Element by element, so the same bytes anywhere.
    """
    codes = (pixels.astype(np.int64) << [16, 8, 0]).sum(axis=-1)
    found, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
    colours, weight = (found[:, None] >> [16, 8, 0]) & 255, np.sqrt(counts)
    distance, nearest = np.full(len(found), np.iinfo(np.int64).max), np.zeros(len(found), dtype=np.uint8)
    palette = [int(counts.argmax())]
    for place in range(min(SIZE, len(found))):
        squares = ((colours - colours[palette[place]]) ** 2).sum(axis=1)
        nearest[squares < distance] = place
        distance = np.minimum(distance, squares)
        palette.append(int((distance * weight).argmax()))
    picture = Image.fromarray(nearest[where].reshape(pixels.shape[:2]))
    picture.putpalette(colours[palette[:SIZE]].astype(np.uint8).tobytes())
    return picture
