"""The composition root: builds a node from its parts.

`build` is given every collaborator, so that tests and the simulator build the same node around other ones; it
starts nothing. How a node lives as a process of its own is told in `process`.
"""

import secrets
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from imserver import cluster
from imserver.access.admission import Admission
from imserver.access.context import Context
from imserver.access.door import Door
from imserver.access.http.metrics import HttpMetrics
from imserver.access.http.stays import Stays
from imserver.access.metrics import AccessMetrics
from imserver.access.requests import Requests
from imserver.access.self_description import SelfDescription
from imserver.access.tolls import Tolls
from imserver.access.use_cases import UseCases
from imserver.cluster import Appending, Cluster
from imserver.core.clock import Clock
from imserver.core.ids import Ids
from imserver.core.settings import DeliverySettings, Settings
from imserver.core.tokens import TokenAuthority
from imserver.data.file_store import FileStore
from imserver.data.store import EventLog, Store
from imserver.logic.administering import Administering
from imserver.logic.clones import CloneGuard
from imserver.logic.committer import Committer, WayIn
from imserver.logic.conversations import Conversations
from imserver.logic.crowding import Crowding
from imserver.logic.delivery import Delivery
from imserver.logic.enquiries import Enquiries
from imserver.logic.file_sweep import FileSweep
from imserver.logic.files import Files
from imserver.logic.groups import Groups
from imserver.logic.history import HistoryReader
from imserver.logic.identity import Identity
from imserver.logic.intake import Intake
from imserver.logic.ledger import Ledger
from imserver.logic.listings import Listings
from imserver.logic.losses import LossWatch
from imserver.logic.metrics import AuditMetrics, IntakeMetrics, LogicMetrics
from imserver.logic.neighbours import Neighbours
from imserver.logic.node_list import NodeList
from imserver.logic.places import Places
from imserver.logic.presence import PresenceTeller
from imserver.logic.retention import Retention
from imserver.logic.send import Sending
from imserver.logic.session import Sessions
from imserver.logic.shared_presence import SharedPresence
from imserver.logic.signals import Signals
from imserver.logic.standing import Standing
from imserver.logic.thumbnails import Shrinking, Thumbnails
from imserver.logic.tickets import Tickets
from imserver.route.attendance import Attendance, LoneAttendance
from imserver.route.one_time import LocalOneTime
from imserver.route.router import Router


class Collaborators(NamedTuple):
    """What a node is built around, by interface; tests and the simulator hand in other ones.

    ``attendance`` is the cluster's, or that of a node which is alone, unless another one is given.
    """

    store: Store
    files: FileStore
    router: Router
    authority: TokenAuthority
    clock: Clock
    ids: Ids
    spawn: Callable[[Coroutine[Any, Any, None], str], None]
    cluster: Cluster | None = None
    pictures: Shrinking | None = None
    attendance: Attendance | None = None
    log: EventLog | None = None
    """The store's log for those who read pages of it, if that is not ``store``: with a cache beside it."""

    @property
    def pages(self) -> EventLog:
        """The log that pages are read from."""
        return self.store if self.log is None else self.log


class _Writing(NamedTuple):
    """The committer, the way that sends take to it, and what other nodes have to do with that, if any."""

    committer: Committer
    way_in: WayIn
    appending: Appending | None


class Node(NamedTuple):
    """The parts of a built node that its life is led by."""

    cases: UseCases
    stays: Stays
    committer: Committer
    conversations: Conversations
    delivery: Delivery
    sessions: Sessions
    door: Door
    registry: CollectorRegistry
    metrics: LogicMetrics
    retention: Retention
    ledger: Ledger
    file_sweep: FileSweep
    neighbours: Neighbours | None
    presence: PresenceTeller | SharedPresence
    description: SelfDescription
    appending: Appending | None


