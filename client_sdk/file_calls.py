"""Files: sending them with an event that refers to them, and fetching what others sent.

An upload goes by tus 1.0 and a download in ranges, so both go on where they were when a connection breaks, or
the server restarts. Both are checked by the SHA-256 of the whole.
"""

import asyncio
import base64
import errno
import hashlib
import mimetypes
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias
from urllib.parse import quote

import msgspec

from client_sdk.backoff import Backoff
from client_sdk.clock import wall_clock_ms
from client_sdk.errors import ConnectionLost, FileDamaged, Refused
from client_sdk.kept_calls import KeptCalls
from client_sdk.options import Options
from client_sdk.records import Event, Sent, Upload
from client_sdk.web import PIECE_BYTES, Answer, Cut, Request, Web
from imserver.protocol import client_frames as wire
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import FILE
from imserver.protocol.server_frames import HttpPass

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many bytes of how many are done, now and then, on the event loop."""

_TUS: Final = {"Tus-Resumable": "1.0.0"}
_BYTES: Final = "application/offset+octet-stream"
_TOKEN_SPARE_MS: Final = 30_000
_NO_TOKEN: Final = HttpPass("", 0)


class FileCalls(KeptCalls):
    """What a robot can do with files. All of it in `Robot`."""

    _web: Web | None = None

    def _use_files(self, url: str, options: Options, bearer: str | None) -> None:
        self._url = url
        self._file_options = options
        self._is_bearer = bearer is not None
        self._http_token = _NO_TOKEN if bearer is None else HttpPass(bearer, 2**53)

    async def send_file(
        self,
        conv: str,
        path: str | Path,
        *,
        body: Mapping[str, Any] | None = None,
        cid: str | None = None,
        progress: Progress | None = None,
        timeout_s: float = 300.0,
    ) -> Sent:
        """Upload a file and append an event of kind ``file`` that refers to it; return its place.

        Args:
            conv: where the event goes.
            path: the file; it must not change meanwhile.
            body: what else the event's body is to have, such as a caption.
            cid: name of the event, as for `Robot.send`.
            progress: told how many bytes of how many have been sent.
            timeout_s: gives up after so many seconds without a byte's progress.

        Raises:
            Refused: the server does not take it, and why; or the conversation is sealed, and files are not.
            ConnectionLost: no progress for ``timeout_s``.
            OutcomeUnknown: the file is there, and the event may be.
        """
        self._check_plain(conv)
        upload = await self.upload(path, progress=progress, timeout_s=timeout_s)
        refers = msgspec.to_builtins(upload)
        return await self.send(conv, {**(body or {}), **refers}, kind=FILE, cid=cid)

    def _check_plain(self, conv: str) -> None:
        """Return if something that cannot be sealed may be said in a conversation."""

    async def send(
        self,
        conv: str,
        body: object,
        *,
        kind: str,
        ref: int | None = None,
        cid: str | None = None,
        timeout_s: float = 30.0,
    ) -> Sent:
        """Append an event; `Robot` says how."""
        raise NotImplementedError

    async def upload(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        progress: Progress | None = None,
        timeout_s: float = 300.0,
    ) -> Upload:
        """Upload a file that only this robot sees, until an event refers to it; see `send_file`.

        ``name`` is under which name others are to see it; the file's own if None.
        """
        path = Path(path)
        with path.open("rb") as source:  # noqa: ASYNC230 - opened here, read in a thread
            digest, size = await asyncio.to_thread(_digest, source)
            name = path.name if name is None else name
            media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
            said = {"filename": name, "filetype": media_type, "sha256": digest}
            headers = _TUS | {"Upload-Length": str(size), "Upload-Metadata": _metadata(said)}
            patience = _Patience(timeout_s)
            begun = await self._insist(Request("POST", "/v1/files", headers), patience)
            file = begun.headers["Location"].rpartition("/")[2]
            await self._send_all(file, source, size, _told(progress, size, patience), patience)
        return Upload(file, name, media_type, size, digest)

    async def download(
        self,
        file: Event | str,
        path: str | Path,
        *,
        progress: Progress | None = None,
        timeout_s: float = 300.0,
    ) -> Path:
        """Fetch a file, check it by its digest, and return where it is, whole and durable.

        Args:
            file: an event of kind ``file``, or the id of one.
            path: where to put it: a file, which is replaced, or a directory, in which it gets the name that
                its event says, without any path.
            progress: told how many bytes of how many are here.
            timeout_s: gives up after so many seconds without a byte's progress.

        Raises:
            Refused: there is no such file for this robot.
            ConnectionLost: no progress for ``timeout_s``; a later call goes on where this one stopped.
            FileDamaged: what came is not what the digest says.
            ValueError: the event refers to no file.
            FileNotFoundError: the directory is not there.
        """
        said = file.body if isinstance(file, Event) else {"file": file}
        if not isinstance(said, dict) or not isinstance(said.get("file"), str):
            raise ValueError("this event refers to no file: its body has none under `file`")  # noqa: TRY004
        target = _target(path, said)
        where, patience = f"/v1/files/{quote(said['file'], safe='')}", _Patience(timeout_s)
        head = await self._insist(Request("HEAD", where, {}), patience)
        size, etag = int(head.headers["Content-Length"]), head.headers["ETag"]
        # Named after the content, so that parts of two files never meet.
        draft = target.with_name(f".{target.name[:120]}.{etag[1:17]}.part")
        with draft.open("ab") as sink:
            told = _told(progress, size, patience)
            await self._fetch_rest(where, etag, sink, size, told, patience)
            os.fsync(sink.fileno())
        with draft.open("rb") as fetched:
            digest, _ = await asyncio.to_thread(_digest, fetched)
        if f'"{digest}"' != etag or said.get("sha256", digest) != digest:
            draft.unlink()
            raise FileDamaged(f"{said['file']} has the SHA-256 {digest}, not the one that was said")
        draft.replace(target)
        return target

    async def _send_all(
        self,
        file: str,
        source: BinaryIO,
        size: int,
        told: Callable[[int], None],
        patience: "_Patience",
    ) -> None:
        where, offset = f"/v1/files/{file}", 0
        while offset < size:
            try:
                await self._send_from(where, source, offset, size, told)
            except Cut as cut:
                await patience.wait(cut)
            else:
                return
            head = await self._insist(Request("HEAD", where, dict(_TUS)), patience)
            if "ETag" in head.headers:
                return  # only the answer was lost
            before, offset = offset, int(head.headers["Upload-Offset"])
            if offset > before:  # though more may have been said before, and lost
                patience.renew()

    async def _send_from(
        self, where: str, source: BinaryIO, offset: int, size: int, told: Callable[[int], None]
    ) -> None:
        def on_sent(sent: int) -> None:
            told(offset + sent)

        source.seek(offset)
        headers = _TUS | {"Upload-Offset": str(offset), "Content-Type": _BYTES}
        await self._over_http(Request("PATCH", where, headers, source, size - offset, on_sent))

    async def _fetch_rest(
        self,
        where: str,
        etag: str,
        sink: BinaryIO,
        size: int,
        told: Callable[[int], None],
        patience: "_Patience",
    ) -> None:
        while (here := sink.tell()) < size:

            def take(piece: bytes) -> None:
                sink.write(piece)
                told(sink.tell())

            headers = {"Range": f"bytes={here}-", "If-Range": etag}
            try:
                await self._over_http(Request("GET", where, headers, take=take))
            except Cut as cut:
                await patience.wait(cut)
        await asyncio.to_thread(sink.flush)

    async def _insist(self, request: Request, patience: "_Patience") -> Answer:
        while True:
            try:
                return await self._over_http(request)
            except Cut as cut:
                await patience.wait(cut)

    async def _over_http(self, request: Request) -> Answer:
        self._link.check_not_over()
        if self._web is None:
            self._web = Web(self._url, self._file_options)
        is_old = self._http_token.expires >= wall_clock_ms() + _TOKEN_SPARE_MS
        if not is_old:
            self._http_token = await self._result(wire.HttpToken(self._id()), HttpPass)
        token = {"Authorization": f"Bearer {self._http_token.token}"}
        try:
            return await self._web.ask(request._replace(headers=token | request.headers))
        except Refused as refused:
            if not is_old or self._is_bearer or refused.code != ErrorCode.UNAUTHENTICATED:
                raise
            # It ended with the key that was replaced meanwhile; a new one goes on where it broke off.
            self._http_token = _NO_TOKEN
            raise Cut(str(refused)) from refused


class _Patience:
    """How long to go on trying: as long as something moves, and for a while after."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._backoff = Backoff(0.2, 10.0, random.Random())
        self._best = -1
        self._now_s = asyncio.get_running_loop().time
        self._until_s = self._now_s() + timeout_s

    def note(self, done: int) -> None:
        """Take in how far it came; also from the thread that is waited for."""
        if done > self._best:
            self._best = done
            self.renew()

    def renew(self) -> None:
        """Take in that something has moved."""
        self._backoff.reset()
        self._until_s = self._now_s() + self._timeout_s

    async def wait(self, cut: Cut) -> None:
        """Wait before the next try.

        Raises:
            ConnectionLost: it has been long enough.
        """
        wait_s = max(self._backoff.next_s(), cut.retry_after_s or 0.0)
        if self._now_s() + wait_s > self._until_s:
            raise ConnectionLost(f"no progress for {self._timeout_s:g} s: {cut}") from cut
        await asyncio.sleep(wait_s)


def _digest(source: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while piece := source.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _metadata(said: Mapping[str, str]) -> str:
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())
    return ",".join(pairs)


def _told(progress: Progress | None, size: int, patience: _Patience) -> Callable[[int], None]:
    """Return what a thread tells of how far it came, to be passed on in the loop."""
    loop = asyncio.get_running_loop()

    def tell(done: int) -> None:
        patience.note(done)
        if progress is not None:
            loop.call_soon_threadsafe(progress, done, size)

    return tell


def _target(to: str | Path, said: Mapping[str, Any]) -> Path:
    path = Path(to)
    if not path.is_dir():
        directory = path if str(to).endswith("/") else path.parent
        if not directory.is_dir():
            reason = "there is no such directory to put the file in"
            raise FileNotFoundError(errno.ENOENT, reason, str(directory))
        return path
    names = (_bare(str(word)) for word in (said.get("name") or "", said["file"], "file"))
    return path / next(filter(None, names))


def _bare(name: str) -> str:
    """Return what is left of a name that must not lead elsewhere: its sender chose it, and the id as well."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in name if char.isprintable()).lstrip(".")[:200]
