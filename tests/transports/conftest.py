"""Shows plain asserts of the shared suite in full when they fail."""

import pytest

pytest.register_assert_rewrite("tests.transports.contract", "tests.support.residue")
