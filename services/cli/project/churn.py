"""Invented customers for the first model of a project: always the same, and with something to learn."""

import csv
import io
import math
import random

ROWS = 1_000
COLUMNS = ("age", "plan", "tenure_months", "churned")
PLANS = {"basic": 1.2, "silver": 0.0, "gold": -1.2}
"""By plan: how much more likely customers are to leave, in log-odds."""
MISSING = 0.02
"""Share of ages that are not known."""


def make_csv() -> str:
    """Customers as CSV. Those who are new, young, or on a small plan leave more often."""
    generator, out = random.Random(7), io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for _ in range(ROWS):
        writer.writerow(make_row(generator))
    return out.getvalue()


def make_row(generator: random.Random) -> tuple[int | str, str, int, str]:
    age, plan = generator.randint(18, 80), generator.choice(list(PLANS))
    tenure_months = min(int(generator.expovariate(1 / 24)), 120)
    log_odds = 2.5 + 1.5 * PLANS[plan] - 0.12 * tenure_months - 0.03 * (age - 45)
    churned = generator.random() < 1 / (1 + math.exp(-log_odds))
    known_age: int | str = "" if generator.random() < MISSING else age
    return known_age, plan, tenure_months, "yes" if churned else "no"
