"""What makes a node one of several: the parts that it is given for that, and how they are put in."""

from collections.abc import Callable
from typing import Final, NamedTuple

from imserver.data.store import Registry, SharedLog
from imserver.logic.clones import CloneGuard
from imserver.logic.committer import Committer
from imserver.logic.conversations import Conversations
from imserver.logic.delivery import Spawn
from imserver.logic.enquiries import Enquiries
from imserver.logic.followings import Followings
from imserver.logic.head_watch import HeadWatch
from imserver.logic.intake import Intake
from imserver.logic.ledger import Ledger
from imserver.logic.neighbours import Neighbours
from imserver.logic.notices import Contested
from imserver.logic.session import Sessions
from imserver.route.attendance import Attendance
from imserver.route.one_time import OneTime
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
    """

    node: str
    log: SharedLog
    attendance: Attendance
    left: OneTime
    sees: Callable[[], bool]


class Parts(NamedTuple):
    """The parts of a node that have to do with its neighbours."""

    router: Router
    registry: Registry
    conversations: Conversations
    intake: Intake
    sessions: Sessions
    committer: Committer
    ledger: Ledger
    clones: CloneGuard
    enquiries: Enquiries
    spawn: Spawn


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
    neighbours = Neighbours(
        parts.router,
        followings,
        watch,
        parts.conversations,
        parts.sessions,
        registry=parts.registry,
        standing=parts.ledger.standing,
        clones=parts.clones,
        enquiries=parts.enquiries,
        sees=cluster.sees,
        now_ms=cluster.attendance.now_ms,
        spawn=parts.spawn,
    )
    parts.conversations.upkeep = followings
    parts.conversations.is_shared = True
    parts.committer.publish = neighbours.publish
    parts.intake.on_followed = followings.on_followed
    parts.intake.on_connected = neighbours.on_connected
    parts.intake.on_unheard = neighbours.on_unheard
    parts.intake.on_notice = neighbours.on_notice
    parts.sessions.on_opened = neighbours.on_opened
    parts.ledger.on_noted = neighbours.tell_act
    parts.clones.on_contested = lambda robot, device: neighbours.tell(Contested(robot, device))
    parts.enquiries.sees = cluster.sees
    cluster.attendance.here = parts.sessions.by_robot.keys()
    cluster.attendance.on_gone = neighbours.resync
    return neighbours
