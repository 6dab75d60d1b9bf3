"""Plays the steps against the emulated account and against moto, and prints what each came to, as JSON.

    python play.py http://127.0.0.1:PORT      of an emulated account; moto is started in this process
"""

import json
import logging
import re
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import botocore.session
import jmespath
from botocore.config import Config
from botocore.exceptions import ClientError
from steps import STEPS

ACCOUNT = "123456789012"  # moto's only one
SETTLING_SECONDS = 3600  # whatever takes time on AWS is done after a write
READS = re.compile(r"(Describe|List|Get|BatchGet|Receive)")


def substituted(value, kept: dict):
    """`$name` is what an earlier step kept; a step that kept nothing gives a text that nothing has."""
    if isinstance(value, str):
        return kept.get(value[1:]) or f"no-{value[1:]}" if re.fullmatch(r"\$\w+", value) else value
    if isinstance(value, list):
        return [substituted(each, kept) for each in value]
    if isinstance(value, dict):
        return {key: substituted(each, kept) for key, each in value.items()}
    return value


def clients_of(endpoint: str, session) -> dict:
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1}, inject_host_prefix=False)
    services = {call.partition(".")[0] for _, call, *_ in STEPS}
    return {each: session.create_client(each, "us-east-1", endpoint_url=endpoint, config=config) for each in services}


def play(clients: dict, settle) -> dict[str, str]:
    kept: dict = {}
    outcomes = {}
    for name, call, given, *rest in STEPS:
        keep = rest[0] if rest else {}
        see = rest[1] if len(rest) > 1 else ""
        service, operation = call.split(".")
        client = clients[service]
        method = next(key for key, value in client.meta.method_to_api_mapping.items() if value == operation)
        try:
            answer = getattr(client, method)(**substituted(given, kept))
            for key, path in keep.items():
                kept[key] = jmespath.search(path, answer)
            outcomes[name] = json.dumps(jmespath.search(see, answer)) if see else "done"
        except ClientError as error:
            outcomes[name] = error.response["Error"]["Code"].rpartition("#")[2]
        except Exception as error:  # an answer that the SDK cannot read is an outcome, too
            outcomes[name] = f"unreadable: {type(error).__name__}"
        if not READS.match(operation):
            settle()
    return outcomes


def main(ours: str) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def settle() -> None:
        body = json.dumps({"skipSeconds": SETTLING_SECONDS}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{ours}/_rehearsal/clock", body), timeout=10).read()

    session = botocore.session.Session()
    session.set_credentials(ACCOUNT, "test")
    theirs = f"http://127.0.0.1:{server.server_port}"
    with ThreadPoolExecutor(2) as both:
        here = both.submit(play, clients_of(ours, session), settle)
        there = both.submit(play, clients_of(theirs, session), lambda: None)
        here, there = here.result(), there.result()
    print(json.dumps([{"step": name, "call": call, "here": here[name], "moto": there[name]} for name, call, *_ in STEPS]))


if __name__ == "__main__":
    main(sys.argv[1])
