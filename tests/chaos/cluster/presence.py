"""Who is online, by the word of one node."""

import json
import urllib.request
from urllib.error import URLError

_ANSWER_S = 5.0
_ROBOTS_MAX = 500


def online_by(url: str, token: str) -> frozenset[str]:
    """Ask a node, and return the robots that it says are online; nobody where it does not answer. Blocks."""
    request = urllib.request.Request(
        f"{url}/v1/robots?limit={_ROBOTS_MAX}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
            rows = json.load(answer)["robots"]
    except (URLError, TimeoutError, ConnectionError):
        return frozenset()
    return frozenset(row["robot"] for row in rows if row["online"])
