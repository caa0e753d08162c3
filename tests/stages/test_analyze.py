"""The stage on synthetic raw tables: what it writes, what it deletes, recorded runs, the same bytes twice."""

import contextlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

import adam_noise
from analysis import synthetic
from copies import alone
from imports import ROOT
from study.analysis.claims import CLAIMS
from study.stages import analyze
from variance_dynamics.base import rows


def band(dataset, optimizer, depth, width, seed):
    factor = synthetic.fan_factor(depth, width, synthetic.TASKS[dataset][0])
    return 0.3 / factor, 3 * (1 + 0.1 * seed) / factor


def write_mlp(folder, models, curves):
    layers = [(run, 0, 1, stat, 1.0) for run in models["run"] for stat in ("second_moment", "grad_norm")]
    rows.write(folder / "models.parquet", models)
    rows.write(folder / "curves.parquet", curves)
    names = ["run", "step", "layer", "stat", "value"]
    rows.write(folder / "layers.parquet", pd.DataFrame(layers, columns=names))


def write_classification(folder):
    """Noise with labels: enough for the signal that theory asks of the data."""
    rng = np.random.default_rng(0)
    arrays = {f"{kind}_{split}": value for split in ("train", "val", "test") for kind, value in (
        ("x", rng.normal(size=(60, 64)).astype(np.float32)), ("y", np.arange(60) % 10))}
    folder.mkdir(parents=True)
    np.savez(folder / "digits.npz", **arrays)
    (folder / "manifest.json").write_text(json.dumps({"digits": {"classes": 10}}))


def write_study(data, arms=("gpt2",), seeds=(0, 1)):
    write_classification(data / "classification")
    write_mlp(data / "mlp_sweep", *synthetic.sweep(band, widths=(64, 128), seeds=2, stds=synthetic.STDS[::8]))
    write_mlp(data / "init_comparison", *synthetic.comparison(
        lambda o, d, scheme, lr, seed: 8 + 4 * (scheme == "xavier") + seed, lambda *_: 0.8, seeds=2))
    for arm in arms:
        for seed in seeds:
            frames, knobs = adam_noise.run(arm, seed, steps=120, layers=12, elements=100)
            for name, frame in frames.items():
                rows.write(data / "gpt2" / f"{arm}-{seed}" / f"{name}.parquet", frame)
            (data / "gpt2" / f"{arm}-{seed}" / "run.json").write_text(json.dumps(knobs))


