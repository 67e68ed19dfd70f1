"""Features of dates, in TensorFlow operations that every server has."""

import math
from typing import Any

import tensorflow as tf

from modelyard.models.inputs import DATE_PATTERN

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MISSING = "is missing"
DATE_FEATURES = ("day", MISSING, "month sin", "month cos", "day of month", "hour sin", "hour cos", *WEEKDAYS)
_MINUTES_PER_DAY = 24 * 60
_THURSDAY = 3
"""1 January 1970, day 0."""


def encode_dates(texts: Any) -> Any:
    """ISO 8601 ``string [N]`` -> ``float32 [N,F]``; of what is no date all is NaN but that it is missing.

    Dates and times are taken as they are written; their zone is not looked at.
    """
    present = tf.strings.regex_full_match(texts, DATE_PATTERN)
    whole = tf.strings.substr(tf.strings.join([tf.where(present, texts, "1970-01-01"), "T00:00"]), 0, 16)
    year, month, day = _number(whole, 0, 4), _number(whole, 5, 2), _number(whole, 8, 2)
    minutes = _number(whole, 11, 2) * 60 + _number(whole, 14, 2)
    days = count_days(year, month, day)
    features = tf.stack(
        [
            tf.cast(days, tf.float32) + tf.cast(minutes, tf.float32) / _MINUTES_PER_DAY,
            tf.zeros_like(days, tf.float32),
            *_cycle(month - 1, 12),
            tf.cast(day, tf.float32),
            *_cycle(minutes, _MINUTES_PER_DAY),
        ],
        axis=1,
    )
    weekdays = tf.one_hot((days + _THURSDAY) % len(WEEKDAYS), len(WEEKDAYS))
    found = tf.concat([features, weekdays], axis=1)
    missing = tf.constant([1.0 if name == MISSING else math.nan for name in DATE_FEATURES])
    return tf.where(present[:, None], found, missing)


def count_days(year: Any, month: Any, day: Any) -> Any:
    """Days since 1 January 1970, ``int32 [N]`` (Hinnant, http://howardhinnant.github.io/date_algorithms.html)."""
    year = tf.where(month <= 2, year - 1, year)  # noqa: PLR2004  # a year that begins in March ends in its leap day
    era, of_era = year // 400, year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _number(texts: Any, start: int, length: int) -> Any:
    return tf.strings.to_number(tf.strings.substr(texts, start, length), tf.int32)


def _cycle(value: Any, period: int) -> tuple[Any, Any]:
    angle = tf.cast(value, tf.float32) * (2 * math.pi / period)
    return tf.sin(angle), tf.cos(angle)
