"""`python -m seesame.health`: whether the process at this machine's SEESAME_PORT is ready, for checks of containers.

They run it every few seconds, so it is no command of `seesame`, whose imports alone take a second and more.
"""

import http.client
import os
import sys

_TIMEOUT_S = 4.0


def main() -> int:
    """Prints what `/health/ready` answers; 0 for ready, else 1."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ.get("SEESAME_PORT") or 8000), timeout=_TIMEOUT_S
    )
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        sys.stdout.write(answer.read(1000).decode(errors="replace") + "\n")
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"No answer: {error}\n")
        return 1
    return int(answer.status != http.client.OK)


if __name__ == "__main__":
    sys.exit(main())
