"""Predictions that are made before anything is measured.

They say how ReLU networks pass variance on, which stds train under SGD, and what AdamW does to the std of the
weights (the null law). Needs numpy alone.

May import: base, weights.
"""
