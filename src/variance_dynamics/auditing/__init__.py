"""Does each parameter of a checkpoint or a live model hold what its init recipe says?

Files are read without torch, and nothing that they hold is run.

May import: base, weights, roles, recipes.
"""
