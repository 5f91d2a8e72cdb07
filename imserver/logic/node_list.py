"""The nodes of the deployment, for its admins."""

from imserver.logic import permissions
from imserver.logic.session import Session
from imserver.route.attendance import Attendance, NodeRecord


class NodeList:
    """The use case of listing the nodes."""

    def __init__(self, attendance: Attendance) -> None:
        self._attendance = attendance

    async def nodes(self, session: Session) -> list[NodeRecord]:
        """Return the nodes that are there, by name: those whose lease has not run out.

        Raises:
            Refusal: ``forbidden``, the session is no admin's.
        """
        permissions.require_admin(is_admin=session.admin)
        return await self._attendance.nodes()
