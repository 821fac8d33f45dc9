//! The Merkle tree of a log: hashes, frontier and proofs of RFC 6962, section 2.1.

use super::types::Hash;
use aws_lc_rs::digest::{Context, SHA256};

/// Length of a hash in bytes.
const HASH_LENGTH: usize = 32;

/// The hash of nothing: the root of an empty tree (RFC 6962, 2.1).
#[must_use]
pub fn empty_root() -> Hash {
    finish(Context::new(&SHA256))
}

/// The hash of a leaf: SHA-256 over a zero byte and the entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(entry);
    finish(context)
}

/// The hash of an inner node: SHA-256 over a one byte and its two halves.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(&left.0);
    context.update(&right.0);
    finish(context)
}

/// SHA-256 of plain bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

fn finish(context: Context) -> Hash {
    let mut hash = [0; HASH_LENGTH];
    for (place, byte) in hash.iter_mut().zip(context.finish().as_ref()) {
        *place = *byte;
    }
    Hash(hash)
}

/// The largest power of two below a size of at least 2.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The state of a growing tree: the roots of its full subtrees, the largest first. At most 64 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

impl Frontier {
    /// A tree of this many leaves from the roots of its full subtrees.
    #[must_use]
    pub fn new(size: u64, nodes: Vec<Hash>) -> Option<Self> {
        (u64::from(size.count_ones()) == u64::try_from(nodes.len()).ok()?).then_some(Self { size, nodes })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the full subtrees, the largest first.
    #[must_use]
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each trailing one bit of the size is a full subtree the new leaf completes to twice its size.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.nodes.iter().copied().rev().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }
}

/// The root of a list of leaves.
#[must_use]
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(leaf);
    }
    frontier.root()
}

/// The leaves of a tree whose oldest were purged: what is left of them and the frontier where they begin.
#[derive(Clone, Debug, Default)]
pub struct Leaves {
    base: Frontier,
    rest: Vec<Hash>,
}

impl Leaves {
    /// Leaves that follow a frontier.
    #[must_use]
    pub fn new(base: Frontier, rest: Vec<Hash>) -> Self {
        Self { base, rest }
    }

    /// Number of leaves, purged ones included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.base.size + u64::try_from(self.rest.len()).unwrap_or(u64::MAX)
    }

    /// The root over the first `size` leaves; nothing when that needs leaves that are gone.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Hash> {
        if size == 0 { Some(empty_root()) } else { self.range(0, size) }
    }

    /// The audit path of a leaf in the tree of the first `size` leaves (RFC 6962, 2.1.1).
    #[must_use]
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut from, mut to) = (0, size);
        let mut path = Vec::new();
        while to - from > 1 {
            let middle = from + split(to - from);
            let (sibling, keep) = if index < middle { ((middle, to), (from, middle)) } else { ((from, middle), (middle, to)) };
            path.push(self.range(sibling.0, sibling.1)?);
            (from, to) = keep;
        }
        path.reverse();
        Some(path)
    }

    /// The proof that the tree of `old` leaves is the beginning of the tree of `size` leaves (RFC 6962, 2.1.2).
    #[must_use]
    pub fn consistency(&self, old: u64, size: u64) -> Option<Vec<Hash>> {
        if old > size || size > self.size() {
            return None;
        }
        if old == 0 || old == size {
            return Some(Vec::new());
        }
        let (mut from, mut to) = (0, size);
        let mut whole = true;
        let mut path = Vec::new();
        while old != to {
            let middle = from + split(to - from);
            if old <= middle {
                path.push(self.range(middle, to)?);
                to = middle;
            } else {
                path.push(self.range(from, middle)?);
                from = middle;
                whole = false;
            }
        }
        if !whole {
            path.push(self.range(from, to)?);
        }
        path.reverse();
        Some(path)
    }

    /// The root of the leaves from `from` to before `to`, a subtree as RFC 6962 splits it.
    fn range(&self, from: u64, to: u64) -> Option<Hash> {
        if from >= self.base.size {
            let place = |leaf: u64| usize::try_from(leaf - self.base.size).ok();
            return Some(root_of(self.rest.get(place(from)?..place(to)?)?.iter().copied()));
        }
        if to <= self.base.size {
            return self.purged(from, to);
        }
        let middle = from + split(to - from);
        Some(node_hash(&self.range(from, middle)?, &self.range(middle, to)?))
    }

    /// A subtree wholly below the frontier: one of its nodes, several of its last ones, or unknown.
    fn purged(&self, from: u64, to: u64) -> Option<Hash> {
        let mut start = 0;
        let mut joined: Vec<Hash> = Vec::new();
        for (node, bit) in self.base.nodes.iter().zip((0..64).rev().filter(|bit| self.base.size >> bit & 1 == 1)) {
            let end = start + (1_u64 << bit);
            if start >= from && end <= to {
                joined.push(*node);
            } else if start < to && end > from {
                return None;
            }
            start = end;
        }
        joined.into_iter().rev().reduce(|right, left| node_hash(&left, &right))
    }
}

