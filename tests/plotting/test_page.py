"""The page of `dvc plots` without a network."""

import re
import subprocess
import sys

import pytest
from dvc_render.html import HTML

from study.plotting import page
from study.plotting.page import guarded
from variance_dynamics.base.errors import BadInput


def test_dvc_fills_the_page_and_it_asks_for_nothing(tmp_path):
    text = page.write_dvc_page(tmp_path).read_text()
    filled = HTML(text).with_scripts('<script src="https://cdn.example/vega"></script>')
    document = filled.with_element("<div id='one'>plot</div>").embed()
    assert "<div id='one'>plot</div>" in document
    assert "window.vegaEmbed" in document
    assert "cdn.example" not in document
    outside = re.sub(r"<script>.*?</script>", "", document, flags=re.DOTALL)
    assert "http" not in outside and "src=" not in outside


def test_no_folder_no_page(tmp_path):
    with pytest.raises(BadInput, match="expected the root of the DVC repository"):
        page.write_dvc_page(tmp_path / ".dvc")


def test_set_up_names_the_page_in_the_local_config(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    page.main()
    assert "html_template = plots_page.html" in (tmp_path / ".dvc" / "config.local").read_text()


def test_a_script_cannot_end_early():
    assert guarded('x = "</script><!--";') == r'x = "<\/script><\!--";'
