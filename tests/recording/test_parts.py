"""The full study's parts: everything once, each with its own params, redone when what decides it changes."""

import copy

import pytest

from imports import ROOT
from study.base import params
from study.gpt2.params import resolve
from study.mlp.experiments import init_comparison_groups, mlp_sweep_groups
from study.mlp.params import InitComparisonParams, MlpSweepParams
from study.recording import parts
from study.recording.full import plan, spoken
from variance_dynamics.base.errors import BadInput


@pytest.fixture(scope="module")
def full():
    return parts.whole("full", ROOT / "params.yaml")


@pytest.fixture(scope="module")
def every(full):
    return parts.parts(full)


def groups(tree, stage):
    kind, make = {"mlp_sweep": (MlpSweepParams, mlp_sweep_groups),
                  "init_comparison": (InitComparisonParams, init_comparison_groups)}[stage]
    return make(params.section(tree, stage, kind), tree["classification"]["datasets"])


def test_the_full_study_is_what_it_should_be(full):
    assert full["classification"]["datasets"] == ["wine", "digits", "mnist"]
    assert len(full["gpt2"]["arms"]) >= 8 and len(full["gpt2"]["seeds"]) >= 3
    for arm in full["gpt2"]["arms"]:
        run = resolve(full, arm)
        assert run.device == "cpu" and run.steps * run.batch_size * run.n_ctx >= 2_000_000


@pytest.mark.parametrize("stage", [parts.E1, parts.E2])
def test_the_parts_of_a_grid_are_the_grid(full, every, stage):
    """No group is lost, none is trained twice and none is changed."""
    apart = [group for part in every if part.stage == stage for group in groups(part.tree, stage)]
    whole = groups(full, stage)
    assert len(apart) == len(whole) and set(apart) == set(whole)


def test_names_choose_parts(every):
    names = [part.name for part in every]
    assert len(set(names)) == len(names) and [part.name for part in parts.chosen(every, [])] == names
    assert [part.name for part in parts.chosen(every, ["e3-gpt2", "e1-wine", "e3-gpt2-0"])] == [
        "corpus", "e3-gpt2-0", "e3-gpt2-1", "e3-gpt2-2", "e1-wine-64"]
    with pytest.raises(BadInput, match=r"PARTS has 'e4': expected .*e1-wine-64"):
        parts.chosen(every, ["e4"])
    with pytest.raises(BadInput, match="study is 'fuller'"):
        parts.whole("fuller", ROOT / "params.yaml")


def test_a_part_s_params_file_gives_its_params(every, tmp_path):
    part = every[0]
    parts.write_params(part.tree, tmp_path / "params.yaml")
    assert params.read(tmp_path / "params.yaml") == part.tree


@pytest.mark.parametrize(("change", "redone"), [
    ({"mlp_sweep": {"steps": 7}}, {parts.E1}),
    ({"classification": {"seed": 3}}, {parts.E1, parts.E2}),
    ({"gpt2": {"lr": 2e-3}}, {parts.E3}),
    ({"gpt2": {"checkpoint_every": 7}}, set()),
    ({"corpus": {"seed": 3}}, {parts.E3, parts.CORPUS}),
    ({"gpt2_arms": {"wd_1": {"weight_decay": 2.0}}}, {"e3-wd_1-0", "e3-wd_1-1", "e3-wd_1-2"}),
    ({"analyze": {"bootstrap": 9}}, set())])
def test_what_a_change_of_params_makes_anew(full, every, change, redone):
    changed = parts.parts(params.merged(copy.deepcopy(full), change))
    pairs = zip(every, changed, strict=True)
    found = [old for old, new in pairs
             if parts.fingerprint(old, ROOT / "dvc.yaml") != parts.fingerprint(new, ROOT / "dvc.yaml")]
    assert {part.name for part in found} == {part.name for part in every if {part.name, part.stage} & redone}


def test_a_change_of_code_counts_where_it_is_used(every, tmp_path):
    def fingerprints():
        return {part.name: parts.fingerprint(part, tmp_path / "dvc.yaml") for part in every}

    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (tmp_path / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    for file in (ROOT / "src").rglob("*.py"):
        copied = tmp_path / file.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(file.read_bytes())
    before = fingerprints()
    with (tmp_path / "src/study/gpt2/model.py").open("a") as file:
        file.write("# changed\n")
    changed = {name for name, found in fingerprints().items() if found != before[name]}
    assert changed == {part.name for part in every if part.stage == parts.E3}


def test_the_plan_tells_hours_and_the_longest_part(capsys):
    plan({"e1-wine-64": 40.0, "corpus": 30.0, "e3-gpt2-0": 3600.0, "e3-gpt2-1": 7300.0})
    told = capsys.readouterr().err
    assert "4 parts, about 3 h 03 min in all, the longest e3-gpt2-1 with 2 h 02 min" in told
    assert [spoken(seconds) for seconds in (5, 59.6, 60, 3540, 3599)] == [
        "5 s", "60 s", "1 min", "59 min", "1 h 00 min"]
