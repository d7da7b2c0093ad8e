"""The scripts that a newcomer runs: from any folder, with a clear message if something is missing."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of the files that the scripts need, in a folder with a space in its name."""
    folder = tmp_path / "a clone"
    shutil.copytree(SCRIPTS, folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    shutil.copytree(ROOT / "conformance" / "statements", folder / "conformance" / "statements")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(path, *arguments, cwd, **environment):
    return subprocess.run(
        [path, *arguments],
        cwd=cwd,
        env={"PATH": os.defpath, "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def bare_path(tmp_path, **programs):
    """Return a PATH with the tools that scripts use, and these programs as shell scripts."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "tail", "env"):
        (folder / name).symlink_to(shutil.which(name))
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def mark_ready(checkout, profile):
    """Mark the environment as ready, as scripts/setup does; its interpreter is this one."""
    suffix = {"lowest": "-lowest", "run": "-image"}.get(profile, "")
    environment = checkout / f".venv{suffix if profile == 'lowest' else ''}"
    (environment / "bin").mkdir(parents=True, exist_ok=True)
    python = environment / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    stamp = f"cat pyproject.toml scripts/constraints{suffix}.txt scripts/setup | cksum; echo {profile}"
    checksum = subprocess.run(["bash", "-c", stamp], cwd=checkout, capture_output=True, text=True, check=True)
    (environment / f".ready-{profile}").write_text(f"{checksum.stdout.splitlines()[0]} {checkout}\n")


PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.+!]+)(?P<marker> ; [^\\]+)? \\$")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?$")
LISTS = [f"constraints{part}.txt" for part in ("", "-lowest", "-image", "-build", "-full")]


def pins(name):
    """Return the version of each package in a list of pins. Of lines with markers, the first counts."""
    found = {}
    for pin in filter(None, map(PIN.match, (SCRIPTS / name).read_text().splitlines())):
        found.setdefault(canonicalize_name(pin["name"]), Version(pin["version"]))
    return found


def direct_dependencies():
    """Return the requirements of pyproject.toml with those of the extras, without the package itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(text) for group in groups for text in group]
    return [requirement for requirement in found if requirement.name != project["name"]]


def test_the_tour_calls_every_kind_of_tool():
    done = run(sys.executable, str(SCRIPTS / "tour.py"), cwd=ROOT, COLUMNS="150")
    assert (done.returncode, done.stderr) == (0, "")
    assert "22 tools are listed" in done.stdout
    assert 'desk_convert_units          {"value":26.2' in done.stdout
    assert "[image, image/png" in done.stdout
    assert "Everything worked" in done.stdout
    assert "FAILED" not in done.stdout


def test_a_second_setup_does_nothing(checkout, tmp_path):
    mark_ready(checkout, "dev")
    mark_ready(checkout, "lowest")
    for profile in ("run", "dev", "lowest"):
        done = run(checkout / "scripts" / "setup", profile, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("exit 1", "Python 3.11 or later is needed"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
    ids=["an old Python", "no venv module"],
)
def test_setup_reports_a_missing_program_in_one_line_with_its_remedy(checkout, tmp_path, python, words):
    done = run(checkout / "scripts" / "setup", cwd=tmp_path, PATH=bare_path(tmp_path, python3=python))
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_unknown_profile_is_refused(checkout, tmp_path):
    done = run(checkout / "scripts" / "setup", "everything", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "scripts/setup: There is no profile everything; use run, dev or lowest.\n"


@pytest.mark.parametrize(
    ("profile", "command"),
    [("dev", ["test"]), ("lowest", ["test-lowest"]), ("lowest", ["test-lowest", "--light"])],
    ids=["highest", "lowest", "a part"],
)
def test_the_test_scripts_pass_their_arguments_to_pytest_from_any_folder(checkout, tmp_path, profile, command):
    mark_ready(checkout, profile)
    done = run(checkout / "scripts" / command[0], *command[1:], "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout[:7]) == (0, "pytest ")


def test_the_test_files_for_the_lowest_versions_exist():
    text = (SCRIPTS / "test-lowest").read_text()
    left_out = re.findall(r"tests/[\w/]+\.py", text)
    light = re.search(r"light=\((.+)\)", text)[1].split()
    assert [name for name in (*left_out, *(f"tests/{name}" for name in light)) if not (ROOT / name).exists()] == []
    assert left_out


def test_run_passes_its_arguments_to_serve_in_the_current_folder(checkout, tmp_path):
    mark_ready(checkout, "run")
    done = run(checkout / "scripts" / "run", "missing.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("utcp-bridge: missing.json: There is no such file.")


def test_the_generated_pages_are_current():
    done = run(sys.executable, str(SCRIPTS / "generate_docs.py"), "--check", cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "All pages are current.\n")


def test_docs_writes_the_pages_that_are_not_current(checkout, tmp_path):
    mark_ready(checkout, "run")
    (checkout / "docs").mkdir()
    written = run(checkout / "scripts" / "docs", cwd=tmp_path)
    again = run(checkout / "scripts" / "docs", cwd=tmp_path)
    names = ("settings", "cli", "errors", "api", "statements", "formats")
    assert written.stdout.split() == [f"docs/{name}.md" for name in names]
    assert (again.returncode, again.stdout) == (0, "")
    assert (checkout / "docs" / "cli.md").read_text() == (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("name", LISTS)
def test_each_pinned_package_has_hashes_and_no_line_names_another_place(name):
    lines = (SCRIPTS / name).read_text().splitlines()
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    # A backslash continues a line, so a package without a hash shows as one that the next line does not continue.
    following = [second for first, second in itertools.pairwise(lines) if PIN.match(first)]
    assert all(map(HASH.match, following))


def test_the_environments_of_users_have_the_versions_that_were_tested():
    tested = pins("constraints.txt")
    for name in ("constraints-image.txt", "constraints-build.txt"):
        assert {package: tested.get(package) for package in pins(name)} == pins(name)


@pytest.mark.parametrize("python", ["3.11.0", "3.11.4", "3.12.0", "3.13.0", "3.14.0"])
@pytest.mark.parametrize("name", ["constraints.txt", "constraints-image.txt"])
def test_a_list_of_pins_is_complete_for_every_python(name, python):
    """Some packages need others on early versions of a Python only, such as the 3.11.2 of Debian 12."""
    system = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    lines = [Requirement(line.rstrip(" \\")) for line in (SCRIPTS / name).read_text().splitlines() if PIN.match(line)]
    pinned = {canonicalize_name(one.name): one for one in lines if not one.marker or one.marker.evaluate(system)}
    missing, refused = set(), set()
    for package in pinned.keys() & {canonicalize_name(one.name) for one in metadata.distributions()}:
        found = metadata.metadata(package)
        if pinned[package].specifier.contains(found["Version"]) and python not in SpecifierSet(
            found["Requires-Python"] or ""
        ):
            refused.add(package)
        for needed in map(Requirement, metadata.requires(package) or ()):
            if needed.marker and not needed.marker.evaluate({**system, "extra": ""}):
                continue
            if canonicalize_name(needed.name) not in pinned:
                missing.add((package, str(needed)))
    assert (missing, refused) == (set(), set())


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_constraints_pin_every_direct_dependency_within_its_range(name):
    pinned = pins(name)
    outside = [
        str(requirement)
        for requirement in direct_dependencies()
        if (version := pinned.get(canonicalize_name(requirement.name))) is None or version not in requirement.specifier
    ]
    assert outside == []


def test_the_lowest_constraints_are_the_low_ends_of_the_ranges():
    pinned = pins("constraints-lowest.txt")
    lowest = {
        canonicalize_name(requirement.name): Version(part.version)
        for requirement in direct_dependencies()
        for part in requirement.specifier
        if part.operator == ">="
    }
    assert {name: pinned.get(name) for name in lowest} == lowest
    assert set(lowest) == {canonicalize_name(requirement.name) for requirement in direct_dependencies()}


@pytest.mark.parametrize(
    ("report", "words", "status"),
    [
        ("", "cannot be reached", 3),
        ({"name": "a", "skip_reason": "not found"}, "NOT AUDITED  list: 1 of 2 packages", 3),
        ({"name": "a", "version": "1", "vulns": []}, "2 packages without known vulnerabilities", 0),
        ({"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}, "a 1: X-1, mended in 2", 1),
    ],
)
def test_an_audit_that_did_not_look_everything_up_is_not_a_good_one(tmp_path, report, words, status):
    good = {"name": "b", "version": "1", "vulns": []}
    (tmp_path / "report").write_text(json.dumps({"dependencies": [report, good]}) if report else "")
    done = run(sys.executable, str(SCRIPTS / "pinned.py"), "audited", "report", "list", "1", cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert words in done.stdout


GATES = ["audit", "check", "fuzz", "hostile", "interop", "soak", "test", "test-lowest"]
"""The scripts that CI runs, in the order of the alphabet."""


def ci_of(checkout, tmp_path, processors, *arguments, failing=""):
    """Run `.ci/run` with scripts that note how they are called, and of which one fails; return it and their names."""
    for gate in GATES:
        status = 1 if gate == failing else 0
        waits = "until [ -e checked ]; do :; done" if gate == "interop" and processors > 1 and not failing else ""
        leaves = "touch checked" if gate == "check" else ""
        notes = f"echo {gate} >>order\necho {gate} $@ >>calls"
        text = f"#!/bin/sh\n{waits}\necho the output of {gate}\n{notes}\n{leaves}\nexit {status}\n"
        (checkout / "scripts" / gate).write_text(text)
    (checkout / "scripts" / "setup").write_text("#!/bin/sh\n")
    path = bare_path(tmp_path, getconf=f"echo {processors}")
    for name in ("mktemp", "rm", "touch"):
        (Path(path) / name).symlink_to(shutil.which(name))
    done = run(checkout / ".ci" / "run", *arguments, cwd=tmp_path, PATH=path)
    return done, (checkout / "order").read_text().split()


def test_ci_runs_every_gate_one_after_another_on_one_processor(checkout, tmp_path):
    done, order = ci_of(checkout, tmp_path, 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert order == ["test", "interop", "test-lowest", "check", "fuzz", "audit", "hostile", "soak"]
    assert sorted(order) == GATES


def test_ci_runs_independent_programs_beside_other_gates_and_what_compares_times_alone(checkout, tmp_path):
    done, order = ci_of(checkout, tmp_path, 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert (order[-2:], sorted(order)) == (["hostile", "soak"], GATES)
    assert order.index("check") < order.index("interop"), "it ended later, and nothing waited for it before"
    assert "the output of interop" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [((), {"test", "check --but-coverage"}), (("--coverage",), {"test --coverage", "check"})],
    ids=["without coverage", "with coverage"],
)
def test_ci_has_the_gate_of_coverage_if_it_is_asked_to(checkout, tmp_path, arguments, calls):
    done, _ = ci_of(checkout, tmp_path, 1, *arguments)
    assert done.returncode == 0
    assert calls <= set((checkout / "calls").read_text().splitlines())


@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("gate", GATES)
def test_ci_fails_if_one_gate_fails(checkout, tmp_path, gate, processors):
    done, order = ci_of(checkout, tmp_path, processors, failing=gate)
    assert done.returncode != 0
    assert f"the output of {gate}" in done.stdout
    assert gate in {"hostile", "soak"} or "hostile" not in order


def test_check_reports_an_unknown_gate_and_the_output_of_one_that_fails(checkout, tmp_path):
    ruff = checkout / ".venv" / "bin" / "ruff"
    ruff.parent.mkdir(parents=True)
    ruff.write_text('#!/bin/sh\necho "the words of $1"\n[ "$1" = format ]\n')
    ruff.chmod(0o755)
    unknown = run(checkout / "scripts" / "check", "format", "nothing", cwd=tmp_path)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("nothing is not a gate. Gates: format lint")
    done = run(checkout / "scripts" / "check", "lint", "format", cwd=tmp_path)
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["FAILED", "lint"],
        ["the", "words"],
        ["ok", "format"],
    ]


def test_check_runs_every_gate_or_all_but_the_one_of_coverage(checkout, tmp_path):
    ruff = checkout / ".venv" / "bin" / "ruff"
    ruff.parent.mkdir(parents=True)
    ruff.write_text("#!/bin/sh\n")
    ruff.chmod(0o755)
    every, most = (
        {
            line.split()[1]
            for line in run(checkout / "scripts" / "check", *options, cwd=tmp_path).stdout.splitlines()
            if line.startswith(("ok", "FAILED"))
        }
        for options in ((), ("--but-coverage",))
    )
    assert {"lint", "mypy", "rules", "coverage"} < every
    assert most == every - {"coverage"}


@pytest.mark.parametrize(
    "name",
    [
        "setup",
        "run",
        "test",
        "test-lowest",
        "docs",
        "check",
        "pin",
        "fuzz",
        "audit",
        "sbom",
        "release",
        "image",
        "hostile",
        "soak",
    ],
)
def test_scripts_are_executable_and_valid(name):
    assert os.access(SCRIPTS / name, os.X_OK)
    subprocess.run(["bash", "-n", SCRIPTS / name], check=True, timeout=200)
