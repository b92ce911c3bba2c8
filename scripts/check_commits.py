"""Subjects of commits: `area: what`, at most 72 columns. Checks those since BEGAN, the last one before there was this rule."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGAN = "57150ed"
LONGEST = 72
FORM = re.compile(r'[\w./*-]+(, [\w./*-]+)*: \S|Revert "')


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def problem(subject: str) -> str | None:
    if len(subject) > LONGEST:
        return f"{len(subject)} columns, at most {LONGEST}"
    return None if FORM.match(subject) else "is not of the form `area: what`"


def main() -> None:
    listed = git("log", "--no-merges", "--format=%h %s", f"{BEGAN}..HEAD")
    if listed.returncode != 0:  # not a repository, or a shallow clone
        print(f"commits: not checked: {listed.stderr.strip().splitlines()[-1]}")
        return
    commits = [line.partition(" ") for line in listed.stdout.splitlines()]
    found = [f"{commit}: {wrong}: {subject}" for commit, _, subject in commits if (wrong := problem(subject))]
    print("\n".join(found) or f"commits: {len(commits)} subjects in form")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
