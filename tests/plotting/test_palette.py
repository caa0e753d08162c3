"""Pictures in 256 colours."""

import numpy as np

from study.plotting.palette import reduced


def shown(pixels):
    return np.asarray(reduced(pixels).convert("RGB"))


def test_few_colours_are_kept_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (256, 1, 3)).astype(np.uint8).repeat(5, axis=1)
    np.testing.assert_array_equal(shown(pixels), pixels)


def test_one_colour():
    np.testing.assert_array_equal(shown(np.full((2, 3, 3), 7, np.uint8)), np.full((2, 3, 3), 7))


def test_a_rare_colour_and_a_pale_band_survive_ten_thousand_shades():
    rng = np.random.default_rng(0)
    pixels = np.full((200, 200, 3), 255, np.uint8)
    shades = np.sort(rng.integers(60, 200, (100, 200, 1)), axis=0)
    pixels[:100, :, :] = shades + rng.integers(0, 8, (100, 200, 3))
    pixels[150, 10:14] = (213, 94, 0)  # a legend's short line
    pixels[160:190] = (230, 241, 247)  # a band of low opacity
    error = np.abs(shown(pixels).astype(int) - pixels)
    assert error.max() < 24
    assert error[150].max() <= 8
    assert error[160:190].max() <= 4
