"""Has the product's own verifier judge the same run, from records made of the history and the disk's log.

The two judges were written apart. Where they disagree, one of them is wrong.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from imserver.protocol.events import Event
from imserver.verify import Guarantee, HistoryWriter, body_sha, read_log_file, verify
from imserver.verify import records as step
from imserver.verify.report import Report
from tests.simulation.checks import STORED_ANEW
from tests.simulation.history import REFUSED, STORED, Attempt, History, Hole, Life, Seen, Send
from tests.simulation.trace import Trace
from tests.simulation.truth import Truth, Version


def judge(history: History, truth: Truth, trace: Trace, *, alone: set[str]) -> None:
    """Note what the verifier finds broken.

    A device that never acked in a conversation begins where another one of its robot is, and so does a
    process beside another one. The verifier does not know that: of G11 it judges robots ``alone`` with one.
    A cid may be stored once more when its event was let go. The verifier does not know when that was, so
    where it happened G1 and G4 are not judged by it.
    No session is told to be drained: who was removed while it was away is owed nothing more, which a history
    does not show. That everybody is level in the end is `world`'s to find.
    """
    if not history.sends and not any(
        isinstance(s, Seen) for life in history.lives for s in life.seen
    ):
        return  # a world in which nobody came to speak
    is_forgetful = trace.counts[STORED_ANEW] > 0
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        report = _report(Path(folder), history, truth.versions[-1])
    for violation in report.violations:
        robot = violation.sentence.partition("/")[0]
        if violation.guarantee is Guarantee.G11 and robot not in alone:
            continue
        if violation.guarantee in (Guarantee.G1, Guarantee.G4) and is_forgetful:
            continue
        witnesses = "; ".join(evidence.text for evidence in violation.witnesses)
        rule = f"{violation.guarantee} by imserver verify"
        trace.problem(rule, f"{violation.sentence} ({witnesses})")


def _report(folder: Path, history: History, version: Version) -> Report:
    path, raw = folder / "history.jsonl", folder / "log.jsonl"
    with HistoryWriter(path) as writer:
        for life in history.lives:
            records = sorted(_steps(life, history), key=lambda record: record.t)
            began_s = records[0].t if records else 0.0
            who: Any = {"client": life.robot, "session": life.name}
            writer.write(step.SessionOpen(t=began_s, device=life.device, **who))
            for record in records:
                writer.write(record)
    epoch = version.epoch
    lines = (_log_line(conv, epoch, event) for conv, log in version.logs.items() for event in log)
    raw.write_bytes(b"\n".join(lines))
    return verify([path], read_log_file(raw))


def _log_line(conv: str, epoch: str, event: Event) -> bytes:
    fields: dict[str, Any] = msgspec.structs.asdict(event)
    del fields["ts"]
    body = msgspec.msgpack.decode(event.body)
    return msgspec.json.encode(fields | {"conv": conv, "epoch": epoch, "body": body})


def _steps(life: Life, history: History) -> Iterator[Any]:
    for send in history.sends:
        for attempt in send.attempts:
            if attempt.of == life.name:
                yield from _of_attempt(life, send, attempt)
    for seen in life.seen:
        yield _of_seen(life, seen)
        if seen.done_s is not None:
            who: Any = {"client": life.robot, "session": life.name}
            yield step.Ack(t=seen.done_s, conv=seen.conv, seq=seen.end.seq, **who)


def _of_attempt(life: Life, send: Send, attempt: Attempt) -> Iterator[step.Send]:
    who: Any = {"client": life.robot, "session": life.name, "conv": send.conv, "cid": send.cid}
    sha = body_sha(send.body)
    began: Any = {"kind": send.kind, "ref": send.ref, "body_sha": sha}
    yield step.Send(t=attempt.began_s, type="invoke", **began, **who)
    ended_s = attempt.ended_s
    if ended_s is None:
        return
    if attempt.outcome == STORED:
        place: Any = {"epoch": attempt.epoch, "seq": attempt.seq, "dup": attempt.dup}
        yield step.Send(t=ended_s, type="ok", **place, **who)
    elif attempt.outcome == REFUSED:
        yield step.Send(t=ended_s, type="fail", code=attempt.why.partition(":")[0], **who)
    else:
        yield step.Send(t=ended_s, type="unknown", **who)


def _of_seen(life: Life, seen: Seen | Hole) -> step.Receive | step.Gap:
    who: Any = {"client": life.robot, "session": life.name, "t": seen.at_s}
    if isinstance(seen, Hole):
        hole: Any = {"from_": seen.first, "to": seen.last, "why": seen.why, "after": seen.after}
        return step.Gap(conv=seen.conv, epoch=seen.epoch, **hole, **who)
    return step.Receive(
        conv=seen.conv,
        epoch=seen.epoch,
        seq=seen.seq,
        sender=seen.sender,
        cid=seen.cid,
        kind=seen.kind,
        ref=seen.ref,
        body_sha=body_sha(seen.body),
        **who,
    )
