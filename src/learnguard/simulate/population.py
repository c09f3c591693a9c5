"""The people of the made-up province: who they are, how they live, and where they are enrolled.

Identity numbers bear the region code 990000, which is assigned to no place, and telephone numbers begin with
100, which no operator has: they pass every formal check and can belong to nobody.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from learnguard.simulate.platforms import PLATFORMS
from learnguard.simulate.randomness import Ints, stream

REGION: Final = "9900"
_WEIGHTS: Final = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
_CHECKS: Final = np.array(list("10X98765432"))
#: Classes that study in a training room: (platform, class of the platform, is it declared beforehand).
ROOMS: Final = (("muke", 1, True), ("muke", 2, False), ("peixun", 1, False))
#: Share of learners who use a second platform, or take a second course on theirs.
SECOND_PLATFORM, SECOND_COURSE = 0.12, 0.10


def check_digits(first17: NDArray[np.str_]) -> NDArray[np.str_]:
    """The 18th characters of GB 11643 identity numbers (ISO 7064, MOD 11-2) for an array of the first 17."""
    codes = np.ascontiguousarray(first17.astype("U17")).view(np.uint32).reshape(first17.size, 17)
    digits = codes.astype(np.int64) - ord("0")
    checks: NDArray[np.str_] = _CHECKS[(digits @ _WEIGHTS) % 11]
    return checks


def id_numbers(person: Ints, born: NDArray[np.datetime64]) -> NDArray[np.str_]:
    """One valid, unassignable identity number per person; unique for up to 100,000 people."""
    first17 = np.char.add(
        np.char.add(REGION, np.char.zfill((person // 1000 % 100).astype(str), 2)),
        np.char.add(
            np.char.replace(born.astype("datetime64[D]").astype(str), "-", ""),
            np.char.zfill((person % 1000).astype(str), 3),
        ),
    )
    return np.char.add(first17, check_digits(first17))


def _addresses(numbers: pl.Expr) -> pl.Expr:
    """Addresses out of 198.18.0.0/15, which is set aside for tests."""
    return pl.format("198.{}.{}.{}", 18 + numbers // 65536 % 2, numbers // 256 % 256, numbers % 256)


def make_people(seed: int, learners: int) -> pl.DataFrame:
    """One row per person: identity, platform of the main account, and habits.

    ``habit`` is day, evening or night; ``start_hour`` the local hour at which study usually begins, ``daily_s``
    the wall-clock seconds given to it on a day, ``miss_share`` the share of presence checks missed,
    ``touch_every_s`` the mean distance of mouse or key use (null: a quiet learner), ``preferred_rate`` the
    playback rate chosen where permitted, ``household`` people of one home.
    """
    rng = stream(seed, "people")
    person = np.arange(learners, dtype=np.int64)
    age = np.clip(rng.normal(38, 12, learners), 18, 69).astype(np.int64)
    born = np.datetime64("2026-01-01") - (age * 365 + rng.integers(0, 364, learners)).astype("timedelta64[D]")
    habit = rng.choice(["day", "evening", "night"], p=[0.42, 0.50, 0.08], size=learners)
    usual = {"day": 9.5, "evening": 19.8, "night": 1.0}
    start = np.array([usual[h] for h in ("day", "evening", "night")])[
        np.searchsorted(["day", "evening", "night"], habit)
    ]
    is_elderly = age >= 55
    is_quiet = rng.random(learners) < 0.15
    in_family = rng.random(learners) < 0.12
    platform = rng.choice([p.platform_id for p in PLATFORMS], p=[p.share for p in PLATFORMS], size=learners)
    return pl.DataFrame(
        {
            "person": person,
            "id_number": id_numbers(person, born),
            "age": age,
            "habit": habit,
            "platform_id": platform,
            "start_hour": start + rng.normal(0, 1.2, learners) * (habit != "night"),
            "daily_s": rng.uniform(2400, 9000, learners),
            "miss_share": np.where(is_elderly, 0.06, 0.012),
            "is_elderly": is_elderly,
            "touch_every_s": np.where(is_quiet, np.nan, rng.uniform(180, 600, learners)),
            "preferred_rate": np.where(
                is_elderly, 1.0, rng.choice([1.0, 1.25, 1.5, 2.0], p=[0.66, 0.13, 0.13, 0.08], size=learners)
            ),
        }
    ).with_columns(
        name=pl.format("虚构学员{}", pl.col("person").cast(pl.String).str.zfill(5)),
        phone=pl.format("100{}", pl.col("person").cast(pl.String).str.zfill(8)),
        touch_every_s=pl.col("touch_every_s").fill_nan(None),
        household=pl.when(pl.Series(in_family)).then(pl.Series(in_family).cast(pl.Int64).cum_sum() // 2),
    )


def make_accounts(seed: int, people: pl.DataFrame) -> pl.DataFrame:
    """One row per account: its person, class, institution, training room, devices and addresses.

    ``device_0`` is the usual device, ``device_1`` the second one (a tablet shared within a household),
    ``device_2`` an old one on which a login lingers, ``device_3`` one far away; ``ip_0`` is the home or the
    training room, ``ip_3`` far away. ``seat`` is the person's place in the training room.
    """
    rng = stream(seed, "accounts")
    size = int(np.clip(people.height // 20, 5, 30))
    main = people.select("person", "platform_id", "household").with_columns(is_main=pl.lit(value=True))
    rooms = pl.DataFrame(ROOMS, schema=["platform_id", "class", "is_declared"], orient="row").with_row_index("room")
    main = _classes(main, size).join(rooms, on=["platform_id", "class"], how="left", maintain_order="left")
    wants_more = pl.Series(rng.random(people.height) < SECOND_PLATFORM)
    ids = [p.platform_id for p in PLATFORMS]
    shift = pl.Series(rng.integers(1, len(ids), people.height))
    second = (
        main.with_columns(wants=wants_more, shift=shift)
        .filter(pl.col("wants") & pl.col("room").is_null())
        .with_columns(
            platform_id=pl.col("platform_id").replace_strict({p: i for i, p in enumerate(ids)}, return_dtype=pl.Int64),
            is_main=pl.lit(value=False),
        )
        .with_columns(
            platform_id=((pl.col("platform_id") + pl.col("shift")) % len(ids)).replace_strict(
                dict(enumerate(ids)), return_dtype=pl.String
            )
        )
    )
    accounts = _classes(pl.concat([main.select(_OWN), second.select(_OWN)]), size)
    accounts = accounts.join(rooms, on=["platform_id", "class"], how="left", maintain_order="left").with_columns(
        # A second account is never taught in a room: its person studies at home.
        pl.when("is_main").then("room").alias("room"),
        pl.when("is_main").then("is_declared").alias("is_declared"),
    )
    return _address(accounts.with_row_index("account").with_columns(pl.col("account", "room").cast(pl.Int64)))


_OWN: Final = ["person", "platform_id", "household", "is_main"]


def _classes(accounts: pl.DataFrame, size: int) -> pl.DataFrame:
    """Adds ``rank`` within the platform and ``class`` (1, 2, …) of at most ``size`` accounts."""
    rank = pl.int_range(pl.len()).over("platform_id").cast(pl.Int64)
    return accounts.with_columns(rank=rank).with_columns(
        **{"class": pl.col("rank") // size + 1, "seat": pl.col("rank") % size}
    )


def _address(accounts: pl.DataFrame) -> pl.DataFrame:
    prefix = pl.col("platform_id").replace_strict(
        {p.platform_id: p.account_prefix for p in PLATFORMS}, return_dtype=pl.String
    )
    number = pl.col("account").cast(pl.String).str.zfill(6)
    home = pl.when(pl.col("household").is_not_null()).then(40_000 + pl.col("household")).otherwise(pl.col("person"))
    return accounts.with_columns(
        account_id=pl.format("{}{}", prefix, pl.col("rank").cast(pl.String).str.zfill(6)),
        class_id=pl.format("{}-class{}", prefix, pl.col("class").cast(pl.String).str.zfill(3)),
        institution_id=pl.format("inst{}", (pl.col("class") * 7 + prefix.str.len_chars()) % 8 + 1),
        device_0=pl.format("{}-d{}a", prefix, number),
        device_1=pl.when(pl.col("household").is_not_null())
        .then(pl.format("{}-tablet{}", prefix, "household"))
        .otherwise(pl.format("{}-d{}b", prefix, number)),
        device_2=pl.format("{}-d{}c", prefix, number),
        device_3=pl.format("{}-d{}x", prefix, number),
        ip_0=_addresses(pl.when(pl.col("room").is_not_null()).then(60_000 + pl.col("room")).otherwise(1_000 + home)),
        ip_3=_addresses(70_000 + pl.col("person")),
    )
