"""The result as a page: one file, with the plotting library (plotly.js) in it. The only door to plotly."""

import html
import json
import shlex
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from oarlock.compare.metrics import METRICS
from oarlock.compare.terminal import number, run_command

PARTS = {
    "queue": ("waiting for its turn", "@c7"),
    "gil": ("for the interpreter", "@c5"),
    "gc": ("collections", "@c3"),
    "handler": ("handler", "@c2"),
    "write": ("on the way back", "@c6"),
}
PERCENTILES = {"p50": "50 %", "p90": "90 %", "p99": "99 %", "p999": "99.9 %"}
Data = dict[str, Any]


def _e(text: object) -> str:
    return html.escape(str(text))


def _colours(data: Data) -> dict[str, str]:
    return {d["name"]: f"@c{i % 8}" for i, d in enumerate(data["deployments"])}


def _rows(data: Data, scenario: str) -> list[Data]:
    return [r for r in data["results"] if r["scenario"] == scenario and not r["failed"]]


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


# ---- figures ----------------------------------------------------------------------------------------


def _forest(data: Data) -> Data:
    """Ratios with intervals: a row for each scenario and metric, a colour for each deployment."""
    colours = _colours(data)
    traces = []
    rows: list[str] = []
    for s in data["scenarios"]:
        rows += [f"{s['name']}: {METRICS[m].title}" for m in data["plan"]["metrics"]]
    several = max(1, len(data["deployments"]) - 1)
    place = {name: i for i, name in enumerate(reversed(rows))}
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
                    f"{_e(v['scenario'])}, {METRICS[v['metric']].title}<br>{v['ratio']:.3f} [{v['low']:.3f}, {v['high']:.3f}]: {v['verdict']}"
                    for v in found
                ],
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            }
        )
    known = [v for v in data["verdicts"] if v["ratio"]]
    low = max(0.1, min([0.8, *(v["low"] for v in known)]))
    high = min(10.0, max([1.25, *(v["high"] for v in known)]))
    ticks = [
        t
        for t in (0.1, 0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 7, 10)
        if low * 0.9 <= t <= high * 1.1
    ]
    import math

    layout = {
        "height": 90 + 34 * max(2, len(rows)),
        "margin": {"l": 10, "r": 10, "t": 10, "b": 40},
        "xaxis": {
            "type": "log",
            "range": [math.log10(low * 0.93), math.log10(high * 1.07)],
            "tickvals": ticks,
            "ticktext": [f"{t:g}" for t in ticks],
            "title": {"text": f"ratio to {_e(data['deployments'][0]['name'])}"},
        },
        "yaxis": {
            "tickvals": list(place.values()),
            "ticktext": [_e(k) for k in place],
            "range": [-0.6, len(rows) - 0.4],
            "zeroline": False,
        },
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "showlegend": True,
        "shapes": [
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
        ],
    }
    return {"id": "forest", "title": "", "parent": "", "data": traces, "layout": layout}


def _throughput(data: Data) -> list[Data]:
    colours = _colours(data)
    found = []
    for s in data["scenarios"]:
        rows = [r for r in _rows(data, s["name"]) if "throughput" in r["figures"]]
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
                    "hovertemplate": f"{label} [{number(f['low'])}, {number(f['high'])}]<extra>{_e(r['deployment'])}</extra>",
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


