"""One process of the server: opens the store, builds a node around it, listens, and drains it at the end.

Besides `cli`, `stores`, `routes` and `caches` the only place that names concrete engines.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from imserver.access.door import Door
from imserver.access.http.application import Parts, application
from imserver.access.listener import Listener
from imserver.caches import OpenedCache, open_cache
from imserver.core.clock import Clock, SystemClock
from imserver.core.ids import RandomIds
from imserver.core.settings import Settings
from imserver.core.tasks import TaskScope
from imserver.core.tokens import TokenAuthority
from imserver.data.directory import DataDirectory
from imserver.data.spool import ActSpool
from imserver.logic.stranded import Stranded
from imserver.node import Collaborators, Node, build
from imserver.pictures.pillow import PillowThumbnails
from imserver.protocol.errors import CloseCode
from imserver.routes import OpenedRoute, open_route
from imserver.stores import OpenedStore, open_store

_log = logging.getLogger("imserver.process")

SWEEP_S = 60.0
SWITCH_INTERVAL_S = 0.0005
RETURN_AFTER_MS = 1_000
GOODBYE_S = 3.0
JOIN_S = 2.0
RETURNS_PER_S = 500
"""As many robots are asked to come back in a second after a drain: half of what a node can greet."""


async def serve(settings: Settings, *, on_ready: Callable[[list[str]], None]) -> None:
    """Run a node on its data directory until SIGTERM or SIGINT, then drain it.

    ``on_ready`` is told the URL of each port once all are open.

    Raises:
        DataDirectoryBusy, DataDirectoryUnusable, StoreCorrupt: the data cannot be served.
        KeyRingUnusable: bodies are sealed, or are to be, and the keys are not there.
        StoreFailed: a commit failed with an unknown outcome; the process must end, and may start again.
        OSError: the address cannot be listened on.
    """
    directory = DataDirectory(settings.server.data)
    authority = TokenAuthority(directory.signing_key(settings.server.key))
    opened = await open_store(settings, directory)
    with _first_of_group(), _signals_left_to_listener() as is_told_to_end:
        try:
            await _run(
                settings, opened, authority, on_ready=on_ready, is_told_to_end=is_told_to_end
            )
        finally:
            await opened.aclose()


async def _run(
    settings: Settings,
    opened: OpenedStore,
    authority: TokenAuthority,
    *,
    on_ready: Callable[[list[str]], None],
    is_told_to_end: Callable[[], bool],
) -> None:
    async with TaskScope() as scope:

        def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
            try:
                scope.spawn(work, name=name)
            except RuntimeError:  # the scope is ending: what comes now is not begun any more
                work.close()

        clock, ids = SystemClock(), RandomIds()
        route = open_route(settings, opened.store, authority=authority, clock=clock)
        cache = open_cache(settings, opened.store, authority)
        given = Collaborators(
            opened.store,
            opened.files,
            *(route.router, authority, clock, ids, spawn),
            pictures=_pictures(settings),
            cluster=route.cluster,
            log=cache.log,
        )
        node = build(settings, given)
        await _keep_ledger(node, settings, spawn)
        committing = _spawn_all(scope, node, opened, route, cache=cache, settings=settings)
        draining = asyncio.Event()

        async def drain() -> None:
            draining.set()
            await _drain(node, committing, settings.server.drain_timeout_s)

        parts = _parts(settings, node, opened, clock=clock, is_draining=draining.is_set)
        listener = Listener(
            application(parts),
            node.door,
            settings.server,
            on_ready=_describing(node, on_ready),
            drain=drain,
            spawn=spawn,
        )
        listener.on_hangup += opened.on_hangup
        await _let_in(listener, node, route, is_told_to_end)
        await _say_goodbyes(node, route)
        scope.cancel_all()


def _parts(
    settings: Settings,
    node: Node,
    opened: OpenedStore,
    *,
    clock: Clock,
    is_draining: Callable[[], bool],
) -> Parts:
    return Parts(
        node.cases,
        node.stays,
        registry=node.registry,
        clock=clock,
        probe=opened.store.probe,
        is_draining=is_draining,
        context=node.door.context,
        http=settings.http,
        files=settings.files,
        buffer_bytes_max=settings.delivery.write_buffer_bytes_max,
    )


def _pictures(settings: Settings) -> PillowThumbnails | None:
    is_wanted = settings.files.thumbnails and PillowThumbnails.is_there()
    return PillowThumbnails(settings.files) if is_wanted else None


async def _keep_ledger(
    node: Node, settings: Settings, spawn: Callable[[Coroutine[Any, Any, None], str], None]
) -> None:
    """Learn what was revoked, and go on watching for what is done beside this process."""
    spool = ActSpool(DataDirectory(settings.server.data).spool_path)
    await node.ledger.begin(spool, settings.retention)
    spawn(node.ledger.run(spool, settings.audit, shares_store=bool(settings.store.url)), "ledger")


def _spawn_all(
    scope: TaskScope,
    node: Node,
    opened: OpenedStore,
    route: OpenedRoute,
    *,
    cache: OpenedCache,
    settings: Settings,
) -> asyncio.Task[None]:
    """Start what runs as long as the process, and return the task that a drain waits for."""
    scope.spawn(_announce(node, settings.delivery.head_interval_s), name="heads")
    for part in (opened, route, cache):
        for name, work in part.work.items():
            scope.spawn(work(), name=name)
        if part.metrics is not None:
            node.registry.register(part.metrics)
    if node.neighbours is not None:
        scope.spawn(node.neighbours.run(), name="neighbours")
    if route.cluster is not None:
        stranded = Stranded(
            opened.store.probe,
            route.cluster.attendance,
            sees=route.cluster.sees,
            on_answer=node.description.count_answer,
            on_stranded=lambda: _strand(node),
            on_rescued=node.door.reopen,
        )
        scope.spawn(stranded.run(), name="stranded")
    scope.spawn(node.door.wheel.run(), name="wheel")
    scope.spawn(_sweep(node), name="sweep")
    scope.spawn(node.retention.run(), name="retention")
    scope.spawn(node.file_sweep.run(), name="files")
    return scope.spawn(node.committer.run(), name="committer")


def _fit_to_files(door: Door) -> None:
    """Let the process have as many sockets as the system allows it, where a thousand is a common default, and
    the door let in no more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files_max != resource.RLIM_INFINITY and not door.fit(files_max):
        facts = {"files_max": files_max, "connections_max": door.connections_max}
        _log.info("connections.fewer_than_set", extra=facts)


