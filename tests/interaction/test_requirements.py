"""Every requirement has a test, and every test names requirements that exist."""

import ast
from pathlib import Path

from tests.interaction.requirements import REQUIREMENTS


def proven():
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            for decorator in getattr(node, "decorator_list", ()):
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "proves":
                    yield from ((node.name, argument.value) for argument in decorator.args)


def test_every_requirement_has_a_test():
    assert set(REQUIREMENTS) - {requirement for _, requirement in proven()} == set()


def test_every_test_names_requirements_that_exist():
    assert [(test, requirement) for test, requirement in proven() if requirement not in REQUIREMENTS] == []
