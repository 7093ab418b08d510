"""Rows of the benchmark table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measurement, in `unit`, against a `reference` measured in the same run, or against a `budget`.

    `at_least` is how many times better than the reference it must be, `at_most` how many times worse it may be.
    """

    what: str
    value: float
    unit: str
    reference: float | None = None
    reference_name: str = ""
    at_least: float | None = None
    at_most: float | None = None
    budget: float | None = None

    @property
    def ratio(self) -> float | None:
        """Reference over value where more is better, value over reference where less is."""
        if self.reference is None:
            return None
        return self.reference / self.value if self.at_least else self.value / self.reference

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.at_least:
            return f"≥ {self.at_least:g}x faster"
        if self.at_most:
            return f"≤ {self.at_most:g}x"
        return f"≤ {self.budget:g} {self.unit}" if self.budget else ""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        if self.at_least and self.ratio is not None:
            return self.ratio >= self.at_least
        if self.at_most and self.ratio is not None:
            return self.ratio <= self.at_most
        return self.budget is None or self.value <= self.budget

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        reference = f"{self.reference:.2f} {self.unit} ({self.reference_name})" if self.reference is not None else ""
        ratio = f"{self.ratio:.2f}x" if self.ratio is not None else ""
        return self.what, f"{self.value:.2f} {self.unit}", reference, ratio, self.goal, "yes" if self.met else "no"
