"""Background tasks with one owner, and coroutines for callers without an event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar, Token, copy_context
from functools import cache
from math import inf
from typing import Any, Final, Generic, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import RunVar

from utcp_bridge.late.records import dataclass

__all__ = [
    "Background", "Flights", "HeavyWork", "Opening", "OwnTasks", "Owned", "Slices", "Spawn", "Stoppable", "at_once",
    "call_clock", "collector", "current_work", "effective_deadline", "enclosing_work", "end_heavy_turn", "heavy_turn",
    "in_slices", "is_heavy_turn", "leave_limits", "let_others_run", "limiting_clock", "loop_time", "pause_if_heavy",
    "run_blocking", "scope_until", "seconds_left", "setting", "slice_clock", "spawning_in", "start_among",
]  # fmt: skip

_logger = logging.getLogger(__name__)

T = TypeVar("T")
Spawn: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], Callable[[], None]]
"""`Background.spawn`: starts work in the background, and returns the function that cancels it."""
_ENDING_SECONDS: Final = 1.0
"""For the clean-up of work that was cancelled."""
_PAUSE_SECONDS: Final = 0.01
"""The others' share between two stages of a large reply: some of their calls pass in it as a whole."""
_LEAST_SECONDS: Final = 0.001
_SLICE_SECONDS: Final = 0.001
"""All work in slices together holds the event loop for this long, and then leaves it alone for `_TURNS`."""
_COUNTED: Final = 0.1  # the part of a slice that is counted at once: counting a small step takes as long as the step
_SHARE: Final = 0.5
"""The part of a slice below which a work does not pause."""
slice_clock: Final[Callable[[], float]] = time.perf_counter if sys.platform == "win32" else time.thread_time
"""The time of the thread: a work is not charged for the time in which another program ran. The clock of Windows is too
coarse for that."""
_wall_clock: Final = time.perf_counter  # at least the time of the thread, which takes a system call, passes on it
_MANY_OBJECTS: Final = 20_000
"""To walk these takes the collector some milliseconds."""
_TURNS: Final = 8
"""Turns of the event loop between two slices. A call takes about twenty turns, so it waits for three slices at most."""


class Background:
    """A task group that lives in a task of its own, from `start()` to `stop()`.

    `UtcpClient.create` must work without `async with`. A task group that is entered there would tie its cancellation
    to the task that calls `create`. If one task fails, the failure is logged and the other tasks go on.
    """

    def __init__(self) -> None:
        self._owner: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._stopping = anyio.Event()
        self._moved = anyio.Event()

    async def start(self) -> None:
        """Start the task that owns the others."""
        started = anyio.Event()
        self._owner = asyncio.create_task(self._own(started))  # noqa: TID251 - this task owns the others
        await started.wait()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        """Run `work` until it ends or `stop()` is called. Return a function that cancels it. Later nothing starts."""
        scope = anyio.CancelScope()
        if self._group is not None and not self._stopping.is_set():
            self._group.start_soon(_run, work, scope)
        return scope.cancel

    def tell(self) -> None:
        """Wake the tasks that wait in `moved()`."""
        self._moved.set()
        self._moved = anyio.Event()

    async def moved(self) -> None:
        """Wait for the next `tell()`."""
        await self._moved.wait()

    async def stop(self) -> None:
        """Cancel every task and wait for it to clean up."""
        self._stopping.set()
        if self._owner is not None:
            await asyncio.shield(self._owner)

    async def _own(self, started: anyio.Event) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            started.set()
            await self._stopping.wait()
            group.cancel_scope.cancel()


