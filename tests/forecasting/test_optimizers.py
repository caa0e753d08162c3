"""Forecasts for every optimizer and schedule, and tables that say how each matrix was trained."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from lion import Lion
from networks import NanoGPT
from variance_dynamics import Tracker, forecast
from variance_dynamics.base.errors import BadInput
from variance_dynamics.cli import main
from variance_dynamics.forecasting.recorded import forecast_of
from variance_dynamics.forecasting.settings import optimizers_of, schedule_of_file
from variance_dynamics.theory import null_law
from variance_dynamics.theory.laws import LAWS, law_of

STEPS = 600


def printed(capsys, *arguments):
    """Exit code, standard output and standard error of the command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    return ended.value.code, out.out, out.err


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A small GPT on white gradients: Muon in the blocks, AdamW for the embeddings, which do not decay."""
    torch.manual_seed(0)
    model = NanoGPT(width=48, layers=2)
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".h." in name)]
    muon = torch.optim.Muon(inside, lr=0.01, weight_decay=0.2)
    adamw = torch.optim.AdamW(others, lr=2e-3, weight_decay=0.0)
    folder = tmp_path_factory.mktemp("run")
    trackers = [Tracker(model, [muon, adamw], every=50, path=folder / name)
                for name in ("a.parquet", "a.jsonl")]
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        share = 1 - 0.9 * step / STEPS
        for optimizer, peak in ((muon, 0.01), (adamw, 2e-3)):
            optimizer.param_groups[0]["lr"] = peak * share
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        muon.step()
        adamw.step()
    for tracker in trackers:
        tracker.close()
    return folder


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_each_matrix_has_the_law_of_its_optimizer_lr_decay_and_shape(tracked, name):
    optimizers = optimizers_of(["muon", "embedding=adamw", "position=adamw"], None, "original")
    made, run = forecast_of(str(tracked / name), None, {}, optimizers)
    ratios = run.end.set_index("name")["R"]
    assert len(ratios) == 14 and not run.left_out and run.exit_code == 0
    assert ratios.between(0.85, 1.15).all(), "white gradients follow their law"
    rates = 2e-3 * (1 - 0.9 * np.arange(STEPS) / STEPS)
    end = run.end.set_index("name").loc["transformer.wte.weight"]
    assert end["predicted"] == pytest.approx(np.sqrt(end["initial"] ** 2 + (rates**2).sum()), rel=1e-3)
    assert made.schedule.weight_decay == 0.2 and made.law.optimizer == "muon", "those of most matrices"
    _, wrong = forecast_of(str(tracked / name), None, {})  # as if all were AdamW's
    assert (wrong.end[wrong.end["role"] == "q"]["R"] < 0.6).all()


def test_matrices_whose_decay_is_not_known_are_named(tracked, tmp_path, capsys):
    table = pd.read_parquet(tracked / "a.parquet")
    unknown = (table["stat"] == "weight_decay") & (table["name"] == "transformer.wte.weight")
    table.loc[unknown, "value"] = np.nan
    table.to_parquet(tmp_path / "b.parquet")
    options = ["--from", tmp_path / "b.parquet", "--optimizer", "muon"]
    code, out, _ = printed(capsys, "forecast", *options)
    assert code == 1 and "not judged, as lr or decoupled weight decay is not known: transformer.wte" in out
    code, out, _ = printed(capsys, "forecast", *options, "--json")
    assert json.loads(out)["recorded"]["left_out"] == ["transformer.wte.weight"]
    table.loc[table["stat"] == "weight_decay", "value"] = np.nan
    table.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(BadInput, match="no lr and decoupled weight decay of any matrix"):
        forecast_of(str(tmp_path / "b.parquet"), None, {})


def test_options_with_an_lr_take_the_place_of_the_table_s(tracked):
    with pytest.raises(BadInput, match="--weight-decay without --lr: the table's own"):
        forecast_of(str(tracked / "a.parquet"), None, {"weight_decay": 0.1})
    made, _ = forecast_of(str(tracked / "a.parquet"), None, {"lr": 1e-3, "steps": STEPS})
    assert made.schedule.lr == 1e-3 and made.schedule.weight_decay == 0.1


@pytest.mark.parametrize("optimizer", [name for name in LAWS if name != "sgd"])
def test_the_command_says_formula_assumption_and_source(optimizer, capsys):
    options = ["--std", ".02", "--lr", "1e-3", "--steps", "500", "--shape", "64x256"]
    options += ["--optimizer", optimizer]
    options += ["--weight-decay", "0"] if optimizer == "adam" else []
    code, out, _ = printed(capsys, "forecast", *options)
    entry = LAWS[optimizer]
    assert code == 0 and f"500 steps of {entry.title} (" in out
    for line in (f"the law: {entry.formula}", f"it assumes: {entry.assumes}", f"source: {entry.source}"):
        assert line in out
    code, out, _ = printed(capsys, "forecast", *options, "--json")
    decay = 0.0 if optimizer == "adam" else 0.1
    made = forecast(0.02, 1e-3, 500, weight_decay=decay, optimizer=optimizer, shape=(64, 256))
    assert json.loads(out)["std_final"] == made.std[-1] and json.loads(out)["optimizer"] == optimizer


@pytest.mark.parametrize("options, message", [
    (["--optimizer", "sgd"], "optimizer is sgd: there is no such law"),
    (["--optimizer", "adam"], "optimizer is adam, with weight decay: there is no such law"),
    (["--optimizer", "muon"], "shape is missing"), (["--optimizer", "muom"], "did you mean muon"),
    (["--optimizer", "muon", "--optimizer", "lion"], "optimizer is muon and lion: expected one"),
    (["--optimizer", "q=sgdd"], "optimizer is q=sgdd: expected ROLE=NAME"),
    (["--shape", "3"], "shape is '3': expected ROWSxCOLUMNS"), (["--shape", "0x4"], "shape is '0x4'"),
    (["--weight-decay-schedule", "x"], "weight decay schedule is 'x': expected one of constant, lr"),
    (["--schedule-file", "x.csv"], "--lr beside --schedule-file")])
def test_what_has_no_law_or_is_no_option_is_one_line(options, message, capsys):
    code, out, err = printed(capsys, "forecast", "--std", ".02", "--lr", "1e-3", "--steps", "50", *options)
    assert code == 2 and out == "" and message in err and err.count("\n") == 1


def test_decay_in_proportion_to_the_lr_holds_the_equilibrium():
    made = forecast(null_law.equilibrium(1e-3, 0.1), 1e-3, 5000, weight_decay_schedule="lr")
    assert made.schedule.decays == pytest.approx(0.1 * made.schedule.rates / 1e-3)
    assert made.std == pytest.approx(made.std[0], rel=1e-4)
    assert "weight decay 0.1 in proportion to the lr" in made.schedule.words


def test_a_linear_schedule_to_zero_and_warmup_stable_decay_by_hand():
    zero = forecast(0.02, 1e-2, 100, "linear", warmup=10, min_lr_ratio=0.0).schedule.rates
    assert zero[-1] == 0 and zero[10:] == pytest.approx(1e-2 * (1 - np.arange(90) / 89))
    wsd = forecast(0.02, 1e-2, 101, "wsd", min_lr_ratio=0.0).schedule.rates
    assert wsd[:81] == pytest.approx(1e-2) and wsd[90] == pytest.approx(5e-3)


def test_a_schedule_from_a_file(tmp_path, capsys):
    file = tmp_path / "run.csv"
    file.write_text("step,lr,wd\n1,0.001,0.1\n101,0.003,0.1\n200,0.0,0.3\n")
    read = schedule_of_file(file)
    assert read.rates[[0, 50, 100, 199]] == pytest.approx([1e-3, 2e-3, 3e-3, 0]) and read.steps == 200
    assert read.decays[[0, 100, 199]] == pytest.approx([0.1, 0.1, 0.3])
    code, out, _ = printed(capsys, "forecast", "--std", ".02", "--schedule-file", file, "--json")
    expected = law_of("adamw").std(0.02, read.rates, read.decays)[-1]
    assert code == 0 and json.loads(out)["std_final"] == expected
    _, out, _ = printed(capsys, "forecast", "--std", ".02", "--schedule-file", file)
    assert "lr to 0.003, from run.csv" in out


@pytest.mark.parametrize("text, message", [
    ("step,rate\n1,2\n", "no column lr"), ("step,lr\n1,x\n", "row 1: expected a number"),
    ("step,lr\n", "no rows"), ("step,lr\n2,.1\n1,.1\n", "steps do not rise"), ("", "expected a .csv table"),
    ("step,lr\n1,-1\n", "expected one finite rate >= 0"), ("step,lr,wd\n1,.1,99\n", "weight_decay is 99"),
    ("step,lr\n1,0\n", "highest lr from run.csv is 0"), ("step,lr\n1,nan\n", "row 1"),
    ("step,lr\n1e9,1\n", "steps from run.csv are 1,000,000,000")])
def test_files_that_are_no_schedule(text, message, tmp_path):
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        schedule_of_file(tmp_path / "run.csv")


def test_damaged_json_lines_are_one_line(tmp_path):
    for text in ("{", "[1]\n", '{"step": 1}\n'):
        (tmp_path / "a.jsonl").write_text(text)
        with pytest.raises(BadInput, match=r"a\.jsonl"):
            forecast_of(str(tmp_path / "a.jsonl"), None, {"lr": 1e-3, "steps": 9})


def test_lion_s_table_follows_lion_s_law(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    optimizer = Lion(model.parameters(), lr=1e-3, weight_decay=1.0)
    with Tracker(model, optimizer, every=100, path=tmp_path / "a.parquet"):
        for step in range(1500):
            generator = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    _, run = forecast_of(str(tmp_path / "a.parquet"), None, {}, optimizers_of(["lion"], None, "original"))
    assert run.end["R"].between(0.9, 1.1).all()
