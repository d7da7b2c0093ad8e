"""`utcp-bridge token`, with the file that the configuration names."""

import json


def test_a_new_token_is_printed_alone_with_how_a_client_sends_it(command, tmp_path):
    (tmp_path / "utcp.json").write_text(json.dumps({"bridge": {"access": {"tokens_file": "tokens.json"}}}))
    made = command("token", "add", "ci")
    assert made.code == 0
    assert made.out.startswith("utcpb_")
    assert "`Authorization: Bearer TOKEN`" in made.err
    assert made.out.strip() not in made.err + (tmp_path / "tokens.json").read_text()


def test_a_profile_that_the_configuration_does_not_have_makes_no_token(command, tmp_path):
    access = {"tokens_file": "tokens.json", "profiles": {"support": {}, "reports": {}}}
    (tmp_path / "utcp.json").write_text(json.dumps({"bridge": {"access": access}}))
    refused = command("token", "add", "ci", "--profile", "support", "--profile", "report")
    what = "`--profile`: the configuration does not have a profile 'report'. Did you mean 'reports'?"
    assert (refused.code, what in refused.err) == (2, True)
    assert not (tmp_path / "tokens.json").exists()
    made = json.loads(command("token", "add", "ci", "--profile", "support", "--profile", "reports", "--json").out)
    assert made["profiles"] == ["support", "reports"]
