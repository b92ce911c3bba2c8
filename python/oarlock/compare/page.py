"""The result as a page: one file, with the plotting library (plotly.js) in it. The only door to plotly."""

import json
import shlex
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from oarlock.compare.figures import figures
from oarlock.compare.metrics import METRICS
from oarlock.compare.terminal import number, run_command
from oarlock.compare.words import Data, escape, rows_of


def _recommendation(data: Data) -> str:
    r = data["recommendation"]
    reasons = "".join(f"<li>{escape(x)}</li>" for x in r["reasons"])
    if not r["choice"]:
        return f"<p>Recommendation: <strong>none</strong></p><ul>{reasons}</ul>"
    d = next(d for d in data["deployments"] if d["name"] == r["choice"])
    return (
        f'<p class="soft">Recommendation, {escape(r["confidence"])} confidence</p><p><strong class="name">{escape(r["choice"])}</strong></p>'
        f"<pre>{escape(run_command(data, d['flags']))}</pre><ul>{reasons}</ul>"
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
                    f'<tr><td>{escape(r["deployment"])}</td><td colspan="7" style="text-align:left">failed: {escape(r["failed"][:400])}</td></tr>'
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
            body.append(f"<tr><td>{escape(r['deployment'])}{mark}</td>{''.join(cells)}</tr>")
        about = f"{escape(s['about'])}; " if s["about"] else ""
        parts.append(
            f'<div class="card scroll"><h3>{escape(s["name"])}</h3><p class="note">{about}{s["connections"]} connections</p>'
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
    rows = rows_of(data, scenario)
    body = "".join(
        f"<tr><td>{escape(r['deployment'])}</td>"
        + "".join(f"<td>{number(f['value']) if (f := r['figures'].get(c)) else '-'}</td>" for c in columns)
        + f"<td>{number(r['imbalance']) if r['imbalance'] else '-'}</td></tr>"
        for r in rows
    )
    head = "".join(f"<th style='white-space:normal'>{escape(text)}</th>" for text in columns.values())
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
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items()) + "</dl>"


def _deployments(data: Data) -> str:
    body = "".join(
        f"<tr><td>{escape(d['name'])}</td><td style='text-align:left;white-space:normal'>{escape(d['words'])}</td>"
        f"<td style='text-align:left;white-space:normal'><code>{escape(d['flags'])}</code></td></tr>"
        for d in data["deployments"]
    )
    return (
        "<table><thead><tr><th></th><th style='text-align:left'>interpreter</th><th style='text-align:left'>flags</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def render(data: Data) -> str:
    """The whole page."""
    template = Template((Path(__file__).parent / "page.html").read_text())
    charts = figures(data)
    banner = "UNLIKE BUILDS - " if any(w.startswith("UNLIKE BUILDS") for w in data["warnings"]) else ""
    warnings = "".join(f"<p>{escape(w)}</p>" for w in data["warnings"])
    heading = f"{banner}{data['application']}: GIL or no GIL"
    return template.substitute(
        title=escape(f"{heading} - oarlock compare"),
        heading=escape(heading),
        subtitle=escape(
            f"{', '.join(d['name'] for d in data['deployments'])}; {data['when'][:10]}; {data['machine']['cores']} cores"
        ),
        warnings=f'<section class="warnings">{warnings}</section>' if warnings else "",
        recommendation=_recommendation(data),
        base=escape(data["deployments"][0]["name"]),
        tables=_tables(data),
        scaling='<h2>Scaling</h2><p class="note">Throughput against workers x threads. A fit of the universal scalability law '
        'needs five sizes.</p><div class="grid" id="scaling"></div>'
        if any(chart["parent"] == "scaling" for chart in charts)
        else "",
        how=_how(data),
        deployments=_deployments(data),
        plotly=get_plotlyjs(),
        figures=json.dumps(charts).replace("</", "<\\/"),
    )
