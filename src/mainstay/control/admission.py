"""Decides about writes, and performs them: one transaction over all their objects, or nothing.

In: decoded objects to write and names to delete, each perhaps with the revision its author had seen. Out:
what became of each, or `RefusedWrite` with every problem. Invariants: a write never leaves a dangling
reference that was not there before (missing subset, gateway, secret); what others use is not deleted unless
forced; two writers of one object cannot overwrite each other unseen; an answer means that the control plane
works with the change. Called by REST alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from mainstay.api.kind import Defaults
from mainstay.api.object import Object
from mainstay.control.dialect import (
    References,
    Written,
    check_references,
    reveal,
    show_plain,
    translate,
)
from mainstay.control.objects import ObjectId, Record, decode_record, encode_record
from mainstay.graph import Refused
from mainstay.model.problem import Problem
from mainstay.store import Condition, Conflict, Delete, Entry, Operation, Put, Store, Unchanged

Outcome = Literal["created", "configured", "unchanged", "deleted", "absent"]

TAKEN_MS = 10_000
"""How long a write waits until the control plane works with it; it stands in the store before that."""


class Vault(Protocol):
    """Seals what must not lie in the store as it is."""

    def seal(self, content: bytes) -> bytes: ...

    def open(self, sealed: bytes) -> bytes: ...


class RefusedWrite(Exception):  # noqa: N818  it reports the author's mistake
    """Nothing was changed. `status` is the HTTP status that says so: 404, 409, 412 or 422."""

    def __init__(self, status: int, detail: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = tuple(problems)


class Wish(msgspec.Struct, frozen=True):
    """What a caller wants done in one transaction. `expected` are revisions that objects must still have, 0
    for objects that must not exist yet."""

    writes: tuple[Written, ...] = ()
    deletes: tuple[ObjectId, ...] = ()
    expected: dict[ObjectId, int] = {}
    must_exist: frozenset[ObjectId] = frozenset()
    force: bool = False
    dry_run: bool = False
    who: str = ""


class Result(msgspec.Struct, frozen=True):
    """What became of one object. `entry` is what the store has now (None if deleted, or on a dry run if
    new)."""

    id: ObjectId
    outcome: Outcome
    record: Record | None
    revision: int


class Admitted(msgspec.Struct, frozen=True):
    results: tuple[Result, ...]
    warnings: tuple[Problem, ...]
    revision: int


class Admission:
    """See the module. `objects()` are all objects the control plane works with; `taken(revision)` returns
    once it works with a revision of the store; `audit(who, action, object, revision)` records each change."""

    def __init__(
        self,
        store: Store,
        objects: Callable[[], Mapping[ObjectId, Object]],
        defaults: Callable[[], Defaults],
        taken: Callable[[int], Awaitable[None]],
        audit: Callable[[str, str, str, int], None],
        vault: Vault,
        time_of_day: Callable[[], int],
        new_uid: Callable[[], str],
    ) -> None:
        self._store = store
        self._objects = objects
        self._defaults = defaults
        self._taken = taken
        self._audit = audit
        self._vault = vault
        self._time_of_day = time_of_day
        self._new_uid = new_uid
        self._one_at_a_time = asyncio.Lock()

    async def perform(self, wish: Wish) -> Admitted:
        """Checks a wish and, unless it is a dry run, does it. Raises `RefusedWrite`, `StoreError`."""
        async with self._one_at_a_time:
            ids = [*(written.id for written in wish.writes), *wish.deletes]
            entries = await asyncio.to_thread(self._read, ids)
            _check_preconditions(wish, entries)
            warnings = self._check(wish)
            results, conditions, operations = self._plan(wish, entries)
            if wish.dry_run or not operations:
                return Admitted(tuple(results), warnings, self._store.revision())
            outcome = await asyncio.to_thread(self._store.transact, conditions, operations)
            if isinstance(outcome, Conflict):
                raise RefusedWrite(
                    409, "another writer was faster; read the object again and repeat the change"
                )
            for result in results:
                if result.outcome not in ("unchanged", "absent"):
                    self._audit(wish.who, result.outcome, str(result.id), outcome)
            try:
                await asyncio.wait_for(self._taken(outcome), TAKEN_MS / 1_000)
            except TimeoutError:
                late = Problem(
                    "MS3003",
                    "warning",
                    str(ids[0]),
                    f"is stored as revision {outcome}, but the control plane did not take it up in time",
                    "Look at `mainstay status` for what keeps it",
                )
                warnings = (*warnings, late)
            return Admitted(tuple(_at(result, outcome) for result in results), warnings, outcome)

    def _read(self, ids: Sequence[ObjectId]) -> dict[ObjectId, Entry | None]:
        return {each: self._store.get(each.store_key) for each in ids}

    def _check(self, wish: Wish) -> tuple[Problem, ...]:
        """Compares the references that dangle before and after. Returns warnings; raises for errors."""
        _refuse_twice(wish)
        before = dict(self._objects())
        after = dict(before)
        for deleted in wish.deletes:
            after.pop(deleted, None)
        for written in wish.writes:
            after[written.id] = written.object
        touched = {str(written.id) for written in wish.writes}
        known = {_identity(problem) for problem in self._dangling(before)}
        found = [
            problem
            for problem in self._dangling(after)
            if problem.object in touched or _identity(problem) not in known
        ]
        unusable = self._untranslatable(wish)
        found = [*unusable, *(problem for problem in found if problem not in unusable)]
        errors = [problem for problem in found if problem.severity == "error"]
        if errors and not wish.force:
            if wish.writes:
                raise RefusedWrite(422, "nothing was changed", errors)
            users = ", ".join(sorted({problem.object for problem in errors}))
            raise RefusedWrite(
                422, f"nothing was deleted: still used by {users}; --force deletes all the same", errors
            )
        return tuple(problem for problem in found if problem not in errors or wish.force)

    def _untranslatable(self, wish: Wish) -> list[Problem]:
        """What is well formed, but becomes nothing: a wrong expression, actions that exclude each other."""
        defaults = self._defaults()
        made = (translate(written.object, defaults) for written in wish.writes)
        return [problem for each in made if isinstance(each, Refused) for problem in each.problems]

    def _dangling(self, objects: Mapping[ObjectId, Object]) -> list[Problem]:
        return check_references(References(objects, self._defaults()), objects.values())

    def _plan(
        self, wish: Wish, entries: Mapping[ObjectId, Entry | None]
    ) -> tuple[list[Result], list[Condition], list[Operation]]:
        results: list[Result] = []
        conditions: list[Condition] = []
        operations: list[Operation] = []
        for written in wish.writes:
            entry = entries[written.id]
            before = decode_record(entry.value) if entry else None
            revealed = reveal(written.object)
            record = self._record(written, before, revealed, wish.who)
            if entry is not None and before is not None and self._is_same(before, record, revealed):
                results.append(Result(written.id, "unchanged", before, entry.revision))
                continue
            conditions.append(Unchanged(written.id.store_key, entry.revision if entry else 0))
            operations.append(Put(written.id.store_key, encode_record(record)))
            results.append(Result(written.id, "configured" if entry else "created", record, 0))
        for deleted in wish.deletes:
            entry = entries[deleted]
            if entry is None:
                results.append(Result(deleted, "absent", None, 0))
                continue
            conditions.append(Unchanged(deleted.store_key, entry.revision))
            operations.append(Delete(deleted.store_key))
            results.append(Result(deleted, "deleted", decode_record(entry.value), entry.revision))
        return results, conditions, operations

    def _record(self, written: Written, before: Record | None, revealed: bytes, who: str) -> Record:
        return Record(
            object=show_plain(written.object),
            uid=before.uid if before else self._new_uid(),
            created=before.created if before else self._time_of_day(),
            generation=before.generation + 1 if before else 1,
            file=written.file,
            line=written.line,
            text="" if revealed else written.object.document.text,
            who=who,
            sealed=self._vault.seal(revealed) if revealed else b"",
        )

    def _is_same(self, before: Record, record: Record, revealed: bytes) -> bool:
        if before.object != record.object or bool(before.sealed) != bool(revealed):
            return False
        return not revealed or self._vault.open(before.sealed) == revealed


def _check_preconditions(wish: Wish, entries: Mapping[ObjectId, Entry | None]) -> None:
    for each, expected in wish.expected.items():
        entry = entries.get(each)
        revision = entry.revision if entry else 0
        if revision == expected:
            continue
        if expected == 0:
            raise RefusedWrite(409, f"{each} exists already, at resourceVersion {revision}")
        state = f"is at resourceVersion {revision} now" if revision else "does not exist any more"
        raise RefusedWrite(412, f"{each} {state}, not {expected}: read it again and repeat the change")
    for each in wish.must_exist:
        if entries.get(each) is None:
            raise RefusedWrite(404, f"there is no {each}")


def _refuse_twice(wish: Wish) -> None:
    seen: dict[ObjectId, Written] = {}
    problems: list[Problem] = []
    for written in wish.writes:
        first = seen.setdefault(written.id, written)
        if first is not written:
            place = f"{first.file}:{first.line}" if first.file else "the same request"
            problems.append(
                Problem(
                    "MS2001",
                    "error",
                    str(written.id),
                    f"is defined twice; the first time in {place}",
                    "Keep one of the two",
                    written.file,
                    written.line,
                )
            )
    if problems:
        raise RefusedWrite(422, "nothing was changed", problems)


def _identity(problem: Problem) -> tuple[str, str, str, str]:
    """What a problem is about, wherever its text stands."""
    return (problem.code, problem.object, problem.path, problem.reason)


def _at(result: Result, revision: int) -> Result:
    if result.outcome in ("unchanged", "absent"):
        return result
    return msgspec.structs.replace(result, revision=revision)
