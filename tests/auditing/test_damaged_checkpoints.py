"""Checkpoints damaged in every way: read, or refused in one line; nothing else is raised."""

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reliability.damaged_files import damaged
from variance_dynamics.auditing.audit import audit
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.report import to_csv, to_json, to_text
from variance_dynamics.auditing.tensors import measure
from variance_dynamics.base.errors import BadInput
from variance_dynamics.cli import main

STATE = {f"h.{number}.weight": torch.ones(4, 6) for number in range(6)} | {"b": torch.ones(3).bfloat16()}


def save(file, kind):
    if kind == "safetensors":
        save_file(STATE, file)
    else:
        torch.save(STATE, file, _use_new_zipfile_serialization=kind == "pt")


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("kind", ["safetensors", "pt", "old.pt"])
@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.reliability)])
def test_damaged_checkpoints_are_read_or_refused(tmp_path, kind, count):
    file, random = tmp_path / f"a.{kind}", np.random.default_rng(0)
    save(file, kind)
    honest, refused = file.read_bytes(), 0
    for _ in range(count):
        file.write_bytes(damaged(honest, random))
        try:
            for stored in open_checkpoint(file).tensors.values():
                measure(stored.raw(), stored.dtype)
        except BadInput as problem:
            refused += 1
            assert str(file) in str(problem) and "\n" not in str(problem) and len(str(problem)) < 600
    assert count / 2 < refused < count


@pytest.mark.parametrize("name", ["a.safetensors", "a.safetensors.index.json"])
def test_headers_nested_without_end(tmp_path, name):
    nested = b'{"a":' * 20_000
    length = b"" if name.endswith("json") else len(nested).to_bytes(8, "little")
    (tmp_path / name).write_bytes(length + nested)
    with pytest.raises(BadInput, match="no JSON object"):
        open_checkpoint(tmp_path / name)


