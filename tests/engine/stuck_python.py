"""An engine whose Python is stuck: says where its pages and its listener are, then keeps the interpreter's lock until its end."""

from __future__ import annotations

import ctypes
import json

from engine_live import Live
from engine_plans import LOOPBACK, http_chain, listener, routes

from mainstay.engine import ListenerBound
from mainstay.sidecar import plan

live = Live(admin=plan.Socket(LOOPBACK, 0))
live.apply(listener("web", http_chain(routes(("/", plan.RespondAction(plan.DirectResponse(200, b"x")))))))
bound = live.event(ListenerBound)
while isinstance(bound, ListenerBound) and bound.name != "admin":
    bound = live.event(ListenerBound)
assert isinstance(bound, ListenerBound)
print(json.dumps({"admin": bound.address, "web": live.port("web")}), flush=True)
# `PyDLL` keeps the lock during the call: no other thread of Python runs, as in an extension that never comes back.
ctypes.PyDLL(None).sleep(600)
