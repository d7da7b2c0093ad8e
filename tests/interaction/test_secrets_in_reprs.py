"""No object of the package shows in its repr what may be a secret: programs write reprs into logs and reports."""

import dataclasses
import importlib
import inspect
import pkgutil
import re

import pytest
from pydantic import BaseModel, SecretStr

import utcp_bridge
from utcp_bridge import BridgeSettings, UtcpClient

pytestmark = pytest.mark.anyio

MAY_BE_SECRET = re.compile(
    r"(?:^|_)(?:auth_tools|headers|cookies|token|password|passphrase|secret|api_key|access_token|proxy|argv|environment|"
    r"env|stdin|arguments|url|base_url|template|manual_call_templates|load_variables_from|server_variables|credentials|"
    r"body|query|document|defaults|overrides|metadata|config_text)$"
)
"""Names of fields whose values an operator or a caller may write."""
HARMLESS = {
    "ManualOptions.forward_headers": "names",
    "Source.forward_headers": "names",
    "BodyShape.arguments": "names",
    "Client.body": "a function",
    "Client.query": "a function",
    "DashGuard.arguments": "names",
    "ManualForm.url": "the address of this server",
    "Entries.env": "the name of a key",
    "Entries.headers": "the same",
    "Entries.url": "the same",
    "Recipe.url": "public",
    "_Draft.api_key": "the name of a header",
    "Listing.url": "public",
    "OpenApiOperation.body": "names and types",
    "RecordedCall.arguments": "of a test",
    "Case.arguments": "of a test",
    "Case.template": "of a test",
    "SearchArguments.query": "words",
    "ToolUpstream.url": "of a test",
    "UTCPTool.metadata": "names",
    "_Lookup.arguments": "names",
    "Serving.public_url": "the address of this server",
    "SessionExchange.progress_token": "a number of the protocol",
    "_Fetch.document": "by its repr",
    "_Probe.message_metadata": "always None",
    "OAuth2Auth.token_url": "an address that errors name",
    "OAuth2LoginAuth.authorization_url": "the same",
    "OAuth2LoginAuth.device_authorization_url": "the same",
    "OAuth2LoginAuth.token_url": "the same",
    "BridgeSettings.client_metadata_url": "public, as its name in OAuth says",
    "PolicySettings.client_metadata_url": "the same",
}


def classes():
    found = set()
    for module in pkgutil.walk_packages(utcp_bridge.__path__, "utcp_bridge."):
        if not module.name.endswith("__main__"):
            members = vars(importlib.import_module(module.name)).values()
            found |= {one for one in members if inspect.isclass(one) and one.__module__ == module.name}
    return found


def shown_fields(cls):
    """Return the names of the fields that a repr shows, except yes or no, numbers and choices."""
    if dataclasses.is_dataclass(cls) and cls.__dataclass_params__.repr:
        types = {field.name: str(field.type) for field in dataclasses.fields(cls) if field.repr}
    elif issubclass(cls, BaseModel) and cls.__repr__ is BaseModel.__repr__:
        types = {name: repr(field.annotation) for name, field in cls.model_fields.items() if field.repr}
    else:
        types = {}
    return [name for name, kind in types.items() if not re.search(r"bool|SecretStr|Literal|\b(?:int|float)\b", kind)]


def test_no_class_shows_a_field_that_may_be_a_secret():
    shown = {f"{cls.__name__}.{name}" for cls in classes() for name in shown_fields(cls) if MAY_BE_SECRET.search(name)}
    assert shown - HARMLESS.keys() == set()


async def test_a_client_its_settings_tools_and_states_show_no_secret():
    template = {
        "call_template_type": "http",
        "url": "http://127.0.0.1:9/x?k=canary-1",
        "headers": {"X-A": "canary-2"},
        "auth": {"auth_type": "basic", "username": "u", "password": "canary-3"},
    }
    manual = {"utcp_version": "1.0.1", "tools": [{"name": "t", "inputs": {}, "tool_call_template": template}]}
    entry = {
        "name": "m",
        "call_template_type": "text",
        "content": manual,
        "allowed_communication_protocols": ["http"],
        "proxy": "http://u:canary-4@127.0.0.1:9",
        "auth_tools": {"auth_type": "api_key", "api_key": "canary-5"},
    }
    settings = BridgeSettings(bearer_token=SecretStr("canary-6-of-length"), proxy="http://u:canary-7@127.0.0.1:9")
    config = {
        "variables": {"V": "canary-8"},
        "load_variables_from": [{"variable_loader_type": "vault", "token": "canary-9"}],
        "manual_call_templates": [entry],
        "bridge": settings.model_dump(exclude_defaults=True),
    }
    async with await UtcpClient.create(config) as client:
        tool = client.tools()[0]
        seen = [client, client.config, client.settings, client.report(), tool, tool.source, client.redactor]
        target, _ = client.reach(template)
        text = " ".join(map(repr, [*seen, target, target.template, target.credentials, target.source]))
    assert "canary" not in text