def _tune_interpreter() -> None:
    """Fit the interpreter to a process that lives long and has one busy thread.

    The garbage collector looks less often, and never at what lives as long as the process: frames and events
    cannot form cycles and are freed as soon as nobody refers to them. It looks at few objects at a time,
    since everybody waits for it. The store's threads get their turn within a fraction of a commit's time,
    however busy the loop is.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 50)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


async def _drain(node: Node, committing: asyncio.Task[None], timeout_s: float) -> None:
    """Take nothing new, finish what was accepted, say goodbye, and wait for the clients to leave."""
    _log.info("node.draining", extra={"sessions": len(node.sessions)})
    node.door.drain()
    if node.appending is not None:
        await node.appending.drain()
    node.committer.drain()
    await committing
    _send_away(node, CloseCode.DRAINING, "this node stops; come back after `retry_after`")
    node.stays.drain()
    node.door.close_all()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await node.door.wait_empty()


async def _let_in(
    listener: Listener, node: Node, route: OpenedRoute, is_told_to_end: Callable[[], bool]
) -> None:
    """Serve clients until the node is told to end, if it has not been told already."""
    _tune_interpreter()
    _fit_to_files(node.door)
    await _join_others(node, route)
    if not is_told_to_end():
        await listener.serve()


async def _join_others(node: Node, route: OpenedRoute) -> None:
    """Have the other nodes see this one, and hear them, before the first robot comes: whose place is whose
    is known by that. Without Redis nobody can, and robots are let in all the same."""
    if route.cluster is None or node.neighbours is None:
        return
    try:
        async with asyncio.timeout(JOIN_S):
            await route.cluster.attendance.settled()
            await node.neighbours.wait_connected()
    except TimeoutError:
        _log.warning("node.joined_nobody", extra={"waited_s": JOIN_S})


async def _say_goodbyes(node: Node, route: OpenedRoute) -> None:
    """Have the other nodes know who is offline now, and what was committed last, before this one is silent.

    What cannot be told in time they find: the robots by their being left in this node's set, the events by
    comparing heads.
    """
    if route.cluster is None:
        return
    for session in node.sessions.all():
        node.sessions.close(session, "lost")  # the client did not leave in time
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            await node.presence.wait_told()
            await route.router.handed_on()


def _describing(node: Node, on_ready: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Return what tells ``on_ready``, and has the node's description say where it listens."""

    def told_where(urls: list[str]) -> None:
        node.description.url = _reachable(urls[0])
        on_ready(urls)

    return told_where


def _reachable(url: str) -> str:
    """Return where others find a port that listens on every address of this machine."""
    for everywhere in ("//0.0.0.0:", "//[::]:"):
        url = url.replace(everywhere, f"//{socket.gethostname()}:")
    return url


def _strand(node: Node) -> None:
    """Send everybody elsewhere, and turn newcomers away, since others can do more for them."""
    node.door.strand()
    reason = "this node cannot reach its store; come back, to another one if there is one"
    _send_away(node, CloseCode.STRANDED, reason)


def _send_away(node: Node, code: CloseCode, reason: str) -> None:
    for number, session in enumerate(node.sessions.all()):
        retry_after_ms = RETURN_AFTER_MS + number * 1_000 // RETURNS_PER_S
        session.peer.close(code, reason, retry_after_ms=retry_after_ms)


async def _announce(node: Node, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        node.delivery.announce_heads()


async def _sweep(node: Node) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        node.conversations.sweep()
        node.metrics.conversations.set(len(node.conversations))
        node.metrics.sessions.set(len(node.sessions))


@contextlib.contextmanager
def _first_of_group() -> Iterator[None]:
    """Raise the one error that ended a task scope instead of a group around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


@contextlib.contextmanager
def _signals_left_to_listener() -> Iterator[Callable[[], bool]]:
    """Keep uvicorn, which raises the signals that ended it once more when it is done, from killing us.

    Yields what tells whether a signal has come already: before the listener takes them, nobody else does.
    SIGTERM stays ignored for good: the process is on its way out, and says by its status how it went.
    """
    told: set[int] = set()

    def note(number: int, _frame: Any) -> None:
        told.add(number)

    interrupted = signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: bool(told)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, interrupted)
