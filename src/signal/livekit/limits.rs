//! How many sockets one address may hold.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The far end of an HTTP connection, as the listener or a trusted proxy knows it; unprintable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAddress(…)")
    }
}

impl ClientAddress {
    /// What is counted together: an IPv4 address, or the /64 a provider gives one IPv6 customer.
    fn bucket(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !0 << 64)),
            v4 => v4,
        }
    }
}

/// Counts what addresses hold; an entry lives as long as its address holds something.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Addresses {
    /// Takes a place for an address; `None` when it, or the node, has no more.
    #[must_use]
    pub fn enter(&self, address: ClientAddress, per_address: usize, total: usize) -> Option<Place> {
        let bucket = address.bucket();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.total >= total {
            return None;
        }
        let count = held.by_address.entry(bucket).or_insert(0);
        if *count >= per_address {
            return None;
        }
        *count += 1;
        held.total += 1;
        Some(Place { held: Arc::clone(&self.held), bucket })
    }
}

/// A place taken; dropping it gives it back.
pub struct Place {
    held: Arc<Mutex<Held>>,
    bucket: IpAddr,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(1);
        if let Some(count) = held.by_address.get_mut(&self.bucket) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.by_address.remove(&self.bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_leave_nothing_behind() {
        let addresses = Addresses::default();
        let one = ClientAddress("192.0.2.1".parse().unwrap());
        let first = addresses.enter(one, 1, 10).expect("free");
        assert!(addresses.enter(one, 1, 10).is_none(), "one each");
        drop(first);
        assert!(addresses.enter(one, 1, 10).is_some());
        assert!(addresses.held.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn a_customers_whole_ipv6_network_counts_as_one() {
        let addresses = Addresses::default();
        let _held = addresses.enter(ClientAddress("2001:db8::1".parse().unwrap()), 1, 10).expect("free");
        assert!(addresses.enter(ClientAddress("2001:db8::ffff:1".parse().unwrap()), 1, 10).is_none());
        assert!(addresses.enter(ClientAddress("2001:db8:0:1::1".parse().unwrap()), 1, 10).is_some());
    }
}
