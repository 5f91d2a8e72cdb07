"""The peers, one file each, and the list of those that there are."""

from typing import Final

from bench.peers.centrifugo import Centrifugo
from bench.peers.imserver import Imserver
from bench.peers.imserver_cluster import ImserverCluster
from bench.peers.libraries import LibraryServer
from bench.peers.mosquitto import Mosquitto
from bench.peers.nats import Nats
from bench.peers.nats_cluster import NatsCluster
from bench.peers.peer import Peer
from bench.peers.rabbitmq import RabbitMQ
from bench.peers.redis import Redis

OURS: Final = "imserver"
ALL: Final[tuple[Peer, ...]] = (
    Imserver(),
    Imserver("imserver, once more"),
    Imserver("imserver, challenge", challenge=True),
    Imserver("imserver, random cids", random_cids=True),
    Nats("nats core"),
    Nats("jetstream", "default"),
    Nats("jetstream, sync always", "always"),
    Mosquitto("mosquitto qos 0", 0),
    Mosquitto("mosquitto qos 1", 1),
    Mosquitto("mosquitto qos 1, saved", 1, saved=True),
    RabbitMQ("rabbitmq fanout"),
    RabbitMQ("rabbitmq classic", "classic"),
    RabbitMQ("rabbitmq quorum", "quorum"),
    Redis("redis streams, fsync always", "always"),
    Redis("redis streams, everysec", "everysec"),
    Centrifugo(),
    LibraryServer("python-socketio", "python-socketio", "socketio", "socketio"),
    LibraryServer("websockets broadcast", "websockets", "websockets", "websockets"),
    ImserverCluster("imserver, 1 node", 1),
    ImserverCluster("imserver, 2 nodes", 2),
    ImserverCluster("imserver, 3 nodes", 3),
    ImserverCluster("imserver, 3 nodes, bare hints", 3, bare=True),
    NatsCluster("jetstream R3", "default"),
    NatsCluster("jetstream R3, sync always", "always"),
)
BY_NAME: Final[dict[str, Peer]] = {peer.name: peer for peer in ALL}
