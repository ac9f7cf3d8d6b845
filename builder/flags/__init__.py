"""What is known of a paragraph beside others: duplicates, near duplicates, passages of benchmarks.

Nothing is dropped: what is found goes into columns (:data:`builder.schema.FLAG_SCHEMA`). The work is cut so that no process
holds the corpus::

    words        a text as the words that it is compared by
    minhash      which texts have nearly the same words
    benchmarks   the text of a benchmark's file
    passages     which paragraphs share a run of words with it
    sketches     one file a shard: hashes of its paragraphs, sorted       (a map over paragraph shards)
    firsts       equal hashes of all shards, a range of hashes at a time  (over ranges)
    sidecars     what was found, row for row beside the paragraphs        (a map over paragraph shards)
"""
