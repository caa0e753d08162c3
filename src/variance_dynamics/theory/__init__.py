"""Predictions that are printed before anything is measured: variance propagation, the band of stds that
train under SGD, and the null law of AdamW. Numpy alone.

May import: base, weights.
"""
