"""What `/api/healthcheck.py` is in the real image, for the container health check `exec python /api/healthcheck.py`."""

import os
import sys
import urllib.request

host = os.environ.get("HOST", "localhost")  # a container of the rehearsal has a loopback address of its own
url = f"http://{host}:{os.environ.get('PORT', '8000')}{os.environ.get('MOUNT_PREFIX', '')}/ok"
sys.exit(0 if urllib.request.urlopen(url, timeout=5).status == 200 else 1)
