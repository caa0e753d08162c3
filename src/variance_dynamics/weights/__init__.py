"""Weight matrices: their roles, the pieces of tensors that hold them, the std that a scheme gives them, and
their statistics.

May import: base.
"""
