"""The command as it is typed: exit codes, one line for bad input, machine formats, quick help."""

import csv
import importlib.metadata
import io
import json
import os
import resource
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import variance_dynamics
from networks import NanoGPT
from variance_dynamics import Tracker
from variance_dynamics.base.errors import BadInput
from variance_dynamics.cli import main


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of the command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code, *capsys.readouterr()


@pytest.fixture
def checkpoint(tmp_path):
    """A correct GPT-2 at step 0."""
    torch.save(NanoGPT(width=64).state_dict(), tmp_path / "ckpt.pt")
    return tmp_path / "ckpt.pt"


@pytest.fixture
def faulty(tmp_path):
    """One matrix a tenth too wide."""
    model = NanoGPT(width=64)
    model.transformer["h"][0].mlp["c_fc"].weight.data.mul_(1.1)
    torch.save(model.state_dict(), tmp_path / "faulty.pt")
    return tmp_path / "faulty.pt"


def test_audit_of_a_correct_model_exits_with_0(capsys, checkpoint):
    code, out, err = run(capsys, "audit", checkpoint)
    assert code == 0 and err == ""
    assert "recipe gpt2, std 0.02 (best fit: gpt2" in out
    assert out.splitlines()[-1] == "14 as the recipe says, 1 tied"


def test_audit_of_a_faulty_model_exits_with_1_and_names_the_matrix(capsys, faulty):
    code, out, _ = run(capsys, "audit", faulty, "--recipe", "gpt2")
    assert code == 1
    (line,) = [line for line in out.splitlines() if " off: std x1.1" in line]
    assert "transformer.h.0.mlp.c_fc.weight" in line and "256x64" in line


