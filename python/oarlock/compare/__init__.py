"""``oarlock compare``, ``tune`` and ``doctor``: which interpreter, how many workers and threads, answered by measuring.

The rooms, from the bottom: ``interpreters`` (what is compared), ``server`` (starting and accounting), ``load`` (the
generator), ``scenarios`` (what is asked), ``engine`` (rounds), ``stats`` (verdicts), ``result`` (JSON), then what people
see: ``terminal``, ``page``, ``recommend``. docs/compare.md says how it measures and how far to trust it.
"""
