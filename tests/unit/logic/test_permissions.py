"""The table of who may do what, every cell of it, written down a second time."""

import pytest

from imserver.core.errors import Refusal
from imserver.core.scopes import Scopes, Verb
from imserver.logic.permissions import ALLOWED, BY_ANYBODY, SCOPE, Operation, admit, require
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role

EVERYBODY = "owner admin member observer"
TABLE = {
    Operation.READ: EVERYBODY,
    Operation.LIST_MEMBERS: EVERYBODY,
    Operation.SEND: "owner admin member",
    Operation.SIGNAL: "owner admin member",
    Operation.AMEND_OTHERS: "owner admin",
    Operation.ADD_MEMBERS: "owner admin",
    Operation.REMOVE_MEMBERS: "owner admin",
    Operation.SET_ROLE: "owner admin",
    Operation.TOUCH_OWNERS: "owner",
    Operation.DELETE_GROUP: "owner",
    Operation.LEAVE: EVERYBODY,
    Operation.JOIN: "",
    Operation.CREATE_GROUP: "",
}


READS, SENDS, MANAGES = Verb.READ, Verb.SEND, Verb.MANAGE
SCOPES = {
    READS: {Operation.READ, Operation.LIST_MEMBERS},
    SENDS: {Operation.SEND, Operation.SIGNAL, Operation.AMEND_OTHERS},
    MANAGES: {
        Operation.ADD_MEMBERS,
        Operation.REMOVE_MEMBERS,
        Operation.SET_ROLE,
        Operation.TOUCH_OWNERS,
        Operation.DELETE_GROUP,
        Operation.LEAVE,
        Operation.JOIN,
        Operation.CREATE_GROUP,
    },
}


def test_the_table_has_every_operation() -> None:
    assert set(TABLE) == set(Operation) == set(ALLOWED) == set(SCOPE)
    assert set(BY_ANYBODY) == {operation for operation in Operation if not TABLE[operation]}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("operation", Operation)
def test_a_scope_reaches_as_far_as_the_table_says(operation: Operation, verb: Verb) -> None:
    scopes = Scopes([f"{verb}:g/a"]).narrow
    if operation in SCOPES[verb]:
        admit(scopes, operation, "g/a")
    else:
        with pytest.raises(Refusal, match=SCOPE[operation].value) as caught:
            admit(scopes, operation, "g/a")
        assert caught.value.code is ErrorCode.FORBIDDEN
    with pytest.raises(Refusal) as caught:
        admit(scopes, operation, "g/b")
    with pytest.raises(Refusal) as missing:
        require(None, Operation.READ, "g/b")
    assert caught.value.message == missing.value.message


def test_a_token_with_all_rights_is_not_asked_for_scopes() -> None:
    for operation in Operation:
        admit(Scopes(["*"]).narrow, operation, "g/a")
        admit(Scopes(["read:g/b", "admin"]).narrow, operation, "g/a")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("operation", Operation)
def test_a_role_may_do_what_the_table_says(operation: Operation, role: Role) -> None:
    if role.value in TABLE[operation].split():
        require(role, operation, "g/a")
        return
    with pytest.raises(Refusal) as caught:
        require(role, operation, "g/a")
    assert caught.value.code is ErrorCode.FORBIDDEN
    for word in (role.value, operation.value, *TABLE[operation].split()):
        assert word in caught.value.message


@pytest.mark.parametrize("operation", Operation)
def test_who_is_no_member_may_do_nothing_and_learns_nothing(operation: Operation) -> None:
    with pytest.raises(Refusal) as caught:
        require(None, operation, "g/a")
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_conversations_name_from_outside_is_not_quoted_whole() -> None:
    with pytest.raises(Refusal) as caught:
        require(None, Operation.READ, "g/" + "x" * 10_000)
    assert len(caught.value.message) < 400