def test_json_and_csv_hold_every_row(capsys, faulty):
    code, out, _ = run(capsys, "audit", faulty, "--json")
    report = json.loads(out)
    assert code == 1 and report["recipe"] == "gpt2" and report["alarms"] == 1 and len(report["rows"]) == 15
    code, out, _ = run(capsys, "audit", faulty, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1 and len(rows) == 15
    (off,) = [row for row in rows if row["verdict"] == "off"]
    assert off["shape"] == "256x64" and float(off["ratio"]) == pytest.approx(1.1, abs=0.02)
    assert float(off["std"]) == next(row["std"] for row in report["rows"] if row["verdict"] == "off")


def test_nan_is_null_in_json(capsys, tmp_path):
    file = tmp_path / "m.safetensors"
    save_file({"a.weight": torch.full((4, 4), torch.nan), "b.weight": torch.randn(4, 4)}, file)
    code, out, _ = run(capsys, "audit", file, "--recipe", "normal", "--std", 1, "--json")
    row = next(row for row in json.loads(out)["rows"] if row["name"] == "a.weight")
    assert code == 1 and row["std"] is None and row["verdict"] == "never initialised"


def test_trained_has_no_verdict(capsys, faulty):
    code, out, _ = run(capsys, "audit", faulty, "--trained")
    assert code == 0 and "expected" not in out and "measured 15 matrices" in out


def test_trained_hides_no_nan_and_no_infinity(capsys, tmp_path):
    state = {name: value.clone() for name, value in NanoGPT().state_dict().items()}
    state["transformer.h.0.mlp.c_fc.weight"][0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    state["transformer.h.1.attn.c_proj.weight"].fill_(torch.nan)
    state["transformer.ln_f.bias"][0] = torch.nan
    torch.save(state, tmp_path / "m.pt")
    code, out, _ = run(capsys, "audit", tmp_path / "m.pt", "--trained")
    assert code == 1
    assert "NaN or infinite values in 3 tensors: transformer.h.0.mlp.c_fc.weight, " in out.splitlines()[-1]
    assert "transformer.ln_f.bias" in out.splitlines()[-1]
    code, out, _ = run(capsys, "audit", tmp_path / "m.pt", "--trained", "--json")
    notes = {row["name"]: row["note"] for row in json.loads(out)["rows"]}
    assert code == 1 and notes["transformer.h.0.mlp.c_fc.weight"] == "3 values NaN or infinite"


def test_a_role_by_pattern(capsys, tmp_path):
    torch.save({**NanoGPT().state_dict(), "x.memory": torch.randn(64, 64) * 0.02}, tmp_path / "m.pt")
    assert "x.memory" in run(capsys, "audit", tmp_path / "m.pt")[1]
    out = run(capsys, "audit", tmp_path / "m.pt", "--role", "memory=hidden")[1]
    assert "hidden" in out and "not judged" not in out


def test_a_role_by_a_pattern_that_matches_nothing_is_said(capsys, checkpoint):
    out = run(capsys, "audit", checkpoint, "--role", "w_query=q")[1]
    assert "note: pattern 'w_query' matches no parameter, so it gives no role" in out


def test_a_model_that_no_recipe_fits_is_not_said_to_fit_one(capsys, tmp_path):
    model = NanoGPT(width=64)
    for each in model.modules():
        if hasattr(each, "reset_parameters"):
            each.reset_parameters()
    torch.save(model.state_dict(), tmp_path / "never.pt")
    code, out, _ = run(capsys, "audit", tmp_path / "never.pt")
    assert code == 1 and "(best fit, though it fits no matrix)" in out and "over 99%" not in out


def test_a_recipe_of_one_s_own_from_a_file(capsys, tmp_path, checkpoint):
    (tmp_path / "my.yaml").write_text("like: gpt2\nvalues: {std: .05}\nposition: 1\n")
    code, out, _ = run(capsys, "audit", checkpoint, "--recipe", tmp_path / "my.yaml")
    assert code == 1 and "my.yaml, std 0.05 (as named)" in out
    assert "nearest recipe: gpt2, fits 14 of 14" in out


def test_what_cannot_be_judged_exits_with_2(capsys, tmp_path):
    torch.save({**NanoGPT().state_dict(), "x.memory": torch.randn(64, 64) * 0.02}, tmp_path / "m.pt")
    code, out, _ = run(capsys, "audit", tmp_path / "m.pt")
    last = out.splitlines()[-1]
    assert code == 2 and last.endswith("1 of unknown role (settle them with --role PATTERN=ROLE)")
    assert run(capsys, "audit", tmp_path / "m.pt", "--role", "memory=ignore")[0] == 0


def test_a_std_without_a_recipe_is_judged(capsys, checkpoint):
    assert run(capsys, "audit", checkpoint, "--std", ".02")[0] == 0
    assert run(capsys, "audit", checkpoint, "--std", ".01")[0] == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (["audit", "{}/ckpt.pt", "--recipe", "no.yaml"], "recipe no.yaml: no such file"),
    (["audit", "{}/missing.pt"], "no such file"), (["audit", "{}/text.txt"], "not a checkpoint"),
    (["audit", "{}/ckpt.pt", "--recipe", "gtp2"], "did you mean gpt2"),
    (["audit", "{}/ckpt.pt", "--role", "memory"], "expected PATTERN=ROLE"),
    (["audit", "{}/ckpt.pt", "--role", "a=b"], "expected one of q, k, v"),
    (["audit", "{}/ckpt.pt", "--heads", "0"], "heads is 0"),
    (["audit", "{}/ckpt.pt", "--trained", "--recipe", "gpt2"], "--trained judges nothing"),
    (["audit", "{}/ckpt.pt", "--trained", "--std", ".02"], "--trained judges nothing"),
    (["audit", "{}/ckpt.pt", "--std", "x"], "invalid float value"), (["audit"], "required: checkpoint"),
    (["audit", "{}/ckpt.pt", "--json", "--csv"], "not allowed"), (["judge"], "invalid choice"),
    ([], "required"), (["forecast"], "--lr is missing"),
    (["forecast", "--std", "1", "--lr", "-1", "--steps", "9"], "lr is -1.0"),
    (["forecast", "--std", "nan", "--lr", ".1", "--steps", "9", "--json"], "std is nan: expected a number"),
    (["forecast", "--std", "1e200", "--lr", ".1", "--steps", "9", "--json"], "std is 1e+200: expected"),
    (["audit", "{}/ckpt.pt", "--std", "1e308"], "std is 1e+308: expected a number up to 1e+100"),
    (["forecast", "--std", "1", "--lr", ".1", "--steps", "9.5"], "'9.5': expected a whole number"),
    (["forecast", "--std", "1", "--lr", ".1", "--steps", "many"], "'many': expected a whole number"),
    (["forecast", "--std", "1", "--lr", ".1", "--steps", "inf"], "'inf': expected a whole number"),
    (["audit", "{}/ckpt.pt:nothing"], "nothing is not in it"),
    (["forecast", "--std", "1", "--lr", "1e-3", "--steps", "9", "--warmup", "10"], "warmup is 10"),
    (["forecast", "--std", "1", "--lr", "1e-3", "--steps", "9", "--schedule", "cos"], "did you mean cosine"),
    (["forecast", "--lr", "1e-3", "--steps", "9", "--from", "{}/text.txt"], "expected a Parquet table")])
def test_bad_input_is_one_line_and_exit_code_2(capsys, checkpoint, arguments, message):
    (checkpoint.parent / "text.txt").write_text("hello")
    code, out, err = run(capsys, *(argument.format(checkpoint.parent) for argument in arguments))
    assert code == 2 and out == "" and message in err
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("steps", ["2000", "2e3", "2_000", "2000.0"])
def test_steps_as_people_write_them(capsys, steps):
    code, out, _ = run(capsys, "forecast", "--std", ".02", "--lr", "6e-4", "--steps", steps, "--json")
    assert code == 0 and json.loads(out)["curve"][-1]["step"] == 2000


