"""An ordinary Socket.IO client of Python tells what it hears, a line for each thing. Arguments: the server's address, the cookie,
the transport."""

import json
import sys

import requests
import socketio

base, cookies, transport = sys.argv[1:]
# As after a log-in with the same session: every request of a transport carries its cookie.
session = requests.Session()
for cookie in cookies.split("; "):
    if cookie:
        session.cookies.set(*cookie.split("=", 1))
client = socketio.Client(reconnection=False, http_session=session)


def say(*words):
    print(*words, flush=True)


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@client.on("event")
def event(event):
    say("event", event["number"], event["kind"], compact(event["payload"]))


@client.on("progress")
def progress(event):
    say("progress", event["kind"], compact(event["payload"]))


@client.event
def disconnect(reason):
    say("disconnected", reason)


try:
    client.connect(base, transports=[transport], wait_timeout=15)
except socketio.exceptions.ConnectionError as error:
    say("refused", error)
    sys.exit()
answer = client.call("since", 0)
say("connected", len(answer["events"]), answer["newest"], str(answer["gap"]).lower(), str(answer["more"]).lower())
client.wait()
