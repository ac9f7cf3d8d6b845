"""datatrove steps over the library. Arrow record batches flow between them; a rank makes one shard.

Every step gets the list of shards to make; rank ``r`` works on ``shards[r]``. :class:`builder.rejects.Reject`
items flow along with the batches and end in the shard's ``rejects/`` file.
"""
