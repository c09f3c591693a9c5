"""Courses and lessons of a platform."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from learnguard.simulate.platforms import PLATFORMS, Platform
from learnguard.simulate.randomness import positions_within, stream

OCCUPATIONS: Final = (
    "电工", "焊工", "养老护理员", "保育师", "家政服务员", "西式面点师", "中式烹调师", "美容师",
    "育婴员", "保安员", "汽车维修工", "叉车司机", "电子商务师", "互联网营销师", "茶艺师", "健康照护师",
    "物业管理员", "公共营养师", "消防设施操作员", "劳动关系协调员", "网络与信息安全管理员", "园艺工",
    "架子工", "起重装卸机械操作工",
)  # fmt: skip


def make_courses(seed: int, platform: Platform) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Courses and lessons of ``platform``.

    Returns ``(courses, lessons)``: courses with platform_id, course_id, occupation, skill_level, course_s
    (media seconds), n_lessons and
    n_video (those that play as video); lessons with the contract's columns. No occupation is taught twice in the
    province, so that nobody claims one level of one occupation twice by chance.
    """
    rng = stream(seed, f"courses/{platform.platform_id}")
    place = [p.platform_id for p in PLATFORMS].index(platform.platform_id)
    mine = OCCUPATIONS[place :: len(PLATFORMS)]
    n_courses = int(rng.integers(4, min(8, len(mine)) + 1))
    n_lessons = rng.integers(6, 13, size=n_courses).astype(np.int64)
    course = np.repeat(np.arange(n_courses), n_lessons)
    seq = positions_within(n_lessons) + 1
    kinds = rng.choice(list(platform.kinds), p=list(platform.kinds.values()), size=course.size)
    # Every course opens with two videos: no course is made of texts alone.
    kinds = np.where(seq <= 2, "video", kinds)
    minutes = np.where(np.isin(kinds, ("reading", "exercise")), rng.integers(10, 21, course.size), 0)
    seconds = np.where(minutes > 0, minutes * 60, rng.integers(660, 2401, course.size))
    rates = np.array(platform.max_rates)[np.arange(n_courses) % len(platform.max_rates)]
    # Some platforms know no kind "audio" and say so in the title only.
    is_marked = (kinds == "audio") & (rng.random(course.size) < 0.4)
    lessons = (
        pl.DataFrame(
            {
                "course": course,
                "seq": seq,
                "kind": np.where(is_marked, "video", kinds),
                "duration_s": seconds.astype(np.int64),
                "max_rate": rates[course],
                "is_audio": kinds == "audio",
            }
        )
        .with_columns(
            platform_id=pl.lit(platform.platform_id),
            course_id=pl.format("{}-c{}", pl.lit(platform.account_prefix), pl.col("course") + 1),
            occupation=pl.Series([mine[c] for c in range(n_courses)]).gather(pl.Series(course)),
            skill_level=pl.Series(np.array([5, 4, 3])[np.arange(n_courses) % 3][course]),
        )
        .with_columns(
            lesson_id=pl.format("{}-l{}", "course_id", pl.col("seq").cast(pl.String).str.zfill(2)),
            title=pl.format(
                "{}第{}讲{}",
                "occupation",
                "seq",
                pl.when("is_audio").then(pl.lit("（音频）")).otherwise(pl.lit("")),
            ),
        )
    )
    courses = lessons.group_by("platform_id", "course_id", "occupation", "skill_level", maintain_order=True).agg(
        course_s=pl.col("duration_s").sum(),
        n_lessons=pl.len().cast(pl.Int64),
        n_video=((pl.col("kind") == "video") & ~pl.col("is_audio")).sum().cast(pl.Int64),
    )
    return courses, lessons.select(
        "platform_id", "course_id", "lesson_id", "seq", "kind", "duration_s", "max_rate", "title", "is_audio"
    )
