//! Which layer of each track a receiver's line can carry.
