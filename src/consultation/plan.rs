//! What was arranged for a consultation before anybody came.

use super::{Act, ConsultationPolicy};

/// How a room opens when the first person of an arranged consultation comes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its rules.
    pub policy: ConsultationPolicy,
    /// What the platform did already, in order: invitations and consents.
    pub acts: Vec<Act>,
}
