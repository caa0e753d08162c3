"""Does each matrix of a checkpoint or a live model hold the std that its init scheme says? For .safetensors
files without torch.

May import: base, weights, roles.
"""
