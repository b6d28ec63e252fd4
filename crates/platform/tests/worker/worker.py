#!/usr/bin/env python3
"""A worker for tests: speaks the protocol of `fednodule --supervised` without any neural network.

`act STEP …` does what the steps say, for tests of the supervisor.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

asked = threading.Event()
wish = []


def listen():
    for line in sys.stdin:
        wish.append(line.strip())
        asked.set()
    wish.append("suspend")
    asked.set()


def tell(event, **fields):
    os.write(2, (json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n").encode())


def act(steps):
    for step in steps:
        word, _, argument = step.partition(":")
        if word == "note":
            tell("note", text=argument)
        elif word == "raw":
            os.write(2, argument.encode("utf-8", "surrogateescape"))
        elif word == "binary":
            os.write(2, bytes(range(256)) + b"\n")
        elif word == "huge":  # a line of so many MiB
            for _ in range(int(argument)):
                os.write(2, b"x" * (1 << 20))
            os.write(2, b"\n")
        elif word == "unknown":
            tell("invented_later", more=[1, 2])
        elif word == "nice":
            tell("note", text=str(os.nice(0)))
        elif word == "say":
            os.write(1, argument.encode())
        elif word == "flood":
            for _ in range(int(argument)):
                os.write(1, b"y" * (1 << 20))
        elif word == "wait":  # for a wish
            asked.wait()
            tell("note", text=wish[0])
            if wish[0] == "suspend":
                sys.exit(130)
        elif word == "deaf":
            time.sleep(600)
        elif word == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "fail":
            tell("error", kind="output", exit_code=4, message="no space left", advice="make room")
            sys.exit(4)
        elif word == "child":  # keeps the pipes open
            subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        else:
            sys.exit(f"no step {step}")


def main():
    supervised, as_json, command, *arguments = sys.argv[1:]
    assert (supervised, as_json) == ("--supervised", "--json"), sys.argv
    threading.Thread(target=listen, daemon=True).start()
    {"act": act}[command](arguments)


main()
