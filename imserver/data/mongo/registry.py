"""Robots in MongoDB, and the enrolment tokens that are good once.

A robot and the token that it registered with are one document, and an index lets each token stand in one
document only. So both are stored, or neither, and of two that come with one token at the same time one is
refused.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import structs
from pymongo.errors import DuplicateKeyError

from imserver.core.acts import Act
from imserver.core.errors import Refusal
from imserver.core.model import Enrolment, RobotRecord
from imserver.data.enrolments import check_enrolment
from imserver.data.mongo.administration import record
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.rows import Document, robot_of
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import RobotName

_NEITHER_TIMES: Final = 3


class Robots:
    """The registry's half about robots; methods are as in the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(
        self, robot: RobotRecord, *, enrolment: Enrolment, act: Act | None = None
    ) -> RobotRecord:
        token_id = enrolment.token_id
        token = {"token": token_id, "token_expires_ms": enrolment.expires_ms}
        tried = False

        async def put(session: Session) -> RobotRecord:
            nonlocal tried
            async with self._database.transaction(session):
                known = await self._find(robot.name, session)
                record_known = None if known is None else robot_of(known)
                has_key = record_known is not None and record_known.public_key == robot.public_key
                if tried and has_key and known is not None and known.get("token") == token_id:
                    return robot  # by this call, whose answer did not come
                is_spent = await self._is_spent(token_id, session)
                is_revoked = await self._is_revoked(token_id, session)
                check_enrolment(enrolment, record_known, is_spent=is_spent, is_revoked=is_revoked)
                tried = True
                stored = await self._put(robot, known, token, session)
                if act is not None:
                    await record(self._database, [act], session)
                return stored

        for _ in range(_NEITHER_TIMES):
            try:
                return await self._database.until_known(put)
            except DuplicateKeyError:
                continue  # the robot or the token came in meanwhile: look again
        raise Refusal(ErrorCode.CONFLICT, "this robot is being registered elsewhere; try again")

    async def ensure_robot(self, robot: RobotRecord) -> RobotRecord:
        async def put(session: Session) -> RobotRecord:
            known = await self._find(robot.name, session)
            if known is not None:
                return robot_of(known)
            return await self._put(structs.replace(robot, public_key=None), None, {}, session)

        try:
            return await self._database.until_known(put)
        except DuplicateKeyError:
            return await self._database.until_known(put)

    async def robot(self, name: RobotName) -> RobotRecord | None:
        async with self._database.session() as session:
            known = await self._find(name, session)
        return None if known is None else robot_of(known)

    async def known_robots(self, names: Sequence[RobotName]) -> set[RobotName]:
        async with self._database.session() as session:
            found = self._database.robots.find(
                {"_id": {"$in": list(names)}}, {"_id": 1}, session=session
            )
            return {RobotName(document["_id"]) async for document in found}

    async def robots(self, *, after: str, limit: int) -> list[RobotRecord]:
        if limit <= 0:
            return []
        async with self._database.session() as session:
            found = self._database.robots.find(
                {"_id": {"$gt": after}}, session=session, sort=[("_id", 1)], limit=limit
            )
            return [robot_of(document) async for document in found]

    async def _find(self, name: RobotName, session: Session) -> Document | None:
        return await self._database.robots.find_one({"_id": name}, session=session)

    async def _put(
        self, robot: RobotRecord, known: Document | None, token: Document, session: Session
    ) -> RobotRecord:
        robots = self._database.robots
        if known is None:
            row = {
                "_id": robot.name,
                "public_key": robot.public_key,
                "registered_ms": robot.registered_ms,
            }
            await robots.insert_one(row | token, session=session)
            return robot
        changed = await robots.update_one(
            {"_id": robot.name, "public_key": None},
            {"$set": {"public_key": robot.public_key} | token},
            session=session,
        )
        if not changed.matched_count:
            raise DuplicateKeyError("the robot got a key meanwhile")
        return structs.replace(robot_of(known), public_key=robot.public_key)

    async def _is_spent(self, token_id: str, session: Session) -> bool:
        spent = await self._database.robots.find_one(
            {"token": token_id}, {"_id": 1}, session=session
        )
        if spent is None:
            spent = await self._database.spent_tokens.find_one({"_id": token_id}, session=session)
        return spent is not None

    async def _is_revoked(self, token_id: str, session: Session) -> bool:
        # Counted, and not only looked at: of this and a revocation at the same time, one has to try again.
        found = await self._database.tokens.find_one_and_update(
            {"_id": token_id}, {"$inc": {"uses": 1}}, session=session
        )
        return found is not None and found["revoked_ms"] is not None
