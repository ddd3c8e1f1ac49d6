"""A few kills and faults of the real program; tests/chaos.py does hundreds, of training too."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOME = "kill|damaged part: run png|two runs: run png|SIGTERM: run png"


def test_nothing_is_lost_or_twice_or_wrong_after_kills_and_faults(warm):
    options = ("--kills", "6", "--jobs", "plan,run png,cache", "--only", SOME)
    command = [warm, "tests/chaos.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    kills, faults, wrong = map(int, re.findall(r"(\d+) kills, (\d+) other faults, (\d+) wrong", done.stdout)[0])
    assert kills >= 5 and faults == 3 and wrong == 0
