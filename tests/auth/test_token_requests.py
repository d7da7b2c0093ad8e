"""Client credentials without a token URL, with a resource, an audience, and a signed assertion."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic import ValidationError
from tests.upstreams.login_service import CLIENT, SECRET, login_service

from utcp_bridge import UtcpClient
from utcp_bridge.auth.models import OAuth2Auth
from utcp_bridge.errors import ConfigError, LoginFailed, TokenError, UtcpError

pytestmark = pytest.mark.anyio
CREDENTIALS = {"auth_type": "oauth2", "client_id": CLIENT, "client_secret": SECRET}


async def call(service, auth):
    entry = {"name": "shop", "call_template_type": "http", "url": service.items_url, "http_method": "GET", "auth": auth}
    config = {"manual_call_templates": [entry], "bridge": {"token_store": "memory"}}
    async with await UtcpClient.create(config) as client:
        [state] = client.report()
        return state.error


async def test_the_metadata_of_the_service_names_the_endpoint_and_the_resource() -> None:
    async with login_service() as service:
        await call(service, CREDENTIALS)
        [form] = service.forms
        assert form["grant_type"] == "client_credentials"
        assert form["resource"] == service.items_url
        assert service.tokens


async def test_an_issuer_resource_and_audience_of_the_operator_are_used() -> None:
    async with login_service() as service:
        await call(service, {**CREDENTIALS, "issuer": service.issuer, "resource": "urn:r", "audience": "aud"})
        [form] = service.forms
        assert (form["resource"], form["audience"]) == ("urn:r", "aud")


@pytest.mark.parametrize(
    ("key", "algorithm", "used"),
    [
        (RSAKey.generate_key(2048), None, "RS256"),
        (RSAKey.generate_key(2048), "PS256", "PS256"),
        (ECKey.generate_key("P-256"), None, "ES256"),
        (OKPKey.generate_key("Ed25519"), None, "Ed25519"),
    ],
)
async def test_an_assertion_is_signed_for_the_issuer(key, algorithm, used) -> None:
    public = key.as_pem(private=False).decode()
    async with login_service(public_key=public, key_type=key.key_type, algorithms=(used,)) as service:
        auth = {"auth_type": "oauth2", "client_id": CLIENT, "private_key": key.as_pem(private=True).decode()}
        error = await call(service, {**auth, **({"algorithm": algorithm} if algorithm else {})})
        assert not isinstance(error, TokenError), error
        [claims] = service.assertions
        assert claims["aud"] == service.issuer
        assert claims["iss"] == claims["sub"] == CLIENT
        assert 0 < claims["exp"] - claims["iat"] <= 300
        assert "client_secret" not in service.forms[0]


async def test_a_key_that_cannot_sign_is_one_sentence_without_the_key() -> None:
    async with login_service() as service:
        error = await call(service, {"auth_type": "oauth2", "client_id": CLIENT, "private_key": "canary"})
        assert isinstance(error, ConfigError)
        assert "cannot sign" in str(error)
        assert "canary" not in str(error)


async def test_an_issuer_with_another_name_gets_no_secret() -> None:
    async with login_service() as service:
        error = await call(service, {**CREDENTIALS, "issuer": service.issuer.replace("127.0.0.1", "localhost")})
        assert isinstance(error, LoginFailed)
        assert service.forms == []


async def test_a_service_without_metadata_says_what_to_write() -> None:
    async with login_service() as service:
        service.url, real = f"{service.url}/nowhere", service.url
        try:
            error = await call(service, CREDENTIALS)
        finally:
            service.url = real
        assert isinstance(error, UtcpError)
        assert "Write `token_url` or `issuer`" in str(error)


@pytest.mark.parametrize("more", [{}, {"client_secret": "a", "private_key": "b"}])
def test_a_client_needs_one_proof(more) -> None:
    with pytest.raises(ValidationError, match="either `client_secret` or `private_key`"):
        OAuth2Auth(client_id="a", token_url="https://a.example/token", **more)
