"""The package as its users get it: stubs, documentation, the pytest plugin, the wheel."""

import ast
import doctest
import inspect
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

import bai_manager
from bai_manager import _core, cluster, errors, policies, requests, tenants, values

PACKAGE = pathlib.Path(bai_manager.__file__).parent


def test_stubs_name_everything_that_is_there():
    stubs = ast.parse((PACKAGE / "_core.pyi").read_text())
    classes = {node.name: node for node in stubs.body if isinstance(node, ast.ClassDef)}
    for name, cls in vars(_core).items():
        if not inspect.isclass(cls):
            continue
        said = {n.name for n in classes[name].body if isinstance(n, ast.FunctionDef)}
        said |= {n.target.id for n in classes[name].body if isinstance(n, ast.AnnAssign)}
        there = {member for member in vars(cls) if not member.startswith("_")}
        assert said - {n for n in said if n.startswith("_")} == there, name
    assert (PACKAGE / "py.typed").is_file()


def test_everything_public_is_documented():
    for module in (bai_manager, cluster, errors, policies, requests, tenants, values, bai_manager.pytest_plugin):
        assert module.__doc__
    for name in bai_manager.__all__:
        assert inspect.getdoc(getattr(bai_manager, name)), name
    for entity in _core.row_classes.values():
        for field in entity.fields:
            assert getattr(entity, field).__doc__, (entity, field)


@pytest.mark.parametrize("module", [bai_manager, cluster], ids=["package", "cluster"])
def test_examples_in_the_documentation_hold(module):
    failed, tried = doctest.testmod(module)
    assert failed == 0 and tried > 0


@pytest.mark.parametrize("name", ["04_compare_policies", "05_test_own_rules"])
def test_notebooks_are_made_of_cells_that_stand_alone(name):
    text = (pathlib.Path(os.environ["BAI_SOURCE_DIR"]) / "examples" / f"{name}.py").read_text()
    before, *cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    assert before == "" and len(cells) >= 8
    kinds = [cell.startswith(" [markdown]") for cell in cells]
    assert kinds[0] and kinds.count(True) >= 4
    for is_prose, cell in zip(kinds, cells):
        body = cell.split("\n", 1)[1]
        if is_prose:
            assert all(line.startswith("#") or not line for line in body.splitlines()), body
        else:
            assert ast.parse(body).body, "a cell of code has some"


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--jobs", "-1"], ["--cores", "0"], ["--jobs", "x"], ["nowhere.csv"]])
def test_the_comparison_refuses_arguments_that_cannot_be(arguments):
    program = pathlib.Path(os.environ["BAI_SOURCE_DIR"]) / "examples" / "04_compare_policies.py"
    done = subprocess.run([sys.executable, str(program), *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "error:" in done.stderr, done


def test_the_plugin_checks_what_a_test_leaves_behind(tmp_path):
    (tmp_path / "test_it.py").write_text("""
import pytest

def test_default(cluster):
    assert len(cluster.agents()) == 2

@pytest.mark.cluster(agents=1)
class TestMarked:
    def test_of_class(self, cluster):
        assert len(cluster.agents()) == 1

    @pytest.mark.cluster(agents=3)
    def test_nearer_mark(self, cluster):
        assert len(cluster.agents()) == 3

def test_several(make_cluster):
    assert make_cluster(1).now == make_cluster(2).now

@pytest.mark.cluster(3)
def test_arguments_without_names(request):
    with pytest.raises(TypeError, match="agents=3"):
        request.getfixturevalue("cluster")
""")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "bai_manager.pytest_plugin",
                           "--strict-markers", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout + done.stderr


def test_the_wheel_is_complete(tmp_path):
    tool = pathlib.Path(__file__).parents[1] / "tools" / "make_wheel.py"
    done = subprocess.run([sys.executable, str(tool), str(PACKAGE), "0.1.0", str(tmp_path)], capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    wheel = pathlib.Path(done.stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        record = archive.read("bai_manager-0.1.0.dist-info/RECORD").decode().splitlines()
        assert {line.split(",")[0] for line in record} == set(names)
        assert "pytest11" in archive.read("bai_manager-0.1.0.dist-info/entry_points.txt").decode()
        archive.extractall(tmp_path / "site")
    assert {"bai_manager/py.typed", "bai_manager/_core.pyi", "bai_manager/cluster.py"} <= set(names)
    program = "import bai_manager as b; c = b.Cluster(); j = c.submit(cpu=1); c.advance(1); print(c.session(j).status, b.__file__)"
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True,
                          text=True, timeout=60)
    assert done.stdout.startswith(f"RUNNING {tmp_path}"), done.stderr
