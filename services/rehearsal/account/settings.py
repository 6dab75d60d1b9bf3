"""What this emulator was started with. `__main__` fills it in once, before any other module is imported; nobody else
reads the environment.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]  # the repository
PORT = 0  # the port that really is listened on
ENDPOINT = ""  # http://127.0.0.1:PORT
DIRECTORY = Path()  # state of this run; removed by whoever started us
PACE = 1.0  # divides AWS's own durations
TIMER_PACE = 1.0  # divides timers that the caller configured
NAMESPACES = True  # whether tasks get networks of their own where the machine permits it
SEED = 20  # all chance comes from it: jitter, orders, ids
LAG = 1.0  # multiplies how late reads see what was written; 0: they see it at once
THROTTLE = True  # request rates are enforced
PGBIN = ""  # directory with initdb and postgres; empty: no databases
CATALOGUE = ""  # path of the images catalogue; empty: services/rehearsal/images/catalogue.json
