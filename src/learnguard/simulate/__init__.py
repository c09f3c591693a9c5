"""Logs of a made-up province with known truth: for demonstrations, tests and measurements.

All people and records are invented. :func:`write_world` writes deliveries that look like those of real platforms,
and beside them what was injected; :func:`honest_world` one in which nothing was; :func:`heartbeat_day` one day at a
province's scale; :func:`read_table` reads one of their tables back.
"""

from learnguard.simulate.benchmark import HeartbeatDay, heartbeat_day
from learnguard.simulate.reading import files_of, read_table
from learnguard.simulate.world import World, honest_world, write_world
from learnguard.simulate.writing import Delivery

__all__ = [
    "Delivery",
    "HeartbeatDay",
    "World",
    "files_of",
    "heartbeat_day",
    "honest_world",
    "read_table",
    "write_world",
]
