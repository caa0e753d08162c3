"""The study: the pipeline of dvc.yaml, which reads params.yaml and calls the library. The wheel leaves it
out.

Rooms, from the ground up: base; data; mlp (E1, E2) and gpt2 (E3); analysis; plotting; stages. A room
imports from rooms below it, and from the library; each says which. A room is a cache boundary: DVC reruns
the stages that depend on a room of which a file changed.
"""