def build(settings: Settings, given: Collaborators) -> Node:
    """Return a node built from its settings and collaborators. Starts nothing."""
    given = given._replace(attendance=_attendance(given))
    registry = CollectorRegistry()
    metrics = LogicMetrics(registry)
    name = given.cluster.node if given.cluster is not None else new_name()
    conversations = _conversations(settings, given, registry)
    writing = _writing(given, _committer(settings.delivery, given, metrics), registry)
    committer = writing.committer
    delivery = _delivery(settings.delivery, given, conversations, metrics)
    signals = Signals(conversations, given.router, clock=given.clock)
    intake = _intake(given, conversations, delivery, signals, metrics=IntakeMetrics(registry))
    ledger = _ledger(given, registry)
    presence = _presence(settings, given, signals, conversations, committer=committer)
    sessions = Sessions(
        given.store,
        conversations,
        delivery,
        committer,
        losses=LossWatch(given.store, metrics),
        standing=ledger.standing,
        presence=presence,
        clock=given.clock,
        ids=given.ids,
        limits=settings.limits,
        node=name,
        server=given.authority.server_id,
    )
    cases = _use_cases(settings, given, sessions, ledger, writing=writing, signals=signals)
    neighbours = _neighbours(given, cases, intake=intake, committer=committer, ledger=ledger)
    context = _context(settings, given, cases, metrics=AccessMetrics(registry), node=name)
    door = _door(settings, context)
    committer.pause = door.flusher.wait_for_beat
    stays = Stays(settings.http.stays_max, HttpMetrics(registry), ledger.standing)
    ledger.standing.watch(lambda: ledger.standing.close_ended(sessions.all()))
    ledger.standing.watch(stays.end_ended)
    core = (cases, stays, committer, conversations, delivery, sessions, door, registry, metrics)
    retention = _retention(settings, given, conversations, metrics)
    sweep = FileSweep(given.files, settings=settings.files, clock=given.clock)
    description = _described(settings, given, sessions, door)
    rest = (retention, ledger, sweep, neighbours, presence, description, writing.appending)
    return Node(*core, *rest)


def new_name() -> str:
    """Return a name for a node: another one at every start."""
    return f"node-{secrets.token_hex(4)}"


def _attendance(given: Collaborators) -> Attendance:
    if given.attendance is not None:
        return given.attendance
    return given.cluster.attendance if given.cluster is not None else LoneAttendance(given.clock)


def _described(
    settings: Settings, given: Collaborators, sessions: Sessions, door: Door
) -> SelfDescription:
    """Return the node's description, which its attendance shows from now on."""
    scheme = "https" if settings.server.with_tls else "http"
    url, started_ms = f"{scheme}://{settings.server.listen}", given.clock.now_ms()
    description = SelfDescription(sessions, door, url=url, started_ms=started_ms)
    _attendance(given).about = description
    return description


def _conversations(
    settings: Settings, given: Collaborators, registry: CollectorRegistry
) -> Conversations:
    return Conversations(given.store, Crowding(settings.rates, given.clock, registry))


def _ledger(given: Collaborators, registry: CollectorRegistry) -> Ledger:
    standing, metrics = Standing(given.clock), AuditMetrics(registry)
    administration, clock, ids = given.store.administration, given.clock, given.ids
    return Ledger(administration, standing, metrics=metrics, clock=clock, ids=ids)


def _door(settings: Settings, context: Context) -> Door:
    return Door(
        context,
        hello_timeout_s=settings.server.hello_timeout_s,
        ping_interval_s=settings.server.ping_interval_s,
        write_buffer_bytes_max=settings.delivery.write_buffer_bytes_max,
        push_wait_s_max=settings.delivery.push_wait_s_max,
    )


def _committer(
    settings: DeliverySettings, given: Collaborators, metrics: LogicMetrics
) -> Committer:
    return Committer(
        given.store,
        cursors=given.store,
        publish=given.router.publish,
        metrics=metrics,
        clock=given.clock,
        cursor_flush_s=settings.cursor_flush_s,
        pending_bytes_max=settings.pending_bytes_max,
    )


def _delivery(
    settings: DeliverySettings,
    given: Collaborators,
    conversations: Conversations,
    metrics: LogicMetrics,
) -> Delivery:
    return Delivery(
        given.pages,
        conversations,
        spawn=given.spawn,
        metrics=metrics,
        page_bytes_max=settings.page_bytes_max,
        tail_bytes_max=settings.tail_bytes_max,
        pages_bytes_max=settings.pages_bytes_max,
    )


def _intake(
    given: Collaborators,
    conversations: Conversations,
    delivery: Delivery,
    signals: Signals,
    *,
    metrics: IntakeMetrics,
) -> Intake:
    """Return the intake, which takes in what the router brings from now on."""
    intake = Intake(given.pages, conversations, delivery, signals, given.spawn, metrics)
    given.router.attach(intake)
    return intake