@pytest.mark.parametrize(("arguments", "warning"), [
    (["--std", ".02", "--lr", "6", "--weight-decay", "0"], "warning: lr is 6: 0.1 and less are usual"),
    (["--std", "1e50", "--lr", ".1"], "warning: std is 1e+50: 10 and less are usual"),
    (["--std", ".02", "--lr", ".1"], "")])
def test_values_that_nobody_uses_are_warned_of_and_used(capsys, arguments, warning):
    code, out, err = run(capsys, "forecast", *arguments, "--steps", "100", "--json")
    assert code == 0 and json.loads(out)["curve"] and err.strip() == warning


def test_version(capsys):
    code, out, _ = run(capsys, "--version")
    assert code == 0 and out == f"variance-dynamics {importlib.metadata.version('variance-dynamics')}\n"


def test_what_nobody_thought_of_is_one_line_that_names_the_file(capsys, monkeypatch, checkpoint):
    def fails(*_):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("variance_dynamics.auditing.audit.audit", fails)
    code, out, err = run(capsys, "audit", checkpoint)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert str(checkpoint) in err and "ZeroDivisionError" in err and "please report it" in err
    monkeypatch.setenv("VARIANCE_DYNAMICS_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["audit", str(checkpoint)])


def test_a_name_that_the_terminal_has_no_characters_for(tmp_path):
    save_file({"größe.weight": torch.randn(8, 8)}, tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "variance_dynamics.cli", "audit", tmp_path / "m.safetensors"]
    command.append("--trained")
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and rb"gr\xf6\xdfe.weight" in done.stdout


def test_a_tracker_says_that_it_wants_a_module():
    with pytest.raises(BadInput, match=r"model is a OrderedDict: expected an nn\.Module"):
        Tracker(NanoGPT().state_dict())


def test_forecast_in_text_and_json(capsys):
    arguments = ["forecast", "--std", ".02", "--lr", "6e-4", "--steps", "2000", "--warmup", "100"]
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and "sigma_eq" in out and "*" in out
    code, out, _ = run(capsys, *arguments, "--json")
    made = variance_dynamics.forecast(0.02, 6e-4, 2000, warmup=100, weight_decay=0.1)
    assert json.loads(out)["std_final"] == made.std[-1]
    more = ["--schedule", "linear", "--weight-decay", ".3", "--min-lr-ratio", ".5"]
    code, out, _ = run(capsys, *arguments, *more, "--json")
    made = variance_dynamics.forecast(0.02, 6e-4, 2000, "linear", 100, 0.3, 0.5)
    assert json.loads(out)["std_final"] == made.std[-1]


def test_forecast_beside_a_recorded_run_and_as_a_picture(capsys, tmp_path):
    table = Tracker(NanoGPT()).frame().query("stat == 'std'")
    pd.concat([table, table.assign(step=200)]).to_parquet(tmp_path / "run.parquet")
    code, out, _ = run(capsys, "forecast", "--lr", "6e-4", "--steps", "200",
                       "--from", tmp_path / "run.parquet", "--png", tmp_path / "run.png")
    assert code == 0 and "R is within [0.8, 1.25] for 0 of 14 matrices" in out and "no change 0.000" in out
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_the_package_imports_quickly_and_pulls_in_nothing_heavy():
    """Under 0.3 s of computing; the quickest of three, for the machine may be busy."""
    code = ("import sys, time; start = time.process_time(); import variance_dynamics, variance_dynamics.cli; "
            "took = time.process_time() - start; "
            "print(took, *{'torch', 'numpy', 'pandas', 'matplotlib', 'dvc'} & set(sys.modules))")
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            for _ in range(3)]
    seconds = [float(run.stdout) for run in runs]  # no number where anything heavy was imported
    assert min(seconds) < 0.3


WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pandas", "pyarrow", "tqdm", "safetensors", "matplotlib", "scipy"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
from variance_dynamics.auditing import audit
audit.SHOW_PROGRESS_FROM = 0
from variance_dynamics.cli import main
main(["audit", sys.argv[1], "--recipe", "normal", "--std", "1"])
"""


def test_audit_of_safetensors_needs_numpy_alone(tmp_path):
    torch.manual_seed(0)
    save_file({"a.weight": torch.randn(8, 8), "b.weight": torch.randn(8, 8)}, tmp_path / "m.safetensors")
    done = subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path / "m.safetensors")],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "2 as the recipe says" in done.stdout


def test_help_is_quick():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in ("audit", "series", "forecast"):
        shown = subprocess.run([sys.executable, "-m", "variance_dynamics.cli", command, "--help"],
                               capture_output=True, text=True, check=True)
        assert "--json" in shown.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_a_closed_pipe_is_no_error(tmp_path):
    file = tmp_path / "m.safetensors"
    save_file({f"{layer}.weight": torch.randn(8, 8) for layer in range(300)}, file)
    command = f"{sys.executable} -m variance_dynamics.cli audit {file} --std 1 | head -1"
    piped = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert piped.stdout.count("\n") == 1 and piped.stderr == ""
