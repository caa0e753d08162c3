"""What is trained on: Wine, digits and MNIST, and text as tokens.

May import: variance_dynamics, base.
"""
