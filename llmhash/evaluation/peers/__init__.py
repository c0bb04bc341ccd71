"""What else a user could pick at the same bytes per document: quantizers of FAISS and sentence-transformers.

They are fitted on the documents that the heads are fitted on, without queries. FAISS's score all documents by
inner product with the float query, so that they compare with `asymmetric_scan`; sentence-transformers' own
rescore candidates, as its search does.
"""

from llmhash.evaluation.peers.base import CodebookRanking, Peer, faiss_threads
from llmhash.evaluation.peers.measure import PeerRun, measure_peers, peer_measurement, run_peer
from llmhash.evaluation.peers.registry import (
    GROUPS,
    PEERS,
    SEEDLESS_PEERS,
    fit_peer,
    peer_names,
    peer_obstacle,
    peer_widths,
)

__all__ = [
    "GROUPS",
    "PEERS",
    "SEEDLESS_PEERS",
    "CodebookRanking",
    "Peer",
    "PeerRun",
    "faiss_threads",
    "fit_peer",
    "measure_peers",
    "peer_measurement",
    "peer_names",
    "peer_obstacle",
    "peer_widths",
    "run_peer",
]
