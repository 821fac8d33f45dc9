//! Join links: a random code that is worth a token while its seat's window is open.
//!
//! A code has 160 random bits, and only its SHA-256 is kept: who reads the memory of the node, or a core of it, cannot join
//! with what is found there. A plain hash is enough for a code nobody could guess.

use super::problem::{Code, Problem};
use crate::model::{Identity, RoomKey};
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;

/// Random bytes of a code: 32 more bits than the 128 that are asked for, so that the text has no padding bits to vary.
const CODE_BYTES: usize = 20;

/// Characters of a code: 20 bytes in base64url.
const CODE_CHARS: usize = 27;

/// Links kept at most; an entry is some 250 bytes, so this is 16 MB.
const MAX_LINKS: usize = 65_536;

/// The name a code is kept under.
pub(super) type Hash = [u8; 32];

/// Which seat a link opens, and until when it can.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) room: RoomKey,
    pub(super) seat: Identity,
    /// Seconds since the Unix epoch.
    pub(super) closes_at: u64,
}

/// Every link of the node.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_hash: HashMap<Hash, Link>,
}

impl Links {
    /// Makes a code for a seat; only the one who asked ever sees it.
    ///
    /// # Errors
    /// [`Code::TooMany`] when the node holds as many links as it may, [`Code::Internal`] without random numbers.
    pub(super) fn make(&mut self, link: Link, now_s: u64) -> Result<(String, Hash), Problem> {
        if self.by_hash.len() >= MAX_LINKS {
            self.by_hash.retain(|_, link| link.closes_at > now_s);
        }
        if self.by_hash.len() >= MAX_LINKS {
            return Err(Problem::new(
                Code::TooMany,
                "the node holds as many links as it may; sign tokens yourself, or end consultations",
            ));
        }
        let mut bytes = [0; CODE_BYTES];
        rand::fill(&mut bytes).map_err(|_| Problem::new(Code::Internal, "no random numbers; try again"))?;
        let code = URL_SAFE_NO_PAD.encode(bytes);
        let hash = hash(&code);
        self.by_hash.insert(hash, link);
        Ok((code, hash))
    }

    /// Takes up a link that was made in an earlier life of the node; one too many is left out.
    pub(super) fn restore(&mut self, hash: Hash, link: Link) {
        if self.by_hash.len() < MAX_LINKS {
            self.by_hash.insert(hash, link);
        }
    }

    /// The seat of a code, whether or not its window is open.
    pub(super) fn find(&self, code: &str) -> Option<&Link> {
        (code.len() == CODE_CHARS).then(|| self.by_hash.get(&hash(code))).flatten()
    }

    /// Takes a code out of use.
    pub(super) fn revoke(&mut self, hash: &Hash) {
        self.by_hash.remove(hash);
    }
}

fn hash(code: &str) -> Hash {
    let digest = digest::digest(&digest::SHA256, code.as_bytes());
    let mut hash = [0; 32];
    // SHA-256 has exactly this many bytes.
    hash.copy_from_slice(digest.as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RoomName, TenantId};

    fn link(closes_at: u64) -> Link {
        let room = RoomKey { tenant: TenantId::new("t"), name: RoomName::new("r") };
        Link { room, seat: Identity::new("p"), closes_at }
    }

    #[test]
    fn a_code_finds_its_seat_until_it_is_revoked() {
        let mut links = Links::default();
        let (code, hash) = links.make(link(100), 0).expect("room for it");
        let (other, _) = links.make(link(100), 0).expect("room for it");
        assert_eq!((code.len(), other.len()), (CODE_CHARS, CODE_CHARS));
        assert_ne!(code, other);
        assert!(links.find(&code).is_some());
        assert!(links.find(&code[1..]).is_none() && links.find("").is_none());
        links.revoke(&hash);
        assert!(links.find(&code).is_none());
        assert!(links.find(&other).is_some());
    }

    #[test]
    fn no_code_stands_in_memory() {
        let mut links = Links::default();
        let (code, hash) = links.make(link(100), 0).expect("room for it");
        assert_ne!(hash.as_slice(), code.as_bytes());
        assert_ne!(URL_SAFE_NO_PAD.encode(hash), code);
    }

    #[test]
    fn full_of_open_links_it_takes_no_more_and_forgets_closed_ones() {
        let mut links = Links::default();
        for _ in 0..MAX_LINKS {
            links.make(link(100), 0).expect("room for it");
        }
        assert_eq!(links.make(link(100), 50).map_err(|problem| problem.code), Err(Code::TooMany));
        links.make(link(200), 100).expect("all the others are closed");
        assert_eq!(links.by_hash.len(), 1);
    }
}
