"""The checkpoints of one run, a folder of them or the revisions of a hub's repository: the Tracker's table of
them, what is wrong with them, and the null law beside them. The public function is `series`.

Needs no torch for .safetensors files.

May import: base, weights, roles, theory, recipes, tracking, auditing, forecasting.
"""
