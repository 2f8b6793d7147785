"""Facts and traits of a proxy in, xDS resources out; pure, the last stage of the graph.

In: ``facts.Facts`` (a read interface whose every read can be recorded) and ``traits.Proxy``. Out: ``resource.Resource``
(kind, name, version, bytes) gathered in a ``view.View``. Entry point: ``view.compile_view``, called by the control plane
per proxy. Invariants: the same facts and traits give the same bytes on every instance; a step sees no property of the
proxy that its traits do not name; whatever a resource refers to is in the view (``consistent``); what cannot be compiled
is replaced by something that fails closed and is reported as a Problem.
"""
