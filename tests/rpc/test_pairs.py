"""The table of peers, and the page that is made of it."""

from __future__ import annotations

import peers_page
from rpc_pairs import CAPABILITIES, PAIRS
from rpc_programs import FAMILIES


def test_the_page_is_current() -> None:
    assert peers_page.PAGE.read_text() == peers_page.page(), "run `make docs`"


def test_what_a_pair_lacks_is_a_capability_and_what_it_is_made_of_exists() -> None:
    for pair in PAIRS:
        assert {*pair.lacks, *pair.notes} <= CAPABILITIES.keys(), pair.name
        for side in (pair.client, pair.provider):
            assert side.family in FAMILIES, pair.name
        assert pair.provider.protocol in FAMILIES[pair.provider.family].protocols, pair.name
    assert len({pair.key for pair in PAIRS}) == len(PAIRS)
