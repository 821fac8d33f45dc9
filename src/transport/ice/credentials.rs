//! Our ICE credentials: random, and the user fragment says which shard they belong to.

use crate::model::ShardId;
use std::fmt;
use zeroize::Zeroizing;

/// Random characters of a ufrag after the shard's: 13 of 6 bits are 78 bits (RFC 8445, section 5.3 asks for 24).
const UFRAG_RANDOM: usize = 13;

/// Characters of a password: 24 of 6 bits are 144 bits (RFC 8445, section 5.3 asks for 128).
const PWD_LEN: usize = 24;

/// The 64 ice-chars (RFC 8839, section 5.1) in the order of their value.
pub(super) const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A ufrag and its password (RFC 8445, section 5.3).
#[derive(Clone)]
pub struct Credentials {
    pub(super) ufrag: String,
    pub(super) pwd: Zeroizing<String>,
}

impl Credentials {
    /// Draws fresh credentials; the first character of the ufrag is the shard, the rest is random.
    ///
    /// Only the low 6 bits of the shard's number are carried: a process has at most 64 shards.
    pub fn new(random: &mut dyn FnMut(&mut [u8]), shard: ShardId) -> Self {
        let mut ufrag = String::with_capacity(1 + UFRAG_RANDOM);
        ufrag.push(ice_char(shard.0));
        let mut bytes = Zeroizing::new([0u8; UFRAG_RANDOM + PWD_LEN]);
        random(bytes.as_mut_slice());
        let (head, tail) = bytes.split_at(UFRAG_RANDOM);
        ufrag.extend(head.iter().copied().map(ice_char));
        let mut pwd = Zeroizing::new(String::with_capacity(PWD_LEN));
        pwd.extend(tail.iter().copied().map(ice_char));
        Self { ufrag, pwd }
    }

    /// The user name fragment, for `a=ice-ufrag` and the demultiplexer.
    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The password, for `a=ice-pwd`.
    #[must_use]
    pub fn pwd(&self) -> &str {
        &self.pwd
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

fn ice_char(value: u8) -> char {
    ICE_CHARS.get(usize::from(value & 63)).copied().map_or('A', char::from)
}

/// The shard a ufrag of ours names, whoever made it up; `None` where the first character is no ice-char.
#[must_use]
pub fn shard_of_ufrag(ufrag: &str) -> Option<ShardId> {
    let first = ufrag.as_bytes().first()?;
    let value = ICE_CHARS.iter().position(|c| c == first)?;
    u8::try_from(value).ok().map(ShardId)
}
