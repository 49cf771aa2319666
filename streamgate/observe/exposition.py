"""Prometheus' text format, with the names that our counters have."""

import re

from prometheus_client import CollectorRegistry, generate_latest


def render_registry(registry: CollectorRegistry) -> bytes:
    """A registry's families in Prometheus' text format.

    The library's headers call every counter `_total`. Triton's counters have no such suffix, nor
    have those that Python models make: their headers are called as their samples are.
    """
    plain = {
        family.name.encode()
        for family in registry.collect()
        if family.type == "counter" and any(sample.name == family.name for sample in family.samples)
    }

    def header(match: re.Match[bytes]) -> bytes:
        return b"# %s %s " % match.groups() if match[2] in plain else match[0]

    return _COUNTER_HEADER.sub(header, generate_latest(registry))


_COUNTER_HEADER = re.compile(rb"^# (HELP|TYPE) (\w+)_total ", re.MULTILINE)
