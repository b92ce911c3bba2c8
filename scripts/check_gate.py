"""Shows that each rule of the HTTP gate is tested: builds the cases with one rule off, and they must fail.

usage: check_gate.py [RULE ...]     (run `make unit` first: it installs what is needed)
"""

import concurrent.futures
import os
import subprocess
import sys
import tempfile

import http_cases
from http_cases import ROOT

TEST = "tests/unit/test_http_cases.c"


def without(rule: str, folder: str) -> str | None:
    """None: a case failed, as it must. Else what went wrong."""
    program = f"{folder}/{rule}"
    build = [
        *(os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-I.", "-Iinclude", "-O1"),
        *(f"-DOAR_GATE_OFF=OAR_RULE_{rule}", TEST, "-o", program, "-lcmocka", "-lhttp_parser"),
    ]
    made = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    if made.returncode != 0:
        return f"does not compile: {made.stderr[-500:]}"
    try:
        ran = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return None  # a parser without this rule never ended: the cases noticed
    if ran.returncode == 0:
        return "is off and no case fails: add one to tests/http/refused.case"
    return None


def main() -> None:
    known = http_cases.rules()
    rules = sys.argv[1:] or list(known)
    if unknown := [r for r in rules if r not in known]:
        sys.exit(f"check_gate: no such rule: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        if without("NONE", folder) is None:
            sys.exit("check_gate: the cases fail with all rules on; see `make unit`")
        found = dict(zip(rules, pool.map(lambda r: without(r, folder), rules), strict=True))
    for rule, wrong in found.items():
        if wrong:
            print(f"{rule} {wrong}")
    if any(found.values()):
        sys.exit(1)
    print(f"gate: each of {len(rules)} rules is missed by a case when it is off")


if __name__ == "__main__":
    main()
