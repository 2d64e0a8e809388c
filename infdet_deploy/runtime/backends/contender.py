"""A backend and a precision: what `bench` measures and `verify` compares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """One backend computing in one precision."""

    backend: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.backend} {self.precision}"
