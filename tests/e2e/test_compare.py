"""`oarlock compare` and `oarlock tune`, run for real but short; what they say, write and refuse."""

import contextlib
import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from conftest import BINARY, ROOT, clean_environment
from oarlock.compare import options, page, recommend, result, scenarios, server, terminal
from oarlock.compare.interpreters import CompareError

SCHEMA = json.loads((ROOT / "docs" / "compare.schema.json").read_text())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "oarlock", *arguments]


def environment() -> dict[str, str]:
    return clean_environment() | {"PYTHONPATH": str(ROOT / "python")}


def tool(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, env=environment(), cwd=cwd
    )  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """One real comparison, six rounds."""
    out = tmp_path_factory.mktemp("compare")
    done = tool(
        "compare", "--scenario", "quick-json", "--deploy", "gil:1x1", "--deploy", "ft:1x1", "--rounds", "6",
        "--server-cores", str(min(os.sched_getaffinity(0))), "--output", str(out), "--server-option=--pool-queue=1017",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out, json.loads((out / "result.json").read_text()), done


def test_the_json_is_as_the_schema_says(run):
    jsonschema.validate(run[1], SCHEMA)


def test_every_figure_is_there(run):
    for row in run[1]["results"]:
        assert row["errors"] == 0
        assert row["requests"] > 1000
        for name in (
            "throughput",
            "cpu_us",
            "p50_us",
            "p99_us",
            "pss_mib",
            "private_mib",
            "startup_s",
            "acquisitions",
            "switches",
            "generator",
        ):
            f = row["figures"][name]
            assert f["low"] <= f["value"] <= f["high"]
            assert len(f["rounds"]) == 6
        for percentile in ("p50", "p99"):
            assert set(row["parts"][percentile]) == {"queue", "gil", "gc", "handler", "write"}
            total, whole = sum(row["parts"][percentile].values()), row["figures"][f"{percentile}_us"]["value"]
            assert 0.3 * whole < total < 3 * whole


def test_both_interpreters_are_described(run):
    gil, ft = run[1]["deployments"]
    assert (gil["interpreter"]["free_threaded"], ft["interpreter"]["free_threaded"]) == (False, True)
    assert gil["interpreter"]["version"] == ft["interpreter"]["version"]
    assert "with the GIL" in gil["words"]
    assert "free-threaded" in ft["words"]


def test_the_page_needs_nothing_else(run):
    text = (run[0] / "report.html").read_text()
    outside = re.findall(r'(?:src|href)="(?!#)([^"]*)"', text.partition("<script>")[0])
    assert outside == []
    assert "Plotly" in text
    figures = json.loads(text.rpartition('id="figures">')[2].partition("</script>")[0])
    assert {f["id"].partition("-")[0] for f in figures} >= {"forest", "t", "l", "m"}


def test_the_terminal_says_what_the_json_says(run):
    _, data, done = run
    choice = data["recommendation"]["choice"]
    assert (f"Recommendation: {choice}" if choice else "Recommendation: none") in done.stdout
    assert terminal.number(data["results"][0]["figures"]["throughput"]["value"]) in done.stdout


def left_with(argument: bytes) -> list[Path]:
    """Processes that have this argument."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument in entry.read_bytes().split(b"\0"):
                found.append(entry)
    return found


def test_no_process_is_left(run):
    assert left_with(b"--pool-queue=1017") == []


# ---- baselines -------------------------------------------------------------------------------------


def faster(data: dict, factor: float) -> dict:
    changed = copy.deepcopy(data)
    for row in changed["results"]:
        for key in ("value", "low", "high"):
            row["figures"]["throughput"][key] *= factor
    return changed


def test_a_run_is_no_regression_against_itself(run):
    assert result.regressions(run[1], run[1]) == []


def test_a_faster_baseline_is_a_regression(run):
    found = result.regressions(run[1], faster(run[1], 3))
    assert len(found) == 2
    assert "throughput" in found[0]
    assert "-66.7 %" in found[0]
    assert result.regressions(run[1], faster(run[1], 0.3)) == []


def test_a_baseline_of_another_machine_is_refused(run):
    other = copy.deepcopy(run[1])
    other["machine"]["cores"] = 1000
    with pytest.raises(CompareError, match="another machine"):
        result.regressions(run[1], other)


def test_a_baseline_that_is_none(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    done = tool("compare", "--baseline", str(tmp_path / "x.json"))
    assert done.returncode == 1
    assert "is not a result of `oarlock compare`" in done.stderr


# ---- the recommendation, from made-up verdicts --------------------------------------------------------


def made_up(run, **verdicts) -> dict:
    """The run's data with other verdicts: metric -> (verdict, ratio, better)."""
    data = copy.deepcopy(run[1])
    data["warnings"], data["plan"]["shared_cores"] = [], False
    for v in data["verdicts"]:
        verdict, ratio = verdicts.get(v["metric"], ("equal", 1.0))
        better = (ratio > 1) == (v["metric"] == "throughput")
        v |= {"verdict": verdict, "ratio": ratio, "low": ratio * 0.99, "high": ratio * 1.01, "better": better}
    for r in data["results"]:
        r |= {"failed": "", "errors": 0, "gil_on": ""}
    return data


def test_less_memory_at_equal_throughput_is_chosen(run):
    r = recommend.recommend(made_up(run, pss_mib=("different", 0.39)))
    assert (r["choice"], r["confidence"]) == ("FT 1x1", "high")
    assert "throughput equal within 3 %" in r["reasons"][0]
    assert "61 % less memory" in r["reasons"][0]


def test_undecided_throughput_lowers_the_confidence(run):
    r = recommend.recommend(made_up(run, throughput=("undecided", 1.01), pss_mib=("different", 0.39)))
    assert r["confidence"] == "low"
    assert "undecided" in r["reasons"][0]


def test_lower_throughput_is_not_chosen(run):
    r = recommend.recommend(made_up(run, throughput=("different", 0.8), pss_mib=("different", 0.39)))
    assert r["choice"] == "GIL 1x1"


def decided_by(run, *metrics: str, ratios: dict[str, float]) -> dict:
    """The run's data with these headline metrics, and two deployments that are better than the first by these ratios."""
    data = made_up(run)
    data["plan"]["metrics"] = list(metrics)
    data["deployments"] += [{**data["deployments"][1], "name": name} for name in ratios if name != "FT 1x1"]
    row = {"scenario": "quick-json", "against": "GIL 1x1", "verdict": "different", "better": True, "rounds": 6}
    data["verdicts"] = [
        {**row, "deployment": name, "metric": m, "ratio": r, "low": r * 0.99, "high": r * 1.01}
        for name, r in ratios.items()
        for m in metrics
    ]
    return data


def test_the_best_of_two_by_a_metric_of_which_less_is_better(run):
    r = recommend.recommend(decided_by(run, "cpu_us", ratios={"FT 1x1": 0.5, "FT 1x2": 0.8}))
    assert r["choice"] == "FT 1x1"
    assert "lowest CPU per request" in r["reasons"][-1]


@pytest.mark.parametrize("metric", ["p50_us", "p99_us", "pss_mib"])
def test_any_headline_metric_alone_can_be_told(run, metric):
    data = decided_by(run, metric, ratios={"FT 1x1": 0.5})
    assert recommend.recommend(data)["choice"] == "FT 1x1"


def test_what_turned_the_gil_on_is_left_out(run):
    data = made_up(run, throughput=("different", 2.0))
    data["results"][1]["gil_on"] = "the extension module numbers (x.so) turned the GIL on: it does not ..."
    r = recommend.recommend(data)
    assert r["choice"] == "GIL 1x1"
    assert "numbers turns the GIL on" in r["reasons"][0]


def test_wrong_answers_are_left_out(run):
    data = made_up(run, throughput=("different", 2.0))
    data["results"][1]["errors"] = data["results"][1]["requests"]
    assert recommend.recommend(data)["choice"] == "GIL 1x1"


def test_unlike_builds_are_in_the_title_and_the_recommendation(run):
    data = made_up(run, throughput=("different", 2.0))
    data["warnings"] = ["UNLIKE BUILDS: the interpreters differ in more than the GIL: pgo True against False"]
    data["recommendation"] = recommend.recommend(data)
    assert data["recommendation"]["confidence"] == "moderate"
    assert any("unlike builds" in x for x in data["recommendation"]["reasons"])
    assert "<title>UNLIKE BUILDS" in page.render(data)


# ---- scenarios ---------------------------------------------------------------------------------------


def test_scenarios_are_written_from_the_routes_and_read_again(tmp_path):
    file = tmp_path / "s.toml"
    done = tool("compare", "hello:app", "--app-dir", "examples", "--write-scenarios", str(file))
    assert done.returncode == 0, done.stderr
    found = scenarios.read(file)
    assert any(r.path.startswith("/items/") for s in found for r in s.requests)
    assert all(s.connections == 50 for s in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no [[scenario]]"),
        ('[[scenario]]\nname = "a"', "has no [[scenario.request]]"),
        ('[[scenario]]\nname = "a"\nconections = 4', "unknown key 'conections'"),
        (
            '[[scenario]]\nname = "a"\nconnections = 0\n[[scenario.request]]\npath = "/"',
            "connections must be 1 to 16384",
        ),
        ('[[scenario]]\nname = "a"\n[[scenario.request]]\npath = "x"', "path must be text that begins with '/'"),
        ('[[scenario]]\nname = "a"\n[[scenario.request]]\npath = "/"\nweight = 0', "weight must be a whole number"),
        ("[[scenario", "Expected"),
    ],
)
def test_mistakes_in_a_scenario_file(tmp_path, text, message):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(CompareError, match=re.escape(message)):
        scenarios.read(tmp_path / "s.toml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "none"], "there is no scenario 'none'"),
        (["--deploy", "gil:2"], "say it like gil:4x1"),
        (["--deploy", "gil:1x1"], "two deployments are needed"),
        (["--server-cores", "999"], "core 999 is not among"),
        (["--decide", "speed"], "unknown metric 'speed'"),
        (["--gil-python", "/nowhere/python"], "can't be run"),
        (["--ft-python", sys.executable], "name an interpreter free-threaded"),
        (["--rounds", "3"], "need at least 6"),
        (["no_such_module:app", "--app-dir", "."], "there is no module 'no_such_module'"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message):
    done = tool("compare", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [("400", 400), ("90s", 90), ("7m", 420), ("1500ms", 1.5), ("0.5", 0.5), ("1.5m", 90), ("1h", 3600)],
)
def test_durations_are_as_the_servers_options_have_them(text, value):
    assert options.seconds(text) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time", "7 m"], "'7 m' is not a time like 250ms, 90s, 7m or 1h"),
        (["--time", "0"], "'0' is not a time"),
        (["--time", "nan"], "'nan' is not a time"),
        (["--gil", "allow"], "ambiguous option: --gil could match --gil-python, --gil-venv"),  # that of `oarlock run`
    ],
)
def test_usage(arguments, message):
    done = tool("compare", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_different_answers_are_seen(tmp_path):
    (tmp_path / "differs.py").write_text(
        "import sys\nfrom oarlock import App\n\napp = App()\n\n\n@app.get('/')\ndef index():\n"
        "    return {'gil': getattr(sys, '_is_gil_enabled', bool)()}\n"
    )
    done = tool(
        "compare", "differs:app", "--app-dir", str(tmp_path), "--time", "1", "--deploy", "gil:1x1", "--deploy", "ft:1x1",
        "--output", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "DIFFERENT BODIES: index" in done.stdout
    assert "TOO FEW ROUNDS" in done.stdout
    assert "Recommendation: none" in done.stdout


@pytest.fixture
def heard():
    """SIGINT reaches what the test starts, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_reports_what_there_is(tmp_path, sig):
    process = subprocess.Popen(
        command("compare", "--scenario", "quick-json", "--deploy", "gil:1x1", "--deploy", "ft:1x1", "--server-option=--pool-queue=1019", "--output", str(tmp_path)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path,
    )  # fmt: skip
    try:
        for line in process.stderr:
            if "load generator" in line and "measuring" in line:
                break  # it is at work; what follows may be interrupted anywhere
        time.sleep(2)  # not for readiness: somewhere within a round, so that there are servers to stop
        process.send_signal(sig)
        out, _ = process.communicate(timeout=60)
    finally:
        process.terminate()
        process.wait(60)
    assert left_with(b"--pool-queue=1019") == []
    assert "INTERRUPTED after" in out
    jsonschema.validate(json.loads((tmp_path / "result.json").read_text()), SCHEMA)


# ---- accounting ---------------------------------------------------------------------------------------


def test_cpu_is_what_proc_says(serve, python):
    running = serve("hello:app", "--app-dir", "examples", "--python", python, "--workers", "1", "--threads", "1")
    pids = server.tree(running.pid)
    subprocess.run(
        [ROOT / "build/load", "--port", str(running.port), "--seconds", "1.5", "--path", "/"],
        check=True,
        capture_output=True,
    )
    clocks = sum(server._cpu_seconds(p) for p in pids)
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    assert clocks == pytest.approx(ticks / os.sysconf("SC_CLK_TCK"), rel=0.03, abs=0.03 * len(pids))


def test_the_scoreboard_is_read(serve, python):
    running = serve("hello:app", "--app-dir", "examples", "--python", python, "--workers", "1", "--threads", "2")
    for _ in range(5):
        running.get("/")
    slots = server.scoreboard(running.pid)
    assert len(slots) == 2
    assert sum(s.requests for s in slots) == 5
    assert sum(s.acquisitions for s in slots) >= 1
    assert not any(s.gil_on for s in slots)


# ---- tune ---------------------------------------------------------------------------------------------


def test_tune_finds_more_than_one_core(tmp_path):
    """A millisecond of Python a request: with two cores, one worker with the GIL can't be the best."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: every shape is as good")
    found = tmp_path / "found.json"
    done = tool("tune", "--scenario", "cpu-1ms", "--kinds", "gil", "--time", "20", "--json", str(found))
    assert done.returncode == 0, done.stdout + done.stderr
    ranking = json.loads(found.read_text())["ranking"]
    assert ranking[0]["name"] != "GIL 1x1"
    assert f"--workers {ranking[0]['name'].split()[1].partition('x')[0]}" in done.stdout


def test_tune_wants_a_rate_for_what_needs_one():
    done = tool("tune", "--target", "memory")
    assert done.returncode == 1
    assert "--target memory needs --rate" in done.stderr


# ---- from the server's executable ------------------------------------------------------------------------


def test_the_executable_becomes_the_tool_in_the_virtual_environment():
    env = clean_environment() | {"VIRTUAL_ENV": sys.prefix}
    done = subprocess.run([BINARY, "compare", "--help"], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--write-scenarios" in done.stdout


def test_without_the_libraries_it_says_what_to_install():
    done = subprocess.run([BINARY, "tune"], capture_output=True, text=True, env=clean_environment(), timeout=60)
    assert done.returncode == 1
    assert "needs the package" in done.stderr
    assert "pip install 'oarlock[compare]'" in done.stderr
    assert "for the other interpreter `pip install oarlock` is enough" in done.stderr


def test_a_virtual_environment_without_a_python(tmp_path):
    env = clean_environment() | {"VIRTUAL_ENV": str(tmp_path)}
    done = subprocess.run([BINARY, "doctor", "x:y"], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 1
    assert f"doctor: cannot run {tmp_path}/bin/python: No such file or directory" in done.stderr