def _latency(data: Data) -> list[Data]:
    found = []
    for s in data["scenarios"]:
        rows = [r for r in _rows(data, s["name"]) if "p50_us" in r["figures"]]
        if not rows:
            continue
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
        layout = {
            "barmode": "stack",
            "height": 140 + 22 * len(names),
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
        rows = [r for r in _rows(data, s["name"]) if "pss_mib" in r["figures"] and "throughput" in r["figures"]]
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
                    "hovertemplate": f"{number(x['value'])} MiB, {number(y['value'])} requests/s<extra>{_e(r['deployment'])}</extra>",
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
                for r in _rows(data, s["name"])
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


# ---- words and tables --------------------------------------------------------------------------------


def _recommendation(data: Data) -> str:
    r = data["recommendation"]
    reasons = "".join(f"<li>{_e(x)}</li>" for x in r["reasons"])
    if not r["choice"]:
        return f"<p>Recommendation: <strong>none</strong></p><ul>{reasons}</ul>"
    d = next(d for d in data["deployments"] if d["name"] == r["choice"])
    return (
        f'<p class="soft">Recommendation, {_e(r["confidence"])} confidence</p><p><strong class="name">{_e(r["choice"])}</strong></p>'
        f"<pre>{_e(run_command(data, d['flags']))}</pre><ul>{reasons}</ul>"
    )


def _chip(v: Data) -> str:
    if v["verdict"] == "different":
        kind = "better" if v["better"] else "worse"
        return f'<span class="chip {kind}">{(v["ratio"] - 1) * 100:+.0f} % {kind}</span>'
    more = ""
    if v["verdict"] == "undecided" and v["rounds_needed"]:
        more = f' title="about {v["rounds_needed"]} rounds would be needed"'
    return f'<span class="chip {v["verdict"]}"{more}>{v["verdict"]}</span>'


def _tables(data: Data) -> str:
    verdicts = {(v["scenario"], v["deployment"], v["metric"]): v for v in data["verdicts"]}
    parts = []
    for s in data["scenarios"]:
        head = "".join(f"<th>{METRICS[m].unit}</th>" for m in METRICS) + "<th>start-up s</th><th>errors</th>"
        body = []
        for r in (r for r in data["results"] if r["scenario"] == s["name"]):
            if r["failed"]:
                body.append(
                    f'<tr><td>{_e(r["deployment"])}</td><td colspan="7" style="text-align:left">failed: {_e(r["failed"][:400])}</td></tr>'
                )
                continue
            cells = []
            for m in METRICS:
                f = r["figures"].get(m)
                if not f:
                    cells.append("<td>-</td>")
                    continue
                least = "at least " if m == "throughput" and r["at_least"] else ""
                v = verdicts.get((s["name"], r["deployment"], m))
                cells.append(
                    f"<td>{least}{number(f['value'])}<small>{number(f['low'])} to {number(f['high'])}</small>{_chip(v) if v else ''}</td>"
                )
            start = r["figures"].get("startup_s")
            cells.append(
                f"<td>{number(start['value']) if start else '-'}</td><td>{r['errors']} of {r['requests']:,}</td>"
            )
            mark = " <small>an extension turned the GIL on</small>" if r["gil_on"] else ""
            body.append(f"<tr><td>{_e(r['deployment'])}{mark}</td>{''.join(cells)}</tr>")
        about = f"{_e(s['about'])}; " if s["about"] else ""
        parts.append(
            f'<div class="card scroll"><h3>{_e(s["name"])}</h3><p class="note">{about}{s["connections"]} connections</p>'
            f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{_inner(data, s['name'])}</div>"
        )
    return "".join(parts)


def _inner(data: Data, scenario: str) -> str:
    """What explains the figures: counters, folded away."""
    columns = {
        "acquisitions": "interpreter taken, per request",
        "acquisition_us": "waited for it, us per request",
        "gc_ms_per_s": "collections, ms per s",
        "switches": "context switches per request",
        "pss_idle_mib": "PSS before load, MiB",
        "pss_per_worker_mib": "per worker",
        "pss_per_thread_mib": "per thread",
        "pss_per_krps_mib": "per 1,000 requests/s",
        "private_mib": "private MiB",
        "growth_kib": "PSS growth, KiB per 1,000 requests",
        "server": "of the server's cores",
        "generator": "of the generator's core",
    }
    rows = _rows(data, scenario)
    body = "".join(
        f"<tr><td>{_e(r['deployment'])}</td>"
        + "".join(f"<td>{number(f['value']) if (f := r['figures'].get(c)) else '-'}</td>" for c in columns)
        + f"<td>{number(r['imbalance']) if r['imbalance'] else '-'}</td></tr>"
        for r in rows
    )
    head = "".join(f"<th style='white-space:normal'>{_e(text)}</th>" for text in columns.values())
    return (
        "<details><summary class='soft'>counters</summary><table><thead><tr><th></th>"
        f"{head}<th style='white-space:normal'>busiest thread's connections / mean</th></tr></thead><tbody>{body}</tbody></table></details>"
    )


def _how(data: Data) -> str:
    m, p = data["machine"], data["plan"]
    rows = {
        "rounds": f"{p['rounds']} in {p['seconds']:.0f} s; fresh servers in each, in random order, measured in turn in short slices",
        "verdicts": f"for {', '.join(METRICS[x].title for x in p['metrics'])}; looked at after {', '.join(map(str, p['looks']))} rounds at most",
        "cores": f"server {p['server_cores']}, load generator {p['load_cores']}"
        + (" (they share!)" if p["shared_cores"] else ""),
        "load generator": f"{g['cpu_us']:.2f} us of CPU a request, so at most {number(g['requests_per_second'])} requests/s"
        if (g := p["generator"])
        else "not measured",
        "machine": f"{m['cpu']}, {m['cores']} cores, {m['memory_mib']:,} MiB, {m['system']}, Linux {m['kernel']}",
        "cgroup": m["cgroup"],
        "command": shlex.join(data["command"]),
        "when": data["when"],
    }
    return "<dl>" + "".join(f"<dt>{_e(k)}</dt><dd>{_e(v)}</dd>" for k, v in rows.items()) + "</dl>"


def _deployments(data: Data) -> str:
    body = "".join(
        f"<tr><td>{_e(d['name'])}</td><td style='text-align:left;white-space:normal'>{_e(d['words'])}</td>"
        f"<td style='text-align:left;white-space:normal'><code>{_e(d['flags'])}</code></td></tr>"
        for d in data["deployments"]
    )
    return (
        "<table><thead><tr><th></th><th style='text-align:left'>interpreter</th><th style='text-align:left'>flags</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def render(data: Data) -> str:
    """The whole page."""
    template = Template((Path(__file__).parent / "page.html").read_text())
    scaling = _scaling(data)
    figures = [_forest(data), *_throughput(data), *_latency(data), *_memory(data), *scaling]
    banner = "UNLIKE BUILDS - " if any(w.startswith("UNLIKE BUILDS") for w in data["warnings"]) else ""
    warnings = "".join(f"<p>{_e(w)}</p>" for w in data["warnings"])
    heading = f"{banner}{data['application']}: GIL or no GIL"
    return template.substitute(
        title=_e(f"{heading} - oarlock compare"),
        heading=_e(heading),
        subtitle=_e(
            f"{', '.join(d['name'] for d in data['deployments'])}; {data['when'][:10]}; {data['machine']['cores']} cores"
        ),
        warnings=f'<section class="warnings">{warnings}</section>' if warnings else "",
        recommendation=_recommendation(data),
        base=_e(data["deployments"][0]["name"]),
        tables=_tables(data),
        scaling='<h2>Scaling</h2><p class="note">Throughput against workers x threads. A fit of the universal scalability law '
        'needs five sizes.</p><div class="grid" id="scaling"></div>'
        if scaling
        else "",
        how=_how(data),
        deployments=_deployments(data),
        plotly=get_plotlyjs(),
        figures=json.dumps(figures).replace("</", "<\\/"),
    )
