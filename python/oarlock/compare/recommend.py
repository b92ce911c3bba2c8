"""What to deploy, in plain words, from verdicts only: never more certain than the data."""

from typing import Any

from oarlock.compare.metrics import METRICS


def _change(v: dict[str, Any]) -> str:
    """ "61 % less memory [59-63 %]" """
    m = METRICS[v["metric"]]
    low, high = sorted(abs(1 - x) * 100 for x in (v["low"], v["high"]))
    size = abs(1 - v["ratio"]) * 100
    word = m.more if v["ratio"] > 1 else m.less
    return f"{size:.0f} % {word} {m.words} [{low:.0f}-{high:.0f} %]"


def _times(n: int, of: int) -> str:
    return "" if of == 1 else f" in {n} of {of} scenarios" if n < of else f" in all {of} scenarios"


def _by(data: dict[str, Any], name: str, metric: str) -> list[dict[str, Any]]:
    return [v for v in data["verdicts"] if v["deployment"] == name and v["metric"] == metric]


def _standing(data: dict[str, Any], name: str, metric: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"better": [], "worse": [], "equal": [], "undecided": []}
    for v in _by(data, name, metric):
        key = ("better" if v["better"] else "worse") if v["verdict"] == "different" else v["verdict"]
        found[key].append(v)
    return found


def _sentence(data: dict[str, Any], name: str) -> str:
    """How a deployment stands against the first."""
    parts = []
    for metric in data["plan"]["metrics"]:
        s = _standing(data, name, metric)
        total = sum(len(x) for x in s.values())
        if not total:
            continue
        words = []
        for key in ("better", "worse"):
            if s[key]:
                shown = max(s[key], key=lambda v: abs(v["ratio"] - 1))
                where = f" in {shown['scenario']}" if total > 1 else ""
                others = (
                    f", and {len(s[key]) - 1} more scenario{'s' * (len(s[key]) > 2)} {key}" if len(s[key]) > 1 else ""
                )
                words.append(f"{_change(shown)}{where}{others}")
        if s["equal"]:
            words.append(f"{METRICS[metric].words} equal within 3 %{_times(len(s['equal']), total)}")
        if s["undecided"]:
            words.append(f"{METRICS[metric].words} undecided{_times(len(s['undecided']), total)}")
        parts.append("; ".join(words))
    return f"{name} against {data['deployments'][0]['name']}: " + ". ".join(parts) + "."


def _culprit(data: dict[str, Any], name: str) -> str:
    for r in data["results"]:
        if r["deployment"] == name and r["gil_on"]:
            text = str(r["gil_on"])
            module = text.partition("extension module ")[2].partition(" ")[0]
            return module or "an extension module"
    return ""


class _Judge:
    """One recommendation in the making: what is left, which metric decides, and the reasons so far."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.base: str = data["deployments"][0]["name"]
        # what decides before memory does: the first of these that has a verdict
        self.first = next(m for m in METRICS if m in data["plan"]["metrics"])
        self.confidence = "high"
        self.reasons: list[str] = []

    def usable(self) -> list[str]:
        """Without those that failed, gave wrong answers, or had the GIL turned on."""
        names = [d["name"] for d in self.data["deployments"] if d["kind"] != "peer"]
        rows = self.data["results"]
        broken = {r["deployment"] for r in rows if r["failed"] or r["errors"] > 0.001 * max(1, r["requests"])}
        self.reasons += [f"{n} is left out: it failed, or gave wrong answers." for n in names if n in broken]
        usable = [n for n in names if n not in broken]
        for n in list(usable):
            module = _culprit(self.data, n)
            if module:
                self.reasons.append(
                    f"{n} is left out: {module} turns the GIL on, so its threads take turns; use the GIL interpreter until "
                    f"{module} has a free-threaded wheel."
                )
                usable.remove(n)
        return usable

    def undecided(self, name: str) -> bool:
        return any(v["verdict"] == "undecided" for v in _by(self.data, name, self.first))

    def gain(self, name: str) -> float:
        """The ratios of one run share their first deployment, so they can be set side by side."""
        product = 1.0
        for v in _by(self.data, name, self.first):
            product *= v["ratio"] or 1.0
        return product if METRICS[self.first].more_is_better else 1 / product

    def best(self, better: list[str]) -> str:
        choice = max(better, key=self.gain)
        if self.undecided(choice):
            self.confidence = "moderate"
        if len(better) > 1:
            self.confidence = "moderate"
            metric = METRICS[self.first]
            rest = ", ".join(n for n in better if n != choice)
            self.reasons.append(
                f"{choice} has the {'highest' if metric.more_is_better else 'lowest'} {metric.words} of those that beat {self.base}; {rest} do so too, and "
                "were not compared with each other."
            )
        return choice

    def lightest(self, same: list[str]) -> str:
        """Of those that are no worse: by memory."""
        data, base = self.data, self.base
        light = [
            n
            for n in same
            if n == base or any(v["better"] and v["verdict"] == "different" for v in _by(data, n, "pss_mib"))
        ]
        heavier = {n for n in same if _standing(data, n, "pss_mib")["worse"]}
        light = [n for n in light if n not in heavier]
        choice = min(
            light or [base], key=lambda n: 1.0 if n == base else max(v["ratio"] or 1.0 for v in _by(data, n, "pss_mib"))
        )
        if choice == base:
            self.confidence = "low" if any(self.undecided(n) for n in same if n != base) else "high"
            self.reasons.append(f"Nothing that was tried is better than {base} by the figures that count here.")
        elif self.undecided(choice):
            self.confidence = "low"
            self.reasons.append(
                f"{choice} is chosen for its memory; whether its {METRICS[self.first].words} is the same is not decided: more --time would tell."
            )
        return choice

    def moderate(self, reason: str) -> None:
        self.confidence = "moderate" if self.confidence == "high" else self.confidence
        self.reasons.append(reason)


def recommend(data: dict[str, Any]) -> dict[str, Any]:
    """``choice`` (a deployment, or None), ``confidence`` (high, moderate, low, none) and ``reasons`` (sentences)."""
    judge = _Judge(data)
    usable = judge.usable()
    if judge.base not in usable or data["plan"]["rounds"] < data["plan"]["looks"][0]:
        reasons = [*judge.reasons, "There is not enough to recommend anything: see the warnings."]
        return {"choice": None, "confidence": "none", "reasons": reasons}
    better, mixed, same = [], [], [judge.base]
    for n in (n for n in usable if n != judge.base):
        judge.reasons.append(_sentence(data, n))
        standing = _standing(data, n, judge.first)
        if standing["better"] and not standing["worse"]:
            better.append(n)
        elif standing["better"]:
            mixed.append(n)
        elif not standing["worse"]:
            same.append(n)
    choice = judge.best(better) if better else judge.lightest(same)
    if mixed:
        judge.moderate(
            f"{', '.join(mixed)}: better in some scenarios and worse in others; it depends on which of them is yours."
        )
    if data["plan"]["shared_cores"]:
        judge.moderate("Server and load generator shared cores, so this is no more than moderately certain.")
    if any(w.startswith("UNLIKE BUILDS") for w in data["warnings"]):
        judge.moderate("The interpreters are unlike builds: part of every difference may be theirs, not the GIL's.")
    return {"choice": choice, "confidence": judge.confidence, "reasons": judge.reasons}
