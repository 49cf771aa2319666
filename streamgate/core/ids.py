"""Names of things inside one engine. Types that must not mix, and nothing else."""

from typing import NewType

Ns = NewType("Ns", int)
"""A moment or duration in integer nanoseconds. The core never asks what time it is."""

RequestNumber = NewType("RequestNumber", int)
"""A request, numbered by the engine, never reused. 0 is no request."""

OwnerNumber = NewType("OwnerNumber", int)
"""A connection that requests came over; 0 when nobody's loss should end the sequence."""

InstanceIndex = NewType("InstanceIndex", int)
"""A model instance of this scheduler's model, from 0."""

SlotIndex = NewType("SlotIndex", int)
"""A row of an instance's arena, from 0."""

Generation = NewType("Generation", int)
"""Rises each time a slot is taken; (instance, slot, generation) names one sequence's tenancy."""

StepNumber = NewType("StepNumber", int)
"""One device execution, numbered by the scheduler, never reused."""

NO_SLOT = SlotIndex(-1)
NO_REQUEST = RequestNumber(0)
NO_OWNER = OwnerNumber(0)
NO_GENERATION = Generation(0)
NO_INSTANCE = InstanceIndex(-1)
