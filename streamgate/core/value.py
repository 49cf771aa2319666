"""How events and commands are made: values in all but the time that it takes to make one."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A dataclass with slots, compared and hashed by value, and frozen for the type checker only.

    A dataclass that is frozen at run time takes three times as long to make (1.3 instead of 0.4 us
    for seven fields), which would be half of all that scheduling a request costs.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
