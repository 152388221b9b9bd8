"""Put durations and sizes in a few words, as people say them."""

from __future__ import annotations


def duration_in_words(seconds: float, *, measured: bool = False) -> str:
    """Return a duration as "40 s", "4 min", "3 h 20 min" or "2 d 3 h"; a measured one below 10 s as "4.8 s"."""
    if measured and seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def bytes_in_words(count: float) -> str:
    """Return a number of bytes as "640 kB", "4.2 MB" or "35 GB"."""
    units = ["kB", "MB", "GB", "TB"]
    value = count / 1000
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}" if value < 9.95 else f"{value:,.0f} {units[0]}"


def estimate_in_words(seconds: float | None, size: int | None) -> str:
    """Return "about 4 min, about 35 MB", without what is None; "" if both are."""
    known = [] if seconds is None else [f"about {duration_in_words(seconds)}"]
    known += [] if size is None else [f"about {bytes_in_words(size)}"]
    return ", ".join(known)
