//! The impairment link: what a bad line does to datagrams.

/// What a line does to the datagrams on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile;

/// The names [`profile`] knows.
pub const NAMES: &[&str] = &["clean", "home-wifi", "mobile", "island", "care-home", "loss-5", "bursts", "cap-and-release"];

/// The profile of this name.
#[must_use]
pub fn profile(name: &str) -> Option<Profile> {
    NAMES.contains(&name).then_some(Profile)
}
