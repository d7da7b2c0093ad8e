"""What children get of the environment: proxies and certificates in both cases of letters, and what is named."""

import pytest

from utcp_bridge.processes.inherited import CHILDREN_INHERIT, inherited_environment


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"])
def test_proxies_and_certificates_are_inherited_in_both_cases(name):
    assert {name, name.lower()} <= set(CHILDREN_INHERIT)


def test_only_variables_that_are_set_are_inherited(monkeypatch):
    monkeypatch.setenv("GIVEN", "1")
    monkeypatch.delenv("MISSING", raising=False)
    assert inherited_environment(["GIVEN", "MISSING"]) == {"GIVEN": "1"}
