"""Predictions that are made before anything is measured: how ReLU networks pass variance on, the band of
stds that train under SGD, and the null law of AdamW. Needs numpy alone.

May import: base, weights.
"""
