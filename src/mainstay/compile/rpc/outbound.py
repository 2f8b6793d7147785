"""The generic proxy of outbound listeners.

In: how the listener carries RPC. Out: the network filter, or a chain for each protocol that first bytes tell, and a reference
to the routes.
"""

from mainstay.compile.facts import Facts
from mainstay.compile.filters import rpc_chain
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.listener.chain import chain
from mainstay.compile.resource import Fields, Ref
from mainstay.compile.rpc.codec import by_name, protocol_inspector, rpc_manager
from mainstay.compile.traits import RpcUse
from mainstay.model.problem import Problem
from mainstay.model.rpc import detectable


def outbound_rpc(facts: Facts, use: RpcUse, label: str, refs: list[Ref], problems: list[Problem]) -> Fields:
    """Return the filter; ``label`` is its statistics prefix."""
    return _manager(facts, use.protocol, use, label, refs, problems)


def detected_rpc(
    facts: Facts, use: RpcUse, label: str, refs: list[Ref], problems: list[Problem]
) -> tuple[list[Fields], list[Fields]]:
    """Return a chain for each protocol that first bytes tell, and the listener filter that looks at them."""
    protocols = detectable(facts.protocols(), use.protocols)
    if not protocols:
        return [], []
    chains = [
        chain(
            protocol.name,
            [_manager(facts, protocol.name, use, label, refs, problems)],
            {"transport_protocol": "raw_buffer", "application_protocols": [protocol.name]},
        )
        for protocol in protocols
    ]
    return chains, [protocol_inspector(protocols)]


def _manager(
    facts: Facts, protocol: str, use: RpcUse, label: str, refs: list[Ref], problems: list[Problem]
) -> Fields:
    refs.append(Ref("generic_route", use.route))
    filters = rpc_chain(facts, FilterContext("outbound"), problems, use.described)
    return rpc_manager(facts, protocol, use.described, label, by_name(use.route), filters)