def _retention(
    settings: Settings,
    given: Collaborators,
    conversations: Conversations,
    metrics: LogicMetrics,
) -> Retention:
    return Retention(
        given.store,
        given.store,
        conversations,
        settings=settings.retention,
        clock=given.clock,
        metrics=metrics,
    )


def _context(
    settings: Settings, given: Collaborators, cases: UseCases, *, metrics: AccessMetrics, node: str
) -> Context:
    access, limits = settings.access, settings.limits
    admission = Admission(wait_max_s=access.admission_wait_s)
    requests = Requests(cases, admission=admission, clock=given.clock, limits=limits, node=node)
    tolls = Tolls(settings.rates, given.clock, metrics)
    shared = (cases.sessions, requests, access, limits, metrics, admission, tolls)
    return Context(*shared, given.spawn)


def _presence(
    settings: Settings,
    given: Collaborators,
    signals: Signals,
    conversations: Conversations,
    *,
    committer: Committer,
) -> PresenceTeller | SharedPresence:
    teller = PresenceTeller(
        signals,
        conversations,
        clock=given.clock,
        flush_s=settings.delivery.presence_flush_s,
        readers_max=settings.limits.presence_members_max,
    )
    if given.cluster is None:
        return teller
    shared = SharedPresence(
        teller,
        given.cluster.attendance,
        given.store,
        settle=committer.settle_cursors,
        spawn=given.spawn,
    )
    signals.on_servers_own = shared.on_signal
    return shared


def _neighbours(
    given: Collaborators,
    cases: UseCases,
    *,
    intake: Intake,
    committer: Committer,
    ledger: Ledger,
) -> Neighbours | None:
    if given.cluster is None:
        return None
    parts = cluster.Parts(
        given.router,
        given.store,
        cases.conversations,
        intake,
        cases.sessions,
        committer,
        ledger,
        cases.clones,
        cases.enquiries,
        given.spawn,
    )
    return cluster.join(given.cluster, parts)


def _writing(given: Collaborators, committer: Committer, registry: CollectorRegistry) -> _Writing:
    if given.cluster is None:
        return _Writing(committer, committer, None)
    appending = cluster.appending(
        given.cluster,
        committer,
        given.store,
        clock=given.clock,
        registry=registry,
        spawn=given.spawn,
    )
    return _Writing(committer, appending.forwarding, appending)


def _use_cases(
    settings: Settings,
    given: Collaborators,
    sessions: Sessions,
    ledger: Ledger,
    *,
    writing: _Writing,
    signals: Signals,
) -> UseCases:
    conversations, store, limits = sessions.held, given.store, settings.limits
    authority, clock, ids = given.authority, given.clock, given.ids
    groups = Groups(conversations, writing.way_in, store, clock=clock, ids=ids, limits=limits)
    page_bytes_max = settings.delivery.page_bytes_max
    files = Files(given.files, settings=settings.files, clock=clock, ids=ids)
    attendance = _attendance(given)
    left = given.cluster.left if given.cluster is not None else LocalOneTime(clock)
    return UseCases(
        identity=Identity(
            store, groups, authority, standing=ledger.standing, ledger=ledger, clock=clock, ids=ids
        ),
        sessions=sessions,
        conversations=conversations,
        sending=Sending(
            *(conversations, writing.way_in, store, store),
            files=files,
            clock=clock,
            spawn=given.spawn,
        ),
        groups=groups,
        history=HistoryReader(
            conversations, given.pages, limits=limits, page_bytes_max=page_bytes_max
        ),
        listings=Listings(
            conversations, store, store, sessions=sessions, attendance=attendance, limits=limits
        ),
        signals=signals,
        places=Places(store, conversations, writing.committer),
        administering=Administering(
            authority, store.administration, store, ledger, clock=clock, ids=ids, limits=limits
        ),
        nodes=NodeList(attendance),
        clones=CloneGuard(store.boots, ledger, policy=settings.access.clones, clock=clock),
        enquiries=Enquiries(
            attendance, given.router, sessions, node=sessions.node, clock=clock, spawn=given.spawn
        ),
        tickets=Tickets(authority, ledger.standing, left=left, clock=clock, ids=ids),
        files=files,
        thumbnails=Thumbnails(files, given.files, given.pictures, settings.files),
    )
