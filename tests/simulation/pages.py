"""Judges pages of history: what stands in the log, without holes, as it was between question and answer."""

from typing import Any

import msgspec

from imserver.protocol.events import AMENDING_KINDS, EDIT, REDACT, Event
from tests.simulation.history import Page, Seen
from tests.simulation.shown import ShownJudge
from tests.simulation.trace import Trace
from tests.simulation.truth import Truth, Version


class PageJudge:
    """The pages that robots were given."""

    def __init__(self, truth: Truth, shown: ShownJudge, trace: Trace) -> None:
        self._truth = truth
        self._shown = shown
        self._trace = trace

    def judge(self, page: Page) -> None:
        """Note every promise that was broken by one page."""
        if not page.events:
            return
        where = f"a page of {page.view} for {page.robot}"
        self._trace.counts["pages while events arrived"] += self._grew(page)
        seqs = [event.seq for event in page.events]
        if len(seqs) > page.limit or not self._is_within(page, seqs):
            self._problem("G9 not the page that was asked for", f"{page}")
        if page.view == "events":
            for event in page.events:
                self._shown.check_seen(event, where)
            if seqs != list(range(seqs[0], seqs[-1] + 1)):
                self._problem("G9 a page with holes", f"{where}: {page.conv} {seqs}")
            self._begins_well(page, seqs[0])
        else:
            for event in page.events:
                self._folded(page, event)
        if seqs != sorted(set(seqs)):
            self._problem("G9 a page out of order", f"{where}: {page.conv} {seqs}")

    def _is_within(self, page: Page, seqs: list[int]) -> bool:
        low = page.after if page.after is not None else 0
        high = page.before if page.before is not None else seqs[-1] + 1
        return low < seqs[0] and seqs[-1] < high

    def _grew(self, page: Page) -> bool:
        """Tell whether events were stored between question and answer."""
        for version in self._truth.versions:
            for event in reversed(version.logs.get(page.conv, [])):
                stored_s = self._truth.durable_s(version.epoch, page.conv, event)
                if stored_s is not None and page.began_s < stored_s < page.ended_s:
                    return True
                if stored_s is not None and stored_s < page.began_s:
                    break
        return False

    def _begins_well(self, page: Page, first: int) -> None:
        """A page forwards begins with the next event that is kept."""
        due = first if page.after is None else page.after + 1
        if first > max(due, self._truth.floor(page.conv, page.ended_s)):
            self._problem("G9 a page that begins too late", f"{page.conv} {first}, {page}")

    def _folded(self, page: Page, shown: Seen) -> None:
        """A message is shown as its edits made it at some moment between question and answer."""
        for version in self._truth.of(shown.epoch):
            event = version.event(shown.conv, shown.seq)
            if event is None or (event.sender, event.cid) != (shown.sender, shown.cid):
                continue
            if event.kind in AMENDING_KINDS:
                self._problem("an amendment shown as a message", f"{shown}")
                return
            if shown.body in self._bodies(version, page, event):
                self._trace.counts["messages shown as amended"] += shown.body != _value(event)
                return
        self._problem("G3 a message was never like that", f"{shown}")

    def _bodies(self, version: Version, page: Page, event: Event) -> list[Any]:
        """Return what a message may be shown as: what it was before, and after each change meanwhile."""
        decided: Event | None = None
        bodies = [_value(event)]
        for change in version.logs[page.conv][event.seq :]:
            if change.kind not in AMENDING_KINDS or change.ref != event.seq:
                continue
            stored_s = self._truth.durable_s(version.epoch, page.conv, change)
            if stored_s is None or stored_s > page.ended_s:
                break
            if decided is not None and decided.kind == REDACT and change.kind == EDIT:
                continue
            decided = change
            body = None if change.kind == REDACT else _value(change)
            bodies = [body] if stored_s < page.began_s else [*bodies, body]
        return bodies

    def _problem(self, rule: str, story: str) -> None:
        self._trace.problem(rule, story)


def _value(event: Event) -> Any:
    return msgspec.msgpack.decode(event.body)
