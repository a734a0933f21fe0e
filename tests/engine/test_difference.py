"""What makes one plan of another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from vimage.plan import difference
from vimage.steps.step import Step


@dataclass(frozen=True)
class Card(Step):
    """Its speed can be changed in place; for another port it is made anew."""

    kind: ClassVar[str] = "card"
    live: ClassVar[bool] = True
    name: str
    port: int
    speed: int

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.name

    @property
    def makes(self) -> str:
        return self.name

    def can_amend(self, before: Step) -> bool:
        return before == replace(self, speed=before.speed)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Label(Step):
    """On a card."""

    kind: ClassVar[str] = "label"
    live: ClassVar[bool] = True
    card: str

    @property
    def uses(self) -> tuple[str, ...]:
        return (self.card,)


ONE, LABEL = Card("a", 1, 10), Label("a")


def test_what_can_be_amended_is_not_made_anew() -> None:
    faster = replace(ONE, speed=100)
    found = difference([ONE, LABEL], [faster, LABEL])
    assert found.amended == ((ONE, faster),)
    assert not found.added and not found.replaced and not found.removed


def test_what_cannot_be_amended_is_made_anew_and_all_that_uses_it() -> None:
    other = replace(ONE, port=2, speed=100)
    found = difference([ONE, LABEL], [other, LABEL])
    assert found.added == (other, LABEL)
    assert found.replaced == {ONE.identity, LABEL.identity}
    assert not found.amended
