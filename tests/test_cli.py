"""The command line, end to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from command import CLBENCH, TINY, clbench

from clbench import cli
from clbench.errors import ClbenchError
from clbench.records import from_text
from clbench.store import Store

ROOT = Path(__file__).parent.parent


def _results(folder: Path) -> dict[str, Any]:
    records, errors = Store(folder).scan()
    assert errors == ()
    return {record.id: record.result for record in records}


def test_running_gives_records_and_a_table_and_is_not_done_twice(tiny: Path) -> None:
    first = clbench("run", tiny, "--jobs", 1, cwd=tiny.parent)
    again = clbench("run", tiny, cwd=tiny.parent)

    assert first.returncode == again.returncode == 0, first.stderr
    assert "[4/4]" in first.stderr
    assert "\x1b" not in first.stdout + first.stderr  # nobody's terminal
    assert "4 of 4 cells have a record already" in again.stderr
    assert again.stdout == first.stdout
    assert first.stdout.startswith("tiny\n")
    record = from_text(*_first_record(tiny.parent / "results"))
    assert record.provenance is not None
    assert record.provenance.threads == 1
    assert record.provenance.suite == "tiny"


def _first_record(results: Path) -> tuple[str, Path]:
    path = min((results / "records").iterdir())
    return path.read_text(), path


def test_records_are_equal_with_one_worker_and_with_two_in_any_order_and_twice(tiny: Path) -> None:
    one = clbench("run", tiny, "--jobs", 1, "--results", "one", cwd=tiny.parent)
    reversed_suite = tiny.with_name("reversed.yaml")
    head, methods = TINY.split("methods:\n")
    fine, ewc = methods.split("  online-ewc:\n")
    reversed_suite.write_text(
        head.replace("[0, 1]", "[1, 0]") + "methods:\n  online-ewc:\n" + ewc + fine
    )
    options = ("--jobs", 2, "--device", "auto", "--results", "two")
    two = clbench("run", reversed_suite, *options, cwd=tiny.parent, CUDA_VISIBLE_DEVICES="")
    forced = clbench("run", tiny, "--jobs", 2, "--results", "one", "--force", cwd=tiny.parent)

    assert one.returncode == two.returncode == forced.returncode == 0
    before = _results(tiny.parent / "two")
    assert len(before) == 4
    assert _results(tiny.parent / "one") == before


def test_the_gate_says_by_its_exit_code_whether_thresholds_hold(tiny: Path) -> None:
    missing = clbench("check", tiny, cwd=tiny.parent)
    clbench("run", tiny, cwd=tiny.parent)
    holds = clbench("check", tiny, cwd=tiny.parent)
    tiny.write_text(TINY.replace(">= 10", ">= 100"))
    fails = clbench("check", tiny, cwd=tiny.parent)

    assert [missing.returncode, holds.returncode, fails.returncode] == [1, 0, 1]
    assert missing.stdout.endswith(
        "\n1 missing\n\nthere is no folder results\nmake the missing records with\n"
        f"    clbench run {tiny} --only permuted/fine-tuning --results results\n"
    )
    assert "fails" in fails.stdout


def test_a_reference_and_a_junit_file_belong_to_the_gate(tiny: Path) -> None:
    folder = tiny.parent
    clbench("run", tiny, "--results", "first", cwd=folder)
    clbench("run", tiny, "--results", "second", cwd=folder)
    arguments = ("check", tiny, "--results", "second", "--against", "first")
    holds = clbench(*arguments, "--junit", "out.xml", cwd=folder)
    unwritable = clbench(*arguments, "--junit", "none/out.xml", cwd=folder)
    nothing = clbench("check", tiny, "--results", "second", "--against", "third", cwd=folder)

    assert (holds.returncode, holds.stderr) == (0, "")
    assert "reference" in holds.stdout
    assert (folder / "out.xml").read_text().startswith("<?xml version='1.0' encoding='")
    assert unwritable.returncode == nothing.returncode == 2
    assert unwritable.stderr == "error: cannot write none/out.xml: No such file or directory\n"
    assert nothing.stderr == "error: there is no folder third\n"


def test_a_reduced_budget_leaves_full_records_alone(tiny: Path) -> None:
    done = clbench("run", tiny, "--budget", "half", "--seeds", "0", cwd=tiny.parent)
    full = clbench("table", tiny, "--format", "json", cwd=tiny.parent)
    half = clbench("table", tiny, "--format", "json", "--budget", "half", cwd=tiny.parent)

    assert "50 % budget" in done.stdout
    assert [row["status"] for row in json.loads(full.stdout)] == ["missing", "missing"]
    assert [row["budget"] for row in json.loads(half.stdout)] == [0.5, 0.5]


def test_a_terminal_without_dashes_gets_plain_characters(tiny: Path) -> None:
    tiny.write_text(TINY.replace("suite: tiny", "suite: tiny\ntitle: É – ± ½"))
    (tiny.parent / "results").mkdir()

    plain = clbench("table", tiny, cwd=tiny.parent, PYTHONIOENCODING="ascii")
    whole = clbench("table", tiny, cwd=tiny.parent, PYTHONIOENCODING="utf-8")

    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout == (
        whole.stdout.replace("É", "E").replace("–", "-").replace("±", "+-").replace("½", "?")
    )
    assert "E - +- ?" in plain.stdout


def test_a_dry_run_says_what_it_would_cost_and_runs_nothing(tiny: Path) -> None:
    done = clbench("run", tiny, "--dry-run", "--only", "*/online-ewc", cwd=tiny.parent)

    assert done.returncode == 0
    assert "suite 'tiny': 2 cells, 2 to run, 40 training steps in all" in done.stdout
    assert not (tiny.parent / "results").exists()


def test_seeds_run_in_lockstep_where_it_is_asked_for_and_they_can(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("""\
suite: toy
scenario: task-il
seeds: [0, 1]
defaults:
  model: {name: mlp, hidden_sizes: [8]}
  training: {iterations: 10, batch_size: 8, learning_rate: 1e-2}