class OwnTasks:
    """Tasks of one owner, who cancels what they do and waits for them. They cost less than those of a task group."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        """That of all of them. Until Python 3.12, each look for the running one asks the system which process it is."""

    def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """Run `work`, which handles its own errors. Return a function that cancels it."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task.cancel

    def start_leaving(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> None:
        """Run `work`, which handles its own errors and calls `leave` at its end (see `start_among`)."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        start_among(self._running, work, self._loop, context)

    def current(self) -> asyncio.Task[None]:
        """Return the running task, which is one of these."""
        task: Any = asyncio.current_task(self._loop)
        return task  # type: ignore[no-any-return]

    def leave(self, task: asyncio.Task[None] | None = None) -> None:
        """Note that the running task (`current`) ends, without another wait."""
        self._running.discard(self.current() if task is None else task)

    async def ended(self) -> None:
        """Wait until none of them runs."""
        while running := [task for task in self._running if not task.done()]:
            await asyncio.wait(running)


def start_among(
    running: set[asyncio.Task[Any]],
    work: Coroutine[Any, Any, Any],
    loop: asyncio.AbstractEventLoop,
    context: Context | None = None,
) -> asyncio.Task[Any]:
    """Start a task that is among the `running` ones, which their owner waits for, until `work` discards it there.

    It runs in `context`, which belongs to it alone, or in a copy of the current one.
    """
    # A callback at its end would take a further turn of the loop, with a system call.
    task = loop.create_task(work, context=context)
    if not task.done():  # an eager one may be
        running.add(task)
    return task


class Stoppable:
    """A task that others may cancel, and why they did. It costs a tenth of a scope of anyio.

    Unlike a scope it cancels once: what the task waits for after that is waited for.
    """

    _task: asyncio.Task[Any] | None = None
    _is_closed = False
    why: str | None = None

    def begin(self, task: asyncio.Task[Any] | None = None) -> None:
        """Note that the running task is the one. `task` is that, which is looked for otherwise.

        :raises CancelledError: it was cancelled before it began.
        """
        if self.why is not None:
            raise asyncio.CancelledError
        self._task = asyncio.current_task() if task is None else task

    def cancel(self, why: str = "cancelled") -> None:
        """Cancel the task for a reason. Only the first reason counts, and nothing happens after `close`."""
        if self._is_closed or self.why is not None:
            return
        self.why = why
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """Cancel the task because the server ends."""
        self.cancel("end")

    def has_stopped(self) -> bool:
        """Return whether a `CancelledError` that was caught is that of `cancel`. The task then goes on."""
        if self.why is None:
            return False
        if self._task is not None:
            self._task.uncancel()
        return True

    def close(self) -> None:
        """Let nothing cancel the task any more."""
        self._is_closed = True
        self._task = None


call_clock: Final[ContextVar[Any]] = ContextVar("call_clock", default=None)
"""The clock of the current call (`upstream.CallClock`)."""
_clock_left: ContextVar[Any] = ContextVar("clock_left", default=None)
"""The clock of the call that started a background task, which does not end with the call."""


def leave_limits() -> None:
    """Note that this task is in the background: the time limit of the call which started it does not end it."""
    _clock_left.set(call_clock.get())


def limiting_clock() -> Any:
    """Return the clock of the call that the running task is a part of."""
    clock = call_clock.get()
    return None if clock is _clock_left.get() else clock


def effective_deadline() -> float:
    """Return when the running task is cancelled: the nearest of all limits around it, `inf` without any."""
    clock = limiting_clock()
    ends = anyio.current_effective_deadline()
    return ends if clock is None else min(ends, clock.own_limit)


def spawning_in(group: TaskGroup) -> Spawn:
    """Return what starts work in a task group. Its failure is that of the group."""

    def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await work()

        group.start_soon(run)
        return scope.cancel

    return spawn


class Opening:
    """Whether a background task has opened what it holds, or why it could not; for the callers that wait for it."""

    def __init__(self) -> None:
        self._settled = anyio.Event()
        self._failure: Exception | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it is open or has failed."""
        return self._settled.is_set()

    def settle(self, failure: Exception | None = None) -> None:
        """Report that it is open, or why it is not. Only the first report counts."""
        if not self._settled.is_set():
            self._failure = failure
            self._settled.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until it is settled, and return whether that took at most `seconds`. Raises its failure."""
        with anyio.move_on_after(seconds):
            await self._settled.wait()
        if self._failure is not None:
            raise self._failure
        return self._settled.is_set()


class Owned:
    """A background task that opens something and holds it, with an owner at any time.

    Until it is open, it belongs to the callers that wait in `opened`: it ends with the last of them that leaves, and
    that one waits until it has cleaned up. Then it belongs to the code that calls `end`.

    `hold(is_open)` runs in the task. It calls `is_open` when it holds what it opens, and goes on until the end. Wait in
    `opened` before anything else: a task without a caller that waits does not have an owner.
    """

    def __init__(self, spawn: Spawn, hold: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        self._opening = Opening()
        self._is_open = False
        self._waiting = 0
        self._ended = anyio.Event()
        self._cancel = spawn(lambda: self._run(hold))

    async def opened(self, seconds: float = inf) -> bool:
        """Wait until it is open, and return whether that took at most `seconds`. Raises what opening it raised."""
        self._waiting += 1
        try:
            await self._opening.wait(seconds)
        finally:
            self._waiting -= 1
            if not self._is_open and not self._waiting:
                await self.end()
        return self._is_open

    async def end(self) -> None:
        """Cancel the task, and wait at most a second until it has cleaned up."""
        self._cancel()
        with anyio.CancelScope(shield=True), anyio.move_on_after(_ENDING_SECONDS):
            await self._ended.wait()

    def _set_open(self) -> None:
        self._is_open = True
        self._opening.settle()

    async def _run(self, hold: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        leave_limits()
        try:
            await hold(self._set_open)
        except Exception as error:
            if self._is_open:
                raise
            self._opening.settle(error)
        finally:
            self._opening.settle()
            self._ended.set()


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Flights(Generic[T]):
    """Work that several callers wait for, done once for each key. It is cancelled with the last caller that waits."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the work under this key, which the first caller starts. Each caller gets its error."""
        flight = self._flights.get(key)
        if flight is None:
            context = copy_context()
            context.run(leave_limits)  # the work goes on for others when the first caller has no time left
            task = asyncio.create_task(work(), context=context)  # noqa: TID251 - its callers own it together
            flight = self._flights[key] = _Flight(task)
        flight.waiting += 1
        try:
            # `wait`, because it leaves the task alone when this caller is cancelled.
            await asyncio.wait([flight.task])
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and self._flights.get(key) is flight:
                del self._flights[key]
                await _end(flight.task)
        if flight.task.cancelled():
            raise RuntimeError("The work that several callers waited for was cancelled.")
        return flight.task.result()


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task that nobody waits for, and let it clean up."""
    if not task.done():
        task.cancel()
        with anyio.CancelScope(shield=True), anyio.move_on_after(_ENDING_SECONDS):
            await asyncio.wait([task])
    if task.done() and not task.cancelled():
        task.exception()  # its failure has been seen


async def _run(work: Callable[[], Coroutine[Any, Any, None]], scope: anyio.CancelScope) -> None:
    leave_limits()
    with scope:
        try:
            await work()
        except Exception:
            _logger.exception("A background task failed.")


def run_blocking(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function to its end and return its result.

    Within a running event loop, as in a notebook, it runs in a thread of its own, and the loop waits.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(work)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(anyio.run, work).result()


_heavy_place: RunVar[anyio.Semaphore] = RunVar("_heavy_place")
_current: ContextVar[HeavyWork | None] = ContextVar("heavy_work", default=None)


class HeavyWork:
    """Encloses all that is done with one reply, so that large replies are worked on one after another.

    Each stage of a large reply holds the event loop, and its value takes many times the memory of its bytes. A work
    inside another is a part of it.
    """

    # Each call makes one and most look at nothing of it: `__init__` would take longer than what they do with it.
    _at_end: tuple[Callable[[], None], ...] = ()
    _has_asked = False
    _has_ended = False
    _place: anyio.Semaphore | None = None
    _token: Token[HeavyWork | None] | None = None

    def begin(self) -> None:
        """Begin the work, for code that is called so often that a `with` is slow."""
        if _current.get() is None:
            self._token = _current.set(self)

    def end(self, *_: object) -> None:
        """End the work, whether it has succeeded or not."""
        if self._token is not None:
            _current.reset(self._token)
            self._has_ended = True
            if self._place is not None or self._at_end:
                self.release()

    __enter__, __exit__ = begin, end

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def at_end(self, act: Callable[[], None]) -> None:
        """Call `act` when nothing more is done with the reply, or when its call has failed."""
        self._at_end = (*self._at_end, act)

    async def take(self, place: anyio.Semaphore) -> None:
        """Wait until no other large reply is worked on. Tasks of this work do not wait for one another."""
        if self._has_asked:
            return
        self._has_asked = True
        try:
            await place.acquire()
        except BaseException:
            self._has_asked = False
            raise
        self._place = place
        if self._has_ended:  # a task that the work began goes on without it
            self.release()

    def release(self) -> None:
        """Let the next large reply in."""
        while self._at_end:
            *rest, act = self._at_end
            self._at_end = tuple(rest)
            act()
        if self._place is not None:
            self._place.release()
            self._place = None
            self._has_asked = False


enclosing_work: Final = _current.get  # what a task is a part of, so that another `HeavyWork` would have no effect


def current_work() -> HeavyWork | None:
    """Return the work that this task is a part of; None outside of one, or after it has ended."""
    work = _current.get()
    return None if work is None or work.has_ended else work


async def heavy_turn(*, keep: bool = True) -> None:
    """Wait for the turn of a large reply, before it is parsed.

    The work that this is a part of keeps the turn to its end. Without such work, or if `keep` is false because the
    other side decides how long the rest takes, it is only a pause in turn.
    """
    place = _heavy_place.get(None)
    if place is None:
        place = anyio.Semaphore(1)
        _heavy_place.set(place)
    work = _current.get()
    if work is None or not keep:
        async with place:
            await anyio.sleep(_PAUSE_SECONDS)
        return
    await work.take(place)
    await anyio.sleep(_PAUSE_SECONDS)


def is_heavy_turn() -> bool:
    """Return whether the task works on a large reply, so that `pause_if_heavy` would pause."""
    work = _current.get()
    return work is not None and work._place is not None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a property takes longer


async def pause_if_heavy() -> None:
    """Let others run before the next stage of a large reply. It costs nothing for any other one."""
    if is_heavy_turn():
        await anyio.sleep(_PAUSE_SECONDS)


def end_heavy_turn() -> None:
    """Let the next large reply in, because this one is not worked on: its call failed, and may wait before a retry."""
    work = _current.get()
    if work is not None:
        work.release()


class _Pace:
    """How long work in slices has held the event loop since all other tasks had their turns."""

    __slots__ = ("turn", "used")

    def __init__(self) -> None:
        self.used = 0.0
        self.turn = anyio.Semaphore(1)

    async def pause(self) -> None:
        """Let others run. Works that pause go on one after another."""
        async with self.turn:
            for _ in range(_TURNS):
                await asyncio.sleep(0)  # as anyio's checkpoint, which first looks for its backend
            self.used = 0.0


class Slices:
    """The slices of one piece of work, such as the reading of one stream.

    It pauses when all such works together have held the event loop for a millisecond, if it has had its share of that.
    So a short work never waits behind long ones.
    """

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used = 0.0

    async def after(self, began: float) -> None:
        """Count the time since `began` (by `slice_clock`), and let other tasks run if it is time for that."""
        await self.spent(slice_clock() - began)

    async def spent(self, seconds: float) -> None:
        """Count this time, and let other tasks run if it is time for that."""
        pace = _current_pace()
        pace.used += seconds
        self._used += seconds
        if pace.used >= _SLICE_SECONDS and self._used >= _SLICE_SECONDS * _SHARE:
            self._used = 0.0
            await pace.pause()


async def in_slices(steps: Generator[None, None, T], slices: Slices | None = None) -> T:
    """Run a generator to its end and return its value. Other tasks have their turns in between.

    `slices` counts the time if the generator is one of several that are one piece of work.
    """
    own = slices or Slices()
    began, looked, least = slice_clock(), _wall_clock(), _SLICE_SECONDS * _COUNTED
    while True:
        try:
            next(steps)
        except StopIteration as end:
            await own.after(began)
            return end.value  # type: ignore[no-any-return]
        if (now := _wall_clock()) - looked < least:
            continue  # so the thread has used less
        looked, used = now, slice_clock() - began
        if used >= least:
            await own.spent(used)
            began, looked = slice_clock(), _wall_clock()


class _GarbageCollector:
    """How this process collects garbage. With `freezes`, what a long work leaves is frozen, and `serve` thaws it."""

    freezes = False

    @contextmanager
    def at_rest(self) -> Generator[None]:
        """Collect nothing during work in slices that makes many objects which stay.

        A collection walks all of them in one step, again and again while they become more.
        """
        if not gc.isenabled():
            yield
            return
        gc.disable()
        try:
            yield
        finally:
            if self.freezes and gc.get_count()[0] > _MANY_OBJECTS:
                gc.freeze()
            gc.enable()


collector: Final = _GarbageCollector()


async def let_others_run() -> None:
    """Let other tasks have their turns, between two pieces of work of about a millisecond."""
    await _current_pace().pause()


class _ThreadPace(threading.local):
    """The pace of the event loop that runs in this thread. A `RunVar` is ten times slower."""

    loop: asyncio.AbstractEventLoop | None = None
    pace: _Pace


_here = _ThreadPace()


def _current_pace() -> _Pace:
    loop = asyncio.get_running_loop()
    if _here.loop is not loop:
        _here.loop, _here.pace = loop, _Pace()
    return _here.pace


def at_once(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its value, for callers that may wait."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class setting(Generic[T]):  # noqa: N801 - used as a function
    """A context in which a context variable has this value. `contextmanager` would take three times as long."""

    __slots__ = ("_token", "_value", "_variable")

    _token: Token[T]

    def __init__(self, variable: ContextVar[T], value: T) -> None:
        self._variable = variable
        self._value = value

    def __enter__(self) -> None:
        self._token = self._variable.set(self._value)

    def __exit__(self, *_: object) -> None:
        self._variable.reset(self._token)


def loop_time() -> float:
    """Return the time of the running event loop in seconds, as `anyio.current_time` does, in a fifth of the time."""
    return asyncio.get_running_loop().time()


@cache
def _scope_type() -> type[anyio.CancelScope]:
    return type(anyio.CancelScope())


def scope_until(deadline: float = inf) -> anyio.CancelScope:
    """Return a scope, as `anyio.CancelScope` does, in a third of the time: that looks for its class each time."""
    return _scope_type()(deadline=deadline)


def seconds_left() -> float | None:
    """Return how many seconds the running task has left, more than 0; None if it has no limit."""
    ends = effective_deadline()
    return None if ends == inf else max(ends - anyio.current_time(), _LEAST_SECONDS)
