"""Does each matrix of a checkpoint or a live model hold the std that its init scheme says?

For .safetensors files torch is not needed.

May import: base, weights, roles.
"""