def test_a_zip_of_another_disk(tmp_path):
    """What zipfile itself raises is refused as well."""
    save(tmp_path / "a.pt", "pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    locator = content.rfind(b"PK\x06\x07")
    assert locator > 0
    content[locator + 16] = 7
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(BadInput, match="expected a whole"):
        open_checkpoint(tmp_path / "a.pt")


def header(entries, data=b""):
    """A .safetensors file whose header is JSON `entries`, or their text."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


VALUES = np.random.default_rng(0).standard_normal((64, 64)) * 0.02
ENTRY = {"dtype": "F64", "shape": [64, 64], "data_offsets": [0, VALUES.nbytes]}


def of_shape(*shape):
    end = 0 if 0 in shape else VALUES.nbytes
    return header({"a.weight": ENTRY, "x.weight": {**ENTRY, "shape": shape, "data_offsets": [0, end]}},
                  VALUES.tobytes())


HOSTILE = {
    "2**62 values in no byte": (of_shape(0, 2**62), "expected sizes that a tensor can have"),
    "2**62 rows of nothing": (of_shape(2**62, 0), "expected sizes that a tensor can have"),
    "65 dimensions": (of_shape(*[1] * 63, 64, 64), "65 dimensions: expected at most 32"),
    "100,000 dimensions": (of_shape(*[1] * 100_000), "100000 dimensions"),
    "the same bytes 9 times": (header({f"{number}.weight": ENTRY for number in range(9)}, VALUES.tobytes()),
                               "expected none to overlap"),
    "a size of 4000 digits": (header(b'{"a": {"shape": [' + b"9" * 4000 + b"]}}"), "a number of 4000 digits"),
    "a name twice": (header(b'{"a": 1, "a": 2}'), "a name that occurs twice"),
    "a long name with an escape": (header({"\x1b[2J\n" * 10_000: 5}), r"\x1b[2J")}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_refused_in_one_line(tmp_path, kind):
    content, message = HOSTILE[kind]
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        open_checkpoint(tmp_path / "m.safetensors")
    assert message in str(caught.value) and len(str(caught.value)) < 600 and str(caught.value).isprintable()


@pytest.mark.parametrize("config", [
    {"architectures": 5}, {"architectures": [5]}, {"initializer_range": "wide"}, {"initializer_range": -1},
    '{"initializer_range": 1' + "0" * 400 + "}", '{"initializer_range": 1e400}', '{"a": NaN}',
    '{"a":' * 100_000])
def test_hostile_configs_are_refused_in_one_line(tmp_path, config):
    save_file({"a.weight": torch.randn(8, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(BadInput, match=r"config\.json.*expected") as caught:
        open_checkpoint(tmp_path)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("factor", [1e300, 1e-300, 5e-324 / 0.02])
def test_moments_at_the_ends_of_float64(factor):
    values = VALUES * factor
    moments = measure(values, "F64")
    unit = np.abs(values).max()
    assert moments.std == pytest.approx((values / unit).std() * unit, rel=1e-9)
    assert moments.count == values.size and np.isfinite([moments.mean, moments.kurtosis]).all()


def test_an_exponent_bit_that_flipped_is_an_alarm_and_no_overflow(tmp_path):
    values = VALUES.copy()
    values.view(np.uint64)[3, 3] ^= 1 << 62
    (tmp_path / "m.safetensors").write_bytes(header({"a.weight": ENTRY}, values.tobytes()))
    report = audit(tmp_path / "m.safetensors", "normal")
    assert report.rows[0].verdict == "off" and report.exit_code == 1
    assert to_json(report) and to_text(report) and to_csv(report)


def test_many_tiny_tensors_with_no_values(tmp_path):
    content = header({f"{number}.weight": {"dtype": "F32", "shape": [0, 2**40], "data_offsets": [0, 0]}
                      for number in range(1000)})
    (tmp_path / "m.safetensors").write_bytes(content)
    assert all(measure(stored.raw(), "F32").count == 0
               for stored in open_checkpoint(tmp_path / "m.safetensors").tensors.values())


@pytest.mark.parametrize("report", [to_text, to_csv, to_json])
def test_names_from_a_file_are_escaped_wherever_they_are_shown(tmp_path, report):
    evil = "h.0.\x1b[2J\x9b\u202e\n\ud800evil.weight"
    text = json.dumps({evil: ENTRY, "\x1b[31m.bias": {**ENTRY, "shape": [4096]}, "b\x07": {
        "dtype": "\x1b[0mI", "shape": [1], "data_offsets": [0, 0]}}).encode()
    values = VALUES.copy()
    values[0, 0] = np.nan
    (tmp_path / "m.safetensors").write_bytes(header(text, values.tobytes() * 2))
    for trained in (False, True):
        shown = report(audit(tmp_path / "m.safetensors", "normal", trained=trained))
        assert all(line.isprintable() for line in shown.split("\n")), shown
        assert shown.encode() and "evil" in shown


def changed(saved, random):
    """One of the values in a nested mapping replaced by something else of another kind."""
    strange = [None, 5, -1.5, "text", [], {}, (), 10**400, argparse.Namespace(a=1), np.float64(2),
               torch.zeros(1).expand(2**20, 2**20), torch.arange(3), torch.ones(2, 2, dtype=torch.bool),
               torch.tensor(np.inf)]
    key = list(saved)[random.integers(len(saved))]
    inner = saved[key]
    value = (changed(inner, random) if isinstance(inner, dict) and inner and random.random() < 0.7
             else strange[random.integers(len(strange))])
    return {**saved, key: value}


def mutated_header(random):
    """The header of a .safetensors file with another value somewhere, of any kind."""
    strange = [None, -1, 2**62, 10**30, 1.5, "F8_E4M3", "Q4", [], {}, [0], [0, 2**62], True, "\ud800", [[[]]]]
    entry = dict(ENTRY)
    entry[["dtype", "shape", "data_offsets"][random.integers(3)]] = strange[random.integers(len(strange))]
    return header({"a.weight": ENTRY, "b.weight": entry}, VALUES.tobytes() * 2)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("kind", ["pt", "old.pt", "safetensors"])
@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.reliability)])
def test_files_with_something_of_another_kind_are_audited_or_refused(tmp_path, capsys, kind, count):
    """By the command: exit status 0, 1 or 2, one line on stderr, and never the last handler's."""
    random, file = np.random.default_rng(1), tmp_path / f"a.{kind}"
    for _ in range(count):
        if kind == "safetensors":
            file.write_bytes(mutated_header(random))
        else:
            optimizer = {"state": {}, "param_groups": []}
            whole = {"model": dict(STATE), "optimizer": optimizer, "args": {"n_head": 2}}
            torch.save(changed(whole, random), file, _use_new_zipfile_serialization=kind == "pt")
        with pytest.raises(SystemExit) as ended:
            main(["audit", str(file), "--trained"])
        error = capsys.readouterr().err
        assert ended.value.code in (0, 1, 2) and error.count("\n") == (ended.value.code == 2), error
        assert "please report" not in error, error
