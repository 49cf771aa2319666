"""StreamGate: a gateway for streaming and stateful sequence inference.

It speaks Triton's dialect of the KServe v2 protocol. The distribution is called
`streamgate-server`; another project owns the distribution name `streamgate`.
"""

__version__ = "0.4.0"
