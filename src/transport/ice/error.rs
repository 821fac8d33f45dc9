//! What is wrong with a check or an answer.

use thiserror::Error;

/// Why a datagram was not answered, sorted by fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IceError {
    /// Peer: not a well-formed STUN Binding request that ends with MESSAGE-INTEGRITY and FINGERPRINT.
    #[error("not a binding request")]
    NotARequest,
    /// Peer: the FINGERPRINT does not match.
    #[error("wrong fingerprint")]
    WrongFingerprint,
    /// Peer: the USERNAME is not ours and the remote one.
    #[error("unknown user name")]
    UnknownUsername,
    /// Peer: the MESSAGE-INTEGRITY does not hold under our password.
    #[error("wrong message integrity")]
    WrongIntegrity,
    /// Peer: the transaction was seen from another path before, or answers none of ours there, so this is a copy.
    #[error("replayed from another path")]
    Replayed,
    /// Peer: more checks than are answered.
    #[error("too many checks")]
    RateLimited,
    /// Peer: the remote ufrag is not made of 4 to 256 ice-chars.
    #[error("bad remote credentials")]
    BadRemote,
    /// Caller: the answer does not fit; give [`MAX_ANSWER`](super::MAX_ANSWER) bytes.
    #[error("answer buffer too small")]
    NoRoom,
    /// Us: the answer could not be built.
    #[error("answer could not be built")]
    NoAnswer,
}
