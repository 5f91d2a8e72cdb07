"""The description at /schema, and the shapes that it describes."""

from typing import Any, get_args

import pytest
from msgspec import Struct, structs

from imserver.access.http import shapes
from imserver.protocol import client_frames, server_frames
from tests.e2e.every_door.routes import ROUTES
from tests.unit.access.http.api_in_memory import Api

METHODS = {"get", "head", "options", "post", "put", "patch", "delete"}
REQUESTS: list[tuple[type[Struct], type[Struct], set[str]]] = [
    (shapes.NewEvent, client_frames.Send, {"id", "conv", "cid"}),
    (shapes.Registration, client_frames.Register, {"id"}),
    (shapes.NewGroup, client_frames.CreateGroup, {"id"}),
    (shapes.NewMembers, client_frames.AddMembers, {"id", "conv"}),
    (shapes.NewRole, client_frames.SetRole, {"id", "conv", "robot"}),
    (shapes.NewAck, client_frames.Ack, {"conv"}),
    (shapes.NewSignal, client_frames.Signal, {"conv"}),
]
ANSWERS: list[tuple[type[Struct], type[Struct], set[str]]] = [
    (shapes.Sent, server_frames.Sent, {"id"}),
    (shapes.Hole, server_frames.Gap, {"id"}),
    (shapes.Goodbye, server_frames.Bye, set()),
]
ADDED: dict[type[Struct], set[str]] = {shapes.Hole: {"count"}, shapes.NewAck: {"device"}}


def fields_of(shape: type[Struct]) -> dict[str, tuple[Any, Any, Any]]:
    """Return what a field is on the wire, by its name there."""
    found = structs.fields(shape)
    return {
        field.encode_name: (field.type, field.default, field.default_factory) for field in found
    }


@pytest.mark.parametrize(
    ("shape", "frame", "left_out"), REQUESTS, ids=[shape.__name__ for shape, *_ in REQUESTS]
)
def test_a_request_takes_what_its_frame_takes(
    shape: type[Struct], frame: type[Struct], left_out: set[str]
):
    on_the_wire = {name: field for name, field in fields_of(frame).items() if name not in left_out}
    here = {n: field for n, field in fields_of(shape).items() if n not in ADDED.get(shape, ())}
    assert here == on_the_wire


@pytest.mark.parametrize(
    ("shape", "frame", "left_out"), ANSWERS, ids=[shape.__name__ for shape, *_ in ANSWERS]
)
def test_an_answer_tells_what_its_frame_tells(
    shape: type[Struct], frame: type[Struct], left_out: set[str]
):
    assert set(fields_of(shape)) - ADDED.get(shape, set()) == set(fields_of(frame)) - left_out


async def test_the_description_is_given_without_a_token(api: Api):
    for path in ("/schema", "/schema/openapi.json"):
        answer = await api.ask("GET", path)
        assert answer.status == 200
        assert answer.json["openapi"].startswith("3.1")


async def test_every_operation_tells_what_it_does_and_how_it_may_end(api: Api):
    description = (await api.ask("GET", "/schema")).json
    for path, operations in description["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method, operation in operations.items():
            assert method in METHODS
            where = f"{method} {path}"
            assert operation["description"], where
            assert {"400", "401", "403", "429", "500", "503"} <= set(operation["responses"]), where
            assert operation["summary"], where
            problem = operation["responses"]["400"]["content"]["application/problem+json"]
            assert problem["schema"]["$ref"].endswith("/Problem"), where


async def test_the_description_asks_for_a_bearer_token(api: Api):
    description = (await api.ask("GET", "/schema")).json
    page = description["paths"]["/v1/groups/{name}/events"]["get"]
    assert page["security"] == [{"bearer": []}]
    assert description["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


NEED_A_CONNECTION = {
    *("hello", "prove", "follow", "unfollow", "chunk", "stop"),
    *("rotate_key", "http_token"),  # they are about the session itself
}


async def test_every_frame_that_needs_no_connection_has_a_route(api: Api):
    frames: tuple[type[Struct], ...] = get_args(client_frames.ClientFrame)
    tags = {str(frame.__struct_config__.tag) for frame in frames}
    assert set(ROUTES) == tags - NEED_A_CONNECTION
    paths = (await api.ask("GET", "/schema")).json["paths"]
    for t, route in ROUTES.items():
        path = "/v1" + route.path.replace("{at}", "/groups/{name}")
        assert route.method.lower() in paths[path], t
