"""The figures of the page, as data for plotly.js: ratios, throughput, latency and its parts, memory, scaling.

A colour is a name like "@c3", which the page's script replaces by one of its theme.
"""

import math

from oarlock.compare.metrics import METRICS
from oarlock.compare.terminal import number
from oarlock.compare.words import Data, escape, rows_of

PARTS = {
    "queue": ("waiting for its turn", "@c7"),
    "gil": ("for the interpreter", "@c5"),
    "gc": ("collections", "@c3"),
    "handler": ("handler", "@c2"),
    "write": ("on the way back", "@c6"),
}
PERCENTILES = {"p50": "50 %", "p90": "90 %", "p99": "99 %", "p999": "99.9 %"}


def _colours(data: Data) -> dict[str, str]:
    return {d["name"]: f"@c{i % 8}" for i, d in enumerate(data["deployments"])}


def _errors(figures: list[Data], colour: str = "@ink", at: str = "value") -> Data:
    """The bars of intervals, which are not symmetric: ratios and rates are averaged as logarithms."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [f["high"] - f[at] for f in figures],
        "arrayminus": [f[at] - f["low"] for f in figures],
        "thickness": 1.5,
        "width": 3,
        "color": colour,
    }


def _forest_traces(data: Data, place: dict[str, int]) -> list[Data]:
    colours = _colours(data)
    several = max(1, len(data["deployments"]) - 1)
    traces = []
    for i, d in enumerate(data["deployments"][1:]):
        found = [v for v in data["verdicts"] if v["deployment"] == d["name"] and v["ratio"]]
        offset = (i - (several - 1) / 2) * 0.7 / several
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": d["name"],
                "x": [v["ratio"] for v in found],
                "y": [place[f"{v['scenario']}: {METRICS[v['metric']].title}"] - offset for v in found],
                "error_x": _errors(found, colours[d["name"]], "ratio"),
                "marker": {"color": colours[d["name"]], "size": 8},
                "text": [
                    f"{escape(v['scenario'])}, {METRICS[v['metric']].title}<br>{v['ratio']:.3f} [{v['low']:.3f}, {v['high']:.3f}]: {v['verdict']}"
                    for v in found
                ],
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            }
        )
    return traces


def _ratio_axis(data: Data) -> Data:
    """Logarithmic, from a tenth to ten at most."""
    known = [v for v in data["verdicts"] if v["ratio"]]
    low = max(0.1, min([0.8, *(v["low"] for v in known)]))
    high = min(10.0, max([1.25, *(v["high"] for v in known)]))
    ticks = [
        t
        for t in (0.1, 0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 7, 10)
        if low * 0.9 <= t <= high * 1.1
    ]
    return {
        "type": "log",
        "range": [math.log10(low * 0.93), math.log10(high * 1.07)],
        "tickvals": ticks,
        "ticktext": [f"{t:g}" for t in ticks],
        "title": {"text": f"ratio to {escape(data['deployments'][0]['name'])}"},
    }


# The band that counts as equal, and the line of no difference.
EQUAL = [
    {
        "type": "rect",
        "yref": "paper",
        "x0": 1 / 1.03,
        "x1": 1.03,
        "y0": 0,
        "y1": 1,
        "fillcolor": "@band",
        "line": {"width": 0},
        "layer": "below",
    },
    {
        "type": "line",
        "yref": "paper",
        "x0": 1,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "line": {"color": "@soft", "width": 1, "dash": "dot"},
        "layer": "below",
    },
]


def _forest(data: Data) -> Data:
    """Ratios with intervals: a row for each scenario and metric, a colour for each deployment."""
    rows: list[str] = []
    for s in data["scenarios"]:
        rows += [f"{s['name']}: {METRICS[m].title}" for m in data["plan"]["metrics"]]
    place = {name: i for i, name in enumerate(reversed(rows))}
    layout = {
        "height": 90 + 34 * max(2, len(rows)),
        "margin": {"l": 10, "r": 10, "t": 10, "b": 40},
        "xaxis": _ratio_axis(data),
        "yaxis": {
            "tickvals": list(place.values()),
            "ticktext": [escape(k) for k in place],
            "range": [-0.6, len(rows) - 0.4],
            "zeroline": False,
        },
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "showlegend": True,
        "shapes": EQUAL,
    }
    return {"id": "forest", "title": "", "parent": "", "data": _forest_traces(data, place), "layout": layout}


def _throughput(data: Data) -> list[Data]:
    colours = _colours(data)
    found = []
    for s in data["scenarios"]:
        rows = [r for r in rows_of(data, s["name"]) if "throughput" in r["figures"]]
        if not rows:
            continue
        traces = []
        for r in reversed(rows):
            f = r["figures"]["throughput"]
            label = ("at least " if r["at_least"] else "") + number(f["value"])
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": r["deployment"],
                    "y": [r["deployment"]],
                    "x": [f["value"]],
                    "error_x": _errors([f]),
                    "marker": {"color": colours[r["deployment"]]},
                    "text": [label],
                    "textposition": "inside",
                    "insidetextanchor": "start",
                    "textfont": {"color": "@card"},
                    "hovertemplate": f"{label} [{number(f['low'])}, {number(f['high'])}]<extra>{escape(r['deployment'])}</extra>",
                }
            )
        layout = {
            "height": 80 + 38 * len(rows),
            "margin": {"l": 10, "r": 16, "t": 6, "b": 36},
            "showlegend": False,
            "bargap": 0.3,
            "xaxis": {"title": {"text": "requests/s"}, "rangemode": "tozero"},
        }
        found.append(
            {
                "id": f"t-{s['name']}",
                "parent": "throughput",
                "title": s["name"],
                "note": s["about"],
                "data": traces,
                "layout": layout,
            }
        )
    return found


def _latency_traces(rows: list[Data]) -> tuple[list[Data], int]:
    """A bar for each percentile of each deployment, divided into parts; and how many bars."""
    names, rests = [], []
    values: dict[str, list[float]] = {p: [] for p in PARTS}
    for r in reversed(rows):
        for key, text in reversed(PERCENTILES.items()):
            f = r["figures"].get(f"{key}_us")
            if not f:
                continue
            names.append([r["deployment"], text])
            parts = r["parts"].get(key)
            total = sum(parts.values()) if parts else 0.0
            for p in PARTS:  # scaled, so that the bar is as long as the percentile is high
                values[p].append(parts[p] / total * f["value"] / 1000 if parts and total else 0.0)
            rests.append(0.0 if parts and total else f["value"] / 1000)
    axis = [[n[0] for n in names], [n[1] for n in names]]
    traces: list[Data] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": text,
            "y": axis,
            "x": [round(v, 4) for v in values[p]],
            "marker": {"color": colour},
            "hovertemplate": f"{text}: %{{x:.3f}} ms<extra>%{{y}}</extra>",
        }
        for p, (text, colour) in PARTS.items()
    ]
    if any(rests):
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": "not divided",
                "y": axis,
                "x": rests,
                "marker": {"color": "@mid"},
            }
        )
    return traces, len(names)


def _latency(data: Data) -> list[Data]:
    found = []
    for s in data["scenarios"]:
        rows = [r for r in rows_of(data, s["name"]) if "p50_us" in r["figures"]]
        if not rows:
            continue
        traces, bars = _latency_traces(rows)
        layout = {
            "barmode": "stack",
            "height": 140 + 22 * bars,
            "margin": {"l": 10, "r": 16, "t": 6, "b": 36},
            "xaxis": {"title": {"text": "ms"}, "rangemode": "tozero"},
            "yaxis": {"type": "multicategory", "tickfont": {"size": 11}},
            "legend": {
                "orientation": "h",
                "y": 1.02,
                "yanchor": "bottom",
                "x": 0,
                "font": {"size": 11},
                "traceorder": "normal",
            },
        }
        rate = f"{number(s['rate'])} requests/s" if s["rate"] else ""
        found.append(
            {
                "id": f"l-{s['name']}",
                "parent": "latency",
                "title": s["name"],
                "note": rate,
                "data": traces,
                "layout": layout,
            }
        )
    return found


def _memory(data: Data) -> list[Data]:
    colours = _colours(data)
    found = []
    for s in data["scenarios"]:
        rows = [r for r in rows_of(data, s["name"]) if "pss_mib" in r["figures"] and "throughput" in r["figures"]]
        if not rows:
            continue
        traces = []
        for r in rows:
            x, y = r["figures"]["pss_mib"], r["figures"]["throughput"]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers+text",
                    "name": r["deployment"],
                    "x": [x["value"]],
                    "y": [y["value"]],
                    "error_x": _errors([x]),
                    "error_y": _errors([y]),
                    "text": [r["deployment"]],
                    "textposition": "middle right",
                    "marker": {"color": colours[r["deployment"]], "size": 11},
                    "hovertemplate": f"{number(x['value'])} MiB, {number(y['value'])} requests/s<extra>{escape(r['deployment'])}</extra>",
                }
            )
        most = max(r["figures"]["throughput"]["high"] for r in rows)
        widest = max(r["figures"]["pss_mib"]["high"] for r in rows)
        layout = {
            "height": 300,
            "margin": {"l": 10, "r": 20, "t": 6, "b": 36},
            "showlegend": False,
            "xaxis": {"title": {"text": "PSS, MiB"}, "range": [0, widest * 1.3]},
            "yaxis": {"title": {"text": "requests/s"}, "range": [0, most * 1.2]},
        }
        found.append(
            {
                "id": f"m-{s['name']}",
                "parent": "memory",
                "title": s["name"],
                "note": "",
                "data": traces,
                "layout": layout,
            }
        )
    return found


def _scaling(data: Data) -> list[Data]:
    """Throughput against N: points, and the fitted law where there are five of them."""
    kinds = {"gil": ("GIL", "@c0"), "ft": ("FT", "@c1")}
    size = {d["name"]: (d["kind"], d["workers"] * d["threads"]) for d in data["deployments"]}
    found = []
    for s in data["scenarios"]:
        traces: list[Data] = []
        for kind, (name, colour) in kinds.items():
            points = sorted(
                (size[r["deployment"]][1], r["figures"]["throughput"])
                for r in rows_of(data, s["name"])
                if size[r["deployment"]][0] == kind and "throughput" in r["figures"]
            )  # fmt: skip
            if len({n for n, _ in points}) < 2:
                continue
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": name,
                    "x": [n for n, _ in points],
                    "y": [f["value"] for _, f in points],
                    "error_y": _errors([f for _, f in points], colour),
                    "line": {"color": colour},
                }
            )
        note = ""
        for fit in (x for x in data["scaling"] if x["scenario"] == s["name"]):
            e = fit["standard_errors"]
            note += (
                f"{kinds[fit['kind']][0]}: contention {fit['contention']:.3f} (standard error {e[1]:.3f}), "
                f"coherence {fit['coherence']:.4f} ({e[2]:.4f}). "
            )
        if traces:
            layout = {
                "height": 300,
                "margin": {"l": 10, "r": 20, "t": 6, "b": 36},
                "xaxis": {"title": {"text": "workers x threads"}, "dtick": 1, "rangemode": "tozero"},
                "yaxis": {"title": {"text": "requests/s"}, "rangemode": "tozero"},
                "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
                "showlegend": True,
            }
            found.append(
                {
                    "id": f"s-{s['name']}",
                    "parent": "scaling",
                    "title": s["name"],
                    "note": note,
                    "data": traces,
                    "layout": layout,
                }
            )
    return found


def figures(data: Data) -> list[Data]:
    """All figures, in the order of the page; those of scaling have "scaling" for their parent."""
    return [_forest(data), *_throughput(data), *_latency(data), *_memory(data), *_scaling(data)]
