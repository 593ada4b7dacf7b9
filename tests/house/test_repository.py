"""What people and machines look for at the top of a repository is there, and agrees."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    assert f'version = "{citation["version"]}"' in PROJECT
    assert citation["license"] == "MIT"
    assert f'description = "{citation["abstract"]}"' in PROJECT


def test_every_python_that_is_promised_is_tested_on_three_systems() -> None:
    matrix = read(".github/workflows/check.yml")["jobs"]["test"]["strategy"]["matrix"]
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
    assert matrix["python"] == promised
    assert f'requires-python = ">={promised[0]}"' in PROJECT
    assert [one.partition("-")[0] for one in matrix["system"]] == ["ubuntu", "macos", "windows"]


def test_the_workflow_runs_scripts_that_are_there() -> None:
    jobs = read(".github/workflows/check.yml")["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    scripts = {run.split()[0] for run in runs if run.startswith("scripts/")}
    assert {"scripts/check", "scripts/test", "scripts/docs"} <= scripts
    hook = read(".pre-commit-config.yaml")["repos"][0]["hooks"][0]
    for name in scripts | {hook["entry"]}:
        assert (ROOT / name).stat().st_mode & 0o100, name


def test_a_report_of_a_fault_asks_for_what_doctor_prints() -> None:
    form = read(".github/ISSUE_TEMPLATE/wrong.yml")
    (field,) = (one for one in form["body"] if one.get("id") == "doctor")
    assert "gradcam-hooks doctor" in field["attributes"]["label"]
    assert field["validations"]["required"]


def test_every_file_that_a_document_at_the_top_names_is_there() -> None:
    for name in ("AGENTS.md", "CONTRIBUTING.md", "SECURITY.md", "llms.txt", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([\w./-]+)\)", text):
            assert (ROOT / link).exists(), (name, link)
        for file in re.findall(r"`((?:gradcam_hooks|scripts|tests|docs)/[\w./]+\.\w+)`", text):
            if name != "CHANGELOG.md":  # which tells of files that were
                assert (ROOT / file).exists(), (name, file)
