"""The generic proxy of outbound listeners.

In: how the listener carries RPC. Out: the network filter, and a reference to its routes.
"""

from mainstay.compile.facts import Facts
from mainstay.compile.filters import rpc_chain
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.resource import Fields, Ref
from mainstay.compile.rpc.codec import by_name, rpc_manager
from mainstay.compile.traits import RpcUse
from mainstay.model.problem import Problem


def outbound_rpc(facts: Facts, use: RpcUse, label: str, refs: list[Ref], problems: list[Problem]) -> Fields:
    """Return the filter; ``label`` is its statistics prefix."""
    refs.append(Ref("generic_route", use.route))
    filters = rpc_chain(facts, FilterContext("outbound"), problems, use.described)
    return rpc_manager(facts, use.protocol, use.described, label, by_name(use.route), filters)