def write_params(folder, **changes):
    tree = alone(yaml.safe_load((ROOT / "params.yaml").read_text()))
    tree["gpt2"] |= {"arms": ["gpt2"], "seeds": [0, 1]}
    tree["analyze"] |= {"bootstrap": 200, **changes}
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that was analyzed once."""
    folder = tmp_path_factory.mktemp("study")
    write_study(folder / "data")
    write_params(folder)
    with contextlib.chdir(folder):
        analyze.main()
    return folder


@pytest.fixture
def study(finished, tmp_path, monkeypatch):
    """A copy of it, to change and to analyze again."""
    shutil.copytree(finished, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def written(study):
    return {path.name: path.read_bytes() for path in sorted((study / "data/analysis").rglob("*.*"))}


def strict(constant):
    raise ValueError(f"{constant} is not JSON")


def test_tables_and_metrics(study):
    tables = {path.stem: rows.read(path) for path in (study / "data/analysis").glob("*.parquet")}
    assert {name.split("_")[0] for name in tables} >= {"e1", "e2", "e3"}
    for name, table in tables.items():
        assert table.columns[0] == "source" and (table["source"] == "local").all(), name
    metrics = {path.stem: json.loads(path.read_text(), parse_constant=strict)
               for path in (study / "data/analysis/metrics").iterdir()}
    assert set(metrics) == {"claims", "claims_detail", "gpt2", "init_comparison", "mlp_sweep"}
    assert set(metrics["claims"]) == set(CLAIMS)
    for name in ("mlp_sweep", "init_comparison"):
        assert {type(value) for value in metrics[name].values()} <= {int, float, type(None)}
        assert set(metrics[name]) < set(tables["numbers"].query("experiment == @name")["name"])
    assert not set(metrics["mlp_sweep"]) & set(metrics["init_comparison"])
    first = metrics["claims"]["e2_kaiming_faster"]
    assert first["effect"] < 0 and set(first) == {"effect", "verdict"}


def test_the_same_bytes_twice_and_what_earlier_params_named_is_deleted(study):
    first = written(study)
    (study / "data/analysis/e3_of_an_earlier_version.parquet").write_bytes(b"")
    (study / "data/analysis/metrics/of_an_earlier_version.json").write_bytes(b"")
    shutil.copytree("data/gpt2/gpt2-0", "data/gpt2/std_1-0")
    (study / "data/gpt2/.gitignore").write_text("/std_1-0\n")
    analyze.main()
    assert written(study) == first
    assert sorted(path.name for path in (study / "data/gpt2").iterdir()) == [".gitignore", "gpt2-0", "gpt2-1"]


def test_recorded_runs_stand_beside_the_local_one(study):
    alone = written(study)
    for name in ("init_comparison", "gpt2"):
        shutil.copytree(study / "data" / name, study / "data/recorded/full" / name)
    write_mlp(study / "data/recorded/sweep/mlp_sweep",
              *synthetic.sweep(band, widths=(64,), seeds=3, stds=synthetic.STDS[::4]))
    commits = {"e2-wine-3": {"commit": "b"}, "e1-wine-64": {"commit": "a"}, "corpus": {"commit": "b"}}
    provenance = {"parts": commits, "wall_seconds": 7.5}
    (study / "data/recorded/full/provenance.json").write_text(json.dumps(provenance))
    write_params(study, recorded=["full", "sweep"])
    analyze.main()
    claims = written(study)["claims.json"]
    assert claims == alone["claims.json"], "claims.json is the local run's"
    assert written(study)["mlp_sweep.json"] == alone["mlp_sweep.json"]
    edges = rows.read("data/analysis/e1_edges.parquet")
    assert list(edges["source"].unique()) == ["local", "sweep"]
    for name in ("e2_gap", "e3_std"):
        table = rows.read(f"data/analysis/{name}.parquet")
        local, full = (table[table["source"] == source].drop(columns="source").reset_index(drop=True)
                       for source in ("local", "full"))
        pd.testing.assert_frame_equal(local, full)
    detail = json.loads(written(study)["claims_detail.json"])
    assert detail["claims"]["e2_kaiming_faster"]["sources"]["sweep"]["verdict"] == "not run"
    assert set(detail["claims"]["e1_regimes"]["sources"]) == {"local", "full", "sweep"}
    assert detail["recorded"] == {"full": {"parts": 3, "commits": ["a", "b"], "wall_seconds": 7.5},
                                  "sweep": {}}


def test_a_recorded_run_that_was_counted_by_another_threshold_is_refused(study, capsys):
    """Its steps cannot be counted anew, so its verdict would stand under a rule that it does not follow."""
    first = written(study)
    rules = yaml.safe_load((study / "params.yaml").read_text())["analyze"]
    shutil.copytree(study / "data/init_comparison", study / "data/recorded/full/init_comparison")
    rules["e2"]["threshold"] = 0.3
    provenance = {"parts": {}, "params": {"analyze": rules}}
    (study / "data/recorded/full/provenance.json").write_text(json.dumps(provenance))
    write_params(study, recorded=["full"])
    with pytest.raises(SystemExit) as ended:
        analyze.main()
    assert ended.value.code == 2 and written(study) == first
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "analyze.e2.threshold is 0.5: expected 0.3, by which" in message
    rules["e2"]["threshold"] = 0.5
    rules["e1"]["regimes_share"] = 0.9  # a threshold that is applied anew
    (study / "data/recorded/full/provenance.json").write_text(json.dumps(provenance))
    analyze.main()
    assert written(study) != first


@pytest.mark.parametrize("name", ["nowhere", "../gpt2"])
def test_an_unknown_recorded_run_is_one_line_of_error(study, name, capsys):
    first = written(study)
    write_params(study, recorded=[name])
    with pytest.raises(SystemExit) as ended:
        analyze.main()
    assert ended.value.code == 2 and written(study) == first
    message = capsys.readouterr().err
    assert name in message and "expected" in message and message.count("\n") == 1


def test_a_run_that_is_not_there_is_named(study, capsys):
    (study / "data/gpt2/gpt2-1/weights.parquet").unlink()
    with pytest.raises(SystemExit):
        analyze.main()
    assert "data/gpt2/gpt2-1/weights.parquet" in capsys.readouterr().err


def test_plain_values():
    plain = analyze.plain({"a": [1 / 3, float("nan"), 2], "b": ("x", True, None, float("inf"), 1e-20 / 3)})
    assert plain == {"a": [0.333333, None, 2], "b": ["x", True, None, None, 3.33333e-21]}
