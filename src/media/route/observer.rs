//! A route under random weather, judged by a reference observer that knows what the publisher sent.

use super::tests::vp8;
use super::*;
use crate::media::codec::{Vp8Descriptor, inspect};
use crate::media::seq::SeqExtender;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

