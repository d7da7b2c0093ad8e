"""What bridges need of the store that they share, tried command by command.

A store may take some commands and not others: its user may have no permission for them, a proxy may not know them, and
Redis Cluster does not run a script on keys of several nodes.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import Any, Final

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.stores.connecting import Obstacle

__all__ = ["first_refused", "obstacle_of_command"]

_SCRIPT: Final = b"return redis.call('ZCARD', KEYS[2])"
_MILLISECONDS: Final = 60_000
_SECONDS: Final = 60
_CLUSTER: Final = late_pattern(r"(MOVED|ASK|CLUSTERDOWN|CROSSSLOT)\b")
_MISSING: Final = late_pattern(r"unknown (sub)?command|unsupported|not supported", re.IGNORECASE)


async def first_refused(redis: Any, listening: Any, prefix: str) -> tuple[str, Exception] | None:
    """Run each command that bridges use, on keys of its own. Return the first one that fails, with its error.

    `listening` is the client for news, and `prefix` the beginning of all keys. Commands of scripts are run by
    themselves too, because a script does not say which of its commands was refused.

    :raises Exception: the store does not answer: an error of the library, or `OSError`.
    """
    key, hashed, ranked, news = (f"{prefix}{name}" for name in ("tried", "tried-hash", "tried-ranks", "news"))
    commands: list[tuple[Any, ...]] = [
        ("SET", key, b"", "PX", _MILLISECONDS),
        ("GET", key),
        ("PEXPIRE", key, _MILLISECONDS),
        ("SCAN", 0, "MATCH", key, "COUNT", 1),
        ("TIME",),
        ("HSET", hashed, "level", "1"),
        ("HMGET", hashed, "level"),
        ("EXPIRE", hashed, _SECONDS),
        ("ZADD", ranked, 1, "member"),
        ("EXPIRE", ranked, _SECONDS),
        ("ZREMRANGEBYSCORE", ranked, "-inf", 0),
        ("ZCARD", ranked),
        ("ZRANGEBYSCORE", ranked, "-inf", "+inf"),
        ("SCRIPT LOAD", _SCRIPT),
        ("EVALSHA", sha1(_SCRIPT, usedforsecurity=False).hexdigest(), 2, hashed, ranked),
        ("ZREM", ranked, "member"),
        ("DEL", hashed, ranked),
        ("PUBLISH", news, b""),
    ]
    async with redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        found = await pipeline.execute(raise_on_error=False)
    for (name, *_), result in zip(commands, found, strict=True):
        if isinstance(result, Exception):
            return name, result
    return await _refused_news(listening, news)


async def _refused_news(listening: Any, news: str) -> tuple[str, Exception] | None:
    from redis.exceptions import ResponseError

    async with listening.pubsub() as channel:
        try:
            await channel.subscribe(news)
            await channel.get_message(timeout=None)
        except ResponseError as error:
            return "SUBSCRIBE", error
    return None


def obstacle_of_command(command: str, error: Exception, prefix: str, faults: Any) -> Obstacle | None:
    """Return why a command is refused until a person changes something; None if it may be taken in a moment."""
    known = faults.MovedError | faults.ClusterError | faults.ClusterCrossSlotError
    if isinstance(error, known) or _CLUSTER.match(str(error)):  # older versions of the library have one class for all
        what = "is a node of a Redis Cluster, where one script cannot charge a call to several limits at once"
        return Obstacle(what, "Use one Redis or Valkey with `cluster-enabled no`.")
    if isinstance(error, faults.NoPermissionError):
        text = str(error)
        part = f"the keys {prefix}*" if "key" in text else f"the channel {prefix}news" if "channel" in text else ""
        what = f"refuses the command {command}: its user may not use {part or 'it'}"
        return Obstacle(what, "Give the user the permissions in `utcp-bridge help replicas`.")
    if _MISSING.search(str(error)):
        what = f"does not have the command {command}"
        return Obstacle(what, "Use a Redis or Valkey that has it, without a proxy in between that does not.")
    return None
