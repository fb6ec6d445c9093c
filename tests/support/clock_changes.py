"""Times of day in zones whose clocks change, and the instants at which a night is due."""

BERLIN, NEW_YORK, CAIRO, BEIRUT, APIA = (
    "Europe/Berlin",
    "America/New_York",
    "Africa/Cairo",
    "Asia/Beirut",
    "Pacific/Apia",
)
DRAWN_AT = [
    # zone, time of day, night, the instant it is due
    (BERLIN, "02:00", "2026-11-22", "2026-11-23T01:00Z"),
    # spring forward, 02:00 CET becomes 03:00 CEST at 01:00Z: 02:00 and 02:30 do not exist
    (BERLIN, "00:30", "2026-03-28", "2026-03-28T23:30Z"),
    (BERLIN, "02:00", "2026-03-28", "2026-03-29T01:00Z"),
    (BERLIN, "02:30", "2026-03-28", "2026-03-29T01:00Z"),
    (BERLIN, "03:00", "2026-03-28", "2026-03-29T01:00Z"),
    (BERLIN, "03:30", "2026-03-28", "2026-03-29T01:30Z"),
    (BERLIN, "02:30", "2026-03-29", "2026-03-30T00:30Z"),
    # fall back, 03:00 CEST becomes 02:00 CET at 01:00Z: 02:00 and 02:30 come twice, and the first counts
    (BERLIN, "00:30", "2026-10-24", "2026-10-24T22:30Z"),
    (BERLIN, "02:00", "2026-10-24", "2026-10-25T00:00Z"),
    (BERLIN, "02:30", "2026-10-24", "2026-10-25T00:30Z"),
    (BERLIN, "02:30", "2026-10-25", "2026-10-26T01:30Z"),
    (NEW_YORK, "00:30", "2026-03-07", "2026-03-08T05:30Z"),
    (NEW_YORK, "02:00", "2026-03-07", "2026-03-08T07:00Z"),
    (NEW_YORK, "02:30", "2026-03-07", "2026-03-08T07:00Z"),
    (NEW_YORK, "00:30", "2026-10-31", "2026-11-01T04:30Z"),
    (NEW_YORK, "01:30", "2026-10-31", "2026-11-01T05:30Z"),
    (NEW_YORK, "02:00", "2026-10-31", "2026-11-01T07:00Z"),
    (NEW_YORK, "02:30", "2026-10-31", "2026-11-01T07:30Z"),
    # midnight itself is jumped over: the day begins at 01:00
    (CAIRO, "00:00", "2026-04-23", "2026-04-23T22:00Z"),
    (CAIRO, "00:30", "2026-04-23", "2026-04-23T22:00Z"),
    (CAIRO, "02:00", "2026-04-23", "2026-04-23T23:00Z"),
    (BEIRUT, "00:30", "2022-03-26", "2022-03-26T22:00Z"),
    # the last hour of the day comes twice: the night is over after the second
    (CAIRO, "00:00", "2026-10-29", "2026-10-29T22:00Z"),
    (BEIRUT, "00:30", "2022-10-29", "2022-10-29T22:30Z"),
    # set back from 00:01 to 23:01: the new day begins twice
    ("America/St_Johns", "00:00", "2010-11-06", "2010-11-07T03:30Z"),
    ("America/St_Johns", "00:30", "2010-11-06", "2010-11-07T04:00Z"),
    # 30 December 2011 never was: the night before is due when the clock has jumped over it
    (APIA, "02:00", "2011-12-29", "2011-12-30T10:00Z"),
]
