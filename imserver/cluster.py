"""What makes a node one of several: the parts that it is given for that, and how they are put in."""

from collections.abc import Callable
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry

from imserver.core.clock import Clock
from imserver.core.route_settings import Forward
from imserver.data.store import EventLog, SharedLog, Store
from imserver.logic.append_service import AppendService
from imserver.logic.appenders import Appenders
from imserver.logic.clones import CloneGuard
from imserver.logic.committer import Committer
from imserver.logic.conversations import Conversations
from imserver.logic.delivery import Spawn
from imserver.logic.doubts import Doubts
from imserver.logic.enquiries import Enquiries
from imserver.logic.followings import Followings
from imserver.logic.forwarding import Forwarding
from imserver.logic.head_watch import HeadWatch
from imserver.logic.intake import Intake
from imserver.logic.ledger import Ledger
from imserver.logic.metrics import ForwardingMetrics
from imserver.logic.neighbours import Neighbours
from imserver.logic.notices import Contested
from imserver.logic.session import Sessions
from imserver.route.attendance import Attendance
from imserver.route.one_time import OneTime
from imserver.route.requests import Requests
from imserver.route.router import Router

LOOK_EVERY_S: Final = 5.0
BLIND_LOOK_EVERY_S: Final = 0.25


class Cluster(NamedTuple):
    """What a node with neighbours is built around besides.

    Attributes:
        node: this node's name, which router and attendance know it by.
        log: the store's port for nodes that share it.
        left: what nodes leave for each other, once.
        sees: tells whether hints of other nodes arrive, as far as is known.
        requests: asks other nodes.
        forward: which sends other nodes are asked to append.
    """

    node: str
    log: SharedLog
    attendance: Attendance
    left: OneTime
    sees: Callable[[], bool]
    requests: Requests
    forward: Forward = "contended"


class Appending(NamedTuple):
    """How sends get into a log that nodes share: what is handed on to others, and what is done for them."""

    forwarding: Forwarding
    service: AppendService

    async def drain(self) -> None:
        """Hand nothing on and take nothing from others any more; return when both is done with."""
        await self.forwarding.drain()
        await self.service.drain()


class Parts(NamedTuple):
    """The parts of a node that have to do with its neighbours."""

    router: Router
    store: Store
    conversations: Conversations
    intake: Intake
    sessions: Sessions
    committer: Committer
    ledger: Ledger
    clones: CloneGuard
    enquiries: Enquiries
    spawn: Spawn


def appending(
    cluster: Cluster,
    committer: Committer,
    log: EventLog,
    *,
    clock: Clock,
    registry: CollectorRegistry,
    spawn: Spawn,
) -> Appending:
    """Put the other nodes before and beside a node's committer."""
    metrics = ForwardingMetrics(registry)
    appenders = Appenders(
        cluster.node,
        cluster.attendance.neighbours,
        sees=cluster.sees,
        forward=cluster.forward,
        clock=clock,
    )
    forwarding = Forwarding(committer, appenders, cluster.requests, metrics=metrics, spawn=spawn)
    service = AppendService(log, committer, metrics=metrics, spawn=spawn)
    cluster.log.on_overtaken = appenders.note_contention
    cluster.requests.on_asked = service.on_asked
    return Appending(forwarding, service)


def join(cluster: Cluster, parts: Parts) -> Neighbours:
    """Let a node that was just built take part in a cluster; return what `Neighbours.run` keeps going."""
    watch = HeadWatch(
        cluster.log,
        parts.conversations,
        on_head=parts.intake.on_head,
        sees=cluster.sees,
        spawn=parts.spawn,
        interval_s=LOOK_EVERY_S,
        blind_interval_s=BLIND_LOOK_EVERY_S,
    )
    followings = Followings(parts.router, parts.intake, watch, sees=cluster.sees)
    doubts = Doubts(parts.store)
    neighbours = Neighbours(
        parts.router,
        followings,
        watch,
        parts.conversations,
        parts.sessions,
        registry=parts.store,
        standing=parts.ledger.standing,
        clones=parts.clones,
        enquiries=parts.enquiries,
        doubts=doubts,
        sees=cluster.sees,
        spawn=parts.spawn,
    )
    parts.conversations.upkeep = followings
    parts.conversations.is_shared = True
    parts.committer.publish = neighbours.publish
    doubts.announce = neighbours.publish
    parts.committer.on_unresolved = doubts.note
    parts.intake.on_heard = cluster.log.note_head
    parts.intake.on_followed = followings.on_followed
    parts.intake.on_connected = neighbours.on_connected
    parts.intake.on_unheard = neighbours.on_unheard
    parts.intake.on_notice = neighbours.on_notice
    parts.sessions.stamp = cluster.attendance.stamp
    parts.sessions.on_opened = neighbours.tell_opened
    parts.ledger.on_noted = neighbours.tell_act
    parts.clones.on_contested = lambda robot, device: neighbours.tell(Contested(robot, device))
    parts.enquiries.sees = cluster.sees
    cluster.attendance.here = parts.sessions.by_robot.keys()
    cluster.attendance.on_gone = neighbours.resync
    return neighbours
