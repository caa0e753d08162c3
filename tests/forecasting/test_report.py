"""What a person reads and what a machine reads say the same."""

import json

import pytest

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting import report
from variance_dynamics.forecasting.forecast import forecast
from variance_dynamics.forecasting.report import chart


def test_text_names_equilibrium_time_constant_forgetting_and_the_end():
    text = report.to_text(forecast(0.02, 6e-4, 600_000, "cosine", 2000, 0.1))
    for phrase in ("sigma_eq: 0.05477 at the peak lr", "8,333 steps for the variance", "init is forgotten",
                   "at the end: ", "600,000 steps"):
        assert phrase in text


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_json_is_valid_and_has_the_same_numbers(decay):
    made = forecast(0.02, 1e-3, 500, weight_decay=decay)
    values = json.loads(report.to_json(made))
    assert values["std_final"] == made.std[-1] and values["curve"][-1] == {"step": 500, "std": made.std[-1]}
    assert (values["sigma_eq_peak"] is None) == (decay == 0)


def test_a_straight_line_is_drawn_straight():
    drawn = chart([("*", [(x, x) for x in range(5)])], "steps", width=5, height=5)
    rows = [line.split("|")[1].ljust(5) for line in drawn.splitlines()[:5]]
    assert rows == ["    *", "   * ", "  *  ", " *   ", "*    "]
    assert "4 steps" in drawn


def test_png(tmp_path):
    pytest.importorskip("matplotlib")
    report.save_png(tmp_path / "a.png", forecast(0.02, 1e-3, 500))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="expected a file that can be written"):
        report.save_png(tmp_path / "missing" / "a.png", forecast(0.02, 1e-3, 500))
    with pytest.raises(BadInput, match="expected a file that can be written"):
        report.save_png(tmp_path / "a.docx", forecast(0.02, 1e-3, 500))


def test_without_matplotlib_only_png_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(BadInput, match="expected matplotlib"):
        report.save_png(tmp_path / "a.png", forecast(0.02, 1e-3, 500))
