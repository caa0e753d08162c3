"""Which role each parameter of anyone's model has, from its name and shape.

May import: base, weights.
"""
