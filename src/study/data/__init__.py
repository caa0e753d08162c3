"""The data to train on: Wine, digits and MNIST as labelled arrays, and text as tokens.

May import: variance_dynamics, base.
"""
