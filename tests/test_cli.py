"""The command as it is typed: exit codes, one line for bad input, machine formats, quick help."""

import csv
import io
import json
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


def test_a_role_by_pattern(capsys, tmp_path):
    torch.save({**NanoGPT().state_dict(), "x.memory": torch.randn(64, 64) * 0.02}, tmp_path / "m.pt")
    assert "x.memory" in run(capsys, "audit", tmp_path / "m.pt")[1]
    out = run(capsys, "audit", tmp_path / "m.pt", "--role", "memory=hidden")[1]
    assert "hidden" in out and "not judged" not in out


@pytest.mark.parametrize(("arguments", "message"), [
    (["audit", "{}/missing.pt"], "no such file"), (["audit", "{}/text.txt"], "not a checkpoint"),
    (["audit", "{}/ckpt.pt", "--recipe", "gtp2"], "did you mean gpt2"),
    (["audit", "{}/ckpt.pt", "--role", "memory"], "expected PATTERN=ROLE"),
    (["audit", "{}/ckpt.pt", "--role", "a=b"], "expected one of q, k, v"),
    (["audit", "{}/ckpt.pt", "--heads", "0"], "heads is 0"),
    (["audit", "{}/ckpt.pt", "--std", "x"], "invalid float value"), (["audit"], "required: checkpoint"),
    (["audit", "{}/ckpt.pt", "--json", "--csv"], "not allowed"), (["judge"], "invalid choice"),
    ([], "required"), (["forecast"], "--lr is missing"),
    (["forecast", "--std", "1", "--lr", "-1", "--steps", "9"], "lr is -1.0"),
    (["forecast", "--std", "1", "--lr", "1e-3", "--steps", "9", "--warmup", "10"], "warmup is 10"),
    (["forecast", "--std", "1", "--lr", "1e-3", "--steps", "9", "--schedule", "cos"], "did you mean cosine"),
    (["forecast", "--lr", "1e-3", "--steps", "9", "--from", "{}/text.txt"], "expected a Parquet table")])
def test_bad_input_is_one_line_and_exit_code_2(capsys, checkpoint, arguments, message):
    (checkpoint.parent / "text.txt").write_text("hello")
    code, out, err = run(capsys, *(argument.format(checkpoint.parent) for argument in arguments))
    assert code == 2 and out == "" and message in err
    assert err.startswith("error: ") and err.count("\n") == 1


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
