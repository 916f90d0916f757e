"""The program `t5serve` before it has loaded."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INTERRUPT = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "t5serve.program":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from t5serve.__main__ import main
sys.exit(main(["serve"]))
"""


def test_an_interrupt_while_modules_load_is_no_traceback() -> None:
    """Ctrl-C in the first second ends the program as it does later."""
    command = [sys.executable, "-c", INTERRUPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
