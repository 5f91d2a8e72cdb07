"""The use cases of the logic tier, as every door of this node carries them out."""

from typing import NamedTuple

from imserver.logic.administering import Administering
from imserver.logic.clones import CloneGuard
from imserver.logic.conversations import Conversations
from imserver.logic.enquiries import Enquiries
from imserver.logic.files import Files
from imserver.logic.groups import Groups
from imserver.logic.history import HistoryReader
from imserver.logic.identity import Identity
from imserver.logic.listings import Listings
from imserver.logic.node_list import NodeList
from imserver.logic.places import Places
from imserver.logic.send import Sending
from imserver.logic.session import Sessions
from imserver.logic.signals import Signals
from imserver.logic.thumbnails import Thumbnails
from imserver.logic.tickets import Tickets


class UseCases(NamedTuple):
    """What clients can ask for, whichever way they came in."""

    identity: Identity
    sessions: Sessions
    conversations: Conversations
    sending: Sending
    groups: Groups
    history: HistoryReader
    listings: Listings
    signals: Signals
    places: Places
    administering: Administering
    nodes: NodeList
    clones: CloneGuard
    enquiries: Enquiries
    tickets: Tickets
    files: Files
    thumbnails: Thumbnails
