"""The package's types, as a type checker sees them."""

import os
import pathlib
import subprocess
import sys

import pytest

import bai_manager

pytest.importorskip("mypy")
PROGRAM = pathlib.Path(__file__).with_name("typed_program.py")
SITE = str(pathlib.Path(bai_manager.__file__).parents[1])


def check(tmp_path, *what):
    # NumPy's own stubs are not what is tested.
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = True\n[mypy-numpy.*]\nfollow_imports = skip\nignore_missing_imports = True\n")
    return subprocess.run([sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), "--cache-dir",
                           str(tmp_path / "cache"), *what], capture_output=True, text=True, timeout=250, cwd=tmp_path,
                          env={**os.environ, "MYPYPATH": SITE})


def test_the_package_its_stubs_and_a_program_are_typed(tmp_path):
    done = check(tmp_path, "-p", "bai_manager")
    assert done.returncode == 0, done.stdout + done.stderr
    done = check(tmp_path, str(PROGRAM))
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_programs_are_found(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from bai_manager import Cluster\n"
                     "cluster = Cluster(agents=1)\n"
                     "cluster.submit(5)\n"
                     "cluster.session('x').colour\n"
                     "cluster.session('x').priority.upper()\n"
                     "print(cluster.session('x').starts_at.year)\n")
    done = check(tmp_path, str(wrong))
    lines = {line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line}
    assert lines == {"3", "4", "5", "6"}, done.stdout + done.stderr


def test_the_typed_program_runs():
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "RUNNING" in done.stdout, done.stdout + done.stderr
