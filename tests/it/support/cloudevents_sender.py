"""Sends the events of standard input with the Python SDK of CloudEvents; prints what each request was answered.

Arguments: URL, key, and binary, structured or batched. An event is {"attributes": …, "data": …}.
"""

import json
import sys
import urllib.error
import urllib.request
from datetime import datetime

from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


def event(given):
    attributes = dict(given["attributes"])
    if "time" in attributes:
        attributes["time"] = datetime.fromisoformat(attributes["time"].replace("Z", "+00:00"))
    return CloudEvent(attributes, given["data"])


def messages(events, mode):
    if mode == "batched":
        # The SDK has no batches: the array is joined of what it makes of each.
        body = b"[" + b",".join(JSONFormat().write(event) for event in events) + b"]"
        return [({"content-type": "application/cloudevents-batch+json"}, body)]
    convert = http.to_binary_event if mode == "binary" else http.to_structured_event
    return [(message.headers, message.body) for message in map(convert, events)]


def main(url, key, mode):
    for headers, body in messages([event(given) for given in json.load(sys.stdin)], mode):
        request = urllib.request.Request(url, data=body, headers={**headers, "authorization": f"Bearer {key}"})
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as refused:
            answer = refused
        print(json.dumps({"status": answer.status, "body": json.loads(answer.read())}))


main(*sys.argv[1:])
