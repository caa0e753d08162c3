"""Does each parameter of a checkpoint or a live model hold what its init recipe says?

For .safetensors files torch is not needed.

May import: base, weights, roles, recipes.
"""
