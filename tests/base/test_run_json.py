"""The type of run.json against a recorded run's file."""

import json

from imports import ROOT
from study.base import run_json


def test_the_type_has_the_keys_of_a_recorded_run():
    folder = ROOT / "data/recorded/full-cpu/gpt2/gpt2-0"
    content = json.loads((folder / "run.json").read_text())
    assert run_json.read(folder) == content
    newer = {"tied", "qkv_bias", "dropout"}  # knobs that runs of an earlier version lack
    assert content.keys() | newer == run_json.RunJson.__annotations__.keys()
    assert newer <= run_json.RunJson.__optional_keys__