/// Checks an audit path (RFC 9162, 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            if place & 1 == 0 {
                let up = place.trailing_zeros().min(last.trailing_zeros());
                (place, last) = (place.checked_shr(up).unwrap_or(0), last.checked_shr(up).unwrap_or(0));
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Checks a consistency proof (RFC 9162, 2.1.4.2).
#[must_use]
pub fn verify_consistency(old: u64, old_root: &Hash, size: u64, root: &Hash, path: &[Hash]) -> bool {
    if old == size {
        return path.is_empty() && old_root == root;
    }
    if old == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    if old > size {
        return false;
    }
    let with_old: Vec<Hash> =
        if old.is_power_of_two() { std::iter::once(*old_root).chain(path.iter().copied()).collect() } else { path.to_vec() };
    let Some((first, path)) = with_old.split_first() else { return false };
    let up = (old - 1).trailing_ones();
    let (mut place, mut last) = (old.wrapping_sub(1).checked_shr(up).unwrap_or(0), (size - 1).checked_shr(up).unwrap_or(0));
    let (mut old_hash, mut hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && hash == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as RFC 6962 defines it, with nothing clever.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(b""),
            [leaf] => *leaf,
            _ => {
                let mut half = 1;
                while half * 2 < leaves.len() {
                    half *= 2;
                }
                node_hash(&naive_root(&leaves[..half]), &naive_root(&leaves[half..]))
            }
        }
    }

    fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let mut half = 1;
        while half * 2 < leaves.len() {
            half *= 2;
        }
        let (mut path, sibling) = if index < half {
            (naive_path(index, &leaves[..half]), naive_root(&leaves[half..]))
        } else {
            (naive_path(index - half, &leaves[half..]), naive_root(&leaves[..half]))
        };
        path.push(sibling);
        path
    }

    fn naive_subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let mut half = 1;
        while half * 2 < leaves.len() {
            half *= 2;
        }
        let (mut path, sibling) = if old <= half {
            (naive_subproof(old, &leaves[..half], whole), naive_root(&leaves[half..]))
        } else {
            (naive_subproof(old - half, &leaves[half..], false), naive_root(&leaves[..half]))
        };
        path.push(sibling);
        path
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
    }

    #[test]
    fn known_hashes() {
        // From the test data that implementations of certificate transparency share.
        let hex = super::super::types::hex;
        assert_eq!(hex(&empty_root().0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(&leaf_hash(b"").0), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }

    #[test]
    fn roots_and_proofs_agree_with_the_definition() {
        for size in 0..=70_u64 {
            let all = leaves(size);
            let tree = Leaves::new(Frontier::default(), all.clone());
            let root = naive_root(&all);
            assert_eq!(root_of(all.iter().copied()), root, "{size}");
            assert_eq!(tree.root(size), Some(root), "{size}");
            for index in 0..size {
                let path = tree.inclusion(index, size).expect("in the tree");
                let at = usize::try_from(index).unwrap();
                assert_eq!(path, naive_path(at, &all), "{index} of {size}");
                assert!(verify_inclusion(&all[at], index, size, &path, &root));
                assert!(!verify_inclusion(&leaf_hash(b"other"), index, size, &path, &root));
                assert!(!verify_inclusion(&all[at], index + 1, size, &path, &root), "{index} of {size}");
            }
            for old in 1..=size {
                let path = tree.consistency(old, size).expect("in the tree");
                let at = usize::try_from(old).unwrap();
                assert_eq!(path, naive_subproof(at, &all, true), "{old} to {size}");
                let old_root = naive_root(&all[..at]);
                assert!(verify_consistency(old, &old_root, size, &root, &path), "{old} to {size}");
                assert!(!verify_consistency(old, &leaf_hash(b"other"), size, &root, &path));
                assert!(!verify_consistency(old, &old_root, size, &leaf_hash(b"other"), &path));
            }
        }
    }

    #[test]
    fn proofs_still_stand_after_a_purge() {
        let all = leaves(70);
        for purged in 0..70_u64 {
            let cut = usize::try_from(purged).unwrap();
            let mut base = Frontier::default();
            all[..cut].iter().for_each(|leaf| base.push(*leaf));
            assert_eq!(Frontier::new(base.size(), base.nodes().to_vec()), Some(base.clone()));
            let rest = Leaves::new(base, all[cut..].to_vec());
            let whole = Leaves::new(Frontier::default(), all.clone());
            for size in purged.max(1)..=70 {
                assert_eq!(rest.root(size), whole.root(size), "{size} after {purged}");
                for index in purged..size {
                    assert_eq!(rest.inclusion(index, size), whole.inclusion(index, size), "{index} of {size} after {purged}");
                    assert!(rest.inclusion(index, size).is_some());
                }
                for old in purged.max(1)..=size {
                    assert_eq!(rest.consistency(old, size), whole.consistency(old, size), "{old} to {size} after {purged}");
                }
            }
        }
    }
}
