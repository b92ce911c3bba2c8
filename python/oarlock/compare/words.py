"""What the page's tables and its figures share: a result's rows, and text made safe for HTML."""

import html
from typing import Any

Data = dict[str, Any]


def escape(text: object) -> str:
    return html.escape(str(text))


def rows_of(data: Data, scenario: str) -> list[Data]:
    """Of the deployments that could be measured."""
    return [r for r in data["results"] if r["scenario"] == scenario and not r["failed"]]
