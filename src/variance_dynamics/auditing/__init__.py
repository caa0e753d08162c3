"""Does each matrix of a checkpoint or a live model hold the std that its init recipe says?

May import: base, weights, roles.
"""
