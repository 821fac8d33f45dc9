//! The impairment link: what a bad line does to datagrams.

/// What a line does to the datagrams on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile;