tasks:
  toy: {family: toy-regression, num_train: 16, num_test: 8}
methods:
  fine-tuning: {learner: fine-tuning}
  winners: {learner: fine-tuning, model: {winners: {percent_on: 0.5}}}
""")

    asked = clbench("run", path, "--lockstep", 2, "--results", "asked", cwd=tmp_path)
    off = clbench("run", path, "--lockstep", "off", "--results", "off", cwd=tmp_path)

    assert asked.returncode == off.returncode == 0
    told = "cells of these rows run alone: toy/winners (winners of model 'mlp')"
    assert told in " ".join(asked.stderr.split())
    assert "run alone" not in off.stderr
    for name, expected in (("asked", [1, 1, 2, 2]), ("off", [1, 1, 1, 1])):
        records, _ = Store(tmp_path / name).scan()
        assert sorted(r.provenance.lockstep for r in records if r.provenance) == expected


def test_bad_input_is_told_without_a_traceback_and_exits_with_2(tiny: Path) -> None:
    cases = {
        ("run", "none.yaml"): "none.yaml has 1 mistake:\n  there is no such file",
        ("run", tiny, "--only", "x/y"): "no row of suite 'tiny' matches 'x/y'",
        ("run", tiny, "--executor", "loca"): "unknown executor 'loca'; did you mean 'local'?",
        (
            "run",
            tiny,
            "-x",
            "jbos=2",
        ): "executor 'local': unknown parameter 'jbos'; did you mean 'jobs'?",
        ("run", tiny, "-j", 2, "-x", "jobs=2"): "-x jobs=2: 'jobs' is given already (by --jobs)",
        (
            "run",
            tiny,
            "--timeout",
            0,
        ): "executor 'local': timeout: expected a number greater than 0.0, found '0.0'",
        ("run", tiny, "--lockstep", "on"): "expected --lockstep auto, off or a number of seeds",
        ("run", tiny, "--device", "gpu"): "unknown device 'gpu'",
        ("run", tiny, "--seeds", "5"): "seed 5 is not one of suite 'tiny': 0, 1",
        ("table", tiny, "--format", "html"): "unknown format 'html'",
        ("table", tiny, "--update", "a", "--check", "a"): "--update and --check exclude each other",
        (
            "table",
            tiny,
            "--format",
            "csv",
            "--update",
            "a",
        ): "--update and --check are of Markdown tables, not of csv",
        ("show", "nobody"): "unknown name 'nobody'",
        ("list", "taks"): "unknown listing 'taks'; did you mean 'tasks'?",
    }
    for arguments, message in cases.items():
        done = clbench(*arguments, cwd=tiny.parent)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_a_gpu_that_is_not_here_is_refused_before_anything_runs(tiny: Path) -> None:
    done = clbench("run", tiny, "--device", "cuda", cwd=tiny.parent, CUDA_VISIBLE_DEVICES="")

    assert done.returncode == 2
    assert re.fullmatch(r"error: device 'cuda': PyTorch \S+ finds no GPU here\n", done.stderr)
    assert not (tiny.parent / "results").exists()


def test_a_failing_cell_is_recorded_the_others_go_on_and_the_exit_code_says_so(
    tiny: Path,
) -> None:
    tiny.write_text(
        TINY.replace(
            "fine-tuning: {", "diverging: {training: {learning_rate: 3e38, optimizer: sgd}, "
        )
    )

    done = clbench("run", tiny, "--seeds", "0", cwd=tiny.parent)
    again = clbench("run", tiny, "--seeds", "0", cwd=tiny.parent)

    assert done.returncode == 1
    assert "permuted/diverging seed 0: failed: the loss of task" in done.stderr
    assert "permuted/online-ewc seed 0: ok in" in done.stderr
    assert "failed: DivergedError" in done.stdout
    (path,) = re.findall(r"failed: permuted/diverging seed 0 \((\S+) says more\)", done.stderr)
    assert "DivergedError" in (tiny.parent / path).read_text()
    assert "1 of 2 cells have a record already" in again.stderr  # the failed one is tried again


def test_a_gate_without_anything_to_judge_is_no_green_one(tiny: Path) -> None:
    done = clbench("check", tiny, "--only", "*/online-ewc", cwd=tiny.parent)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {tiny}: none of the 1 rows has a threshold; `expect` sets them in the suite, and "
        "--against takes them from other records\n"
    )


def test_rows_that_a_reference_does_not_have_are_told(tiny: Path) -> None:
    folder = tiny.parent
    clbench("run", tiny, "--results", "first", "--only", "*/fine-tuning", cwd=folder)
    clbench("run", tiny, "--results", "second", cwd=folder)

    done = clbench("check", tiny, "--results", "second", "--against", "first", cwd=folder)

    assert done.returncode == 0
    assert done.stdout.endswith(
        "\nnot compared, as first has no full-budget record of them: permuted/online-ewc\n"
    )


def test_a_failure_beside_a_good_record_is_told_whole(tiny: Path) -> None:
    only = ("--seeds", "0", "--only", "*/fine-tuning")
    clbench("run", tiny, *only, cwd=tiny.parent)
    before = _results(tiny.parent / "results")

    forced = clbench("run", tiny, *only, "--force", "--timeout", "0.001", cwd=tiny.parent)

    assert forced.returncode == 1
    assert _results(tiny.parent / "results") == before
    assert re.search(
        r"failed: permuted/fine-tuning seed 0 \(results/records/\w+\.json is kept: an earlier run "
        r"was good\)\n\S",
        forced.stderr,
    )


def test_published_values_that_are_not_there_are_told_before_anything_runs(tiny: Path) -> None:
    tiny.write_text(TINY.replace("seeds:", "published: nowhere\nseeds:"))

    ran = clbench("run", tiny, cwd=tiny.parent)
    validated = clbench("validate", tiny, cwd=tiny.parent)

    assert ran.returncode == validated.returncode == 2
    assert "published: there is no ledger 'nowhere'; looked for\n      results/pub" in ran.stderr
    assert validated.stderr in ran.stderr
    assert not (tiny.parent / "results").exists()


def test_published_rows_that_the_suite_does_not_have_are_told(tiny: Path) -> None:
    tiny.write_text(TINY.replace("seeds:", "published: paper\nseeds:"))
    ledger = tiny.parent / "results" / "published" / "paper.yaml"
    ledger.parent.mkdir(parents=True)
    entry = "{label: EWC, final: {value: 99}, where: Table 1}"
    ledger.write_text(f"source: A paper\nmargin: 1\nrows: {{permuted/onlin-ewc: {entry}}}\n")

    validated, shown = (clbench(word, tiny, cwd=tiny.parent) for word in ("validate", "table"))

    assert (validated.returncode, shown.returncode) == (0, 0)
    assert (
        validated.stderr
        == shown.stderr
        == (
            f"warning: {tiny}: published 'paper': the suite has no row 'permuted/onlin-ewc'; did you "
            "mean 'permuted/online-ewc'?\n"
        )
    )


def test_a_table_of_a_folder_that_is_not_there_says_so(tiny: Path) -> None:
    done = clbench("table", tiny, "--results", "nowhere", cwd=tiny.parent)

    assert done.returncode == 0
    assert done.stderr == "warning: there is no folder nowhere, so every record is missing\n"


def test_the_first_failure_stops_further_suites_where_that_is_asked_for(tiny: Path) -> None:
    other = tiny.with_name("other.yaml")
    other.write_text(TINY.replace("suite: tiny", "suite: other"))
    tiny.write_text(
        TINY.replace(
            "fine-tuning: {", "diverging: {training: {learning_rate: 3e38, optimizer: sgd}, "
        )
    )

    options = ("--fail-fast", "--jobs", "1", "--seeds", "0")
    done = clbench("run", tiny, other, *options, cwd=tiny.parent)

    assert done.returncode == 1
    assert "other" not in done.stdout.split()


def test_a_damaged_record_is_named_and_not_silently_overwritten(tiny: Path) -> None:
    clbench("run", tiny, cwd=tiny.parent)
    text, path = _first_record(tiny.parent / "results")
    path.write_text(text[:100])

    refused = clbench("run", tiny, cwd=tiny.parent)
    forced = clbench("run", tiny, "--force", cwd=tiny.parent)

    assert refused.returncode == 2
    assert f"{path.relative_to(tiny.parent)}: not JSON, perhaps truncated" in refused.stderr
    assert "delete the file, or run with --force" in refused.stderr
    assert forced.returncode == 0


def _heed_interrupts() -> None:
    """As in a terminal, also where the tests run in the background, which ignores interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _to_all(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C in a terminal: parent and workers are told."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("stop", [_to_all, subprocess.Popen.terminate], ids=["ctrl-c", "kill"])
def test_interrupting_leaves_no_orphan_and_no_torn_file_and_the_rest_runs_later(
    tmp_path: Path, stop: Callable[[subprocess.Popen[str]], None]
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    slow = tmp_path / "slow.yaml"
    seeds = list(range(30))  # more than are done before it heeds
    slow.write_text(TINY.replace("iterations: 10", "iterations: 100").replace("[0, 1]", str(seeds)))
    records = tmp_path / "results" / "records"
    with subprocess.Popen(
        [CLBENCH, "run", str(slow), "--jobs", "2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not (records.exists() and list(records.glob("*.json"))):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            children = psutil.Process(process.pid).children(recursive=True)

            stop(process)
            _, errors = process.communicate(timeout=30)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # or what is left here fails tests after it
            raise

    assert process.returncode == 130, errors
    assert "the same command runs the rest" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert list(temporary.glob("clbench-*")) == []
    kept, damaged = Store(tmp_path / "results").scan()
    assert damaged == ()
    assert 1 <= len(kept) < 60
    assert [path for path in records.iterdir() if path.suffix != ".json"] == []

    again = clbench("run", slow, "--seeds", "0,1,2,3", cwd=tmp_path)

    assert again.returncode == 0
    asked = [record for record in kept if record.config.seed < 4]
    assert f"{len(asked)} of 8 cells have a record already" in again.stderr
    assert len(_results(tmp_path / "results")) == len(kept) + 8 - len(asked)


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    slow = tmp_path / "slow.yaml"
    slow.write_text(TINY.replace("iterations: 10", "iterations: 100000"))
    process = subprocess.Popen(
        [CLBENCH, "run", str(slow)],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    children: list[psutil.Process] = []
    while len([c for c in children if c.is_running()]) < 2:
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.05)
    time.sleep(3.0)  # into the cells

    process.kill()
    process.wait()

    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_the_process_ends_without_looking_for_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = []

    def refuse() -> None:
        raise ClbenchError("no")

    monkeypatch.setattr("clbench.cli.app", refuse)
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(True))

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 2
    assert frozen == [True]


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "clbench", "--version"]

    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout == clbench("--version", cwd=tmp_path).stdout
