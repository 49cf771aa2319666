"""Generated protobuf messages, for front ends and for reading `config.pbtxt`.

Everything named `*_pb2` is written by `protos/generate.py` (`make protos`) from the files in
`protos/`. Message names carry the package `streamgate.wire.inference`, so that any client of
the protocol can be imported in the same process; on the wire nothing differs. There are no
generated service stubs: the service's methods are listed by the descriptor, see `descriptors`.
"""
