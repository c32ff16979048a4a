"""pytest reads every test file: no folder has a name that it passes over, as ``build`` once had."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))


def passed_over(path, config):
    """Whether pytest, told to read the folder of all tests, would not read this file."""
    folders = path.relative_to(TESTS).parts[:-1]
    skipped = any(fnmatch(folder, pattern) for folder in folders for pattern in config.getini("norecursedirs"))
    return skipped or not any(fnmatch(path.name, pattern) for pattern in config.getini("python_files"))


def test_no_test_file_is_passed_over(pytestconfig):
    assert len(FILES) > 100
    assert not [path for path in FILES if passed_over(path, pytestconfig)]


def test_a_file_that_would_be_passed_over_is_seen(pytestconfig):
    assert passed_over(TESTS / "layers" / "check_gpsa.py", pytestconfig)
    assert passed_over(TESTS / ".hidden" / "test_gpsa.py", pytestconfig)
    assert not passed_over(TESTS / "build" / "test_gpsa.py", pytestconfig)


def test_a_run_of_everything_has_tests_of_every_file(request):
    if request.config.args != request.config.getini("testpaths") or request.config.option.keyword:
        pytest.skip("this run is of some of the tests")
    assert {item.path for item in request.session.items} == set(FILES)
