"""What things are: frozen values without I/O, the vocabulary every other room of the brain shares.

In: nothing; values are made by the dialects (``api``) and the sources. Out: msgspec structs that are hashable,
compared by value and free of mutable parts, so that equal facts have equal digests (``digest.digest_of``).
Invariants: lists are tuples in canonical order (sorted unless the order means something, which the field then says);
durations are integer milliseconds and 0 never means "endless" (``None`` does, where a field allows it); ``None`` never
means "some default": dialects fill defaults in. The one exception is ``traffic``, whose levels override each other
field by field; there ``None`` is "not said at this level".
"""
