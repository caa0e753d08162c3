"""Does each matrix of a checkpoint or a live model hold the std that its init scheme says?

Files are read without torch, and nothing that they hold is run.

May import: base, weights, roles.
"""
