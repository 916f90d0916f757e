"""Exits with status 0 if the service in this container is ready, else with 1."""

import os
import sys
from urllib.request import urlopen

try:
    urlopen(f"http://127.0.0.1:{os.environ.get('T5SERVE_PORT') or 8000}/readyz", timeout=2).close()
except OSError as error:
    sys.exit(f"not ready: {error}")
