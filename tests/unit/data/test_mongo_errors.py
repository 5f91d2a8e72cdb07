"""What is told of an error of MongoDB's driver."""

from pymongo.errors import ServerSelectionTimeoutError

from imserver.data.mongo.database import _brief

SAID = (
    "m1:27017: connection refused (configured timeouts: connectTimeoutMS: 5000.0ms),"
    "m2:27017: connection refused (configured timeouts: connectTimeoutMS: 5000.0ms), "
    "Timeout: 15.0s, Topology Description: <TopologyDescription id: 6b0c, servers: [<…>]>"
)


def test_who_could_not_be_reached_is_told_and_not_all_that_the_driver_knows():
    told = _brief(ServerSelectionTimeoutError(SAID))
    assert told == "m1:27017: connection refused,m2:27017: connection refused"
