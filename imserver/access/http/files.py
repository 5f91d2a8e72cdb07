"""Files over HTTP: uploads by tus, downloads in ranges.

One address for both: `/files/{file}`. What a request has ``Tus-Resumable`` for is about the upload; without
it, GET and HEAD are about the file.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import HttpMethod, Response, delete, get, patch, post, route
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import FromPath, HeaderParameter, QueryParameter

from imserver.access.http import tus
from imserver.access.http.file_answer import GUARDS, FileAnswer, headers_of
from imserver.access.http.gate import BYTES, TAKES_BYTES
from imserver.access.http.problems import HEADERS, problems
from imserver.access.http.ranges import Unsatisfiable, wanted_part
from imserver.access.http.readable import Asking
from imserver.access.http.routes import Routes
from imserver.access.http.shapes import Files, file_row
from imserver.access.http.stays import Stays
from imserver.access.http.upload_body import UploadBody
from imserver.access.use_cases import UseCases
from imserver.core.file_settings import FileSettings
from imserver.core.files import FileRecord
from imserver.logic.files import PAGE_FILES
from imserver.logic.upload import Checksum, beyond_end
from imserver.protocol.errors import ErrorCode

_PATH: Final = "/files/{file:str}"
_Range = Annotated[
    str | None, HeaderParameter(name="Range", description="`bytes=first-last`, or `bytes=-count`")
]
_IfRange = Annotated[
    str | None,
    HeaderParameter(name="If-Range", description="the `ETag` of which the range is wanted"),
]
_IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="the `ETag` that is here")
]
_After = Annotated[str | None, QueryParameter(description="the id after which to go on")]
_Limit = Annotated[int, QueryParameter(ge=1)]


@dataclass
class TakesBytes(Operation):
    """An operation that takes bytes as they are."""

    def __post_init__(self) -> None:
        schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        self.request_body = RequestBody({BYTES: OpenAPIMediaType(schema=schema)})


class FileRoutes(Routes):
    """Uploads and downloads."""

    def __init__(self, cases: UseCases, stays: Stays, settings: FileSettings) -> None:
        self._files = cases.files
        self._thumbnails = cases.thumbnails
        self._stays = stays
        self._settings = settings

    def handlers(self) -> list[HTTPRouteHandler]:
        takes: dict[str, Any] = {"opt": {TAKES_BYTES: True}, "operation_class": TakesBytes}
        takes["request_max_body_size"] = None
        gone = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT) | _UPLOADING
        gone |= _empty(204, "It is gone.")
        begun = problems(ErrorCode.TOO_LARGE, ErrorCode.CONFLICT) | _UPLOADING
        begun |= _empty(201, "It is begun, at `Location`.")
        sent = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.TOO_LARGE) | _UPLOADING
        sent |= _empty(204, "All of it is durable.")
        asked = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT) | _VERSION
        asked |= {416: _problem("The range begins behind the end of the file.")}
        whole = ResponseSpec(
            bytes, generate_examples=False, description="The file.", media_type="*/*"
        )
        part = ResponseSpec(
            bytes, generate_examples=False, description="A part of it.", media_type="*/*"
        )
        unchanged = ResponseSpec(None, description="It is as `If-None-Match` says.")
        got = asked | {200: whole, 206: part, 304: unchanged}
        told = asked | _UPLOADING | {304: unchanged}
        told |= _empty(200, "How far it came, or what it is, is in the headers.")
        told |= _empty(206, "What a part of it is, is in the headers.")
        small = ResponseSpec(
            bytes, generate_examples=False, description="A small picture.", media_type="image/*"
        )
        shown = problems(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT) | {200: small}
        return [
            route(
                "/files",
                http_method=HttpMethod.OPTIONS,
                status_code=204,
                security=[{}],
                responses=problems() | _empty(204, "What it can is in the headers."),
            )(self.options),
            get("/files", responses=problems(ErrorCode.TOO_LARGE))(self.owned),
            post("/files", responses=begun, **takes)(self.create),
            patch(_PATH, status_code=204, responses=sent, **takes)(self.append),
            delete(_PATH, status_code=204, responses=gone, opt={TAKES_BYTES: True})(self.remove),
            get(_PATH, responses=got)(self.download),
            get(f"{_PATH}/thumbnail", responses=shown)(self.thumbnail),
            route(_PATH, http_method=HttpMethod.HEAD, responses=told)(self.head),
        ]

    async def options(self) -> Response[None]:
        """Tell what this server can do of tus."""
        headers = HEADERS | tus.abilities(self._settings.file_bytes_max)
        return Response(None, status_code=204, headers=headers)

    async def owned(
        self, request: Asking, *, after: _After = None, limit: _Limit = PAGE_FILES
    ) -> Files:
        """List one's own files by id, finished and unfinished."""
        found = await self._files.owned(request.user, after=after, limit=limit)
        return Files([file_row(file) for file in found])

    async def create(
        self,
        request: Asking,
        length: tus.Length,
        resumable: tus.Resumable,
        metadata: tus.MetadataText = "",
        checksum: tus.ChecksumText = None,
        digest: tus.DigestText = None,
    ) -> Response[None]:
        """Begin an upload, of which the body may be the first bytes already."""
        tus.check_version(resumable)
        size = int(length)
        _check_length(request, 0, size)
        of_run, of_whole = tus.checksum_of(checksum), tus.digest_of(digest)
        file = await self._files.create(request.user, size, metadata)
        if file.digest is None and _has_body(request):
            file = await self._append(request, file.id, 0, checksum=of_run, digest=of_whole)
        location = f"{request.url.path.rstrip('/')}/{file.id}"
        headers = HEADERS | tus.state(file) | {"Location": location}
        return Response(None, status_code=201, headers=headers)

    async def append(
        self,
        request: Asking,
        file: FromPath[str],
        offset: tus.Offset,
        resumable: tus.Resumable,
        checksum: tus.ChecksumText = None,
        digest: tus.DigestText = None,
    ) -> Response[None]:
        """Go on with an upload from where it stands. What has come is kept, wherever a request breaks off."""
        tus.check_version(resumable)
        of_run, of_whole = tus.checksum_of(checksum), tus.digest_of(digest)
        found = await self._append(request, file, int(offset), checksum=of_run, digest=of_whole)
        return Response(None, status_code=204, headers=HEADERS | tus.state(found))

    async def remove(
        self, request: Asking, file: FromPath[str], resumable: tus.MaybeResumable = None
    ) -> Response[None]:
        """Let go of one's own file, finished or not, for everybody."""
        tus.check_version(resumable)
        await self._files.remove(request.user, file)
        return Response(None, status_code=204, headers=HEADERS | {"Tus-Resumable": tus.VERSION})

    async def download(
        self,
        request: Asking,
        file: FromPath[str],
        range_: _Range = None,
        if_range: _IfRange = None,
        if_none_match: _IfNoneMatch = None,
    ) -> FileAnswer:
        """Get a file, or a part of it."""
        found = await self._files.readable(request.user, file)
        return self._answer(
            request, found, range_, if_range=if_range, if_none_match=if_none_match, with_body=True
        )

    async def thumbnail(self, request: Asking, file: FromPath[str]) -> Response[bytes]:
        """Get a small picture of a picture, in JPEG or PNG."""
        found = await self._files.readable(request.user, file)
        small = await self._thumbnails.of(found)
        media_type = "image/png" if small.startswith(b"\x89PNG") else "image/jpeg"
        return Response(small, media_type=media_type, headers=GUARDS)

    async def head(
        self,
        request: Asking,
        file: FromPath[str],
        resumable: tus.MaybeResumable = None,
        range_: _Range = None,
        if_none_match: _IfNoneMatch = None,
    ) -> FileAnswer:
        """Ask how far one's own upload came (with ``Tus-Resumable``), or what the file is."""
        if resumable is None:
            found = await self._files.readable(request.user, file)
            return self._answer(
                request, found, range_, if_range=None, if_none_match=if_none_match, with_body=False
            )
        tus.check_version(resumable)
        found = await self._files.own(request.user, file)
        return FileAnswer(
            None,
            headers=HEADERS | tus.state(found) | {"Content-Length": "0", "Content-Type": BYTES},
            status=HTTPStatus.OK,
            warrant=request.user.warrant,
            stays=self._stays,
        )

    async def _append(
        self,
        request: Asking,
        file_id: str,
        offset: int,
        *,
        checksum: Checksum | None,
        digest: bytes | None,
    ) -> FileRecord:
        session, body = request.user, UploadBody(request.receive)
        async with self._files.writing(session, file_id, offset, checksum) as (turn, upload):
            _check_length(request, offset, upload.size)
            turn.tell_claim(body.claimed)
            with self._stays.holding(request.scope, session.warrant, body):
                async for piece in body.pieces():
                    await upload.write(piece)
                await upload.end(whole=body.is_whole)
            body.require_whole()
            return await self._files.finish_if_whole(session, upload, digest)

    def _answer(
        self,
        request: Asking,
        file: FileRecord,
        range_: str | None,
        *,
        if_range: str | None,
        if_none_match: str | None,
        with_body: bool,
    ) -> FileAnswer:
        etag, modified = tus.etag(file), tus.http_date(file.created_ms)
        headers = headers_of(file) | tus.digest_headers(file) | {"Last-Modified": modified}
        first, end, status = 0, file.size, HTTPStatus.OK
        try:
            part = wanted_part(
                range_, if_range=if_range, size=file.size, etag=etag, modified=modified
            )
        except Unsatisfiable:
            raise HTTPException(
                detail=f"the file has {file.size} bytes; ask for a range that begins before",
                status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                headers={"Content-Range": f"bytes */{file.size}"},
            ) from None
        if _is_among(etag, if_none_match):
            status, with_body = HTTPStatus.NOT_MODIFIED, False
        elif part is not None:
            first, end, status = part.first, part.end, HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size}"
        if status != HTTPStatus.NOT_MODIFIED:
            headers["Content-Length"] = str(end - first)
        return FileAnswer(
            self._files.read(file, first, end) if with_body else None,
            headers=headers,
            status=status,
            warrant=request.user.warrant,
            stays=self._stays,
        )


def _check_length(request: Asking, offset: int, size: int) -> None:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and offset + int(announced) > size:
        raise beyond_end(size)


def _has_body(request: Asking) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _is_among(etag: str, header: str | None) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
    return etag in tags or tags == ["*"]


def _empty(status: int, description: str) -> dict[int, ResponseSpec]:
    return {status: ResponseSpec(None, generate_examples=False, description=description)}


def _problem(description: str) -> ResponseSpec:
    spec = problems()[HTTPStatus.BAD_REQUEST]
    return ResponseSpec(
        spec.data_container,
        generate_examples=False,
        description=description,
        media_type=spec.media_type,
    )


_VERSION: Final = {412: _problem("Another version of tus than this server speaks.")}
_UPLOADING: Final = _VERSION | {
    415: _problem(f"The body must be `{BYTES}`."),
    423: _problem("Another request is writing to this upload."),
    tus.CHECKSUM_MISMATCH: _problem("The bytes do not have the checksum that was said."),
}
