"""Reads and writes CloudEvents with the SDK for Python, for conformance_test.go.

Each line of the input is a request, each line of the output its answer, as JSON:
{"do": "read", "binding": B, "headers": H, "key": K, "body": base64}
    answers {"attributes": {...}, "data": ...}
{"do": "write", "binding": B, "mode": "binary" or "structured",
 "attributes": {...}, "data": ...} or "data_base64" in place of data
    answers {"headers": H, "key": K, "body": base64}
B is kafka or http.
"""

import base64
import json
import sys

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from dateutil.parser import isoparse


def read(request):
    headers, body = request["headers"], base64.b64decode(request["body"])
    if request["binding"] == "kafka":
        headers = {name: value.encode() for name, value in headers.items()}
        event = kafka.from_kafka(kafka.KafkaMessage(headers, request["key"], body), JSONFormat())
    else:
        event = http.from_http(http.HTTPMessage(headers, body), JSONFormat())
    attributes = dict(event.get_attributes())
    attributes["time"] = attributes["time"].isoformat()
    return {"attributes": attributes, "data": event.get_data()}


def write(request):
    attributes = request["attributes"]
    if "time" in attributes:
        attributes["time"] = isoparse(attributes["time"])
    data = request.get("data")
    if "data_base64" in request:
        data = base64.b64decode(request["data_base64"])
    event = CloudEvent(attributes, data)
    binding = kafka if request["binding"] == "kafka" else http
    convert = binding.to_binary if request["mode"] == "binary" else binding.to_structured
    message = convert(event, JSONFormat())
    if binding is kafka:
        headers, body = {name: value.decode() for name, value in message.headers.items()}, message.value
    else:
        headers, body = message.headers, message.body
    return {"headers": headers, "key": getattr(message, "key", None), "body": base64.b64encode(body).decode()}


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"read": read, "write": write}[request["do"]](request)), flush=True)
