"""How large the fault runs are: short in every run of the tests, long with `SEESAME_TEST_FAULTS=long`."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """One form of the runs. `slack` multiplies the promises: other work shares the machine of a short run."""

    slack: float
    images: int  # of the backfill
    kills: int  # of workers
    lease_s: float
    rounds: int  # of each fault of the CLIP service
    outage_s: float
    redis_requests: int  # for each fault of Redis
    terms: int  # of each process
    storm_s: float
    drip_rounds: int
    postgres_kills: int
    migrations: int  # databases that are migrated by processes of which one is killed


SHORT = Sizes(
    slack=3,
    images=240,
    kills=5,
    lease_s=3,
    rounds=1,
    outage_s=0.5,
    redis_requests=100,
    terms=1,
    storm_s=3,
    drip_rounds=0,
    postgres_kills=3,
    migrations=4,
)
LONG = Sizes(
    slack=1,
    images=5_000,
    kills=100,
    lease_s=60,
    rounds=3,
    outage_s=8,
    redis_requests=1_000,
    terms=20,
    storm_s=20,
    drip_rounds=3,
    postgres_kills=50,
    migrations=20,
)
IS_LONG = os.environ.get("SEESAME_TEST_FAULTS") == "long"
SIZES = LONG if IS_LONG else SHORT
