"""How a robot says who it is: registration with a token, hello, and the proof by its key.

Sans-I/O: signing computes, nothing waits. Called by the machine when a connection is made.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from client_sdk.errors import Refused, WrongServer
from client_sdk.memory import Bound, KeptRecord, Recollection
from imserver.protocol import names
from imserver.protocol.client_frames import Hello, Position, Prove, Register, RotateKey
from imserver.protocol.proof import rotation_text, signed_text
from imserver.protocol.server_frames import Challenge

BOOT_RECORD: Final = "boot"
"""Under which name a memory counts the starts of its robot's program."""


class Signer(Protocol):
    """A private key that signs, and its public half (32 bytes)."""

    public_key: bytes

    def sign(self, text: bytes) -> bytes:
        """Return the Ed25519 signature over ``text``, 64 bytes."""


class Credentials:
    """What a robot has to show: a key, with or without a token for enrolment, or a bearer token; or nothing
    but the certificate that its connection shows, with ``certified``."""

    def __init__(
        self,
        *,
        key: Signer | None,
        token: str | None,
        bearer: str | None,
        certified: bool = False,
    ) -> None:
        if key is None and bearer is None and not certified:
            raise ValueError(
                'give the robot a key (key="r1.key"), a bearer token (bearer="…") or a certificate '
                "(Options.client_cert)"
            )
        if key is not None and bearer is not None:
            raise ValueError("give the robot either a key or a bearer token, not both")
        if token is not None and key is None:
            raise ValueError("an enrolment token registers a key: give the robot a key as well")
        self.key = key
        self.token = token
        self.bearer = bearer


class Introduction:
    """A robot's part in the handshake.

    Once the server has answered the registration, or refused it for good, it is not tried again: the name may
    exist, or the token be spent, because an earlier answer got lost, and then the proof decides.

    Attributes:
        boot: which start of the robot's program this is; None if nobody counts.
        proven: public half of the key by which the robot was let in last.
        find_keys: gives the keys to try when the server refuses one.
        on_proven: told at each welcome by which key the robot was let in.
        remembered: id of the server that the robot's memory belongs to; None until it is known.
        registration_refusal: why the server did not register the key, if it did not.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        robot: str,
        device: str,
        instance: str,
        window: int,
        auto: bool,
        server: str | None,
    ) -> None:
        self._credentials = credentials
        self._robot = names.robot_name(robot)
        self._device = names.device_name(device)
        self._instance = instance
        self._window = window
        self._auto = auto
        self._server = server
        self._registers = credentials.token is not None
        self._shown: str | None = None
        self._session = ""
        self._tried: set[bytes] = set()
        self.proven: bytes | None = None
        self.boot: int | None = None
        self.find_keys: Callable[[], Sequence[Signer]] = tuple
        self.on_proven: Callable[[bytes], None] = _ignore
        self.remembered: str | None = None
        self.registration_refusal: Refused | None = None

    def recall(self, recollection: Recollection) -> list[KeptRecord]:
        """Begin with what the memory holds; return the count of this start, to be kept."""
        self.remembered = recollection.server
        self.boot = int(recollection.records.get(BOOT_RECORD, b"0")) + 1
        return [KeptRecord(BOOT_RECORD, b"%d" % self.boot)]

    def registration(self, request_id: int) -> Register | None:
        """Return the frame that registers the key, or None if there is no need."""
        key, token = self._credentials.key, self._credentials.token
        if not self._registers or key is None or token is None:
            return None
        return Register(request_id, self._robot, token, key.public_key)

    def registration_answered(self, refusal: Refused | None) -> None:
        """Note that the server registered the key, or why not."""
        self._registers = False
        self.registration_refusal = refusal

    def hello(self, resume: dict[str, Position]) -> Hello:
        """Return the frame that opens the session."""
        self._shown = None
        return Hello(
            robot=self._robot,
            device=self._device,
            token=self._credentials.bearer,
            resume=resume,
            window=self._window,
            auto=self._auto,
            instance=self._instance,
            boot=self.boot,
        )

    def adopt(self, key: Signer) -> None:
        """Take in that this key is the one in force."""
        self._credentials.key, self.proven = key, key.public_key

    def other_key(self) -> bool:
        """Turn to a key that was not tried since the last welcome; tell whether there is one."""
        current = self._credentials.key
        if current is None:
            return False
        self._tried.add(current.public_key)
        for key in self.find_keys():
            if key.public_key not in self._tried:
                self._credentials.key = key
                return True
        return False

    def welcomed(self, session: str) -> None:
        """Take in that the session is open."""
        self._session = session
        self._tried.clear()
        key = self._credentials.key
        if key is not None:
            self.proven = key.public_key
            self.on_proven(key.public_key)

    def rotation(self, request_id: int, new: Signer) -> RotateKey:
        """Return the frame that puts a new key in the place of the one that opened this session."""
        old = self._credentials.key
        assert old is not None, "who rotates has a key"
        text = rotation_text(
            server=self._shown or "",
            session=self._session,
            robot=self._robot,
            old=old.public_key,
            new=new.public_key,
        )
        return RotateKey(request_id, new.public_key, old.sign(text), new.sign(text))

    def refused(self, refusal: Refused) -> Refused:
        """Return why the server does not want this robot, with what it said to its registration."""
        earlier, message = self.registration_refusal, refusal.message
        if earlier is not None:
            message += f" (before that, the registration was refused: {earlier})"
        return Refused(refusal.code, message, refusal.retry_after_ms)

    def check(self, server: str) -> None:
        """Take in the id that the server shows, in its challenge or its welcome; empty if it shows none.

        Raises:
            WrongServer: it is not the pinned one, or not the one of the robot's memory.
        """
        self._shown = server or self._shown
        if self._server is not None and self._shown != self._server:
            raise WrongServer(
                f"this is server {self._shown or '(of no known id)'}, and {self._server} was pinned"
            )
        if self._shown is not None and self.remembered not in (None, self._shown):
            raise WrongServer(
                f"this is server {self._shown}, and the robot's memory belongs to {self.remembered}: "
                "give it a memory of its own for each server"
            )

    def bind(self, server: str) -> list[Bound]:
        """Return what binds the robot's memory to a server, unless it is bound or the server shows no id.

        A send must not go to one server, and after a crash again to another.
        """
        if self.remembered is not None or not server:
            return []
        self.remembered = server
        return [Bound(server)]

    def proof(self, challenge: Challenge) -> Prove:
        """Return the answer to a challenge.

        Raises:
            WrongServer: there is no key to answer with.
        """
        key = self._credentials.key
        if key is None:
            raise WrongServer(
                "the server asks for a proof by key, and there is none: it takes no certificate for one that "
                f"does not name {self._robot}"
            )
        text = signed_text(
            server=challenge.server, nonce=challenge.nonce, robot=self._robot, device=self._device
        )
        return Prove(key.sign(text))


def _ignore(_key: bytes) -> None:
    """Stand in until somebody wants to know."""
