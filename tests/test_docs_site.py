"""The pages of docs/ make a site without a warning, each of them somewhere in its contents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra 'docs' needs Python 3.11")

    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "methods/online-ewc.html").stat().st_size > 5000
    protocols = (tmp_path / "api.html").read_text()
    assert "clbench.protocols.learners.Learner.observe" in protocols


def test_every_suite_has_its_page() -> None:
    suites = {path.stem.replace("_", "-") for path in (ROOT / "suites").glob("*.yaml")}
    pages = {path.stem for path in (ROOT / "docs/suites").glob("*.md")}

    assert pages == suites
